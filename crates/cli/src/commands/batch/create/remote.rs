//! A manifest that the API reads itself.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use super::super::Batches;
use super::input::kind;
use super::request;
use crate::args::{CreateBatchArgs, ManifestKind};
use crate::client::Refused;
use crate::commands::print::safe_lines;

/// Longest that one request may take: the API reads the whole manifest meanwhile.
const LONGEST: Duration = Duration::from_secs(3600);

impl Batches {
    pub(super) async fn create_remotely(&self, args: &CreateBatchArgs, name: &str) -> anyhow::Result<()> {
        let mut body = request(args, name);
        body["manifest"] = args.manifest.as_str().into();
        if args.replace {
            body["replace"] = true.into();
        }
        body["on_bad"] = args.on_bad.as_str().into();
        body["unknown"] = args.unknown.as_str().into();
        if let Some(kind) = args.kind {
            body["kind"] = kind.as_str().into();
        }
        // A lost answer does no harm: the same request goes on where the last one ended.
        let ask = async || self.client.post_slowly("/v1/batches", &body, LONGEST).await;
        let place = kind(args).map_or("row", ManifestKind::place);
        let answer = self.client.patiently(ask).await.map_err(|error| explained(error, place))?;
        self.answer(&answer, &safe_lines(&text(&answer, place)?))
    }
}

/// The refusal of a manifest, with its bad rows.
fn explained(error: anyhow::Error, place: &str) -> anyhow::Error {
    let Some(refused) = error.downcast_ref::<Refused>() else { return error };
    let Some(lines) = refused.bad_lines() else { return error };
    let lines: String = lines.iter().map(|bad| line(place, bad.line, &bad.pointer, &bad.message)).collect();
    anyhow!("{lines}{}", refused.detail())
}

fn line(place: &str, number: u64, pointer: &str, message: &str) -> String {
    let field = pointer.trim_start_matches('/');
    let colon = if field.is_empty() { "" } else { ": " };
    format!("{place} {number}: {field}{colon}{message}\n")
}

fn text(answer: &Value, place: &str) -> anyhow::Result<String> {
    let id = answer["id"].as_str().context("the API's answer has no id")?;
    let mut text = format!("{id}: {} rows are started\n", answer["rows"]);
    let bad = answer["bad_rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    for row in bad {
        for fault in row["faults"].as_array().into_iter().flatten() {
            let word = |name: &str| fault[name].as_str().unwrap_or_default();
            text.push_str(&line(place, row["line"].as_u64().unwrap_or(0), word("pointer"), word("message")));
        }
    }
    if let Some(replaced) = answer["replaced"].as_u64().filter(|replaced| *replaced > 0) {
        text.push_str(&format!("{replaced} rows were replaced\n"));
    }
    if let Some(count) = answer["bad_row_count"].as_u64().filter(|count| *count > 0) {
        text.push_str(&format!("{count} bad rows are left out\n"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bad_rows_are_named() {
        let answer = json!({ "id": "0-a", "rows": 3, "bad_row_count": 1, "bad_rows": [
            { "line": 4, "faults": [{ "pointer": "/width", "code": "c", "message": "is wrong" }] },
        ]});
        for place in ["line", "row"] {
            assert_eq!(
                text(&answer, place).unwrap(),
                format!("0-a: 3 rows are started\n{place} 4: width: is wrong\n1 bad rows are left out\n")
            );
        }
        assert!(text(&json!({}), "row").is_err());
    }
}
