//! Files that clients put themselves.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::BytesMut;

use crate::error::Place;
use crate::keep::tag_of;
use crate::publish::life;
use crate::{Error, PictureKind, Store};

/// How much of a file is looked at: behind it a JPEG's size is not found if it is full of other things.
const LOOK: u64 = 256 * 1024;

/// A request that anybody may send, for some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignedPut {
    /// Where to put the file.
    pub url: String,
    /// Headers that must be sent with just these values.
    pub headers: Vec<(&'static str, String)>,
}

/// What can be told of a file without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The tag of its content: it changes whenever the content does.
    pub tag: String,
    /// Its size.
    pub bytes: u64,
    /// When it was put, or last kept.
    pub written: Option<SystemTime>,
    /// The media type that whoever put it there had declared.
    pub media_type: Option<String>,
    /// What it is by its first bytes, if it is a picture.
    pub kind: Option<PictureKind>,
    /// Width and height in pixels, if they were found.
    pub size: Option<(u32, u32)>,
}

impl Look {
    /// Whether it is there for longer than `age`, or nobody knows since when.
    pub fn is_older(&self, age: Duration) -> bool {
        self.written.is_none_or(|written| written.elapsed().unwrap_or_default() >= age)
    }
}

impl Store {
    /// A request with which anybody can put one file of this kind and of exactly this size into our bucket for
    /// `lifetime`. Both are signed, so the service refuses any other.
    ///
    /// # Errors
    /// [`Error::BadLifetime`].
    pub async fn presign_put(
        &self,
        key: &str,
        kind: PictureKind,
        bytes: u64,
        lifetime: Duration,
    ) -> Result<PresignedPut, Error> {
        let bucket = self.0.config.bucket.as_str();
        let place = Place { bucket, key: Some(key) };
        let put = self.0.public.put_object().bucket(bucket).key(key);
        let put = put.content_type(kind.media_type()).content_length(bytes as i64);
        let call = async { self.link(put.presigned(life(lifetime)?).await, place) };
        let url = self.bounded(place, Box::pin(call)).await?;
        let headers =
            vec![("content-type", kind.media_type().to_owned()), ("content-length", bytes.to_string())];
        Ok(PresignedPut { url, headers })
    }

    /// Looks at the beginning of a file in our bucket.
    ///
    /// # Errors
    /// [`Error::Missing`], and as [`Store::put`].
    pub async fn look(&self, key: &str) -> Result<Look, Error> {
        let bucket = self.0.config.bucket.as_str();
        let place = Place { bucket, key: Some(key) };
        self.bounded(place, Box::pin(self.look_unbounded(place, key))).await
    }

    async fn look_unbounded(&self, place: Place<'_>, key: &str) -> Result<Look, Error> {
        let get = self.0.client.get_object().bucket(place.bucket).key(key);
        let call = get.range(format!("bytes=0-{}", LOOK - 1)).send();
        let answer = call.await.map_err(|error| self.classify(error, place))?;
        let mut look = Look {
            tag: tag_of(answer.e_tag(), answer.metadata()).unwrap_or_default(),
            bytes: whole_size(&answer),
            written: answer.last_modified().and_then(|time| SystemTime::try_from(*time).ok()),
            media_type: answer.content_type().map(str::to_owned),
            kind: None,
            size: None,
        };
        let (mut head, mut body) = (BytesMut::new(), answer.body);
        // A service that does not know ranges sends everything.
        while (head.len() as u64) < LOOK
            && let Some(chunk) = body.next().await
        {
            let broke = |source: aws_sdk_s3::primitives::ByteStreamError| Error::BrokeOff {
                bucket: place.bucket.to_owned(),
                key: key.to_owned(),
                source: source.into(),
            };
            head.extend_from_slice(&chunk.map_err(broke)?);
        }
        look.kind = PictureKind::of_bytes(&head);
        look.size = look.kind.and_then(|kind| kind.size(&head));
        Ok(look)
    }
}

/// The size of the whole file of which a part was sent.
fn whole_size(answer: &GetObjectOutput) -> u64 {
    let ranged = answer.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    let sent = answer.content_length().and_then(|size| size.try_into().ok());
    ranged.or(sent).unwrap_or(0)
}

/// A tag without its quotes.
pub(crate) fn bare_tag(tag: &str) -> String {
    tag.trim_start_matches("W/").trim_matches('"').to_owned()
}
