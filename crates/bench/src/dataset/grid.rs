//! How often prompts and references are encoded, when several workers share a grid.

use std::collections::HashSet;

use prometheus::Registry;
use serde_json::json;
use uso_dataset::rows::{Grid, RawRow};
use uso_engine::Image;
use uso_store::Store;
use uso_worker::Settings;

use super::batch;
use super::items::ItemLog;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::{self, Fleet, Running};
use crate::steps::StepLog;

const WORKERS: usize = 4;

/// Each prompt and reference counts as 1 MiB.
const SCRIPT: &str = "step=500us,size=16,cache=64M";

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "grid",
    about: "How often the prompts and references of a grid are encoded",
    rows: &[
        Row {
            name: |sizes| name(sizes, "encodes against prompts and references"),
            unit: "times",
            goal: Goal::AtMost(1.5),
        },
        Row {
            name: |sizes| name(sizes, "encodes against those that each worker was given"),
            unit: "times",
            goal: Goal::AtMost(1.05),
        },
    ],
    measure: |sizes| Box::pin(measure(sizes)),
};

fn name(sizes: &Sizes, what: &str) -> String {
    let (subjects, styles, prompts) = sizes.grid;
    format!("grid of {subjects} x {styles} x {prompts}, {WORKERS} workers, 64 MiB of features: {what}")
}

/// How often something was encoded.
struct Encodes {
    all: f64,
    /// Different prompts and references; of all workers together, and added up over the workers.
    different: f64,
    pairs: f64,
}

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let ordered = encodes(sizes, |_| {}).await?;
    let random = encodes(sizes, |rows| fastrand::shuffle(rows)).await?;
    let describe = |name: &str, encodes: &Encodes| {
        format!(
            "{name}: {} encodes of {} prompts and references, {} pairs of one and a worker",
            encodes.all, encodes.different, encodes.pairs
        )
    };
    let note = format!(
        "{}; {}, {} times as many as different ones",
        describe("grid in order", &ordered),
        describe("in random order", &random),
        written(random.all / random.different)
    );
    Ok(Findings::of([ordered.all / ordered.different, ordered.all / ordered.pairs]).note(note))
}

async fn encodes(sizes: &Sizes, arrange: impl Fn(&mut Vec<RawRow>)) -> anyhow::Result<Encodes> {
    let fleet = Fleet::start().await?;
    let store = fleet.store(&fleet.endpoint()).await?;
    let mut rows: Vec<RawRow> = grid(&store, sizes).await?.rows().collect();
    arrange(&mut rows);
    let batch = batch::start(&fleet.queue, &store, sizes.shard, rows).await?;
    let mut workers: Vec<(Running, ItemLog)> = Vec::new();
    for _ in 0..WORKERS {
        let queue = fleet::connect(&fleet.redis.url()).await?;
        let (store, items) = (fleet.store(&fleet.endpoint()).await?, ItemLog::default());
        let (settings, log) = (Settings::default(), StepLog::default());
        let worker = fleet::worker_watched(queue, store, SCRIPT, settings, items.clone(), log).await?;
        workers.push((worker, items));
    }
    batch::until_made(&fleet.queue, &batch).await?;
    let (mut all, mut pairs, mut different) = (0.0, 0, HashSet::new());
    for (worker, items) in workers {
        all += misses(&worker.registry);
        pairs += items.items().len();
        different.extend(items.items());
        worker.stop().await?;
    }
    fleet.stop().await?;
    Ok(Encodes { all, different: different.len() as f64, pairs: pairs as f64 })
}

/// Features that a worker had to compute.
fn misses(registry: &Registry) -> f64 {
    let families = registry.gather();
    let features = families.iter().filter(|family| family.name() == "uso_device_features_total");
    let counters = features.flat_map(|family| family.get_metric());
    let missed = counters.filter(|metric| metric.get_label().iter().any(|label| label.value() == "no"));
    missed.map(|metric| metric.get_counter().get_value()).sum()
}

/// A grid whose references lie in the store. Each subject has prompts of its own.
async fn grid(store: &Store, sizes: &Sizes) -> anyhow::Result<Grid> {
    let (subjects, styles, prompts) = sizes.grid;
    let mut named = [Vec::new(), Vec::new()];
    for (named, (kind, count)) in named.iter_mut().zip([("subject", subjects), ("style", styles)]) {
        for number in 0..count {
            let name = format!("{kind}{number}");
            let image = Image { width: 16, height: 16, rgb: bare_noise() };
            let key = format!("references/{name}.png");
            let stored = store.put(&key, "image/png", image.to_png(&[])?.into()).await?;
            named.push(json!({ "name": name, "image": stored.uri }));
        }
    }
    let [subjects, styles] = named;
    let prompts: Vec<String> = (0..prompts).map(|view| format!("A {{subject.name}}, view {view}")).collect();
    let fixed = json!({ "steps": 1, "width": 64, "height": 64, "content_size": 16 });
    // JSON is YAML too.
    let text = json!({ "subjects": subjects, "styles": styles, "prompts": prompts, "fixed": fixed });
    Ok(Grid::parse(&text.to_string())?)
}

fn bare_noise() -> Vec<u8> {
    super::bare::noise(16 * 16 * 3).to_vec()
}
