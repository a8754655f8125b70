//! Whether the service works: a write shows that it takes writes, a read that it answers reads.

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, ObjectRef};
use crate::key::PROBE_KEY;
use crate::store::Store;

/// What a probe writes.
const PROBE: &[u8] = b"uso";

/// Longest time for a probe. The object is small: a slower service would be too slow for pictures, too.
const LONGEST: Duration = Duration::from_secs(5);

impl Store {
    /// Writes a small object into our bucket and reads it back.
    ///
    /// # Errors
    /// As [`Store::put`] and [`Store::get`].
    pub async fn probe(&self) -> Result<(), Error> {
        let write_and_read = async {
            self.put(PROBE_KEY, "text/plain", Bytes::from_static(PROBE)).await?;
            self.get(PROBE_KEY).await
        };
        self.within(LONGEST, write_and_read).await.map(|_| ())
    }

    /// Reads what [`Store::probe`] wrote; an answer that it is missing is enough, too.
    ///
    /// # Errors
    /// As [`Store::get`], but for a missing object.
    pub async fn probe_reading(&self) -> Result<(), Error> {
        match self.within(LONGEST, self.get(PROBE_KEY)).await {
            Ok(_) | Err(Error::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let object = ObjectRef { bucket: &self.0.config.bucket, key: Some(PROBE_KEY) };
        let late = || Err(Error::TimedOut { object: object.to_string(), limit });
        // Boxed, because the client's own futures are large.
        tokio::time::timeout(limit, Box::pin(call)).await.unwrap_or_else(|_| late())
    }
}
