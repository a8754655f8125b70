//! Writes large objects in parts: they are there as a whole or not at all.

use std::time::SystemTime;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use crate::error::{Error, ObjectRef, conditional};
use crate::store::Store;

/// The least size of a part in bytes, the last part excepted.
pub const LEAST_PART: usize = 5 << 20;

/// An upload in parts that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartUpload {
    /// Key of the object that it becomes.
    pub key: String,
    /// The service's name for it.
    pub id: String,
}

/// A part that was uploaded. The service wants to hear all of this again at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// The service's tag of its content.
    pub tag: String,
    /// Its checksum, where the service was sent one.
    pub crc32: Option<String>,
}

/// An upload in parts that was neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedUpload {
    /// The upload.
    pub upload: MultipartUpload,
    /// When it began; none if the service does not say.
    pub begun: Option<SystemTime>,
}

impl Store {
    /// Begins to write an object of our bucket in parts.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn begin_upload(&self, key: &str, content_type: &str) -> Result<MultipartUpload, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        let call = async {
            let begin = self.0.client.create_multipart_upload().bucket(bucket).key(key);
            begin.content_type(content_type).send().await.map_err(|error| self.classify(error, object))
        };
        let begun = self.bounded(object, Box::pin(call)).await?;
        match begun.upload_id() {
            Some(id) => Ok(MultipartUpload { key: key.to_owned(), id: id.to_owned() }),
            None => Err(Error::Request { object: object.to_string(), source: "the upload has no id".into() }),
        }
    }

    /// Uploads a part, at least [`LEAST_PART`] bytes but for the last one. Requests are signed together with the SHA-256
    /// of what they carry, or carry a CRC-32, so the service refuses what comes damaged.
    ///
    /// # Errors
    /// As [`Store::put`], and [`Error::Missing`] if there is no such upload any more.
    pub async fn upload_part(
        &self,
        upload: &MultipartUpload,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        let object = ObjectRef { bucket: &self.0.config.bucket, key: Some(&upload.key) };
        let call = async {
            let part = self.0.client.upload_part().bucket(object.bucket).key(&upload.key);
            let part = part.upload_id(&upload.id).part_number(number as i32).body(ByteStream::from(bytes));
            part.send().await.map_err(|error| self.classify(error, object))
        };
        let answer = self.bounded(object, Box::pin(call)).await?;
        Ok(Part {
            number,
            tag: answer.e_tag().unwrap_or_default().to_owned(),
            crc32: answer.checksum_crc32().map(str::to_owned),
        })
    }

    /// Makes the object of its parts, unless there is an object with its key.
    ///
    /// # Errors
    /// As [`Store::put`]; [`Error::Exists`]; [`Error::Missing`] if there is no such upload any more. Both may mean that an
    /// earlier try, whose answer was lost, completed it: compare what is there.
    pub async fn complete_upload(&self, upload: &MultipartUpload, parts: &[Part]) -> Result<(), Error> {
        let object = ObjectRef { bucket: &self.0.config.bucket, key: Some(&upload.key) };
        let named = parts.iter().map(|part| {
            let named = CompletedPart::builder().part_number(part.number as i32).e_tag(&part.tag);
            named.set_checksum_crc32(part.crc32.clone()).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(named.collect())).build();
        let call = async {
            let call = self.0.client.complete_multipart_upload().bucket(object.bucket).key(&upload.key);
            let call = call.upload_id(&upload.id).multipart_upload(parts).if_none_match("*").send();
            call.await.map(|_| ()).map_err(|error| conditional(self.classify(error, object), object))
        };
        self.bounded(object, Box::pin(call)).await
    }

    /// Forgets an upload and its parts; that there is none any more is no error.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn abort_upload(&self, upload: &MultipartUpload) -> Result<(), Error> {
        let object = ObjectRef { bucket: &self.0.config.bucket, key: Some(&upload.key) };
        let call = async {
            let call = self.0.client.abort_multipart_upload().bucket(object.bucket).key(&upload.key);
            call.upload_id(&upload.id).send().await.map(|_| ()).map_err(|error| self.classify(error, object))
        };
        match self.bounded(object, Box::pin(call)).await {
            Err(Error::Missing { .. }) => Ok(()),
            answer => answer,
        }
    }

    /// All uploads in parts of our bucket that were neither completed nor aborted and whose keys begin with `prefix`.
    ///
    /// # Errors
    /// As [`Store::put`]. Each page of the list has the time of a call.
    pub async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<UnfinishedUpload>, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(prefix) };
        let (mut found, mut next) = (Vec::new(), (None, None));
        loop {
            let (key_marker, id_marker) = std::mem::take(&mut next);
            let call = async {
                let list = self.0.client.list_multipart_uploads().bucket(bucket).prefix(prefix);
                let list = list.set_key_marker(key_marker).set_upload_id_marker(id_marker).send();
                list.await.map_err(|error| self.classify(error, object))
            };
            let listed = self.bounded(object, Box::pin(call)).await?;
            found.extend(listed.uploads().iter().map(|upload| UnfinishedUpload {
                upload: MultipartUpload {
                    key: upload.key().unwrap_or_default().to_owned(),
                    id: upload.upload_id().unwrap_or_default().to_owned(),
                },
                begun: upload.initiated().and_then(|time| SystemTime::try_from(*time).ok()),
            }));
            next = (
                listed.next_key_marker().map(str::to_owned),
                listed.next_upload_id_marker().map(str::to_owned),
            );
            if listed.is_truncated() != Some(true) || next.0.is_none() {
                return Ok(found);
            }
        }
    }
}
