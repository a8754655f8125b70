//! Webhooks: endpoints of tenants that are notified when a job ends, and deliveries to them.
//!
//! The call that ends a job writes a delivery for each endpoint that asks for it, so none is forgotten. Any
//! process may [claim](crate::Queue::claim_delivery) one that is due; if it dies, the delivery is due again after a while.

mod deliveries;
mod endpoints;

pub use deliveries::{Attempt, ClaimedDelivery, Delivery, Next, WebhookShape};
pub use endpoints::{DEFAULT_WEBHOOK, Webhook, WebhookSecret};
