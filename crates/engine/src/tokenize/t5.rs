use tokenizers::Tokenizer;

use super::{Encoded, TokenCount, TokenizerSource};
use crate::{Error, ModelFiles};

/// The vocabulary of the published T5, whose folder holds only a SentencePiece model.
static PUBLISHED: &[u8] = include_bytes!("../../assets/t5/tokenizer.json");

/// The T5 tokenizer.
pub struct T5Tokenizer {
    tokenizer: Tokenizer,
    end: u32,
    padding: u32,
    source: TokenizerSource,
}

impl T5Tokenizer {
    /// Loads `tokenizer.json` from `folder` of the model, or uses the published vocabulary if there is none.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the file does not parse or lacks the end or padding token.
    pub fn load(files: &ModelFiles, folder: &str) -> Result<Self, Error> {
        let path = format!("{folder}/tokenizer.json");
        if !files.contains(&path) {
            return Self::published();
        }
        Self::new(super::parse(&path, &files.read(&path)?)?, TokenizerSource::TokenizerJson)
    }

    /// The tokenizer of the published T5, from inside the binary.
    ///
    /// # Errors
    /// Only if the build itself is broken.
    pub fn published() -> Result<Self, Error> {
        let tokenizer = super::parse("the vocabulary of the published T5", PUBLISHED)?;
        Self::new(tokenizer, TokenizerSource::Embedded)
    }

    fn new(tokenizer: Tokenizer, source: TokenizerSource) -> Result<Self, Error> {
        let (end, padding) = (super::id(&tokenizer, "</s>")?, super::id(&tokenizer, "<pad>")?);
        Ok(Self { tokenizer, end, padding, source })
    }

    /// Where it comes from.
    pub fn source(&self) -> TokenizerSource {
        self.source
    }

    /// The largest id that it can give.
    pub fn largest_id(&self) -> u32 {
        super::largest_id(&self.tokenizer)
    }

    /// Exactly `length` ids: the text, which is cut if it is too long, the end token, then padding.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the text cannot be encoded.
    pub fn encode(&self, text: &str, length: usize) -> Result<Encoded, Error> {
        let mut ids = super::encode(&self.tokenizer, text)?;
        let count = TokenCount::new(ids.len() + 1, length);
        ids.truncate(length.saturating_sub(1));
        ids.push(self.end);
        ids.resize(length, self.padding);
        Ok(Encoded { ids, count })
    }
}
