//! What endpoints are told.

use serde_json::{Value, json};
use uso_queue::{ClaimedDelivery, Delivery, Queue, WebhookShape};

use crate::replicate::Shape;
use crate::routes::JobLinks;

/// Writes messages. Their links lead to the API, and ask for a key there.
#[derive(Clone)]
pub(crate) struct Teller {
    /// Where clients reach the API; empty if nobody knows, and links are then without it.
    origin: String,
    shape: Shape,
}

impl Teller {
    pub(crate) fn new(origin: Option<&str>, shape: Shape) -> Self {
        Self { origin: origin.unwrap_or_default().to_owned(), shape }
    }

    /// The body of a message, the same for all attempts; of a prediction whose record's time is over, what is
    /// still known.
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
