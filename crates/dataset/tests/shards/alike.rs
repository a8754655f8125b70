//! Pictures that look alike, within a shard and across shards.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uso_dataset::shards::{
    About, DoublePair, Hashes, Index, NearDoubles, Scorer, Shard, Stats, describe, prepare,
};
use uso_dataset::{Outcome, layout};

use crate::fixture::{Bucket, batch, outcomes};

/// Outcomes whose pictures have these hashes; none for one that nobody scored.
fn hashed(rows: &[(u64, Option<u64>)]) -> Vec<(Outcome, Vec<u8>)> {
    rows.iter()
        .map(|(row, hash)| {
            let (mut outcome, picture) = outcomes(*row..*row + 1).remove(0);
            let scores = json!({
                "accepted": true, "taken": 0, "tries": [], "profiles": {}, "phash": hash.map(|hash| format!("{hash:016x}")),
            });
            let output = outcome.output.as_mut().unwrap();
            output.scores = hash.is_some().then(|| serde_json::from_value(scores).unwrap());
            (outcome, picture)
        })
        .collect()
}

async fn pack(bucket: &Bucket, number: u32, rows: &[(u64, Option<u64>)]) -> Stats {
    let segment = bucket.segment(number.into(), &hashed(rows)).await;
    let shard = Shard { batch: batch(), number, segments: vec![segment], split: None };
    let prepared = prepare(&bucket.store, &shard).await.unwrap().unwrap();
    prepared.complete(&bucket.store).await.unwrap();
    prepared.stats
}

async fn read(bucket: &Bucket, name: &str) -> Vec<u8> {
    bucket.store.get(&(layout::dataset(&batch()) + name)).await.unwrap().to_vec()
}

fn pair(distance: u32, first: u64, second: u64) -> DoublePair {
    DoublePair { distance, first: format!("cup-{first:04}"), second: format!("cup-{second:04}") }
}

/// Rows of three shards; the last has no hashes.
const SHARDS: [&[(u64, Option<u64>)]; 3] = [
    &[(0, Some(0xff00)), (1, Some(0xff00 ^ 1)), (2, Some(0x1234_5678_9abc_def0)), (3, None)],
    &[(4, Some(0xff00)), (5, Some(0x1234_5678_9abc_def0 ^ 0xf)), (6, Some(0x00ff_00ff_00ff_0000))],
    &[(7, None)],
];

fn expected() -> NearDoubles {
    NearDoubles {
        hashed: 6,
        rows: 5,
        // Row 1 looks like both of the same picture.
        pairs: BTreeMap::from([(0, 1), (1, 2), (4, 1)]),
        closest: vec![pair(0, 0, 4), pair(1, 0, 1), pair(4, 2, 5)],
        incomplete: false,
    }
}

#[tokio::test]
async fn near_doubles_are_found_across_shards_in_whatever_order_they_are_packed() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let bucket = Bucket::start().await;
        let (mut hashes, mut committed) = (Hashes::default(), BTreeSet::new());
        let mut index = None;
        for number in order {
            pack(&bucket, number, SHARDS[number as usize]).await;
            committed.insert(number);
            // One process describes it again and again.
            let about = About::default();
            let described = describe(&bucket.store, &batch(), &committed, &about, &mut hashes).await;
            index = described.unwrap().near_doubles;
        }
        assert_eq!(index, Some(expected()), "{order:?}");
        // Another process that takes over finds the same.
        let about = About::default();
        let again = describe(&bucket.store, &batch(), &committed, &about, &mut Hashes::default()).await;
        assert_eq!(again.unwrap().near_doubles, Some(expected()));
        let there: Index = serde_json::from_slice(&read(&bucket, "index.json").await).unwrap();
        assert_eq!(there.near_doubles, Some(expected()));
        let card = String::from_utf8(read(&bucket, "README.md").await).unwrap();
        assert!(card.contains("5 of 6 pictures look like another one"), "{card}");
        assert!(card.contains("| 0 | 1 |\n| 1 | 2 |\n| 4 | 1 |\n"), "{card}");
    }
}

#[tokio::test]
async fn a_shards_statistics_tell_of_its_own_rows() {
    let bucket = Bucket::start().await;
    let stats = pack(&bucket, 0, SHARDS[0]).await;
    let own = NearDoubles {
        hashed: 3,
        rows: 2,
        pairs: BTreeMap::from([(1, 1)]),
        closest: vec![pair(1, 0, 1)],
        incomplete: false,
    };
    assert_eq!(stats.near_doubles, Some(own));
    let there: Stats = serde_json::from_slice(&read(&bucket, &layout::stats(0)).await).unwrap();
    assert_eq!(there, stats);
}

#[tokio::test]
async fn shards_of_a_version_before_are_compared_too() {
    let bucket = Bucket::start().await;
    for number in 0..2 {
        pack(&bucket, number, SHARDS[number as usize]).await;
        let name = layout::dataset(&batch()) + &layout::stats(number);
        let mut stats: Value = serde_json::from_slice(&bucket.store.get(&name).await.unwrap()).unwrap();
        assert!(stats.as_object_mut().unwrap().remove("near_doubles").is_some());
        bucket.store.put(&name, "application/json", stats.to_string().into()).await.unwrap();
    }
    let (about, committed) = (About::default(), BTreeSet::from([0, 1]));
    let index = describe(&bucket.store, &batch(), &committed, &about, &mut Hashes::default()).await.unwrap();
    assert_eq!(index.near_doubles, Some(expected()));
    assert!(index.shards.iter().all(|stats| stats.near_doubles.is_none()));
    // A damaged row file is left to verification.
    let name = layout::dataset(&batch()) + &layout::row_file(1);
    bucket.store.put(&name, "application/octet-stream", "torn".into()).await.unwrap();
    let index = describe(&bucket.store, &batch(), &committed, &about, &mut Hashes::default()).await.unwrap();
    assert_eq!(index.near_doubles.unwrap().hashed, 3);
    // One that can be read and is not the recorded one, too.
    let other = read(&bucket, &layout::row_file(0)).await;
    bucket.store.put(&name, "application/octet-stream", other.into()).await.unwrap();
    let index = describe(&bucket.store, &batch(), &committed, &about, &mut Hashes::default()).await.unwrap();
    assert_eq!(index.near_doubles.unwrap().hashed, 3);
}

#[tokio::test]
async fn the_card_says_how_many_each_scorer_rejected() {
    let bucket = Bucket::start().await;
    pack(&bucket, 0, SHARDS[2]).await;
    let scorer = |name: &str, least, rejected| Scorer { name: name.into(), least, rejected };
    let scorers = vec![
        scorer("clip_t", Some(0.25), Some(7)),
        scorer("dino", Some(0.5), None),
        scorer("csd", None, Some(3)),
        scorer("sharpness", None, None),
    ];
    let about = About { scorers, ..About::default() };
    describe(&bucket.store, &batch(), &BTreeSet::from([0]), &about, &mut Hashes::default()).await.unwrap();
    let card = String::from_utf8(read(&bucket, "README.md").await).unwrap();
    for line in [
        "- `clip_t`: at least 0.25; 7 pictures rejected\n",
        "- `dino`: at least 0.5\n",
        "- `csd`: by the rows' own thresholds; 3 pictures rejected\n",
        "- `sharpness`: scored only\n",
        "they have no perceptual hash",
    ] {
        assert!(card.contains(line), "{line} {card}");
    }
}
