//! Links that are good for one thing and for some time, for whoever has them: clients fetch pictures and
//! streams without a key.
//!
//! They are signed with a secret that belongs to a key and that nobody is shown, so that every process can make and
//! check them, and they end with that key. Links of versions before this one were signed with a secret that whoever
//! may submit can read, and are refused with a word of their own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{Method, StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uso_queue::{KeyScope, KeyView, LinkSecret};

use super::{BELIEVED, Recent};
use crate::caller::Caller;
use crate::origin::Origin;
use crate::{Problem, Shared};

/// Routes that such links lead to.
const ROUTES: [&str; 2] = ["/v1/predictions/{id}/output/{name}", "/v1/predictions/{id}/stream"];

/// Longest time that a link is good for.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes and checks links.
pub(crate) struct Links(Recent<(KeyView, LinkSecret)>);

impl Links {
    pub(crate) fn new() -> Self {
        Self(Recent::new(BELIEVED))
    }

    /// A key that opens something now, and what signs its links.
    async fn key(&self, shared: &Shared, prefix: &str) -> Result<Option<(KeyView, LinkSecret)>, Problem> {
        if let Some(found) = self.0.get(prefix) {
            return Ok(Some(found));
        }
        let found = shared.queue.key_and_link(prefix).await?;
        Ok(found.inspect(|found| self.0.put(prefix, found.clone())))
    }

    /// Makes an address of ours one that needs no key, where keys are asked for, if its reader has one that may read.
    pub(crate) async fn sign(
        &self,
        shared: &Shared,
        caller: &Caller,
        origin: &Origin,
        url: &str,
    ) -> Result<String, Problem> {
        let prefix = caller.key.as_deref().filter(|_| caller.may(KeyScope::Read));
        let Some(prefix) = prefix else { return Ok(url.to_owned()) };
        let Some((_, secret)) = self.key(shared, prefix).await? else { return Ok(url.to_owned()) };
        let path = url.strip_prefix(origin.text()).unwrap_or(url);
        let until = now_s() + shared.config.link_lifetime.min(LONGEST).as_secs();
        // What is found through a link is not good for longer than that link.
        let until = caller.until_s.map_or(until, |end| until.min(end));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature(&secret, path, until));
        Ok(format!("{url}?expires={until}&key={prefix}&signature={signature}"))
    }

    /// Whoever comes by such a link; none if the request does not.
    pub(super) async fn caller(
        &self,
        shared: &Shared,
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
        let Some((view, secret)) = self.key(shared, prefix).await? else { return Ok(None) };
        let holds = mac(&secret, shown.path, shown.until).verify_slice(&shown.signature).is_ok();
        let caller = Caller::of(&view, None);
        let caller = Caller { scopes: vec![KeyScope::Read], until_s: Some(shown.until), ..caller };
        Ok((holds && view.scopes.contains(&KeyScope::Read)).then_some(caller))
    }
}

fn old_link() -> Problem {
    let detail =
        "the link was made by an older version and opens nothing any more; ask for the prediction again";
    Problem::new(StatusCode::UNAUTHORIZED, "old_link", detail)
}

/// What a link says of itself.
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

/// The first word keeps it from ever being a signature of anything else.
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
