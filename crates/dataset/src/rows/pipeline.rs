//! Rows are worked on by several threads and come out in order.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::manifest::{Block, Manifest};
use super::row::{BadRow, RawRow};
use crate::Error;

/// Blocks that one thread holds at most: one it works on, one that is ready for it.
const DEPTH: usize = 2;

/// A thread's way in and its way out.
type Lane<T> = (SyncSender<Block>, Receiver<Vec<T>>);

/// Gives what `work` makes of each row to `sink`, in the order of the rows. This thread reads and calls `sink`; `threads`
/// others parse and call `work`. Blocks go round the threads, so that the order of their answers is known.
pub(super) fn in_order<T: Send>(
    manifest: &mut Manifest,
    threads: usize,
    work: impl Fn(Result<RawRow, BadRow>) -> T + Sync,
    mut sink: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let threads = threads.max(1);
    thread::scope(|scope| {
        let work = &work;
        let lanes: Vec<Lane<T>> = (0..threads)
            .map(|_| {
                let (blocks_in, blocks) = sync_channel::<Block>(DEPTH);
                let (answers_in, answers) = sync_channel(DEPTH);
                scope.spawn(move || {
                    blocks
                        .into_iter()
                        .map(|block| block.into_rows().map(work).collect())
                        .try_for_each(|rows: Vec<T>| answers_in.send(rows))
                });
                (blocks_in, answers)
            })
            .collect();
        let (mut sent, mut received) = (0, 0);
        let mut more = true;
        while more || received < sent {
            while more && sent - received < threads * DEPTH {
                match manifest.next_block()? {
                    Some(block) => lanes[sent % threads].0.send(block).map_err(ended)?,
                    None => {
                        more = false;
                        break;
                    }
                }
                sent += 1;
            }
            if received < sent {
                let rows = lanes[received % threads].1.recv().map_err(ended)?;
                received += 1;
                rows.into_iter().try_for_each(&mut sink)?;
            }
        }
        Ok(())
    })
}

fn ended(error: impl std::fmt::Display) -> Error {
    Error::Task(error.to_string())
}
