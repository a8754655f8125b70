//! Creating data sets against a small API that keeps rows as the real one does.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as At, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use clap::Parser as _;
use serde_json::{Map, Value, json};
use uso_dataset::rows::{Checker, Options, RawRow, Row};
use uso_queue::Defaults;

use super::new_rows::NewRows;
use super::*;
use crate::args::{BatchCommand, Cli, Command};
use crate::client::Client;

/// What the API keeps.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) chunks: Vec<Vec<Row>>,
    pub(super) started: u64,
    uploads: u64,
    pub(super) replacements: u64,
    pub(super) discards: u64,
    /// A manifest, and what becomes of it once a chunk is there.
    pub(super) changes: Option<(std::path::PathBuf, String)>,
    address: String,
    /// Whether the next rows are added without an answer that says so.
    loses_answer: bool,
}

type Shared = State<Arc<Mutex<Kept>>>;

fn body(value: Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn refusal(status: StatusCode, value: Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/problem+json")], value.to_string()).into_response()
}

impl Kept {
    pub(super) fn rows(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }

    /// Whether a chunk of these rows begins with this one.
    fn begins(&self, from: u64, rows: &[Row]) -> bool {
        let mut first = 0;
        self.chunks.iter().any(|chunk| {
            let begins = first == from && chunk == rows;
            first += chunk.len() as u64;
            begins
        })
    }

    fn keys(&self) -> Vec<String> {
        self.chunks.iter().flatten().map(|row| row.key.clone()).collect()
    }
}

/// A second lock in one statement would wait for the first for ever.
pub(super) fn look<T>(kept: &Mutex<Kept>, at: impl FnOnce(&Kept) -> T) -> T {
    at(&kept.lock().unwrap())
}

async fn capabilities() -> Response {
    body(json!({
        "defaults": { "width": 64, "height": 64, "steps": 8, "guidance": 4.0, "content_size": 64 },
        "limits": { "step_cache": [0.0, 0.0], "upload_bytes": 1000 },
    }))
}

fn read(rows: &[u8]) -> Vec<Row> {
    let mut checker = Checker::new(Defaults::default(), Options::default());
    let lines = rows.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows: Vec<Row> = (1..)
        .zip(lines)
        .map(|(line, text)| {
            let fields = serde_json::from_slice(text).unwrap();
            checker.check(RawRow { line, fields, labels: Map::new() }).unwrap()
        })
        .collect();
    assert!((1..=1000).contains(&rows.len()), "{}", rows.len());
    rows
}

/// Rows with the word "made" in their keys stay as they are.
async fn replace(State(kept): Shared, At(number): At<usize>, rows: Bytes) -> Response {
    let (mut kept, mut stay) = (kept.lock().unwrap(), Vec::new());
    kept.replacements += 1;
    for row in read(&rows) {
        if row.key.contains("made") {
            stay.push(json!({ "key": row.key, "reason": "succeeded", "message": "has its picture" }));
        } else {
            let old = kept.chunks[number].iter_mut().find(|old| old.key == row.key);
            *old.expect("the row is in another chunk") = row;
        }
    }
    body(json!({ "rows": 0, "kept": stay }))
}

async fn discard(State(kept): Shared, Query(query): Query<Map<String, Value>>) -> Response {
    let mut kept = kept.lock().unwrap();
    let from: u64 = query["from"].as_str().unwrap().parse().unwrap();
    while kept.rows() > from {
        kept.chunks.pop();
    }
    kept.discards += 1;
    body(json!({ "rows": kept.rows() }))
}

async fn add(State(kept): Shared, Query(query): Query<Map<String, Value>>, rows: Bytes) -> Response {
    let rows = read(&rows);
    if let Some(row) = rows.iter().find(|row| row.job.prompt == "forbidden") {
        let pointer = format!("/{}/prompt", row.line);
        let errors = json!([{ "pointer": pointer, "code": "c", "message": "is forbidden here" }]);
        return refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({ "code": "invalid_fields", "errors": errors }),
        );
    }
    let mut kept = kept.lock().unwrap();
    let from: u64 = query["from"].as_str().unwrap().parse().unwrap();
    if kept.begins(from, &rows) {
        return body(json!({ "rows": from + rows.len() as u64, "fresh": false }));
    }
    if from != kept.rows() {
        return refusal(StatusCode::CONFLICT, json!({ "code": "rows_moved", "rows": kept.rows() }));
    }
    kept.chunks.push(rows);
    if let Some((path, text)) = kept.changes.take() {
        std::fs::write(path, text).unwrap();
    }
    if std::mem::take(&mut kept.loses_answer) {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, json!({}));
    }
    body(json!({ "rows": kept.rows(), "fresh": true }))
}

async fn chunk(State(kept): Shared, At(number): At<usize>) -> Response {
    let kept = kept.lock().unwrap();
    let Some(rows) = kept.chunks.get(number) else { return refusal(StatusCode::NOT_FOUND, json!({})) };
    let line = |row: &Row| json!({ "key": row.key, "digest": row.digest }).to_string() + "\n";
    rows.iter().map(line).collect::<String>().into_response()
}

async fn start(State(kept): Shared, bytes: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&bytes).unwrap();
    kept.lock().unwrap().started = asked["rows"].as_u64().unwrap();
    body(json!({}))
}

async fn upload(State(kept): Shared) -> Response {
    let mut kept = kept.lock().unwrap();
    kept.uploads += 1;
    let id = format!("01890a5d-ac96-774b-bcce-{:012}", kept.uploads);
    body(json!({ "url": format!("{}/put", kept.address), "source": format!("upload:{id}"), "headers": {} }))
}

/// Serves the API; gives its address and what it keeps.
pub(super) async fn api() -> (String, Arc<Mutex<Kept>>) {
    let kept = Arc::<Mutex<Kept>>::default();
    let routes = Router::new()
        .route("/v1/capabilities", get(capabilities))
        .route("/v1/batches", post(|| async { body(json!({ "id": "0-a", "fresh": true, "rows": 0 })) }))
        .route("/v1/batches/0-a/rows", put(add).delete(discard))
        .route("/v1/batches/0-a/chunks/{number}", get(chunk).put(replace))
        .route("/v1/batches/0-a/start", post(start))
        .route("/v1/uploads", post(upload))
        .route("/put", put(|| async {}))
        .with_state(kept.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    kept.lock().unwrap().address = address.clone();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (address, kept)
}

fn args(address: &str, manifest: &Path, more: &[&str]) -> CreateBatchArgs {
    let said = ["uso", "batch", "create", manifest.to_str().unwrap(), "--api", address];
    let cli = Cli::parse_from(said.iter().chain(more));
    let Command::Batch(args) = cli.command else { panic!("another command") };
    let BatchCommand::Create(create) = args.command else { panic!("another command") };
    *create
}

pub(super) async fn create(address: &str, manifest: &Path, more: &[&str]) -> anyhow::Result<()> {
    let batches = Batches { client: Client::new(address, None)?, json: true };
    batches.create(args(address, manifest, more)).await
}

pub(super) fn manifest(folder: &Path, rows: impl Iterator<Item = Value>) -> std::path::PathBuf {
    let path = folder.join("foxes.jsonl");
    std::fs::write(&path, rows.map(|row| row.to_string() + "\n").collect::<String>()).unwrap();
    path
}

pub(super) fn prompts(count: u64) -> impl Iterator<Item = Value> {
    (0..count).map(|number| json!({ "prompt": format!("fox {number}"), "key": format!("fox-{number}") }))
}

#[tokio::test]
async fn rows_are_sent_once_and_new_ones_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    create(&address, &manifest(folder.path(), prompts(2500)), &[]).await.unwrap();
    let sizes = |kept: &Kept| kept.chunks.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(look(&kept, sizes), [1000, 1000, 500]);
    create(&address, &manifest(folder.path(), prompts(2500)), &[]).await.unwrap();
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.started)), (2500, 2500));

    let more = json!({ "prompt": "first", "key": "first" });
    create(&address, &manifest(folder.path(), std::iter::once(more).chain(prompts(2501))), &[])
        .await
        .unwrap();
    let kept = kept.lock().unwrap();
    assert_eq!((sizes(&kept), kept.started), (vec![1000, 1000, 500, 2], 2502));
    assert_eq!(kept.keys()[2500..], ["first", "fox-2500"]);
}

#[tokio::test]
async fn what_was_interrupted_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    let manifest = manifest(folder.path(), prompts(2500));
    create(&address, &manifest, &[]).await.unwrap();
    let expected = kept.lock().unwrap().keys();
    kept.lock().unwrap().chunks.truncate(1);
    kept.lock().unwrap().started = 0;
    create(&address, &manifest, &[]).await.unwrap();
    assert_eq!(look(&kept, |kept| (kept.keys(), kept.started)), (expected, 2500));
}

#[tokio::test]
async fn changed_rows_are_refused_and_nothing_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    create(&address, &manifest(folder.path(), prompts(3)), &[]).await.unwrap();
    let changed = json!({ "prompt": "another fox", "key": "fox-1" });
    let rows = std::iter::once(changed).chain(prompts(5).skip(2));
    let refused = create(&address, &manifest(folder.path(), rows), &[]).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("line 1: row fox-1 asks for something else than before\n1 rows"),
        "{refused}"
    );
    assert_eq!(kept.lock().unwrap().rows(), 3);
}

#[tokio::test]
async fn a_bad_row_starts_nothing_unless_bad_rows_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    let bad = [json!({ "prompt": "a", "steps": 0 }), json!({ "prompt": "forbidden" })];
    let refused = create(&address, &manifest(folder.path(), prompts(2).chain(bad.clone())), &[]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("line 3: steps: 0 is not within 1 to 100\nnothing was started"), "{refused}");
    let refused = create(&address, &manifest(folder.path(), prompts(2).chain(bad[1..].to_vec())), &[]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("line 3: prompt: is forbidden here\nnothing was started"), "{refused}");
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.started)), (0, 0));

    let manifest = manifest(folder.path(), bad.into_iter().chain(prompts(2)));
    create(&address, &manifest, &["--on-bad", "skip"]).await.unwrap();
    assert_eq!(
        look(&kept, |kept| (kept.keys(), kept.started)),
        (vec!["fox-0".to_owned(), "fox-1".to_owned()], 2)
    );
}

#[tokio::test]
async fn a_second_row_with_a_key_names_the_line_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = api().await;
    let rows = prompts(2).chain([json!({ "prompt": "another fox", "key": "fox-0" })]);
    let refused = create(&address, &manifest(folder.path(), rows), &[]).await.unwrap_err().to_string();
    let expected = "line 3: key: line 1 has the same key, and asks for something else\n";
    assert!(refused.starts_with(expected), "{refused}");
}

#[tokio::test]
async fn a_row_without_the_field_of_the_split_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    let row = json!({ "prompt": "a fox", "metadata": { "subject": "fox" } });
    let manifest = manifest(folder.path(), std::iter::once(row));
    let by = |field| ["--split-val", "0.5", "--split-by", field];
    let refused = create(&address, &manifest, &by("subjects")).await.unwrap_err().to_string();
    let expected = "line 1: metadata/subjects: is missing; the data set is split by it\nnothing was started";
    assert!(refused.starts_with(expected), "{refused}");
    create(&address, &manifest, &by("subject")).await.unwrap();
    assert_eq!(kept.lock().unwrap().rows(), 1);
}

#[tokio::test]
async fn two_at_once_make_the_same_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    let manifest = manifest(folder.path(), prompts(4500));
    let (one, other) = tokio::join!(create(&address, &manifest, &[]), create(&address, &manifest, &[]));
    one.and(other).unwrap();
    let kept = kept.lock().unwrap();
    let expected: Vec<String> = (0..4500).map(|number| format!("fox-{number}")).collect();
    assert_eq!((kept.keys(), kept.started), (expected, 4500));
}

#[tokio::test]
async fn rows_that_somebody_else_has_added_do_not_count_as_new() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    let manifest = manifest(folder.path(), prompts(1500));
    let client = Client::new(&address, None).unwrap();
    let send = async || {
        let args = args(&address, &manifest, &[]);
        let input = Arc::new(Input::open(&args, &FleetFacts::unknown("")).unwrap());
        let mut sender = Sender::new(&client, "0-a", false, BadRows::new("line"));
        sender.begin(0, 0);
        assert_eq!(sender.send(&input, NewRows::everything()).await.unwrap(), Ended::AllThere);
        (sender.rows, sender.passed)
    };
    // Its first rows are its own, though it asks for them twice.
    kept.lock().unwrap().loses_answer = true;
    assert_eq!(send().await, (1500, 0));
    assert_eq!(send().await, (1500, 1500));
    assert_eq!(kept.lock().unwrap().rows(), 1500);
}

#[tokio::test]
async fn a_picture_is_uploaded_once_and_its_content_is_what_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (address, kept) = api().await;
    let picture = |name: &str, more: &[u8]| {
        std::fs::write(folder.path().join(name), [b"\x89PNG\r\n\x1a\n", more].concat()).unwrap();
    };
    picture("fox.png", b"fox");
    picture("copy.png", b"fox");
    let rows = || {
        let row = |seed: u64, name: &str| json!({ "content": name, "seed": seed, "key": format!("{name}-{seed}").replace('.', "_") });
        (0..1000).map(move |seed| row(seed, "fox.png")).chain([row(0, "copy.png")])
    };
    create(&address, &manifest(folder.path(), rows()), &[]).await.unwrap();
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.uploads)), (1001, 1));
    let first = kept.lock().unwrap().chunks.concat();
    assert!(first.iter().all(|row| row.job.content == first[0].job.content));

    // Without what was uploaded before, the rows are the same.
    create(&address, &manifest(folder.path(), rows()), &[]).await.unwrap();
    assert_eq!(look(&kept, |kept| (kept.rows(), kept.uploads)), (1001, 1));
    kept.lock().unwrap().chunks.clear();
    create(&address, &manifest(folder.path(), rows()), &[]).await.unwrap();
    let again = kept.lock().unwrap().chunks.concat();
    let ids = |rows: &[Row]| rows.iter().map(|row| (row.key.clone(), row.digest)).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&first));
    assert_ne!(again[0].job.content, first[0].job.content, "it is another upload");

    picture("fox.png", b"another fox");
    let refused = create(&address, &manifest(folder.path(), rows()), &[]).await.unwrap_err().to_string();
    assert!(refused.contains("and 900 more changed rows\n1000 rows ask for something else"), "{refused}");
}

#[test]
fn a_data_set_is_called_as_its_manifest() {
    for (manifest, name) in [
        ("foxes.jsonl", "foxes"),
        ("a/b/foxes.v2.csv", "foxes.v2"),
        ("s3://bucket/sets/foxes.parquet", "foxes"),
        ("foxes", "foxes"),
    ] {
        assert_eq!(stem(manifest).unwrap(), name);
    }
    assert!(stem("folder/").is_err());
}
