//! Reference images of a job: from the store, decoded under the pixel limit.

use futures::future::{try_join, try_join_all};
use uso_engine::{DecodeLimits, Image};
use uso_queue::{JobSpec, Source};
use uso_store::{Store, upload_key};

use crate::Error;
use crate::transfers::{self, ReadError};

/// The decoded references of one job.
pub(crate) struct References {
    pub(crate) content: Option<Image>,
    pub(crate) styles: Vec<Image>,
    /// Bytes that were fetched.
    pub(crate) bytes: u64,
}

/// Fetches and decodes all references of a tenant's job at once.
pub(crate) async fn fetch(store: &Store, tenant: &str, spec: &JobSpec) -> Result<References, Error> {
    let content =
        try_join_all(spec.content.iter().map(|source| reference(store, tenant, "content".into(), source)));
    let styles = spec
        .styles
        .iter()
        .enumerate()
        .map(|(i, source)| reference(store, tenant, format!("styles/{i}"), source));
    let (content, styles) = try_join(content, try_join_all(styles)).await?;
    let bytes = content.iter().chain(&styles).map(|(_, bytes)| bytes).sum();
    let images = |all: Vec<(Image, u64)>| all.into_iter().map(|(image, _)| image);
    Ok(References { content: images(content).next(), styles: images(styles).collect(), bytes })
}

async fn reference(
    store: &Store,
    tenant: &str,
    field: String,
    source: &Source,
) -> Result<(Image, u64), Error> {
    let ours = match source {
        Source::S3 { bucket, .. } => *bucket == store.config().bucket,
        Source::Upload { .. } => true,
        Source::Web { .. } => false,
    };
    let get = || async {
        match source {
            Source::S3 { bucket, key } => store.fetch_image(bucket, key).await,
            Source::Upload { id, tag } => store.fetch_upload(&upload_key(tenant, id), tag.as_deref()).await,
            Source::Web { url } => store.fetch_web(url).await,
        }
    };
    let bytes = match transfers::read(store, ours, get).await {
        Ok(bytes) => bytes,
        Err(ReadError::Away(error)) => return Err(Error::StoreAway(error)),
        Err(ReadError::Own(source)) => return Err(Error::Fetch { field, source }),
    };
    let size = bytes.len() as u64;
    let decode = tokio::task::spawn_blocking(move || Image::decode(&bytes, &DecodeLimits::default()));
    let decoded = decode.await.map_err(|error| Error::Task(error.to_string()))?;
    decoded.map(|image| (image, size)).map_err(|source| Error::Reference { field, source })
}
