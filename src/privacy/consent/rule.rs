//! Provisions as rules.
use super::{ConsentError, PROVISION_DEPTH_MAX, PROVISIONS_MAX};
use serde_json::Value;

/// What is asked: may this recipient see this label of this event?
#[derive(Debug, Clone, Copy)]
pub(in crate::privacy) struct Asked<'a> {
    /// The recipient.
    pub recipient: &'a str,
    /// Its purpose of use.
    pub purpose: &'a str,
    /// Its panels.
    pub panels: &'a [String],
    /// The label and how confidential it is; none: what carries no label.
    pub label: Option<(&'a str, &'a str)>,
    /// Now.
    pub now_ms: i64,
    /// When what it is about happened.
    pub at_ms: i64,
}

/// What a consent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::privacy) enum Verdict {
    Deny,
    Permit { explicit: bool },
}

/// One provision, its conditions alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::privacy) struct Rule {
    /// Of the rule that this one is an exception to.
    parent: Option<usize>,
    depth: usize,
    /// None says nothing by itself.
    permits: Option<bool>,
    period: Span,
    data_period: Span,
    actors: Listed,
    actions: Listed,
    labels: Listed,
    purposes: Listed,
    /// Conditions that are not judged here.
    narrower: bool,
}

/// A condition that lists texts; without any it holds for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Listed {
    texts: Vec<String>,
    /// Some of them could not be read.
    unreadable: bool,
}

impl Listed {
    fn of(value: Option<&Value>, texts_of: impl Fn(&Value) -> Vec<String>) -> Listed {
        let mut listed = Listed::default();
        for item in
            value.map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)).unwrap_or_default()
        {
            let texts = texts_of(item);
            listed.unreadable |= texts.is_empty();
            listed.texts.extend(texts);
        }
        listed
    }

    fn is_open(&self) -> bool {
        self.texts.is_empty() && !self.unreadable
    }

    /// Whether the condition holds; what is unreadable holds for a prohibition.
    fn holds(&self, permits: bool, is: impl Fn(&str) -> bool) -> bool {
        self.is_open() || self.texts.iter().any(|text| is(text)) || (self.unreadable && !permits)
    }
}

/// A period in milliseconds since 1970, as its widest and its narrowest reading: a day without a zone begins at different times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    widest: (i64, i64),
    narrowest: (i64, i64),
}

const ALWAYS: Span = Span { widest: (i64::MIN, i64::MAX), narrowest: (i64::MIN, i64::MAX) };
const NEVER_OR_ALWAYS: Span = Span { widest: (i64::MIN, i64::MAX), narrowest: (i64::MAX, i64::MIN) };
/// Zones reach so far from UTC.
const ZONE_MS: i64 = 14 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

impl Span {
    fn of(period: Option<&Value>) -> Span {
        let Some(period) = period else { return ALWAYS };
        let edge = |key: &str| match period.get(key) {
            None => Some(None),
            Some(value) => value.as_str().and_then(moment).map(Some),
        };
        let (Some(start), Some(end)) = (edge("start"), edge("end")) else { return NEVER_OR_ALWAYS };
        let mut span = ALWAYS;
        if let Some((earliest, latest, _)) = start {
            (span.widest.0, span.narrowest.0) = (earliest, latest);
        }
        if let Some((earliest, latest, length)) = end {
            (span.widest.1, span.narrowest.1) = (latest.saturating_add(length), earliest.saturating_add(length));
        }
        span
    }

    fn holds(self, permits: bool, at_ms: i64) -> bool {
        let (start, end) = if permits { self.narrowest } else { self.widest };
        (start..=end).contains(&at_ms)
    }
}

/// A dateTime: the earliest and latest moment that it begins at, and how long it lasts.
fn moment(text: &str) -> Option<(i64, i64, i64)> {
    if text.contains('T') {
        let at: jiff::Timestamp = text.parse().ok()?;
        return Some((at.as_millisecond(), at.as_millisecond(), 0));
    }
    let (date, next) = match text.len() {
        4 => {
            let date = jiff::civil::Date::new(text.parse().ok()?, 1, 1).ok()?;
            (date, date.checked_add(jiff::Span::new().years(1)).ok()?)
        }
        7 => {
            let date: jiff::civil::Date = format!("{text}-01").parse().ok()?;
            (date, date.checked_add(jiff::Span::new().months(1)).ok()?)
        }
        _ => {
            let date: jiff::civil::Date = text.parse().ok()?;
            (date, date.tomorrow().ok()?)
        }
    };
    let ms = |date: jiff::civil::Date| Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond());
    let (begin, end) = (ms(date)?, ms(next)?);
    let length = end.saturating_sub(begin).max(DAY_MS) - 1;
    Some((begin - ZONE_MS, begin + ZONE_MS, length))
}

/// The base of a consent: `policyRule`.
pub(super) fn base(resource: &Value) -> Option<Rule> {
    let codes = codes(resource.get("policyRule"));
    let permits = match () {
        () if codes.iter().any(|code| code == "OPTOUT") => false,
        () if codes.iter().any(|code| code == "OPTIN") => true,
        () => return None,
    };
    let open = Listed::default;
    Some(Rule {
        parent: None,
        depth: 0,
        permits: Some(permits),
        period: ALWAYS,
        data_period: ALWAYS,
        actors: open(),
        actions: open(),
        labels: open(),
        purposes: open(),
        narrower: false,
    })
}

/// Reads a provision and those within it.
pub(super) fn read(provision: &Value, rules: &mut Vec<Rule>) -> Result<(), ConsentError> {
    let mut waiting = vec![(provision, None, 1)];
    while let Some((provision, parent, depth)) = waiting.pop() {
        if depth > PROVISION_DEPTH_MAX || rules.len() >= PROVISIONS_MAX {
            return Err(ConsentError::TooMany);
        }
        let number = rules.len();
        rules.push(rule(provision, parent, depth)?);
        let nested = provision.get("provision").and_then(Value::as_array).into_iter().flatten();
        waiting.extend(nested.map(|nested| (nested, Some(number), depth + 1)));
    }
    Ok(())
}

fn rule(provision: &Value, parent: Option<usize>, depth: usize) -> Result<Rule, ConsentError> {
    let wrong = |path, what| Err(ConsentError::Element { path, what });
    if !provision.is_object() || provision.get("modifierExtension").is_some() {
        return wrong("Consent.provision", "must be an object without modifierExtension");
    }
    let permits = match provision.get("type").map(Value::as_str) {
        None if parent.is_none() => None,
        Some(Some("permit")) => Some(true),
        Some(Some("deny")) => Some(false),
        _ => return wrong("Consent.provision.type", "must be permit or deny in each nested provision"),
    };
    Ok(Rule {
        parent,
        depth,
        permits,
        period: Span::of(provision.get("period")),
        data_period: Span::of(provision.get("dataPeriod")),
        actors: Listed::of(provision.get("actor"), |actor| actor.get("reference").map(names).unwrap_or_default()),
        actions: Listed::of(provision.get("action"), |concept| codes(Some(concept))),
        labels: Listed::of(provision.get("securityLabel"), |coding| codes(Some(coding))),
        purposes: Listed::of(provision.get("purpose"), |coding| codes(Some(coding))),
        narrower: ["class", "code", "data"].iter().any(|key| provision.get(key).is_some()),
    })
}

/// The names by which a reference knows somebody.
fn names(reference: &Value) -> Vec<String> {
    let text = reference.get("reference").and_then(Value::as_str).and_then(|text| text.rsplit(['/', ':', '#']).next());
    let identifier = reference.get("identifier").and_then(|identifier| identifier.get("value")).and_then(Value::as_str);
    text.into_iter().chain(identifier).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The codes of a Coding or CodeableConcept.
pub(super) fn codes(value: Option<&Value>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let own = value.get("code").and_then(Value::as_str);
    let codings = value.get("coding").and_then(Value::as_array).into_iter().flatten();
    let codings = codings.filter_map(|coding| coding.get("code").and_then(Value::as_str));
    own.into_iter().chain(codings).map(str::to_owned).collect()
}

/// What the innermost rule says that applies; of those as deep the one that forbids.
pub(super) fn decide(rules: &[Rule], asked: &Asked<'_>) -> Option<Verdict> {
    let applying = rules.iter().filter_map(|rule| Some((rule.depth, rule.verdict(rules, asked)?)));
    let deepest = applying.max_by_key(|(depth, verdict)| (*depth, *verdict == Verdict::Deny, verdict.is_explicit()));
    deepest.map(|(_, verdict)| verdict)
}

impl Verdict {
    fn is_explicit(self) -> bool {
        self == Verdict::Permit { explicit: true }
    }
}

impl Rule {
    fn verdict(&self, rules: &[Rule], asked: &Asked<'_>) -> Option<Verdict> {
        let permits = self.permits?;
        let (mut named_actor, mut named_label) = (false, false);
        let mut rule = Some(self);
        // As deep as provisions are read.
        for _ in 0..=PROVISION_DEPTH_MAX {
            let Some(current) = rule else { break };
            if !current.applies(permits, asked) {
                return None;
            }
            named_actor |= !current.actors.is_open();
            named_label |= !current.labels.is_open();
            rule = current.parent.and_then(|parent| rules.get(parent));
        }
        Some(if permits { Verdict::Permit { explicit: named_actor && named_label } } else { Verdict::Deny })
    }

    fn applies(&self, permits: bool, asked: &Asked<'_>) -> bool {
        let actor = |name: &str| {
            // A prohibition that names a panel is about everybody who looks after it.
            name == asked.recipient || (!permits && asked.panels.iter().any(|panel| panel == name))
        };
        let label = |text: &str| match asked.label {
            None => false,
            Some((code, conf)) => text == code || (!permits && text == conf),
        };
        let shares = |action: &str| matches!(action, "access" | "use" | "disclose");
        let known = |action: &str| matches!(action, "collect" | "correct");
        (permits, self.narrower) != (true, true)
            && self.period.holds(permits, asked.now_ms)
            && self.data_period.holds(permits, asked.at_ms)
            && self.actors.holds(permits, actor)
            && self.labels.holds(permits, label)
            && self.purposes.holds(permits, |purpose| purpose == asked.purpose)
            && self.actions.holds(permits, |action| shares(action) || (!permits && !known(action)))
    }
}
