//! The memory and time of a sample, from the same trace that plans use.

use std::time::Duration;

use super::Uso;
use super::step_cache::StepCache;
use crate::kernels::is_on;
use crate::placement::Keep;
use crate::plan::{Picture, SLACK_SHARE, Tracer};
use crate::{Footprint, Reference, Request, preprocess};

impl Uso {
    /// Memory of a sample of this request; zero if it will be refused anyway.
    pub(super) fn footprint_of(&self, request: &Request) -> Footprint {
        let Some(picture) = self.picture(request) else { return Footprint::default() };
        let tracer = self.tracer();
        let (trace, backend) = (tracer.run(&picture), tracer.backend);
        let most = trace.encode.bytes.max(trace.step.bytes).max(trace.decode.bytes);
        let loras = self.loras.sizes(&request.loras);
        let branches = (loras.numbers * self.dtype.size_in_bytes()) as u64;
        let target = picture.tokens(&self.config).target;
        let cache = StepCache::new(request.step_cache).bytes(target, &self.config.flux, self.dtype);
        let slack = |bytes: u64| if backend.is_apart() { bytes + bytes / SLACK_SHARE } else { bytes };
        // On the CPU, references are in the same memory as the sample.
        let references = if self.device.is_cpu() { request.reference_bytes() } else { 0 };
        Footprint {
            kept: slack(trace.kept + branches + cache) + references,
            // On the CPU there is no other memory to move to.
            movable: if self.device.is_cpu() { 0 } else { slack(trace.tables + branches + cache) },
            working: slack(most.saturating_sub(trace.kept).max(self.branching(&picture, loras.rows as u64))),
        }
    }

    /// Expected time of a step of this request, if the device's speed is known.
    pub(super) fn expected(&self, request: &Request) -> Option<Duration> {
        let speed = self.plan.as_ref()?.speed.as_ref()?;
        let picture = self.picture(request)?;
        Duration::try_from_secs_f64(self.tracer().step(&picture, speed).step.expected).ok()
    }

    /// Most bytes that the side branches of a single block's first layer hold at a time, if the widest of them changes
    /// `rows` rows: the block's input, the normed input, the layer's output, what is added to it, and the sum. Zero
    /// without branches.
    pub(super) fn branching(&self, picture: &Picture, rows: u64) -> u64 {
        if rows == 0 {
            return 0;
        }
        let flux = &self.config.flux;
        let beside = (5 * flux.hidden_size + flux.mlp_hidden()) as u64;
        picture.tokens(&self.config).all() * (beside + 2 * rows) * self.dtype.size_in_bytes() as u64
    }

    pub(super) fn tracer(&self) -> Tracer<'_> {
        let eight_bits = match self.placement.keep {
            Keep::Tier(tier) => {
                tier.product().is_some_and(|product| is_on(&self.device, product, self.dtype))
            }
            Keep::AsStored => false,
        };
        Tracer { eight_bits, ..Tracer::on(&self.device, self.dtype, &self.outline, self.placement) }
    }

    /// The sizes that a request's memory and time depend on; None if they will be refused.
    pub(super) fn picture(&self, request: &Request) -> Option<Picture> {
        let content = request.content.as_ref().and_then(|content| prepared(content, request.content_size));
        let (width, height) = self.target_size(request, content).ok()?;
        Some(Picture {
            width: width as u32,
            height: height as u32,
            content,
            styles: request.styles.len() as u32,
            steps: request.steps,
        })
    }
}

/// Size of a content reference after its preparation.
fn prepared(content: &Reference, content_size: u32) -> Option<(u32, u32)> {
    preprocess::reference_size(content.width(), content.height(), content_size)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::placement::Placement;
    use crate::plan::{Backend, Outline, Trace};
    use crate::uso::modulation::ModulationTables;
    use crate::{Engine, Image, LoraFile, Model, ModelConfig, ModelFiles, RequestLora, Setup};

    // `tests/memory.rs` compares traces with what is allocated.

    fn trace(side: u32, styles: u32, content: u32, dtype: DType) -> Trace {
        let outline = Outline::of(&Model::open(&ModelFiles::Bundled).unwrap()).unwrap();
        let placement = Placement::default();
        let tracer = Tracer { outline: &outline, placement, backend: Backend::Cpu, dtype, eight_bits: false };
        let content = (content > 0).then_some((content, content));
        tracer.run(&Picture { width: side, height: side, content, styles, steps: 1 })
    }

    /// A LoRA of two layers, one of which has two ranges of rows.
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
            step_cache: 0.1,
        };
        let mut sample = uso.encode(&request).unwrap();
        uso.step(&mut sample).unwrap();
        let conditioning = &sample.conditioning;
        assert!(conditioning.branches.bytes() > 0);
        let tensors =
            [&conditioning.text, &conditioning.rotary.cos, &conditioning.rotary.sin, &sample.latent];
        let whole = sample.step_cache.whole.as_ref().unwrap();
        let all = tensors.into_iter().chain(&conditioning.reference).chain(&sample.velocity);
        let all = all.chain([&whole.first, &whole.others]);
        let bytes: usize = all.map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes()).sum();
        let tables = ModulationTables::bytes(&uso.config.flux, 3);
        let kept = (bytes + tables) as u64 + conditioning.branches.bytes() + request.reference_bytes();
        assert_eq!(uso.footprint(&request).kept, kept);
    }

    #[test]
    fn half_precision_keeps_less() {
        let [half, single] = [DType::F16, DType::F32].map(|dtype| trace(512, 1, 256, dtype).kept);
        assert!(half < single);
    }
}
