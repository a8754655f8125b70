//! What went wrong, and why.

/// An error and its causes in one line. Some errors say their cause themselves: it is not said again.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let is_said =
            text.strip_suffix(cause.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with(": "));
        if !is_said {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(&format!("{colon}{cause}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context as _, anyhow};
    use uso_dataset::Error;

    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let file =
            |reason: &str| Error::File { path: "a/b".into(), source: io::Error::other(reason.to_owned()) };
        let full = anyhow::Error::from(file("no space left"));
        assert_eq!(with_causes(&full), "a/b: no space left");
        assert_eq!(with_causes(&full.context("cannot export")), "cannot export: a/b: no space left");
        let plain: anyhow::Error = Err::<(), _>(anyhow!("7")).context("it ends with 7").unwrap_err();
        assert_eq!(with_causes(&plain), "it ends with 7: 7");
        assert_eq!(with_causes(&anyhow!("alone")), "alone");
    }
}
