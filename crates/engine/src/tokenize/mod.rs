//! Turns prompts into token ids, padded or cut to a fixed length, and counts what was cut.

mod clip;
mod t5;
mod vocabulary;

use std::fmt;

use tokenizers::Tokenizer;

pub use self::clip::ClipTokenizer;
pub use self::t5::T5Tokenizer;
use crate::Error;
use crate::guard::guarded;

/// A text as input of its encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// As many ids as the encoder reads, padding included.
    pub ids: Vec<u32>,
    /// How many tokens the text has, and how many were cut.
    pub count: TokenCount,
}

/// How many tokens a text has, and how many of them were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenCount {
    /// All tokens of the text before it is cut, including special tokens: an end token for T5, a start and an end token
    /// for CLIP. Padding does not count.
    pub tokens: u32,
    /// Tokens at the end of the text that did not fit. Special tokens are never cut.
    pub cut: u32,
}

impl TokenCount {
    /// Counts of `tokens` tokens for an encoder that reads `length`.
    fn new(tokens: usize, length: usize) -> Self {
        Self { tokens: tokens as u32, cut: tokens.saturating_sub(length) as u32 }
    }
}

/// How many tokens a prompt has for each text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromptTokens {
    /// For T5, which gives the transformer a state for each token. What is cut here is lost.
    pub t5: TokenCount,
    /// For CLIP, which gives one vector for the whole prompt. It reads so few tokens that it cuts every long prompt.
    pub clip: TokenCount,
}

/// Where a tokenizer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerSource {
    /// `tokenizer.json` of the model's folder.
    TokenizerJson,
    /// `vocab.json` and `merges.txt` of the model's folder.
    VocabularyAndMerges,
    /// The published vocabulary inside the binary.
    Embedded,
}

impl fmt::Display for TokenizerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenizerJson => "tokenizer.json",
            Self::VocabularyAndMerges => "vocab.json and merges.txt",
            Self::Embedded => "embedded",
        })
    }
}

/// A tokenizer that neither cuts nor pads, whatever its file says: libraries save how they last used it, and ours has
/// lengths of its own.
fn parse(name: &str, json: &[u8]) -> Result<Tokenizer, Error> {
    guarded(|| {
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None).with_truncation(None).map_err(|error| error.to_string())?;
        Ok(tokenizer)
    })
    .map_err(|reason| Error::Tokenizer(format!("{name}: {reason}")))
}

fn id(tokenizer: &Tokenizer, token: &str) -> Result<u32, Error> {
    tokenizer.token_to_id(token).ok_or_else(|| Error::Tokenizer(format!("the vocabulary has no {token}")))
}

fn largest_id(tokenizer: &Tokenizer) -> u32 {
    tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let encoding = guarded(|| tokenizer.encode(text, false).map_err(|error| error.to_string()));
    Ok(encoding.map_err(Error::Tokenizer)?.get_ids().to_vec())
}
