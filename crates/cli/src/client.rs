//! A client of the fleet's API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use uso_store::PictureKind;

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
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
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
        let put = put.body(bytes).send().await.context("the upload failed")?;
        if !put.status().is_success() {
            bail!("the upload of {} was refused: {}", path.display(), put.status());
        }
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

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.request(Method::POST, path).json(body).send().await;
        Ok(self.accepted(answer).await?.json().await?)
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
        let status = answer.status();
        let is_problem = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/problem+json"));
        let problem: Value = if is_problem { answer.json().await? } else { json!({}) };
        bail!("{}", explain(status, &problem))
    }
}

/// A problem document as text, with one line for each bad field.
fn explain(status: StatusCode, problem: &Value) -> String {
    let fields = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    match (fields, problem["detail"].as_str()) {
        ([], Some(detail)) if status == StatusCode::UNAUTHORIZED => {
            format!("{detail}; give a key with --api-key or USO_API_KEY ({status})")
        }
        ([], Some(detail)) => format!("{detail} ({status})"),
        ([], None) => format!("the API answered {status}"),
        (fields, _) => {
            let line = |error: &Value| {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                format!("\n  {}: {}", text("pointer").trim_start_matches('/'), text("message"))
            };
            format!("the request was refused:{}", fields.iter().map(line).collect::<String>())
        }
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

    #[test]
    fn each_bad_field_has_a_line() {
        let problem = json!({ "detail": "2 fields are not as they must be", "errors": [
            { "pointer": "/steps", "message": "101 is not within 1 to 100" },
            { "pointer": "/styles/0", "message": "must be a string" },
        ]});
        let text = explain(StatusCode::UNPROCESSABLE_ENTITY, &problem);
        assert_eq!(
            text,
            "the request was refused:\n  steps: 101 is not within 1 to 100\n  styles/0: must be a string"
        );
        assert_eq!(explain(StatusCode::BAD_GATEWAY, &json!({})), "the API answered 502 Bad Gateway");
    }
}
