//! One message as the requests that put its resources on a server: all in one Bundle, in several, or one by one.
//!
//! Within a transaction the server resolves `urn:uuid:` references; anywhere else (between the parts of a split, in a batch, one by one) nobody would, so they are
//! replaced by the address that the resource has: `Type/id` where it is put under its own id, else what the server said when it took it. A resource comes after
//! those that it refers to, as far as there is no circle.
//!
//! Conditional requests find a resource by its identifier instead of by our id. They are for resources that *are* what their identifier says: a patient, a
//! practitioner, an organization, a location. Results of one order share its number, and visit numbers are given again: to find those by number would write one
//! patient's data over another's.
use super::bundle::Entry;
use super::envelope::Envelope;
use serde_json::Value;
use std::collections::HashMap;

/// Whether resources are found by their identifier, and what is done with what is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditional {
    /// What is done.
    pub mode: Mode,
    /// For which types; of [`Conditional::TYPES`].
    pub types: Vec<&'static str>,
}

/// What is done with a resource that the server has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is replaced: `PUT Type?identifier=system|value`.
    Update,
    /// It is left as it is: `POST Type` with `ifNoneExist`.
    Create,
}

impl Conditional {
    /// The types that an identifier stands for.
    pub const TYPES: [&'static str; 4] = ["Patient", "Practitioner", "Organization", "Location"];
}

/// How one resource gets to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// `PUT Type/id`.
    Put,
    /// `PUT Type?query`.
    PutWhere(String),
    /// `POST Type`, unless this query finds one.
    PostUnless(String),
}

/// A message on its way to a server.
#[derive(Debug)]
pub struct Requests<'a> {
    bundle: &'a [u8],
    entries: Vec<&'a Entry>,
    methods: Vec<Method>,
    /// By id, for those whose place the server chooses and has told.
    told: HashMap<[u8; 36], String>,
    by_id: HashMap<[u8; 36], usize>,
}

/// A resource refers to another whose address is not known: they refer to each other, or the server did not say where it put it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a resource refers to a {0} whose address the server has not told; bundle = \"transaction\" without entries_max lets the server resolve it"
)]
pub struct Unresolved(&'static str);

const REFERENCE: &[u8] = b"\"reference\":\"urn:uuid:";

impl<'a> Requests<'a> {
    /// The requests of a canonical Bundle; an entry whose range lies outside it is left out.
    pub fn new(bundle: &'a [u8], entries: &'a [Entry], conditional: Option<&Conditional>) -> Requests<'a> {
        let entries: Vec<&Entry> =
            entries.iter().filter(|entry| bundle.get(entry.resource.clone()).is_some()).collect();
        let by_id = entries.iter().enumerate().map(|(at, entry)| (entry.id, at)).collect();
        let mut requests = Requests { bundle, entries, methods: Vec::new(), told: HashMap::new(), by_id };
        requests.methods = requests.methods(conditional);
        requests
    }

    /// The resources in parts of at most so many, each of them after those that it refers to. What fits into one part keeps the order of the Bundle.
    pub fn parts(&self, entries_max: usize) -> Vec<Vec<usize>> {
        if self.entries.len() <= entries_max {
            return vec![(0..self.entries.len()).collect()];
        }
        self.dependency_order().chunks(entries_max.max(1)).map(<[usize]>::to_vec).collect()
    }

    /// FHIR type of a resource.
    pub fn resource_type(&self, at: usize) -> &'static str {
        self.entries[at].resource_type
    }

    /// How it gets there.
    pub fn method(&self, at: usize) -> &Method {
        &self.methods[at]
    }

    /// Path and query below the base of the server.
    pub fn url(&self, at: usize) -> String {
        let kind = self.entries[at].resource_type;
        match &self.methods[at] {
            Method::Put => format!("{kind}/{}", String::from_utf8_lossy(&self.entries[at].id)),
            Method::PutWhere(query) => format!("{kind}?{query}"),
            Method::PostUnless(_) => kind.to_owned(),
        }
    }

    /// Takes note of the address that the server gave a resource, such as `Patient/123`; for those under their own id it is known.
    pub fn told(&mut self, at: usize, address: String) {
        if self.methods[at] != Method::Put {
            self.told.insert(self.entries[at].id, address);
        }
    }

    /// Appends a part as a transaction or batch.
    ///
    /// # Errors
    /// A reference that cannot be written.
    pub fn render(&self, envelope: Envelope, part: &[usize], out: &mut Vec<u8>) -> Result<(), Unresolved> {
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"");
        out.extend_from_slice(envelope.name().as_bytes());
        out.push(b'"');
        let mut here = vec![false; self.entries.len()];
        if envelope == Envelope::Transaction {
            part.iter().for_each(|&at| here[at] = true);
        }
        let mut before: &[u8] = b",\"entry\":[";
        for &at in part {
            for piece in [before, b"{\"fullUrl\":\"urn:uuid:", &self.entries[at].id, b"\",\"resource\":"] {
                out.extend_from_slice(piece);
            }
            self.write(at, &here, out)?;
            let method = if matches!(self.methods[at], Method::PostUnless(_)) { "POST" } else { "PUT" };
            out.extend_from_slice(
                format!(",\"request\":{{\"method\":\"{method}\",\"url\":\"{}\"", self.url(at)).as_bytes(),
            );
            if let Method::PostUnless(query) = &self.methods[at] {
                out.extend_from_slice(format!(",\"ifNoneExist\":\"{query}\"").as_bytes());
            }
            out.extend_from_slice(b"}}");
            before = b",";
        }
        // FHIR forbids an empty array.
        out.extend_from_slice(if before == b"," { b"]}" } else { b"}" });
        Ok(())
    }

    /// Appends one resource, with its references as they are outside of any Bundle.
    ///
    /// # Errors
    /// A reference that cannot be written.
    pub fn resource(&self, at: usize, out: &mut Vec<u8>) -> Result<(), Unresolved> {
        self.write(at, &[], out)
    }

    /// `here`: which entries are in the same transaction, so that the server resolves references to them.
    fn write(&self, at: usize, here: &[bool], out: &mut Vec<u8>) -> Result<(), Unresolved> {
        let entry = self.entries[at];
        let mut rest = &self.bundle[entry.resource.clone()];
        if self.methods[at] != Method::Put {
            // The server knows it under another id, and refuses one that differs.
            rest = without_id(entry, rest, out);
        }
        self.copy(rest, here, out)
    }

    fn copy(&self, text: &[u8], here: &[bool], out: &mut Vec<u8>) -> Result<(), Unresolved> {
        let mut copied = 0;
        for (start, id) in references(text) {
            let Some(&target) = self.by_id.get(id).filter(|&&target| here.get(target) != Some(&true)) else { continue };
            out.extend_from_slice(&text[copied..start]);
            let kind = self.entries[target].resource_type;
            match (&self.methods[target], self.told.get(id)) {
                (Method::Put, _) => {
                    out.extend_from_slice(kind.as_bytes());
                    out.push(b'/');
                    out.extend_from_slice(id);
                }
                (_, Some(address)) => out.extend_from_slice(address.as_bytes()),
                (_, None) => return Err(Unresolved(kind)),
            }
            copied = start + b"urn:uuid:".len() + id.len();
        }
        out.extend_from_slice(&text[copied..]);
        Ok(())
    }

    /// Two resources with one query would find each other: they stay under their own ids.
    fn methods(&self, conditional: Option<&Conditional>) -> Vec<Method> {
        let Some(conditional) = conditional else { return vec![Method::Put; self.entries.len()] };
        let query = |entry: &&Entry| {
            let wanted = conditional.types.contains(&entry.resource_type);
            wanted.then(|| query(&self.bundle[entry.resource.clone()])).flatten()
        };
        let queries: Vec<Option<String>> = self.entries.iter().map(query).collect();
        let mut uses: HashMap<(&str, &str), u32> = HashMap::new();
        for (entry, query) in self.entries.iter().zip(&queries) {
            *uses.entry((entry.resource_type, query.as_deref().unwrap_or_default())).or_default() += 1;
        }
        let method = |(entry, query): (&&Entry, &Option<String>)| match query {
            Some(query) if uses.get(&(entry.resource_type, query)) == Some(&1) => match conditional.mode {
                Mode::Update => Method::PutWhere(query.clone()),
                Mode::Create => Method::PostUnless(query.clone()),
            },
            _ => Method::Put,
        };
        self.entries.iter().zip(&queries).map(method).collect()
    }

    /// Depth first, without recursion: how deep resources refer to each other is the sender's doing.
    fn dependency_order(&self) -> Vec<usize> {
        let links = |at: usize| -> Vec<usize> {
            let resource = &self.bundle[self.entries[at].resource.clone()];
            references(resource).filter_map(|(_, id)| self.by_id.get(id).copied()).collect()
        };
        let (mut order, mut seen) = (Vec::with_capacity(self.entries.len()), vec![false; self.entries.len()]);
        let mut open: Vec<(usize, std::vec::IntoIter<usize>)> = Vec::new();
        for start in 0..self.entries.len() {
            if !std::mem::replace(&mut seen[start], true) {
                open.push((start, links(start).into_iter()));
            }
            while let Some((at, left)) = open.last_mut() {
                match left.next() {
                    Some(next) if std::mem::replace(&mut seen[next], true) => {}
                    Some(next) => open.push((next, links(next).into_iter())),
                    None => {
                        order.push(*at);
                        open.pop();
                    }
                }
            }
        }
        order
    }
}

/// Where `urn:uuid:` references stand in a resource, and their ids. The quotes make sure that it is no text that merely looks like one: within a text they are escaped.
fn references(text: &[u8]) -> impl Iterator<Item = (usize, &[u8; 36])> {
    memchr::memmem::find_iter(text, REFERENCE).filter_map(|at| {
        let start = at + REFERENCE.len();
        let id = text.get(start..)?.first_chunk::<36>()?;
        (text.get(start + 36) == Some(&b'"')).then_some((start - b"urn:uuid:".len(), id))
    })
}

/// Appends the head of a resource without its id; gives the rest.
fn without_id<'t>(entry: &Entry, resource: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let head = format!("{{\"resourceType\":\"{}\"", entry.resource_type);
    let id = [b",\"id\":\"".as_slice(), &entry.id, b"\""].concat();
    match resource.strip_prefix(head.as_bytes()).and_then(|rest| rest.strip_prefix(id.as_slice())) {
        Some(rest) => {
            out.extend_from_slice(head.as_bytes());
            rest
        }
        None => resource,
    }
}

/// The search for a resource by its identifier: the first that is a medical record, internal or external number (the order of `facets`), else the first; never a
/// social security number, and none without a system.
fn query(resource: &[u8]) -> Option<String> {
    const SOCIAL_SECURITY: &str = "http://hl7.org/fhir/sid/us-ssn";
    let resource: Value = serde_json::from_slice(resource).ok()?;
    let usable = |identifier: &&Value| {
        let text = |key: &str| identifier.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        text("system").is_some_and(|system| system != SOCIAL_SECURITY)
            && text("value").is_some()
            && text("use") != Some("old")
            && !has_code(identifier, "SS")
    };
    let usable: Vec<&Value> = resource.get("identifier")?.as_array()?.iter().filter(usable).collect();
    let by_code = |code: &str| usable.iter().find(|identifier| has_code(identifier, code));
    let chosen = ["MR", "PI", "PT"].into_iter().find_map(by_code).or(usable.first())?;
    let text = |key: &str| chosen.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut query = "identifier=".to_owned();
    searched(text("system"), &mut query);
    query.push_str("%7C");
    searched(text("value"), &mut query);
    Some(query)
}

fn has_code(identifier: &Value, code: &str) -> bool {
    let coding = identifier.pointer("/type/coding").and_then(Value::as_array);
    coding.into_iter().flatten().any(|coding| coding.get("code").and_then(Value::as_str) == Some(code))
}

/// Appends a value as it stands in a search: what means something there is escaped (R4, search, 3.1.1.4.2), then everything but plain characters percent-encoded.
fn searched(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if matches!(byte, b'\\' | b'|' | b',' | b'$') {
            out.push_str("%5C");
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    const IDS: [&str; 4] = [
        "11111111-1111-5111-8111-111111111111",
        "22222222-2222-5222-8222-222222222222",
        "33333333-3333-5333-8333-333333333333",
        "44444444-4444-5444-8444-444444444444",
    ];

    fn link(at: usize) -> Value {
        json!({"reference": format!("urn:uuid:{}", IDS[at])})
    }

    /// A result about a patient, whose text quotes a reference; its patient names an organization that no identifier names.
    fn message() -> (Vec<u8>, Vec<Entry>) {
        let quoted = format!("\"reference\":\"urn:uuid:{}\"", IDS[1]);
        let resources: [(&'static str, Value); 4] = [
            (
                "Observation",
                json!({"subject": link(1), "performer": [link(3), {"reference": "urn:uuid:unknown"}], "valueString": quoted}),
            ),
            (
                "Patient",
                json!({"identifier": [
                {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "1"},
                {"type": {"coding": [{"code": "DL"}]}, "system": "urn:dl", "value": "2"},
                {"type": {"coding": [{"code": "MR"}]}, "system": "urn:oid:1.2|3", "value": "7 0,é"},
            ], "managingOrganization": link(2)}),
            ),
            ("Organization", json!({"name": "Harbor"})),
            ("Practitioner", json!({"identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "9"}]})),
        ];
        let (mut bundle, mut entries) = (b"{".to_vec(), Vec::new());
        for (at, (resource_type, body)) in resources.into_iter().enumerate() {
            let mut resource = serde_json::Map::new();
            resource.insert("resourceType".into(), resource_type.into());
            resource.insert("id".into(), IDS[at].into());
            resource.extend(body.as_object().unwrap().clone());
            let start = bundle.len();
            bundle.extend(serde_json::to_vec(&resource).unwrap());
            entries.push(Entry {
                resource: start..bundle.len(),
                resource_type,
                id: IDS[at].as_bytes().try_into().unwrap(),
            });
        }
        (bundle, entries)
    }

    fn rendered(requests: &Requests<'_>, envelope: Envelope, part: &[usize]) -> Value {
        let mut out = Vec::new();
        requests.render(envelope, part, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    fn update(types: &[&'static str]) -> Conditional {
        Conditional { mode: Mode::Update, types: types.to_vec() }
    }

    #[test]
    fn parts_hold_what_they_refer_to_or_its_address() {
        let (bundle, entries) = message();
        let requests = Requests::new(&bundle, &entries, None);
        let whole = rendered(&requests, Envelope::Transaction, &requests.parts(4)[0]);
        assert_eq!(whole["entry"][0]["resource"]["subject"], link(1), "the server resolves it");
        for entries_max in 1..4 {
            let parts = requests.parts(entries_max);
            assert!(parts.iter().all(|part| part.len() <= entries_max));
            let order = parts.concat();
            let place = |at: usize| order.iter().position(|found| *found == at).unwrap();
            assert!(place(2) < place(1) && place(1) < place(0) && place(3) < place(0), "{order:?}");
            let mut seen = BTreeMap::new();
            for part in &parts {
                let bundle = rendered(&requests, Envelope::Transaction, part);
                for (&at, entry) in part.iter().zip(bundle["entry"].as_array().unwrap()) {
                    seen.insert(at, entry["resource"].clone());
                    for (target, found) in
                        [(1, &entry["resource"]["subject"]), (2, &entry["resource"]["managingOrganization"])]
                    {
                        let here = part.contains(&target);
                        let address =
                            json!({"reference": format!("{}/{}", requests.resource_type(target), IDS[target])});
                        assert!(found.is_null() || *found == if here { link(target) } else { address }, "{found}");
                    }
                }
            }
            assert_eq!(seen.len(), 4);
            assert_eq!(seen[&0]["valueString"], format!("\"reference\":\"urn:uuid:{}\"", IDS[1]), "a text stays");
            assert_eq!(seen[&0]["performer"][1]["reference"], "urn:uuid:unknown");
        }
    }

    #[test]
    fn nobody_resolves_references_within_a_batch() {
        let (bundle, entries) = message();
        let requests = Requests::new(&bundle, &entries, None);
        let batch = rendered(&requests, Envelope::Batch, &requests.parts(9)[0]);
        assert_eq!(batch["type"], "batch");
        assert_eq!(batch["entry"][0]["resource"]["subject"]["reference"], format!("Patient/{}", IDS[1]));
        assert_eq!(batch["entry"][0]["request"], json!({"method": "PUT", "url": format!("Observation/{}", IDS[0])}));
    }

    #[test]
    fn a_patient_is_found_by_its_record_number_and_bears_no_id_of_ours() {
        let (bundle, entries) = message();
        let requests = Requests::new(&bundle, &entries, Some(&update(&["Patient"])));
        let whole = rendered(&requests, Envelope::Transaction, &requests.parts(9)[0]);
        let patient = &whole["entry"][1];
        let query = "identifier=urn%3Aoid%3A1.2%5C%7C3%7C7%200%5C%2C%C3%A9";
        assert_eq!(patient["request"], json!({"method": "PUT", "url": format!("Patient?{query}")}));
        assert_eq!((patient["resource"].get("id"), &patient["resource"]["resourceType"]), (None, &json!("Patient")));
        assert_eq!(patient["resource"]["managingOrganization"], link(2));
        assert_eq!(whole["entry"][3]["request"]["url"], format!("Practitioner/{}", IDS[3]), "of a type not named");
        let create = Conditional { mode: Mode::Create, types: vec!["Patient"] };
        let requests = Requests::new(&bundle, &entries, Some(&create));
        let whole = rendered(&requests, Envelope::Transaction, &requests.parts(9)[0]);
        assert_eq!(whole["entry"][1]["request"], json!({"method": "POST", "url": "Patient", "ifNoneExist": query}));
    }

    #[test]
    fn the_address_that_the_server_chose_is_used_and_waited_for() {
        let (bundle, entries) = message();
        let mut requests = Requests::new(&bundle, &entries, Some(&update(&["Patient", "Practitioner"])));
        let mut out = Vec::new();
        assert_eq!(requests.resource(0, &mut out), Err(Unresolved("Patient")));
        requests.told(1, "Patient/77".into());
        requests.told(3, "Practitioner/78".into());
        requests.told(2, "Organization/nonsense".into());
        out.clear();
        requests.resource(0, &mut out).unwrap();
        let observation: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&observation["subject"]["reference"], &observation["id"]), (&json!("Patient/77"), &json!(IDS[0])));
        assert_eq!(observation["performer"][0]["reference"], "Practitioner/78");
        out.clear();
        requests.resource(1, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains(&format!("Organization/{}", IDS[2])), "under its own id");
    }

    #[test]
    fn what_no_identifier_tells_apart_stays_under_its_id() {
        let (bundle, mut entries) = message();
        let mut twin = entries[1].clone();
        twin.id = IDS[2].as_bytes().try_into().unwrap();
        entries.push(twin);
        let requests = Requests::new(&bundle, &entries, Some(&update(&Conditional::TYPES)));
        assert_eq!((requests.method(1), requests.method(4)), (&Method::Put, &Method::Put), "two with one number");
        assert_eq!(requests.method(2), &Method::Put, "none at all");
        assert_eq!(
            query(br#"{"identifier":[{"value":"1"},{"system":"http://hl7.org/fhir/sid/us-ssn","value":"2"}]}"#),
            None
        );
        assert_eq!(
            query(br#"{"identifier":[{"type":{"coding":[{"code":"SS"}]},"system":"urn:s","value":"2"}]}"#),
            None
        );
    }

    #[test]
    fn a_circle_is_ordered_all_the_same() {
        let text = format!(r#"{{"reference":"urn:uuid:{}"}}{{"reference":"urn:uuid:{}"}}"#, IDS[1], IDS[0]);
        let half = text.len() / 2;
        let entry = |range, id: &str| Entry {
            resource: range,
            resource_type: "Patient",
            id: id.as_bytes().try_into().unwrap(),
        };
        let entries = [entry(0..half, IDS[0]), entry(half..text.len(), IDS[1])];
        let requests = Requests::new(text.as_bytes(), &entries, None);
        assert_eq!(requests.parts(1), [[1], [0]]);
    }
}
