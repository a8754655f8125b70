use tokenizers::{NormalizedString, Tokenizer};

use super::vocabulary::{self, END, START};
use super::{Encoded, TokenCount, TokenizerSource};
use crate::{Error, ModelFiles};

/// The CLIP tokenizer.
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
    source: TokenizerSource,
}

impl ClipTokenizer {
    /// Loads `tokenizer.json` from `folder` of the model. A folder without it may have `vocab.json` and `merges.txt`,
    /// which make the same tokenizer. If it has none of the three, the published one is used.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if `tokenizer.json` does not parse or lacks the start or end token; [`Error::ModelFile`]
    /// for faults of the other two files.
    pub fn load(files: &ModelFiles, folder: &str) -> Result<Self, Error> {
        let [whole, vocabulary, merges] =
            ["tokenizer.json", "vocab.json", "merges.txt"].map(|name| format!("{folder}/{name}"));
        if files.contains(&whole) {
            return Self::new(super::parse(&whole, &files.read(&whole)?)?, TokenizerSource::TokenizerJson);
        }
        if !files.contains(&vocabulary) && !files.contains(&merges) {
            return Self::published();
        }
        let tokenizer = vocabulary::read(files, &vocabulary, &merges)?;
        Self::new(tokenizer, TokenizerSource::VocabularyAndMerges)
    }

    /// The tokenizer of the published CLIP, from inside the binary.
    ///
    /// # Errors
    /// Only if the build itself is broken.
    pub fn published() -> Result<Self, Error> {
        Self::new(vocabulary::published()?, TokenizerSource::Embedded)
    }

    fn new(tokenizer: Tokenizer, source: TokenizerSource) -> Result<Self, Error> {
        let (start, end) = (super::id(&tokenizer, START)?, super::id(&tokenizer, END)?);
        Ok(Self { tokenizer, start, end, source })
    }

    /// Where it comes from.
    pub fn source(&self) -> TokenizerSource {
        self.source
    }

    /// The largest id that it can give.
    pub fn largest_id(&self) -> u32 {
        super::largest_id(&self.tokenizer)
    }

    /// Exactly `length` ids: the start token, the text, which is cut if it is too long, then end tokens.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the text cannot be encoded.
    pub fn encode(&self, text: &str, length: usize) -> Result<Encoded, Error> {
        let mut ids = vec![self.start];
        ids.extend(super::encode(&self.tokenizer, &clean(text))?);
        let count = TokenCount::new(ids.len() + 1, length);
        ids.truncate(length.saturating_sub(1));
        ids.resize(length, self.end);
        Ok(Encoded { ids, count })
    }
}

/// Cleans text as ftfy does, which the reference's CLIP tokenizer calls: straight quotes, no ligatures, normal width,
/// no control characters. Unlike ftfy it does not repair text that was decoded with the wrong character set.
fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {}
            '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' => {}
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => cleaned.push('\''),
            '\u{201c}'..='\u{201f}' => cleaned.push('"'),
            '\u{3000}' => cleaned.push(' '),
            // Ligatures and full-width or half-width forms have a plain form in Unicode itself.
            '\u{132}' | '\u{133}' | '\u{149}' | '\u{1c4}'..='\u{1cc}' | '\u{1f1}'..='\u{1f3}' => {
                cleaned.push_str(&compatible(character));
            }
            '\u{fb00}'..='\u{fb06}' | '\u{ff01}'..='\u{ffef}' => cleaned.push_str(&compatible(character)),
            other => cleaned.push(other),
        }
    }
    cleaned
}

/// The compatibility form (NFKC) of a character.
fn compatible(character: char) -> String {
    let mut text = NormalizedString::from(character.to_string());
    text.nfkc();
    text.get().to_owned()
}
