//! One sample on the device, from its request to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use uso_engine::Image;

use super::policy::Candidate;
use super::{
    FinishedSample, PartialSample, Phase, Progress, RunningSample, SampleRequest, Unfinished, Usage,
};

/// A preview may cost this part of the steps since the one before: a hundredth.
const PREVIEW_SHARE: u32 = 100;

/// A step that takes so many times what the plan says is worth a look, unless it is so short that anything delays it.
const SLOW: u32 = 3;
const SHORT: Duration = Duration::from_secs(1);

/// A step that was done.
#[derive(Clone, Copy)]
pub(super) struct TimedStep {
    pub(super) took: Duration,
    /// What the plan says that it takes.
    pub(super) expected: Option<Duration>,
    /// Samples that did it together; each is charged with its part of the time.
    pub(super) samples: u32,
}

/// A request and how far it is, without its numbers on the device.
pub(super) struct ActiveSample {
    pub(super) request: SampleRequest,
    pub(super) usage: Usage,
    pub(super) progress: Progress,
    /// Whether it was on the device: the checkpoint that it goes on from has been read.
    pub(super) begun: bool,
    /// Steps that the newest copy has.
    copied: u32,
    /// Time in steps since the last preview.
    unseen: Duration,
    /// Whether it was said that its steps are slow.
    warned: bool,
    progress_sender: watch::Sender<Progress>,
    copies: watch::Sender<Option<PartialSample>>,
    previews: watch::Sender<Option<Image>>,
    /// None once the predicted picture was given out.
    predictions: Option<oneshot::Sender<Image>>,
    end: oneshot::Sender<Result<FinishedSample, Unfinished>>,
}

impl ActiveSample {
    pub(super) fn new(request: SampleRequest) -> (Self, RunningSample) {
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (copies, copy) = watch::channel(None);
        let (previews, preview) = watch::channel(None);
        let (predictions, predicted) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let active = Self {
            request,
            usage: Usage::default(),
            progress: Progress::default(),
            begun: false,
            copied: 0,
            unseen: Duration::ZERO,
            warned: false,
            progress_sender,
            copies,
            previews,
            predictions: Some(predictions),
            end,
        };
        (active, RunningSample { progress, copy, preview, predicted, end: ended })
    }

    /// Whether nobody wants the picture any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.request.give_up.is_cancelled() || self.end.is_closed()
    }

    /// Whether it is to stop between two steps: to be handed back, or dropped.
    pub(super) fn is_to_stop(&self) -> bool {
        self.request.hand_back.is_cancelled() || self.request.drop.is_cancelled()
    }

    pub(super) fn end(self, end: Result<FinishedSample, Unfinished>) {
        // Whoever does not listen any more does not want to know.
        let _ = self.end.send(end);
    }

    /// It has the device now.
    pub(super) fn takes_over(&mut self) {
        self.enter(Phase::Sampling);
    }

    /// Another has the device now.
    pub(super) fn lets_go(&mut self) {
        if self.progress.phase == Phase::Sampling {
            self.usage.set_aside += 1;
            self.enter(Phase::SetAside);
        }
    }

    fn enter(&mut self, phase: Phase) {
        if self.progress.phase != phase {
            self.progress.phase = phase;
            self.progress_sender.send_replace(self.progress);
        }
    }

    /// Counts a step.
    pub(super) fn stepped(&mut self, done: u32, TimedStep { took, expected, samples }: TimedStep) {
        if let Some(expected) = expected.filter(|expected| self.is_slow(took, *expected)) {
            self.warned = true;
            tracing::warn!(
                took_ms = took.as_millis() as u64,
                expected_ms = expected.as_millis() as u64,
                "a step takes more than {SLOW} times what the plan says; look for other programs on the device, for a \
                 card that is throttled by heat or power, for a host that swaps, and, where blocks are streamed, for a \
                 link with fewer lanes than the card has"
            );
        }
        let own = took / samples;
        self.usage.steps += 1;
        self.usage.together = self.usage.together.max(samples);
        self.usage.sample += own;
        self.unseen += own;
        self.progress.step = done;
        self.progress_sender.send_replace(self.progress);
    }

    /// The first step of a picture also prepares the device for its size, and one warning a picture is enough.
    fn is_slow(&self, took: Duration, expected: Duration) -> bool {
        !self.warned && self.usage.steps > 0 && took > SHORT.max(expected * SLOW)
    }

    /// Whether a copy is wanted, and would be another than the last; whoever asks must make it.
    pub(super) fn owes_copy(&self) -> bool {
        self.request.wanted.take_copy() && self.progress.step > self.copied
    }

    pub(super) fn copied(&mut self, copy: PartialSample) {
        self.copied = copy.step;
        self.copies.send_replace(Some(copy));
    }

    /// Whether a preview that costs so much is wanted and paid for; whoever asks must make it.
    pub(super) fn owes_preview(&mut self, cost: Duration) -> bool {
        let paid = !self.unseen.is_zero() && cost.saturating_mul(PREVIEW_SHARE) <= self.unseen;
        let owed = paid && self.request.wanted.take_preview();
        if owed {
            self.unseen = Duration::ZERO;
        }
        owed
    }

    /// Whether the picture that is predicted now is wanted.
    pub(super) fn owes_prediction(&self) -> bool {
        self.predictions.is_some() && self.request.predict_after == Some(self.progress.step)
    }

    pub(super) fn predicted(&mut self, image: Image) {
        if let Some(predictions) = self.predictions.take() {
            let _ = predictions.send(image);
        }
    }

    pub(super) fn previewed(&self, image: Image) {
        self.previews.send_replace(Some(image));
    }
}

/// A sample that is on the device or waits beside it.
pub(super) struct Entry<S> {
    pub(super) id: u64,
    pub(super) active: ActiveSample,
    /// Its numbers on the device.
    pub(super) sample: Option<S>,
    /// What it goes on from when it comes to the device again.
    pub(super) copy: Option<PartialSample>,
    pub(super) footprint: uso_engine::Footprint,
    /// The number of its shape; none if it is stepped alone.
    pub(super) shape: Option<u64>,
    /// How many that came later were begun before it.
    pub(super) overtaken: u32,
}

impl<S> Entry<S> {
    pub(super) fn request(&self) -> Arc<uso_engine::Request> {
        Arc::clone(&self.active.request.request)
    }

    /// What has come of it here. A checkpoint that an earlier attempt left and nobody has read yet is in the store
    /// already, and its step is not known.
    pub(super) fn partial(&self) -> Option<PartialSample> {
        self.copy.clone().filter(|_| self.active.begun)
    }

    /// What the policy knows of it. `done`: whether it has done all its steps.
    pub(super) fn candidate(&self, done: bool) -> Candidate {
        Candidate {
            done,
            shape: self.shape,
            overtaken: self.overtaken,
            id: self.id,
            rank: self.active.request.rank,
            begun: self.active.begun,
            resident: self.sample.is_some(),
            footprint: self.footprint,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use uso_engine::{PositionShift, Request};

    use super::*;
    use crate::device::Rank;

    fn active() -> (ActiveSample, RunningSample) {
        let request = Request {
            prompt: String::new(),
            content: None,
            styles: Vec::new(),
            width: 64,
            height: 64,
            keep_size: false,
            content_size: 64,
            steps: 8,
            guidance: 4.0,
            seed: 0,
            position_shift: PositionShift::default(),
            loras: Vec::new(),
            step_cache: 0.0,
        };
        ActiveSample::new(SampleRequest {
            request: Arc::new(request),
            rank: Rank { interactive: false, priority: 0, submitted_ms: 0 },
            resume: None,
            give_up: CancellationToken::new(),
            hand_back: CancellationToken::new(),
            stuck: CancellationToken::new(),
            drop: CancellationToken::new(),
            predict_after: None,
            wanted: Arc::default(),
        })
    }

    fn alone(took: Duration, expected: Option<Duration>) -> TimedStep {
        TimedStep { took, expected, samples: 1 }
    }

    #[test]
    fn a_step_together_costs_each_sample_its_part() {
        let (mut sample, _running) = active();
        let (took, expected) = (Duration::from_secs(6), Some(Duration::from_secs(5)));
        sample.stepped(1, TimedStep { took, expected, samples: 3 });
        sample.stepped(2, TimedStep { took, expected, samples: 3 });
        sample.stepped(3, alone(Duration::from_secs(2), Some(Duration::from_secs(2))));
        let usage = sample.usage;
        assert_eq!((usage.steps, usage.together, usage.sample.as_secs()), (3, 3, 6));
        assert!(!sample.warned, "the whole step is compared with what the whole step should take");
        sample.stepped(4, TimedStep { took: took * 3, expected, samples: 3 });
        assert!(sample.warned);
    }

    /// Whether a picture whose steps took so many milliseconds was warned of, where the plan says that each takes
    /// `expected`.
    fn warned(expected: Option<u64>, took: &[u64]) -> bool {
        let (mut sample, _running) = active();
        for (done, took) in (1..).zip(took) {
            sample.stepped(done, alone(Duration::from_millis(*took), expected.map(Duration::from_millis)));
        }
        sample.warned
    }

    #[test]
    fn a_step_of_more_than_three_times_the_plan_is_slow() {
        assert!(!warned(Some(1000), &[1000, 3000]), "three times is within");
        assert!(warned(Some(1000), &[1000, 3001]));
        assert!(!warned(None, &[1000, 60_000]), "nobody knows what it should take");
    }

    #[test]
    fn the_first_step_of_a_picture_may_take_longer() {
        assert!(!warned(Some(1000), &[60_000]));
        assert!(warned(Some(1000), &[60_000, 60_000]));
    }

    #[test]
    fn a_step_of_a_second_at_most_is_never_slow() {
        assert!(!warned(Some(10), &[10, 1000]));
        assert!(warned(Some(10), &[10, 1001]));
    }

    #[test]
    fn a_picture_is_warned_of_once() {
        let (mut sample, _running) = active();
        let (slow, expected) = (Duration::from_secs(9), Duration::from_secs(1));
        sample.stepped(1, alone(expected, Some(expected)));
        assert!(sample.is_slow(slow, expected));
        sample.stepped(2, alone(slow, Some(expected)));
        assert!(!sample.is_slow(slow, expected));
        assert_eq!((sample.usage.steps, sample.usage.sample), (2, slow + expected), "it counts all the same");
    }
}
