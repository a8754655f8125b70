//! Steps of several samples of one shape together.

use std::time::Duration;

use candle_core::{DType, Tensor};

use super::flux::Member;
use super::{Sample, Uso};
use crate::plan::SLACK_SHARE;
use crate::{Error, Request, Shape, Together};

impl Uso {
    /// What samples need in common so that their tokens can be stacked. Samples with a step cache skip blocks at
    /// different steps.
    pub(super) fn shape_of(&self, request: &Request) -> Option<Shape> {
        if request.step_cache > 0.0 {
            return None;
        }
        let picture = self.picture(request)?;
        let loras = request.loras.iter().map(|lora| (lora.digest.clone(), lora.weight.to_bits())).collect();
        let (width, height) = (picture.width, picture.height);
        Some(Shape { width, height, content: picture.content, styles: picture.styles, loras })
    }

    /// What a step of so many samples of this request's shape takes together; nothing if they will be refused.
    pub(super) fn together_of(&self, request: &Request, samples: usize) -> Together {
        let Some(picture) = self.picture(request) else { return Together::default() };
        let (tracer, samples) = (self.tracer(), samples.max(1) as u64);
        let trace = tracer.together(&picture, samples);
        let rows = self.loras.sizes(&request.loras).rows as u64;
        let working =
            (trace.step.bytes.saturating_sub(trace.kept)).max(samples * self.branching(&picture, rows));
        let working = if tracer.backend.is_apart() { working + working / SLACK_SHARE } else { working };
        let speed = self.plan.as_ref().and_then(|plan| plan.speed.as_ref());
        let expected = speed.map(|speed| tracer.cost(&trace, speed).step.expected);
        Together {
            working: working.max(self.footprint_of(request).working),
            expected: expected.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }

    /// One Euler step of several samples together. On an error none of them has changed.
    pub(super) fn advance_together(&self, samples: &mut [&mut Sample]) -> Result<(), Error> {
        if let [alone] = samples {
            return self.advance(alone);
        }
        for sample in samples.iter_mut() {
            sample.modulations = sample.modulations.to_device(&self.device)?;
            sample.conditioning = sample.conditioning.to_device(&self.device)?;
        }
        let arrived = {
            let steps = samples.iter().map(|sample| sample.modulations.step(sample.position, self.dtype));
            let steps = steps.collect::<candle_core::Result<Vec<_>>>()?;
            let members = samples.iter().zip(&steps).map(|(sample, step)| Member {
                latent: &sample.latent,
                step,
                job: &sample.conditioning,
            });
            let members: Vec<Member<'_>> = members.collect();
            let ignore = &mut |_: &str, _: &Tensor| {};
            let velocities = self.flux.predict_together(&members, ignore)?;
            let arrived = samples.iter().zip(velocities).map(|(sample, velocity)| {
                let velocity = velocity.to_dtype(DType::F32)?;
                Ok((sample.moved(&velocity)?, velocity))
            });
            arrived.collect::<candle_core::Result<Vec<_>>>()?
        };
        for (sample, (latent, velocity)) in samples.iter_mut().zip(arrived) {
            sample.arrive(latent, velocity);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{Engine, ModelFiles, PositionShift, Steps};

    fn request(seed: u64) -> Request {
        Request {
            prompt: "a red star".into(),
            content: None,
            styles: Vec::new(),
            width: 64,
            height: 64,
            keep_size: false,
            content_size: 64,
            steps: 2,
            guidance: 4.0,
            seed,
            position_shift: PositionShift::default(),
            loras: Vec::new(),
            step_cache: 0.0,
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_the_fault_of_their_own_sample() {
        let mut uso = Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32).unwrap();
        let [mut well, mut broken] = [1, 2].map(|seed| uso.encode(&request(seed)).unwrap());
        broken.latent = (&broken.latent * f64::NAN).unwrap();
        let first = uso.step_together(&mut [&mut broken, &mut well]).unwrap();
        assert!(first.iter().all(Result::is_ok), "it shows after the last step");
        let ends = uso.step_together(&mut [&mut broken, &mut well]).unwrap();
        assert!(matches!(ends[..], [Err(Error::NotFinite { step: 2, steps: 2 }), Ok(())]), "{ends:?}");
        let mut alone = uso.encode(&request(1)).unwrap();
        (0..2).for_each(|_| uso.step(&mut alone).unwrap());
        let apart = (&alone.latent - &well.latent).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 1e-3);
    }

    #[test]
    fn a_step_that_fails_changes_no_sample() {
        let mut uso = Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32).unwrap();
        let [mut one, mut other] = [1, 2].map(|seed| uso.encode(&request(seed)).unwrap());
        // The tokens of another size, in a sample that says it has this one.
        other.conditioning.text = one.conditioning.text.narrow(1, 0, 1).unwrap();
        let before = one.latent.clone();
        assert!(uso.step_together(&mut [&mut one, &mut other]).is_err());
        assert_eq!([&one, &other].map(Sample::steps), [Steps { done: 0, of: 2 }; 2]);
        assert_eq!(one.latent.id(), before.id());
    }
}
