//! What becomes of a row that is checked.

use std::collections::HashSet;
use std::fmt::Write;

use serde_json::{Value, json};
use uso_dataset::rows::{BadRow, Kind, RawRow, Reference, Row};
use uso_dataset::{Error, Split};
use uso_queue::Class;

use super::fixture::{check, checker, faults, manifest, row};

#[test]
fn what_a_row_leaves_open_is_filled_in_the_same_way_each_time() {
    let first = check(json!({ "prompt": "a fox" })).unwrap();
    assert_eq!(first.job.class, Class::Bulk);
    assert_eq!(
        first,
        check(json!({ "prompt": "a fox", "seed": -1, "styles": null }))
            .unwrap_or_else(|faults| panic!("{faults:?}"))
    );
    // Never to change: who extends a batch must get the old rows again.
    assert_eq!(first.key, "a36c30abdeb52ed1647e");
    assert_eq!(first.digest.to_string(), "a36c30abdeb52ed1647ea324dddb6a54");
    assert_eq!((first.job.seed, first.group), (3043249386, 6951831149841610));
    let given =
        check(json!({ "prompt": "a fox", "key": "fox-1", "class": "interactive", "seed": 5 })).unwrap();
    assert_eq!((given.key.as_str(), given.job.class, given.job.seed), ("fox-1", Class::Interactive, 5));
}

#[test]
fn a_row_may_bring_its_digest() {
    let digest = "000102030405060708090a0b0c0d0e0f";
    let plain = check(json!({ "prompt": "a fox" })).unwrap();
    let brought = check(json!({ "prompt": "a fox", "digest": digest })).unwrap();
    assert_eq!(brought.digest.to_string(), digest);
    assert_eq!(Row { digest: plain.digest, ..brought }, plain);
    let bad = check(json!({ "prompt": "a fox", "digest": "12" })).unwrap_err();
    assert_eq!(bad, [("/digest".to_owned(), "invalid_digest")]);
}

#[test]
fn a_row_has_the_field_that_the_data_set_is_split_by() {
    let checked = |by: &str, row: RawRow| {
        let split = Split { by: by.into(), val: 0.5 };
        checker().with_split(Some(split)).check(row).map(|row| row.digest).map_err(|bad| bad.to_string())
    };
    let fox = || row(3, json!({ "prompt": "a fox", "metadata": { "subject": "fox", "none": null } }));
    let plain = checker().check(fox()).unwrap().digest;
    assert_eq!((checked("subject", fox()), checked("key", fox())), (Ok(plain), Ok(plain)));
    let labels = json!({ "prompt": 1 }).as_object().unwrap().clone();
    assert_eq!(checked("prompt", RawRow { labels, ..fox() }), Ok(plain));
    for by in ["subjects", "none", "prompt"] {
        let said = format!("row 3: /metadata/{by} is missing; the data set is split by it");
        assert_eq!(checked(by, fox()), Err(said));
    }
    let said = "row 1: /metadata/a~1b is missing; the data set is split by it";
    assert_eq!(checked("a/b", row(1, json!({ "prompt": "a fox" }))), Err(said.into()));
}

#[test]
fn all_faults_of_a_row_are_named() {
    let bad = check(json!({
        "key": "a.b", "prompt": 7, "content": "fox.png", "styles": ["s3://a/b", 5], "width": 8, "colour": "red",
    }))
    .unwrap_err();
    let expected = [
        ("/key", "invalid_key"),
        ("/prompt", "wrong_type"),
        ("/content", "invalid_source"),
        ("/styles/1", "wrong_type"),
        ("/width", "out_of_range"),
        ("/colour", "unknown_field"),
    ];
    assert_eq!(bad, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
    assert_eq!(check(json!({ "key": 5 })).unwrap_err(), [("/key".to_owned(), "wrong_type")]);
}

#[test]
fn a_second_row_with_a_key_names_the_first() {
    let mut checker = checker();
    let mut check =
        |line, value| checker.check(row(line, value)).map_err(|bad| (faults(&bad), bad.to_string()));
    assert!(check(3, json!({ "prompt": "a", "key": "k" })).is_ok());
    assert!(check(4, json!({ "prompt": "b" })).is_ok());
    let (found, text) = check(9, json!({ "prompt": "c", "key": "k" })).unwrap_err();
    assert_eq!(found, [("/key".to_owned(), "twice")]);
    assert_eq!(text, "row 9: /key row 3 has the same key, and asks for something else");
    let (found, text) = check(10, json!({ "seed": -1, "prompt": "b" })).unwrap_err();
    assert_eq!(found, [(String::new(), "twice")]);
    assert_eq!(text, "row 10: is the same as row 4; another key or seed makes it another row");
    assert!(check(11, json!({ "prompt": "b", "seed": 1 })).is_ok());
}

#[test]
fn a_second_row_names_the_first_as_its_file_counts() {
    for (kind, place) in
        [(Kind::Jsonl, "line"), (Kind::Csv, "line"), (Kind::Parquet, "row"), (Kind::Evaluation, "row")]
    {
        let mut checker = checker().with_place(kind.place());
        checker.check(row(3, json!({ "prompt": "a", "key": "k" }))).unwrap();
        let mut said = |value| checker.check(row(9, value)).unwrap_err().faults.remove(0).message;
        let other = said(json!({ "prompt": "c", "key": "k" }));
        assert_eq!(other, format!("{place} 3 has the same key, and asks for something else"));
        let same = said(json!({ "prompt": "a", "key": "k" }));
        assert_eq!(same, format!("is the same as {place} 3; another key or seed makes it another row"));
    }
}

#[test]
fn references_are_what_the_caller_makes_of_them() {
    let resolve = |text: &str| match Reference::remote(text) {
        Some(remote) => Ok(remote),
        None if text.starts_with("fox") => {
            Ok(Reference { source: format!("s3://up/{text}"), content: Some("sha-1".to_owned()) })
        }
        None => Err(format!("there is no file {text}")),
    };
    let resolved = json!({ "content": "fox.png", "styles": ["s3://a/b", "fox.png"] });
    let mut checker = checker().with_references(resolve);
    let found = checker.check(row(1, resolved.clone())).unwrap();
    let plain = check(json!({ "content": "s3://a/b" })).unwrap();
    assert_eq!(found.job.content.unwrap().to_string(), "s3://up/fox.png");
    let styles: Vec<String> = found.job.styles.iter().map(ToString::to_string).collect();
    assert_eq!(styles, ["s3://a/b", "s3://up/fox.png"]);

    let missing =
        json!({ "content": "cup.png", "keep_size": true, "styles": ["fox.png", "ink.png"], "steps": 0 });
    let bad = checker.check(row(2, missing)).unwrap_err();
    let expected =
        [("/content", "invalid_source"), ("/styles/1", "invalid_source"), ("/steps", "out_of_range")];
    assert_eq!(faults(&bad), expected.map(|(pointer, code)| (pointer.to_owned(), code)));
    assert_eq!(bad.faults[0].message, "there is no file cup.png");

    let empty = checker.check(row(3, json!({ "content": "", "styles": ["fox.png", ""] }))).unwrap_err();
    assert_eq!(empty.to_string(), "row 3: /content is empty; /styles/1 is empty");

    // Another file under the same name: the same key, another digest, the same group.
    let mut changed = super::fixture::checker().with_references(move |text| {
        resolve(text).map(|found| Reference { content: found.content.map(|_| "sha-2".to_owned()), ..found })
    });
    let changed = changed.check(row(1, resolved)).unwrap();
    assert_eq!((&changed.key, changed.group), (&found.key, found.group));
    assert_ne!(changed.digest, found.digest);
    assert_ne!(plain.group, found.group);
}

#[test]
fn rows_with_the_same_references_are_a_group() {
    let group = |value: Value| check(value).unwrap().group;
    let base = group(json!({ "content": "s3://a/b", "styles": ["s3://a/c"], "prompt": "x", "seed": 1 }));
    assert_eq!(
        base,
        group(json!({ "content": "s3://a/b", "styles": ["s3://a/c"], "prompt": "y", "width": 512 }))
    );
    let others = [
        json!({ "content": "s3://a/b" }),
        json!({ "content": "s3://a/b", "styles": ["s3://a/d"] }),
        json!({ "styles": ["s3://a/b", "s3://a/c"] }),
        json!({ "prompt": "x" }),
        json!({ "prompt": "y" }),
    ];
    let groups: HashSet<u64> = others.into_iter().map(group).chain([base]).collect();
    assert_eq!(groups.len(), 6);
    assert!(groups.iter().all(|group| *group < 1 << 53));
}

fn lines(count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let line = match i % 10 {
            7 => "{".to_owned(),
            8 => json!({ "prompt": format!("row {}", i - 1), "width": 1 }).to_string(),
            // The same as four lines before.
            9 => json!({ "prompt": format!("row {}", i - 4) }).to_string(),
            _ => json!({ "prompt": format!("row {i}") }).to_string(),
        };
        writeln!(text, "{line}").unwrap();
    }
    text
}

#[test]
fn several_threads_find_what_one_finds_in_the_same_order() {
    let text = lines(20_000);
    let mut one = checker();
    let expected: Vec<Result<Row, BadRow>> =
        manifest(Kind::Jsonl, text.clone()).map(|row| row.unwrap().and_then(|row| one.check(row))).collect();
    assert_eq!(expected.iter().filter(|row| row.is_err()).count(), 6000);
    for threads in [1, 2, 5] {
        let mut found = Vec::new();
        let keep = |row| {
            found.push(row);
            Ok(())
        };
        checker().check_all(&mut manifest(Kind::Jsonl, text.clone()), threads, keep).unwrap();
        assert!(found == expected, "{threads} threads");
    }
}

#[test]
fn whoever_takes_the_rows_can_end_it() {
    let mut left = 3;
    let stop = |_| {
        left -= 1;
        if left == 0 { Err(Error::Task("enough".to_owned())) } else { Ok(()) }
    };
    let error = checker().check_all(&mut manifest(Kind::Jsonl, lines(20_000)), 2, stop).unwrap_err();
    assert_eq!(error.to_string(), "a task ended early: enough");
    assert_eq!(left, 0);
}
