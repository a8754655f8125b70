//! Shards of outcomes, committed to a store.

use std::collections::BTreeSet;

use serde_json::json;
use uso_dataset::shards::{
    About, Expected, Hashes, Intent, Place, Prepared, Shard, abandon, commit, describe, prepare,
    read_row_file, verify,
};
use uso_dataset::{Error, Split, layout};
use uso_queue::State;

use crate::fixture::{Bucket, batch, outcome, outcomes, picture};

fn shard(segments: Vec<String>) -> Shard {
    Shard { batch: batch(), number: 0, segments, split: Some(Split { by: "key".into(), val: 0.5 }) }
}

async fn prepared(bucket: &Bucket, segments: &[String]) -> Prepared {
    prepare(&bucket.store, &shard(segments.to_vec())).await.unwrap().unwrap()
}

fn tar() -> String {
    layout::dataset(&batch()) + "00000.tar"
}

#[tokio::test]
async fn a_shard_appears_when_it_is_complete() {
    let bucket = Bucket::start().await;
    let mut failed = outcomes(7..8);
    failed[0].0.state = State::Failed;
    failed[0].0.output = None;
    let segments = vec![
        bucket.segment(1, &outcomes(3..6)).await,
        bucket.segment(0, &outcomes(0..3)).await,
        bucket.segment(2, &failed).await,
    ];
    let prepared = prepared(&bucket, &segments).await;
    assert_eq!(
        (prepared.intent.rows, prepared.stats.counts.first_row, prepared.stats.counts.last_row),
        (6, Some(0), Some(5))
    );
    assert_eq!(bucket.store.head(&tar()).await.unwrap(), None);
    assert!(bucket.store.head(&(layout::dataset(&batch()) + &layout::stats(0))).await.unwrap().is_some());

    // Whoever finds the note can go on.
    let noted: Intent = serde_json::from_value(serde_json::to_value(&prepared.intent).unwrap()).unwrap();
    commit(&bucket.store, &noted).await.unwrap();
    prepared.complete(&bucket.store).await.expect("it is complete already");
    commit(&bucket.store, &noted).await.expect("it is complete already");
    assert_eq!(bucket.store.unfinished_uploads("").await.unwrap(), []);

    describe(&bucket.store, &batch(), &BTreeSet::from([0]), &About::default(), &mut Hashes::default())
        .await
        .unwrap();
    let place = Place::of_batch(bucket.store.clone(), &batch());
    let mut seen = Vec::new();
    let findings =
        verify(&place, &Expected::Rows((0..6).collect()), |progress| seen.push(progress)).await.unwrap();
    assert_eq!(findings, []);
    assert_eq!((seen.len(), seen[0].shards, seen[0].of, seen[0].rows), (1, 1, 1, 6));
    assert_eq!(seen[0].bytes, prepared.stats.bytes);
}

#[tokio::test]
async fn the_same_segments_give_the_same_shard_again() {
    let bucket = Bucket::start().await;
    let (first, second) =
        (bucket.segment(0, &outcomes(0..3)).await, bucket.segment(1, &outcomes(3..5)).await);
    let one = prepared(&bucket, &[first.clone(), second.clone()]).await;
    let two = prepared(&bucket, &[second, first.clone(), first]).await;
    assert_eq!((&one.stats, &one.intent.sha256), (&two.stats, &two.intent.sha256));
    assert_ne!(one.intent.upload, two.intent.upload);
    one.complete(&bucket.store).await.unwrap();
    two.complete(&bucket.store).await.expect("the same tar is there");
    assert_eq!(bucket.store.unfinished_uploads("").await.unwrap(), [], "the second upload is aborted");

    // A third try finds it before it uploads anything.
    let again = vec![bucket.segment(0, &outcomes(0..3)).await, bucket.segment(1, &outcomes(3..5)).await];
    let three = prepared(&bucket, &again).await;
    assert_eq!((three.intent.upload.as_deref(), &three.stats), (None, &one.stats));
    three.complete(&bucket.store).await.unwrap();
}

#[tokio::test]
async fn another_shard_with_its_number_is_refused() {
    let bucket = Bucket::start().await;
    let (one, other) = (bucket.segment(0, &outcomes(0..3)).await, bucket.segment(1, &outcomes(0..4)).await);
    let late = prepared(&bucket, std::slice::from_ref(&other)).await;
    let winner = prepared(&bucket, &[one]).await;
    winner.complete(&bucket.store).await.unwrap();
    let refused = late.complete(&bucket.store).await.unwrap_err();
    assert!(matches!(refused, Error::Taken { .. }), "{refused}");
    abandon(&bucket.store, &late.intent).await.unwrap();
    let refused = prepare(&bucket.store, &shard(vec![other])).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("there is another {} already", tar()));
    // Nothing of the loser is left.
    describe(&bucket.store, &batch(), &BTreeSet::from([0]), &About::default(), &mut Hashes::default())
        .await
        .unwrap();
    let place = Place::of_batch(bucket.store.clone(), &batch());
    assert_eq!(verify(&place, &Expected::Rows((0..3).collect()), |_| {}).await.unwrap(), []);
    assert_eq!(bucket.store.unfinished_uploads("").await.unwrap(), []);
}

#[tokio::test]
async fn a_shard_that_was_given_up_can_be_made_again() {
    let bucket = Bucket::start().await;
    let segments = [bucket.segment(0, &outcomes(0..3)).await];
    let given_up = prepared(&bucket, &segments).await;
    abandon(&bucket.store, &given_up.intent).await.unwrap();
    abandon(&bucket.store, &given_up.intent).await.unwrap();
    let error = commit(&bucket.store, &given_up.intent).await.unwrap_err();
    assert!(matches!(error, Error::Store(uso_store::Error::Missing { .. })), "{error}");
    prepared(&bucket, &segments).await.complete(&bucket.store).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_row_is_said_and_nothing_is_left() {
    let bucket = Bucket::start().await;
    let mut damaged = outcomes(0..3);
    damaged[1].1[50] ^= 1;
    let segment = bucket.segment(0, &damaged).await;
    let error = prepare(&bucket.store, &shard(vec![segment])).await.unwrap_err();
    assert_eq!(error.to_string(), "cup-0001.png is damaged: its sha256 is not the recorded one");

    let double = bucket.segment(1, &outcomes(0..1)).await;
    let mut other = outcomes(0..1);
    other[0].0.job = outcome(9, &picture(9)).job;
    let twice = bucket.segment(2, &other).await;
    let error = prepare(&bucket.store, &shard(vec![double, twice])).await.unwrap_err();
    assert!(error.to_string().contains("row 0 has two pictures"), "{error}");

    let error = prepare(&bucket.store, &shard(vec!["batches/none.jsonl".into()])).await.unwrap_err();
    assert_eq!(error.to_string(), "batches/none.jsonl cannot be read: it is not there");

    let mut elsewhere = outcomes(5..6);
    let segment = bucket.segment(3, &elsewhere).await;
    elsewhere[0].0.output.as_mut().unwrap().uri = "s3://other/a.png".into();
    let line = serde_json::to_string(&elsewhere[0].0).unwrap();
    bucket.store.put(&segment, "application/jsonl", line.into()).await.unwrap();
    let error = prepare(&bucket.store, &shard(vec![segment])).await.unwrap_err();
    assert!(error.to_string().contains("its picture is not in our bucket"), "{error}");

    let mut none = outcomes(4..5);
    none[0].0.state = State::Failed;
    let segment = bucket.segment(4, &none).await;
    assert!(prepare(&bucket.store, &shard(vec![segment])).await.unwrap().is_none());
    assert_eq!(bucket.store.unfinished_uploads("").await.unwrap(), []);
}

#[tokio::test]
async fn a_shard_of_several_parts_is_whole() {
    let bucket = Bucket::start().await;
    // Larger than a part together, and than what may be in flight: 24 pictures of 3 MB.
    let large: Vec<_> = (0..24_u64)
        .map(|row| {
            let mut file = picture(row);
            file.extend((0..3_000_000_u64).map(|i| ((i * (row + 3)) >> 3) as u8));
            (outcome(row, &file), file)
        })
        .collect();
    let segments = [bucket.segment(0, &large).await];
    let prepared = prepared(&bucket, &segments).await;
    assert_eq!(prepared.intent.parts.len(), 9);
    prepared.complete(&bucket.store).await.unwrap();
    let index =
        describe(&bucket.store, &batch(), &BTreeSet::from([0]), &About::default(), &mut Hashes::default())
            .await
            .unwrap();
    assert_eq!((index.rows, index.bytes), (24, prepared.stats.bytes));
    let place = Place::of_batch(bucket.store.clone(), &batch());
    assert_eq!(verify(&place, &Expected::Rows((0..24).collect()), |_| {}).await.unwrap(), []);
}

#[tokio::test]
async fn rows_of_different_engines_are_told_apart() {
    let bucket = Bucket::start().await;
    let mut made = outcomes(0..4);
    for (place, fingerprint) in [(0, "aa"), (1, "aa"), (2, "bb")] {
        made[place].0.output.as_mut().unwrap().receipt.fingerprint = Some(fingerprint.into());
    }
    let one = prepared(&bucket, &[bucket.segment(0, &made[..2]).await]).await;
    one.complete(&bucket.store).await.unwrap();
    let shard = Shard { number: 1, ..shard(vec![bucket.segment(1, &made[2..]).await]) };
    prepare(&bucket.store, &shard).await.unwrap().unwrap().complete(&bucket.store).await.unwrap();
    let card = async |shards: &[u32]| {
        let (shards, about) = (shards.iter().copied().collect(), About::default());
        describe(&bucket.store, &batch(), &shards, &about, &mut Hashes::default()).await.unwrap();
        let card = bucket.store.get(&(layout::dataset(&batch()) + layout::CARD)).await.unwrap();
        String::from_utf8(card.to_vec()).unwrap()
    };
    let (alike, mixed) = (card(&[0]).await, card(&[0, 1]).await);
    assert!(alike.contains("- weights `aa`: 2 rows\n") && !alike.contains("Not all rows"), "{alike}");
    assert!(mixed.contains("- weights `aa`: 2 rows\n- weights `bb`: 1 rows\n"), "{mixed}");
    assert!(mixed.contains("Not all rows were made by the same engine"), "{mixed}");
    // The fourth row's worker did not say.
    let row_file = bucket.store.get(&(layout::dataset(&batch()) + &layout::row_file(1))).await.unwrap();
    let rows = read_row_file(row_file).unwrap();
    let weights: Vec<_> = rows.iter().map(|row| row.weights.as_deref()).collect();
    assert_eq!(weights, [Some("bb"), None]);
}

#[tokio::test]
async fn index_and_card_grow_with_the_data_set() {
    let bucket = Bucket::start().await;
    let mut committed = BTreeSet::new();
    for number in 0..2 {
        let first = u64::from(number) * 4;
        let segment = bucket.segment(u64::from(number), &outcomes(first..first + 4)).await;
        let shard = Shard { number, ..shard(vec![segment]) };
        prepare(&bucket.store, &shard).await.unwrap().unwrap().complete(&bucket.store).await.unwrap();
        committed.insert(number);
        let about = About { name: "cups".into(), split: shard.split, asked: Some(9), ..About::default() };
        describe(&bucket.store, &batch(), &committed, &about, &mut Hashes::default()).await.unwrap();
    }
    let read = async |name: &str| bucket.store.get(&(layout::dataset(&batch()) + name)).await.unwrap();
    let index: serde_json::Value = serde_json::from_slice(&read("index.json").await).unwrap();
    assert_eq!((&index["rows"], &index["batch"]), (&json!(8), &json!(batch())));
    assert_eq!((&index["shards"][1]["file"], &index["shards"][1]["rows"]), (&json!("00001.tar"), &json!(4)));
    let sides = index["total"]["splits"].as_object().unwrap();
    assert_eq!(sides.values().map(|rows| rows.as_u64().unwrap()).sum::<u64>(), 8);
    let card = String::from_utf8(read("README.md").await.to_vec()).unwrap();
    assert!(
        card.contains("- 00000.tar\n") && card.contains("- 00001.tar\n") && card.contains("split: rows"),
        "{card}"
    );
    assert!(card.contains("9 rows were asked for; 8 of them have a picture here."), "{card}");
    let sample = image::load_from_memory(&read("sample.webp").await).unwrap();
    assert_eq!((sample.width(), sample.height()), (640, 160));
}

#[tokio::test]
async fn rows_without_the_field_of_the_split_are_counted() {
    let bucket = Bucket::start().await;
    // Every second row has a subject.
    let segment = bucket.segment(0, &outcomes(0..5)).await;
    let split = Some(Split { by: "subject".into(), val: 0.5 });
    let shard = Shard { split: split.clone(), ..shard(vec![segment]) };
    let prepared = prepare(&bucket.store, &shard).await.unwrap().unwrap();
    prepared.complete(&bucket.store).await.unwrap();
    let about = About { split, ..About::default() };
    let index = describe(&bucket.store, &batch(), &[0].into(), &about, &mut Hashes::default()).await.unwrap();
    assert_eq!(index.total.split_by_key, 3);
    let card = bucket.store.get(&(layout::dataset(&batch()) + "README.md")).await.unwrap();
    let card = String::from_utf8(card.to_vec()).unwrap();
    assert!(card.contains("A hash of `subject` decides"), "{card}");
    assert!(card.contains("\n3 rows without it were placed by their keys.\n"), "{card}");
}
