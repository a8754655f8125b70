//! The engine interface of USO.

use std::time::Duration;

use candle_core::{Device, Tensor};

use super::{Sample, Uso, autoencoder, is_finite, preview, self_test};
use crate::model::LoraFile;
use crate::{
    CacheCounts, Engine, Error, Footprint, Image, PromptTokens, Request, Shape, Steps, Together, checkpoint,
    device, pool,
};

impl Engine for Uso {
    type Sample = Sample;

    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> String {
        device::name(&self.device)
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn precision(&self) -> &str {
        self.dtype.as_str()
    }

    fn plan(&self) -> Option<&str> {
        self.plan.as_ref().map(|plan| plan.summary.as_str())
    }

    fn expected_step(&self, sample: &Sample) -> Option<Duration> {
        sample.expected_step
    }

    fn loras(&self) -> &[LoraFile] {
        self.loras.files()
    }

    fn style_side(&self) -> u32 {
        self.siglip_side
    }

    fn self_test(&mut self) -> Result<(), Error> {
        self_test::run(self)
    }

    fn memory(&self) -> Option<u64> {
        // Samples must not use the cache's share.
        self.free.map(|free| free.saturating_sub(self.features.capacity()))
    }

    fn footprint(&self, request: &Request) -> Footprint {
        self.footprint_of(request)
    }

    fn cache(&self) -> CacheCounts {
        self.features.counts()
    }

    fn encode(&mut self, request: &Request) -> Result<Sample, Error> {
        let sample = self.prepare(request).and_then(|sample| {
            pool::give_back(&self.device)?;
            Ok(sample)
        });
        sample.map_err(|error| self.with_numbers(error, self.footprint(request)))
    }

    fn prompt_tokens(&self, sample: &Sample) -> Option<PromptTokens> {
        Some(sample.prompt_tokens())
    }

    fn steps(&self, sample: &Sample) -> Steps {
        sample.steps()
    }

    fn skipped_steps(&self, sample: &Sample) -> u32 {
        sample.skipped_steps()
    }

    fn step(&mut self, sample: &mut Sample) -> Result<(), Error> {
        if sample.steps().is_done() {
            return Ok(());
        }
        let advanced = self.advance(sample).and_then(|()| Ok(self.device.synchronize()?));
        advanced.map_err(|error| self.with_numbers(error, sample.footprint))?;
        finite_at_the_end(sample)
    }

    fn shape(&self, request: &Request) -> Option<Shape> {
        self.shape_of(request)
    }

    fn together(&self, request: &Request, samples: usize) -> Together {
        self.together_of(request, samples)
    }

    fn step_together(&mut self, samples: &mut [&mut Sample]) -> Result<Vec<Result<(), Error>>, Error> {
        let mut left: Vec<&mut Sample> = samples
            .iter_mut()
            .map(|sample| &mut **sample)
            .filter(|sample| !sample.steps().is_done())
            .collect();
        let first = left.first().and_then(|sample| sample.shape.clone());
        if first.is_none() || left.iter().any(|sample| sample.shape != first) {
            return Ok(samples.iter_mut().map(|sample| self.step(sample)).collect());
        }
        let need = left.iter().map(|sample| sample.footprint.alone()).sum();
        let advanced = self.advance_together(&mut left).and_then(|()| Ok(self.device.synchronize()?));
        advanced.map_err(|error| self.with_need(error, need))?;
        Ok(samples.iter().map(|sample| finite_at_the_end(sample)).collect())
    }

    fn set_aside(&self, sample: &mut Sample) -> Result<(), Error> {
        let modulations = sample.modulations.to_device(&Device::Cpu)?;
        let step_cache = sample.step_cache.to_device(&Device::Cpu)?;
        sample.conditioning = sample.conditioning.to_device(&Device::Cpu)?;
        (sample.modulations, sample.step_cache) = (modulations, step_cache);
        Ok(())
    }

    fn preview(&self, sample: &Sample) -> Result<Option<Image>, Error> {
        match sample.predicted()? {
            Some(latent) => Ok(Some(preview::render(&latent, &self.config.preview)?)),
            None => Ok(None),
        }
    }

    fn checkpoint(&self, sample: &Sample) -> Result<Vec<u8>, Error> {
        let values = sample.latent.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(checkpoint::pack(sample.steps(), &bytes))
    }

    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<Sample, Error> {
        let mut sample = self.encode(request)?;
        let size = sample.latent.elem_count() * size_of::<f32>();
        let (done, bytes) = checkpoint::unpack(checkpoint, request.steps, size)?;
        let values = bytes.chunks_exact(size_of::<f32>());
        let values: Vec<f32> = values.map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect();
        // Resuming from such numbers would fail on every attempt.
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::Checkpoint("it is not finite".into()));
        }
        sample.latent = Tensor::from_vec(values, sample.latent.shape(), &self.device)?;
        sample.position = done as usize;
        Ok(sample)
    }

    fn decode_predicted(&mut self, sample: &Sample) -> Result<Option<Image>, Error> {
        match sample.predicted()? {
            Some(latent) => self.decode_latent(&latent, sample.footprint).map(Some),
            None => Ok(None),
        }
    }

    fn decode(&mut self, sample: &Sample) -> Result<Image, Error> {
        self.decode_latent(&sample.latent()?, sample.footprint)
    }
}

/// Refuses a sample whose last step gave numbers that are not finite.
fn finite_at_the_end(sample: &Sample) -> Result<(), Error> {
    let Steps { done, of } = sample.steps();
    if sample.steps().is_done() && !is_finite(&sample.latent)? {
        return Err(Error::NotFinite { step: done as usize, steps: of as usize });
    }
    Ok(())
}

impl Uso {
    /// The picture of a latent (1, 16, h, w).
    fn decode_latent(&self, latent: &Tensor, footprint: Footprint) -> Result<Image, Error> {
        pool::give_back(&self.device)?;
        let decoded = self.autoencoder.decode(latent).and_then(|pixels| autoencoder::to_image(&pixels));
        pool::give_back(&self.device)?;
        decoded.map_err(|error| self.with_numbers(error.into(), footprint))
    }
}
