//! Where a reference image lies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schema::text_schema;

/// Longest URL that a job may name, in bytes.
pub const MAX_URL: usize = 2000;

/// Longest tag of an object's content; services give 32 to 70 characters.
const MAX_TAG: usize = 128;

/// Where a reference image lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// `s3://bucket/key`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// `upload:<id>`, or `upload:<id>@<tag>`: a file put through the API.
    Upload {
        /// The upload.
        id: Uuid,
        /// The entity tag that its content had when the job was accepted: another content is not this reference.
        tag: Option<String>,
    },
    /// `https://...`: a file on the web, where the fleet takes those.
    Web {
        /// The whole address.
        url: String,
    },
}

impl Source {
    /// An upload, whatever it holds.
    pub fn upload(id: Uuid) -> Self {
        Self::Upload { id, tag: None }
    }

    /// As it may be written down for others: what stands behind the `?` of an address may be a secret.
    pub fn shown(&self) -> String {
        match self {
            Self::Web { url } => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            other => other.to_string(),
        }
    }

    /// Forgets what an upload held.
    pub(crate) fn unpin(&mut self) {
        if let Self::Upload { tag, .. } = self {
            *tag = None;
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Upload { id, tag: None } => write!(f, "upload:{id}"),
            Self::Upload { id, tag: Some(tag) } => write!(f, "upload:{id}@{tag}"),
            Self::Web { url } => f.write_str(url),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "must be s3://bucket/key, upload:<id> or https://...";
        if text.starts_with("https://") || text.starts_with("http://") {
            let plain = text.len() <= MAX_URL && !text.chars().any(|c| c.is_control() || c.is_whitespace());
            return if plain { Ok(Self::Web { url: text.into() }) } else { Err(FORMS.into()) };
        }
        if let Some(name) = text.strip_prefix("upload:") {
            return upload(name).ok_or_else(|| FORMS.into());
        }
        let (bucket, key) = text.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).ok_or(FORMS)?;
        if bucket.is_empty() || key.is_empty() || key.len() > 1024 || key.chars().any(char::is_control) {
            return Err(FORMS.into());
        }
        if key.split('/').any(|part| part == ".." || part == ".") {
            return Err("the key must not contain . or .. as a part".into());
        }
        Ok(Self::S3 { bucket: bucket.into(), key: key.into() })
    }
}

fn upload(name: &str) -> Option<Source> {
    let (id, tag) = match name.split_once('@') {
        Some((id, tag)) => (id, Some(tag)),
        None => (name, None),
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > MAX_TAG || !tag.bytes().all(plain)) {
        return None;
    }
    Some(Source::Upload { id: Uuid::try_parse(id).ok()?, tag: tag.map(str::to_owned) })
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

text_schema! {
    Source: "Where a reference image lies: an object, its key without `.` and `..` as parts and at most 1024 \
             bytes long, a file that was put through the API, or, where the fleet takes those, an address of the \
             web.",
        "^(s3://[^/]+/[^\\x00-\\x1f\\x7f-\\x9f]+|\
         upload:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(@[!#-~]{1,128})?|\
         https?://[!-~]{1,1990})$",
        "s3://uso/references/cat.png";
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn an_address_of_the_web_is_written_down_without_what_may_be_a_secret() {
        let source: Source = "https://example.com/a.png?token=x".parse().unwrap();
        assert_eq!(source.to_string(), "https://example.com/a.png?token=x");
        assert_eq!(source.shown(), "https://example.com/a.png");
        let long = format!("https://example.com/{}", "x".repeat(2000));
        for bad in ["https://a b", "https://a\nb", "ftp://example.com/a.png", &long] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pinned_upload_reads_back_and_a_strange_tag_does_not() {
        let id = "0198a0b0-0000-7000-8000-00000000000a";
        let pinned = format!("upload:{id}@5d41402abc4b2a76b9719d911017c592-2");
        let mut source: Source = pinned.parse().unwrap();
        assert_eq!(source.to_string(), pinned);
        source.unpin();
        assert_eq!(source.to_string(), format!("upload:{id}"));
        for tag in ["", "a b", "\"a\"", "ä", &"x".repeat(129)] {
            assert!(format!("upload:{id}@{tag}").parse::<Source>().is_err(), "{tag:?}");
        }
    }
}
