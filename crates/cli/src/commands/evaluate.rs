//! `uso evaluate`: has a fleet make the pictures of a suite, scores them here, and writes a table with the published
//! figures beside it. Pictures and scores are kept, so that nothing is made or scored twice.

mod compare;
mod kind;
mod log;
mod make;
mod measure;
mod published;
mod report;
mod scores;
mod scoring;
mod state;
mod suite;
mod table;
mod wanted;
mod warnings;

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::Value;

use self::compare::{Comparison, Finished};
use self::make::Maker;
use self::report::{MadeBy, Report};
use self::scores::Scores;
use self::scoring::Available;
use self::state::State;
use self::suite::Item;
use self::wanted::Wanted;
use self::warnings::Facts;
use super::say;
use crate::args::EvaluateArgs;
use crate::client::Client;
use crate::progress;

/// Failures of jobs that are shown one by one.
const SHOWN: usize = 5;

pub(crate) async fn run(args: EvaluateArgs) -> anyhow::Result<()> {
    // Parameters of items that do not say them.
    let settings = args.sampling.fields();
    let (path, limit, seed) = (args.suite.clone(), args.limit, args.seed);
    let (out, from, device) = (args.out.clone(), args.scorers.clone(), args.device.clone());
    // Whatever is wrong here is said before the fleet has any work.
    let own = settings.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        let items = suite::read(&path, &own, limit)?;
        let available = Available::inspect(&from, &device)?;
        let wanted = wanted::pictures(&items, seed);
        anyhow::Ok((items, available, wanted, State::open(&out)?))
    });
    let (items, available, wanted, state) = prepared.await??;
    let (items, state) = make(&args, items, &wanted, state).await?;
    let settings = Value::Object(settings);
    let finish = move || finish(&args, &settings, &items, &available, &wanted, &state);
    tokio::task::spawn_blocking(finish).await?
}

/// Has the fleet make the pictures that are not there.
async fn make(
    args: &EvaluateArgs,
    items: Vec<Item>,
    wanted: &[Wanted],
    state: State,
) -> anyhow::Result<(Vec<Item>, State)> {
    let distinct: Vec<Wanted> = wanted::distinct(wanted).into_iter().cloned().collect();
    let total = distinct.len();
    let looked = tokio::task::spawn_blocking(move || {
        let missing: Vec<_> =
            distinct.into_iter().filter(|picture| state.there(&picture.digest).is_none()).collect();
        (missing, state)
    });
    let (missing, state) = looked.await?;
    tracing::info!(pictures = total, missing = missing.len(), "looked for pictures from before");
    if missing.is_empty() {
        return Ok((items, state));
    }
    let client = Client::new(&args.api, args.api_key.clone())?;
    let bar = progress::bar(total as u64);
    bar.set_message("pictures");
    bar.set_position((total - missing.len()) as u64);
    let maker = Maker::new(&client, args.api.trim_end_matches('/'), &items, state);
    let missing: Vec<&Wanted> = missing.iter().collect();
    let failures = maker.make(&missing, args.in_flight.into(), &bar).await?;
    bar.finish_and_clear();
    failures.iter().take(SHOWN).for_each(|failure| tracing::warn!("{failure}"));
    let state = maker.into_state();
    Ok((items, state))
}

/// Scores the pictures, and writes and prints what comes out. Blocks.
fn finish(
    args: &EvaluateArgs,
    settings: &Value,
    items: &[Item],
    available: &Available,
    wanted: &[Wanted],
    state: &State,
) -> anyhow::Result<()> {
    let finished = finished(wanted, state);
    let columns = table::measured(&available.profiles);
    let comparisons = compare::all(&columns, items, &finished, args.seed);
    let scores = score(args, available, &comparisons)?;
    let profiles = &available.profiles;

    let distinct = wanted::distinct(wanted);
    let made = distinct.iter().filter_map(|picture| state.made(&picture.digest));
    let engines = warnings::engines(made);
    let missing = distinct.iter().filter(|picture| state.made(&picture.digest).is_none()).count();
    let mut asked = BTreeMap::new();
    wanted.iter().for_each(|picture| *asked.entry(items[picture.item].kind).or_default() += 1);
    let warnings = warnings::warnings(&Facts {
        engines: &engines,
        profiles,
        published: &available.published,
        missing: &available.missing().collect::<Vec<_>>(),
        asked: &asked,
        failed: missing,
    });
    let lines = table::lines(profiles, &comparisons, &scores)?;
    let report = Report {
        suite: args.suite.display().to_string(),
        seed: args.seed,
        limit: args.limit,
        settings,
        pictures: distinct.len(),
        missing,
        engines: engines.iter().map(|(engine, pictures)| MadeBy { engine, pictures: *pictures }).collect(),
        profiles: profiles.values().collect(),
        warnings: &warnings,
        table: &lines,
        items: report::items(items, &files(items, wanted, state), profiles, &comparisons, &scores)?,
    };
    report.write(&args.out)?;
    say(&print(&lines, &warnings, args))?;
    if missing > 0 {
        bail!("{missing} pictures are missing; the same command tries them again");
    }
    Ok(())
}

/// What is printed at the end.
fn print(lines: &[table::Line], warnings: &[String], args: &EvaluateArgs) -> String {
    let warnings: String =
        warnings.iter().map(|warning| format!("warning: {}\n", super::print::safe(warning))).collect();
    let place = args.out.join("evaluation.md");
    format!("{}{warnings}{}", table::text(lines), place.display())
}

/// The pictures that are there, one for each that an item asks for.
fn finished(wanted: &[Wanted], state: &State) -> Vec<Finished> {
    let finished = wanted.iter().filter_map(|picture| {
        let made = state.made(&picture.digest)?;
        Some(Finished {
            item: picture.item,
            digest: picture.digest.clone(),
            path: state.place(&made.file),
            sha256: made.sha256.clone(),
        })
    });
    finished.collect()
}

/// The files of each item's pictures.
fn files(items: &[Item], wanted: &[Wanted], state: &State) -> Vec<Vec<String>> {
    let mut files = vec![Vec::new(); items.len()];
    for picture in wanted {
        files[picture.item].extend(state.made(&picture.digest).map(|made| made.file.clone()));
    }
    files
}

fn score(args: &EvaluateArgs, available: &Available, comparisons: &[Comparison]) -> anyhow::Result<Scores> {
    let mut scores = Scores::open(&args.out.join("scores.jsonl"))?;
    let bar = progress::bar(0);
    bar.set_message("scores");
    let encoded = available.fill(comparisons, &mut scores, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    tracing::info!(pictures = encoded, "scored");
    Ok(scores)
}
