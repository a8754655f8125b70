//! Uploads in parts that nobody ended: s3s-fs has them but lists none.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s3s::dto::{ListMultipartUploadsOutput, MultipartUpload};

use super::long_keys::LongKeys;

/// An upload in parts.
struct Upload {
    key: String,
    id: String,
    begun: SystemTime,
}

/// Whether there is an upload with this id.
pub(super) fn exists(root: &Path, id: &str) -> bool {
    note_of(root, id).is_file()
}

/// The file that s3s-fs has for as long as an upload is neither completed nor aborted.
fn note_of(root: &Path, id: &str) -> PathBuf {
    root.join(format!(".upload-{id}.json"))
}

/// All uploads of a bucket whose keys begin with `prefix`, on one page.
pub(super) fn list(
    root: &Path,
    bucket: String,
    prefix: Option<String>,
    long: &LongKeys,
) -> io::Result<ListMultipartUploadsOutput> {
    let found = unfinished(root, &bucket, prefix.as_deref().unwrap_or_default(), long)?;
    let uploads = found.into_iter().map(|upload| MultipartUpload {
        key: Some(upload.key),
        upload_id: Some(upload.id),
        initiated: Some(upload.begun.into()),
        ..Default::default()
    });
    Ok(ListMultipartUploadsOutput {
        uploads: Some(uploads.collect()),
        is_truncated: Some(false),
        bucket: Some(bucket),
        prefix,
        ..Default::default()
    })
}

/// Those uploads in the order of their keys.
fn unfinished(root: &Path, bucket: &str, prefix: &str, long: &LongKeys) -> io::Result<Vec<Upload>> {
    let long = long.beginning_with(bucket, prefix);
    let stem = format!(".bucket-{}.object-", BASE64_URL_SAFE_NO_PAD.encode(bucket));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let Some((place, id)) = named(&name, &stem) else { continue };
        let key = match long.iter().find(|(_, long)| *long == place) {
            Some((key, _)) => key.clone(),
            None => place,
        };
        // It may have been ended meanwhile.
        let Ok(about) = std::fs::metadata(note_of(root, &id)) else { continue };
        if key.starts_with(prefix) {
            found.push(Upload { key, id, begun: about.modified()? });
        }
    }
    found.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
    Ok(found)
}

/// Where the object of an upload is to lie, and the upload's id, by the name of the file that s3s-fs notes its metadata in.
fn named(file: &str, stem: &str) -> Option<(String, String)> {
    let (place, rest) = file.strip_prefix(stem)?.split_once('.')?;
    let id = rest.strip_prefix("upload-")?.strip_suffix(".metadata.json")?;
    let place = BASE64_URL_SAFE_NO_PAD.decode(place).ok()?;
    Some((String::from_utf8(place).ok()?, id.to_owned()))
}
