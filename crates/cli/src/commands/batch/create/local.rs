//! Pictures that rows name by the paths of files.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use uso_dataset::file;
use uso_dataset::rows::Reference;
use uso_queue::Source;
use uso_store::PictureKind;

/// SHA-256 of a picture's file.
pub(super) type Content = [u8; 32];

/// Longest path in bytes.
const LONGEST_PATH: usize = 900;

/// Finds pictures on this machine, and what they hold. Each file is read once. What is kept of one is 40 bytes and room to
/// grow.
pub(super) struct LocalPictures {
    /// What paths are relative to.
    folder: PathBuf,
    /// Largest file that the fleet takes, in bytes.
    max_bytes: u64,
    hasher: RandomState,
    /// Contents by a hash of the path as it is written.
    known: Mutex<HashMap<u64, Content>>,
}

/// A picture on this machine, in the place of a row's source until it is uploaded.
#[derive(Debug, PartialEq)]
pub(super) struct LocalPicture {
    /// As it is written in the row.
    pub(super) path: String,
    pub(super) content: Content,
}

impl LocalPictures {
    pub(super) fn new(folder: PathBuf, max_bytes: u64) -> Self {
        Self { folder, max_bytes, hasher: RandomState::new(), known: Mutex::default() }
    }

    /// What a row's reference becomes: local files get a name that tells path and content.
    pub(super) fn resolve(&self, text: &str) -> Result<Reference, String> {
        if let Some(remote) = Reference::remote(text) {
            return Ok(remote);
        }
        if ["s3://", "upload:", "http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(text.parse::<Source>().err().unwrap_or_default());
        }
        let content = self.content(text)?;
        let source = LocalPicture { path: text.to_owned(), content }.to_source();
        Ok(Reference { source, content: Some(format!("sha256:{}", hex::encode(content))) })
    }

    /// Where a path leads.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Reads a picture from the place where its path leads. Blocks.
    pub(super) fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        file::read(&self.place(path), self.max_bytes)
    }

    fn content(&self, path: &str) -> Result<Content, String> {
        let hash = self.hasher.hash_one(path);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = known().get(&hash) {
            return Ok(*content);
        }
        let content = self.read(path)?;
        known().insert(hash, content);
        Ok(content)
    }

    fn read(&self, path: &str) -> Result<Content, String> {
        let place = self.place(path);
        if path.len() > LONGEST_PATH {
            return Err(format!("is a path of more than {LONGEST_PATH} bytes"));
        }
        let bytes = self.bytes(path).map_err(|error| format!("cannot read {}: {error}", place.display()))?;
        if PictureKind::of_bytes(&bytes).is_none() {
            return Err(format!("{} is not a png, jpeg or webp image", place.display()));
        }
        Ok(Sha256::digest(&bytes).into())
    }
}

/// `.invalid` is nobody's: no row can name such a place itself and mean it.
const HOST: &str = ".picture.invalid/";

impl LocalPicture {
    /// A source that is none, but can be written like one.
    fn to_source(&self) -> String {
        let (left, right) = self.content.split_at(16);
        let (left, right) = (hex::encode(left), hex::encode(right));
        format!("https://{left}.{right}{HOST}{}", hex::encode(&self.path))
    }

    /// Reads what [`LocalPicture::to_source`] wrote; none for any other source.
    pub(super) fn of_source(source: &Source) -> Option<Self> {
        let Source::Web { url } = source else { return None };
        let (content, path) = url.strip_prefix("https://")?.split_once(HOST)?;
        let content: Vec<u8> = hex::decode(content.replace('.', "")).ok()?;
        let path = String::from_utf8(hex::decode(path).ok()?).ok()?;
        Some(Self { path, content: content.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    #[test]
    fn a_local_picture_is_known_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fox (1).png"), PNG).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "text").unwrap();
        let pictures = LocalPictures::new(folder.path().to_owned(), 100);
        let found = pictures.resolve("fox (1).png").unwrap();
        let picture = LocalPicture::of_source(&found.source.parse().unwrap()).unwrap();
        assert_eq!(picture, LocalPicture { path: "fox (1).png".into(), content: Sha256::digest(PNG).into() });
        assert_eq!(pictures.resolve("s3://a/b").unwrap(), "s3://a/b".to_owned().into());
        assert_eq!(LocalPicture::of_source(&"https://example.com/a".parse().unwrap()), None);
        for (bad, why) in [
            ("none.png", "cannot read"),
            ("notes.txt", "is not a png"),
            ("s3://a", "must be"),
            ("/dev/zero", "cannot read /dev/zero: it is not a regular file"),
        ] {
            let said = pictures.resolve(bad).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let small = LocalPictures::new(folder.path().to_owned(), 5);
        assert!(small.resolve("fox (1).png").unwrap_err().contains("at most 5"));
    }

    #[test]
    fn another_content_makes_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.png");
        let resolve = || {
            let pictures = LocalPictures::new(folder.path().to_owned(), 100);
            pictures.resolve("a.png").unwrap().content
        };
        std::fs::write(&place, PNG).unwrap();
        let first = resolve();
        std::fs::write(&place, [PNG, b"!"].concat()).unwrap();
        assert_ne!(resolve(), first);
        std::fs::write(&place, PNG).unwrap();
        assert_eq!(resolve(), first);
    }
}
