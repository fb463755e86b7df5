//! The sums as lists in order, and as JSON.
use super::{Counted, Coverage, Example, Place, Tally, percent};
use crate::hl7::names;
use crate::mapping::Plan;
use crate::mapping::explain::RulePlace;
use crate::mapping::finding::masked_code;
use crate::mapping::source::Location;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// What [`Coverage`] found, ready to print.
#[derive(Debug)]
pub struct Report {
    /// Messages looked at.
    pub messages: u64,
    /// Of those, messages that could not be translated.
    pub failed: u64,
    /// All values.
    pub total: Tally,
    /// By segment, in the order of their names.
    pub segments: Vec<SegmentLine>,
    /// Places of which anything went nowhere, most first.
    pub lost: Vec<FieldLine>,
    /// Places that were read as condition or identity, of which nothing was lost, most first.
    pub read_only: Vec<FieldLine>,
    /// Codes that missed their table, most first.
    pub codes: Vec<CodeLine>,
    /// Why messages failed, most first.
    pub failures: Vec<FailureLine>,
    /// Maps with rules that no message used.
    pub unused: Vec<MapLine>,
    /// Rules used, and all.
    pub rules: (usize, usize),
    /// What no list had room for.
    pub unlisted: u64,
}

/// One segment.
#[derive(Debug)]
pub struct SegmentLine {
    /// `PID`.
    pub segment: String,
    /// How many there were.
    pub occurrences: u64,
    /// Their values.
    pub tally: Tally,
}

/// One place.
#[derive(Debug)]
pub struct FieldLine {
    /// `PV1-3.4.2`.
    pub place: String,
    /// What HL7 calls the field, where it does.
    pub name: &'static str,
    /// Its values.
    pub tally: Tally,
    /// Why the first of them was lost: a word, what it means, and the rule or table that it is about.
    pub reason: Option<(&'static str, String)>,
    /// The first of them.
    pub example: Example,
}

/// A code that its table lacks.
#[derive(Debug)]
pub struct CodeLine {
    /// `AdministrativeSex`.
    pub table: String,
    /// As the messages have it, or masked where no values are shown; empty for what is too long for a code.
    pub code: String,
    /// No table beside it has the code either (see [`UnmappedCode`](crate::mapping::finding::UnmappedCode)).
    pub is_open: bool,
    /// How often.
    pub count: u64,
    /// The first.
    pub example: Example,
}

/// A reason for which messages failed.
#[derive(Debug)]
pub struct FailureLine {
    /// Of HL7 table 0357.
    pub code: u16,
    /// What is wrong.
    pub text: String,
    /// How many messages.
    pub count: u64,
    /// The first.
    pub example: Example,
}

/// A map, and those of its rules that nothing used.
#[derive(Debug)]
pub struct MapLine {
    /// `PID.Patient`, `ADT_A01`.
    pub map: String,
    /// How many rules it has.
    pub rules: usize,
    /// Those never used; all of them where the map itself was not.
    pub unused: Vec<RulePlace>,
}

impl Coverage {
    /// The sums so far.
    pub fn report(&self, plan: &Plan) -> Report {
        let (unused, rules) = self.unused(plan);
        let segments = self.segments.iter().map(|(id, (occurrences, tally))| SegmentLine {
            segment: id.to_string(),
            occurrences: *occurrences,
            tally: *tally,
        });
        let (lost, read_only) = self.fields();
        let mut codes: Vec<CodeLine> = self.codes.iter().map(|counted| self.code_line(counted)).collect();
        codes.sort_by_key(|line| (!line.is_open, std::cmp::Reverse(line.count)));
        let mut failures: Vec<FailureLine> = self
            .failures
            .iter()
            .map(|((code, text), counted)| FailureLine {
                code: *code,
                text: text.clone(),
                count: counted.count,
                example: counted.example.clone(),
            })
            .collect();
        failures.sort_by_key(|line| std::cmp::Reverse(line.count));
        Report {
            messages: self.messages,
            failed: self.failed,
            total: self.total,
            segments: segments.collect(),
            lost,
            read_only,
            codes,
            failures,
            unused,
            rules,
            unlisted: self.unlisted,
        }
    }

    fn fields(&self) -> (Vec<FieldLine>, Vec<FieldLine>) {
        let (mut lost, mut read_only) = (Vec::new(), Vec::new());
        for (place, field) in &self.fields {
            let (list, reason, example) = match (&field.lost, &field.read) {
                (Some((word, text, example)), _) => (&mut lost, Some((*word, text.clone())), example),
                (None, Some(example)) if field.tally.mapped == 0 => (&mut read_only, None, example),
                _ => continue,
            };
            let (name, place, tally) = (field_name(place), self.place_text(place), field.tally);
            list.push(FieldLine { place, name, tally, reason, example: example.clone() });
        }
        lost.sort_by_key(|line: &FieldLine| std::cmp::Reverse(line.tally.nowhere));
        read_only.sort_by_key(|line: &FieldLine| std::cmp::Reverse(line.tally.read_only));
        (lost, read_only)
    }

    /// `PID-8`, `PID-3.1`, `PID-3.4.2`: parts are named where any message has more than the first.
    fn place_text(&self, place: &Place) -> String {
        let last = Place { component: u16::MAX, subcomponent: u16::MAX, ..*place };
        let first = Place { component: 1, subcomponent: 1, ..*place };
        let several = self.fields.range(first..=last).any(|(other, _)| other.component > 1);
        let inner = Place { subcomponent: 1, ..*place };
        let split = self
            .fields
            .range(inner..=Place { subcomponent: u16::MAX, ..inner })
            .any(|(other, _)| other.subcomponent > 1);
        let mut text = format!("{}-{}", place.segment, place.field);
        if several || split {
            text.push_str(&format!(".{}", place.component));
        }
        if split {
            text.push_str(&format!(".{}", place.subcomponent));
        }
        text
    }

    /// Rules never used, by map; rules used and all rules. A row that was compiled to several rules is used when one of them is.
    fn unused(&self, plan: &Plan) -> (Vec<MapLine>, (usize, usize)) {
        let declared = declaring_messages(plan);
        let mut rows: BTreeMap<(String, usize, String, String), (bool, RulePlace)> = BTreeMap::new();
        let plans = std::iter::once(plan).chain(plan.feeds().iter().map(|feed| feed.plan()));
        for (plan, rule) in plans.flat_map(|plan| plan.usable_rules().into_iter().map(move |rule| (plan, rule))) {
            let Some(mut place) = plan.rule_place(rule) else { continue };
            // A statement that a message map inherits is a row of the one that wrote it.
            if let Some(message) = declared.get(&place.location) {
                place.map = (*message).to_owned();
            }
            let counts = self.rules.get(&plan.hash());
            let used = counts.and_then(|counts| counts.get(rule as usize)).is_some_and(|count| *count > 0);
            let key = (place.map.clone(), place.line, place.file.clone(), place.target.clone());
            rows.entry(key).or_insert((false, place)).0 |= used;
        }
        let all = rows.len();
        let used = rows.values().filter(|(used, _)| *used).count();
        let mut maps: Vec<MapLine> = Vec::new();
        for ((map, ..), (used, place)) in rows {
            if maps.last().is_none_or(|last| last.map != map) {
                maps.push(MapLine { map, rules: 0, unused: Vec::new() });
            }
            let Some(last) = maps.last_mut() else { continue };
            last.rules += 1;
            if !used {
                last.unused.push(place);
            }
        }
        maps.retain(|map| !map.unused.is_empty());
        (maps, (used, all))
    }

    fn code_line(&self, ((settled, table, code), counted): (&(bool, String, String), &Counted)) -> CodeLine {
        let code = if self.values { code.clone() } else { masked_code(code).into_owned() };
        CodeLine {
            table: table.clone(),
            code,
            is_open: !settled,
            count: counted.count,
            example: counted.example.clone(),
        }
    }
}

/// Which message map wrote the statement at a place.
fn declaring_messages(plan: &Plan) -> HashMap<Location, &str> {
    let messages = plan.sources().messages.values();
    let statements = messages.flat_map(|m| m.places.iter().flat_map(|p| &p.statements).map(|s| (s.location, &*m.name)));
    statements.collect()
}

fn field_name(place: &Place) -> &'static str {
    names::segment(place.segment.as_str()).and_then(|s| s.field(place.field)).map_or("", |field| field.name)
}

/// One decimal is as much as a reader takes in.
fn rounded(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

fn tally(tally: Tally) -> Value {
    json!({
        "values": tally.all(), "mapped": tally.mapped, "read_only": tally.read_only, "nowhere": tally.nowhere,
        "mapped_percent": rounded(percent(tally.mapped, tally.all())), "reached_percent": rounded(tally.reached_percent()),
    })
}

fn example(example: &Example) -> Value {
    let mut value = json!({
        "file": *example.origin.file, "message": example.origin.number, "place": example.place, "characters": example.length,
    });
    if let Some(text) = &example.value {
        value["value"] = json!(text);
    }
    value
}

fn field(line: &FieldLine) -> Value {
    let mut value = json!({ "field": line.place, "name": line.name });
    if let (Some(object), Value::Object(counts)) = (value.as_object_mut(), tally(line.tally)) {
        object.extend(counts);
    }
    if let Some((word, text)) = &line.reason {
        value["reason"] = json!(word);
        value["why"] = json!(text);
    }
    value["example"] = example(&line.example);
    value
}

impl Report {
    /// For programs.
    pub fn json(&self) -> Value {
        let segments: Vec<Value> = self
            .segments
            .iter()
            .map(
                |line| json!({ "segment": line.segment, "occurrences": line.occurrences, "values": tally(line.tally) }),
            )
            .collect();
        let codes: Vec<Value> = self
            .codes
            .iter()
            .map(|line| json!({ "table": line.table, "code": line.code, "open": line.is_open, "count": line.count, "example": example(&line.example) }))
            .collect();
        let failures: Vec<Value> = self
            .failures
            .iter()
            .map(|line| json!({ "code": line.code, "text": line.text, "count": line.count, "example": example(&line.example) }))
            .collect();
        let rules = |map: &MapLine| -> Vec<Value> {
            map.unused.iter().map(|r| json!({ "target": r.target, "file": r.file, "line": r.line })).collect()
        };
        let unused: Vec<Value> =
            self.unused.iter().map(|map| json!({ "map": map.map, "rules": map.rules, "unused": rules(map) })).collect();
        json!({
            "messages": self.messages, "failed": self.failed, "total": tally(self.total), "segments": segments,
            "nowhere": self.lost.iter().map(field).collect::<Vec<_>>(),
            "read_only": self.read_only.iter().map(field).collect::<Vec<_>>(),
            "unmapped_codes": codes, "failures": failures,
            "rules": { "used": self.rules.0, "all": self.rules.1, "unused": unused },
            "unlisted": self.unlisted,
        })
    }
}
