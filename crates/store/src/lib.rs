//! The object store: the part of S3 that the fleet needs.
//!
//! [`Store::fetch_image`] fetches a reference, bounded in bytes, time and allowed buckets, and [`Store::fetch_web`] one
//! from the web where that is allowed. [`Store::put`], [`Store::get`] and [`Store::delete`] write, read and delete objects.
//! With [`Store::presign_get`] and [`Store::presign_put`], clients fetch and upload directly.

pub mod address_guard;
mod config;
mod error;
mod fetch;
mod keep;
mod key;
mod probe;
mod publish;
mod store;
mod sweep;
mod tag;
mod upload;
mod web;

pub use config::{Config, Credentials, Secret, WebReferences};
pub use error::{Error, WebError};
pub use key::{
    PROBE_KEY, checkpoint_key, checkpoint_prefix, is_swept, output_key, output_prefix, upload_key,
};
pub use publish::{LONGEST_LINK, Stored, hexadecimal_sha256};
pub use store::Store;
pub use upload::{FileInfo, PresignedPut};
pub use uso_picture::PictureKind;
