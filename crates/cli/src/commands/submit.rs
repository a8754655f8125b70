mod blocked;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{check_place, save, say};
use crate::args::{PictureArgs, SubmitArgs};
use crate::client::Client;
use crate::progress;

/// How often a lost event stream is reopened, a second apart, without getting an event.
const RETRIES: u32 = 60;

pub(crate) async fn run(args: SubmitArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.api, args.api_key.clone())?;
    let format = args.file.of(args.out.as_deref())?;
    if let Some(out) = args.out.as_deref().filter(|_| !args.no_wait) {
        check_place(out)?;
    }
    let mut job = job(&client, &args).await?;
    job["format"] = format.as_str().into();
    let accepted = client.submit(&job).await?;
    let id = accepted["id"].as_str().context("the API's answer has no job id")?;
    if args.no_wait {
        return say(id);
    }
    let bar = progress::bar(accepted["spec"]["steps"].as_u64().unwrap_or_default());
    blocked::said_during(wait(&client, id, &bar), &client, id, &bar).await?;

    let view = client.view(id).await?;
    if view["state"] != "succeeded" {
        let reason = view["error"]["message"].as_str().unwrap_or("no reason was given");
        bail!("job {id} {}: {reason}", view["state"].as_str().unwrap_or("ended"));
    }
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{id}.{}", format.ending())));
    save(&out, &client.result(id).await?)?;
    say(&format!("{} (job {id}, seed {})", out.display(), view["spec"]["seed"]))
}

/// The request body. What was left out gets the fleet's defaults.
async fn job(client: &Client, args: &SubmitArgs) -> anyhow::Result<Value> {
    let PictureArgs { prompt, content, style, sampling, seed, keep_size, step_cache } = &args.picture;
    let mut styles = Vec::new();
    for name in style {
        styles.push(source(client, name).await?);
    }
    let mut job = sampling.fields();
    job.insert("prompt".into(), json!(prompt));
    job.insert("styles".into(), json!(styles));
    job.insert("loras".into(), json!(args.lora));
    job.insert("class".into(), json!(args.class));
    job.insert("keep_size".into(), json!(keep_size));
    if let Some(name) = content {
        job.insert("content".into(), json!(source(client, name).await?));
    }
    let numbers = [
        ("seed", seed.map(Value::from)),
        ("step_cache", step_cache.map(Value::from)),
        ("quality", args.file.quality.map(Value::from)),
    ];
    job.extend(numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(job.into())
}

/// A source that the store already has, as it is; a local file is uploaded first.
async fn source(client: &Client, name: &str) -> anyhow::Result<String> {
    if name.starts_with("s3://") || name.starts_with("upload:") {
        return Ok(name.to_owned());
    }
    client.upload(Path::new(name)).await
}

/// Follows a job to its end, and shows its steps. Reconnects if the event stream breaks off.
pub(super) async fn wait(client: &Client, id: &str, bar: &ProgressBar) -> anyhow::Result<()> {
    bar.set_message("queued");
    let (mut after, mut over, mut failures) = (None, false, 0);
    while !over {
        let mut got_event = false;
        let followed = client
            .events(id, after.clone().as_deref(), |event| {
                got_event = true;
                let state = event.data["state"].as_str().unwrap_or(&event.name);
                over = matches!(state, "succeeded" | "failed" | "canceled" | "expired");
                if let Some(step) = event.data["step"].as_u64() {
                    bar.set_position(step);
                }
                bar.set_message(state.to_owned());
                after = Some(event.id);
            })
            .await;
        failures = if got_event { 0 } else { failures + 1 };
        match followed {
            // The stream is over, though the last event was missed.
            Ok(()) if !got_event => over = true,
            Ok(()) => {}
            Err(error) if failures > RETRIES => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the event stream was lost");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}
