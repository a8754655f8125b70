//! How much the queue makes Redis write.

use crate::fixture::{Fixture, bulk, checkpoint};

const STEPS: u64 = 200;

/// What may go to the append-only file with a step: of 500 workers with 4 steps a second each, less than
/// 3 GB an hour.
const MOST_PER_STEP: u64 = 400;

async fn written(fixture: &Fixture) -> u64 {
    let info: String = fixture.raw(&["INFO", "persistence"]).await.unwrap();
    let size = info.lines().find_map(|line| line.strip_prefix("aof_current_size:")).unwrap();
    size.trim().parse().unwrap()
}

#[tokio::test]
async fn a_step_writes_little_whatever_the_lease_holds() {
    let fixture = Fixture::start().await;
    let spec = bulk();
    let batch = fixture.queue.new_batch("tenant").unwrap();
    let one = uso_queue::Submission { batch: Some(batch), ..(&spec).into() };
    fixture.queue.submit("tenant", one).await.unwrap();
    let lease = fixture.claim().await.unwrap();
    lease.record_checkpoint(&checkpoint(12)).await.unwrap();
    let before = written(&fixture).await;
    for step in 1..=STEPS {
        lease.progress(step as u32, STEPS as u32).await.unwrap();
    }
    let each = (written(&fixture).await - before) / STEPS;
    assert!((100..MOST_PER_STEP).contains(&each), "{each} bytes a step");
}
