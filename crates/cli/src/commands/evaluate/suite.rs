//! Reads a suite and checks all of it, before any picture is asked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uso_dataset::file;
use uso_dataset::rows::{Kind, Manifest, RawRow};
use uso_engine::{DecodeLimits, Image, MAX_STYLES};
use uso_queue::{Defaults, JobSpec};
use uso_store::MAX_REFERENCE;

use super::kind::TaskKind;

/// Fields of a job that an item may set beside prompt and references.
const FIELDS: [&str; 9] =
    ["seed", "width", "height", "keep_size", "steps", "guidance", "content_size", "step_cache", "loras"];
/// Stands for references where a job is checked before they are uploaded.
const ANY_SOURCE: &str = "s3://any/any";

/// A picture file that an item refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) path: PathBuf,
    /// Digest of the file in hexadecimal.
    pub(super) sha256: String,
}

/// One prompt with its references.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The file that it stands in.
    pub(super) file: PathBuf,
    /// Its number in that file, from 1.
    pub(super) number: u64,
    /// What to call its pictures.
    pub(super) stem: String,
    pub(super) kind: TaskKind,
    pub(super) prompt: String,
    pub(super) content: Option<Reference>,
    pub(super) styles: Vec<Reference>,
    /// Other fields of its jobs; the command line's where it has none.
    pub(super) fields: Map<String, Value>,
}

impl Item {
    /// Where it stands, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}: item {}", self.file.display(), self.number)
    }
}

/// Reads the first `limit` items of a file or of all `.json` files of a folder, in the order of their names.
///
/// # Errors
/// Names the file, the item and the field.
pub(super) fn read(
    path: &Path,
    settings: &Map<String, Value>,
    limit: Option<u32>,
) -> anyhow::Result<Vec<Item>> {
    let (mut items, mut references) = (Vec::new(), References::default());
    for file in files(path)? {
        for row in Manifest::open(&file, Some(Kind::Evaluation))? {
            if limit.is_some_and(|limit| items.len() >= limit as usize) {
                return Ok(items);
            }
            let row = row?.map_err(|bad| {
                let faults: Vec<_> =
                    bad.faults.iter().map(|fault| text(&fault.pointer, &fault.message)).collect();
                anyhow!("{}: item {}: {}", file.display(), bad.line, faults.join("; "))
            })?;
            let place = format!("{}: item {}", file.display(), row.line);
            items.push(item(&file, row, settings, &mut references).context(place)?);
        }
    }
    ensure!(!items.is_empty(), "{} has no items", path.display());
    Ok(items)
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.with_context(|| format!("cannot read {}", path.display()))?.path();
        if Kind::of(&file) == Some(Kind::Evaluation) {
            files.push(file);
        }
    }
    ensure!(!files.is_empty(), "{} has no .json files", path.display());
    files.sort();
    Ok(files)
}

fn item(
    file: &Path,
    row: RawRow,
    settings: &Map<String, Value>,
    references: &mut References,
) -> anyhow::Result<Item> {
    let RawRow { line: number, fields: mut given, .. } = row;
    given.retain(|_, value| !value.is_null());
    let stem = stem(&mut given, number)?;
    let prompt = string(given.remove("prompt"), "prompt")?.unwrap_or_default();
    let content = string(given.remove("content"), "image_paths")?;
    let styles = match given.remove("styles") {
        None => Vec::new(),
        Some(Value::Array(paths)) => paths,
        Some(_) => bail!("image_paths: must be an array of strings"),
    };
    ensure!(styles.len() <= MAX_STYLES, "image_paths: at most {MAX_STYLES} style references");
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut resolve = |path: String, what: &str| {
        references.of(&folder.join(path)).with_context(|| format!("image_paths: {what} reference"))
    };
    let content = content.map(|path| resolve(path, "content")).transpose()?;
    let styles = styles
        .into_iter()
        .map(|path| resolve(string(Some(path), "image_paths")?.unwrap_or_default(), "style"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let kind = TaskKind::of(content.is_some(), !styles.is_empty())
        .context("image_paths: names neither a content nor a style reference")?;
    let mut fields = settings.clone();
    fields.extend(given);
    check(&prompt, content.is_some(), styles.len(), &fields)?;
    let file = file.to_owned();
    Ok(Item { file, number, stem, kind, prompt, content, styles, fields })
}

/// What to call the item's pictures: its `save_dir`, without what a file name should not have.
fn stem(given: &mut Map<String, Value>, number: u64) -> anyhow::Result<String> {
    const LONGEST: usize = 80;
    let key = given.remove("key");
    let metadata = given.remove("metadata").unwrap_or_default();
    let asked = string(key.or_else(|| metadata.get("save_dir").cloned()), "save_dir")?.unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let stem: String = asked.chars().take(LONGEST).map(plain).collect();
    Ok(if stem.is_empty() { format!("item-{number}") } else { stem })
}

fn string(value: Option<Value>, field: &str) -> anyhow::Result<Option<String>> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => bail!("{field}: {other} is no string"),
    }
}

/// Checks the job that the item will become, as the API does.
fn check(prompt: &str, content: bool, styles: usize, fields: &Map<String, Value>) -> anyhow::Result<()> {
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        bail!("{unknown}: an item has no such field");
    }
    let mut job = fields.clone();
    job.insert("prompt".into(), prompt.into());
    job.insert("styles".into(), vec![ANY_SOURCE; styles].into());
    if content {
        job.insert("content".into(), ANY_SOURCE.into());
    }
    // What the fleet allows is for the fleet to say.
    let defaults = Defaults { max_step_cache: 1.0, ..Defaults::default() };
    JobSpec::parse(&Value::Object(job), &defaults).map(drop).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(|fault| text(&fault.pointer, &fault.message)).collect();
        anyhow!("{}", faults.join("; "))
    })
}

fn text(pointer: &str, message: &str) -> String {
    match pointer.trim_start_matches('/') {
        "" => message.to_owned(),
        field => format!("{field}: {message}"),
    }
}

/// The files that were looked at: suites name the same few pictures again and again.
#[derive(Default)]
struct References(HashMap<PathBuf, Reference>);

impl References {
    fn of(&mut self, path: &Path) -> anyhow::Result<Reference> {
        if let Some(known) = self.0.get(path) {
            return Ok(known.clone());
        }
        let read = file::read(path, MAX_REFERENCE);
        let bytes = read.with_context(|| format!("cannot read {}", path.display()))?;
        Image::decode(&bytes, &DecodeLimits::default())
            .with_context(|| format!("cannot use {}", path.display()))?;
        let reference = Reference { path: path.to_owned(), sha256: hex::encode(Sha256::digest(&bytes)) };
        self.0.insert(path.to_owned(), reference.clone());
        Ok(reference)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    const STAR: &[u8] = include_bytes!("../../../../engine/assets/mini/examples/content_star.png");
    const NEON: &[u8] = include_bytes!("../../../../engine/assets/mini/examples/style_neon.png");

    /// A folder with two pictures and one file of items.
    fn folder(items: &Value) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("pictures")).unwrap();
        std::fs::write(folder.path().join("pictures/star.png"), STAR).unwrap();
        std::fs::write(folder.path().join("pictures/neon.png"), NEON).unwrap();
        std::fs::write(folder.path().join("pictures/text.png"), "text").unwrap();
        let large = std::fs::File::create(folder.path().join("pictures/large.png")).unwrap();
        large.set_len(MAX_REFERENCE + 1).unwrap();
        std::fs::write(folder.path().join("b.json"), items.to_string()).unwrap();
        folder
    }

    fn said(item: &Value) -> String {
        let folder = folder(&json!([{ "image_paths": ["pictures/star.png"] }, item]));
        let error = read(&folder.path().join("b.json"), &Map::new(), None).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn items_have_references_and_parameters() {
        let folder = folder(&json!([
            { "prompt": "a star", "image_paths": ["pictures/star.png"], "save_dir": "star.1/x" },
            { "prompt": "b", "image_paths": ["", "pictures/neon.png", ""], "steps": 3, "save_dir": "neon" },
            { "prompt": "", "image_paths": ["pictures/star.png", "pictures/neon.png"], "seed": 5 },
        ]));
        let settings = json!({ "steps": 2 }).as_object().unwrap().clone();
        let items = read(&folder.path().join("b.json"), &settings, None).unwrap();
        let kinds: Vec<_> = items.iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [TaskKind::Subject, TaskKind::Style, TaskKind::Combined]);
        let stems: Vec<_> = items.iter().map(|item| item.stem.as_str()).collect();
        assert_eq!(stems, ["star_1_x", "neon", "item-3"]);
        let steps: Vec<_> = items.iter().map(|item| item.fields["steps"].as_u64()).collect();
        assert_eq!(steps, [Some(2), Some(3), Some(2)]);
        assert_eq!(items[2].fields["seed"], 5);
        let star = hex::encode(Sha256::digest(STAR));
        assert_eq!(items[0].content.as_ref().map(|reference| reference.sha256.as_str()), Some(star.as_str()));
        assert_eq!(items[2].styles[0].path, folder.path().join("pictures/neon.png"));
        assert!(items[2].place().ends_with("b.json: item 3"));
    }

    #[test]
    fn a_folder_is_read_by_name_up_to_the_limit() {
        let item = |prompt: &str| json!([{ "prompt": prompt, "image_paths": ["pictures/star.png"] }]);
        let folder = folder(&item("second"));
        std::fs::write(folder.path().join("a.json"), item("first").to_string()).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no items").unwrap();
        let prompts = |limit| -> Vec<String> {
            read(folder.path(), &Map::new(), limit).unwrap().into_iter().map(|item| item.prompt).collect()
        };
        assert_eq!(prompts(None), ["first", "second"]);
        assert_eq!(prompts(Some(1)), ["first"]);
        assert!(read(&folder.path().join("pictures"), &Map::new(), None).is_err());
    }

    #[test]
    fn faults_name_file_item_and_field() {
        for (item, parts) in [
            (json!(7), &["b.json: item 2: must be a JSON object"][..]),
            (json!({ "image_paths": 7 }), &["item 2: image_paths: must be an array"]),
            (json!({ "prompt": "a", "image_paths": [] }), &["item 2: image_paths: names neither"]),
            (
                json!({ "image_paths": ["none.png"] }),
                &["image_paths: content reference: cannot read", "none.png"],
            ),
            (
                json!({ "image_paths": ["", "pictures/text.png"] }),
                &["image_paths: style reference: cannot use"],
            ),
            (json!({ "image_paths": ["pictures/large.png"] }), &["cannot read", "at most 33554432 bytes"]),
            (json!({ "image_paths": [7] }), &["item 2: image_paths: 7 is no string"]),
            (
                json!({ "image_paths": ["pictures/star.png"], "prompt": 7 }),
                &["item 2: prompt: 7 is no string"],
            ),
            (
                json!({ "image_paths": ["pictures/star.png"], "steps": 101 }),
                &["item 2: steps: 101 is not within"],
            ),
            (
                json!({ "image_paths": ["pictures/star.png"], "save_dir": 7 }),
                &["item 2: save_dir: 7 is no string"],
            ),
            (
                json!({ "image_paths": ["pictures/star.png"], "gate": {} }),
                &["item 2: gate: an item has no such"],
            ),
        ] {
            let said = said(&item);
            assert!(parts.iter().all(|part| said.contains(part)), "{item}: {said}");
        }
    }
}
