//! Measures through merges, rosters that change, a journal that is cut, and all that is let go: counters are what the facts say, and the same comes when all is read again.
use super::super::gateway::care::recipient;
use super::kept::{ROSTER, World, difference, ms};
use handoff::coordination::measures::period::{day_of, parse_month};
use handoff::coordination::measures::{Counted, Figures, Month, Viewer, Wanted};
use handoff::journal::{Durability, Options as JournalOptions};
use jiff::Timestamp;
use std::path::Path;

const PANEL: &str = "aco-lakeshore";
const DAY_MS: i64 = 86_400_000;
/// From one message to the next.
const EVERY_MS: i64 = 2 * DAY_MS;

/// Number, name, birth date and sex.
type Who = (&'static str, &'static str, &'static str);
const MARISOL: Who = ("1EG4TE5MK73", "OKAFOR^MARISOL", "19510314|F");
/// The same woman under the name that she had.
const MAIDEN: Who = ("1EG4TE5MK75", "ADEYEMI^MARISOL", "19510314|F");
const CASIMIR: Who = ("1EG4TE5MK74", "ZEPHYRINE^CASIMIR", "19600701|M");
const MAIDEN_ROW: &str = "1EG4TE5MK75,ADEYEMI,MARISOL,1951-03-14,F,14209,,2020-01-01,,9990003037,cm-ortega\n";
const CASIMIR_ROW: &str = "1EG4TE5MK74,ZEPHYRINE,CASIMIR,1960-07-01,M,14150,,2020-01-01,,9990003037,cm-ortega\n";

fn memory(partition_records_max: u64) -> JournalOptions {
    JournalOptions { durability: Durability::Memory, partition_records_max, ..JournalOptions::default() }
}

/// The roster without Marisol, with these.
fn only(rows: &[&str]) -> String {
    ROSTER.lines().next().unwrap().to_owned() + "\n" + &rows.concat()
}

fn message(kind: &str, id: &str, (number, name, born): Who, rest: &str, at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap().strftime("%Y%m%d%H%M%S+0000").to_string();
    let trigger = kind.split('^').nth(1).unwrap_or_default();
    let from = if rest.contains("CHFM") { "CHEHR|CHFM" } else { "SBADT|SBMC" };
    format!(
        "MSH|^~\\&|{from}|HANDOFF|LAKE|{at}||{kind}|{id}|P|2.5.1\nEVN|{trigger}|{at}||||{at}\n\
         PID|1||{number}^^^CMS&2.16.840.1.113883.4.927&ISO^MC||{name}||{born}\n{rest}"
    )
}

/// A stay begins or ends.
fn stay(trigger: &str, visit: &str, facility: &str, who: Who, at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap().strftime("%Y%m%d%H%M%S+0000").to_string();
    let (admit, end) = if trigger == "A01" { (at.as_str(), "") } else { ("", at.as_str()) };
    let blanks = "|".repeat(15);
    let pv1 = format!(
        "PV1|1|I|4W^412^B^{facility}||||9990002021^HALVERSEN^INGRID||||||||||||{visit}^^^SBMC{blanks}||01||||||||{admit}|{end}\nDG1|1||I50.23^x^I10C|||F\n"
    );
    message(&format!("ADT^{trigger}^ADT_A01"), &format!("{trigger}{visit}"), who, &pv1, at_ms)
}

/// Seen at the practice.
fn seen(id: &str, who: Who, at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap().strftime("%Y%m%d%H%M%S+0000").to_string();
    let blanks = "|".repeat(37);
    let pv1 = format!("PV1|1|O|^^^CHFM||||9990003037^BAPTISTE^RENEE{blanks}{at}\n");
    message("ADT^A04^ADT_A01", id, who, &pv1, at_ms)
}

/// Two numbers of one patient, or of two.
fn identity(trigger: &str, id: &str, (ours, theirs): (Who, Who), at_ms: i64) -> String {
    let theirs = format!("{}^^^CMS&2.16.840.1.113883.4.927&ISO^MC", theirs.0);
    let (structure, other) = match trigger {
        "A40" => ("ADT_A39", format!("MRG|{theirs}\n")),
        _ => ("ADT_A37", format!("PID|2||{theirs}||{}||{}\n", ours.1, ours.2)),
    };
    message(&format!("ADT^{trigger}^{structure}"), id, ours, &other, at_ms)
}

fn months(world: &World, panel: &str, measure: &str, months: (&str, &str)) -> Vec<Month> {
    let reader = world.rates();
    let months = (parse_month(months.0).unwrap(), parse_month(months.1).unwrap());
    let measure = reader.measure(measure).unwrap().0;
    let as_of = day_of("2030-01-01".parse().unwrap());
    let wanted = Wanted { panel, measure, months, as_of, viewer: Viewer::Everything };
    let feeds = reader.feeds(world.connection(), (months.0, months.1 + 13)).unwrap();
    reader.series(world.connection(), &wanted, &feeds, &|_| 10).unwrap()
}

/// Of March 2026: in time, counted, excluded.
fn march(world: &World, measure: &str) -> (u64, u64, u64) {
    assert_eq!(world.differences(), []);
    let Figures { numerator, denominator, excluded, .. } =
        months(world, PANEL, measure, ("2026-03", "2026-03"))[0].figures;
    (numerator, denominator, excluded)
}

#[test]
fn who_is_in_a_roster_by_any_of_their_keys_has_not_left_and_who_is_back_has_not_either() {
    let mut world = World::of(&format!("{MAIDEN_ROW}{CASIMIR_ROW}"));
    let hers = ROSTER.lines().nth(1).unwrap().to_owned() + "\n";
    let hers = hers.as_str();
    world.say_rosters("2026-03-01T00:00:00Z");
    let ended = ms("2026-03-05T20:20:00Z");
    for (trigger, hours) in [("A01", -50), ("A03", 0)] {
        world.receive_at(&stay(trigger, "V1", "SBMC", MARISOL, ended + hours * 3_600_000), ended + 60_000);
    }
    world.receive(&identity("A40", "M1", (MARISOL, MAIDEN), ms("2026-03-06T09:00:00Z")), "2026-03-06T09:00:05Z");
    assert_eq!(world.count("SELECT count(*) FROM person_edge WHERE renamed = 0"), 1, "{:?}", world.rows());
    assert_eq!((march(&world, "visit-7"), march(&world, "engagement")), ((0, 1, 0), (0, 1, 0)));
    for (at, rows) in [
        ("2026-03-07T09:00:00Z", [hers, CASIMIR_ROW]),
        ("2026-03-07T10:00:00Z", [MAIDEN_ROW, CASIMIR_ROW]),
        ("2026-03-07T11:00:00Z", [hers, MAIDEN_ROW]),
    ] {
        world.take_roster(&only(&rows), at);
        assert_eq!(march(&world, "visit-7"), (0, 1, 0), "{at}");
    }
    world.take_roster(&only(&[CASIMIR_ROW]), "2026-03-08T09:00:00Z");
    assert_eq!((march(&world, "visit-7"), march(&world, "engagement")), ((0, 0, 1), (0, 0, 1)));
    world.take_roster(&only(&[MAIDEN_ROW, CASIMIR_ROW]), "2026-03-10T09:00:00Z");
    assert_eq!((march(&world, "visit-7"), march(&world, "engagement")), ((0, 1, 0), (0, 1, 0)));
    // Membership is over, and the row still there: what is told of her is known. Without it she is gone, until the window of one of the two is over.
    let over = MAIDEN_ROW.replace("2020-01-01,,", "2020-01-01,2026-03-10,");
    world.take_roster(&only(&[&over, CASIMIR_ROW]), "2026-03-11T09:00:00Z");
    assert_eq!(march(&world, "visit-7"), (0, 1, 0));
    world.take_roster(&only(&[CASIMIR_ROW]), "2026-03-12T09:00:00Z");
    assert_eq!((march(&world, "visit-7"), march(&world, "engagement")), ((0, 0, 1), (0, 0, 1)));
    world.restart();
    world.take_roster(&only(&[hers, CASIMIR_ROW]), "2026-03-14T09:00:00Z");
    assert_eq!((march(&world, "visit-7"), march(&world, "engagement")), ((0, 0, 1), (0, 1, 0)));
    let visit = ms("2026-03-16T14:00:00Z");
    world.receive_at(&seen("S1", MARISOL, visit), visit + 5_000);
    assert_eq!((march(&world, "visit-7"), march(&world, "engagement")), ((0, 0, 1), (1, 1, 0)));
    let now = "2026-05-01T12:00:00Z";
    world.is_now(now);
    let live = world.rows();
    assert_eq!(difference(&world.read_again(now), &live), [""; 0]);
}

#[test]
fn members_of_months_that_an_earlier_roster_counts_are_asked_anew() {
    let mut world = World::of(CASIMIR_ROW);
    world.say_rosters("2026-03-01T00:00:00Z");
    let of = |world: &World, counted: &mut Counted| {
        let months = (parse_month("2026-03").unwrap(), parse_month("2026-06").unwrap());
        counted.months(world.connection(), &world.people(), PANEL, months).unwrap().to_vec()
    };
    let mut counted = Counted::default();
    assert_eq!(of(&world, &mut counted), [2; 4]);
    // The roster of now is there before the journal has come so far.
    world.swap_roster("lakeshore.csv", &only(&[CASIMIR_ROW]), "2026-05-02T00:00:00Z");
    assert_eq!(of(&world, &mut counted), [1; 4]);
    world.say_rosters("2026-05-02T00:00:00Z");
    assert_eq!(of(&world, &mut counted), [2, 2, 1, 1], "March and April are of the one before");
    // One patient instead of another is two: how many merges there are is the same.
    let rows = format!("{ROSTER}{MAIDEN_ROW}{CASIMIR_ROW}");
    world.take_roster(&rows, "2026-05-03T00:00:00Z");
    let at = ms("2026-05-04T09:00:00Z");
    world.receive_at(&identity("A40", "M1", (MARISOL, MAIDEN), at), at);
    assert_eq!(of(&world, &mut counted), [2, 2, 2, 2]);
    world.receive_at(&identity("A37", "M2", (MARISOL, MAIDEN), at + 1_000), at + 1_000);
    assert_eq!(of(&world, &mut counted), [2, 2, 3, 3]);
}

#[test]
fn what_a_cut_journal_has_lost_is_not_observable() {
    let mut world = World::with("", &recipient("aco-cm", "id-only", ""), |_| String::new(), memory(4));
    world.say_rosters("2026-01-01T00:00:00Z");
    // A stay each month, and a visit after each.
    for month in 1..=6 {
        let ended = ms(&format!("2026-{month:02}-05T20:20:00Z"));
        for (trigger, hours) in [("A01", -50), ("A03", 0)] {
            let at = ended + hours * 3_600_000;
            world.receive_at(&stay(trigger, &format!("V{month}"), "SBMC", MARISOL, at), at + 60_000);
        }
        world.receive_at(&seen(&format!("S{month}"), MARISOL, ended + 4 * DAY_MS), ended + 4 * DAY_MS);
    }
    let of = |world: &World, measure: &str| {
        let all = months(world, PANEL, measure, ("2026-01", "2026-06"));
        all.iter().map(|one| (one.figures.denominator, one.lost)).collect::<Vec<_>>()
    };
    assert_eq!(of(&world, "visit-7"), [(1, false); 6]);
    // What was read once stays, whatever the journal lets go of.
    assert!(world.cut_before(10) > 0);
    world.restart();
    assert_eq!(of(&world, "visit-7"), [(1, false); 6]);
    let now = "2026-08-01T12:00:00Z";
    let anew = world.read_again(now);
    assert_eq!(world.count("SELECT received_ms FROM measure_since"), ms("2026-03-09T20:20:00Z"), "the ninth message");
    let [lost, kept] = [true, false];
    assert_eq!(of(&world, "visit-7"), [(0, lost), (0, lost), (0, lost), (1, kept), (1, kept), (1, kept)]);
    // A stay that ended in April may have begun in March.
    let of_stays = of(&world, "admission-notice").into_iter().map(|(_, lost)| lost).collect::<Vec<_>>();
    assert_eq!(of_stays, [lost, lost, lost, lost, kept, kept]);
    assert_eq!(difference(&world.read_again(now), &anew), [""; 0]);
    world.restart();
    assert_eq!(difference(&world.rows(), &anew), [""; 0]);
    assert_eq!(world.differences(), []);
}

/// The practice's own panel.
fn second(folder: &Path) -> String {
    let path = folder.join("chfm.csv");
    std::fs::write(&path, only(&[CASIMIR_ROW])).unwrap();
    format!(
        "[[coordination.panel]]\nid = \"pcmh-chfm\"\nkind = \"pcmh\"\nowner_npi = \"9990003037\"\ntz = \"America/New_York\"\n\
         source = {{ type = \"csv\", path = \"{}\", mode = \"supersede\" }}\nmax_drop_pct = 100\n\
         columns = {{ id = \"MBI\", id_system = \"http://hl7.org/fhir/sid/us-mbi\", family = \"LAST\", given = \"FIRST\", dob = \"DOB\", sex = \"SEX\", zip = \"ZIP\", phone = \"PHONE\", start = \"EFF\", end = \"TERM\", pcp_npi = \"PCP\", care_manager = \"CM\" }}\n",
        path.display()
    )
}

/// Three years with stays, visits and secrets of three, of whom two are one now and then; who come, go and come back in two panels.
fn years(disturbed: bool, messages: i64) -> World {
    let topics = "\"patient-data-feed\", \"measure-updated\"]";
    let told = |id: &str, keys: &str| recipient(id, "id-only", keys).replace("\"patient-data-feed\"]", topics);
    let recipients = told("aco-cm", "") + &told("strict", "deny_action = \"drop-event\"\nclear = [\"SUD\"]");
    let mut world = World::with(&format!("{MAIDEN_ROW}{CASIMIR_ROW}"), &recipients, second, memory(100_000));
    let start = ms("2022-01-03T12:00:00Z");
    world.say_rosters("2022-01-03T00:00:00Z");
    world.subscribe("rates", "measure-updated", "2022-01-03T00:00:01Z");
    let hers = ROSTER.lines().nth(1).unwrap().to_owned() + "\n";
    for number in 0..messages {
        let at = start + number * EVERY_MS;
        let text = Timestamp::from_millisecond(at).unwrap().to_string();
        if disturbed && number % 37 == 0 {
            world.is_now_at(at);
        }
        if disturbed && number % 53 == 0 {
            world.restart();
            assert_eq!(world.differences(), [], "{number}");
        }
        let who = [MARISOL, MAIDEN, CASIMIR][usize::try_from(number % 3).unwrap()];
        let visit = format!("V{}", number / 3);
        let one = match number % 9 {
            0 | 3 => stay("A01", &visit, if number % 27 == 0 { "LAKERECOV" } else { "SBMC" }, who, at),
            1 | 4 => stay("A03", &visit, "SBMC", [CASIMIR, MARISOL, MAIDEN][usize::try_from(number % 3).unwrap()], at),
            7 if number % 4 == 0 => stay("A13", &visit, "SBMC", who, at),
            _ => seen(&format!("S{number}"), who, at),
        };
        world.receive_at(&one, at + 2_000);
        match number % 61 {
            11 => world.receive_at(&identity("A40", &format!("I{number}"), (MARISOL, MAIDEN), at), at + 3_000),
            41 => world.receive_at(&identity("A37", &format!("I{number}"), (MARISOL, MAIDEN), at), at + 3_000),
            _ => {}
        }
        let rows: Option<&[&str]> = match number % 83 {
            17 => Some(&[&hers, CASIMIR_ROW]),
            29 => Some(&[CASIMIR_ROW]),
            33 => Some(&[MAIDEN_ROW, CASIMIR_ROW]),
            47 => Some(&[&hers, MAIDEN_ROW]),
            59 => Some(&[&hers, MAIDEN_ROW, CASIMIR_ROW]),
            _ => None,
        };
        if let Some(rows) = rows {
            world.take_roster(&only(rows), &text);
        }
        if number % 83 == 71 {
            let rows: &[&str] = if number % 2 == 0 { &[CASIMIR_ROW] } else { &[&hers, CASIMIR_ROW] };
            world.swap_roster("chfm.csv", &only(rows), &text);
            world.say_rosters(&text);
        }
    }
    let end = Timestamp::from_millisecond(start + messages * EVERY_MS + 40 * DAY_MS).unwrap().to_string();
    world.is_now(&end);
    world
}

#[test]
fn whatever_happened_the_counters_are_what_the_facts_say_and_the_same_when_all_is_read_again() {
    const MESSAGES: i64 = 480;
    let mut world = years(false, MESSAGES);
    assert_eq!(world.differences(), []);
    let rows = world.rows();
    // All of it was there: two panels, who left and was back, what went by age, what was told.
    for panel in [PANEL, "pcmh-chfm"] {
        let all = months(&world, panel, "visit-7", ("2023-01", "2024-08"));
        let sum = |of: fn(&Figures) -> u64| all.iter().map(|one| of(&one.figures)).sum::<u64>();
        assert!(sum(|of| of.denominator) > 5 && sum(|of| of.numerator) > 2, "{panel} {all:?}");
        assert!(panel != PANEL || sum(|of| of.excluded) > 0, "{panel}");
    }
    assert!(world.count("SELECT count(*) FROM subscription_event") > 100);
    assert!(world.count("SELECT sum(count) FROM measure_fact") < MESSAGES);
    assert_eq!(world.count("SELECT count(*) FROM measure_since"), 0);
    let end = Timestamp::from_millisecond(ms("2022-01-03T12:00:00Z") + MESSAGES * EVERY_MS + 40 * DAY_MS)
        .unwrap()
        .to_string();
    assert_eq!(difference(&world.read_again(&end), &rows), [""; 0]);
    assert_eq!(world.differences(), []);
    let other = years(true, MESSAGES);
    assert_eq!(difference(&other.rows(), &rows), [""; 0], "restarts, and time that passed live, make no difference");
    assert_eq!(other.differences(), []);
}
