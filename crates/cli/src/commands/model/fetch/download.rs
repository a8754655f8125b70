//! Downloads one file. Reconnects and resumes when a connection breaks.

use std::path::Path;

use anyhow::anyhow;
use indicatif::{DecimalBytes, ProgressBar};

use super::hub::{Hub, Remote};
use super::manifest::File;
use super::part::Part;
use crate::patience::{Failure, Patience};
use crate::progress;

/// Downloads a file into its place.
pub(super) async fn download(hub: &Hub, file: &File, remote: &Remote, place: &Path) -> anyhow::Result<()> {
    let bar = progress::bytes(remote.bytes, &file.to);
    let mut part = Part::open(place, remote, &bar).await?;
    let (mut patience, mut reached) = (Patience::default(), part.written());
    let left = DecimalBytes(remote.bytes - reached);
    tracing::info!("{}: {left} of {} left to download", file.to, DecimalBytes(remote.bytes));
    while part.written() < remote.bytes {
        let received = receive(hub, file, remote, &mut part, &bar).await;
        part.flush().await?;
        if part.written() > reached {
            reached = part.written();
            patience.renew();
        }
        if let Err(failure) = received {
            patience.wait(failure).await?;
        }
    }
    bar.finish_and_clear();
    part.finish(place).await
}

/// Reads what one connection sends.
async fn receive(
    hub: &Hub,
    file: &File,
    remote: &Remote,
    part: &mut Part<'_>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut body = hub.open(file, remote, part.written()).await?;
    if let Some(bytes) = body.whole.filter(|bytes| *bytes != remote.bytes) {
        let why = format!("the server offers {bytes} bytes, {} are expected", remote.bytes);
        return Err(part.refuse(&why).await.into());
    }
    if body.from < part.written() {
        part.restart().await?;
    }
    while let Some(chunk) = body.response.chunk().await? {
        if chunk.len() as u64 > remote.bytes - part.written() {
            let why = format!("the server sent more than the {} bytes that are expected", remote.bytes);
            return Err(part.refuse(&why).await.into());
        }
        part.append(&chunk).await?;
        bar.set_position(part.written());
    }
    let (written, bytes) = (part.written(), remote.bytes);
    if written < bytes {
        return Err(Failure::passing(anyhow!("the connection ended after {written} of {bytes} bytes")));
    }
    Ok(())
}
