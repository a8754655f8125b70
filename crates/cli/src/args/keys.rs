//! Options of `uso keys`.

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{Args, Subcommand};
use uso_queue::KeyScope;

use super::{LimitChanges, RedisOptions};

#[derive(Args)]
pub(crate) struct KeysArgs {
    /// URL of the queue's Redis, version 7 or newer.
    #[arg(long, global = true, env = "USO_REDIS", hide_env_values = true, value_name = "URL")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) options: RedisOptions,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The command to run.
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key and print it. It is not shown again.
    Create(CreateKeyArgs),
    /// List all keys, without their secrets.
    List,
    /// Revoke a key and end the sessions that it opened. Takes effect everywhere within seconds.
    Revoke {
        /// The key, or its prefix as `list` shows it.
        key: String,
    },
}

#[derive(Args)]
pub(crate) struct CreateKeyArgs {
    /// Tenant whose jobs the key submits and reads.
    pub(crate) tenant: String,
    /// What the key allows: submit (and every other change), read, or admin (metrics, and what workers do for other
    /// tenants); may be repeated.
    #[arg(long, value_delimiter = ',', default_value = "submit,read", value_name = "SCOPE",
        value_parser = PossibleValuesParser::new(KeyScope::ALL.map(KeyScope::as_str))
            .try_map(|word| serde_json::from_value::<KeyScope>(word.into())))]
    pub(crate) scope: Vec<KeyScope>,
    /// Note on what the key is for.
    #[arg(long, default_value = "")]
    pub(crate) note: String,
    /// Days after which the key expires. Default: it works until you revoke it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) days: Option<u32>,
    /// Limits to set for the tenant, with all of its keys: the same as `uso queue limits` sets.
    #[command(flatten)]
    pub(crate) limits: LimitChanges,
}
