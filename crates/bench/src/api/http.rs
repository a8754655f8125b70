//! The least there is between a program and an API: what is measured should not be the client.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// One connection, one request at a time.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
}

impl Connection {
    pub(super) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        // Thousands may be open at once.
        Ok(Self { stream: BufReader::with_capacity(1024, stream), address: address.to_owned() })
    }

    /// Sends a request and gives the answer's status and body.
    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
    ) -> anyhow::Result<(u16, Vec<u8>)> {
        self.send(method, path, body).await?;
        let (status, length) = self.head().await?;
        let mut body = vec![0; length.context("an answer without a length")?];
        self.stream.read_exact(&mut body).await?;
        Ok((status, body))
    }

    /// The same with JSON in the answer, which must be one of success.
    pub(super) async fn json(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let (status, body) = self.ask(method, path, body).await?;
        ensure!(
            (200..300).contains(&status),
            "{method} {path}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(serde_json::from_slice(&body)?)
    }

    /// Opens an event stream on this connection.
    pub(super) async fn listen(&mut self, path: &str) -> anyhow::Result<()> {
        self.send("GET", path, "").await?;
        let (status, _) = self.head().await?;
        ensure!(status == 200, "GET {path}: {status}");
        Ok(())
    }

    /// The next line of the stream.
    pub(super) async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line).await? > 0, "the stream has ended");
        Ok(line)
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        Ok(())
    }

    /// Status and length of an answer.
    async fn head(&mut self) -> anyhow::Result<(u16, Option<usize>)> {
        let status = self.line().await?;
        let status = status.split_whitespace().nth(1).context("no HTTP status")?.parse()?;
        let mut length = None;
        loop {
            let line = self.line().await?.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                return Ok((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
        }
    }
}
