//! Keeps objects that waiting jobs name: they never become old while a job needs them.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::MetadataDirective;

use crate::error::{Error, ObjectRef};
use crate::store::Store;
use crate::tag::{TAG, bare_tag};

impl Store {
    /// Gives an object of our bucket the present time, if it is older than `age`; its content and the tag that
    /// [`Store::inspect`] returns stay the same. Returns whether the object exists.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn keep(&self, key: &str, age: Duration) -> Result<bool, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        match self.bounded(object, Box::pin(self.renew(object, key, age))).await {
            Ok(()) => Ok(true),
            Err(Error::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn renew(&self, object: ObjectRef<'_>, key: &str, age: Duration) -> Result<(), Error> {
        let head = self.0.client.head_object().bucket(object.bucket).key(key).send();
        let head = head.await.map_err(|error| self.classify(error, object))?;
        let written = head.last_modified().and_then(|time| SystemTime::try_from(*time).ok());
        // Without a time it may be old.
        let new = written.is_some_and(|written| written.elapsed().unwrap_or_default() < age);
        if new {
            return Ok(());
        }
        let mut metadata = head.metadata().cloned().unwrap_or_default();
        let tag = head.e_tag().map(bare_tag).unwrap_or_default();
        metadata.entry(TAG.into()).or_insert(tag);
        let copy = self.0.client.copy_object().bucket(object.bucket).key(key);
        let copy = copy.copy_source(format!("{}/{}", object.bucket, percent_encoded(key)));
        let copy = copy.metadata_directive(MetadataDirective::Replace).set_metadata(Some(metadata));
        let copy = copy.set_content_type(head.content_type().map(str::to_owned));
        // Not over another file that a client uploads meanwhile.
        let copy = copy.set_copy_source_if_match(head.e_tag().map(str::to_owned));
        copy.send().await.map(|_| ()).map_err(|error| self.classify(error, object))
    }
}

/// A key as the header of a copy needs it.
fn percent_encoded(key: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(byte.into())
            }
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn a_key_is_encoded_but_for_its_slashes() {
        assert_eq!(percent_encoded("uploads/a-b/ä 1+2%"), "uploads/a-b/%C3%A4%201%2B2%25");
    }
}
