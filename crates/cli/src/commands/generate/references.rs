//! The pictures that are referred to: read before the model is loaded, prepared for it afterwards.

use std::path::Path;

use anyhow::{Context as _, ensure};
use uso_dataset::file;
use uso_engine::{DecodeLimits, MAX_STYLES, Preparation, Purpose, Reference, Request};
use uso_store::MAX_REFERENCE;

use crate::args::PictureArgs;

/// The files of the references.
pub(super) struct References<'a> {
    content: Option<ReferenceFile<'a>>,
    styles: Vec<ReferenceFile<'a>>,
}

impl<'a> References<'a> {
    pub(super) fn read(picture: &'a PictureArgs) -> anyhow::Result<Self> {
        let styles = picture.style.len();
        ensure!(styles <= MAX_STYLES, "--style: {styles} style references, at most {MAX_STYLES} are allowed");
        let content = picture.content.as_deref().map(ReferenceFile::read).transpose()?;
        let styles = picture.style.iter().map(|path| ReferenceFile::read(path));
        Ok(Self { content, styles: styles.collect::<anyhow::Result<_>>()? })
    }

    /// Adds them to what is asked for; styles get `side` pixels a side.
    pub(super) fn add_to(&self, request: Request, side: u32) -> anyhow::Result<Request> {
        let content_size = request.content_size;
        let content = self.content.as_ref().map(|file| file.prepare(Purpose::Content { content_size }));
        let styles = self.styles.iter().map(|file| file.prepare(Purpose::Style { side }));
        Ok(Request {
            content: content.transpose()?,
            styles: styles.collect::<anyhow::Result<_>>()?,
            ..request
        })
    }

    /// The name of the content reference's file without its folders, and those of the styles'. They are written into the
    /// picture, and whoever gets that need not know where its maker keeps files.
    pub(super) fn names(&self) -> (Option<String>, Vec<String>) {
        (
            self.content.as_ref().map(ReferenceFile::name),
            self.styles.iter().map(ReferenceFile::name).collect(),
        )
    }
}

struct ReferenceFile<'a> {
    path: &'a str,
    bytes: Vec<u8>,
}

impl<'a> ReferenceFile<'a> {
    fn read(path: &'a str) -> anyhow::Result<Self> {
        let read = file::read_once(path.as_ref(), MAX_REFERENCE);
        let bytes = read.with_context(|| format!("cannot read {path}"))?;
        Ok(Self { path, bytes })
    }

    fn prepare(&self, purpose: Purpose) -> anyhow::Result<Reference> {
        let prepared =
            Preparation::new(&self.bytes, purpose, &DecodeLimits::default()).and_then(Preparation::run);
        prepared.with_context(|| format!("cannot use {}", self.path))
    }

    fn name(&self) -> String {
        let name = Path::new(self.path).file_name();
        name.map_or_else(|| self.path.to_owned(), |name| name.to_string_lossy().into_owned())
    }
}
