//! Messages that come later than others that were sent after them: what is on a card is as if they had come in order. And lists, of which a message says one entry more.
use super::kept::{World, difference};
use super::leaving::{AT, MBI, MOTHER, Teller, al1, dg1, hers, message, mrn, pid, pv1};
use handoff::coordination::card::{Card, Section, groups};
use std::collections::BTreeSet;

/// The segments of entries that a card shows, sorted.
fn shown(card: &Card) -> Vec<String> {
    let own = groups(card).into_iter().filter(|group| group.section != Section::Head);
    let text: Vec<String> = own.map(|group| String::from_utf8(group.raw).unwrap()).collect();
    let of_entries = |segment: &&str| !["MSH", "PID", "EVN"].contains(&segment.get(..3).unwrap_or("MSH"));
    let mut all: Vec<String> =
        text.iter().flat_map(|text| text.split('\r').filter(of_entries)).map(str::to_owned).collect();
    all.sort();
    all.dedup();
    all
}

/// Tells messages, by when they were sent, in some order; each is its kind and the rest.
fn tell(sent: &[(&str, String)], order: &[usize]) -> Teller {
    let mut teller = Teller::new();
    for at in order {
        let (kind, rest) = &sent[*at];
        teller.world.receive(&message(kind, *at, rest), AT);
    }
    teller.id = 100;
    teller
}

/// What goes, what stays, and what was sent, the last of which ends it.
type Case<'c> = (&'c [&'c str], &'c [&'c str], Vec<(&'c str, String)>);

#[test]
fn what_was_sent_before_a_list_or_the_end_of_a_visit_is_not_taken_after_it() {
    let stay = |event: &str, rest: &str| format!("EVN|{event}|20260310\r{}{}{rest}", hers(), pv1("V2"));
    let a08 = |rest: String| ("ADT^A08^ADT_A01", hers() + &rest);
    let admitted = ("ADT^A01^ADT_A01", stay("A01", &dg1("I50.23")));
    let order = ("RDE^O11^RDE_O11", hers() + &pv1("V2") + "ORC|NW|RX7^SBMC\rRXE|^^^20260310||31^Drug^L|10||mg\r");
    let corrected = format!(
        "{}{}OBR|1||L1^LAB|2160-0^x^LN|||202603091200{}C\rOBX|1|NM|2160-0^x^LN||1.4|mg/dL|||||C\r",
        hers(),
        pv1("V2"),
        "|".repeat(18)
    );
    let cancelled = ("ADT^A11^ADT_A09", stay("A11", ""));
    let deleted = ("ADT^A23^ADT_A21", stay("A23", ""));
    let cases: [Case<'_>; 5] = [
        (&["ASP"], &["PEN"], vec![a08(al1(&["PEN", "ASP"])), a08(al1(&["PEN"]))]),
        (&["PEN", "ASP"], &[], vec![a08(al1(&["PEN"])), a08(al1(&["ASP"])), a08("AL1|1||\"\"\r".into())]),
        (&["I50.23"], &["V2^^^SBMC", "RX7"], vec![admitted.clone(), order.clone(), cancelled]),
        (
            &["I50.23", "V2^^^SBMC", "RX7", "L1^LAB"],
            &[],
            vec![admitted.clone(), order, ("ORU^R01^ORU_R01", corrected), deleted.clone()],
        ),
        // An allergy is the patient's, whenever it was told.
        (&["I50.23"], &["PEN"], vec![("ADT^A08^ADT_A01", stay("A08", &(dg1("I50.23") + &al1(&["PEN"])))), deleted]),
    ];
    for (gone, left, sent) in cases {
        let in_order: Vec<usize> = (0..sent.len()).collect();
        let turned: Vec<usize> = in_order.iter().rev().copied().collect();
        let [one, other] = [tell(&sent, &in_order), tell(&sent, &turned)];
        assert_eq!(shown(&one.card()), shown(&other.card()), "{gone:?}");
        for teller in [one, other] {
            for text in gone {
                assert!(!teller.has(text), "{text}");
            }
            for text in left {
                assert!(teller.has(text), "{text}");
            }
            teller.read_again();
        }
        // What is sent after it is so again.
        let mut teller = tell(&sent, &turned);
        let (kind, rest) = &sent[0];
        teller.say(kind, rest);
        assert!(teller.has(gone[0]), "{gone:?}");
        teller.read_again();
    }
}

/// What another feed told of a stay that is deleted goes as far as it is of the visit, in either order; and a list of one feed says nothing of another.
#[test]
fn other_feeds_are_bound_by_the_stay_and_not_by_the_list() {
    for turned in [false, true] {
        let mut teller = Teller::new();
        let told = message("ADT^A08^ADT_A01", 1, &(hers() + &pv1("V2") + &dg1("I50.23") + &al1(&["PEN"])));
        let told = told.replace("SBADT", "CLINIC");
        let list = message("ADT^A08^ADT_A01", 2, &(hers() + &al1(&["ASP"])));
        let deleted = message("ADT^A23^ADT_A21", 3, &format!("EVN|A23|20260310\r{}{}", hers(), pv1("V2")));
        let mut all = [told, list, deleted];
        if turned {
            all.reverse();
        }
        all.iter().for_each(|text| teller.world.receive(text, AT));
        teller.id = 9;
        assert!(!teller.has("I50.23") && teller.told(Section::Encounter).is_empty(), "turned: {turned}");
        assert!(teller.has("PEN") && teller.has("ASP"), "turned: {turned}");
        teller.read_again();
    }
}

/// A list in secret says nothing of what was told openly, and that there are none says it to all: in either order.
#[test]
fn a_list_in_secret_bounds_what_was_told_in_secret() {
    let secret = "PV2||||||||||||||||||||||Y\r";
    let in_secret = |codes: &str| hers() + &pv1("V9") + secret + codes;
    let sent = |last: &str| {
        vec![
            ("ADT^A08^ADT_A01", hers() + &al1(&["PEN"])),
            ("ADT^A08^ADT_A01", in_secret(&al1(&["ASP", "SULFA"]))),
            ("ADT^A08^ADT_A01", in_secret(last)),
        ]
    };
    for (last, left) in [(al1(&["ASP"]), vec!["PEN", "ASP"]), ("AL1|1||\"\"\r".to_owned(), vec![])] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let teller = tell(&sent(&last), &order);
            let all = teller.told(Section::Allergy).concat();
            let known: Vec<&str> = ["PEN", "ASP", "SULFA"].into_iter().filter(|code| all.contains(code)).collect();
            assert_eq!(known, left, "{order:?}");
            teller.read_again();
        }
    }
}

/// When a list was sent is of whom it was told of: it goes where they go, and with the head.
#[test]
fn ends_follow_merges_and_go_with_what_is_anothers() {
    let twice = "1EG4TE5MK75,OKAFOR,MARISOL,1951-03-14,F,14150,7165550142,2020-01-01,,9990003037,cm-ortega\n";
    let mut world = World::of(twice);
    let mbi = |number: &str| format!("{number}^^^CMS&2.16.840.1.113883.4.927&ISO^MC");
    let other = pid(&format!("{}~{}", mrn("00918243"), mbi("1EG4TE5MK75")), MOTHER);
    let alone = |number: &str| pid(&mbi(number), MOTHER);
    let people = |world: &World| world.count("SELECT count(DISTINCT person) FROM card_end");
    let codes = |world: &World| {
        let is_there = |code: &&str| {
            let sql = "SELECT count(*) FROM card WHERE section = 3 AND instr(body, CAST('CODE' AS BLOB)) > 0";
            world.count(&sql.replace("CODE", code)) > 0
        };
        ["HERS", "OLD", "ELSE", "LATE"].into_iter().filter(is_there).collect::<Vec<_>>()
    };
    world.receive(&message("ADT^A08^ADT_A01", 50, &(hers() + &al1(&["HERS"]))), AT);
    world.receive(&message("ADT^A08^ADT_A01", 50, &(other.clone() + &al1(&["ELSE"]))).replace("Q00", "Q01"), AT);
    assert_eq!(people(&world), 2);
    let merge = format!("EVN|A40|20260310\r{}MRG|{}\r", alone("1EG4TE5MK73"), mbi("1EG4TE5MK75"));
    world.receive(&message("ADT^A40^ADT_A39", 60, &merge), AT);
    assert_eq!(people(&world), 1);
    world.receive(&message("ADT^A08^ADT_A01", 10, &(other.clone() + &al1(&["OLD"]))), AT);
    assert_eq!(codes(&world), ["HERS", "ELSE"]);
    let unlink = format!("EVN|A37|20260310\r{}{}", alone("1EG4TE5MK73"), alone("1EG4TE5MK75"));
    world.receive(&message("ADT^A37^ADT_A37", 70, &unlink), AT);
    assert_eq!(people(&world), 2);
    world.receive(&message("ADT^A08^ADT_A01", 20, &(other.clone() + &al1(&["OLD"]))), AT);
    assert_eq!(codes(&world), ["HERS", "ELSE"]);
    world.receive(&message("ADT^A08^ADT_A01", 80, &(other + &al1(&["LATE"]))), AT);
    assert_eq!(codes(&world), ["HERS", "LATE"]);
    let rows = world.rows();
    assert_eq!(difference(&rows, &world.read_again(AT)), Vec::<String>::new());

    // Of a head that leaves nothing is left.
    let mut teller = Teller::new();
    let sons = super::leaving::sons;
    teller.a08(&(hers() + &al1(&["HERS"])));
    teller.say("ADT^A40^ADT_A39", &format!("EVN|A40|20260310\r{}MRG|{}\r", hers(), mrn("00999001")));
    teller.say("ADT^A08^ADT_A01", &(sons() + &pv1("V2") + &al1(&["SONS"])));
    teller.say("ADT^A11^ADT_A09", &format!("EVN|A11|20260310\r{}{}", sons(), pv1("V2")));
    let ends = "SELECT count(*) FROM card_end";
    assert_eq!(teller.world.count(ends), 4, "two lists, and a visit by its number and its stay");
    teller.say("ADT^A37^ADT_A37", &format!("EVN|A37|20260310\r{}{}", hers(), sons()));
    assert_eq!(teller.world.count(ends), 1);
    teller.read_again();
}

#[test]
fn ends_that_are_kept_are_the_last_of_so_many() {
    let mut teller = Teller::new();
    let deleted = |at: usize| format!("EVN|A23|20260310\r{}{}", hers(), pv1(&format!("V{at}")));
    for at in 0..300 {
        teller.say("ADT^A23^ADT_A21", &deleted(at));
    }
    assert_eq!(teller.world.count("SELECT count(*) FROM card_end"), 256);
    let told = hers() + &pv1("V299") + &dg1("I50.23");
    teller.world.receive(&message("ADT^A08^ADT_A01", 0, &told), AT);
    assert!(!teller.has("I50.23"));
    teller.read_again();
}

/// IAM says something of one allergy: the list of AL1 in which that stands is as it was.
#[test]
fn an_action_on_an_allergy_of_a_list_leaves_it_in_the_list() {
    let mut teller = Teller::new();
    let known = |teller: &Teller| {
        let all = teller.told(Section::Allergy).concat();
        ["PEN", "ASP", "SULFA"].into_iter().filter(|code| all.contains(code)).collect::<Vec<_>>()
    };
    let iam = |code: &str, action: &str| hers() + &format!("IAM|1|DA|{code}^x^L|SV||{action}\r");
    teller.a08(&(hers() + &al1(&["PEN", "ASP"])));
    teller.say("ADT^A60^ADT_A60", &iam("PEN", "U"));
    teller.say("ADT^A60^ADT_A60", &iam("SULFA", "A"));
    assert_eq!(known(&teller), ["PEN", "ASP", "SULFA"]);
    assert!(teller.told(Section::Allergy).concat().contains("IAM|1|DA|PEN"), "as it was told last");
    teller.a08(&(hers() + &al1(&["ASP"])));
    assert_eq!(known(&teller), ["ASP", "SULFA"], "the list says no more of it");
    teller.say("ADT^A60^ADT_A60", &iam("ASP", "D"));
    assert_eq!(known(&teller), ["SULFA"]);
    teller.a08(&(hers() + &al1(&["PEN", "ASP"])));
    assert_eq!(known(&teller), ["PEN", "ASP", "SULFA"]);
    teller.read_again();
}

/// An observation is known by its code and whose code that is, not by what it is called.
#[test]
fn a_value_is_replaced_whatever_it_is_called() {
    let mut teller = Teller::new();
    let obx = |code: &str, value: &str| format!("OBX|1|NM|{code}||{value}|mg|||||F\r");
    let mut say = |all: &[String]| {
        let obr = format!("OBR|1||L1^LAB|24323-8^Panel^LN|||202603091200{}F\r", "|".repeat(18));
        teller.say("ORU^R01^ORU_R01", &(hers() + &obr + &all.concat()));
        let [told] = &teller.told(Section::Result)[..] else { panic!() };
        let values = told.split("OBX|").skip(1).map(|obx| obx.split('|').nth(4).unwrap().to_owned());
        values.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(say(&[obx("2160-0^Creatinine^LN", "1.4"), obx("CR^Creatinine^L", "1.5")]), "1.4 1.5");
    assert_eq!(
        say(&[obx("2160-0^CREAT SERPL^LN^CR^Creatinine^L", "1.9")]),
        "1.9 1.5",
        "of another system it is another"
    );
    assert_eq!(say(&[obx("CR^^L", "2.0")]), "2.0 1.9");
    assert_eq!(
        say(&[obx("^Note A", "3.0"), obx("^^^A^Note^L", "4.0"), obx("^^^B^Note^L", "5.0")]),
        "3.0 4.0 5.0 2.0 1.9"
    );
    assert_eq!(say(&[obx("^Note A", "3.1"), obx("^^^B^Note^L", "5.1")]), "3.1 5.1 4.0 2.0 1.9");
}

/// What cannot be read for want of what it is read with is told as what is cut, and what it takes away goes.
#[test]
fn what_has_no_room_for_its_head_is_not_passed_over_in_silence() {
    let numbers: String = (0..400).map(|at| format!("~{at}^^^SBMC^XX")).collect();
    let long = pid(&format!("{}~{MBI}{numbers}", mrn("00718243")), MOTHER);
    let stay = |pid: &str| pid.to_owned() + &pv1("V1") + &dg1("I50.23") + &al1(&["PEN"]);
    let mut teller = Teller::new();
    teller.a08(&stay(&long));
    let sections = |all: &[Section]| all.iter().copied().collect::<BTreeSet<_>>();
    let all = sections(&[Section::Head, Section::Encounter, Section::Condition, Section::Allergy]);
    assert_eq!((teller.card().more, teller.card().rows.len()), (all.clone(), 0));
    // With what is there it stays told that there is more.
    teller.a08(&stay(&hers()));
    assert_eq!(teller.card().more, all);
    assert!(teller.has("I50.23") && teller.has("PEN"));
    teller.say("ADT^A23^ADT_A21", &format!("EVN|A23|20260310\r{long}{}AL1|1||\"\"\r", pv1("V1")));
    assert!(!teller.has("I50.23") && !teller.has("PEN") && !teller.has("V1^^^SBMC"));
    teller.read_again();
    // That there was something in secret is not told.
    let mut teller = Teller::new();
    teller.a08(&(hers() + &pv1("V7")));
    teller.a08(&(long + &pv1("V1") + &dg1("F10.20")));
    assert_eq!(teller.card().more, BTreeSet::new());
    teller.read_again();
}
