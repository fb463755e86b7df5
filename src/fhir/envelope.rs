//! Envelopes: the one canonical Bundle, rendered as the kind of Bundle that a receiver wants, without parsing JSON.
use super::bundle::Entry;
use super::requests::Requests;

/// Kinds of Bundle, `Bundle.type` of FHIR R4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Envelope {
    /// The canonical Bundle, unchanged.
    #[default]
    Message,
    /// All or nothing: each resource is put under its id.
    Transaction,
    /// Each resource is put under its id, one by one.
    Batch,
    /// No Bundle at all: a request for each resource. For servers only.
    Put,
    /// The resources, and nothing to be done with them.
    Collection,
}

impl Envelope {
    /// All of them.
    pub const ALL: [Envelope; 5] =
        [Envelope::Message, Envelope::Transaction, Envelope::Batch, Envelope::Put, Envelope::Collection];

    /// `Bundle.type`, but for `put`, which makes none.
    pub fn name(self) -> &'static str {
        match self {
            Envelope::Message => "message",
            Envelope::Transaction => "transaction",
            Envelope::Batch => "batch",
            Envelope::Put => "put",
            Envelope::Collection => "collection",
        }
    }

    /// Appends the Bundle to `out`. `entries` are those of `bundle`; one whose range lies outside is left out.
    ///
    /// A transaction or batch puts `Type/id`: the ids are made from the message, so sending it again changes nothing.
    pub fn render(self, bundle: &[u8], entries: &[Entry], out: &mut Vec<u8>) {
        if self == Envelope::Message {
            out.extend_from_slice(bundle);
            return;
        }
        out.reserve(bundle.len() + entries.len() * 192);
        if self != Envelope::Collection {
            let requests = Requests::new(bundle, entries, None);
            for part in requests.parts(usize::MAX) {
                // Nothing is unresolved where every resource is under its own id.
                let _ = requests.render(self, &part, out);
            }
            return;
        }
        out.extend_from_slice(b"{\"resourceType\":\"Bundle\",\"type\":\"collection\"");
        let mut before: &[u8] = b",\"entry\":[";
        for entry in entries {
            let Some(resource) = bundle.get(entry.resource.clone()) else { continue };
            for part in [before, b"{\"fullUrl\":\"urn:uuid:", &entry.id, b"\",\"resource\":", resource, b"}"] {
                out.extend_from_slice(part);
            }
            before = b",";
        }
        // FHIR forbids an empty array.
        out.extend_from_slice(if before == b"," { b"]}" } else { b"}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:uuid:11111111-1111-5111-8111-111111111111","resource":{"resourceType":"Patient","id":"1"}},{"fullUrl":"urn:uuid:22222222-2222-5222-8222-222222222222","resource":{"resourceType":"Encounter"}}]}"#;

    fn entries() -> Vec<Entry> {
        [
            (r#"{"resourceType":"Patient","id":"1"}"#, "Patient", b'1', "11111111-1111-5111-8111-111111111111"),
            (r#"{"resourceType":"Encounter"}"#, "Encounter", b'2', "22222222-2222-5222-8222-222222222222"),
        ]
        .map(|(json, resource_type, _, id)| {
            let start = BUNDLE.find(json).unwrap();
            Entry { resource: start..start + json.len(), resource_type, id: id.as_bytes().try_into().unwrap() }
        })
        .to_vec()
    }

    fn render(envelope: Envelope, entries: &[Entry]) -> serde_json::Value {
        let mut out = Vec::new();
        envelope.render(BUNDLE.as_bytes(), entries, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_message_is_unchanged() {
        let mut out = Vec::new();
        Envelope::Message.render(BUNDLE.as_bytes(), &entries(), &mut out);
        assert_eq!(out, BUNDLE.as_bytes());
    }

    #[test]
    fn transaction_and_batch_put_each_resource() {
        for envelope in [Envelope::Transaction, Envelope::Batch] {
            let bundle = render(envelope, &entries());
            assert_eq!(bundle["type"], envelope.name());
            assert_eq!(bundle["entry"].as_array().unwrap().len(), 2);
            assert_eq!(bundle["entry"][0]["resource"]["resourceType"], "Patient");
            assert_eq!(bundle["entry"][1]["fullUrl"], "urn:uuid:22222222-2222-5222-8222-222222222222");
            assert_eq!(
                bundle["entry"][1]["request"],
                serde_json::json!({"method": "PUT", "url": "Encounter/22222222-2222-5222-8222-222222222222"})
            );
        }
    }

    #[test]
    fn a_collection_asks_for_nothing_and_an_empty_one_has_no_array() {
        assert!(render(Envelope::Collection, &entries())["entry"][0].get("request").is_none());
        assert_eq!(
            render(Envelope::Collection, &[]),
            serde_json::json!({"resourceType": "Bundle", "type": "collection"})
        );
    }
}
