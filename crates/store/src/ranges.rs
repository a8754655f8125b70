//! Reads parts of large objects.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::error::{Error, ObjectRef};
use crate::list::ObjectInfo;
use crate::store::Store;
use crate::tag::bare_tag;

impl Store {
    /// The bytes of a range of an object in our bucket, whatever the object's size: you bound the range. `info` is what
    /// [`Store::head`] returned for it.
    ///
    /// # Errors
    /// [`Error::Changed`] if the object is another one meanwhile, [`Error::BrokeOff`] if fewer bytes come, and as
    /// [`Store::get`].
    pub async fn read_range(&self, key: &str, info: &ObjectInfo, range: Range<u64>) -> Result<Bytes, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.bounded(object, Box::pin(self.ranged(bucket, key, info, range))).await
    }

    async fn ranged(
        &self,
        bucket: &str,
        key: &str,
        info: &ObjectInfo,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        let object = ObjectRef { bucket, key: Some(key) };
        let broke = |source| Error::BrokeOff { bucket: bucket.into(), key: key.into(), source };
        let changed = || Error::Changed { bucket: bucket.into(), key: key.into() };
        let get = self.0.client.get_object().bucket(bucket).key(key);
        let get = get.range(format!("bytes={}-{}", range.start, range.end - 1));
        let get = get.if_match(format!("\"{}\"", info.tag)).send();
        let answer = get.await.map_err(|error| match self.classify(error, object) {
            // Of a smaller object now, the range is beyond its end, which some services say first.
            Error::Refused { status: 412 | 416, .. } => changed(),
            other => other,
        })?;
        // Some services do not look at the condition.
        if answer.e_tag().is_some_and(|tag| bare_tag(tag) != info.tag) {
            return Err(changed());
        }
        let wanted = (range.end - range.start) as usize;
        // A service without ranges sends the whole object: not what was asked for.
        let starts = format!("bytes {}-", range.start);
        let is_part = answer.content_range().is_some_and(|part| part.starts_with(&starts));
        let is_whole = range.start == 0 && range.end == info.bytes;
        if !is_part && !is_whole {
            return Err(broke("the service sent another range".into()));
        }
        let (mut bytes, mut body) = (BytesMut::with_capacity(wanted), answer.body);
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broke(error.into()))?;
            if bytes.len() + chunk.len() > wanted {
                return Err(broke("the service sent more than the range".into()));
            }
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() < wanted {
            return Err(broke("the service sent less than the range".into()));
        }
        Ok(bytes.freeze())
    }
}
