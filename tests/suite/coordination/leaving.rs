//! What leaves the card of a person: what was another patient's, what was taken back, and what a later message does not take away.
use super::kept::{World, difference};
use handoff::coordination::PersonKey;
use handoff::coordination::card::{Card, Section};
use handoff::coordination::registry::{Kind, What};
use handoff::coordination::roster::reviews::{Decision, Verdict};

pub const AT: &str = "2026-03-12T12:00:00Z";
pub const MBI: &str = "1EG4TE5MK73^^^CMS&2.16.840.1.113883.4.927&ISO^MC";
pub const SON: &str = "OKAFOR^JUNIOR||19800101|M";
pub const MOTHER: &str = "OKAFOR^MARISOL||19510314|F";

pub fn pid(numbers: &str, who: &str) -> String {
    format!("PID|1||{numbers}||{who}\r")
}

pub fn mrn(number: &str) -> String {
    format!("{number}^^^SBMC^MR")
}

/// Hers, as the hospital knows her.
pub fn hers() -> String {
    pid(&format!("{}~{MBI}", mrn("00718243")), MOTHER)
}

pub fn sons() -> String {
    pid(&mrn("00999001"), SON)
}

pub fn message(kind: &str, id: usize, rest: &str) -> String {
    let (minute, second) = (id / 60, id % 60);
    format!("MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|2026031012{minute:02}{second:02}-0500||{kind}|Q{id:07}|P|2.5.1\r{rest}")
}

pub fn pv1(visit: &str) -> String {
    format!("PV1|1|I|4W||||||||||||||||{visit}^^^SBMC\r")
}

pub fn dg1(code: &str) -> String {
    format!("DG1|1||{code}^x^I10C|||F\r")
}

pub fn al1(codes: &[&str]) -> String {
    codes.iter().map(|code| format!("AL1|1|DA|{code}^x^L\r")).collect()
}

/// Tells messages one after the other.
pub struct Teller {
    pub world: World,
    pub id: usize,
}

impl Teller {
    pub fn new() -> Teller {
        Teller::of(World::new())
    }

    pub fn of(world: World) -> Teller {
        Teller { world, id: 0 }
    }

    pub fn say(&mut self, kind: &str, rest: &str) {
        self.id += 1;
        self.world.receive(&message(kind, self.id, rest), AT);
    }

    pub fn a08(&mut self, rest: &str) {
        self.say("ADT^A08^ADT_A01", rest);
    }

    /// Her card: what is told there, by section.
    pub fn card(&self) -> Card {
        let text = self.world.text("SELECT coalesce(max(lower(hex(person))), '') FROM card WHERE section = 0");
        if text.is_empty() {
            return Card::default();
        }
        let part = |from: usize, to: usize| &text[from..to];
        let id = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
        Card::read(self.world.connection(), PersonKey::parse(&id).unwrap()).unwrap()
    }

    pub fn told(&self, section: Section) -> Vec<String> {
        let card = self.card();
        let own = card.rows.iter().filter(|row| row.section == section);
        own.map(|row| String::from_utf8_lossy(&row.body).into_owned()).collect()
    }

    pub fn has(&self, text: &str) -> bool {
        self.card().rows.iter().any(|row| String::from_utf8_lossy(&row.body).contains(text))
    }

    /// The same comes of the journal again.
    pub fn read_again(mut self) {
        let rows = self.world.rows();
        assert_eq!(difference(&rows, &self.world.read_again(AT)), Vec::<String>::new());
    }
}

/// A number that stands in no roster was merged with hers, and is told apart again: what came under it meanwhile was her son's.
#[test]
fn what_came_under_a_number_that_is_told_apart_again_leaves() {
    // The number by which the hospital knows her is told with the one of the roster by the unlink, or has been before.
    for unlinked in [hers(), pid(&mrn("00718243"), MOTHER)] {
        for turned in [false, true] {
            let mut teller = Teller::new();
            teller.a08(&(hers() + &pv1("V1") + &dg1("I50.23") + &al1(&["HERS"])));
            teller.say("ADT^A40^ADT_A39", &format!("EVN|A40|20260310\r{}MRG|{}\r", hers(), mrn("00999001")));
            let attending = pv1("V2").replace("|4W||||", "|4W||||9990002021^HALVERSEN^INGRID");
            teller.say(
                "ADT^A01^ADT_A01",
                &("EVN|A01|20260310\r".to_owned() + &sons() + &attending + &dg1("F20.0") + &al1(&["SONS"])),
            );
            // Under both numbers she was meant.
            let hers_too = if unlinked == hers() { format!("~{}", mrn("00999001")) } else { String::new() };
            let both = pid(&format!("{}{hers_too}~{MBI}", mrn("00718243")), MOTHER);
            teller.a08(&(both + &pv1("V3") + &dg1("I10")));
            assert!(teller.has("F20.0") && teller.has("SONS") && teller.has("V2^^^SBMC"), "taken for hers meanwhile");
            let members = "SELECT count(*) FROM care_member WHERE visit = 'SBMC|V2'";
            assert_eq!(teller.world.count(members), 1);
            let (one, other) = if turned { (sons(), unlinked.clone()) } else { (unlinked.clone(), sons()) };
            teller.say("ADT^A37^ADT_A37", &format!("EVN|A37|20260310\r{one}{other}"));
            for gone in ["F20.0", "SONS", "V2^^^SBMC", "JUNIOR"] {
                assert!(!teller.has(gone), "{gone}, turned: {turned}");
            }
            for hers in ["I50.23", "HERS", "V1^^^SBMC", "V3^^^SBMC", "I10^"] {
                assert!(teller.has(hers), "{hers}, turned: {turned}");
            }
            assert_eq!(teller.world.count(members), 0);
            teller.a08(&(sons() + &pv1("V4") + &dg1("F20.1")));
            assert!(!teller.has("F20.1"), "nor is it hers from then on");
            teller.read_again();
        }
    }
}

/// Of numbers of which neither, or both, are known as hers nothing leaves.
#[test]
fn an_unlink_of_numbers_that_say_nothing_takes_nothing() {
    let mut teller = Teller::new();
    teller.a08(&(hers() + &pv1("V1") + &dg1("I50.23")));
    teller.say("ADT^A37^ADT_A37", &format!("EVN|A37|20260310\r{}{}", pid(&mrn("1"), SON), pid(&mrn("2"), SON)));
    let both = pid(&format!("{}~{MBI}", mrn("00999001")), MOTHER);
    teller.a08(&(both.clone() + &pv1("V2") + &dg1("I10")));
    teller.say("ADT^A37^ADT_A37", &format!("EVN|A37|20260310\r{}{}", hers(), both));
    assert!(teller.has("I50.23") && teller.has("I10^"));
}

/// Neither number stands in a roster, nor was one told with a number that does: what was told in another name than hers leaves.
#[test]
fn an_unlink_where_no_roster_knows_a_number_takes_what_was_told_in_another_name() {
    let at_home = format!("{MOTHER}|||418 QUARRY ROAD^^LAKESHORE^NY^14150");
    let hers = pid(&mrn("00718243"), &at_home);
    let nameless = |number: &str| pid(&mrn(number), "|||");
    let named = |number: &str| pid(&mrn(number), MOTHER);
    let unlinks = [
        [hers.clone(), sons()],
        [sons(), hers.clone()],
        [named("00718243"), sons()],
        [sons(), named("00718243")],
        [named("00718243"), nameless("00999001")],
        [nameless("00718243"), sons()],
        [nameless("00718243"), nameless("00999001")],
    ];
    for [one, other] in unlinks {
        let mut teller = Teller::new();
        teller.a08(&(hers.clone() + &pv1("V1") + &dg1("I50.23") + &al1(&["HERS"])));
        teller.say("ADT^A40^ADT_A39", &format!("EVN|A40|20260310\r{hers}MRG|{}\r", mrn("00999001")));
        teller.say("ADT^A01^ADT_A01", &("EVN|A01|20260310\r".to_owned() + &sons() + &pv1("V2") + &dg1("F20.0")));
        assert!(teller.has("F20.0") && teller.has("I50.23"), "taken for hers meanwhile");
        teller.say("ADT^A37^ADT_A37", &format!("EVN|A37|20260310\r{one}{other}"));
        for gone in ["F20.0", "V2^^^SBMC", "JUNIOR"] {
            assert!(!teller.has(gone), "{gone} after {one} {other}");
        }
        for left in ["I50.23", "HERS", "V1^^^SBMC"] {
            assert!(teller.has(left), "{left} after {one} {other}");
        }
        teller.read_again();
    }
}

/// Whose a number is by a decision it is whatever name stands beside it.
#[test]
fn an_unlink_leaves_what_was_told_under_a_number_that_somebody_decided_on() {
    let mut teller = Teller::new();
    teller.a08(&(hers() + &pv1("V1")));
    let key = teller.world.text("SELECT lower(hex(person)) FROM card LIMIT 1");
    let part = |from: usize, to: usize| &key[from..to];
    let her = PersonKey::parse(&[part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")).unwrap();
    let identifiers = vec![("mrn@SBMC".to_owned(), "5".to_owned())];
    let verdict = Verdict { subject: [7; 16], decision: Decision::Person(her), identifiers };
    let what = What::Put { kind: Kind::MatchDecision, id: verdict.id(), body: verdict.body() };
    teller.world.say(what, AT);
    let maiden = pid(&mrn("5"), "LINDQVIST^MARI||19510314|F");
    let other = pid(&mrn("6"), "LINDQVIST^OLE||19770809|M");
    teller.a08(&(maiden.clone() + &pv1("V5") + &dg1("I50.23")));
    teller.say("ADT^A40^ADT_A39", &format!("EVN|A40|20260310\r{maiden}MRG|{}\r", mrn("6")));
    teller.a08(&(pid(&mrn("6"), "OKAFOR^JUNIOR||19510314|F") + &pv1("V6") + &dg1("F20.0")));
    assert!(teller.has("I50.23") && teller.has("F20.0"));
    teller.say("ADT^A37^ADT_A37", &format!("EVN|A37|20260310\r{maiden}{other}"));
    assert!(teller.has("I50.23") && !teller.has("F20.0"));
    teller.read_again();
}

/// Somebody decides that a number is hers, and later that it is not.
#[test]
fn what_came_by_a_decision_leaves_when_it_is_taken_back() {
    let mut teller = Teller::new();
    teller.a08(&(hers() + &pv1("V1") + &dg1("I50.23")));
    let key = teller.world.text("SELECT lower(hex(person)) FROM card LIMIT 1");
    let part = |from: usize, to: usize| &key[from..to];
    let her = PersonKey::parse(&[part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")).unwrap();
    let stranger = pid(&mrn("5"), "LINDQVIST^OLE||19770809|M");
    let decide = |teller: &mut Teller, decision| {
        let identifiers = vec![("mrn@SBMC".to_owned(), "5".to_owned())];
        let verdict = Verdict { subject: [7; 16], decision, identifiers };
        let what = What::Put { kind: Kind::MatchDecision, id: verdict.id(), body: verdict.body() };
        teller.world.say(what, AT);
    };
    decide(&mut teller, Decision::Person(her));
    teller.a08(&(stranger.clone() + &pv1("V5") + &dg1("F20.0")));
    assert!(teller.has("F20.0"));
    decide(&mut teller, Decision::Nobody);
    assert!(!teller.has("F20.0") && !teller.has("V5^") && !teller.has("LINDQVIST") && teller.has("I50.23"));
    teller.read_again();
}

#[test]
fn what_is_moved_to_another_patient_leaves() {
    let mrg = |number: &str, rest: &str| format!("MRG|{}{rest}\r", mrn(number));
    let lab =
        |order: &str| format!("OBR|1||{order}^LAB|2160-0^x^LN|||202603091200\rOBX|1|NM|2160-0^x^LN||1.4|mg/dL|||||F\r");
    let account = |text: String| text.replace("|19510314|F\r", &format!("|19510314|F{}A7^^^SBMC\r", "|".repeat(10)));
    // The visit, the account or the number by which it was told moves to her son, who is nobody of the rosters.
    let cases: [(&str, &str, String); 4] = [
        ("A45", "ADT_A45", sons() + &mrg("00718243", "||||V2^^^SBMC") + &pv1("V2")),
        ("A44", "ADT_A43", sons() + &mrg("00718243", "||A7^^^SBMC")),
        ("A43", "ADT_A43", pid(&mrn("00999001"), SON) + &mrg("00888001", "")),
        ("A47", "ADT_A30", pid(&mrn("00999001"), SON) + &mrg("00888001", "")),
    ];
    for (trigger, structure, rest) in cases {
        let mut teller = Teller::new();
        teller.a08(&(hers() + &pv1("V1") + &dg1("I50.23") + &al1(&["HERS"])));
        let wrong = match trigger {
            "A45" => hers(),
            "A44" => account(hers()),
            _ => pid(&format!("{}~{MBI}", mrn("00888001")), MOTHER),
        };
        teller.say("ADT^A01^ADT_A01", &("EVN|A01|20260310\r".to_owned() + &wrong + &pv1("V2") + &dg1("F20.0")));
        teller.id += 1;
        let of_lab = message("ORU^R01^ORU_R01", teller.id, &(hers() + &pv1("V2") + &lab("L1")));
        teller.world.receive(&of_lab.replace("SBADT", "SBLAB"), AT);
        assert!(teller.has("F20.0") && teller.has("L1^LAB"));
        // The same patient on both sides: nothing moves.
        if trigger == "A45" {
            teller.say(
                "ADT^A45^ADT_A45",
                &format!("EVN|A45|20260310\r{}{}{}", hers(), mrg("00718243", "||A1"), pv1("V2")),
            );
            assert!(teller.has("F20.0"));
        }
        teller.say(&format!("ADT^{trigger}^{structure}"), &format!("EVN|{trigger}|20260310\r{rest}"));
        assert!(!teller.has("F20.0"), "{trigger}");
        // What another feed told under her own number is of the visit, not of the number.
        assert_eq!(teller.has("L1^LAB"), !matches!(trigger, "A44" | "A45"), "{trigger}");
        assert!(teller.has("I50.23") && teller.has("HERS"), "{trigger}");
        teller.read_again();
    }
}

#[test]
fn a_visit_that_did_not_happen_has_no_diagnoses_and_a_deleted_one_nothing() {
    for (trigger, structure) in [("A11", "ADT_A09"), ("A23", "ADT_A21")] {
        let mut teller = Teller::new();
        let order = "ORC|NW|RX7^SBMC\rRXE|^^^20260310||31^Drug^L|10||mg\r";
        teller.a08(&(hers() + &pv1("V1") + &dg1("I10")));
        let stay = hers() + &pv1("V2") + &dg1("I50.23") + &al1(&["HERS"]);
        teller.say("ADT^A01^ADT_A01", &("EVN|A01|20260310\r".to_owned() + &stay));
        let before = teller.id;
        teller.say("RDE^O11^RDE_O11", &(hers() + &pv1("V2") + order));
        let end = hers() + &pv1("V2") + &dg1("I50.23");
        teller.say(&format!("ADT^{trigger}^{structure}"), &format!("EVN|{trigger}|20260310\r{end}"));
        // One that was sent before, and comes late.
        teller.world.receive(&message("ADT^A08^ADT_A01", before, &stay).replace("Q00", "Q99"), AT);
        assert!(!teller.has("I50.23") && teller.has("I10^") && teller.has("HERS"), "{trigger}");
        assert_eq!(teller.has("RX7"), trigger == "A11");
        let visits = teller.told(Section::Encounter);
        assert_eq!(visits.len(), if trigger == "A11" { 2 } else { 1 }, "{visits:?}");
        assert_eq!(visits.iter().any(|visit| visit.contains("ADT^A11")), trigger == "A11");
        teller.read_again();
    }
}

#[test]
fn a_document_that_is_replaced_does_not_stay_beside_the_one_that_replaces_it() {
    let mut teller = Teller::new();
    let txa = |number: &str, parent: &str| {
        format!("{}TXA|1|18842-5^Discharge summary^LN|TX|||||||||{number}^SBMC|{parent}||||AU\r", hers())
    };
    teller.say("MDM^T02^MDM_T02", &txa("D1", ""));
    teller.say("MDM^T02^MDM_T02", &txa("D2", ""));
    teller.say("MDM^T06^MDM_T02", &txa("D3", "D2^SBMC"));
    teller.say("MDM^T10^MDM_T02", &txa("D4", "D1"));
    let documents = teller.told(Section::Document).concat();
    assert!(!documents.contains("|D1^SBMC|") && documents.contains("|D4^SBMC|"), "{documents}");
    assert!(documents.contains("|D2^SBMC|") && documents.contains("|D3^SBMC|"), "an addendum replaces nothing");
}

/// AL1 tells all that a feed knows (2.10.4.1), IAM what changes.
#[test]
fn an_allergy_that_a_later_list_leaves_out_is_no_more() {
    let mut teller = Teller::new();
    let known = |teller: &Teller| {
        let all = teller.told(Section::Allergy).concat();
        ["PEN", "ASP", "SULFA", "LATEX", "OTHER"].into_iter().filter(|code| all.contains(code)).collect::<Vec<_>>()
    };
    teller.a08(&(hers() + &al1(&["PEN", "ASP"])));
    teller.say("ADT^A60^ADT_A60", &(hers() + "IAM|1|DA|SULFA^x^L|||A|A1^SBMC\rIAM|2|DA|LATEX^x^L|||A\r"));
    let other = message("ADT^A08^ADT_A01", 3, &(hers() + &al1(&["OTHER"]))).replace("SBADT", "CLINIC");
    teller.world.receive(&other, AT);
    teller.id += 1;
    // A message that has no list says nothing of it; nor does one that was sent before.
    teller.a08(&(hers() + &pv1("V1")));
    teller.world.receive(&message("ADT^A08^ADT_A01", 0, &(hers() + &al1(&["PEN"]))), AT);
    assert_eq!(known(&teller), ["PEN", "ASP", "SULFA", "LATEX", "OTHER"]);
    // What has no name takes nothing away, and what is too long is in the list all the same.
    teller.a08(&(hers() + "AL1|1|DA|ASP^x^L\rAL1|2|DA\r"));
    assert_eq!(known(&teller).len(), 5);
    teller.a08(&(hers() + &format!("AL1|1|DA|PEN^{}^L\r", "x".repeat(6_000))));
    assert_eq!(known(&teller), ["PEN", "SULFA", "LATEX", "OTHER"], "aspirin");
    teller.a08(&(hers() + "AL1|1||\"\"\r"));
    assert_eq!(known(&teller), ["SULFA", "LATEX", "OTHER"]);
    // A list in secret takes nothing from those who may not know of it.
    teller.a08(&(hers() + &al1(&["PEN", "ASP"])));
    let secret = "PV2||||||||||||||||||||||Y\r";
    teller.a08(&(hers() + &pv1("V9") + secret + &al1(&["ASP"])));
    assert_eq!(known(&teller), ["PEN", "ASP", "SULFA", "LATEX", "OTHER"]);
    teller.a08(&(hers() + &pv1("V9") + secret + "AL1|1||\"\"\r"));
    assert_eq!(known(&teller), ["SULFA", "LATEX", "OTHER"], "that there are none is said to all");
    // What was told in secret is deleted openly, too.
    let iam = |action: &str| format!("IAM|1|DA|PEN^x^L|||{action}|A9^SBMC\r");
    teller.say("ADT^A60^ADT_A60", &(hers() + &pv1("V9") + secret + &iam("A")));
    assert_eq!(known(&teller).len(), 4);
    teller.say("ADT^A60^ADT_A60", &(hers() + &iam("D")));
    assert_eq!(known(&teller), ["SULFA", "LATEX", "OTHER"]);
    teller.read_again();
}

#[test]
fn a_correction_of_one_value_leaves_the_others_of_its_order() {
    let mut teller = Teller::new();
    let obx = |code: &str, value: &str, state: &str| format!("OBX|1|NM|{code}^x^LN||{value}|mg|||||{state}\r");
    let order = |state: &str, values: &[String]| {
        let bars = "|".repeat(18);
        format!("{}OBR|1||L1^LAB|24323-8^Panel^LN|||202603091200{bars}{state}\r{}", hers(), values.concat())
    };
    let values = |teller: &Teller| -> String {
        let all = teller.told(Section::Result);
        assert_eq!(all.len(), 1);
        let one = all[0].split("OBX|").skip(1).map(|obx| obx.split('|').nth(4).unwrap().to_owned());
        one.collect::<Vec<_>>().join(" ")
    };
    let mut say = |state: &str, all: &[String]| {
        teller.say("ORU^R01^ORU_R01", &order(state, all));
        values(&teller)
    };
    assert_eq!(say("P", &[obx("A", "1.0", "P"), obx("E", "9.9", "P")]), "1.0 9.9");
    assert_eq!(say("F", &[obx("A", "1.1", "F"), obx("B", "2.1", "F")]), "1.1 2.1", "what was preliminary goes");
    assert_eq!(say("F", &[obx("C", "3.1", "F")]), "3.1 1.1 2.1", "a panel in parts");
    assert_eq!(say("C", &[obx("B", "2.2", "C")]), "2.2 3.1 1.1");
    assert_eq!(say("C", &[obx("C", "", "D")]), "2.2 1.1", "deleted");
    // What has no room is left out, and it is said.
    for (letter, count) in [("M", 30), ("N", 50)] {
        let many: Vec<String> = (0..count).map(|at| obx(&format!("{letter}{at}"), &"7".repeat(30), "F")).collect();
        say("C", &many);
    }
    assert!(teller.card().more.contains(&Section::Result));
    teller.say("ORU^R01^ORU_R01", &order("X", &[]));
    assert_eq!(values(&teller), "", "there are no results");
}

/// What labels a stay labels what any feed told of it, and for as long as it is on the card.
#[test]
fn a_stay_stays_as_secret_as_it_was() {
    let labels = |teller: &Teller, text: &str| -> Vec<String> {
        let card = teller.card();
        let own = card.rows.iter().filter(|row| row.section != Section::Head);
        own.filter(|row| String::from_utf8_lossy(&row.body).contains(text)).map(|row| row.labels.clone()).collect()
    };
    let lab = |order: &str| {
        format!("OBR|1||{order}^LAB|{order}-0^x^LN|||202603091200\rOBX|1|NM|2160-0^x^LN||1.4|mg/dL|||||F\r")
    };
    let of_lab = |teller: &mut Teller, rest: &str| {
        teller.id += 1;
        let text = message("ORU^R01^ORU_R01", teller.id, rest).replace("SBADT", "SBLAB");
        teller.world.receive(&text, AT);
    };
    let begin = || {
        let mut teller = Teller::new();
        teller.say("ADT^A01^ADT_A01", &("EVN|A01|20260310\r".to_owned() + &hers() + &pv1("V1") + &dg1("I10")));
        of_lab(&mut teller, &(hers() + &pv1("V1") + &lab("L1")));
        of_lab(&mut teller, &(hers() + &lab("L9")));
        assert_eq!(labels(&teller, "L1^LAB"), [""]);
        teller
    };
    // Told by another feed, in a message about two patients, and in one that could not be translated.
    let secret = || hers() + &pv1("V1") + &dg1("F10.20");
    let mut teller = begin();
    teller.a08(&secret());
    let two = begin();
    let mut two = two;
    two.say("ADT^A17^ADT_A17", &format!("EVN|A17|20260310\r{}{}{}", sons(), pv1("V7"), secret()));
    let mut untranslated = begin();
    untranslated.id += 1;
    let text = message("ADT^A08^ADT_A01", untranslated.id, &secret());
    untranslated.world.receive_untranslated(&text, AT);
    for teller in [&teller, &two, &untranslated] {
        assert!(labels(teller, "L1^LAB")[0].contains("SUD"), "{:?}", labels(teller, "L1^LAB"));
        assert_eq!(labels(teller, "L9^LAB"), [""], "of no stay");
    }
    // Long after: what is kept of the stay is gone, and what is told of it is as secret as before.
    teller.world.connection().execute("DELETE FROM visit_labels", []).unwrap();
    of_lab(&mut teller, &(hers() + &pv1("V1") + &lab("L2")));
    assert!(labels(&teller, "L2^LAB")[0].contains("SUD"));
    of_lab(&mut teller, &(hers() + &lab("L1")));
    assert!(
        labels(&teller, "L1^LAB").iter().all(|labels| labels.contains("SUD")),
        "nor by a message that names no stay"
    );
}

/// An allergy is told again in each visit: it is as open, and as much hers, as when it was told first.
#[test]
fn an_allergy_stays_with_the_visit_that_told_it_first() {
    let mut teller = Teller::new();
    for visit in ["V1", "V2"] {
        teller.a08(&(hers() + &pv1(visit) + &al1(&["PEN"])));
    }
    teller.a08(&(hers() + &pv1("V2") + &dg1("F10.20") + &al1(&["PEN"])));
    let labels = |teller: &Teller| -> Vec<String> {
        let card = teller.card();
        card.rows.iter().filter(|row| row.section == Section::Allergy).map(|row| row.labels.clone()).collect()
    };
    assert!(labels(&teller).contains(&String::new()), "{:?}", labels(&teller));
    let visit = format!("EVN|A45|20260310\r{}MRG|{}\r{}", sons(), mrn("00718243"), pv1("V2"));
    teller.say("ADT^A45^ADT_A45", &visit);
    assert!(teller.has("PEN") && !teller.has("F10.20"), "{:?}", teller.told(Section::Allergy));
    teller.read_again();
}

/// Values that a text takes back, and those of another day, are not told as if they were of the newest report.
#[test]
fn a_text_takes_a_value_back_and_days_are_not_mixed() {
    let obr = |number: &str, day: &str, state: &str| {
        format!("{}OBR|1||{number}|24323-8^Panel^LN|||{day}1200{}{state}\r", hers(), "|".repeat(18))
    };
    let glucose = "OBX|1|NM|2345-7^Glucose^LN||300|mg/dL|||||F\r";
    for number in ["L1^LAB", ""] {
        let mut teller = Teller::new();
        teller.say("ORU^R01^ORU_R01", &(obr(number, "20260301", "F") + glucose));
        assert!(teller.has("|300|"));
        let text = "OBX|1|TX|2345-7^Glucose^LN||hemolyzed, disregard||||||C\r";
        teller.say("ORU^R01^ORU_R01", &(obr(number, "20260301", "C") + text));
        assert!(!teller.has("|300|"), "{number}");
    }
    let mut teller = Teller::new();
    teller.say("ORU^R01^ORU_R01", &(obr("", "20260301", "F") + glucose));
    let potassium = "OBX|1|NM|2823-3^Potassium^LN||4.1|mmol/L|||||F\r";
    teller.say("ORU^R01^ORU_R01", &(obr("", "20260308", "F") + potassium));
    assert!(teller.has("|4.1|") && !teller.has("|300|"), "{:?}", teller.told(Section::Result));
}

/// Whose number changes is the same patient, also where the rosters do not know whom the message names.
#[test]
fn a_number_that_changes_takes_nothing_from_the_same_patient() {
    let mut teller = Teller::new();
    teller.a08(&(hers() + &pv1("V1") + &dg1("I50.23") + &al1(&["HERS"])));
    let named = pid(&mrn("00718999"), MOTHER);
    teller.say("ADT^A47^ADT_A30", &format!("EVN|A47|20260310\r{named}MRG|{}\r", mrn("00718243")));
    assert!(teller.has("I50.23") && teller.has("HERS"));
}
