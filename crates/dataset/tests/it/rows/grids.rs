//! All combinations, each once.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use uso_dataset::rows::{Grid, MAX_ROWS, Manifest, RawRow};

use super::fixture::{checker, good, grid};

const FOXES: &str = r#"
subjects: [{ name: fox, image: s3://r/fox.png, kind: animal }, s3://r/cup.png]
styles: [{ name: ink, image: s3://r/ink.png }, { name: oil, image: s3://r/oil.png }]
style_pairs: [[ink, oil]]
prompts: ["A {subject.name} as {style.name}, {{so}}", "Plain"]
seeds: { from: 5, count: 2 }
sizes: ["512x768", [1024, 1024]]
fixed: { steps: 12, metadata: { set: 7 } }
"#;

fn rows(text: &str) -> Vec<RawRow> {
    grid(text).rows().collect()
}

fn refused(text: &str) -> String {
    Grid::parse(text).unwrap_err().to_string()
}

#[test]
fn each_combination_is_a_row_and_what_is_encoded_changes_last() {
    let rows = rows(FOXES);
    assert_eq!(rows.len(), 2 * 3 * 2 * 2 * 2);
    assert_eq!(
        Value::Object(rows[0].fields.clone()),
        json!({
            "content": "s3://r/fox.png", "styles": ["s3://r/ink.png"], "prompt": "A fox as ink, {so}", "width": 512,
            "height": 768, "seed": 5, "steps": 12, "metadata": { "set": 7, "subject": "fox", "style": "ink" },
        })
    );
    let pair = &rows[16];
    assert_eq!(pair.fields["styles"], json!(["s3://r/ink.png", "s3://r/oil.png"]));
    assert_eq!(pair.fields["prompt"], "A fox as ink and oil, {so}");
    let of = |i: usize| {
        let fields = &rows[i].fields;
        (
            fields["prompt"].as_str().unwrap(),
            fields["width"].as_u64().unwrap(),
            fields["seed"].as_u64().unwrap(),
        )
    };
    assert_eq!(
        [0, 1, 2, 3, 4].map(of),
        [
            ("A fox as ink, {so}", 512, 5),
            ("A fox as ink, {so}", 512, 6),
            ("A fox as ink, {so}", 1024, 5),
            ("A fox as ink, {so}", 1024, 6),
            ("Plain", 512, 5),
        ]
    );
    let checked = good(rows);
    assert_eq!(checked[4].job.metadata, json!({ "set": 7, "subject": "fox", "style": "ink", "prompt": 1 }));
    // Rows with the same references lie together.
    let mut groups: Vec<u64> = checked.iter().map(|row| row.group).collect();
    groups.dedup();
    assert_eq!(groups.len(), 6);
    assert_eq!(groups.iter().collect::<HashSet<_>>().len(), 6);
}

#[test]
fn what_is_added_to_a_grid_leaves_old_keys_as_they_are() {
    let keys = |text: &str| good(rows(text)).into_iter().map(|row| row.key).collect::<HashSet<_>>();
    let old = keys(FOXES);
    for (from, to) in [
        ("subjects: [", "subjects: [s3://r/new.png, "),
        ("{ from: 5, count: 2 }", "[1, 6, 5]"),
        ("prompts: [", "prompts: [\"First\", "),
        ("sizes: [", "sizes: [[64, 64], "),
    ] {
        let new = keys(&FOXES.replace(from, to));
        assert!(new.len() > old.len() && old.is_subset(&new), "{to}");
    }
}

#[test]
fn what_a_grid_leaves_out_has_no_part_in_its_rows() {
    let only = rows("prompts: [a, b]");
    assert_eq!(only.len(), 2);
    assert_eq!(Value::Object(only[1].fields.clone()), json!({ "prompt": "b" }));
    assert_eq!(rows("fixed: { prompt: x }").len(), 1);
}

#[test]
fn a_grid_without_rows_is_refused() {
    let nothing = "it combines nothing: list prompts, subjects, styles, sizes or seeds";
    for (text, reason) in [
        ("", "it is empty"),
        ("\u{feff}# prompts: [a]\n\n", "it is empty"),
        ("---\n", nothing),
        ("{}", nothing),
        ("fixed: { steps: 5 }", nothing),
        (
            "prompts: [a]\nseeds: [1]\nexclude: [{ prompt: 0 }]",
            "it has no rows: `exclude` leaves out every combination",
        ),
        ("prompts: [a]\nsample: 0", "sample is 0: leave it out or ask for a row"),
        ("seeds: { from: 0, count: 0 }", "seeds: count 0 is not a whole number from 1 to 9007199254740991"),
        ("seeds: { count: -1 }", "seeds: count -1 is not a whole number from 1 to 9007199254740991"),
    ] {
        assert_eq!(refused(text), format!("the grid: {reason}"), "{text}");
    }
    for name in ["subjects", "styles", "style_pairs", "prompts", "seeds", "sizes"] {
        for list in ["[]", ""] {
            let reason = format!("the grid: {name} is empty: leave it out or list at least one");
            assert_eq!(refused(&format!("fixed: {{ prompt: a }}\n{name}: {list}")), reason);
        }
    }
}

#[test]
fn a_grid_may_begin_with_a_byte_order_mark() {
    assert_eq!(rows(&format!("\u{feff}{FOXES}")), rows(FOXES));
}

#[test]
fn a_grid_has_a_largest_number_of_rows() {
    assert_eq!(grid("seeds: { count: 5000000 }").len(), MAX_ROWS);
    for (text, rows) in [
        ("seeds: { count: 5000001 }", "5000001 rows"),
        ("seeds: { count: 9007199254740991 }", "9007199254740991 rows"),
        ("seeds: { count: 9007199254740991 }\nsample: 5000001", "sample: 5000001 rows"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(&format!("the grid: {rows}, at most 5000000 are allowed")), "{said}");
    }
}

#[test]
fn rules_exclude_what_all_their_parts_match() {
    let left = |exclude: &str| rows(&format!("{FOXES}exclude: [{exclude}]")).len();
    for (exclude, count) in [
        ("{ subject: cup }", 24),
        ("{ subject: [cup, fox], style: ink }", 48 - 16),
        ("{ style: ink+oil }", 32),
        ("{ style_count: 1 }", 16),
        ("{ subject.kind: animal, size: 512x768 }", 48 - 12),
        ("{ size: [1024, 1024], seed: 6 }", 48 - 12),
        ("{ size: [512x768, \"1024x1024\"], seed: [5] }", 24),
        ("{ prompt: 1 }, { prompt: 0, seed: 5 }", 12),
    ] {
        assert_eq!(left(exclude), count, "{exclude}");
    }
}

#[test]
fn a_grid_that_does_not_say_what_it_should_is_refused() {
    for (text, reason) in [
        (
            "prompts: [\"a {colour}\"]",
            "prompt 0: unknown placeholder {colour}; there are {subject.X} and {style.X}",
        ),
        ("prompts: [\"a {style.name}\"]", "prompt 0: {style.name}: the grid has no styles"),
        (
            "subjects: [a.png]\nprompts: [x, \"a {subject.kind}\"]",
            "prompt 1: {subject.kind}: subject a has no kind",
        ),
        ("subjects: [{ name: a }]", "subjects 0: has no image"),
        ("subjects: [x/a.png, { name: a, image: b.png }]", "subjects: \"a\" is there twice"),
        ("subjects: [7]", "subjects 0: must be a path, or an object with name and image"),
        ("styles: [{ image: a.png, tags: [x] }]", "styles 0: tags must be a string"),
        ("styles: [a.png]\nstyle_pairs: [[a, b]]", "style_pairs: there is no style b"),
        ("prompts: [a, a]", "prompts: \"a\" is there twice"),
        ("seeds: [1, 1]", "seeds: 1 is there twice"),
        ("seeds: { from: 1 }", "seeds must be a list of whole numbers, or { from: 0, count: 4 }"),
        ("seeds: [-1]", "seeds must be a list of whole numbers, or { from: 0, count: 4 }"),
        ("sizes: [\"big\"]", "sizes: \"big\" is not [width, height] or \"WxH\""),
        ("sizes: [64x64, [64, 64]]", "sizes: (64, 64) is there twice"),
        ("fixed: { colour: red }", "fixed: colour is no field that all rows can have"),
        ("fixed: { key: a }", "fixed: key is no field that all rows can have"),
        ("sizes: [64x64]\nfixed: { width: 64 }", "fixed: width is set by the grid itself"),
        ("fixed: { metadata: 7 }", "fixed: metadata must be an object"),
        ("fixed: { metadata: { style: a } }", "fixed: metadata.style is set by the grid itself"),
        ("exclude: [{}]", "exclude 0: would leave out everything"),
        (
            "exclude: [{ colour: red }]",
            "exclude 0: colour: there are subject, style, style_count, prompt, size and seed",
        ),
        ("subjects: [a.png]\nexclude: [{ subject: b }]", "exclude 0: subject: matches nothing in this grid"),
        ("seeds: [1]\nexclude: [{ seed: 2 }]", "exclude 0: seed: matches nothing in this grid"),
        (
            "subjects: [{ image: fox.png, kind: animal }, cup.png]\nexclude: [{ subject: cup, subject.kind: animal }]",
            "exclude 0: subject.kind: matches nothing in this grid, together with the rule's other parts",
        ),
    ] {
        assert_eq!(refused(text), format!("the grid: {reason}"), "{text}");
    }
    assert!(refused("colours: [red]").contains("unknown field `colours`"));
    assert!(
        refused("prompts: [a, b]\nseeds: { from: 0, count: 9007199254740991 }")
            .contains("too many combinations")
    );
    let many = "seeds: { from: 0, count: 100000001 }\nexclude: [{ seed: 1 }]";
    assert!(refused(many).contains("100000001 combinations"));
    assert!(refused(&format!("#{}", " ".repeat(4 << 20))).contains("longer than 4194304 bytes"));
}

#[test]
fn a_large_grid_costs_nothing_until_its_rows_are_asked_for() {
    let text = "prompts: [a, b]\nseeds: { from: 0, count: 1000000000000 }\nsample: 100\nsample_seed: 3";
    let sampled = grid(text);
    assert_eq!(sampled.len(), 100);
    let seeds: HashSet<u64> = sampled.rows().map(|row| row.fields["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 100);
    let whole = grid("prompts: [a, b]\nseeds: { from: 1000000000000, count: 2000000 }");
    assert_eq!(whole.len(), 4_000_000);
    assert_eq!(whole.row(3_999_999).unwrap().fields["seed"], 1_000_001_999_999_u64);
    assert!(whole.row(4_000_000).is_none());
}

#[test]
fn a_grid_is_checked_as_a_manifest_is() {
    let mut found = Vec::new();
    let keep = |row: Result<_, _>| {
        found.push(row.unwrap());
        Ok(())
    };
    checker().check_all(&mut Manifest::from(grid(FOXES)), 2, keep).unwrap();
    assert_eq!(found, good(rows(FOXES)));
}

#[derive(Debug, Clone)]
struct Shape {
    axes: [usize; 5],
    exclude: Vec<(usize, usize, u64)>,
    sample: Option<u64>,
}

impl Shape {
    fn text(&self, sampled: bool) -> String {
        let [subjects, styles, prompts, sizes, seeds] = self.axes;
        let list = |name: &str, count: usize, item: &dyn Fn(usize) -> String| {
            let items: Vec<String> = (0..count).map(item).collect();
            format!("{name}: [{}]\n", items.join(", "))
        };
        let mut text = list("subjects", subjects, &|i| format!("s3://r/s{i}.png"));
        text += &list("styles", styles, &|i| format!("s3://r/t{i}.png"));
        text += &list("prompts", prompts, &|i| format!("\"p{i}\""));
        text += &list("sizes", sizes, &|i| format!("[{}, 64]", 64 * (i + 1)));
        text += &list("seeds", seeds, &|i| i.to_string());
        text += &list("exclude", self.exclude.len(), &|i| {
            let (subject, style, seed) = self.exclude[i];
            format!("{{ subject: s{subject}, style: t{style}, seed: {seed} }}")
        });
        if let Some(sample) = self.sample.filter(|_| sampled) {
            text += &format!("sample: {sample}\nsample_seed: 4\n");
        }
        text
    }
}

prop_compose! {
    fn shape()(axes in [1..5_usize, 1..5_usize, 1..4_usize, 1..4_usize, 1..9_usize])(
        exclude in prop::collection::vec((0..axes[0], 0..axes[1], 0..axes[4] as u64), 0..6),
        sample in proptest::option::of(1..200_u64),
        axes in Just(axes),
    ) -> Shape {
        Shape { axes, exclude, sample }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_combination_is_there_once_and_each_number_is_its_row(shape in shape()) {
        let [subjects, styles, prompts, sizes, seeds] = shape.axes;
        let excluded: HashSet<_> = shape.exclude.iter().collect();
        prop_assume!(excluded.len() < subjects * styles * seeds);
        let all = rows(&shape.text(false));
        prop_assert_eq!(all.len(), subjects * styles * prompts * sizes * seeds - excluded.len() * prompts * sizes);
        let texts: HashSet<String> = all.iter().map(|row| Value::Object(row.fields.clone()).to_string()).collect();
        prop_assert_eq!(texts.len(), all.len());

        let sampled = grid(&shape.text(true));
        let wanted = shape.sample.map_or(all.len(), |sample| all.len().min(sample as usize));
        prop_assert_eq!(sampled.len(), wanted as u64);
        let by_number: Vec<RawRow> = (0..sampled.len()).map(|i| sampled.row(i).unwrap()).collect();
        prop_assert!(sampled.row(sampled.len()).is_none());
        let in_order: Vec<RawRow> = sampled.rows().collect();
        prop_assert_eq!(&by_number, &in_order);
        prop_assert_eq!(&in_order, &rows(&shape.text(true)));
        // A sample keeps the order of the whole.
        let mut whole = all.iter();
        prop_assert!(in_order.iter().all(|row| whole.any(|other| other.fields == row.fields)));
    }
}
