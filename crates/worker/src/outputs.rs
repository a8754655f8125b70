//! A finished picture and its sidecar: into the store.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use uso_engine::Image;
use uso_queue::{Lease, Output, Receipt};
use uso_store::output_key;

use crate::Error;
use crate::parameters::Parameters;
use crate::transfers::{self, Until};
use crate::workshop::Workshop;

const PNG: &str = "image/png";

/// Uploads the picture, then the sidecar that describes it. Neither counts before the queue has
/// accepted the output: the keys carry the fence.
pub(crate) async fn publish(
    shop: &Workshop,
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
    let put = |name, kind, bytes| async move {
        transfers::put(&shop.store, &shop.store_watch, &key(name), kind, bytes, until).await
    };
    let picture = put("0.png", PNG, png.into()).await?;
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
    let sidecar = put("0.json", "application/json", sidecar.to_string().into()).await?;
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
