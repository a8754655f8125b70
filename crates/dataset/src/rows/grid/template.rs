//! Prompts with placeholders.

use std::collections::BTreeMap;

/// Values that a placeholder can name.
pub(super) type Attributes = BTreeMap<String, String>;

/// A prompt with placeholders.
#[derive(Debug, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// The name of an axis and of a value there.
    Place(&'static str, String),
}

impl Template {
    /// Reads `{subject.X}` and `{style.X}`; two braces are one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                plain.push_str(&brace[..1]);
                rest = after;
                continue;
            }
            let inside = brace.strip_prefix('{').ok_or("a } without its {; write }} for a brace")?;
            let (name, after) = inside.split_once('}').ok_or("a { without its }; write {{ for a brace")?;
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(place(name)?);
            rest = after;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// Names of the values that it needs of an axis.
    pub(super) fn attributes(&self, axis: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(move |part| match part {
            Part::Place(of, attribute) if *of == axis => Some(attribute.as_str()),
            _ => None,
        })
    }

    /// The prompt of a subject and a style.
    pub(super) fn fill(&self, subject: &Attributes, style: &Attributes) -> String {
        let of = |axis: &str| if axis == "subject" { subject } else { style };
        let text = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Place(axis, attribute) => of(axis).get(attribute).map_or("", String::as_str),
        });
        text.collect()
    }
}

fn place(name: &str) -> Result<Part, String> {
    let (axis, attribute) = name.trim().split_once('.').unwrap_or((name, ""));
    match axis {
        "subject" if !attribute.is_empty() => Ok(Part::Place("subject", attribute.to_owned())),
        "style" if !attribute.is_empty() => Ok(Part::Place("style", attribute.to_owned())),
        _ => Err(format!("unknown placeholder {{{name}}}; there are {{subject.X}} and {{style.X}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let attributes = |name: &str| Attributes::from([("name".to_owned(), name.to_owned())]);
        Template::parse(text).map(|template| template.fill(&attributes("fox"), &attributes("ink")))
    }

    #[test]
    fn placeholders_are_filled_and_braces_escaped() {
        assert_eq!(filled("a {subject.name}, {style.name}!").unwrap(), "a fox, ink!");
        assert_eq!(filled("{{subject.name}} {{{subject.name}}}").unwrap(), "{subject.name} {fox}");
        assert_eq!(filled("").unwrap(), "");
        assert_eq!(filled("ä{style.name}ö").unwrap(), "äinkö");
    }

    #[test]
    fn what_is_no_placeholder_is_named() {
        for (text, reason) in [
            ("{colour.name}", "unknown placeholder {colour.name}; there are {subject.X} and {style.X}"),
            ("{subject}", "unknown placeholder {subject}; there are {subject.X} and {style.X}"),
            ("{subject.name", "a { without its }; write {{ for a brace"),
            ("subject.name}", "a } without its {; write }} for a brace"),
        ] {
            assert_eq!(filled(text).unwrap_err(), reason);
        }
    }
}
