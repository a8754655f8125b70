//! A progress bar on a terminal, and nothing elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) fn bar(steps: u64) -> ProgressBar {
    styled(steps, "{msg:>10} {wide_bar} {pos}/{len} {elapsed}, {eta} left")
}

/// A bar that counts the bytes of a file.
pub(crate) fn bytes(total: u64, name: &str) -> ProgressBar {
    let template =
        "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
    styled(total, template).with_message(name.to_owned())
}

fn styled(length: u64, template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
