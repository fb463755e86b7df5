//! Rosters from file to match: the acceptance story, bad input, and that the order of rows makes no difference.
use super::aliases::{self, Aliases};
use super::holder::{Outcome, Warning};
use super::in_force::InForce;
use super::kept::{Fingerprint, KeepError};
use super::matching::{How, Match, Reason, Step};
use super::options::{Columns, DateForm, Form, Matching, Mode, Options, Panel, PanelKind, Source};
use super::reviews::{self, Decision, Verdict};
use super::rows::{self, Rows};
use super::*;
use crate::coordination::event::{Event, Identifier, Kind, Patient};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rusqlite::Connection;
use std::path::Path;

const HEADER: &str = "MBI,MRN,MRN_AA,LAST,FIRST,DOB,SEX,STREET,CITY,ZIP,PHONE,EFF,TERM,PCP,CM,CONSENT,CHG";
const OKAFOR: &str = "1EG4-TE5-MK73,,,Okafor,Marisol,1951-03-14,F,418 Quarry Road,Lakeshore,14150,716-555-0142,2026-01-01,,9990003037,cm-7,SUD:permit,";
const OTHER: &str = "2AB3CD4EF56,99,CHFM,Reyes,Ana,02/29/1960,F,1 Elm St,Lakeshore,14150,,2025-01-01,2026-02-28,,,,";

fn columns() -> Columns {
    let name = |text: &str| text.to_owned();
    Columns {
        id: name("MBI"),
        id_system: MBI.into(),
        mrn: name("MRN"),
        mrn_aa: name("MRN_AA"),
        family: name("LAST"),
        given: name("FIRST"),
        dob: name("DOB"),
        sex: name("SEX"),
        street: name("STREET"),
        city: name("CITY"),
        zip: name("ZIP"),
        phone: name("PHONE"),
        start: name("EFF"),
        end: name("TERM"),
        pcp_npi: name("PCP"),
        care_manager: name("CM"),
        consent: name("CONSENT"),
        change: name("CHG"),
    }
}

fn panel(id: &str, path: &Path, mode: Mode) -> Panel {
    let form = Form::Csv { columns: Box::new(columns()), dates: DateForm::Detect, latin_1: false };
    Panel {
        id: id.into(),
        kind: PanelKind::Aco,
        owner_npi: None,
        zone: TimeZone::get("America/New_York").unwrap(),
        source: Source { path: path.into(), form, mode },
        stale_after: Panel::STALE_AFTER,
        min_attributed: 0,
        max_drop_pct: 20,
    }
}

fn csv(lines: &[impl AsRef<str>]) -> String {
    let mut text = format!("{HEADER}\n");
    lines.iter().for_each(|line| text += &format!("{}\n", line.as_ref()));
    text
}

fn rows(lines: &[impl AsRef<str>]) -> Rows {
    try_rows(csv(lines).as_bytes()).unwrap()
}

fn try_rows(bytes: &[u8]) -> Result<Rows, RosterError> {
    let mut rows = Rows::default();
    let panel = panel("p", Path::new("p.csv"), Mode::Supersede);
    files::add(&mut rows, &panel.source, bytes, Path::new("p.csv"), &Matching::default())?;
    Ok(rows)
}

fn snapshot(lines: &[impl AsRef<str>]) -> Snapshot {
    let panel = panel("aco-lakeshore", Path::new("p.csv"), Mode::Supersede);
    Snapshot::new(&[(&panel, &rows(lines))], &Matching::default())
}

fn identifier(value: &str, authority: &str, universal: &str, kind: &str) -> Identifier {
    Identifier { value: value.into(), authority: authority.into(), universal: universal.into(), kind: kind.into() }
}

fn hospital_number() -> Identifier {
    identifier("00718243", "SBMC", "2.16.840.1.113883.19.5.1", "MR")
}

fn practice_number() -> Identifier {
    identifier("C55120", "CHFM", "2.16.840.1.113883.19.5.2", "MR")
}

fn mbi(value: &str) -> Identifier {
    identifier(value, "CMS", "2.16.840.1.113883.4.927", "MC")
}

/// PID of the story.
fn okafor(identifiers: Vec<Identifier>) -> Patient {
    Patient {
        identifiers,
        family: "OKAFOR".into(),
        given: "MARISOL".into(),
        birth_date: "19510314".into(),
        sex: "F".into(),
        street: "418 QUARRY ROAD".into(),
        city: "LAKESHORE".into(),
        zip: "14150".into(),
        phone: "7165550142".into(),
    }
}

fn event(kind: Kind, seq: u64, patient: Patient, others: Vec<Identifier>) -> Event {
    Event {
        id: [0; 16],
        seq,
        kind,
        detail: String::new(),
        at_ms: 0,
        received_ms: 1000 + seq.cast_signed(),
        time_suspect: false,
        partial: false,
        stale: false,
        facility: String::new(),
        feed: String::new(),
        trigger: String::new(),
        patient,
        others,
        visit: None,
        class: String::new(),
        disposition: String::new(),
        participants: Vec::new(),
        codes: Vec::new(),
        document: None,
        appointment: None,
        referral: None,
        confidentiality: Default::default(),
    }
}

fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(TABLES).unwrap();
    connection
}

/// Learns from an event as the reader of the journal does; what is in memory is what a restart reads.
fn told(connection: &mut Connection, aliases: &mut Aliases, snapshot: &Snapshot, event: &Event) -> (Match, Learned) {
    let found = snapshot.find(&event.patient, aliases);
    let transaction = connection.transaction().unwrap();
    let learned = learn(&transaction, aliases, snapshot, event, &found).unwrap();
    transaction.commit().unwrap();
    assert_eq!(*aliases, Aliases::read(connection).unwrap());
    (found, learned)
}

#[test]
fn the_patient_of_the_hospital_is_the_patient_of_the_practice() {
    let (snapshot, mut aliases, mut connection) = (snapshot(&[OKAFOR, OTHER]), Aliases::default(), database());
    let m1 = event(Kind::Admission, 1, okafor(vec![hospital_number(), mbi("1EG4TE5MK73")]), vec![]);
    let (found, learned) = told(&mut connection, &mut aliases, &snapshot, &m1);
    let Match::Person(person, How::Strong) = found else { panic!("{found:?}") };
    // By name and by OID of the authority.
    assert_eq!(learned.learned, 2);
    let m5 = event(Kind::OutpatientVisit, 5, okafor(vec![practice_number(), mbi("1EG4TE5MK73")]), vec![]);
    assert_eq!(told(&mut connection, &mut aliases, &snapshot, &m5).0, Match::Person(person, How::Strong));
    // What was learned finds them without the strong one, and without a name; a guarding field must agree.
    let by_number = |number: Identifier, birth: &str, family: &str| {
        let birth_date = birth.to_owned();
        let patient = Patient { identifiers: vec![number], birth_date, family: family.into(), ..Patient::default() };
        snapshot.find(&patient, &aliases)
    };
    for number in [hospital_number(), practice_number(), identifier("C55120", "chfm", "", "")] {
        assert_eq!(by_number(number, "19510314", ""), Match::Person(person, How::Alias));
    }
    assert!(matches!(by_number(practice_number(), "19800101", "Smith"), Match::Review { reason: Reason::Guard, .. }));
    assert_eq!(by_number(identifier("C55120", "ELSEWHERE", "", "MR"), "19510314", ""), Match::None);
    assert_eq!(aliases::of_person(&connection, &person).unwrap().len(), 4);
    let rest = snapshot.memberships(&person).map(|one| (one.panel.id.as_str(), one.pcp, one.care_manager, one.consent));
    assert_eq!(rest.collect::<Vec<_>>(), [("aco-lakeshore", "9990003037", "cm-7", "SUD:permit")]);
    assert!(!person.to_string().contains("00718243"));
}

#[test]
fn the_number_of_somebody_else_is_put_before_somebody() {
    let (snapshot, mut aliases, mut connection) = (snapshot(&[OKAFOR, OTHER]), Aliases::default(), database());
    let person = snapshot.find(&okafor(vec![mbi("1EG4TE5MK73")]), &aliases).person().unwrap();
    let stranger = Patient {
        family: "LINDQVIST".into(),
        given: "OLE".into(),
        birth_date: "19770809".into(),
        ..okafor(vec![hospital_number(), mbi("1EG4TE5MK73")])
    };
    let message = event(Kind::Admission, 3, stranger.clone(), vec![]);
    let (found, learned) = told(&mut connection, &mut aliases, &snapshot, &message);
    assert_eq!(found, Match::Review { reason: Reason::Guard, candidates: vec![person] });
    assert_eq!(learned, Learned::default(), "nothing is learned from a doubt");
    let transaction = connection.transaction().unwrap();
    for seq in [3, 3, 4] {
        assert!(reviews::note(&transaction, &Event { seq, ..message.clone() }, &found).unwrap());
    }
    let items = reviews::list(&transaction, true, 0, 10).unwrap();
    assert_eq!((items.len(), items[0].count, items[0].seqs), (1, 2, (3, 4)));
    assert_eq!((items[0].reason, &items[0].candidates), (Reason::Guard, &vec![person]));
    let stored: String = transaction
        .query_row("SELECT group_concat(identifiers || reason) FROM roster_review", [], |row| row.get(0))
        .unwrap();
    assert!(!stored.contains("LINDQVIST") && !stored.contains("1977"));
    // Decided: nobody of the rosters. The record number is settled, the MBI stays that of its owner.
    let verdict = verdict(&items[0], Decision::Nobody);
    assert!(Verdict::parse(&verdict.id(), &verdict.body()) == Some(verdict.clone()));
    assert_eq!(reviews::decide(&transaction, &mut aliases, &snapshot, &verdict, 5).unwrap(), 3);
    transaction.commit().unwrap();
    assert_eq!(aliases, Aliases::read(&connection).unwrap());
    assert_eq!(snapshot.find(&stranger, &aliases), Match::None);
    assert_eq!(snapshot.find(&okafor(vec![mbi("1EG4TE5MK73")]), &aliases), Match::Person(person, How::Strong));
    assert_eq!(reviews::list(&connection, true, 0, 10).unwrap(), []);
    assert_eq!(reviews::find(&connection, items[0].id).unwrap().unwrap().decision, Some(Decision::Nobody));
}

fn verdict(item: &reviews::Review, decision: Decision) -> Verdict {
    Verdict { subject: item.subject, decision, identifiers: item.identifiers.clone() }
}

#[test]
fn what_somebody_decided_holds_without_a_guard() {
    let (snapshot, mut aliases, mut connection) = (snapshot(&[OKAFOR]), Aliases::default(), database());
    let person = snapshot.keys().next().unwrap();
    let married = Patient {
        family: "SMITH".into(),
        birth_date: "19510413".into(),
        ..okafor(vec![hospital_number(), mbi("1EG4TE5MK73")])
    };
    let message = event(Kind::Admission, 8, married.clone(), vec![]);
    let found = snapshot.find(&married, &aliases);
    let transaction = connection.transaction().unwrap();
    assert!(reviews::note(&transaction, &message, &found).unwrap());
    // The item itself may be gone by then.
    let item = reviews::find(&transaction, 1).unwrap().unwrap();
    transaction.execute("DELETE FROM roster_review", []).unwrap();
    let verdict = verdict(&item, Decision::Person(person));
    assert!(Verdict::parse(&verdict.id(), &verdict.body()) == Some(verdict.clone()));
    assert_eq!(reviews::decide(&transaction, &mut aliases, &snapshot, &verdict, 9).unwrap(), 4);
    transaction.commit().unwrap();
    assert_eq!(snapshot.find(&married, &aliases), Match::Person(person, How::Decided));
    // Until somebody, or an unlink, takes it back.
    let transaction = connection.transaction().unwrap();
    for (system, value, decided) in aliases::of_person(&transaction, &person).unwrap() {
        assert!(decided && aliases.forget(&transaction, &system, &value).unwrap());
    }
    transaction.commit().unwrap();
    assert!(aliases.is_empty() && Aliases::read(&connection).unwrap().is_empty());
    assert!(matches!(snapshot.find(&married, &aliases), Match::Review { reason: Reason::Guard, .. }));
}

#[test]
fn merges_join_numbers_and_unlinks_part_them() {
    let (snapshot, mut aliases, mut connection) = (snapshot(&[OKAFOR, OTHER]), Aliases::default(), database());
    let person = snapshot.find(&okafor(vec![mbi("1EG4TE5MK73")]), &aliases).person().unwrap();
    let old = identifier("700", "SBMC", "", "MR");
    let mut nameless = okafor(vec![]);
    (nameless.given, nameless.street, nameless.zip, nameless.phone) = Default::default();
    let by = |number: &Identifier, aliases: &Aliases| {
        snapshot.find(&Patient { identifiers: vec![number.clone()], ..nameless.clone() }, aliases).person()
    };
    assert_eq!(by(&old, &aliases), None);
    // 700 was replaced by what the MBI names.
    let merge = event(Kind::IdentityMerge, 1, okafor(vec![hospital_number(), mbi("1EG4TE5MK73")]), vec![old.clone()]);
    assert_eq!(told(&mut connection, &mut aliases, &snapshot, &merge).1.learned, 1);
    assert_eq!(by(&old, &aliases), Some(person));
    // And the other way round: a new number takes the place of a known one.
    let new = identifier("701", "SBMC", "", "MR");
    let merge = event(
        Kind::IdentityMerge,
        2,
        Patient { identifiers: vec![new.clone()], ..nameless.clone() },
        vec![old.clone()],
    );
    assert_eq!(told(&mut connection, &mut aliases, &snapshot, &merge).1.learned, 1);
    assert_eq!(by(&new, &aliases), Some(person));
    let unlink =
        event(Kind::Unlink, 3, Patient { identifiers: vec![new.clone()], ..nameless.clone() }, vec![old.clone()]);
    assert_eq!(told(&mut connection, &mut aliases, &snapshot, &unlink).1.forgotten, 2);
    assert_eq!((by(&old, &aliases), by(&new, &aliases)), (None, None));
    // Two people of the rosters are not merged by a message alone.
    let reyes = identifier("99", "CHFM", "", "MR");
    let patient = Patient { family: "Reyes".into(), ..okafor(vec![mbi("1EG4TE5MK73")]) };
    let merge = event(Kind::IdentityMerge, 4, patient, vec![reyes]);
    let (_, learned) = told(&mut connection, &mut aliases, &snapshot, &merge);
    assert_eq!(learned, Learned { review: true, ..Learned::default() });
    assert_eq!(reviews::list(&connection, true, 0, 9).unwrap()[0].candidates.len(), 2);
}

#[test]
fn a_twin_at_the_same_address_is_another() {
    let snapshot = snapshot(&[OKAFOR]);
    let aliases = Aliases::default();
    let twin = Patient { given: "MARISSA".into(), ..okafor(vec![identifier("1", "SBMC", "", "MR")]) };
    assert_eq!(snapshot.find(&twin, &aliases), Match::None);
    let explained = snapshot.explain(&twin, &aliases);
    assert_eq!(explained.found, Match::None);
    let compared = explained
        .steps
        .iter()
        .any(|step| matches!(step, Step::Compared { another_given: true, parts, .. } if parts.len() == 7));
    assert!(compared, "{:?}", explained.steps);
    assert!(!format!("{explained:?}").contains("OKAFOR") && !format!("{explained:?}").contains("1951"));
    // With both in the roster each is found.
    let other = OKAFOR.replace("1EG4-TE5-MK73", "1EG4TE5MK74").replace("Marisol", "Marissa");
    let both = self::snapshot(&[OKAFOR, &other]);
    let found =
        [okafor(vec![]), Patient { given: "Marissa".into(), ..okafor(vec![]) }].map(|one| both.find(&one, &aliases));
    assert!(found.iter().all(|found| matches!(found, Match::Person(_, How::Deterministic))) && found[0] != found[1]);
    // Of the other sex, with a name much alike: somebody must look.
    let brother = Patient { given: "MARISO".into(), sex: "M".into(), ..okafor(vec![]) };
    assert!(matches!(snapshot.find(&brother, &aliases), Match::Review { reason: Reason::Alike, .. }));
}

#[test]
fn names_that_are_misspelt_are_scored() {
    let (snapshot, aliases) = (snapshot(&[OKAFOR, OTHER]), Aliases::default());
    let misspelt = Patient { family: "OKAFORE".into(), ..okafor(vec![hospital_number()]) };
    let Match::Person(_, How::Score(score)) = snapshot.find(&misspelt, &aliases) else { panic!() };
    assert!(score > 0.98);
    // Another MBI than theirs speaks against them, however much alike they are.
    let other = Patient { identifiers: vec![mbi("9ZZ9ZZ9ZZ99")], ..misspelt.clone() };
    assert!(matches!(snapshot.find(&other, &aliases), Match::Review { reason: Reason::Conflict, .. }));
    let same = okafor(vec![mbi("9ZZ9ZZ9ZZ99")]);
    assert!(
        matches!(snapshot.find(&same, &aliases), Match::Review { reason: Reason::Conflict, .. }),
        "nor is a set enough"
    );
    // Without a given name it could be the twin; without an address there is a doubt; who has moved is not found.
    let nameless = Patient { given: "BABY GIRL".into(), ..misspelt.clone() };
    assert!(matches!(snapshot.find(&nameless, &aliases), Match::Review { reason: Reason::Alike, .. }));
    let blank = String::new;
    let bare = Patient { street: blank(), city: blank(), zip: blank(), phone: blank(), ..misspelt.clone() };
    assert!(matches!(snapshot.find(&bare, &aliases), Match::Review { reason: Reason::Alike, .. } | Match::None));
    let moved =
        Patient { street: "9 Lake Ave".into(), city: "Erie".into(), zip: "16501".into(), phone: blank(), ..misspelt };
    assert_eq!(snapshot.find(&moved, &aliases), Match::None);
}

/// What is remembered of strangers changes nothing: not after other rosters, and not for a number that was learned or decided since.
#[test]
fn strangers_who_are_remembered_are_found_as_soon_as_somebody_knows_them() {
    let (few, more) = (snapshot(&[OTHER]), snapshot(&[OTHER, OKAFOR]));
    let (mut connection, mut aliases, mut strangers) = (database(), Aliases::default(), Strangers::default());
    let somebody = okafor(vec![hospital_number()]);
    let find = |snapshot: &Snapshot, aliases: &Aliases, strangers: &mut Strangers| {
        let found = snapshot.find_again(&somebody, aliases, strangers);
        assert_eq!(found, snapshot.find(&somebody, aliases), "the twin that remembers nothing");
        found
    };
    for _ in 0..2 {
        assert_eq!(find(&few, &aliases, &mut strangers), Match::None);
    }
    let found = find(&more, &aliases, &mut strangers);
    assert!(matches!(found, Match::Person(_, How::Deterministic)), "{found:?}");
    assert_eq!(find(&few, &aliases, &mut strangers), Match::None);
    let reyes = few.keys().next();
    let transaction = connection.transaction().unwrap();
    let alias = aliases::Alias { person: reyes, decided: true };
    let keyed = ("mrn@SBMC".to_owned(), "00718243".to_owned());
    assert!(aliases.set(&transaction, &keyed, alias, 1).unwrap());
    assert_eq!(find(&few, &aliases, &mut strangers).person(), reyes);
}

#[test]
fn no_more_strangers_are_remembered_than_there_is_room_for() {
    let (snapshot, mut strangers) = (snapshot(&[OTHER]), Strangers::default());
    let patient = |number: usize| Patient { family: format!("N{number}"), ..okafor(vec![]) };
    for number in 0..20_000 {
        assert!(!strangers.has(&snapshot, &patient(number)));
        strangers.add(patient(number));
        assert!(!(100..8_292).contains(&number) || strangers.has(&snapshot, &patient(100)), "{number}");
    }
    assert!(!strangers.has(&snapshot, &patient(0)) && strangers.has(&snapshot, &patient(19_999)));
    assert!(format!("{strangers:?}").len() < 20);
}

#[test]
fn people_who_cannot_be_told_apart_are_not() {
    let aliases = Aliases::default();
    let namesake = OKAFOR.replace("1EG4-TE5-MK73", "1EG4TE5MK74");
    let two = snapshot(&[OKAFOR, &namesake]);
    assert_eq!(two.people(), 2);
    let found = two.find(&okafor(vec![hospital_number()]), &aliases);
    assert!(matches!(&found, Match::Review { reason: Reason::Several, candidates } if candidates.len() == 2));
    let misspelt = Patient { family: "OKAFORE".into(), ..okafor(vec![]) };
    assert!(matches!(two.find(&misspelt, &aliases), Match::Review { reason: Reason::Close, .. }));
    let many: Vec<_> = (10..30).map(|at| OKAFOR.replace("1EG4-TE5-MK73", &format!("1EG4TE5MK{at}"))).collect();
    let found = snapshot(&many).find(&misspelt, &aliases);
    assert!(matches!(&found, Match::Review { reason: Reason::Many, candidates } if candidates.len() == 16));
}

#[test]
fn an_identifier_of_two_people_goes_by_what_guards_it() {
    let stranger = "1EG4TE5MK73,,,Lindqvist,Ole,1977-08-09,M,,,,,2026-01-01,,,,,";
    let snapshot = snapshot(&[OKAFOR, stranger]);
    assert_eq!((snapshot.people(), snapshot.contested()), (2, 1));
    let aliases = Aliases::default();
    let ole = Patient { birth_date: "19770809".into(), identifiers: vec![mbi("1EG4TE5MK73")], ..Patient::default() };
    let found = [okafor(vec![mbi("1EG4TE5MK73")]), ole].map(|patient| snapshot.find(&patient, &aliases));
    assert!(found.iter().all(|found| matches!(found, Match::Person(_, How::Strong))) && found[0] != found[1]);
    let nobody = Patient { birth_date: "19990101".into(), identifiers: vec![mbi("1EG4TE5MK73")], ..Patient::default() };
    assert!(
        matches!(snapshot.find(&nobody, &aliases), Match::Review { reason: Reason::Guard, candidates } if candidates.len() == 2)
    );
}

#[test]
fn people_of_several_panels_are_one() {
    let (aco, home) = (panel("aco", Path::new("a"), Mode::Supersede), panel("pcmh", Path::new("b"), Mode::Supersede));
    let by_number = ",C55120,CHFM,Okafor,Marisol,1951-03-14,F,418 Quarry Rd,Lakeshore,14150,,2025-06-01,2026-03-01,,,,";
    let both = (rows(&[OKAFOR]), rows(&[by_number]));
    let snapshot = Snapshot::new(&[(&aco, &both.0), (&home, &both.1)], &Matching::default());
    assert_eq!(snapshot.people(), 1);
    let person = snapshot.find(&okafor(vec![practice_number()]), &Aliases::default()).person().unwrap();
    assert_eq!(Some(person), self::snapshot(&[OKAFOR]).keys().next(), "the strongest identifier makes the key");
    let at = |text: &str| {
        let ms = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        snapshot.memberships_at(&person, ms).map(|one| one.panel.id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(at("2026-02-01T12:00:00Z"), ["aco", "pcmh"]);
    // The last day of March 1st ends at midnight in New York.
    assert_eq!(at("2026-03-02T04:59:59Z"), ["aco", "pcmh"]);
    assert_eq!(at("2026-03-02T05:00:00Z"), ["aco"]);
    assert_eq!(at("2025-07-01T00:00:00Z"), ["pcmh"]);
    assert_eq!(at("2025-05-31T12:00:00Z"), [""; 0]);
    assert_eq!(snapshot.about(&person).unwrap().family, "OKAFOR");
    let of_panel = |id: &str| snapshot.members(id).map(|(key, one)| (key, one.panel.id.clone())).collect::<Vec<_>>();
    assert_eq!((of_panel("pcmh"), of_panel("other")), (vec![(person, "pcmh".to_owned())], vec![]));
    assert_eq!(snapshot.identifiers(&person).collect::<Vec<_>>(), [(MBI, "1EG4TE5MK73"), ("mrn@CHFM", "C55120")]);
}

#[test]
fn bad_rows_are_told_by_line_and_never_by_value() {
    let mut lines: Vec<String> =
        (0..200).map(|at| OTHER.replace("2AB3CD4EF56,99", &format!("2AB3CD4E{at:03},{at}1"))).collect();
    lines[3] = OKAFOR.replace("1951-03-14", "14.3.51");
    lines[5] = OKAFOR.replace("2026-01-01,,", "2026-01-01,2025-01-01,");
    lines[7] = "999999999,,,Okafor,BABY BOY,1900-01-01,F,,,,,,,,,,".into();
    lines[9] = "1EG4TE5MK73,,,,Marisol,,F,,,,,,,,,,".into();
    lines[11] = "1EG4TE5MK73,,Okafor".into();
    lines[13] = OKAFOR.replace("SUD:permit,", "SUD:permit,perhaps");
    let found = rows(&lines);
    let told: Vec<_> = found.rejected.iter().map(|one| (one.place.line, one.reason)).collect();
    use rows::Reason::*;
    assert_eq!(told, [(5, Birth), (7, Period), (9, Unidentified), (11, Unguarded), (13, Fields), (15, Change)]);
    assert_eq!((found.read, found.bad, found.members()), (200, 6, 194));
    for one in &found.rejected {
        let text = format!("{} {one:?}", one.reason);
        assert!(["Okafor", "OKAFOR", "1951", "1EG4"].iter().all(|value| !text.contains(value)), "{text}");
    }
    lines.truncate(100);
    let error = try_rows(csv(&lines).as_bytes()).unwrap_err();
    assert!(matches!(error, RosterError::Bad { bad: 6, read: 100, .. }));
    assert_eq!(
        error.to_string(),
        "p.csv: 6 of 100 rows are bad, more than 5 %; the first: line 5: the date of birth is no date in the form of this roster; line 7: the membership ends before it begins; line 9: no identifier, and not enough of name, birth and address to find them without one"
    );
}

#[test]
fn files_that_are_no_rosters_are_refused_with_a_remedy() {
    let refused = |bytes: &[u8]| try_rows(bytes).unwrap_err().to_string();
    let missing = csv(&[OKAFOR]).replace("DOB", "BIRTHDAY");
    assert_eq!(
        refused(missing.as_bytes()),
        "p.csv: no column \"DOB\" (dob); its header has MBI, MRN, MRN_AA, LAST, FIRST, BIRTHDAY, SEX, STREET, CITY, ZIP, PHONE, EFF, TERM, PCP, CM, CONSENT, CHG"
    );
    let latin = csv(&[OKAFOR]).replace("Marisol", "Jos\u{e9}").chars().map(|c| c as u8).collect::<Vec<u8>>();
    assert_eq!(
        refused(&latin),
        "p.csv: line 2 is not UTF-8; save it as UTF-8, or give its source charset = \"latin-1\" if that is what it is"
    );
    assert!(refused(&[0xff, 0xfe, b'M', 0]).contains("UTF-16"));
    assert!(refused(format!("{HEADER}\n").as_bytes()).contains("no rows"));
    assert!(refused(b"").contains("none of the columns"));
    let headless = refused(csv(&[OKAFOR, OTHER]).split_once('\n').unwrap().1.as_bytes());
    assert!(headless.contains("none of the columns") && !headless.contains("Okafor"), "{headless}");
    let mut source = panel("p", Path::new("p.csv"), Mode::Supersede).source;
    let Form::Csv { latin_1, .. } = &mut source.form else { panic!() };
    *latin_1 = true;
    let mut rows = Rows::default();
    files::add(&mut rows, &source, &latin, Path::new("p.csv"), &Matching::default()).unwrap();
    assert_eq!(rows.rows[0].demographics().given, "JOSE");
}

#[test]
fn a_mark_quotes_and_other_separators_are_read() {
    let plain = rows(&[OKAFOR]);
    let quoted = csv(&[OKAFOR]).replace("418 Quarry Road", "\"418 Quarry Road\"").replace("Okafor", "\" Okafor \"");
    let semicolons = csv(&[OKAFOR]).replace(',', ";");
    let tabs = csv(&[OKAFOR]).replace(',', "\t");
    for text in [format!("\u{feff}{quoted}"), semicolons, tabs, csv(&[OKAFOR]).replace('\n', "\r\n") + "\r\n"] {
        let found = try_rows(text.as_bytes()).unwrap();
        assert_eq!((found.rows.len(), &found.rows[0].text), (1, &plain.rows[0].text), "{text}");
    }
}

const GROUP: &str = r##"{"resourceType":"Bundle","type":"collection","entry":[
 {"fullUrl":"https://payer.example/Group/1","resource":{"resourceType":"Group","id":"1","name":"Lakeshore","member":[
  {"entity":{"reference":"Patient/p1"},"period":{"start":"2026-01-01"},
   "extension":[{"url":"http://hl7.org/fhir/us/davinci-atr/StructureDefinition/ext-changeType","valueCode":"add"},
    {"url":"http://hl7.org/fhir/us/davinci-atr/StructureDefinition/ext-attributedProvider","valueReference":{"reference":"Practitioner/d1"}}]},
  {"entity":{"reference":"#p2"},"period":{"start":"2026-01-01","end":"2026-12-31"},
   "extension":[{"url":"http://hl7.org/fhir/us/davinci-atr/StructureDefinition/ext-attributedProvider","valueReference":{"identifier":{"system":"http://hl7.org/fhir/sid/us-npi","value":"9990003037"}}}]},
  {"entity":{"reference":"urn:uuid:3"},"inactive":true},
  {"entity":{"identifier":{"system":"http://hl7.org/fhir/sid/us-mbi","value":"5AA5AA5AA55"}},"period":{"start":"2026-01-01"}}],
  "contained":[{"resourceType":"Patient","id":"p2","identifier":[{"type":{"coding":[{"code":"MR"}]},"system":"urn:oid:2.16.840.1.113883.19.5.2","value":"C9"}],
   "name":[{"family":"Reyes","given":["Ana","B"]}],"birthDate":"1960-02-29"}]}},
 {"fullUrl":"https://payer.example/Patient/p1","resource":{"resourceType":"Patient","id":"p1","identifier":[{"system":"http://hl7.org/fhir/sid/us-mbi","value":"1EG4TE5MK73"}],
  "name":[{"use":"maiden","family":"X"},{"use":"official","family":"Okafor","given":["Marisol"]}],"gender":"female","birthDate":"1951-03-14",
  "address":[{"line":["418 Quarry Road"],"city":"Lakeshore","postalCode":"14150-1234"}],"telecom":[{"system":"email","value":"x"},{"system":"phone","value":"716 555 0142"}]}},
 {"fullUrl":"urn:uuid:3","resource":{"resourceType":"Patient","id":"p3","identifier":[{"system":"http://hl7.org/fhir/sid/us-mbi","value":"7BB7BB7BB77"}],"birthDate":"1940-01-01"}},
 {"resource":{"resourceType":"Practitioner","id":"d1","name":[{"family":"Baptiste"}],"identifier":[{"system":"http://hl7.org/fhir/sid/us-npi","value":"9990003037"}]}}]}"##;

fn group(text: &str, matching: &Matching) -> Result<Rows, RosterError> {
    let source = Source { path: "g.json".into(), form: Form::Group { id_system: MBI.into() }, mode: Mode::Supersede };
    let mut rows = Rows::default();
    files::add(&mut rows, &source, text.as_bytes(), Path::new("g.json"), matching).map(|()| rows)
}

#[test]
fn groups_of_da_vinci_are_read() {
    let error = group(GROUP, &Matching::default()).unwrap_err();
    assert!(error.to_string().contains("1 of 4 rows are bad") && error.to_string().contains("line 4"), "{error}");
    let good = GROUP.replace(r#","period":{"start":"2026-01-01"}}],"#, "}],").replace("},\n  {\"entity\":{\"identifier\":{\"system\":\"http://hl7.org/fhir/sid/us-mbi\",\"value\":\"5AA5AA5AA55\"}}}],", "}],");
    let rows = group(&good, &Matching::default()).unwrap();
    assert_eq!((rows.read, rows.members()), (3, 2), "who is inactive is a member no more");
    let panel = panel("aco", Path::new("g.json"), Mode::Supersede);
    let snapshot = Snapshot::new(&[(&panel, &rows)], &Matching::default());
    let found = snapshot.find(&okafor(vec![]), &Aliases::default());
    let Match::Person(person, How::Deterministic) = found else { panic!("{found:?}") };
    assert_eq!(snapshot.memberships(&person).next().unwrap().pcp, "9990003037");
    let reyes = Patient {
        identifiers: vec![identifier("C9", "", "2.16.840.1.113883.19.5.2", "MR")],
        birth_date: "19600229".into(),
        ..Patient::default()
    };
    let person = snapshot.find(&reyes, &Aliases::default()).person().unwrap();
    let membership = snapshot.memberships(&person).next().unwrap();
    assert_eq!((membership.pcp, membership.end), ("9990003037", Some(Date::constant(2026, 12, 31))));
    for wrong in
        ["{", "[]", r#"{"resourceType":"Patient"}"#, r#"{"resourceType":"Group"}"#, r#"{"resourceType":"Bundle"}"#]
    {
        assert!(matches!(group(wrong, &Matching::default()), Err(RosterError::Form { .. })), "{wrong}");
    }
}

#[test]
fn a_file_with_far_fewer_rows_is_held_until_somebody_approves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lakeshore.csv");
    let options =
        Options { panels: vec![panel("aco-lakeshore", &file, Mode::Supersede)], matching: Matching::default() };
    let lines: Vec<String> = (0..100).map(|at| OKAFOR.replace("1EG4-TE5-MK73", &format!("1EG4TE5M{at:03}"))).collect();
    let data = folder.path().join("rosters");
    let open = |in_force: &InForce| Rosters::open(options.clone(), data.clone(), in_force.clone()).0;
    let rosters = open(&InForce::default());
    assert_eq!(rosters.current().people(), 0);
    let day = 86_400_000;
    let load = |rosters: &Rosters, lines: &[String], approved: &dyn Fn(&str, &Fingerprint) -> bool| {
        std::fs::write(&file, csv(lines)).unwrap();
        rosters.load(20_000 * day, approved)
    };
    let nobody = |_: &str, _: &Fingerprint| false;
    let said = |rosters: &Rosters, loaded: &holder::Loaded| {
        let mut said = None;
        let say = |in_force: &InForce| {
            said = Some(in_force.clone());
            Ok::<_, KeepError>(())
        };
        assert_eq!(rosters.swap(loaded, 7, say).unwrap(), said.is_some());
        said
    };
    let loaded = load(&rosters, &lines, &nobody);
    assert!(matches!(loaded.panels[0].outcome, Outcome::Accepted));
    assert_eq!(rosters.current().people(), 0, "nothing is in force before it is swapped");
    let first = said(&rosters, &loaded).unwrap();
    let taken = &first.panels[0];
    assert_eq!((taken.panel.as_str(), taken.added, taken.members, taken.since_ms), ("aco-lakeshore", 100, 100, 7));
    let again = load(&rosters, &lines, &nobody);
    assert!(matches!(again.panels[0].outcome, Outcome::Unchanged) && said(&rosters, &again).is_none());
    // 40 % fewer.
    let loaded = load(&rosters, &lines[..60], &nobody);
    assert!(matches!(loaded.panels[0].outcome, Outcome::Held));
    assert_eq!((loaded.panels[0].difference.dropped, loaded.snapshot.people()), (40, 100));
    assert_eq!(said(&rosters, &loaded), None);
    // A restart does not take it either, nor a file of which too much is bad.
    let rosters = open(&first);
    assert_eq!(rosters.current().people(), 100);
    let bad: Vec<String> = lines.iter().map(|line| line.replace("1951", "19x1")).collect();
    let loaded = load(&rosters, &bad, &|_, _| true);
    assert!(matches!(&loaded.panels[0].outcome, Outcome::Refused(RosterError::Bad { bad: 100, .. })));
    assert_eq!(loaded.snapshot.people(), 100);
    // 20 % go without, more with approval, of these very files.
    let loaded = load(&rosters, &lines[..80], &nobody);
    assert!(matches!(loaded.panels[0].outcome, Outcome::Accepted));
    let other = loaded.panels[0].fingerprint;
    let loaded = load(&rosters, &lines[..60], &|_, looked_at| Some(*looked_at) == other);
    assert!(matches!(loaded.panels[0].outcome, Outcome::Held));
    let held = loaded.panels[0].fingerprint;
    let loaded = load(&rosters, &lines[..60], &|_, looked_at| Some(*looked_at) == held);
    // What cannot be written down does not hold.
    let failed = rosters.swap(&loaded, 8, |_| Err(KeepError::Changed(data.clone())));
    assert!(failed.is_err() && rosters.current().people() == 100 && rosters.in_force() == first);
    let second = said(&rosters, &loaded).unwrap();
    assert_eq!(second.panels[0].dropped, 40);
    assert_eq!((rosters.current().people(), open(&second).current().people()), (60, 60));
    // What was received before is matched by the roster of then; of one that is gone by that of now.
    assert_eq!((rosters.at(&first).people(), rosters.at(&second).people()), (100, 60));
    assert_eq!(rosters.at(&InForce::default()).people(), 0);
    let kept = data.join("aco-lakeshore").join(kept::digits(&first.panels[0].sha256));
    std::fs::remove_dir_all(kept).unwrap();
    assert_eq!(rosters.at(&first).people(), 60);
    // What was read is what is kept, or nothing is.
    let loaded = load(&rosters, &lines, &nobody);
    std::fs::write(&file, csv(&lines[..5])).unwrap();
    assert!(matches!(rosters.swap(&loaded, 9, |_| Ok(())), Err(KeepError::Changed(_))));
    assert_eq!((rosters.current().people(), open(&second).current().people()), (60, 60));
}

#[test]
fn old_rosters_are_forgotten_and_the_newest_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lakeshore.csv");
    let options = Options { panels: vec![panel("p", &file, Mode::Supersede)], matching: Matching::default() };
    let data = folder.path().join("rosters");
    let (rosters, _) = Rosters::open(options, data.clone(), InForce::default());
    let mut all = Vec::new();
    for at in 0..kept::KEPT_MAX + 3 {
        std::fs::write(&file, csv(&[OKAFOR.replace("cm-7", &format!("cm-{at}"))])).unwrap();
        let loaded = rosters.load(0, &|_, _| false);
        let say = |in_force: &InForce| {
            all.push(in_force.panels[0].sha256);
            Ok::<_, KeepError>(())
        };
        assert!(rosters.swap(&loaded, 0, say).unwrap());
        // So that they are of different times on every file system.
        let kept = std::fs::File::open(data.join("p").join(kept::digits(&all[at]))).unwrap();
        kept.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(at as u64)).unwrap();
    }
    let there = |fingerprint: &Fingerprint| data.join("p").join(kept::digits(fingerprint)).exists();
    assert_eq!(all.iter().map(there).collect::<Vec<_>>(), [vec![false; 3], vec![true; kept::KEPT_MAX]].concat());
}

#[test]
fn what_changed_is_told_by_line_and_field() {
    let before = rows(&[OKAFOR, OTHER, "7BB7BB7BB77,,,Gone,Al,1940-01-01,M,,,,,,,,,,"]);
    let moved = OKAFOR.replace("418 Quarry Road", "9 Lake Ave").replace("cm-7", "cm-8");
    let after = rows(&["8CC8CC8CC88,,,New,Bo,1941-01-01,M,,,,,,,,,,", OTHER, &moved]);
    let found = Difference::between(&before, &after);
    assert_eq!((found.before, found.after), (3, 3));
    assert_eq!((found.added, found.dropped, found.changed), (1, 1, 1));
    let lines = |places: &[rows::Place]| places.iter().map(|place| place.line).collect::<Vec<_>>();
    assert_eq!((lines(&found.added_lines), lines(&found.dropped_lines)), (vec![2], vec![4]));
    let changed = &found.changed_lines[0];
    assert_eq!((changed.before.line, changed.after.line), (2, 4));
    assert_eq!(changed.what, ["address", "care_manager"]);
    assert!(Difference::between(&after, &after).is_empty());
    // Somebody who had no MBI has one now: known by another key.
    let panel = panel("p", Path::new("p.csv"), Mode::Supersede);
    let people = |line: &str| Snapshot::new(&[(&panel, &rows(&[line]))], &Matching::default());
    let number = ",C55120,CHFM,Okafor,Marisol,1951-03-14,F,,,14150,,,,,,,";
    let (old, new) = (people(number), people(&format!("1EG4TE5MK73{number}")));
    assert_eq!(difference::rekeyed(&old, &new), [(old.keys().next().unwrap(), new.keys().next().unwrap())]);
}

#[test]
fn who_is_known_by_another_key_is_who_would_be_one_person_in_one_roster() {
    let panel = panel("p", Path::new("p.csv"), Mode::Supersede);
    let people = |lines: &[&str]| Snapshot::new(&[(&panel, &rows(lines))], &Matching::default());
    let key = |line: &str| people(&[line]).keys().next().unwrap();
    let rekeyed = |before: &[&str], after: &[&str]| difference::rekeyed(&people(before), &people(after));
    let with = |mbi: &str, mrn: &str| format!("{mbi},{mrn},CHFM,Okafor,Marisol,1951-03-14,F,,,14150,,,,,,,");
    let (by_mrn, by_mbi, both) = (with("", "C1"), with("1EG4TE5MK73", ""), with("1EG4TE5MK73", "C1"));
    let nameless = ",,,Okafor,Marisol,1951-03-14,F,,,14150,,,,,,,";
    assert_eq!(rekeyed(&[&by_mrn], &[&both]), [(key(&by_mrn), key(&both))]);
    assert_eq!(rekeyed(&[&both], &[&by_mrn]), [(key(&both), key(&by_mrn))], "and back");
    assert_eq!(rekeyed(&[nameless], &[&both]), [(key(nameless), key(&both))], "by name, birth, sex and place");
    // She stood there twice, and does not any more.
    let apart = with("", "C1").replace("14150", "");
    assert_eq!(rekeyed(&[&apart, &by_mbi], &[&both]), [(key(&apart), key(&both))]);
    // A number that is given again, and somebody who is only gone.
    let another = both.replace("Okafor,Marisol,1951-03-14", "Bell,Ann,1990-01-02");
    assert_eq!(rekeyed(&[&by_mrn], &[&another]), []);
    assert_eq!(rekeyed(&[&both, OTHER], &[OTHER]), []);
    // Two that both could be her: each has one of her numbers and her name.
    let (second, sister) = (with("1EG4TE5MK73", "C2"), with("", "C2").replace("Marisol,1951-03-14", "Ann,1960-01-02"));
    assert_eq!(rekeyed(&[&both, &second], &[&by_mrn]), [(key(&both), key(&by_mrn))]);
    assert_eq!(rekeyed(&[&both, &second], &[&by_mrn, &sister]), []);
    assert_eq!(rekeyed(&[&by_mrn, OTHER], &[&by_mrn, OTHER]), []);
}

/// Mother and daughter under one number, one of whom is called as the other in a later row: each is somebody, and who is asked for is not the other.
#[test]
fn no_two_people_have_one_key() {
    let panel = panel("p", Path::new("p.csv"), Mode::Supersede);
    let line = |mbi: &str, mrn: &str, name: &str, from: &str| format!("{mbi},{mrn},{name},F,,,14150,,{from},,,,,");
    let lines = [
        line("1EG4TE5MK71", "1,SBMC", "Okafor,Marisol,1951-03-14", "2020-01-01"),
        line("1EG4TE5MK74", "1,SBMC", "Okafore,Marisol,1951-03-14", "2020-01-01"),
        line("1EG4TE5MK74", ",", "Okafore,Ana,1951-03-14", "2022-01-01"),
        line("1EG4TE5MK71", "2,SBMC", "Okafore,Marisol,1952-03-14", "2020-01-01"),
        line("1EG4TE5MK72", "2,SBMC", "Okafore,Ana,1951-03-14", "2021-01-01"),
    ];
    let all: Vec<&str> = lines.iter().map(String::as_str).collect();
    let snapshot = Snapshot::new(&[(&panel, &rows(&all))], &Matching::default());
    let mut keys: Vec<_> = snapshot.keys().collect();
    keys.dedup();
    assert_eq!((keys.len(), snapshot.people()), (2, 2));
    let who = |snapshot: &Snapshot, mrn: &str| {
        let has = |key: &PersonKey| snapshot.identifiers(key).any(|(_, value)| value == mrn);
        snapshot.keys().find(has).unwrap()
    };
    let (mother, daughter) = (who(&snapshot, "1"), who(&snapshot, "2"));
    assert_ne!(mother, daughter);
    // Where they live and since when they are members changes nothing.
    let moved: Vec<String> =
        all.iter().map(|line| line.replace("14150", "14151").replace("2020-01-01", "2020-02-01")).collect();
    let moved = rows(&moved.iter().map(String::as_str).collect::<Vec<_>>());
    let moved = Snapshot::new(&[(&panel, &moved)], &Matching::default());
    assert_eq!((who(&moved, "1"), who(&moved, "2")), (mother, daughter));
    // When she comes to be called so, and when she is not any more, what was known of each goes with each.
    let apart = rows(&[all[0], all[1], all[3], all[4]]);
    let apart = Snapshot::new(&[(&panel, &apart)], &Matching::default());
    let mut both = [(who(&apart, "1"), mother), (who(&apart, "2"), daughter)];
    both.sort_unstable();
    assert_eq!(difference::rekeyed(&apart, &snapshot), both);
    both = both.map(|(apart, alike)| (alike, apart));
    both.sort_unstable();
    assert_eq!(difference::rekeyed(&snapshot, &apart), both);
}

#[test]
fn deltas_add_change_and_drop() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: &[&str]| std::fs::write(folder.path().join(name), csv(lines)).unwrap();
    let third = "7BB7BB7BB77,,,Gone,Al,1940-01-01,M,,,,,2026-01-01,,,,,";
    write("2026-01.csv", &[OKAFOR, OTHER, third]);
    write(
        "2026-02.csv",
        &[&third.replace("2026-01-01,,,,,", "2026-01-01,2026-02-28,,,,drop"), &OTHER.replace("Elm", "Oak")],
    );
    write("2026-03.csv", &["1EG4TE5MK73,,,Okafor,,,,,,,,,,,,,drop"]);
    let panel = |mode| panel("p", folder.path(), mode);
    let read = |mode| files::read(&panel(mode).source, &Matching::default()).unwrap();
    let rows = read(Mode::Delta);
    let mut left: Vec<_> = rows.rows.iter().map(|row| (row.demographics().family.to_owned(), row.end)).collect();
    left.sort();
    assert_eq!(
        left,
        [("GONE".to_owned(), Date::constant(2026, 2, 28)), ("REYES".to_owned(), Date::constant(2026, 2, 28))]
    );
    assert!(rows.rows.iter().any(|row| row.demographics().street == "1 OAK ST"));
    assert_eq!(rows.files, ["2026-01.csv", "2026-02.csv", "2026-03.csv"]);
    assert_eq!(read(Mode::Supersede).files, ["2026-03.csv"]);
    let empty = tempfile::tempdir().unwrap();
    let source = Source { path: empty.path().into(), ..panel(Mode::Delta).source };
    assert!(matches!(files::read(&source, &Matching::default()), Err(RosterError::Empty(_))));
}

#[test]
fn old_and_small_rosters_give_warnings() {
    let panel = Panel { min_attributed: 2, ..panel("p", Path::new("p.csv"), Mode::Supersede) };
    let rows = rows(&[OKAFOR, OTHER]);
    let day = 86_400_000;
    let today = Date::constant(2026, 3, 15);
    assert_eq!((rows.members(), rows.members_on(today)), (2, 1));
    let warnings =
        |file_day: i64| holder::warnings(&panel, &rows, rows.members_on(today), Some(file_day * day), 1000 * day);
    assert_eq!(warnings(910), [Warning::Few { attributed: 1, least: 2 }]);
    assert_eq!(warnings(909), [Warning::Few { attributed: 1, least: 2 }, Warning::Stale { days: 91, most: 90 }]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Few different values, so that people share identifiers, names and addresses in every way.
    #[test]
    fn the_order_of_rows_makes_no_difference(
        people in prop::collection::vec((0..6u8, 0..4u8, 0..3u8, 0..4u8, 0..3u8, 0..3u8), 1..12),
        seed in prop::collection::vec(any::<u32>(), 12),
        asked in (0..6u8, 0..4u8, 0..3u8, 0..4u8, 0..3u8),
    ) {
        let families = ["Okafor", "Okafore", "Reyes"];
        let givens = ["Marisol", "Marissa", "Ana", ""];
        let line = |(id, number, family, given, born, start): &(u8, u8, u8, u8, u8, u8)| {
            let id = if *id == 0 { String::new() } else { format!("1EG4TE5MK7{id}") };
            let number = if *number == 0 { ",".to_owned() } else { format!("{number},SBMC") };
            let (family, given) = (families[usize::from(*family)], givens[usize::from(*given)]);
            format!("{id},{number},{family},{given},195{born}-03-14,F,418 Quarry Rd,Lakeshore,14150,,202{start}-01-01,,,,,")
        };
        let read = |order: &[usize]| {
            let lines: Vec<String> = order.iter().map(|at| line(&people[*at])).collect();
            let mut rows = Rows::default();
            let panel = panel("p", Path::new("p.csv"), Mode::Supersede);
            // Rows that cannot be taken are left out here: the file is not what is tested.
            for one in lines {
                let mut single = Rows::default();
                let text = csv(&[one]);
                if files::add(&mut single, &panel.source, text.as_bytes(), Path::new("p"), &Matching::default()).is_ok() {
                    rows.rows.extend(single.rows.into_iter().map(|row| moved(row, &single.systems, &mut rows.systems)));
                }
            }
            Snapshot::new(&[(&panel, &rows)], &Matching::default())
        };
        let order: Vec<usize> = (0..people.len()).collect();
        let mut other = order.clone();
        other.sort_by_key(|at| seed[*at]);
        let (left, right) = (read(&order), read(&other));
        prop_assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
        prop_assert!(left.people == right.people && left.members == right.members);
        let mut keys: Vec<_> = left.keys().collect();
        keys.dedup();
        prop_assert_eq!(keys.len(), left.people(), "each person has a key of their own");
        let (id, number, family, given, born) = asked;
        let mut identifiers = vec![];
        if id > 0 { identifiers.push(mbi(&format!("1EG4TE5MK7{id}"))); }
        if number > 0 { identifiers.push(identifier(&number.to_string(), "SBMC", "", "MR")); }
        let patient = Patient {
            family: families[usize::from(family)].into(),
            given: givens[usize::from(given)].into(),
            birth_date: format!("195{born}0314"),
            ..okafor(identifiers)
        };
        let aliases = Aliases::default();
        let found = left.find(&patient, &aliases);
        prop_assert_eq!(&found, &right.find(&patient, &aliases));
        prop_assert_eq!(&found, &left.explain(&patient, &aliases).found);
        // Whoever is found agrees in a guarding field, at least.
        if let Match::Person(key, _) = found {
            let about = left.about(&key).unwrap();
            let agrees = about.birth.to_string() == patient.birth_date || about.family == patient.family.to_uppercase();
            prop_assert!(agrees);
        }
    }
}

/// A row with its systems known by the numbers of another table.
fn moved(row: rows::Row, from: &systems::Words, to: &mut systems::Words) -> rows::Row {
    let (person, _) = fields::Demographics::unpack(&row.text, row.birth, row.sex);
    let mut text = String::new();
    person.pack(&mut text);
    for (system, value) in row.identifiers() {
        text += &format!("{}={value}\u{1f}", to.add(from.text(system)));
    }
    rows::Row { text: text.into(), pcp: 0, care_manager: 0, consent: 0, ..row.clone() }
}
