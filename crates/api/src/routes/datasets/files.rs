//! `GET /v1/batches/{id}/files`: the files of a data set that are ready, with links.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uso_dataset::layout;
use uso_dataset::shards::Stats;
use uso_queue::BatchId;

use crate::caller::Caller;
use crate::openapi::operation::Operation;
use crate::openapi::parts;
use crate::path::Path;
use crate::problem::Problem;
use crate::query::Params;
use crate::routes::batch_view::find_dataset;
use crate::routes::on_batch::on_dataset;
use crate::shared::Shared;

/// Most files of a page, and how many it has by default.
const MOST: usize = 500;
const USUAL: usize = 100;
/// Shards that one call to the queue asks for.
const PAGE: u64 = 500;
/// What a file's name may be.
const NAME: &str = "^[A-Za-z0-9_./-]{1,200}$";

/// A file of a data set.
#[derive(Serialize, JsonSchema)]
struct DatasetFile {
    /// Its name in the data set.
    name: String,
    /// Its size in bytes.
    bytes: u64,
    /// SHA-256 of its bytes in hexadecimal, for shards and their row files.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// A link to the file: secret while it is valid.
    url: String,
}

/// The name of a file, if it can be one.
struct FileName(String);

impl FromStr for FileName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'-');
        (text.len() <= 200 && text.bytes().all(plain)).then(|| Self(text.to_owned())).ok_or(())
    }
}

/// A page of files.
#[derive(Serialize, JsonSchema)]
struct FilesPage {
    /// The files, in the order of their names.
    files: Vec<DatasetFile>,
    /// The `cursor` of the next page; none at the end.
    #[schemars(extend("pattern" = NAME))]
    next: Option<String>,
}

pub(crate) fn list_operation() -> Operation {
    let cursor = json!({ "type": "string", "pattern": NAME });
    on_dataset("listFiles", "List the files of a data set")
        .says(
            "Shards that are ready, what describes them, the index and the card, each with a temporary link.",
        )
        .parameter(parts::limit(MOST, USUAL))
        .parameter(parts::in_query("cursor", "The `next` of the page before.", cursor))
        .gives::<FilesPage>(StatusCode::OK, "A page.", &[])
        .refuses(StatusCode::SERVICE_UNAVAILABLE, &["store_unavailable"])
}

/// The files that are ready.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let limit = params.number("limit", 1..=MOST, USUAL);
    let after: Option<FileName> = params.given("cursor", "must be the `next` of the page before");
    let after = after.map(|FileName(name)| name).unwrap_or_default();
    params.finish()?;
    let (view, _) = find_dataset(&shared, &caller, &id).await?;
    let ready = of_shards(&shared, &view.id).await?;
    let prefix = layout::dataset(&view.id);
    let (mut files, mut next) = (Vec::new(), None);
    let mut objects = shared.store.list(&prefix).await?;
    objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    for object in objects {
        let Some(name) = object.key.strip_prefix(&prefix).filter(|name| *name > after.as_str()) else {
            continue;
        };
        let sha256 = match ready.get(name) {
            Some(sha256) => sha256.clone(),
            None if is_for_all(name) => None,
            // Somebody is about to commit it, or was and stopped.
            None => continue,
        };
        if files.len() == limit {
            next = files.last().map(|file: &DatasetFile| file.name.clone());
            break;
        }
        let url =
            shared.store.presign_get(&shared.store.config().bucket, &object.key, shared.config.link_lifetime);
        files.push(DatasetFile { name: name.to_owned(), bytes: object.bytes, sha256, url: url.await? });
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(FilesPage { files, next })).into_response())
}

/// Whether a file covers all shards.
fn is_for_all(name: &str) -> bool {
    !name.starts_with("_meta/") && !name.ends_with(".tar")
}

/// Names of the files of committed shards, with their digests as far as they are noted.
async fn of_shards(shared: &Shared, batch: &BatchId) -> Result<BTreeMap<String, Option<String>>, Problem> {
    let (mut files, mut first) = (BTreeMap::new(), 0);
    loop {
        let shards = shared.queue.dataset_shards(batch, first, PAGE).await?;
        let count = shards.len() as u32;
        for (number, shard) in (first..).zip(shards) {
            let Some(committed) = shard.committed else { continue };
            let stats: Stats = serde_json::from_str(&committed).map_err(|error| Problem::internal(&error))?;
            files.insert(stats.file, Some(stats.sha256));
            files.insert(stats.row_file, Some(stats.row_file_sha256));
            files.insert(layout::stats(number), None);
        }
        if u64::from(count) < PAGE {
            return Ok(files);
        }
        first += count;
    }
}
