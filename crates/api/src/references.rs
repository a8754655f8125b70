//! Checks of a job's references before the job is accepted.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use uso_queue::{FieldError, JobSpec, Source};
use uso_store::{Error as StoreError, FileInfo, PictureKind, Store, upload_key};
use uuid::Uuid;

use crate::caller::Caller;
use crate::config::Config;
use crate::keep::{YOUNG, swept_key};
use crate::problem::Problem;
use crate::reference_access;
use crate::shared::Shared;

/// Objects of one request that are inspected or kept at once.
const AT_ONCE: usize = 16;

/// What is wrong with the references of some jobs: where they are, and what their uploads hold. Pins each job to
/// the present content of its uploads. `prefix` gives the JSON pointer of a job.
pub(crate) async fn faults(
    shared: &Shared,
    caller: &Caller,
    specs: &mut [JobSpec],
    prefix: &impl Fn(usize) -> String,
    at_hand: &BTreeMap<Uuid, FileInfo>,
) -> Result<Vec<FieldError>, Problem> {
    let elsewhere = upload_ids(specs).into_iter().filter(|id| !at_hand.contains_key(id)).collect();
    let mut uploads = inspect(&shared.store, &caller.tenant, elsewhere).await?;
    uploads.extend(at_hand.iter().map(|(id, info)| (*id, Some(info.clone()))));
    let named = named(specs, prefix);
    let mut errors = reference_access::faults(shared, &caller.tenant, named.iter().map(borrowed)).await?;
    for (index, spec) in specs.iter_mut().enumerate() {
        for (pointer, source) in spec.sources_mut() {
            if let Err((code, message)) = check_one(shared, source, &uploads) {
                errors.push(FieldError { pointer: prefix(index) + &pointer, code, message });
            }
        }
    }
    if errors.is_empty() {
        keep(&shared.store, &caller.tenant, specs).await?;
    }
    Ok(errors)
}

/// All references, each with its JSON pointer.
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
fn upload_ids(specs: &mut [JobSpec]) -> Vec<Uuid> {
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

/// Makes objects in our bucket young again that are named by their key and that a rule would delete by age.
async fn keep(store: &Store, tenant: &str, specs: &mut [JobSpec]) -> Result<(), Problem> {
    let sources = specs.iter_mut().flat_map(JobSpec::sources_mut).map(|(_, source)| source);
    let placed = sources.filter(|source| matches!(source, Source::S3 { .. }));
    let keys = placed.filter_map(|source| swept_key(source, tenant, &store.config().bucket));
    let keys: BTreeSet<String> = keys.collect();
    let kept = stream::iter(keys).map(|key| async move { store.keep(&key, YOUNG).await });
    let mut kept = std::pin::pin!(kept.buffer_unordered(AT_ONCE));
    while let Some(kept) = kept.next().await {
        kept?;
    }
    Ok(())
}

/// Inspects uploads, and keeps those that are old; a missing one has no information.
async fn inspect(
    store: &Store,
    tenant: &str,
    uploads: Vec<Uuid>,
) -> Result<BTreeMap<Uuid, Option<FileInfo>>, Problem> {
    let uploads = stream::iter(uploads).map(|id| async move {
        match store.inspect(&upload_key(tenant, &id)).await {
            Ok(info) => {
                if info.is_older(YOUNG) {
                    store.keep(&upload_key(tenant, &id), YOUNG).await?;
                }
                Ok((id, Some(info)))
            }
            Err(StoreError::Missing { .. }) => Ok((id, None)),
            Err(error) => Err(Problem::from(error)),
        }
    });
    let uploads: Vec<_> = uploads.buffer_unordered(AT_ONCE).collect().await;
    uploads.into_iter().collect()
}

type Fault = (&'static str, String);

fn check_one(
    shared: &Shared,
    source: &mut Source,
    uploads: &BTreeMap<Uuid, Option<FileInfo>>,
) -> Result<(), Fault> {
    match source {
        // Its location has been checked; the worker checks its content.
        Source::S3 { .. } => Ok(()),
        Source::Web { url } => shared.store.config().web.check(url).map_err(|reason| ("not_allowed", reason)),
        Source::Upload { id, tag } => {
            let Some(Some(info)) = uploads.get(id) else {
                let message = "there is no such upload, or it has expired";
                return Err(("upload_missing", message.into()));
            };
            if tag.as_ref().is_some_and(|tag| *tag != info.tag) {
                return Err(("upload_changed", "another file was uploaded with this id later".into()));
            }
            check_upload(info, &shared.config, shared.store.config().max_bytes)?;
            *tag = Some(info.tag.clone());
            Ok(())
        }
    }
}

/// Whether an upload is what was declared, and no larger than a worker would take.
fn check_upload(info: &FileInfo, config: &Config, max_bytes: u64) -> Result<(), Fault> {
    if info.bytes > max_bytes {
        return Err((
            "too_large",
            format!("the file has {} bytes; at most {max_bytes} are allowed", info.bytes),
        ));
    }
    let Some(kind) = info.kind else {
        return Err(("not_an_image", "the file is not a png, jpeg or webp image".into()));
    };
    let declared = info.media_type.as_deref().and_then(PictureKind::of_media_type);
    if declared.is_some_and(|declared| declared != kind) {
        let declared = info.media_type.as_deref().unwrap_or_default();
        let message = format!("the file is {}, but {declared} was declared", kind.media_type());
        return Err(("wrong_media_type", message));
    }
    // If the size is further back in the file, the worker finds it.
    let Some((width, height)) = info.size else { return Ok(()) };
    let pixels = u64::from(width) * u64::from(height);
    if width == 0 || height == 0 || pixels > config.max_pixels || width.max(height) > config.max_side {
        let message = format!(
            "the image has {width}x{height} pixels; at most {} in all and {} a side are allowed",
            config.max_pixels, config.max_side
        );
        return Err(("too_many_pixels", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(kind: Option<PictureKind>, size: Option<(u32, u32)>) -> FileInfo {
        let media_type = Some("image/png".to_owned());
        FileInfo { tag: "t".into(), bytes: 1000, written: None, media_type, kind, size }
    }

    #[test]
    fn what_a_worker_would_refuse_is_refused_here() {
        let png = Some(PictureKind::Png);
        let code = |info: FileInfo| check_upload(&info, &Config::default(), 1000).err().map(|(code, _)| code);
        assert_eq!(code(info(png, Some((64, 64)))), None);
        assert_eq!(code(info(png, None)), None, "nothing is known against it");
        assert_eq!(code(info(None, None)), Some("not_an_image"));
        assert_eq!(code(info(Some(PictureKind::WebP), None)), Some("wrong_media_type"));
        assert_eq!(code(info(png, Some((0, 64)))), Some("too_many_pixels"));
        assert_eq!(code(info(png, Some((20_000, 20)))), Some("too_many_pixels"));
        assert_eq!(code(info(png, Some((10_000, 10_000)))), Some("too_many_pixels"));
        assert_eq!(code(FileInfo { bytes: 1001, ..info(png, None) }), Some("too_large"));
    }
}
