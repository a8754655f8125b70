//! The journey of one job through a worker: fetch, sample, upload, settle.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use uso_engine::{PositionShift, Request, RequestLora};
use uso_queue::{JobSpec, Keeper, Lease, Output};

use crate::active::{ActiveJobGuard, Stage};
use crate::context::Context;
use crate::device::Unfinished;
use crate::hand_back::Reason;
use crate::job::Job;
use crate::stages::{Checkpoints, Ended, References};
use crate::{Error, loras};

/// How often a job that is wanted elsewhere is looked at: whether its references have come meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Context {
    /// Works on a leased job until it is settled. The lease is renewed all the while, also while Redis is away: the
    /// result waits until it can be handed in.
    ///
    /// # Errors
    /// Only those that make this process useless.
    pub(crate) async fn drive(
        &self,
        lease: Lease,
        keeper: Keeper,
        active: ActiveJobGuard,
    ) -> Result<Ended, Error> {
        let checkpoints = Checkpoints::new(self, &lease);
        let scored_ms = AtomicU64::new(0);
        let job = Job {
            context: self,
            lease: &lease,
            keeper: &keeper,
            active: &active,
            checkpoints: &checkpoints,
            scored_ms: &scored_ms,
        };
        let ended = tokio::select! {
            ended = job.run() => ended,
            never = job.ask_for_hand_back() => never,
        };
        drop(keeper);
        if ended.is_for_good() {
            checkpoints.forget().await;
        }
        let outcome = ended.outcome();
        self.metrics.outcome(outcome);
        tracing::info!(job.id = %lease.id, fence = lease.fence, outcome, "job {}: {outcome}", lease.id);
        match ended {
            Ended::DeviceLost(error) => Err(error),
            ended => Ok(ended),
        }
    }
}

impl Job<'_> {
    async fn run(&self) -> Ended {
        match self.make_output().await {
            Ok(output) => self.complete(&output).await,
            Err(Unfinished::HandedBack(partial)) => self.give_back(partial).await,
            Err(Unfinished::TooBig { need, memory }) => self.give_back_too_big(need, memory).await,
            Err(Unfinished::Failed(error)) => self.give_up(error).await,
            // Only a gate drops samples, and it goes on with others.
            Err(Unfinished::Dropped(_)) => self.give_back(None).await,
        }
    }

    async fn make_output(&self) -> Result<Output, Unfinished> {
        let loras = loras::requested(&self.lease.spec.loras, &self.context.device.engine().loras)?;
        let (references, fetched) = self.fetch_references().await?;
        let (references, files) = references.apart();
        let request = request(&self.lease.spec, references, loras);
        let taken = self.sample_job(request, files).await?;
        self.active.stage(Stage::Leaving);
        Ok(self.upload(taken, fetched).await?)
    }

    /// Asks for the job to be handed back when the queue says so.
    async fn ask_for_hand_back<T>(&self) -> T {
        let closed = self.keeper.window_closed();
        tokio::select! {
            () = closed.cancelled() => self.hand_back().ask(Reason::WindowClosed),
            never = self.give_away() => never,
        }
        std::future::pending().await
    }

    /// Asks for a bulk job that has not begun to be handed back once a worker that has nothing to do would take it.
    async fn give_away<T>(&self) -> T {
        let mut wanted = self.keeper.wanted_elsewhere();
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            if self.active.is_ahead() {
                self.hand_back().ask(Reason::WantedElsewhere);
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        std::future::pending().await
    }
}

fn request(spec: &JobSpec, references: References, loras: Vec<RequestLora>) -> Request {
    Request {
        prompt: spec.prompt.clone(),
        content: references.content,
        styles: references.styles,
        width: spec.width,
        height: spec.height,
        keep_size: spec.keep_size,
        content_size: spec.content_size,
        steps: spec.steps,
        guidance: spec.guidance,
        seed: spec.seed,
        position_shift: PositionShift::default(),
        loras,
        step_cache: spec.step_cache,
    }
}
