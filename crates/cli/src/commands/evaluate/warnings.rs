//! What must be known of the figures before anybody compares them with the paper's.

use std::collections::BTreeMap;

use serde::Serialize;
use uso_engine::ModelFiles;
use uso_engine::scorers::ScorerKind;

use super::kind::TaskKind;
use super::measure::Encoder;
use super::scores::Profiles;
use super::state::Made;

/// What made some of the pictures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Engine {
    pub(super) model: String,
    pub(super) fingerprint: Option<String>,
    /// Whether it was a test engine.
    pub(super) scripted: bool,
}

/// How many pictures each engine made.
pub(super) fn engines<'a>(made: impl Iterator<Item = &'a Made>) -> BTreeMap<Engine, usize> {
    let mut engines = BTreeMap::new();
    for Made { model, fingerprint, scripted, .. } in made {
        let engine = Engine { model: model.clone(), fingerprint: fingerprint.clone(), scripted: *scripted };
        *engines.entry(engine).or_default() += 1;
    }
    engines
}

/// What the warnings depend on.
pub(super) struct Facts<'a> {
    pub(super) engines: &'a BTreeMap<Engine, usize>,
    pub(super) profiles: &'a Profiles,
    /// Scorers whose file is the published one.
    pub(super) published: &'a [ScorerKind],
    /// Scorers that are not there.
    pub(super) missing: &'a [ScorerKind],
    /// Pictures of each kind that the suite asks for.
    pub(super) asked: &'a BTreeMap<TaskKind, usize>,
    /// Pictures that there are not.
    pub(super) failed: usize,
}

/// The warnings, a sentence each.
pub(super) fn warnings(facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if facts.failed > 0 {
        let asked: usize = facts.asked.values().sum();
        warnings.push(format!(
            "{} of {asked} pictures are missing; the means are those of the others",
            facts.failed
        ));
    }
    warnings.extend(facts.engines.iter().map(|(engine, pictures)| of_engine(engine, *pictures)));
    if facts.engines.len() > 1 {
        warnings.push("not all pictures were made by the same model".to_owned());
    }
    warnings
        .extend(facts.missing.iter().map(|kind| format!("{kind} was not scored: its files are not there")));
    for (encoder, profile) in facts.profiles {
        match encoder.scorer() {
            None => warnings.push(format!(
                "{} is the bundled model's own encoder: no published measure, nothing to compare with the paper",
                profile.name
            )),
            Some(kind) if !facts.published.contains(&kind) => warnings.push(format!(
                "{} is not known to be the published {kind}: no digest of that file is known, or it is another",
                profile.name
            )),
            Some(_) => {}
        }
    }
    warnings.extend(of_suite(facts.asked));
    if facts.profiles.keys().any(|encoder| *encoder != Encoder::Bundled) {
        warnings.push(
            "the paper's code for its scores is not published; encoders and preparation may differ"
                .to_owned(),
        );
    }
    warnings
}

fn of_engine(engine: &Engine, pictures: usize) -> String {
    let Engine { model, fingerprint, scripted } = engine;
    let by = fingerprint.as_ref().map(|text| format!(" (fingerprint {text})")).unwrap_or_default();
    if *scripted {
        format!("{pictures} pictures were made by a test engine, which makes noise")
    } else if *model == ModelFiles::Bundled.name() {
        format!(
            "{pictures} pictures were made by the bundled toy model {model}{by}, not by the published weights"
        )
    } else {
        format!(
            "{pictures} pictures were made by {model}{by}; whether these are the published weights is not known"
        )
    }
}

fn of_suite(asked: &BTreeMap<TaskKind, usize>) -> Option<String> {
    let differs = |(kind, count): (&TaskKind, &usize)| *count != kind.in_uso_bench();
    asked.iter().any(differs).then(|| {
        let each =
            asked.iter().map(|(kind, count)| format!("{count} {kind} (USO-Bench {})", kind.in_uso_bench()));
        format!(
            "the suite is not USO-Bench, by its number of pictures: {}",
            each.collect::<Vec<_>>().join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use uso_engine::scorers::Profile;

    use super::*;

    fn profile(name: &str) -> Profile {
        Profile {
            name: name.into(),
            weights: String::new(),
            preprocessing: String::new(),
            feature: String::new(),
        }
    }

    fn engine(model: &str, scripted: bool) -> Engine {
        Engine { model: model.into(), fingerprint: Some("0f".into()), scripted }
    }

    fn said(engines: &[(Engine, usize)], profiles: &Profiles, published: &[ScorerKind]) -> Vec<String> {
        let engines = engines.iter().cloned().collect();
        let missing = if published.is_empty() { &[ScorerKind::Dino][..] } else { &[] };
        let asked = [(TaskKind::Subject, 6_000), (TaskKind::Style, 8)].into();
        warnings(&Facts { engines: &engines, profiles, published, missing, asked: &asked, failed: 2 })
    }

    #[test]
    fn whatever_is_not_the_papers_is_said() {
        let profiles = [(Encoder::Scorer(ScorerKind::Csd), profile("csd-vitl14@01"))].into();
        let warnings = said(&[(engine("uso-model", false), 5), (engine("x", true), 1)], &profiles, &[]);
        for part in [
            "2 of 6008 pictures are missing",
            "5 pictures were made by uso-model (fingerprint 0f); whether these are the published weights is not known",
            "1 pictures were made by a test engine",
            "not all pictures were made by the same model",
            "DINO was not scored",
            "csd-vitl14@01 is not known to be the published CSD",
            "6000 subject (USO-Bench 6000), 8 style (USO-Bench 7040)",
            "the paper's code for its scores is not published",
        ] {
            assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
        }
        let warnings = said(&[(engine("uso-model", false), 5)], &profiles, &[ScorerKind::Csd]);
        assert!(!warnings.iter().any(|warning| warning.contains("csd-vitl14@01")), "{warnings:?}");
    }

    #[test]
    fn the_bundled_model_and_its_encoder_are_named() {
        let profiles = [(Encoder::Bundled, profile("mini-siglip@01"))].into();
        let warnings = said(&[(engine("mini", false), 5)], &profiles, &[]);
        assert!(
            warnings.iter().any(|warning| warning.contains("the bundled toy model mini")),
            "{warnings:?}"
        );
        assert!(
            warnings
                .iter()
                .any(|warning| warning.contains("mini-siglip@01 is the bundled model's own encoder"))
        );
        assert!(!warnings.iter().any(|warning| warning.contains("code for its scores")), "{warnings:?}");
    }
}
