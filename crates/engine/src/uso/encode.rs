//! Turns a request into a sample. Features that were encoded before come from the cache.

use candle_core::Tensor;
use sha2::{Digest, Sha256};

use super::flux::Conditioning;
use super::latents::{self, TOKEN_PIXELS};
use super::positions::{self, Rotary};
use super::step_cache::StepCache;
use super::{Sample, Uso};
use crate::cache::Key;
use crate::request::SIDE;
use crate::{Error, PromptTokens, Reference, Request, preprocess, schedule};

impl Uso {
    pub(super) fn prepare(&mut self, request: &Request) -> Result<Sample, Error> {
        request.check()?;
        let reference = match &request.content {
            Some(content) => Some(self.reference_latent(content, request.content_size)?),
            None => None,
        };
        let (width, height) = self.target_size(request, reference.as_ref().map(pixels).transpose()?)?;
        let (rows, columns) = (height / TOKEN_PIXELS, width / TOKEN_PIXELS);

        let style = request.styles.iter().map(|style| self.style_tokens(style));
        let style = style.collect::<Result<Vec<_>, Error>>()?;
        let ([states, pooled], prompt_tokens) = self.text_features(&request.prompt)?;
        let ignore = &mut |_: &str, _: &Tensor| {};
        let branches = self.side_branches(&request.loras)?;
        let text = self.flux.embed_text(&states, &style, &branches, ignore)?;

        let mut positions = positions::text(text.dim(1)?);
        positions.extend(positions::grid(rows, columns, (0, 0)));
        let reference = match &reference {
            Some(latent) => {
                let origin = request.position_shift.origin(rows, columns);
                let (width, height) = pixels(latent)?;
                let (rows, columns) = (height as usize / TOKEN_PIXELS, width as usize / TOKEN_PIXELS);
                positions.extend(positions::grid(rows, columns, origin));
                Some(self.flux.embed_latent(&latents::pack(latent)?, &branches)?)
            }
            None => None,
        };
        let noise = latents::start_noise(request.seed, width, height, &self.device)?;
        let flux = &self.config.flux;
        let rotary = Rotary::new(&positions, &flux.axes_dim, flux.theta, &self.device)?;
        let steps = request.steps as usize;
        let timesteps = schedule::timesteps(steps, width, height);
        // No step begins at the last timestep.
        let now = &timesteps[..steps];
        let modulations = self.flux.modulations.tables(now, request.guidance, &pooled, &branches, ignore)?;
        Ok(Sample {
            conditioning: Conditioning { text, reference, rotary, branches },
            modulations,
            step_cache: StepCache::new(request.step_cache),
            latent: latents::pack(&noise)?,
            velocity: None,
            timesteps,
            position: 0,
            rows,
            columns,
            footprint: self.footprint_of(request),
            prompt_tokens,
            expected_step: self.expected(request),
            shape: self.shape_of(request),
        })
    }

    /// T5 states and CLIP's pooled vector of a prompt. Tokens are counted even if these are in the cache.
    fn text_features(&mut self, prompt: &str) -> Result<([Tensor; 2], PromptTokens), Error> {
        let lengths = self.config.text;
        let t5 = self.t5_tokenizer.encode(prompt, lengths.t5)?;
        let clip = self.clip_tokenizer.encode(prompt, lengths.clip)?;
        let features = self.cached(key(b"text", prompt.as_bytes()), |uso| {
            let states = uso.t5.encode(&t5.ids)?.to_device(&uso.device)?;
            let pooled = uso.clip.with(|model| model.encode(&clip.ids))?;
            // A copy: as a view it would keep the states of all tokens alive in the cache.
            Ok([states, pooled.force_contiguous()?])
        })?;
        Ok((features, PromptTokens { t5: t5.count, clip: clip.count }))
    }

    /// Style tokens of an image: (1, tokens, hidden).
    fn style_tokens(&mut self, style: &Reference) -> Result<Tensor, Error> {
        let [tokens] = self.cached(key(b"style", style.digest()), |uso| {
            let square = style.style(uso.siglip_side)?;
            let pixels = preprocess::normalised(&square, &uso.normalisation);
            let states = uso.siglip.with(|siglip| siglip.encode(&pixels))?;
            Ok([uso.projector.with(|projector| projector.forward(&states))?])
        })?;
        Ok(tokens)
    }

    /// The latent of a content reference of this size: (1, 16, height / 8, width / 8).
    fn reference_latent(&mut self, content: &Reference, content_size: u32) -> Result<Tensor, Error> {
        let made_from = [content.digest().as_slice(), &content_size.to_le_bytes()].concat();
        let [latent] = self.cached(key(b"content", &made_from), |uso| {
            let image = content.content(content_size)?;
            Ok([uso.autoencoder.encode(&image)?])
        })?;
        Ok(latent)
    }

    /// Tensors from the cache, or computed and put there. The same code computes both, so a picture does not depend on
    /// the cache.
    fn cached<const N: usize>(
        &mut self,
        key: Key,
        make: impl FnOnce(&mut Self) -> Result<[Tensor; N], Error>,
    ) -> Result<[Tensor; N], Error> {
        if let Some(found) = self.features.get(&key).and_then(|found| found.try_into().ok()) {
            return Ok(found);
        }
        let made = make(self)?;
        let bytes = made.iter().map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes());
        self.features.put(key, made.to_vec(), bytes.sum::<usize>() as u64);
        Ok(made)
    }

    /// Width and height of the picture in pixels, multiples of 16. `reference` has those of the prepared reference.
    pub(super) fn target_size(
        &self,
        request: &Request,
        reference: Option<(u32, u32)>,
    ) -> Result<(usize, usize), Error> {
        let (width, height) = match reference {
            Some((width, height)) if request.keep_size => preprocess::keep_size(
                width,
                height,
                request.content_size,
                self.config.defaults.keep_size_base,
            ),
            _ => (request.width, request.height),
        };
        let cut = |side: u32| side / TOKEN_PIXELS as u32 * TOKEN_PIXELS as u32;
        let (width, height) = (cut(width), cut(height));
        if !SIDE.contains(&width) || !SIDE.contains(&height) {
            let (least, most) = (SIDE.start(), SIDE.end());
            let reason =
                format!("the content reference asks for {width}x{height}, a side must be {least} to {most}");
            return Err(Error::Request { parameter: "keep_size", reason });
        }
        Ok((width as usize, height as usize))
    }
}

/// Width and height in pixels of a latent's picture.
fn pixels(latent: &Tensor) -> Result<(u32, u32), Error> {
    let (_, _, rows, columns) = latent.dims4()?;
    let side = |cells: usize| (cells * latents::CELL_PIXELS) as u32;
    Ok((side(columns), side(rows)))
}

fn key(kind: &[u8], content: &[u8]) -> Key {
    // No kind is a prefix of another, so keys of different kinds cannot collide.
    Sha256::new().chain_update(kind).chain_update(content).finalize().into()
}

#[cfg(test)]
mod tests {
    use candle_core::{CpuStorage, DType, Device, Storage};

    use super::*;
    use crate::ModelFiles;

    #[test]
    fn the_cache_holds_no_more_of_a_prompt_than_it_counts() {
        let mut uso = Uso::load(&ModelFiles::Bundled, &Device::Cpu, DType::F32).unwrap();
        let (features, _) = uso.text_features("a red star").unwrap();
        for feature in &features {
            let (storage, _) = feature.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(numbers)) = &*storage else { panic!("{feature:?}") };
            assert_eq!(numbers.len(), feature.elem_count());
        }
    }
}
