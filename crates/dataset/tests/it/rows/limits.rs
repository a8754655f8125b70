//! What a manifest may be at most.

use std::io::{self, Read};

use uso_dataset::rows::{Kind, MAX_EVALUATION, MAX_LINE, MAX_ROWS, Manifest};

use super::fixture::{checker, manifest, raw};

#[test]
fn a_line_that_is_too_long_is_a_bad_row_and_not_the_end() {
    let line = |length: usize| format!("{{\"prompt\":\"{}\"}}", "x".repeat(length - 13));
    let (longest, longer) = (line(MAX_LINE), line(MAX_LINE + 1));
    assert_eq!(longest.len(), MAX_LINE);
    let text = format!("{longest}\n{longer}\n{longest}\r\n{}\n{{}}\n{longer}", line(5 * MAX_LINE));
    let rows: Vec<_> = raw(Kind::Jsonl, text)
        .into_iter()
        .map(|row| row.map(|row| row.line).map_err(|bad| (bad.line, bad.faults[0].code)))
        .collect();
    let too_long = |line| Err((line, "too_long"));
    assert_eq!(rows, [Ok(1), too_long(2), Ok(3), too_long(4), Ok(5), too_long(6)]);
}

#[test]
fn of_a_row_with_very_many_faults_the_first_are_named() {
    let names: Vec<String> = (0..80_000).map(|number| format!("c{number}")).collect();
    let fields = names.iter().map(|name| format!("\"{name}\":0")).collect::<Vec<_>>().join(",");
    let cells = "1,".repeat(names.len() - 1) + "1";
    let no_text: Vec<u8> = cells.bytes().map(|byte| if byte == b'1' { 0xff } else { byte }).collect();
    for (kind, text) in [
        (Kind::Jsonl, format!("{{{fields}}}").into_bytes()),
        (Kind::Csv, format!("{}\n{cells}", names.join(",")).into_bytes()),
        (Kind::Csv, [names.join(",").as_bytes(), b"\n", no_text.as_slice()].concat()),
    ] {
        let row = raw(kind, text).remove(0);
        let bad = row.and_then(|row| checker().check(row)).unwrap_err();
        let last = &bad.faults[100];
        assert_eq!((bad.faults.len(), last.message.as_str()), (101, "and 79900 more faults"), "{kind:?}");
    }
}

#[test]
fn large_rows_come_in_small_blocks() {
    let text = "prompt\n".to_owned() + &("x".repeat(1_000_000) + "\n").repeat(20);
    let (mut rows, mut counts) = (manifest(Kind::Csv, text), Vec::new());
    while let Some(block) = rows.next_block().unwrap() {
        counts.push(block.count());
    }
    assert_eq!(counts, [5, 5, 5, 5]);
}

#[test]
fn a_bad_cell_names_a_long_column_in_short() {
    let text = [&b"c".repeat(100_000)[..], b"\n\xff\n"].concat();
    let bad = raw(Kind::Csv, text).remove(0).unwrap_err();
    assert_eq!((bad.faults[0].code, bad.faults[0].pointer.len()), ("not_utf8", 129));
}

#[test]
fn a_quotation_mark_that_is_never_closed_is_an_error_and_not_a_full_memory() {
    let text = format!("prompt\na\n\"{}", "open,\n".repeat(MAX_LINE));
    let mut rows = manifest(Kind::Csv, text);
    assert_eq!(rows.next().unwrap().unwrap().unwrap().line, 2);
    let error = rows.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("the manifest: after line 2") && error.contains("left open"), "{error}");
    assert!(rows.next().is_none());
}

#[test]
fn a_quotation_mark_that_is_open_at_the_end_is_an_error_and_not_a_short_manifest() {
    for (text, line) in [
        ("key,prompt\nk1,\"a\nk2,b\nk3,c\n", 2),
        ("key,prompt\nk1,\"a\nb\"\n\nk2,\"c", 5),
        ("key,prompt\n\"k\n1\",\"a \"\"\n", 3),
        ("key,prompt\nk1,a\nk2,\"", 3),
    ] {
        let error = manifest(Kind::Csv, text).last().unwrap().unwrap_err().to_string();
        assert_eq!(error, format!("the manifest: line {line}: a quotation mark is left open"), "{text}");
    }
    let error = Manifest::read("m", Kind::Csv, "\"key,prompt\nk1,a\n".as_bytes()).err().unwrap();
    assert_eq!(error.to_string(), "m: line 1: a quotation mark is left open");
    for text in ["key,prompt\nk1,\"a\n\n\"", "key,prompt\nk1,\"a\n\n\"\n\n\n", "key,prompt\nk1,\"a\n\n\"\r\n"]
    {
        let rows = raw(Kind::Csv, text);
        assert_eq!((rows.len(), &rows[0].as_ref().unwrap().fields["prompt"]), (1, &"a\n\n".into()), "{text}");
    }
}

#[test]
fn many_short_records_are_no_long_one() {
    let text = format!("prompt\n{}", "a fox in the snow\n".repeat(MAX_LINE / 8));
    assert_eq!(raw(Kind::Csv, text).len(), MAX_LINE / 8);
}

#[test]
fn an_evaluation_has_a_largest_size() {
    let text = format!("[{}]", " ".repeat(MAX_EVALUATION - 2));
    let text = text.replacen(' ', "{}", 1).replacen(' ', "", 1);
    assert_eq!(raw(Kind::Evaluation, text.clone()).len(), 1);
    let error = Manifest::read("m", Kind::Evaluation, io::Cursor::new(text + " ")).err().unwrap();
    assert_eq!(error.to_string(), "m: it is longer than 16777216 bytes; write it as JSONL");
}

#[test]
fn a_manifest_without_rows_is_an_error() {
    for (kind, text) in [
        (Kind::Jsonl, ""),
        (Kind::Jsonl, "\n  \n\r\n"),
        (Kind::Csv, "prompt,key\n\n"),
        (Kind::Evaluation, "[]"),
    ] {
        let mut manifest = manifest(kind, text);
        let error = manifest.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "the manifest: it has no rows", "{text:?}");
        assert!(manifest.next().is_none());
    }
    assert_eq!(raw(Kind::Jsonl, "{").len(), 1, "a bad row is a row");
}

#[test]
fn a_manifest_has_a_largest_number_of_rows() {
    let line = b"{}\n";
    let text = line.repeat(MAX_ROWS as usize);
    let rows = |text: Vec<u8>| {
        let (mut manifest, mut rows) = (manifest(Kind::Jsonl, text), 0);
        while let Some(block) = manifest.next_block().map_err(|error| error.to_string())? {
            rows += block.count();
        }
        Ok::<u64, String>(rows)
    };
    assert_eq!(rows(text.clone()), Ok(MAX_ROWS));
    let error = rows([&text[..], line].concat()).unwrap_err();
    assert_eq!(error, "the manifest: it has more than 5000000 rows; send them in parts");
}

/// A file whose disk fails after some bytes.
struct Failing(io::Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the disk is gone")),
            read => Ok(read),
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_on_is_an_error_and_not_a_short_manifest() {
    for (kind, text) in [(Kind::Jsonl, "{}\n{}\n"), (Kind::Csv, "prompt\na\n")] {
        let failing = || Failing(io::Cursor::new(text.as_bytes().to_vec()));
        let rows: Vec<_> = Manifest::read("m", kind, failing()).unwrap().collect();
        let error = rows.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains("the disk is gone"), "{error}");
        let mut manifest = Manifest::read("m", kind, failing()).unwrap();
        let error = checker().check_all(&mut manifest, 2, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("the disk is gone"), "{error}");
    }
}
