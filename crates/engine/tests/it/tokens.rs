//! Token ids with the published T5 and CLIP vocabularies, against the reference's slow tokenizers.

use serde::Deserialize;
use uso_engine::tokenize::{ClipTokenizer, Encoded, T5Tokenizer};
use uso_engine::{ModelFiles, TokenCount};

use crate::golden::fixture;

#[derive(Deserialize)]
struct Recorded {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) text: String,
    /// Trailing padding left out.
    t5: Vec<u32>,
    t5_length: usize,
    /// The last run of end tokens is one id.
    clip: Vec<u32>,
    clip_length: usize,
}

/// Prompts on which the fast T5 tokenizer cannot follow the slow one.
const T5_DIFFERS: &[(usize, &str)] = &[
    (26, "after <extra_id_N> the slow tokenizer starts a new word"),
    (28, "the slow tokenizer adds no second </s> to a text that ends with one"),
];

/// Prompts on which CLIP's fast tokenizer and our cleaning cannot follow the slow one with ftfy.
const CLIP_DIFFERS: &[(usize, &str)] =
    &[(42, "ftfy repairs text that was decoded with the wrong character set")];

pub(crate) fn rows() -> Vec<Row> {
    let file = std::fs::read(fixture("tokenizers/golden_ids.json")).unwrap();
    let recorded: Recorded = serde_json::from_slice(&file).unwrap();
    assert_eq!(recorded.rows.len(), 50);
    recorded.rows
}

fn compare(listed: &[(usize, &str)], same: impl Fn(&Row) -> bool) {
    let differing: Vec<usize> =
        rows().iter().enumerate().filter(|(_, row)| !same(row)).map(|(i, _)| i).collect();
    let listed: Vec<usize> = listed.iter().map(|(i, _)| *i).collect();
    assert_eq!(differing, listed, "prompts whose ids differ");
}

#[test]
fn t5_ids_are_those_of_the_reference() {
    // A folder without tokenizer.json, as published: the vocabulary inside the engine.
    let tokenizer = T5Tokenizer::load(&ModelFiles::Folder(fixture("tokenizers")), "none").unwrap();
    compare(T5_DIFFERS, |row| {
        let Encoded { ids, count } = tokenizer.encode(&row.text, row.t5_length).unwrap();
        let (text, padding) = ids.split_at(row.t5.len());
        let same = text == row.t5 && padding.iter().all(|id| *id == 0);
        same && ids.len() == row.t5_length && taken(count) == row.t5.len()
    });
}

#[test]
fn clip_ids_are_those_of_the_reference() {
    let tokenizer = ClipTokenizer::load(&ModelFiles::Folder(fixture("tokenizers")), "clip-vit-l14").unwrap();
    compare(CLIP_DIFFERS, |row| {
        let Encoded { ids, count } = tokenizer.encode(&row.text, row.clip_length).unwrap();
        let (text, padding) = ids.split_at(row.clip.len());
        let same = text == row.clip && padding.iter().all(|id| *id == 49407);
        same && ids.len() == row.clip_length && taken(count) == row.clip.len()
    });
}

fn taken(count: TokenCount) -> usize {
    (count.tokens - count.cut) as usize
}

#[test]
fn what_a_file_says_of_cutting_and_padding_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    // As Hugging Face's library saves a tokenizer that has been used.
    let cut = r#""truncation": {"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0}"#;
    let padded = r#""padding": {"strategy":{"Fixed":24},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"<pad>"}"#;
    for part in ["t5-xxl", "clip-vit-l14"] {
        let whole = std::fs::read_to_string(fixture("tiny").join(part).join("tokenizer.json")).unwrap();
        let used = whole.replacen(r#""truncation": null"#, cut, 1).replacen(r#""padding": null"#, padded, 1);
        assert!(used.contains(cut) && used.contains(padded), "{part}");
        std::fs::create_dir(folder.path().join(part)).unwrap();
        std::fs::write(folder.path().join(part).join("tokenizer.json"), used).unwrap();
    }
    let [ours, theirs] = [folder.path().to_owned(), fixture("tiny")].map(|folder| {
        let files = ModelFiles::Folder(folder);
        let t5 = T5Tokenizer::load(&files, "t5-xxl").unwrap();
        let clip = ClipTokenizer::load(&files, "clip-vit-l14").unwrap();
        ["a red star", "a red star on a green field at night"]
            .map(|text| (t5.encode(text, 32).unwrap(), clip.encode(text, 32).unwrap()))
    });
    assert_eq!(ours, theirs);
}

#[test]
fn what_does_not_fit_is_counted_and_special_tokens_are_not_cut() {
    let (t5, clip) = (T5Tokenizer::published().unwrap(), ClipTokenizer::published().unwrap());
    let count = |tokens, cut| TokenCount { tokens, cut };
    for (words, t5_count, clip_count) in [
        (0, count(1, 0), count(2, 0)),
        (75, count(76, 0), count(77, 0)),
        (76, count(77, 0), count(78, 1)),
        (511, count(512, 0), count(513, 436)),
        (512, count(513, 1), count(514, 437)),
        (700, count(701, 189), count(702, 625)),
    ] {
        let text = "word ".repeat(words);
        let (t5, clip) = (t5.encode(&text, 512).unwrap(), clip.encode(&text, 77).unwrap());
        assert_eq!((t5.count, clip.count), (t5_count, clip_count), "{words} words");
        assert_eq!((t5.ids.len(), clip.ids.len()), (512, 77));
        assert!(t5.ids.contains(&1) && clip.ids[0] == 49406 && clip.ids[76] == 49407);
    }
}
