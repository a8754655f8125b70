//! Calls to addresses that a tenant names, who must not reach what only the fleet can reach.
//!
//! Names are looked up by a resolver of ours, which hands on only addresses that it has checked; the client
//! connects to those, so a name that means something else a moment later gains nothing. Where a redirect leads
//! is for the caller to look at: [`client`] follows none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};

/// A name that nothing is sent to.
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
            // Whether a name is one of ours or nobody's is for nobody else to know.
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

/// A client for such calls, each of which is over within `timeout`.
///
/// # Errors
/// If TLS cannot be set up.
pub fn client(allow_private: bool, timeout: Duration) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("uso-fleet/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout)
        // Where a redirect leads has not been checked, and a proxy would look names up again.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Resolver { allow_private })
        .build()
}

/// What went wrong with such a call, in words that tell nothing of our network.
pub fn in_words(error: &reqwest::Error) -> String {
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

/// Reads such an address; a name in it is looked up only when something is sent.
///
/// # Errors
/// What it must be, in words.
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
    let inside = match host.parse::<IpAddr>() {
        Ok(address) => !is_public(address),
        // Names of this machine everywhere (RFC 6761).
        Err(_) => matches!(host.trim_end_matches('.').rsplit('.').next(), Some("localhost")),
    };
    if inside && !allow_private { Err("must be a public address".into()) } else { Ok(url) }
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
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // This network; shared by carriers; protocol assignments; benchmarks; reserved and broadcast.
        || a == 0
        || (a == 100 && b & 0b1100_0000 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0b1111_1110 == 18)
        || a >= 240;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    match s {
        // Addresses of version 4 in other clothes: NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(v4(high, low)),
        [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Teredo and other protocol assignments; documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // All that is handed out to networks begins with 001.
        [first, ..] => first & 0xe000 == 0x2000,
    }
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
    fn urls_that_lead_inside_are_refused_however_they_are_written() {
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
    async fn a_name_that_means_this_machine_is_not_handed_on() {
        let resolve = async |allow_private| {
            let name = "localhost".parse::<Name>().unwrap();
            Resolver { allow_private }.resolve(name).await.map(Iterator::count)
        };
        assert!(resolve(false).await.err().unwrap().is::<Refused>());
        assert!(resolve(true).await.unwrap() > 0);
    }
}
