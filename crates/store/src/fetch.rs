//! Fetches references: bounded in bytes, in time and to allowed buckets.

use bytes::{Bytes, BytesMut};
use uso_picture::{PictureKind, other_kind};

use crate::error::{Error, ObjectRef};
use crate::publish::{DIGEST, hexadecimal_sha256};
use crate::store::Store;
use crate::tag::tag_of;

/// Memory that is taken before the first byte has come, at most.
const MOST_ROOM: u64 = 8 << 20;

impl Store {
    /// The bytes of a reference image. Only its first bytes are checked here: the decoder checks the rest and the
    /// number of pixels.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for another bucket, [`Error::TooLarge`] before or while it comes,
    /// [`Error::NotAnImage`], [`Error::Corrupt`], [`Error::TimedOut`] for a transfer that does not
    /// end in time, and whatever the service refuses.
    pub async fn fetch_image(&self, bucket: &str, key: &str) -> Result<Bytes, Error> {
        if !self.allows(bucket) {
            return Err(Error::NotAllowed { bucket: bucket.to_owned() });
        }
        let object = ObjectRef { bucket, key: Some(key) };
        let bytes = self.bounded(object, Box::pin(self.fetch(bucket, key, None))).await?;
        check_format(&bytes, bucket, key)?;
        Ok(bytes)
    }

    /// The bytes of a file that a client uploaded to our bucket, as they were when [`Store::inspect`] returned `tag`.
    ///
    /// # Errors
    /// As [`Store::fetch_image`], and [`Error::Changed`].
    pub async fn fetch_upload(&self, key: &str, tag: Option<&str>) -> Result<Bytes, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        let bytes = self.bounded(object, Box::pin(self.fetch(bucket, key, tag))).await?;
        check_format(&bytes, bucket, key)?;
        Ok(bytes)
    }

    /// The bytes of an object in our bucket.
    ///
    /// # Errors
    /// As [`Store::fetch_image`], whatever the bytes are.
    pub async fn get(&self, key: &str) -> Result<Bytes, Error> {
        let bucket = self.0.config.bucket.as_str();
        self.bounded(ObjectRef { bucket, key: Some(key) }, Box::pin(self.fetch(bucket, key, None))).await
    }

    /// The bytes of an object in our bucket, and their SHA-256 in hexadecimal, which is computed once.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn get_with_digest(&self, key: &str) -> Result<(Bytes, String), Error> {
        let bucket = self.0.config.bucket.as_str();
        let call = Box::pin(self.fetch_checked(bucket, key, None));
        let (bytes, digest) = self.bounded(ObjectRef { bucket, key: Some(key) }, call).await?;
        let digest = digest.unwrap_or_else(|| hexadecimal_sha256(&bytes));
        Ok((bytes, digest))
    }

    async fn fetch(&self, bucket: &str, key: &str, tag: Option<&str>) -> Result<Bytes, Error> {
        self.fetch_checked(bucket, key, tag).await.map(|(bytes, _)| bytes)
    }

    /// The bytes of an object, and their digest if the object has one, which is theirs then.
    async fn fetch_checked(
        &self,
        bucket: &str,
        key: &str,
        tag: Option<&str>,
    ) -> Result<(Bytes, Option<String>), Error> {
        let object = ObjectRef { bucket, key: Some(key) };
        let limit = self.0.config.max_bytes;
        let too_large = |size| Error::TooLarge { bucket: bucket.into(), key: key.into(), limit, size };

        let call = self.0.client.get_object().bucket(bucket).key(key).send();
        let answer = call.await.map_err(|error| self.classify(error, object))?;
        let found = tag_of(answer.e_tag(), answer.metadata());
        if tag.is_some_and(|tag| found.is_some_and(|found| found != tag)) {
            return Err(Error::Changed { bucket: bucket.into(), key: key.into() });
        }
        let announced = answer.content_length().and_then(|size| u64::try_from(size).ok());
        if announced.is_some_and(|size| size > limit) {
            return Err(too_large(announced));
        }
        let digest = answer.metadata().and_then(|metadata| metadata.get(DIGEST)).cloned();

        let room = announced.unwrap_or_default().min(MOST_ROOM);
        let mut bytes = BytesMut::with_capacity(room as usize);
        let mut body = answer.body;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| Error::BrokeOff {
                bucket: bucket.into(),
                key: key.into(),
                source: error.into(),
            })?;
            // The announced size may be wrong.
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large(None));
            }
            bytes.extend_from_slice(&chunk);
        }
        match digest {
            Some(digest) if digest != hexadecimal_sha256(&bytes) => {
                Err(Error::Corrupt { bucket: bucket.into(), key: key.into() })
            }
            digest => Ok((bytes.freeze(), digest)),
        }
    }
}

fn check_format(bytes: &[u8], bucket: &str, key: &str) -> Result<(), Error> {
    match PictureKind::of_bytes(bytes) {
        Some(_) => Ok(()),
        None => Err(Error::NotAnImage { bucket: bucket.into(), key: key.into(), found: other_kind(bytes) }),
    }
}
