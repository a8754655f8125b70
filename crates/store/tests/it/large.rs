//! Objects in parts, conditional writes, lists, ranges and batch deletes: part of what every S3 server must do for us.

use std::time::Duration;

use bytes::Bytes;
use uso_store::{Error, LEAST_PART, Store};

use crate::fixture::{Folder, scripted};

/// This part of the conformance suite.
pub(crate) async fn conforms(store: &Store) {
    parts_become_an_object_once(store).await;
    what_is_begun_is_found_and_aborted(store).await;
    a_new_object_replaces_none(store).await;
    a_list_has_all_pages_and_sizes(store).await;
}

fn parts() -> [Bytes; 2] {
    let first: Vec<u8> = (0..LEAST_PART as u32 + 11).map(|i| (i / 7) as u8).collect();
    [first.into(), Bytes::from_static(b"the rest")]
}

async fn parts_become_an_object_once(store: &Store) {
    let [first, last] = parts();
    let upload = store.begin_upload("large/a.tar", "application/x-tar").await.unwrap();
    let done = [
        store.upload_part(&upload, 1, first.clone()).await.unwrap(),
        store.upload_part(&upload, 2, last.clone()).await.unwrap(),
    ];
    assert_eq!(store.head("large/a.tar").await.unwrap(), None, "it is there before it is complete");
    store.complete_upload(&upload, &done).await.unwrap();

    let info = store.head("large/a.tar").await.unwrap().unwrap();
    assert_eq!(info.bytes, (first.len() + last.len()) as u64);
    let end = first.len() as u64;
    let across = store.read_range("large/a.tar", &info, end - 3..end + 3).await.unwrap();
    assert_eq!(across, [&first[first.len() - 3..], &last[..3]].concat());
    let whole = store.read_range("large/a.tar", &info, 0..info.bytes).await.unwrap();
    assert!(whole == [&first[..], &last[..]].concat());
    let beyond = store.read_range("large/a.tar", &info, end..info.bytes + 1).await;
    assert!(matches!(beyond, Err(Error::BrokeOff { .. })), "{beyond:?}");

    // Completed before: there is no such upload, or there is the object.
    let again = store.complete_upload(&upload, &done).await;
    assert!(matches!(again, Ok(()) | Err(Error::Missing { .. } | Error::Exists { .. })), "{again:?}");
    let second = store.begin_upload("large/a.tar", "application/x-tar").await.unwrap();
    let part = store.upload_part(&second, 1, last.clone()).await.unwrap();
    let refused = store.complete_upload(&second, &[part]).await;
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
    store.abort_upload(&second).await.unwrap();
    assert_eq!(store.head("large/a.tar").await.unwrap().unwrap().bytes, info.bytes);

    store.put("large/a.tar", "text/plain", "another".into()).await.unwrap();
    // The second range is beyond its end now.
    for range in [0..3, info.bytes - 3..info.bytes] {
        let changed = store.read_range("large/a.tar", &info, range).await;
        assert!(matches!(changed, Err(Error::Changed { .. })), "{changed:?}");
    }
}

async fn what_is_begun_is_found_and_aborted(store: &Store) {
    let long = format!("begun/{}", "k".repeat(300));
    let mut uploads = Vec::new();
    for key in ["begun/1", &long, "begun-not/1"] {
        uploads.push(store.begin_upload(key, "application/x-tar").await.unwrap());
        store.upload_part(uploads.last().unwrap(), 1, "x".into()).await.unwrap();
    }
    let found = store.unfinished_uploads("begun/").await.unwrap();
    assert!(found.iter().all(|found| found.begun.is_some()));
    let mut found: Vec<_> = found.into_iter().map(|found| found.upload).collect();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(found, uploads[..2]);
    for upload in &uploads {
        store.abort_upload(upload).await.unwrap();
        store.abort_upload(upload).await.unwrap();
    }
    assert_eq!(store.unfinished_uploads("begun").await.unwrap(), []);
    let late = store.upload_part(&uploads[0], 2, "x".into()).await;
    assert!(matches!(late, Err(Error::Missing { .. })), "{late:?}");
}

async fn a_new_object_replaces_none(store: &Store) {
    store.put_new("new/a", "text/plain", "first".into()).await.unwrap();
    store.put_new("new/a", "text/plain", "first".into()).await.expect("the same bytes");
    let error = store.put_new("new/a", "text/plain", "second".into()).await.unwrap_err();
    assert_eq!(error.to_string(), "there is an object s3://uso/new/a already");
    assert!(!error.retryable() && error.is_the_objects_own());
    assert_eq!(store.get("new/a").await.unwrap(), "first");
}

async fn a_list_has_all_pages_and_sizes(store: &Store) {
    let keys: Vec<String> = (0..1003).map(|i| format!("many/{i:04}")).collect();
    for key in &keys {
        store.put(key, "text/plain", key.clone().into()).await.unwrap();
    }
    let listed = store.list("many/").await.unwrap();
    assert!(listed.iter().map(|listed| &listed.key).eq(&keys));
    assert!(listed.iter().all(|listed| listed.bytes == 9 && listed.written.is_some()));
    store.delete_many(&keys).await.unwrap();
    store.delete_many(&keys).await.expect("missing ones are no error");
    store.delete_many(&[]).await.unwrap();
    assert_eq!(store.list("many/").await.unwrap(), []);
}

#[tokio::test]
async fn of_two_that_complete_at_once_one_wins() {
    let folder = Folder::start().await;
    let store = folder.store().await;
    let mut uploads = Vec::new();
    for content in ["one", "two"] {
        let upload = store.begin_upload("race", "text/plain").await.unwrap();
        let part = store.upload_part(&upload, 1, content.into()).await.unwrap();
        uploads.push((upload, [part]));
    }
    let [first, second] = &uploads[..] else { unreachable!() };
    let answers =
        tokio::join!(store.complete_upload(&first.0, &first.1), store.complete_upload(&second.0, &second.1));
    let won = match answers {
        (Ok(()), Err(Error::Exists { .. })) => "one",
        (Err(Error::Exists { .. }), Ok(())) => "two",
        other => panic!("{other:?}"),
    };
    assert_eq!(store.get("race").await.unwrap(), won);
}

#[tokio::test]
async fn a_service_that_knows_no_ranges_is_not_believed() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"t\"\r\nconnection: close\r\n\r\n";
    let store = scripted(head.into(), vec![b'x'; 10], Duration::ZERO).await;
    let info = uso_store::ObjectInfo { bytes: 10, tag: "t".into() };
    let wrong = store.read_range("a", &info, 2..4).await;
    assert!(matches!(wrong, Err(Error::BrokeOff { .. })), "{wrong:?}");
    assert_eq!(store.read_range("a", &info, 0..10).await.unwrap(), "xxxxxxxxxx");
}
