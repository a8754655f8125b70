//! A finished picture and its sidecar: into the store.

use std::sync::Arc;

use serde_json::json;
use uso_engine::Image;
use uso_queue::{Lease, Output};
use uso_store::{Store, output_key};

use crate::Error;
use crate::parameters::Parameters;

const PNG: &str = "image/png";

/// Uploads the picture, then the sidecar that describes it. Neither counts before the queue has
/// accepted the output: the keys carry the fence.
pub(crate) async fn publish(
    store: &Store,
    lease: &Lease,
    image: Image,
    parameters: Parameters,
    stage_ms: &serde_json::Value,
) -> Result<Output, Error> {
    let (width, height) = (image.width, image.height);
    let parameters = Arc::new(parameters);
    let text = Arc::clone(&parameters);
    let encode = tokio::task::spawn_blocking(move || image.to_png(&text.png_text()));
    let png = encode.await.map_err(|error| Error::Task(error.to_string()))??;

    let key = |name| output_key(&lease.id, lease.fence, name);
    let picture = store.put(&key("0.png"), PNG, png.into()).await.map_err(Error::Upload)?;
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
        "stage_ms": stage_ms,
        "output": { "uri": picture.uri, "bytes": picture.bytes, "sha256": picture.sha256, "content_type": PNG },
    });
    let sidecar = store
        .put(&key("0.json"), "application/json", sidecar.to_string().into())
        .await
        .map_err(Error::Upload)?;
    Ok(Output {
        uri: picture.uri,
        sidecar: sidecar.uri,
        width,
        height,
        bytes: picture.bytes,
        sha256: picture.sha256,
        content_type: PNG.into(),
    })
}
