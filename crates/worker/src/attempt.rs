//! One attempt at a job: from its references to a stored picture, or to half of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uso_engine::{PositionShift, Request, RequestLora};
use uso_queue::{Class, JobSpec, Keeper, Lease, Output, Receipt, Source};

use crate::checkpoints::{self, Checkpoints};
use crate::device::{Drawing, Drawn, Effort, Order, Outcome, Rank};
use crate::held::{Stage, Ticket};
use crate::loras;
use crate::outputs;
use crate::parameters::{self, Parameters};
use crate::references::{self, References};
use crate::report::{Reporter, note_stage};
use crate::tokens;
use crate::transfers::Until;
use crate::workshop::Workshop;
use crate::{Error, HalfDrawn};

/// How long a job keeps its slot while its references are fetched.
const SOON: Duration = Duration::from_millis(250);

/// How often a job that is wanted elsewhere is looked at: whether its references have come meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What an attempt made of its job.
pub(crate) enum Made {
    Picture(Box<Output>),
    /// It goes back to the queue, with what is drawn of it.
    Half {
        half: Option<HalfDrawn>,
        fingerprint: String,
    },
    /// It can never be drawn here; in bytes.
    TooBig {
        need: u64,
        memory: u64,
    },
}

/// A job that is being worked on.
pub(crate) struct Attempt<'a> {
    shop: &'a Workshop,
    lease: &'a Lease,
    ticket: &'a Ticket,
    checkpoints: &'a Checkpoints<'a>,
    keeper: &'a Keeper,
    given_away: AtomicBool,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        shop: &'a Workshop,
        lease: &'a Lease,
        keeper: &'a Keeper,
        ticket: &'a Ticket,
        checkpoints: &'a Checkpoints<'a>,
    ) -> Self {
        Self { shop, lease, ticket, checkpoints, keeper, given_away: AtomicBool::new(false) }
    }

    /// How long what is drawn may wait for the store.
    pub(crate) fn until(&self) -> Until {
        Until { lost: self.keeper.lost(), leave: self.shop.leave.clone() }
    }

    /// Whether it was handed back for a worker that has nothing to do.
    pub(crate) fn is_given_away(&self) -> bool {
        self.given_away.load(Ordering::Relaxed)
    }

    /// From references to a stored picture.
    ///
    /// # Errors
    /// What [`crate::verdict`] decides about.
    pub(crate) async fn make(&self) -> Result<Made, Error> {
        tokio::select! {
            made = self.draw() => made,
            never = self.give_away() => never,
        }
    }

    async fn draw(&self) -> Result<Made, Error> {
        let loras = loras::asked(&self.lease.spec.loras, &self.shop.device.about().loras)?;
        let Some((references, fetch)) = self.fetch().await? else {
            return Ok(Made::Half { half: None, fingerprint: String::new() });
        };
        let fetched_bytes = references.bytes;
        let request = Arc::new(request(&self.lease.spec, references, loras));
        let fingerprint = self.fingerprint(&request);
        let before = checkpoints::fetch(&self.shop.store, self.lease, &fingerprint);
        let Some(resume) = self.unless_handed_back(before).await? else {
            return Ok(Made::Half { half: None, fingerprint });
        };
        let order = Order {
            request: Arc::clone(&request),
            rank: rank(self.lease),
            resume,
            give_up: self.keeper.lost(),
            hand_back: self.keeper.hand_back(),
            stuck: CancellationToken::new(),
            wishes: Arc::default(),
        };
        match self.follow(order, &fingerprint).await? {
            Outcome::Drawn(drawn) => {
                self.ticket.stage(Stage::Leaving);
                let receipt = self.receipt(&drawn.effort, &request, fetch, fetched_bytes);
                if let Some(counted) = receipt.prompt_tokens {
                    tokens::log(&self.lease.id, counted);
                }
                let (_, output) =
                    tokio::join!(note_stage(self.lease, None), self.publish(&request, drawn, receipt));
                output.map(|output| Made::Picture(Box::new(output)))
            }
            Outcome::HandedBack(half) => Ok(Made::Half { half, fingerprint }),
            Outcome::TooBig { need, memory } => Ok(Made::TooBig { need, memory }),
        }
    }

    /// The references and how long they took; none if the job is to go back before they are here.
    async fn fetch(&self) -> Result<Option<(References, Duration)>, Error> {
        let begun = Instant::now();
        let style_side = self.shop.device.about().style_side;
        let fetch = async {
            tokio::select! {
                references = references::fetch(&self.shop.store, self.lease, style_side) => references,
                never = self.let_others_go_first() => never,
            }
        };
        let Some(references) = self.unless_handed_back(fetch).await? else { return Ok(None) };
        self.ticket.stage(Stage::Ahead);
        self.shop.metrics.stage("fetch", begun.elapsed());
        Ok(Some((references, begun.elapsed())))
    }

    /// References that do not come soon hold up nobody else.
    async fn let_others_go_first<T>(&self) -> T {
        tokio::time::sleep(SOON).await;
        self.ticket.stage(Stage::Fetching);
        std::future::pending().await
    }

    /// What `work` gives; none if the job is to go back before.
    async fn unless_handed_back<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, Error> {
        tokio::select! {
            done = work => done.map(Some),
            () = cancelled(self.keeper.hand_back()) => Ok(None),
            () = cancelled(self.keeper.lost()) => Err(Error::Abandoned),
        }
    }

    /// What a picture of this request depends on; only what has the same may go on with it.
    fn fingerprint(&self, request: &Request) -> String {
        format!("{} {}", self.shop.device.about().fingerprint, request.digest())
    }

    /// Has the picture drawn; meanwhile tells how far it is, and keeps copies and shows previews.
    async fn follow(&self, order: Order, fingerprint: &str) -> Result<Outcome, Error> {
        let (wishes, lost) = (Arc::clone(&order.wishes), order.give_up.clone());
        let stuck = order.stuck.clone();
        let Drawing { progress, copy, preview, outcome } = self.shop.device.draw(order);
        let reporter = Reporter::new(self.lease, self.ticket, &lost);
        let every = self.shop.settings.checkpoint_every;
        tokio::select! {
            (outcome, ()) = async { tokio::join!(outcome, reporter.report(progress)) } => {
                outcome.unwrap_or(Err(Error::DeviceGone))
            }
            () = self.shop.device.hangs().cancelled() => {
                if stuck.is_cancelled() { Err(Error::DeviceStuck) } else { Ok(Outcome::HandedBack(None)) }
            }
            never = self.checkpoints.keep_copies(every, fingerprint, &wishes, copy) => never,
            never = reporter.show_previews(self.shop.settings.preview_every, &wishes, preview) => never,
        }
    }

    /// Hands a bulk job that cannot begin here yet back, once a worker that has nothing to do would take it.
    async fn give_away<T>(&self) -> T {
        let mut wanted = self.keeper.wanted_elsewhere();
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            if self.ticket.is_ahead() {
                self.given_away.store(true, Ordering::Relaxed);
                self.keeper.hand_back().cancel();
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        std::future::pending().await
    }

    fn receipt(&self, effort: &Effort, request: &Request, fetch: Duration, fetched_bytes: u64) -> Receipt {
        let milliseconds = |duration: Duration| duration.as_millis() as u64;
        let (lease, about) = (self.lease, self.shop.device.about());
        let step_cache = parameters::step_cache(request);
        Receipt {
            wait_ms: lease.claimed_ms.saturating_sub(lease.submitted_ms),
            fetch_ms: milliseconds(fetch),
            encode_ms: milliseconds(effort.encode),
            device_ms: milliseconds(effort.device),
            sample_ms: milliseconds(effort.sample),
            steps: effort.steps,
            resumed_from: effort.resumed_from,
            decode_ms: milliseconds(effort.decode),
            fetched_bytes,
            cache_hits: self.shop.device.seen().own(&lease.tenant, &lease.spec, effort.cache_hits),
            prompt_tokens: effort.prompt_tokens.map(tokens::recorded),
            set_aside: effort.set_aside,
            attempts: lease.attempt,
            worker: about.device.clone(),
            model: about.model.clone(),
            loras: loras::used(request),
            step_cache,
            skipped_steps: step_cache.map(|_| effort.skipped_steps),
            scripted: about.scripted,
            ..Receipt::default()
        }
    }

    async fn publish(&self, request: &Request, drawn: Drawn, receipt: Receipt) -> Result<Output, Error> {
        let Effort { encode, sample, decode, steps, .. } = drawn.effort;
        for (stage, spent) in [("encode", encode), ("sample", sample), ("decode", decode)] {
            self.shop.metrics.stage(stage, spent);
        }
        let spec = &self.lease.spec;
        let parameters = Parameters::new(
            self.shop.device.model(),
            request,
            &drawn.image,
            spec.content.as_ref().map(Source::shown),
            spec.styles.iter().map(Source::shown).collect(),
            drawn.effort.prompt_tokens,
        );
        let begun = Instant::now();
        let until = self.until();
        let output =
            outputs::publish(self.shop, self.lease, drawn.image, parameters, receipt, &until).await?;
        self.shop.metrics.stage("upload", begun.elapsed());
        let fetch = Duration::from_millis(output.receipt.fetch_ms);
        self.shop.pace.note(steps, fetch + encode + decode + begun.elapsed());
        Ok(output)
    }
}

async fn cancelled(token: CancellationToken) {
    token.cancelled().await;
}

/// How urgent the picture of a job is.
pub(crate) fn rank(lease: &Lease) -> Rank {
    let spec = &lease.spec;
    Rank { interactive: spec.class == Class::Interactive, priority: spec.priority, age: lease.submitted_ms }
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
