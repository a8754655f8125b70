//! Traces a step of the transformer. It has the form of `uso::flux` and `uso::layers`, down to where each value is
//! dropped.

use super::record::{F32, Recorder};
use super::tape::Values;
use crate::config::FluxConfig;
use crate::model::Part;
use crate::placement::Keep;
use crate::plan::Outline;
use crate::plan::kernels::Kernels;
use crate::plan::outline::Layer;

/// Values that a sample holds between its steps.
pub(crate) struct Sample<'t> {
    /// Style tokens, then text tokens.
    pub(crate) text: Values<'t>,
    pub(crate) reference: Option<Values<'t>>,
    /// Cosines and sines of all tokens.
    pub(crate) rotary: Values<'t>,
    /// Modulations of all steps.
    pub(crate) tables: Values<'t>,
    pub(crate) latent: Values<'t>,
    pub(crate) velocity: Option<Values<'t>>,
    pub(crate) steps: u64,
}

impl Sample<'_> {
    /// Another sample of the same size.
    pub(crate) fn another(&self) -> Self {
        Self {
            text: self.text.another(),
            reference: self.reference.as_ref().map(Values::another),
            rotary: self.rotary.another(),
            tables: self.tables.another(),
            latent: self.latent.another(),
            velocity: self.velocity.as_ref().map(Values::another),
            steps: self.steps,
        }
    }
}

/// The transformer as it is stored in memory.
pub(crate) struct Flux<'a, 't> {
    recorder: Recorder<'t>,
    outline: &'a Outline,
    config: &'a FluxConfig,
    keep: Keep,
    kernels: Kernels,
}

/// Normed queries and keys, and values.
struct Qkv<'t> {
    query: Values<'t>,
    key: Values<'t>,
    value: Values<'t>,
}

/// The layers of one stream of a double block.
struct Stream {
    qkv: Layer,
    proj: Layer,
    expand: Layer,
    contract: Layer,
}

impl<'a, 't> Flux<'a, 't> {
    pub(crate) fn new(recorder: Recorder<'t>, outline: &'a Outline, keep: Keep, kernels: Kernels) -> Self {
        Self { recorder, outline, config: &outline.config.flux, keep, kernels }
    }

    fn layer(&self, name: &str) -> Layer {
        self.outline.layer(Part::Transformer, name, self.keep, self.recorder.dtype)
    }

    pub(crate) fn embed_latent(&self, packed: &Values<'t>) -> Values<'t> {
        self.linear(&packed.cast(self.recorder.size()), &self.layer("img_in"))
    }

    pub(crate) fn embed_text(&self, states: &Values<'t>, mut style: Vec<Values<'t>>) -> Values<'t> {
        let text = self.linear(&states.cast(self.recorder.size()), &self.layer("txt_in"));
        style.push(text);
        if let [text] = style.as_slice() { text.clone() } else { self.recorder.join(&style) }
    }

    /// One Euler step of samples of one size together (`Uso::advance`, `Uso::advance_together`).
    pub(crate) fn step(&self, samples: &mut [Sample<'t>]) {
        let recorder = Recorder { samples: samples.len() as u64, ..self.recorder };
        let velocities = Self { recorder, ..*self }.predict(samples);
        let velocities: Vec<_> = velocities.into_iter().map(|velocity| velocity.cast(F32)).collect();
        for (sample, velocity) in samples.iter_mut().zip(velocities) {
            sample.latent = sample.latent.with(&velocity.map("scale"), "advance");
            sample.velocity = Some(velocity);
        }
    }

    fn predict(&self, samples: &[Sample<'t>]) -> Vec<Values<'t>> {
        let row = |sample: &Sample<'t>| sample.tables.part(sample.tables.count / sample.steps.max(1));
        let _modulations: Vec<_> =
            samples.iter().map(|sample| row(sample).cast(self.recorder.size())).collect();
        let rotary: Vec<_> = samples.iter().map(|sample| sample.rotary.clone()).collect();
        let mut target_count = 0;
        let images = samples.iter().map(|sample| {
            let target = self.embed_latent(&sample.latent);
            target_count = target.count;
            match &sample.reference {
                Some(reference) => self.recorder.join(&[target, reference.clone()]),
                None => target,
            }
        });
        let mut images: Vec<_> = images.collect();
        let mut texts: Vec<_> = samples.iter().map(|sample| sample.text.clone()).collect();
        for (name, times) in self.blocks("double_blocks", self.config.depth) {
            self.recorder.tape.repeat(times);
            (images, texts) = self.double_block(&name, &images, &texts, &rotary);
        }
        let joined = images.into_iter().zip(texts).map(|(image, text)| self.recorder.join(&[text, image]));
        let mut tokens: Vec<_> = joined.collect();
        for (name, times) in self.blocks("single_blocks", self.config.depth_single_blocks) {
            self.recorder.tape.repeat(times);
            tokens = self.single_block(&name, &tokens, &rotary);
        }
        self.recorder.tape.repeat(1);
        let last = self.layer("final_layer.linear");
        tokens.iter().map(|tokens| self.linear(&self.norm(&tokens.part(target_count)), &last)).collect()
    }

    /// The first block, and the second one for all others: only the first one's input is held elsewhere.
    fn blocks(&self, kind: &str, count: usize) -> impl Iterator<Item = (String, u64)> + use<'a, 't> {
        let kind = kind.to_owned();
        let times = [1.min(count), count.saturating_sub(1)];
        let blocks = times.into_iter().enumerate().filter(|(_, times)| *times > 0);
        blocks.map(move |(block, times)| (format!("{kind}.{block}"), times as u64))
    }

    fn double_block(
        &self,
        name: &str,
        images: &[Values<'t>],
        texts: &[Values<'t>],
        rotary: &[Values<'t>],
    ) -> (Vec<Values<'t>>, Vec<Values<'t>>) {
        let [image_stream, text_stream] =
            ["img", "txt"].map(|stream| self.stream(&format!("{name}.{stream}")));
        let project = |samples: &[Values<'t>], stream: &Stream| {
            unstack(self.linear(&self.normed(samples), &stream.qkv), samples.len())
        };
        let (image_qkv, text_qkv) = (project(images, &image_stream), project(texts, &text_stream));
        let attended = text_qkv.into_iter().zip(image_qkv).zip(rotary);
        let attended: Vec<_> = attended
            .map(|((text, image), rotary)| self.attend(&self.heads(vec![text, image], rotary)))
            .collect();
        let part = |of: &[Values<'t>]| {
            self.stack(attended.iter().zip(of).map(|(attended, own)| attended.part(own.count)).collect())
        };
        let (text_attended, image_attended) = (part(texts), part(images));
        drop(attended);
        (
            self.finish(images, &image_attended, &image_stream),
            self.finish(texts, &text_attended, &text_stream),
        )
    }

    /// The values of samples as one tensor; those of a single one as they are (`uso::stacked`).
    fn stack(&self, samples: Vec<Values<'t>>) -> Values<'t> {
        if let [alone] = samples.as_slice() { alone.clone() } else { self.recorder.join(&samples) }
    }

    fn normed(&self, samples: &[Values<'t>]) -> Values<'t> {
        self.stack(samples.iter().map(|x| self.norm(x)).collect())
    }

    fn stream(&self, name: &str) -> Stream {
        let layer = |end: &str| self.layer(&format!("{name}_{end}"));
        Stream {
            qkv: layer("attn.qkv"),
            proj: layer("attn.proj"),
            expand: layer("mlp.0"),
            contract: layer("mlp.2"),
        }
    }

    fn finish(&self, samples: &[Values<'t>], attended: &Values<'t>, stream: &Stream) -> Vec<Values<'t>> {
        let samples = self.gated(samples, self.linear(attended, &stream.proj));
        let y = self.feed_forward(&self.normed(&samples), stream);
        self.gated(&samples, y)
    }

    fn feed_forward(&self, x: &Values<'t>, stream: &Stream) -> Values<'t> {
        self.linear(&self.activated(x, &stream.expand), &stream.contract)
    }

    fn single_block(&self, name: &str, samples: &[Values<'t>], rotary: &[Values<'t>]) -> Vec<Values<'t>> {
        let [linear1, linear2] = ["linear1", "linear2"].map(|end| self.layer(&format!("{name}.{end}")));
        if self.kernels.products && self.recorder.is_divisible(&linear1) {
            return self.single_block_in_parts(&linear1, &linear2, samples, rotary);
        }
        let projected = self.linear(&self.normed(samples), &linear1);
        let count: u64 = samples.iter().map(|x| x.count).sum();
        let expanded = projected.part(projected.count.saturating_sub(3 * count));
        let attended = self.attended(projected.part(3 * count), rotary);
        let parts = [attended, expanded.map("gelu")];
        self.gated(samples, self.linear_of_parts(&parts, &linear2))
    }

    /// Attention of each sample for itself.
    fn attended(&self, qkv: Values<'t>, rotary: &[Values<'t>]) -> Values<'t> {
        let samples = unstack(qkv, rotary.len()).into_iter().zip(rotary);
        self.stack(samples.map(|(qkv, rotary)| self.attend(&self.heads(vec![qkv], rotary))).collect())
    }

    /// The first layer in two products, one of which applies GELU to its output.
    fn single_block_in_parts(
        &self,
        linear1: &Layer,
        linear2: &Layer,
        samples: &[Values<'t>],
        rotary: &[Values<'t>],
    ) -> Vec<Values<'t>> {
        let hidden = self.config.hidden_size;
        let part = |layer: &Layer, shape: (usize, usize)| Layer { shape, ..layer.clone() };
        let plain = |layer: &Layer, shape| Layer { branches: Vec::new(), ..part(layer, shape) };
        let normed = self.normed(samples);
        let qkv = self.linear(&normed, &part(linear1, (3 * hidden, hidden)));
        let attended = self.attended(qkv, rotary);
        let expanded = plain(linear1, (linear1.shape.0.saturating_sub(3 * hidden), hidden));
        let expanded = self.activated(&normed, &expanded);
        drop(normed);
        self.gated(samples, self.linear_of_parts(&[attended, expanded], linear2))
    }

    /// A linear layer with its bias.
    fn linear(&self, x: &Values<'t>, layer: &Layer) -> Values<'t> {
        if self.is_here() {
            return self.recorder.linear_here(x, layer);
        }
        match self.is_in_one(x.count, layer) {
            true => self.recorder.linear_in_one(&[x], layer),
            false => self.recorder.linear(x, layer),
        }
    }

    /// A linear layer with its bias and GELU. Side branches count before GELU.
    fn activated(&self, x: &Values<'t>, layer: &Layer) -> Values<'t> {
        let y = self.linear(x, layer);
        let is_in_place = self.is_here() || self.is_in_one(x.count, layer) && layer.branches.is_empty();
        if is_in_place { y } else { y.map("gelu") }
    }

    /// A linear layer with its bias for an input in parts.
    fn linear_of_parts(&self, parts: &[Values<'t>], layer: &Layer) -> Values<'t> {
        let count = parts.iter().map(|part| part.count).sum();
        if let [first, ..] = parts
            && self.is_here()
            && self.recorder.is_divisible(layer)
        {
            // They are not joined: the result alone is new.
            return self.linear(&first.part(count), layer);
        }
        match self.is_in_one(count, layer) {
            true => self.recorder.linear_in_one(&parts.iter().collect::<Vec<_>>(), layer),
            false => self.linear(&self.recorder.join(parts), layer),
        }
    }

    /// Whether cuBLASLt computes a layer of an input of `count` numbers.
    fn is_in_one(&self, count: u64, layer: &Layer) -> bool {
        let tokens = count / (layer.shape.1 as u64).max(1);
        self.kernels.products && !self.is_here() && self.recorder.has_product(tokens, layer)
    }

    /// Whether the engine's own loops compute.
    fn is_here(&self) -> bool {
        self.kernels.products && self.recorder.is_here()
    }

    fn norm(&self, x: &Values<'t>) -> Values<'t> {
        if self.kernels.norms { x.own("norm and modulate", 0) } else { x.map("norm") }
    }

    fn gated(&self, samples: &[Values<'t>], stacked: Values<'t>) -> Vec<Values<'t>> {
        let added = samples.iter().zip(unstack(stacked, samples.len()));
        let gated = |(x, y): (&Values<'t>, Values<'t>)| match self.kernels.gates {
            true => x.own("gate and add", y.bytes()),
            false => x.with(&y.map("gate"), "add"),
        };
        added.map(gated).collect()
    }

    /// Splits the projections of streams; norms, joins and rotates (`fused::split_norm_rotate`).
    fn heads(&self, streams: Vec<Values<'t>>, rotary: &Values<'t>) -> Qkv<'t> {
        if self.kernels.heads {
            let all = self.recorder.in_one("split, norm and rotate", &streams, rotary);
            let part = || all.part(all.count / 3);
            return Qkv { query: part(), key: part(), value: part() };
        }
        let split: Vec<_> = streams.into_iter().map(|qkv| split(&qkv)).collect();
        let join = |part: for<'q> fn(&'q Qkv<'t>) -> &'q Values<'t>| match split.as_slice() {
            [alone] => part(alone).clone(),
            several => self.recorder.join(&several.iter().map(|qkv| part(qkv).clone()).collect::<Vec<_>>()),
        };
        let (query, key, value) = (join(|qkv| &qkv.query), join(|qkv| &qkv.key), join(|qkv| &qkv.value));
        // In float32, whatever the type before and after.
        let rotate = |x: &Values<'t>| x.cast(F32).with(rotary, "rotate").cast(x.size);
        Qkv { query: rotate(&query), key: rotate(&key), value }
    }

    fn attend(&self, Qkv { query, key, value }: &Qkv<'t>) -> Values<'t> {
        let (heads, width) = (self.config.num_heads as u64, self.config.hidden_size as u64);
        match self.kernels.attention {
            true => self.recorder.attention_in_one([query, key, value], heads, width),
            false => self.recorder.attention([query, key, value], heads, width).map("copy"),
        }
    }
}

/// The values of each of so many samples, without a copy.
fn unstack<'t>(stacked: Values<'t>, samples: usize) -> Vec<Values<'t>> {
    let count = stacked.count / samples.max(1) as u64;
    (0..samples).map(|_| stacked.part(count)).collect()
}

fn split<'t>(qkv: &Values<'t>) -> Qkv<'t> {
    let part = || qkv.part(qkv.count / 3).map("copy");
    Qkv { query: part().map("norm"), key: part().map("norm"), value: part() }
}
