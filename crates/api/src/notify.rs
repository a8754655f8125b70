//! Tells endpoints that jobs have ended, as Standard Webhooks says: one task in each process takes deliveries
//! that are due, and makes some of them at once: a few to one endpoint, and to the endpoints of one tenant, so that
//! one that swallows what it is sent is in nobody else's way. It looks for them when it hears that a job has ended,
//! when one has been made, and once a second for those that are to be tried again.
//!
//! What it sends holds no secret and no presigned URL: retries go on for days, and an answer may be read by
//! whoever the endpoint's owner trusts. A delivery that is cut short is due again after a minute, so an
//! endpoint may hear of an event twice, under the same `webhook-id`.

mod message;
mod schedule;
mod share;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode, header};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uso_queue::{Attempt, ClaimedDelivery, DEFAULT_WEBHOOK, Delivery, FieldError, JobSpec, Next, Queue};
use uso_store::outside;
use uuid::Uuid;

pub(crate) use message::Teller;
use share::Sending;
pub(crate) use sign::secret_text;

/// Longest time an endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before the queue is asked again when nothing is due.
const PAUSE: Duration = Duration::from_secs(1);
/// What deliveries under way get when the process stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Makes deliveries.
#[derive(Clone)]
pub(crate) struct Notifier {
    queue: Queue,
    client: Client,
    allow_private: bool,
    teller: Teller,
    /// Told when a delivery may be due.
    due: Arc<Notify>,
}

impl Notifier {
    /// Hears from `due` when there may be something to tell.
    pub(crate) fn new(
        queue: Queue,
        allow_private: bool,
        teller: Teller,
        due: Arc<Notify>,
    ) -> reqwest::Result<Self> {
        let client = outside::client(allow_private, TIMEOUT)?;
        Ok(Self { queue, client, allow_private, teller, due })
    }

    /// Makes deliveries until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut sending = Sending::default();
        while !stop.is_cancelled() {
            self.take(&mut sending).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = sending.ended(), if !sending.is_empty() => {}
                () = self.due.notified(), if sending.has_room() => {}
                () = tokio::time::sleep(PAUSE), if sending.has_room() => {}
            }
        }
        let last = async {
            while !sending.is_empty() {
                sending.ended().await;
            }
        };
        if tokio::time::timeout(FAREWELL, last).await.is_err() {
            sending.shutdown().await;
        }
    }

    /// Starts as many deliveries as are due and there is room for.
    async fn take(&self, sending: &mut Sending) {
        for shard in self.queue.shards() {
            while sending.has_room() {
                let claimed = self.queue.claim_delivery_except(shard, &sending.busy()).await;
                match claimed {
                    Ok(Some(claimed)) => {
                        let notifier = self.clone();
                        let (tenant, endpoint) = (claimed.delivery.tenant.clone(), claimed.endpoint.clone());
                        sending.begin(tenant, endpoint, async move { notifier.deliver(&claimed).await });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "no deliveries can be claimed now");
                        break;
                    }
                }
            }
        }
    }

    /// Makes one attempt and says what became of it.
    async fn deliver(&self, claimed: &ClaimedDelivery) {
        let begun = Instant::now();
        let answer = self.send(claimed).await;
        let took_ms = begun.elapsed().as_millis() as u64;
        let (status, error) = match &answer {
            Ok(Answer { status, .. }) if status.is_success() => (Some(status.as_u16()), None),
            Ok(Answer { status, .. }) => (Some(status.as_u16()), Some(format!("it answered {status}"))),
            Err(reason) => (None, Some(reason.clone())),
        };
        let delivery = &claimed.delivery;
        let again = schedule::after(delivery.attempts + 1, random());
        let next = match answer {
            Ok(Answer { status, .. }) if status.is_success() => Next::Delivered,
            Ok(Answer { status: StatusCode::GONE, .. }) => Next::Failed,
            Ok(Answer { retry_after: Some(asked), .. }) => {
                again.map_or(Next::Failed, |again| Next::Pause(again.max(asked)))
            }
            _ => again.map_or(Next::Failed, Next::Again),
        };
        tracing::debug!(job.id = %delivery.job, webhook = delivery.webhook, ?status, ?next, took_ms, "told an endpoint");
        let attempt = Attempt { at_ms: 0, status, error, took_ms };
        if let Err(error) = self.settle(claimed, next, &attempt).await {
            // It is due again in a minute.
            tracing::warn!(%error, webhook = delivery.webhook, "what became of a delivery was not recorded");
        }
    }

    async fn settle(
        &self,
        claimed: &ClaimedDelivery,
        next: Next,
        attempt: &Attempt,
    ) -> Result<(), uso_queue::Error> {
        let counts = self.queue.settle_delivery(claimed, next, attempt).await?;
        let Delivery { tenant, webhook, .. } = &claimed.delivery;
        let gone = attempt.status == Some(StatusCode::GONE.as_u16());
        // An address that one job named says nothing about those of others.
        if counts && gone && webhook != DEFAULT_WEBHOOK {
            self.queue.switch_webhook(tenant, webhook, Some("it answered 410 Gone")).await?;
        }
        Ok(())
    }

    /// The endpoint's answer, or what went wrong in words that tell nothing of our network.
    async fn send(&self, claimed: &ClaimedDelivery) -> Result<Answer, String> {
        // The settings may have changed since it was made.
        let url = outside::check_url(&claimed.url, self.allow_private)?;
        let body = self.teller.body(&self.queue, claimed).await?.to_string();
        let request = self.client.post(url).header("content-type", "application/json");
        let signed = sign::headers(claimed.delivery.message(), now_s(), &body, &claimed.secrets);
        let request = signed.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.body(body).send().await.map_err(|error| outside::in_words(&error))?;
        let asked = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|asked| schedule::asked(asked, now_s()));
        Ok(Answer { status: answer.status(), retry_after })
    }
}

/// What an endpoint said.
struct Answer {
    status: StatusCode,
    /// For how long it wishes to be left alone.
    retry_after: Option<Duration>,
}

/// What is wrong with the addresses that jobs name themselves. `prefix` gives what stands before the pointers of
/// a job's fields.
pub(crate) fn faults(
    specs: &[JobSpec],
    allow_private: bool,
    prefix: impl Fn(usize) -> String,
) -> Vec<FieldError> {
    let named = specs.iter().enumerate().filter_map(|(index, spec)| Some((index, spec.webhook.as_deref()?)));
    let wrong = named.filter_map(|(index, url)| Some((index, outside::check_url(url, allow_private).err()?)));
    wrong
        .map(|(index, message)| FieldError {
            pointer: prefix(index) + "/webhook",
            code: "invalid_url",
            message,
        })
        .collect()
}

/// By this machine's clock: endpoints compare it with theirs.
fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(Uuid::new_v4().as_u128() as u32) / f64::from(u32::MAX)
}
