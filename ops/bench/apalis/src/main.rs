//! apalis' side of `uso-bench queue`. The last line on stdout says how long the counted jobs took.
//!
//! `apalis-bench URL PAYLOAD bulk WARM JOBS CHUNK` submits with `push_bulk`.

use std::error::Error;
use std::time::Instant;

use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use serde::{Deserialize, Serialize};

/// The same fields as a job of ours.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    prompt: String,
    content: Option<String>,
    styles: Vec<String>,
    width: u32,
    height: u32,
    keep_size: bool,
    steps: u32,
    guidance: f64,
    content_size: u32,
    seed: u64,
    format: String,
    class: String,
    priority: i32,
    metadata: Metadata,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Metadata {
    order: String,
}

#[derive(Deserialize)]
struct Payload {
    job: Job,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, payload, verb, warm, jobs, chunk] = args.as_slice() else {
        return Err("usage: apalis-bench URL PAYLOAD bulk WARM JOBS CHUNK".into());
    };
    if verb != "bulk" {
        return Err(format!("{verb} is not measured").into());
    }
    let Payload { job } = serde_json::from_slice(&std::fs::read(payload)?)?;
    let (warm, jobs, chunk) = (warm.parse()?, jobs.parse()?, chunk.parse()?);
    let connection = apalis_redis::connect(url.as_str()).await?;
    let mut storage: RedisStorage<Job> =
        RedisStorage::new(connection).with_config(Config::default().queue("bench"));
    submit(&mut storage, &job, warm, chunk).await?;
    let begun = Instant::now();
    submit(&mut storage, &job, jobs, chunk).await?;
    println!(r#"{{"jobs":{jobs},"seconds":{}}}"#, begun.elapsed().as_secs_f64());
    Ok(())
}

async fn submit(
    storage: &mut RedisStorage<Job>,
    job: &Job,
    jobs: u64,
    chunk: usize,
) -> Result<(), Box<dyn Error>> {
    let seeds: Vec<u64> = (job.seed..job.seed + jobs).collect();
    for seeds in seeds.chunks(chunk) {
        storage.push_bulk(seeds.iter().map(|seed| Job { seed: *seed, ..job.clone() }).collect()).await?;
    }
    Ok(())
}
