//! The address guard: calls to addresses that a tenant names must not reach what only the fleet can reach.
//!
//! We look names up with our own resolver: it must check each address and hand it to the same connection. A
//! check before the call would look the name up twice, and a name can mean another address the second time; a
//! check after it would come when the connection is already open. The client follows no redirects: the caller checks
//! each address first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};

/// A host name without a public address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no public address")]
struct Refused;

/// Looks names up.
struct Resolver {
    allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            // The caller must not learn whether a name is unknown or belongs to our network.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| Refused)?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| allow_private || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Refused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// A client for such calls, each of which ends within `timeout`.
///
/// # Errors
/// If TLS cannot be set up.
pub fn client(allow_private: bool, timeout: Duration) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("uso-fleet/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout)
        // The address of a redirect has not been checked, and a proxy would look names up again.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Resolver { allow_private })
        .build()
}

/// The error of such a call, in words that reveal nothing of our network.
pub fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(current) = cause {
        if current.is::<Refused>() {
            return current.to_string();
        }
        cause = current.source();
    }
    let reason = if error.is_connect() { "no connection could be made" } else { "the request failed" };
    reason.to_owned()
}

/// Reads such an address; its host name is looked up only when something is sent.
///
/// # Errors
/// What the address must be, in words.
pub fn check_url(text: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "must be a URL".to_owned())?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ => return Err("must begin with https://".into()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or a password".into());
    }
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_private = match host.parse::<IpAddr>() {
        Ok(address) => !is_public(address),
        // Names of this machine everywhere (RFC 6761).
        Err(_) => matches!(host.trim_end_matches('.').rsplit('.').next(), Some("localhost")),
    };
    if is_private && !allow_private { Err("must be a public address".into()) } else { Ok(url) }
}

/// Networks of version 4 that are not the internet's (IANA's registry of special addresses).
const SPECIAL_V4: [Ipv4Net; 14] = [
    v4([0, 0, 0, 0], 8),       // this network
    v4([10, 0, 0, 0], 8),      // private
    v4([100, 64, 0, 0], 10),   // shared by carriers
    v4([127, 0, 0, 0], 8),     // loopback
    v4([169, 254, 0, 0], 16),  // link-local
    v4([172, 16, 0, 0], 12),   // private
    v4([192, 0, 0, 0], 24),    // protocol assignments
    v4([192, 0, 2, 0], 24),    // documentation
    v4([192, 168, 0, 0], 16),  // private
    v4([198, 18, 0, 0], 15),   // benchmarks
    v4([198, 51, 100, 0], 24), // documentation
    v4([203, 0, 113, 0], 24),  // documentation
    v4([224, 0, 0, 0], 4),     // multicast
    v4([240, 0, 0, 0], 4),     // reserved, and broadcast
];

/// All that is handed out to networks of version 6.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// Networks inside of [`GLOBAL_V6`] that are not the internet's.
const SPECIAL_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0, 0], 23),     // Teredo and other protocol assignments
    v6([0x2001, 0xdb8, 0], 32), // documentation
    v6([0x3fff, 0, 0], 20),     // documentation
];

/// Networks of version 6 whose addresses hold one of version 4: NAT64, in the last 32 bits, and 6to4.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0], 16);

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([a, b, c]: [u16; 3], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// Whether an address is one of the internet's, and not this machine's, a private network's, or a way around
/// to one of these.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|network| network.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [_, second, third, .., seventh, last] = address.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    if NAT64.contains(&address) {
        return embedded(seventh, last);
    }
    if SIX_TO_FOUR.contains(&address) {
        return embedded(second, third);
    }
    GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn whatever_is_let_through_is_https_and_leads_to_the_internet(
            text in r"(https?://)?(\PC{0,40}|[0-9a-fx.:\[\]@]{0,40})"
        ) {
            let Ok(url) = check_url(&text, false) else { return Ok(()) };
            prop_assert_eq!(url.scheme(), "https");
            let host = url.host_str().unwrap().trim_matches(['[', ']']);
            prop_assert!(host.parse::<IpAddr>().is_ok_and(is_public) || host.parse::<IpAddr>().is_err());
            prop_assert_eq!(check_url(url.as_str(), false).unwrap(), url);
        }

        #[test]
        fn an_address_of_version_4_is_judged_alike_in_every_form(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let (high, low) = ((bits >> 16) as u16, bits as u16);
            let forms = [
                address.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ];
            for form in forms {
                prop_assert_eq!(is_public(form.into()), is_public(address.into()), "{} as {}", address, form);
            }
        }

        #[test]
        fn no_address_makes_it_panic(bits: u128) {
            let address = Ipv6Addr::from(bits);
            prop_assert!(!is_public(address.into()) || !address.is_loopback() && !address.is_multicast());
        }
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in
            ["1.1.1.1", "100.63.0.1", "172.32.0.1", "198.20.0.1", "2606:4700::1111", "::ffff:1.1.1.1"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn urls_of_private_addresses_are_refused_however_they_are_written() {
        for bad in [
            "",
            "x",
            "ftp://example.com",
            "http://example.com",
            "file:///etc/passwd",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
            "https://169.254.169.254/latest",
            "https://localhost/",
            "https://LOCALHOST.:8443/",
            "https://hook.localhost/",
            "https://user@example.com/",
            "https://a:b@example.com/",
        ] {
            assert!(check_url(bad, false).is_err(), "{bad}");
        }
        for good in [
            "https://example.com/hook?a=b",
            "https://localhost.example.com/",
            "https://1.1.1.1:8443/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(check_url(good, false).is_ok(), "{good}");
        }
        assert!(check_url("http://127.0.0.1:9/", true).is_ok());
        assert!(check_url("http://a:b@127.0.0.1:9/", true).is_err());
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused() {
        let resolve = async |allow_private| {
            let name = "localhost".parse::<Name>().unwrap();
            Resolver { allow_private }.resolve(name).await.map(Iterator::count)
        };
        assert!(resolve(false).await.err().unwrap().is::<Refused>());
        assert!(resolve(true).await.unwrap() > 0);
    }
}
