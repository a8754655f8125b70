//! The vision transformer of DINO and CSD under the names of their files (Dosovitskiy et al., arXiv 2010.11929).

use candle_core::{IndexOp, Result, Tensor};
use candle_nn::{
    Conv2d, Conv2dConfig, LayerNorm, Linear, Module, VarBuilder, conv2d, conv2d_no_bias, layer_norm,
};

use super::sizes::Sizes;
use crate::model::expected::Expected;
use crate::uso::fused::attend_between;

/// How a file names the parts of a tower, and what differs between towers besides.
pub(super) struct Layout {
    convolution: &'static str,
    has_convolution_bias: bool,
    class: &'static str,
    /// Whether class token and positions have leading dimensions of 1.
    has_leading_ones: bool,
    positions: &'static str,
    /// The norm before the blocks.
    before: Option<&'static str>,
    blocks: &'static str,
    norms: [&'static str; 2],
    /// Weight and bias of queries, keys and values.
    qkv: [&'static str; 2],
    out: &'static str,
    feed_forward: [&'static str; 2],
    /// The norm after the blocks.
    after: &'static str,
    /// A matrix (width, feature) that the class token is multiplied with.
    head: Option<&'static str>,
    epsilon: f64,
    activation: fn(&Tensor) -> Result<Tensor>,
}

/// DINO's names, sizes aside (facebookresearch/dino, vision_transformer.py).
pub(super) const DINO: Layout = Layout {
    convolution: "patch_embed.proj",
    has_convolution_bias: true,
    class: "cls_token",
    has_leading_ones: true,
    positions: "pos_embed",
    before: None,
    blocks: "blocks",
    norms: ["norm1", "norm2"],
    qkv: ["attn.qkv.weight", "attn.qkv.bias"],
    out: "attn.proj",
    feed_forward: ["mlp.fc1", "mlp.fc2"],
    after: "norm",
    head: None,
    epsilon: 1e-6,
    activation: Tensor::gelu_erf,
};

/// CSD's: the visual half of OpenAI's CLIP without its projection (openai/CLIP, clip/model.py), then a style head.
pub(super) const CSD: Layout = Layout {
    convolution: "backbone.conv1",
    has_convolution_bias: false,
    class: "backbone.class_embedding",
    has_leading_ones: false,
    positions: "backbone.positional_embedding",
    before: Some("backbone.ln_pre"),
    blocks: "backbone.transformer.resblocks",
    norms: ["ln_1", "ln_2"],
    qkv: ["attn.in_proj_weight", "attn.in_proj_bias"],
    out: "attn.out_proj",
    feed_forward: ["mlp.c_fc", "mlp.c_proj"],
    after: "backbone.ln_post",
    head: Some("last_layer_style"),
    epsilon: 1e-5,
    activation: quick_gelu,
};

fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x * candle_nn::ops::sigmoid(&(x * 1.702)?)?
}

impl Layout {
    /// The tensors that a tower of these sizes has.
    pub(super) fn expected(&self, sizes: &Sizes) -> Vec<Expected> {
        let Sizes { width, expanded, depth, patch, feature, .. } = *sizes;
        let mut all: Vec<Expected> = Vec::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        add(format!("{}.weight", self.convolution), &[width, 3, patch, patch]);
        if self.has_convolution_bias {
            add(format!("{}.bias", self.convolution), &[width]);
        }
        add(self.class.into(), &self.shape(&[width]));
        add(self.positions.into(), &self.shape(&[sizes.tokens(), width]));
        if let Some(head) = self.head {
            add(head.into(), &[width, feature]);
        }
        for norm in self.before.iter().chain([&self.after]) {
            add(format!("{norm}.weight"), &[width]);
            add(format!("{norm}.bias"), &[width]);
        }
        for block in 0..depth {
            let at = format!("{}.{block}", self.blocks);
            add(format!("{at}.{}", self.qkv[0]), &[3 * width, width]);
            add(format!("{at}.{}", self.qkv[1]), &[3 * width]);
            let linears = [
                (self.out, width, width),
                (self.feed_forward[0], expanded, width),
                (self.feed_forward[1], width, expanded),
            ];
            for (name, output, input) in linears {
                add(format!("{at}.{name}.weight"), &[output, input]);
                add(format!("{at}.{name}.bias"), &[output]);
            }
            for norm in self.norms {
                add(format!("{at}.{norm}.weight"), &[width]);
                add(format!("{at}.{norm}.bias"), &[width]);
            }
        }
        all
    }

    /// The shape of the class token or of the positions: DINO's have three dimensions.
    fn shape(&self, bare: &[usize]) -> Vec<usize> {
        let ones = if self.has_leading_ones { 3 - bare.len() } else { 0 };
        [&vec![1; ones][..], bare].concat()
    }
}

/// A tower with its weights.
pub(super) struct Tower {
    convolution: Conv2d,
    /// (1, 1, width).
    class: Tensor,
    /// (1, tokens, width).
    positions: Tensor,
    before: Option<LayerNorm>,
    blocks: Vec<Block>,
    after: LayerNorm,
    /// (width, feature).
    head: Option<Tensor>,
}

impl Tower {
    /// Builds the tower from weights under the names of `layout`.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    pub(super) fn new(layout: &Layout, sizes: &Sizes, vb: &VarBuilder) -> Result<Self> {
        let (width, patch) = (sizes.width, sizes.patch);
        let stride = Conv2dConfig { stride: patch, ..Default::default() };
        let build = if layout.has_convolution_bias { conv2d } else { conv2d_no_bias };
        let norm = |name: &str| layer_norm(width, layout.epsilon, vb.pp(name));
        Ok(Self {
            convolution: build(3, width, patch, stride, vb.pp(layout.convolution))?,
            class: vb.get(layout.shape(&[width]), layout.class)?.reshape((1, 1, width))?,
            positions: vb.get(layout.shape(&[sizes.tokens(), width]), layout.positions)?.reshape((
                1,
                sizes.tokens(),
                width,
            ))?,
            before: layout.before.map(norm).transpose()?,
            blocks: (0..sizes.depth)
                .map(|block| Block::new(layout, sizes, &vb.pp(layout.blocks).pp(block)))
                .collect::<Result<_>>()?,
            after: norm(layout.after)?,
            head: layout.head.map(|name| vb.get((width, sizes.feature), name)).transpose()?,
        })
    }

    /// The feature of prepared pixels of shape (1, 3, side, side): (1, feature).
    ///
    /// # Errors
    /// If the shape is another, or the device fails.
    pub(super) fn feature(&self, pixels: &Tensor) -> Result<Tensor> {
        let patches = self.convolution.forward(pixels)?.flatten_from(2)?.transpose(1, 2)?;
        let mut x = Tensor::cat(&[&self.class, &patches], 1)?.broadcast_add(&self.positions)?;
        if let Some(norm) = &self.before {
            x = norm.forward(&x)?;
        }
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let class = self.after.forward(&x.i((.., 0))?.contiguous()?)?;
        self.head.as_ref().map_or(Ok(class.clone()), |head| class.matmul(head))
    }
}

struct Block {
    norms: [LayerNorm; 2],
    qkv: Linear,
    out: Linear,
    expand: Linear,
    contract: Linear,
    heads: usize,
    activation: fn(&Tensor) -> Result<Tensor>,
}

impl Block {
    fn new(layout: &Layout, sizes: &Sizes, vb: &VarBuilder) -> Result<Self> {
        let Sizes { width, expanded, heads, .. } = *sizes;
        let norm = |name: &str| layer_norm(width, layout.epsilon, vb.pp(name));
        let linear = |name: &str, input, output| candle_nn::linear(input, output, vb.pp(name));
        let [weight, bias] = layout.qkv;
        Ok(Self {
            norms: [norm(layout.norms[0])?, norm(layout.norms[1])?],
            qkv: Linear::new(vb.get((3 * width, width), weight)?, Some(vb.get(3 * width, bias)?)),
            out: linear(layout.out, width, width)?,
            expand: linear(layout.feed_forward[0], width, expanded)?,
            contract: linear(layout.feed_forward[1], expanded, width)?,
            heads,
            activation: layout.activation,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.attend(&self.norms[0].forward(x)?)?)?;
        let expanded = self.expand.forward(&self.norms[1].forward(&x)?)?;
        x + self.contract.forward(&(self.activation)(&expanded)?)?
    }

    fn attend(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let qkv = self.qkv.forward(x)?.reshape((batch, tokens, 3, self.heads, width / self.heads))?;
        let part = |i: usize| qkv.i((.., .., i))?.transpose(1, 2);
        self.out.forward(&attend_between(&part(0)?, &part(1)?, &part(2)?)?)
    }
}
