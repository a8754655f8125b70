//! Sends webhooks when jobs have ended, as Standard Webhooks says. One task in each process claims deliveries that are
//! due and sends several at once, but only a few to one endpoint and to the endpoints of one tenant, so that a slow
//! endpoint does not delay the others. It claims when a job has ended, when a delivery is done, and once a second
//! for retries.
//!
//! A payload holds no secret and no presigned URL: retries go on for days, and the endpoint's owner may pass payloads
//! on. A delivery that was interrupted is due again after a minute, so an endpoint may get an event twice, with
//! the same `webhook-id`.

pub(crate) mod payload;
mod schedule;
mod share;
pub(crate) mod sign;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, StatusCode, header};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uso_queue::{Attempt, ClaimedDelivery, DEFAULT_WEBHOOK, Delivery, FieldError, JobSpec, Next, Queue};
use uso_store::address_guard;

use payload::Payloads;
use share::Sending;

/// Longest time an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before the next claim when nothing is due.
const PAUSE: Duration = Duration::from_secs(1);
/// How long deliveries under way may go on when the process stops.
const GRACE: Duration = Duration::from_secs(5);

/// Sends deliveries.
#[derive(Clone)]
pub(crate) struct Notifier {
    queue: Queue,
    client: Client,
    allow_private: bool,
    payloads: Payloads,
    /// Notified when a delivery may be due.
    due: Arc<Notify>,
}

impl Notifier {
    /// `due` is notified when a delivery may be due.
    pub(crate) fn new(
        queue: Queue,
        allow_private: bool,
        payloads: Payloads,
        due: Arc<Notify>,
    ) -> reqwest::Result<Self> {
        let client = address_guard::client(allow_private, TIMEOUT)?;
        Ok(Self { queue, client, allow_private, payloads, due })
    }

    /// Sends deliveries until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut sending = Sending::default();
        while !stop.is_cancelled() {
            self.take(&mut sending).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = sending.ended(), if !sending.is_empty() => {}
                () = self.due.notified(), if sending.has_capacity() => {}
                () = tokio::time::sleep(PAUSE), if sending.has_capacity() => {}
            }
        }
        let last = async {
            while !sending.is_empty() {
                sending.ended().await;
            }
        };
        if tokio::time::timeout(GRACE, last).await.is_err() {
            sending.shutdown().await;
        }
    }

    /// Starts as many deliveries as are due and the limits allow.
    async fn take(&self, sending: &mut Sending) {
        for shard in self.queue.shards() {
            while sending.has_capacity() {
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

    /// Makes one attempt and records its result.
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
        let again = schedule::after(delivery.attempts + 1, fastrand::f64());
        let next = match answer {
            Ok(Answer { status, .. }) if status.is_success() => Next::Delivered,
            Ok(Answer { status: StatusCode::GONE, .. }) => Next::Failed,
            Ok(Answer { retry_after: Some(asked), .. }) => {
                again.map_or(Next::Failed, |again| Next::Pause(again.max(asked)))
            }
            _ => again.map_or(Next::Failed, Next::Again),
        };
        tracing::debug!(job.id = %delivery.job, webhook = delivery.webhook, ?status, ?next, took_ms, "sent a webhook");
        let attempt = Attempt { at_ms: 0, status, error, took_ms };
        if let Err(error) = self.settle(claimed, next, &attempt).await {
            // It is due again in a minute.
            tracing::warn!(%error, webhook = delivery.webhook, "the result of a delivery was not recorded");
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
        // What an address that one job named answers says nothing about other jobs' addresses.
        if counts && gone && webhook != DEFAULT_WEBHOOK {
            self.queue.switch_webhook(tenant, webhook, Some("it answered 410 Gone")).await?;
        }
        Ok(())
    }

    /// The endpoint's answer, or an error text that reveals nothing of our network.
    async fn send(&self, claimed: &ClaimedDelivery) -> Result<Answer, String> {
        // The settings may have changed since the delivery was created.
        let url = address_guard::check_url(&claimed.url, self.allow_private)?;
        let body = self.payloads.body(&self.queue, claimed).await?.to_string();
        let request = self.client.post(url).header("content-type", "application/json");
        let signed = sign::headers(claimed.delivery.message(), now_s(), &body, &claimed.secrets);
        let request = signed.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.body(body).send().await.map_err(|error| address_guard::describe(&error))?;
        let asked = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|asked| schedule::asked(asked, now_s()));
        Ok(Answer { status: answer.status(), retry_after })
    }
}

/// An endpoint's answer.
struct Answer {
    status: StatusCode,
    /// How long the endpoint asks us to wait.
    retry_after: Option<Duration>,
}

/// What is wrong with the webhook addresses that jobs name. `prefix` gives the JSON pointer of a job.
pub(crate) fn faults(
    specs: &[JobSpec],
    allow_private: bool,
    prefix: impl Fn(usize) -> String,
) -> Vec<FieldError> {
    let named = specs.iter().enumerate().filter_map(|(index, spec)| Some((index, spec.webhook.as_deref()?)));
    let wrong =
        named.filter_map(|(index, url)| Some((index, address_guard::check_url(url, allow_private).err()?)));
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
