//! What a step costs beside itself.

use std::time::{Duration, Instant};

use serde_json::Value;
use uso_queue::{EventKind, EventTail};
use uso_worker::Activity;

use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::Fleet;

const STEPS: u32 = 100;
/// Short, or what happens every second anyway would be counted to the steps.
const SCRIPT: &str = "step=2ms";

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "cost",
    about: "What a step costs beside itself",
    rows: &[Row {
        name: |_| "scheduling cost a step: processor time of worker and Redis".into(),
        unit: "ms",
        goal: Goal::AtMost(0.3),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let worker = fleet.worker(fleet.store(&fleet.endpoint()).await?, SCRIPT).await?;
    let mut resp = fleet.redis.resp()?;
    let mut redis = || -> anyhow::Result<Duration> { resp.processor_time() };
    let (begun, own_before, redis_before) = (Instant::now(), own()?, redis()?);
    let mut tail = fleet.queue.tail(0, None).await?;
    let mut jobs = Vec::new();
    for _ in 0..sizes.steps.div_ceil(STEPS as usize) {
        jobs.push(fleet.submit("bulk", STEPS, Value::Null).await?.0);
    }
    while (worker.clock.times(Activity::Step) as usize) < sizes.steps {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (wall, own_after, redis_after) = (begun.elapsed(), own()?, redis()?);
    for job in &jobs {
        fleet.ended(job).await?;
    }
    let reported = reported(&fleet, &mut tail, jobs.len() * STEPS as usize).await?;
    let done = worker.clock.times(Activity::Step) as f64;
    let each = |time: Duration| time.as_secs_f64() * 1e3 / done;
    let (own, redis) = (each(own_after - own_before), each(redis_after - redis_before));
    let between = each(wall.saturating_sub(worker.clock.spent(Activity::Step)));
    worker.stop().await?;
    fleet.stop().await?;
    Ok(Findings::of([own + redis]).note(format!(
        "cost a step, ms: {} in the worker, {} in Redis; {} pass between two steps, jobs' ends included; {} % of the steps were reported",
        written(own),
        written(redis),
        written(between),
        written(100.0 * reported)
    )))
}

/// The share of all steps that the queue was told of.
async fn reported(fleet: &Fleet, tail: &mut EventTail, all: usize) -> anyhow::Result<f64> {
    let (mut steps, end) = (0, fleet.queue.now_ms().await?);
    loop {
        let events = tail.next().await?;
        steps += events.iter().filter(|event| matches!(event.kind, EventKind::Progress { .. })).count();
        if events.is_empty() || tail.position().at_ms() >= end {
            return Ok(steps as f64 / all as f64);
        }
    }
}

/// Processor time of this process.
fn own() -> anyhow::Result<Duration> {
    // In ticks of 10 ms, which is what Linux tells everybody.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    Ok(Duration::from_millis(10 * ticks))
}
