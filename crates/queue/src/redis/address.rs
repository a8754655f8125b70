//! Where Redis is, read from a URL.

use std::path::Path;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};

use crate::Error;

const SENTINEL_PORT: &str = "26379";

/// The kinds of places there are. Each `ConnectionInfo` holds all that a connection needs: user, password,
/// TLS, database.
pub(super) enum Address {
    /// One server.
    Single(ConnectionInfo),
    /// Any nodes of a cluster.
    Cluster(Vec<ConnectionInfo>),
    /// Whatever server the sentinels call the primary of `service`.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        service: String,
        /// How to speak to the servers; its host and port are a sentinel's.
        server: ConnectionInfo,
    },
}

/// The pieces of `scheme://[credentials@]hosts[/path][?query]`.
struct Pieces<'a> {
    /// `redis` or `rediss`.
    scheme: &'a str,
    /// With the `@`, or empty.
    credentials: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl Address {
    /// # Errors
    /// [`Error::Settings`], which never repeats the URL: it may carry passwords.
    pub(super) fn read(url: &str, ca: Option<&Path>) -> Result<Self, Error> {
        let ca = ca.map(read_ca).transpose()?;
        let info = |url: &str| connection_info(url, ca.as_deref());
        let Some((scheme, rest)) = url.split_once("://") else { return fault("the URL has no scheme") };
        match scheme {
            "redis+cluster" | "rediss+cluster" => {
                let pieces = Pieces::read(scheme, rest);
                if !matches!(pieces.path, "" | "0") || !pieces.query.is_empty() {
                    return fault("the URL of a cluster ends with its hosts: a cluster has one database");
                }
                let url = |host| format!("{}://{}{host}", pieces.scheme, pieces.credentials);
                Ok(Self::Cluster(pieces.hosts.iter().map(|host| info(&url(host))).collect::<Result<_, _>>()?))
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let pieces = Pieces::read(scheme, rest);
                let (service, database) = pieces.path.split_once('/').unwrap_or((pieces.path, ""));
                let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
                if service.is_empty() || !service.bytes().all(known) {
                    return fault("the URL of sentinels needs the name of what they watch: .../SERVICE");
                }
                let own = sentinel_credentials(pieces.query)?;
                let sentinel = |host: &&str| info(&format!("{}://{own}{}", pieces.scheme, with_port(host)));
                let Pieces { scheme, credentials, .. } = pieces;
                let server = format!("{scheme}://{credentials}{}/{database}", with_port(pieces.hosts[0]));
                Ok(Self::Sentinel {
                    sentinels: pieces.hosts.iter().map(sentinel).collect::<Result<_, _>>()?,
                    service: service.to_owned(),
                    server: info(&server)?,
                })
            }
            _ => info(url).map(Self::Single),
        }
    }
}

impl<'a> Pieces<'a> {
    fn read(scheme: &'a str, rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let scheme = scheme.split('+').next().unwrap_or(scheme);
        Self {
            scheme,
            credentials,
            hosts: hosts.split(',').collect(),
            path: path.trim_end_matches('/'),
            query,
        }
    }
}

/// User and password of the sentinels themselves, as a URL carries them: `user:password@`.
fn sentinel_credentials(query: &str) -> Result<String, Error> {
    let (mut user, mut password) = ("", "");
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sentinel_user", value)) => user = value,
            Some(("sentinel_password", value)) => password = value,
            _ => return fault("behind the ? of the URL only sentinel_user and sentinel_password are known"),
        }
    }
    Ok(if password.is_empty() { String::new() } else { format!("{user}:{password}@") })
}

fn with_port(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:{SENTINEL_PORT}"),
    }
}

/// The same user, password and TLS at another host and port.
pub(super) fn at(like: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match like.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    like.clone().set_addr(addr)
}

fn connection_info(url: &str, ca: Option<&[u8]>) -> Result<ConnectionInfo, Error> {
    let malformed = |error: redis::RedisError| Error::Settings(format!("the URL cannot be used: {error}"));
    let info = url.into_connection_info().map_err(malformed)?;
    let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if tls {
        choose_cryptography();
    }
    match ca {
        None => Ok(info),
        Some(_) if !tls => fault("a CA is given, but the URL's scheme is one without TLS"),
        Some(ca) => {
            let trusted = TlsCertificates { client_tls: None, root_cert: Some(ca.to_vec()) };
            let client = Client::build_with_tls(info, trusted)
                .map_err(|error| Error::Settings(format!("the CA cannot be used: {error}")))?;
            Ok(client.get_connection_info().clone())
        }
    }
}

/// rustls panics where it has a choice, and what else is in the program decides whether it has one.
fn choose_cryptography() {
    // Whoever chose before has chosen well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn read_ca(path: &Path) -> Result<Vec<u8>, Error> {
    let refused = |what: String| Error::Settings(format!("the CA {} cannot be used: {what}", path.display()));
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    // An empty list of CAs would trust nobody, and say so late.
    let begins = b"-----BEGIN CERTIFICATE-----";
    if pem.windows(begins.len()).any(|part| part == begins) {
        Ok(pem)
    } else {
        Err(refused("it holds no certificate".into()))
    }
}

fn fault<T>(what: &str) -> Result<T, Error> {
    Err(Error::Settings(what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Address {
        Address::read(url, None).unwrap()
    }

    fn addresses(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    fn who(info: &ConnectionInfo) -> (Option<&str>, Option<&str>, i64) {
        let redis = info.redis_settings();
        (redis.username(), redis.password(), redis.db())
    }

    #[test]
    fn one_server_is_read_as_ever() {
        let Address::Single(info) = read("redis://fleet:p%40ss@example:7000/3") else { panic!("not one") };
        assert_eq!(info.addr().to_string(), "example:7000");
        assert_eq!(who(&info), (Some("fleet"), Some("p@ss"), 3));
        let Address::Single(info) = read("rediss://example") else { panic!("not one") };
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { insecure: false, port: 6379, .. }));
    }

    #[test]
    fn a_cluster_is_any_of_its_nodes() {
        let Address::Cluster(nodes) = read("redis+cluster://u:p@one:7001,two,[::1]:7003") else {
            panic!("no cluster")
        };
        assert_eq!(addresses(&nodes), ["one:7001", "two:6379", "::1:7003"]);
        assert!(nodes.iter().all(|node| who(node) == (Some("u"), Some("p"), 0)));
        let Address::Cluster(nodes) = read("rediss+cluster://one:7001/") else { panic!("no cluster") };
        assert!(matches!(nodes[0].addr(), ConnectionAddr::TcpTls { .. }));
    }

    #[test]
    fn sentinels_have_passwords_of_their_own() {
        let url = "redis+sentinel://u:p@one,two:7002,[::1]/main/2?sentinel_user=s&sentinel_password=q%2F1";
        let Address::Sentinel { sentinels, service, server } = read(url) else { panic!("no sentinels") };
        assert_eq!(addresses(&sentinels), ["one:26379", "two:7002", "::1:26379"]);
        assert_eq!(service, "main");
        assert!(sentinels.iter().all(|sentinel| who(sentinel) == (Some("s"), Some("q/1"), 0)));
        assert_eq!(who(&server), (Some("u"), Some("p"), 2));

        let Address::Sentinel { sentinels, .. } = read("rediss+sentinel://u:p@one/main") else {
            panic!("no sentinels")
        };
        assert_eq!(who(&sentinels[0]), (None, None, 0), "the servers' password is not for sentinels");
        assert!(matches!(sentinels[0].addr(), ConnectionAddr::TcpTls { .. }));
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_passwords() {
        for url in [
            "hidden@example",
            "http://u:hidden@example",
            "redis://u:hidden@",
            "redis://u:hidden@example/x",
            "redis+cluster://u:hidden@example/2",
            "redis+cluster://u:hidden@one,,two",
            "redis+sentinel://u:hidden@example",
            "redis+sentinel://u:hidden@example/a:b",
            "redis+sentinel://u:hidden@example/main?sentinel_pass=hidden",
            "redis+sentinel://u:hidden@example/main/x",
        ] {
            let Err(error) = Address::read(url, None) else { panic!("{url} was accepted") };
            assert!(matches!(error, Error::Settings(_)), "{error}");
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hidden"), "{text}");
        }
    }

    #[test]
    fn a_ca_that_would_do_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let refusal = |url: &str| match Address::read(url, Some(&ca)) {
            Err(Error::Settings(text)) => text,
            _ => panic!("it was accepted"),
        };
        assert!(refusal("rediss://example").contains("ca.pem"));
        std::fs::write(&ca, "no certificate").unwrap();
        assert!(refusal("rediss://example").contains("no certificate"));
        std::fs::write(&ca, include_bytes!("../../tests/it/tls/ca.pem")).unwrap();
        assert!(refusal("redis://example").contains("without TLS"));
        assert!(Address::read("rediss://example", Some(&ca)).is_ok());
    }
}
