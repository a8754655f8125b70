//! Settings of the store.

use std::fmt;
use std::time::Duration;

use http::Uri;

use crate::address_guard;
use crate::error::Error;

/// Largest reference in bytes, where nobody sets another limit.
pub const MAX_REFERENCE: u64 = 32 * 1024 * 1024;

/// Longest name that a bucket ever could have, in bytes.
const LONGEST_BUCKET: usize = 255;

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
    /// All that this machine can reach, over plain http too. Everyone who may submit jobs can then make it call anything
    /// in its network.
    Any,
}

impl WebReferences {
    /// Checks an address that a job names; its host name is looked up only when it is fetched.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(self, url: &str) -> Result<(), String> {
        match self {
            Self::Off => Err("references from the web are not allowed here".into()),
            Self::Public => address_guard::check_url(url, false).map(|_| ()),
            Self::Any => address_guard::check_url(url, true).map(|_| ()),
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
            max_bytes: MAX_REFERENCE,
            timeout: Duration::from_secs(30),
            extra_buckets: Vec::new(),
            web: WebReferences::Off,
        }
    }
}

impl Config {
    /// As it was meant: blanks and line ends around a setting are no part of it, an address without anything in
    /// it is none, and the path of one ends with a slash.
    ///
    /// # Errors
    /// What could never be called, or would put a password into messages; names that no bucket can have.
    pub(crate) fn shaped(self) -> Result<Self, Error> {
        let bucket = bucket_name(&self.bucket)?;
        let shape = |url: Option<String>| match url.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(url) => shape_endpoint(url, &bucket).map(Some),
        };
        let extra = self.extra_buckets.iter().filter(|name| !name.trim().is_empty());
        Ok(Self {
            endpoint: shape(self.endpoint)?,
            public_endpoint: shape(self.public_endpoint)?,
            region: self.region.trim().to_owned(),
            extra_buckets: extra.map(|name| bucket_name(name)).collect::<Result<_, _>>()?,
            credentials: self.credentials.map(Credentials::trimmed),
            bucket,
            ..self
        })
    }

    /// The service's name for messages.
    pub(crate) fn service(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("aws {}", self.region),
        }
    }
}

/// An endpoint with a path belongs to a service that lies below it: without a slash at its end, the path would
/// grow together with the bucket's name.
fn shape_endpoint(endpoint: &str, bucket: &str) -> Result<String, Error> {
    let bad = |reason| Err(Error::BadEndpoint { reason });
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return bad("it is not a url");
    };
    let Some(scheme @ ("http" | "https")) = uri.scheme_str() else {
        return bad("it must begin with http:// or https://");
    };
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return bad("it names no host");
    };
    if authority.as_str().contains('@') {
        return bad("it must not carry a user name or a password");
    }
    if uri.query().is_some() || endpoint.contains('#') {
        return bad("it must not carry a query");
    }
    let path = uri.path().trim_end_matches('/');
    if path.rsplit('/').next().is_some_and(|last| last == bucket) {
        return bad(
            "its path ends with the bucket's name, which is said by itself: leave it out of the address",
        );
    }
    let slash = if path.is_empty() { "" } else { "/" };
    Ok(format!("{scheme}://{authority}{path}{slash}"))
}

fn bucket_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    let fits = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > LONGEST_BUCKET || !name.bytes().all(fits) {
        return Err(Error::BadBucket { bucket: name.to_owned() });
    }
    Ok(name.to_owned())
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
    fn trimmed(self) -> Self {
        Self {
            access_key: self.access_key.trim().to_owned(),
            secret_key: self.secret_key.expose().trim().into(),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(endpoint: &str) -> Result<Config, Error> {
        Config { endpoint: Some(endpoint.into()), ..Config::default() }.shaped()
    }

    #[test]
    fn an_address_is_brought_into_shape() {
        for (said, meant) in [
            ("http://h:9000", Some("http://h:9000")),
            (" http://h:9000/\n", Some("http://h:9000")),
            ("https://h/storage/v1/s3", Some("https://h/storage/v1/s3/")),
            ("https://h/storage/v1/s3//", Some("https://h/storage/v1/s3/")),
            ("", None),
            (" \r\n", None),
        ] {
            assert_eq!(shaped(said).unwrap().endpoint.as_deref(), meant, "{said:?}");
        }
    }

    #[test]
    fn an_address_that_holds_the_bucket_is_refused() {
        for said in ["http://h/uso", "http://h/uso/", "http://h/s3/uso"] {
            let error = shaped(said).unwrap_err().to_string();
            assert!(error.contains("the bucket's name"), "{said}: {error}");
        }
        assert!(shaped("http://uso/uso2").is_ok());
    }

    #[test]
    fn what_could_never_be_called_is_refused() {
        for said in
            ["h:9000", "ftp://h", "http://", "http://u:p@h", "http://h?a=b", "http://h#a", "http://a b"]
        {
            let error = shaped(said).unwrap_err();
            assert!(matches!(error, Error::BadEndpoint { .. }), "{said}: {error}");
        }
    }

    #[test]
    fn blanks_around_names_and_keys_are_no_part_of_them() {
        let config = Config {
            bucket: " pictures\n".into(),
            region: " eu-west-3 ".into(),
            extra_buckets: vec![" library ".into(), " ".into()],
            credentials: Some(Credentials { access_key: "key\n".into(), secret_key: " secret\r\n".into() }),
            ..Config::default()
        };
        let config = config.shaped().unwrap();
        assert_eq!((config.bucket.as_str(), config.region.as_str()), ("pictures", "eu-west-3"));
        assert_eq!(config.extra_buckets, ["library"]);
        let keys = config.credentials.unwrap();
        assert_eq!((keys.access_key.as_str(), keys.secret_key.expose()), ("key", "secret"));
    }

    #[test]
    fn a_name_that_no_bucket_can_have_is_refused() {
        for bucket in ["", " ", "a/b", "a b", "ä"] {
            let error = Config { bucket: bucket.into(), ..Config::default() }.shaped().unwrap_err();
            assert!(matches!(error, Error::BadBucket { .. }), "{bucket:?}: {error}");
        }
    }
}
