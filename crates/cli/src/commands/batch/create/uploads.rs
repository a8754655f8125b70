//! Pictures on their way to the fleet: each content once.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use uso_dataset::rows::Row;
use uso_queue::Source;

use super::local::{Content, LocalPicture, LocalPictures};
use crate::client::Client;

/// Uploads at once.
const AT_ONCE: usize = 8;

/// Where the pictures lie that were uploaded.
#[derive(Default)]
pub(super) struct Uploads(HashMap<Content, Source>);

impl Uploads {
    /// Uploads the pictures of rows that were not uploaded yet.
    pub(super) async fn add(
        &mut self,
        client: &Client,
        pictures: &Arc<LocalPictures>,
        rows: impl Iterator<Item = &Row>,
    ) -> anyhow::Result<()> {
        let mut missing = HashMap::new();
        for row in rows {
            let sources = row.job.content.iter().chain(&row.job.styles);
            let local = sources.filter_map(LocalPicture::of_source);
            let new = local.filter(|picture| !self.0.contains_key(&picture.content));
            missing.extend(new.map(|picture| (picture.content, picture)));
        }
        let uploads = missing.into_values().map(|picture| upload(client, pictures, picture));
        let mut done = std::pin::pin!(futures::stream::iter(uploads).buffer_unordered(AT_ONCE));
        while let Some((content, source)) = done.try_next().await? {
            self.0.insert(content, source);
        }
        Ok(())
    }

    /// Puts uploads in the place of the row's local pictures.
    pub(super) fn apply(&self, row: &mut Row) -> anyhow::Result<()> {
        for (_, source) in row.job.sources_mut() {
            if let Some(picture) = LocalPicture::of_source(source) {
                let uploaded = self.0.get(&picture.content);
                *source = uploaded.with_context(|| format!("{} was not uploaded", picture.path))?.clone();
            }
        }
        Ok(())
    }
}

async fn upload(
    client: &Client,
    pictures: &Arc<LocalPictures>,
    picture: LocalPicture,
) -> anyhow::Result<(Content, Source)> {
    let place = pictures.place(&picture.path);
    let read = {
        let (pictures, path) = (pictures.clone(), picture.path);
        tokio::task::spawn_blocking(move || pictures.bytes(&path)).await?
    };
    let bytes = read.with_context(|| format!("cannot read {}", place.display()))?;
    let content: Content = Sha256::digest(&bytes).into();
    ensure!(content == picture.content, "{} has changed meanwhile; start again", place.display());
    let uploaded = client.patiently(async || client.upload_bytes(&place, bytes.clone()).await).await?;
    let source = uploaded.parse::<Source>();
    let source = source.map_err(|_| anyhow::anyhow!("the API's upload {uploaded} is not understood"))?;
    Ok((content, source))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use uso_dataset::rows::{Checker, Options, RawRow};
    use uso_queue::Defaults;

    use super::*;

    #[test]
    fn rows_name_uploads_in_the_place_of_files() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
        let pictures = LocalPictures::new(folder.path().to_owned(), 100);
        let content =
            match LocalPicture::of_source(&pictures.resolve("a.png").unwrap().source.parse().unwrap()) {
                Some(picture) => picture.content,
                None => panic!("not local"),
            };
        let mut checker = Checker::new(Defaults::default(), Options::default())
            .with_references(move |text| pictures.resolve(text));
        let fields = json!({ "prompt": "a", "content": "a.png", "styles": ["s3://b/c", "a.png"] });
        let fields = fields.as_object().unwrap().clone();
        let mut row = checker.check(RawRow { line: 1, fields, labels: Map::new() }).unwrap();
        assert!(Uploads::default().apply(&mut row.clone()).is_err(), "nothing is uploaded yet");
        let uploaded: Source = "upload:01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        Uploads([(content, uploaded.clone())].into()).apply(&mut row).unwrap();
        assert_eq!(row.job.content, Some(uploaded.clone()));
        assert_eq!(row.job.styles, ["s3://b/c".parse().unwrap(), uploaded]);
    }
}
