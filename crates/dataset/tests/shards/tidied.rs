//! What is removed once a shard is committed, and what lost workers left.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use uso_dataset::layout;
use uso_dataset::shards::{Known, Orphans, Shard, find_orphans, prepare, remove_orphans, remove_staged};
use uso_queue::State;

use crate::fixture::{Bucket, batch, outcomes};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn staged_pictures_of_a_shard_go() {
    let bucket = Bucket::start().await;
    let mut rows = outcomes(0..4);
    rows[1].0.state = State::Failed;
    // A job that names another's picture must not delete it.
    let other = rows[3].0.output.as_ref().unwrap().uri.clone();
    rows[2].0.output.as_mut().unwrap().sidecar = other;
    let segment = bucket.segment(0, &rows[..3]).await;
    let _ = bucket.segment(1, &rows[3..]).await;
    assert_eq!(remove_staged(&bucket.store, std::slice::from_ref(&segment)).await.unwrap(), 3);
    assert_eq!(remove_staged(&bucket.store, &[segment]).await.unwrap(), 3, "it can be repeated");
    let left: Vec<String> =
        bucket.store.list("jobs/").await.unwrap().into_iter().map(|object| object.key).collect();
    let of = |row: usize, name: &str| format!("jobs/{}/1/{name}", rows[row].0.job);
    assert_eq!(left, [of(1, "0.json"), of(1, "0.png"), of(3, "0.json"), of(3, "0.png")]);
}

/// Makes all files below a folder nine days old.
fn age(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - 9 * DAY).unwrap();
        }
    }
}

#[tokio::test]
async fn what_nobody_knows_is_found_and_removed_once_it_is_old() {
    let bucket = Bucket::start().await;
    let (known, lost) = (bucket.segment(0, &outcomes(0..2)).await, bucket.segment(1, &outcomes(2..4)).await);
    let shard = |number, segment: &String| Shard {
        batch: batch(),
        number,
        segments: vec![segment.clone()],
        split: None,
    };
    let begun = async |number, segment: &String| {
        prepare(&bucket.store, &shard(number, segment)).await.unwrap().unwrap()
    };
    begun(0, &known).await.complete(&bucket.store).await.unwrap();
    begun(1, &lost).await.complete(&bucket.store).await.unwrap();
    let (noted, forgotten) = (begun(2, &lost).await.intent, begun(3, &lost).await.intent);
    let queue = Known {
        shards: BTreeSet::from([0, 2]),
        segments: BTreeSet::from([known]),
        uploads: noted.upload.iter().cloned().collect(),
        ..Known::default()
    };
    let batch = batch();
    let find = || find_orphans(&bucket.store, &batch, &queue, DAY);
    assert_eq!(find().await.unwrap(), Orphans::default(), "all is young");

    age(&bucket.data.path().join("s3"));
    let found = find().await.unwrap();
    let of = |names: &[&str]| names.iter().map(|name| layout::dataset(&batch) + name).collect::<Vec<_>>();
    let mut expected = of(&[
        "00001.tar",
        "_meta/00001.parquet",
        "_meta/00001_stats.json",
        "_meta/00003.parquet",
        "_meta/00003_stats.json",
    ]);
    expected.push(lost);
    assert_eq!(found.objects, expected);
    let ids: Vec<_> = found.uploads.iter().map(|upload| upload.id.clone()).collect();
    assert_eq!(ids, [forgotten.upload.unwrap()]);
    remove_orphans(&bucket.store, &found).await.unwrap();
    remove_orphans(&bucket.store, &found).await.unwrap();
    assert_eq!(find().await.unwrap(), Orphans::default());
    assert!(bucket.store.head(&(layout::dataset(&batch) + "00000.tar")).await.unwrap().is_some());
}
