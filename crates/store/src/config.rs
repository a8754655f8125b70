//! Where the store lies and what it may take.

use std::fmt;
use std::time::Duration;

use hyper::Uri;

use crate::{Error, outside};

/// Settings of a [`Store`](crate::Store).
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the S3 service; none means AWS itself in `region`.
    pub endpoint: Option<String>,
    /// The address presigned URLs are made for, where clients reach the service under another
    /// name than this process does; none means `endpoint`.
    pub public_endpoint: Option<String>,
    /// Region that requests are signed for.
    pub region: String,
    /// The bucket that outputs and uploads go to.
    pub bucket: String,
    /// Keys to sign with; none means the usual AWS chain (environment, profile, instance role).
    pub credentials: Option<Credentials>,
    /// Largest reference that [`Store::fetch_image`](crate::Store::fetch_image) takes, in bytes.
    pub max_bytes: u64,
    /// Bound on each whole call, its retries and its transfer included.
    pub timeout: Duration,
    /// Buckets besides `bucket` that references may come from.
    pub extra_buckets: Vec<String>,
    /// Whether references may come from the web.
    pub web: WebReferences,
}

/// Which addresses of the web references may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebReferences {
    /// None.
    #[default]
    Off,
    /// Those of the internet, over https.
    Public,
    /// All that this machine can reach, over plain http too. Whoever may submit jobs can then make it call anything
    /// in its network.
    Any,
}

impl WebReferences {
    /// Looks at an address that a job names; what it means is found out when it is fetched.
    ///
    /// # Errors
    /// Why it is not taken, in words.
    pub fn check(self, url: &str) -> Result<(), String> {
        match self {
            Self::Off => Err("references do not come from the web here".into()),
            Self::Public => outside::check_url(url, false).map(|_| ()),
            Self::Any => outside::check_url(url, true).map(|_| ()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            public_endpoint: None,
            region: "us-east-1".to_owned(),
            bucket: "uso".to_owned(),
            credentials: None,
            max_bytes: 32 * 1024 * 1024,
            timeout: Duration::from_secs(30),
            extra_buckets: Vec::new(),
            web: WebReferences::Off,
        }
    }
}

impl Config {
    /// Refuses addresses that could never be called or would put a password into messages.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for endpoint in [&self.endpoint, &self.public_endpoint].into_iter().flatten() {
            check_endpoint(endpoint)?;
        }
        Ok(())
    }

    /// The service's name for messages.
    pub(crate) fn service(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("aws {}", self.region),
        }
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), Error> {
    let bad = |reason| Err(Error::BadEndpoint { reason });
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return bad("it is not a url");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return bad("it must begin with http:// or https://");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return bad("it must not carry a user name or a password");
    }
    if uri.query().is_some() {
        return bad("it must not carry a query");
    }
    Ok(())
}

/// A pair of S3 keys.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Access key id: a name, not a secret.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Secret,
}

impl Credentials {
    pub(crate) fn signer(&self) -> aws_sdk_s3::config::Credentials {
        aws_sdk_s3::config::Credentials::new(
            &self.access_key,
            self.secret_key.expose(),
            None,
            None,
            "uso-fleet",
        )
    }
}

/// Text that debug output hides.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for signing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
