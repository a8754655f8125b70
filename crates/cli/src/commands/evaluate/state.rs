//! What became of each picture so far, kept in the folder of the evaluation.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::log::Log;
use crate::commands::save;

/// Where the pictures lie.
pub(super) const PICTURES: &str = "pictures";

/// A picture that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Its file in [`PICTURES`].
    pub(super) file: String,
    /// Digest of the file in hexadecimal.
    pub(super) sha256: String,
    /// The job that made it.
    pub(super) job: String,
    /// The model, by the job's receipt.
    pub(super) model: String,
    /// Fingerprint of the engine, if the receipt has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    /// The device, by the job's receipt.
    pub(super) worker: String,
    /// Whether it was a test engine.
    pub(super) scripted: bool,
}

/// A request, kept before it is sent, so that it can be sent again as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) api: String,
    pub(super) job: Value,
}

/// What happened to a picture; `picture` is the digest of what is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event {
    /// A job is about to be submitted.
    Asked { picture: String, asked: Asked },
    /// It was accepted.
    Submitted { picture: String, id: String },
    /// It gave the picture, which was stored.
    Made { picture: String, made: Made },
    /// It ended otherwise, or is gone; the next one has a new idempotency key.
    Failed { picture: String, reason: String },
}

#[derive(Debug, Default)]
struct Progress {
    failures: u32,
    asked: Option<Asked>,
    id: Option<String>,
    made: Option<Made>,
}

/// The folder of an evaluation, which one process uses at a time.
pub(super) struct State {
    folder: PathBuf,
    run: String,
    pictures: HashMap<String, Progress>,
    log: Log,
    _lock: File,
}

impl State {
    /// Opens the folder, and makes it if it is missing.
    ///
    /// # Errors
    /// If another process uses it, or its files cannot be used.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use {}", folder.display());
        std::fs::create_dir_all(folder.join(PICTURES)).with_context(cannot)?;
        let lock = File::create(folder.join("lock")).with_context(cannot)?;
        if lock.try_lock().is_err() {
            bail!("another `uso evaluate` uses {}", folder.display());
        }
        let run = run(&folder.join("run.json"))?;
        let (log, events) = Log::open(&folder.join("pictures.jsonl"))?;
        let mut state = Self { folder: folder.to_owned(), run, pictures: HashMap::new(), log, _lock: lock };
        events.into_iter().for_each(|event| state.take(event));
        Ok(state)
    }

    /// Where a picture's file lies.
    pub(super) fn place(&self, file: &str) -> PathBuf {
        self.folder.join(PICTURES).join(file)
    }

    /// Keeps what happened.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn record(&mut self, event: Event) -> anyhow::Result<()> {
        self.log.add(&event)?;
        self.take(event);
        Ok(())
    }

    /// A picture that was made, whether its file is there or not.
    pub(super) fn made(&self, picture: &str) -> Option<&Made> {
        self.pictures.get(picture)?.made.as_ref()
    }

    /// A picture whose file is there and is the one that was made.
    pub(super) fn there(&self, picture: &str) -> Option<&Made> {
        let made = self.made(picture)?;
        let bytes = std::fs::read(self.place(&made.file)).ok()?;
        (hex::encode(Sha256::digest(bytes)) == made.sha256).then_some(made)
    }

    /// A request to an API that has not failed, and its job if that is known.
    pub(super) fn asked(&self, picture: &str, api: &str) -> Option<(Asked, Option<String>)> {
        let progress = self.pictures.get(picture)?;
        let asked = progress.asked.as_ref().filter(|asked| asked.api == api)?;
        Some((asked.clone(), progress.id.clone()))
    }

    /// The idempotency key of the next request for a picture, or of the one that is under way.
    pub(super) fn key(&self, picture: &str) -> String {
        let failures = self.pictures.get(picture).map_or(0, |progress| progress.failures);
        hex::encode(Sha256::digest(format!("{} {picture} {failures}", self.run)))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Asked { picture, asked } => {
                let progress = self.pictures.entry(picture).or_default();
                (progress.asked, progress.id) = (Some(asked), None);
            }
            Event::Submitted { picture, id } => self.pictures.entry(picture).or_default().id = Some(id),
            Event::Made { picture, made } => self.pictures.entry(picture).or_default().made = Some(made),
            Event::Failed { picture, .. } => {
                let progress = self.pictures.entry(picture).or_default();
                *progress = Progress { failures: progress.failures + 1, ..Progress::default() };
            }
        }
    }
}

/// A name for this folder's requests, chosen once: another evaluation gets pictures of its own.
fn run(path: &Path) -> anyhow::Result<String> {
    if !path.exists() {
        let id = format!("{:032x}", fastrand::u128(..));
        save(path, format!("{}\n", json!({ "id": id })).as_bytes())?;
    }
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let run: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is not understood", path.display()))?;
    Ok(run["id"].as_str().with_context(|| format!("{} has no id", path.display()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(file: &str, bytes: &[u8]) -> Made {
        Made {
            file: file.into(),
            sha256: hex::encode(Sha256::digest(bytes)),
            job: "0-a".into(),
            model: "mini".into(),
            fingerprint: None,
            worker: "cpu".into(),
            scripted: false,
        }
    }

    fn asked() -> Asked {
        Asked { api: "http://a".into(), job: json!({ "content": "upload:1" }) }
    }

    #[test]
    fn what_was_asked_and_made_is_known_after_a_new_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::open(folder.path()).unwrap();
        let key = state.key("p");
        state.record(Event::Asked { picture: "p".into(), asked: asked() }).unwrap();
        drop(state);

        let mut state = State::open(folder.path()).unwrap();
        assert_eq!(state.asked("p", "http://a"), Some((asked(), None)));
        assert_eq!(state.asked("p", "http://b"), None, "the job is another fleet's");
        assert_eq!(state.key("p"), key);
        state.record(Event::Submitted { picture: "p".into(), id: "0-a".into() }).unwrap();
        std::fs::write(state.place("p.png"), b"p").unwrap();
        state.record(Event::Made { picture: "p".into(), made: made("p.png", b"p") }).unwrap();
        drop(state);

        let state = State::open(folder.path()).unwrap();
        assert_eq!(state.there("p"), Some(&made("p.png", b"p")));
        std::fs::write(state.place("p.png"), b"q").unwrap();
        assert_eq!(state.there("p"), None, "the file is another");
        assert_eq!(
            state.asked("p", "http://a"),
            Some((asked(), Some("0-a".into()))),
            "it can be fetched again"
        );
    }

    #[test]
    fn what_failed_is_asked_for_under_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::open(folder.path()).unwrap();
        let key = state.key("p");
        state.record(Event::Asked { picture: "p".into(), asked: asked() }).unwrap();
        state.record(Event::Failed { picture: "p".into(), reason: "no luck".into() }).unwrap();
        assert_eq!(state.asked("p", "http://a"), None);
        assert_ne!(state.key("p"), key);
        assert_ne!(state.key("q"), state.key("p"));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(State::open(other.path()).unwrap().key("p"), key, "another evaluation, other pictures");
    }

    #[test]
    fn a_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let _first = State::open(folder.path()).unwrap();
        let said = State::open(folder.path()).err().unwrap().to_string();
        assert!(said.contains("another `uso evaluate` uses"), "{said}");
    }
}
