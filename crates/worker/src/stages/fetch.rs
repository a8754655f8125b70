//! Reference images of a job: fetched from the store or the web, and made into the pixels that are needed of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use uso_engine::{DecodeLimits, Error as EngineError, Preparation, Purpose, Reference};
use uso_queue::{Lease, Source};
use uso_store::{Store, upload_key};

use super::decode_budget::DECODING;
use super::progress::note_stage;
use super::score::ReferenceFiles;
use crate::Error;
use crate::active::Stage;
use crate::device::Unfinished;
use crate::job::Job;
use crate::transfers::{self, ReadError};

/// How long a job keeps its slot while its references are fetched.
const SOON: Duration = Duration::from_millis(250);

/// The references of one job, prepared.
pub(crate) struct References {
    pub(crate) content: Option<Reference>,
    pub(crate) styles: Vec<Reference>,
    /// Bytes that were fetched.
    pub(crate) bytes: u64,
    /// Their files, if the picture is to be scored against them.
    files: ReferenceFiles,
}

impl References {
    /// What the model is shown, and what scorers are.
    pub(crate) fn apart(mut self) -> (Self, ReferenceFiles) {
        let files = std::mem::take(&mut self.files);
        (self, files)
    }
}

/// What fetching took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched {
    pub(crate) time: Duration,
    pub(crate) bytes: u64,
}

impl Job<'_> {
    /// The job's references. If they do not come soon, the job lets others go first.
    pub(crate) async fn fetch_references(&self) -> Result<(References, Fetched), Unfinished> {
        let begun = Instant::now();
        let style_side = self.context.device.engine().style_side;
        let fetch = async {
            tokio::select! {
                references = fetch(&self.context.store, self.lease, style_side) => references,
                never = self.let_others_go_first() => never,
            }
        };
        let references = self.unless_handed_back(fetch).await?;
        self.active.stage(Stage::Ahead);
        let fetched = Fetched { time: begun.elapsed(), bytes: references.bytes };
        self.context.metrics.stage("fetch", fetched.time);
        Ok((references, fetched))
    }

    async fn let_others_go_first<T>(&self) -> T {
        tokio::time::sleep(SOON).await;
        self.active.stage(Stage::Fetching);
        std::future::pending().await
    }
}

/// Fetches and prepares all references of a job, one after another: of a job, no more than one file is in memory at a
/// time, unless its picture is to be scored. Styles become squares of `style_side` pixels.
async fn fetch(store: &Store, lease: &Lease, style_side: u32) -> Result<References, Error> {
    let mut references =
        References { content: None, styles: Vec::new(), bytes: 0, files: ReferenceFiles::default() };
    let scored = lease.spec.gate.is_some();
    if let Some(source) = &lease.spec.content {
        let bytes = file(store, lease, "content", source).await?;
        references.bytes += bytes.len() as u64;
        references.files.content = scored.then(|| bytes.clone());
        let purpose = Purpose::Content { content_size: lease.spec.content_size };
        references.content = Some(prepare(lease, bytes, purpose, "content").await?);
    }
    for (i, source) in lease.spec.styles.iter().enumerate() {
        let field = format!("styles/{i}");
        let bytes = file(store, lease, &field, source).await?;
        references.bytes += bytes.len() as u64;
        references.files.styles.extend(scored.then(|| bytes.clone()));
        references.styles.push(prepare(lease, bytes, Purpose::Style { side: style_side }, &field).await?);
    }
    Ok(references)
}

async fn file(store: &Store, lease: &Lease, field: &str, source: &Source) -> Result<Bytes, Error> {
    let ours = match source {
        Source::S3 { bucket, .. } => *bucket == store.config().bucket,
        Source::Upload { .. } => true,
        Source::Web { .. } => false,
    };
    let get = || async {
        match source {
            Source::S3 { bucket, key } => store.fetch_image(bucket, key).await,
            Source::Upload { id, tag } => {
                store.fetch_upload(&upload_key(&lease.tenant, id), tag.as_deref()).await
            }
            Source::Web { url } => store.fetch_web(url).await,
        }
    };
    transfers::read(store, ours, get).await.map_err(|error| match error {
        ReadError::Away(error) => Error::StoreAway(error),
        ReadError::Own(source) => Error::Fetch { field: field.to_owned(), source },
    })
}

/// Waits for the memory that it takes, and does it where it holds up nobody.
async fn prepare(lease: &Lease, bytes: Bytes, purpose: Purpose, field: &str) -> Result<Reference, Error> {
    let refused = |source| match source {
        // It is no fault of the picture.
        EngineError::Request { .. } => Error::Engine(source),
        source => Error::Reference { field: field.to_owned(), source },
    };
    let limits = DecodeLimits::default();
    let needed = Preparation::new(&bytes, purpose, &limits).map_err(refused)?.bytes();
    let permit = DECODING.take(needed).await?;
    note_stage(lease, Some("prepare")).await;
    let task = tokio::task::spawn_blocking(move || {
        // It goes on though nobody may want it any more, and has the memory for so long.
        let _permit = permit;
        Preparation::new(&bytes, purpose, &limits)?.run()
    });
    let prepared = task.await.map_err(|error| Error::Task(error.to_string()))?.map_err(refused);
    note_stage(lease, None).await;
    prepared
}
