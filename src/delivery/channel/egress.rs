//! Where a URL that somebody else gave may lead: only to the public internet, never into the network of the gateway (server-side request forgery).
//!
//! A name is looked up once, every address that comes back is judged, and the connection goes to those very addresses: a second look-up cannot give others. An address
//! that is written out is judged before anything is opened. Redirects are off everywhere. Targets of the configuration are trusted, as whoever wrote it could do more
//! than this; one with `public_only = true` is not.
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A place that is not on the public internet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is not on the public internet: {address} is private, loopback, link-local or reserved")]
pub struct NotPublic {
    /// As it was asked for.
    pub host: String,
    /// What it stands for.
    pub address: IpAddr,
}

/// Judges a URL that names an address instead of a host.
///
/// # Errors
/// When the address is not public.
pub fn check(url: &Url) -> Result<(), NotPublic> {
    let host = url.host_str().unwrap_or_default();
    // The parser of the URL has made an address of every way to write one: 2130706433, 0x7f.1, 017700000001.
    match host.trim_matches(['[', ']']).parse() {
        Ok(address) if !is_public(address) => Err(NotPublic { host: host.to_owned(), address }),
        _ => Ok(()),
    }
}

/// Looks names up, and refuses one that leads elsewhere than to the public internet, be it with one of its addresses.
#[derive(Debug)]
pub struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if let Some(address) = found.iter().map(SocketAddr::ip).find(|address| !is_public(*address)) {
                return Err(NotPublic { host, address }.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet (IANA special-purpose registries), and not where clouds keep their metadata.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = match (a, b, c) {
        (0 | 10 | 127 | 224.., ..) => true,
        (100, 64..=127, _) => true, // shared (RFC 6598); 100.100.100.200 is metadata
        (169, 254, _) => true,      // link-local; 169.254.169.254 is metadata
        (172, 16..=31, _) | (192, 168, _) => true,
        (192, 0, 0 | 2) | (192, 88, 99) => true,
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => address == Ipv4Addr::new(168, 63, 129, 16), // metadata
    };
    !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Addresses that carry one of IPv4 lead there: mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, second, ..] if second < 0x200 => false, // Teredo and other protocols
        [0x2001, 0xdb8, ..] | [0x3fff, ..] => false,     // documentation
        // Only 2000::/3 is given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::super::http;
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for address in ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(public(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "127.255.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "fec0::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn every_way_to_write_an_address_is_seen_through() {
        let public = |url: &str| check(&Url::parse(url).unwrap()).is_ok();
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            assert!(!public(url), "{url}");
        }
        assert!(public("https://hook.example/") && public("https://8.8.8.8/"), "a name is judged when it is looked up");
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://localhost:{}/", listener.local_addr().unwrap().port())).unwrap();
        let client = http::client(&url, &http::Options { public_only: true, ..http::Options::default() }).unwrap();
        let error = client.post(url).send().await.unwrap_err();
        let failure = http::unanswered(&error, &super::super::replies::Replies::default());
        let super::super::Failure::Endpoint { reason, .. } = failure else { panic!("{failure:?}") };
        assert!(reason.contains("localhost is not on the public internet"), "{reason}");
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody came");
    }
}
