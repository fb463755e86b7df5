//! What was told of somebody else opens, closes, ends and rests no loop, counts in no measure, and names nobody who looks after the patient: once that is known, all is as if it had never been told.
use super::kept::{World, difference};
use super::leaving::{AT, MBI, MOTHER, SON, Teller, hers, mrn, pid, pv1, sons};
use handoff::coordination::PersonKey;
use handoff::coordination::registry::{Kind, What};
use handoff::coordination::roster::reviews::{Decision, Verdict};

const PCP: &str = "PD1||||9990003037^BAPTISTE^RENEE\r";
const ANOTHER: &str = "PD1||||9990002021^HALVERSEN^INGRID\r";

fn teller(members: &str) -> Teller {
    let loops = ["ed-follow-up", "phq-9"].map(|name| format!("[[coordination.loop]]\nuse = \"{name}\"\n\n")).concat();
    Teller::of(World::with_loops(members, &loops))
}

/// The segments of a visit that ended with a disposition.
fn adt_with(who: &str, class: &str, visit: &str, disposition: &str) -> String {
    let pv1 = pv1(visit).replace("|I|4W||||", &format!("|{class}|4W||||9990003037^BAPTISTE^RENEE"));
    who.to_owned() + &pv1.replace("^^^SBMC\r", &format!("^^^SBMC{}{disposition}\r", "|".repeat(17)))
}

/// A visit of a class, of somebody, at a time of March; with what else the message says.
fn adt(teller: &mut Teller, trigger: &str, at: &str, who: &str, class: &str, visit: &str, rest: &str) {
    let (pd1, rest) = if rest.starts_with("PD1") { (rest, "") } else { ("", rest) };
    let told = adt_with(&format!("{who}{pd1}"), class, visit, "01");
    teller.say(&format!("ADT^{trigger}^ADT_A01"), &format!("EVN|{trigger}|202603{at}\r{told}{rest}"));
}

fn score(teller: &mut Teller, who: &str, order: &str) {
    let obr = format!("OBR|1||{order}^LAB|44261-6^PHQ-9^LN|||202603110900\r");
    teller.say("ORU^R01^ORU_R01", &format!("{who}{obr}OBX|1|NM|44261-6^PHQ-9^LN||16|{{score}}|||||F\r"));
}

/// Her stay, and that she was in the emergency department: there is something to be done for both.
fn hers_first(teller: &mut Teller) {
    adt(teller, "A01", "07100000", &hers(), "I", "V1", PCP);
    adt(teller, "A03", "09100000", &hers(), "I", "V1", "");
    adt(teller, "A04", "09130000", &hers(), "E", "E1", "");
    adt(teller, "A03", "09150000", &hers(), "E", "E1", "");
}

/// What is told of her son under a number: a stay, in which another doctor is said to look after him, a visit with her doctor, a score, and that he died.
fn sons_story(teller: &mut Teller, who: &str) {
    adt(teller, "A04", "10160000", who, "O", "O2", "");
    adt(teller, "A01", "10180000", who, "I", "V2", ANOTHER);
    // No event comes of it.
    adt(teller, "A08", "10190000", who, "I", "V2", "PD1||||9990005057^LINDQVIST^OLE\r");
    score(teller, who, "S1");
    adt(teller, "A03", "11100000", who, "I", "V2", "DG1|1||F32.9^x^I10C|||F\r");
    adt(teller, "A01", "11150000", who, "I", "V3", "");
    let died = format!("{}{}Y\r", who.trim_end(), "|".repeat(22));
    adt(teller, "A03", "11200000", &died, "I", "V3", "");
}

/// Loops but those that somebody else's event had opened, visits, team and counters; without the numbers of rows.
fn standing(world: &World) -> Vec<String> {
    let all = [
        "SELECT definition || ' ' || opened_ms || ' ' || state || ' ' || json_remove(facts, '$.ended', '$.documents') || ' ' || idle FROM loop WHERE facts NOT LIKE '%another-patient%'",
        "SELECT definition || '/' || step.id || ' ' || step.state || ' ' || ifnull(base_ms, '') || ' ' || ifnull(due_ms, '') || ' ' || ifnull(timer_ms, '') || ' '
           || ifnull(closed_event_ms, '') FROM loop JOIN loop_step AS step ON step.loop = loop.number WHERE facts NOT LIKE '%another-patient%'",
        "SELECT 'worklist ' || definition || ' ' || loop_panel.state FROM loop_panel JOIN loop ON loop.number = loop WHERE loop_panel.state <> 'void'",
        "SELECT 'visit ' || visit || ' ' || stay || ' ' || ifnull(end_ms, '') FROM loop_history",
        "SELECT 'waits ' || count(*) FROM loop_waiting",
        "SELECT 'team ' || source || ' ' || role || ' ' || npi || ' ' || visit FROM care_member",
        "SELECT 'day ' || panel || ' ' || measure || ' ' || day || ' ' || hex(ways) || ' ' || count || ' ' || of_month FROM measure_day",
        "SELECT 'place ' || measure || ' ' || month || ' ' || facility || ' ' || count FROM measure_place",
        "SELECT 'case ' || panel || ' ' || day || ' ' || measures FROM measure_case",
    ];
    let mut rows = Vec::new();
    for sql in all {
        let mut select = world.connection().prepare(sql).unwrap();
        rows.extend(select.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap));
    }
    rows.sort();
    rows
}

/// That what is told of her son is told of nobody, or of her until it is known better.
fn as_if_never_told(what: &str, before: impl Fn(&mut Teller), under: &str, after: impl Fn(&mut Teller)) {
    let run = |with: bool| {
        let mut teller = teller("");
        hers_first(&mut teller);
        before(&mut teller);
        if with {
            let untouched = standing(&teller.world);
            sons_story(&mut teller, under);
            let meanwhile = standing(&teller.world);
            assert_ne!(meanwhile, untouched);
            let has = |text: &str| meanwhile.iter().any(|row| row.contains(text));
            assert!(has("phq-9") && has("V2") && has("9990005057") && has("\"reason\":\"death\""), "{meanwhile:#?}");
        } else {
            teller.id += 7;
        }
        after(&mut teller);
        adt(&mut teller, "A04", "11220000", &hers(), "O", "O1", "");
        teller
    };
    let (told, never) = (run(true), run(false));
    assert_eq!(difference(&standing(&told.world), &standing(&never.world)), Vec::<String>::new(), "{what}");
    let of_his = "SELECT count(*) FROM loop WHERE state = 'void' AND facts LIKE '%another-patient%'";
    assert!(told.world.count(of_his) > 0 && never.world.count(of_his) == 0, "{what}");
    told.read_again();
}

/// The wrong merge, and that it is undone.
fn merge(teller: &mut Teller) {
    teller.say("ADT^A40^ADT_A39", &format!("EVN|A40|20260310\r{}MRG|{}\r", hers(), mrn("00999001")));
}

fn part(teller: &mut Teller) {
    teller.say("ADT^A37^ADT_A37", &format!("EVN|A37|20260312\r{}{}", hers(), sons()));
}

#[test]
fn a_number_that_is_told_apart_again_was_somebody_elses() {
    as_if_never_told("A37", merge, &sons(), part);
}

/// What she did herself while it was not known counts.
#[test]
fn what_the_patient_did_meanwhile_is_not_lost() {
    // She saw her doctor, after her son had; she went to another stay, which ended; she was told of a score; she died.
    as_if_never_told("a visit", merge, &sons(), |teller| {
        adt(teller, "A04", "11180000", &hers(), "O", "O9", "");
        part(teller);
    });
    as_if_never_told("a stay that is over", merge, &sons(), |teller| {
        adt(teller, "A01", "11160000", &hers(), "I", "V5", "");
        let transferred = adt_with(&hers(), "I", "V5", "02");
        teller.say("ADT^A03^ADT_A01", &format!("EVN|A03|20260311190000\r{transferred}"));
        part(teller);
    });
    as_if_never_told("a stay that goes on", merge, &sons(), |teller| {
        adt(teller, "A01", "11160000", &hers(), "I", "V5", "");
        part(teller);
    });
    as_if_never_told("a death", merge, &sons(), |teller| {
        let died = format!("{}{}Y\r", hers().trim_end(), "|".repeat(22));
        adt(teller, "A08", "11210000", &died, "I", "V1", "");
        part(teller);
    });
}

/// A stay that had begun before the other's death ended the loop, and is over before that is known.
#[test]
fn a_loop_does_not_rest_for_a_stay_that_is_over() {
    as_if_never_told(
        "rests",
        |teller| {
            adt(teller, "A01", "10120000", &hers(), "I", "V5", "");
            merge(teller);
        },
        &sons(),
        |teller| {
            let transferred = adt_with(&hers(), "I", "V5", "02");
            teller.say("ADT^A03^ADT_A01", &format!("EVN|A03|20260311190000\r{transferred}"));
            part(teller);
        },
    );
}

/// Her loop had ended by his death, and she has another one since: it does not come back beside that.
#[test]
fn a_loop_that_another_stands_for_stays_ended() {
    let mut teller = teller("");
    score(&mut teller, &hers(), "H1");
    merge(&mut teller);
    sons_story(&mut teller, &sons());
    score(&mut teller, &hers(), "H2");
    part(&mut teller);
    let live = "SELECT count(*) FROM loop WHERE definition = 'phq-9' AND state IN ('open', 'overdue')";
    assert_eq!(teller.world.count(live), 1);
    teller.read_again();
}

/// The same patient under a new number, and with another name than a head of before has: nothing was another's.
#[test]
fn a_number_that_changes_ends_no_loop() {
    let mut teller = teller("");
    teller.say("ADT^A40^ADT_A39", &format!("EVN|A40|20260307\r{}MRG|{}\r", hers(), mrn("00999001")));
    let known_by_it = pid(&mrn("00999001"), MOTHER);
    adt(&mut teller, "A01", "07100000", &known_by_it, "I", "V1", PCP);
    adt(&mut teller, "A03", "09100000", &known_by_it, "I", "V1", "");
    let live = "SELECT count(*) FROM loop WHERE state IN ('open', 'overdue')";
    assert_eq!(teller.world.count(live), 1);
    let married = pid(&mrn("00777001"), "OTHER^MARISOL||19510314|F");
    teller.say("ADT^A47^ADT_A30", &format!("EVN|A47|20260312\r{married}MRG|{}\r", mrn("00999001")));
    assert_eq!(teller.world.count(live), 1);
    assert_eq!(teller.world.count("SELECT count(*) FROM care_member WHERE source = 'pd1'"), 1);
    teller.read_again();
}

/// What closed a step leaves it open when the visit in which that was done is another's, also where it was a document of the visit.
#[test]
fn a_document_of_a_visit_that_is_moved_closes_nothing() {
    let run = |with: bool| {
        let mut teller = teller("");
        hers_first(&mut teller);
        teller.say("OMG^O19^OMG_O19", &format!("{}ORC|NW|REF1^CHFM\rOBR|1|REF1^CHFM||57133-1^Referral^LN\r", hers()));
        if with {
            adt(&mut teller, "A04", "10180000", &hers(), "O", "O2", "");
            let txa = "TXA|1|11488-4^Consult note^LN|TX|20260310190000||||||||DOC1^SBMC||REF1^CHFM|||AU\r";
            teller.say("MDM^T02^MDM_T02", &format!("{}{}{txa}", hers(), pv1("O2")));
            let rows = standing(&teller.world);
            assert!(rows.iter().any(|row| row.starts_with("referral/accepted met")), "{rows:#?}");
            let mrg = format!("MRG|{}||||O2^^^SBMC\r", mrn("00718243"));
            teller.say("ADT^A45^ADT_A45", &format!("EVN|A45|20260312\r{}{mrg}{}", sons(), pv1("O2")));
        } else {
            teller.id += 3;
        }
        adt(&mut teller, "A04", "11220000", &hers(), "O", "O1", "");
        teller
    };
    let (told, never) = (run(true), run(false));
    assert_eq!(difference(&standing(&told.world), &standing(&never.world)), Vec::<String>::new());
    told.read_again();
}

/// A stay that was told of the wrong member of the roster is followed up for the one whose it was.
#[test]
fn a_stay_that_is_moved_is_followed_up_for_whose_it_was() {
    let his_mbi = "2FH5UF6NL84^^^CMS&2.16.840.1.113883.4.927&ISO^MC";
    let his = pid(&format!("{}~{his_mbi}", mrn("00999001")), SON);
    let mrg = |number: &str, rest: &str| format!("MRG|{}{rest}\r", mrn(number));
    let wrong = pid(&format!("{}~{MBI}", mrn("00888001")), MOTHER);
    // The visit, its account, or the number by which it was told.
    let cases = [
        ("A45", "ADT_A45", hers(), mrg("00718243", "||||V2^^^SBMC") + &pv1("V2")),
        ("A43", "ADT_A43", wrong, mrg("00888001", "")),
    ];
    for (trigger, structure, under, rest) in cases {
        let mut teller = teller("2FH5UF6NL84,OKAFOR,JUNIOR,1980-01-01,M,14150,,2020-01-01,,9990003037,cm-ortega\n");
        hers_first(&mut teller);
        adt(&mut teller, "A01", "10180000", &under, "I", "V2", "");
        adt(&mut teller, "A03", "11100000", &under, "I", "V2", "");
        let moved = format!("EVN|{trigger}|20260312\r{his}{rest}");
        teller.say(&format!("ADT^{trigger}^{structure}"), &moved);
        let follow_up = "SELECT count(*) FROM loop WHERE definition = 'post-discharge' AND state IN ('open', 'overdue') AND opened_ms = 1773237600000
                           AND facts LIKE '%V2%' AND person <> (SELECT person FROM loop WHERE facts LIKE '%E1%' LIMIT 1)";
        assert_eq!(teller.world.count(follow_up), 1, "{trigger}: {:#?}", standing(&teller.world));
        let of_both = "SELECT count(DISTINCT person) FROM measure_fact";
        assert_eq!(teller.world.count(of_both), 2, "{trigger}");
        // The same is not told twice.
        let facts = "SELECT sum(count) FROM measure_fact";
        let before = teller.world.count(facts);
        teller.say(&format!("ADT^{trigger}^{structure}"), &moved);
        assert_eq!((teller.world.count(follow_up), teller.world.count(facts)), (1, before), "{trigger}");
        teller.read_again();
    }
}

#[test]
fn a_number_that_is_moved_was_somebody_elses() {
    let wrong = pid(&format!("{}~{MBI}", mrn("00888001")), MOTHER);
    as_if_never_told(
        "A43",
        |_| {},
        &wrong,
        |teller| {
            let mrg = format!("MRG|{}\r", mrn("00888001"));
            teller.say("ADT^A43^ADT_A43", &format!("EVN|A43|20260312\r{}{mrg}", pid(&mrn("00999001"), SON)));
        },
    );
}

#[test]
fn a_decision_that_is_taken_back_leaves_nothing() {
    let mut teller = teller("");
    hers_first(&mut teller);
    let key = teller.world.text("SELECT lower(hex(person)) FROM card LIMIT 1");
    let part = |from: usize, to: usize| &key[from..to];
    let her = PersonKey::parse(&[part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")).unwrap();
    let decide = |teller: &mut Teller, decision| {
        let identifiers = vec![("mrn@SBMC".to_owned(), "00999001".to_owned())];
        let verdict = Verdict { subject: [7; 16], decision, identifiers };
        let what = What::Put { kind: Kind::MatchDecision, id: verdict.id(), body: verdict.body() };
        teller.world.say(what, AT);
    };
    as_if_never_told(
        "decided",
        |teller| decide(teller, Decision::Person(her)),
        &sons(),
        |teller| {
            decide(teller, Decision::Nobody);
        },
    );
}

/// A visit that was booked for the wrong patient is moved to the one whose it is.
#[test]
fn a_visit_that_is_moved_was_somebody_elses() {
    let run = |with: bool| {
        let mut teller = teller("");
        hers_first(&mut teller);
        if with {
            adt(&mut teller, "A01", "10180000", &hers(), "I", "V2", "");
            let rows = standing(&teller.world);
            let has = |text: &str| rows.iter().any(|row| row.starts_with("ed-follow-up") && row.contains(text));
            assert!(has("\"reason\":\"readmission\""), "{rows:#?}");
            adt(&mut teller, "A03", "11100000", &hers(), "I", "V2", "");
            let mrg = format!("MRG|{}||||V2^^^SBMC\r", mrn("00718243"));
            teller.say("ADT^A45^ADT_A45", &format!("EVN|A45|20260312\r{}{mrg}{}", sons(), pv1("V2")));
        } else {
            teller.id += 3;
        }
        adt(&mut teller, "A04", "11220000", &hers(), "O", "O1", "");
        teller
    };
    let (told, never) = (run(true), run(false));
    assert_eq!(difference(&standing(&told.world), &standing(&never.world)), Vec::<String>::new());
    told.read_again();
}

/// What the other member is known of already does not keep from them what is not, and nobody is told of it twice.
#[test]
fn a_stay_that_is_moved_in_parts_is_followed_up_as_a_whole() {
    let his_mbi = "2FH5UF6NL84^^^CMS&2.16.840.1.113883.4.927&ISO^MC";
    let his = pid(&format!("{}~{his_mbi}", mrn("00999001")), SON);
    let moved = |teller: &mut Teller, visit: &str| {
        let rest = format!("{his}MRG|{}||||{visit}^^^SBMC\r{}", mrn("00718243"), pv1(visit));
        teller.say("ADT^A45^ADT_A45", &format!("EVN|A45|20260312\r{rest}"));
    };
    let member = "2FH5UF6NL84,OKAFOR,JUNIOR,1980-01-01,M,14150,,2020-01-01,,9990003037,cm-ortega\n";
    let of_his = |teller: &Teller, what: &str| {
        let sql = format!(
            "SELECT count(*) FROM {what} AND person <> (SELECT person FROM loop WHERE facts LIKE '%E1%' LIMIT 1)"
        );
        teller.world.count(&sql)
    };
    let follow_up = "loop WHERE definition = 'post-discharge' AND state IN ('open', 'overdue') AND facts LIKE '%V2%'";
    // The end was told of her once more, after the stay had been moved.
    let mut teller = teller(member);
    hers_first(&mut teller);
    adt(&mut teller, "A01", "10180000", &hers(), "I", "V2", "");
    moved(&mut teller, "V2");
    assert_eq!(of_his(&teller, "loop_history WHERE end_ms IS NULL"), 1);
    adt(&mut teller, "A03", "11100000", &hers(), "I", "V2", "");
    moved(&mut teller, "V2");
    assert_eq!((of_his(&teller, follow_up), of_his(&teller, "loop_history WHERE end_ms IS NULL")), (1, 0));
    // Something of it had been told of him.
    adt(&mut teller, "A04", "11120000", &hers(), "E", "E3", "");
    adt(&mut teller, "A03", "11130000", &hers(), "E", "E3", "");
    adt(&mut teller, "A08", "11140000", &his, "E", "E3", "");
    moved(&mut teller, "E3");
    let emergency = "loop WHERE definition = 'ed-follow-up' AND state IN ('open', 'overdue') AND facts LIKE '%E3%'";
    assert_eq!(of_his(&teller, emergency), 1);
    // He died in what was told of her: nobody is called for him any more.
    let died = format!("{}{}Y\r", hers().trim_end(), "|".repeat(22));
    adt(&mut teller, "A01", "11150000", &hers(), "I", "V4", "");
    adt(&mut teller, "A03", "11160000", &died, "I", "V4", "");
    moved(&mut teller, "V4");
    assert_eq!((of_his(&teller, follow_up), of_his(&teller, emergency)), (0, 0));
    let hers = "SELECT count(*) FROM loop WHERE state IN ('open', 'overdue') AND facts LIKE '%V1%'";
    assert_eq!(teller.world.count(hers), 1, "{:#?}", standing(&teller.world));
    teller.read_again();
}

/// Two members of the roster are taken for one: what one of them did closes, ends and rests the loops of the other only until they are told apart.
#[test]
fn members_who_are_told_apart_did_nothing_to_the_loops_of_each_other() {
    let his_mbi = "2FH5UF6NL84^^^CMS&2.16.840.1.113883.4.927&ISO^MC";
    let his = pid(&format!("{}~{his_mbi}", mrn("00999001")), SON);
    let run = |is_merged: bool| {
        let mut teller = teller("2FH5UF6NL84,OKAFOR,JUNIOR,1980-01-01,M,14150,,2020-01-01,,9990003037,cm-ortega\n");
        hers_first(&mut teller);
        let both = |trigger: &str, rest: &str| format!("EVN|{trigger}|20260310\r{}{rest}", hers());
        if is_merged {
            let mrg = format!("MRG|{}~{his_mbi}\r", mrn("00999001"));
            teller.say("ADT^A40^ADT_A39", &both("A40", &mrg));
        } else {
            teller.id += 1;
        }
        sons_story(&mut teller, &his);
        if is_merged {
            let ended = standing(&teller.world);
            assert!(ended.iter().any(|row| row.contains("post-discharge") && row.contains("\"reason\":\"death\"")));
            teller.say("ADT^A37^ADT_A37", &both("A37", &his));
        }
        adt(&mut teller, "A04", "11220000", &hers(), "O", "O1", "");
        teller
    };
    let loops = |teller: &Teller| {
        let rows = standing(&teller.world);
        rows.into_iter().filter(|row| !row.starts_with("team")).collect::<Vec<_>>()
    };
    let (merged, never) = (run(true), run(false));
    assert_eq!(difference(&loops(&merged), &loops(&never)), Vec::<String>::new());
    merged.read_again();
}
