//! The operator's command, straight at Redis: no API and no worker runs here.

use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use uso_local::PrivateRedis;
use uso_queue::{
    Backoff, BatchId, Class, Config, Defaults, Failure, JobId, JobSpec, Lease, Queue, Scope, State,
    Submission, WorkerId, WorkerReport, WorkerState,
};

use crate::process::binary;

/// Clears a terminal, rings, and turns the text around.
const HOSTILE: &str = "\u{1b}[2J\u{7}\u{9b}31m\u{202e}";

struct Operator {
    redis: PrivateRedis,
    queue: Queue,
    worker: WorkerId,
    folder: TempDir,
}

impl Operator {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = PrivateRedis::start(folder.path(), None).await.unwrap();
        let backoff = Backoff { base: std::time::Duration::ZERO, cap: std::time::Duration::ZERO };
        let queue = Queue::connect(Config { backoff, ..Config::new(redis.url()) }).await.unwrap();
        queue.migrate().await.unwrap();
        Self { redis, queue, worker: WorkerId::new(), folder }
    }

    async fn run(&self, args: &[&str]) -> Output {
        let output = Command::new(binary())
            .arg("queue")
            .args(args)
            .args(["--redis", &self.redis.url()])
            .output()
            .await
            .unwrap();
        for said in [&output.stdout, &output.stderr] {
            let said = std::str::from_utf8(said).unwrap();
            let bad = said.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(bad, None, "{args:?} said {said:?}");
        }
        output
    }

    /// What it says when it does what it is told.
    async fn says(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[args, &["--json"]].concat()).await).unwrap()
    }

    /// The one line with which it refuses.
    async fn refuses(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said.trim_end().strip_prefix("uso: ").unwrap().to_owned()
    }

    async fn submit(&self, tenant: &str, fields: Value) -> JobId {
        self.queue.submit(tenant, &spec(fields)).await.unwrap().id
    }

    async fn batch(&self, jobs: usize) -> (BatchId, Vec<JobId>) {
        let batch = self.queue.new_batch("tenant").unwrap();
        let spec = spec(json!({ "class": "bulk" }));
        let job = Submission { batch: Some(batch), ..(&spec).into() };
        let submitted = self.queue.submit_all("tenant", &vec![job; jobs]).await.unwrap();
        (batch, submitted.into_iter().map(|job| job.id).collect())
    }

    async fn claim(&self) -> Lease {
        self.queue.claim_one(&self.worker).await.unwrap().unwrap()
    }

    async fn state(&self, id: &JobId) -> State {
        self.queue.view(id).await.unwrap().unwrap().state
    }

    async fn raw(&self, words: &[&[u8]]) {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async::<redis::Value>(&mut connection).await.unwrap();
    }

    /// Makes a job's record something else.
    async fn plant(&self, id: &JobId, record: &[u8]) {
        self.raw(&[b"SET", &self.key(id), record]).await;
    }

    fn key(&self, id: &JobId) -> Vec<u8> {
        let text = id.to_string();
        let digits: String = text.split_once('-').unwrap().1.split('-').collect();
        let byte = |i: usize| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap();
        b"{uso:0}:j:".iter().copied().chain((0..16).map(byte)).collect()
    }
}

fn spec(fields: Value) -> JobSpec {
    JobSpec::parse(&fields, &Defaults::default()).unwrap()
}

fn failure(message: &str, retryable: bool) -> Failure {
    Failure { code: "broke".into(), message: message.into(), retryable, ..Failure::default() }
}

/// The words of the line that begins with a word.
fn line<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .into_iter()
        .find(|words| words.first() == Some(&first))
        .unwrap_or_else(|| panic!("no {first}: {text}"))
}

const UNKNOWN: &str = "0-0198a0b0-0000-7000-8000-000000000000";

#[tokio::test]
async fn stats_are_the_queues_own_numbers() {
    let operator = Operator::start().await;
    assert_eq!(line(&operator.says(&["stats"]).await, "bulk"), ["bulk", "0", "0", "0", "0", "no"]);
    for tenant in ["a", "a", "b"] {
        operator.submit(tenant, json!({ "class": "bulk" })).await;
    }
    operator.submit("b", json!({ "class": "bulk", "not_before": "2100-01-01T00:00:00Z" })).await;
    operator.submit("a", json!({})).await;
    operator.queue.set_paused(Scope::Class(Class::Bulk), true).await.unwrap();
    let _lease = operator.claim().await;
    let text = operator.says(&["stats"]).await;
    assert_eq!(line(&text, "interactive"), ["interactive", "0", "1", "0", "0", "no"]);
    assert_eq!(line(&text, "bulk"), ["bulk", "4", "0", "1", "0", "yes"]);
    assert_eq!(line(&text, "a"), ["a", "2", "1", "1", "none", "none", "none", "none", "none", "no"]);
    assert!(text.contains("dead letters: 0"), "{text}");
    let stats = operator.json(&["stats"]).await;
    let bulk = json!({ "queued": 4, "running": 0, "delayed": 1, "too_big": 0, "paused": true });
    assert_eq!((&stats["bulk"], &stats["dead"], &stats["sweeps"]), (&bulk, &json!(0), &json!(0)));
    let limits = json!(
        { "weight": 1.0, "max_queued": null, "max_running": null, "per_second": null, "burst": null, "max_stored": null }
    );
    let tenant = json!({ "name": "b", "queued": 2, "running": 0, "limits": limits, "paused": false });
    assert_eq!(stats["tenants"][1], tenant);
}

#[tokio::test]
async fn jobs_are_listed_by_what_they_have_in_common() {
    let operator = Operator::start().await;
    assert!(operator.says(&["list"]).await.starts_with("job "));
    let urgent = operator.submit("ours", json!({ "priority": 7 })).await;
    let (batch, members) = operator.batch(60).await;
    let lease = operator.claim().await;
    lease.progress(3, 25).await.unwrap();
    let text = operator.says(&["list", "--state", "running"]).await;
    assert_eq!(text.lines().count(), 2);
    let expected = [&urgent.to_string(), "running", "interactive", "7", "ours", "1", "3/25"];
    assert_eq!(line(&text, &urgent.to_string())[..7], expected);

    let text = operator.says(&["list"]).await;
    assert!(text.lines().count() == 52 && text.contains("more than 50 jobs"), "{text}");
    let waits = operator.says(&["list", "--batch", &batch.to_string(), "--limit", "1"]).await;
    assert_eq!(line(&waits, &members[0].to_string())[5..7], ["0", "0/25"]);
    let document = operator.json(&["list", "--batch", &batch.to_string(), "--limit", "60"]).await;
    let listed: Vec<&str> =
        document["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(listed, members.iter().map(JobId::to_string).collect::<Vec<_>>());
    assert_eq!((&document["more"], &document["unreadable"]), (&json!(false), &json!([])));
    for (args, jobs) in [
        (&["--tenant", "ours"][..], 1),
        (&["--tenant", "nobody"], 0),
        (&["--class", "interactive"], 1),
        (&["--class", "bulk", "--limit", "100"], 60),
        (&["--class", "bulk", "--state", "queued", "--limit", "3"], 3),
        (&["--state", "expired"], 0),
    ] {
        let document = operator.json(&[&["list"], args].concat()).await;
        assert_eq!(document["jobs"].as_array().unwrap().len(), jobs, "{args:?}");
    }

    operator.plant(&members[0], b"rubbish").await;
    let text = operator.says(&["list", "--limit", "100"]).await;
    assert!(text.contains(&format!("the record of job {} cannot be read", members[0])), "{text}");
    let unknown = operator.refuses(&["list", "--batch", UNKNOWN]).await;
    assert_eq!(unknown, format!("there is no batch {UNKNOWN}, or it has expired"));
    assert!(operator.refuses(&["list", "--tenant", "a b"]).await.contains("a tenant's name"));
}

#[tokio::test]
async fn a_job_is_shown_with_all_that_is_known_of_it_and_nothing_reaches_the_terminal() {
    let operator = Operator::start().await;
    let fields =
        json!({ "prompt": format!("a cat{HOSTILE}"), "metadata": { HOSTILE: [HOSTILE] }, "seed": 7 });
    let id = operator.submit("tenant", fields.clone()).await;
    let lease = operator.claim().await;
    lease.progress(2, 25).await.unwrap();
    lease.fail(&failure(HOSTILE, false)).await.unwrap();
    let text = operator.says(&["show", &id.to_string()]).await;
    assert_eq!(line(&text, "state"), ["state", "failed"]);
    assert_eq!(line(&text, "spec.prompt")[1..], ["a", r"cat\u{1b}[2J\u{7}\u{9b}31m\u{202e}"]);
    assert_eq!(line(&text, "spec.seed"), ["spec.seed", "7"]);
    assert!(line(&text, "submitted")[1].ends_with('Z'));
    for name in ["id", "tenant", "attempt", "error.code", "finished", "expires", "spec.metadata"] {
        line(&text, name);
    }
    let view = operator.json(&["show", &id.to_string()]).await;
    assert_eq!(view, serde_json::to_value(operator.queue.view(&id).await.unwrap()).unwrap());
    assert_eq!(view["spec"]["prompt"], fields["prompt"]);

    let unknown = operator.refuses(&["show", UNKNOWN]).await;
    assert_eq!(unknown, format!("there is no job {UNKNOWN}, or its record has expired"));
    assert_eq!(operator.refuses(&["show", "x\u{1b}[2J"]).await, r#""x\\u{1b}[2J" is not an id"#);
}

#[tokio::test]
async fn jobs_are_canceled_and_made_anew() {
    let operator = Operator::start().await;
    let id = operator.submit("tenant", json!({})).await;
    let text = id.to_string();
    let unfinished = format!("job {id} has not ended and cannot be retried");
    assert_eq!(operator.refuses(&["retry", &text]).await, unfinished);
    for _ in 0..2 {
        assert_eq!(operator.says(&["cancel", &text]).await, format!("job {id} is canceled\n"));
    }
    assert_eq!(operator.json(&["cancel", &text]).await, json!({ "id": id, "state": "canceled" }));

    let new: JobId = operator.json(&["retry", &text]).await["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(operator.queue.view(&new).await.unwrap().unwrap().retry_of, Some(id));
    assert_eq!(operator.says(&["retry", &text]).await, format!("job {id} is retried as job {new}\n"));
    operator.claim().await.fail(&failure("it broke", false)).await.unwrap();
    let ended = format!("job {new} has failed already and cannot be canceled");
    assert_eq!(operator.refuses(&["cancel", &new.to_string()]).await, ended);

    for command in ["cancel", "retry"] {
        let unknown = operator.refuses(&[command, UNKNOWN]).await;
        assert_eq!(unknown, format!("there is no job {UNKNOWN}, or its record has expired"));
        let unknown = operator.refuses(&[command, "--batch", UNKNOWN]).await;
        assert_eq!(unknown, format!("there is no batch {UNKNOWN}, or it has expired"));
        assert_eq!(operator.refuses(&[command, "nonsense"]).await, r#""nonsense" is not an id"#);
        for usage in [&[command][..], &[command, &text, "--batch", UNKNOWN]] {
            assert_eq!(operator.run(usage).await.status.code(), Some(2), "{usage:?}");
        }
    }
}

#[tokio::test]
async fn a_batch_is_paused_resumed_retried_and_canceled() {
    let operator = Operator::start().await;
    let (batch, members) = operator.batch(3).await;
    let batch = batch.to_string();
    operator.claim().await.fail(&failure("it broke", false)).await.unwrap();
    let text = operator.says(&["pause", "--batch", &batch]).await;
    let expected = format!(
        "batch {batch} of tenant: 3 jobs; 2 queued, 0 running, 0 succeeded, 1 failed, 0 canceled, 0 expired; paused\n"
    );
    assert_eq!(text, expected);
    assert!(operator.queue.claim_one(&operator.worker).await.unwrap().is_none());
    let view = operator.json(&["resume", "--batch", &batch]).await;
    assert_eq!((&view["id"], &view["paused"]), (&json!(batch), &json!(false)));
    assert_eq!(operator.claim().await.id, members[1]);
    let view = operator.json(&["retry", "--batch", &batch]).await;
    assert_eq!((&view["counts"]["queued"], &view["counts"]["failed"]), (&json!(2), &json!(0)));
    let text = operator.says(&["cancel", "--batch", &batch]).await;
    assert!(text.contains("3 canceled, 0 expired; canceled"), "{text}");
    assert_eq!(operator.state(&members[1]).await, State::Canceled);
}

#[tokio::test]
async fn classes_and_tenants_are_paused_and_go_on() {
    let operator = Operator::start().await;
    operator.submit("tenant", json!({ "class": "bulk" })).await;
    for (scope, name) in [("class", "bulk"), ("tenant", "tenant")] {
        let args = [&format!("--{scope}"), name];
        let paused = operator.says(&["pause", args[0], args[1]]).await;
        assert_eq!(paused, format!("{scope} {name} is paused\n"));
        assert!(operator.queue.claim_one(&operator.worker).await.unwrap().is_none());
        let resumed = operator.json(&["resume", args[0], args[1]]).await;
        assert_eq!(resumed, json!({ scope: name, "paused": false }));
        operator.claim().await.release().await.unwrap();
    }
    assert!(operator.refuses(&["pause", "--tenant", "a b"]).await.contains("a tenant's name"));
    for usage in
        [&["pause"][..], &["pause", "--class", "nightly"], &["resume", "--class", "bulk", "--tenant", "a"]]
    {
        assert_eq!(operator.run(usage).await.status.code(), Some(2), "{usage:?}");
    }
}

#[tokio::test]
async fn limits_are_shown_and_changed_one_by_one() {
    let operator = Operator::start().await;
    let text = operator.says(&["limits", "studio"]).await;
    assert_eq!(
        line(&text, "studio"),
        ["studio", "0", "0", "1", "none", "none", "none", "none", "none", "no"]
    );
    assert!(operator.queue.tenants().await.unwrap().is_empty(), "looking changes nothing");
    operator.says(&["limits", "studio", "--weight", "2.5", "--max-running", "4", "--per-second", "10"]).await;
    let text = operator.says(&["limits", "studio", "--max-queued", "100", "--burst", "20"]).await;
    assert_eq!(line(&text, "studio"), ["studio", "0", "0", "2.5", "100", "4", "10", "20", "none", "no"]);
    let view = operator.json(&["limits", "studio", "--max-running", "none"]).await;
    let limits = json!({ "weight": 2.5, "max_queued": 100, "max_running": null, "per_second": 10.0, "burst": 20.0, "max_stored": null });
    assert_eq!(view["limits"], limits);
    for bad in [["--weight", "0"], ["--weight", "nan"], ["--weight", "inf"], ["--max-queued", "-1"]] {
        let refused = operator.run(&["limits", "studio", &format!("{}={}", bad[0], bad[1])]).await;
        assert_eq!(refused.status.code(), Some(2), "{bad:?}");
    }
    assert!(operator.refuses(&["limits", "a b", "--weight", "2"]).await.contains("a tenant's name"));
}

#[tokio::test]
async fn dead_letters_are_listed_shown_tried_again_and_dropped() {
    let operator = Operator::start().await;
    assert_eq!(operator.says(&["dead", "list"]).await, "no dead letters\n");
    let id = operator.submit("tenant", json!({ "prompt": HOSTILE })).await;
    for _ in 0..3 {
        operator.claim().await.fail(&failure("it broke", true)).await.unwrap();
    }
    let rubbish = operator.submit("tenant", json!({})).await;
    operator.plant(&rubbish, HOSTILE.as_bytes()).await;
    assert!(operator.queue.claim_one(&operator.worker).await.unwrap().is_none());

    let letters = operator.json(&["dead", "list"]).await;
    let name = |i: usize| letters[i]["id"].as_str().unwrap();
    let text = operator.says(&["dead", "list"]).await;
    assert_eq!(line(&text, name(0))[1..4], ["broken", "record", &rubbish.to_string()]);
    assert_eq!((&letters[1]["reason"], &letters[1]["job"]), (&json!("attempts spent"), &json!(id)));
    let only = operator.json(&["dead", "list", "--limit", "1"]).await;
    assert_eq!(only, json!([letters[0]]));

    let file = operator.folder.path().join("raw");
    let text = operator.says(&["dead", "show", name(0), "--raw", file.to_str().unwrap()]).await;
    assert_eq!(line(&text, "reason"), ["reason", "broken", "record"]);
    assert!(text.contains("00000000  1b 5b 32 4a 07 c2 9b 33"), "{text}");
    assert_eq!(std::fs::read(&file).unwrap(), HOSTILE.as_bytes());
    let shown = operator.json(&["dead", "show", name(0)]).await;
    assert_eq!(shown["raw_hex"], "1b5b324a07c29b33316de280ae");
    assert_eq!(shown["bytes"], HOSTILE.len());
    operator.says(&["dead", "show", name(1)]).await;

    let hopeless = operator.refuses(&["dead", "retry", name(0)]).await;
    assert_eq!(hopeless, format!("dead letter {} holds no job to retry", name(0)));
    let new: JobId =
        operator.json(&["dead", "retry", name(1)]).await["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(operator.queue.view(&new).await.unwrap().unwrap().retry_of, Some(id));
    let dropped = format!("dead letter {} is dropped\n", name(0));
    assert_eq!(operator.says(&["dead", "drop", name(0)]).await, dropped);
    assert_eq!(operator.json(&["dead", "list"]).await, json!([]));
    for command in ["show", "retry", "drop"] {
        let gone = operator.refuses(&["dead", command, name(0)]).await;
        assert_eq!(gone, format!("there is no dead letter {}", name(0)));
        assert_eq!(operator.refuses(&["dead", command, "nonsense"]).await, r#""nonsense" is not an id"#);
    }
}

#[tokio::test]
async fn an_audit_finds_what_is_wrong_and_fails() {
    let operator = Operator::start().await;
    let gone = operator.submit("tenant", json!({})).await;
    let lost = operator.submit("tenant", json!({ "class": "bulk" })).await;
    let lease = operator.claim().await;
    assert_eq!(operator.says(&["audit"]).await, "2 jobs, no faults\n");
    assert_eq!(operator.json(&["audit"]).await, json!({ "jobs": 2, "faults": [] }));

    operator.raw(&[b"DEL", &operator.key(&gone)]).await;
    operator.raw(&[b"DEL", b"{uso:0}:backlog:bulk:tenant:0"]).await;
    operator.raw(&[b"HINCRBY", b"{uso:0}:counts", b"running:interactive:tenant", b"3"]).await;
    assert_eq!(lease.id, gone);
    let found = operator.run(&["audit"]).await;
    assert_eq!(found.status.code(), Some(1));
    let text = String::from_utf8(found.stdout).unwrap();
    for fault in [
        format!("job {gone} is at work or waits with no record"),
        format!("job {lost} waits in 0 places"),
        "shard 0 counts 4 running interactive jobs, but there are 1".to_owned(),
    ] {
        assert!(text.lines().any(|line| line == fault), "{fault}: {text}");
    }
    let faults = text.lines().count();
    let summary = format!("uso: 1 jobs, {faults} faults\n");
    assert_eq!(String::from_utf8(found.stderr).unwrap(), summary);
    let found = operator.run(&["audit", "--json"]).await;
    let document: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!((found.status.code(), &document["jobs"]), (Some(1), &json!(1)));
    let listed = document["faults"].as_array().unwrap();
    assert_eq!(listed.len(), faults);
    assert!(listed.contains(&json!({ "job": lost, "what": "waits in 0 places" })), "{document}");
}

#[tokio::test]
async fn workers_are_shown_with_what_they_say_of_themselves() {
    let operator = Operator::start().await;
    assert_eq!(operator.says(&["workers"]).await, "no worker reported lately\n");
    let report = WorkerReport {
        host: format!("box{HOSTILE}"),
        pid: 42,
        device: "cuda:0".into(),
        model: "flux".into(),
        precision: "bf16".into(),
        fingerprint: "0123456789abcdef".into(),
        state: WorkerState::Draining,
        slots: 2,
        running: 1,
        classes: Class::ALL.to_vec(),
        step_ms: Some(41.4),
        free_memory: Some(3 << 29),
        version: "0.1.0".into(),
        plan: Some("q8_0".into()),
        ..WorkerReport::default()
    };
    operator.queue.register(&operator.worker, &report).await.unwrap();
    let text = operator.says(&["workers"]).await;
    let words = line(&text, operator.worker.as_str());
    let at = r"box\u{1b}[2J\u{7}\u{9b}31m\u{202e}:42";
    let said = ["ago", "draining", at, "cuda:0", "flux", "bf16", "01234567", "1/2", "interactive,bulk"];
    assert_eq!(words[2..11], said);
    assert_eq!(words[11..], ["41ms", "1.5GiB", "-", "0.1.0", "q8_0"]);
    let workers = operator.json(&["workers"]).await;
    assert_eq!((&workers[0]["name"], &workers[0]["pid"]), (&json!(operator.worker.as_str()), &json!(42)));
    assert!(workers[0]["seen_ms"].is_u64() && workers[0]["host"] == report.host.as_str(), "{workers}");
}

#[tokio::test]
async fn redis_is_named_by_flag_or_environment_and_its_absence_is_said() {
    let run = |args: &[&str], url: Option<&str>| {
        let mut command = Command::new(binary());
        command.arg("queue").args(args).env_remove("USO_REDIS").envs(url.map(|url| ("USO_REDIS", url)));
        command.output()
    };
    let nowhere = run(&["stats"], None).await.unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("use --redis or set USO_REDIS"));
    let away = run(&["stats"], Some("redis://:secret@127.0.0.1:9")).await.unwrap();
    let said = String::from_utf8_lossy(&away.stderr);
    assert_eq!(away.status.code(), Some(1));
    assert!(said.starts_with("uso: redis is unreachable") && !said.contains("secret"), "{said}");
    let operator = Operator::start().await;
    let url = operator.redis.url();
    for (args, url) in [
        (&["stats"][..], Some(&*url)),
        (&["--redis", &url, "--json", "stats"], None),
        (&["stats", "--redis", &url], Some("redis://127.0.0.1:9")),
    ] {
        let output = run(args, url).await.unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

#[tokio::test]
async fn the_window_of_bulk_work_is_set_shown_and_removed() {
    let operator = Operator::start().await;
    assert_eq!(operator.json(&["window"]).await, Value::Null);
    let night = ["window", "--opens", "22:00", "--closes", "06:30", "--zone", "Europe/Berlin", "--fill"];
    let said = operator.says(&night).await;
    assert!(
        said.contains("from 22:00:00 to 06:30:00 in Europe/Berlin, and at other times while no"),
        "{said}"
    );
    let view = operator.json(&["window"]).await;
    assert_eq!((&view["opens"], &view["fill"]), (&json!("22:00:00"), &json!(true)));
    assert!(view["next_closes"].as_str() > view["next_opens"].as_str());
    let night = ["window", "--opens", "22:00", "--closes", "06:00", "--zone", "Europe/Atlantis"];
    let refused = operator.refuses(&night).await;
    assert!(refused.contains("Atlantis"), "{refused}");
    assert!(operator.says(&["window", "--always"]).await.contains("at any time"));
}
