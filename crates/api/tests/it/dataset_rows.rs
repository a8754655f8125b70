//! Rows of data sets that have ended: counted by the reason of their failure, and listed from any place.

use reqwest::Response;
use serde_json::{Value, json};
use uso_queue::Failure;

use crate::dataset_runs::{next_job, tend};
use crate::datasets::{added, create, dataset, put_rows, rows, start};
use crate::fixture::{Fixture, problem, until};

/// Ends the next rows of a data set: those whose number has a code fail with it.
async fn end_rows(fixture: &Fixture, count: usize, code_of: impl Fn(u64) -> Option<&'static str>) {
    for _ in 0..count {
        let lease = next_job(fixture).await;
        match code_of(lease.id.row().unwrap().row) {
            None => fixture.complete(&lease).await,
            Some(code) => {
                let message = format!("{code} at {}", lease.id);
                let failure = Failure { code: code.into(), message, ..Failure::default() };
                lease.fail(&failure).await.unwrap();
            }
        }
    }
}

async fn until_archived(fixture: &Fixture, id: &str, count: u64) {
    until("all ends are in segments", async || dataset(fixture, id).await["archived"] == count).await;
}

/// Codes of failures, how many rows each has, and the keys of their examples.
async fn reasons(fixture: &Fixture, id: &str) -> Vec<(String, u64, String)> {
    let view = dataset(fixture, id).await;
    assert_eq!(view["reasons_counted"], view["archived"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let reasons = view["reasons"].as_array().unwrap().iter();
    reasons
        .map(|reason| {
            let key = text(&reason["example"]["key"]);
            assert_eq!(key, format!("r{}", reason["example"]["row"]));
            assert!(text(&reason["example"]["message"]).starts_with(&text(&reason["code"])));
            (text(&reason["code"]), reason["rows"].as_u64().unwrap(), key)
        })
        .collect()
}

#[tokio::test]
async fn failed_rows_are_counted_by_reason_and_by_their_last_end() {
    let mut fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 9)).await).await;
    assert_eq!(dataset(&fixture, &id).await["reasons"], json!([]));
    start(&fixture, &id, 9).await;
    let tending = tend(&fixture);
    let code_of = |row| match row {
        2 | 4 | 7 => Some("broke"),
        5 => Some("missing"),
        _ => None,
    };
    end_rows(&fixture, 9, code_of).await;
    until_archived(&fixture, &id, 9).await;
    let expected = [("broke".to_owned(), 3, "r2".to_owned()), ("missing".to_owned(), 1, "r5".to_owned())];
    assert_eq!(reasons(&fixture, &id).await, expected);
    let listed: Value = fixture.get("/v1/batches").await.json().await.unwrap();
    assert_eq!(listed["batches"][0]["dataset"]["reasons"], Value::Null, "a list reads no segments");

    assert_eq!(fixture.post(&format!("/v1/batches/{id}/retry-failed"), &json!({})).await.status(), 202);
    end_rows(&fixture, 4, |row| (row == 4).then_some("missing")).await;
    until_archived(&fixture, &id, 13).await;
    let expected = [("missing".to_owned(), 1, "r4".to_owned())];
    assert_eq!(reasons(&fixture, &id).await, expected);
    // Another process counts the same.
    fixture.restart_api().await;
    assert_eq!(reasons(&fixture, &id).await, expected);
    fixture.post(&format!("/v1/batches/{id}/retry-failed"), &json!({})).await;
    end_rows(&fixture, 1, |_| None).await;
    until_archived(&fixture, &id, 14).await;
    assert_eq!(reasons(&fixture, &id).await, []);
    tending.abort();
}

/// The numbers of the rows of a page, and the page.
async fn page(fixture: &Fixture, id: &str, query: &str) -> (Vec<u64>, Value) {
    let answer = fixture.get(&format!("/v1/batches/{id}/rows?{query}")).await;
    assert_eq!(answer.status(), 200, "{query}: {}", answer.text().await.unwrap());
    let page: Value = answer.json().await.unwrap();
    let rows = page["rows"].as_array().unwrap().iter().map(|row| row["row"].as_u64().unwrap());
    (rows.collect(), page)
}

#[tokio::test]
async fn the_list_of_ended_rows_begins_where_it_is_asked_to() {
    let fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    added(put_rows(&fixture, &id, 0, &rows(0, 12)).await).await;
    start(&fixture, &id, 11).await;
    let tending = tend(&fixture);
    end_rows(&fixture, 11, |row| matches!(row, 1 | 2 | 8).then_some("broke")).await;
    until_archived(&fixture, &id, 11).await;
    for (filter, expected) in [("", 11), ("&state=succeeded", 8)] {
        let (all, whole) = page(&fixture, &id, &format!("limit=100{filter}")).await;
        assert_eq!((all.len(), &whole["before"], &whole["total"]), (expected, &json!(0), &json!(expected)));
        for skip in 0..=expected {
            let (some, answer) = page(&fixture, &id, &format!("limit=3{filter}&skip={skip}")).await;
            assert_eq!(some, all[skip..expected.min(skip + 3)], "{filter} from {skip}");
            assert_eq!((&answer["before"], &answer["total"]), (&json!(skip), &json!(expected)));
            // A cursor goes on behind it.
            if let Some(next) = answer["next"].as_str() {
                let (more, _) = page(&fixture, &id, &format!("limit=100{filter}&cursor={next}")).await;
                assert_eq!(more, all[skip + some.len()..]);
            }
        }
        assert_eq!(page(&fixture, &id, &format!("skip=4294967295{filter}")).await.0, [] as [u64; 0]);
        for (place, row) in all.iter().enumerate() {
            for place_asked in [format!("from={row}"), format!("key=r{row}")] {
                let (some, answer) = page(&fixture, &id, &format!("limit=100{filter}&{place_asked}")).await;
                assert_eq!((some.as_slice(), &answer["before"]), (&all[place..], &json!(place)));
            }
        }
    }
    let (failed, answer) = page(&fixture, &id, "state=failed&from=5").await;
    assert!(failed.iter().all(|row| [1, 2, 8].contains(row)), "{failed:?}");
    assert_eq!((&answer["before"], &answer["total"]), (&Value::Null, &Value::Null));

    let ask =
        async |query: &str| -> Response { fixture.get(&format!("/v1/batches/{id}/rows?{query}")).await };
    for query in ["from=11", "key=r11", "from=4294967295", "key=nobody"] {
        problem(ask(query).await, 404, "no_such_row").await;
    }
    for (query, pointer) in [
        ("state=failed&skip=1", "?skip"),
        ("skip=1&from=1", "?from"),
        ("from=1&key=r1", "?key"),
        ("cursor=0.0&key=r1", "?key"),
        ("from=-1", "?from"),
        ("from=4294967296", "?from"),
        ("skip=1e3", "?skip"),
        ("key=a.b", "?key"),
        ("key=%00", "?key"),
    ] {
        let refused = problem(ask(query).await, 400, "invalid_parameters").await;
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{query}");
    }
    tending.abort();
}

#[tokio::test]
async fn keys_are_read_no_further_than_to_the_one_that_is_sought() {
    let mut fixture = Fixture::start().await;
    let id = create(&fixture, "foxes").await;
    for from in 0..3 {
        added(put_rows(&fixture, &id, from, &rows(from, from + 1)).await).await;
    }
    start(&fixture, &id, 3).await;
    let tending = tend(&fixture);
    end_rows(&fixture, 3, |_| None).await;
    until_archived(&fixture, &id, 3).await;
    tending.abort();
    // One that knows nothing yet.
    fixture.restart_api().await;
    let chunks = fixture.store.list(&format!("batches/{id}/rows/")).await.unwrap();
    let last = &chunks.iter().max_by_key(|object| &object.key).unwrap().key;
    fixture.store.delete(last).await.unwrap();
    for key in ["r0", "r1"] {
        assert_eq!(page(&fixture, &id, &format!("limit=1&key={key}")).await.1["rows"][0]["key"], key);
    }
    let answer = fixture.get(&format!("/v1/batches/{id}/rows?key=r2")).await;
    assert_eq!(answer.status(), 500, "its chunk is gone");
}
