use super::store::{TABLES, take};
use super::{Context, told};
use crate::coordination::PersonKey;
use crate::coordination::read::Reading;
use crate::facets::Facets;
use crate::hl7::Index;
use jiff::tz::TimeZone;
use rusqlite::Connection;
use std::time::Instant;

type Made = fn(usize) -> String;

/// Against 10 µs a message: the messages of somebody with a full card, each with what most have.
#[test]
#[ignore = "a figure"]
fn what_an_update_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = Connection::open(folder.path().join("card.sqlite")).unwrap();
    connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32768;").unwrap();
    connection.execute_batch(TABLES).unwrap();
    connection.execute_batch(crate::coordination::lineage::TABLES).unwrap();
    let pid = "PID|1||00718243^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR||OKAFOR^MARISOL||19510314|F|||418 QUARRY ROAD^^LAKESHORE^NY^14150\r";
    let msh = |kind: &str, at: usize| {
        format!("MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|20260310120000-0500||{kind}|Q{at:07}|P|2.5.1\r")
    };
    let kinds: [(&str, Made); 4] = [
        ("ADT^A08^ADT_A01", |at| {
            format!(
                "PV1|1|I|4W^412^B^SBMC||||9990002021^HALVERSEN^INGRID||||||||||||V{}^^^SBMC\rDG1|1||I50.{}^Heart failure^I10C|||F\r",
                at % 30,
                at % 9
            )
        }),
        ("ORU^R01^ORU_R01", |at| {
            format!("OBR|1||L1^LAB|{}-0^Test^LN|||202603101200\rOBX|1|NM|{}-0^Test^LN||14|mg\r", at % 50, at % 50)
        }),
        ("RDE^O11^RDE_O11", |at| format!("ORC|NW|RX{}^SBMC\rRXE|^^^20260310||31^Drug^L|10||mg\r", at % 40)),
        ("ADT^A08^ADT_A01", |at| {
            format!("PV1|1|I|4W^412^B^SBMC||||9990002021^HALVERSEN^INGRID||||||||||||V{}^^^SBMC\r", at % 30)
        }),
    ];
    let messages: Vec<(String, String)> = (0..20_000)
        .map(|at| (kinds[at % 4].0[..3].to_owned(), msh(kinds[at % 4].0, at) + pid + &kinds[at % 4].1(at)))
        .collect();
    let mut index = Index::new();
    let zone = TimeZone::UTC;
    for (name, people) in [("one person", 1_u8), ("200 people", 200)] {
        let (mut parsing, mut all) = (0, 0);
        let begun = Instant::now();
        for batch in messages.chunks(256) {
            let transaction = connection.transaction().unwrap();
            for (at, (code, text)) in batch.iter().enumerate() {
                let from = Instant::now();
                index.parse(text.as_bytes()).unwrap();
                let reading = Reading::new(index.message(text.as_bytes())).unwrap();
                let facets = Facets { code: code.as_bytes(), patient: Some(7), ..Facets::default() };
                let trigger: &[u8] = if code == "ADT" { b"A08" } else { b"" };
                let context = Context {
                    facets: &facets,
                    trigger,
                    facility: "SBMC",
                    visit: "",
                    zone: &zone,
                    at_ms: 1,
                    sent_ms: (1, 1),
                    is_transcoded: false,
                    labels: "",
                };
                parsing += from.elapsed().as_nanos();
                let from = Instant::now();
                let told = told(reading, &context).unwrap();
                let person = PersonKey([(at % usize::from(people)) as u8; 16]);
                take(&transaction, person, (at as u64, ""), &told).unwrap();
                all += from.elapsed().as_nanos();
            }
            transaction.commit().unwrap();
        }
        let each = |nanoseconds: u128| nanoseconds as f64 / messages.len() as f64 / 1_000.0;
        println!(
            "{name}: {:.2} µs an update, with its share of the commit and parsing {:.2} µs (parsing alone {:.2} µs)",
            each(all),
            each(begun.elapsed().as_nanos()),
            each(parsing)
        );
    }
}
