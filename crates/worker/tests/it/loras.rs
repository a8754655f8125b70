//! Jobs that ask for LoRAs: who samples them, and what is said of it.

use std::path::Path;

use serde_json::{Value, json};
use uso_engine::device::{DType, Device};
use uso_engine::{ModelConfig, ModelFiles, Setup, Uso};
use uso_queue::{Blocked, JobId, JobView, State};
use uso_worker::{Condition, DeviceThread, Sharing};

use crate::fixture::{Fixture, Running, long_job};

fn asking(mut job: Value, weight: f64) -> Value {
    job["loras"] = json!([{ "name": "ink", "weight": weight }]);
    job
}

fn sha256(view: &JobView) -> &str {
    assert_eq!(view.state, State::Succeeded, "{:?}", view.error);
    &view.output.as_ref().unwrap().sha256
}

#[tokio::test]
async fn a_job_goes_to_the_worker_that_has_its_lora_and_is_blocked_until_there_is_one() {
    let fixture = Fixture::start().await;
    let plain = fixture.scripted("loras=oil").await;
    let job = json!({ "prompt": "a red star", "steps": 4, "seed": 1 });
    let id = fixture.submit(&asking(job.clone(), 0.5)).await;
    let other = fixture.submit(&job).await;
    assert_eq!(fixture.ended(&other).await.state, State::Succeeded, "it was held up");
    let view = fixture.until(&id, |view| view.blocked.is_some()).await;
    assert_eq!((view.state, view.attempt), (State::Queued, 0));
    assert_eq!(view.blocked, Some(Blocked::Loras { loras: vec!["ink".into()] }));

    let able = fixture.scripted("loras=ink+oil").await;
    let view = fixture.ended(&id).await;
    assert_eq!((view.attempt, &view.blocked), (1, &None));
    assert_ne!(sha256(&view), sha256(&fixture.view(&other).await), "the LoRA is part of the request");
    let mut told: Vec<Vec<String>> = Vec::new();
    for (_, _, report) in fixture.queue.workers().await.unwrap() {
        told.push(report.loras.into_iter().map(|lora| lora.name).collect());
    }
    told.sort();
    assert_eq!(told, [vec!["ink".to_owned(), "oil".to_owned()], vec!["oil".to_owned()]]);
    plain.stop().await;
    able.stop().await;
}

/// A LoRA `ink` for the bundled model, of numbers of that size.
fn write_lora(folder: &Path, size: f32) {
    let hidden = ModelConfig::read(&ModelFiles::Bundled).unwrap().flux.hidden_size;
    let bytes = 4 * 4 * hidden;
    let tensor = |shape: [usize; 2], start| json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, start + bytes] });
    let header = json!({
        "double_blocks.0.img_attn.proj.lora_A.weight": tensor([4, hidden], 0),
        "double_blocks.0.img_attn.proj.lora_B.weight": tensor([hidden, 4], bytes),
    });
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    let numbers = uso_engine::noise::normal(7, 2 * 4 * hidden);
    file.extend(numbers.into_iter().flat_map(|number| (number * size).to_le_bytes()));
    std::fs::write(folder.join("ink.safetensors"), file).unwrap();
}

/// A worker with the bundled model and the LoRAs of a folder.
async fn worker(fixture: &Fixture, folder: &Path) -> Running {
    let lora_folder = Some(folder.to_owned());
    let setup = Setup { lora_folder, ..Setup::new(Device::Cpu, DType::F32) };
    let load = move || Uso::load_with(&ModelFiles::Bundled, &setup);
    fixture.run(DeviceThread::start(load, Sharing::default(), Condition::default()).await.unwrap())
}

async fn sampled(fixture: &Fixture, job: &Value) -> (JobId, JobView) {
    let id = fixture.submit(job).await;
    (id, fixture.ended(&id).await)
}

#[tokio::test]
async fn receipt_and_sidecar_say_with_which_numbers_it_was_sampled() {
    let fixture = Fixture::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_lora(folder.path(), 0.3);
    let worker = worker(&fixture, folder.path()).await;
    let job = json!({ "prompt": "a red star", "steps": 2, "seed": 1 });
    let (_, plain) = sampled(&fixture, &job).await;
    let (_, with) = sampled(&fixture, &asking(job.clone(), 0.5)).await;
    let (_, again) = sampled(&fixture, &job).await;
    assert_ne!(sha256(&with), sha256(&plain), "it has no effect");
    assert_eq!(sha256(&again), sha256(&plain), "it stayed behind");

    let (_, _, report) = fixture.queue.workers().await.unwrap().pop().unwrap();
    let used = json!([{ "name": "ink", "weight": 0.5, "digest": report.loras[0].digest }]);
    let output = with.output.unwrap();
    assert_eq!(json!(output.receipt.loras), used);
    let sidecar: Value = serde_json::from_slice(&fixture.object(&output.sidecar)).unwrap();
    assert_eq!((&sidecar["parameters"]["loras"], &sidecar["receipt"]["loras"]), (&used, &used));
    let sidecar: Value = serde_json::from_slice(&fixture.object(&plain.output.unwrap().sidecar)).unwrap();
    assert_eq!(sidecar["parameters"].get("loras"), None);
    worker.stop().await;
}

/// Begins a job with a LoRA, has it handed back partial, and ended by a worker that has a LoRA of that name whose
/// numbers are that large.
async fn gone_on_with(size: f32) -> u32 {
    let mut fixture = Fixture::start().await;
    fixture.settings.grace = std::time::Duration::ZERO;
    let folder = tempfile::tempdir().unwrap();
    write_lora(folder.path(), 0.3);
    let first = worker(&fixture, folder.path()).await;
    let id = fixture.submit(&asking(long_job(), 1.0)).await;
    fixture.until(&id, |view| view.step >= 3).await;
    first.stop().await;
    assert!(fixture.view(&id).await.checkpoint.is_some(), "nothing is left of what was sampled");

    let folder = tempfile::tempdir().unwrap();
    write_lora(folder.path(), size);
    let second = worker(&fixture, folder.path()).await;
    let view = fixture.ended(&id).await;
    let (_, whole) = sampled(&fixture, &asking(long_job(), 1.0)).await;
    assert_eq!(sha256(&view), sha256(&whole), "half of it is another LoRA's");
    second.stop().await;
    view.output.unwrap().receipt.resumed_from
}

#[tokio::test]
async fn a_partially_sampled_picture_goes_on_only_where_the_lora_has_the_same_numbers() {
    assert!(gone_on_with(0.3).await >= 3, "it began anew");
    assert_eq!(gone_on_with(0.2).await, 0, "it went on with another LoRA");
}
