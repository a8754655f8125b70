//! The tensors that each part must have, by name and shape, derived from the configuration.

use crate::config::{AutoencoderConfig, ClipConfig, FluxConfig, ProjectorConfig, SiglipConfig, T5Config};

/// A name and the shape that the configuration asks for.
pub(crate) type Expected = (String, Vec<usize>);

/// Collects tensors under a prefix.
struct List(Vec<Expected>);

impl List {
    fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    fn vector(&mut self, name: String, size: usize) {
        self.tensor(name, &[size]);
    }

    /// A linear layer with a bias.
    fn linear(&mut self, name: &str, input: usize, output: usize) {
        self.tensor(format!("{name}.weight"), &[output, input]);
        self.vector(format!("{name}.bias"), output);
    }

    /// A norm with weight and bias.
    fn norm(&mut self, name: &str, size: usize) {
        self.vector(format!("{name}.weight"), size);
        self.vector(format!("{name}.bias"), size);
    }

    fn convolution(&mut self, name: &str, input: usize, output: usize, side: usize) {
        self.tensor(format!("{name}.weight"), &[output, input, side, side]);
        self.vector(format!("{name}.bias"), output);
    }
}

/// FLUX's transformer under Black Forest Labs' names.
pub(crate) fn transformer(flux: &FluxConfig) -> Vec<Expected> {
    let (hidden, expanded, head) = (flux.hidden_size, flux.mlp_hidden(), flux.head_dim());
    let mut list = List(Vec::new());
    list.linear("img_in", flux.in_channels, hidden);
    list.linear("txt_in", flux.context_in_dim, hidden);
    let mut embedders = vec![("time_in", 256), ("vector_in", flux.vec_in_dim)];
    if flux.guidance_embed {
        embedders.push(("guidance_in", 256));
    }
    for (name, input) in embedders {
        list.linear(&format!("{name}.in_layer"), input, hidden);
        list.linear(&format!("{name}.out_layer"), hidden, hidden);
    }
    for block in 0..flux.depth {
        for stream in ["img", "txt"] {
            let at = format!("double_blocks.{block}.{stream}");
            list.linear(&format!("{at}_mod.lin"), hidden, 6 * hidden);
            list.tensor(format!("{at}_attn.qkv.weight"), &[3 * hidden, hidden]);
            if flux.qkv_bias {
                list.vector(format!("{at}_attn.qkv.bias"), 3 * hidden);
            }
            list.vector(format!("{at}_attn.norm.query_norm.scale"), head);
            list.vector(format!("{at}_attn.norm.key_norm.scale"), head);
            list.linear(&format!("{at}_attn.proj"), hidden, hidden);
            list.linear(&format!("{at}_mlp.0"), hidden, expanded);
            list.linear(&format!("{at}_mlp.2"), expanded, hidden);
        }
    }
    for block in 0..flux.depth_single_blocks {
        let at = format!("single_blocks.{block}");
        list.linear(&format!("{at}.linear1"), hidden, 3 * hidden + expanded);
        list.linear(&format!("{at}.linear2"), hidden + expanded, hidden);
        list.vector(format!("{at}.norm.query_norm.scale"), head);
        list.vector(format!("{at}.norm.key_norm.scale"), head);
        list.linear(&format!("{at}.modulation.lin"), hidden, 3 * hidden);
    }
    list.linear("final_layer.linear", hidden, flux.in_channels);
    list.linear("final_layer.adaLN_modulation.1", hidden, 2 * hidden);
    list.0
}

/// Both halves of FLUX's autoencoder.
pub(crate) fn autoencoder(ae: &AutoencoderConfig) -> Vec<Expected> {
    let mut list = List(Vec::new());
    let levels: Vec<usize> = ae.ch_mult.iter().map(|factor| factor * ae.ch).collect();
    let deepest = levels.last().copied().unwrap_or(ae.ch);
    let resnet = |list: &mut List, name: String, input: usize, output: usize| {
        list.norm(&format!("{name}.norm1"), input);
        list.convolution(&format!("{name}.conv1"), input, output, 3);
        list.norm(&format!("{name}.norm2"), output);
        list.convolution(&format!("{name}.conv2"), output, output, 3);
        if input != output {
            list.convolution(&format!("{name}.nin_shortcut"), input, output, 1);
        }
    };
    let middle = |list: &mut List, half: &str| {
        for block in ["block_1", "block_2"] {
            resnet(list, format!("{half}.mid.{block}"), deepest, deepest);
        }
        list.norm(&format!("{half}.mid.attn_1.norm"), deepest);
        for name in ["q", "k", "v", "proj_out"] {
            list.convolution(&format!("{half}.mid.attn_1.{name}"), deepest, deepest, 1);
        }
    };

    list.convolution("encoder.conv_in", ae.in_channels, ae.ch, 3);
    let mut channels = ae.ch;
    for (level, &width) in levels.iter().enumerate() {
        for block in 0..ae.num_res_blocks {
            resnet(&mut list, format!("encoder.down.{level}.block.{block}"), channels, width);
            channels = width;
        }
        if level + 1 < levels.len() {
            list.convolution(&format!("encoder.down.{level}.downsample.conv"), width, width, 3);
        }
    }
    middle(&mut list, "encoder");
    list.norm("encoder.norm_out", deepest);
    list.convolution("encoder.conv_out", deepest, 2 * ae.z_channels, 3);

    list.convolution("decoder.conv_in", ae.z_channels, deepest, 3);
    middle(&mut list, "decoder");
    for (level, &width) in levels.iter().enumerate().rev() {
        for block in 0..=ae.num_res_blocks {
            resnet(&mut list, format!("decoder.up.{level}.block.{block}"), channels, width);
            channels = width;
        }
        if level > 0 {
            list.convolution(&format!("decoder.up.{level}.upsample.conv"), width, width, 3);
        }
    }
    list.norm("decoder.norm_out", channels);
    list.convolution("decoder.conv_out", channels, ae.out_ch, 3);
    list.0
}

/// USO's style projector, without its prefix.
pub(crate) fn projector(sizes: &ProjectorConfig) -> Vec<Expected> {
    let mut list = List(Vec::new());
    for level in ["high", "mid", "low"] {
        list.linear(&format!("{level}_embedding_linear.0"), sizes.siglip_token_nums, sizes.style_token_nums);
        if sizes.context_layer_norm {
            list.norm(&format!("{level}_layer_norm"), sizes.siglip_token_dims);
        }
        list.linear(&format!("{level}_projection"), sizes.siglip_token_dims, sizes.hidden_size);
    }
    list.0
}

/// The T5 encoder under Hugging Face's names, its embedding as `shared`.
pub(crate) fn t5(sizes: &T5Config) -> Vec<Expected> {
    let mut list = List(Vec::new());
    let (width, inner) = (sizes.d_model, sizes.num_heads * sizes.d_kv);
    list.tensor("shared.weight", &[sizes.vocab_size, width]);
    for block in 0..sizes.num_layers {
        let at = format!("encoder.block.{block}.layer");
        for name in ["q", "k", "v"] {
            list.tensor(format!("{at}.0.SelfAttention.{name}.weight"), &[inner, width]);
        }
        list.tensor(format!("{at}.0.SelfAttention.o.weight"), &[width, inner]);
        if block == 0 {
            let biases = [sizes.relative_attention_num_buckets, sizes.num_heads];
            list.tensor(format!("{at}.0.SelfAttention.relative_attention_bias.weight"), &biases);
        }
        list.vector(format!("{at}.0.layer_norm.weight"), width);
        for name in ["wi_0", "wi_1"] {
            list.tensor(format!("{at}.1.DenseReluDense.{name}.weight"), &[sizes.d_ff, width]);
        }
        list.tensor(format!("{at}.1.DenseReluDense.wo.weight"), &[width, sizes.d_ff]);
        list.vector(format!("{at}.1.layer_norm.weight"), width);
    }
    list.vector("encoder.final_layer_norm.weight".into(), width);
    list.0
}

/// The text half of CLIP.
pub(crate) fn clip(sizes: &ClipConfig) -> Vec<Expected> {
    let mut list = List(Vec::new());
    let width = sizes.hidden_size;
    list.tensor("text_model.embeddings.token_embedding.weight", &[sizes.vocab_size, width]);
    list.tensor("text_model.embeddings.position_embedding.weight", &[sizes.max_position_embeddings, width]);
    for layer in 0..sizes.num_hidden_layers {
        encoder_layer(
            &mut list,
            &format!("text_model.encoder.layers.{layer}"),
            width,
            sizes.intermediate_size,
        );
    }
    list.norm("text_model.final_layer_norm", width);
    list.0
}

/// The SigLIP vision encoder, as far as USO reads it.
pub(crate) fn siglip(sizes: &SiglipConfig) -> Vec<Expected> {
    let mut list = List(Vec::new());
    let width = sizes.hidden_size;
    list.convolution("vision_model.embeddings.patch_embedding", sizes.num_channels, width, sizes.patch_size);
    list.tensor("vision_model.embeddings.position_embedding.weight", &[sizes.tokens(), width]);
    for layer in 0..sizes.used_layers() {
        encoder_layer(
            &mut list,
            &format!("vision_model.encoder.layers.{layer}"),
            width,
            sizes.intermediate_size,
        );
    }
    list.0
}

fn encoder_layer(list: &mut List, at: &str, width: usize, expanded: usize) {
    list.norm(&format!("{at}.layer_norm1"), width);
    for name in ["k_proj", "v_proj", "q_proj", "out_proj"] {
        list.linear(&format!("{at}.self_attn.{name}"), width, width);
    }
    list.norm(&format!("{at}.layer_norm2"), width);
    list.linear(&format!("{at}.mlp.fc1"), width, expanded);
    list.linear(&format!("{at}.mlp.fc2"), expanded, width);
}
