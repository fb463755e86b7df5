//! How a match came about, as JSON: on the command line and in the admin API. Names, dates of birth and identifiers of members only where they are asked for.
use super::matching::{Explanation, How, Match, Step};
use super::score::Part;
use super::snapshot::{Membership, Snapshot};
use crate::coordination::PersonKey;
use serde_json::{Value, json};

/// A member: the key, and who it is where that may be shown (`phi`).
pub fn person(key: &PersonKey, snapshot: &Snapshot, phi: bool) -> Value {
    let mut object = json!({ "key": key.to_string() });
    if let Some(about) = snapshot.about(key).filter(|_| phi) {
        object["family"] = about.family.into();
        object["given"] = about.given.into();
        object["birth_date"] = about.birth.to_string().into();
        object["identifiers"] =
            snapshot.identifiers(key).map(|(system, value)| json!({ "system": system, "value": value })).collect();
    }
    object
}

impl Explanation {
    /// Whom it is about and what was tried, by the people among whom that was found.
    pub fn json(&self, snapshot: &Snapshot, phi: bool) -> Value {
        let person = |key: &PersonKey| person(key, snapshot, phi);
        let mut object = json!({});
        match &self.found {
            Match::Person(key, how) => {
                object["match"] = how.name().into();
                object["person"] = person(key);
                if let How::Score(score) = how {
                    object["score"] = rounded(*score);
                }
                object["memberships"] = snapshot.memberships(key).map(membership).collect();
            }
            Match::Review { reason, candidates } => {
                object["match"] = "review".into();
                object["reason"] = reason.name().into();
                object["candidates"] = candidates.iter().map(person).collect();
            }
            Match::None => object["match"] = "none".into(),
        }
        object["steps"] = self.steps.iter().map(step_json).collect();
        object
    }
}

fn membership(one: Membership<'_>) -> Value {
    let day = |day: Option<jiff::civil::Date>| day.map(|day| day.to_string());
    json!({ "panel": one.panel.id, "start": day(one.start), "end": day(one.end), "pcp": one.pcp, "care_manager": one.care_manager })
}

fn step_json(step: &Step) -> Value {
    let keys = |people: &[PersonKey]| people.iter().map(ToString::to_string).collect::<Vec<_>>();
    match step {
        Step::Identifier { system, people, alias, confirmed } => {
            json!({ "identifier": system, "alias": alias, "people": keys(people), "confirmed": keys(confirmed) })
        }
        Step::Fields { set, people } => json!({ "set": set, "people": keys(people) }),
        Step::Broad { block } => json!({ "block": block, "broad": true }),
        Step::Compared { person, score, parts, another_given } => {
            let part = |part: &Part| json!({ "field": part.field.name(), "alike": part.alike.map(rounded), "adds": rounded(part.adds), "most": rounded(part.most) });
            json!({ "person": person.to_string(), "score": score.map(rounded), "another_given": another_given, "parts": parts.iter().map(part).collect::<Vec<_>>() })
        }
    }
}

/// Three decimals say all there is.
fn rounded(number: f64) -> Value {
    ((number * 1000.0).round() / 1000.0).into()
}
