//! How many threads computation uses.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Read once by the libraries that compute, when they start their pools.
const POOLS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Lets the pools have as many threads as this process may use at once, unless the environment says
/// otherwise: left alone they count the machine's cores, also in a container that has fewer.
///
/// A process cannot change its own environment safely, so it starts itself again with another one.
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
    // Comes back only if it failed; then the defaults have to do.
    let _ = again.exec();
}
