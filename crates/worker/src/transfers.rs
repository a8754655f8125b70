//! Reads and writes that a job depends on. Where the store refuses everything they wait, or the job goes back
//! as if it had not been claimed; only what concerns the object alone is the job's own fault.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uso_store::{Error as StoreError, NewObject, Store};

use crate::Error;
use crate::store_watch::{AGAIN, StoreWatch};

/// How often an object is asked for that cannot be had although others can.
const READS: u32 = 6;

/// The longest pause between two such tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How often a file may be refused although small writes succeed, where nothing says that this will pass.
const WRITES: u32 = 5;

/// Why an object did not come.
pub(crate) enum ReadError {
    /// The store gives nothing, or asks for fewer calls: no job's fault.
    Away(StoreError),
    /// This object cannot be had.
    Own(StoreError),
}

/// Reads an object, patiently: one that cannot be had now is asked for again while others can be read. Where it
/// lies in a bucket of `ours`, a service that asks for fewer calls is waited for like one that is away.
pub(crate) async fn read<T, F>(store: &Store, ours: bool, mut get: impl FnMut() -> F) -> Result<T, ReadError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let (mut tried, mut pause) = (0, AGAIN);
    loop {
        tried += 1;
        let error = match get().await {
            Ok(object) => return Ok(object),
            Err(error) => error,
        };
        // What others have on the web says nothing of the store; a second try may help there, too.
        let from_the_web = matches!(error, StoreError::Web(_));
        if !from_the_web && !error.is_the_objects_own() && store.probe_reading().await.is_err() {
            return Err(ReadError::Away(error));
        }
        let most = if from_the_web { 2 } else { READS };
        if !error.retryable() {
            return Err(ReadError::Own(error));
        }
        if tried == most {
            let throttled = ours && error.is_throttling();
            return Err(if throttled { ReadError::Away(error) } else { ReadError::Own(error) });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// How long a file may wait for the store.
pub(crate) struct Until {
    /// Cancelled when the job is not ours any more.
    pub(crate) lost: CancellationToken,
    /// Cancelled when the process is about to end.
    pub(crate) leave: CancellationToken,
}

/// Puts a file. While the store takes none it waits, as long as it may: steps that were done need not be done again.
pub(crate) async fn put(
    store: &Store,
    watch: &StoreWatch,
    new: &NewObject,
    until: &Until,
) -> Result<(), Error> {
    let mut refusals = 0;
    let wait = async {
        loop {
            let error = match store.put_object(new).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tracing::warn!(%error, key = new.key(), "a file waits for the store");
            // Said of a single file only by what a service refuses for good.
            if error.is_the_objects_own() || matches!(error, StoreError::Refused { .. }) {
                refusals += 1;
                if refusals == WRITES {
                    return Err(Error::Upload(error));
                }
            }
            watch.refused();
            tokio::time::sleep(AGAIN).await;
            if watch.is_away() {
                watch.until(false).await;
            }
        }
    };
    tokio::select! {
        put = wait => put,
        () = until.lost.cancelled() => Err(Error::Abandoned),
        () = until.leave.cancelled() => Err(Error::Leaving),
    }
}
