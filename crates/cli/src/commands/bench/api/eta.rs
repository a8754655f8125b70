//! What is foretold at submission, against what happened.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::Sizes;
use super::http::Connection;
use super::process::Process;
use crate::commands::bench::report::{Goal, Report, written};
use crate::commands::bench::sides::quantile;
use crate::commands::bench::site::Site;

const WORKERS: usize = 2;
const SCRIPT: &str = "encode=30ms,step=20ms,decode=50ms";
/// Two workers draw about three jobs of 10 to 40 steps a second: this keeps them busy.
const PAUSE: Duration = Duration::from_millis(340);

pub(super) async fn measure(sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start().await?;
    let api = Process::start(&site).await?;
    let mut connection = Connection::open(&api.address).await?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(site.worker(site.store(&site.endpoint()).await?, SCRIPT).await?);
    }
    // Workers know their pace after some jobs, and tell it every three seconds.
    for _ in 0..4 * WORKERS {
        let (job, _) = site.submit("interactive", 25, json!({})).await?;
        site.ended(&job).await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;

    let mut foretold = Vec::new();
    for number in 0..sizes.foretold {
        let body = json!({ "prompt": "a red star", "steps": 10 + number * 7 % 31 }).to_string();
        let job = connection.json("POST", "/v1/jobs", &body).await?;
        let id = job["id"].as_str().context("no id")?.to_owned();
        let view = connection.json("GET", &format!("/v1/jobs/{id}"), "").await?;
        foretold.push((id, view["eta_ms"].as_f64()));
        tokio::time::sleep(PAUSE).await;
    }
    let mut errors = Vec::new();
    for (id, eta) in foretold {
        let view = site.ended(&id.parse()?).await?;
        let took = view.finished_ms.context("it has not ended")? - view.submitted_ms;
        errors.extend(eta.map(|eta| 100.0 * (eta - took as f64).abs() / took as f64));
    }
    let figure = format!("ETA at submit against what happened, {} jobs, median error", sizes.foretold);
    report.row(figure, quantile(&errors, 0.5), "%", Goal::AtMost(20.0));
    let p90 = quantile(&errors, 0.9).map_or_else(String::new, written);
    report.note(format!("ETA: known for {} jobs, error at p90 {p90} %", errors.len()));
    for worker in workers {
        worker.stop().await?;
    }
    drop(api);
    site.stop().await
}
