//! Jobs that may have been submitted before. Every call here is safe to repeat.

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Client, Refused};

impl Client {
    /// Submits a job under an idempotency key; gives its id. The same job and key again give the same id, for a day.
    pub(crate) async fn submit_once(&self, job: &Value, key: &str) -> anyhow::Result<String> {
        let request = self.request(Method::POST, "/v1/jobs").header("Idempotency-Key", key);
        let accepted: Value = self.accepted(request.json(job).send().await).await?.json().await?;
        Ok(accepted["id"].as_str().context("the API's answer has no job id")?.to_owned())
    }

    /// A job as it is now; none if the fleet does not keep it any more.
    pub(crate) async fn kept_view(&self, id: &str) -> anyhow::Result<Option<Value>> {
        match self.view(id).await {
            Ok(view) => Ok(Some(view)),
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) if refused.is(StatusCode::NOT_FOUND, "") => Ok(None),
                _ => Err(error),
            },
        }
    }
}
