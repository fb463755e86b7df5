//! The card of a person, from messages on: what is kept, how much of it, and whose it is.
use super::kept::{World, difference};
use handoff::coordination::PersonKey;
use handoff::coordination::card::{CARD_BYTES_MAX, Card, Section, groups};
use std::collections::BTreeMap;

const STORY: [&str; 9] = [
    include_str!("story/m1.hl7"),
    include_str!("story/m2.hl7"),
    include_str!("story/m3.hl7"),
    include_str!("story/m4.hl7"),
    include_str!("story/m5.hl7"),
    include_str!("story/m6.hl7"),
    include_str!("story/r1.hl7"),
    include_str!("story/r2.hl7"),
    include_str!("story/r3.hl7"),
];
const AT: &str = "2026-03-12T12:00:00Z";
const PID: &str = "PID|1||00718243^^^SBMC&2.16.840.1.113883.19.5.1&ISO^MR~1EG4TE5MK73^^^CMS&2.16.840.1.113883.4.927&ISO^MC||OKAFOR^MARISOL||19510314|F\r";

fn message(kind: &str, id: usize, rest: &str) -> String {
    format!("MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|20260310{:06}-0500||{kind}|Q{id:07}|P|2.5.1\r{rest}", id % 1_000_000)
}

/// The only person of whom a card is.
fn person(world: &World) -> PersonKey {
    let text = world.text("SELECT DISTINCT lower(hex(person)) FROM card");
    let part = |from: usize, to: usize| &text[from..to];
    let id = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-");
    PersonKey::parse(&id).unwrap()
}

fn card(world: &World, person: PersonKey) -> Card {
    Card::read(world.connection(), person).unwrap()
}

fn counts(card: &Card) -> BTreeMap<Section, usize> {
    let mut all = BTreeMap::new();
    card.rows.iter().for_each(|row| *all.entry(row.section).or_default() += 1);
    all
}

#[test]
fn the_story_makes_the_card_that_is_expected() {
    let mut world = World::new();
    STORY.iter().for_each(|message| world.receive(message, AT));
    let person = person(&world);
    let made = card(&world, person);
    // Feeds: SBADT, SBDOC, CHSCHED, CHPM, and those of the referral.
    let expected: BTreeMap<Section, usize> = [
        (Section::Encounter, 2),
        // Heart failure at admission and at discharge, and hypertension.
        (Section::Condition, 3),
        (Section::Document, 1),
        (Section::Appointment, 2),
    ]
    .into();
    let mut counted = counts(&made);
    assert!(counted.remove(&Section::Head).is_some_and(|heads| heads >= 4));
    assert_eq!(counted, expected);
    let told = groups(&made);
    let of = |section: Section| -> Vec<String> {
        let own = told.iter().filter(|group| group.section == section);
        own.map(|group| String::from_utf8(group.raw.clone()).unwrap()).collect()
    };
    let [practice, hospital] = &of(Section::Encounter)[..] else { panic!("{told:?}") };
    assert!(practice.contains("|ADT^A04^ADT_A01|CH000355|") && practice.contains("\rPV1|1|O|CLINIC^2^^CHFM|"));
    assert!(
        hospital.starts_with("MSH|^~\\&|SBADT|SBMC|HANDOFF|EXCHANGE|20260305152204-0500||ADT^A03^ADT_A03|SB000188|")
    );
    assert_eq!(hospital.matches("\rDG1|").count(), 3, "what was said at the beginning lasts");
    let documents = of(Section::Document).concat();
    assert!(documents.contains("MDM^T01^MDM_T01") && documents.contains("DOC884213"), "{documents}");
    assert!(!documents.contains("furosemide") && !documents.contains("Furosemide"), "no text is kept");
    // All of it, from the journal again.
    let (rows, again) = (world.rows(), world.read_again(AT));
    assert_eq!(difference(&rows, &again), Vec::<String>::new());
    assert_eq!(card(&world, person), made);
}

#[test]
fn what_is_taken_back_goes_and_what_is_corrected_changes() {
    let mut world = World::new();
    let visit = "PV1|1|I|4W||||||||||||||||V77^^^SBMC\r";
    let allergy = |action: &str| format!("{PID}IAM|1|DA|70618^Penicillin^RXNORM|SV|Hives|{action}|A1^SBMC\r");
    let dg1 = |action: &str| format!("{PID}{visit}DG1|1||I10^x^I10C|||F{}|{action}\r", "|".repeat(14));
    let order = |control: &str| {
        format!("{PID}{visit}ORC|{control}|RX7^SBMC\rRXE|^^^20260310||314076^Lisinopril^RXNORM|10||mg\r")
    };
    let result = |state: &str, at: &str, value: &str| {
        format!(
            "{PID}OBR|1||L1^LAB|2160-0^Creatinine^LN|||{at}|||||||||||||||||||{}\rOBX|1|NM|2160-0^Creatinine^LN||{value}|mg/dL|||||{state}\rOBX|2|TX|x^y^L||secret text||||||F\r",
            state
        )
    };
    let mut id = 0;
    let mut say = |world: &mut World, kind: &str, rest: &str| {
        id += 1;
        world.receive(&message(kind, id, rest), AT);
    };
    say(&mut world, "ADT^A60^ADT_A60", &allergy("A"));
    say(&mut world, "ADT^A08^ADT_A01", &dg1("A"));
    say(&mut world, "RDE^O11^RDE_O11", &order("NW"));
    say(&mut world, "ORU^R01^ORU_R01", &result("F", "202603091200", "1.4"));
    let person = person(&world);
    let section = |world: &World, section: Section| -> Vec<String> {
        let made = card(world, person);
        let own = made.rows.iter().filter(|row| row.section == section);
        own.map(|row| String::from_utf8_lossy(&row.body).into_owned()).collect()
    };
    for one in [Section::Allergy, Section::Condition, Section::Medication, Section::Result] {
        assert_eq!(section(&world, one).len(), 1, "{one:?}");
    }
    assert!(!section(&world, Section::Result)[0].contains("secret text"));
    say(&mut world, "ADT^A60^ADT_A60", &allergy("D"));
    say(&mut world, "ADT^A08^ADT_A01", &dg1("D"));
    say(&mut world, "RDE^O11^RDE_O11", &order("DC"));
    say(&mut world, "ORU^R01^ORU_R01", &result("C", "202603091200", "1.9"));
    // An older one of another order that comes late.
    say(&mut world, "ORU^R01^ORU_R01", &result("F", "202602091200", "0.9").replace("L1^LAB", "L0^LAB"));
    assert_eq!(section(&world, Section::Allergy), Vec::<String>::new());
    assert_eq!(section(&world, Section::Condition), Vec::<String>::new());
    assert!(section(&world, Section::Medication)[0].contains("ORC|DC|RX7"));
    let results = section(&world, Section::Result);
    assert!(results.len() == 1 && results[0].contains("||1.9|"), "{results:?}");
    assert_eq!(section(&world, Section::Encounter).len(), 1);
    say(&mut world, "ADT^A23^ADT_A21", &format!("{PID}{visit}"));
    assert_eq!(section(&world, Section::Encounter).len(), 0);
}

#[test]
fn a_merge_shows_both_and_an_unlink_gives_back_exactly() {
    let twice = "1EG4TE5MK75,OKAFOR,MARISOL,1951-03-14,F,14150,7165550142,2020-01-01,,9990003037,cm-ortega\n";
    let mut world = World::of(twice);
    let other = |message: &str| message.replace("1EG4TE5MK73", "1EG4TE5MK75").replace("00718243", "00918243");
    STORY[..3].iter().for_each(|message| world.receive(message, AT));
    let ours = person(&world);
    world.receive(&other(STORY[0]).replace("SB000101", "SB000102").replace("V20260302001", "V9"), AT);
    let of_card =
        |world: &World| -> Vec<String> { world.rows().into_iter().filter(|row| row.starts_with("card [")).collect() };
    let before = of_card(&world);
    let alone = card(&world, ours);
    let pid =
        |number: &str| format!("PID|1||{number}^^^CMS&2.16.840.1.113883.4.927&ISO^MC||OKAFOR^MARISOL^A||19510314|F\r");
    let mrg = "MRG|1EG4TE5MK75^^^CMS&2.16.840.1.113883.4.927&ISO^MC\r";
    world.receive(
        &message("ADT^A40^ADT_A39", 1, &format!("EVN|A40|20260312091500-0400\r{}{mrg}", pid("1EG4TE5MK73"))),
        AT,
    );
    let both = card(&world, ours);
    assert_eq!(counts(&both)[&Section::Encounter], 2, "one of each");
    assert!(counts(&both)[&Section::Condition] > counts(&alone)[&Section::Condition]);
    let merged = of_card(&world);
    world.receive(
        &message(
            "ADT^A37^ADT_A37",
            2,
            &format!("EVN|A37|20260312091500-0400\r{}{}", pid("1EG4TE5MK73"), pid("1EG4TE5MK75")),
        ),
        AT,
    );
    // The merge itself says who she is by that number.
    let after = of_card(&world);
    let new: Vec<&String> = after.iter().filter(|row| !before.contains(row)).collect();
    assert!(before.iter().all(|row| after.contains(row)) && new.len() == 1, "{new:?}");
    assert_ne!(merged, after);
    let rows = world.rows();
    assert_eq!(difference(&rows, &world.read_again(AT)), Vec::<String>::new());
}

#[test]
fn a_flood_stays_within_bounds_and_the_newest_stay() {
    let mut world = World::new();
    for at in 0..200 {
        let visit = format!("PV1|1|I|4W^{}||||9990002021^HALVERSEN^INGRID||||||||||||V{at}^^^SBMC\r", "x".repeat(80));
        let (mut codes, mut allergies) = (String::new(), String::new());
        for code in 0..4 {
            codes += &format!("DG1|{code}||I{at}.{code}^{}^I10C|||F\r", "y".repeat(60));
            allergies += &format!("IAM|{code}|DA|{at}{code}^{}^L|SV||A|A{at}{code}^SBMC\r", "z".repeat(60));
        }
        world.receive(&message("ADT^A08^ADT_A01", at, &format!("EVN|A08|20260310\r{PID}{visit}{codes}")), AT);
        world.receive(&message("ADT^A60^ADT_A60", 4_000 + at, &format!("EVN|A60|20260310\r{PID}{allergies}")), AT);
        let lab = format!("{PID}OBR|1|||{at}-0^Test^LN|||20260310{:02}00\rOBX|1|NM|{at}-0^Test^LN||{at}|mg\r", at % 24);
        world.receive(&message("ORU^R01^ORU_R01", 1_000 + at, &lab), AT);
        let order = format!("{PID}ORC|NW|RX{at}^SBMC\rRXE|^^^20260310||{at}^Drug^L|10||mg\r");
        world.receive(&message("RDE^O11^RDE_O11", 2_000 + at, &order), AT);
        let document = format!(
            "{PID}TXA|1|18842-5^Discharge summary^LN|TX|||||||||D{at}^SBMC\rOBX|1|TX|a^b^L||{}\r",
            "t".repeat(5_000)
        );
        world.receive(&message("MDM^T02^MDM_T02", 3_000 + at, &document), AT);
    }
    // One thing that is too long is not taken.
    let huge = format!("{PID}AL1|1|DA|9999^{}^L|SV\r", "w".repeat(6_000));
    world.receive(&message("ADT^A08^ADT_A01", 9_000, &huge), AT);
    let person = person(&world);
    let made = card(&world, person);
    assert!(made.len() <= CARD_BYTES_MAX, "{}", made.len());
    for (section, count) in counts(&made) {
        assert!(count <= section.limits().0 && (count > 3 || section == Section::Head), "{section:?} {count}");
    }
    let stored = world.count("SELECT sum(length(body)) FROM card");
    assert!(stored <= CARD_BYTES_MAX as i64, "{stored}");
    let text: String = made.rows.iter().map(|row| String::from_utf8_lossy(&row.body)).collect();
    assert!(text.contains("|V199^^^SBMC") && !text.contains("|V0^^^SBMC") && text.contains("D199^SBMC"));
    assert!(!text.contains("wwwwwwwwww") && !text.contains("tttttttttt"));
    println!("{} rows, {} bytes: {:?}", made.rows.len(), made.len(), counts(&made));
}

/// The bodies of a section of a card, as text.
fn bodies(world: &World, section: Section) -> Vec<String> {
    let made = card(world, person(world));
    let own = made.rows.iter().filter(|row| row.section == section);
    own.map(|row| String::from_utf8_lossy(&row.body).into_owned()).collect()
}

const VISIT: &str = "PV1|1|I|4W||||||||||||||||V77^^^SBMC\r";

#[test]
fn diagnoses_outlast_messages_that_cannot_tell_of_them() {
    for event in ["A02", "A21", "A22", "A25", "A54"] {
        let mut world = World::new();
        let dg1 = "DG1|1||I50.23^Heart failure^I10C|||A\r";
        world.receive(&message("ADT^A01^ADT_A01", 1, &format!("EVN|A01|20260310\r{PID}{VISIT}{dg1}")), AT);
        let structure = if event == "A02" { "A02" } else { "A21" };
        let next = message(&format!("ADT^{event}^ADT_{structure}"), 2, &format!("EVN|{event}|20260310\r{PID}{VISIT}"));
        world.receive(&next, AT);
        let told = groups(&card(&world, person(&world)));
        let told: Vec<String> = told.into_iter().map(|group| String::from_utf8(group.raw).unwrap()).collect();
        let [_, visit, codes] = &told[..] else { panic!("{event}: {told:?}") };
        assert!(visit.contains(&format!("|ADT^{event}^")) && !visit.contains("DG1"), "{visit}");
        assert!(codes.contains("|ADT^A08^ADT_A01|Q0000001|") && codes.contains("\rDG1|1||I50.23"), "{codes}");
    }
}

#[test]
fn what_others_tell_never_takes_away_what_a_feed_told() {
    let mut world = World::new();
    let long = PID.replace("|F\r", &format!("|F|||{}\r", "12 LONG STREET^^LAKESHORE^NY^14150~".repeat(20)));
    world.receive(&message("ADT^A08^ADT_A01", 1, &format!("{PID}AL1|1|DA|7980^Penicillin^RXNORM\r")), AT);
    for feed in 0..60 {
        let other = message("ADT^A08^ADT_A01", 100 + feed, &format!("{long}AL1|1|DA|{feed}^Drug^L\r"));
        world.receive(&other.replace("SBADT", &format!("APP{feed}")), AT);
    }
    let all = bodies(&world, Section::Allergy);
    assert!(all.len() > 20 && all.len() <= 40, "as many as have room");
    assert!(card(&world, person(&world)).more.contains(&Section::Allergy), "and it is said that there were more");
    for feed in 0..60 {
        let other =
            message("ADT^A08^ADT_A01", 200 + feed, &format!("{long}{VISIT}").replace("V77", &format!("V{feed}")));
        world.receive(&other.replace("SBADT", &format!("PM{feed}")), AT);
    }
    assert_eq!(bodies(&world, Section::Allergy), all);
    assert!(!card(&world, person(&world)).more.contains(&Section::Medication));
    let made = card(&world, person(&world));
    let heads: Vec<_> = made.rows.iter().filter(|row| row.section == Section::Head).map(|row| row.key).collect();
    assert!(made.rows.iter().all(|row| row.section == Section::Head || heads.contains(&row.head)));
    // Another version of HL7 and one more number are the same feed; nor is somebody lost who is said much of.
    let before = heads.len();
    let again = message("ADT^A08^ADT_A01", 300, &format!("{long}{VISIT}").replace("V77", "V59"));
    let again = again.replace("SBADT", "PM59").replace("|2.5.1\r", "|2.6\r").replace("~1EG4", "~77^^^X^XX~1EG4");
    world.receive(&again, AT);
    let made = card(&world, person(&world));
    assert_eq!(made.rows.iter().filter(|row| row.section == Section::Head).count(), before);
    let mut world = World::new();
    let huge = PID.replace("|F\r", &format!("|F|||{}\r", "x".repeat(9_000)));
    world.receive(&message("ADT^A08^ADT_A01", 1, &format!("{huge}AL1|1|DA|7980^Penicillin^RXNORM\r")), AT);
    assert_eq!(bodies(&world, Section::Allergy).len(), 1);
}

#[test]
fn an_allergy_that_is_deleted_by_number_goes_however_it_was_told() {
    let mut world = World::new();
    let al1 = format!("{PID}AL1|1|DA|7980^Penicillin^RXNORM\rAL1|2|DA|1191^Aspirin^RXNORM\r");
    world.receive(&message("ADT^A08^ADT_A01", 1, &al1), AT);
    assert_eq!(bodies(&world, Section::Allergy).len(), 2);
    let gone = format!("{PID}IAM|1|DA|7980^Penicillin^RXNORM|||D|A1^SBMC\r");
    world.receive(&message("ADT^A60^ADT_A60", 2, &gone), AT);
    let left = bodies(&world, Section::Allergy);
    assert!(left.len() == 1 && left[0].contains("Aspirin"), "{left:?}");
}

#[test]
fn what_was_sent_earlier_does_not_take_the_place_of_what_was_sent_later() {
    let mut world = World::new();
    let stay = |event: &str| format!("EVN|{event}|20260310\r{PID}{VISIT}DG1|1||I10^x^I10C|||F{}|", "|".repeat(14));
    let deleted = message("ADT^A03^ADT_A03", 200, &(stay("A03") + "D\r"));
    let resent = message("ADT^A01^ADT_A01", 100, &(stay("A01") + "A\r"));
    world.receive(&deleted, AT);
    world.receive(&resent, AT);
    assert!(bodies(&world, Section::Encounter)[0].contains("ADT^A03"));
    assert_eq!(bodies(&world, Section::Condition), Vec::<String>::new());
    let order =
        |control: &str| format!("{PID}ORC|{control}|RX7^SBMC\rRXE|^^^20260310||314076^Lisinopril^RXNORM|10||mg\r");
    world.receive(&message("RDE^O11^RDE_O11", 400, &order("DC")), AT);
    world.receive(&message("RDE^O11^RDE_O11", 300, &order("NW")), AT);
    assert!(bodies(&world, Section::Medication)[0].contains("ORC|DC"));
    // A time that has not been yet is no reason to believe nothing afterwards.
    let later = resent.replace("|20260310000100-0500|", "|20990101|").replace("ADT^A01^ADT_A01", "ADT^A13^ADT_A01");
    world.receive(&later, AT);
    world.receive(
        &message("ADT^A03^ADT_A03", 500, &(stay("A03") + "D\r")).replace("|20260310", "|20260313"),
        "2026-03-13T12:00:00Z",
    );
    assert!(bodies(&world, Section::Encounter)[0].contains("ADT^A03"));
}

#[test]
fn a_result_is_as_its_order_says_last_and_of_a_test_the_newest_stays() {
    let mut world = World::new();
    let mut id = 0;
    let mut say = |world: &mut World, order: &str, state: &str, at: &str, value: &str| {
        id += 1;
        let bars = "|".repeat(18);
        let rest = format!(
            "{PID}OBR|1||{order}^LAB|2160-0^Creatinine^LN|||{at}{bars}{state}\rOBX|1|NM|2160-0^Creatinine^LN||{value}|mg/dL|||||{state}\r"
        );
        world.receive(&message("ORU^R01^ORU_R01", id, &rest), AT);
        let values = bodies(world, Section::Result);
        let value = |text: &String| text.rsplit("^LN||").next().unwrap().split('|').next().unwrap().to_owned();
        let mut values: Vec<String> = values.iter().map(value).collect();
        values.sort();
        values.join(" ")
    };
    assert_eq!(say(&mut world, "L1", "P", "202603091200", "1.3"), "1.3");
    assert_eq!(say(&mut world, "L1", "F", "202603091200", "1.4"), "1.4");
    assert_eq!(say(&mut world, "L1", "P", "202603091200", "1.3"), "1.4", "preliminary never replaces final");
    assert_eq!(say(&mut world, "L1", "C", "202603091100", "4.1"), "4.1", "a correction also corrects the time");
    assert_eq!(say(&mut world, "L0", "F", "202602091100", "0.9"), "4.1", "an older one");
    assert_eq!(say(&mut world, "L2", "F", "206203091100", "7.7"), "7.7", "clamped");
    assert_eq!(say(&mut world, "L2", "C", "202603101100", "2.0"), "2.0");
    assert_eq!(say(&mut world, "L3", "F", "202603101100", "2.1"), "2.0 2.1", "two of one time");
    assert_eq!(say(&mut world, "L4", "F", "202603101200", "2.2"), "2.2");
}

/// The card holds its segments in UTF-8 and says so: else they would be read again as what they are no more.
#[test]
fn what_was_transcoded_is_not_transcoded_again() {
    let mut world = World::new();
    let text = message("ADT^A08^ADT_A01", 1, &PID.replace("OKAFOR", "\u{5c71}\u{7530}"));
    let text = text.replace("|P|2.5.1\r", "|P|2.5.1||||||SHIFT JIS\r");
    let (before, after) = text.split_once("\u{5c71}\u{7530}").unwrap();
    world.receive_bytes([before.as_bytes(), b"\x8eR\x93c", after.as_bytes()].concat(), AT);
    let told = groups(&card(&world, person(&world)));
    let raw = String::from_utf8(told[0].raw.clone()).unwrap();
    assert!(
        raw.contains("|\u{5c71}\u{7530}^MARISOL") && raw.contains("|UNICODE UTF-8") && !raw.contains("SHIFT"),
        "{raw}"
    );
}
