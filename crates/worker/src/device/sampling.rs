//! One picture on the device, from its order to its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use uso_engine::Image;

use super::policy::Candidate;
use super::{Drawing, Effort, HalfDrawn, Order, Outcome, Place, Progress};
use crate::Error;

/// A preview may cost this part of the steps since the one before: a hundredth.
const PREVIEW_SHARE: u32 = 100;

/// What may be wanted of a picture beside its steps; granted between two of them.
#[derive(Debug, Default)]
pub struct Wishes {
    copy: AtomicBool,
    preview: AtomicBool,
}

impl Wishes {
    /// Asks for a copy of the half-drawn picture.
    pub fn copy(&self) {
        self.copy.store(true, Ordering::Relaxed);
    }

    /// Asks for a preview, when the steps since the last one have paid for it.
    pub fn preview(&self) {
        self.preview.store(true, Ordering::Relaxed);
    }
}

/// A step that takes so many times what the plan says is worth a look, unless it is so short that anything delays it.
const SLOW: u32 = 3;
const SHORT: Duration = Duration::from_secs(1);

/// An order and what it has come to, without its sample.
pub(super) struct Sampling {
    pub(super) order: Order,
    pub(super) effort: Effort,
    pub(super) progress: Progress,
    /// Whether what the order was to be resumed from has been looked at.
    pub(super) begun: bool,
    /// Steps that the newest copy has.
    copied: u32,
    /// Time in steps since the last preview.
    unseen: Duration,
    /// Whether it was said that its steps are slow.
    warned: bool,
    tell: watch::Sender<Progress>,
    copies: watch::Sender<Option<HalfDrawn>>,
    previews: watch::Sender<Option<Image>>,
    outcome: oneshot::Sender<Result<Outcome, Error>>,
}

impl<S> Entry<S> {
    /// What it has come to here. What an attempt before left and nobody has read yet is in the store already, and of
    /// which step it is, is not known.
    pub(super) fn left_off(&self) -> Option<HalfDrawn> {
        self.copy.clone().filter(|_| self.sampling.begun)
    }
}

impl Sampling {
    pub(super) fn new(order: Order) -> (Self, Drawing) {
        let (tell, progress) = watch::channel(Progress::default());
        let (copies, copy) = watch::channel(None);
        let (previews, preview) = watch::channel(None);
        let (outcome, answer) = oneshot::channel();
        let sampling = Self {
            order,
            effort: Effort::default(),
            progress: Progress::default(),
            begun: false,
            copied: 0,
            unseen: Duration::ZERO,
            warned: false,
            tell,
            copies,
            previews,
            outcome,
        };
        (sampling, Drawing { progress, copy, preview, outcome: answer })
    }

    /// Whether nobody wants the picture any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.order.give_up.is_cancelled() || self.outcome.is_closed()
    }

    pub(super) fn end(self, outcome: Result<Outcome, Error>) {
        // Who does not listen any more does not want to know.
        let _ = self.outcome.send(outcome);
    }

    /// It has the device now.
    pub(super) fn takes_over(&mut self) {
        self.stand(Place::Drawing);
    }

    /// Another has the device now.
    pub(super) fn lets_go(&mut self) {
        if self.progress.place == Place::Drawing {
            self.effort.set_aside += 1;
            self.stand(Place::SetAside);
        }
    }

    fn stand(&mut self, place: Place) {
        if self.progress.place != place {
            self.progress.place = place;
            self.tell.send_replace(self.progress);
        }
    }

    /// Counts a step. `expected` is what the plan says of it.
    pub(super) fn stepped(&mut self, done: u32, took: Duration, expected: Option<Duration>) {
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
        self.effort.steps += 1;
        self.effort.sample += took;
        self.unseen += took;
        self.progress.step = done;
        self.tell.send_replace(self.progress);
    }

    /// The first step of a picture also prepares the device for its size, and one warning a picture is enough.
    fn is_slow(&self, took: Duration, expected: Duration) -> bool {
        !self.warned && self.effort.steps > 0 && took > SHORT.max(expected * SLOW)
    }

    /// Whether a copy is wanted, and would be another than the last; whoever asks must make it.
    pub(super) fn owes_copy(&self) -> bool {
        self.order.wishes.copy.swap(false, Ordering::Relaxed) && self.progress.step > self.copied
    }

    pub(super) fn copied(&mut self, copy: HalfDrawn) {
        self.copied = copy.step;
        self.copies.send_replace(Some(copy));
    }

    /// Whether a preview that costs so much is wanted and paid for; whoever asks must make it.
    pub(super) fn owes_preview(&mut self, cost: Duration) -> bool {
        let paid = !self.unseen.is_zero() && cost.saturating_mul(PREVIEW_SHARE) <= self.unseen;
        let owed = paid && self.order.wishes.preview.swap(false, Ordering::Relaxed);
        if owed {
            self.unseen = Duration::ZERO;
        }
        owed
    }

    pub(super) fn previewed(&self, image: Image) {
        self.previews.send_replace(Some(image));
    }
}

/// A picture that is on the device or waits beside it.
pub(super) struct Entry<S> {
    pub(super) id: u64,
    pub(super) sampling: Sampling,
    /// Its numbers on the device.
    pub(super) sample: Option<S>,
    /// What it goes on from when it comes to the device again.
    pub(super) copy: Option<HalfDrawn>,
    pub(super) footprint: uso_engine::Footprint,
}

impl<S> Entry<S> {
    pub(super) fn request(&self) -> Arc<uso_engine::Request> {
        Arc::clone(&self.sampling.order.request)
    }

    /// What the policy knows of it.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            id: self.id,
            rank: self.sampling.order.rank,
            begun: self.sampling.begun,
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

    fn sampling() -> (Sampling, Drawing) {
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
        Sampling::new(Order {
            request: Arc::new(request),
            rank: Rank { interactive: false, priority: 0, age: 0 },
            resume: None,
            give_up: CancellationToken::new(),
            hand_back: CancellationToken::new(),
            stuck: CancellationToken::new(),
            wishes: Arc::default(),
        })
    }

    /// Whether a picture whose steps took so many milliseconds was warned of, where the plan says that each takes
    /// `expected`.
    fn warned(expected: Option<u64>, took: &[u64]) -> bool {
        let (mut sampling, _drawing) = sampling();
        for (done, took) in (1..).zip(took) {
            sampling.stepped(done, Duration::from_millis(*took), expected.map(Duration::from_millis));
        }
        sampling.warned
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
        let (mut sampling, _drawing) = sampling();
        let (slow, expected) = (Duration::from_secs(9), Duration::from_secs(1));
        sampling.stepped(1, expected, Some(expected));
        assert!(sampling.is_slow(slow, expected));
        sampling.stepped(2, slow, Some(expected));
        assert!(!sampling.is_slow(slow, expected));
        assert_eq!(
            (sampling.effort.steps, sampling.effort.sample),
            (2, slow + expected),
            "it counts all the same"
        );
    }
}
