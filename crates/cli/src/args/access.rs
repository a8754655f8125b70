//! Whom the API lets in.

use std::net::IpAddr;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use uso_api::{Access, ReferencePlace};

#[derive(Args)]
pub(crate) struct AccessArgs {
    /// Whom the API lets in: `keys` asks for a key made with `uso keys create`, `open` lets in everybody who
    /// can reach it. Without it: at a loopback address whoever asks on this machine, not through a proxy; at
    /// any other, keys.
    #[arg(long, env = "USO_AUTH", value_enum, value_name = "open|keys")]
    pub(crate) auth: Option<Auth>,
    /// Let webhooks lead to private addresses, and over plain http.
    #[arg(long, env = "USO_ALLOW_PRIVATE_WEBHOOKS", value_parser = BoolishValueParser::new())]
    pub(crate) allow_private_webhooks: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Auth {
    Open,
    Keys,
}

impl AccessArgs {
    /// What is asked for, or what is safe at this address.
    pub(crate) fn access(&self, listen: IpAddr) -> Access {
        match self.auth {
            Some(Auth::Open) => Access::Open,
            Some(Auth::Keys) => Access::Keys,
            None if listen.is_loopback() => Access::Local,
            None => Access::Keys,
        }
    }
}

/// The buckets of some places, each once: what the store may read from at all.
pub(crate) fn buckets(places: &[ReferencePlace]) -> Vec<String> {
    let mut buckets: Vec<String> = places.iter().map(|place| place.bucket().to_owned()).collect();
    buckets.sort();
    buckets.dedup();
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_let_in_from_elsewhere_unless_it_is_asked_for() {
        let access = |auth, listen: &str| {
            AccessArgs { auth, allow_private_webhooks: false }.access(listen.parse().unwrap())
        };
        for listen in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert_eq!(access(None, listen), Access::Local, "{listen}");
        }
        for listen in ["0.0.0.0", "::", "192.168.1.2", "::ffff:127.0.0.1"] {
            assert_eq!(access(None, listen), Access::Keys, "{listen}");
            assert_eq!(access(Some(Auth::Open), listen), Access::Open, "{listen}");
        }
        assert_eq!(access(Some(Auth::Keys), "127.0.0.1"), Access::Keys);
    }
}
