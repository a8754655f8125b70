//! A client of the hub. `{endpoint}/{repo}/resolve/{revision}/{path}` answers with a small file itself. For a large file
//! it redirects to other storage, with the size and SHA-256 in `x-linked-size` and `x-linked-etag` (`huggingface_hub`,
//! `file_download.py`).

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url};

use super::digest::Digest;
use super::manifest::File;
use super::token::Token;
use crate::patience::{Failure, Patience};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence on an open connection.
const SILENCE: Duration = Duration::from_secs(60);
/// Most redirects within the hub; it redirects from old names of repositories.
const MOST_REDIRECTS: usize = 10;

pub(super) struct Hub {
    endpoint: Url,
    revision: String,
    token: Option<Token>,
    /// Follows redirects within the hub only, because it sends the token.
    inside: Client,
    /// For the storage that the hub redirects to; never sends the token.
    outside: Client,
}

/// What the hub has under a file's name.
pub(super) struct Remote {
    pub(super) bytes: u64,
    pub(super) digest: Digest,
    /// The commit, so that all requests for a file get the same version.
    revision: String,
}

/// An answer with a file's bytes, from `from` to the end.
pub(super) struct Body {
    pub(super) response: Response,
    /// Offset in the file at which it begins, in bytes.
    pub(super) from: u64,
    /// Size of the whole file in bytes, if the answer states it.
    pub(super) whole: Option<u64>,
}

impl Hub {
    pub(super) fn new(endpoint: Url, revision: String, token: Option<Token>) -> anyhow::Result<Self> {
        let is_safe = endpoint.scheme() == "https" || is_this_machine(&endpoint);
        if token.is_some() && !is_safe {
            tracing::warn!("{endpoint} is not https, so the token is not sent");
        }
        let client = || client(endpoint.scheme() == "https");
        let inside = client().redirect(Policy::custom(within)).build()?;
        let outside = client().build()?;
        Ok(Self { token: token.filter(|_| is_safe), inside, outside, revision, endpoint })
    }

    /// Asks for a file's size and digest.
    pub(super) async fn describe(&self, file: &File) -> anyhow::Result<Remote> {
        let mut patience = Patience::default();
        loop {
            match self.head(file).await {
                Ok(remote) => return Ok(remote),
                Err(failure) => patience.wait(failure).await?,
            }
        }
    }

    async fn head(&self, file: &File) -> Result<Remote, Failure> {
        let revision = self.revision(file);
        let answer = self.ask(self.inside.head(self.url(file, revision)?), file).await?;
        Ok(self.remote(file, revision, &answer)?)
    }

    fn remote(&self, file: &File, revision: &str, answer: &Response) -> anyhow::Result<Remote> {
        let headers = answer.headers();
        // A redirect has a length and tag of its own, which are not the file's.
        let own = |name| text(headers, name).filter(|_| answer.status().is_success());
        let bytes = text(headers, "x-linked-size").or_else(|| own("content-length"));
        let tag = text(headers, "x-linked-etag").or_else(|| own("etag"));
        let digest = file.sha256.clone().or_else(|| Digest::of_etag(tag?));
        let (Some(bytes), Some(digest)) = (bytes.and_then(|bytes| bytes.parse().ok()), digest) else {
            bail!(
                "{} states no size and hash for it: is it a hub, or a login page in front of one?",
                self.endpoint
            );
        };
        let is_commit = |name: &&str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let commit = text(headers, "x-repo-commit").filter(is_commit);
        Ok(Remote { bytes, digest, revision: commit.unwrap_or(revision).to_owned() })
    }

    /// Asks for a file's bytes from offset `from`; the answer may begin at 0 all the same.
    pub(super) async fn open(&self, file: &File, remote: &Remote, from: u64) -> Result<Body, Failure> {
        let request = self.inside.get(self.url(file, &remote.revision)?);
        let mut response = self.ask(part(request, from), file).await?;
        if response.status().is_redirection() {
            let place = text(response.headers(), "location").context("the redirect has no valid address")?;
            let place = response.url().join(place).context("the redirect has no valid address")?;
            response = accept(part(self.outside.get(place), from).send().await?)?;
        }
        Ok(Body::new(response, from)?)
    }

    fn revision<'a>(&'a self, file: &'a File) -> &'a str {
        file.revision.as_ref().unwrap_or(&self.revision)
    }

    fn url(&self, file: &File, revision: &str) -> anyhow::Result<Url> {
        let mut url = self.endpoint.clone();
        let mut segments = url.path_segments_mut().map_err(|()| anyhow!("{} has no paths", self.endpoint))?;
        segments.pop_if_empty().extend(file.repo.split('/'));
        segments.push("resolve").push(revision).extend(file.path.split('/'));
        drop(segments);
        Ok(url)
    }

    /// Sends a request to the hub, with the token.
    async fn ask(&self, request: RequestBuilder, file: &File) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token.header()),
            None => request,
        };
        let response = request.send().await?;
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(self.gated(file, status).into())
            }
            StatusCode::NOT_FOUND => {
                let (File { path, repo, .. }, revision) = (file, self.revision(file));
                Err(anyhow!("there is no {path} in {repo} at revision {revision} ({})", response.status())
                    .into())
            }
            _ => accept(response),
        }
    }

    fn gated(&self, file: &File, status: StatusCode) -> anyhow::Error {
        let (repo, page) = (&file.repo, self.endpoint.as_str().trim_end_matches('/'));
        let sent = if self.token.is_some() { "the token was rejected" } else { "no token was sent" };
        anyhow!(
            "{repo} is gated ({status}, {sent}): accept its licence at {page}/{repo}, and set HF_TOKEN to a token of \
             that account"
        )
    }
}

impl Body {
    fn new(response: Response, from: u64) -> anyhow::Result<Self> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            let whole = response.content_length();
            return Ok(Self { response, from: 0, whole });
        }
        let range = text(response.headers(), "content-range").and_then(content_range);
        match range {
            Some((begin, whole)) if begin == from => Ok(Self { response, from, whole }),
            _ => bail!("the answer does not begin at byte {from}"),
        }
    }
}

fn client(https_only: bool) -> ClientBuilder {
    // A compressed answer would have another length than the file.
    let identity = (header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .default_headers([identity].into_iter().collect())
        .user_agent(concat!("uso/", env!("CARGO_PKG_VERSION")))
        .https_only(https_only)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
}

/// Follows redirects within the hub, and stops at others.
fn within(attempt: Attempt<'_>) -> Action {
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error("too many redirects");
    }
    match attempt.previous().last() {
        Some(before) if before.origin() == attempt.url().origin() => attempt.follow(),
        _ => attempt.stop(),
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn part(request: RequestBuilder, from: u64) -> RequestBuilder {
    if from == 0 { request } else { request.header(header::RANGE, format!("bytes={from}-")) }
}

/// Refuses an answer whose status or headers show that it is not the file.
fn accept(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    let host = response.url().host_str().unwrap_or_default();
    if status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    {
        let pause = text(response.headers(), "retry-after").and_then(|after| after.parse().ok());
        let error = anyhow!("{host} answered {status}");
        return Err(Failure::Passing { error, pause: pause.map(Duration::from_secs) });
    }
    if !status.is_success() && !status.is_redirection() {
        return Err(anyhow!("{host} answered {status}").into());
    }
    let is_page = text(response.headers(), "content-type").is_some_and(|kind| kind.starts_with("text/html"));
    if status.is_success() && is_page {
        return Err(anyhow!("{host} answered with a web page instead: is it a login page?").into());
    }
    Ok(response)
}

/// First byte and whole size of `bytes FIRST-LAST/WHOLE`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, whole.parse().ok()))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
