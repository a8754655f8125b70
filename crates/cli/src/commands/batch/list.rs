//! `uso batch list` and `show`.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Batches;
use super::span::span;
use super::state::DatasetState;
use crate::commands::print::{Table, time};

impl Batches {
    pub(super) async fn list(&self) -> anyhow::Result<()> {
        let mut batches = Vec::new();
        let add = |batch| {
            batches.push(batch);
            false
        };
        self.client.each_listed("/v1/batches", "batches", add).await?;
        let mut table =
            Table::new(&["name", "batch", "rows", "pictures", "failed", "shards", "created", "state"]);
        for batch in &batches {
            let Some(state) = DatasetState::read(batch) else { continue };
            table.row([
                state.name.clone(),
                batch["id"].as_str().unwrap_or_default().to_owned(),
                state.rows.to_string(),
                state.succeeded.to_string(),
                state.failed.to_string(),
                format!("{}/{}", state.packed, state.shards),
                time(batch["created_ms"].as_u64().unwrap_or(0)),
                state.doing(),
            ]);
        }
        let text = if batches.is_empty() { "no data sets".to_owned() } else { table.to_string() };
        self.answer(&json!({ "batches": batches }), &text)
    }

    pub(super) async fn show(&self, batch: &str) -> anyhow::Result<()> {
        let view = self.view(&self.id(batch).await?).await?;
        self.answer(&view, &describe(&view)?)
    }
}

/// Everything about a data set, a line each.
pub(super) fn describe(view: &Value) -> anyhow::Result<String> {
    let state = DatasetState::read(view).context("this batch is no data set")?;
    let budget = &view["dataset"]["budget"];
    let limit = |name: &str| budget[name].as_u64().map_or("no limit".to_owned(), |limit| limit.to_string());
    let mut table = Table::bare();
    table.row(["name", &state.name]);
    table.row(["batch", view["id"].as_str().unwrap_or_default()]);
    table.row(["state", &state.doing()]);
    table.row(["created", &time(view["created_ms"].as_u64().unwrap_or(0))]);
    table.row(["rows", &format!("{}, {} started", state.rows, state.started)]);
    table.row(["pictures", &state.succeeded.to_string()]);
    table.row(["failed", &state.failed.to_string()]);
    let never = match state.never_begun() {
        0 => String::new(),
        rows => format!(", and {rows} never begun"),
    };
    table.row(["canceled", &format!("{}{never}", state.canceled)]);
    table.row(["expired", &state.expired.to_string()]);
    table.row(["queued", &format!("{}, {} running", state.queued, state.running)]);
    table.row(["shards", &format!("{} of {} packed", state.packed, state.shards)]);
    table.row(["retries", &state.pass.to_string()]);
    table.row(["device time", &span(state.spent_ms as f64 / 1000.0)]);
    table.row([
        "budget",
        &format!("pictures: {}, device seconds: {}", limit("pictures"), limit("device_seconds")),
    ]);
    for reason in view["dataset"]["reasons"].as_array().into_iter().flatten() {
        let (code, example) = (reason["code"].as_str().unwrap_or_default(), &reason["example"]);
        let example = match (example["key"].as_str(), example["message"].as_str()) {
            (Some(key), Some(message)) => format!(", such as {key}: {message}"),
            _ => String::new(),
        };
        table.row(["failed for", &format!("{code}: {} rows{example}", reason["rows"])]);
    }
    Ok(table.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_is_described_in_lines() {
        let text = describe(&json!({
            "id": "0-a", "created_ms": 0, "counts": { "succeeded": 3, "failed": 1 },
            "dataset": { "name": "foxes\u{1b}[2J", "rows": 4, "started": 4, "shards": 1, "packed": 1, "spent_ms": 90_000,
                "budget": { "pictures": 9, "device_seconds": null }, "reasons": [
                    { "code": "engine", "rows": 1, "example": { "row": 2, "key": "fox-2", "message": "it broke" } },
                ] },
        }))
        .unwrap();
        for line in [
            "name         foxes\\u{1b}[2J",
            "state        finished",
            "device time  1m 30s",
            "budget       pictures: 9, device seconds: no limit",
            "failed for   engine: 1 rows, such as fox-2: it broke",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(describe(&json!({ "id": "0-a", "dataset": null })).is_err());
    }
}
