#![doc = include_str!("../README.md")]

mod cache;
mod checkpoint;
mod config;
mod cpu;
pub mod device;
mod engine;
mod error;
mod examples;
mod files;
mod fingerprint;
mod guard;
mod image;
pub mod kernels;
pub mod matrix;
mod memory;
mod metadata;
pub mod model;
pub mod noise;
mod observed;
mod pack;
mod parallel;
mod picture_file;
mod placement;
pub mod plan;
mod pool;
mod prepare;
pub mod preprocess;
mod purpose;
mod reference;
mod replace;
mod request;
mod resample;
pub mod schedule;
pub mod scorers;
pub mod scripted;
mod setup;
mod stream;
mod together;
pub mod tokenize;
pub mod uso;
pub mod weights;

pub use cache::CacheCounts;
pub use config::{
    AutoencoderConfig, ClipConfig, Defaults, FluxConfig, LoraConfig, ModelConfig, PreviewConfig,
    ProjectorConfig, SiglipConfig, T5Config, TextLengths,
};
pub use engine::{Engine, Footprint, PREVIEW_SIDE, Steps};
pub use error::Error;
pub use examples::{EXAMPLE_PICTURES, Example, examples};
pub use files::ModelFiles;
pub use image::Image;
pub use matrix::Tier;
pub use model::{LoraFile, Model};
pub use observed::{Observed, ObservedSample, Observer};
pub use pack::{Packed, Progress, pack};
pub use picture_file::{FileFormat, PictureText};
pub use plan::Plan;
pub use prepare::Preparation;
pub use purpose::Purpose;
pub use reference::Reference;
pub use request::{
    GUIDANCE, LORA_WEIGHT, MAX_LORAS, MAX_STYLES, Request, RequestLora, SIDE, STEP_CACHE, STEPS,
};
pub use scripted::{Script, Scripted};
pub use setup::{ExtraLora, Planned, Setup};
pub use stream::PinnedLimit;
pub use together::{Shape, Together};
pub use tokenize::{PromptTokens, TokenCount};
pub use uso::positions::PositionShift;
pub use uso::{Calls, Place, Sample, Uso};
pub use uso_picture::DecodeLimits;
