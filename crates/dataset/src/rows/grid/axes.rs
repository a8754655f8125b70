//! What a grid combines.

use std::collections::HashSet;
use std::hash::Hash;
use std::path::Path;

use serde_json::Value;

use super::file::{GridFile, scalar, size};
use super::template::{Attributes, Template};

/// Most combinations that can be numbered: JSON keeps whole numbers up to there.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A subject, a style, or a pair of styles.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) images: Vec<String>,
    pub(super) attributes: Attributes,
}

/// Seeds of a grid.
#[derive(Debug)]
pub(super) enum Seeds {
    List(Vec<u64>),
    Range { from: u64, count: u64 },
}

/// What a grid combines; an axis without values has no part in the rows.
#[derive(Debug)]
pub(super) struct Axes {
    pub(super) subjects: Vec<Entry>,
    pub(super) styles: Vec<Entry>,
    prompts: Vec<Template>,
    pub(super) sizes: Vec<(u64, u64)>,
    pub(super) seeds: Seeds,
    combinations: u64,
}

/// A combination: a place on each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) subject: usize,
    pub(super) style: usize,
    pub(super) prompt: usize,
    pub(super) size: usize,
    pub(super) seed: u64,
}

impl Seeds {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::List(seeds) => seeds.len() as u64,
            Self::Range { count, .. } => *count,
        }
    }

    pub(super) fn get(&self, i: u64) -> Option<u64> {
        match self {
            Self::List(seeds) => seeds.get(usize::try_from(i).ok()?).copied(),
            Self::Range { from, count } => (i < *count).then(|| from.saturating_add(i)),
        }
    }

    /// Where a seed stands.
    pub(super) fn place(&self, seed: u64) -> Option<u64> {
        match self {
            Self::List(seeds) => seeds.iter().position(|other| *other == seed).map(|place| place as u64),
            Self::Range { from, count } => seed.checked_sub(*from).filter(|place| place < count),
        }
    }

    fn of(value: Option<&Value>) -> Result<Self, String> {
        let wrong = || "seeds must be a list of whole numbers, or { from: 0, count: 4 }".to_owned();
        match value {
            None => Ok(Self::List(Vec::new())),
            Some(Value::Array(seeds)) => {
                let seeds =
                    seeds.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>().ok_or_else(wrong)?;
                no_doubles("seeds", &seeds)?;
                Ok(Self::List(seeds))
            }
            Some(Value::Object(range)) if range.keys().all(|name| name == "from" || name == "count") => {
                let from = range.get("from").map_or(Some(0), Value::as_u64).ok_or_else(wrong)?;
                let given = range.get("count").ok_or_else(wrong)?;
                let count = given.as_u64().filter(|count| (1..=MAX_NUMBER).contains(count));
                let count = count.ok_or_else(|| {
                    format!("seeds: count {given} is not a whole number from 1 to {MAX_NUMBER}")
                })?;
                Ok(Self::Range { from, count })
            }
            _ => Err(wrong()),
        }
    }
}

impl Axes {
    pub(super) fn of(file: &GridFile) -> Result<Self, String> {
        let subjects = entries("subjects", file.subjects.as_deref().unwrap_or_default())?;
        let mut styles = entries("styles", file.styles.as_deref().unwrap_or_default())?;
        let pairs = file.style_pairs.iter().flatten().map(|names| pair(&styles, names));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        styles.extend(pairs);
        for (axis, entries) in [("subjects", &subjects), ("styles", &styles)] {
            no_doubles(axis, &entries.iter().map(|entry| &entry.name).collect::<Vec<_>>())?;
        }
        let (mut sizes, mut prompts) = (Vec::new(), Vec::new());
        for value in file.sizes.iter().flatten() {
            sizes.push(
                size(value).ok_or_else(|| format!("sizes: {value} is not [width, height] or \"WxH\""))?,
            );
        }
        no_doubles("sizes", &sizes)?;
        let texts = file.prompts.as_deref().unwrap_or_default();
        no_doubles("prompts", texts)?;
        for (i, text) in texts.iter().enumerate() {
            let template = Template::parse(text).and_then(|template| {
                let sides = [("subject", &subjects), ("style", &styles)];
                sides
                    .iter()
                    .try_for_each(|(axis, entries)| check(&template, axis, entries))
                    .map(|()| template)
            });
            prompts.push(template.map_err(|reason| format!("prompt {i}: {reason}"))?);
        }
        let mut axes = Self {
            subjects,
            styles,
            prompts,
            sizes,
            seeds: Seeds::of(file.seeds.as_ref())?,
            combinations: 0,
        };
        let product = axes.lengths().into_iter().try_fold(1_u64, u64::checked_mul);
        axes.combinations =
            product.filter(|all| *all <= MAX_NUMBER).ok_or("too many combinations to number them")?;
        Ok(axes)
    }

    pub(super) fn combinations(&self) -> u64 {
        self.combinations
    }

    /// Fields that its rows get from it.
    pub(super) fn set_fields(&self) -> Vec<&'static str> {
        let sets = [
            (!self.subjects.is_empty(), "content"),
            (!self.styles.is_empty(), "styles"),
            (!self.prompts.is_empty(), "prompt"),
            (!self.sizes.is_empty(), "width"),
            (!self.sizes.is_empty(), "height"),
            (self.seeds.len() > 0, "seed"),
        ];
        sets.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
    }

    /// How many prompts it has.
    pub(super) fn prompts(&self) -> usize {
        self.prompts.len()
    }

    pub(super) fn prompt(&self, point: &Point) -> Option<String> {
        let none = Attributes::new();
        let subject = self.subjects.get(point.subject).map_or(&none, |subject| &subject.attributes);
        let style = self.styles.get(point.style).map_or(&none, |style| &style.attributes);
        Some(self.prompts.get(point.prompt)?.fill(subject, style))
    }

    /// The combination of a number: the last axis changes first.
    pub(super) fn point(&self, combination: u64) -> Point {
        let [_, styles, prompts, sizes, seeds] = self.lengths();
        let mut rest = combination;
        let mut digit = |length: u64| {
            let digit = rest % length;
            rest /= length;
            digit
        };
        let seed = digit(seeds);
        let size = digit(sizes) as usize;
        let prompt = digit(prompts) as usize;
        let style = digit(styles) as usize;
        Point { subject: rest as usize, style, prompt, size, seed }
    }

    fn lengths(&self) -> [u64; 5] {
        let lengths = [self.subjects.len(), self.styles.len(), self.prompts.len(), self.sizes.len()];
        let [subjects, styles, prompts, sizes] = lengths.map(|length| length.max(1) as u64);
        [subjects, styles, prompts, sizes, self.seeds.len().max(1)]
    }
}

fn entries(axis: &str, values: &[Value]) -> Result<Vec<Entry>, String> {
    values
        .iter()
        .enumerate()
        .map(|(i, value)| entry(value).map_err(|reason| format!("{axis} {i}: {reason}")))
        .collect()
}

/// An entry: an object with an image, or only its path.
fn entry(value: &Value) -> Result<Entry, String> {
    let mut attributes = Attributes::new();
    match value {
        Value::String(path) => {
            attributes.insert("image".to_owned(), path.clone());
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let value = scalar(value).ok_or_else(|| format!("{name} must be a string"))?;
                attributes.insert(name.clone(), value);
            }
        }
        _ => return Err("must be a path, or an object with name and image".to_owned()),
    }
    let image = attributes.get("image").filter(|image| !image.is_empty()).ok_or("has no image")?.clone();
    let stem = || Path::new(&image).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name =
        attributes.get("name").cloned().or_else(stem).filter(|name| !name.is_empty()).ok_or("has no name")?;
    attributes.insert("name".to_owned(), name.clone());
    Ok(Entry { name, images: vec![image], attributes })
}

/// Two styles as one: what both say is joined.
fn pair(styles: &[Entry], names: &[String; 2]) -> Result<Entry, String> {
    let find = |name: &String| {
        let found = styles.iter().find(|style| style.name == *name);
        found.ok_or_else(|| format!("style_pairs: there is no style {name}"))
    };
    let [first, second] = [find(&names[0])?, find(&names[1])?];
    let both = first.attributes.iter().filter_map(|(name, value)| {
        second.attributes.get(name).map(|other| (name.clone(), format!("{value} and {other}")))
    });
    Ok(Entry {
        name: format!("{}+{}", first.name, second.name),
        images: [first, second].iter().flat_map(|style| style.images.clone()).collect(),
        attributes: both.collect(),
    })
}

/// Each placeholder of the template for this axis must have a value for each of the axis' entries.
fn check(template: &Template, axis: &str, entries: &[Entry]) -> Result<(), String> {
    for attribute in template.attributes(axis) {
        if entries.is_empty() {
            return Err(format!("{{{axis}.{attribute}}}: the grid has no {axis}s"));
        }
        if let Some(entry) = entries.iter().find(|entry| !entry.attributes.contains_key(attribute)) {
            return Err(format!("{{{axis}.{attribute}}}: {axis} {} has no {attribute}", entry.name));
        }
    }
    Ok(())
}

fn no_doubles<T: Eq + Hash + std::fmt::Debug>(axis: &str, values: &[T]) -> Result<(), String> {
    let mut seen = HashSet::new();
    match values.iter().find(|value| !seen.insert(*value)) {
        None => Ok(()),
        Some(double) => Err(format!("{axis}: {double:?} is there twice")),
    }
}
