//! Pulling from a small API and store.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path as At, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::client::Client;

/// A tar of this size.
const TAR: usize = 300_000;
const ID: &str = "0-01890a5d-ac96-8000-8000-000000000000";

/// What the store has, and how often it was asked for bytes from where.
#[derive(Default)]
struct Store {
    address: String,
    /// Sends zeros in place of the tar.
    is_damaged: bool,
    /// Ends each answer after so many bytes.
    breaks_after: Option<usize>,
    /// Requests for the tar by their first byte.
    asked: Vec<usize>,
    /// Links with another version than this have expired.
    version: u64,
}

type Shared = State<Arc<Mutex<Store>>>;

fn tar() -> Vec<u8> {
    (0..TAR).map(|place| (place * 7 % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn index() -> String {
    let shard = json!({
        "shard": 0, "file": "00000.tar", "rows": 1, "bytes": TAR, "sha256": sha256(&tar()),
        "row_file": "_meta/00000.parquet", "row_file_bytes": 4, "row_file_sha256": sha256(b"rows"),
    });
    json!({ "batch": ID, "rows": 1, "bytes": TAR, "total": {}, "shards": [shard] }).to_string()
}

async fn files(State(store): Shared) -> Response {
    let store = store.lock().unwrap();
    let file = |name: &str, bytes: usize, sha256: Option<String>| {
        let url = format!("{}/get/{}/{name}", store.address, store.version);
        json!({ "name": name, "bytes": bytes, "sha256": sha256, "url": url })
    };
    let files: Vec<Value> = vec![
        file("00000.tar", TAR, Some(sha256(&tar()))),
        file("00001.tar", 1, Some(sha256(b"x"))),
        file("README.md", 4, None),
        file("_meta/00000.parquet", 4, Some(sha256(b"rows"))),
        file("index.json", index().len(), None),
    ];
    json!({ "files": files, "next": null }).to_string().into_response()
}

async fn file(State(store): Shared, At((version, name)): At<(u64, String)>, headers: HeaderMap) -> Response {
    let mut store = store.lock().unwrap();
    if version != store.version {
        return StatusCode::FORBIDDEN.into_response();
    }
    let bytes = match name.as_str() {
        "00000.tar" if store.is_damaged => vec![0; TAR],
        "00000.tar" => tar(),
        "_meta/00000.parquet" => b"rows".to_vec(),
        // The data set grows while the tar is pulled.
        "README.md" if !store.asked.is_empty() => b"later card".to_vec(),
        "README.md" => b"card".to_vec(),
        "index.json" => index().into_bytes(),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let range = headers.get(header::RANGE).and_then(|range| {
        range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let from = range.unwrap_or(0);
    if name == "00000.tar" {
        store.asked.push(from);
        if store.asked.len() == 1 && store.breaks_after.is_some() {
            store.version += 1;
        }
    }
    let until = store.breaks_after.map_or(bytes.len(), |most| bytes.len().min(from + most));
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    (status, bytes[from..until].to_vec()).into_response()
}

async fn store() -> (Batches, Arc<Mutex<Store>>) {
    let store = Arc::<Mutex<Store>>::default();
    let routes = Router::new()
        .route(&format!("/v1/batches/{ID}/files"), get(files))
        .route("/get/{version}/{*name}", get(file))
        .with_state(store.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    store.lock().unwrap().address = address.clone();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (Batches { client: Client::new(&address, None).unwrap(), json: true }, store)
}

#[tokio::test]
async fn what_the_index_lists_is_pulled_and_what_is_right_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (batches, store) = store().await;
    batches.pull_into(ID, folder.path()).await.unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!((read("00000.tar"), read("_meta/00000.parquet")), (tar(), b"rows".to_vec()));
    assert_eq!((read("README.md"), read("index.json")), (b"card".to_vec(), index().into_bytes()));
    assert!(!folder.path().join("00001.tar").exists(), "the index does not list it");

    batches.pull_into(ID, folder.path()).await.unwrap();
    assert_eq!(store.lock().unwrap().asked, [0], "it is there");
    std::fs::write(folder.path().join("00000.tar"), vec![0; TAR]).unwrap();
    batches.pull_into(ID, folder.path()).await.unwrap();
    assert_eq!((read("00000.tar"), store.lock().unwrap().asked.clone()), (tar(), vec![0, 0]));
}

#[tokio::test]
async fn a_part_is_resumed_and_a_damaged_one_is_fetched_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let (batches, store) = store().await;
    let part = folder.path().join("00000.tar.part");
    std::fs::write(&part, &tar()[..1000]).unwrap();
    batches.pull_into(ID, folder.path()).await.unwrap();
    assert_eq!(store.lock().unwrap().asked, [1000]);
    assert_eq!(std::fs::read(folder.path().join("00000.tar")).unwrap(), tar());

    std::fs::remove_file(folder.path().join("00000.tar")).unwrap();
    std::fs::write(&part, [0; 1000]).unwrap();
    batches.pull_into(ID, folder.path()).await.unwrap();
    assert_eq!(store.lock().unwrap().asked, [1000, 1000, 0]);
    assert_eq!(std::fs::read(folder.path().join("00000.tar")).unwrap(), tar());

    std::fs::remove_file(folder.path().join("00000.tar")).unwrap();
    store.lock().unwrap().is_damaged = true;
    let refused = batches.pull_into(ID, folder.path()).await.unwrap_err();
    assert_eq!(store.lock().unwrap().asked, [1000, 1000, 0, 0, 0]);
    assert!(format!("{refused:#}").contains("00000.tar: its sha256 is not the recorded one"), "{refused:#}");
    assert!(!part.exists() && !folder.path().join("00000.tar").exists());
}

#[tokio::test]
async fn a_folder_of_another_data_set_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (batches, _) = store().await;
    let place = |name: &str| folder.path().join(name);
    let refused = async || batches.pull_into(ID, folder.path()).await.unwrap_err().to_string();
    std::fs::write(place("00000.tar"), "another").unwrap();
    let said = refused().await;
    assert!(said.contains(ID) && said.contains("00000.tar"), "{said}");
    std::fs::write(place("index.json"), r#"{ "batch": "0-other" }"#).unwrap();
    let said = refused().await;
    let expected = format!("{} holds the data set 0-other, not {ID}", folder.path().display());
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(std::fs::read(place("00000.tar")).unwrap(), b"another");
    assert!(!place("README.md").exists());

    // A run that was interrupted had no index yet.
    std::fs::remove_file(place("index.json")).unwrap();
    std::fs::write(place("00000.tar"), tar()).unwrap();
    std::fs::write(place("00009.tar"), "another").unwrap();
    assert!(refused().await.contains("00009.tar"));
    std::fs::remove_file(place("00009.tar")).unwrap();
    batches.pull_into(ID, folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_goes_on_under_a_new_link() {
    let folder = tempfile::tempdir().unwrap();
    let (batches, store) = store().await;
    store.lock().unwrap().breaks_after = Some(TAR / 2 + 1);
    batches.pull_into(ID, folder.path()).await.unwrap();
    assert_eq!(store.lock().unwrap().asked, [0, TAR / 2 + 1]);
    assert_eq!(std::fs::read(folder.path().join("00000.tar")).unwrap(), tar());
}
