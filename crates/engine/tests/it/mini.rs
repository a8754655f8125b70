//! The bundled model: its recorded pictures, and that it is the default without a folder.

use candle_core::{DType, Device};
use serde::Deserialize;
use uso_engine::uso::latents;
use uso_engine::{Engine, Image, ModelFiles, PositionShift, Request, Uso};

use crate::golden::{Golden, assert_same_picture, image, values};

/// One line of `prompts.jsonl`.
#[derive(Deserialize)]
pub(crate) struct Example {
    prompt: String,
    content: Option<String>,
    styles: Vec<String>,
    seed: u64,
    width: u32,
    height: u32,
    steps: u32,
    guidance: f64,
    pub(crate) golden: String,
    tensors: String,
}

impl Example {
    /// Names of its style references.
    pub(crate) fn styles(&self) -> &[String] {
        &self.styles
    }

    /// The name of its content reference.
    pub(crate) fn content(&self) -> Option<&str> {
        self.content.as_deref()
    }

    pub(crate) fn request(&self, content_size: u32) -> Request {
        Request {
            prompt: self.prompt.clone(),
            content: self.content.as_deref().map(|name| reference(name).into()),
            styles: self.styles.iter().map(|name| reference(name).into()).collect(),
            width: self.width,
            height: self.height,
            keep_size: false,
            content_size,
            steps: self.steps,
            guidance: self.guidance,
            seed: self.seed,
            position_shift: PositionShift::default(),
            loras: Vec::new(),
            step_cache: 0.0,
        }
    }
}

pub(crate) fn example_file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mini/examples").join(name)
}

pub(crate) fn reference(name: &str) -> Image {
    image(example_file(name))
}

pub(crate) fn examples() -> Vec<Example> {
    let prompts = std::fs::read_to_string(example_file("prompts.jsonl")).unwrap();
    let examples: Vec<Example> = prompts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(examples.len(), 7);
    examples
}

#[test]
fn the_recorded_pictures_come_out_again() {
    let mut uso = Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32).unwrap();
    let content_size = uso.defaults().content_size;
    for example in examples() {
        let mut golden = Golden::open(example_file(&example.tensors));
        let mut sample = uso.encode(&example.request(content_size)).unwrap();
        golden.exact("noise", &values(&sample.latent().unwrap()));
        while !sample.steps().is_done() {
            uso.step(&mut sample).unwrap();
        }
        golden.near("latents", &latents::pack(&sample.latent().unwrap()).unwrap());
        let picture = uso.decode(&sample).unwrap();
        assert_same_picture(&picture, &reference(&example.golden).rgb, &example.golden);
        golden.finish();
    }
}

#[test]
fn defaults_come_from_its_configuration() {
    let uso = Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32).unwrap();
    let defaults = uso.defaults();
    assert_eq!((defaults.width, defaults.height), (64, 64));
    assert_eq!((defaults.content_size, defaults.keep_size_base), (64, 64));
    assert_eq!((defaults.steps, defaults.guidance), (10, 4.0));
    assert_eq!(uso.name(), "mini");
}
