//! What the API tells about a data set, as this program uses it.

use serde_json::Value;

/// Where a data set is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DatasetState {
    pub(super) name: String,
    /// Rows that were added.
    pub(super) rows: u64,
    /// Of those, how many may be queued.
    pub(super) started: u64,
    /// The next row to be queued, if the API tells.
    next_row: Option<u64>,
    /// Rows that were queued at least once, if the API tells.
    queued_once: Option<u64>,
    pub(super) queued: u64,
    pub(super) running: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) canceled: u64,
    pub(super) expired: u64,
    /// Ended rows that are in no segment yet.
    waiting: u64,
    pub(super) shards: u64,
    pub(super) packed: u64,
    /// Shards that the index tells of, if the API tells.
    described: Option<u64>,
    /// Pictures in the shard that takes rows.
    open_rows: u64,
    pub(super) pass: u64,
    pub(super) spent_ms: u64,
    /// The reason for which rows have failed that are looked for, to be made again.
    retrying: Option<String>,
    /// Why no rows are queued.
    pub(super) held: Option<String>,
}

impl DatasetState {
    /// None for a batch that is no data set.
    pub(super) fn read(batch: &Value) -> Option<Self> {
        let (dataset, counts) = (&batch["dataset"], &batch["counts"]);
        let number = |of: &Value, name: &str| of[name].as_u64().unwrap_or(0);
        Some(Self {
            name: dataset["name"].as_str()?.to_owned(),
            rows: number(dataset, "rows"),
            started: number(dataset, "started"),
            next_row: dataset["next_row"].as_u64(),
            queued_once: dataset["queued_once"].as_u64(),
            queued: number(counts, "queued"),
            running: number(counts, "running"),
            succeeded: number(counts, "succeeded"),
            failed: number(counts, "failed"),
            canceled: number(counts, "canceled"),
            expired: number(counts, "expired"),
            waiting: number(dataset, "waiting"),
            shards: number(dataset, "shards"),
            packed: number(dataset, "packed"),
            described: dataset["described"].as_u64(),
            open_rows: number(dataset, "open_rows"),
            pass: number(dataset, "pass"),
            spent_ms: number(dataset, "spent_ms"),
            retrying: dataset["retrying"].as_str().map(str::to_owned),
            held: dataset["held"].as_str().map(str::to_owned),
        })
    }

    /// Rows that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.canceled + self.expired
    }

    fn is_canceled(&self) -> bool {
        self.held.as_deref() == Some("canceled")
    }

    /// Rows that a canceled data set never began.
    pub(super) fn never_begun(&self) -> u64 {
        let queued_once = self.queued_once.filter(|_| self.is_canceled());
        queued_once.map_or(0, |queued| self.rows.saturating_sub(queued))
    }

    /// Whether nothing is left to do: all started rows have ended, all shards are packed and described.
    pub(super) fn is_finished(&self) -> bool {
        let all_queued =
            self.ended() >= self.started && self.next_row.is_none_or(|next| next >= self.started);
        self.started > 0
            && self.retrying.is_none()
            && (self.is_canceled() || all_queued)
            && self.queued + self.running + self.waiting + self.open_rows == 0
            && self.packed == self.shards
            && self.described.is_none_or(|described| described == self.packed)
    }

    /// What it does now, or what holds it.
    pub(super) fn doing(&self) -> String {
        if self.is_finished() {
            let canceled = "canceled: `uso batch retry-failed` goes on with it";
            return if self.is_canceled() { canceled } else { "finished" }.to_owned();
        }
        match self.held.as_deref() {
            Some("paused") => return "paused: `uso batch resume` goes on".to_owned(),
            Some("canceled") => return "canceled; packing what is there".to_owned(),
            Some("budget_pictures" | "budget_seconds") => {
                return "held by its budget: `uso batch budget` changes it".to_owned();
            }
            Some("window") => {
                return "waiting for the nightly window: `uso queue window` shows it".to_owned();
            }
            Some(other) => return format!("held: {other}"),
            None => {}
        }
        if let Some(code) = &self.retrying {
            return format!("looking for rows that have failed with {code}");
        }
        match (self.started, self.ended() >= self.started) {
            (0, _) => "not started: `uso batch create` goes on".to_owned(),
            (_, true) => "packing".to_owned(),
            (_, false) if self.running == 0 => "waiting for workers".to_owned(),
            (_, false) => "running".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(dataset: Value, counts: Value) -> DatasetState {
        let mut all = json!({ "name": "a", "rows": 10, "started": 10 });
        all.as_object_mut().unwrap().extend(dataset.as_object().unwrap().clone());
        DatasetState::read(&json!({ "id": "0-a", "counts": counts, "dataset": all })).unwrap()
    }

    #[test]
    fn it_is_finished_when_all_is_packed_and_described() {
        let ended = || json!({ "succeeded": 8, "failed": 2 });
        let finished = |dataset| state(dataset, ended()).is_finished();
        assert!(finished(json!({ "shards": 2, "packed": 2, "described": 2, "next_row": 10 })));
        assert!(finished(json!({ "shards": 2, "packed": 2 })));
        for missing in [
            json!({ "shards": 2, "packed": 1 }),
            json!({ "shards": 2, "packed": 2, "described": 1 }),
            json!({ "shards": 2, "packed": 2, "open_rows": 3 }),
            json!({ "shards": 2, "packed": 2, "waiting": 3 }),
            json!({ "shards": 2, "packed": 2, "next_row": 4 }),
            json!({ "started": 0 }),
            json!({ "retrying": "below_threshold" }),
        ] {
            assert!(!finished(missing.clone()), "{missing}");
        }
        let running = json!({ "succeeded": 9, "running": 1 });
        assert_eq!(state(json!({}), running).doing(), "running");
        let canceled = json!({ "held": "canceled", "shards": 1, "packed": 1 });
        let canceled = state(canceled, json!({ "succeeded": 3, "canceled": 1 }));
        assert!(canceled.is_finished() && canceled.doing().starts_with("canceled"));
    }

    #[test]
    fn rows_that_were_never_begun_are_those_of_a_canceled_one() {
        let counts = || json!({ "succeeded": 3, "canceled": 1 });
        assert_eq!(state(json!({ "held": "canceled", "queued_once": 4 }), counts()).never_begun(), 6);
        assert_eq!(state(json!({ "queued_once": 4 }), counts()).never_begun(), 0, "they are yet to come");
    }

    #[test]
    fn what_holds_it_is_said() {
        let doing = |held: &str| state(json!({ "held": held }), json!({ "queued": 2 })).doing();
        assert!(doing("paused").contains("`uso batch resume`"));
        assert!(doing("budget_pictures").contains("`uso batch budget`"));
        assert!(doing("window").contains("`uso queue window`"));
        assert_eq!(state(json!({}), json!({ "queued": 2 })).doing(), "waiting for workers");
        assert!(DatasetState::read(&json!({ "id": "0-a", "dataset": null })).is_none());
    }
}
