//! Stands between a process and its Redis: a way that can be made silent. Its connections then hold what they were given,
//! and new ones are taken and say nothing.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Ends with this value.
pub(crate) struct Link {
    silent: watch::Sender<bool>,
    url: String,
    _task: JoinSet<()>,
}

impl Link {
    /// A way to the Redis at `url`, which may have a user and a password in it.
    pub(crate) async fn to(url: &str) -> Self {
        let (rest, target) = match url.trim_start_matches("redis://").trim_end_matches('/').rsplit_once('@') {
            Some((user, target)) => (format!("{user}@"), target.to_owned()),
            None => (String::new(), url.trim_start_matches("redis://").trim_end_matches('/').to_owned()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{rest}{}", listener.local_addr().unwrap());
        let (silent, heard) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                // A Redis that is away hangs up.
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                carried.spawn(carry(near_in, far_out, heard.clone()));
                carried.spawn(carry(far_in, near_out, heard.clone()));
                while carried.try_join_next().is_some() {}
            }
        });
        Self { silent, url, _task: task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut silent: watch::Receiver<bool>,
) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    // Whoever reads the other end is told.
    let _ = to.shutdown().await;
}
