#![doc = include_str!("../README.md")]

pub mod address_guard;
mod batch_delete;
mod conditional;
mod config;
mod error;
mod fetch;
mod keep;
mod key;
mod list;
mod multipart;
mod probe;
mod publish;
mod ranges;
mod store;
mod sweep;
mod tag;
mod upload;
mod web;

pub use config::{Config, Credentials, MAX_REFERENCE, Secret, WebReferences};
pub use error::{Error, WebError};
pub use key::{
    PROBE_KEY, checkpoint_key, checkpoint_prefix, is_swept, output_key, output_prefix, upload_key,
};
pub use list::{Listed, ObjectInfo};
pub use multipart::{LEAST_PART, MultipartUpload, Part, UnfinishedUpload};
pub use publish::{LONGEST_LINK, NewObject, Stored, hexadecimal_sha256};
pub use store::Store;
pub use upload::{FileInfo, PresignedPut};
pub use uso_picture::PictureKind;
