//! Parallel work while a model is loaded.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use candle_core::{Device, Result as CandleResult};

use crate::{Error, memory};

/// Makes `count` things on several threads; gives the results in order, or the first failure.
///
/// The things are made on `device`: each thread has a stream of its own there, and waits for it before it ends.
pub(crate) fn make_all<T: Send>(
    count: usize,
    device: &Device,
    make: impl Fn(usize) -> CandleResult<T> + Sync,
) -> CandleResult<Vec<T>> {
    let (next, threads) = (AtomicUsize::new(0), threads().clamp(1, count.max(1)));
    let work = || {
        let mut made = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            match make(i) {
                Ok(one) => made.push((i, one)),
                Err(error) => {
                    next.store(count, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        device.synchronize()?;
        Ok(made)
    };
    let parts: Vec<CandleResult<Vec<(usize, T)>>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut all: Vec<_> =
        parts.into_iter().collect::<CandleResult<Vec<_>>>()?.into_iter().flatten().collect();
    all.sort_by_key(|(i, _)| *i);
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

/// Makes two things at once, so that one can wait for the disk while the other is copied. `one` runs on a thread of its
/// own.
///
/// # Errors
/// The error of `one`, or else of `other`.
pub(crate) fn make_both<A: Send, B>(
    device: &Device,
    one: impl FnOnce() -> Result<A, Error> + Send,
    other: impl FnOnce() -> Result<B, Error>,
) -> Result<(A, B), Error> {
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            let made = one()?;
            device.synchronize()?;
            Ok(made)
        });
        let other = other();
        let one: Result<A, Error> = one.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((one?, other?))
    })
}

/// Number of threads: two per processor, because one of them waits for the disk, but no more than the memory is enough
/// for.
fn threads() -> usize {
    /// More threads do not read faster.
    const MOST: usize = 8;
    /// Eight times the memory of FLUX's largest matrix while a LoRA is merged into it: the matrix in its file's type,
    /// and three copies in float32.
    const BYTES: u64 = 8 << 30;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let room = memory::free(&Device::Cpu).map_or(1, |free| free / BYTES);
    (2 * processors).min(MOST).min(usize::try_from(room).unwrap_or(MOST))
}

#[cfg(test)]
mod tests {
    use candle_core::bail;

    use super::*;

    #[test]
    fn two_things_are_made_at_once_and_either_may_fail() {
        let meet = std::sync::Barrier::new(2);
        let make = |fails: Option<&str>| {
            meet.wait();
            fails.map_or(Ok(()), |name| Err(Error::Plan(name.into())))
        };
        let both = |one, other| make_both(&Device::Cpu, || make(one), || make(other));
        both(None, None).unwrap();
        for (one, other, said) in
            [(Some("a"), None, "a"), (None, Some("b"), "b"), (Some("a"), Some("b"), "a")]
        {
            assert!(both(one, other).unwrap_err().to_string().ends_with(said));
        }
    }

    #[test]
    fn results_have_their_order_and_the_first_failure_ends_it() {
        let squares = make_all(100, &Device::Cpu, |i| Ok(i * i)).unwrap();
        assert_eq!(squares, (0..100).map(|i| i * i).collect::<Vec<_>>());
        assert!(make_all(0, &Device::Cpu, Ok).unwrap().is_empty());
        let failed = make_all(100, &Device::Cpu, |i| if i == 3 { bail!("broken") } else { Ok(i) });
        assert!(failed.unwrap_err().to_string().starts_with("broken"));
    }
}
