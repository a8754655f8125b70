//! Digests of files as the hub states them: SHA-256 for large files, git's object name for small ones.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, de};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes to read and hash at once.
const CHUNK: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    kind: Kind,
    /// Lower-case.
    hexadecimal: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sha256,
    /// SHA-1 of `blob LENGTH`, a zero byte, and the bytes.
    GitBlob,
}

impl Digest {
    /// Reads an entity tag of the hub; none for a tag that is not a digest.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        let hexadecimal = etag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let kind = match hexadecimal.len() {
            64 => Kind::Sha256,
            40 => Kind::GitBlob,
            _ => return None,
        };
        hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(Self { kind, hexadecimal })
    }
}

impl Digest {
    /// Its hexadecimal digits.
    pub(super) fn hexadecimal(&self) -> &str {
        &self.hexadecimal
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Sha256 => "sha256",
            Kind::GitBlob => "git blob",
        };
        write!(f, "{kind} {}", self.hexadecimal)
    }
}

impl<'de> Deserialize<'de> for Digest {
    /// Only SHA-256: whoever writes a list has the file.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = Self::of_etag(&text).filter(|digest| digest.kind == Kind::Sha256);
        digest.ok_or_else(|| de::Error::custom("a sha256 has 64 hexadecimal digits"))
    }
}

/// A digest in progress.
pub(super) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    /// Begins a digest of the same kind for a file of so many bytes.
    pub(super) fn new(like: &Digest, bytes: u64) -> Self {
        match like.kind {
            Kind::Sha256 => Self::Sha256(Sha256::new()),
            Kind::GitBlob => Self::GitBlob(Sha1::new_with_prefix(format!("blob {bytes}\0"))),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// Reads the file to its end; calls `done` with the number of bytes of each part.
    pub(super) async fn read(
        &mut self,
        file: &mut (impl AsyncRead + Unpin),
        mut done: impl FnMut(u64),
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = file.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            self.update(&chunk[..length]);
            done(length as u64);
        }
    }

    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => {
                Digest { kind: Kind::Sha256, hexadecimal: hex::encode(hasher.finalize()) }
            }
            Self::GitBlob(hasher) => {
                Digest { kind: Kind::GitBlob, hexadecimal: hex::encode(hasher.finalize()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' | git hash-object --stdin` and `printf 'hello\n' | sha256sum`.
    const HELLO: [&str; 2] = [
        "ce013625030ba8dba906f756967f9e9ca394464a",
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    ];

    #[tokio::test]
    async fn digests_are_those_of_git_and_sha256sum() {
        for etag in HELLO {
            let digest = Digest::of_etag(&format!("W/\"{}\"", etag.to_uppercase())).unwrap();
            let mut hasher = Hasher::new(&digest, 6);
            hasher.update(b"he");
            let mut read = 0;
            hasher.read(&mut &b"llo\n"[..], |bytes| read += bytes).await.unwrap();
            assert_eq!((hasher.finish(), read), (digest, 4));
        }
    }

    #[test]
    fn other_tags_name_no_hash() {
        let not_hexadecimal = "x".repeat(64);
        for etag in ["", "\"5f3-abc\"", "d41d8cd98f00b204e9800998ecf8427e-12", &not_hexadecimal] {
            assert_eq!(Digest::of_etag(etag), None, "{etag:?}");
        }
    }
}
