//! What can be done to a queue.

use proptest::prelude::*;
use uso_queue::{BatchOperation, Class};

/// Jobs, leases and batches are named by number, counted round if there are fewer.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Submit {
        tenant: usize,
        class: Class,
        priority: i32,
        batch: Option<usize>,
        times: Times,
        count: usize,
    },
    Claim {
        worker: usize,
        count: usize,
        classes: &'static [Class],
        capacity: u64,
        /// Whether the worker says that it holds no job.
        alone: bool,
    },
    Renew {
        lease: usize,
    },
    Progress {
        lease: usize,
    },
    Aside {
        lease: usize,
        resumed: bool,
    },
    /// A stage begins, or none is under way any more.
    Stage {
        lease: usize,
        at_work: bool,
    },
    Checkpoint {
        lease: usize,
    },
    Complete {
        lease: usize,
    },
    Fail {
        lease: usize,
        retryable: bool,
    },
    Release {
        lease: usize,
        need: Option<u64>,
    },
    /// The device hangs at it.
    GiveUpStuck {
        lease: usize,
    },
    /// A holder that was out of reach is back.
    ClearMark {
        lease: usize,
    },
    Cancel {
        job: usize,
    },
    Retry {
        job: usize,
    },
    /// What is left of it is forgotten, if it has ended.
    Remove {
        job: usize,
    },
    Reap,
    /// Time passes while others talk to the shard.
    Tick,
    /// Time passes and nobody can reach the shard.
    Outage,
    PauseTenant {
        tenant: usize,
        paused: bool,
    },
    PauseClass {
        class: Class,
        paused: bool,
    },
    Limit {
        tenant: usize,
        weight: u32,
        max_running: Option<u64>,
    },
    Batch {
        batch: usize,
        operation: BatchOperation,
    },
    RestartRedis,
}

/// When a job may and must be worked on, in ticks from now; odd halves keep clear of the ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) not_before: Option<u32>,
    pub(super) start_by: Option<u32>,
    pub(super) finish_by: Option<u32>,
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Interactive), Just(Class::Bulk)]
}

fn classes() -> impl Strategy<Value = &'static [Class]> {
    prop_oneof![
        4 => Just(&Class::ALL[..]),
        1 => Just(&[Class::Bulk][..]),
        1 => Just(&[Class::Interactive][..]),
    ]
}

fn times() -> impl Strategy<Value = Times> {
    let some = |ticks| prop::option::weighted(0.2, 1..ticks);
    (some(6u32), some(6), some(9)).prop_map(|(not_before, start_by, finish_by)| Times {
        not_before: not_before
            .filter(|from| start_by.is_none_or(|to| *from <= to) && finish_by.is_none_or(|to| *from <= to)),
        start_by: start_by.filter(|from| finish_by.is_none_or(|to| *from <= to)),
        finish_by,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let number = || 0usize..24;
    let batch_operation = prop_oneof![
        Just(BatchOperation::Pause),
        Just(BatchOperation::Resume),
        Just(BatchOperation::Cancel),
        Just(BatchOperation::RetryFailed),
    ];
    prop_oneof![
        24 => (0usize..3, class(), 0..2, prop::option::weighted(0.4, 0usize..2), times(), 1usize..4).prop_map(
            |(tenant, class, priority, batch, times, count)| Operation::Submit { tenant, class, priority, batch, times, count }
        ),
        24 => (0usize..3, 1usize..3, classes(), 1u64..3, prop::bool::weighted(0.6)).prop_map(
            |(worker, count, classes, capacity, alone)| Operation::Claim { worker, count, classes, capacity, alone }
        ),
        6 => number().prop_map(|lease| Operation::Renew { lease }),
        6 => number().prop_map(|lease| Operation::Progress { lease }),
        3 => (number(), any::<bool>()).prop_map(|(lease, resumed)| Operation::Aside { lease, resumed }),
        8 => (number(), prop::bool::weighted(0.8)).prop_map(|(lease, at_work)| Operation::Stage { lease, at_work }),
        4 => number().prop_map(|lease| Operation::Checkpoint { lease }),
        10 => number().prop_map(|lease| Operation::Complete { lease }),
        10 => (number(), prop::bool::weighted(0.7)).prop_map(|(lease, retryable)| Operation::Fail { lease, retryable }),
        6 => (number(), prop::option::weighted(0.4, 1u64..4)).prop_map(|(lease, need)| Operation::Release { lease, need }),
        4 => number().prop_map(|lease| Operation::GiveUpStuck { lease }),
        6 => number().prop_map(|lease| Operation::ClearMark { lease }),
        6 => number().prop_map(|job| Operation::Cancel { job }),
        4 => number().prop_map(|job| Operation::Retry { job }),
        5 => number().prop_map(|job| Operation::Remove { job }),
        10 => Just(Operation::Reap),
        16 => Just(Operation::Tick),
        3 => Just(Operation::Outage),
        4 => (0usize..3, any::<bool>()).prop_map(|(tenant, paused)| Operation::PauseTenant { tenant, paused }),
        2 => (class(), prop::bool::weighted(0.3)).prop_map(|(class, paused)| Operation::PauseClass { class, paused }),
        3 => (0usize..3, 1u32..4, prop::option::of(1u64..3)).prop_map(
            |(tenant, weight, max_running)| Operation::Limit { tenant, weight, max_running }
        ),
        6 => (0usize..2, batch_operation).prop_map(|(batch, operation)| Operation::Batch { batch, operation }),
    ]
}

/// A list of operations; one in fifty also sees Redis killed and started again.
pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    (prop::collection::vec(operation(), 1..60), prop::option::weighted(0.02, 0usize..60)).prop_map(
        |(mut list, restart)| {
            if let Some(at) = restart {
                list.insert(at.min(list.len()), Operation::RestartRedis);
            }
            list
        },
    )
}
