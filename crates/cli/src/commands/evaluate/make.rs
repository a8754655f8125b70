//! Gets the pictures from the fleet: a bounded number of jobs at once, none twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uso_dataset::file;
use uso_store::MAX_REFERENCE;

use super::state::{Asked, Event, Made, State};
use super::suite::{Item, Reference};
use super::wanted::{self, Wanted};
use crate::causes::with_causes;
use crate::client::{Client, Refused};
use crate::commands::{save, submit};

/// Has the fleet make pictures.
pub(super) struct Maker<'a> {
    client: &'a Client,
    /// The API's address, beside which its jobs are remembered.
    api: &'a str,
    items: &'a [Item],
    state: Mutex<State>,
    /// Where references were uploaded to, by their digests.
    uploads: tokio::sync::Mutex<HashMap<String, String>>,
}

impl<'a> Maker<'a> {
    pub(super) fn new(client: &'a Client, api: &'a str, items: &'a [Item], state: State) -> Self {
        Self { client, api, items, state: Mutex::new(state), uploads: tokio::sync::Mutex::default() }
    }

    /// Makes pictures, `in_flight` at a time; gives the reasons of those that failed.
    ///
    /// # Errors
    /// If the API refuses a job, or cannot be reached for long. What was made until then is kept.
    pub(super) async fn make(
        &self,
        pictures: &[&Wanted],
        in_flight: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<String>> {
        let jobs = pictures.iter().map(|picture| async move {
            let place = || self.item(picture).place();
            let failure = self.one(picture).await.with_context(place)?;
            bar.inc(1);
            anyhow::Ok(failure.map(|reason| format!("{}, seed {}: {reason}", place(), picture.seed)))
        });
        futures::stream::iter(jobs)
            .buffer_unordered(in_flight)
            .try_filter_map(|failure| std::future::ready(Ok(failure)))
            .try_collect()
            .await
    }

    /// Gives the state back.
    pub(super) fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one picture; gives the reason if its job fails.
    async fn one(&self, picture: &Wanted) -> anyhow::Result<Option<String>> {
        let id = match self.known_job(picture).await? {
            Some(id) => id,
            None => self.submit(picture).await?,
        };
        submit::wait(self.client, &id, &ProgressBar::hidden()).await?;
        let view = self.client.patiently(async || self.client.view(&id).await).await?;
        if view["state"] != "succeeded" {
            let reason = reason(&view);
            self.failed(picture, &reason)?;
            return Ok(Some(reason));
        }
        self.fetch(picture, &id, &view).await.map(|()| None)
    }

    /// The job of an earlier start that has made the picture or still may.
    async fn known_job(&self, picture: &Wanted) -> anyhow::Result<Option<String>> {
        let Some((asked, id)) = self.state().asked(&picture.digest, self.api) else { return Ok(None) };
        let id = match id {
            Some(id) => id,
            // Nobody knows whether that request arrived.
            None => match self.send(picture, &asked).await {
                Ok(id) => id,
                Err(error) if error.downcast_ref::<Refused>().is_some() => {
                    self.failed(picture, &with_causes(&error))?;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        };
        let view = self.client.patiently(async || self.client.kept_view(&id).await).await?;
        match view {
            None => self.failed(picture, "the fleet does not keep the job any more")?,
            Some(view) if matches!(view["state"].as_str(), Some("failed" | "canceled" | "expired")) => {
                self.failed(picture, &reason(&view))?;
            }
            Some(_) => return Ok(Some(id)),
        }
        Ok(None)
    }

    async fn submit(&self, picture: &Wanted) -> anyhow::Result<String> {
        let item = self.item(picture);
        let content = match &item.content {
            Some(reference) => Some(self.source(reference).await?),
            None => None,
        };
        let mut styles = Vec::new();
        for reference in &item.styles {
            styles.push(self.source(reference).await?);
        }
        let asked = Asked { api: self.api.to_owned(), job: wanted::job(item, picture.seed, content, styles) };
        self.record(Event::Asked { picture: picture.digest.clone(), asked: asked.clone() })?;
        self.send(picture, &asked).await
    }

    /// Sends a request, for the first time or again.
    async fn send(&self, picture: &Wanted, asked: &Asked) -> anyhow::Result<String> {
        let key = self.state().key(&picture.digest);
        let id = self.client.patiently(async || self.client.submit_once(&asked.job, &key).await).await?;
        self.record(Event::Submitted { picture: picture.digest.clone(), id: id.clone() })?;
        Ok(id)
    }

    /// Where a reference was uploaded to. Each file is uploaded once.
    async fn source(&self, reference: &Reference) -> anyhow::Result<String> {
        let mut uploads = self.uploads.lock().await;
        if let Some(source) = uploads.get(&reference.sha256) {
            return Ok(source.clone());
        }
        let place = reference.path.display();
        let path = reference.path.clone();
        let read = tokio::task::spawn_blocking(move || file::read(&path, MAX_REFERENCE)).await?;
        let bytes = read.with_context(|| format!("cannot read {place}"))?;
        let digest = hex::encode(Sha256::digest(&bytes));
        ensure!(digest == reference.sha256, "{place} has changed meanwhile; start again");
        let upload = async || self.client.upload_bytes(&reference.path, bytes.clone()).await;
        let source = self.client.patiently(upload).await?;
        uploads.insert(digest, source.clone());
        Ok(source)
    }

    async fn fetch(&self, picture: &Wanted, id: &str, view: &Value) -> anyhow::Result<()> {
        let bytes = self.client.patiently(async || self.client.result(id).await).await?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        if view["output"]["sha256"] != sha256.as_str() {
            bail!("the picture of job {id} is not the one that the fleet has recorded");
        }
        let receipt = &view["output"]["receipt"];
        let text = |name: &str| receipt[name].as_str().unwrap_or_default().to_owned();
        let place = self.state().place(&picture.file);
        save(&place, &bytes)?;
        let made = Made {
            file: picture.file.clone(),
            sha256,
            job: id.to_owned(),
            model: text("model"),
            fingerprint: receipt["fingerprint"].as_str().map(str::to_owned),
            worker: text("worker"),
            scripted: receipt["scripted"] == true,
        };
        self.record(Event::Made { picture: picture.digest.clone(), made })
    }

    fn failed(&self, picture: &Wanted, reason: &str) -> anyhow::Result<()> {
        self.record(Event::Failed { picture: picture.digest.clone(), reason: reason.to_owned() })
    }

    fn record(&self, event: Event) -> anyhow::Result<()> {
        self.state().record(event)
    }

    fn item(&self, picture: &Wanted) -> &Item {
        &self.items[picture.item]
    }

    /// Held for a moment only.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a job has no picture.
fn reason(view: &Value) -> String {
    let state = view["state"].as_str().unwrap_or("ended");
    let message = view["error"]["message"].as_str().unwrap_or("no reason was given");
    format!("its job {state}: {message}")
}
