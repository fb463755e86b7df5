//! What two sets of mappings make of the same messages: differences of the Bundles, counted by place, so that ten thousand messages stay readable.
use super::provenance::{Origin, candidates, explained, of_path};
use super::{Context, Failure, Plan, Scratch};
use crate::fhir::diff::{Difference, Side, differences};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Sums over messages.
pub struct Comparison {
    /// Whether examples may show values: not those of a journal, unless asked for.
    values: bool,
    scratch: Scratch,
    groups: BTreeMap<Key, Group>,
    /// Values of groups beyond the limit.
    beyond: usize,
    counts: Counts,
}

/// How many messages came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub messages: usize,
    /// That say the same, byte for byte.
    pub unchanged: usize,
    /// That say something else.
    pub differing: usize,
    /// That say the same with other ids, or in another order.
    pub renamed: usize,
    /// That neither side translates.
    pub refused: usize,
}

/// What kind of difference, and the place without numbers of list elements: `changed`, `Patient.gender`.
pub type Key = (&'static str, String);

/// Differences of one kind at one place.
pub struct Group {
    /// How many.
    pub values: usize,
    /// In how many messages.
    pub messages: usize,
    /// The message counted last.
    last: usize,
    /// The first of them.
    pub example: Example,
}

/// One difference, with its message.
#[derive(Default)]
pub struct Example {
    /// As the message was called.
    pub message: String,
    /// `Patient.name[0].family`.
    pub place: String,
    /// As JSON; none where there was nothing, or values are not shown.
    pub before: Option<String>,
    /// The same.
    pub after: Option<String>,
    /// The rules that it comes from.
    pub origins: Vec<Origin>,
}

/// Places that are told apart.
const GROUPS_MAX: usize = 10_000;
/// In the text form, longer values are cut.
const SHOWN_CHARACTERS: usize = 120;

impl Comparison {
    /// Of no message yet; `values`: whether examples may show values.
    pub fn new(values: bool) -> Comparison {
        Comparison { values, scratch: Scratch::new(), groups: BTreeMap::new(), beyond: 0, counts: Counts::default() }
    }

    /// Whether any message has another meaning, or other ids.
    pub fn any(&self) -> bool {
        self.counts.differing + self.counts.renamed > 0
    }

    /// How many messages came out how.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Translates a message with both.
    pub fn add(&mut self, label: &str, raw: &[u8], before: &Plan, after: &Plan) {
        self.counts.messages += 1;
        let old = translated(before, raw, &mut self.scratch);
        let new = translated(after, raw, &mut self.scratch);
        match (old, new) {
            (Ok(old), Ok(new)) if old == new => self.counts.unchanged += 1,
            (Ok(old), Ok(new)) => self.bundles(label, raw, [&old, &new], [before, after]),
            (Err(old), Err(new)) => {
                self.counts.refused += 1;
                if old != new {
                    self.outcome(label, "refused otherwise", &new, Some(&old.text), Some(&new.text));
                }
            }
            (Err(old), Ok(_)) => self.outcome(label, "translated now", &old, Some(&old.text), None),
            (Ok(_), Err(new)) => self.outcome(label, "refused now", &new, None, Some(&new.text)),
        }
    }

    /// Failures hold no values of the message.
    fn outcome(
        &mut self,
        label: &str,
        kind: &'static str,
        failure: &Failure,
        before: Option<&str>,
        after: Option<&str>,
    ) {
        self.counts.differing += 1;
        let place = failure
            .location
            .map_or_else(String::new, |(id, _, field)| format!(" {}-{field}", String::from_utf8_lossy(&id)));
        let key = (kind, format!("error[{}]{place}", failure.code));
        let (message, place) = (label.to_owned(), key.1.clone());
        let shown = |text: Option<&str>| text.map(str::to_owned);
        let example = Example { message, place, before: shown(before), after: shown(after), origins: Vec::new() };
        self.count(key, || example);
    }

    fn bundles(&mut self, label: &str, raw: &[u8], bundles: [&[u8]; 2], plans: [&Plan; 2]) {
        let [old, new] = bundles.map(|bytes| serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null));
        let found = differences(&old, &new);
        if found.is_empty() {
            self.counts.renamed += 1;
            return;
        }
        self.counts.differing += 1;
        let mut known = None;
        for difference in found {
            let key = (difference.kind().name(), difference.pattern());
            let fresh = !self.groups.contains_key(&key) && self.groups.len() < GROUPS_MAX;
            // Explained only where it becomes an example: that costs as much as the translation.
            let example = fresh.then(|| {
                let known = known.get_or_insert_with(|| plans.map(|plan| explained(plan, raw, &mut self.scratch)));
                let origins = match (&difference.found, &difference.expected, known) {
                    (Some(side), _, [_, Some(after)]) => of_path(after, &side.path),
                    (None, Some(side), [Some(before), _]) => of_path(before, &side.path),
                    _ => candidates(plans[1], raw, None, &difference.pattern()),
                };
                self.example(label, &difference, origins)
            });
            self.count(key, || example.unwrap_or_default());
        }
    }

    fn example(&self, label: &str, difference: &Difference, origins: Vec<Origin>) -> Example {
        let shown = |side: &Option<Side>| side.as_ref().filter(|_| self.values).map(shown);
        Example {
            message: label.to_owned(),
            place: difference.name().to_owned(),
            before: shown(&difference.expected),
            after: shown(&difference.found),
            origins,
        }
    }

    fn count(&mut self, key: (&'static str, String), example: impl FnOnce() -> Example) {
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            self.beyond += 1;
            return;
        }
        let group =
            self.groups.entry(key).or_insert_with(|| Group { values: 0, messages: 0, last: 0, example: example() });
        group.values += 1;
        if group.last != self.counts.messages {
            group.last = self.counts.messages;
            group.messages += 1;
        }
    }

    /// The groups with the most messages first.
    pub fn sorted(&self) -> Vec<(&Key, &Group)> {
        let mut all: Vec<_> = self.groups.iter().collect();
        all.sort_by_key(|(_, group)| std::cmp::Reverse((group.messages, group.values)));
        all
    }

    /// For people.
    pub fn text(&self) -> String {
        let Counts { messages, differing, renamed, refused, .. } = self.counts;
        let mut out = format!("output: {differing} of {messages} messages differ");
        if renamed > 0 {
            let _ = write!(out, ", {renamed} more only in ids or order");
        }
        if refused > 0 {
            let _ = write!(out, "; neither translates {refused}");
        }
        out.push('\n');
        for ((kind, pattern), group) in self.sorted() {
            let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
            let counts = format!("{} in {}", count(group.values, "value"), count(group.messages, "message"));
            let _ = writeln!(out, "  {kind} {pattern}: {counts}");
            let example = &group.example;
            let _ = writeln!(out, "      such as {}: {}", example.message, example.place);
            for (word, value) in [("before", &example.before), ("after ", &example.after)] {
                if let Some(value) = value {
                    let _ = writeln!(out, "      {word}  {}", cut(value));
                }
            }
            for origin in &example.origins {
                let _ = writeln!(out, "      from    {origin}");
            }
        }
        if self.beyond > 0 {
            let _ = writeln!(out, "  and {} values at more places", self.beyond);
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Counts { messages, differing, renamed, refused, .. } = self.counts;
        let group = |(key, group): (&Key, &Group)| {
            let example = &group.example;
            json!({
                "kind": key.0, "path": key.1, "values": group.values, "messages": group.messages,
                "example": { "message": example.message, "place": example.place, "before": example.before, "after": example.after,
                    "origins": example.origins.iter().map(Origin::json).collect::<Vec<_>>() },
            })
        };
        json!({
            "messages": messages, "differing": differing, "renamed": renamed, "refused": refused,
            "groups": self.sorted().into_iter().map(group).collect::<Vec<_>>(), "beyond": self.beyond,
        })
    }
}

fn translated(plan: &Plan, raw: &[u8], scratch: &mut Scratch) -> Result<Vec<u8>, Failure> {
    plan.translate(raw, &Context::default(), scratch)?;
    Ok(scratch.bundle().to_vec())
}

/// A value in one line; a reference by what it leads to.
pub fn shown(side: &Side) -> String {
    match &side.refers_to {
        Some(name) => format!("a reference to {name}"),
        None => side.value.to_string(),
    }
}

/// One line, not too long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
        None => text.to_owned(),
    }
}
