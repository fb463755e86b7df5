//! What may be told of how a route is configured, to whoever may look: where it leads and how it delivers. Nothing that opens a door: no token, key, query or user of a URL,
//! and of a web hook the host alone, for its path is often what lets one in.
use super::channel::Target;
use super::channel::fhir::Credentials;
use super::{Options, Order};
use reqwest::Url;
use std::time::Duration;

impl Options {
    /// Names and values, in the words of the configuration.
    pub fn told(&self) -> Vec<(&'static str, String)> {
        let mut told = vec![("Kind", self.target.kind().to_owned())];
        told.extend(self.target.told());
        told.push((
            "Order",
            match self.order {
                Order::Patient => {
                    "patient: the messages of one patient in order, those of different ones several at once"
                }
                Order::Link => "link: the messages of one sender in order",
                Order::None => "none",
            }
            .to_owned(),
        ));
        let rate = if self.rate == 0 { "no limit".to_owned() } else { format!("{} a second", self.rate) };
        let attempts = match self.retry.attempts {
            0 => String::new(),
            attempts => format!("{attempts} attempts or "),
        };
        let (first, max, age) = (text(self.retry.first), text(self.retry.max), text(self.retry.age));
        told.extend([
            (
                "Filter",
                if self.route.filter.is_some() { "only what its filter wants" } else { "none: every message" }.into(),
            ),
            ("At once", format!("{} deliveries", self.concurrency)),
            ("Rate", rate),
            ("Tries again", format!("after {first}, then twice as long each time, up to {max}")),
            ("Gives up", format!("after {attempts}{age}")),
            ("May wait", format!("{} messages, then the route waits with them", self.waiting_max)),
        ]);
        told
    }
}

impl Target {
    fn told(&self) -> Vec<(&'static str, String)> {
        match self {
            Target::File(options) => {
                vec![("File", options.path.display().to_string()), ("Bundle", options.envelope.name().to_owned())]
            }
            Target::Fhir(options) => {
                let who = match options.credentials {
                    None => "nobody: no credentials",
                    Some(Credentials::Bearer(_)) => "a bearer token",
                    Some(Credentials::Basic(..)) => "user and password",
                    Some(Credentials::Smart(_)) => "SMART Backend Services",
                };
                vec![
                    ("Server", place(&options.base) + options.base.path()),
                    ("Bundle", options.envelope.name().to_owned()),
                    ("Signs in as", who.to_owned()),
                    ("Answers within", text(options.http.timeout)),
                ]
            }
            Target::Mllp(options) => vec![
                ("Receiver", options.address.clone()),
                ("TLS", if options.tls.is_some() { "yes" } else { "no" }.to_owned()),
                ("Gets", if options.acknowledges { "acknowledgements" } else { "messages as they came" }.to_owned()),
                ("Answers within", text(options.timeout)),
            ],
            Target::RestHook(options) => vec![
                ("Receiver", place(&options.url)),
                ("Gets", options.envelope.map_or("messages as they came", |envelope| envelope.name()).to_owned()),
                ("Signed", if options.secrets.is_empty() { "no" } else { "yes" }.to_owned()),
                ("Answers within", text(options.http.timeout)),
            ],
        }
    }
}

/// `https://ehr.example:8443`
fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// `300 ms`, `30 s`, `5 min`, `72 h`: in the largest unit that it is a whole number of.
fn text(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0 => "0 s".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_opens_a_door_is_told() {
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(
            place(&url("https://user:secret@ehr.example:8443/hook/secret?key=secret#secret")),
            "https://ehr.example:8443"
        );
        assert_eq!(place(&url("http://[::1]/x")), "http://[::1]");
    }

    #[test]
    fn spans_read_as_they_are_configured() {
        let told = [0, 300, 1500, 30_000, 300_000, 5_400_000, 259_200_000].map(|ms| text(Duration::from_millis(ms)));
        assert_eq!(told, ["0 s", "300 ms", "1500 ms", "30 s", "5 min", "90 min", "72 h"]);
    }
}
