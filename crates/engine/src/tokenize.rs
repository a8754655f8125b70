//! Prompts become token ids, padded and cut to a fixed length.

use tokenizers::{NormalizedString, Tokenizer};

use crate::{Error, ModelFiles};

/// The vocabulary of the published T5, whose folder holds only a SentencePiece model.
static T5_VOCABULARY: &[u8] = include_bytes!("../assets/t5/tokenizer.json");

/// The T5 tokenizer.
pub struct T5Tokenizer {
    tokenizer: Tokenizer,
    end: u32,
    padding: u32,
}

impl T5Tokenizer {
    /// Loads `tokenizer.json` from `folder` of the model, or takes the published vocabulary that the
    /// engine carries if there is none.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the file does not parse or lacks the end or padding token.
    pub fn load(files: &ModelFiles, folder: &str) -> Result<Self, Error> {
        let path = format!("{folder}/tokenizer.json");
        let tokenizer = if files.contains(&path) {
            parse(&path, &files.read(&path)?)?
        } else {
            parse("the vocabulary of the published T5", T5_VOCABULARY)?
        };
        let (end, padding) = (id(&tokenizer, "</s>")?, id(&tokenizer, "<pad>")?);
        Ok(Self { tokenizer, end, padding })
    }

    /// Exactly `length` ids: the text, cut if need be, the end token, padding.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the text cannot be encoded.
    pub fn ids(&self, text: &str, length: usize) -> Result<Vec<u32>, Error> {
        let mut ids = encode(&self.tokenizer, text)?;
        ids.truncate(length.saturating_sub(1));
        ids.push(self.end);
        ids.resize(length, self.padding);
        Ok(ids)
    }
}

/// The CLIP tokenizer.
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
}

impl ClipTokenizer {
    /// Loads `tokenizer.json` from `folder` of the model.
    ///
    /// # Errors
    /// [`Error::ModelFile`] if there is none, [`Error::Tokenizer`] if it does not parse or lacks the
    /// start or end token.
    pub fn load(files: &ModelFiles, folder: &str) -> Result<Self, Error> {
        let path = format!("{folder}/tokenizer.json");
        let tokenizer = parse(&path, &files.read(&path)?)?;
        let (start, end) = (id(&tokenizer, "<|startoftext|>")?, id(&tokenizer, "<|endoftext|>")?);
        Ok(Self { tokenizer, start, end })
    }

    /// Exactly `length` ids: the start token, the text, cut if need be, then end tokens.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the text cannot be encoded.
    pub fn ids(&self, text: &str, length: usize) -> Result<Vec<u32>, Error> {
        let mut ids = vec![self.start];
        ids.extend(encode(&self.tokenizer, &clean(text))?);
        ids.truncate(length.saturating_sub(1));
        ids.resize(length, self.end);
        Ok(ids)
    }
}

fn parse(name: &str, json: &[u8]) -> Result<Tokenizer, Error> {
    Tokenizer::from_bytes(json).map_err(|error| Error::Tokenizer(format!("{name}: {error}")))
}

fn id(tokenizer: &Tokenizer, token: &str) -> Result<u32, Error> {
    tokenizer.token_to_id(token).ok_or_else(|| Error::Tokenizer(format!("the vocabulary has no {token}")))
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let encoding = tokenizer.encode(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
    Ok(encoding.get_ids().to_vec())
}

/// What ftfy, which the reference's CLIP tokenizer calls, does to well-encoded text: straight quotes,
/// plain ligatures, normal width, no control characters. Text that was decoded with the wrong
/// character set is left as it is.
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
