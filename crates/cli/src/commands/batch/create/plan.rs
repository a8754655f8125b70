//! `uso batch create --plan`: what rows will cost.

use std::fmt::Write as _;
use std::sync::Arc;

use indicatif::{DecimalBytes, HumanCount};
use jiff::Timestamp;
use serde_json::json;
use uso_dataset::Error;
use uso_dataset::rows::{Fleet, Plan, Planner, REQUESTS_PER_PICTURE, Size, Wall};

use super::super::Batches;
use super::bad_rows::BadRows;
use super::fleet::{FleetFacts, Paces};
use super::input::Input;
use crate::args::CreateBatchArgs;
use crate::commands::batch::span::span;
use crate::commands::print::safe_lines;

/// Rows that wait in the queue beside those of the open shard, about.
const WAITING: u64 = 2000;
/// Rows of a shard if nothing else is said.
const SHARD_ROWS: u32 = 10_000;

impl Batches {
    pub(super) async fn plan(
        &self,
        args: &CreateBatchArgs,
        input: Arc<Input>,
        fleet: &FleetFacts,
    ) -> anyhow::Result<()> {
        let (planner, bad) = tokio::task::spawn_blocking(move || count(&input)).await??;
        let paces = if fleet.unknown.is_some() { Paces::default() } else { self.paces().await? };
        let step_seconds = |_: &Size| paces.step;
        let plan = planner.plan(&Fleet {
            step_seconds: &step_seconds,
            other_seconds: paces.beside,
            bytes_per_pixel: None,
            live_workers: paces.workers,
            workers: args.workers.unwrap_or(0),
            staged_rows: u64::from(args.shard_rows.unwrap_or(SHARD_ROWS)) + WAITING,
            requests_per_picture: REQUESTS_PER_PICTURE,
            now: Timestamp::now(),
            window: None,
            deadline: args.deadline,
        })?;
        let text = format!("{bad}{}", describe(&plan, &paces, fleet.unknown.as_deref())?);
        let document = json!({ "plan": plan, "bad_rows": bad.first, "fleet_unknown": fleet.unknown });
        self.answer(&document, &safe_lines(&text))
    }
}

fn count(input: &Input) -> anyhow::Result<(Planner, BadRows)> {
    let (mut planner, mut bad) = (Planner::default(), BadRows::new(input.place()));
    input.each_row(|row| {
        match row {
            Ok(row) => planner.add(&row),
            Err(row) => {
                planner.add_bad();
                bad.add(row);
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok((planner, bad))
}

/// The plan as a short text.
fn describe(plan: &Plan, paces: &Paces, unknown: Option<&str>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let n = HumanCount;
    let bad = if plan.bad_rows > 0 { format!(", and {} bad ones", n(plan.bad_rows)) } else { String::new() };
    writeln!(text, "rows        {}{bad}", n(plan.rows))?;
    writeln!(
        text,
        "encodings   {} prompts, {} content references, {} style references",
        n(plan.prompts),
        n(plan.content_encodes),
        n(plan.style_encodes)
    )?;
    writeln!(text, "steps       {}", n(plan.steps))?;
    let guess = if plan.bytes_measured { "measured" } else { "a guess" };
    writeln!(
        text,
        "pictures    {} ({} bytes a pixel, {guess})",
        DecimalBytes(plan.bytes),
        plan.bytes_per_pixel
    )?;
    writeln!(text, "staged      {} at most before they are packed", DecimalBytes(plan.staged_bytes))?;
    writeln!(
        text,
        "S3 requests {:.1} to {:.1} a row",
        plan.requests_per_row_least, plan.requests_per_row_most
    )?;
    if plan.rows_sized_by_reference > 0 {
        writeln!(
            text,
            "            {} rows take their size from a reference, and are counted with width and height",
            n(plan.rows_sized_by_reference)
        )?;
    }
    match (plan.device_seconds, unknown) {
        (Some(seconds), _) => {
            let step = paces.step.unwrap_or_default();
            writeln!(text, "device time {} at {step:.3} s a step, as the workers report it", span(seconds))?;
        }
        (None, Some(why)) => writeln!(text, "device time unknown, like the model's defaults: {why}")?,
        (None, None) => writeln!(text, "device time unknown: no worker has reported how long a step takes")?,
    }
    for (what, wall) in [("live", &plan.live), ("asked", &plan.asked)] {
        if let Some(wall) = wall {
            writeln!(text, "{what:<12}{}", walled(wall))?;
        }
    }
    if plan.live.is_none() && unknown.is_none() && paces.workers == 0 {
        writeln!(text, "live        no worker takes bulk work now")?;
    }
    if let Some(workers) = plan.workers_needed.as_ref().and_then(|needed| needed.deadline) {
        writeln!(text, "deadline    {} workers are needed", n(workers))?;
    }
    Ok(text)
}

fn walled(wall: &Wall) -> String {
    let ends = wall.ends.map(|ends| format!(", until {ends:.0}")).unwrap_or_default();
    let late = if wall.in_time == Some(false) { ", after the deadline" } else { "" };
    let s = if wall.workers == 1 { "" } else { "s" };
    format!("{} worker{s}: {}{ends}{late}", wall.workers, span(wall.seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use uso_dataset::rows::{Checker, Options, RawRow};
    use uso_queue::Defaults;

    use super::*;

    fn plan(paces: &Paces) -> Plan {
        let (mut planner, mut checker) =
            (Planner::default(), Checker::new(Defaults::default(), Options::default()));
        for seed in 0..10 {
            let fields = json!({ "prompt": "a", "seed": seed }).as_object().unwrap().clone();
            planner.add(&checker.check(RawRow { line: 1, fields, labels: Map::new() }).unwrap());
        }
        let step_seconds = |_: &Size| paces.step;
        let fleet = Fleet {
            step_seconds: &step_seconds,
            other_seconds: paces.beside,
            bytes_per_pixel: None,
            live_workers: paces.workers,
            workers: 5,
            staged_rows: 100,
            requests_per_picture: REQUESTS_PER_PICTURE,
            now: "2026-01-10T00:00:00Z".parse().unwrap(),
            window: None,
            deadline: Some("2026-01-10T00:02:00Z".parse().unwrap()),
        };
        planner.plan(&fleet).unwrap()
    }

    #[test]
    fn a_plan_says_how_long_it_takes() {
        let paces = Paces { workers: 1, step: Some(1.0), beside: Some(5.0) };
        let text = describe(&plan(&paces), &paces, None).unwrap();
        assert!(text.contains("device time 5m 0s at 1.000 s a step"), "{text}");
        assert!(
            text.contains("live        1 worker: 5m 0s, until 2026-01-10T00:05:00Z, after the deadline"),
            "{text}"
        );
        assert!(text.contains("asked       5 workers: 1m 0s, until 2026-01-10T00:01:00Z\n"), "{text}");
        assert!(text.contains("deadline    3 workers are needed"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let paces = Paces::default();
        let text = describe(&plan(&paces), &paces, Some("no answer")).unwrap();
        assert!(text.contains("device time unknown, like the model's defaults: no answer"), "{text}");
        let text = describe(&plan(&paces), &paces, None).unwrap();
        assert!(
            text.contains("no worker has reported") && text.contains("no worker takes bulk work"),
            "{text}"
        );
    }
}
