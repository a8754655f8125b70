//! `uso batch pause`, `resume`, `cancel`, `retry-failed` and `budget`.

use anyhow::bail;
use serde_json::{Value, json};

use super::Batches;
use super::list::describe;
use crate::args::{BudgetArgs, Limit, RetryFailedArgs};

impl Batches {
    /// Asks for something that changes the whole batch, and prints the batch.
    pub(super) async fn control(&self, batch: &str, operation: &str) -> anyhow::Result<()> {
        let id = self.id(batch).await?;
        self.client.post(&format!("/v1/batches/{id}/{operation}"), &json!({})).await?;
        self.print(&id).await
    }

    /// Has failed rows made again: all, or those with one reason.
    pub(super) async fn retry_failed(&self, args: &RetryFailedArgs) -> anyhow::Result<()> {
        let operation = match &args.reason {
            Some(code) if !is_code(code) => {
                bail!("{code:?} is no code of a failure, such as below_threshold")
            }
            Some(code) => format!("retry-failed?reason={code}"),
            None => "retry-failed".to_owned(),
        };
        self.control(&args.which.batch, &operation).await
    }

    pub(super) async fn budget(&self, args: BudgetArgs) -> anyhow::Result<()> {
        let id = self.id(&args.which.batch).await?;
        if args.max_pictures.is_some() || args.max_device_seconds.is_some() {
            let view = self.view(&id).await?;
            let budget = changed(&view["dataset"]["budget"], args.max_pictures, args.max_device_seconds);
            self.client.put(&format!("/v1/batches/{id}/budget"), &budget).await?;
        }
        self.print(&id).await
    }

    async fn print(&self, id: &str) -> anyhow::Result<()> {
        let view = self.view(id).await?;
        self.answer(&view, &describe(&view)?)
    }
}

/// Whether failures may have such a code.
fn is_code(text: &str) -> bool {
    let is_of_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(is_of_code)
}

/// A budget with the limits that were given; the others stay.
fn changed(budget: &Value, pictures: Option<Limit<u64>>, seconds: Option<Limit<u64>>) -> Value {
    let limit =
        |given: Option<Limit<u64>>, name: &str| given.map_or(budget[name].clone(), |limit| json!(limit.0));
    json!({ "pictures": limit(pictures, "pictures"), "device_seconds": limit(seconds, "device_seconds") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_word() {
        assert!(is_code("below_threshold") && is_code("a1"));
        assert!(!is_code("") && !is_code("a&b=c") && !is_code("Not Found"));
    }

    #[test]
    fn limits_that_are_not_given_stay() {
        let budget = json!({ "pictures": 5, "device_seconds": 60 });
        assert_eq!(
            changed(&budget, Some(Limit(None)), None),
            json!({ "pictures": null, "device_seconds": 60 })
        );
        assert_eq!(
            changed(&budget, None, Some(Limit(Some(9)))),
            json!({ "pictures": 5, "device_seconds": 9 })
        );
    }
}
