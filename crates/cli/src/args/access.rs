//! Who may use the API, and what they may ask for.

use std::net::{IpAddr, SocketAddr};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use uso_api::{Access, AllowedPrefix};
use uso_queue::STEP_CACHE;

#[derive(Args)]
pub(crate) struct AccessArgs {
    /// Who may use the API: with `keys`, whoever has a key made by `uso keys create`; with `open`, everyone who can
    /// reach it. Default: on a loopback address, everyone on this machine, but not through a proxy; on any other
    /// address, keys.
    #[arg(long, env = "USO_AUTH", value_enum, value_name = "open|keys")]
    pub(crate) auth: Option<Auth>,
    /// Allow webhooks to private addresses and over plain http.
    #[arg(long, env = "USO_ALLOW_PRIVATE_WEBHOOKS", value_parser = BoolishValueParser::new())]
    pub(crate) allow_private_webhooks: bool,
    /// Address at which clients reach the API, for links in webhooks and for Replicate's clients. Default: the address
    /// that it listens on, unless that stands for all addresses.
    #[arg(long, env = "USO_PUBLIC_URL", value_parser = origin, value_name = "URL")]
    public_url: Option<String>,
    /// Origin of another site whose pages may call the API and read its answers; may be repeated. The bucket's CORS
    /// rule must name it too.
    #[arg(long, env = "USO_CORS_ORIGINS", value_delimiter = ',', value_parser = origin, value_name = "ORIGIN")]
    pub(crate) cors_origin: Vec<String>,
    /// Largest step cache that a job may ask for, 0 to 1; 0 forbids step caches. A job's step is skipped if the output
    /// of the transformer's first block has changed by at most that share. Workers of an older version fail such jobs.
    #[arg(long, env = "USO_MAX_STEP_CACHE", default_value_t = 0.0, value_parser = share, value_name = "SHARE")]
    pub(crate) max_step_cache: f64,
    /// Most client connections at once. Default: the process's limit on open files, less 256 for Redis, S3 and
    /// webhooks, and at most 8192.
    #[arg(long, env = "USO_MAX_CONNECTIONS", value_parser = connections, value_name = "N")]
    pub(crate) max_connections: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Auth {
    Open,
    Keys,
}

impl AccessArgs {
    /// The chosen access, or what is safe at this address.
    pub(crate) fn access(&self, listen: IpAddr) -> Access {
        match self.auth {
            Some(Auth::Open) => Access::Open,
            Some(Auth::Keys) => Access::Keys,
            None if listen.is_loopback() => Access::Local,
            None => Access::Keys,
        }
    }

    /// The given address, or the one that the API listens on.
    pub(crate) fn public_url(&self, listen: SocketAddr) -> Option<String> {
        self.public_url
            .clone()
            .or_else(|| (!listen.ip().is_unspecified()).then(|| format!("http://{listen}")))
    }
}

/// Reads `https://example.com:8443`: scheme, host and port, as browsers write an origin.
fn origin(text: &str) -> Result<String, String> {
    let wrong = || "must be like https://example.com or http://localhost:3000".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !bare || !anonymous {
        return Err(wrong());
    }
    Ok(url.origin().ascii_serialization())
}

fn connections(text: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("must be a whole number from 1 to {MOST}"))
}

/// Reads the largest step cache.
fn share(text: &str) -> Result<f64, String> {
    let (least, most) = (STEP_CACHE.start(), STEP_CACHE.end());
    let share = text.parse().ok().filter(|share| STEP_CACHE.contains(share));
    share.ok_or_else(|| format!("must be a number from {least} to {most}"))
}

/// The buckets of allowed prefixes, each once: the store may read from no others.
pub(crate) fn buckets(allowed: &[AllowedPrefix]) -> Vec<String> {
    let mut buckets: Vec<String> = allowed.iter().map(|prefix| prefix.bucket().to_owned()).collect();
    buckets.sort();
    buckets.dedup();
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> AccessArgs {
        AccessArgs {
            auth: None,
            allow_private_webhooks: false,
            public_url: None,
            cors_origin: Vec::new(),
            max_step_cache: 0.0,
            max_connections: None,
        }
    }

    #[test]
    fn at_least_one_connection_is_allowed() {
        assert_eq!(connections("512"), Ok(512));
        for wrong in ["0", "many", "-1", "1000001"] {
            assert!(connections(wrong).unwrap_err().contains("from 1 to 1000000"), "{wrong}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://example.com/").unwrap(), "https://example.com");
        assert_eq!(origin("http://localhost:3000").unwrap(), "http://localhost:3000");
        for bad in ["example.com", "ftp://a", "https://a/b", "https://a?b", "https://u@a", "*", "null"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn step_caches_are_bounded_by_a_share() {
        assert_eq!((share("0"), share("0.25"), share("1")), (Ok(0.0), Ok(0.25), Ok(1.0)));
        for bad in ["-0.1", "1.01", "NaN", "inf", "much", ""] {
            assert_eq!(share(bad).unwrap_err(), "must be a number from 0 to 1", "{bad}");
        }
    }

    #[test]
    fn links_use_the_listening_address_unless_it_stands_for_all() {
        let url = |listen: &str| args().public_url(listen.parse().unwrap());
        assert_eq!(url("127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(url("[::1]:80").unwrap(), "http://[::1]:80");
        assert_eq!(url("0.0.0.0:8080"), None);
    }

    #[test]
    fn other_machines_need_a_key_unless_access_is_open() {
        let access = |auth, listen: &str| AccessArgs { auth, ..args() }.access(listen.parse().unwrap());
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
