//! Deletes old objects, where the bucket has no lifecycle rules.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, ObjectRef};
use crate::store::Store;

impl Store {
    /// Deletes the objects under `prefix` in our bucket that are older than `age`; returns how many. A bucket with a
    /// lifecycle rule does this by itself.
    ///
    /// # Errors
    /// As [`Store::put`]; you can repeat the call to delete the rest.
    pub async fn delete_older(&self, prefix: &str, age: Duration) -> Result<usize, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(prefix) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = now.saturating_sub(age).as_secs() as i64;
        let (mut deleted, mut next) = (0, None);
        loop {
            let call = async {
                let list = self.0.client.list_objects_v2().bucket(bucket).prefix(prefix);
                let list = list.set_continuation_token(next.take()).send();
                list.await.map_err(|error| self.classify(error, object))
            };
            let listed = self.bounded(object, Box::pin(call)).await?;
            for object in listed.contents() {
                // Without a time it may be new.
                let old = object.last_modified().is_some_and(|written| written.secs() < since);
                if let Some(key) = object.key().filter(|_| old) {
                    self.delete(key).await?;
                    deleted += 1;
                }
            }
            next = listed.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                return Ok(deleted);
            }
        }
    }
}
