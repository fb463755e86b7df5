//! `Patient/[id]/$summary`: the card as a document of the International Patient Summary (IPS 1.1.0).
//!
//! The document is closed: what it holds is what its Composition leads to, and who told it (Provenance). Its text is made of what is shown and of nothing else. It never says that there
//! is nothing: feeds tell of what they know.
use super::Shared;
use super::access::Who;
use super::answer::{self, Problem, Text, blocking};
use super::card::{Asked, of, person, unlimited};
use super::subscriptions::{now_ms, recipient};
use crate::coordination::PersonKey;
use crate::coordination::card::Section;
use crate::server::care::{CardResource, Picture, is_past};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde_json::{Value, json};
use std::borrow::Cow;
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
) -> Result<Text, Problem> {
    unlimited(query.as_deref(), &body)?;
    blocking(move || {
        let care = &shared.care;
        let recipient = recipient(care, &who)?;
        let asked = Asked { what: "summary", now_ms: now_ms() };
        let person = person(care, recipient, &id)?.ok_or_else(|| asked.unknown(care, recipient))?;
        let base = care.options.subscriptions.base();
        let (picture, (shown, text)) = asked.look(care, recipient, person, |picture| {
            let document = Document::of(picture, &who, asked.now_ms);
            let text = document.text(base);
            (document.shown(), text)
        })?;
        let all = shown.iter().filter_map(|at| picture.resources.get(*at));
        asked.remember(care, recipient, picture.person, all);
        Ok(Text(text))
    })
    .await
}

/// The document, as of a moment.
struct Document<'p> {
    picture: &'p Picture,
    who: &'p str,
    now_ms: i64,
    composition: Value,
    /// What it leads to, in the order in which it is found.
    taken: Vec<usize>,
}

impl<'p> Document<'p> {
    fn of(picture: &'p Picture, who: &'p str, now_ms: i64) -> Document<'p> {
        let sections: Vec<(Value, Vec<usize>)> = PARTS.iter().map(|part| section(part, picture, now_ms)).collect();
        // The person, and what the sections list.
        let mut waiting: Vec<usize> = sections.iter().flat_map(|(_, rows)| rows).copied().collect();
        waiting.push(0);
        let mut known = vec![false; picture.resources.len()];
        let mut taken = Vec::with_capacity(known.len());
        while let Some(at) = waiting.pop() {
            let Some(one) = picture.resources.get(at) else { continue };
            if known.get_mut(at).is_some_and(|known| !std::mem::replace(known, true)) {
                taken.push(at);
                waiting.extend(&one.references);
            }
        }
        let sections = sections.into_iter().map(|(section, _)| section).collect();
        let composition = composition(picture, sections, (who, now_ms));
        Document { picture, who, now_ms, composition, taken }
    }

    fn text(&self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        let mut entries = String::with_capacity(512 << 10);
        let own = |entries: &mut String, resource: &Value| {
            let text = |name: &str| resource[name].as_str().unwrap_or_default();
            answer::entry(entries, base, (text("resourceType"), text("id"), &resource.to_string()), "");
        };
        own(&mut entries, &self.composition);
        for one in self.taken.iter().filter_map(|at| self.picture.resources.get(*at)) {
            answer::entry(&mut entries, base, (&one.kind, &one.id, &one.json), "");
        }
        let device = json!({
            "resourceType": "Device", "id": DEVICE, "deviceName": [{ "name": "handoff", "type": "model-name" }],
            "version": [{ "value": env!("CARGO_PKG_VERSION") }],
        });
        own(&mut entries, &device);
        for (_, one, json) in self.provenances() {
            answer::entry(&mut entries, base, (&one.kind, &one.id, &json), "");
        }
        let id = id_of(&[self.who, "|", &self.picture.id, "|", &self.now_ms.to_string()]);
        let mut head = json!({
            "resourceType": "Bundle",
            "id": id,
            "identifier": { "system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{id}") },
            "type": "document",
            "timestamp": instant(self.now_ms),
        });
        profiled(&mut head, "Bundle-uv-ips", self.picture);
        let head = head.to_string();
        format!("{},\"entry\":[{entries}]}}", head.strip_suffix('}').unwrap_or_default())
    }

    /// The places of all that it shows.
    fn shown(&self) -> Vec<usize> {
        self.taken.iter().copied().chain(self.provenances().map(|(at, ..)| at)).collect()
    }

    /// Who told what is there, with their places.
    fn provenances(&self) -> impl Iterator<Item = (usize, &CardResource, Cow<'_, str>)> {
        let mut is_there = vec![false; self.picture.resources.len()];
        for at in &self.taken {
            if let Some(is_there) = is_there.get_mut(*at) {
                *is_there = true;
            }
        }
        let all = self.picture.resources.iter().enumerate().filter(|(_, one)| one.kind == "Provenance");
        all.filter_map(move |(at, one)| {
            let there = |place: &usize| is_there.get(*place).is_some_and(|is_there| *is_there);
            let others = one.references.iter().filter(|place| !one.targets.contains(place));
            // Of those that a message tells itself some name people of whom nothing else is there.
            if there(&at) || one.refers_outside || !others.clone().all(there) || !one.targets.iter().any(there) {
                return None;
            }
            if one.targets.iter().all(there) {
                return Some((at, one, Cow::Borrowed(one.json.as_str())));
            }
            let kept =
                one.targets.iter().filter(|place| there(place)).filter_map(|place| self.picture.resources.get(*place));
            let targets: Vec<Value> =
                kept.map(|one| json!({ "reference": format!("{}/{}", one.kind, one.id) })).collect();
            let mut value = one.value();
            value["target"] = targets.into();
            Some((at, one, Cow::Owned(value.to_string())))
        })
    }
}

/// What IPS asks of everybody: a name and when they were born. Who may not be told of both gets a document that does not say that it is one of IPS.
fn profiled(resource: &mut Value, profile: &str, picture: &Picture) {
    let patient = patient(picture);
    if !name_of(&patient).is_empty() && patient["birthDate"].is_string() {
        resource["meta"] = json!({ "profile": [format!("{PROFILES}{profile}")] });
    }
}

fn patient(picture: &Picture) -> Value {
    picture.resource("Patient", &picture.id).map(CardResource::value).unwrap_or_default()
}

fn composition(picture: &Picture, sections: Vec<Value>, (who, now_ms): (&str, i64)) -> Value {
    let name = name_of(&patient(picture));
    let title = if name.is_empty() { "Patient summary".to_owned() } else { format!("Patient summary of {name}") };
    let is_restricted = picture.resources.iter().any(|one| one.is_restricted);
    let mut composition = json!({
        "resourceType": "Composition",
        "id": id_of(&["composition|", who, "|", &picture.id, "|", &now_ms.to_string()]),
        "text": { "status": "generated", "div": div(&format!("<p>{}</p>", escaped(&title))) },
        "status": "final",
        "type": { "coding": [{ "system": LOINC, "code": "60591-5", "display": "Patient summary Document" }] },
        "subject": { "reference": format!("Patient/{}", picture.id) },
        "date": instant(now_ms),
        "author": [{ "reference": format!("Device/{DEVICE}") }],
        "title": title,
        "confidentiality": if is_restricted { "R" } else { "N" },
        "section": sections,
    });
    profiled(&mut composition, "Composition-uv-ips", picture);
    composition
}

/// A section, and the places of what it lists.
fn section(part: &Part, picture: &Picture, now_ms: i64) -> (Value, Vec<usize>) {
    let is_plan = part.sections.contains(&Section::Appointment);
    let may_see = part.sections.iter().any(|section| picture.sections.contains(section)) || (is_plan && picture.loops);
    let has_more = part.sections.iter().any(|section| picture.more.contains(section));
    let rows = rows(part, picture, now_ms);
    let mut section = json!({
        "title": part.title,
        "code": { "coding": [{ "system": LOINC, "code": part.loinc, "display": part.display }] },
    });
    if rows.is_empty() {
        // What was taken out leaves nothing by which that could be told.
        let (code, text) = match (may_see, has_more) {
            (false, _) => ("withheld", "Not for this recipient."),
            (true, true) => {
                ("unavailable", "What is known is not shown here: it is older, or longer, than there is room for.")
            }
            (true, false) => ("unavailable", "Nothing that may be shown here is known."),
        };
        section["text"] = json!({ "status": "generated", "div": div(&format!("<p>{text}</p>")) });
        section["emptyReason"] = json!({ "coding": [{ "system": EMPTY, "code": code }], "text": text });
        return (section, Vec::new());
    }
    section["text"] = json!({ "status": "generated", "div": div(&table(part, &rows, has_more)) });
    let reference = |row: &Shown<'_>| json!({ "reference": format!("{}/{}", row.resource.kind, row.resource.id) });
    section["entry"] = rows.iter().map(reference).collect();
    (section, rows.iter().map(|row| row.at).collect())
}

/// What a section lists, the newest first; then what should happen, and who looks after the person.
fn rows<'p>(part: &Part, picture: &'p Picture, now_ms: i64) -> Vec<Shown<'p>> {
    let is_plan = part.sections.contains(&Section::Appointment);
    let mut rows: Vec<Shown> = Vec::new();
    for entry in of(picture, part.sections) {
        let Some(resource) = picture.of(entry) else { continue };
        // What stands no more, or is over, is no plan. What was told by mistake is nobody's history.
        let is_over = matches!(resource.state.as_str(), "cancelled" | "noshow") || is_past(resource, now_ms);
        if (is_plan && is_over) || resource.state.split(", ").any(|state| state == "entered-in-error") {
            continue;
        }
        let mut told: Vec<&str> = entry.sources.iter().map(|source| source.feed.as_str()).collect();
        told.dedup();
        let told = told.join(", ");
        rows.push(Shown { at: entry.at, resource, at_ms: entry.at_ms, facility: &entry.facility, told });
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.at_ms));
    if is_plan {
        let own =
            picture.resources.iter().enumerate().filter(|(_, one)| matches!(one.kind.as_str(), "Task" | "CareTeam"));
        rows.extend(own.map(|(at, resource)| Shown { at, resource, at_ms: None, facility: "", told: String::new() }));
    }
    rows
}

/// A row of a section.
struct Shown<'p> {
    at: usize,
    resource: &'p CardResource,
    at_ms: Option<i64>,
    facility: &'p str,
    told: String,
}

fn table(part: &Part, rows: &[Shown<'_>], has_more: bool) -> String {
    let mut out = String::new();
    if has_more {
        out += "<p>This is not all: there are entries that are not shown, older or longer ones.</p>";
    }
    if !part.remark.is_empty() {
        out += &format!("<p>{}</p>", escaped(part.remark));
    }
    out +=
        "<table><thead><tr><th>What</th><th>State</th><th>Date</th><th>Where</th><th>Told by</th></tr></thead><tbody>";
    for row in rows {
        let date = row.at_ms.map(instant).unwrap_or_default();
        let date = date.get(..10).unwrap_or_default();
        let cells = [row.resource.label.as_str(), &row.resource.state, date, row.facility, &row.told]
            .map(|cell| format!("<td>{}</td>", escaped(cell)));
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
    use crate::server::care::{label_of, status_of};

    #[test]
    fn what_people_wrote_is_text_and_nothing_else() {
        assert_eq!(escaped("a<script>&\"'\u{1}\n"), "a&lt;script&gt;&amp;&quot;&#39; ");
        let told = json!({ "resourceType": "Condition", "code": { "text": "<img onerror=x>" },
            "clinicalStatus": { "coding": [{ "code": "active" }] }, "verificationStatus": { "coding": [{ "code": "confirmed" }] } });
        let resource = CardResource { label: label_of(&told), state: status_of(&told), ..CardResource::default() };
        let row = Shown { at: 0, resource: &resource, at_ms: Some(0), facility: "A&B", told: "<b>".into() };
        let made = table(&PARTS[2], &[row], true);
        assert!(made.contains("&lt;img onerror=x&gt;") && made.contains("A&amp;B") && made.contains("&lt;b&gt;"));
        assert!(!made.contains("<img") && !made.contains("<b>"), "{made}");
        assert!(made.contains("1970-01-01") && made.contains("<p>This is not all: "));
        assert!(made.contains("<td>active, confirmed</td>"), "{made}");
    }
}
