//! Links that are good for one thing and for some time, for whoever has them: clients fetch pictures and
//! streams without a key.
//!
//! They are signed with the secret of the tenant's endpoint `default`, so that every process can make and check
//! them, and all of a tenant's end when it draws a new secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{Method, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uso_queue::{JobId, KeyScope, WebhookSecret};

use super::{Access, BELIEVED, Recent};
use crate::caller::Caller;
use crate::origin::Origin;
use crate::{Problem, Shared};

/// Routes that such links lead to. What stands behind `/v1/predictions/` is a job's id.
const ROUTES: [&str; 2] = ["/v1/predictions/{id}/output/{name}", "/v1/predictions/{id}/stream"];
const BEFORE_ID: &str = "/v1/predictions/";

/// Makes and checks links.
pub(crate) struct Links(Recent<WebhookSecret>);

impl Links {
    pub(crate) fn new() -> Self {
        Self(Recent::new(BELIEVED))
    }

    async fn secret(&self, shared: &Shared, tenant: &str) -> Result<WebhookSecret, Problem> {
        if let Some(secret) = self.0.get(tenant) {
            return Ok(secret);
        }
        let secret = shared.queue.default_webhook(tenant).await?.secret;
        self.0.put(tenant, secret.clone());
        Ok(secret)
    }

    /// Makes an address of ours one that needs no key, where keys are asked for.
    pub(crate) async fn sign(
        &self,
        shared: &Shared,
        tenant: &str,
        origin: &Origin,
        url: &str,
    ) -> Result<String, Problem> {
        let path = url.strip_prefix(origin.text()).unwrap_or(url);
        if shared.config.access != Access::Keys {
            return Ok(url.to_owned());
        }
        let until = now_s() + shared.config.link_lifetime.as_secs();
        let signature = signature(&self.secret(shared, tenant).await?, path, until);
        Ok(format!("{url}?expires={until}&signature={}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
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
        let Some(view) = shared.queue.view(&shown.job).await? else { return Ok(None) };
        let secret = self.secret(shared, &view.tenant).await?;
        let holds = mac(&secret, shown.path, shown.until).verify_slice(&shown.signature).is_ok();
        Ok(holds.then(|| Caller { tenant: view.tenant, scopes: vec![KeyScope::Read], session: None }))
    }
}

/// What a link says of itself.
struct Shown<'a> {
    path: &'a str,
    job: JobId,
    until: u64,
    signature: Vec<u8>,
}

impl<'a> Shown<'a> {
    fn of(uri: &'a Uri) -> Option<Self> {
        let value = |name: &str| {
            let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let path = uri.path();
        let job = path.strip_prefix(BEFORE_ID)?.split('/').next()?.parse().ok()?;
        let until = value("expires")?.parse().ok()?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(value("signature")?).ok()?;
        Some(Self { path, job, until, signature })
    }
}

/// The first word keeps it from ever being the signature of a message to an endpoint.
fn mac(secret: &WebhookSecret, path: &str, until: u64) -> Hmac<Sha256> {
    let mut key = [0; 64];
    // Shorter keys are filled up with zeros (RFC 2104).
    key[..secret.bytes().len()].copy_from_slice(secret.bytes());
    let mut mac = Hmac::<Sha256>::new(&key.into());
    mac.update(format!("link\n{path}\n{until}").as_bytes());
    mac
}

fn signature(secret: &WebhookSecret, path: &str, until: u64) -> Vec<u8> {
    mac(secret, path, until).finalize().into_bytes().to_vec()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
