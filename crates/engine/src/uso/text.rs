//! T5 where the placement has it.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::builder::Place;
use super::t5::T5;
use crate::Error;
use crate::matrix::{Activations, Tier};
use crate::model::Model;
use crate::placement::{Keep, T5Place};

/// T5, there for good or for a prompt at a time.
pub(super) enum Text {
    /// It stays where it computes.
    Resident(T5),
    /// Its weights are almost half of a model's, and a prompt needs them once.
    PerPrompt { model: Arc<Model>, place: Place },
}

impl Text {
    /// Loads it, unless a prompt does.
    ///
    /// # Errors
    /// If its weights are faulty.
    pub(super) fn new(model: &Arc<Model>, place: T5Place, device: &Place) -> Result<Self, Error> {
        let host = Place::new(Device::Cpu, DType::F32);
        let place = match place {
            T5Place::Device => device.clone(),
            T5Place::Host => host,
            T5Place::HostQ8 => {
                Place { keep: Keep::Tier(Tier::Q8_0), activations: Activations::Rounded, ..host }
            }
            T5Place::PerBatch => {
                return Ok(Self::PerPrompt { model: Arc::clone(model), place: device.clone() });
            }
        };
        model.t5_encoder(&place).map(Self::Resident)
    }

    /// States of padded token ids: (1, tokens, width), where they were made.
    ///
    /// # Errors
    /// If the weights cannot be loaded, or the device fails.
    pub(super) fn encode(&self, ids: &[u32]) -> Result<Tensor, Error> {
        match self {
            Self::Resident(t5) => Ok(t5.encode(ids)?),
            Self::PerPrompt { model, place } => Ok(model.t5_encoder(place)?.encode(ids)?),
        }
    }
}
