//! Reads the tar of a shard sample by sample.

use std::io::{self, Read};
use std::ops::ControlFlow;

use super::row::Row;

/// Largest file of a sample in bytes: what a damaged header may make us allocate.
const LARGEST: u64 = 256 << 20;

/// The files of a row.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// What they are called before their ending.
    pub(super) stem: String,
    /// Name and content of the picture.
    pub(super) picture: Option<(String, Vec<u8>)>,
    pub(super) text: Option<Vec<u8>>,
    pub(super) json: Option<Vec<u8>>,
}

impl Sample {
    /// Reads its row.
    pub(super) fn row(&self) -> Result<Row, String> {
        let json = self.json.as_deref().ok_or("it has no json file")?;
        serde_json::from_slice(json).map_err(|error| format!("its json file cannot be read: {error}"))
    }

    fn add(&mut self, name: &str, content: Vec<u8>) -> io::Result<()> {
        let double = || Err(io::Error::other(format!("{name} is there twice in a row")));
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("txt") if self.text.is_none() => self.text = Some(content),
            Some("json") if self.json.is_none() => self.json = Some(content),
            Some("txt" | "json") => return double(),
            _ if self.picture.is_none() => self.picture = Some((name.to_owned(), content)),
            _ => return double(),
        }
        Ok(())
    }
}

/// Gives each sample of a tar to `take`, until it has enough.
pub(super) fn each_sample(
    tar: &mut dyn Read,
    mut take: impl FnMut(Sample) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut sample = Sample::default();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| io::Error::other("a name is no text"))?;
        let own = |(stem, _): &(&str, &str)| !stem.is_empty() && !name.contains(['/', '\\']);
        let Some((stem, _)) = name.split_once('.').filter(own) else {
            return Err(io::Error::other(format!("{name:?} is no name of a sample's file")));
        };
        if entry.size() > LARGEST {
            return Err(io::Error::other(format!("{name} has {} bytes, more than {LARGEST}", entry.size())));
        }
        if sample.stem != stem {
            let whole = std::mem::replace(&mut sample, Sample { stem: stem.to_owned(), ..Sample::default() });
            if !whole.stem.is_empty() && take(whole).is_break() {
                return Ok(());
            }
        }
        let mut content = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut content)?;
        if content.len() as u64 != entry.size() {
            return Err(io::Error::other(format!("it ends within {name}")));
        }
        sample.add(&name, content)?;
    }
    if !sample.stem.is_empty() {
        let _ = take(sample);
    }
    Ok(())
}
