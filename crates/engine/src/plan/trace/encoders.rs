//! Traces of the encoders of text and style, in the same form as `uso::{t5, clip, siglip, style}`.

use super::record::{F32, Recorder};
use super::tape::{Op, Values};
use crate::config::SiglipConfig;
use crate::model::Part;
use crate::placement::Keep;
use crate::plan::hardware::Backend;
use crate::plan::outline::{Layer, Outline};

/// States of a prompt: (tokens, width).
pub(crate) fn t5<'t>(recorder: &Recorder<'t>, outline: &Outline, keep: Keep) -> Values<'t> {
    let (config, tokens) = (&outline.t5, outline.config.text.t5 as u64);
    let (heads, pairs) = (config.num_heads as u64, tokens * tokens);
    let mut states = recorder.made("embed", tokens * config.d_model as u64);
    let bias = {
        let found = recorder.tape.moved("look up", pairs * F32, heads * pairs, recorder.size());
        found.map("copy")
    };
    for block in 0..config.num_layers {
        let layer = |end: &str| {
            outline.layer(Part::T5, &format!("encoder.block.{block}.layer.{end}"), keep, recorder.dtype)
        };
        states = t5_block(recorder, &states, &bias, tokens, layer);
    }
    rms_norm(recorder, &states)
}

fn t5_block<'t>(
    recorder: &Recorder<'t>,
    x: &Values<'t>,
    bias: &Values<'t>,
    tokens: u64,
    layer: impl Fn(&str) -> Layer,
) -> Values<'t> {
    let x = x.with(&t5_attention(recorder, &rms_norm(recorder, x), bias, tokens, &layer), "add");
    let normed = rms_norm(recorder, &x);
    let expanded = |end: &str| recorder.linear(&normed, &layer(&format!("1.DenseReluDense.{end}")));
    let gated = if recorder.is_here() {
        // In place.
        let gate = expanded("wi_0");
        drop(expanded("wi_1"));
        gate
    } else {
        expanded("wi_0").map("gelu").with(&expanded("wi_1"), "gate")
    };
    x.with(&recorder.linear(&gated, &layer("1.DenseReluDense.wo")), "add")
}

fn t5_attention<'t>(
    recorder: &Recorder<'t>,
    x: &Values<'t>,
    bias: &Values<'t>,
    tokens: u64,
    layer: &impl Fn(&str) -> Layer,
) -> Values<'t> {
    let linear = |name: &str| recorder.linear(x, &layer(&format!("0.SelfAttention.{name}")));
    if recorder.is_here() {
        let [query, key, value] = ["q", "k", "v"].map(linear);
        let (heads, width) = (bias.count / (tokens * tokens), query.count / tokens);
        let attended = recorder.attention_in_one([&query, &key, &value], heads, width);
        return recorder.linear(&attended, &layer("0.SelfAttention.o"));
    }
    let projected = |name: &str| linear(name).map("copy");
    let (query, _key) = (projected("q"), projected("k"));
    let (heads, inner) = (bias.count / (tokens * tokens), query.count / tokens);
    let (rows, width) = (heads * tokens, inner / heads.max(1));
    let scores = recorder.product(&query, rows, width, tokens, "scores").with(bias, "bias");
    let attended = {
        let (probabilities, _value) = (scores.map("softmax"), projected("v"));
        recorder.product(&probabilities, rows, tokens, width, "attend")
    };
    recorder.linear(&attended.map("copy"), &layer("0.SelfAttention.o"))
}

/// In float32.
fn rms_norm<'t>(recorder: &Recorder<'t>, x: &Values<'t>) -> Values<'t> {
    if recorder.is_here() {
        return x.own("norm", 0);
    }
    let wide = x.cast(F32);
    drop(wide.map("square"));
    let normed = wide.map("divide");
    normed.cast(x.size).map("scale")
}

/// The pooled vector of a prompt: (width).
pub(crate) fn clip<'t>(recorder: &Recorder<'t>, outline: &Outline) -> Values<'t> {
    let (config, tokens) = (&outline.clip, outline.config.text.clip as u64);
    let width = config.hidden_size as u64;
    let mut states = recorder.made("embed", tokens * width);
    for block in 0..config.num_hidden_layers {
        let at = format!("text_model.encoder.layers.{block}");
        let layer =
            |end: &str| outline.layer(Part::Clip, &format!("{at}.{end}"), Keep::AsStored, recorder.dtype);
        states = encoder_layer(recorder, &states, config.num_attention_heads as u64, false, layer);
    }
    states.map("norm").part(width).map("copy")
}

/// The tokens of a style reference: (3 * style tokens, hidden).
pub(crate) fn style<'t>(recorder: &Recorder<'t>, outline: &Outline) -> Values<'t> {
    let states = siglip(recorder, outline);
    let tokens: Vec<_> = ["high", "mid", "low"]
        .iter()
        .zip(&states)
        .map(|(level, state)| projected(recorder, outline, level, state))
        .collect();
    recorder.join(&tokens)
}

/// Three hidden states of a picture, each (tokens, width).
fn siglip<'t>(recorder: &Recorder<'t>, outline: &Outline) -> [Values<'t>; 3] {
    let config = &outline.siglip;
    let mut state = patches(recorder, outline).map("positions");
    let mut states = Vec::new();
    for block in 0..config.used_layers() {
        let at = format!("vision_model.encoder.layers.{block}");
        let layer =
            |end: &str| outline.layer(Part::Siglip, &format!("{at}.{end}"), Keep::AsStored, recorder.dtype);
        let heads = config.num_attention_heads as u64;
        let next = encoder_layer(recorder, &state, heads, recorder.is_here(), layer);
        states.push(std::mem::replace(&mut state, next));
    }
    states.push(state);
    SiglipConfig::HIDDEN_STATES.map(|from_end| states[config.num_hidden_layers + 1 - from_end].clone())
}

/// A picture as patches, each a vector: a convolution whose stride is its side.
fn patches<'t>(recorder: &Recorder<'t>, outline: &Outline) -> Values<'t> {
    let config = &outline.siglip;
    let (tokens, width) = (config.tokens() as u64, config.hidden_size as u64);
    let pixels = (config.num_channels * config.image_size * config.image_size) as u64;
    let picture = recorder.tape.moved("pixels", 0, pixels, F32).cast(recorder.size());
    // Without cuDNN, candle copies the input of each patch; on the processor it reorders the picture.
    let laid_out = match recorder.backend {
        Backend::CudaCudnn => 0,
        Backend::Cpu | Backend::Cuda | Backend::Metal => picture.bytes(),
    };
    let op =
        Op { flops: 2 * pixels * width, wide: picture.size == F32, ..Op::named("convolution", laid_out) };
    recorder.tape.make(op, tokens * width, recorder.size(), laid_out).map("bias")
}

/// Attention and feed-forward layers, each after a norm and added to its input. The engine's own loops (`own`) make no
/// copies and activate in place, candle's do neither.
fn encoder_layer<'t>(
    recorder: &Recorder<'t>,
    x: &Values<'t>,
    heads: u64,
    own: bool,
    layer: impl Fn(&str) -> Layer,
) -> Values<'t> {
    let linear = |x: &Values<'t>, end: &str| {
        if own { recorder.linear_here(x, &layer(end)) } else { recorder.linear(x, &layer(end)) }
    };
    let copied = |x: Values<'t>| if own { x } else { x.map("copy") };
    let normed = x.map("norm");
    let attended = {
        let projected = |name: &str| copied(linear(&normed, &format!("self_attn.{name}")));
        let [query, key, value] = ["q_proj", "k_proj", "v_proj"].map(projected);
        let width = (layer("self_attn.q_proj").shape.0 as u64).max(1);
        let inputs = [&query, &key, &value];
        if own {
            recorder.attention_in_one(inputs, heads, width)
        } else {
            recorder.attention(inputs, heads, width)
        }
    };
    let attended = copied(attended);
    let x = x.with(&linear(&attended, "self_attn.out_proj"), "add");
    let expanded = linear(&x.map("norm"), "mlp.fc1");
    let activated = if own { expanded.clone() } else { expanded.map("activate") };
    x.with(&linear(&activated, "mlp.fc2"), "add")
}

/// A hidden state as style tokens: (style tokens, hidden).
fn projected<'t>(recorder: &Recorder<'t>, outline: &Outline, level: &str, state: &Values<'t>) -> Values<'t> {
    let layer =
        |end: &str| outline.layer(Part::Projector, &format!("{level}_{end}"), Keep::AsStored, recorder.dtype);
    let mixed = recorder.linear(&state.map("copy"), &layer("embedding_linear.0"));
    let mixed = mixed.map("silu").map("copy");
    recorder.linear(&mixed.map("norm"), &layer("projection"))
}
