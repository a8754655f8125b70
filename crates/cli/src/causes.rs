//! Errors as people read them.

/// An error and its causes on one line. Many errors tell their cause themselves: it is not told again.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use uso_dataset::Error;

    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let gone = || std::io::Error::other("the disk is gone");
        let bare = anyhow::Error::from(gone()).context("cannot read a.csv").context("row 3");
        assert_eq!(told(&bare), "row 3: cannot read a.csv: the disk is gone");
        let telling = anyhow::Error::from(Error::File { path: "a.csv".into(), source: gone() });
        assert_eq!(told(&telling), "a.csv: the disk is gone");
        assert_eq!(told(&telling.context("row 3")), "row 3: a.csv: the disk is gone");
    }
}
