//! Times as people read them.

/// Seconds as days, hours, minutes and seconds, the two largest of them.
pub(super) fn span(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn a_span_has_two_parts() {
        let spans = [0.4, 59.0, 300.0, 3660.0, 200_000.0, -5.0].map(span);
        assert_eq!(spans, ["0s", "59s", "5m 0s", "1h 1m", "2d 7h", "0s"]);
    }
}
