//! How soon a client hears that Redis is gone.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::http::Connection;
use super::process::Process;
use super::sizes::Sizes;
use crate::figure::{Figure, Findings, Goal, Row, written};
use crate::fleet::Fleet;

const BODY: &str = r#"{"prompt":"a red star"}"#;

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "outage",
    about: "How soon a client hears that Redis is gone",
    rows: &[Row {
        name: |_| "Redis gone: time to the 503, longest of 5".into(),
        unit: "s",
        goal: Goal::AtMost(1.0),
    }],
    measure: |_| Box::pin(measure()),
};

async fn measure() -> anyhow::Result<Findings> {
    let mut fleet = Fleet::start().await?;
    let api = Process::start(&fleet).await?;
    let mut connection = Connection::open(&api.address).await?;
    connection.json("POST", "/v1/jobs", BODY).await?;
    fleet.redis.kill().await?;
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        let asked = Instant::now();
        let (status, body) = connection.ask("POST", "/v1/jobs", BODY).await?;
        longest = longest.max(asked.elapsed());
        ensure!(status == 503, "without Redis: {status}: {}", String::from_utf8_lossy(&body));
    }
    let longest = longest.as_secs_f64();
    Ok(Findings::of([longest]).note(format!("outage: {} s", written(longest))))
}
