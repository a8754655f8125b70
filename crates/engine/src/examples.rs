//! Examples for the bundled model: the parameters that its recorded pictures were made from.

use serde::Deserialize;

macro_rules! pictures {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../assets/mini/examples/", $name)).as_slice())),*]
    };
}

/// The reference images that the examples name, and their bytes.
pub static EXAMPLE_PICTURES: &[(&str, &[u8])] = pictures![
    "content_heart.png",
    "content_scene.png",
    "content_star.png",
    "style_dots.png",
    "style_mosaic.png",
    "style_neon.png",
    "style_sketch.png",
    "style_watercolour.png",
];

/// A set of parameters; references are names of [`EXAMPLE_PICTURES`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Example {
    /// The prompt; empty to keep the content reference's layout.
    pub prompt: String,
    /// The content reference.
    pub content: Option<String>,
    /// The style references.
    pub styles: Vec<String>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Seed of the initial noise.
    pub seed: u64,
    /// Sampling steps.
    pub steps: u32,
}

impl Example {
    /// A short title.
    pub fn title(&self) -> String {
        let styles: Vec<&str> = self.styles.iter().map(|name| word(name)).collect();
        let styles = styles.join(" and ");
        match (&self.content, styles.as_str()) {
            (None, "") => "From words alone".to_owned(),
            (None, styles) => format!("A style: {styles}"),
            (Some(_), styles) if self.prompt.is_empty() => format!("Same layout, in {styles}"),
            (Some(content), "") => format!("A subject: {}", word(content)),
            (Some(content), styles) => format!("A subject in a style: {}, {styles}", word(content)),
        }
    }
}

/// `star` of `content_star.png`.
fn word(name: &str) -> &str {
    let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    name.split_once('_').map_or(name, |(_, word)| word)
}

/// The examples of the bundled model.
pub fn examples() -> Vec<Example> {
    let lines = include_str!("../assets/mini/examples/prompts.jsonl").lines();
    // A test checks that all lines parse.
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{EXAMPLE_PICTURES, examples};

    #[test]
    fn every_example_is_read_and_its_pictures_are_here() {
        let examples = examples();
        assert_eq!(examples.len(), include_str!("../assets/mini/examples/prompts.jsonl").lines().count());
        for example in &examples {
            for name in example.content.iter().chain(&example.styles) {
                assert!(EXAMPLE_PICTURES.iter().any(|(known, _)| known == name), "{name}");
            }
        }
        let titles: std::collections::BTreeSet<String> = examples.iter().map(|one| one.title()).collect();
        assert_eq!(titles.len(), examples.len(), "{titles:?}");
        assert!(titles.contains("A subject in a style: star, dots and neon"), "{titles:?}");
    }
}
