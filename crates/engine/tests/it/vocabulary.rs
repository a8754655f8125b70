//! CLIP's tokenizer from vocabulary and merges, and from nothing, against the one that `tokenizer.json` makes.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use tempfile::TempDir;
use uso_engine::tokenize::{ClipTokenizer, TokenizerSource};
use uso_engine::{ModelFiles, Uso};

use crate::golden::fixture;
use crate::model_folder::{Copy, bundled_folder};
use crate::tokens::rows;

/// Characters beyond this one are ideographs, tags and private use.
const MOST_CHARACTERS: u32 = 0x2_0000;

/// Texts at which tokenizers come apart.
const NASTY: [&str; 14] = [
    "",
    " \t\r\n\u{a0}\u{2003}\u{200b}\u{feff}",
    "👩‍🚀🏳️‍🌈 ❤️‍🔥🇫🇷 \u{1f9d1}\u{1f3fd}",
    "Ångström ﬁ Straße İstanbul ǅ ΣΊΣΥΦΟΣ e\u{301}\u{323}",
    "漢字かな交じり文、한국어 กำแพง हिन्दी العَرَبِيَّة",
    "it's WE'RE i'll 's't're've'm'll'd don''t ’s",
    "1234567890 3.14159 ٣٤٥ ½ ² Ⅻ 1st 2x4",
    "<|startoftext|><|endoftext|> <|STARTOFTEXT|> <|endoftext|",
    "<|endoftext|>",
    "a</w>b </w> #version: 0.2",
    "!!!??? ... -- __ ~~~ (((a:1.2))) \\[b\\] {c|d}",
    "\u{0}\u{1}\u{7f}\u{ad}\u{202e}\u{fffd}\u{fffe}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ĠĊ âĢ¦ Ã© ĳ",
];

/// Every character up to [`MOST_CHARACTERS`], in words of three.
fn characters() -> impl Iterator<Item = String> {
    let all: Vec<char> = (0..MOST_CHARACTERS).filter_map(char::from_u32).collect();
    let words = |line: &[char]| line.chunks(3).map(String::from_iter).collect::<Vec<_>>().join(" ");
    all.chunks(48).map(words).collect::<Vec<_>>().into_iter()
}

fn published_merges() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/clip/merges.txt")
}

fn published() -> ClipTokenizer {
    let tokenizer = ClipTokenizer::load(&ModelFiles::Folder(fixture("tokenizers")), "clip-vit-l14").unwrap();
    assert_eq!(tokenizer.source(), TokenizerSource::TokenizerJson);
    tokenizer
}

/// A folder with a CLIP of these two files.
struct Pair(TempDir);

impl Pair {
    fn new(vocabulary: &[u8], merges: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("clip")).unwrap();
        fs::write(folder.path().join("clip/vocab.json"), vocabulary).unwrap();
        fs::write(folder.path().join("clip/merges.txt"), merges).unwrap();
        Self(folder)
    }

    fn of(vocabulary: &Path, merges: &Path) -> Self {
        Self::new(&fs::read(vocabulary).unwrap(), &fs::read(merges).unwrap())
    }

    fn without(self, file: &str) -> Self {
        fs::remove_file(self.0.path().join("clip").join(file)).unwrap();
        self
    }

    fn load(&self) -> Result<ClipTokenizer, uso_engine::Error> {
        ClipTokenizer::load(&ModelFiles::Folder(self.0.path().to_owned()), "clip")
    }

    fn refusal(&self) -> String {
        self.load().err().expect("the tokenizer loaded").to_string()
    }
}

fn assert_same(ours: &ClipTokenizer, theirs: &ClipTokenizer, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        let (ours, theirs) = (ours.encode(&text, 512).unwrap(), theirs.encode(&text, 512).unwrap());
        assert_eq!(ours, theirs, "{text:?}");
    }
    assert_eq!(ours.largest_id(), theirs.largest_id());
}

fn all_texts() -> impl Iterator<Item = String> {
    rows().into_iter().map(|row| row.text).chain(NASTY.map(str::to_owned)).chain(characters())
}

#[test]
fn vocabulary_and_merges_make_the_tokenizer_that_tokenizer_json_makes() {
    let vocabulary = fixture("tokenizers/clip-vit-l14/vocab.json");
    let tokenizer = Pair::of(&vocabulary, &published_merges()).load().unwrap();
    assert_eq!(tokenizer.source(), TokenizerSource::VocabularyAndMerges);
    assert_same(&tokenizer, &published(), all_texts());
}

#[test]
fn a_folder_with_none_of_the_three_files_gets_the_published_tokenizer() {
    let folder = Pair::new(b"", b"").without("vocab.json").without("merges.txt");
    let tokenizer = folder.load().unwrap();
    assert_eq!(tokenizer.source(), TokenizerSource::Embedded);
    assert_same(&tokenizer, &published(), all_texts());
}

#[test]
fn the_bundled_vocabulary_and_merges_make_its_tokenizer() {
    let clip = bundled_folder().join("clip-vit-l14");
    let pair = Pair::of(&clip.join("vocab.json"), &clip.join("merges.txt")).load().unwrap();
    let whole = ClipTokenizer::load(&ModelFiles::Bundled, "clip-vit-l14").unwrap();
    assert_same(&pair, &whole, all_texts());
}

#[test]
fn merges_may_have_line_ends_of_another_system_and_no_version() {
    let clip = bundled_folder().join("clip-vit-l14");
    let (vocabulary, merges) =
        (clip.join("vocab.json"), fs::read_to_string(clip.join("merges.txt")).unwrap());
    let whole = ClipTokenizer::load(&ModelFiles::Bundled, "clip-vit-l14").unwrap();
    let (_, bare) = merges.split_once('\n').unwrap();
    for merges in [merges.replace('\n', "\r\n"), bare.to_owned(), format!("{merges}\n\n")] {
        let pair = Pair::new(&fs::read(&vocabulary).unwrap(), merges.as_bytes()).load().unwrap();
        assert_same(&pair, &whole, rows().into_iter().map(|row| row.text));
    }
}

#[test]
fn what_is_wrong_is_named_with_its_file_and_line() {
    let vocabulary = br#"{"a": 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}"#;
    let merges = b"#version: 0.2\na b</w>\n";
    Pair::new(vocabulary, merges).load().unwrap();
    for (vocabulary, merges, named) in [
        (&vocabulary[..], &b"#version: 0.2\na b</w>\na\n"[..], "clip/merges.txt: line 3 is not two tokens"),
        (vocabulary, b"a b</w>\n\na b</w>\n", "clip/merges.txt: line 2 is not two tokens"),
        (vocabulary, b"a b</w> c", "clip/merges.txt: line 1 is not two tokens"),
        (
            vocabulary,
            b"a b</w>\n#version: 0.2\n",
            "clip/merges.txt: line 2 needs a token that clip/vocab.json",
        ),
        (vocabulary, b"a a", "clip/merges.txt: line 1 needs a token that clip/vocab.json"),
        (vocabulary, b"a b</w>\n\xff \xfe", "clip/merges.txt: invalid utf-8"),
        (br#"{"a": 0, "<|startoftext|>": 1}"#, merges, "clip/vocab.json: has no <|endoftext|>"),
        (br#"{"a": -1}"#, merges, "clip/vocab.json: invalid value"),
        (br#"["a"]"#, merges, "clip/vocab.json: invalid type"),
        (b"{\n\"a\": 0,\n\"b\" 1}", merges, "line 3"),
        (b"", merges, "clip/vocab.json: EOF"),
    ] {
        let message = Pair::new(vocabulary, merges).refusal();
        assert!(message.contains(named), "{message} does not contain {named}");
    }
    for file in ["vocab.json", "merges.txt"] {
        let message = Pair::new(vocabulary, merges).without(file).refusal();
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn a_tokenizer_with_more_ids_than_the_weights_is_refused() {
    for (folder, files, largest) in [
        ("t5-xxl", vec!["tokenizer.json"], "32099"),
        ("clip-vit-l14", vec!["tokenizer.json", "vocab.json", "merges.txt"], "49407"),
    ] {
        let model = Copy::of(&fixture("tiny"));
        files.iter().for_each(|file| fs::remove_file(model.path(&format!("{folder}/{file}"))).unwrap());
        let error = Uso::load(&model.files(), &Device::Cpu, DType::F32).err().unwrap().to_string();
        let named = [folder, "embedded", largest].iter().all(|part| error.contains(part));
        assert!(named, "{error}");
    }
}

#[test]
fn the_merges_of_a_model_are_part_of_its_fingerprint() {
    let model = Copy::of(&fixture("tiny"));
    fs::remove_file(model.path("clip-vit-l14/tokenizer.json")).unwrap();
    let fingerprint = || {
        let uso = Uso::load(&model.files(), &Device::Cpu, DType::F32).unwrap();
        uso_engine::Engine::fingerprint(&uso).to_owned()
    };
    let before = fingerprint();
    assert_eq!(before, fingerprint());
    let merges = model.path("clip-vit-l14/merges.txt");
    let text = fs::read_to_string(&merges).unwrap();
    fs::write(&merges, text.lines().take(3).collect::<Vec<_>>().join("\n")).unwrap();
    assert_ne!(before, fingerprint());
}
