//! How much memory a sample takes, reckoned from sizes alone.

use super::Uso;
use super::autoencoder::Peak;
use super::latents::TOKEN_PIXELS;
use super::layers::SCORE_BYTES;
use super::modulation::ModulationTables;
use crate::config::FluxConfig;
use crate::{Footprint, Reference, Request, preprocess};

const F32: usize = size_of::<f32>();

/// Tokens of a sample.
struct Tokens {
    text: usize,
    target: usize,
    reference: usize,
}

impl Uso {
    /// What a sample of this request will take; nothing if it will be refused anyway. The text and vision
    /// encoders are not counted: they need less than the rest does at the sizes that a model is made for.
    pub(super) fn footprint_of(&self, request: &Request) -> Footprint {
        let reference = request.content.as_ref().and_then(|content| prepared(content, request.content_size));
        let Ok((width, height)) = self.target_size(request, reference) else { return Footprint::default() };
        let token = TOKEN_PIXELS * TOKEN_PIXELS;
        let styles = request.styles.len() * 3 * self.config.projector.style_token_nums;
        let tokens = Tokens {
            text: styles + self.config.text.t5,
            target: width * height / token,
            reference: reference.map_or(0, |(width, height)| width as usize * height as usize / token),
        };
        let flux = &self.config.flux;
        let bytes = self.dtype.size_in_bytes();
        let tables = ModulationTables::bytes(flux, request.steps as usize);
        let loras = self.loras.sizes(&request.loras);
        let branches = loras.numbers * bytes;
        let step = step(flux, &tokens, bytes).max(branching(flux, &tokens, bytes, loras.rows)) as u64;
        let decoding = self.on_device(self.autoencoder.decoding(width, height));
        let encoding = reference.map_or(0, |(width, height)| {
            self.on_device(self.autoencoder.encoding(width as usize, height as usize))
        });
        Footprint {
            kept: (tables + branches + beside_tables(flux, &tokens, bytes)) as u64,
            // On the CPU there is no other memory for them to go to.
            movable: if self.device.is_cpu() { 0 } else { (tables + branches) as u64 },
            working: step.max(decoding).max(encoding),
        }
    }

    /// Host memory counts where the device has no other.
    fn on_device(&self, peak: Peak) -> u64 {
        if self.device.is_cpu() { peak.total() } else { peak.device }
    }
}

/// What a sample holds beside its modulation tables: latent and velocity in float32, embedded text and
/// reference, rotary tables in float32.
fn beside_tables(flux: &FluxConfig, tokens: &Tokens, bytes: usize) -> usize {
    let latents = 2 * tokens.target * flux.in_channels * F32;
    let embedded = (tokens.text + tokens.reference) * flux.hidden_size * bytes;
    latents + embedded + tokens.all() * flux.head_dim() * F32
}

/// The most that a single block holds at a time, counted from `SingleBlock::forward`: in attention the
/// block's input, qkv with the feed-forward half beside it, then q, k and v apart, rotated and scaled, keys in
/// float32 where they are kept in less, and a slice of scores in float32 before and after softmax; at its end
/// the joined halves and the results.
fn step(flux: &FluxConfig, tokens: &Tokens, bytes: usize) -> usize {
    let all = tokens.all();
    let (hidden, expanded) = (all * flux.hidden_size, all * flux.mlp_hidden());
    let scores = (flux.num_heads * all * all * F32).min(SCORE_BYTES);
    let keys = if bytes < F32 { hidden * F32 } else { 0 };
    let attending = (12 * hidden + expanded) * bytes + keys + 2 * scores;
    attending.max((9 * hidden + 3 * expanded) * bytes)
}

/// The most that the side branches of a single block's first layer hold at a time, of which the widest changes that
/// many `rows`: the block's input, the same normed, the layer's output, what is added to it, and the sum. Nothing
/// without branches.
fn branching(flux: &FluxConfig, tokens: &Tokens, bytes: usize, rows: usize) -> usize {
    let beside = if rows == 0 { 0 } else { 5 * flux.hidden_size + flux.mlp_hidden() };
    tokens.all() * (beside + 2 * rows) * bytes
}

impl Tokens {
    fn all(&self) -> usize {
        self.text + self.target + self.reference
    }
}

/// Size of a content reference after its preparation.
fn prepared(content: &Reference, content_size: u32) -> Option<(u32, u32)> {
    preprocess::reference_size(content.width, content.height, content_size)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::uso::autoencoder::{self, Chunks};
    use crate::{Engine, Image, LoraFile, ModelConfig, ModelFiles, RequestLora, Setup};

    // Growth of the resident memory at its peak in MiB, of the bundled model in float32 on the CPU. What is
    // smaller drowns in the memory that the process has anyway.

    /// Side of the picture, tokens of text and styles, side of the content reference; a step.
    const STEPS: [([usize; 3], usize); 5] = [
        ([512, 32, 0], 43),
        ([512, 44, 512], 163),
        ([768, 32, 0], 198),
        ([768, 44, 512], 399),
        ([1024, 32, 0], 565),
    ];

    /// Side of the picture; decoding it.
    const DECODINGS: [(usize, usize); 4] = [(256, 46), (512, 143), (768, 314), (1024, 544)];

    fn assert_near(estimate: usize, measured: usize, what: &str) {
        let estimate = estimate as f64 / f64::from(1 << 20);
        let factor = estimate / measured as f64;
        assert!((0.85..1.2).contains(&factor), "{what}: {estimate:.0} MiB instead of {measured}");
    }

    #[test]
    fn estimates_are_near_what_was_measured() {
        let config = ModelConfig::read(&ModelFiles::Bundled).unwrap();
        let token = |side: usize| (side / TOKEN_PIXELS).pow(2);
        for ([side, text, reference], measured) in STEPS {
            let tokens = Tokens { text, target: token(side), reference: token(reference) };
            assert_near(step(&config.flux, &tokens, F32), measured, &format!("a step at {side}"));
        }
        for (side, measured) in DECODINGS {
            let estimate = autoencoder::decoding(&config.ae, side, side, Chunks::CPU).total();
            assert_near(estimate as usize, measured, &format!("decoding {side}"));
        }
    }

    /// A LoRA of two layers, one of which has its rows in two pieces.
    fn write_lora(folder: &std::path::Path) {
        let hidden = ModelConfig::read(&ModelFiles::Bundled).unwrap().flux.hidden_size;
        let ones =
            |name: &str, shape| (name.to_owned(), Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap());
        let tensors = [
            ones("transformer.norm_out.linear.lora_A.weight", (4, hidden)),
            ones("transformer.norm_out.linear.lora_B.weight", (2 * hidden, 4)),
            ones("double_blocks.0.img_attn.qkv.lora_A.weight", (2, hidden)),
            ones("double_blocks.0.img_attn.qkv.lora_B.weight", (3 * hidden, 2)),
        ];
        let tensors = std::collections::HashMap::from(tensors);
        candle_core::safetensors::save(&tensors, folder.join("ones.safetensors")).unwrap();
    }

    #[test]
    fn what_is_kept_is_what_a_sample_holds() {
        let folder = tempfile::tempdir().unwrap();
        write_lora(folder.path());
        let lora_folder = Some(folder.path().to_owned());
        let setup = Setup { lora_folder, ..Setup::new(Device::Cpu, DType::F32) };
        let mut uso = Uso::load_with(&ModelFiles::Bundled, &setup).unwrap();
        let LoraFile { name, digest } = uso.loras()[0].clone();
        let image =
            |colour: u8| Reference::from(Image { width: 32, height: 48, rgb: vec![colour; 3 * 32 * 48] });
        let request = Request {
            prompt: "a red star".into(),
            content: Some(image(200)),
            styles: vec![image(90), image(20)],
            width: 64,
            height: 96,
            keep_size: false,
            content_size: 48,
            steps: 3,
            guidance: 4.0,
            seed: 1,
            position_shift: crate::PositionShift::default(),
            loras: vec![RequestLora { name, digest, weight: 0.5 }],
        };
        let mut sample = uso.encode(&request).unwrap();
        uso.step(&mut sample).unwrap();
        let conditioning = &sample.conditioning;
        assert!(conditioning.branches.bytes() > 0);
        let tensors =
            [&conditioning.text, &conditioning.rotary.cos, &conditioning.rotary.sin, &sample.latent];
        let all = tensors.into_iter().chain(&conditioning.reference).chain(&sample.velocity);
        let bytes: usize = all.map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes()).sum();
        let tables = ModulationTables::bytes(&uso.config.flux, 3);
        assert_eq!(uso.footprint(&request).kept, (bytes + tables) as u64 + conditioning.branches.bytes());
    }

    #[test]
    fn half_precision_takes_less() {
        let config = ModelConfig::default();
        let tokens = Tokens { text: 512, target: 4096, reference: 1024 };
        assert!(step(&config.flux, &tokens, 2) < step(&config.flux, &tokens, 4));
    }
}
