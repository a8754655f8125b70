//! Keys of the API.
//!
//! Of a secret only its SHA-256 is kept. A secret has 256 random bits, so that a slow hash would protect nothing
//! more.

use std::fmt;
use std::time::Duration;

use redis::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secret::{ApiKey, same};
use crate::answers::Fields;
use crate::random::random_bytes;
use crate::reply::Reply;
use crate::tenant::check_tenant;
use crate::{Error, Queue};

/// Longest note of a key in bytes.
pub const MAX_NOTE: usize = 200;

/// Every key lies in the first shard.
pub(super) const SHARD: u16 = 0;

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// Everything that changes something: submit, upload, cancel, retry, delete.
    Submit,
    /// Everything that reads the tenant's own.
    Read,
    /// What concerns the whole fleet: metrics, the jobs that workers hold.
    Admin,
}

impl KeyScope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Admin];

    /// The word used in requests and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    /// A word that this version does not know allows nothing.
    fn read_all(words: &str) -> Vec<Self> {
        let known = |word: &str| Self::ALL.into_iter().find(|scope| scope.as_str() == word);
        words.split(' ').filter_map(known).collect()
    }
}

/// What is known of a key. Times are milliseconds since the epoch by Redis' clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// The part of the key that is no secret.
    pub prefix: String,
    /// Whose jobs it submits and sees.
    pub tenant: String,
    /// What it allows.
    pub scopes: Vec<KeyScope>,
    /// What it is for, in its maker's words.
    pub note: String,
    /// When it was made.
    pub created_ms: u64,
    /// When it stops working by itself.
    pub expires_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
    #[serde(skip)]
    digest: [u8; 32],
}

impl KeyView {
    /// Whether this is what is known of `key`, and not of another with the same prefix.
    pub fn is_of(&self, key: &ApiKey) -> bool {
        same(&self.digest, &key.digest())
    }

    fn read(reply: Reply) -> Result<Self, Error> {
        let mut key = Fields::of("key", reply)?;
        let digest: Vec<u8> = key.take("digest")?;
        Ok(Self {
            prefix: key.take("prefix")?,
            digest: digest.try_into().map_err(|_| Error::Unreadable("the digest of a key".into()))?,
            tenant: key.take("tenant")?,
            scopes: KeyScope::read_all(&key.take::<String>("scopes")?),
            note: key.take("note")?,
            created_ms: key.take("created")?,
            expires_ms: key.take("expires")?,
            revoked_ms: key.take("revoked")?,
        })
    }

    pub(super) fn read_optional(value: Value) -> Result<Option<Self>, Error> {
        Reply::of(value)?.map(Self::read).transpose()
    }
}

/// What signs links under a key. Nobody is shown it, and debug output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkSecret([u8; 32]);

impl LinkSecret {
    /// The key of the signature.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(..)")
    }
}

/// A key to be made.
#[derive(Debug, Clone, Default)]
pub struct NewKey<'a> {
    /// Whose jobs it is to submit and see.
    pub tenant: &'a str,
    /// What it is to allow.
    pub scopes: &'a [KeyScope],
    /// What it is for, at most [`MAX_NOTE`] bytes.
    pub note: &'a str,
    /// After how long it stops working; never, if it is not set.
    pub life: Option<Duration>,
}

impl Queue {
    /// Makes a key. It is given this once and never again.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a name that cannot be a tenant's; [`Error::Settings`] for a note that is too
    /// long or no scope; [`Error::Full`], [`Error::Unreachable`].
    pub async fn create_key(&self, new: &NewKey<'_>) -> Result<(ApiKey, KeyView), Error> {
        check_tenant(new.tenant)?;
        if new.note.len() > MAX_NOTE {
            return Err(Error::Settings(format!("a key's note has at most {MAX_NOTE} bytes")));
        }
        if new.scopes.is_empty() {
            return Err(Error::Settings("a key needs at least one scope".into()));
        }
        let words: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
        let life = new.life.map(|life| life.as_millis().to_string()).unwrap_or_default();
        // A prefix that another key has is as rare as one hit among 200 million millions.
        let key = ApiKey::new();
        let mut command = self.function(SHARD, "key_add");
        command.arg(key.prefix()).arg(&key.digest()[..]).arg(new.tenant).arg(words.join(" "));
        command.arg(new.note).arg(life);
        let made = KeyView::read_optional(self.0.connection.accept(&command).await?)?;
        let view = made.ok_or_else(|| Error::Unreadable("the prefix of a new key is taken".into()))?;
        Ok((key, view))
    }

    /// What is known of the key with a prefix, if it is valid now. Whoever asks for a whole key checks
    /// [`KeyView::is_of`].
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Unreadable`] for a broken record.
    pub async fn find_key(&self, prefix: &str) -> Result<Option<KeyView>, Error> {
        let mut command = self.function(SHARD, "key_find");
        KeyView::read_optional(self.0.connection.call(command.arg(prefix)).await?)
    }

    /// What is known of the key with a prefix, if it is valid now, and what signs links under it.
    ///
    /// # Errors
    /// As [`Queue::find_key`].
    pub async fn key_and_link(&self, prefix: &str) -> Result<Option<(KeyView, LinkSecret)>, Error> {
        let mut command = self.function(SHARD, "key_link");
        let value: Value = self.0.connection.accept(command.arg(prefix).arg(&random_bytes()[..])).await?;
        let Some(mut reply) = Reply::of(value)? else { return Ok(None) };
        let view = KeyView::read(Reply::list(reply.next()?)?)?;
        let secret = reply.next::<Vec<u8>>()?.try_into();
        let secret = secret.map_err(|_| Error::Unreadable("the secret that signs links of a key".into()))?;
        Ok(Some((view, LinkSecret(secret))))
    }

    /// All keys that can be read, the oldest first, and the prefixes of the others.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn keys(&self) -> Result<(Vec<KeyView>, Vec<String>), Error> {
        let reply = Reply::list(self.0.connection.call(&self.function(SHARD, "key_list")).await?)?;
        let (mut keys, mut broken) = (Vec::new(), Vec::new());
        for found in reply.rest() {
            let prefix = Reply::list(found.clone())?.next()?;
            match KeyView::read(Reply::list(found)?) {
                Ok(key) => keys.push(key),
                Err(_) => broken.push(prefix),
            }
        }
        keys.sort_by(|one, other| (one.created_ms, &one.prefix).cmp(&(other.created_ms, &other.prefix)));
        Ok((keys, broken))
    }

    /// Revokes a key, and with it its sessions: at once for whoever asks the queue. Gives its
    /// prefix, or none if there is no such key; again gives the same.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; it is safe to ask again.
    pub async fn revoke_key(&self, prefix: &str) -> Result<Option<String>, Error> {
        let mut command = self.function(SHARD, "key_revoke");
        let Some(mut reply) = Reply::of(self.0.connection.accept(command.arg(prefix)).await?)? else {
            return Ok(None);
        };
        reply.next().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::KeyScope;

    #[test]
    fn words_of_a_newer_version_allow_nothing() {
        assert_eq!(KeyScope::read_all("read everything submit"), [KeyScope::Read, KeyScope::Submit]);
    }
}
