//! Scores of a picture, against the whole references that it was made from.

use bytes::Bytes;
use uso_engine::{DecodeLimits, Error as EngineError, Image};
use uso_queue::Scorer;

use super::decode_budget::DECODING;
use super::progress::note_stage;
use crate::Error;
use crate::job::Job;
use crate::scoring::{Scored, Scoring, Verdicts, score, scripted};

/// The files of a job's references as they were fetched: what scorers see is not what the model is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReferenceFiles {
    pub(crate) content: Option<Bytes>,
    pub(crate) styles: Vec<Bytes>,
}

impl ReferenceFiles {
    /// Bytes that decoding all of them takes.
    fn decoding_bytes(&self) -> Result<u64, EngineError> {
        let limits = DecodeLimits::default();
        self.content.iter().chain(&self.styles).map(|file| Image::decoding_bytes(file, &limits)).sum()
    }
}

impl Job<'_> {
    /// What the asked scorers say of the picture of a seed; gives the picture back. While the job is sampled, that is the
    /// stage under way, and scoring is none of its own.
    pub(super) async fn score(
        &self,
        scorers: (&Scoring, &[Scorer]),
        (seed, picture): (u64, Image),
        files: &ReferenceFiles,
        is_sampled: bool,
    ) -> Result<(Image, Verdicts), Error> {
        let (scoring, asked) = scorers;
        let Some(loaded) = scoring.loaded() else {
            let verdicts = scripted(asked, seed, &picture)?;
            return Ok((picture, verdicts));
        };
        // One picture at a time: who waits for his turn holds no memory for it.
        let mut scorers = std::sync::Arc::clone(loaded).lock_owned().await;
        let permit = DECODING.take(files.decoding_bytes()?).await?;
        if !is_sampled {
            note_stage(self.lease, Some("score")).await;
        }
        let (files, prompt, asked) = (files.clone(), self.lease.spec.prompt.clone(), asked.to_vec());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let limits = DecodeLimits::default();
            let content = files.content.map(|file| Image::decode(&file, &limits)).transpose()?;
            let styles = files.styles.iter().map(|file| Image::decode(file, &limits));
            let styles = styles.collect::<Result<Vec<_>, _>>()?;
            let scored =
                Scored { picture: &picture, content: content.as_ref(), styles: &styles, prompt: &prompt };
            let verdicts = score(&mut scorers, &asked, &scored)?;
            Ok::<_, EngineError>((picture, verdicts))
        });
        let scored = task.await.map_err(|error| Error::Task(error.to_string()))?;
        if !is_sampled {
            note_stage(self.lease, None).await;
        }
        Ok(scored?)
    }
}
