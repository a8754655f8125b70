//! Log lines on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Info and above from our crates, warnings and above from others.
const DEFAULT: &str =
    "warn,uso=info,uso_api=info,uso_engine=info,uso_local=info,uso_queue=info,uso_store=info,uso_worker=info";

pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("USO_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
