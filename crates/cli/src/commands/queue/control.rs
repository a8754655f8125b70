//! Controls jobs, batches, classes and tenants.

use anyhow::{Context as _, bail};
use serde_json::json;
use uso_queue::{
    BatchId, BatchOperation, BatchView, Canceled, JobId, Limits, Retried, Scope, TenantView, Window,
};

use super::inspect::tenant_table;
use super::print::safe;
use super::{Operator, no_such_job};
use crate::args::{LimitsArgs, ScopeArgs, WhichArgs, WindowArgs};

impl Operator {
    pub(super) async fn cancel(&self, which: WhichArgs) -> anyhow::Result<()> {
        let Some(id) = which.id else { return self.control_batch(which.batch, BatchOperation::Cancel).await };
        let id: JobId = id.parse()?;
        match self.queue.cancel(&id).await?.with_context(|| no_such_job(&id))? {
            Canceled::Done => {
                self.answer(&json!({ "id": id, "state": "canceled" }), &format!("job {id} is canceled"))
            }
            Canceled::Ended(state) => bail!("job {id} has {} already and cannot be canceled", state.as_str()),
        }
    }

    pub(super) async fn retry(&self, which: WhichArgs) -> anyhow::Result<()> {
        let Some(id) = which.id else {
            return self.control_batch(which.batch, BatchOperation::RetryFailed).await;
        };
        let id: JobId = id.parse()?;
        let retried = self.queue.retry(&id).await?.with_context(|| no_such_job(&id))?;
        self.retried(&format!("job {id}"), retried)
    }

    /// Prints the outcome of a retry of a job or a dead letter.
    pub(super) fn retried(&self, what: &str, retried: Retried) -> anyhow::Result<()> {
        match retried {
            Retried::As(new) => {
                self.answer(&json!({ "id": new }), &format!("{what} is retried as job {new}"))
            }
            Retried::Unfinished => bail!("{what} has not ended and cannot be retried"),
            Retried::NoJob => bail!("{what} holds no job to retry"),
        }
    }

    pub(super) async fn set_paused(&self, scope: ScopeArgs, paused: bool) -> anyhow::Result<()> {
        let (kind, name, of) = match (&scope.class, &scope.tenant) {
            (Some(class), _) => ("class", class.as_str(), Scope::Class(*class)),
            (None, Some(tenant)) => ("tenant", tenant.as_str(), Scope::Tenant(tenant)),
            (None, None) => {
                let operation = if paused { BatchOperation::Pause } else { BatchOperation::Resume };
                return self.control_batch(scope.batch, operation).await;
            }
        };
        self.queue.set_paused(of, paused).await?;
        let text = format!("{kind} {name} {}", if paused { "is paused" } else { "is resumed" });
        self.answer(&json!({ kind: name, "paused": paused }), &text)
    }

    /// Applies an operation to all jobs of a batch and prints the batch.
    async fn control_batch(&self, id: Option<String>, operation: BatchOperation) -> anyhow::Result<()> {
        let id = self.batch(&id.context("no job or batch is given")?).await?.id;
        if !self.queue.control_batch(&id, operation).await? {
            bail!(no_such_batch(&id));
        }
        let view = self.queue.batch(&id).await?.with_context(|| no_such_batch(&id))?;
        self.answer(&view, &describe(&view))
    }

    pub(super) async fn batch(&self, id: &str) -> anyhow::Result<BatchView> {
        let id: BatchId = id.parse()?;
        self.queue.batch(&id).await?.with_context(|| no_such_batch(&id))
    }

    pub(super) async fn limits(&self, args: LimitsArgs) -> anyhow::Result<()> {
        let before = self.tenant(&args.tenant).await?;
        let limits = args.changes.apply(&before.limits);
        let tenant = args.tenant;
        if limits != before.limits {
            self.queue.set_limits(&tenant, &limits).await?;
        }
        let view = self.tenant(&tenant).await?;
        self.answer(&view, &tenant_table(std::slice::from_ref(&view)).to_string())
    }

    pub(super) async fn window(&self, args: WindowArgs) -> anyhow::Result<()> {
        if let (Some(opens), Some(closes), Some(zone)) = (args.opens, args.closes, args.zone) {
            self.queue.set_window(Some(&Window { opens, closes, zone, fill: args.fill })).await?;
        } else if args.always {
            self.queue.set_window(None).await?;
        }
        let view = self.queue.window().await?;
        let text = view.as_ref().map_or_else(
            || "bulk work may start at any time".into(),
            |view| {
                let Window { opens, closes, zone, fill } = &view.window;
                let fill = if *fill { ", and at other times while no interactive work waits" } else { "" };
                let (from, to) = (view.next_opens, view.next_closes);
                format!(
                    "bulk work may start from {opens} to {closes} in {}{fill}; next from {from} to {to}",
                    safe(zone)
                )
            },
        );
        self.answer(&view, &text)
    }

    /// A tenant; an unknown one has no jobs and no limits.
    async fn tenant(&self, name: &str) -> anyhow::Result<TenantView> {
        let known = self.queue.tenants().await?.into_iter().find(|tenant| tenant.name == name);
        Ok(known.unwrap_or_else(|| TenantView {
            name: name.to_owned(),
            queued: 0,
            running: 0,
            limits: Limits::default(),
            paused: false,
        }))
    }
}

fn no_such_batch(id: &BatchId) -> String {
    format!("there is no batch {id}, or it has expired")
}

fn describe(view: &BatchView) -> String {
    let counts = &view.counts;
    let mut text = format!(
        "batch {} of {}: {} jobs; {} queued, {} running, {} succeeded, {} failed, {} canceled, {} expired",
        view.id,
        safe(&view.tenant),
        counts.total,
        counts.queued,
        counts.running,
        counts.succeeded,
        counts.failed,
        counts.canceled,
        counts.expired,
    );
    for (is, word) in [(view.paused, "; paused"), (view.canceled, "; canceled")] {
        text.push_str(if is { word } else { "" });
    }
    text
}
