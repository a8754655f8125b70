//! Keys to an S3 service.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::private::{random_word, write_new};

/// A pair of S3 keys.
#[derive(Clone, Serialize, Deserialize)]
pub struct S3Keys {
    /// Access key id: a name, not a secret.
    pub access_key: String,
    /// Secret access key; debug output hides it.
    pub secret_key: String,
}

impl S3Keys {
    /// The keys in the file `path`. If the file is not there, it is made with new random keys, for this user's eyes only.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`] or [`Error::Write`].
    pub(crate) fn kept_in(path: &Path) -> Result<Self, Error> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| Error::Damaged { path: path.to_owned(), source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::create(path).map_err(|source| Error::Write { path: path.to_owned(), source })
            }
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// Makes new random keys and writes them.
    fn create(path: &Path) -> std::io::Result<Self> {
        let keys = Self { access_key: random_word()?, secret_key: random_word()? + &random_word()? };
        write_new(path, &serde_json::to_vec(&keys)?)?;
        Ok(keys)
    }
}

impl fmt::Debug for S3Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("S3Keys").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}
