//! `uso batch create`: rows are checked here, their pictures uploaded once each, and what is there already is passed
//! over, so that the same command again goes on where it ended.

mod bad_rows;
mod compare;
mod fleet;
mod input;
mod local;
mod new_rows;
mod plan;
mod remote;
mod replace;
mod send;
mod steady;
mod uploads;

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use uso_dataset::Error;

use self::bad_rows::BadRows;
use self::compare::{Comparison, compare};
use self::fleet::FleetFacts;
use self::input::{Input, kind};
use self::replace::KeptRows;
use self::send::{Ended, Sender};
use super::{Batches, print};
use crate::args::{CreateBatchArgs, ManifestKind, OnBad};
use crate::causes::with_causes;

/// How often it compares anew because somebody else adds other rows at the same time.
const MOST_COMPARISONS: u32 = 5;

/// What became of the rows.
#[derive(Default)]
struct Added {
    /// Rows that the batch had already.
    same: u64,
    /// Rows that were added.
    new: u64,
    /// Rows of the batch that the manifest does not name.
    missing: u64,
    /// Keys of the first of them.
    named: Vec<String>,
    /// Rows of the batch now.
    rows: u64,
    /// Rows that ask for something else than before.
    replaced: u64,
    /// Rows that were to be replaced and cannot be.
    kept: KeptRows,
}

impl Batches {
    pub(super) async fn create(&self, args: CreateBatchArgs) -> anyhow::Result<()> {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => stem(&args.manifest)?,
        };
        if args.manifest.starts_with("s3://") || args.manifest.starts_with("upload:") {
            let kind = kind(&args);
            ensure!(
                kind != Some(ManifestKind::Grid),
                "a grid must be a local file: the fleet reads none itself"
            );
            ensure!(!args.plan, "the fleet reads this manifest itself; only a local one can be planned");
            return self.create_remotely(&args, &name).await;
        }
        let fleet = match self.facts().await {
            Ok(fleet) => fleet,
            // A plan needs no fleet.
            Err(error) if args.plan => FleetFacts::unknown(&with_causes(&error)),
            Err(error) => return Err(error),
        };
        let input = Arc::new(Input::open(&args, &fleet)?);
        if args.plan {
            return self.plan(&args, input, &fleet).await;
        }
        let (good, bad) = check(&input).await?;
        if args.on_bad == OnBad::Fail && bad.count > 0 {
            bail!("{bad}nothing was started; --on-bad skip leaves bad rows out");
        }
        ensure!(good > 0, "{bad}all rows are bad; nothing was started");
        let batch = self.client.post("/v1/batches", &request(&args, &name)).await?;
        let id = batch["id"].as_str().context("the API's answer has no id")?.to_owned();
        let mut sender = Sender::new(&self.client, &id, args.on_bad == OnBad::Skip, bad);
        let added = self.add(&mut sender, &id, &input, args.replace).await?;
        let bad = std::mem::take(&mut sender.bad);
        self.client.patiently(async || self.client.start_batch(&id, added.rows).await).await?;
        self.report(&args, &batch, &id, &added, &bad)
    }

    /// Adds the rows that the batch does not have.
    async fn add(
        &self,
        sender: &mut Sender<'_>,
        id: &str,
        input: &Arc<Input>,
        replaces: bool,
    ) -> anyhow::Result<Added> {
        let (mut replaced, mut kept) = (0, KeptRows::default());
        for _ in 0..MOST_COMPARISONS {
            let compared = compare(&self.client, id, input).await?;
            let Comparison { rows, chunks, same, missing, new, changed, named } = compared;
            ensure!(
                changed.count == 0 || replaces,
                "{changed}{} rows ask for something else than before; nothing was added. Give them other keys, or the \
                 data set another --name; --replace replaces those that have no picture yet",
                changed.count
            );
            sender.begin(rows, chunks);
            if changed.count > 0 {
                let now;
                (now, kept) = sender.replace(input, changed).await?;
                replaced += now;
            }
            let sent = sender.send(input, new).await;
            // Of a manifest that is another one by now nothing stays.
            if sent.is_err() && input.has_changed() {
                self.client.patiently(async || self.client.discard_rows(id, rows).await).await?;
            }
            if sent? == Ended::AllThere {
                let new = sender.rows - rows - sender.passed;
                let (same, rows) = (same + sender.passed, sender.rows);
                return Ok(Added { same, new, missing, named, rows, replaced, kept });
            }
        }
        bail!("somebody else adds other rows to this data set at the same time; try again when that is over")
    }

    fn report(
        &self,
        args: &CreateBatchArgs,
        batch: &Value,
        id: &str,
        added: &Added,
        bad: &BadRows,
    ) -> anyhow::Result<()> {
        let Added { same, new, missing, named, rows, replaced, kept } = added;
        let mut text = format!("{id}: {rows} rows are started; {new} are new, {same} were there\n");
        if args.replace {
            text.push_str(&format!("{kept}{replaced} rows were replaced\n"));
        }
        for key in named {
            text.push_str(&format!("row {key} is no longer in the manifest; it stays in the data set\n"));
        }
        if *missing > named.len() as u64 {
            text.push_str(&format!("{missing} rows in all are no longer in the manifest\n"));
        }
        if bad.count > 0 {
            text.push_str(&format!("{bad}{} bad rows are left out\n", bad.count));
        }
        let budget = args.max_pictures.or(args.max_device_seconds);
        if batch["fresh"] == false && budget.is_some() {
            text.push_str("the budget stays as it was; `uso batch budget` changes it\n");
        }
        let row =
            |(line, key, why): &(u64, String, String)| json!({ "line": line, "key": key, "reason": why });
        let kept_rows: Vec<Value> = kept.first.iter().map(row).collect();
        let document = json!({
            "id": id, "fresh": batch["fresh"], "rows": rows, "new": new, "same": same, "missing": missing, "missing_rows": named,
            "bad": bad.count, "bad_rows": bad.first, "replaced": replaced, "kept": kept.count, "kept_rows": kept_rows,
        });
        self.answer(&document, &print::safe_lines(&text))?;
        ensure!(
            kept.count == 0 || args.on_bad == OnBad::Skip,
            "{} rows could not be replaced and stay as they were",
            kept.count
        );
        Ok(())
    }
}

/// Reads all rows; gives how many are good, and those that are bad.
async fn check(input: &Arc<Input>) -> anyhow::Result<(u64, BadRows)> {
    let input = input.clone();
    let check = move || {
        let (mut good, mut bad) = (0, BadRows::new(input.place()));
        input.each_row(|row| {
            match row {
                Ok(_) => good += 1,
                Err(row) => bad.add(row),
            }
            Ok::<(), Error>(())
        })?;
        anyhow::Ok((good, bad))
    };
    tokio::task::spawn_blocking(check).await?
}

/// The request that makes the data set.
fn request(args: &CreateBatchArgs, name: &str) -> Value {
    let mut dataset = json!({ "name": name });
    if let Some(rows) = args.shard_rows {
        dataset["shard_rows"] = rows.into();
    }
    if let Some(bytes) = args.shard_bytes {
        dataset["shard_bytes"] = bytes.into();
    }
    if let Some(split) = input::split(args) {
        dataset["split"] = json!(split);
    }
    if let Some(gate) = &args.gate {
        dataset["gate"] = json!(gate);
    }
    let budget = json!({ "pictures": args.max_pictures, "device_seconds": args.max_device_seconds });
    json!({ "dataset": dataset, "budget": budget })
}

/// A file's name without its folder and its ending.
fn stem(manifest: &str) -> anyhow::Result<String> {
    let file = manifest.rsplit(['/', ':']).next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    ensure!(!stem.is_empty(), "the manifest's name gives no name for the data set; use --name");
    Ok(print::safe(stem))
}

#[cfg(test)]
mod changed_tests;
#[cfg(test)]
mod tests;
