//! What goes wrong, and when.

use std::collections::VecDeque;
use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::site::{LEASE, WORKERS};

/// One thing that goes wrong, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// A worker dies; another takes its place.
    KillWorker { worker: usize },
    /// A worker stands still for longer than its lease, then goes on as if nothing had been.
    FreezeWorker { worker: usize, time: Duration },
    /// A worker's way to Redis is silent, for less than a lease bears.
    SilenceLink { worker: usize, time: Duration },
    /// Redis dies, and starts again from its append-only file.
    KillRedis { away: Duration },
    /// The object store cannot be reached.
    StoreAway { away: Duration },
    /// The object store takes no writes; what is there can be read.
    StoreFull { time: Duration, status: u16 },
    /// The API dies; another takes its place.
    KillApi,
    /// The nightly window of bulk work closes: half-drawn pictures go back.
    CloseWindow { time: Duration },
}

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    fn milliseconds(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least))
    }
}

/// What a run does. A panic prints it.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) jobs: usize,
    faults: VecDeque<(usize, Fault)>,
    log: Vec<String>,
}

impl Plan {
    /// Draws the plan that the environment asks for, or any.
    pub(crate) fn draw() -> Self {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = number("USO_CHAOS_SEED").unwrap_or(now.as_nanos() as u64 % 1_000_000);
        let jobs = number("USO_CHAOS_JOBS").unwrap_or(2000) as usize;
        eprintln!("chaos: USO_CHAOS_SEED={seed} USO_CHAOS_JOBS={jobs}");
        let mut dice = Dice::new(seed);
        let count = (jobs / 70).max(KINDS as usize);
        let faults = (0..count).map(|i| ((i + 1) * jobs / (count + 1), fault(&mut dice, i)));
        Self { seed, jobs, faults: faults.collect(), log: Vec::new() }
    }

    /// The next fault, and how many jobs are accepted before it.
    pub(crate) fn next(&mut self) -> Option<(usize, Fault)> {
        self.faults.pop_front()
    }

    pub(crate) fn note(&mut self, what: &str) {
        self.log.push(what.to_owned());
    }
}

/// How many kinds of fault there are.
const KINDS: u64 = 8;

/// Each kind of fault at least once, kills most often.
fn fault(dice: &mut Dice, number: usize) -> Fault {
    let kind = if number < KINDS as usize { number as u64 } else { dice.below(16) };
    let worker = dice.below(WORKERS as u64) as usize;
    match kind {
        0 => Fault::FreezeWorker { worker, time: LEASE + dice.milliseconds(1000, 4000) },
        1 => Fault::KillRedis { away: dice.milliseconds(100, 3000) },
        2 => Fault::StoreAway { away: dice.milliseconds(200, 9000) },
        3 => Fault::KillApi,
        5 => {
            let statuses = [503, 507, 500, 403];
            let status = statuses[dice.below(statuses.len() as u64) as usize];
            Fault::StoreFull { time: dice.milliseconds(2000, 9000), status }
        }
        4 => Fault::CloseWindow { time: dice.milliseconds(2000, 4000) },
        7 => Fault::SilenceLink { worker, time: dice.milliseconds(1000, 9000) },
        _ => Fault::KillWorker { worker },
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("chaos failed: USO_CHAOS_SEED={} USO_CHAOS_JOBS={}", self.seed, self.jobs);
            for line in &self.log {
                eprintln!("  {line}");
            }
        }
    }
}
