//! The LoRAs that a request asks for.

use super::Uso;
use super::lora::Changes;
use super::side_branches::SideBranches;
use crate::config::LoraConfig;
use crate::{Error, RequestLora};

impl Uso {
    /// The branches of a request's LoRAs, each times its weight.
    pub(super) fn side_branches(&self, loras: &[RequestLora]) -> Result<SideBranches, Error> {
        let mut changes = Changes::default();
        for (adapter, weight) in self.loras.find(loras)? {
            let config = LoraConfig { network_alpha: None, lora_weight: weight };
            changes.add(Changes::read(adapter, &config).map_err(|error| adapter.weights().fault(&error))?);
        }
        Ok(SideBranches::new(changes, self.dtype, &self.device)?)
    }
}
