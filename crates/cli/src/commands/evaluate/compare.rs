//! Which pictures are compared with what: with their own references and prompts, with others' for the floor, and
//! references with themselves for the ceiling.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::kind::TaskKind;
use super::measure::{Against, Column};
use super::suite::{Item, Reference};

/// What a picture is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Other {
    Picture(Reference),
    Prompt { text: String, sha256: String },
}

impl Other {
    pub(super) fn prompt(text: &str) -> Self {
        Self::Prompt { text: text.to_owned(), sha256: hex::encode(Sha256::digest(text)) }
    }

    pub(super) fn sha256(&self) -> &str {
        match self {
            Self::Picture(reference) => &reference.sha256,
            Self::Prompt { sha256, .. } => sha256,
        }
    }
}

/// Why two things are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A picture with what it was made from.
    Own,
    /// A picture with what another one was made from: what chance gives.
    Floor,
    /// A reference with itself: what could be reached.
    Ceiling,
}

/// One value of a column: the mean of the comparisons with all of `others`.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) column: Column,
    pub(super) role: Role,
    /// The item in the suite; none for a ceiling.
    pub(super) item: Option<usize>,
    pub(super) picture: Reference,
    pub(super) others: Vec<Other>,
}

/// A picture that is there.
pub(super) struct Finished {
    pub(super) item: usize,
    /// Digest of what was asked for, which chooses its other for the floor.
    pub(super) digest: String,
    pub(super) path: PathBuf,
    pub(super) sha256: String,
}

/// All comparisons of the given columns. `seed` chooses the floor's.
pub(super) fn all(columns: &[Column], items: &[Item], pictures: &[Finished], seed: u64) -> Vec<Comparison> {
    columns.iter().flat_map(|column| of_column(*column, items, pictures, seed)).collect()
}

fn of_column(column: Column, items: &[Item], pictures: &[Finished], seed: u64) -> Vec<Comparison> {
    let against = column.measure.against();
    let of_kind = |kind: TaskKind| kind == column.kind;
    // The groups that others can be taken from, each once.
    let groups: BTreeMap<String, Vec<Other>> = items
        .iter()
        .filter(|item| of_kind(item.kind))
        .map(|item| own(item, against))
        .filter(|others| !others.is_empty())
        .map(|others| (name(&others), others))
        .collect();
    let mut comparisons = Vec::new();
    for picture in pictures.iter().filter(|picture| of_kind(items[picture.item].kind)) {
        let own = own(&items[picture.item], against);
        if own.is_empty() {
            continue;
        }
        let compare = |role, others| Comparison {
            column,
            role,
            item: Some(picture.item),
            picture: Reference { path: picture.path.clone(), sha256: picture.sha256.clone() },
            others,
        };
        let floor = foreign(&groups, &own, &picture.digest, seed);
        comparisons.extend(floor.map(|others| compare(Role::Floor, others.clone())));
        comparisons.push(compare(Role::Own, own));
    }
    comparisons.extend(ceiling(column, groups.into_values().flatten()));
    comparisons
}

/// What a picture of an item is compared with.
fn own(item: &Item, against: Against) -> Vec<Other> {
    match against {
        Against::Content => item.content.iter().cloned().map(Other::Picture).collect(),
        Against::Styles => item.styles.iter().cloned().map(Other::Picture).collect(),
        Against::Prompt if item.prompt.is_empty() => Vec::new(),
        Against::Prompt => vec![Other::prompt(&item.prompt)],
    }
}

fn name(others: &[Other]) -> String {
    others.iter().map(Other::sha256).collect::<Vec<_>>().join(" ")
}

/// One group at random that shares nothing with the picture's own; none if there is none. The seed, the picture and the
/// group alone decide, so that most pairs stay as they are when the suite grows.
fn foreign<'a>(
    groups: &'a BTreeMap<String, Vec<Other>>,
    own: &[Other],
    picture: &str,
    seed: u64,
) -> Option<&'a Vec<Other>> {
    let is_foreign = |others: &Vec<Other>| !others.iter().any(|other| contains(own, other));
    let digest = |name: &str| -> [u8; 32] { Sha256::digest(format!("{seed}\n{picture}\n{name}")).into() };
    let candidates = groups.iter().filter(|(_, others)| is_foreign(others));
    candidates.min_by_key(|(name, _)| digest(name)).map(|(_, others)| others)
}

/// Whether one of them has the same content, wherever it lies.
fn contains(own: &[Other], other: &Other) -> bool {
    own.iter().any(|own| own.sha256() == other.sha256())
}

/// Each reference once with itself. A prompt is no picture, so CLIP-T has no ceiling.
fn ceiling(column: Column, others: impl Iterator<Item = Other>) -> Vec<Comparison> {
    let references = others.filter_map(|other| match other {
        Other::Picture(reference) => Some((reference.sha256.clone(), reference)),
        Other::Prompt { .. } => None,
    });
    let distinct: BTreeMap<_, _> = references.collect();
    let compare = |picture: Reference| Comparison {
        column,
        role: Role::Ceiling,
        item: None,
        others: vec![Other::Picture(picture.clone())],
        picture,
    };
    distinct.into_values().map(compare).collect()
}

#[cfg(test)]
mod tests {
    use super::super::measure::{BUNDLED, Measure, PAPER};
    use super::*;

    fn reference(name: &str) -> Reference {
        Reference { path: name.into(), sha256: format!("sha-{name}") }
    }

    fn item(prompt: &str, content: Option<&str>, styles: &[&str]) -> Item {
        Item {
            file: "suite.json".into(),
            number: 1,
            stem: "a".into(),
            kind: TaskKind::of(content.is_some(), !styles.is_empty()).unwrap(),
            prompt: prompt.into(),
            content: content.map(reference),
            styles: styles.iter().map(|name| reference(name)).collect(),
            fields: serde_json::Map::new(),
        }
    }

    fn finished(items: &[Item], each: usize) -> Vec<Finished> {
        let picture = |item: usize, number: usize| Finished {
            item,
            digest: format!("{item}-{number}"),
            path: "p.png".into(),
            sha256: format!("picture-{item}-{number}"),
        };
        (0..items.len()).flat_map(|item| (0..each).map(move |number| picture(item, number))).collect()
    }

    fn of(comparisons: &[Comparison], role: Role) -> Vec<&Comparison> {
        comparisons.iter().filter(|comparison| comparison.role == role).collect()
    }

    #[test]
    fn no_picture_meets_its_own_in_the_floor() {
        // Different items with the same references and prompts, and styles that overlap.
        let items = [
            item("a", Some("fox"), &["ink", "oil"]),
            item("b", Some("fox"), &["ink"]),
            item("a", Some("cup"), &["oil"]),
            item("c", Some("bowl"), &["dots"]),
        ];
        for column in PAPER.iter().chain(&BUNDLED).filter(|column| column.kind == TaskKind::Combined) {
            let against = column.measure.against();
            for seed in 0..50 {
                let comparisons = all(&[*column], &items, &finished(&items, 3), seed);
                let floor = of(&comparisons, Role::Floor);
                assert_eq!(floor.len(), 12);
                for comparison in floor {
                    let own = own(&items[comparison.item.unwrap()], against);
                    assert!(!comparison.others.iter().any(|other| contains(&own, other)));
                }
            }
        }
    }

    #[test]
    fn the_seed_alone_decides_the_floor() {
        let items: Vec<_> = ["fox", "cup", "bowl", "star"].map(|name| item(name, Some(name), &[])).into();
        let column = Column { kind: TaskKind::Subject, measure: Measure::Dino };
        let floor = |seed, items: &[Item]| -> Vec<String> {
            let comparisons = all(&[column], items, &finished(&items[..4], 4), seed);
            of(&comparisons, Role::Floor).iter().map(|pair| pair.others[0].sha256().to_owned()).collect()
        };
        assert_eq!(floor(1, &items), floor(1, &items));
        assert_ne!(floor(1, &items), floor(2, &items));
        let all: std::collections::BTreeSet<_> = floor(1, &items).into_iter().collect();
        assert_eq!(all.len(), 4, "every reference is somebody's other");
        // A larger suite keeps most pairs.
        let mut more = items.clone();
        more.push(item("heart", Some("heart"), &[]));
        let kept = floor(1, &items).iter().zip(floor(1, &more)).filter(|(a, b)| **a == *b).count();
        assert!(kept >= 8, "{kept}");
    }

    #[test]
    fn without_others_there_is_no_floor_and_without_a_prompt_no_text_score() {
        let items = [item("", Some("fox"), &[]), item("a", Some("fox"), &[])];
        let columns: Vec<_> = PAPER.into_iter().filter(|column| column.kind == TaskKind::Subject).collect();
        let comparisons = all(&columns, &items, &finished(&items, 1), 1);
        assert!(of(&comparisons, Role::Floor).is_empty());
        let count = |role, measure| {
            of(&comparisons, role).iter().filter(|pair| pair.column.measure == measure).count()
        };
        assert_eq!(count(Role::Own, Measure::ClipI), 2);
        assert_eq!(count(Role::Own, Measure::ClipT), 1);
        assert_eq!(count(Role::Ceiling, Measure::ClipI), 1, "each reference once");
        assert_eq!(count(Role::Ceiling, Measure::ClipT), 0);
    }
}
