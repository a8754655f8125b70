//! Combinations that are left out.

use serde_json::{Map, Value};

use super::axes::{Axes, Entry, Point};
use super::file::{scalar, size};

/// Most rules of a grid: each is tried for each combination.
const MAX_RULES: usize = 100;

/// What combinations a rule leaves out: those that all its parts match.
#[derive(Debug)]
pub(super) struct Rule {
    subjects: Option<Vec<bool>>,
    styles: Option<Vec<bool>>,
    prompts: Option<Vec<bool>>,
    sizes: Option<Vec<bool>>,
    /// Places on the axis of seeds, in order.
    seeds: Option<Vec<u64>>,
}

/// Reads the rules of a grid.
pub(super) fn rules(values: &[Map<String, Value>], axes: &Axes) -> Result<Vec<Rule>, String> {
    if values.len() > MAX_RULES {
        return Err(format!("exclude: {} rules, at most {MAX_RULES} are allowed", values.len()));
    }
    let read = |(i, value)| Rule::of(value, axes).map_err(|reason| format!("exclude {i}: {reason}"));
    values.iter().enumerate().map(read).collect()
}

/// Whether one of the rules leaves out this combination.
pub(super) fn excludes(rules: &[Rule], point: &Point) -> bool {
    rules.iter().any(|rule| rule.matches(point))
}

impl Rule {
    fn of(parts: &Map<String, Value>, axes: &Axes) -> Result<Self, String> {
        let mut rule = Self { subjects: None, styles: None, prompts: None, sizes: None, seeds: None };
        if parts.is_empty() {
            return Err("would leave out everything".to_owned());
        }
        for (name, value) in parts {
            rule.add(name, value, axes).map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok(rule)
    }

    fn add(&mut self, name: &str, value: &Value, axes: &Axes) -> Result<(), String> {
        match name {
            "seed" => return self.add_seeds(&listed(value), axes),
            "size" => return self.add_sizes(value, axes),
            _ => {}
        }
        let wanted: Option<Vec<String>> = listed(value).into_iter().map(scalar).collect();
        let wanted = wanted.ok_or("must be a value or a list of values")?;
        let is_wanted = |text: &str| wanted.iter().any(|wanted| wanted == text);
        let (side, place): (&mut Option<Vec<bool>>, Vec<bool>) =
            match name.split_once('.').unwrap_or((name, "name")) {
                ("subject", attribute) => (&mut self.subjects, with(&axes.subjects, attribute, is_wanted)),
                ("style", "name") => {
                    (&mut self.styles, axes.styles.iter().map(|style| is_wanted(&style.name)).collect())
                }
                ("style", attribute) => (&mut self.styles, with(&axes.styles, attribute, is_wanted)),
                ("style_count", "name") => {
                    let count = |style: &Entry| is_wanted(&style.images.len().to_string());
                    (&mut self.styles, axes.styles.iter().map(count).collect())
                }
                ("prompt", "name") => {
                    (&mut self.prompts, (0..axes.prompts()).map(|i| is_wanted(&i.to_string())).collect())
                }
                _ => return Err("there are subject, style, style_count, prompt, size and seed".to_owned()),
            };
        narrow(side, place)
    }

    fn add_sizes(&mut self, value: &Value, axes: &Axes) -> Result<(), String> {
        // [1024, 768] is one size, ["1024x768", ...] are several.
        let values = if size(value).is_some() { vec![value] } else { listed(value) };
        let wanted: Option<Vec<_>> = values.into_iter().map(size).collect();
        let wanted = wanted.ok_or("must be [width, height] or \"WxH\"")?;
        narrow(&mut self.sizes, axes.sizes.iter().map(|size| wanted.contains(size)).collect())
    }

    fn add_seeds(&mut self, values: &[&Value], axes: &Axes) -> Result<(), String> {
        let wanted: Option<Vec<u64>> = values.iter().map(|value| value.as_u64()).collect();
        let wanted = wanted.ok_or("must be a whole number or a list of them")?;
        let mut places: Vec<u64> = wanted.into_iter().filter_map(|seed| axes.seeds.place(seed)).collect();
        places.sort_unstable();
        if places.is_empty() {
            return Err(NO_MATCH.to_owned());
        }
        self.seeds = Some(places);
        Ok(())
    }

    fn matches(&self, point: &Point) -> bool {
        let fits = |side: &Option<Vec<bool>>, place: usize| {
            side.as_ref().is_none_or(|matching| matching.get(place) == Some(&true))
        };
        fits(&self.subjects, point.subject)
            && fits(&self.styles, point.style)
            && fits(&self.prompts, point.prompt)
            && fits(&self.sizes, point.size)
            && self.seeds.as_ref().is_none_or(|seeds| seeds.binary_search(&point.seed).is_ok())
    }
}

/// A rule that matches nothing is a slip of the pen.
const NO_MATCH: &str = "matches nothing in this grid";

/// Keeps what matches both parts of a rule that are about one axis.
fn narrow(side: &mut Option<Vec<bool>>, place: Vec<bool>) -> Result<(), String> {
    if !place.contains(&true) {
        return Err(NO_MATCH.to_owned());
    }
    let both: Vec<bool> = match side.take() {
        None => place,
        Some(before) => before.into_iter().zip(place).map(|(one, other)| one && other).collect(),
    };
    if !both.contains(&true) {
        return Err(format!("{NO_MATCH}, together with the rule's other parts"));
    }
    *side = Some(both);
    Ok(())
}

fn with(entries: &[Entry], attribute: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<bool> {
    let fits = |entry: &Entry| entry.attributes.get(attribute).is_some_and(|value| is_wanted(value));
    entries.iter().map(fits).collect()
}

fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}
