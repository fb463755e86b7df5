//! Where connections may lead, judged once names have been looked up (server-side request forgery, and plain mistakes).
//!
//! A name is looked up once, every address that comes back is judged, and the connection goes to those very addresses: a second look-up cannot give others. An address
//! that is written out is judged before anything is opened. Redirects are off everywhere, and so are proxies, which would look names up by themselves, where anything is judged.
//!
//! | rule | what it lets through |
//! |---|---|
//! | `public_only = true` of a target | the public internet, never the network of the gateway: for URLs that somebody else gave |
//! | `[egress] allow` of the configuration | the hosts and networks of a list, for all targets |
//!
//! A name of the list may lead anywhere but to this machine, and to where clouds keep their metadata: those take `localhost` or their network in the list. So nobody
//! who answers for a name can point it at what only this machine should reach.
use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A place that is not on the public internet.
    #[error("{host} is not on the public internet: {address} is private, loopback, link-local or reserved")]
    NotPublic {
        /// As it was asked for.
        host: String,
        /// What it stands for.
        address: IpAddr,
    },
    /// A host that is not in the list, nor is its address.
    #[error("{host} is not in [egress] allow: name the host there, or its network")]
    NotAllowed {
        /// As it was asked for.
        host: String,
    },
    /// A host that leads to where the list does not.
    #[error("{host} leads to {address}, which is not in [egress] allow")]
    Elsewhere {
        /// As it was asked for.
        host: String,
        /// Where it leads.
        address: IpAddr,
    },
}

/// The hosts and networks that may be connected to; without a list all. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed(Option<Arc<[Entry]>>);

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A host by its name.
    Host(String),
    /// All hosts whose names end so, such as `.example`.
    Below(String),
    /// Whatever has an address there.
    Network(IpNet),
}

impl Entry {
    /// `ehr.example`, `*.lab.example`, `10.2.0.0/16` or an address.
    pub fn parse(text: &str) -> Option<Entry> {
        if let Ok(network) = text.parse::<IpNet>().or_else(|_| text.trim_matches(['[', ']']).parse().map(IpAddr::into))
        {
            return Some(Entry::Network(network));
        }
        let below = text.strip_prefix("*.");
        let name = plain(below.unwrap_or(text));
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if !name.split('.').all(label) || name.ends_with(|last: char| last.is_ascii_digit()) {
            return None; // Digits at the end are an address that is none.
        }
        Some(if below.is_some() { Entry::Below(format!(".{name}")) } else { Entry::Host(name) })
    }

    fn names(&self, host: &str) -> bool {
        match self {
            Entry::Host(name) => name == host,
            Entry::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
            Entry::Network(_) => false,
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        matches!(self, Entry::Network(network) if network.contains(&address))
    }
}

/// As names are compared.
fn plain(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

impl Allowed {
    /// Only these; with none nothing at all.
    pub fn only(entries: Vec<Entry>) -> Allowed {
        Allowed(Some(entries.into()))
    }

    /// Judges a host as it is written. A name that is not in the list is judged when it is looked up, if there are networks in which it could be.
    ///
    /// # Errors
    /// When it can never be connected to.
    pub fn check(&self, host: &str) -> Result<(), Refused> {
        let Some(entries) = &self.0 else { return Ok(()) };
        let name = plain(host);
        if let Ok(address) = name.parse() {
            return self.judge(host, &[address]);
        }
        let perhaps = |entry: &Entry| entry.names(&name) || matches!(entry, Entry::Network(_));
        if entries.iter().any(perhaps) { Ok(()) } else { Err(Refused::NotAllowed { host: host.to_owned() }) }
    }

    /// Judges where a host has been found to lead.
    ///
    /// # Errors
    /// When one of its addresses may not be connected to.
    pub fn judge(&self, host: &str, addresses: &[IpAddr]) -> Result<(), Refused> {
        let Some(entries) = &self.0 else { return Ok(()) };
        let name = plain(host);
        let is_named = entries.iter().any(|entry| entry.names(&name));
        for address in addresses.iter().map(IpAddr::to_canonical) {
            let by_name = is_named && (name == "localhost" || !is_this_machine(address));
            if by_name || entries.iter().any(|entry| entry.holds(address)) {
                continue;
            }
            let host = host.to_owned();
            return Err(match name.parse::<IpAddr>() {
                Ok(_) => Refused::NotAllowed { host },
                Err(_) => Refused::Elsewhere { host, address },
            });
        }
        Ok(())
    }

    fn is_everything(&self) -> bool {
        self.0.is_none()
    }
}

/// Where clouds keep their metadata, beside link-local addresses: Azure, Alibaba, AWS.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Loopback, link-local, no address at all, and where clouds keep their metadata.
fn is_this_machine(address: IpAddr) -> bool {
    let is_here = |address: Ipv4Addr| {
        let is_metadata = METADATA_V4.contains(&address);
        address.is_loopback() || address.is_link_local() || address.is_unspecified() || is_metadata
    };
    match address {
        IpAddr::V4(address) => is_here(address),
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified()
                || address == METADATA_V6
                || carried(address).is_some_and(is_here)
        }
    }
}

/// The address of IPv4 that one of IPv6 carries, and leads to: mapped, NAT64, 6to4.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => (high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

/// What is asked of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    /// Only addresses of the public internet.
    pub public_only: bool,
    /// Only what is in the list.
    pub allowed: Allowed,
}

impl Egress {
    /// Whether there is anything to judge.
    pub fn is_free(&self) -> bool {
        !self.public_only && self.allowed.is_everything()
    }

    /// Judges a URL as it is written; a name is judged again when it is looked up.
    ///
    /// # Errors
    /// When it can never be connected to.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().unwrap_or_default();
        self.allowed.check(host)?;
        // The parser of the URL has made an address of every way to write one: 2130706433, 0x7f.1, 017700000001.
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => self.judge(host, &[address]),
            Err(_) => Ok(()),
        }
    }

    fn judge(&self, host: &str, addresses: &[IpAddr]) -> Result<(), Refused> {
        self.allowed.judge(host, addresses)?;
        match addresses.iter().find(|address| self.public_only && !is_public(**address)) {
            Some(&address) => Err(Refused::NotPublic { host: host.to_owned(), address }),
            None => Ok(()),
        }
    }

    /// Looks a host up and judges all that comes back.
    ///
    /// # Errors
    /// A name that cannot be looked up, or an address that may not be connected to.
    pub async fn look_up(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await?.collect();
        let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
        let judged = self.judge(host, &addresses);
        judged.map_err(|refused| std::io::Error::new(std::io::ErrorKind::PermissionDenied, refused))?;
        Ok(found)
    }
}

/// Looks names up for a client of HTTP.
#[derive(Debug)]
pub struct Resolver(pub Egress);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, host) = (self.0.clone(), name.as_str().to_owned());
        Box::pin(async move { Ok(Box::new(egress.look_up(&host, 0).await?.into_iter()) as Addrs) })
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
        (100, 64..=127, _) => true, // shared (RFC 6598)
        (169, 254, _) => true,      // link-local; 169.254.169.254 is metadata
        (172, 16..=31, _) | (192, 168, _) => true,
        (192, 0, 0 | 2) | (192, 88, 99) => true,
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => METADATA_V4.contains(&address),
    };
    !reserved
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(address) = carried(address) {
        return is_public_v4(address);
    }
    match address.segments() {
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
        let egress = Egress { public_only: true, ..Egress::default() };
        let public = |url: &str| egress.check(&Url::parse(url).unwrap()).is_ok();
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
        let egress = Egress { public_only: true, ..Egress::default() };
        let client = http::client(&url, &http::Options { egress, ..http::Options::default() }).unwrap();
        let error = client.post(url).send().await.unwrap_err();
        let failure = http::unanswered(&error, &super::super::replies::Replies::default());
        let super::super::Failure::Endpoint { reason, .. } = failure else { panic!("{failure:?}") };
        assert!(reason.contains("localhost is not on the public internet"), "{reason}");
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody came");
    }
    fn allowed(entries: &[&str]) -> Allowed {
        Allowed::only(entries.iter().map(|entry| Entry::parse(entry).unwrap()).collect())
    }

    #[test]
    fn entries_are_hosts_endings_of_them_and_networks() {
        assert_eq!(Entry::parse("EHR.Example."), Some(Entry::Host("ehr.example".into())));
        assert_eq!(Entry::parse("*.lab.example"), Some(Entry::Below(".lab.example".into())));
        assert!(matches!(Entry::parse("10.2.0.0/16"), Some(Entry::Network(_))));
        assert!(matches!(Entry::parse("[::1]"), Some(Entry::Network(_))));
        for none in ["", "*", "*.", "https://ehr.example", "ehr.example:443", "a..b", "10.2.0.0/99", "10.2.0", "*.*.x"]
        {
            assert_eq!(Entry::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_list_is_judged_as_it_is_written_and_when_names_are_looked_up() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let list = allowed(&["ehr.example", "*.lab.example", "10.2.0.0/16"]);
        for host in ["ehr.example", "EHR.example.", "a.lab.example", "a.b.lab.example", "10.2.3.4", "perhaps.example"] {
            assert_eq!(list.check(host), Ok(()), "{host}");
        }
        for host in ["10.3.0.1", "[::1]", "127.0.0.1"] {
            assert_eq!(list.check(host), Err(Refused::NotAllowed { host: host.into() }));
        }
        assert_eq!(list.judge("ehr.example", &[address("192.0.2.7")]), Ok(()), "wherever it leads");
        assert_eq!(list.judge("ehr.example", &[address("64:ff9b::8.8.8.8"), address("fd00:ec2::1")]), Ok(()));
        assert_eq!(list.judge("perhaps.example", &[address("10.2.0.9"), address("::ffff:10.2.0.8")]), Ok(()));
        for (host, to) in [
            ("perhaps.example", "192.0.2.7"),
            ("lab.example", "192.0.2.7"),
            ("xlab.example", "192.0.2.7"),
            ("ehr.example", "127.0.0.1"),
            ("ehr.example", "169.254.169.254"),
            ("ehr.example", "::1"),
            ("ehr.example", "::ffff:127.0.0.1"),
            ("ehr.example", "168.63.129.16"),
            ("ehr.example", "100.100.100.200"),
            ("ehr.example", "fd00:ec2::254"),
            ("ehr.example", "64:ff9b::169.254.169.254"),
            ("ehr.example", "64:ff9b::7f00:1"),
            ("ehr.example", "2002:a9fe:a9fe::1"),
        ] {
            assert!(
                matches!(list.judge(host, &[address("10.2.0.1"), address(to)]), Err(Refused::Elsewhere { .. })),
                "{host} {to}"
            );
        }
        let names = allowed(&["ehr.example", "localhost"]);
        assert!(names.check("other.example").is_err() && names.check("10.2.3.4").is_err());
        assert_eq!(names.judge("localhost", &[address("127.0.0.1"), address("::1")]), Ok(()));
        assert!(allowed(&["127.0.0.0/8", "ehr.example"]).judge("ehr.example", &[address("127.0.0.1")]).is_ok());
        assert!(Allowed::only(vec![]).check("ehr.example").is_err(), "an empty list lets nothing through");
        assert!(Allowed::default().check("127.0.0.1").is_ok(), "no list lets everything through");
    }
}
