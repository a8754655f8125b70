//! Inspects the queue: counts, jobs, workers, faults.

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::{Value, json};
use uso_queue::{JobId, JobPage, JobView, ListFilter, Stats, TenantView, WorkerReport};

use super::Operator;
use super::print::{Table, age, or_none, time};
use crate::args::ListArgs;

/// Fields that are shown first, in this order.
const FIRST: [&str; 10] =
    ["id", "state", "tenant", "class", "attempt", "step", "of", "submitted_ms", "started_ms", "finished_ms"];

const WORKER_HEADS: [&str; 13] = [
    "worker",
    "last seen",
    "state",
    "at",
    "device",
    "model",
    "jobs",
    "classes",
    "step",
    "free",
    "cache",
    "version",
    "plan",
];

const GIB: f64 = (1u64 << 30) as f64;

#[derive(Serialize)]
struct StatsDocument<'a> {
    #[serde(flatten)]
    stats: Stats,
    tenants: &'a [TenantView],
}

#[derive(Serialize)]
struct WorkerDocument {
    name: String,
    seen_ms: u64,
    #[serde(flatten)]
    report: WorkerReport,
}

impl Operator {
    pub(super) async fn stats(&self) -> anyhow::Result<()> {
        let (stats, tenants) = (self.queue.stats().await?, self.queue.tenants().await?);
        let mut text = classes(&stats).to_string();
        text.push_str(&format!("\ndead letters: {}\n", stats.dead));
        text.push_str(&format!("batch operations in progress: {}\n", stats.sweeps));
        if !tenants.is_empty() {
            text.push_str(&format!("\n{}", tenant_table(&tenants)));
        }
        self.answer(&StatsDocument { stats, tenants: &tenants }, &text)
    }

    pub(super) async fn list(&self, args: ListArgs) -> anyhow::Result<()> {
        let batch = match &args.batch {
            Some(batch) => Some(self.batch(batch).await?.id),
            None => None,
        };
        let ListArgs { state, tenant, class, limit, .. } = args;
        let filter = ListFilter { tenant, state, class, batch, enough: limit, after: None };
        let mut page = self.pages(filter).await?;
        let more = page.next.is_some() || page.jobs.len() > limit;
        page.jobs.truncate(limit);
        page.jobs.sort_by_key(|job| (job.submitted_ms, job.id));
        let jobs = &page.jobs;
        let mut text = job_table(jobs, self.queue.now_ms().await?).to_string();
        if more {
            text.push_str(&format!("there are more than {} jobs; raise --limit to see more\n", jobs.len()));
        }
        for id in &page.unreadable {
            text.push_str(&format!("the record of job {id} cannot be read\n"));
        }
        self.answer(&json!({ "jobs": jobs, "more": more, "unreadable": page.unreadable }), &text)
    }

    /// Reads pages until there are enough jobs: the newest of a tenant first, or the oldest of the whole queue.
    async fn pages(&self, mut filter: ListFilter) -> anyhow::Result<JobPage> {
        let mut all = JobPage::default();
        loop {
            let page = self.queue.list(&filter).await?;
            all.jobs.extend(page.jobs);
            all.unreadable.extend(page.unreadable);
            all.next = page.next;
            if filter.tenant.is_none() {
                all.jobs.sort_by_key(|job| (job.submitted_ms, job.id));
                all.jobs.dedup_by_key(|job| job.id);
            }
            filter.after = page.next;
            if page.next.is_none() || all.jobs.len() > filter.enough {
                all.unreadable.sort();
                all.unreadable.dedup();
                return Ok(all);
            }
        }
    }

    pub(super) async fn show(&self, id: &str) -> anyhow::Result<()> {
        let id: JobId = id.parse()?;
        let view = self.queue.view(&id).await?;
        let view = view.with_context(|| super::no_such_job(&id))?;
        self.answer(&view, &everything(&view)?.to_string())
    }

    pub(super) async fn workers(&self) -> anyhow::Result<()> {
        let (now, workers) = (self.queue.now_ms().await?, self.queue.workers().await?);
        let mut table = Table::new(&WORKER_HEADS);
        let mut documents = Vec::new();
        for (name, seen_ms, report) in workers {
            table.row(worker_row(&name, &age(now, seen_ms), &report));
            documents.push(WorkerDocument { name, seen_ms, report });
        }
        let text = if documents.is_empty() { "no worker reported lately".into() } else { table.to_string() };
        self.answer(&documents, &text)
    }

    pub(super) async fn audit(&self) -> anyhow::Result<()> {
        let audit = self.queue.audit().await?;
        let mut text = String::new();
        for fault in &audit.faults {
            let job = fault.job.map(|id| format!("job {id} ")).unwrap_or_default();
            text.push_str(&super::print::safe(&format!("{job}{}", fault.what)));
            text.push('\n');
        }
        if audit.faults.is_empty() {
            text = format!("{} jobs, no faults", audit.jobs);
        }
        self.answer(&audit, &text)?;
        if !audit.faults.is_empty() {
            bail!("{} jobs, {} faults", audit.jobs, audit.faults.len());
        }
        Ok(())
    }
}

fn worker_row(name: &str, seen: &str, report: &WorkerReport) -> [String; WORKER_HEADS.len()] {
    let scripted = if report.scripted { "scripted" } else { "" };
    let weights: String = report.fingerprint.chars().take(8).collect();
    let model = [&report.model, &report.precision, &weights, scripted];
    let model: Vec<&str> = model.into_iter().filter(|part| !part.is_empty()).collect();
    let classes: Vec<&str> = report.classes.iter().map(|class| class.as_str()).collect();
    [
        name.to_owned(),
        format!("{seen} ago"),
        report.state.as_str().to_owned(),
        format!("{}:{}", report.host, report.pid),
        report.device.clone(),
        model.join(" "),
        format!("{}/{}", report.running, report.slots),
        or_dash(Some(classes.join(",")).filter(|classes| !classes.is_empty())),
        or_dash(report.step_ms.map(|ms| format!("{ms:.0}ms"))),
        or_dash(report.free_memory.map(|bytes| format!("{:.1}GiB", bytes as f64 / GIB))),
        or_dash(report.cache_hit_rate.map(|rate| format!("{:.0}%", rate * 100.0))),
        or_dash(Some(report.version.clone()).filter(|version| !version.is_empty())),
        or_dash(report.plan.clone()),
    ]
}

/// The text, or a dash for what a worker does not report.
fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

fn classes(stats: &Stats) -> Table {
    let mut table = Table::new(&["class", "queued", "running", "delayed", "too big", "paused"]);
    for (class, depth) in [("interactive", stats.interactive), ("bulk", stats.bulk)] {
        let numbers =
            [depth.queued, depth.running, depth.delayed, depth.too_big].map(|jobs| jobs.to_string());
        table.row([&[class.to_owned()], &numbers[..], &[yes(depth.paused)]].concat());
    }
    table
}

pub(super) fn tenant_table(tenants: &[TenantView]) -> Table {
    let mut table = Table::new(&[
        "tenant",
        "queued",
        "running",
        "weight",
        "max queued",
        "max running",
        "per second",
        "burst",
        "max stored",
        "paused",
    ]);
    for TenantView { name, queued, running, limits, paused } in tenants {
        table.row([
            name.clone(),
            queued.to_string(),
            running.to_string(),
            limits.weight.to_string(),
            or_none(limits.max_queued),
            or_none(limits.max_running),
            or_none(limits.per_second),
            or_none(limits.burst),
            or_none(limits.max_stored),
            yes(*paused),
        ]);
    }
    table
}

fn job_table(jobs: &[JobView], now_ms: u64) -> Table {
    let mut table = Table::new(&["job", "state", "class", "priority", "tenant", "attempt", "step", "age"]);
    for job in jobs {
        table.row([
            job.id.to_string(),
            job.state.as_str().into(),
            job.class.as_str().into(),
            job.spec.priority.to_string(),
            job.tenant.clone(),
            job.attempt.to_string(),
            format!("{}/{}", job.step, if job.of == 0 { job.spec.steps } else { job.of }),
            age(now_ms, job.submitted_ms),
        ]);
    }
    table
}

/// All fields of a job that are set, one per line. New fields are shown without a change here.
fn everything(view: &JobView) -> anyhow::Result<Table> {
    let Value::Object(mut fields) = serde_json::to_value(view)? else { bail!("a job is not an object") };
    let mut table = Table::bare();
    let first = FIRST.into_iter().filter_map(|name| Some((name.to_owned(), fields.remove(name)?)));
    let first: Vec<_> = first.collect();
    for (name, value) in first.into_iter().chain(fields) {
        match value {
            Value::Object(parts) => {
                for (part, value) in parts {
                    line(&mut table, &format!("{name}.{part}"), &value);
                }
            }
            value => line(&mut table, &name, &value),
        }
    }
    Ok(table)
}

fn line(table: &mut Table, name: &str, value: &Value) {
    let text = match value {
        Value::Null => return,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match name.strip_suffix("_ms").zip(value.as_u64()) {
        Some((name, ms)) => table.row([name, &time(ms)]),
        None => table.row([name, &text]),
    }
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}
