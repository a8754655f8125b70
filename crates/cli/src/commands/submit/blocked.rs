//! What keeps a job waiting although there are workers.

use std::io::Write as _;
use std::pin::pin;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::client::Client;
use crate::commands::print::safe;

/// How often it asks.
const EVERY: Duration = Duration::from_secs(5);

/// Awaits the end of a job, and meanwhile says on stderr what it lacks, and again when that changes.
pub(super) async fn said_during<T>(
    ended: impl Future<Output = T>,
    client: &Client,
    id: &str,
    bar: &ProgressBar,
) -> T {
    let mut ended = pin!(ended);
    let mut told = Told::default();
    loop {
        let look = async {
            told.look(client, id, bar).await;
            tokio::time::sleep(EVERY).await;
        };
        tokio::select! {
            ended = &mut ended => return ended,
            () = look => {}
        }
    }
}

/// What was said last.
#[derive(Default)]
struct Told(Option<String>);

impl Told {
    async fn look(&mut self, client: &Client, id: &str, bar: &ProgressBar) {
        // Whoever follows the job's events says that the API is away.
        if let Ok(view) = client.view(id).await
            && let Some(reason) = self.news(&view)
        {
            bar.suspend(|| {
                // A closed stderr must not cost the picture.
                let _ = writeln!(std::io::stderr(), "uso: your job waits: {reason}");
            });
        }
    }

    /// What to say of a job, if it is not what was said last.
    fn news(&mut self, view: &Value) -> Option<String> {
        let now = reason(&view["blocked"]);
        if now == self.0 {
            return None;
        }
        self.0.clone_from(&now);
        now
    }
}

/// Why no worker takes the job; none if one may.
fn reason(blocked: &Value) -> Option<String> {
    let names = |field: &str| {
        let names: Vec<&str> = blocked[field].as_array()?.iter().filter_map(Value::as_str).collect();
        Some(safe(&names.join(" and ")))
    };
    if let Some(scorers) = names("scorers") {
        return Some(format!("no running worker has the scorer {scorers}"));
    }
    if let Some(loras) = names("loras") {
        return Some(format!("no running worker has the LoRA {loras}"));
    }
    let gib = |field: &str| Some(blocked[field].as_u64()? as f64 / (1u64 << 30) as f64);
    let (need, best) = (gib("need")?, gib("best")?);
    Some(format!("it needs {need:.1} GiB of memory, and no running worker has more than {best:.1} GiB free"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_reason_is_said_once() {
        let mut told = Told::default();
        let mut news = |blocked: Value| told.news(&json!({ "state": "queued", "blocked": blocked }));
        let ink = json!({ "loras": ["ink", "oil\u{1b}"] });
        let said = Some("no running worker has the LoRA ink and oil\\u{1b}".to_owned());
        assert_eq!(news(Value::Null), None);
        assert_eq!(news(ink.clone()), said);
        assert_eq!(news(ink.clone()), None);
        let scorers = json!({ "scorers": ["clip"], "loras": ["ink"] });
        assert_eq!(news(scorers).unwrap(), "no running worker has the scorer clip");
        let memory = news(json!({ "need": 3u64 << 29, "best": 1u64 << 30 })).unwrap();
        assert_eq!(memory, "it needs 1.5 GiB of memory, and no running worker has more than 1.0 GiB free");
        assert_eq!(news(Value::Null), None);
        assert_eq!(news(ink), said, "it waits again");
    }
}
