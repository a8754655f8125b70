//! Requests that are repeated with their idempotency key get the answer of the first, before anything else is
//! checked.

use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uso_queue::{JobId, JobSpec, MAX_KEY, Rejection};

use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;

/// A request's idempotency key and digest.
pub(crate) struct RequestKey {
    pub(crate) key: Option<String>,
    /// SHA-256 of what the client sent.
    pub(crate) digest: [u8; 32],
}

impl RequestKey {
    pub(crate) fn new(headers: &HeaderMap, body: &Value) -> Result<Self, Problem> {
        Ok(Self { key: idempotency_key(headers)?, digest: Sha256::digest(body.to_string()).into() })
    }

    /// The job that this request made before, if it did; `spec` is what the request asks for now, if it is valid.
    ///
    /// # Errors
    /// A refusal if its key was used for another request.
    pub(crate) async fn job(
        &self,
        shared: &Shared,
        caller: &Caller,
        spec: impl FnOnce() -> Option<JobSpec>,
    ) -> Result<Option<JobId>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some(earlier) = shared.queue.earlier_job(&caller.tenant, key).await? else { return Ok(None) };
        if earlier.is_of(&self.digest, spec)? {
            return Ok(Some(earlier.id));
        }
        Err(Rejection::KeyReused { index: 0, earlier: earlier.id }.into())
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) && !key.contains('\t') => Ok(Some(key.to_owned())),
        _ => {
            let detail = format!("Idempotency-Key takes 1 to {MAX_KEY} visible ASCII characters");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", detail))
        }
    }
}
