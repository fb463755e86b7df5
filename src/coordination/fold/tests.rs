//! Tests of the fold as the reader of the journal uses it.
use super::super::event::VisitKey;
use super::super::options::Facility;
use super::super::store::{Place, Store};
use super::*;
use jiff::tz::TimeZoneDatabase;
use std::path::{Path, PathBuf};

/// A database and the fold over it.
struct Gateway {
    data: tempfile::TempDir,
    store: Store,
    fold: Fold,
    options: Options,
    seq: u64,
}

fn options() -> Options {
    let mut options = Options::default();
    let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
    for key in ["SBMC", "CHFM", "LCARD"] {
        options.facilities.by_key.insert(key.into(), Facility { zone: Some(zone.clone()), ..Facility::default() });
    }
    options.events.class_map.insert("V".into(), super::super::options::Class::Observation);
    options
}

impl Gateway {
    fn new() -> Gateway {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let fold = Fold::open(&options(), store.connection()).unwrap();
        Gateway { data, store, fold, options: options(), seq: 0 }
    }

    fn restart(&mut self) {
        self.store = Store::open(self.data.path()).unwrap();
        self.fold = Fold::open(&self.options, self.store.connection()).unwrap();
    }

    /// Takes messages, each with its time of receipt, in one transaction.
    fn batch(&mut self, messages: &[(Vec<u8>, i64)]) -> Vec<Event> {
        let (fold, seq) = (&mut self.fold, &mut self.seq);
        self.store
            .batch(|transaction| -> Result<_, Error> {
                let mut events = Vec::new();
                for (raw, received_ms) in messages {
                    *seq += 1;
                    let mut index = Index::new();
                    let message = index.parse(raw).ok().map(|()| index.message(raw));
                    let facets = Facets::of(raw, message, b"adt", *received_ms);
                    events.extend(fold.message(transaction, *seq, &facets, raw)?);
                }
                fold.flush(transaction)?;
                Ok((Place { next: *seq + 1, last: [0; 16] }, events))
            })
            .unwrap()
    }

    /// Takes a message that was received three seconds after its MSH-7; shows what came of it.
    fn take(&mut self, raw: &[u8]) -> Vec<String> {
        let received_ms = received(raw);
        self.batch(&[(raw.to_vec(), received_ms)]).iter().map(shown).collect()
    }

    /// Every row of every table.
    fn rows(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for table in ["fold", "seen", "visit", "death", "cursor"] {
            let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
            let mut select = self.store.connection().prepare(&sql).unwrap();
            let columns = select.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let values: Vec<rusqlite::types::Value> = (0..columns).map(|at| row.get(at).unwrap()).collect();
                Ok(format!("{table} {values:?}"))
            };
            rows.extend(select.query_map([], row).unwrap().map(Result::unwrap));
        }
        rows
    }

    fn visit(&self, authority: &str, number: &str) -> Visit {
        let key = VisitKey { authority: authority.into(), number: number.into(), weak: false };
        Fold::visit(self.store.connection(), &key).unwrap().unwrap()
    }
}

fn received(raw: &[u8]) -> i64 {
    let mut index = Index::new();
    index.parse(raw).unwrap();
    let reading = Reading::new(index.message(raw)).unwrap();
    reading.time(Some(0), 7, 1, &TimeZone::UTC).unwrap().ms + 3000
}

fn utc(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn shown(event: &Event) -> String {
    let marks = [(event.partial, " partial"), (event.stale, " stale"), (event.time_suspect, " suspect")];
    let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
    let detail = if event.detail.is_empty() { String::new() } else { format!(" ({})", event.detail) };
    format!("{}{detail} {}{marks}", event.kind.name(), utc(event.at_ms))
}

fn story(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/coordination/story").join(format!("{name}.hl7"));
    std::fs::read(path).unwrap()
}

/// A text with the bytes of one message changed in some places.
fn changed(raw: &[u8], changes: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::from_utf8(raw.to_vec()).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text.into_bytes()
}

/// A message of a visit: trigger, minutes after midnight on 2 March (UTC), class, number of the visit, further fields of PV1 by number, and segments.
fn adt(trigger: &str, minute: i64, class: &str, number: &str, pv1: &[(usize, &str)], more: &str) -> Vec<u8> {
    let at = jiff::Timestamp::from_millisecond(1_772_409_600_000 + minute * 60_000).unwrap();
    let at = at.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S+0000").to_string();
    let mut fields = vec![String::new(); 60];
    (fields[1], fields[2], fields[19]) = ("1".into(), class.into(), number.into());
    pv1.iter().for_each(|(field, value)| fields[*field] = (*value).to_owned());
    let pv1 = fields[1..].join("|");
    format!(
        "MSH|^~\\&|ADT|SBMC|||{at}||ADT^{trigger}|{trigger}{minute}{number}|P|2.5.1\rEVN|{trigger}|{at}\rPID|1||7^^^SBMC^MR||A^B||19510314|F\rPV1|{pv1}\r{more}"
    )
    .into_bytes()
}

const STORY: [&str; 9] = ["m1", "m2", "m3", "m4", "m5", "m6", "r1", "r2", "r3"];

#[test]
fn the_story() {
    let mut gateway = Gateway::new();
    let events: Vec<_> = STORY.iter().flat_map(|name| gateway.take(&story(name))).collect();
    assert_eq!(
        events,
        [
            "admission (inpatient) 2026-03-02T14:08:00Z",
            "discharge 2026-03-05T20:20:00Z",
            "document (original) 2026-03-06T23:05:12Z",
            "appointment-booked 2026-03-06T23:30:10Z",
            "outpatient-visit 2026-03-11T14:24:00Z",
            "service-coded 2026-03-11T14:45:00Z",
            "referral-requested 2026-03-11T15:30:00Z",
            "referral-accepted 2026-03-12T13:10:00Z",
            "appointment-booked 2026-03-13T14:15:00Z",
        ]
    );
}

#[test]
fn what_the_events_of_the_story_tell() {
    let mut gateway = Gateway::new();
    let take = |name: &&str| (story(name), received(&story(name)));
    let events = gateway.batch(&STORY.iter().map(take).collect::<Vec<_>>());
    let [m1, m2, m3, m4, m5, m6, r1, r2, r3] = &events[..] else { panic!("nine events") };
    let visit = Some(VisitKey { authority: "SBMC".into(), number: "V20260302001".into(), weak: false });
    assert!([m1, m2, m3].iter().all(|event| event.visit == visit && event.class == "IMP" && event.facility == "SBMC"));
    assert_eq!([&*m1.disposition, &m2.disposition, &m3.disposition], ["", "06", ""]);
    let ids = |event: &Event| {
        event.patient.identifiers.iter().map(|id| format!("{} {}", id.value, id.kind)).collect::<Vec<_>>()
    };
    assert_eq!(ids(m1), ["00718243 MR", "1EG4TE5MK73 MC"]);
    assert_eq!(ids(m5), ["C55120 MR", "1EG4TE5MK73 MC"]);
    let people =
        |event: &Event| event.participants.iter().map(|p| format!("{} {}", p.role, p.number)).collect::<Vec<_>>();
    assert_eq!(people(m1), ["primary-care 9990003037", "attending 9990002021", "admitting 9990002021"]);
    assert_eq!(people(m3), ["attending 9990002021", "author 9990002021"]);
    assert_eq!(
        (people(m4), people(r1)),
        (vec!["appointment 9990003037".into()], vec!["attending 9990003037".into(), "ordering 9990003037".to_owned()])
    );
    let codes =
        |event: &Event| event.codes.iter().map(|c| [&*c.field, &c.system, &c.code].join(" ")).collect::<Vec<_>>();
    assert_eq!(codes(m1), ["DG1-3 I10C I50.23", "DG1-3 I10C I10"]);
    assert_eq!(codes(m3), ["TXA-2 LN 18842-5", "OBX-3 LN 18842-5"]);
    assert_eq!((codes(m6), codes(r1)), (vec!["FT1-25 C4 1111F".to_owned()], vec!["OBR-4 LN 57133-1".to_owned()]));
    let document = m3.document.as_ref().unwrap();
    assert_eq!((&*document.number.value, &*document.completion), ("DOC884213", "AU"));
    assert_eq!(m3.confidentiality.codes, [("TXA-18".to_owned(), "U".to_owned())]);
    assert_eq!(m1.confidentiality.unit, "4W");
    let start = |event: &Event| utc(event.appointment.as_ref().unwrap().start_ms.unwrap());
    assert_eq!([start(m4), start(r3)], ["2026-03-11T14:30:00Z", "2026-03-20T18:00:00Z"]);
    assert!([r1, r2, r3].iter().all(|event| event.referral == r1.referral) && m4.referral.is_none());
    let referral = r1.referral.as_ref().unwrap();
    assert_eq!([&*referral.value, &referral.authority], ["REF55120-1", "CHFM"]);
    assert!(m5.visit.as_ref().is_some_and(|visit| visit.weak) && m5.visit == m6.visit && m5.class == "AMB");
    assert!(m5.visit.as_ref().is_some_and(|visit| !visit.number.contains("C55120")), "no MRN in it");
    assert_eq!((&*m1.feed, &*m1.trigger, m1.seq, m3.seq), ("SBADT|SBMC", "A01", 1, 3));
    let distinct: std::collections::BTreeSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(distinct.len(), 9);
    assert_eq!(utc(m3.received_ms), "2026-03-06T23:05:15Z");
}

#[test]
fn one_admission_a_visit() {
    let mut gateway = Gateway::new();
    let m1 = story("m1");
    assert_eq!(gateway.take(&m1).len(), 1);
    assert!(gateway.take(&m1).is_empty(), "the same again");
    assert_eq!(gateway.fold.counts().of(Reason::Duplicate), 1);
    let again = changed(&m1, &[("SB000101", "SB000102")]);
    assert!(gateway.take(&again).is_empty(), "the same under another number");
    let update = changed(&m1, &[("SB000101", "SB000103"), ("A01", "A08")]);
    assert!(gateway.take(&update).is_empty());
    let bed = changed(&m1, &[("SB000101", "SB000104"), ("A01", "A02"), ("4W^412^B^SBMC", "5E^501^A^SBMC")]);
    assert!(gateway.take(&bed).is_empty(), "a move of beds");
    let m2 = story("m2");
    assert_eq!(gateway.take(&m2), ["discharge 2026-03-05T20:20:00Z"]);
    let cancel = changed(
        &m2,
        &[
            ("SB000188", "SB000189"),
            ("A03", "A13"),
            ("|06|", "||"),
            ("EVN|A13|20260305152200", "EVN|A13|20260305154500"),
        ],
    );
    assert_eq!(gateway.take(&cancel), ["discharge-cancelled (discharge) 2026-03-05T20:45:00Z"]);
    assert!(gateway.take(&changed(&cancel, &[("SB000189", "SB000190")])).is_empty());
    assert_eq!(gateway.visit("SBMC", "V20260302001").course.discharge_ms, None);
    let later = changed(
        &m2,
        &[("SB000188", "SB000199"), ("20260305152000", "20260306100000"), ("20260305152204", "20260306100100")],
    );
    assert_eq!(gateway.take(&later), ["discharge 2026-03-06T15:00:00Z"], "counts again");
    assert_eq!(gateway.fold.counts().of(Reason::NothingNew), 4);
}

#[test]
fn a_restart_at_any_place_changes_nothing() {
    let mut messages: Vec<Vec<u8>> = STORY.iter().map(|name| story(name)).collect();
    messages.insert(1, changed(&messages[0], &[("SB000101", "SB000103"), ("A01", "A08")]));
    messages.insert(3, changed(&messages[2], &[("SB000188", "SB000189"), ("A03", "A13")]));
    messages.push(changed(&messages[0], &[("20260302091502", "20270302091502")]));
    messages.push(adt("A03", 500_000, "E", "", &[(36, "20")], ""));
    let messages: Vec<_> = messages.into_iter().map(|raw| (raw.clone(), received(&raw))).collect();
    let mut whole = Gateway::new();
    let expected = whole.batch(&messages);
    assert!(expected.len() > 10 && whole.rows().len() > 3);
    for cut in 0..=messages.len() {
        let mut gateway = Gateway::new();
        let mut events = gateway.batch(&messages[..cut]);
        gateway.restart();
        events.extend(gateway.batch(&messages[cut..]));
        assert!(events == expected, "cut {cut}");
        assert_eq!(gateway.rows(), whole.rows(), "cut {cut}");
    }
    let mut single = Gateway::new();
    let mut events = Vec::new();
    for message in &messages {
        events.extend(single.batch(std::slice::from_ref(message)));
        single.restart();
    }
    assert!(events == expected);
    assert_eq!(single.rows(), whole.rows());
}

#[test]
fn classes_decide_what_begins_and_ends() {
    let mut gateway = Gateway::new();
    assert_eq!(gateway.take(&adt("A04", 0, "E", "1", &[], "")), ["ed-visit 2026-03-02T00:00:00Z"]);
    assert_eq!(gateway.take(&adt("A03", 9, "E", "1", &[], "")), ["ed-discharge 2026-03-02T00:09:00Z"]);
    assert_eq!(gateway.take(&adt("A01", 0, "V", "2", &[], "")), ["admission (observation) 2026-03-02T00:00:00Z"]);
    assert!(gateway.take(&adt("A08", 5, "I", "2", &[], "")).is_empty(), "one admission a visit");
    assert_eq!(gateway.take(&adt("A03", 9, "I", "2", &[], "")), ["discharge 2026-03-02T00:09:00Z"]);
    assert_eq!(gateway.take(&adt("A04", 0, "O", "3", &[], "")), ["outpatient-visit 2026-03-02T00:00:00Z"]);
    assert!(gateway.take(&adt("A03", 9, "O", "3", &[], "")).is_empty());
    assert!(gateway.take(&adt("A05", 0, "P", "4", &[], "")).is_empty());
    assert!(gateway.take(&adt("A01", 1, "Q", "5", &[], "")).is_empty());
    assert!(gateway.take(&adt("A01", 1, "", "6", &[], "")).is_empty());
    assert_eq!(gateway.fold.counts().of(Reason::UnknownClass), 2);
    gateway.take(&adt("A04", 0, "E", "7", &[], ""));
    assert!(gateway.take(&adt("A06", 1, "Q", "7", &[], "")).is_empty());
    assert_eq!(gateway.fold.counts().of(Reason::UnknownClass), 3);
    assert_eq!(gateway.take(&adt("A01", 3, "I", "4", &[], "")), ["admission (inpatient) 2026-03-02T00:03:00Z"]);
    assert_eq!(gateway.take(&adt("A16", 5, "I", "4", &[], "")), ["discharge-planned 2026-03-02T00:05:00Z"]);
    assert!(gateway.take(&adt("A16", 6, "I", "4", &[], "")).is_empty());
    assert!(gateway.take(&adt("A25", 7, "I", "4", &[], "")).is_empty());
    assert_eq!(gateway.take(&adt("A16", 8, "I", "4", &[], "")), ["discharge-planned 2026-03-02T00:08:00Z"]);
    assert_eq!(
        gateway.take(&adt("A03", 9, "", "4", &[], "")),
        ["discharge 2026-03-02T00:09:00Z"],
        "the class is known"
    );
}

#[test]
fn emergencies_become_stays() {
    for trigger in ["A06", "A02", "A08", "A01"] {
        let mut gateway = Gateway::new();
        let arrived = [(44, "20260302000000+0000")];
        gateway.take(&adt("A04", 0, "E", "1", &arrived, ""));
        let events = gateway.take(&adt(trigger, 90, "I", "1", &arrived, ""));
        assert_eq!(events, ["admission (ed-to-inpatient) 2026-03-02T01:30:00Z"], "{trigger}: not when they arrived");
        assert!(gateway.take(&adt("A08", 95, "I", "1", &arrived, "")).is_empty());
        assert!(gateway.take(&adt("A06", 96, "I", "1", &arrived, "")).is_empty());
        assert_eq!(gateway.take(&adt("A03", 99, "I", "1", &arrived, "")), ["discharge 2026-03-02T01:39:00Z"]);
    }
    let mut gateway = Gateway::new();
    gateway.take(&adt("A04", 0, "O", "1", &[], ""));
    assert!(gateway.take(&adt("A08", 1, "I", "1", &[], "")).is_empty(), "a correction");
    assert_eq!(gateway.take(&adt("A06", 2, "I", "1", &[], "")), ["admission (inpatient) 2026-03-02T00:02:00Z"]);
}

#[test]
fn what_comes_without_its_beginning_is_partial() {
    let mut gateway = Gateway::new();
    let ended = [(45, "20260302001500+0000")];
    assert_eq!(gateway.take(&adt("A03", 20, "I", "1", &ended, "")), ["discharge 2026-03-02T00:15:00Z partial"]);
    assert!(gateway.visit("SBMC", "1").course.partial);
    let begun = [(44, "20260301230000+0000")];
    assert_eq!(gateway.take(&adt("A01", 21, "I", "1", &begun, "")), ["admission (inpatient) 2026-03-01T23:00:00Z"]);
    assert!(!gateway.visit("SBMC", "1").course.partial);
    assert!(gateway.take(&adt("A03", 22, "I", "1", &ended, "")).is_empty());
    assert!(gateway.take(&adt("A08", 0, "E", "2", &[], "")).is_empty(), "an update begins nothing");
    assert_eq!(
        gateway.take(&adt("A06", 5, "I", "2", &[], "")),
        ["admission (ed-to-inpatient) 2026-03-02T00:05:00Z partial"]
    );
    assert_eq!(
        gateway.take(&adt("A13", 5, "I", "3", &[], "")),
        ["discharge-cancelled (discharge) 2026-03-02T00:05:00Z partial"]
    );
    assert!(gateway.take(&adt("A13", 6, "I", "3", &[], "")).is_empty());
}

#[test]
fn cancels_take_back() {
    let mut gateway = Gateway::new();
    for (class, number, kind) in [("I", "1", "admission"), ("E", "2", "ed-visit"), ("O", "3", "outpatient-visit")] {
        gateway.take(&adt("A01", 0, class, number, &[], ""));
        let cancelled = gateway.take(&adt("A11", 5, class, number, &[], ""));
        assert_eq!(cancelled, [format!("admission-cancelled ({kind}) 2026-03-02T00:05:00Z")]);
        assert!(gateway.take(&adt("A11", 6, class, number, &[], "")).is_empty());
        assert_eq!(gateway.take(&adt("A01", 7, class, number, &[], "")).len(), 1, "{kind} counts again");
    }
    gateway.take(&adt("A03", 8, "E", "2", &[], ""));
    assert_eq!(
        gateway.take(&adt("A13", 9, "", "2", &[], "")),
        ["discharge-cancelled (ed-discharge) 2026-03-02T00:09:00Z"]
    );
}

#[test]
fn transfers_are_between_facilities() {
    let mut gateway = Gateway::new();
    let at = |place| [(3, place)];
    gateway.take(&adt("A01", 0, "I", "1", &at("4W^1^A^SBMC"), ""));
    assert!(gateway.take(&adt("A02", 1, "I", "1", &at("5W^1^A^SBMC"), "")).is_empty());
    assert!(gateway.take(&adt("A02", 2, "I", "1", &at("5W^1^A"), "")).is_empty(), "says no facility");
    assert_eq!(gateway.take(&adt("A02", 3, "I", "1", &at("1^1^A^REHAB"), "")), ["transfer 2026-03-02T00:03:00Z"]);
    assert!(gateway.take(&adt("A02", 4, "I", "1", &at("2^1^A^REHAB"), "")).is_empty());
    assert_eq!(gateway.visit("SBMC", "1").course.facility, "REHAB");
    assert_eq!(
        gateway.take(&adt("A12", 5, "I", "1", &at("5W^1^A^SBMC"), "")),
        ["transfer-cancelled 2026-03-02T00:05:00Z"]
    );
    assert!(gateway.take(&adt("A12", 6, "I", "1", &at("5W^1^A^SBMC"), "")).is_empty());
    assert_eq!(gateway.visit("SBMC", "1").course.facility, "SBMC");
    let first = [(3, "1^1^A^REHAB"), (6, "4W^1^A^SBMC")];
    assert_eq!(gateway.take(&adt("A02", 3, "I", "9", &first, "")), ["transfer 2026-03-02T00:03:00Z partial"]);
    assert!(gateway.take(&adt("A02", 4, "I", "9", &first, "")).is_empty(), "the same move");
}

#[test]
fn a_death_is_told_once() {
    let mut gateway = Gateway::new();
    let dead = |trigger, minute, number, died: &str| {
        let pid = format!("19510314|F{}{died}|Y\r", "|".repeat(21));
        changed(&adt(trigger, minute, "I", number, &[], ""), &[("19510314|F\r", &pid)])
    };
    gateway.take(&adt("A01", 0, "I", "1", &[], ""));
    let ended = [(36, "20"), (45, "20260302001500+0000")];
    let both = gateway.take(&adt("A03", 16, "I", "1", &ended, ""));
    assert_eq!(both, ["discharge 2026-03-02T00:15:00Z", "death 2026-03-02T00:15:00Z"]);
    assert!(gateway.take(&dead("A08", 20, "1", "")).is_empty());
    assert!(gateway.take(&dead("A31", 21, "", "")).is_empty());
    assert_eq!(gateway.take(&adt("A13", 22, "I", "1", &[], "")).len(), 1);
    let again = gateway.take(&dead("A31", 60, "", "20260302003000+0000"));
    assert_eq!(again, ["death 2026-03-02T00:30:00Z"], "taken back, and true after all");
}

#[test]
fn times_that_cannot_be_are_those_of_receipt() {
    let mut gateway = Gateway::new();
    let early = [(44, "20260309000000+0000")];
    assert_eq!(
        gateway.take(&adt("A01", 0, "I", "1", &early, "")),
        ["admission (inpatient) 2026-03-02T00:00:03Z suspect"]
    );
    gateway.take(&adt("A01", 60, "I", "2", &[(44, "20260302010000+0000")], ""));
    let before = [(45, "20260302003000+0000")];
    assert_eq!(gateway.take(&adt("A03", 61, "I", "2", &before, "")), ["discharge 2026-03-02T01:01:03Z suspect"]);
    gateway.take(&adt("A01", 600, "I", "3", &[(44, "20260302100000+0000")], ""));
    let day = [(45, "20260302")];
    assert_eq!(gateway.take(&adt("A03", 700, "I", "3", &day, "")), ["discharge 2026-03-02T10:00:00Z"], "that day");
    let old = [(44, "20260226000000+0000")];
    assert_eq!(gateway.take(&adt("A01", 0, "I", "4", &old, "")), ["admission (inpatient) 2026-02-26T00:00:00Z stale"]);
    assert!(gateway.take(&adt("A01", 1, "I", "4", &old, "")).is_empty(), "kept, all the same");
    let counts = gateway.fold.counts();
    assert_eq!((counts.stale, counts.time_suspect), (1, 2));
}

#[test]
fn without_a_number_the_visit_is_of_person_and_day() {
    let mut gateway = Gateway::new();
    let at = |ms| [(44, ms)];
    assert_eq!(gateway.take(&adt("A01", 0, "I", "", &at("20260301200000+0000"), "")).len(), 1);
    assert!(gateway.take(&adt("A01", 5, "I", "", &at("20260301210000+0000"), "")).is_empty(), "the same day there");
    assert_eq!(
        gateway.take(&adt("A03", 2000, "I", "", &[], "")),
        ["discharge 2026-03-03T09:20:00Z"],
        "the one that goes on"
    );
    assert!(gateway.take(&changed(&adt("A03", 2000, "I", "", &[], ""), &[("A032000", "A03x")])).is_empty(), "repeated");
    assert_eq!(gateway.take(&adt("A13", 2001, "I", "", &[], "")).len(), 1);
    assert_eq!(gateway.take(&adt("A03", 2002, "I", "", &[], "")), ["discharge 2026-03-03T09:22:00Z"]);
    assert_eq!(gateway.take(&adt("A01", 9000, "I", "", &[], "")).len(), 1, "another stay");
    let count: i64 = gateway.store.connection().query_row("SELECT count(*) FROM visit", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn a_number_may_come_again() {
    let mut gateway = Gateway::new();
    gateway.take(&adt("A01", 0, "I", "1", &[(44, "20260302000000+0000")], ""));
    gateway.take(&adt("A03", 60, "I", "1", &[], ""));
    assert!(gateway.take(&adt("A01", 61, "I", "1", &[(44, "20260302000000+0000")], "")).is_empty(), "late");
    assert_eq!(gateway.take(&adt("A01", 90, "I", "1", &[(44, "20260302012900+0000")], "")).len(), 1, "back again");
    assert_eq!(gateway.take(&adt("A03", 95, "I", "1", &[], "")).len(), 1);
    gateway.take(&adt("A04", 0, "R", "2", &[(44, "20260302120000+0000")], ""));
    assert!(gateway.take(&adt("A04", 5, "R", "2", &[(44, "20260302140000+0000")], "")).is_empty());
    assert_eq!(gateway.take(&adt("A04", 3000, "R", "2", &[(44, "20260304120000+0000")], "")).len(), 1, "a series");
}

#[test]
fn emergencies_that_nobody_ended_are_over_by_age() {
    let mut gateway = Gateway::new();
    gateway.take(&adt("A04", 0, "E", "1", &[(44, "20260302000000+0000")], ""));
    let hours = 60;
    assert!(gateway.take(&adt("A08", 47 * hours, "E", "1", &[], "")).is_empty());
    assert!(!gateway.visit("SBMC", "1").course.hanging);
    assert!(gateway.take(&adt("A08", 49 * hours, "E", "1", &[], "")).is_empty(), "no event");
    let course = gateway.visit("SBMC", "1").course;
    assert_eq!((course.hanging, utc(course.discharge_ms.unwrap()).as_str()), (true, "2026-03-04T00:00:00Z"));
    assert_eq!(
        gateway.take(&adt("A04", 50 * hours, "E", "1", &[(44, "20260304010000+0000")], "")).len(),
        1,
        "another one"
    );
    gateway.take(&adt("A04", 0, "E", "2", &[], ""));
    assert_eq!(
        gateway.take(&adt("A03", 60 * hours, "E", "2", &[], "")),
        ["ed-discharge 2026-03-04T12:00:00Z"],
        "at last"
    );
    assert!(!gateway.visit("SBMC", "2").course.hanging);
}

#[test]
fn what_is_old_is_let_go_of() {
    let mut gateway = Gateway::new();
    let days = 24 * 60;
    gateway.take(&adt("A01", 0, "I", "open", &[], ""));
    gateway.take(&adt("A04", 0, "O", "over", &[], ""));
    gateway.take(&adt("A04", 0, "E", "hanging", &[], ""));
    let mut numbers = |minute| {
        gateway.take(&adt("A08", minute, "O", "x", &[], ""));
        let mut select = gateway.store.connection().prepare("SELECT number FROM visit ORDER BY number").unwrap();
        select.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(numbers(90 * days), ["hanging", "open", "over", "x"]);
    assert_eq!(numbers(91 * days), ["open", "x"]);
    assert_eq!(numbers(401 * days), ["x"]);
}

#[test]
fn a_number_that_is_used_again_is_no_duplicate() {
    let mut gateway = Gateway::new();
    let one = adt("A01", 0, "I", "1", &[], "");
    let other = changed(&one, &[("||7^^^SBMC^MR", "||8^^^SBMC^MR"), ("|1|||||||||", "|2|||||||||")]);
    assert_eq!((gateway.take(&one).len(), gateway.take(&other).len()), (1, 1), "of another patient");
    assert!(gateway.take(&changed(&one, &[("|P|2.5.1", "|P|2.5")])).is_empty(), "the same patient");
    assert_eq!(gateway.fold.counts().of(Reason::Duplicate), 1);
}

#[test]
fn messages_of_no_use_are_counted() {
    let mut gateway = Gateway::new();
    let mut take = |raw: &[u8]| {
        let before = gateway.fold.counts().clone();
        assert!(gateway.batch(&[(raw.to_vec(), 1_772_409_600_000)]).is_empty());
        let after = gateway.fold.counts();
        Reason::ALL
            .into_iter()
            .filter(|reason| after.of(*reason) > before.of(*reason))
            .map(Reason::name)
            .collect::<Vec<_>>()
    };
    assert_eq!(take(b"MSH|^~\\&|A|B|||1||ACK|1|P|2.5\r"), ["other"]);
    assert_eq!(take(b"no message"), ["other"]);
    for processing in ["T", "D", "T^A"] {
        let test = format!("MSH|^~\\&|A|B|||1||ADT^A01|0|{processing}|2.5\rPID|1||1\rPV1||I|||||||||||||||||8\r");
        assert_eq!(take(test.as_bytes()), ["processing"]);
    }
    assert_eq!(take(b"MSH|^~\\&|A|B|||1||ADT^A31|2|P|2.5\rPID|1||1\r"), ["nothing-new"]);
    assert_eq!(take(b"MSH|^~\\&|A|B|||1||ADT^A01|3|P|2.5\rPID|1\rPV1||I|||||||||||||||||9\r"), ["no-patient"]);
    assert!(take(b"MSH|^~\\&|A|B|||1||ADT^A08|31|P|2.5\rPID|1\rPV1||I|||||||||||||||||9\r") == ["no-patient"]);
    assert_eq!(take(b"MSH|^~\\&|A|B|||1||ORU^R01|4|P|2.5\rPID|1||1\rOBR|1|||X|||||||||||||||||||||P\r"), ["not-final"]);
}

#[test]
fn processing_ids_that_count_are_configured() {
    let events = super::super::options::EventOptions { processing: vec!["P".into(), "D".into()], ..options().events };
    let counts = ["P", "p", "D", "", "T"].map(|id| events.processes(id.as_bytes()));
    assert_eq!(counts, [true, true, true, true, false]);
}

#[test]
fn who_looks_after_somebody_is_told_without_an_event_when_it_is_somebody_else() {
    let mut gateway = Gateway::new();
    let mut team = |raw: &[u8]| {
        let event = !gateway.take(raw).is_empty();
        let told = gateway.fold.silent().and_then(|silent| silent.team);
        let shown = told.map(|told| {
            let people = told.participants.iter().map(|one| format!("{} {}", one.role, one.number));
            format!("{} of {} at {}", people.collect::<Vec<_>>().join(", "), told.patient.family, utc(told.at_ms))
        });
        (event, shown)
    };
    assert_eq!(team(&adt("A01", 0, "I", "1", &[], "PD1||||77^X\r")), (true, None), "with the event");
    assert_eq!(team(&adt("A08", 1, "I", "1", &[], "PD1||||77^X\r")), (false, None), "nothing new");
    let other = Some("primary-care 78 of A at 2026-03-02T00:02:00Z".to_owned());
    assert_eq!(team(&adt("A08", 2, "I", "1", &[], "PD1||||78^Y\r")), (false, other));
    assert_eq!(team(&adt("A08", 3, "I", "1", &[], "")), (false, None), "nothing is said");
    assert_eq!(team(&adt("A08", 4, "I", "1", &[], "PD1||||78^Y\r")), (false, None), "the same as before");
    let of_role = Some("PP 79 of A at 2026-03-02T00:05:00Z".to_owned());
    assert_eq!(team(&adt("A31", 5, "", "", &[], "ROL|1|UP|PP|79^Z\r")), (false, of_role), "about no visit");
}

#[test]
fn what_was_told_of_nobody_is_told_again() {
    let mut gateway = Gateway::new();
    let known = adt("A01", 0, "I", "1", &[], "");
    let nobody = changed(&known, &[("||7^^^SBMC^MR||A^B|", "||||||"), ("A0101", "A01x")]);
    assert!(gateway.take(&nobody).is_empty());
    assert_eq!(gateway.take(&known).len(), 1);
}

#[test]
fn every_fixture_folds() {
    let mut waiting = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")];
    let mut messages = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "hl7") {
                messages.push(path);
            }
        }
    }
    messages.sort();
    let read = |path: &PathBuf| (std::fs::read(path).unwrap(), 1_772_409_600_000);
    let messages: Vec<_> = messages.iter().map(read).collect();
    let mut gateway = Gateway::new();
    let events = gateway.batch(&messages);
    let kinds: std::collections::BTreeSet<_> = events.iter().map(|event| event.kind.name()).collect();
    assert!(events.len() > 50 && kinds.len() > 15, "{} events, {kinds:?}", events.len());
    assert_eq!(gateway.fold.counts().events, events.len() as u64);
}

/// Triggers with the class they come with.
const MOVES: [(&str, &str); 12] = [
    ("A01", "I"),
    ("A04", "E"),
    ("A04", "O"),
    ("A08", "I"),
    ("A08", "E"),
    ("A06", "I"),
    ("A02", "I"),
    ("A03", "I"),
    ("A03", "E"),
    ("A11", "I"),
    ("A13", "I"),
    ("A16", "I"),
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever comes in whatever order: nothing is told twice of a visit that was not taken back, and restarts change nothing.
    #[test]
    fn nothing_is_told_twice(moves in proptest::collection::vec((0..MOVES.len(), 0..3_usize, proptest::bool::weighted(0.1)), 1..60)) {
        let (mut gateway, mut whole) = (Gateway::new(), Gateway::new());
        let mut told = std::collections::BTreeSet::new();
        for (minute, (choice, visit, restart)) in moves.into_iter().enumerate() {
            let (trigger, class) = MOVES[choice];
            // One of the three has no number.
            let raw = adt(trigger, i64::try_from(minute).unwrap(), class, ["1", "2", ""][visit], &[], "");
            let message = [(raw.clone(), received(&raw))];
            if restart {
                gateway.restart();
            }
            let events = gateway.batch(&message);
            proptest::prop_assert!(events == whole.batch(&message));
            for event in events {
                if matches!(event.kind, Kind::AdmissionCancelled | Kind::DischargeCancelled) {
                    told.remove(&(event.visit.clone(), Kind::parse(&event.detail).unwrap()));
                }
                if matches!(event.kind, Kind::Admission | Kind::EdVisit | Kind::OutpatientVisit | Kind::Discharge | Kind::EdDischarge) {
                    proptest::prop_assert!(told.insert((event.visit.clone(), event.kind)), "{event:?}");
                }
            }
        }
        proptest::prop_assert_eq!(gateway.rows(), whole.rows());
    }
}
