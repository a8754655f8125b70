//! Tags of what objects hold.

use std::collections::HashMap;

/// Metadata of an object that was copied onto itself: the tag of its content when it was first put. Some services give
/// a new one to every copy.
pub(crate) const TAG: &str = "tag";

/// The tag of an object's content when it was put, from what the service says of the object now.
pub(crate) fn tag_of(tag: Option<&str>, metadata: Option<&HashMap<String, String>>) -> Option<String> {
    let kept = metadata.and_then(|metadata| metadata.get(TAG)).cloned();
    kept.or_else(|| tag.map(bare_tag))
}

/// A tag without its quotes.
pub(crate) fn bare_tag(tag: &str) -> String {
    tag.trim_start_matches("W/").trim_matches('"').to_owned()
}
