//! Sets how many threads computation uses.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Variables that the computing libraries read once, when they start their thread pools.
const POOLS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Gives the thread pools as many threads as this process may run at once, unless the environment says otherwise. On
/// their own they count the machine's cores, also in a container that has fewer.
///
/// A process cannot safely change its own environment, so it restarts itself with a new one.
pub(crate) fn use_all_available() {
    let unset: Vec<_> = POOLS.into_iter().filter(|name| std::env::var_os(name).is_none()).collect();
    if unset.is_empty() {
        return;
    }
    let (Ok(program), Ok(available)) = (std::env::current_exe(), std::thread::available_parallelism()) else {
        return;
    };
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1));
    again.envs(unset.into_iter().map(|name| (name, available.to_string())));
    // Returns only on failure; then the defaults have to do.
    let _ = again.exec();
}
