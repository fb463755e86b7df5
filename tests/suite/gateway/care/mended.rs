//! What a card says where it knows less than all: of what the gate takes out, of visits that are only named, of the dead, of what is not kept, of loops, and of what left the journal.
use super::*;

const PID: &str = "PID|1||00718243^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR~1EG4TE5MK73^^^CMS&2.16.840.1.113883.4.927&ISO^MC||OKAFOR^MARISOL^^^^^L||19510314|F\r";
const VISIT: &str = "PV1|1|I|4W^412^B^SBMC||||||||||||||||V20260302001^^^SBMC\r";

fn told(kind: &str, id: &str, rest: &str) -> String {
    format!("MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|20260303101500-0500||{kind}|{id}|P|2.5.1\r{rest}")
}

fn result() -> String {
    let obr = "OBR|1|L1^SBMC|F1^LAB|2160-0^Creatinine^LN|||20260303090000-0500|||||||||||||||20260303100000-0500|||F\r";
    let obx = "OBX|1|NM|2160-0^Creatinine^LN||1.4|mg/dL^mg/dL^UCUM|||||F\r";
    told("ORU^R01^ORU_R01", "SB000113", &format!("{PID}{VISIT}ORC|RE|L1^SBMC|F1^LAB\r{obr}{obx}"))
}

fn start(recipients: &str, messages: &[String]) -> (Care, String) {
    let care = Care::start("", recipients);
    care.send(&messages.iter().map(String::as_str).collect::<Vec<_>>());
    care.wait_until_read(messages.len() as u64);
    let sql = "SELECT DISTINCT lower(hex(person)) FROM card";
    let all: String = database(&care.gateway.data()).query_row(sql, [], |row| row.get(0)).unwrap();
    (care, format!("{}-{}-{}-{}-{}", &all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..]))
}

fn of_kind(bundle: &Value, kind: &str) -> Vec<Value> {
    let all = bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone());
    all.filter(|one| one["resourceType"] == kind).collect()
}

/// A section of a summary.
fn section(summary: &Value, code: &str) -> Value {
    let sections = summary["entry"][0]["resource"]["section"].as_array().unwrap();
    sections.iter().find(|one| one["code"]["coding"][0]["code"] == code).unwrap().clone()
}

#[test]
fn a_section_says_the_same_whether_nothing_was_told_or_the_gate_took_it_out() {
    let recipients = recipient("aco-cm", "full-resource", "")
        + &recipient("least", "full-resource", "fields_profile = \"cop-minimum\"");
    let allergy = told("ADT^A08^ADT_A01", "SB000111", &format!("{PID}{VISIT}AL1|1|DA|7980^Penicillin^RXNORM\r"));
    let sections = [vec![M1.to_owned()], vec![M1.to_owned(), allergy]].map(|messages| {
        let (care, person) = start(&recipients, &messages);
        let path = format!("/fhir/Patient/{person}/$summary");
        let known = section(&care.get("aco-cm", &path), "48765-2");
        assert_eq!(known.get("emptyReason").is_none(), messages.len() == 2, "{known}");
        let seen = section(&care.get("least", &path), "48765-2");
        care.gateway.stop();
        seen
    });
    assert_eq!(sections[0], sections[1]);
    assert_eq!(sections[1]["emptyReason"]["coding"][0]["code"], "withheld");
    assert!(!sections[1].to_string().contains("feed"), "{}", sections[1]);
}

#[test]
fn a_visit_that_is_only_named_is_not_said_to_go_on() {
    // Of results alone nobody knows how the visit is; told is that it has ended.
    let few = recipient("few", "full-resource", "").replace(
        "[\"admission\", \"discharge\", \"open-loop\", \"care-flag\", \"patient-data-feed\"]",
        "[\"new-lab-result\"]",
    );
    let (care, person) = start(&(recipient("aco-cm", "full-resource", "") + &few), &[M1.into(), M2.into(), result()]);
    let path = format!("/fhir/Patient/{person}/$everything");
    let states = |who: &str| -> Vec<String> {
        let visits = of_kind(&care.get(who, &path), "Encounter");
        visits.iter().map(|one| one["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states("few"), ["unknown"]);
    assert_eq!(states("aco-cm"), ["finished"], "told by what tells of it");
    let text = section(&care.get("few", &format!("/fhir/Patient/{person}/$summary")), "30954-2")["text"].to_string();
    assert!(text.contains("1.4") || text.contains("Creatinine"), "{text}");
    assert!(text.contains("Texts of reports and notes on results are not kept here."), "{text}");
    care.gateway.stop();
}

#[test]
fn who_died_somewhere_did_whatever_another_feed_says() {
    let died = |id: &str, date: &str, died: &str| {
        let pid = PID.replace("|F\r", &format!("|F{}{date}|{died}\r", "|".repeat(21)));
        told("ADT^A08^ADT_A01", id, &format!("{pid}{VISIT}"))
    };
    let alive = died("CH1", "", "N").replace("SBADT", "CHREG");
    for (first, expected) in [
        (died("SB1", "20260308", "Y"), ("deceasedDateTime", json!("2026-03-08"))),
        (died("SB1", "", "Y"), ("deceasedBoolean", json!(true))),
    ] {
        for messages in [[first.clone(), alive.clone()], [alive.clone(), first]] {
            let (care, person) = start(&recipient("aco-cm", "full-resource", ""), &messages);
            let her = care.get("aco-cm", &format!("/fhir/Patient/{person}"));
            let said: Vec<_> =
                her.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("deceased")).collect();
            assert_eq!(said, [(&expected.0.to_owned(), &expected.1)], "{her}");
            care.gateway.stop();
        }
    }
}

#[test]
fn an_open_loop_is_shown_however_many_newer_ones_are_over() {
    let (care, person) = start(&recipient("aco-cm", "full-resource", ""), &[M1.into(), M2.into()]);
    let path = format!("/fhir/Patient/{person}/$everything");
    let tasks = || of_kind(&care.get("aco-cm", &path), "Task").len();
    let database = Connection::open(care.gateway.data().join("coordination.sqlite")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    // All of the story is long over.
    let sql = "UPDATE loop SET state = 'open' WHERE number = (SELECT min(number) FROM loop)";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    let before = tasks();
    assert!(before > 0);
    let sql = "WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 30)
               INSERT INTO loop (id, definition, person, origin, opener, opened_ms, received_ms, state, facts, idle)
               SELECT randomblob(16), definition, person, origin, randomblob(16), opened_ms, received_ms, 'met', facts, 1
               FROM many, (SELECT * FROM loop ORDER BY number LIMIT 1)";
    assert_eq!(database.execute(sql, []).unwrap(), 30);
    assert_eq!(tasks(), before);
    care.gateway.stop();
}

#[test]
fn what_was_notified_and_has_left_the_journal_is_read_from_the_card() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "full-resource", ""));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1]);
    care.wait_for_events("aco-cm", &id, 1);
    let told = wait_for("the notification", || notifications(&web.requests(), "event-notification").pop());
    let visit = of_kind(&told, "Encounter").remove(0)["id"].as_str().unwrap().to_owned();
    let database = Connection::open(care.gateway.data().join("coordination.sqlite")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let sql = "SELECT lower(hex(person)) FROM card LIMIT 1";
    let all: String = database.query_row(sql, [], |row| row.get(0)).unwrap();
    let person = format!("{}-{}-{}-{}-{}", &all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..]);
    care.get("aco-cm", &format!("/fhir/Patient/{person}/$everything"));
    // As if the journal had let go of it.
    let sql = "UPDATE telling SET body = replace(body, '\"seq\":1,', '\"seq\":999,')";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    let changed: i64 = database
        .query_row("SELECT count(*) FROM telling WHERE body LIKE '%\"seq\":999,%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(changed, 1);
    assert_eq!(care.get("aco-cm", &format!("/fhir/Encounter/{visit}"))["id"], visit.as_str());
    care.gateway.stop();
}
