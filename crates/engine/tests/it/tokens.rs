//! Token ids with the published T5 and CLIP vocabularies, against the reference's slow tokenizers.

use serde::Deserialize;
use uso_engine::ModelFiles;
use uso_engine::tokenize::{ClipTokenizer, T5Tokenizer};

use crate::golden::fixture;

#[derive(Deserialize)]
struct Recorded {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
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

fn rows() -> Vec<Row> {
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
        let ids = tokenizer.ids(&row.text, row.t5_length).unwrap();
        let (text, padding) = ids.split_at(row.t5.len());
        ids.len() == row.t5_length && text == row.t5 && padding.iter().all(|id| *id == 0)
    });
}

#[test]
fn clip_ids_are_those_of_the_reference() {
    let tokenizer = ClipTokenizer::load(&ModelFiles::Folder(fixture("tokenizers")), "clip-vit-l14").unwrap();
    compare(CLIP_DIFFERS, |row| {
        let ids = tokenizer.ids(&row.text, row.clip_length).unwrap();
        let (text, padding) = ids.split_at(row.clip.len());
        ids.len() == row.clip_length && text == row.clip && padding.iter().all(|id| *id == 49407)
    });
}
