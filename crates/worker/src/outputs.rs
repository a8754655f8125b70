//! A finished picture and its sidecar: into the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uso_engine::Image;
use uso_queue::{Lease, Output, Receipt};
use uso_store::{Store, Stored, output_key};

use crate::Error;
use crate::parameters::Parameters;

const PNG: &str = "image/png";

/// Pause before a store that is away is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// How long a picture may wait for the store.
pub(crate) struct Until {
    /// Tripped when the job is not ours any more.
    pub(crate) lost: CancellationToken,
    /// Tripped when the process is about to end.
    pub(crate) leave: CancellationToken,
}

/// Uploads the picture, then the sidecar that describes it. Neither counts before the queue has
/// accepted the output: the keys carry the fence.
pub(crate) async fn publish(
    store: &Store,
    lease: &Lease,
    image: Image,
    parameters: Parameters,
    mut receipt: Receipt,
    until: &Until,
) -> Result<Output, Error> {
    let (width, height) = (image.width, image.height);
    let parameters = Arc::new(parameters);
    let text = Arc::clone(&parameters);
    let encode = tokio::task::spawn_blocking(move || image.to_png(&text.png_text()));
    let png = encode.await.map_err(|error| Error::Task(error.to_string()))??;

    let key = |name| output_key(&lease.id, lease.fence, name);
    let begun = Instant::now();
    let picture = put(store, &key("0.png"), PNG, png.into(), until).await?;
    receipt.upload_ms = begun.elapsed().as_millis() as u64;
    receipt.stored_bytes = picture.bytes;
    let sidecar = json!({
        "job": {
            "id": lease.id,
            "attempt": lease.attempt,
            "fence": lease.fence,
            "class": lease.class(),
            "submitted_ms": lease.submitted_ms,
            "started_ms": lease.claimed_ms,
            "metadata": lease.spec.metadata,
        },
        "parameters": &*parameters,
        "receipt": receipt,
        "output": { "uri": picture.uri, "bytes": picture.bytes, "sha256": picture.sha256, "content_type": PNG },
    });
    let sidecar = put(store, &key("0.json"), "application/json", sidecar.to_string().into(), until).await?;
    Ok(Output {
        uri: picture.uri,
        sidecar: sidecar.uri,
        width,
        height,
        bytes: picture.bytes,
        sha256: picture.sha256,
        content_type: PNG.into(),
        receipt,
    })
}

/// Puts a file. While the store is away it waits, as long as it may: what is drawn need not be drawn again. A store that answers now may have been away a moment ago: it is asked once more.
async fn put(
    store: &Store,
    key: &str,
    content_type: &str,
    bytes: Bytes,
    until: &Until,
) -> Result<Stored, Error> {
    let mut again = true;
    loop {
        let error = match store.put(key, content_type, bytes.clone()).await {
            Err(error) if error.retryable() && store.ping().await.is_err() => {
                tracing::warn!(%error, key, "a finished picture waits for the store");
                again = true;
                error
            }
            Err(error) if error.retryable() && std::mem::take(&mut again) => error,
            answer => return answer.map_err(Error::Upload),
        };
        tokio::select! {
            () = until.lost.cancelled() => return Err(Error::Abandoned),
            () = until.leave.cancelled() => return Err(Error::StoreAway(error)),
            () = tokio::time::sleep(STORE_AGAIN) => {}
        }
    }
}
