//! Tries: with a quality gate, a job's picture is sampled again with other seeds until one is good enough.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use uso_engine::{Image, Request};
use uso_queue::{EarlyGate, Gate, Measure, Scorer, Scores, Thresholds, Try, smallest_margin};

use super::score::ReferenceFiles;
use crate::Error;
use crate::active::Stage;
use crate::device::{FinishedSample, Unfinished, Usage};
use crate::job::Job;
use crate::scoring::{Scoring, Verdicts};

/// The picture that a job ends with.
pub(crate) struct Taken {
    /// What it was sampled from: its seed is that of its try.
    pub(crate) request: Arc<Request>,
    /// The picture, and what the device did in this attempt for all tries.
    pub(crate) finished: FinishedSample,
    /// What scorers say; none without a gate.
    pub(crate) scores: Option<Scores>,
}

impl Job<'_> {
    /// Has the job's picture sampled, from where an earlier attempt stopped if that can be; with a gate as often as it
    /// takes.
    pub(crate) async fn sample_job(
        &self,
        request: Request,
        files: ReferenceFiles,
    ) -> Result<Taken, Unfinished> {
        if let Some(gate) = &self.lease.spec.gate {
            let missing = Error::NoScorer(gate.scorers.first().map_or("", |scorer| scorer.as_str()));
            let scoring = self.context.scoring().ok_or(missing)?;
            scoring.check(&gate.scorers)?;
            return Tries::new(self, gate, scoring, request, files).run().await;
        }
        let request = Arc::new(request);
        self.checkpoints.begin(self.fingerprint(&request), Vec::new());
        let resume = self.unless_handed_back(self.checkpoints.fetch()).await?;
        let finished = self.sample(&request, resume, None).await?;
        Ok(Taken { request, finished, scores: None })
    }

    fn fingerprint(&self, request: &Request) -> String {
        format!("{} {}", self.context.device.engine().fingerprint, request.digest())
    }
}

/// The tries of one job.
struct Tries<'a> {
    job: &'a Job<'a>,
    gate: &'a Gate,
    scoring: &'a Scoring,
    /// That of the first try.
    request: Request,
    files: ReferenceFiles,
    /// Those that have ended, in order.
    tries: Vec<Try>,
    /// The best picture of this attempt that is not good enough.
    best: Option<Picture>,
    /// What the device did in this attempt; none before the first sample.
    usage: Option<Usage>,
}

/// A picture that was scored.
struct Picture {
    number: usize,
    image: Image,
    verdicts: Verdicts,
}

impl<'a> Tries<'a> {
    fn new(
        job: &'a Job<'a>,
        gate: &'a Gate,
        scoring: &'a Scoring,
        request: Request,
        files: ReferenceFiles,
    ) -> Self {
        Self { job, gate, scoring, request, files, tries: Vec::new(), best: None, usage: None }
    }

    async fn run(mut self) -> Result<Taken, Unfinished> {
        let mut resume = self.resume().await?;
        while self.tries.len() < self.gate.tries as usize {
            let number = self.tries.len();
            let picture = self.sample(number, resume.take(), self.gate.early.as_ref()).await?;
            let Some(picture) = picture else { continue };
            if margin(&self.tries[number], &self.gate.min) >= 0.0 {
                return Ok(self.take(picture));
            }
            self.keep(picture);
        }
        self.none_passed(resume).await
    }

    /// Takes up what an earlier attempt has recorded, if its next sample would be the same here.
    async fn resume(&mut self) -> Result<Option<Bytes>, Unfinished> {
        let job = self.job;
        if let Some(checkpoint) = &job.lease.checkpoint {
            self.tries = checkpoint.tries.clone();
            let seeds = (0..).map(|number| Gate::seed_of(self.request.seed, number));
            let fits = self.tries.iter().zip(seeds).all(|(earlier, seed)| earlier.seed == seed);
            let next = self.next().filter(|_| fits);
            if next.is_none_or(|next| self.fingerprint(&self.request_of(next)) != checkpoint.fingerprint) {
                self.tries.clear();
            }
        }
        self.note_device_time();
        let next = self.next().unwrap_or_default();
        job.checkpoints.begin(self.fingerprint(&self.request_of(next)), self.tries.clone());
        job.unless_handed_back(job.checkpoints.fetch()).await
    }

    /// Which try is sampled next: the first that has not ended, or, if all have, the best of them once more.
    fn next(&self) -> Option<usize> {
        match self.tries.len() {
            ended if ended < self.gate.tries as usize => Some(ended),
            _ => self.best_number(),
        }
    }

    /// Samples and scores one try; none if it was dropped early.
    async fn sample(
        &mut self,
        number: usize,
        resume: Option<Bytes>,
        early: Option<&EarlyGate>,
    ) -> Result<Option<Picture>, Unfinished> {
        let job = self.job;
        let request = Arc::new(self.request_of(number));
        job.checkpoints.begin(self.fingerprint(&request), self.tries.clone());
        if resume.is_none() && !self.tries.is_empty() {
            job.active.stage(Stage::Ahead);
            job.checkpoints.record_tries().await;
        }
        let look =
            early.map(|early| EarlyLook { tries: &*self, seed: request.seed, early, found: OnceLock::new() });
        let sampled = job.sample(&request, resume, look.as_ref()).await;
        let found = look.and_then(|look| look.found.into_inner());
        match sampled {
            Ok(FinishedSample { image, usage }) => {
                job.active.stage(Stage::Leaving);
                let score = job.score(self.scorers(), (request.seed, image), &self.files, false);
                let (image, verdicts) = job.unless_handed_back(score).await?;
                self.note(number, request.seed, &usage, verdicts.scores.clone(), None);
                Ok(Some(Picture { number, image, verdicts }))
            }
            Err(Unfinished::Dropped(usage)) => {
                let step = early.map(|early| early.step);
                self.note(number, request.seed, &usage, found.unwrap_or_default(), step);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Takes note of how a try ended. One that is sampled once more has cost the device both times.
    fn note(
        &mut self,
        number: usize,
        seed: u64,
        usage: &Usage,
        scores: BTreeMap<Measure, f64>,
        dropped: Option<u32>,
    ) {
        match &mut self.usage {
            Some(all) => all.add(usage),
            None => self.usage = Some(*usage),
        }
        let before = self.tries.get(number).map_or(0, |ended| ended.device_ms);
        let device_ms = before + usage.device.as_millis() as u64;
        let ended = Try { seed, scores, dropped, device_ms };
        match self.tries.get_mut(number) {
            Some(place) => *place = ended,
            None => self.tries.push(ended),
        }
        self.note_device_time();
    }

    fn note_device_time(&self) {
        let spent = self.tries.iter().map(|ended| ended.device_ms).sum();
        self.job.scored_ms.store(spent, Ordering::Relaxed);
    }

    /// Keeps a picture that is not good enough, if none before was better.
    fn keep(&mut self, picture: Picture) {
        if self.gate.keep_best && self.best_number() == Some(picture.number) {
            self.best = Some(picture);
        }
    }

    /// The try whose smallest margin is the largest, the first of equals. One that was finished goes before all that were
    /// dropped, which were judged by what they might have become.
    fn best_number(&self) -> Option<usize> {
        let early = self.gate.early.as_ref().map(|early| &early.min);
        let order = |ended: &Try| match ended.dropped {
            None => (true, margin(ended, &self.gate.min)),
            Some(_) => (false, early.map_or(f64::NEG_INFINITY, |min| margin(ended, min))),
        };
        let mut best: Option<(usize, (bool, f64))> = None;
        for (number, order) in self.tries.iter().map(order).enumerate() {
            if best.is_none_or(|(_, before)| order > before) {
                best = Some((number, order));
            }
        }
        best.map(|(number, _)| number)
    }

    /// Ends the job after its last try: with the best picture, or without one. A picture that was dropped, or that
    /// another worker has sampled, is sampled once more.
    async fn none_passed(mut self, resume: Option<Bytes>) -> Result<Taken, Unfinished> {
        let best = self.best_number().filter(|_| self.gate.keep_best);
        let Some(number) = best else { return Err(self.failure().into()) };
        if let Some(picture) = self.best.take_if(|best| best.number == number) {
            return Ok(self.take(picture));
        }
        match self.sample(number, resume, None).await? {
            Some(picture) => Ok(self.take(picture)),
            None => Err(self.failure().into()),
        }
    }

    fn take(self, picture: Picture) -> Taken {
        let Picture { number, image, verdicts } = picture;
        let request = Arc::new(self.request_of(number));
        let scores = Scores {
            accepted: margin(&self.tries[number], &self.gate.min) >= 0.0,
            taken: number as u32,
            tries: self.tries,
            profiles: verdicts.profiles,
            phash: Some(verdicts.phash),
        };
        let usage = self.usage.unwrap_or_default();
        Taken { request, finished: FinishedSample { image, usage }, scores: Some(scores) }
    }

    /// Says what each try scored, and what it should have.
    fn failure(&self) -> Error {
        let list = |scores: &BTreeMap<Measure, f64>, of: &Thresholds| {
            let known = of.keys().filter_map(|measure| Some((measure, scores.get(measure)?)));
            let words = known.map(|(measure, value)| format!("{} {value}", measure.as_str()));
            words.collect::<Vec<_>>().join(", ")
        };
        let tries = self.tries.iter().map(|ended| match (ended.dropped, &self.gate.early) {
            (Some(step), Some(early)) => {
                let (found, least) = (list(&ended.scores, &early.min), list(&early.min, &early.min));
                format!("seed {}: {found} after step {step}, where {least} is needed", ended.seed)
            }
            _ => format!("seed {}: {}", ended.seed, list(&ended.scores, &self.gate.min)),
        });
        let tries = tries.collect::<Vec<_>>().join("; ");
        let (count, least) = (self.tries.len(), list(&self.gate.min, &self.gate.min));
        Error::BelowThreshold {
            scores: format!("none of {count} pictures reaches {least}: {tries}"),
            rejected: self.gate.rejections(&self.tries, None),
        }
    }

    fn scorers(&self) -> (&Scoring, &[Scorer]) {
        (self.scoring, &self.gate.scorers)
    }

    fn request_of(&self, number: usize) -> Request {
        let seed = Gate::seed_of(self.request.seed, number as u32);
        Request { seed, ..self.request.clone() }
    }

    /// What a try depends on. Scores of other profiles cannot be compared with these.
    fn fingerprint(&self, request: &Request) -> String {
        format!("{} {}", self.job.fingerprint(request), self.scoring.profiles().join(" "))
    }
}

fn margin(ended: &Try, min: &Thresholds) -> f64 {
    smallest_margin(&ended.scores, min)
}

/// A look at an unfinished picture.
pub(super) struct EarlyLook<'a> {
    tries: &'a Tries<'a>,
    seed: u64,
    early: &'a EarlyGate,
    /// What it scored.
    found: OnceLock<BTreeMap<Measure, f64>>,
}

impl EarlyLook<'_> {
    /// After how many steps it is wanted.
    pub(super) fn step(&self) -> u32 {
        self.early.step
    }

    /// Whether a picture that was predicted is not worth its other steps. One that cannot be scored is: a look only saves
    /// time.
    pub(super) async fn is_hopeless(&self, predicted: Image) -> bool {
        let Tries { job, files, .. } = self.tries;
        match job.score(self.tries.scorers(), (self.seed, predicted), files, true).await {
            Ok((_, verdicts)) => {
                let hopeless = smallest_margin(&verdicts.scores, &self.early.min) < 0.0;
                let _ = self.found.set(verdicts.scores);
                hopeless
            }
            Err(error) => {
                tracing::warn!(job.id = %job.lease.id, %error, "an unfinished picture was not scored");
                false
            }
        }
    }
}
