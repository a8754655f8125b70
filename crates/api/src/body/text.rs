//! JSON as it arrives: the values in its text are counted before they are parsed, and long pictures are decoded on the
//! way and replaced by a name.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::Value;
use uso_store::hexadecimal_sha256;

use super::memory::Reserved;
use super::refused::too_large;
use crate::problem::Problem;

/// A longer string is a picture, or is refused.
const LONG: usize = 130 * 1024;
/// Bytes of a `data:` URL within which the picture must begin.
const HEAD: usize = 256;
/// What the values of a text may weigh together. A value takes some 32 bytes of memory, an object some 700.
const MAX_WEIGHT: usize = 400_000;
const OBJECT: usize = 20;
/// Characters that are decoded at once; whole groups of four.
const GROUP: usize = 4096;

/// A picture that was in a body, or what is wrong with it.
pub(crate) type Enclosed = Result<Bytes, (&'static str, String)>;

/// The part of a body that has arrived.
pub(super) struct Text {
    text: Vec<u8>,
    most: usize,
    weight: usize,
    position: Position,
    pictures: BTreeMap<String, Enclosed>,
    /// Bytes of the pictures that are decoded.
    done: usize,
    /// Largest picture, where there may be any, and the memory that all take.
    enclosures: Option<(u64, Reserved)>,
}

/// Where the next byte belongs.
enum Position {
    Between,
    /// In a string that begins there in the text.
    String {
        begin: usize,
        escaped: bool,
    },
    Picture(Box<Picture>),
}

impl Text {
    /// `enclosures` says how large a picture may be, where there may be any.
    pub(super) fn new(most: usize, enclosures: Option<(u64, Reserved)>) -> Self {
        let (pictures, position) = (BTreeMap::new(), Position::Between);
        Self { text: Vec::new(), most, weight: 0, position, pictures, done: 0, enclosures }
    }

    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        for byte in chunk {
            self.take_one(*byte)?;
        }
        let open = if let Position::Picture(picture) = &self.position { picture.bytes.len() } else { 0 };
        match &mut self.enclosures {
            Some((_, held)) => held.grow_to(self.done + open),
            None => Ok(()),
        }
    }

    fn take_one(&mut self, byte: u8) -> Result<(), Problem> {
        if let Position::String { begin, .. } = self.position
            && self.text.len() - begin == LONG
        {
            self.begin_picture(begin);
        }
        match &mut self.position {
            Position::Picture(picture) if byte != b'"' || picture.is_escaped() => {
                picture.take(byte);
                return Ok(());
            }
            Position::Picture(_) => self.end_picture(),
            Position::Between => match byte {
                b'"' => self.position = Position::String { begin: self.text.len(), escaped: false },
                b'{' => self.weight += OBJECT,
                b'[' | b',' | b':' => self.weight += 1,
                _ => {}
            },
            Position::String { escaped, .. } if *escaped => *escaped = false,
            Position::String { escaped, .. } if byte == b'\\' => *escaped = true,
            Position::String { .. } if byte == b'"' => self.position = Position::Between,
            Position::String { .. } => {}
        }
        if self.text.len() == self.most {
            return Err(too_large(self.most));
        }
        if self.weight > MAX_WEIGHT {
            let detail = "the body holds more values than any request needs";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        }
        self.text.push(byte);
        Ok(())
    }

    /// Takes the string that begins there out of the text, if it is a picture.
    fn begin_picture(&mut self, begin: usize) {
        let Some((most, _)) = &self.enclosures else { return };
        let string = &self.text[begin + 1..];
        const MARK: &[u8] = b";base64,";
        let mark = string[..HEAD.min(string.len())].windows(MARK.len()).position(|window| window == MARK);
        let Some(mark) = mark.filter(|_| string.starts_with(b"data:")) else { return };
        let mut picture = Picture::new(*most);
        string[mark + MARK.len()..].iter().for_each(|byte| picture.take(*byte));
        self.text.truncate(begin + 1);
        self.position = Position::Picture(Box::new(picture));
    }

    fn end_picture(&mut self) {
        let Position::Picture(picture) = std::mem::replace(&mut self.position, Position::Between) else {
            return;
        };
        let enclosed = picture.finish();
        let name = match &enclosed {
            // The same picture has the same name: a request that is repeated has the same text.
            Ok(bytes) => format!("data:#{}", hexadecimal_sha256(bytes)),
            Err(_) => format!("data:#{}", self.pictures.len()),
        };
        self.done += enclosed.as_ref().map_or(0, Vec::len);
        self.text.extend_from_slice(name.as_bytes());
        self.pictures.insert(name, enclosed.map(Into::into));
    }

    /// What the body says, and the pictures in it.
    pub(super) fn finish(self) -> Result<(Value, BTreeMap<String, Enclosed>, Reserved), Problem> {
        let value = serde_json::from_slice(&self.text).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {error}"))
        })?;
        let held = self.enclosures.map_or_else(Reserved::nothing, |(_, held)| held);
        Ok((value, self.pictures, held))
    }
}

/// A picture that is being decoded.
struct Picture {
    most: u64,
    bytes: Vec<u8>,
    /// Characters that are not decoded yet.
    characters: Vec<u8>,
    /// Of a character that JSON writes in another way, what has come after the backslash.
    escape: Option<Vec<u8>>,
    fault: Option<(&'static str, String)>,
}

impl Picture {
    fn new(most: u64) -> Self {
        Self { most, bytes: Vec::new(), characters: Vec::with_capacity(GROUP), escape: None, fault: None }
    }

    fn is_escaped(&self) -> bool {
        self.escape.is_some()
    }

    fn take(&mut self, byte: u8) {
        match &mut self.escape {
            None if byte == b'\\' => self.escape = Some(Vec::new()),
            None => self.push(byte),
            Some(escape) => {
                escape.push(byte);
                if escape[0] != b'u' || escape.len() == 5 {
                    let character = unescaped(escape);
                    self.escape = None;
                    self.push(character);
                }
            }
        }
    }

    fn push(&mut self, character: u8) {
        self.characters.push(character);
        if self.characters.len() == GROUP {
            // Padding may only stand at a picture's end.
            let padded = self.characters.ends_with(b"=");
            self.decode();
            if padded {
                self.fail("invalid_source", "the base64 ends in the middle");
            }
        }
    }

    fn decode(&mut self) {
        if self.fault.is_none()
            && let Err(error) = BASE64_STANDARD.decode_vec(&self.characters, &mut self.bytes)
        {
            self.fail("invalid_source", &format!("the base64 cannot be read: {error}"));
        }
        self.characters.clear();
        if self.bytes.len() as u64 > self.most {
            let message =
                format!("the file has more than {} bytes, which is the most that is allowed", self.most);
            self.fail("too_large", &message);
        }
    }

    fn fail(&mut self, code: &'static str, message: &str) {
        self.fault.get_or_insert((code, message.to_owned()));
        self.bytes = Vec::new();
    }

    fn finish(mut self) -> Result<Vec<u8>, (&'static str, String)> {
        self.decode();
        self.fault.map_or(Ok(self.bytes), Err)
    }
}

/// The character that an escape stands for; one that no picture may have, if there is none.
fn unescaped(escape: &[u8]) -> u8 {
    match escape {
        [b'/'] => b'/',
        [b'u', digits @ ..] => {
            let digits = std::str::from_utf8(digits).ok();
            let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            code.and_then(|code| u8::try_from(code).ok()).filter(u8::is_ascii).unwrap_or(b'!')
        }
        _ => b'!',
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::memory::Memory;
    use super::*;

    /// Reads a body that comes in parts of some size.
    fn read(body: &str, part: usize) -> Result<(Value, BTreeMap<String, Enclosed>), Problem> {
        let mut text = Text::new(1024 * 1024, Some((1_000_000, Memory::new().reserve())));
        body.as_bytes().chunks(part).try_for_each(|chunk| text.take(chunk))?;
        text.finish().map(|(value, pictures, _)| (value, pictures))
    }

    fn picture(bytes: &[u8]) -> String {
        format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes))
    }

    #[test]
    fn a_long_picture_is_taken_out_of_the_text_however_it_comes() {
        let bytes: Vec<u8> = (0..300_001_u64).map(|i| (i * i / 7) as u8).collect();
        let plain = picture(&bytes);
        let short = picture(b"short");
        for written in
            [plain.clone(), plain.replace('/', "\\/"), plain.replace('+', "\\u002B").replace('=', "\\u003d")]
        {
            let written = format!(r#"{{"a":["{written}","{short}"],"b":"x\"y"}}"#);
            for part in [1, 4096, written.len()] {
                let (value, pictures) = read(&written, part).unwrap();
                let name = value["a"][0].as_str().unwrap();
                assert_eq!(pictures[name].as_ref().unwrap(), &bytes);
                assert_eq!((&value["a"][1], &value["b"]), (&json!(short), &json!("x\"y")));
                assert!(name.len() < 100 && pictures.len() == 1);
            }
        }
    }

    #[test]
    fn a_broken_picture_is_reported_with_its_pointer() {
        let bytes = vec![7; 200_000];
        let (whole, broken) = (picture(&bytes), picture(&bytes).replacen("BwcH", "Bw=H", 40_000));
        let early = whole.clone() + &BASE64_STANDARD.encode(&bytes);
        let large = picture(&vec![7; 1_000_001]);
        for (text, code) in [(broken, "invalid_source"), (early, "invalid_source"), (large, "too_large")] {
            let (value, pictures) = read(&json!({ "content": text }).to_string(), 1000).unwrap();
            assert_eq!(pictures[value["content"].as_str().unwrap()].as_ref().unwrap_err().0, code);
        }
    }

    #[test]
    fn what_is_no_picture_is_bounded_in_size_and_in_what_it_becomes() {
        let long = format!(r#""{}""#, "x".repeat(1024 * 1024));
        assert_eq!(read(&long, 10_000).unwrap_err().code, "body_too_large");
        for values in ["0,", "[],", "{},", "{\"a\":0},"] {
            let body = format!("[{}0]", values.repeat(1_000_000 / values.len()));
            assert_eq!(read(&body, 10_000).unwrap_err().code, "body_too_large", "{values}");
        }
        // As large as a batch of jobs gets.
        let job = json!({ "prompt": "a cat, {[:,\"", "loras": [{ "name": "ink", "weight": 1 }], "metadata": { "row": 1 } });
        let batch = json!({ "jobs": vec![job; 1000] });
        assert_eq!(read(&batch.to_string(), 1000).unwrap().0, batch);
        assert_eq!(read("{", 1).unwrap_err().code, "invalid_json");
    }
}
