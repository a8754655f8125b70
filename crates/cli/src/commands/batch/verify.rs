//! `uso batch verify` and `export`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use indicatif::DecimalBytes;
use serde_json::json;
use uso_dataset::shards::{self, Expected, ExportLayout, Finding, Place, Progress};
use uso_queue::{BatchId, DatasetView, Queue};

use crate::args::{ExportArgs, LayoutName, VerifyBatchArgs};
use crate::commands::{print, say};
use crate::{connect, progress};

/// Rows that one call to the queue asks for.
const PAGE: u64 = 100_000;
/// What the queue notes of a row that became a picture.
const PICTURE: u8 = 1;

/// Reads a data set back and prints what is wrong with it.
pub(super) async fn verify(args: VerifyBatchArgs, as_json: bool) -> anyhow::Result<()> {
    let folder = Path::new(&args.target);
    let (place, expected) = match args.target.parse::<BatchId>() {
        _ if folder.is_dir() => (Place::Folder(folder.to_owned()), Expected::Unknown),
        Ok(id) => in_fleet(&args, &id).await?,
        Err(_) => bail!("there is no folder {}, and it is no id of a data set", args.target),
    };
    let (bar, mut last) = (progress::bar(0), None);
    let seen = |now: Progress| {
        bar.set_length(now.of);
        bar.set_position(now.shards);
        last = Some(now);
    };
    let findings = shards::verify(&place, &expected, seen).await?;
    bar.finish_and_clear();
    report(&findings, last, as_json)
}

/// Where a data set lies in the store, and which rows it should have.
async fn in_fleet(args: &VerifyBatchArgs, id: &BatchId) -> anyhow::Result<(Place, Expected)> {
    let url = args.redis.as_ref().context("no Redis is given: use --redis or set USO_REDIS")?;
    let queue = Queue::connect(args.options.config(url)).await?;
    let view = queue.dataset(id).await?.with_context(|| format!("there is no data set {id}"))?;
    if !is_packed(&view) {
        tracing::warn!(
            "the data set is still being packed: pictures that are in no shard yet are named as missing, and shards that \
             are about to be listed as not in the index"
        );
    }
    let rows = view.rows;
    let mut expected = BTreeSet::new();
    for first in (0..rows).step_by(PAGE as usize) {
        let notes = queue.row_notes(id, first, PAGE.min(rows - first)).await?;
        expected.extend((first..).zip(notes).filter(|(_, note)| *note == PICTURE).map(|(row, _)| row));
    }
    let store = connect::existing_store(&args.s3, None).await?;
    Ok((Place::of_batch(store, id), Expected::Rows(expected)))
}

/// Whether all pictures that there are lie in shards that the index tells of.
fn is_packed(view: &DatasetView) -> bool {
    view.waiting + view.open_rows == 0 && view.packed == view.shards && view.described == view.packed
}

fn report(findings: &[Finding], read: Option<Progress>, as_json: bool) -> anyhow::Result<()> {
    let Progress { shards, rows, bytes, .. } =
        read.unwrap_or(Progress { shards: 0, of: 0, rows: 0, bytes: 0 });
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let what = format!("{shards} shards, {rows} rows, {}", DecimalBytes(bytes));
    if as_json {
        let document = json!({ "shards": shards, "rows": rows, "bytes": bytes, "findings": texts });
        say(&print::json(&document)?)?;
    } else if findings.is_empty() {
        say(&format!("{what}: nothing is wrong"))?;
    } else {
        say(&print::safe_lines(&texts.join("\n")))?;
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("{what}: 1 thing is wrong"),
        many => bail!("{what}: {many} things are wrong"),
    }
}

/// Writes a data set in another layout.
pub(super) async fn export(args: &ExportArgs, as_json: bool) -> anyhow::Result<()> {
    let folder = Path::new(&args.target);
    let place = match args.target.parse::<BatchId>() {
        _ if folder.is_dir() => Place::Folder(folder.to_owned()),
        Ok(id) => Place::of_batch(connect::existing_store(&args.s3, None).await?, &id),
        Err(_) => bail!("there is no folder {}, and it is no id of a data set", args.target),
    };
    let layout = match args.layout {
        LayoutName::Imagefolder => ExportLayout::ImageFolder,
        LayoutName::Files => ExportLayout::Files,
    };
    let rows = shards::export(&place, &args.out, layout).await?;
    if as_json {
        return say(&print::json(&json!({ "rows": rows, "folder": args.out }))?);
    }
    say(&format!("{}: {rows} rows", args.out.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uso_queue::Budget;

    use super::*;

    #[test]
    fn a_data_set_is_packed_once_the_index_tells_of_all_pictures() {
        let packed = DatasetView {
            name: "foxes".into(),
            settings: "{}".into(),
            rows: 9,
            sealed: 9,
            cursor: 9,
            queued_once: 9,
            pass: 0,
            segments: 2,
            archived: 9,
            waiting: 0,
            open_first: 2,
            open_rows: 0,
            open_bytes: 0,
            shards: 2,
            packed: 2,
            described: 2,
            spent_ms: 0,
            budget: Budget::default(),
            held: None,
            is_selective: false,
            changes: 0,
            discards: 0,
            retries: None,
            indexed: 2,
            counted: 9,
            rejected: BTreeMap::new(),
        };
        assert!(is_packed(&packed));
        for other in [
            DatasetView { waiting: 1, ..packed.clone() },
            DatasetView { open_rows: 1, ..packed.clone() },
            DatasetView { shards: 3, ..packed.clone() },
            DatasetView { described: 1, ..packed.clone() },
        ] {
            assert!(!is_packed(&other), "{other:?}");
        }
    }
}
