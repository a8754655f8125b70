//! The tensors that the files of a model hold, derived from its sizes.

use std::collections::BTreeMap;

use super::expected::{self, Expected};
use super::lora::{Stem, processors, uso_layers};
use super::part::Part;
use super::small::Published;
use crate::Error;
use crate::config::{ClipConfig, FluxConfig, ModelConfig, Nested, SiglipConfig, T5Config};
use crate::files::missing;

/// Sizes of a complete model.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Transformer, autoencoder and projector.
    pub config: ModelConfig,
    /// The T5 encoder.
    pub t5: T5Config,
    /// The text half of CLIP.
    pub clip: ClipConfig,
    /// The SigLIP vision encoder.
    pub siglip: SiglipConfig,
    /// Rank of USO's LoRA.
    pub lora_rank: usize,
}

/// Rank of the published LoRA.
const PUBLISHED_RANK: usize = 128;

impl Manifest {
    /// The published sizes of FLUX.1-dev, USO and their encoders.
    ///
    /// # Errors
    /// Only if the build itself is broken.
    pub fn published() -> Result<Self, Error> {
        Ok(Self {
            config: ModelConfig::default(),
            t5: read("t5.json")?,
            clip: read("clip.json")?,
            siglip: read("siglip.json")?,
            lora_rank: PUBLISHED_RANK,
        })
    }

    /// Names and shapes of a part's tensors, as in its file in this project's own layout.
    pub fn tensors(&self, part: Part) -> Vec<(String, Vec<usize>)> {
        match part {
            Part::Transformer => expected::transformer(&self.config.flux),
            Part::Autoencoder => expected::autoencoder(&self.config.ae),
            Part::Lora => lora(&self.config.flux, self.lora_rank),
            Part::Projector => expected::projector(&self.config.projector),
            Part::T5 => expected::t5(&self.t5),
            Part::Clip => expected::clip(&self.clip),
            Part::Siglip => expected::siglip(&self.siglip),
        }
    }
}

fn read<C: Nested + Published>(name: &str) -> Result<C, Error> {
    C::from_json(C::JSON).map_err(|error| missing(name, error.to_string()))
}

/// USO's changes under the names of the reference.
fn lora(flux: &FluxConfig, rank: usize) -> Vec<Expected> {
    let rows: BTreeMap<String, usize> = uso_layers(flux).into_iter().collect();
    let change = |(stem, layer, _): Stem| {
        let rows = *rows.get(&layer)?;
        let columns = if layer.ends_with("linear2") { flux.mlp_hidden() } else { 0 } + flux.hidden_size;
        let name = |side: &str| format!("{stem}.{side}.weight");
        Some([(name("down"), vec![rank, columns]), (name("up"), vec![rows, rank])])
    };
    let stems = processors(flux).into_iter().filter(|(stem, ..)| stem.contains(".processor."));
    stems.filter_map(change).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_files_have_as_many_tensors() {
        let published = Manifest::published().unwrap();
        let count = |part| published.tensors(part).len();
        assert_eq!([Part::Transformer, Part::Autoencoder, Part::Lora].map(count), [780, 244, 304]);
        let numbers: usize =
            published.tensors(Part::Lora).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(numbers, 239_075_328);
    }
}
