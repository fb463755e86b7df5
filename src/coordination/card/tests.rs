use super::store::{Of, TABLES, labels_of, mark, settle, take};
use super::{Context, Outlines, told};
use crate::coordination::options::Facilities;
use crate::coordination::read::Reading;
use crate::coordination::sensitivity::{self, Said};
use crate::coordination::store::{Error, Place, Store};
use crate::coordination::{PersonKey, care_team, lineage, loops};
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
    let mut store = Store::open(folder.path()).unwrap();
    let labels = Labels::new(starter::labels());
    let messages = messages();
    let (mut index, zone, facilities) = (Index::new(), TimeZone::UTC, Facilities::default());
    // Of 200 each gets messages of one kind alone.
    for (name, people) in [("one person", 1_u8), ("200 people", 200), ("199 people", 199)] {
        let [mut parsing, mut judging, mut telling, mut writing] = [Duration::ZERO; 4];
        let begun = Instant::now();
        let mut outlines = Outlines::trusted();
        for (at_batch, batch) in messages.chunks(256).enumerate() {
            let update = |transaction: &rusqlite::Transaction<'_>| -> Result<_, Error> {
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
                    let person = lineage::root(transaction, origin).unwrap();
                    let stay = if code == "ADT" { format!("SBMC|V{visit}") } else { String::new() };
                    let (mut earlier, mut whole) = (Vec::new(), Vec::new());
                    if !stay.is_empty() {
                        earlier = visits::labels_of(transaction, &stay).unwrap();
                        whole = visits::labels_of(transaction, &format!("{stay}|whole")).unwrap();
                        let (on_card, on_card_whole) = labels_of(transaction, person, &stay).unwrap();
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
                    mark(transaction, &mut outlines, person, (&[0; 16], &stay), names).unwrap();
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
                    take(transaction, &mut outlines, of, &told).unwrap();
                    writing += from.elapsed();
                }
                Ok((Place::default(), ()))
            };
            store.batch(update).unwrap();
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

/// A generator of its own: the same messages each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A message of any kind, with its code, its event and its stay.
fn any(random: &mut Random) -> (&'static str, &'static [u8], String, String) {
    let visit = random.below(40);
    let pv1 = format!("PV1|1|I|4W||||||||||||||||V{visit}^^^SBMC\r");
    let stay = if random.below(3) == 0 { String::new() } else { format!("SBMC|V{visit}") };
    let code = if random.below(12) == 0 { "F10.20".to_owned() } else { format!("I50.{}", random.below(60)) };
    let (kind, event, rest): (&str, &[u8], String) = match random.below(8) {
        0 | 1 => ("ADT", b"A08", format!("{pv1}DG1|1||{code}^Heart failure^I10C|||F\r")),
        2 => {
            let all = random.below(20)..random.below(25);
            let list: String = all.map(|one| format!("AL1|{one}|DA|{one}^Drug^L|SV|Hives\r")).collect();
            ("ADT", b"A01", pv1 + &list)
        }
        3 => ("ADT", [b"A11", b"A23"][usize::from(random.below(2) == 0)], pv1),
        4 | 5 => {
            let (order, test, state) = (random.below(90), random.below(70), ["P", "F", "C"][random.below(3) as usize]);
            let (hour, value) = (random.below(24), random.below(1_000_000_000));
            let obr = format!("OBR|1||L{order}^LAB|{test}-0^Test^LN|||20260310{hour:02}00||||||||||||||||||{state}\r");
            ("ORU", b"", format!("{obr}OBX|1|NM|{test}-{}^Test^LN||{value}|mg\r", random.below(3)))
        }
        6 => ("RDE", b"", format!("ORC|NW|RX{}^SBMC\rRXE|^^^20260310||31^Drug^L|10||mg\r", random.below(60))),
        _ => ("MDM", b"T02", format!("TXA|1|DS|TX|||||||||D{}\r", random.below(60))),
    };
    // What PID says, too, has more bytes than there were, or fewer; and there are several feeds.
    let name = "X".repeat(random.below(40) as usize);
    let feed = ["A", "B"][random.below(2) as usize];
    let header = format!("MSH|^~\\&|{feed}|SBMC|HANDOFF|LAKE|20260310120000-0500||{kind}|Q{}|P|2.5.1\r", visit * 7);
    (kind, event, stay, format!("{header}PID|1||7^^^SBMC^MR||{name}\r{rest}"))
}

/// What is written does not depend on what is known of cards without reading them: that of the newest people, of all, of nobody.
#[test]
fn outlines_change_nothing() {
    let labels = Labels::new(starter::labels());
    let (zone, facilities) = (TimeZone::UTC, Facilities::default());
    let mut cards = [0, 1, 97].map(|emptied_every| {
        let mut connection = Connection::open_in_memory().unwrap();
        let all_tables = loops::TABLES.iter().chain([&care_team::TABLES, &TABLES]);
        all_tables.for_each(|tables| connection.execute_batch(tables).unwrap());
        let (mut random, mut index, mut outlines) = (Random(7), Index::new(), Outlines::default());
        let transaction = connection.transaction().unwrap();
        for at in 0..2_000_u64 {
            let (code, trigger, stay, text) = any(&mut random);
            let origin = PersonKey([random.below(3) as u8; 16]);
            if at % 500 == 499 {
                // Whoever changes cards elsewhere says so.
                let [one, other] = [[0; 16], [1; 16]].map(PersonKey);
                let change = if at % 1_000 == 499 { lineage::merge } else { lineage::unlink };
                change(&transaction, one, other).unwrap();
                outlines.clear();
            }
            if emptied_every != 0 && at % emptied_every == 0 {
                outlines.clear();
            }
            let person = lineage::root(&transaction, origin).unwrap();
            index.parse(text.as_bytes()).unwrap();
            let reading = Reading::new(index.message(text.as_bytes())).unwrap();
            let (codes, marks) =
                (reading.codes(&reading.all(), reading.all()), reading.confidentiality(&reading.all(), reading.all()));
            let said = Said { facility: "SBMC", feed: "A|SBMC", codes: &codes, confidentiality: &marks };
            let (earlier, _) = labels_of(&transaction, person, &stay).unwrap();
            let found = sensitivity::found(&labels, &facilities, said, &earlier);
            mark(&transaction, &mut outlines, person, (&[0; 16], &stay), (&labels, found.all, found.whole)).unwrap();
            let written = settle(&labels, found.all, found.whole);
            let facets = Facets {
                code: code.as_bytes(),
                patient: Some(u64::from(origin.0[0])),
                received_ms: i64::MAX,
                ..Facets::default()
            };
            // Some were sent before what came before them.
            let sent_ms = at as i64 - random.below(5) as i64;
            let context = Context {
                facets: &facets,
                trigger,
                facility: "SBMC",
                visit: &stay,
                zone: &zone,
                at_ms: sent_ms - random.below(300) as i64,
                sent_ms: (sent_ms, sent_ms),
                is_transcoded: false,
                labels: &written,
            };
            let Some(told) = told(reading, &context) else { continue };
            let of = Of { person, origin, seq: at, labels: &written, stay: &stay };
            take(&transaction, &mut outlines, of, &told).unwrap();
        }
        transaction.commit().unwrap();
        all(&connection)
    });
    let sections: std::collections::BTreeSet<&str> =
        cards[0].iter().map(|row| row.split('|').nth(2).unwrap()).collect();
    assert!(sections.len() == 7 && cards[0].len() > 300, "{} rows of {sections:?}", cards[0].len());
    assert!(cards[0].iter().any(|row| row.contains("SUD")) && cards[0].iter().any(|row| row.contains("X'FFFFFFFF")));
    let [one, others @ ..] = &mut cards;
    assert!(others.iter().all(|other| other == one));
}

/// All that stands in the table.
fn all(connection: &Connection) -> Vec<String> {
    let sql = "SELECT concat_ws('|', quote(person), quote(origin), section, quote(key), at_ms, seq, quote(head), quote(visit), labels, quote(body), sent_ms, rank, quote(series),
                 quote(plain), stay) FROM card ORDER BY person, origin, section, key";
    let mut select = connection.prepare(sql).unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
