//! The payloads of webhooks.

use serde_json::{Value, json};
use uso_queue::{ClaimedDelivery, Delivery, Queue, WebhookShape};

use crate::job_links::JobLinks;
use crate::replicate::shape::Shape;

/// Makes payloads. Their links lead to the API, where they need a key.
#[derive(Clone)]
pub(crate) struct Payloads {
    /// Where clients reach the API; empty if that is unknown, and links are then paths alone.
    origin: String,
    shape: Shape,
}

impl Payloads {
    pub(crate) fn new(origin: Option<&str>, shape: Shape) -> Self {
        Self { origin: origin.unwrap_or_default().to_owned(), shape }
    }

    /// The body of a delivery, the same for all attempts; of a prediction whose record has expired, what is still
    /// known.
    pub(super) async fn body(&self, queue: &Queue, claimed: &ClaimedDelivery) -> Result<Value, String> {
        if claimed.shape == WebhookShape::Prediction {
            let view = queue.view(&claimed.delivery.job).await;
            let view = view.map_err(|_| "the job's record could not be read".to_owned())?;
            if let Some(view) = view {
                return Ok(json!(self.shape.prediction(&view, &self.origin)));
            }
        }
        Ok(self.job(&claimed.delivery))
    }

    fn job(&self, delivery: &Delivery) -> Value {
        let Delivery { job, state, made_ms, .. } = delivery;
        let links = JobLinks::at(&self.origin, job);
        json!({
            "type": format!("job.{}", state.as_str()),
            "timestamp": made_ms,
            "data": { "id": job, "state": state, "links": links },
        })
    }
}
