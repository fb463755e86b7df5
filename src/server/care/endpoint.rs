//! Where subscriptions may lead: clients say, not whoever operates the gateway.
//!
//! With `[egress] allow` to what is listed there. Without it to the public internet alone, and to this machine where the FHIR interface is for this machine alone: whoever
//! can subscribe then is there already.
use crate::delivery::channel::egress::{Allowed, Egress, Refused, is_public};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// Where endpoints of subscriptions may be. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    allowed: Allowed,
    loopback: bool,
}

impl Endpoints {
    /// By the list, where there is one; `loopback`: the FHIR interface listens on loopback.
    pub fn new(allowed: Allowed, loopback: bool) -> Endpoints {
        Endpoints { allowed, loopback }
    }

    /// Judges a URL as it is written; a name is judged again when it is looked up.
    ///
    /// # Errors
    /// When it can never be connected to.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let host = url.host_str().unwrap_or_default();
        self.allowed.check(host)?;
        // The parser of the URL has made an address of every way to write one.
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => self.judge(host, &[address]),
            Err(_) => Ok(()),
        }
    }

    fn judge(&self, host: &str, addresses: &[IpAddr]) -> Result<(), Refused> {
        let egress = Egress { public_only: false, allowed: self.allowed.clone() };
        if !egress.is_free() {
            return self.allowed.judge(host, addresses);
        }
        let may = |address: &IpAddr| is_public(*address) || (self.loopback && address.to_canonical().is_loopback());
        match addresses.iter().find(|address| !may(address)) {
            Some(&address) => Err(Refused::NotPublic { host: host.to_owned(), address }),
            None => Ok(()),
        }
    }
}

impl Resolve for Endpoints {
    fn resolve(&self, name: Name) -> Resolving {
        let (endpoints, host) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let addresses: Vec<IpAddr> = found.iter().map(SocketAddr::ip).collect();
            let judged = endpoints.judge(&host, &addresses);
            judged.map_err(|refused| Error::new(ErrorKind::PermissionDenied, refused))?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::channel::egress::Entry;

    #[test]
    fn clients_lead_nowhere_inside() {
        let ok = |endpoints: &Endpoints, url: &str| endpoints.check(&Url::parse(url).unwrap()).is_ok();
        let open = Endpoints::new(Allowed::default(), false);
        assert!(ok(&open, "https://8.8.8.8/") && ok(&open, "https://client.example/"), "a name is judged later");
        for inside in
            ["http://127.0.0.1/", "http://[::1]/", "http://2130706433/", "http://10.0.0.1/", "http://169.254.169.254/"]
        {
            assert!(!ok(&open, inside), "{inside}");
        }
        let here = Endpoints::new(Allowed::default(), true);
        assert!(ok(&here, "http://127.0.0.1:9/") && ok(&here, "http://[::1]/"));
        assert!(!ok(&here, "http://10.0.0.1/") && !ok(&here, "http://169.254.169.254/"));
        let listed = Endpoints::new(Allowed::only(vec![Entry::parse("10.0.0.0/8").unwrap()]), true);
        assert!(
            ok(&listed, "http://10.0.0.1/") && !ok(&listed, "http://127.0.0.1/") && !ok(&listed, "http://8.8.8.8/")
        );
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(open.judge("client.example", &[address("8.8.8.8"), address("127.0.0.1")]).is_err());
        assert!(here.judge("localhost", &[address("127.0.0.1"), address("::1")]).is_ok());
    }
}
