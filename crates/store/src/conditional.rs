//! Writes an object only if there is none with its key.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use crate::error::{Error, ObjectRef, conditional};
use crate::publish::{DIGEST, Stored, hexadecimal_sha256};
use crate::store::Store;

impl Store {
    /// Writes an object into our bucket unless there is one with its key. That the same bytes are there already is no
    /// error, so the call is safe to repeat.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is another object, and as [`Store::put`].
    pub async fn put_new(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<Stored, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        let sha256 = hexadecimal_sha256(&bytes);
        let size = bytes.len() as u64;
        let call = async {
            let put = self.0.client.put_object().bucket(bucket).key(key).content_type(content_type);
            let put = put.metadata(DIGEST, &sha256).body(ByteStream::from(bytes)).if_none_match("*");
            put.send().await.map_err(|error| conditional(self.classify(error, object), object))
        };
        match self.bounded(object, Box::pin(call)).await {
            // It may be from an earlier try whose answer was lost.
            Err(Error::Exists { .. }) if self.digest_of(key).await? == Some(sha256.clone()) => {}
            answer => drop(answer?),
        }
        Ok(Stored { uri: object.to_string(), bytes: size, sha256 })
    }

    /// The digest that was noted with an object when it was put.
    async fn digest_of(&self, key: &str) -> Result<Option<String>, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        let call = async {
            let head = self.0.client.head_object().bucket(bucket).key(key).send();
            head.await.map_err(|error| self.classify(error, object))
        };
        let head = self.bounded(object, Box::pin(call)).await?;
        Ok(head.metadata().and_then(|metadata| metadata.get(DIGEST)).cloned())
    }
}
