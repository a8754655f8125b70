//! S3 as it is elsewhere: slow, or without a floor; and S3 that is counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How requests begin.
const METHODS: [&[u8]; 5] = [b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE "];

/// A server on 127.0.0.1 that ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = serve(stream);
                // It ends with its connection.
                tokio::spawn(async move {
                    if let Err(error) = served.await {
                        tracing::debug!(%error, "a connection ended early");
                    }
                });
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes everything on to `endpoint`, requests to read after `get` and requests to write after `put`.
pub(crate) async fn slow(endpoint: &str, get: Duration, put: Duration) -> anyhow::Result<Server> {
    let target: SocketAddr = endpoint.trim_start_matches("http://").parse().context("not an endpoint")?;
    Server::start(move |stream| pass_on(stream, target, get, put)).await
}

async fn pass_on(client: TcpStream, target: SocketAddr, get: Duration, put: Duration) -> anyhow::Result<()> {
    let server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async move {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = from_client.read(&mut bytes).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            // A client sends nothing more before its answer has come, so a request begins a read.
            if bytes.starts_with(b"GET ") {
                tokio::time::sleep(get).await;
            } else if bytes.starts_with(b"PUT ") {
                tokio::time::sleep(put).await;
            }
            to_server.write_all(&bytes[..read]).await?;
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::try_join!(up, down)?;
    Ok(())
}

/// Passes everything on to `endpoint`, and counts requests.
pub(crate) async fn counted(endpoint: &str) -> anyhow::Result<(Server, Arc<AtomicU64>)> {
    let target: SocketAddr = endpoint.trim_start_matches("http://").parse().context("not an endpoint")?;
    let requests = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&requests);
    let server = Server::start(move |stream| count(stream, target, Arc::clone(&counter))).await?;
    Ok((server, requests))
}

async fn count(client: TcpStream, target: SocketAddr, requests: Arc<AtomicU64>) -> anyhow::Result<()> {
    let server = TcpStream::connect(target).await?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async move {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let read = from_client.read(&mut bytes).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            // As above: a request begins a read.
            let begins = METHODS.iter().any(|method| bytes.starts_with(method));
            requests.fetch_add(u64::from(begins), Ordering::Relaxed);
            to_server.write_all(&bytes[..read]).await?;
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::try_join!(up, down)?;
    Ok(())
}

/// Takes everything and keeps nothing.
pub(crate) async fn bottomless() -> anyhow::Result<Server> {
    Server::start(swallow).await
}

async fn swallow(stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(length) = head(&mut reader, &mut writer).await? {
        tokio::io::copy(&mut (&mut reader).take(length), &mut tokio::io::sink()).await?;
        let tag = "\"00000000000000000000000000000000\"";
        let answer = format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: 0\r\n\r\n");
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Reads a request's head and gives the length of its body; none at the end.
async fn head(
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> anyhow::Result<Option<u64>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            return Ok(Some(length));
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if header == "expect: 100-continue" {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
    }
}
