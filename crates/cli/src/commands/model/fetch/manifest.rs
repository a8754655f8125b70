//! The files that each tier needs, where they are published and where they go. The built-in list is `files.json`;
//! `scorers.json` has the models that score pictures.

use std::collections::HashSet;
use std::path::{Component, Path};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use uso_dataset::file;
use uso_engine::Tier;
use uso_engine::scorers::FOLDER;

use super::digest::Digest;

const BUILT_IN: &str = include_str!("files.json");
const SCORERS: &str = include_str!("scorers.json");
/// Longest list of files in bytes.
const MAX_LIST: u64 = 16 << 20;

/// A file at the hub and its place in the model folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// `owner/name` of the repository.
    pub(super) repo: String,
    /// Path in the repository.
    pub(super) path: String,
    /// Path in the model folder.
    pub(super) to: String,
    /// Size in bytes, if known.
    pub(super) bytes: Option<u64>,
    /// SHA-256 in hexadecimal digits; without it, the hub's digest counts.
    pub(super) sha256: Option<Digest>,
    /// Branch, tag or commit, if it differs from the other files'.
    pub(super) revision: Option<String>,
    /// Its licence, if it is to be said.
    pub(super) licence: Option<String>,
    /// Tiers that need the file; without it, all of them.
    tiers: Option<Vec<Tier>>,
}

/// The files of a tier, from the given list or the built-in one.
pub(super) fn read(list: Option<&Path>, tier: Tier) -> anyhow::Result<Vec<File>> {
    let Some(path) = list else { return parse(BUILT_IN, tier) };
    file::read_text(path, MAX_LIST)
        .map_err(anyhow::Error::from)
        .and_then(|text| parse(&text, tier))
        .with_context(|| format!("cannot use the list of files {}", path.display()))
}

/// The files of the models that score pictures, which have no tiers.
pub(super) fn scorers() -> anyhow::Result<Vec<File>> {
    parse(SCORERS, Tier::Bf16)
}

/// SHA-256 in hexadecimal of the published weight file in a scorer's folder, if the list states it.
pub(super) fn scorer_sha256(folder: &str) -> Option<String> {
    let place = format!("{FOLDER}{folder}/");
    let files = scorers().ok()?;
    let digest =
        files.iter().filter(|file| file.to.starts_with(&place)).find_map(|file| file.sha256.as_ref());
    digest.map(|digest| digest.hexadecimal().to_owned())
}

fn parse(text: &str, tier: Tier) -> anyhow::Result<Vec<File>> {
    let mut files: Vec<File> = serde_json::from_str(text)?;
    files.retain(|file| file.tiers.as_ref().is_none_or(|tiers| tiers.contains(&tier.of_files())));
    let mut places = HashSet::new();
    for file in &files {
        file.check().with_context(|| file.to.clone())?;
        ensure!(places.insert(&file.to), "two files would go to {}", file.to);
    }
    Ok(files)
}

impl File {
    /// Refuses paths that leave the repository or the model folder.
    fn check(&self) -> anyhow::Result<()> {
        for (field, path) in [("repo", &self.repo), ("path", &self.path), ("to", &self.to)] {
            let is_inside = |part| matches!(part, Component::Normal(_));
            if path.is_empty() || !Path::new(path).components().all(is_inside) {
                bail!("{field} {path:?} leaves its folder");
            }
        }
        ensure!(self.repo.split('/').count() == 2, "repo {:?} is not owner/name", self.repo);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uso_engine::scorers::ScorerKind;

    use super::*;

    #[test]
    fn every_tier_has_each_part_once_and_never_the_pickle() {
        for tier in Tier::ALL {
            let files = read(None, tier).unwrap();
            let weights = |folder: &str| {
                let is_one = |file: &&File| {
                    file.to.starts_with(folder)
                        && [".safetensors", ".gguf"].iter().any(|end| file.to.ends_with(end))
                };
                files.iter().filter(is_one).count()
            };
            let counts =
                ["FLUX.1-dev/flux1", "FLUX.1-dev/ae", "USO/", "clip-vit-l14/", "siglip/"].map(weights);
            assert_eq!(counts, [1, 1, 2, 1, 1], "{tier:?}");
            // Integers are made from the files in bf16.
            let is_wide = matches!(tier, Tier::Bf16 | Tier::Int8W8A8);
            assert_eq!(weights("t5-xxl/"), if is_wide { 2 } else { 1 }, "{tier:?}");
            assert!(files.iter().all(|file| !file.path.ends_with(".bin")), "{tier:?}");
        }
    }

    #[test]
    fn every_scorer_has_a_file_that_the_engine_looks_for() {
        let files = scorers().unwrap();
        for kind in ScorerKind::ALL {
            let place = format!("{FOLDER}{}/", kind.folder());
            let weights = files.iter().filter_map(|file| file.to.strip_prefix(&place));
            let weights: Vec<_> = weights.filter(|name| kind.files().contains(name)).collect();
            assert_eq!(weights.len(), 1, "{kind}: {weights:?}");
            let said = |file: &&File| file.to.starts_with(&place) && file.licence.is_some();
            assert_eq!(files.iter().filter(said).count(), 1, "the licence of {kind}");
        }
    }

    #[test]
    fn lists_that_lead_out_of_the_folder_are_refused() {
        let list = |to: &str, repo: &str| {
            format!(
                r#"[{{ "repo": "{repo}", "path": "a", "to": "{to}" }}, {{ "repo": "a/b", "path": "a", "to": "b" }}]"#
            )
        };
        let said = |list: &str| format!("{:#}", parse(list, Tier::Bf16).unwrap_err());
        assert!(parse(&list("a/b", "a/b"), Tier::Bf16).is_ok());
        for to in ["../a", "/a", "", "a/../../b"] {
            assert!(said(&list(to, "a/b")).contains("leaves its folder"), "{to:?}");
        }
        assert!(said(&list("b", "a/b")).contains("two files would go to b"));
        assert!(said(&list("a", "a")).contains("owner/name"));
        assert!(
            said(r#"[{ "repo": "a/b", "path": "a", "to": "b", "size": 1 }]"#)
                .contains("unknown field `size`")
        );
        assert!(
            said(r#"[{ "repo": "a/b", "path": "a", "to": "b", "sha256": "0f" }]"#).contains("64 hexadecimal")
        );
    }
}
