//! Sets how many threads computation uses.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Variables that the computing libraries read once, when they start their thread pools.
const POOLS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Gives the thread pools so many threads. Without a number, as many as the environment says, or as this process may run
/// at once: on their own they count the machine's cores, also in a container that has fewer.
///
/// A process cannot safely change its own environment, so it restarts itself with a new one.
pub(crate) fn set(threads: Option<NonZeroUsize>) {
    let available = || std::thread::available_parallelism().ok();
    let missing = missing(threads, available, |name| std::env::var_os(name));
    if missing.is_empty() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).envs(missing);
    // Returns only on failure; then the defaults have to do.
    let _ = again.exec();
}

/// The variables that have another value than they should have, with that value.
fn missing(
    threads: Option<NonZeroUsize>,
    available: impl Fn() -> Option<NonZeroUsize>,
    value: impl Fn(&str) -> Option<OsString>,
) -> Vec<(&'static str, String)> {
    let wanted = |name| match (threads, value(name)) {
        (Some(threads), now) => Some(threads.to_string()).filter(|wanted| now != Some(wanted.into())),
        (None, Some(_)) => None,
        (None, None) => available().map(|available| available.to_string()),
    };
    POOLS.into_iter().filter_map(|name| Some((name, wanted(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_comes_before_the_environment_and_that_before_the_processors() {
        let two = || NonZeroUsize::new(2);
        let all = |count: &str| POOLS.map(|name| (name, count.to_owned())).to_vec();
        let rayon = |name: &str| (name == POOLS[0]).then(|| OsString::from("5"));
        assert_eq!(missing(None, two, |_| None), all("2"));
        assert_eq!(missing(None, two, rayon), [(POOLS[1], "2".to_owned())]);
        assert_eq!(missing(NonZeroUsize::new(7), two, rayon), all("7"));
        // Restarted, it goes on.
        assert_eq!(missing(NonZeroUsize::new(7), two, |_| Some("7".into())), []);
        assert_eq!(missing(None, two, |_| Some("5".into())), []);
        assert_eq!(missing(None, || None, |_| None), []);
    }
}
