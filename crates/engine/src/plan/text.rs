//! A plan as lines of text.

use super::budget::gib;
use super::cost::{Seconds, StepCost};
use super::joint::JointStep;
use super::kernels::HAVE_RUN;
use super::layout::Plan;
use super::picture::Picture;
use crate::placement::Keep;

impl Plan {
    /// The chosen plan in a few words.
    pub fn name(&self) -> String {
        self.placement.describe(&self.tier)
    }

    /// The chosen plan and its memory and time, in one line.
    pub fn summary(&self) -> String {
        let (need, has) = (gib(self.device.need_bytes), gib(self.device.usable_bytes));
        let mut text = format!("{}; {need} of {has} at its peak", self.name());
        if let Some(cost) = &self.step {
            let Picture { width, height, .. } = self.picture;
            text.push_str(&format!("; a step at {width}x{height} about {:.2} s", cost.step.expected));
        }
        text
    }

    /// The plan and its reasons, line by line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("plan for {}: {}", self.model, self.name())];
        lines.push(format!("  picture   {}, {} tokens", picture(&self.picture), self.tokens));
        lines.extend(self.memory_lines());
        lines.push(String::new());
        lines.extend(self.part_lines());
        lines.push(String::new());
        lines.extend(self.sample_lines());
        lines.extend(self.time_lines());
        if !self.refused.is_empty() {
            lines.push("  better plans that do not fit".into());
            lines.extend(self.refused.iter().map(|refused| format!("    {refused}")));
        }
        lines
    }

    fn memory_lines(&self) -> Vec<String> {
        let device = &self.device;
        let name = self.hardware.speed.as_ref().map_or("an unknown card", |speed| &speed.name);
        let mut lines = vec![format!(
            "  device    {}, {}: {}, of which {} stay free and the driver takes {}: {} for the model",
            name,
            self.dtype,
            gib(device.has_bytes),
            gib(device.reserve_bytes),
            gib(device.driver_bytes),
            gib(device.usable_bytes),
        )];
        if self.hardware.backend.is_apart() {
            let host = &self.host;
            lines.push(format!(
                "  host      {}, of which {} stay free: {} needed, {} of files best in the page cache",
                gib(host.has_bytes),
                gib(host.reserve_bytes),
                gib(host.need_bytes),
                gib(host.mapped_bytes),
            ));
        }
        lines
    }

    fn part_lines(&self) -> Vec<String> {
        let row = |part: &str, place: &str, kept: &str, device: &str, host: &str| {
            format!("  {part:<19} {place:<14} {kept:<17} {device:>11} {host:>11}").trim_end().to_owned()
        };
        let bytes = |bytes: u64| if bytes == 0 { String::new() } else { gib(bytes) };
        let mut lines = vec![row("part", "where", "kept", "device", "host")];
        for part in &self.parts {
            let host = bytes(part.host_bytes);
            lines.push(row(part.part, part.place, &part.kept, &bytes(part.device_bytes), &host));
        }
        let host =
            if self.hardware.backend.is_apart() { gib(self.host.resident_bytes) } else { String::new() };
        lines.push(row("resident", "", "", &gib(self.device.resident_bytes), &host));
        lines
    }

    fn sample_lines(&self) -> Vec<String> {
        let device = &self.device;
        let mut lines = vec![format!(
            "  a sample  keeps {}; at most {} while it is encoded ({}), {} in a step ({}), {} while it is decoded",
            gib(device.kept_bytes),
            gib(device.encode.bytes),
            device.encode.at,
            gib(device.step.bytes),
            device.step.at,
            gib(device.decode.bytes),
        )];
        lines.push(format!(
            "  peak      {} with {} in progress; {} left, {} of it for encoded prompts; {} in progress would fit",
            gib(device.need_bytes),
            self.slots,
            gib(self.left_bytes),
            gib(self.cache_bytes),
            self.slots_fit,
        ));
        lines
    }

    /// What streaming takes, if something is streamed from the host's memory.
    fn streaming_line(&self) -> Option<String> {
        let (slots, pinned) = (self.device.slot_bytes, self.host.pinned_bytes);
        let blocks = if slots > 0 {
            format!("two slots of the blocks take {} of the device's memory in a step; ", gib(slots))
        } else {
            String::new()
        };
        (self.hardware.backend.is_apart() && pinned > 0).then(|| {
            format!(
                "  streaming {blocks}at most {} of the host's memory are pinned; a stream of its own copies \
                 (compiled, not run)",
                gib(pinned),
            )
        })
    }

    fn time_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(cost) = &self.step {
            let by =
                if cost.copying.expected > cost.computing.expected { "copying blocks" } else { "computing" };
            lines.push(format!(
                "  a step    {}, by {by}; its {:.1} TFLOP take {:.2} s, of which attention {:.2} s",
                seconds(cost.step),
                cost.flops / 1e12,
                cost.computing.expected,
                cost.attention.expected,
            ));
            if self.hardware.backend.is_apart() {
                lines.push(format!(
                    "            {} launches that move {:.1} GB; temporaries of at most {}",
                    cost.launches,
                    cost.moves / 1e9,
                    gib(cost.temporaries),
                ));
                lines.extend(kernel_lines(cost));
                lines.extend(self.rounding_line(cost));
            }
            if cost.copying.floor > 0.0 {
                lines.push(format!("            copying blocks meanwhile: {}", seconds(cost.copying)));
            }
        }
        lines.extend(self.together_line());
        lines.extend(self.streaming_line());
        if let Some(reading) = self.job.reading {
            let bytes = gib(self.job.read_bytes);
            lines.push(format!(
                "  a job     reads {bytes} of weights besides its steps: {}",
                seconds(reading)
            ));
        }
        if let Some(prompt) = self.job.prompt {
            let place = if self.placement.t5.is_host() { " on this processor" } else { "" };
            lines.push(format!("  a prompt  {}{place}", seconds(prompt)));
        }
        lines
    }
}

impl Plan {
    /// Whether pictures of one size are better sampled together.
    fn together_line(&self) -> Option<String> {
        let alone = self.step?.step.expected;
        let Some(JointStep { samples, bytes, step: Some(step), pays, .. }) = self.together else {
            return Some("  together  no two pictures fit in a step".into());
        };
        let verdict = if pays == Some(true) { "it pays" } else { "it hardly pays" };
        Some(format!(
            "  together  a step of {samples} takes {:.2} s and {}, {:.2} s for each instead of {alone:.2} s: {verdict}",
            step.expected,
            gib(bytes),
            step.expected / samples as f64,
        ))
    }

    /// How a tier that rounds activations is computed.
    fn rounding_line(&self, cost: &StepCost) -> Option<String> {
        let Keep::Tier(tier) = self.placement.keep else { return None };
        let text = match cost.kernels.eight_bits {
            true => format!(
                "products in eight bits, their input rounded to them{}; weights converted to {} first, and inputs as \
                 they are, if a worker's check fails",
                state(),
                self.dtype,
            ),
            false => {
                format!("this card multiplies no such eight-bit numbers: converted to {} first", self.dtype)
            }
        };
        tier.rounds_activations().then(|| format!("            {text}"))
    }
}

fn state() -> &'static str {
    if HAVE_RUN { "" } else { " (compiled, not run)" }
}

/// Which kernels a step is priced for, if it has any of our own.
fn kernel_lines(cost: &StepCost) -> Vec<String> {
    let own = cost.kernels.names(true);
    if own.is_empty() {
        return Vec::new();
    }
    let others = cost.kernels.names(false);
    let others = if others.is_empty() { String::new() } else { format!("; candle's: {}", others.join(", ")) };
    vec![
        format!("            own kernels{}: {}{others}", state(), own.join(", ")),
        format!("            with candle's kernels alone: {:.2} s expected", cost.with_candle),
    ]
}

fn seconds(seconds: Seconds) -> String {
    format!("{:.2} s expected, {:.2} s at least", seconds.expected, seconds.floor)
}

fn picture(picture: &Picture) -> String {
    let content = match picture.content {
        Some((width, height)) => format!("a content reference of {width}x{height}"),
        None => "no content reference".into(),
    };
    let Picture { width, height, styles, steps, .. } = picture;
    format!("{width}x{height}, {content}, {styles} styles, {steps} steps")
}
