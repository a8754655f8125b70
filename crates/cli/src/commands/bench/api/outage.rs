//! How soon a client hears that Redis is gone.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::http::Connection;
use super::process::Process;
use crate::commands::bench::report::{Goal, Report, written};
use crate::commands::bench::site::Site;

const BODY: &str = r#"{"prompt":"a red star"}"#;

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let mut site = Site::start().await?;
    let api = Process::start(&site).await?;
    let mut connection = Connection::open(&api.address).await?;
    connection.json("POST", "/v1/jobs", BODY).await?;
    site.server.kill().await?;
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        let asked = Instant::now();
        let (status, body) = connection.ask("POST", "/v1/jobs", BODY).await?;
        longest = longest.max(asked.elapsed());
        ensure!(status == 503, "without Redis: {status}: {}", String::from_utf8_lossy(&body));
    }
    let longest = longest.as_secs_f64();
    report.row("Redis gone: time to the 503, longest of 5", Some(longest), "s", Goal::AtMost(1.0));
    report.note(format!("outage: {} s", written(longest)));
    Ok(())
}
