//! The files of a finished picture: what is stored under which name.

use uso_engine::{Image, PictureText};
use uso_queue::{Format, JobSpec};
use uso_store::{NewObject, Store};

use crate::Error;
use crate::parameters::file_format;

/// Name of the sidecar.
pub(super) const SIDECAR: &str = "0.json";
/// Name of the thumbnail.
const THUMBNAIL: &str = "0.thumb.webp";
/// Longest side of a thumbnail in pixels. A picture with no more has none: it is as quick to load itself.
const THUMBNAIL_SIDE: u32 = 384;
const THUMBNAIL_QUALITY: u8 = 75;

/// A picture as files.
pub(super) struct Files {
    pub(super) picture: NewObject,
    /// None for a small picture.
    pub(super) thumbnail: Option<NewObject>,
}

impl Files {
    /// Encodes `image` as its job asks for, and its thumbnail, which a row of a data set has whatever its size; `key` gives
    /// the key of a name.
    pub(super) fn encode(
        store: &Store,
        image: &Image,
        spec: &JobSpec,
        text: &PictureText,
        of_row: bool,
        key: impl Fn(&str) -> String,
    ) -> Result<Self, Error> {
        let file = |name: &str, format: Format, bytes: Vec<u8>| {
            store.new_object(&key(name), format.media_type(), bytes.into())
        };
        let picture = image.to_file(file_format(spec.format, spec.quality), text)?;
        // The picture of a row moves into a shard; its thumbnail is what stays to look at.
        let small = image.thumbnail(THUMBNAIL_SIDE).or_else(|| of_row.then(|| image.clone()));
        let thumbnail = small.map(|small| small.to_webp_quickly(THUMBNAIL_QUALITY)).transpose()?;
        Ok(Self {
            picture: file(&format!("0.{}", spec.format.ending()), spec.format, picture),
            thumbnail: thumbnail.map(|bytes| file(THUMBNAIL, Format::WebP, bytes)),
        })
    }
}
