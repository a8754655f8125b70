//! `POST /v1/batches` with `dataset`: makes a data set.

use std::sync::Arc;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uso_dataset::Settings;
use uso_queue::{BatchId, FieldError, NewDataset};

use super::manifest::{self, ListedRow};
use super::request;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::routes::batch_view::BatchLinks;
use crate::shared::Shared;

/// A data set that is there now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AcceptedDataset {
    id: BatchId,
    /// Whether this request made it; else there was one of this name.
    fresh: bool,
    /// Its rows.
    rows: u64,
    links: BatchLinks,
    /// Rows of the manifest that were left out, if the request names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_row_count: Option<u64>,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_rows: Option<Vec<ListedRow>>,
    /// Rows that were replaced, if the request names a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<u64>,
}

/// Makes a data set, or finds the caller's of this name, and reads its manifest if the body names one.
pub(crate) async fn create(shared: &Arc<Shared>, caller: &Caller, body: &Value) -> Result<Response, Problem> {
    let wanted = request::read(body).map_err(Problem::fields)?;
    let manifest = match &wanted.manifest {
        Some(rows) => Some(manifest::begin(shared, caller, rows, &wanted.settings).await?),
        None => None,
    };
    let settings = serde_json::to_string(&wanted.settings).map_err(|error| Problem::internal(&error))?;
    let new = NewDataset {
        name: &wanted.settings.name,
        settings: &settings,
        metadata: &wanted.metadata,
        budget: wanted.budget,
    };
    let made = shared.queue.create_dataset(&caller.tenant, &new).await?;
    if !made.fresh {
        let there = shared.queue.dataset(&made.id).await?.ok_or_else(Problem::no_such_dataset)?;
        let there = Settings::read(&there.settings)?;
        let changed = changed(&there, &wanted.settings, &body["dataset"])?;
        if !changed.is_empty() {
            return Err(Problem::settings_differ(changed));
        }
    }
    let read = match manifest {
        Some(_) if shared.queue.batch(&made.id).await?.is_some_and(|batch| batch.canceled) => {
            return Err(Problem::batch_canceled());
        }
        Some(manifest) => Some(manifest::read(shared, caller, &made.id, manifest).await?),
        None => None,
    };
    let dataset = shared.queue.dataset(&made.id).await?.ok_or_else(Problem::no_such_dataset)?;
    let (id, fresh, rows) = (made.id, made.fresh, dataset.rows);
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/v1/batches/{id}");
    let replaced = read.as_ref().map(|read| read.replaced);
    let (bad_row_count, bad_rows) = read.map(|read| (read.bad.count, read.bad.listed)).unzip();
    let body =
        AcceptedDataset { id, fresh, rows, links: BatchLinks::new(&id), bad_row_count, bad_rows, replaced };
    Ok((status, [(header::LOCATION, location)], Json(body)).into_response())
}

/// The settings that a body names and that differ from those of the data set that is there.
fn changed(there: &Settings, wanted: &Settings, named: &Value) -> Result<Vec<FieldError>, Problem> {
    let json = |settings| serde_json::to_value(settings).map_err(|error| Problem::internal(&error));
    let (there, wanted) = (json(there)?, json(wanted)?);
    let names = named.as_object().into_iter().flat_map(|fields| fields.keys());
    let differs = names.filter(|name| there[name.as_str()] != wanted[name.as_str()]);
    let fault = |name: &String| FieldError {
        pointer: format!("/dataset/{name}"),
        code: "differs",
        message: format!(
            "{name} of this data set is {}, you ask for {}; leave it out, or take another name",
            said(&there[name.as_str()]),
            said(&wanted[name.as_str()])
        ),
    };
    Ok(differs.map(fault).collect())
}

/// A setting, as messages say it.
fn said(value: &Value) -> String {
    if value.is_null() { "none".into() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_that_a_body_names_are_those_that_are_there() {
        let settings = |value: Value| Settings::read(&value.to_string()).unwrap();
        let there = settings(json!({ "name": "a", "shard_rows": 7 }));
        let pointers = |body: Value| -> Vec<String> {
            let faults = changed(&there, &settings(body.clone()), &body).unwrap();
            faults.into_iter().map(|fault| fault.pointer).collect()
        };
        assert!(pointers(json!({ "name": "a" })).is_empty(), "what is not named stays");
        assert!(pointers(json!({ "name": "a", "shard_rows": 7, "gate": null })).is_empty());
        let gate = json!({ "scorers": ["clip"], "min": { "clip_t": 0.5 } });
        let other =
            json!({ "name": "a", "shard_rows": 8, "split": { "by": "key", "val": 0.5 }, "gate": gate });
        assert_eq!(pointers(other), ["/dataset/gate", "/dataset/shard_rows", "/dataset/split"]);
    }

    #[test]
    fn a_setting_that_differs_tells_what_is_there_what_was_asked_and_what_to_do() {
        let settings = |value: &Value| Settings::read(&value.to_string()).unwrap();
        let there = settings(&json!({ "name": "a", "shard_rows": 7 }));
        let asked = json!({ "name": "a", "shard_rows": 8, "split": { "by": "key", "val": 0.5 } });
        let faults = changed(&there, &settings(&asked), &asked).unwrap();
        let split = r#"{"by":"key","val":0.5}"#;
        let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        let expected = [
            "shard_rows of this data set is 7, you ask for 8; leave it out, or take another name".to_owned(),
            format!(
                "split of this data set is none, you ask for {split}; leave it out, or take another name"
            ),
        ];
        assert_eq!(messages, expected);
        let detail = Problem::settings_differ(faults).detail;
        let expected = "a data set keeps its settings: leave out shard_rows and split, or take another name";
        assert_eq!(detail, expected);
    }
}
