//! Parts of a model that are built at once.

use candle_core::{Device, Result, bail};

/// Builds something of each item, in their order. On the CPU as many at once as there are processors: to read, to copy
/// and to round weights keeps a thread as busy as a disk. Tensors of other devices belong to the thread that makes them.
pub(super) fn built<I: Send, T: Send>(
    device: &Device,
    items: impl Iterator<Item = I>,
    build: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    if !device.is_cpu() {
        return items.map(build).collect();
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let items = std::sync::Mutex::new(items.enumerate().collect::<Vec<_>>().into_iter());
    let next = || items.lock().ok().and_then(|mut items| items.next());
    let some = || {
        let of = |(at, item)| Ok((at, build(item)?));
        std::iter::from_fn(next).map(of).collect::<Result<Vec<_>>>()
    };
    let mut built = Vec::new();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        for one in all {
            match one.join() {
                Ok(parts) => built.extend(parts?),
                Err(_) => bail!("a thread that loads was lost"),
            }
        }
        Ok(())
    })?;
    built.sort_by_key(|(at, _)| *at);
    Ok(built.into_iter().map(|(_, part)| part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_and_the_first_fault_is_told() {
        let built_of = |build: fn(usize) -> Result<usize>| built(&Device::Cpu, 0..50, build);
        assert_eq!(built_of(|i| Ok(2 * i)).unwrap(), (0..50).map(|i| 2 * i).collect::<Vec<_>>());
        let fault = built_of(|i| if i == 7 { bail!("tensor {i}") } else { Ok(i) }).unwrap_err();
        assert!(fault.to_string().starts_with("tensor 7"), "{fault}");
    }
}
