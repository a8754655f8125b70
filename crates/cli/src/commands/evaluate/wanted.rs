//! The pictures that a suite asks for.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::suite::Item;

/// One picture of an item.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its item's place in the suite.
    pub(super) item: usize,
    /// Seed of its start noise.
    pub(super) seed: u64,
    /// Digest of all that is asked for, in hexadecimal: the same for the same prompt, references, parameters and seed.
    pub(super) digest: String,
    /// Name of its file.
    pub(super) file: String,
}

/// All pictures in the order of the suite. Picture j of an item has its seed plus j, or `seed` plus j if it has none.
pub(super) fn pictures(items: &[Item], seed: u64) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for (item, about) in items.iter().enumerate() {
        let first = seed_of(about).unwrap_or(seed);
        for number in 0..about.kind.pictures() {
            let seed = first.saturating_add(number);
            let digest = digest(about, seed);
            let file = format!("{}_{number}-{}.png", about.stem, &digest[..8]);
            wanted.push(Wanted { item, seed, digest, file });
        }
    }
    wanted
}

/// The seed that an item asks for; none if it asks for any. To JSON, 7.0 is a whole number, too.
fn seed_of(item: &Item) -> Option<u64> {
    let seed = item.fields.get("seed")?;
    let whole = |seed: &f64| seed.fract() == 0.0 && *seed >= 0.0;
    seed.as_u64().or_else(|| seed.as_f64().filter(whole).map(|seed| seed as u64))
}

/// Each picture once, though several items ask for the same.
pub(super) fn distinct(wanted: &[Wanted]) -> Vec<&Wanted> {
    let mut seen = HashSet::new();
    wanted.iter().filter(|picture| seen.insert(picture.digest.as_str())).collect()
}

/// The job of a picture, with the sources of its references.
pub(super) fn job(item: &Item, seed: u64, content: Option<String>, styles: Vec<String>) -> Value {
    let mut job = item.fields.clone();
    job.insert("prompt".into(), json!(item.prompt));
    if let Some(content) = content {
        job.insert("content".into(), content.into());
    }
    job.insert("styles".into(), styles.into());
    job.insert("seed".into(), seed.into());
    job.insert("class".into(), "bulk".into());
    job.insert("format".into(), "png".into());
    job.into()
}

fn digest(item: &Item, seed: u64) -> String {
    let sha256 = |reference: &super::suite::Reference| reference.sha256.clone();
    let job = job(item, seed, item.content.as_ref().map(sha256), item.styles.iter().map(sha256).collect());
    let mut text = String::new();
    write_sorted(&job, &mut text);
    hex::encode(Sha256::digest(text))
}

/// JSON with the fields of each object in the order of their names.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            text.push('{');
            for (name, value) in sorted(fields) {
                text.push_str(&format!("{}:", Value::from(name.as_str())));
                write_sorted(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for value in values {
                write_sorted(value, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn sorted(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

#[cfg(test)]
mod tests {
    use super::super::kind::TaskKind;
    use super::super::suite::Reference;
    use super::*;

    fn item(kind: TaskKind, fields: Value) -> Item {
        let reference = |name: &str| Reference { path: name.into(), sha256: name.into() };
        Item {
            file: "suite.json".into(),
            number: 1,
            stem: "fox".into(),
            kind,
            prompt: "a fox".into(),
            content: (kind != TaskKind::Style).then(|| reference("content")),
            styles: if kind == TaskKind::Subject { Vec::new() } else { vec![reference("ink")] },
            fields: fields.as_object().unwrap().clone(),
        }
    }

    fn seeds(wanted: &[Wanted]) -> Vec<u64> {
        wanted.iter().map(|picture| picture.seed).collect()
    }

    #[test]
    fn picture_j_has_the_seed_plus_j() {
        let items = [
            item(TaskKind::Subject, json!({})),
            item(TaskKind::Style, json!({ "seed": 7 })),
            item(TaskKind::Combined, json!({ "seed": -1 })),
            item(TaskKind::Combined, json!({ "seed": 7.0 })),
        ];
        let wanted = pictures(&items, 3407);
        assert_eq!(seeds(&wanted), [3407, 3408, 3409, 3410, 7, 8, 9, 10, 3407, 7]);
        assert_eq!(wanted[5].item, 1);
        assert!(wanted[5].file.starts_with("fox_1-") && wanted[5].file.ends_with(".png"));
    }

    #[test]
    fn what_is_asked_for_decides_the_digest() {
        let first = |item: Item| pictures(&[item], 1)[0].digest.clone();
        let subject = || item(TaskKind::Subject, json!({ "steps": 4, "width": 64 }));
        let same = item(TaskKind::Subject, json!({ "width": 64, "steps": 4 }));
        assert_eq!(first(subject()), first(Item { number: 9, stem: "other".into(), ..same }));
        let reference = Reference { path: "content".into(), sha256: "changed".into() };
        for other in [
            Item { prompt: "a cat".into(), ..subject() },
            Item { content: Some(reference), ..subject() },
            item(TaskKind::Subject, json!({ "steps": 5, "width": 64 })),
            item(TaskKind::Combined, json!({ "steps": 4, "width": 64 })),
        ] {
            assert_ne!(first(subject()), first(other));
        }
        assert_ne!(first(subject()), pictures(&[subject()], 2)[0].digest);
    }

    #[test]
    fn a_picture_that_several_items_ask_for_is_made_once() {
        let items = [item(TaskKind::Style, json!({})), item(TaskKind::Style, json!({ "seed": 3408 }))];
        let wanted = pictures(&items, 3407);
        let distinct: Vec<u64> = distinct(&wanted).iter().map(|picture| picture.seed).collect();
        assert_eq!((wanted.len(), distinct), (8, vec![3407, 3408, 3409, 3410, 3411]));
    }

    #[test]
    fn jobs_are_bulk_work_without_a_gate() {
        let job =
            job(&item(TaskKind::Combined, json!({ "steps": 4 })), 9, Some("a".into()), vec!["b".into()]);
        let expected = json!({ "prompt": "a fox", "content": "a", "styles": ["b"], "seed": 9, "steps": 4,
            "class": "bulk", "format": "png" });
        assert_eq!(job, expected);
    }
}
