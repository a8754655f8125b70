//! Files that clients upload themselves.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::BytesMut;
use uso_picture::PictureKind;

use crate::error::{Error, ObjectRef};
use crate::publish::life;
use crate::store::Store;
use crate::tag::tag_of;

/// Bytes of a file that are read to inspect it. In a JPEG, the size may be further back, after other data.
const HEAD: u64 = 256 * 1024;

/// A request that anyone may send, for a limited time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignedPut {
    /// The address for the file.
    pub url: String,
    /// Headers that must be sent with exactly these values.
    pub headers: Vec<(&'static str, String)>,
}

/// What is known of a file without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The tag of its content: it changes whenever the content does.
    pub tag: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, or last kept.
    pub written: Option<SystemTime>,
    /// The media type that its uploader declared.
    pub media_type: Option<String>,
    /// Its kind by its first bytes, if it is a picture.
    pub kind: Option<PictureKind>,
    /// Width and height in pixels, if they were found.
    pub size: Option<(u32, u32)>,
}

impl FileInfo {
    /// Whether it is older than `age`, or its age is unknown.
    pub fn is_older(&self, age: Duration) -> bool {
        self.written.is_none_or(|written| written.elapsed().unwrap_or_default() >= age)
    }
}

impl Store {
    /// A request with which anyone can upload one file of this media type and exactly this size to our bucket, for
    /// `lifetime`.
    /// Both are signed, so the service refuses any other file.
    ///
    /// # Errors
    /// [`Error::BadLifetime`].
    pub async fn presign_put(
        &self,
        key: &str,
        media_type: &str,
        bytes: u64,
        lifetime: Duration,
    ) -> Result<PresignedPut, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        let put = self.0.public.put_object().bucket(bucket).key(key);
        let put = put.content_type(media_type).content_length(bytes as i64);
        let call = async { self.link(put.presigned(life(lifetime)?).await, object) };
        let url = self.bounded(object, Box::pin(call)).await?;
        let headers = vec![("content-type", media_type.to_owned()), ("content-length", bytes.to_string())];
        Ok(PresignedPut { url, headers })
    }

    /// Reads the beginning of a file in our bucket.
    ///
    /// # Errors
    /// [`Error::Missing`], and as [`Store::put`].
    pub async fn inspect(&self, key: &str) -> Result<FileInfo, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        self.bounded(object, Box::pin(self.inspect_unbounded(object, key))).await
    }

    async fn inspect_unbounded(&self, object: ObjectRef<'_>, key: &str) -> Result<FileInfo, Error> {
        let get = self.0.client.get_object().bucket(object.bucket).key(key);
        let call = get.range(format!("bytes=0-{}", HEAD - 1)).send();
        let answer = call.await.map_err(|error| self.classify(error, object))?;
        let mut info = FileInfo {
            tag: tag_of(answer.e_tag(), answer.metadata()).unwrap_or_default(),
            bytes: whole_size(&answer),
            written: answer.last_modified().and_then(|time| SystemTime::try_from(*time).ok()),
            media_type: answer.content_type().map(str::to_owned),
            kind: None,
            size: None,
        };
        let (mut head, mut body) = (BytesMut::new(), answer.body);
        // A service without ranges sends the whole file.
        while (head.len() as u64) < HEAD
            && let Some(chunk) = body.next().await
        {
            let broke = |source: aws_sdk_s3::primitives::ByteStreamError| Error::BrokeOff {
                bucket: object.bucket.to_owned(),
                key: key.to_owned(),
                source: source.into(),
            };
            head.extend_from_slice(&chunk.map_err(broke)?);
        }
        info.kind = PictureKind::of_bytes(&head);
        info.size = info.kind.and_then(|kind| kind.size(&head));
        Ok(info)
    }
}

/// The size of the whole file of which a part was sent.
fn whole_size(answer: &GetObjectOutput) -> u64 {
    let ranged = answer.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    let sent = answer.content_length().and_then(|size| size.try_into().ok());
    ranged.or(sent).unwrap_or(0)
}
