//! Reference images of a job: from the store, made into the pixels that are needed of them.

use bytes::Bytes;
use uso_engine::{DecodeLimits, Error as EngineError, Preparation, Purpose, Reference};
use uso_queue::{JobSpec, Source};
use uso_store::{Store, upload_key};

use crate::Error;
use crate::decoding::DECODING;

/// The references of one job, prepared.
pub(crate) struct References {
    pub(crate) content: Option<Reference>,
    pub(crate) styles: Vec<Reference>,
    /// Bytes that were fetched.
    pub(crate) bytes: u64,
}

/// Fetches and prepares all references of a tenant's job, one after another: of a job, no more than one file is in memory
/// at a time. Styles become squares of `style_side` pixels.
pub(crate) async fn fetch(
    store: &Store,
    tenant: &str,
    spec: &JobSpec,
    style_side: u32,
) -> Result<References, Error> {
    let mut references = References { content: None, styles: Vec::new(), bytes: 0 };
    if let Some(source) = &spec.content {
        let bytes = file(store, tenant, "content", source).await?;
        references.bytes += bytes.len() as u64;
        let purpose = Purpose::Content { content_size: spec.content_size };
        references.content = Some(prepare(bytes, purpose, "content").await?);
    }
    for (i, source) in spec.styles.iter().enumerate() {
        let field = format!("styles/{i}");
        let bytes = file(store, tenant, &field, source).await?;
        references.bytes += bytes.len() as u64;
        references.styles.push(prepare(bytes, Purpose::Style { side: style_side }, &field).await?);
    }
    Ok(references)
}

async fn file(store: &Store, tenant: &str, field: &str, source: &Source) -> Result<Bytes, Error> {
    let fetched = match source {
        Source::S3 { bucket, key } => store.fetch_image(bucket, key).await,
        Source::Upload { id, tag } => store.fetch_upload(&upload_key(tenant, id), tag.as_deref()).await,
        Source::Web { url } => store.fetch_web(url).await,
    };
    fetched.map_err(|source| Error::Fetch { field: field.to_owned(), source })
}

/// Waits for the memory that it takes, and does it where it holds up nobody.
async fn prepare(bytes: Bytes, purpose: Purpose, field: &str) -> Result<Reference, Error> {
    let refused = |source| match source {
        // It is no fault of the picture.
        EngineError::Request { .. } => Error::Engine(source),
        source => Error::Reference { field: field.to_owned(), source },
    };
    let limits = DecodeLimits::default();
    let needed = Preparation::new(&bytes, purpose, &limits).map_err(refused)?.bytes();
    let permit = DECODING.take(needed).await?;
    let task = tokio::task::spawn_blocking(move || {
        // It goes on though nobody may want it any more, and has the memory for so long.
        let _permit = permit;
        Preparation::new(&bytes, purpose, &limits)?.run()
    });
    task.await.map_err(|error| Error::Task(error.to_string()))?.map_err(refused)
}
