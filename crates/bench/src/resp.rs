//! The least there is between a program and Redis: bytes over a socket, waited for in place. What
//! others are compared with should not be slow for reasons of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Longest wait for bytes.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection.
pub(crate) struct Resp {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    line: Vec<u8>,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Nil,
    Integer(i64),
    Text(Vec<u8>),
    List(Vec<Answer>),
}

impl Resp {
    /// Connects to `redis://host:port`.
    pub(crate) fn connect(url: &str) -> anyhow::Result<Self> {
        let address = url.strip_prefix("redis://").unwrap_or(url);
        let stream = TcpStream::connect(address).with_context(|| format!("cannot reach {url}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let reader = BufReader::with_capacity(1 << 18, stream.try_clone()?);
        Ok(Self { stream, reader, line: Vec::new() })
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn call(&mut self, words: &[&str]) -> anyhow::Result<Answer> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.send(&command(&words))?;
        self.receive()
    }

    /// What its processor time adds up to.
    pub(crate) fn processor_time(&mut self) -> anyhow::Result<Duration> {
        let user: f64 = self.info("cpu", "used_cpu_user")?;
        let system: f64 = self.info("cpu", "used_cpu_sys")?;
        Ok(Duration::from_secs_f64(user + system))
    }

    /// A number out of `INFO`.
    pub(crate) fn info<T: FromStr>(&mut self, section: &str, name: &str) -> anyhow::Result<T> {
        let Answer::Text(text) = self.call(&["INFO", section])? else { bail!("INFO is no text") };
        let text = String::from_utf8_lossy(&text);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("INFO has no {name}"))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).context("cannot write to redis")
    }

    pub(crate) fn receive(&mut self) -> anyhow::Result<Answer> {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line).context("cannot read from redis")?;
        let line = std::str::from_utf8(&self.line)?.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("redis closed the connection")?;
        match kind {
            "+" => Ok(Answer::Text(rest.into())),
            ":" => Ok(Answer::Integer(rest.parse()?)),
            "$" => self.text(rest.parse()?),
            "*" => self.list(rest.parse()?),
            "-" => bail!("redis refused: {rest}"),
            _ => bail!("redis said {line:?}"),
        }
    }

    fn text(&mut self, length: i64) -> anyhow::Result<Answer> {
        let Ok(length) = usize::try_from(length) else { return Ok(Answer::Nil) };
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes).context("cannot read from redis")?;
        bytes.truncate(length);
        Ok(Answer::Text(bytes))
    }

    fn list(&mut self, length: i64) -> anyhow::Result<Answer> {
        let Ok(length) = usize::try_from(length) else { return Ok(Answer::Nil) };
        (0..length).map(|_| self.receive()).collect::<anyhow::Result<_>>().map(Answer::List)
    }
}

/// A command as it goes over the wire.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
