//! References of a job, looked at before it is accepted.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use uso_queue::{FieldError, JobSpec, Source};
use uso_store::{Error as StoreError, Look, PictureKind, Store, upload_key};
use uuid::Uuid;

use crate::caller::Caller;
use crate::keep::{YOUNG, swept_key};
use crate::{Config, Problem, Shared, places};

/// Uploads of one request that are looked at at once.
const AT_ONCE: usize = 16;

/// What is wrong with where the references of some jobs lie and with what their uploads hold; pins each job to
/// what they hold now. `prefix` gives what stands before the pointers of a job's fields.
pub(crate) async fn faults(
    shared: &Shared,
    caller: &Caller,
    specs: &mut [JobSpec],
    prefix: &impl Fn(usize) -> String,
    at_hand: &BTreeMap<Uuid, Look>,
) -> Result<Vec<FieldError>, Problem> {
    let elsewhere = uploads(specs).into_iter().filter(|id| !at_hand.contains_key(id)).collect();
    let mut looks = look(&shared.store, &caller.tenant, elsewhere).await?;
    looks.extend(at_hand.iter().map(|(id, look)| (*id, Some(look.clone()))));
    let named = named(specs, prefix);
    let mut errors = places::faults(shared, &caller.tenant, named.iter().map(borrowed)).await?;
    for (index, spec) in specs.iter_mut().enumerate() {
        for (pointer, source) in spec.sources_mut() {
            if let Err((code, message)) = check_one(shared, source, &looks) {
                errors.push(FieldError { pointer: prefix(index) + &pointer, code, message });
            }
        }
    }
    if errors.is_empty() {
        keep(&shared.store, &caller.tenant, specs).await?;
    }
    Ok(errors)
}

/// All references, each with its place in the request.
fn named(specs: &mut [JobSpec], prefix: &impl Fn(usize) -> String) -> Vec<(String, Source)> {
    let mut named = Vec::new();
    for (index, spec) in specs.iter_mut().enumerate() {
        let sources = spec.sources_mut().map(|(pointer, source)| (prefix(index) + &pointer, source.clone()));
        named.extend(sources);
    }
    named
}

fn borrowed((pointer, source): &(String, Source)) -> (String, &Source) {
    (pointer.clone(), source)
}

/// All uploads that are named, each once.
fn uploads(specs: &mut [JobSpec]) -> Vec<Uuid> {
    let sources = specs.iter_mut().flat_map(JobSpec::sources_mut);
    let mut ids: Vec<Uuid> = sources
        .filter_map(|(_, source)| match source {
            Source::Upload { id, .. } => Some(*id),
            Source::S3 { .. } | Source::Web { .. } => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Makes what is named by its place in our bucket young again, where a rule would delete it by its age.
async fn keep(store: &Store, tenant: &str, specs: &mut [JobSpec]) -> Result<(), Problem> {
    let sources = specs.iter_mut().flat_map(JobSpec::sources_mut).map(|(_, source)| source);
    let placed = sources.filter(|source| matches!(source, Source::S3 { .. }));
    let keys = placed.filter_map(|source| swept_key(source, tenant, &store.config().bucket));
    for key in keys.collect::<BTreeSet<String>>() {
        store.keep(&key, YOUNG).await?;
    }
    Ok(())
}

/// Looks at uploads, and keeps those that are old; one that is not there has none.
async fn look(
    store: &Store,
    tenant: &str,
    uploads: Vec<Uuid>,
) -> Result<BTreeMap<Uuid, Option<Look>>, Problem> {
    let looks = stream::iter(uploads).map(|id| async move {
        match store.look(&upload_key(tenant, &id)).await {
            Ok(look) => {
                if look.is_older(YOUNG) {
                    store.keep(&upload_key(tenant, &id), YOUNG).await?;
                }
                Ok((id, Some(look)))
            }
            Err(StoreError::Missing { .. }) => Ok((id, None)),
            Err(error) => Err(Problem::from(error)),
        }
    });
    let looks: Vec<_> = looks.buffer_unordered(AT_ONCE).collect().await;
    looks.into_iter().collect()
}

type Fault = (&'static str, String);

fn check_one(
    shared: &Shared,
    source: &mut Source,
    looks: &BTreeMap<Uuid, Option<Look>>,
) -> Result<(), Fault> {
    match source {
        // Where it may lie has been checked; what it is the worker finds out.
        Source::S3 { .. } => Ok(()),
        Source::Web { url } => shared.store.config().web.check(url).map_err(|reason| ("not_allowed", reason)),
        Source::Upload { id, tag } => {
            let Some(Some(look)) = looks.get(id) else {
                let message = "nothing was uploaded under this name, or its time is over";
                return Err(("upload_missing", message.into()));
            };
            if tag.as_ref().is_some_and(|tag| *tag != look.tag) {
                return Err(("upload_changed", "another file has been uploaded under this name".into()));
            }
            check_look(look, &shared.config, shared.store.config().max_bytes)?;
            *tag = Some(look.tag.clone());
            Ok(())
        }
    }
}

/// Whether an upload is what was declared, and no larger than a worker would take.
fn check_look(look: &Look, config: &Config, max_bytes: u64) -> Result<(), Fault> {
    if look.bytes > max_bytes {
        return Err(("too_large", format!("the file has {} bytes; the most is {max_bytes}", look.bytes)));
    }
    let Some(kind) = look.kind else {
        return Err(("not_an_image", "the file is not a png, jpeg or webp image".into()));
    };
    let declared = look.media_type.as_deref().and_then(PictureKind::of_media_type);
    if declared.is_some_and(|declared| declared != kind) {
        let declared = look.media_type.as_deref().unwrap_or_default();
        let message = format!("the file is {}, but {declared} was declared", kind.media_type());
        return Err(("wrong_media_type", message));
    }
    // Where the size lies further back, the worker finds it.
    let Some((width, height)) = look.size else { return Ok(()) };
    let pixels = u64::from(width) * u64::from(height);
    if width == 0 || height == 0 || pixels > config.max_pixels || width.max(height) > config.max_side {
        let message = format!(
            "{width}x{height} pixels; the most is {} in all and {} a side",
            config.max_pixels, config.max_side
        );
        return Err(("too_many_pixels", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(kind: Option<PictureKind>, size: Option<(u32, u32)>) -> Look {
        let media_type = Some("image/png".to_owned());
        Look { tag: "t".into(), bytes: 1000, written: None, media_type, kind, size }
    }

    #[test]
    fn what_a_worker_would_refuse_is_refused_here() {
        let png = Some(PictureKind::Png);
        let code = |look: Look| check_look(&look, &Config::default(), 1000).err().map(|(code, _)| code);
        assert_eq!(code(look(png, Some((64, 64)))), None);
        assert_eq!(code(look(png, None)), None, "nothing is known against it");
        assert_eq!(code(look(None, None)), Some("not_an_image"));
        assert_eq!(code(look(Some(PictureKind::WebP), None)), Some("wrong_media_type"));
        assert_eq!(code(look(png, Some((0, 64)))), Some("too_many_pixels"));
        assert_eq!(code(look(png, Some((20_000, 20)))), Some("too_many_pixels"));
        assert_eq!(code(look(png, Some((10_000, 10_000)))), Some("too_many_pixels"));
        assert_eq!(code(Look { bytes: 1001, ..look(png, None) }), Some("too_large"));
    }
}
