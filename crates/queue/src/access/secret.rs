//! Secrets: how they are made, written, hashed and compared.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::codec::{base62, is_base62};
use crate::random::{NAME, random_bytes, random_name};

/// First part of every key, by which people and scanners of leaked secrets know it.
const MARK: &str = "uso";
/// Characters by which a key is found and spoken of.
const PREFIX: usize = NAME;
/// Characters of 32 bytes in base 62.
const SECRET: usize = 43;

/// A whole key: whoever has it is let in. Debug output hides its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    prefix: String,
    secret: String,
}

impl ApiKey {
    pub(super) fn new() -> Self {
        Self { prefix: random_name(), secret: base62(&random_bytes(), SECRET) }
    }

    /// The part that is no secret: it names the key.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// SHA-256 of the part that is a secret.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest_of(&self.secret)
    }

    /// The key as it is sent.
    pub fn expose(&self) -> String {
        format!("{MARK}_{}_{}", self.prefix, self.secret)
    }
}

impl FromStr for ApiKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let rest = text.strip_prefix(MARK).and_then(|rest| rest.strip_prefix('_')).ok_or(NotAKey)?;
        let (prefix, secret) = rest.split_once('_').ok_or(NotAKey)?;
        let fits = |part: &str, length| part.len() == length && is_base62(part);
        if !fits(prefix, PREFIX) || !fits(secret, SECRET) {
            return Err(NotAKey);
        }
        Ok(Self { prefix: prefix.to_owned(), secret: secret.to_owned() })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({MARK}_{}_..)", self.prefix)
    }
}

/// A text that cannot be a key. It is not repeated here: it may be a secret all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key: one looks like {MARK}_<{PREFIX} characters>_<{SECRET} characters>")]
pub struct NotAKey;

/// What a browser holds after it logged in. Debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    pub(super) fn new() -> Self {
        Self(base62(&random_bytes(), SECRET))
    }

    /// SHA-256 of the token, under which it is found.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest_of(&self.0)
    }

    /// The token as a cookie carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second secret that follows from the first, but from which the first does not follow: pages of the
    /// site may read it, and send it along to show that it was they who asked.
    pub fn csrf(&self) -> String {
        base62(&digest_of(&format!("csrf {}", self.0)), SECRET)
    }

    /// Whether a text is [`SessionToken::csrf`]; how long the answer takes tells nothing about it.
    pub fn has_csrf(&self, text: &str) -> bool {
        same(&digest_of(text), &digest_of(&self.csrf()))
    }
}

impl From<&str> for SessionToken {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

pub(super) fn digest_of(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Compares all bytes, however early the first difference is.
pub(super) fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let apart =
        one.iter().zip(other).fold(0, |apart, (one, other)| std::hint::black_box(apart | (one ^ other)));
    apart == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is() {
        let key = ApiKey::new();
        let text = key.expose();
        assert_eq!(text.parse(), Ok(key.clone()));
        assert_eq!(text.len(), 4 + 8 + 1 + 43);
        let secret = text.rsplit_once('_').unwrap().1;
        assert!(!format!("{key:?}").contains(secret), "{key:?}");
        for bad in [
            "",
            "uso",
            "uso_abc_def",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace("uso_", "uso-"),
            &format!("{}\n", &text[..text.len() - 1]),
        ] {
            assert_eq!(bad.parse::<ApiKey>(), Err(NotAKey), "{bad}");
        }
        assert_ne!(ApiKey::new(), key);
    }

    #[test]
    fn a_csrf_token_belongs_to_one_session_and_does_not_open_it() {
        let (one, other) = (SessionToken::new(), SessionToken::new());
        assert!(one.has_csrf(&one.csrf()));
        assert!(!one.has_csrf(&other.csrf()) && !one.has_csrf("") && !one.has_csrf(one.expose()));
        assert!(!format!("{one:?}").contains(one.expose()));
    }

    #[test]
    fn texts_that_differ_in_one_bit_are_not_the_same() {
        for byte in 0..32 {
            let mut other = [7; 32];
            other[byte] ^= 1;
            assert!(!same(&[7; 32], &other), "byte {byte}");
        }
        assert!(same(&[7; 32], &[7; 32]));
    }
}
