//! Signed links: for a limited time, anyone who has one can fetch one picture or one stream without a key.
//!
//! They are signed with a secret that belongs to a key and is never shown, so that every process can make and check
//! them, and they become invalid with that key. Older versions signed links with a secret that every key with the scope
//! `submit` can read; such links are refused with a code of their own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{Method, StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uso_queue::{KeyScope, KeyView, LinkSecret, Queue};

use super::cache::{Cache, KEY_LIFE};
use crate::caller::Caller;
use crate::problem::Problem;

/// Routes that signed links lead to.
const ROUTES: [&str; 2] = ["/v1/predictions/{id}/output/{name}", "/v1/predictions/{id}/stream"];

/// Longest time that a link is valid.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes and checks links.
pub(crate) struct Links {
    queue: Queue,
    /// How long a link is valid.
    life: Duration,
    read: Cache<(KeyView, LinkSecret)>,
}

impl Links {
    pub(crate) fn new(queue: Queue, life: Duration) -> Self {
        Self { queue, life: life.min(LONGEST), read: Cache::new(KEY_LIFE) }
    }

    /// A key that is valid now, and the secret that signs its links.
    async fn key(&self, prefix: &str) -> Result<Option<(KeyView, LinkSecret)>, Problem> {
        if let Some(found) = self.read.get(prefix) {
            return Ok(Some(found));
        }
        let found = self.queue.key_and_link(prefix).await?;
        Ok(found.inspect(|found| self.read.put(prefix, found.clone())))
    }

    /// Signs an address of ours so that it needs no key, if the caller has a key that may read.
    pub(crate) async fn sign(&self, caller: &Caller, origin: &str, url: &str) -> Result<String, Problem> {
        let prefix = caller.key.as_deref().filter(|_| caller.may(KeyScope::Read));
        let Some(prefix) = prefix else { return Ok(url.to_owned()) };
        let Some((_, secret)) = self.key(prefix).await? else { return Ok(url.to_owned()) };
        let path = url.strip_prefix(origin).unwrap_or(url);
        let until = now_s() + self.life.as_secs();
        // A link that was found through another link is not valid for longer than that one.
        let until = caller.until_s.map_or(until, |end| until.min(end));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature(&secret, path, until));
        Ok(format!("{url}?expires={until}&key={prefix}&signature={signature}"))
    }

    /// The caller that a signed link stands for; none if the request has no valid one.
    pub(super) async fn caller(
        &self,
        method: &Method,
        route: Option<&str>,
        uri: &Uri,
    ) -> Result<Option<Caller>, Problem> {
        if !method.is_safe() || !route.is_some_and(|route| ROUTES.contains(&route)) {
            return Ok(None);
        }
        let Some(shown) = Shown::of(uri) else { return Ok(None) };
        if shown.until < now_s() {
            return Ok(None);
        }
        let Some(prefix) = shown.key else { return Err(old_link()) };
        let Some((view, secret)) = self.key(prefix).await? else { return Ok(None) };
        let holds = mac(&secret, shown.path, shown.until).verify_slice(&shown.signature).is_ok();
        let caller = Caller::of(&view, None);
        let caller = Caller { scopes: vec![KeyScope::Read], until_s: Some(shown.until), ..caller };
        Ok((holds && view.scopes.contains(&KeyScope::Read)).then_some(caller))
    }
}

fn old_link() -> Problem {
    let detail = "the link was made by an older version and is no longer valid; get the prediction again";
    Problem::new(StatusCode::UNAUTHORIZED, "old_link", detail)
}

/// The signed part of a link.
struct Shown<'a> {
    path: &'a str,
    /// The prefix of the key that made it; older ones have none.
    key: Option<&'a str>,
    until: u64,
    signature: Vec<u8>,
}

impl<'a> Shown<'a> {
    fn of(uri: &'a Uri) -> Option<Self> {
        let value = |name: &str| {
            let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let until = value("expires")?.parse().ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(value("signature")?).ok()?;
        Some(Self { path: uri.path(), key: value("key"), until, signature })
    }
}

/// The first word makes sure that no other signature of ours can be used for a link. The MAC compares in constant time.
fn mac(secret: &LinkSecret, path: &str, until: u64) -> Hmac<Sha256> {
    let mut key = [0; 64];
    // Shorter keys are filled up with zeros (RFC 2104).
    key[..secret.bytes().len()].copy_from_slice(secret.bytes());
    let mut mac = Hmac::<Sha256>::new(&key.into());
    mac.update(format!("link\n{path}\n{until}").as_bytes());
    mac
}

fn signature(secret: &LinkSecret, path: &str, until: u64) -> Vec<u8> {
    mac(secret, path, until).finalize().into_bytes().to_vec()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
