//! A device's cache of features is shared by all tenants; a tenant learns only of what it had encoded
//! itself.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use uso_queue::{JobSpec, Source};

/// Most that is remembered: more than a device keeps.
const MOST: usize = 16_384;

/// Prompts and references of late, each with the tenant that had it encoded.
#[derive(Debug, Default)]
pub(crate) struct CacheOwners {
    /// FinishedSample for this process: nobody can make two things look the same.
    hashes: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    all: HashSet<u64>,
    /// The oldest first.
    order: VecDeque<u64>,
}

impl CacheOwners {
    /// How many of `found` features that were there already a job's tenant may hear of: no more than it has had
    /// encoded here itself. What the job asks for is its tenant's from now on.
    pub(crate) fn hits_to_report(&self, tenant: &str, spec: &JobSpec, found: u64) -> u32 {
        let references = spec.content.iter().map(|content| ("content", content)).chain(styles(spec));
        let names = references.map(|(kind, source)| (kind, source.to_string()));
        let names = names.chain([("prompt", spec.prompt.clone())]);
        let hashes: Vec<u64> = names.map(|(kind, name)| self.hashes.hash_one((tenant, kind, name))).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = hashes.iter().filter(|hash| known.all.contains(hash)).count();
        hashes.into_iter().for_each(|hash| known.add(hash));
        u32::try_from(found.min(own as u64)).unwrap_or(u32::MAX)
    }
}

fn styles(spec: &JobSpec) -> impl Iterator<Item = (&'static str, &Source)> {
    spec.styles.iter().map(|style| ("style", style))
}

impl Known {
    fn add(&mut self, hash: u64) {
        if !self.all.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uso_queue::Defaults;

    use super::*;

    fn spec(prompt: &str, style: &str) -> JobSpec {
        let body = json!({ "prompt": prompt, "styles": [format!("s3://b/{style}")] });
        JobSpec::parse(&body, &Defaults::default()).unwrap()
    }

    #[test]
    fn what_others_had_encoded_is_not_told() {
        let owners = CacheOwners::default();
        assert_eq!(owners.hits_to_report("ours", &spec("a cat", "a.png"), 0), 0);
        assert_eq!(owners.hits_to_report("ours", &spec("a cat", "a.png"), 2), 2);
        assert_eq!(owners.hits_to_report("theirs", &spec("a cat", "a.png"), 2), 0);
        assert_eq!(
            owners.hits_to_report("ours", &spec("a cat", "b.png"), 2),
            1,
            "the style is somebody else's"
        );
        assert_eq!(
            owners.hits_to_report("ours", &spec("a cat", "b.png"), 1),
            1,
            "one was pushed out meanwhile"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let owners = CacheOwners::default();
        for number in 0..MOST {
            owners.hits_to_report("ours", &spec(&number.to_string(), "a.png"), 0);
        }
        let known = owners.known.lock().unwrap();
        assert_eq!((known.all.len(), known.order.len()), (MOST, MOST));
    }
}
