//! What can be said to `uso keys`.

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Subcommand};
use uso_queue::KeyScope;

use super::{LimitChanges, RedisOptions};

#[derive(Args)]
pub(crate) struct KeysArgs {
    /// The queue's Redis 7 or newer.
    #[arg(long, global = true, env = "USO_REDIS", hide_env_values = true, value_name = "URL")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) options: RedisOptions,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and print it, this once.
    Create(CreateKeyArgs),
    /// All keys, without their secrets.
    List,
    /// Let a key open nothing any more, and end the sessions that it opened; within seconds everywhere.
    Revoke {
        /// The key, or its first part: what `list` shows.
        key: String,
    },
}

#[derive(Args)]
pub(crate) struct CreateKeyArgs {
    /// Whose jobs it submits and sees.
    pub(crate) tenant: String,
    /// What it allows: submit (and everything else that changes something), read, and admin (metrics, and
    /// what workers do for others); may be repeated.
    #[arg(long, value_delimiter = ',', default_value = "submit,read", value_name = "SCOPE",
        value_parser = PossibleValuesParser::new(KeyScope::ALL.map(KeyScope::as_str))
            .try_map(|word| serde_json::from_value::<KeyScope>(word.into())))]
    pub(crate) scope: Vec<KeyScope>,
    /// What it is for.
    #[arg(long, default_value = "")]
    pub(crate) note: String,
    /// Days after which it stops working; without it, it works until it is revoked.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: Option<u32>,
    /// Limits that the tenant gets with it, for all of its keys: the same as `uso queue limits` sets.
    #[command(flatten)]
    pub(crate) limits: LimitChanges,
}
