//! `uso batch create --plan`: what rows will cost.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::ensure;
use indicatif::{DecimalBytes, HumanCount};
use jiff::Timestamp;
use serde_json::json;
use uso_dataset::rows::{Fleet, Plan, Planner, REQUESTS_PER_PICTURE, Size, Wall};
use uso_dataset::{Error, Settings};
use uso_queue::Window;

use super::super::Batches;
use super::bad_rows::BadRows;
use super::fleet::{FleetFacts, Paces};
use super::input::Input;
use crate::args::{CreateBatchArgs, OnBad};
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
        let settings = Settings { gate: args.gate.clone(), ..Settings::default() };
        let (planner, bad) = tokio::task::spawn_blocking(move || count(&input, &settings)).await??;
        let paces = if fleet.unknown.is_some() { Paces::default() } else { self.paces().await? };
        let step_seconds = |size: &Size| paces.step_of(size);
        let window = window(args).or_else(|| fleet.window.clone());
        let plan = planner.plan(&Fleet {
            step_seconds: &step_seconds,
            other_seconds: paces.beside,
            bytes_per_pixel: None,
            live_workers: paces.workers,
            workers: args.workers.unwrap_or(0),
            staged_rows: u64::from(args.shard_rows.unwrap_or(SHARD_ROWS)) + WAITING,
            requests_per_picture: REQUESTS_PER_PICTURE,
            now: Timestamp::now(),
            window: window.clone(),
            deadline: args.deadline,
        })?;
        let document = json!({
            "plan": plan, "window": window, "bad_rows": bad.first, "fleet_unknown": fleet.unknown,
        });
        let about = About { window, deadline: args.deadline, unknown: fleet.unknown.as_deref() };
        let text = format!("{bad}{}", describe(&plan, &paces, &about)?);
        self.answer(&document, &safe_lines(&text))?;
        ensure!(
            bad.count == 0 || args.on_bad == OnBad::Skip,
            "{} rows are bad; --on-bad skip leaves bad rows out",
            bad.count
        );
        Ok(())
    }
}

/// What a plan is for.
#[derive(Default)]
struct About<'a> {
    window: Option<Window>,
    deadline: Option<Timestamp>,
    /// Why nothing is known of the fleet.
    unknown: Option<&'a str>,
}

/// The window that the caller asks about.
fn window(args: &CreateBatchArgs) -> Option<Window> {
    Some(Window { opens: args.opens?, closes: args.closes?, zone: args.zone.clone()?, fill: false })
}

/// Adds up the rows of a data set with these settings.
fn count(input: &Input, settings: &Settings) -> anyhow::Result<(Planner, BadRows)> {
    let (mut planner, mut bad) = (Planner::default(), BadRows::new(input.place()));
    input.each_row(|row| {
        match row {
            Ok(mut row) => {
                settings.complete(&mut row.job);
                planner.add(&row);
            }
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
fn describe(plan: &Plan, paces: &Paces, about: &About<'_>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    describe_rows(&mut text, plan)?;
    describe_device_time(&mut text, plan, paces, about.unknown)?;
    if let Some(Window { opens, closes, zone, .. }) = &about.window {
        writeln!(text, "window      {opens:.0} to {closes:.0} in {zone}")?;
    }
    for (what, wall) in [("live", &plan.live), ("asked", &plan.asked)] {
        if let Some(wall) = wall {
            writeln!(text, "{what:<12}{}", walled(wall))?;
        }
    }
    if plan.live.is_none() && about.unknown.is_none() && paces.workers == 0 {
        writeln!(text, "live        no worker takes bulk work now")?;
    }
    describe_needs(&mut text, plan, about)?;
    Ok(text)
}

fn describe_rows(text: &mut String, plan: &Plan) -> std::fmt::Result {
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
    if plan.gated_rows > 0 {
        writeln!(
            text,
            "tries       {} rows may miss their gate and be sampled again: {} steps at most; all times are for one try each",
            n(plan.gated_rows),
            n(plan.steps_most)
        )?;
    }
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
    Ok(())
}

fn describe_device_time(
    text: &mut String,
    plan: &Plan,
    paces: &Paces,
    unknown: Option<&str>,
) -> std::fmt::Result {
    match (plan.device_seconds, unknown) {
        (Some(seconds), _) => {
            let hours = plan.gpu_hours.unwrap_or_default();
            let whose = if paces.is_sizeless { "whatever its size" } else { "for each size" };
            let beside = paces.beside.unwrap_or_default() * plan.rows as f64;
            let a_step = (seconds - beside) / plan.steps.max(1) as f64;
            writeln!(
                text,
                "device time {} ({hours:.1} GPU-hours), at {a_step:.3} s a step on average, as the workers report it {whose}",
                span(seconds)
            )
        }
        (None, Some(why)) => writeln!(text, "device time unknown, like the model's defaults: {why}"),
        (None, None) if paces.step.is_none() => {
            writeln!(text, "device time unknown: no worker has reported how long a step takes")
        }
        (None, None) if plan.sizes_without_time.is_empty() => {
            writeln!(
                text,
                "device time unknown: no worker has reported what a picture takes beside its steps"
            )
        }
        (None, None) => {
            writeln!(text, "device time unknown: no worker has made a picture of these sizes yet:")?;
            plan.sizes_without_time.iter().try_for_each(|size| writeln!(text, "            {}", sized(size)))
        }
    }
}

fn sized(size: &Size) -> String {
    let content = match size.content_size {
        0 => "no content reference".to_owned(),
        side => format!("a content reference of {side}"),
    };
    format!("{} x {}, {content}, {} styles", size.width, size.height, size.styles)
}

/// What it takes to end in time.
fn describe_needs(text: &mut String, plan: &Plan, about: &About<'_>) -> std::fmt::Result {
    let workers = |needed: Option<u64>, of: &str| match needed {
        Some(1) => format!("1 worker ends it {of}"),
        Some(workers) => format!("{} workers end it {of}", HumanCount(workers)),
        None => format!("no number of workers ends it {of}"),
    };
    if let Some(needed) = &plan.workers_needed {
        if about.window.is_some() {
            writeln!(text, "one window  {}", workers(needed.window, "in one window: this one, or the next"))?;
        }
        if let Some(deadline) = about.deadline {
            writeln!(text, "deadline    {}", workers(needed.deadline, &format!("by {deadline:.0}")))?;
        }
    } else if about.window.is_some() || about.deadline.is_some() {
        writeln!(text, "in time     unknown without the device time")?;
    }
    let Some(by) = &plan.finish_by else { return Ok(()) };
    let first = by.first;
    let verdict = match by.in_time {
        Some(true) => "which the workers there are will do".to_owned(),
        Some(false) => {
            "which the workers there are will not: those that are late end without a picture".to_owned()
        }
        None => "and nobody knows whether they will be".to_owned(),
    };
    writeln!(
        text,
        "finish_by   {} rows must be done by a time, the first by {first:.0}, {verdict}",
        HumanCount(by.rows)
    )
}

fn walled(wall: &Wall) -> String {
    let ends =
        wall.ends.map_or(", which takes more than ten years".to_owned(), |ends| format!(", until {ends:.0}"));
    let windows = match wall.windows {
        0 => String::new(),
        1 => ", in 1 window".to_owned(),
        many => format!(", in {many} windows"),
    };
    let late = if wall.in_time == Some(false) { ", after the deadline" } else { "" };
    let s = if wall.workers == 1 { "" } else { "s" };
    format!("{} worker{s}: {} of work{ends}{windows}{late}", wall.workers, span(wall.seconds))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Map, json};
    use uso_dataset::rows::{Checker, Options, RawRow};
    use uso_queue::Defaults;

    use super::*;

    fn plan(paces: &Paces, window: Option<Window>, finish_by: Option<&str>) -> Plan {
        let (mut planner, mut checker) =
            (Planner::default(), Checker::new(Defaults::default(), Options::default()));
        for seed in 0..10 {
            let mut fields = json!({ "prompt": "a", "seed": seed }).as_object().unwrap().clone();
            if let Some(time) = finish_by {
                fields.insert("finish_by".into(), time.into());
            }
            planner.add(&checker.check(RawRow { line: 1, fields, labels: Map::new() }).unwrap());
        }
        let step_seconds = |size: &Size| paces.step_of(size);
        let fleet = Fleet {
            step_seconds: &step_seconds,
            other_seconds: paces.beside,
            bytes_per_pixel: None,
            live_workers: paces.workers,
            workers: 5,
            staged_rows: 100,
            requests_per_picture: REQUESTS_PER_PICTURE,
            now: "2100-01-10T00:00:00Z".parse().unwrap(),
            window,
            deadline: Some(deadline()),
        };
        planner.plan(&fleet).unwrap()
    }

    fn deadline() -> Timestamp {
        "2100-01-10T00:02:00Z".parse().unwrap()
    }

    fn about(window: Option<Window>) -> About<'static> {
        About { window, deadline: Some(deadline()), unknown: None }
    }

    /// 30 s a row.
    fn paces() -> Paces {
        let size = Size { width: 1024, height: 1024, content_size: 0, styles: 0 };
        let sizes = BTreeMap::from([(size, 1.0)]);
        Paces { workers: 1, step: Some(9.0), sizes, is_sizeless: false, beside: Some(5.0) }
    }

    #[test]
    fn a_plan_says_how_long_it_takes() {
        let text = describe(&plan(&paces(), None, None), &paces(), &about(None)).unwrap();
        assert!(text.contains("device time 5m 0s (0.1 GPU-hours), at 1.000 s a step"), "{text}");
        assert!(
            text.contains(
                "live        1 worker: 5m 0s of work, until 2100-01-10T00:05:00Z, after the deadline"
            ),
            "{text}"
        );
        assert!(
            text.contains("asked       5 workers: 1m 0s of work, until 2100-01-10T00:01:00Z\n"),
            "{text}"
        );
        assert!(text.contains("deadline    3 workers end it by 2100-01-10T00:02:00Z\n"), "{text}");
        assert!(!text.contains("window"), "{text}");
    }

    #[test]
    fn a_plan_says_that_gates_may_take_more() {
        let text = |plan: &Plan| describe(plan, &paces(), &about(None)).unwrap();
        let plain = plan(&paces(), None, None);
        assert!(!text(&plain).contains("tries"), "{}", text(&plain));
        let gated = text(&Plan { gated_rows: 3, steps_most: 1000, ..plain });
        assert!(gated.contains("tries       3 rows may miss their gate"), "{gated}");
        assert!(gated.contains("1,000 steps at most; all times are for one try each\n"), "{gated}");
    }

    #[test]
    fn only_the_hours_of_the_window_count() {
        let night = Window {
            opens: "22:00".parse().unwrap(),
            closes: "22:01".parse().unwrap(),
            zone: "UTC".into(),
            fill: false,
        };
        let plan = plan(&paces(), Some(night.clone()), Some("2100-01-10T22:02:00Z"));
        let text = describe(&plan, &paces(), &about(Some(night))).unwrap();
        assert!(text.contains("window      22:00:00 to 22:01:00 in UTC\n"), "{text}");
        let live = "live        1 worker: 5m 0s of work, until 2100-01-14T22:01:00Z, in 5 windows, after the deadline";
        assert!(text.contains(live), "{text}");
        assert!(
            text.contains("asked       5 workers: 1m 0s of work, until 2100-01-10T22:01:00Z, in 1 window"),
            "{text}"
        );
        assert!(text.contains("one window  5 workers end it in one window"), "{text}");
        assert!(text.contains("deadline    no number of workers ends it by"), "{text}");
        assert!(
            text.contains("finish_by   10 rows must be done by a time, the first by 2100-01-10T22:02:00Z"),
            "{text}"
        );
        assert!(text.contains("will not: those that are late end without a picture"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let none = Paces::default();
        let unknown = About { unknown: Some("no answer"), ..About::default() };
        let text = describe(&plan(&none, None, None), &none, &unknown).unwrap();
        assert!(text.contains("device time unknown, like the model's defaults: no answer"), "{text}");
        let plan_of = |paces: &Paces| {
            describe(&plan(paces, None, Some("2100-01-10T22:02:00Z")), paces, &about(None)).unwrap()
        };
        let text = plan_of(&none);
        assert!(
            text.contains("no worker has reported how long") && text.contains("no worker takes bulk work"),
            "{text}"
        );
        assert!(text.contains("in time     unknown") && text.contains("nobody knows"), "{text}");
        let small = Size { width: 64, height: 64, content_size: 0, styles: 0 };
        let other = Paces { sizes: BTreeMap::from([(small, 0.1)]), ..paces() };
        let text = plan_of(&other);
        assert!(text.contains("no worker has made a picture of these sizes yet"), "{text}");
        assert!(text.contains("            1024 x 1024, no content reference, 0 styles\n"), "{text}");
        assert!(plan_of(&Paces { beside: None, ..paces() }).contains("beside its steps"));
    }
}
