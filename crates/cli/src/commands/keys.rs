//! Manages API keys directly in Redis: whoever can reach it may create them.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::json;
use uso_queue::{ApiKey, KeyView, NewKey, Queue};

use super::print::{self, Table};
use super::say;
use crate::args::{CreateKeyArgs, KeysArgs, KeysCommand};
use crate::causes::told;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn run(args: KeysArgs) -> anyhow::Result<()> {
    // Notes are text from others: nothing in them may reach the terminal as it is.
    manage(args).await.map_err(|error| anyhow!(print::safe(&told(&error))))
}

async fn manage(args: KeysArgs) -> anyhow::Result<()> {
    let url = args.redis.context("no Redis is given: use --redis or set USO_REDIS")?;
    let queue = Queue::connect(args.options.config(&url)).await?;
    match args.command {
        KeysCommand::Create(new) => create(&queue, new, args.json).await,
        KeysCommand::List => list(&queue, args.json).await,
        KeysCommand::Revoke { key } => revoke(&queue, &key, args.json).await,
    }
}

async fn create(queue: &Queue, args: CreateKeyArgs, as_json: bool) -> anyhow::Result<()> {
    let CreateKeyArgs { tenant, scope, note, days, limits } = args;
    let known = queue.tenants().await?.into_iter().find(|known| known.name == tenant);
    let before = known.map(|known| known.limits).unwrap_or_default();
    let limits = limits.apply(&before);
    if limits != before {
        queue.set_limits(&tenant, &limits).await?;
    }
    let life = days.map(|days| DAY * days);
    let new = NewKey { tenant: &tenant, scopes: &scope, note: &note, life };
    let (key, view) = queue.create_key(&new).await?;
    if as_json {
        let mut document = json!(view);
        document["key"] = key.expose().into();
        return say(&print::json(&document)?);
    }
    // The key is alone on stdout, so that a script can read it. The hint may go unread.
    let hint = format!("uso: key {} of tenant {tenant}; it is not shown again", view.prefix);
    let _ = writeln!(std::io::stderr(), "{hint}");
    say(&key.expose())
}

async fn list(queue: &Queue, as_json: bool) -> anyhow::Result<()> {
    let (keys, broken) = queue.keys().await?;
    if as_json {
        return say(&print::json(&json!({ "keys": keys, "unreadable": broken }))?);
    }
    if keys.is_empty() && broken.is_empty() {
        return say("no keys");
    }
    let now = queue.now_ms().await?;
    let mut table = Table::new(&["key", "tenant", "scopes", "created", "status", "note"]);
    for key in &keys {
        table.row(row(key, now));
    }
    let mut text = table.to_string();
    for prefix in broken {
        text.push_str(&format!("key {} cannot be read; revoke it to remove it\n", print::safe(&prefix)));
    }
    say(text.trim_end())
}

fn row(key: &KeyView, now: u64) -> [String; 6] {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let status = match (key.revoked_ms, key.expires_ms) {
        (Some(revoked), _) => format!("revoked {}", print::time(revoked)),
        (None, Some(expires)) if expires <= now => format!("expired {}", print::time(expires)),
        (None, Some(expires)) => format!("valid until {}", print::time(expires)),
        (None, None) => "valid".into(),
    };
    let created = print::time(key.created_ms);
    [key.prefix.clone(), key.tenant.clone(), scopes.join(","), created, status, key.note.clone()]
}

async fn revoke(queue: &Queue, key: &str, as_json: bool) -> anyhow::Result<()> {
    let whole = key.parse::<ApiKey>().ok();
    let prefix = whole.as_ref().map_or(key, ApiKey::prefix);
    let prefix = prefix.strip_prefix("uso_").unwrap_or(prefix);
    let revoked = queue.revoke_key(prefix).await?;
    let prefix = revoked.with_context(|| format!("there is no key {prefix}"))?;
    if as_json {
        return say(&print::json(&json!({ "prefix": prefix, "revoked": true }))?);
    }
    say(&format!("key {} is revoked", print::safe(&prefix)))
}
