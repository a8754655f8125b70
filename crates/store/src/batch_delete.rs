//! Deletes many objects, a thousand a call.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use crate::error::{Error, ObjectRef};
use crate::store::Store;

/// Most objects that the service deletes in one call.
const MOST: usize = 1000;

impl Store {
    /// Deletes objects of our bucket; missing ones are no error.
    ///
    /// # Errors
    /// As [`Store::put`], or [`Error::Refused`] for the first object that the service did not delete; you can repeat the
    /// call to delete the rest.
    pub async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        for keys in keys.chunks(MOST) {
            self.delete_batch(keys).await?;
        }
        Ok(())
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<(), Error> {
        let bucket = self.0.config.bucket.as_str();
        let object = ObjectRef { bucket, key: keys.first().map(String::as_str) };
        let unsendable = |source: aws_sdk_s3::error::BuildError| Error::Request {
            object: object.to_string(),
            source: source.into(),
        };
        let named = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let named = named.collect::<Result<Vec<_>, _>>().map_err(unsendable)?;
        // Only what could not be deleted is answered.
        let delete = Delete::builder().set_objects(Some(named)).quiet(true).build().map_err(unsendable)?;
        let call = async {
            let call = self.0.client.delete_objects().bucket(bucket).delete(delete).send();
            call.await.map_err(|error| self.classify(error, object))
        };
        let answer = self.bounded(object, Box::pin(call)).await?;
        match answer.errors().iter().find(|error| error.code() != Some("NoSuchKey")) {
            None => Ok(()),
            Some(error) => Err(Error::Refused {
                object: ObjectRef { bucket, key: error.key() }.to_string(),
                code: error.code().unwrap_or("no code given").to_owned(),
                // The answer as a whole was a success.
                status: 200,
            }),
        }
    }
}
