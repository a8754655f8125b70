//! How fast a manifest is checked and planned, and what that takes of memory.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uso_dataset::rows::{Checker, Fleet, Kind, Manifest, Options, Planner, REQUESTS_PER_PICTURE};
use uso_queue::Defaults;

use super::client::Task;
use super::sizes::Sizes;
use crate::client;
use crate::cores::Cores;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::memory;

/// Longest plan.
const PATIENCE: Duration = Duration::from_secs(600);

const MIB: f64 = (1u64 << 20) as f64;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "plan",
    about: "How fast a manifest is planned, and what that takes of memory",
    rows: &[
        Row {
            name: |sizes| format!("plan of {} rows of JSONL", sizes.planned),
            unit: "rows/s",
            goal: Goal::AtLeast(200_000.0),
        },
        Row {
            name: |sizes| format!("plan of {} rows of JSONL: most memory", sizes.planned),
            unit: "MiB",
            goal: Goal::AtMost(256.0),
        },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

/// What planning took.
#[derive(Serialize, Deserialize)]
pub(super) struct Planned {
    rows: u64,
    seconds: f64,
    resident: u64,
}

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let folder = tempfile::tempdir().context("cannot make a folder for a manifest")?;
    let file = folder.path().join("rows.jsonl");
    let bytes = write(&file, sizes.planned)?;
    let task = serde_json::to_string(&Task::Plan { file })?;
    let command = client::command(Cores::unpinned(), &["dataset-client", &task])?;
    let planned: Planned = client::answer(command, PATIENCE).await?;
    ensure!(planned.rows == sizes.planned, "{} rows were planned", planned.rows);
    let note = format!("the manifest has {} MiB", written(bytes as f64 / MIB));
    let rate = planned.rows as f64 / planned.seconds;
    Ok(Findings::of([rate, planned.resident as f64 / MIB]).note(note))
}

/// Rows as people write them: a prompt of some words, references that many share, a label.
fn write(file: &Path, rows: u64) -> anyhow::Result<u64> {
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    for number in 0..rows {
        let (subject, style) = (number / 200 % 5000, number / 10 % 20);
        writeln!(
            out,
            r#"{{"key":"row-{number}","prompt":"A photo of subject {subject} in style {style}, view {number} of many, in soft light","content":"s3://pictures/subjects/{subject}.png","styles":["s3://pictures/styles/{style}.png"],"seed":{number},"metadata":{{"subject":"{subject}"}}}}"#
        )?;
    }
    out.flush()?;
    Ok(std::fs::metadata(file)?.len())
}

/// Plans a manifest in this process.
pub(super) fn plan(file: &Path) -> anyhow::Result<Planned> {
    let begun = Instant::now();
    let mut manifest = Manifest::open(file, Some(Kind::Jsonl))?;
    let mut checker = Checker::new(Defaults::default(), Options::default());
    let mut planner = Planner::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    checker.check_all(&mut manifest, threads, |row| {
        match row {
            Ok(row) => planner.add(&row),
            Err(_) => planner.add_bad(),
        }
        Ok(())
    })?;
    let fleet = Fleet {
        step_seconds: &|_| Some(0.1),
        other_seconds: None,
        bytes_per_pixel: None,
        live_workers: 1,
        workers: 4,
        staged_rows: 20_000,
        requests_per_picture: REQUESTS_PER_PICTURE,
        now: Timestamp::now(),
        window: None,
        deadline: None,
    };
    let plan = planner.plan(&fleet)?;
    ensure!(plan.bad_rows == 0, "{} bad rows", plan.bad_rows);
    Ok(Planned {
        rows: plan.rows,
        seconds: begun.elapsed().as_secs_f64(),
        resident: memory::most_resident()?,
    })
}
