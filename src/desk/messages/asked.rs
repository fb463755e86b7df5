//! What is looked for: the keys of the address, and the words of the search box.
use crate::admin::problem::Problem;
use crate::facets::Outcome;
use crate::search::{Filter, parse_time};
use crate::server::fate::Became;
use axum::http::StatusCode;
use serde::Deserialize;

/// The keys of the address. What stands in the search box wins over a field.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Keys {
    q: String,
    since: String,
    until: String,
    r#type: String,
    sender: String,
    listener: String,
    patient: String,
    control: String,
    outcome: String,
    route: String,
    state: String,
    first: String,
    last: String,
    /// Those before this number: the next page.
    before: String,
}

/// What is looked for, as it was understood.
#[derive(Clone, Default)]
pub(in super::super) struct Asked {
    pub filter: Filter,
    pub route: Option<String>,
    pub state: Option<Became>,
    /// In the message, letters in either case.
    pub text: Option<String>,
    /// Words without a key, which the index must tell what they are.
    pub words: Option<String>,
    /// It asks for what is a patient's, or may be.
    pub personal: bool,
    /// It is not the first page.
    pub paged: bool,
    /// Key and value as they were given, but for the page.
    pub given: Vec<(&'static str, String)>,
}

impl Keys {
    /// Those of a form.
    pub fn of(fields: &[(String, String)]) -> Keys {
        let of = |name: &str| {
            fields.iter().find(|(known, _)| known == name).map_or_else(String::new, |(_, value)| value.clone())
        };
        Keys {
            q: of("q"),
            since: of("since"),
            until: of("until"),
            r#type: of("type"),
            sender: of("sender"),
            listener: of("listener"),
            patient: of("patient"),
            control: of("control"),
            outcome: of("outcome"),
            route: of("route"),
            state: of("state"),
            first: of("first"),
            last: of("last"),
            before: String::new(),
        }
    }

    /// What they mean.
    ///
    /// # Errors
    /// A value that cannot be what its key says.
    pub fn understood(&self, now: jiff::Timestamp) -> Result<Asked, Problem> {
        let mut asked = Asked { given: self.given(), ..Asked::default() };
        for (key, value) in &asked.given.clone() {
            if *key != "q" {
                asked.take(key, value, now)?;
            }
        }
        let mut words = Vec::new();
        for word in words_of(self.q.trim()) {
            match word.split_once(':').filter(|(key, value)| KEYS.contains(key) && !value.is_empty()) {
                Some((key, value)) => asked.take(key, value, now)?,
                None => words.push(word),
            }
        }
        match words.as_slice() {
            [] => {}
            [word] if asked.bare(word) => {}
            _ => {
                asked.words = Some(words.join(" "));
                // One plain number is that of a message, and nothing else for who may not read them.
                asked.personal |= !matches!(words.as_slice(), [word] if word.parse::<u64>().is_ok());
            }
        }
        if let Ok(before) = self.before.trim().parse::<u64>() {
            let last = before.saturating_sub(1);
            asked.paged = true;
            asked.filter.last = Some(asked.filter.last.map_or(last, |given| given.min(last)));
        }
        Ok(asked)
    }

    fn given(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("q", &self.q),
            ("since", &self.since),
            ("until", &self.until),
            ("type", &self.r#type),
            ("sender", &self.sender),
            ("listener", &self.listener),
            ("patient", &self.patient),
            ("control", &self.control),
            ("outcome", &self.outcome),
            ("route", &self.route),
            ("state", &self.state),
            ("first", &self.first),
            ("last", &self.last),
        ];
        let set = all.into_iter().filter(|(_, value)| !value.trim().is_empty());
        set.map(|(key, value)| (key, value.trim().to_owned())).collect()
    }
}

/// Keys that the search box knows.
const KEYS: [&str; 12] =
    ["since", "until", "type", "sender", "listener", "patient", "control", "outcome", "route", "state", "seq", "text"];

impl Asked {
    /// The value of a key, for its field.
    pub fn value(&self, key: &str) -> &str {
        self.given.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
    }

    /// The address of the page before a number; of the first page without one.
    pub fn address(&self, before: Option<u64>) -> String {
        let before = before.map(|before| ("before", before.to_string()));
        let keys = self.given.iter().cloned().chain(before);
        let url = reqwest::Url::parse_with_params("desk:/messages", keys);
        let query =
            url.ok().and_then(|url| url.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}")));
        format!("/messages{}", query.unwrap_or_default())
    }

    fn take(&mut self, key: &str, value: &str, now: jiff::Timestamp) -> Result<(), Problem> {
        let text = || Some(value.to_owned());
        let time = || {
            let remedy = "write 2026-01-31, 2026-01-31T08:30 (UTC), or how long ago: 90m, 2h, 7d";
            parse_time(value, now).map(Some).ok_or_else(|| bad(format!("{key} is no time"), remedy))
        };
        let number = || {
            let remedy = "the number is what the journal counts messages by: seq:100, seq:100-200, seq:100-";
            value.parse::<u64>().map(Some).map_err(|_| bad(format!("{key} is no whole number"), remedy))
        };
        match key {
            "since" => self.filter.since_ms = time()?,
            "until" => self.filter.until_ms = time()?,
            "type" => (self.filter.code, self.filter.event) = kind(value),
            "listener" => self.filter.listener = text(),
            "route" => self.route = text(),
            "first" => self.filter.first = number()?,
            "last" => self.filter.last = number()?,
            "sender" => (self.filter.sender, self.personal) = (text(), true),
            "patient" => (self.filter.patient, self.personal) = (text(), true),
            "control" => (self.filter.control_id, self.personal) = (text(), true),
            "text" => (self.text, self.personal) = (text(), true),
            "outcome" => {
                let found = Outcome::ALL.into_iter().find(|outcome| outcome.name() == value);
                let names = Outcome::ALL.map(Outcome::name).join(", ");
                self.filter.outcome =
                    Some(found.ok_or_else(|| bad("there is no such outcome", format!("one of {names}")))?);
            }
            "state" => {
                let names = Became::ALL.map(|(name, _)| name).join(", ");
                let state =
                    Became::parse(value).ok_or_else(|| bad("there is no such state", format!("one of {names}")))?;
                self.state = Some(state);
            }
            _ => {
                (self.filter.first, self.filter.last) = range(value).ok_or_else(|| {
                    bad("seq is no number or range of numbers", "write seq:100, seq:100-200, seq:100- or seq:-200")
                })?
            }
        }
        Ok(())
    }

    /// A word that says by itself what it is. Whether it was one.
    fn bare(&mut self, word: &str) -> bool {
        if let Some(outcome) = Outcome::ALL.into_iter().find(|outcome| outcome.name() == word) {
            self.filter.outcome = Some(outcome);
        } else if let Some(state) = Became::parse(word) {
            self.state = Some(state);
        } else if is_kind(word) {
            (self.filter.code, self.filter.event) = kind(word);
        } else if let Some(span) = word.contains('-').then(|| range(word)).flatten() {
            (self.filter.first, self.filter.last) = span;
        } else {
            return false;
        }
        true
    }
}

fn bad(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "cannot be looked for", detail, remedy)
}

/// `ADT^A01`, `ADT`, `^A01`, `ADT^A01^ADT_A01`: the code and the event.
fn kind(text: &str) -> (Option<String>, Option<String>) {
    let (code, event) = text.split_once('^').unwrap_or((text, ""));
    let given = |text: &str| (!text.is_empty()).then(|| text.to_ascii_uppercase());
    (given(code), given(event.split('^').next().unwrap_or_default()))
}

/// `ADT`, `ADT^A01` in capitals.
fn is_kind(text: &str) -> bool {
    let three =
        |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let (code, event) = text.split_once('^').unwrap_or((text, "A01"));
    three(code) && three(event) && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// `100`, `100-200`, `100-`, `-200`.
fn range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<u64>().ok().map(Some) };
    match text.split_once('-') {
        None => text.parse().ok().map(|seq| (Some(seq), Some(seq))),
        Some(("", "")) => None,
        Some((first, last)) => Some((number(first)?, number(last)?)),
    }
}

/// Words apart by blanks; `"a b"` and `text:"a b"` are one.
fn words_of(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in text.chars().take(QUERY_CHARS_MAX) {
        match character {
            '"' => quoted = !quoted,
            _ if character.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// What of a search is longer is not looked for.
const QUERY_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(q: &str) -> Asked {
        Keys { q: q.into(), ..Keys::default() }.understood(jiff::Timestamp::UNIX_EPOCH).unwrap_or_default()
    }

    #[test]
    fn the_search_box_understands_what_people_write() {
        let found = asked("control:c1 type:adt^a01 seq:100-200 sender:HIS|HARBOR text:\"two words\"");
        let filter = Filter {
            control_id: Some("c1".into()),
            code: Some("ADT".into()),
            event: Some("A01".into()),
            sender: Some("HIS|HARBOR".into()),
            first: Some(100),
            last: Some(200),
            ..Filter::default()
        };
        assert!(found.filter == filter && found.text.as_deref() == Some("two words") && found.personal);
        assert_eq!(asked("ORU^R01").filter.event.as_deref(), Some("R01"));
        assert_eq!(asked("ADT").filter.code.as_deref(), Some("ADT"));
        assert_eq!(
            (asked("errored").state, asked("rejected").filter.outcome),
            (Some(Became::Errored), Some(Outcome::Rejected))
        );
        let open = asked("100-");
        assert_eq!((open.filter.first, open.filter.last), (Some(100), None));
        let words = asked("anna 17");
        assert!(words.words.as_deref() == Some("anna 17") && words.personal && !asked("17").personal);
        assert!(asked("555 1234").personal, "what is joined is a text, and may be a patient's number");
        assert_eq!(asked("http://x/y").words.as_deref(), Some("http://x/y"), "a colon alone makes no key");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for q in ["since:yesterday", "seq:x", "seq:-", "outcome:good", "state:lost"] {
            let keys = Keys { q: q.into(), ..Keys::default() };
            assert!(keys.understood(jiff::Timestamp::UNIX_EPOCH).is_err(), "{q}");
        }
    }

    #[test]
    fn a_page_is_found_again_by_its_address() {
        let keys = Keys { q: "a&b".into(), route: "ehr".into(), before: "9".into(), ..Keys::default() };
        let Ok(asked) = keys.understood(jiff::Timestamp::UNIX_EPOCH) else { panic!() };
        assert_eq!(asked.filter.last, Some(8));
        assert_eq!(asked.address(Some(5)), "/messages?q=a%26b&route=ehr&before=5");
        assert_eq!(Asked::default().address(None), "/messages");
    }
}
