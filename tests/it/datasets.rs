//! Data sets are made by real processes that die, stand still and are cut off: each row ends once, and each picture lies
//! in one shard.
//!
//! `USO_DATASET_SEED` repeats a plan; `USO_DATASET_ROWS` and `USO_DATASET_KILLS` make it longer.

mod maker;

use std::time::Duration;

use uso_dataset::{layout, run};
use uso_queue::{BatchOperation, State};

use self::maker::{Maker, rows};
use crate::chaos::Dice;
use crate::store_proxy::{How, What};

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

const ENGINE: &str = "scripted:step=20ms,size=16";

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_in_one_shard_whatever_dies() {
    let seed = setting("USO_DATASET_SEED", 1);
    let count = setting("USO_DATASET_ROWS", 300);
    let kills = setting("USO_DATASET_KILLS", 3);
    eprintln!("USO_DATASET_SEED={seed} USO_DATASET_ROWS={count} USO_DATASET_KILLS={kills}");
    let mut dice = Dice::new(seed);
    let mut maker = Maker::start().await;
    // One row in a hundred names a reference that is not there.
    let is_broken = |row: u64| row % 100 == 7;
    let batch = maker.create_twice("chaos", 20, &rows(count, is_broken)).await;
    for _ in 0..2 {
        maker.add_worker(ENGINE).await;
    }
    let mut points: Vec<(u64, u64)> = (0..kills).map(|kind| (1 + dice.below(count * 9 / 10), kind)).collect();
    points.push((1 + dice.below(count / 2), u64::MAX));
    points.push((1 + dice.below(count / 2), u64::MAX - 1));
    points.sort_unstable();
    for (point, kind) in points {
        maker.until_settled(&batch, point).await;
        match kind {
            u64::MAX => maker.restart_redis(Duration::from_millis(dice.below(1500))).await,
            0xffff_ffff_ffff_fffe => {
                maker.fleet.proxy.refuse(What::Everything, How::Status(503));
                tokio::time::sleep(Duration::from_millis(1000 + dice.below(2000))).await;
                maker.fleet.proxy.relent();
            }
            // In turn whoever feeds, whoever packs, and anybody.
            kind => {
                let task = ["run", "pack:", ""][kind as usize % 3];
                let worker = maker.holder(task, Duration::from_secs(3)).await;
                maker.kill(worker.unwrap_or(dice.below(2) as usize), ENGINE).await;
            }
        }
    }
    maker.until_made(&batch).await;
    let counts = maker.queue.batch(&batch).await.unwrap().unwrap().counts;
    let broken: Vec<u64> = (0..count).filter(|row| is_broken(*row)).collect();
    assert_eq!((counts.total, counts.failed), (count, broken.len() as u64), "{counts:?}");
    assert_eq!(counts.succeeded, count - counts.failed, "{counts:?}");
    maker.is_sound(&batch, (0..count).filter(|row| !is_broken(*row))).await;
    for row in broken {
        let row = batch.job_of_row(row, 0).unwrap().row().unwrap();
        let outcome = run::find_outcome(&maker.queue, &maker.fleet.store, &row).await.unwrap().unwrap();
        assert_eq!((outcome.state, outcome.output), (State::Failed, None));
        assert!(outcome.error.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packer_that_stood_still_changes_nothing() {
    let mut maker = Maker::start().await;
    let batch = maker.create("still", 20, &rows(40, |_| false)).await;
    maker.fleet.proxy.refuse(What::Completions, How::HoldFirst);
    maker.add_worker(ENGINE).await;
    // It has noted what it is about to commit, and its last call is under way.
    maker.fleet.proxy.refuses_again(1).await;
    assert_eq!(maker.holder("pack:", Duration::from_secs(60)).await, Some(0));
    maker.workers[0].signal("STOP").await;
    maker.add_worker(ENGINE).await;
    maker.until_made(&batch).await;
    maker.is_sound(&batch, 0..40).await;
    let made = maker.files(&batch).await;
    maker.fleet.proxy.let_go();
    maker.workers[0].signal("CONT").await;
    maker.workers[0].signal("TERM").await;
    assert!(maker.workers[0].ended().await, "the late packer did not end in order");
    assert_eq!(maker.files(&batch).await, made);
    maker.is_sound(&batch, 0..40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packer_whose_store_is_full_waits_and_goes_on() {
    let mut maker = Maker::start().await;
    maker.fleet.proxy.refuse(What::Parts, How::Status(507));
    let batch = maker.create("full", 20, &rows(40, |_| false)).await;
    maker.add_worker(ENGINE).await;
    maker.fleet.proxy.refuses_again(1).await;
    for how in [
        How::Status(500),
        How::Code(400, "EntityTooLarge"),
        How::Code(507, "InsufficientStorage"),
        How::Reset,
    ] {
        maker.fleet.proxy.refuse(What::Parts, how);
        maker.fleet.proxy.refuses_again(1).await;
    }
    // Its other work goes on meanwhile.
    maker.until_settled(&batch, 40).await;
    let view = maker.queue.dataset(&batch).await.unwrap().unwrap();
    assert_eq!((view.archived + view.waiting, view.packed), (40, 0));
    maker.fleet.proxy.relent();
    maker.until_made(&batch).await;
    maker.is_sound(&batch, 0..40).await;
    let left = maker.fleet.store.unfinished_uploads(&layout::dataset(&batch)).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rows_that_are_retried_come_in_new_shards() {
    let mut maker = Maker::start().await;
    let batch = maker.create("retried", 20, &rows(60, |_| false)).await;
    maker.add_worker("scripted:step=1ms,size=16,fail=0.6,seed=3").await;
    maker.until_made(&batch).await;
    let counts = maker.queue.batch(&batch).await.unwrap().unwrap().counts;
    assert!(counts.failed > 0 && counts.succeeded + counts.failed == 60, "{counts:?}");
    let before = maker.files(&batch).await;
    let shards = maker.queue.dataset(&batch).await.unwrap().unwrap().shards;
    maker.kill(0, ENGINE).await;
    assert!(maker.queue.control_batch(&batch, BatchOperation::RetryFailed).await.unwrap());
    maker.until_made(&batch).await;
    let counts = maker.queue.batch(&batch).await.unwrap().unwrap().counts;
    assert_eq!((counts.total, counts.succeeded, counts.failed), (60, 60, 0), "{counts:?}");
    assert!(maker.queue.dataset(&batch).await.unwrap().unwrap().shards > shards);
    maker.is_sound(&batch, 0..60).await;
    let after = maker.files(&batch).await;
    for (name, bytes) in before.iter().filter(|(name, _)| name.ends_with(".tar")) {
        assert_eq!(after.get(name), Some(bytes), "{name}");
    }
}
