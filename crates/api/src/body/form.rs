//! Forms with files (`multipart/form-data`, RFC 7578) as they arrive: every part is bounded, and each byte is searched
//! once.

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;

use super::refused::swallow;
use crate::problem::Problem;

/// Most bytes before the first part.
const MAX_PREAMBLE: usize = 1024;
/// Most bytes of a part's headers.
const MAX_HEAD: usize = 8 * 1024;
/// Most parts of a form.
const MAX_PARTS: usize = 16;
/// Longest boundary, as RFC 2046 says.
const MAX_BOUNDARY: usize = 70;

/// A form of which some has been read.
pub(crate) struct Form {
    stream: BodyDataStream,
    /// What has arrived and was not returned yet.
    buffer: BytesMut,
    /// What separates the parts.
    delimiter: Vec<u8>,
    /// Bytes that may still arrive.
    left: usize,
    parts: usize,
}

/// A part's headers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: Option<String>,
    pub(crate) file_name: Option<String>,
}

impl Form {
    /// A form of at most `most` bytes.
    pub(crate) fn new(headers: &HeaderMap, body: Body, most: usize) -> Result<Self, Problem> {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = media_type.and_then(boundary).ok_or_else(|| {
            let detail = "the body must be sent as multipart/form-data";
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", detail)
        })?;
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first delimiter may stand at the very beginning.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Ok(Self { stream: body.into_data_stream(), buffer, delimiter, left: most, parts: 0 })
    }

    /// The next part; none at the end of the form. A short rest of the part before is skipped.
    pub(crate) async fn next_part(&mut self) -> Result<Option<Head>, Problem> {
        let mut passed = 0;
        while let Some(chunk) = self.chunk().await? {
            passed += chunk.len();
            if passed > MAX_PREAMBLE {
                return Err(broken("the text before its first part is too long"));
            }
        }
        self.buffer.advance(self.delimiter.len());
        self.need(2).await?;
        if self.buffer.starts_with(b"--") {
            return Ok(None);
        }
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(broken(&format!("a form may have {MAX_PARTS} parts")));
        }
        self.head().await.map(Some)
    }

    /// The next bytes of the part; none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            if let Some(length) = find(&self.buffer, &self.delimiter) {
                return Ok((length > 0).then(|| self.buffer.split_to(length).freeze()));
            }
            // A delimiter may have arrived in part.
            let free = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if free > 0 {
                return Ok(Some(self.buffer.split_to(free).freeze()));
            }
            self.read().await?;
        }
    }

    /// Reads on although the form is refused: most clients read an answer only when they have sent everything.
    pub(crate) async fn swallow(&mut self) {
        swallow(&mut self.stream).await;
    }

    /// Reads a part's headers.
    async fn head(&mut self) -> Result<Head, Problem> {
        const END: &[u8] = b"\r\n\r\n";
        let mut searched = 0;
        let length = loop {
            if let Some(at) = find(&self.buffer[searched..], END) {
                break searched + at;
            }
            if self.buffer.len() > MAX_HEAD {
                break self.buffer.len();
            }
            searched = self.buffer.len().saturating_sub(END.len() - 1);
            self.read().await?;
        };
        if length > MAX_HEAD {
            return Err(broken(&format!("the headers of a part may have {MAX_HEAD} bytes")));
        }
        let head = self.buffer.split_to(length);
        self.buffer.advance(END.len());
        let text = String::from_utf8_lossy(&head);
        let disposition = text.split("\r\n").filter_map(|line| line.split_once(':'));
        let disposition =
            disposition.filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"));
        let disposition = disposition.map(|(_, value)| value).next().unwrap_or_default();
        Ok(Head { name: parameter(disposition, "name"), file_name: parameter(disposition, "filename") })
    }

    async fn need(&mut self, bytes: usize) -> Result<(), Problem> {
        while self.buffer.len() < bytes {
            self.read().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Problem> {
        let chunk = match self.stream.next().await {
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) | None => return Err(broken("it did not arrive whole")),
        };
        let Some(left) = self.left.checked_sub(chunk.len()) else {
            let detail = "the form is larger than a file may be";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
        };
        self.left = left;
        self.buffer.extend_from_slice(&chunk);
        Ok(())
    }
}

fn broken(what: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_form", format!("the form cannot be read: {what}"))
}

/// The boundary that a media type names, if it is a form's.
fn boundary(media_type: &str) -> Option<String> {
    let (kind, _) = media_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(media_type, "boundary").filter(|text| (1..=MAX_BOUNDARY).contains(&text.len()))
}

/// A parameter of a header: `; name=value` or `; name="value"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, left) = value(after.trim_start());
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = left.split_once(';')?.1;
    }
}

/// A value, and the text after it. Browsers put a backslash before quotes alone, and older ones none before
/// backslashes of a path.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                value.extend(characters.next().map(|(_, quote)| quote));
            }
            other => value.push(other),
        }
    }
    (value, "")
}

/// Where `wanted` first is in `text`. Its first byte is nowhere else in it, so that no byte is compared twice.
fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first) {
        from += at;
        if text[from..].starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use proptest::prelude::*;

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn what_was_written_as_a_form_is_read_back(
            parts in prop::collection::vec(("[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..100)), 0..5),
            chunk in 1..50usize,
        ) {
            let mut text = Vec::new();
            for (name, bytes) in &parts {
                let head = format!("--here\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
                text.extend([head.as_bytes(), bytes, b"\r\n"].concat());
            }
            text.extend(b"--here--\r\n");
            let expected: Vec<_> = parts.into_iter().map(|(name, bytes)| (head(&name, None), bytes)).collect();
            prop_assert_eq!(now(read(&text, chunk)).unwrap(), expected);
        }

        #[test]
        fn no_body_makes_it_panic(
            pieces in prop::collection::vec(prop_oneof![
                Just("--here".to_owned()), Just("--here--".to_owned()), Just("\r\n".to_owned()),
                Just("Content-Disposition: form-data; name=".to_owned()), Just("\"".to_owned()), "\\PC{0,9}",
            ], 0..20),
            chunk in 1..50usize,
        ) {
            let text = pieces.concat();
            let read = now(read(text.as_bytes(), chunk));
            prop_assert!(read.is_err() || read.is_ok_and(|parts| parts.len() <= MAX_PARTS));
        }

        #[test]
        fn no_media_type_makes_it_panic(text in "(multipart/form-data)?[;= \"\\\\a-z\u{e4}]{0,30}") {
            prop_assert!(boundary(&text).is_none_or(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len())));
        }
    }

    fn form(text: &[u8], part: usize) -> Form {
        let chunks: Vec<_> =
            text.chunks(part).map(|chunk| Ok::<_, Infallible>(Bytes::copy_from_slice(chunk))).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "multipart/form-data; boundary=here".parse().unwrap());
        Form::new(&headers, Body::from_stream(stream::iter(chunks)), 10_000_000).unwrap()
    }

    type Part = (Head, Vec<u8>);

    async fn read(text: &[u8], part: usize) -> Result<Vec<Part>, Problem> {
        let (mut form, mut parts) = (form(text, part), Vec::new());
        while let Some(head) = form.next_part().await? {
            let mut bytes = Vec::new();
            while let Some(chunk) = form.chunk().await? {
                bytes.extend_from_slice(&chunk);
            }
            parts.push((head, bytes));
        }
        Ok(parts)
    }

    fn head(name: &str, file_name: Option<&str>) -> Head {
        Head { name: Some(name.into()), file_name: file_name.map(str::to_owned) }
    }

    #[tokio::test]
    async fn parts_are_the_same_however_they_come() {
        let text = b"before\r\n--here\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x \\\"y\\\".png\"\r\n\
            Content-Type: image/png\r\n\r\n1\r\n--her\r\n2\r\n--here\r\ncontent-disposition: form-data; NAME=b\r\n\r\n\
            \r\n--here\r\nContent-Disposition: form-data; name=c\r\n\r\n\r\n\r\n--here--\r\nafter";
        let expected = vec![
            (head("a", Some("x \"y\".png")), b"1\r\n--her\r\n2".to_vec()),
            (head("b", None), Vec::new()),
            (head("c", None), b"\r\n".to_vec()),
        ];
        for part in [1, 2, 3, 7, 100, text.len()] {
            assert_eq!(read(text, part).await.unwrap(), expected, "in parts of {part}");
        }
        assert_eq!(read(b"--here--", 3).await.unwrap(), []);
    }

    #[tokio::test]
    async fn every_part_of_a_form_is_bounded() {
        let endless = |before: &str, text: &str| {
            [before.as_bytes(), text.repeat(1_000_000 / text.len()).as_bytes()].concat()
        };
        let part = "--here\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
        for (text, code) in [
            (endless("", "x"), "invalid_form"),
            (endless("--here\r\nX: ", "x"), "invalid_form"),
            (endless("--here\r\n", "X: y\r\n"), "invalid_form"),
            (endless("--here\r\n", "\r"), "invalid_form"),
            (endless("", part), "invalid_form"),
            (part.as_bytes().to_vec(), "invalid_form"),
            ([part.as_bytes(), &vec![b'x'; 10_000_000], b"\r\n--here--"].concat(), "body_too_large"),
        ] {
            let mut form = form(&text, 1000);
            let read = async {
                while form.next_part().await?.is_some() {
                    while form.chunk().await?.is_some() {}
                }
                Ok::<_, Problem>(())
            };
            let refused = read.await.unwrap_err();
            assert_eq!(refused.code, code, "{}", refused.detail);
            assert!(form.buffer.len() < 2 * MAX_HEAD, "{} bytes are kept", form.buffer.len());
        }
    }

    #[test]
    fn only_a_form_with_a_boundary_is_one() {
        for (text, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=utf-8; boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json; boundary=abc", None),
        ] {
            assert_eq!(boundary(text).as_deref(), expected, "{text}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))), None);
    }
}
