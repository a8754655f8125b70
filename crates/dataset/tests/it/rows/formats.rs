//! Each kind of manifest.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use uso_dataset::Error;
use uso_dataset::rows::{Checker, Kind, Manifest, Options};
use uso_queue::Defaults;

use super::fixture::{checker, faults, file, raw};

#[test]
fn a_name_says_what_a_file_is() {
    for (name, kind) in [
        ("a.jsonl", Some(Kind::Jsonl)),
        ("a.b.ndjson", Some(Kind::Jsonl)),
        ("x/A.CSV", Some(Kind::Csv)),
        ("a.parquet", Some(Kind::Parquet)),
        ("a.json", Some(Kind::Evaluation)),
        ("a.txt", None),
        ("jsonl", None),
    ] {
        assert_eq!(Kind::of(Path::new(name)), kind, "{name}");
    }
    let error = Manifest::open(Path::new("rows.txt"), None).err().unwrap();
    assert_eq!(
        error.to_string(),
        "rows.txt: say what it is, or name it .jsonl, .ndjson, .csv, .parquet or .json"
    );
    assert!(matches!(Manifest::open(Path::new("/none/rows.csv"), None), Err(Error::File { .. })));
}

#[test]
fn lines_of_json_are_rows_and_a_bad_one_is_not_the_end() {
    let text = b"\xef\xbb\xbf{\"prompt\":\"a\"}\r\n\n  \n[1]\n{\"prompt\":\n{\"prompt\":\"\xff\"}\n {\"prompt\":\"b\"}";
    let rows = raw(Kind::Jsonl, text.to_vec());
    let lines: Vec<_> = rows
        .iter()
        .map(|row| match row {
            Ok(row) => (row.line, row.fields["prompt"].as_str().unwrap().to_owned()),
            Err(bad) => (bad.line, bad.faults[0].code.to_owned()),
        })
        .collect();
    let expected = [(1, "a"), (4, "wrong_type"), (5, "not_json"), (6, "not_utf8"), (7, "b")];
    assert_eq!(lines, expected.map(|(line, text)| (line, text.to_owned())));
    let bad = rows[2].as_ref().unwrap_err().to_string();
    assert_eq!(bad, "row 5: is not JSON: EOF while parsing a value at column 10");
}

#[test]
fn cells_are_read_as_what_their_field_holds() {
    let text = "prompt,content,styles,width,guidance,seed,keep_size,loras,metadata,key\r\n\
                \"a, \"\"b\"\"\nc\",s3://a/b,s3://a/c; s3://a/d,512,3.5,-1,TRUE,\"[{\"\"name\"\":\"\"ink\"\"}]\",\"{\"\"n\"\":1}\",k-1\r\n\
                \r\n\
                \x2012 ,,\"[\"\"s3://a/e;f\"\"]\", 64 ,4,,0,,plain text,\r\n";
    let rows = raw(Kind::Csv, text);
    assert_eq!(
        Value::Object(rows[0].as_ref().unwrap().fields.clone()),
        json!({
            "prompt": "a, \"b\"\nc", "content": "s3://a/b", "styles": ["s3://a/c", "s3://a/d"], "width": 512,
            "guidance": 3.5, "seed": -1, "keep_size": true, "loras": [{ "name": "ink" }], "metadata": { "n": 1 },
            "key": "k-1",
        })
    );
    assert_eq!(
        Value::Object(rows[1].as_ref().unwrap().fields.clone()),
        json!({
            "prompt": " 12 ", "styles": ["s3://a/e;f"], "width": 64, "guidance": 4, "keep_size": false,
            "metadata": "plain text",
        })
    );
    assert_eq!(rows.len(), 2);
}

#[test]
fn lines_of_a_csv_file_are_counted() {
    for end in ["\n", "\r\n"] {
        let text = ["prompt,key", "a,1", "\"b", "c\",2", "", "", "d,3", "e"].join(end);
        let lines: Vec<u64> = raw(Kind::Csv, text)
            .into_iter()
            .map(|row| row.map_or_else(|bad| bad.line, |row| row.line))
            .collect();
        assert_eq!(lines, [2, 3, 7, 8], "{end:?}");
    }
}

#[test]
fn a_cell_that_is_not_what_it_should_be_is_refused_by_its_field() {
    let text = "width,seed,keep_size,styles,loras,guidance\nbig,1.5,maybe,[1,[,nan\n64,1,true,,,4,5\n";
    let mut text = text.as_bytes().to_vec();
    text.extend_from_slice(b"\xff,1,true,,,4\n");
    let rows = raw(Kind::Csv, text);
    let bad = checker().check(rows[0].clone().unwrap()).unwrap_err();
    let mut found = faults(&bad);
    found.sort();
    let expected = [
        ("/guidance", "wrong_type"),
        ("/keep_size", "wrong_type"),
        ("/loras", "wrong_type"),
        ("/seed", "out_of_range"),
        ("/styles", "wrong_type"),
        ("/width", "wrong_type"),
    ];
    assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
    assert_eq!(rows[1].as_ref().unwrap_err().to_string(), "row 3: has 7 cells, but there are 6 columns");
    assert_eq!(rows[2].as_ref().unwrap_err().to_string(), "row 4: /width is not UTF-8 text");
}

#[test]
fn a_csv_file_needs_columns_with_names() {
    for (text, reason) in [
        ("", "it is empty; its first line must name the columns"),
        ("prompt,,key\n", "column 2 has no name"),
        ("prompt,key,prompt\n", "two columns are called prompt"),
    ] {
        let error = Manifest::read("m", Kind::Csv, text.as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), format!("m: {reason}"));
    }
}

#[test]
fn columns_of_a_parquet_file_are_rows() {
    let rows: Vec<_> =
        Manifest::open(&file("rows.parquet"), None).unwrap().map(|row| row.unwrap().unwrap()).collect();
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        Value::Object(rows[0].fields.clone()),
        json!({
            "key": "first", "prompt": "a fox, ä", "content": "s3://refs/fox.png",
            "styles": ["s3://refs/ink.png", "s3://refs/oil.png"], "loras": [{ "name": "ink", "weight": 0.7 }],
            "width": 512, "height": 768.0, "steps": 12, "guidance": 3.3, "seed": 7, "keep_size": true,
            "not_before": "2026-01-31T22:00:00Z", "metadata": { "subject": "fox", "n": 3 },
        })
    );
    let given = |i: usize| {
        let fields = rows[i].fields.clone().into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(fields.collect())
    };
    assert_eq!(given(1), json!({ "key": "second", "prompt": "a cup", "styles": [] }));
    assert_eq!(given(2), json!({ "prompt": "a bowl", "seed": -1 }));
    let mut checker = checker();
    let job = checker.check(rows[0].clone()).unwrap().job;
    assert_eq!((job.width, job.height, job.seed), (512, 768, 7));
}

#[test]
fn a_parquet_file_that_cannot_be_read_says_why() {
    let open = |name: &str| Manifest::open(&file(name), Some(Kind::Parquet)).err().unwrap().to_string();
    assert!(
        open("decimal.parquet").contains("column guidance holds decimal numbers, which are not read; texts,")
    );
    assert!(open("evaluation.json").contains("evaluation.json: "));
    let rows: Vec<_> =
        Manifest::open(&file("faults.parquet"), None).unwrap().map(|row| row.unwrap().unwrap_err()).collect();
    assert_eq!(rows[0].to_string(), "row 1: /guidance NaN is not a number");
    assert_eq!(rows[1].to_string(), "row 2: /prompt is not UTF-8 text");
    let stream = Manifest::read("m", Kind::Parquet, std::io::empty()).err().unwrap();
    assert_eq!(stream.to_string(), "m: a Parquet file cannot be read from a stream; give its path");
}

/// Writes a Parquet file with one prompt.
fn write_parquet(path: &Path, prompt: &str, compression: Compression) {
    let file = std::fs::File::create(path).unwrap();
    let schema = Arc::new(parse_message_type("message rows { REQUIRED BINARY prompt (UTF8); }").unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values = [ByteArray::from(prompt)];
    column.typed::<ByteArrayType>().write_batch(values.as_slice(), None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn a_parquet_file_may_be_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    let prompt = "a fox ".repeat(1000);
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::LZ4,
        Compression::ZSTD(Default::default()),
        Compression::LZ4_RAW,
    ] {
        write_parquet(&path, &prompt, compression);
        let rows: Vec<_> =
            Manifest::open(&path, None).unwrap().map(|row| row.unwrap().unwrap().fields).collect();
        assert_eq!(rows.len(), 1, "{compression}");
        assert_eq!(rows[0]["prompt"], prompt.as_str(), "{compression}");
    }
}

#[test]
fn a_damaged_parquet_file_ends_with_an_error() {
    let bytes = std::fs::read(file("rows.parquet")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.parquet");
    let mut errors = 0;
    for at in (4..bytes.len()).step_by(61) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x5a;
        std::fs::write(&path, damaged).unwrap();
        // Not all bytes matter; none may end the process or go on for ever.
        let rows = Manifest::open(&path, None).map(|rows| rows.take(100).filter(Result::is_err).count());
        errors += usize::from(!matches!(rows, Ok(0)));
    }
    assert!(errors > 10, "{errors}");
}

#[test]
fn an_evaluation_of_uso_is_rows() {
    let rows: Vec<_> = Manifest::open(&file("evaluation.json"), None).unwrap().map(Result::unwrap).collect();
    let fields: Vec<Value> = rows.iter().flatten().map(|row| Value::Object(row.fields.clone())).collect();
    assert_eq!(
        fields,
        [
            json!({
                "prompt": "A fox in the snow.", "content": "content/fox.png", "styles": ["style/ink.webp"],
                "key": "fox_ink", "metadata": { "save_dir": "fox_ink" },
            }),
            json!({
                "prompt": "", "content": "content/fox.png", "styles": ["style/ink.webp", "style/oil.webp"],
                "metadata": { "save_dir": "fox.both" },
            }),
            json!({ "prompt": "A cup.", "styles": ["style/ink.webp"] }),
            json!({ "prompt": "A bowl.", "styles": [] }),
        ]
    );
    let bad: Vec<String> =
        rows.iter().filter_map(|row| row.as_ref().err()).map(ToString::to_string).collect();
    let expected = ["row 5: /image_paths must be an array of strings", "row 6: must be a JSON object"];
    assert_eq!(bad, expected);
    for text in ["{}", "[{]", ""] {
        let error = Manifest::read("m", Kind::Evaluation, text.as_bytes()).err().unwrap().to_string();
        assert!(error.starts_with("m: it is not an array of JSON objects: "), "{error}");
    }
}

#[test]
fn unknown_columns_are_refused_or_go_to_metadata() {
    let text = "prompt,subject,metadata,n\na,fox,\"{\"\"set\"\": 7}\",1\nb,cup,,2\nc,cup,\"{\"\"n\"\": 1}\",3\nd,x,7,4\n";
    let rows: Vec<_> = raw(Kind::Csv, text).into_iter().map(Result::unwrap).collect();
    let bad = checker().check(rows[0].clone()).unwrap_err();
    let unknown = ["/n", "/subject"].map(|name| (name.to_owned(), "unknown_field"));
    assert_eq!(faults(&bad), unknown);

    let options = Options { unknown_to_metadata: true };
    let mut checker = Checker::new(Defaults::default(), options);
    let mut check = |i: usize| checker.check(rows[i].clone());
    assert_eq!(check(0).unwrap().job.metadata, json!({ "set": 7, "subject": "fox", "n": "1" }));
    assert_eq!(check(1).unwrap().job.metadata, json!({ "subject": "cup", "n": "2" }));
    assert_eq!(faults(&check(2).unwrap_err()), [("/n".to_owned(), "twice")]);
    assert_eq!(faults(&check(3).unwrap_err()), [("/metadata".to_owned(), "wrong_type")]);
}

#[test]
fn the_same_rows_come_out_of_each_format() {
    let jsonl = r#"{"prompt":"a","styles":["s3://a/b"],"width":512,"guidance":3.5,"metadata":{"n":1}}"#;
    let csv = "guidance,metadata,width,styles,prompt,seed\n3.50,\"{\"\"n\"\":1.0}\",512,s3://a/b,a,-1\n";
    let read = |kind, text: &str| checker().check(raw(kind, text).remove(0).unwrap()).unwrap();
    let (from_jsonl, from_csv) = (read(Kind::Jsonl, jsonl), read(Kind::Csv, csv));
    assert_eq!(from_jsonl.key, from_csv.key);
    assert_eq!(from_jsonl.digest, from_csv.digest);
    assert_eq!(from_jsonl.job.seed, from_csv.job.seed);
}
