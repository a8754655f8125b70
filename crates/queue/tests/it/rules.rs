//! Each rule of the protocol, broken once in the function library: its test must fail.
//!
//! The test binary runs itself, one test a rule, and tells it by the environment what to break
//! ([`Broken::from_environment`]). A rule whose test passes all the same is not tested.

mod datasets;
mod leases;
mod life;
mod order;
mod submissions;

use std::process::Stdio;

use tokio::process::Command;
use tokio::task::JoinSet;

const FROM: &str = "USO_TEST_BREAK";
const TO: &str = "USO_TEST_BREAK_INTO";

/// Rules at work at the same time: as many as a small machine has cores.
const AT_ONCE: usize = 2;

/// A text of the library and what stands there instead.
pub(crate) struct Broken {
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Broken {
    /// What this process is to break, if anything.
    pub(crate) fn from_environment() -> Option<Self> {
        Some(Self { from: std::env::var(FROM).ok()?, to: std::env::var(TO).ok()? })
    }
}

/// The rule, the text that keeps it, what breaks it, and the test that must notice.
type Rule = (&'static str, &'static str, &'static str, &'static str);

/// Whether the rule's test fails once the rule is broken.
async fn is_noticed((rule, from, to, test): Rule) -> Result<(), String> {
    let run = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--test-threads", "1"])
        .envs([(FROM, from), (TO, to)])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    if said.contains("the library has no") || !said.contains("running 1 test") {
        Err(format!("{rule}: it could not be broken, or {test} is not there"))
    } else if run.status.success() {
        Err(format!("{rule}: {test} does not notice"))
    } else {
        Ok(())
    }
}

#[tokio::test]
async fn each_broken_rule_is_noticed_by_its_test() {
    let mut faults = Vec::new();
    let mut checks: JoinSet<Result<(), String>> = JoinSet::new();
    for rule in [
        order::ORDER,
        leases::LEASES,
        leases::WATCHING,
        life::LIFE,
        submissions::SUBMISSIONS,
        submissions::LISTS,
        datasets::DATASETS,
    ]
    .concat()
    {
        if checks.len() == AT_ONCE {
            faults.extend(checks.join_next().await.unwrap().unwrap().err());
        }
        checks.spawn(is_noticed(rule));
    }
    faults.extend(checks.join_all().await.into_iter().filter_map(Result::err));
    assert!(faults.is_empty(), "{faults:#?}");
}
