//! Bodies in large pieces. s3s-fs writes each piece that comes from the network, and reads 4 KiB at a time; either is a
//! trip to a thread that may block.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use s3s::StdError;
use s3s::dto::{GetObjectOutput, StreamingBlob};
use s3s::stream::{ByteStream, RemainingLength};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;

/// What s3s-fs reads at a time.
const SMALL: u64 = 4096;

/// What is uploaded, in pieces of [`PIECE`] bytes but for the last.
pub(super) struct Gathered {
    from: StreamingBlob,
    gathered: BytesMut,
    ended: bool,
}

impl Gathered {
    pub(super) fn of(from: StreamingBlob) -> StreamingBlob {
        StreamingBlob::new(Self { from, gathered: BytesMut::new(), ended: false })
    }
}

impl Stream for Gathered {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended && self.gathered.len() < PIECE {
            match ready!(Pin::new(&mut self.from).poll_next(context)) {
                Some(Ok(bytes)) if self.gathered.is_empty() && bytes.len() >= PIECE => {
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Ok(bytes)) => self.gathered.extend_from_slice(&bytes),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.ended = true,
            }
        }
        let piece = self.gathered.split().freeze();
        Poll::Ready(Some(piece).filter(|piece| !piece.is_empty()).map(Ok))
    }
}

impl ByteStream for Gathered {
    fn remaining_length(&self) -> RemainingLength {
        match self.from.remaining_length().exact() {
            Some(length) => RemainingLength::new_exact(self.gathered.len() + length),
            None => RemainingLength::unknown(),
        }
    }
}

/// The file of an object that is about to be read; none if there is none.
pub(super) async fn open(path: &Path) -> Option<File> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || File::open(path).ok()).await.ok().flatten()
}

/// Reads the body of an answer from `file`, which was opened before the answer was made, unless another file has taken its
/// place since.
pub(super) async fn read_from(file: Option<File>, path: &Path, output: &mut GetObjectOutput) {
    let length = output.content_length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0);
    let (Some(mut file), true) = (file, length > SMALL) else { return };
    let (path, start) = (path.to_owned(), start(output));
    let at_start = tokio::task::spawn_blocking(move || same_file(&mut file, &path, start).map(|()| file));
    if let Ok(Ok(file)) = at_start.await {
        let rest = tokio::fs::File::from_std(file).take(length);
        let piece = PIECE.min(usize::try_from(length).unwrap_or(PIECE));
        output.body = Some(StreamingBlob::wrap(ReaderStream::with_capacity(rest, piece)));
    }
}

/// Sets `file` to `start`.
fn same_file(file: &mut File, path: &Path, start: u64) -> io::Result<()> {
    let (ours, there) = (file.metadata()?, std::fs::metadata(path)?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        return Err(io::Error::other("it was replaced"));
    }
    file.seek(SeekFrom::Start(start)).map(drop)
}

/// First byte of an answer: `bytes 5-9/20` begins with the sixth.
fn start(output: &GetObjectOutput) -> u64 {
    let range = output.content_range.as_deref().and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split_once('-')).and_then(|(start, _)| start.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _};

    use super::*;

    fn blob(pieces: impl IntoIterator<Item = usize>) -> StreamingBlob {
        let pieces: Vec<_> =
            pieces.into_iter().map(|length| Ok::<_, io::Error>(vec![7; length].into())).collect();
        StreamingBlob::wrap(futures::stream::iter(pieces))
    }

    #[tokio::test]
    async fn pieces_become_large_ones_and_nothing_is_lost() {
        for (pieces, gathered) in [
            (vec![], vec![]),
            (vec![1], vec![1]),
            (vec![PIECE], vec![PIECE]),
            (vec![3, PIECE, 5], vec![PIECE + 3, 5]),
            (vec![PIECE + 9, 1, 1], vec![PIECE + 9, 2]),
            (vec![PIECE / 2; 5], vec![PIECE, PIECE, PIECE / 2]),
        ] {
            let pieces = Gathered::of(blob(pieces)).map_ok(|bytes| bytes.len());
            assert_eq!(pieces.try_collect::<Vec<_>>().await.unwrap(), gathered);
        }
    }

    #[tokio::test]
    async fn a_failure_ends_it() {
        let failing = [Ok(Bytes::from_static(b"abc")), Err(io::Error::other("cut off"))];
        let mut gathered = Gathered::of(StreamingBlob::wrap(futures::stream::iter(failing)));
        assert!(gathered.next().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_range_of_the_same_file_is_read_and_another_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        let content: Vec<u8> = (0..3 * PIECE).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let answer = || GetObjectOutput {
            content_length: Some(2 * PIECE as i64),
            content_range: Some(format!("bytes 5-{}/{}", 2 * PIECE + 4, content.len())),
            ..Default::default()
        };
        let mut same = answer();
        read_from(open(&path).await, &path, &mut same).await;
        let read: Vec<Bytes> = same.body.unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat(), content[5..2 * PIECE + 5]);

        let (before, mut replaced) = (open(&path).await, answer());
        std::fs::write(folder.path().join("new"), &content).unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        read_from(before, &path, &mut replaced).await;
        assert!(replaced.body.is_none(), "the answer keeps its own body");
    }
}
