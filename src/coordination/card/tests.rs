use super::store::{Of, TABLES, labels_of, mark, settle, take};
use super::{Context, told};
use crate::coordination::PersonKey;
use crate::coordination::lineage;
use crate::coordination::options::Facilities;
use crate::coordination::read::Reading;
use crate::coordination::sensitivity::{self, Said};
use crate::facets::Facets;
use crate::hl7::Index;
use crate::privacy::{Labels, starter, visits};
use jiff::tz::TimeZone;
use rusqlite::Connection;
use std::time::{Duration, Instant};

type Made = fn(usize) -> String;

const PID: &str = "PID|1||00718243^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR||OKAFOR^MARISOL||19510314|F|||418 QUARRY ROAD^^LAKESHORE^NY^14150\r";

/// Messages of a visit with diagnoses (each tenth visit of a kind that is secret), of results, of orders, and of a visit alone.
fn messages() -> Vec<(String, usize, String)> {
    let kinds: [(&str, Made); 4] = [
        ("ADT^A08^ADT_A01", |at| {
            let code = if at % 40 == 0 { "F10.20".to_owned() } else { format!("I50.{}", at % 9) };
            format!(
                "PV1|1|I|4W^412^B^SBMC||||9990002021^HALVERSEN^INGRID||||||||||||V{}^^^SBMC\rDG1|1||{code}^Heart failure^I10C|||F\r",
                at % 30
            )
        }),
        ("ORU^R01^ORU_R01", |at| {
            format!("OBR|1||L{at}^LAB|{}-0^Test^LN|||202603101200\rOBX|1|NM|{}-0^Test^LN||14|mg\r", at % 50, at % 50)
        }),
        ("RDE^O11^RDE_O11", |at| format!("ORC|NW|RX{}^SBMC\rRXE|^^^20260310||31^Drug^L|10||mg\r", at % 40)),
        ("ADT^A08^ADT_A01", |at| {
            format!("PV1|1|I|4W^412^B^SBMC||||9990002021^HALVERSEN^INGRID||||||||||||V{}^^^SBMC\r", at % 30)
        }),
    ];
    let message = |at: usize| {
        let (kind, made) = kinds[at % 4];
        let header = format!("MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|20260310120000-0500||{kind}|Q{at:07}|P|2.5.1\r");
        (kind[..3].to_owned(), at % 30, header + PID + &made(at))
    };
    (0..20_000).map(message).collect()
}

/// What a message says, where it was sent long ago and carries no labels.
fn told_of(text: &str, check: impl FnOnce(&super::told::Told)) {
    let mut index = Index::new();
    index.parse(text.as_bytes()).unwrap();
    let facets = Facets { code: b"ADT", patient: Some(7), received_ms: 9, ..Facets::default() };
    let zone = TimeZone::UTC;
    let context = Context {
        facets: &facets,
        trigger: b"A08",
        facility: "SBMC",
        visit: "SBMC|V1",
        zone: &zone,
        at_ms: 9,
        sent_ms: (9, 9),
        is_transcoded: false,
        labels: "",
    };
    check(&told(Reading::new(index.message(text.as_bytes())).unwrap(), &context).unwrap());
}

/// The patient, the visit, a diagnosis and an allergy: one by one too long, or with nothing that they could be read with.
#[test]
fn what_is_not_taken_is_counted() {
    let message = |pid: &str, code: &str| {
        format!(
            "MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|20260310||ADT^A08^ADT_A01|1|P|2.5.1\r{pid}PV1|1|I|4W||||||||||||||||V1^^^SBMC\rDG1|1||{code}^x^I10C\rAL1|1|DA|PEN^x^L\r"
        )
    };
    let counted = |text: &str| {
        let mut found = (0, 0, 0);
        told_of(text, |told| found = (told.oversized, told.cut, told.pieces.len()));
        found
    };
    assert_eq!(counted(&message(PID, "I10")), (0, 0, 4));
    assert_eq!(counted(&message(PID, &"1".repeat(5_000))), (1, 0b100, 3));
    let long = PID.replace("^MR|", &format!("^MR~{}|", "1".repeat(5_000)));
    assert_eq!(counted(&message(&long, "I10")), (4, 0b1111, 0));
}

/// Against 10 µs a message: those of somebody with a full card, with what is looked up for them: labels of the visit, labels of the message, what is there already. Whom a message is about is
/// measured in the rosters.
#[test]
#[ignore = "a figure"]
fn what_an_update_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(folder.path().join("card.sqlite")).unwrap();
    connection.set_prepared_statement_cache_capacity(256);
    connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32768;").unwrap();
    [TABLES, lineage::TABLES, visits::TABLES].iter().for_each(|tables| connection.execute_batch(tables).unwrap());
    let labels = Labels::new(starter::labels());
    let messages = messages();
    let (mut index, zone, facilities) = (Index::new(), TimeZone::UTC, Facilities::default());
    for (name, people) in [("one person", 1_u8), ("200 people", 200)] {
        let [mut parsing, mut judging, mut telling, mut writing] = [Duration::ZERO; 4];
        let begun = Instant::now();
        for (at_batch, batch) in messages.chunks(256).enumerate() {
            let transaction = connection.transaction().unwrap();
            for (at, (code, visit, text)) in batch.iter().enumerate() {
                let at = at_batch * 256 + at;
                let from = Instant::now();
                index.parse(text.as_bytes()).unwrap();
                let reading = Reading::new(index.message(text.as_bytes())).unwrap();
                let facets =
                    Facets { code: code.as_bytes(), patient: Some(7), received_ms: i64::MAX, ..Facets::default() };
                parsing += from.elapsed();
                let from = Instant::now();
                let origin = PersonKey([(at % usize::from(people)) as u8; 16]);
                let person = lineage::root(&transaction, origin).unwrap();
                let stay = if code == "ADT" { format!("SBMC|V{visit}") } else { String::new() };
                let (mut earlier, mut whole) = (Vec::new(), Vec::new());
                if !stay.is_empty() {
                    earlier = visits::labels_of(&transaction, &stay).unwrap();
                    whole = visits::labels_of(&transaction, &format!("{stay}|whole")).unwrap();
                    let (on_card, on_card_whole) = labels_of(&transaction, person, &stay).unwrap();
                    earlier.extend(on_card);
                    whole.extend(on_card_whole);
                }
                let all = reading.all();
                let codes = reading.codes(&all, all.clone());
                let confidentiality = reading.confidentiality(&all, all.clone());
                let said =
                    Said { facility: "SBMC", feed: "SBADT|SBMC", codes: &codes, confidentiality: &confidentiality };
                let found = sensitivity::found(&labels, &facilities, said, &earlier);
                let names = (&labels, found.all, found.whole.with(labels.of_all(whole.iter().map(String::as_str))));
                mark(&transaction, person, (&[0; 16], &stay), names).unwrap();
                let written = settle(&labels, names.1, names.2);
                judging += from.elapsed();
                let from = Instant::now();
                let trigger: &[u8] = if code == "ADT" { b"A08" } else { b"" };
                let at_ms = at as i64;
                let context = Context {
                    facets: &facets,
                    trigger,
                    facility: "SBMC",
                    visit: &stay,
                    zone: &zone,
                    at_ms,
                    sent_ms: (at_ms, at_ms),
                    is_transcoded: false,
                    labels: &written,
                };
                let told = told(reading, &context).unwrap();
                telling += from.elapsed();
                let from = Instant::now();
                let of = Of { person, origin, seq: at as u64, labels: &written, stay: &stay };
                take(&transaction, of, &told).unwrap();
                writing += from.elapsed();
            }
            transaction.commit().unwrap();
        }
        let each = |all: Duration| all.as_secs_f64() * 1e6 / messages.len() as f64;
        println!(
            "{name}: {:.2} µs an update (labels {:.2}, told {:.2}, written {:.2}); with its share of the commit and parsing ({:.2}) {:.2} µs",
            each(judging + telling + writing),
            each(judging),
            each(telling),
            each(writing),
            each(parsing),
            each(begun.elapsed())
        );
    }
}
