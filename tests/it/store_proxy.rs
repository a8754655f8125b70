//! Stands between processes and their S3 service, and has it refuse things for a while.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// Which requests a service refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Those that change something.
    Writes,
    /// Those that do not.
    Reads,
    /// All.
    Everything,
    /// Those that let an upload in parts appear.
    Completions,
    /// Those that write a part of an upload.
    Parts,
    /// All in the bucket of this name.
    Bucket(&'static str),
    /// Those that write an object whose key ends like this.
    Object(&'static str),
}

/// What it does with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It answers with this status.
    Status(u16),
    /// It answers with this status and this code of S3.
    Code(u16, &'static str),
    /// It closes the connection in the middle of them.
    Reset,
    /// It takes them and says nothing.
    Silence,
    /// The first is under way until it is let go; the others are passed on.
    HoldFirst,
}

/// What is refused now, and how often something was.
#[derive(Default)]
struct Rule {
    refuses: Mutex<Option<(What, How)>>,
    refused: AtomicUsize,
    let_go: Notify,
}

impl Rule {
    /// What is done with a request, if it is not just passed on.
    fn applies(&self, request: &Request) -> Option<How> {
        let mut refuses = self.refuses.lock().unwrap();
        let (_, how) = refuses.filter(|(what, _)| request.is(*what))?;
        if how == How::HoldFirst {
            *refuses = None;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Some(how)
    }
}

/// A server on 127.0.0.1 that ends with this value.
pub(crate) struct StoreProxy {
    address: SocketAddr,
    rule: Arc<Rule>,
    task: JoinHandle<()>,
}

impl StoreProxy {
    /// Passes everything on to `endpoint`.
    pub(crate) async fn start(endpoint: &str) -> Self {
        let target: SocketAddr = endpoint.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let rule = Arc::new(Rule::default());
        let its = Arc::clone(&rule);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(serve(stream, target, Arc::clone(&its)));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { address, rule, task }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub(crate) fn refuse(&self, what: What, how: How) {
        *self.rule.refuses.lock().unwrap() = Some((what, how));
    }

    /// Everything is passed on again.
    pub(crate) fn relent(&self) {
        *self.rule.refuses.lock().unwrap() = None;
    }

    /// What is held arrives now.
    pub(crate) fn let_go(&self) {
        self.rule.let_go.notify_one();
    }

    /// Waits until it has refused or held this many more requests.
    pub(crate) async fn refuses_again(&self, count: usize) {
        let goal = self.rule.refused.load(Ordering::Relaxed) + count;
        let refused = async {
            while self.rule.refused.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), refused).await.expect("nobody asks the store again");
    }
}

impl Drop for StoreProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request of one connection. What fails, the client notices.
async fn serve(client: TcpStream, target: SocketAddr, rule: Arc<Rule>) {
    let _ = pass_on(client, target, &rule).await;
}

async fn pass_on(client: TcpStream, target: SocketAddr, rule: &Rule) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (reader, mut writer) = client.into_split();
    let mut reader = BufReader::new(reader);
    let Some(request) = Request::read(&mut reader).await? else { return Ok(()) };
    let refuses = rule.applies(&request);
    if refuses == Some(How::HoldFirst) {
        rule.let_go.notified().await;
    }
    match refuses {
        Some(How::Status(status)) => {
            if request.expects {
                writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            tokio::io::copy(&mut (&mut reader).take(request.length), &mut tokio::io::sink()).await?;
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            writer.write_all(answer.as_bytes()).await
        }
        Some(How::Code(status, code)) => {
            tokio::io::copy(&mut (&mut reader).take(request.length), &mut tokio::io::sink()).await?;
            let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
            let head = format!(
                "HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            writer.write_all((head + &body).as_bytes()).await
        }
        Some(How::Reset) => {
            tokio::io::copy(&mut (&mut reader).take(request.length / 2), &mut tokio::io::sink()).await?;
            Ok(())
        }
        Some(How::Silence) => {
            tokio::io::copy(&mut reader, &mut tokio::io::sink()).await?;
            Ok(())
        }
        None | Some(How::HoldFirst) => {
            let (mut from_server, mut to_server) = TcpStream::connect(target).await?.into_split();
            to_server.write_all(&request.head).await?;
            let up = async { tokio::io::copy(&mut (&mut reader).take(request.length), &mut to_server).await };
            let down = async {
                tokio::io::copy(&mut from_server, &mut writer).await?;
                writer.shutdown().await
            };
            tokio::try_join!(up, down)?;
            Ok(())
        }
    }
}

struct Request {
    /// As the server gets it: it is to close the connection, so that each request is looked at.
    head: Vec<u8>,
    method: String,
    path: String,
    length: u64,
    expects: bool,
}

impl Request {
    async fn read(reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut head = line.into_bytes();
        head.extend_from_slice(b"connection: close\r\n");
        let (mut length, mut expects) = (0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            expects |= header == "expect: 100-continue";
            head.extend_from_slice(line.as_bytes());
            if header.is_empty() {
                return Ok(Some(Self { head, method, path, length, expects }));
            }
        }
    }

    fn is(&self, what: What) -> bool {
        let reads = matches!(self.method.as_str(), "GET" | "HEAD");
        match what {
            What::Writes => !reads,
            What::Reads => reads,
            What::Everything => true,
            What::Object(ending) => {
                !reads && self.path.split('?').next().is_some_and(|path| path.ends_with(ending))
            }
            What::Completions => {
                self.method == "POST" && self.path.to_ascii_lowercase().contains("uploadid=")
            }
            What::Parts => self.method == "PUT" && self.path.to_ascii_lowercase().contains("partnumber="),
            What::Bucket(name) => self.path.trim_start_matches('/').split(['/', '?']).next() == Some(name),
        }
    }
}
