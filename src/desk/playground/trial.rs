//! One message with the present mappings and with the overlay.
use crate::fhir::diff::{Difference, differences};
use crate::hl7::split;
use crate::mapping::explain::Explanation;
use crate::mapping::{Context, Failure, Plan, Scratch};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What came of it.
pub(super) struct Trial {
    /// The Bundle with the overlay, or why there is none.
    pub after: Result<Value, Failure>,
    /// The same with the present mappings.
    pub before: Result<Value, Failure>,
    /// Where the two differ.
    pub differences: Vec<Difference>,
    /// What the translation noticed; nothing of the message.
    pub findings: Vec<String>,
    /// Where each value came from, by its path; empty unless asked for.
    pub origins: HashMap<String, String>,
}

/// Longest message.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The message in what was pasted: the first, where there are several. Also how many there are.
pub(super) fn first(text: &str) -> Option<(Vec<u8>, usize)> {
    if !text.as_bytes().windows(3).any(|word| word.eq_ignore_ascii_case(b"MSH")) {
        return None;
    }
    let mut messages = split(text.as_bytes());
    let span = messages.next()?;
    let count = 1 + messages.count();
    Some((as_utf8(text.get(span)?), count))
}

/// A form sends UTF-8, whatever the message says of itself: it must say so, or its letters are read as others. In ASCII they are the same.
fn as_utf8(message: &str) -> Vec<u8> {
    let end = message.find(['\r', '\n']).unwrap_or(message.len());
    let (header, rest) = message.split_at(end);
    let Some(separator) = header.chars().nth(3).filter(|_| !message.is_ascii()) else {
        return message.as_bytes().to_vec();
    };
    let mut fields: Vec<&str> = header.split(separator).collect();
    fields.resize(fields.len().max(18), "");
    if let Some(charset) = fields.get_mut(17) {
        *charset = "UNICODE UTF-8";
    }
    let mut said = fields.join(&separator.to_string());
    said.push_str(rest);
    said.into_bytes()
}

impl Trial {
    /// Translates with both; `with` is none where the overlay does not compile, or changes nothing.
    pub fn of(raw: &[u8], present: &Plan, with: Option<&Plan>, origins: bool) -> Trial {
        let mut scratch = Scratch::new();
        let before = translated(present, raw, &mut scratch);
        let plan = with.unwrap_or(present);
        let after = if with.is_some() { translated(plan, raw, &mut scratch) } else { before.clone() };
        let findings = findings(plan, raw, &scratch);
        let mut trial = Trial { after, before, differences: Vec::new(), findings, origins: HashMap::new() };
        if let (Ok(before), Ok(after)) = (&trial.before, &trial.after) {
            trial.differences = differences(before, after);
        }
        if origins && trial.after.is_ok() {
            let explained = plan.explain(raw, &Context::default(), None, &mut scratch).unwrap_or_default();
            trial.origins =
                explained.values.iter().filter_map(|value| Some((value.path.clone(), origin(value)?))).collect();
        }
        trial
    }

    /// Paths of the Bundle with the overlay at which it says something else.
    pub fn changed(&self) -> HashSet<&str> {
        self.differences.iter().filter_map(|one| Some(one.found.as_ref()?.path.as_str())).collect()
    }
}

fn translated(plan: &Plan, raw: &[u8], scratch: &mut Scratch) -> Result<Value, Failure> {
    plan.translate(raw, &Context::default(), scratch)?;
    Ok(serde_json::from_slice(scratch.bundle()).unwrap_or_default())
}

fn findings(plan: &Plan, raw: &[u8], scratch: &Scratch) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    if scratch.findings().is_empty() {
        return told;
    }
    let message = scratch.message(raw);
    for finding in scratch.findings().iter().take(LOOKED_AT_MAX) {
        let text = format!("{} {}", finding.code.as_str(), finding.render(plan, message));
        if !told.contains(&text) {
            told.push(text);
        }
        if told.len() == FINDINGS_MAX {
            break;
        }
    }
    told
}

const FINDINGS_MAX: usize = 100;
/// Of very many most say the same, and each has its place counted out.
const LOOKED_AT_MAX: usize = 512;

/// `PID-7, PID.Patient birthDate`
fn origin(value: &Explanation) -> Option<String> {
    let origin = crate::mapping::provenance::of_value(value)?;
    let place = format!("{} ({}:{})", origin.rule, origin.file, origin.line);
    Some(origin.field.map_or_else(|| place.clone(), |field| format!("{field}, {place}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_sends_is_utf8_and_says_so() {
        let plain = "MSH|^~\\&|A\nPID|1\n";
        assert_eq!(first(plain).map(|(raw, count)| (raw.len(), count)), Some((plain.len() - 1, 1)));
        let (raw, _) = first("MSH|^~\\&|A\nPID|é\n").unwrap();
        let text = String::from_utf8(raw).unwrap();
        assert_eq!(text.lines().next().unwrap().split('|').nth(17), Some("UNICODE UTF-8"), "{text}");
        assert!(text.contains("PID|é"));
        let said = "MSH|^~\\&|A||||20260101||ADT^A01|1|P|2.5||||||8859/1|x\rPID|é\r";
        let text = String::from_utf8(first(said).unwrap().0).unwrap();
        assert!(text.contains("|UNICODE UTF-8|x\rPID|é"), "{text}");
        assert_eq!(first("MSH|^~\\&|A\nMSH|^~\\&|B\n").map(|(_, count)| count), Some(2));
        assert!(first("no message").is_none() && first("").is_none());
    }
}
