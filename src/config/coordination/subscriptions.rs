//! `[coordination.subscriptions]`: where clients reach the FHIR interface, and how they are told.
use super::super::section::{Placed, Section};
use super::super::sections::set;
use crate::coordination::subscription::Options;
use crate::coordination::subscription::standing::Backlog;
use reqwest::Url;

/// How clients are told.
pub(super) fn subscriptions(coordination: &Section<'_>) -> Options {
    let mut options = Options::default();
    let Some(section) = coordination.table("subscriptions") else { return options };
    set(&mut options.canonical_base, base(&section, "canonical_base"));
    options.base = base(&section, "base");
    options.focus_base = base(&section, "focus_base");
    let policy = &mut options.policy;
    set(&mut policy.attempts_max, section.number("attempts_max", 1));
    set(&mut policy.retry_min, section.duration("retry_min"));
    set(&mut policy.retry_max, section.duration("retry_max"));
    set(&mut policy.backlog, section.choice("backlog", &[("leave", Backlog::Leave), ("send", Backlog::Send)]));
    if policy.retry_min.is_zero() || policy.retry_max < policy.retry_min {
        section.wrong("retry_min must be more than nothing, and retry_max no less than it");
    }
    set(&mut options.keep, section.duration("keep"));
    if options.keep.is_zero() {
        section.wrong("keep must be more than nothing: what could not be delivered is read again from there");
    }
    section.finish();
    options
}

/// What URLs begin with, without a stroke at the end.
fn base(section: &Section<'_>, key: &'static str) -> Option<String> {
    let Placed { value, at } = section.text(key)?;
    let fits = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none()
    };
    if Url::parse(&value).ok().as_ref().is_none_or(|url| !fits(url)) {
        section.document.wrong(Some(at), format!("{key} must be a URL such as \"https://gateway.example/fhir\""));
        return None;
    }
    Some(value.trim_end_matches('/').to_owned())
}
