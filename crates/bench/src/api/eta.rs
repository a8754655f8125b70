//! What is estimated at submission, against what happened.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::http::Connection;
use super::process::Process;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::Fleet;
use crate::sides::quantile;

const WORKERS: usize = 2;
const SCRIPT: &str = "encode=30ms,step=20ms,decode=50ms";
/// Two workers finish about three jobs of 10 to 40 steps a second: this keeps them busy.
const PAUSE: Duration = Duration::from_millis(340);

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "eta",
    about: "What is estimated of a job's end against what happens",
    rows: &[Row {
        name: |sizes| format!("ETA at submit against what happened, {} jobs, median error", sizes.estimated),
        unit: "%",
        goal: Goal::AtMost(20.0),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let fleet = Fleet::start().await?;
    let api = Process::start(&fleet).await?;
    let mut connection = Connection::open(&api.address).await?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(fleet.worker(fleet.store(&fleet.endpoint()).await?, SCRIPT).await?);
    }
    // Workers know their pace after some jobs, and report it every three seconds.
    for _ in 0..4 * WORKERS {
        let (job, _) = fleet.submit("interactive", 25, json!({})).await?;
        fleet.ended(&job).await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;

    let mut estimated = Vec::new();
    for number in 0..sizes.estimated {
        let body = json!({ "prompt": "a red star", "steps": 10 + number * 7 % 31 }).to_string();
        let job = connection.json("POST", "/v1/jobs", &body).await?;
        let id = job["id"].as_str().context("no id")?.to_owned();
        let view = connection.json("GET", &format!("/v1/jobs/{id}"), "").await?;
        estimated.push((id, view["eta_ms"].as_f64()));
        tokio::time::sleep(PAUSE).await;
    }
    let mut errors = Vec::new();
    for (id, eta) in estimated {
        let view = fleet.ended(&id.parse()?).await?;
        let took = view.finished_ms.context("it has not ended")? - view.submitted_ms;
        errors.extend(eta.map(|eta| 100.0 * (eta - took as f64).abs() / took as f64));
    }
    for worker in workers {
        worker.stop().await?;
    }
    drop(api);
    fleet.stop().await?;
    let p90 = quantile(&errors, 0.9).map_or_else(String::new, written);
    let note = format!("ETA: known for {} jobs, error at p90 {p90} %", errors.len());
    Ok(Findings::of([quantile(&errors, 0.5)]).note(note))
}
