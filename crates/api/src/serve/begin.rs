//! How a connection begins: a client that sends nothing is not served, and one that has gone is not waited for.

use std::io::{Cursor, Result};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;

/// How HTTP/2 begins.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The connection once the client has shown which protocol it speaks; none if it has gone before.
pub(super) async fn begun(stream: TcpStream) -> Result<Option<impl AsyncRead + AsyncWrite + Unpin + Send>> {
    // Events are small and must not wait for more to come.
    stream.set_nodelay(true)?;
    let (mut reader, writer) = stream.into_split();
    let mut begin = Vec::with_capacity(HTTP2.len());
    while begin.len() < HTTP2.len() && HTTP2.starts_with(&begin) {
        if reader.read_buf(&mut begin).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(tokio::io::join(Cursor::new(begin).chain(reader), writer)))
}
