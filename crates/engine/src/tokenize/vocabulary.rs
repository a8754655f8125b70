//! CLIP's tokenizer from its merges and its vocabulary (byte-pair encoding: Sennrich et al., arXiv 1508.07909).

use std::collections::{BTreeSet, HashMap};

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{self, Lowercase, NFC, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::files::missing;
use crate::{Error, ModelFiles};

/// The token before every text.
pub(super) const START: &str = "<|startoftext|>";
/// The token after every text, and for unknown tokens.
pub(super) const END: &str = "<|endoftext|>";
/// Marks a token that ends a word.
const END_OF_WORD: &str = "</w>";

/// The merges of the published CLIP; its vocabulary follows from them.
static PUBLISHED: &str = include_str!("../../assets/clip/merges.txt");
const PUBLISHED_NAME: &str = "merges.txt of the published CLIP";

/// Pattern of a word, as in the published `tokenizer.json`.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Ids by token.
type Vocabulary = HashMap<String, u32>;

/// Makes a tokenizer from the two files.
///
/// # Errors
/// [`Error::ModelFile`] names the file, and the line that is not a merge or needs a token that the vocabulary does not
/// have.
pub(super) fn read(files: &ModelFiles, vocabulary: &str, merges: &str) -> Result<Tokenizer, Error> {
    let ids: Vocabulary = files.read_json(vocabulary)?;
    if let Some(token) = [START, END].into_iter().find(|token| !ids.contains_key(*token)) {
        return Err(missing(vocabulary, format!("has no {token}")));
    }
    let bytes = files.read(merges)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| missing(merges, error.to_string()))?;
    let pairs = pairs(merges, text)?;
    for Pair { line, left, right } in &pairs {
        let joined = format!("{left}{right}");
        if ![*left, *right, &joined].iter().all(|token| ids.contains_key(*token)) {
            return Err(missing(
                merges,
                format!("line {line} needs a token that {vocabulary} does not have"),
            ));
        }
    }
    tokenizer(ids, &pairs).map_err(|error| missing(merges, error.to_string()))
}

/// The tokenizer of the published CLIP.
pub(super) fn published() -> Result<Tokenizer, Error> {
    let pairs = pairs(PUBLISHED_NAME, PUBLISHED)?;
    tokenizer(derived(&pairs), &pairs).map_err(|error| missing(PUBLISHED_NAME, error.to_string()))
}

/// Two tokens that are merged.
struct Pair<'a> {
    /// Line number in its file, from 1.
    line: usize,
    left: &'a str,
    right: &'a str,
}

/// The merges of a file, the most frequent first: two tokens per line, after a line with the format's version.
fn pairs<'a>(file: &str, text: &'a str) -> Result<Vec<Pair<'a>>, Error> {
    let lines = (1..).zip(text.trim_end().lines());
    let merges = lines.filter(|(line, merge)| *line > 1 || !merge.starts_with("#version"));
    let pair = |(line, merge): (usize, &'a str)| {
        let two = merge.split_once(' ');
        let two = two.filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '));
        let (left, right) =
            two.ok_or_else(|| missing(file, format!("line {line} is not two tokens with a space between")))?;
        Ok(Pair { line, left, right })
    };
    merges.map(pair).collect()
}

/// The vocabulary that follows from merges: all bytes, all bytes at the end of a word, the results of merges, and the
/// two special tokens (`SimpleTokenizer` of openai/CLIP, clip/simple_tokenizer.py).
fn derived(pairs: &[Pair]) -> Vocabulary {
    // In the order of their code points, as the reference lists the characters that stand for bytes.
    let bytes: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
    let inside = bytes.iter().map(|byte| byte.to_string());
    let at_end = bytes.iter().map(|byte| format!("{byte}{END_OF_WORD}"));
    let merged = pairs.iter().map(|Pair { left, right, .. }| format!("{left}{right}"));
    let special = [START, END].map(str::to_owned);
    inside.chain(at_end).chain(merged).chain(special).zip(0..).collect()
}

/// The whole tokenizer, as the published `tokenizer.json` describes it. All tokens that `pairs` need must be in
/// `vocabulary`.
fn tokenizer(vocabulary: Vocabulary, pairs: &[Pair]) -> tokenizers::Result<Tokenizer> {
    let merges = pairs.iter().map(|Pair { left, right, .. }| ((*left).to_owned(), (*right).to_owned()));
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges.collect())
        .unk_token(END.into())
        .end_of_word_suffix(END_OF_WORD.into())
        .build()?;
    let normalizer = normalizers::Sequence::new(vec![
        NFC.into(),
        Replace::new(ReplacePattern::Regex(r"\s+".into()), " ")?.into(),
        Lowercase.into(),
    ]);
    let words = Split::new(SplitPattern::Regex(WORD.into()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer))?;
    tokenizer.with_pre_tokenizer(Some(sequence::Sequence::new(vec![words.into(), bytes.into()])));
    tokenizer.add_special_tokens([START, END].map(|token| AddedToken::from(token, true).normalized(true)))?;
    Ok(tokenizer)
}
