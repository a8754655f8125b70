//! Options on the file of a picture.

use std::path::Path;

use anyhow::bail;
use clap::Args;
use uso_queue::Format;

use super::queue::one_of;

#[derive(Args)]
pub(crate) struct FormatArgs {
    /// File format of the picture. Default: what the ending of --out says, else png.
    #[arg(long, value_parser = one_of::<Format>(Format::ALL.map(Format::as_str)))]
    pub(crate) format: Option<Format>,
    /// Quality of a jpeg or webp file, 1 to 100. Default: 90.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: Option<u8>,
}

impl FormatArgs {
    /// The format of a picture that is written to `out`.
    ///
    /// # Errors
    /// The ending is no format's, or it is another one's than `--format` says, or the format has no quality and one is
    /// asked for.
    pub(crate) fn of(&self, out: Option<&Path>) -> anyhow::Result<Format> {
        let format = match (out, self.format) {
            (None, format) => format.unwrap_or(Format::Png),
            (Some(out), format) => of_path(out, format)?,
        };
        if self.quality.is_some() && !format.has_quality() {
            bail!("--quality: {} has no quality; choose jpeg or webp", format.as_str());
        }
        Ok(format)
    }
}

fn of_path(out: &Path, asked: Option<Format>) -> anyhow::Result<Format> {
    const ENDINGS: &str = "end it with .png, .jpg, .jpeg or .webp";
    let shown = out.display();
    let Some(ending) = out.extension() else {
        // Without an ending, the name contradicts nothing.
        return asked.ok_or_else(|| anyhow::anyhow!("--out: {shown} does not say its format; {ENDINGS}"));
    };
    let Some(format) = ending.to_str().and_then(Format::of_ending) else {
        bail!("--out: {shown} has an unknown ending; {ENDINGS}");
    };
    if let Some(asked) = asked.filter(|asked| *asked != format) {
        bail!("--out: {shown} is a {} file, but --format says {}", format.as_str(), asked.as_str());
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(out: Option<&str>, format: Option<Format>, quality: Option<u8>) -> Result<Format, String> {
        let args = FormatArgs { format, quality };
        args.of(out.map(Path::new)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_format_is_the_endings_or_the_option_and_they_must_agree() {
        assert_eq!(of(None, None, None), Ok(Format::Png));
        assert_eq!(of(None, Some(Format::WebP), Some(1)), Ok(Format::WebP));
        for (out, format) in [
            ("a.png", Format::Png),
            ("a.JPG", Format::Jpeg),
            ("b/a.jpeg", Format::Jpeg),
            ("a.b.webp", Format::WebP),
        ] {
            assert_eq!(of(Some(out), None, None), Ok(format), "{out}");
            assert_eq!(of(Some(out), Some(format), None), Ok(format), "{out}");
        }
        assert_eq!(of(Some("a"), Some(Format::Jpeg), None), Ok(Format::Jpeg));
        let differ = of(Some("a.jpeg"), Some(Format::WebP), None).unwrap_err();
        assert_eq!(differ, "--out: a.jpeg is a jpeg file, but --format says webp");
        for out in ["a.gif", "a.", "a"] {
            let unknown = of(Some(out), None, None).unwrap_err();
            assert!(unknown.contains(".png, .jpg, .jpeg or .webp"), "{unknown}");
        }
        assert!(of(Some("a.gif"), Some(Format::Png), None).is_err());
    }

    #[test]
    fn a_png_has_no_quality() {
        for (out, format) in [(Some("a.png"), None), (None, None), (None, Some(Format::Png))] {
            assert!(of(out, format, Some(80)).unwrap_err().contains("png has no quality"));
        }
        assert_eq!(of(Some("a.jpg"), None, Some(80)), Ok(Format::Jpeg));
    }
}
