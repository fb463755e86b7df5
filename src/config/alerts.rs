//! `[alerts]`: what somebody is to be told of, and how; and `silence`, which listeners have as well.
use super::admin::url;
use super::coordination::zone;
use super::section::{Placed, Section};
use super::sections::{is_loopback, set};
use crate::alerts::{EMAIL_PAUSE, EVERY, Email, ErrorRate, Options, Rules, Security};
use crate::server::{Hours, Silence};
use jiff::tz::TimeZone;
use lettre::message::Mailbox;
use reqwest::Url;

/// What somebody is to be told of.
pub(super) fn alerts(section: Section<'_>) -> Options {
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    let webhook = section
        .text("webhook")
        .and_then(|text| url(&section, &text, ("webhook", "https://alerts.example/hook"), plaintext));
    let secret = section.secret("secret").map(|secret| secret.value.into());
    let email = section.table("email").and_then(email);
    let mut rules = Rules::default();
    set(&mut rules.queue_age, section.duration("queue_age"));
    rules.queue_depth = section.number("queue_depth", 1);
    set(&mut rules.route_held, section.duration("route_held"));
    if let Some(rate) = section.table("error_rate") {
        rules.error_rate = error_rate(rate);
    }
    set(&mut rules.disk_free, section.size("disk_free"));
    set(&mut rules.certificate, section.duration("certificate"));
    if let Some(latency) = section.duration("ack_latency") {
        rules.ack_latency = Some(latency).filter(|latency| !latency.is_zero());
    }
    rules.silence = silence(&section);
    let every = section.duration("every").unwrap_or(EVERY);
    if every.is_zero() {
        section.wrong("every must be more than nothing");
    }
    section.finish();
    Options { webhook, secret, email, rules, every }
}

/// Dead letters; none where no number of them is worth an alert.
fn error_rate(section: Section<'_>) -> Option<ErrorRate> {
    let mut rate = ErrorRate::default();
    set(&mut rate.letters, section.number("letters", 0));
    set(&mut rate.share, section.decimal("share", 0.0, 1.0));
    set(&mut rate.within, section.duration("within"));
    if rate.within.is_zero() {
        section.wrong("within must be more than nothing");
    }
    section.finish();
    Some(rate).filter(|rate| rate.letters > 0)
}

/// `silence = "1h"`, or with the hours in which it counts.
pub(super) fn silence(section: &Section<'_>) -> Option<Silence> {
    if !section.is_table("silence") {
        return section.duration("silence").map(Silence::from);
    }
    let section = section.table("silence")?;
    let after = section.duration("after");
    if after.is_none() {
        section.wrong("silence needs after, so long without a message, such as after = \"1h\"");
    }
    let (hours, days, tz) = (section.text("hours"), section.text("days"), zone(&section));
    let hours = match (hours, days) {
        (None, None) => None,
        (hours, days) => {
            let text = hours.as_ref().map_or("00:00-24:00", |hours| hours.value.as_str());
            let days_text = days.as_ref().map(|days| days.value.as_str());
            let parsed = Hours::parse(text, days_text, tz.unwrap_or(TimeZone::UTC));
            if parsed.is_none() {
                let at = hours.or(days).map(|text| text.at);
                let form =
                    "silence counts in hours such as \"07:00-19:00\" on days such as \"mon-fri\" or \"mon-wed,sat\"";
                section.document.wrong(at, form);
            }
            parsed
        }
    };
    section.finish();
    Some(Silence { after: after?, hours })
}

/// To whom mails go, and by which server.
fn email(section: Section<'_>) -> Option<Email> {
    let document = section.document;
    let mailbox = |text: Placed<String>| {
        let parsed = text.value.parse().ok().filter(|mailbox: &Mailbox| mailbox.email.to_string().is_ascii());
        if parsed.is_none() {
            document.wrong(Some(text.at), "this is no address of mail, such as \"desk@hospital.example\"");
        }
        parsed
    };
    let to: Option<Vec<Mailbox>> = section.texts("to").map(|to| to.into_iter().filter_map(mailbox).collect());
    if to.as_ref().is_none_or(Vec::is_empty) {
        section.wrong("email needs to, a list of addresses");
    }
    let from = section.text("from");
    if from.is_none() {
        section.wrong("email needs from, the address that mails come from");
    }
    let server = section.text("smtp");
    if server.is_none() {
        section.wrong("email needs smtp, the server, such as smtp = \"smtp://mail.hospital.example:587\"");
    }
    let (user, password) = (section.text("user"), section.secret("password"));
    if user.is_some() != password.is_some() {
        section.wrong("user and password go together");
    }
    let login = user.zip(password).map(|(user, password)| (user.value, password.value.into()));
    let ca = section.text("ca").map(|file| document.relative(&file.value));
    let (plaintext, starttls) = (section.boolean("plaintext").unwrap_or(false), section.boolean("starttls"));
    let server = server.and_then(|text| smtp(&section, &text, plaintext, starttls));
    let pause = section.duration("pause").unwrap_or(EMAIL_PAUSE);
    section.finish();
    let (host, port, security) = server?;
    Some(Email { to: to?, from: from.and_then(mailbox)?, host, port, security, login, ca, pause })
}

/// `smtps://host` is encrypted from the start, `smtp://host` after STARTTLS, but for this machine and where the network is trusted.
fn smtp(
    section: &Section<'_>,
    text: &Placed<String>,
    plaintext: bool,
    starttls: Option<bool>,
) -> Option<(String, u16, Security)> {
    let wrong = |why: &str| section.document.wrong(Some(text.at.clone()), why);
    let url = Url::parse(&text.value).ok().filter(|url| matches!(url.scheme(), "smtp" | "smtps") && url.has_host());
    let is_bare = |url: &Url| url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let Some(url) = url.filter(|url| is_bare(url) && matches!(url.path(), "" | "/")) else {
        wrong(
            "smtp must be a server such as \"smtp://mail.hospital.example:587\" or \"smtps://mail.hospital.example\"; user and password stand beside it",
        );
        return None;
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    section.document.check_host(&host, &text.at);
    let is_tls = url.scheme() == "smtps";
    let security = match (is_tls, starttls.unwrap_or(!plaintext && !is_loopback(&host))) {
        (true, _) => Security::Tls,
        (false, true) => Security::StartTls,
        (false, false) => Security::Plain,
    };
    if security == Security::Plain && !plaintext && !is_loopback(&host) {
        wrong("this is not encrypted: leave out starttls = false, or add plaintext = true if the network is trusted");
    }
    if security != Security::Plain && plaintext || is_tls && starttls.is_some() {
        wrong("smtps:// is encrypted, as is starttls = true: leave out what says otherwise");
    }
    Some((host, url.port().unwrap_or(if is_tls { 465 } else { 587 }), security))
}
