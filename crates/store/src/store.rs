//! A handle on one S3 service: its clients, and the bound on each call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{ProvideCredentials, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use http::Uri;

use crate::address_guard;
use crate::config::{Config, WebReferences};
use crate::error::{Error, ObjectRef, classify};

/// A handle on one S3 service; cheap to clone.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

/// A call under way; boxed, because the client's own futures are large.
pub(crate) type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

pub(crate) struct Inner {
    pub(crate) client: Client,
    /// Signs for the address under which clients reach the service.
    pub(crate) public: Client,
    /// For references from the web.
    pub(crate) web: reqwest::Client,
    pub(crate) config: Config,
    service: String,
    /// Where links lead: scheme, host and port.
    public_origin: String,
}

impl Store {
    /// Prepares clients. Nothing is sent yet but what the AWS chain needs to find keys.
    ///
    /// # Errors
    /// [`Error::BadEndpoint`], [`Error::BadBucket`], [`Error::BadKey`], [`Error::Tls`], or
    /// [`Error::NoCredentials`] if no keys are given or found.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let mut config = config.shaped()?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .retry_config(RetryConfig::standard());
        if let Some(keys) = &config.credentials {
            loader = loader.credentials_provider(keys.signer());
        }
        let shared = loader.load().await;
        if let Some(chain) = shared.credentials_provider() {
            let keys = chain.provide_credentials().await;
            check_keys(&keys.map_err(|error| Error::NoCredentials { source: error.into() })?)?;
        }
        if config.endpoint.is_none()
            && let Some(endpoint) = shared.endpoint_url()
        {
            // AWS's own settings name another service: it is to be spoken to as one.
            config.endpoint = Some(endpoint.to_owned());
            config = config.shaped()?;
        }
        let client = |endpoint: Option<&String>| {
            let mut settings = aws_sdk_s3::config::Builder::from(&shared);
            if let Some(endpoint) = endpoint {
                // Other makes of S3 know neither bucket host names nor the SDK's newer checksums.
                settings = settings
                    .endpoint_url(endpoint)
                    .force_path_style(true)
                    .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                    .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
            }
            Client::from_conf(settings.build())
        };
        let public = client(config.public_endpoint.as_ref().or(config.endpoint.as_ref()));
        Ok(Self(Arc::new(Inner {
            client: client(config.endpoint.as_ref()),
            public_origin: origin_of_links(&public, &config.bucket).await?,
            public,
            service: config.service(),
            web: address_guard::client(config.web == WebReferences::Any, config.timeout)
                .map_err(Error::Tls)?,
            config,
        })))
    }

    /// The settings it was connected with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Where clients that were given a link fetch from our bucket: scheme, host and port.
    pub fn public_origin(&self) -> String {
        self.0.public_origin.clone()
    }

    /// Whether references may come from `bucket`.
    pub fn allows(&self, bucket: &str) -> bool {
        let config = &self.0.config;
        bucket == config.bucket || config.extra_buckets.iter().any(|extra| extra == bucket)
    }

    /// Whether the service answers and the bucket is there.
    ///
    /// # Errors
    /// [`Error::MissingBucket`], [`Error::Denied`], [`Error::Unreachable`] or [`Error::TimedOut`].
    pub async fn ping(&self) -> Result<(), Error> {
        let object = ObjectRef { bucket: &self.0.config.bucket, key: None };
        let call = async {
            let call = self.0.client.head_bucket().bucket(object.bucket).send();
            call.await.map(|_| ()).map_err(|error| self.classify(error, object))
        };
        self.bounded(object, Box::pin(call)).await
    }

    /// Makes the bucket unless it is there.
    ///
    /// # Errors
    /// As [`Store::ping`], but for the missing bucket.
    pub async fn ensure_bucket(&self) -> Result<(), Error> {
        match self.ping().await {
            Err(Error::Missing { .. } | Error::MissingBucket { .. }) => match self.create_bucket().await {
                // Services say in different ways that another process has just made it.
                Err(_) if self.ping().await.is_ok() => Ok(()),
                created => created,
            },
            answer => answer,
        }
    }

    async fn create_bucket(&self) -> Result<(), Error> {
        let config = &self.0.config;
        let object = ObjectRef { bucket: &config.bucket, key: None };
        let mut create = self.0.client.create_bucket().bucket(object.bucket);
        // AWS wants its region said again everywhere but in the oldest one.
        if config.endpoint.is_none() && config.region != "us-east-1" {
            let region = BucketLocationConstraint::from(config.region.as_str());
            let object = CreateBucketConfiguration::builder().location_constraint(region).build();
            create = create.create_bucket_configuration(object);
        }
        let call = async {
            match create.send().await {
                // Another process of the fleet was faster.
                Err(error)
                    if error.as_service_error().is_some_and(|e| e.is_bucket_already_owned_by_you()) =>
                {
                    Ok(())
                }
                answer => answer.map(|_| ()).map_err(|error| self.classify(error, object)),
            }
        };
        self.bounded(object, Box::pin(call)).await
    }

    /// Runs a call within the time that it may take as a whole.
    pub(crate) async fn bounded<T>(&self, object: ObjectRef<'_>, call: Call<'_, T>) -> Result<T, Error> {
        let limit = self.0.config.timeout;
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::TimedOut { object: object.to_string(), limit }),
        }
    }

    pub(crate) fn classify<E>(
        &self,
        error: aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
        object: ObjectRef<'_>,
    ) -> Error
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        classify(error, object, &self.0.service, self.0.config.timeout)
    }
}

/// The origin of links that `client` signs, which browsers must be allowed to call. Only the client knows which of its
/// names the service is called by.
async fn origin_of_links(client: &Client, bucket: &str) -> Result<String, Error> {
    let object = ObjectRef { bucket, key: None };
    let unsigned = |source: Box<dyn std::error::Error + Send + Sync>| Error::Request {
        object: object.to_string(),
        source,
    };
    let life =
        PresigningConfig::expires_in(Duration::from_secs(1)).map_err(|error| unsigned(error.into()))?;
    let link = Box::pin(client.get_object().bucket(bucket).key("a").presigned(life)).await;
    let link = link.map_err(|error| unsigned(error.into()))?;
    let url: Uri = link.uri().parse().map_err(|error: http::uri::InvalidUri| unsigned(error.into()))?;
    let host = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    Ok(format!("{}://{host}", url.scheme_str().unwrap_or("https")))
}

/// The client panics over keys that cannot be sent in a header.
fn check_keys(keys: &aws_sdk_s3::config::Credentials) -> Result<(), Error> {
    let sound = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !sound(keys.access_key_id()) {
        return Err(Error::BadKey { which: "access key id" });
    }
    if !sound(keys.secret_access_key()) {
        return Err(Error::BadKey { which: "secret access key" });
    }
    match keys.session_token() {
        Some(token) if !sound(token) => Err(Error::BadKey { which: "session token" }),
        _ => Ok(()),
    }
}
