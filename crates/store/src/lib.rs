//! Reference images in, outputs out: the part of S3 that the fleet needs.
//!
//! [`Store::fetch_image`] brings a reference, bounded in bytes, time and allowed buckets, and
//! [`Store::fetch_web`] one from the web where that is allowed;
//! [`Store::put`] keeps an output, [`Store::get`] and [`Store::delete`] bring back and forget what was
//! put; [`Store::presign_get`] and [`Store::presign_put`] let clients
//! fetch and upload without passing through us. [`folder`] serves the same protocol from a folder,
//! for a single machine.

mod config;
mod error;
mod fetch;
pub mod folder;
mod key;
pub mod outside;
mod publish;
mod sweep;
mod upload;
mod web;

pub use config::{Config, Credentials, Secret, WebReferences};
pub use error::{Error, WebError};
pub use key::{checkpoint_key, checkpoint_prefix, output_key, output_prefix, upload_key};
pub use publish::{LONGEST_LINK, Stored, hexadecimal_sha256};
pub use upload::{Look, PresignedPut};
pub use uso_picture::PictureKind;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{ProvideCredentials, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};

use hyper::Uri;

use error::{Place, classify};

/// A handle on one S3 service; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// A call under way; boxed, because the client's own futures are large.
type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

struct Inner {
    client: Client,
    /// Signs for the address under which clients reach the service.
    public: Client,
    /// For references from the web.
    web: reqwest::Client,
    config: Config,
    service: String,
}

impl Store {
    /// Prepares clients. Nothing is sent yet but what the AWS chain needs to find keys.
    ///
    /// # Errors
    /// [`Error::BadEndpoint`], [`Error::Tls`], or [`Error::NoCredentials`] if no keys are given or found.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        config.check()?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .retry_config(RetryConfig::standard());
        if let Some(keys) = &config.credentials {
            loader = loader.credentials_provider(keys.signer());
        }
        let shared = loader.load().await;
        if let Some(chain) = shared.credentials_provider() {
            chain
                .provide_credentials()
                .await
                .map_err(|error| Error::NoCredentials { source: error.into() })?;
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
        Ok(Self(Arc::new(Inner {
            client: client(config.endpoint.as_ref()),
            public: client(config.public_endpoint.as_ref().or(config.endpoint.as_ref())),
            service: config.service(),
            web: outside::client(config.web == WebReferences::Any, config.timeout).map_err(Error::Tls)?,
            config,
        })))
    }

    /// The settings it was connected with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Where clients that were given a link fetch from our bucket: scheme, host and port.
    pub fn public_origin(&self) -> String {
        let config = &self.0.config;
        match config.public_endpoint.as_ref().or(config.endpoint.as_ref()).map(|url| url.parse::<Uri>()) {
            Some(Ok(url)) => {
                let host = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
                format!("{}://{host}", url.scheme_str().unwrap_or("https"))
            }
            _ => format!("https://{}.s3.{}.amazonaws.com", config.bucket, config.region),
        }
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
        let place = Place { bucket: &self.0.config.bucket, key: None };
        let call = async {
            let call = self.0.client.head_bucket().bucket(place.bucket).send();
            call.await.map(|_| ()).map_err(|error| self.classify(error, place))
        };
        self.bounded(place, Box::pin(call)).await
    }

    /// Makes the bucket unless it is there.
    ///
    /// # Errors
    /// As [`Store::ping`], but for the missing bucket.
    pub async fn ensure_bucket(&self) -> Result<(), Error> {
        match self.ping().await {
            Err(Error::Missing { .. } | Error::MissingBucket { .. }) => self.create_bucket().await,
            answer => answer,
        }
    }

    async fn create_bucket(&self) -> Result<(), Error> {
        let config = &self.0.config;
        let place = Place { bucket: &config.bucket, key: None };
        let mut create = self.0.client.create_bucket().bucket(place.bucket);
        // AWS wants its region said again everywhere but in the oldest one.
        if config.endpoint.is_none() && config.region != "us-east-1" {
            let region = BucketLocationConstraint::from(config.region.as_str());
            let place = CreateBucketConfiguration::builder().location_constraint(region).build();
            create = create.create_bucket_configuration(place);
        }
        let call = async {
            match create.send().await {
                // Another process of the fleet was faster.
                Err(error)
                    if error.as_service_error().is_some_and(|e| e.is_bucket_already_owned_by_you()) =>
                {
                    Ok(())
                }
                answer => answer.map(|_| ()).map_err(|error| self.classify(error, place)),
            }
        };
        self.bounded(place, Box::pin(call)).await
    }

    /// Runs a call within the time that it may take as a whole.
    async fn bounded<T>(&self, place: Place<'_>, call: Call<'_, T>) -> Result<T, Error> {
        let limit = self.0.config.timeout;
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::TimedOut { place: place.to_string(), limit }),
        }
    }

    fn classify<E>(
        &self,
        error: aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
        place: Place<'_>,
    ) -> Error
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        classify(error, place, &self.0.service, self.0.config.timeout)
    }
}
