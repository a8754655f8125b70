//! A client of the fleet's API.

mod batches;
mod jobs;
mod refused;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use uso_dataset::file;
use uso_store::{MAX_REFERENCE, PictureKind};

pub(crate) use self::batches::{Replaced, RowId, Sent};
pub(crate) use self::refused::{BadLine, Refused};
use crate::patience::{Failure, Patience};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence: event streams send something every 15 seconds.
const SILENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    /// Sent to the API only, never to a presigned URL.
    key: Option<String>,
}

/// One event about a job.
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Client {
    pub(crate) fn new(base: &str, key: Option<String>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), key })
    }

    /// Uploads a file; gives the source that names it in a job.
    pub(crate) async fn upload(&self, path: &Path) -> anyhow::Result<String> {
        // Whoever writes into a pipe may take long.
        let place = path.to_owned();
        let read = tokio::task::spawn_blocking(move || file::read_once(&place, MAX_REFERENCE)).await?;
        let bytes = read.with_context(|| format!("cannot read {}", path.display()))?;
        self.upload_bytes(path, bytes).await
    }

    /// Uploads what a file holds; gives the source that names it in a job.
    pub(crate) async fn upload_bytes(&self, path: &Path, bytes: Vec<u8>) -> anyhow::Result<String> {
        let kind = PictureKind::of_bytes(&bytes)
            .with_context(|| format!("{} is not a png, jpeg or webp image", path.display()))?;
        let asked = json!({ "content_type": kind.media_type(), "bytes": bytes.len() });
        let upload = self.post("/v1/uploads", &asked).await.with_context(|| path.display().to_string())?;
        let (Some(url), Some(source)) = (upload["url"].as_str(), upload["source"].as_str()) else {
            bail!("the API's answer to an upload is not understood: {upload}");
        };
        let mut put = self.http.put(url);
        for (name, value) in upload["headers"].as_object().into_iter().flatten() {
            put = put.header(name, value.as_str().unwrap_or_default());
        }
        let put = put.body(bytes).send().await.and_then(Response::error_for_status);
        // The link is signed, so the error must not show it.
        put.map_err(reqwest::Error::without_url)
            .with_context(|| format!("the upload of {} failed", path.display()))?;
        Ok(source.to_owned())
    }

    /// Submits a job; gives the answer.
    pub(crate) async fn submit(&self, job: &Value) -> anyhow::Result<Value> {
        self.post("/v1/jobs", job).await
    }

    pub(crate) async fn view(&self, id: &str) -> anyhow::Result<Value> {
        let answer = self.request(Method::GET, &format!("/v1/jobs/{id}")).send().await;
        Ok(self.accepted(answer).await?.json().await?)
    }

    /// The finished picture.
    pub(crate) async fn result(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        let answer = self.request(Method::GET, &format!("/v1/jobs/{id}/result")).send().await;
        Ok(self.accepted(answer).await?.bytes().await?.into())
    }

    /// Calls `handle` with each event of a job after `after`, until the stream ends.
    pub(crate) async fn events(
        &self,
        id: &str,
        after: Option<&str>,
        mut handle: impl FnMut(Event),
    ) -> anyhow::Result<()> {
        let mut request = self.request(Method::GET, &format!("/v1/jobs/{id}/events"));
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let answer = self.accepted(request.send().await).await?;
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        let (mut stream, mut text) = (answer.bytes_stream(), Vec::new());
        while let Some(chunk) = stream.next().await {
            text.extend_from_slice(&chunk.context("the event stream broke off")?);
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = text.drain(..end + 2).collect();
                if let Some(event) = Event::parse(&String::from_utf8_lossy(&block)) {
                    handle(event);
                }
            }
        }
        Ok(())
    }

    /// Posts what may take up to `most` to be answered.
    pub(crate) async fn post_slowly(
        &self,
        path: &str,
        body: &Value,
        most: Duration,
    ) -> anyhow::Result<Value> {
        // The usual client gives up on silence.
        let patient = reqwest::Client::builder().connect_timeout(CONNECT).timeout(most).build()?;
        let slow = Self { http: patient, base: self.base.clone(), key: self.key.clone() };
        slow.post(path, body).await
    }

    /// A request for a presigned link, which gets no key.
    pub(crate) fn link(&self, url: &str) -> RequestBuilder {
        self.http.get(url)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.request(Method::GET, path).send().await;
        Ok(self.accepted(answer).await?.json().await?)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.request(Method::POST, path).json(body).send().await;
        Ok(self.accepted(answer).await?.json().await?)
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.request(Method::PUT, path).json(body).send().await;
        Ok(self.accepted(answer).await?.json().await?)
    }

    /// Asks again after a pause if it fails for now, up to seven times in a row. Only for what is safe to repeat.
    pub(crate) async fn patiently<T>(
        &self,
        mut ask: impl AsyncFnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut patience = Patience::default();
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => patience.wait(failure(error)).await?,
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// The answer if it is a success, else the problem that it states.
    async fn accepted(&self, answer: reqwest::Result<Response>) -> anyhow::Result<Response> {
        let answer = answer.map_err(|error| {
            let hint = if error.is_connect() { "; is `uso up` running?" } else { "" };
            anyhow::Error::new(error).context(format!("no answer from {}{hint}", self.base))
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(anyhow!(Refused::read(answer).await))
    }
}

/// Whether the same request may succeed after a pause.
fn failure(error: anyhow::Error) -> Failure {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return match refused.is_passing() {
            true => Failure::Passing { pause: refused.pause, error },
            false => Failure::Final(error),
        };
    }
    let may_pass = |status: StatusCode| status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let of_http = error.chain().find_map(|cause| cause.downcast_ref::<reqwest::Error>());
    match of_http.is_some_and(|error| !error.is_builder() && error.status().is_none_or(may_pass)) {
        true => Failure::passing(error),
        false => Failure::Final(error),
    }
}

impl Event {
    /// Reads one block of an event stream; none for a comment.
    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| {
            let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(value.strip_prefix(' ').unwrap_or(value).to_owned())
        };
        let data = serde_json::from_str(&field("data")?).ok()?;
        Some(Self { id: field("id")?, name: field("event")?, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_heartbeats_are_not() {
        let event = Event::parse("id: 5-0\nevent: progress\ndata: {\"step\":3}\n\n").unwrap();
        assert_eq!(
            (event.id.as_str(), event.name.as_str(), &event.data["step"]),
            ("5-0", "progress", &3.into())
        );
        assert!(Event::parse(":\n\n").is_none());
    }
}
