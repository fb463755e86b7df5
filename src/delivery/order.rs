//! Which messages of a route must keep their order.
//!
//! Messages of one [`Key`] are delivered one after the other; of different keys, in any order and several at once. A message that speaks of several patients (a
//! merge, a move, a swap) would need the keys of all of them, and the facets hold one. So it waits for everything before it, and everything behind it waits for it.
//!
//! Why not only for the patients that it names: a merge may name a patient by another of its numbers, or without the authority, than the messages before it were keyed
//! by. Waiting for those keys alone, it could overtake them, and patients would be merged before their own data is there.
//!
//! Left out: a patient known under several identifiers before any merge has said so.
use crate::facets::Facets;
use crate::routing::Live;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a route keeps in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The messages of a patient; those without one by their link.
    #[default]
    Patient,
    /// The messages of a listener and a sending application and facility.
    Link,
    /// Nothing.
    None,
}

/// What a message must be delivered in order with. Keys live in memory only: they may change from one version to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// All messages of the route, for targets that take them in the order of the journal.
    Route,
    /// Everything before and behind it.
    Everything,
    Patient(u64),
    Link(u64),
    /// Nothing but itself.
    Message(u64),
}

/// Events whose messages name a second patient or person, most of them in an MRG segment; by number after the letter A.
const SEVERAL_PATIENTS: [u8; 21] = [17, 18, 24, 30, 34, 35, 36, 37, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51];

impl Key {
    /// What waits behind a message of it.
    pub(super) fn holds(self) -> &'static str {
        match self {
            Key::Route | Key::Everything => "the whole route",
            Key::Patient(_) => "its patient",
            Key::Link(_) => "its sender",
            Key::Message(_) => "nothing",
        }
    }
}

impl Order {
    pub(super) fn key(self, live: &Live, facets: &Facets<'_>) -> Key {
        match (self, facets.patient) {
            (Order::None, _) => Key::Message(live.seq),
            (Order::Link, _) => Key::Link(link(facets)),
            (Order::Patient, _) if names_several_patients(live, facets) => Key::Everything,
            (Order::Patient, Some(patient)) => Key::Patient(patient),
            (Order::Patient, None) => Key::Link(link(facets)),
        }
    }
}

/// Asked of the event and of the Bundle: a result may speak of several patients without any merge.
fn names_several_patients(live: &Live, facets: &Facets<'_>) -> bool {
    let number = facets.event.strip_prefix(b"A").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let by_event = facets.code == b"ADT" && number.is_some_and(|number| SEVERAL_PATIENTS.contains(&number));
    by_event || live.entries.iter().filter(|entry| entry.resource_type == "Patient").nth(1).is_some()
}

fn link(facets: &Facets<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (facets.listener, facets.sending_application, facets.sending_facility).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::bundle::Entry;

    const ADMISSION: Facets<'_> = Facets {
        outcome: crate::facets::Outcome::Translated,
        received_ms: 0,
        event_ms: None,
        message_id: [0; 16],
        patient: Some(7),
        visit: None,
        plan: [0; 32],
        listener: b"adt",
        sending_application: b"HIS",
        sending_facility: b"HARBOR",
        receiving_application: b"",
        receiving_facility: b"",
        code: b"ADT",
        event: b"A01",
        structure: b"ADT_A01",
        control_id: b"1",
        processing_id: b"P",
        version: b"2.5",
        peer: b"",
    };

    fn live(patients: usize) -> Live {
        let entry = Entry { resource: 0..0, resource_type: "Patient", id: [b'0'; 36] };
        Live { seq: 5, entries: vec![entry; patients], ..Live::default() }
    }

    #[test]
    fn the_order_decides_the_key() {
        assert_eq!(Order::Patient.key(&live(1), &ADMISSION), Key::Patient(7));
        assert_eq!(Order::None.key(&live(1), &ADMISSION), Key::Message(5));
        let by_link = Order::Link.key(&live(1), &ADMISSION);
        assert_eq!(by_link, Order::Patient.key(&live(1), &Facets { patient: None, ..ADMISSION }), "no patient");
        let elsewhere = Facets { sending_facility: b"INLAND", ..ADMISSION };
        assert_ne!(by_link, Order::Link.key(&live(1), &elsewhere));
    }

    #[test]
    fn merges_and_results_of_several_patients_stand_alone() {
        for event in [&b"A40"[..], b"A18", b"A24", b"A44"] {
            let merge = Facets { event, ..ADMISSION };
            assert_eq!(Order::Patient.key(&live(1), &merge), Key::Everything);
            assert!(matches!(Order::Link.key(&live(1), &merge), Key::Link(_)), "a link keeps all of its order anyway");
        }
        assert_eq!(Order::Patient.key(&live(2), &ADMISSION), Key::Everything);
        assert_eq!(Order::Patient.key(&live(1), &Facets { event: b"A4", ..ADMISSION }), Key::Patient(7));
    }
}
