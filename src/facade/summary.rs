//! `Patient/[id]/$summary`: the card as a document of the International Patient Summary (IPS 1.1.0).
//!
//! The document is closed: what it holds is what its Composition leads to, and who told it (Provenance). Its text is made of what is shown and of nothing else. It never says that there
//! is nothing: feeds tell of what they know.
use super::Shared;
use super::access::Who;
use super::answer::{Problem, Resource, blocking};
use super::card::{look, named, of, person, unlimited};
use super::subscriptions::{now_ms, recipient};
use crate::coordination::PersonKey;
use crate::coordination::card::Section;
use crate::server::care::{Picture, label_of, status_of};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Profiles of IPS.
const PROFILES: &str = "http://hl7.org/fhir/uv/ips/StructureDefinition/";
/// Who puts it together.
const DEVICE: &str = "handoff-gateway";
const LOINC: &str = "http://loinc.org";
const EMPTY: &str = "http://terminology.hl7.org/CodeSystem/list-empty-reason";

/// A section of the document.
struct Part {
    title: &'static str,
    loinc: &'static str,
    display: &'static str,
    sections: &'static [Section],
    /// What stands before its table.
    remark: &'static str,
}

/// The sections in the order of the document. Those that IPS asks for come first.
const PARTS: [Part; 7] = [
    Part {
        title: "Medications",
        loinc: "10160-0",
        display: "History of Medication use Narrative",
        sections: &[Section::Medication],
        remark: "Orders and dispenses that feeds told of. This is no complete list of what is taken.",
    },
    Part {
        title: "Allergies and intolerances",
        loinc: "48765-2",
        display: "Allergies and adverse reactions Document",
        sections: &[Section::Allergy],
        remark: "",
    },
    Part {
        title: "Problems",
        loinc: "11450-4",
        display: "Problem list - Reported",
        sections: &[Section::Condition],
        remark: "Diagnoses of visits, as they were coded there.",
    },
    Part {
        title: "Results",
        loinc: "30954-2",
        display: "Relevant diagnostic tests/laboratory data Narrative",
        sections: &[Section::Result],
        remark: "The newest of each test and feed. Texts of reports and notes on results are not kept here.",
    },
    Part {
        title: "Encounters",
        loinc: "46240-8",
        display: "History of Hospitalizations+Outpatient visits Narrative",
        sections: &[Section::Encounter],
        remark: "",
    },
    Part {
        title: "Plan of care",
        loinc: "18776-5",
        display: "Plan of care note",
        sections: &[Section::Appointment],
        remark: "Appointments, and what should happen and has not yet.",
    },
    Part {
        title: "Documents",
        loinc: "11503-0",
        display: "Medical records",
        sections: &[Section::Document],
        remark: "",
    },
];

/// `GET Patient/[id]/$summary`
pub(super) async fn summary(
    State(shared): State<Arc<Shared>>,
    Extension(Who(who)): Extension<Who>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Resource, Problem> {
    unlimited(query.as_deref(), &body)?;
    blocking(move || {
        let care = &shared.care;
        let recipient = recipient(care, &who)?;
        let person = person(care, recipient, &id)?.ok_or_else(Problem::not_found)?;
        let now_ms = now_ms();
        let picture = look(care, recipient, person, ("summary", now_ms))?;
        Ok(Resource::found(document(care.options.subscriptions.base(), (&who, &picture), now_ms)))
    })
    .await
}

/// The document, as of a moment.
fn document(base: &str, (who, picture): (&str, &Picture), now_ms: i64) -> Value {
    let known: HashMap<(&str, &str), &Value> = picture.resources.iter().map(|one| (named(one), one)).collect();
    let composition = composition(picture, &known, (who, now_ms));
    let device = json!({
        "resourceType": "Device", "id": DEVICE, "deviceName": [{ "name": "handoff", "type": "model-name" }],
        "version": [{ "value": env!("CARGO_PKG_VERSION") }],
    });
    let mut wanted = vec![&composition];
    let (mut taken, mut order) = (BTreeSet::new(), Vec::new());
    while let Some(resource) = wanted.pop() {
        let mut next = Vec::new();
        for (kind, id) in references(resource) {
            if let Some(found) = known.get(&(kind, id)).filter(|_| taken.insert((kind, id))) {
                order.push(*found);
                next.push(*found);
            }
        }
        wanted.extend(next);
    }
    // Who told it, of what is there.
    let is_there = |target: &&Value| {
        target["reference"].as_str().and_then(|text| text.split_once('/')).is_some_and(|one| taken.contains(&one))
    };
    let provenances = picture.resources.iter().filter(|one| one["resourceType"] == "Provenance");
    let provenances: Vec<Value> = provenances
        .filter_map(|one| {
            let targets: Vec<Value> = one["target"].as_array()?.iter().filter(is_there).cloned().collect();
            let mut one = one.clone();
            one["target"] = targets.into();
            // Of those that a message tells itself some name people of whom nothing else is there.
            let is_closed = references(&one).iter().all(|reference| taken.contains(reference));
            let has_any = one["target"].as_array().is_some_and(|targets| !targets.is_empty());
            (has_any && is_closed).then_some(one)
        })
        .collect();
    let base = base.trim_end_matches('/');
    let entry = |resource: &Value| {
        let (kind, id) = named(resource);
        json!({ "fullUrl": format!("{base}/{kind}/{id}"), "resource": resource })
    };
    let resources = [&composition].into_iter().chain(order).chain([&device]).chain(&provenances);
    let id = id_of(&[who, "|", &picture.id, "|", &now_ms.to_string()]);
    json!({
        "resourceType": "Bundle",
        "id": id,
        "meta": { "profile": [format!("{PROFILES}Bundle-uv-ips")] },
        "identifier": { "system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{id}") },
        "type": "document",
        "timestamp": instant(now_ms),
        "entry": resources.map(entry).collect::<Vec<_>>(),
    })
}

fn composition(picture: &Picture, known: &HashMap<(&str, &str), &Value>, (who, now_ms): (&str, i64)) -> Value {
    let sections: Vec<Value> = PARTS.iter().map(|part| section(part, picture, known)).collect();
    let patient = known.get(&("Patient", picture.id.as_str()));
    let name = patient.map(|patient| name_of(patient)).unwrap_or_default();
    let title = if name.is_empty() { "Patient summary".to_owned() } else { format!("Patient summary of {name}") };
    let is_restricted = picture.resources.iter().any(|one| {
        let marks = one["meta"]["security"].as_array().into_iter().flatten();
        marks.filter_map(|mark| mark["code"].as_str()).any(|code| code == "R" || code == "V")
    });
    json!({
        "resourceType": "Composition",
        "id": id_of(&["composition|", who, "|", &picture.id, "|", &now_ms.to_string()]),
        "meta": { "profile": [format!("{PROFILES}Composition-uv-ips")] },
        "text": { "status": "generated", "div": div(&format!("<p>{}</p>", escaped(&title))) },
        "status": "final",
        "type": { "coding": [{ "system": LOINC, "code": "60591-5", "display": "Patient summary Document" }] },
        "subject": { "reference": format!("Patient/{}", picture.id) },
        "date": instant(now_ms),
        "author": [{ "reference": format!("Device/{DEVICE}") }],
        "title": title,
        "confidentiality": if is_restricted { "R" } else { "N" },
        "section": sections,
    })
}

fn section(part: &Part, picture: &Picture, known: &HashMap<(&str, &str), &Value>) -> Value {
    let is_plan = part.sections.contains(&Section::Appointment);
    let may_see = part.sections.iter().any(|section| picture.sections.contains(section)) || (is_plan && picture.loops);
    let mut rows: Vec<Shown> = Vec::new();
    for at in of(picture, part.sections) {
        let Some(entry) = picture.entries.get(at) else { continue };
        let Some(resource) = known.get(&(entry.kind.as_str(), entry.id.as_str())) else { continue };
        if is_plan && matches!(resource["status"].as_str(), Some("cancelled" | "noshow" | "entered-in-error")) {
            continue;
        }
        // What was told by mistake is nobody's history.
        if status_of(resource).split(", ").any(|state| state == "entered-in-error") {
            continue;
        }
        let mut told: Vec<&str> = entry.sources.iter().map(|source| source.feed.as_str()).collect();
        told.dedup();
        let told = told.join(", ");
        rows.push(Shown { resource, at_ms: Some(entry.at_ms), facility: &entry.facility, told });
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.at_ms));
    if is_plan {
        let own = picture.resources.iter().filter(|one| matches!(named(one).0, "Task" | "CareTeam"));
        rows.extend(own.map(|resource| Shown { resource, at_ms: None, facility: "", told: String::new() }));
    }
    let mut section = json!({
        "title": part.title,
        "code": { "coding": [{ "system": LOINC, "code": part.loinc, "display": part.display }] },
    });
    if rows.is_empty() {
        // What was taken out leaves nothing by which that could be told.
        let (code, text) = if may_see {
            ("unavailable", "Nothing that may be shown here is known.")
        } else {
            ("withheld", "Not for this recipient.")
        };
        section["text"] = json!({ "status": "generated", "div": div(&format!("<p>{text}</p>")) });
        section["emptyReason"] = json!({ "coding": [{ "system": EMPTY, "code": code }], "text": text });
        return section;
    }
    let has_more = part.sections.iter().any(|section| picture.more.contains(section));
    section["text"] = json!({ "status": "generated", "div": div(&table(part, &rows, has_more)) });
    let reference = |row: &Shown<'_>| {
        let (kind, id) = named(row.resource);
        json!({ "reference": format!("{kind}/{id}") })
    };
    section["entry"] = rows.iter().map(reference).collect();
    section
}

/// A row of a section.
struct Shown<'p> {
    resource: &'p Value,
    at_ms: Option<i64>,
    facility: &'p str,
    told: String,
}

fn table(part: &Part, rows: &[Shown<'_>], has_more: bool) -> String {
    let mut out = String::new();
    if has_more {
        out += "<p>This is not all: there are older entries that are not shown.</p>";
    }
    if !part.remark.is_empty() {
        out += &format!("<p>{}</p>", escaped(part.remark));
    }
    out +=
        "<table><thead><tr><th>What</th><th>State</th><th>Date</th><th>Where</th><th>Told by</th></tr></thead><tbody>";
    for row in rows {
        let date = row.at_ms.map(instant).unwrap_or_default();
        let date = date.get(..10).unwrap_or_default();
        let what = label_of(row.resource);
        let state = status_of(row.resource);
        let cells =
            [what.as_str(), &state, date, row.facility, &row.told].map(|cell| format!("<td>{}</td>", escaped(cell)));
        out += &format!("<tr>{}</tr>", cells.concat());
    }
    out + "</tbody></table>"
}

fn name_of(patient: &Value) -> String {
    let name = &patient["name"][0];
    let given = name["given"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let all: Vec<&str> = given.chain(name["family"].as_str()).collect();
    all.join(" ")
}

fn div(content: &str) -> String {
    format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{content}</div>")
}

/// As XHTML has it; what XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => {}
            other => out.push(other),
        }
    }
    out
}

/// Where a resource refers to, as type and id.
fn references(value: &Value) -> Vec<(&str, &str)> {
    let (mut found, mut waiting) = (Vec::new(), vec![value]);
    let mut at = 0;
    while let Some(value) = waiting.get(at).copied() {
        at += 1;
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(object) => {
                found.extend(object.get("reference").and_then(Value::as_str).and_then(|text| text.split_once('/')));
                waiting.extend(object.values());
            }
            _ => {}
        }
    }
    found
}

/// An id that is made of these pieces.
fn id_of(pieces: &[&str]) -> String {
    let bytes = crate::coordination::work::telling::audit_id(&[0; 16], "summary", &pieces.concat());
    PersonKey(bytes).to_string()
}

fn instant(ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_text_and_nothing_else() {
        assert_eq!(escaped("a<script>&\"'\u{1}\n"), "a&lt;script&gt;&amp;&quot;&#39; ");
        let told = json!({ "resourceType": "Condition", "code": { "text": "<img onerror=x>" },
            "clinicalStatus": { "coding": [{ "code": "active" }] }, "verificationStatus": { "coding": [{ "code": "confirmed" }] } });
        let row = Shown { resource: &told, at_ms: Some(0), facility: "A&B", told: "<b>".into() };
        let made = table(&PARTS[2], &[row], true);
        assert!(made.contains("&lt;img onerror=x&gt;") && made.contains("A&amp;B") && made.contains("&lt;b&gt;"));
        assert!(!made.contains("<img") && !made.contains("<b>"), "{made}");
        assert!(made.contains("1970-01-01") && made.contains("<p>This is not all: "));
        assert!(made.contains("<td>active, confirmed</td>"), "{made}");
    }
}
