//! A hub of models as a download sees it: names that resolve, small files at once, large ones in a storage on another
//! port.

use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files from this size on lie in the storage.
const LARGE: usize = 1000;

/// A request, to the hub or to its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) of_storage: bool,
    pub(crate) method: String,
    /// `owner/name/path` of the file.
    pub(crate) file: String,
    pub(crate) revision: String,
    pub(crate) from: Option<usize>,
    pub(crate) authorization: Option<String>,
}

/// An answer; what breaks it off or spoils it is up to the test.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Sends only so many bytes of the body, and then closes.
    pub(crate) cut: Option<usize>,
    /// Keeps the connection open without a word, instead of closing it.
    pub(crate) stalls: bool,
}

impl Answer {
    pub(crate) fn of(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None, stalls: false }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_string()));
        self
    }
}

pub(crate) struct Hub {
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<Ask>>>,
}

/// What a test makes of a sound answer.
type Change = dyn Fn(&Ask, Answer) -> Answer + Send + Sync;

struct Site {
    files: Vec<(String, Vec<u8>)>,
    storage: String,
    change: Box<Change>,
    seen: Arc<Mutex<Vec<Ask>>>,
}

impl Hub {
    /// Serves files named `owner/name/path`; each answer goes through `change`.
    pub(crate) async fn start(
        files: &[(&str, &[u8])],
        change: impl Fn(&Ask, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (endpoint, seen) = (format!("http://{}", hub.local_addr().unwrap()), Arc::default());
        let site = Arc::new(Site {
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            storage: format!("http://{}", storage.local_addr().unwrap()),
            change: Box::new(change),
            seen: Arc::clone(&seen),
        });
        for (listener, of_storage) in [(hub, false), (storage, true)] {
            let site = Arc::clone(&site);
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(Arc::clone(&site), stream, of_storage));
                }
            });
        }
        Self { endpoint, seen }
    }

    /// The requests since the last look.
    pub(crate) fn seen(&self) -> Vec<Ask> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(site: Arc<Site>, mut stream: TcpStream, of_storage: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let ask = Ask::parse(std::str::from_utf8(&head).unwrap(), of_storage);
    site.seen.lock().unwrap().push(ask.clone());
    let answer = (site.change)(&ask, site.answer(&ask));
    let mut text = format!("HTTP/1.1 {} Said\r\nconnection: close\r\n", answer.status);
    if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
        text.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    text.extend(answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    text.push_str("\r\n");
    let sent = if ask.method == "HEAD" { 0 } else { answer.cut.unwrap_or(answer.body.len()) };
    // Whoever was killed does not listen any more.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.write_all(&answer.body[..sent]).await;
    if answer.stalls {
        std::future::pending::<()>().await;
    }
}

impl Ask {
    /// Reads the head of `GET /owner/name/resolve/REVISION/path`.
    fn parse(head: &str, of_storage: bool) -> Self {
        let (first, rest) = head.split_once("\r\n").unwrap();
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let (repo, path) = path.trim_start_matches('/').split_once("/resolve/").unwrap();
        let (revision, path) = path.split_once('/').unwrap();
        let header = |name: &str| {
            let mut lines = rest.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let from = |range: String| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
        Self {
            of_storage,
            method,
            file: format!("{repo}/{path}"),
            revision: revision.to_owned(),
            from: header("range").and_then(from),
            authorization: header("authorization"),
        }
    }
}

impl Site {
    /// What a sound hub answers.
    fn answer(&self, ask: &Ask) -> Answer {
        let Some((name, bytes)) = self.files.iter().find(|(name, _)| *name == ask.file) else {
            return Answer::of(404);
        };
        if bytes.len() >= LARGE && !ask.of_storage {
            let place = name.splitn(3, '/').collect::<Vec<_>>();
            let place = format!("{}/{}/{}/resolve/{COMMIT}/{}", self.storage, place[0], place[1], place[2]);
            return Answer::of(302)
                .with("location", place)
                .with("x-repo-commit", COMMIT)
                .with("x-linked-size", bytes.len())
                .with("x-linked-etag", format!("\"{}\"", sha256(bytes)));
        }
        let mut answer = Answer::of(200).with("x-repo-commit", COMMIT).with("content-type", "text/plain");
        answer.body = bytes.clone();
        let object = Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes);
        answer = answer.with("etag", format!("\"{}\"", hex::encode(object.finalize())));
        if ask.method == "HEAD" {
            return answer.with("content-length", bytes.len());
        }
        if let Some(from) = ask.from {
            answer.status = 206;
            answer.body.drain(..from);
            return answer.with("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()));
        }
        answer
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
