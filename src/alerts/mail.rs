//! Mails: one tells everything that has come up since the last, so that many alerts at once are one mail (RFC 5322, plain text).
//!
//! ```text
//! Subject: [handoff gateway1] open: queue_age ehr            one alert; else: [handoff gateway1] 3 open, 1 resolved
//! Auto-Submitted: auto-generated                             no robot answers (RFC 3834)
//!
//! OPEN      queue_age ehr, since 2026-03-02T11:00:00Z
//!           the oldest of 3 messages has waited 901 s for route ehr
//! RESOLVED  route_held lab, 2026-03-02T10:00:00Z to 2026-03-02T11:00:10Z
//! ```
use super::Secret;
use super::book::{Alert, Way};
use crate::delivery::channel::egress::Egress;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::{Address, Message};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// To whom, and by which server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The readers; at least one.
    pub to: Vec<Mailbox>,
    /// Who sends.
    pub from: Mailbox,
    /// The host of the server, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is encrypted.
    pub security: Security,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// The authorities of its certificate, a file in PEM; none: those of the web.
    pub ca: Option<PathBuf>,
    /// Each mail of the last hour makes the next one wait so much longer.
    pub pause: Duration,
}

/// How a connection to a server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// From its first byte (`smtps`, RFC 8314).
    Tls,
    /// After a greeting in the clear, or not at all used (`smtp`, RFC 3207).
    StartTls,
    /// Not at all.
    Plain,
}

/// How much longer each mail of the last hour makes the next one wait, unless the configuration says otherwise.
pub const PAUSE: Duration = Duration::from_secs(15);
/// Alerts that one mail lists; of more it gives the number.
const LISTED_MAX: usize = 100;

/// Who writes mails, and by whom they are sent.
#[derive(Debug)]
pub(super) struct Mail {
    options: Options,
    server: super::smtp::Server,
    host: Option<String>,
}

impl Mail {
    /// Reads the certificates.
    pub fn new(options: Options, egress: Egress) -> Result<Mail, super::EmailError> {
        let host = super::smtp::own_name();
        let server = super::smtp::Server::new(&options, host.as_deref(), egress)?;
        Ok(Mail { options, server, host })
    }

    /// How much longer each mail of the last hour makes the next one wait.
    pub fn pause(&self) -> Duration {
        self.options.pause
    }

    /// Who reads them.
    pub fn readers(&self) -> Vec<Address> {
        self.options.to.iter().map(|to| to.email.clone()).collect()
    }

    /// Tells of all these. The mail, and who of its readers was refused for the moment.
    pub async fn send(&self, due: &[Alert]) -> Result<(String, Vec<Address>), String> {
        let now = SystemTime::now();
        let message = compose(&self.options, self.host.as_deref(), due, now).map_err(|error| error.to_string())?;
        let text = String::from_utf8(message.formatted()).map_err(|error| error.to_string())?;
        let late = self.send_to(&self.readers(), &text).await?;
        Ok((text, late))
    }

    /// Sends a mail to some; who of them was refused for the moment.
    pub async fn send_to(&self, to: &[Address], mail: &str) -> Result<Vec<Address>, String> {
        self.server.send(&self.options.from.email, to, mail.as_bytes()).await
    }
}

fn compose(
    options: &Options,
    host: Option<&str>,
    due: &[Alert],
    now: SystemTime,
) -> Result<Message, lettre::error::Error> {
    let mut builder = Message::builder().from(options.from.clone()).date(now).subject(subject(host, due));
    for to in &options.to {
        builder = builder.to(to.clone());
    }
    // The same again, because it was not known whether it arrived, is one mail to who reads them.
    let hash =
        Sha256::digest(due.iter().map(|alert| format!("{}{:?};", alert.id, alert.resolved_ms)).collect::<String>());
    let id: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let builder = builder.message_id(Some(format!("<{id}@{}>", options.from.email.domain())));
    let mut message = builder.header(ContentType::TEXT_PLAIN).body(body(due))?;
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    message.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
    Ok(message)
}

fn subject(host: Option<&str>, due: &[Alert]) -> String {
    let whose = host.map_or_else(|| "handoff".to_owned(), |host| format!("handoff {host}"));
    match due {
        [one] => {
            let state = if one.resolved_ms.is_none() { "open" } else { "resolved" };
            format!("[{whose}] {state}: {} {}", one.rule, one.subject)
        }
        many => {
            let open = many.iter().filter(|alert| alert.resolved_ms.is_none()).count();
            format!("[{whose}] {open} open, {} resolved", many.len() - open)
        }
    }
}

fn body(due: &[Alert]) -> String {
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.0}")).unwrap_or_default();
    let mut text = String::new();
    for alert in due.iter().take(LISTED_MAX) {
        let (what, since) = (format!("{} {}", alert.rule, alert.subject), time(alert.since_ms));
        // Writing to a String cannot fail.
        let _ = match alert.resolved_ms {
            None => write!(text, "OPEN      {what}, since {since}\n          {}\n", alert.text),
            // Of what nobody may have heard it is told what it was.
            Some(at) if alert.opens(Way::Email) => {
                write!(text, "RESOLVED  {what}, {since} to {}\n          it was: {}\n", time(at), alert.text)
            }
            Some(at) => writeln!(text, "RESOLVED  {what}, {since} to {}", time(at)),
        };
    }
    if let Some(more) = due.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::book::Told;
    use super::*;

    fn alert(number: usize, resolved_ms: Option<i64>) -> Alert {
        Alert {
            id: number.to_string(),
            rule: "queue_age".into(),
            subject: "ehr".into(),
            since_ms: 1_772_449_200_000,
            value: 901,
            text: "the oldest of 3 messages has waited 901 s for route ehr: Müller".into(),
            told: Told::Nothing,
            mailed: if resolved_ms.is_some() { Told::Open } else { Told::Nothing },
            resolved_ms,
        }
    }

    fn options() -> Options {
        Options {
            to: vec!["Desk <desk@a.example>".parse().unwrap(), "b@b.example".parse().unwrap()],
            from: "handoff@c.example".parse().unwrap(),
            host: "mail.example".into(),
            port: 587,
            security: Security::StartTls,
            login: None,
            ca: None,
            pause: PAUSE,
        }
    }

    #[test]
    fn a_mail_as_it_is_sent() {
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1_772_449_210);
        let due = [alert(1, None), alert(2, Some(1_772_449_205_000))];
        let mail = String::from_utf8(compose(&options(), Some("gw1"), &due, now).unwrap().formatted()).unwrap();
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        let id = head.lines().find(|line| line.starts_with("Message-ID: <")).unwrap();
        assert_eq!(
            head.lines().collect::<Vec<_>>(),
            [
                "From: handoff@c.example",
                "Date: Mon, 02 Mar 2026 11:00:10 +0000",
                "Subject: [handoff gw1] 1 open, 1 resolved",
                "To: Desk <desk@a.example>, b@b.example",
                id,
                "Content-Type: text/plain; charset=utf-8",
                "Content-Transfer-Encoding: quoted-printable",
                "Auto-Submitted: auto-generated",
            ]
        );
        assert!(mail.is_ascii(), "no server needs to know 8BITMIME");
        assert_eq!(
            body.replace("=\r\n", "").lines().collect::<Vec<_>>(),
            [
                "OPEN      queue_age ehr, since 2026-03-02T11:00:00Z",
                "          the oldest of 3 messages has waited 901 s for route ehr: M=C3=BCller",
                "RESOLVED  queue_age ehr, 2026-03-02T11:00:00Z to 2026-03-02T11:00:05Z",
            ]
        );
        let again = String::from_utf8(compose(&options(), None, &due, now).unwrap().formatted()).unwrap();
        assert!(again.contains(id) && id.ends_with("@c.example>"), "the same is the same mail: {id}");
        let other = String::from_utf8(compose(&options(), None, &due[..1], now).unwrap().formatted()).unwrap();
        assert!(!other.contains(id) && other.contains("Subject: [handoff] open: queue_age ehr\r\n"), "{other}");
    }

    #[test]
    fn a_thousand_alerts_are_one_mail_of_a_hundred() {
        let due: Vec<_> = (0..1000).map(|number| alert(number, None)).collect();
        assert_eq!(subject(None, &due), "[handoff] 1000 open, 0 resolved");
        let text = body(&due);
        assert_eq!((text.matches("OPEN").count(), text.lines().last()), (100, Some("and 900 more")));
    }

    #[test]
    fn what_nobody_may_have_heard_of_is_told_with_what_it_was() {
        let perhaps = Alert { mailed: Told::Perhaps, ..alert(1, Some(1_772_449_205_000)) };
        assert!(body(&[perhaps]).contains("          it was: the oldest of 3"));
    }
}
