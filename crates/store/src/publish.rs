//! Writes and deletes objects, and makes links for clients.

use std::time::Duration;

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::{Error, ObjectRef};
use crate::store::Store;

/// The longest time for which a presigned URL can be valid: the signature's own limit.
pub const LONGEST_LINK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Metadata of our objects: SHA-256 of their bytes in hexadecimal.
pub(crate) const DIGEST: &str = "sha256";

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `s3://bucket/key`.
    pub uri: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes in hexadecimal.
    pub sha256: String,
}

/// An object that is to be written, and what it will be then: its digest is computed once, however often the write is
/// tried.
#[derive(Debug, Clone)]
pub struct NewObject {
    key: String,
    content_type: String,
    bytes: Bytes,
    stored: Stored,
}

impl NewObject {
    /// Its key in our bucket.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its media type.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// What it is once it is written.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }
}

impl Store {
    /// Writes an object into our bucket, with its digest beside it.
    ///
    /// # Errors
    /// [`Error::MissingBucket`], [`Error::Denied`], [`Error::Unreachable`], [`Error::TimedOut`],
    /// [`Error::Busy`] or [`Error::Refused`].
    pub async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<Stored, Error> {
        let new = self.new_object(key, content_type, bytes);
        self.put_object(&new).await?;
        Ok(new.stored)
    }

    /// An object for our bucket. Nothing is written yet.
    pub fn new_object(&self, key: &str, content_type: &str, bytes: Bytes) -> NewObject {
        let object = ObjectRef { bucket: self.0.config.bucket.as_str(), key: Some(key) };
        let (size, sha256) = (bytes.len() as u64, hexadecimal_sha256(&bytes));
        let stored = Stored { uri: object.to_string(), bytes: size, sha256 };
        NewObject { key: key.to_owned(), content_type: content_type.to_owned(), bytes, stored }
    }

    /// Writes an object into our bucket, with its digest beside it. You can repeat the call.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_object(&self, new: &NewObject) -> Result<(), Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(&new.key) };
        let call = async {
            let put = self.0.client.put_object().bucket(bucket).key(&new.key).content_type(&new.content_type);
            let put = put.metadata(DIGEST, &new.stored.sha256).body(ByteStream::from(new.bytes.clone()));
            put.send().await.map(|_| ()).map_err(|error| self.classify(error, object))
        };
        self.bounded(object, Box::pin(call)).await
    }

    /// Deletes an object of our bucket; a missing one is no error.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        let call = async {
            let delete = self.0.client.delete_object().bucket(bucket).key(key).send();
            delete.await.map(|_| ()).map_err(|error| self.classify(error, object))
        };
        match self.bounded(object, Box::pin(call)).await {
            Err(Error::Missing { .. }) => Ok(()),
            answer => answer,
        }
    }

    /// Deletes all objects of our bucket whose keys begin with `prefix`; that there is none is no error.
    ///
    /// # Errors
    /// As [`Store::put`]; you can repeat the call to delete the rest.
    pub async fn delete_all(&self, prefix: &str) -> Result<(), Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(prefix) };
        loop {
            let call = async {
                let list = self.0.client.list_objects_v2().bucket(bucket).prefix(prefix).send();
                list.await.map_err(|error| self.classify(error, object))
            };
            let listed = self.bounded(object, Box::pin(call)).await?;
            for object in listed.contents() {
                self.delete(object.key().unwrap_or_default()).await?;
            }
            // The listed objects are deleted, so the next list begins after them.
            if listed.is_truncated() != Some(true) {
                return Ok(());
            }
        }
    }

    /// A URL with which anyone can fetch the object for `lifetime`.
    ///
    /// # Errors
    /// [`Error::BadLifetime`] or [`Error::NotAllowed`] for another bucket.
    pub async fn presign_get(&self, bucket: &str, key: &str, lifetime: Duration) -> Result<String, Error> {
        if !self.allows(bucket) {
            return Err(Error::NotAllowed { bucket: bucket.to_owned() });
        }
        let object = ObjectRef { bucket, key: Some(key) };
        let get = self.0.public.get_object().bucket(bucket).key(key);
        let call = async { self.link(get.presigned(life(lifetime)?).await, object) };
        self.bounded(object, Box::pin(call)).await
    }

    pub(crate) fn link<E>(
        &self,
        signed: Result<
            PresignedRequest,
            aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
        >,
        object: ObjectRef<'_>,
    ) -> Result<String, Error>
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let signed = signed.map_err(|error| self.classify(error, object))?;
        Ok(signed.uri().to_owned())
    }
}

pub(crate) fn life(asked: Duration) -> Result<PresigningConfig, Error> {
    let bad = || Error::BadLifetime { asked, limit: LONGEST_LINK };
    if asked < Duration::from_secs(1) || asked > LONGEST_LINK {
        return Err(bad());
    }
    PresigningConfig::expires_in(asked).map_err(|_| bad())
}

/// SHA-256 in hexadecimal, as [`Stored`] has it.
pub fn hexadecimal_sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
