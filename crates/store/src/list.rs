//! Lists objects.

use std::time::SystemTime;

use crate::error::{Error, ObjectRef};
use crate::store::Store;
use crate::tag::bare_tag;

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written; none if the service does not say.
    pub written: Option<SystemTime>,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its size in bytes.
    pub bytes: u64,
    /// The service's tag of its content.
    pub tag: String,
}

impl Store {
    /// All objects of our bucket whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// As [`Store::put`]. Each page of the list has the time of a call.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(prefix) };
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let call = async {
                let list = self.0.client.list_objects_v2().bucket(bucket).prefix(prefix);
                let list = list.set_continuation_token(next.take()).send();
                list.await.map_err(|error| self.classify(error, object))
            };
            let listed = self.bounded(object, Box::pin(call)).await?;
            found.extend(listed.contents().iter().map(|object| Listed {
                key: object.key().unwrap_or_default().to_owned(),
                bytes: object.size().and_then(|size| size.try_into().ok()).unwrap_or(0),
                written: object.last_modified().and_then(|time| SystemTime::try_from(*time).ok()),
            }));
            next = listed.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// What is known of an object in our bucket; none if there is no such object.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: Some(key) };
        let call = async {
            let head = self.0.client.head_object().bucket(bucket).key(key).send();
            head.await.map_err(|error| self.classify(error, object))
        };
        match self.bounded(object, Box::pin(call)).await {
            Ok(head) => Ok(Some(ObjectInfo {
                bytes: head.content_length().and_then(|size| size.try_into().ok()).unwrap_or(0),
                tag: head.e_tag().map(bare_tag).unwrap_or_default(),
            })),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
