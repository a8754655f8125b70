//! Lists of operations on a real Redis, beside a plain model of the queue in memory.
//!
//! Every answer must be the model's, and after every list every job, counter and event too. Lists are
//! generated; one that fails is made shorter until nothing can be left out of it. `USO_SIMULATION_LISTS`
//! says how many lists each test runs.

mod model;
mod operation;
mod run;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use operation::operations;
use run::Simulation;

/// Lists of each test; there are two, so that they use two cores.
const LISTS: u32 = 1000;

fn simulate() {
    let lists = std::env::var("USO_SIMULATION_LISTS").ok().and_then(|lists| lists.parse().ok());
    let config = Config {
        cases: lists.unwrap_or(LISTS),
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let simulation = std::cell::RefCell::new(runtime.block_on(Simulation::start()));
    let outcome = TestRunner::new(config).run(&operations(), |list| {
        let mut simulation = simulation.borrow_mut();
        runtime.block_on(simulation.run(&list)).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, list)) => {
            let list: Vec<String> = list.iter().map(|operation| format!("  {operation:?}\n")).collect();
            panic!("{reason} with\n{}", list.concat());
        }
        Err(abort) => panic!("{abort}"),
    }
}

#[test]
fn the_queue_is_as_its_model_says() {
    simulate();
}

#[test]
fn the_queue_is_as_its_model_says_again() {
    simulate();
}
