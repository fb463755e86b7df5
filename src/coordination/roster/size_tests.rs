//! A roster of a million: that it takes as little room as is said, that everybody in it is found, and how long that takes.
//!
//! `cargo test --release --lib a_million_members -- --ignored --nocapture`
use super::options::{Columns, DateForm, Form, Matching, Mode, Panel, PanelKind, Source};
use super::{Aliases, How, MBI, Match, Snapshot, files};
use crate::coordination::event::{Identifier, Patient};
use jiff::tz::TimeZone;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

const MEMBERS: u64 = 1_000_000;
const ASKED: u64 = 20_000;
const BYTES_A_MEMBER_MAX: usize = 400;

/// Numbers that look like chance and are the same every time (SplitMix64).
fn number(seed: u64, of: u64, below: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(31).wrapping_add(of).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

fn word(seed: u64, of: u64, syllables: u64) -> String {
    const SYLLABLES: [&str; 16] =
        ["ka", "lo", "mer", "ri", "sa", "ton", "vel", "no", "ba", "chi", "dor", "el", "fin", "ga", "hart", "ju"];
    (0..syllables).map(|at| SYLLABLES[number(seed, of + at, 16) as usize]).collect()
}

fn patient(member: u64) -> Patient {
    let born = number(member, 3, 70 * 336);
    Patient {
        identifiers: vec![
            Identifier {
                value: format!("{member:07}"),
                authority: "SBMC".into(),
                universal: "1.2.3".into(),
                kind: "MR".into(),
            },
            Identifier {
                value: format!("1EG4{member:07}"),
                authority: "CMS".into(),
                universal: String::new(),
                kind: "MC".into(),
            },
        ],
        family: word(member, 10, 3),
        given: word(member, 20, 2),
        birth_date: format!("{:04}{:02}{:02}", 1930 + born / 336, 1 + born / 28 % 12, 1 + born % 28),
        sex: if number(member, 4, 2) == 0 { "F".into() } else { "M".into() },
        street: format!("{} {} Street", number(member, 5, 9000), word(member, 30, 2)),
        city: word(member, 40, 2),
        zip: format!("{:05}", 10_000 + number(member, 6, 3000)),
        phone: format!("716{:07}", 2_000_000 + number(member, 7, 7_000_000)),
    }
}

fn roster() -> String {
    let mut text = String::from("MBI,MRN,AA,LAST,FIRST,DOB,SEX,STREET,CITY,ZIP,PHONE,EFF,PCP\n");
    for member in 0..MEMBERS {
        let Patient { identifiers, family, given, birth_date, sex, street, city, zip, phone } = patient(member);
        let (mrn, mbi, pcp) = (&identifiers[0].value, &identifiers[1].value, number(member, 8, 2000));
        let _ = writeln!(
            text,
            "{mbi},{mrn},SBMC,{family},{given},{birth_date},{sex},{street},{city},{zip},{phone},2026-01-01,99{pcp:08}"
        );
    }
    text
}

#[test]
#[ignore = "a million members take minutes without optimisation"]
fn a_million_members() {
    let name = |text: &str| text.to_owned();
    let columns = Columns {
        id: name("MBI"),
        id_system: MBI.into(),
        mrn: name("MRN"),
        mrn_aa: name("AA"),
        family: name("LAST"),
        given: name("FIRST"),
        dob: name("DOB"),
        sex: name("SEX"),
        street: name("STREET"),
        city: name("CITY"),
        zip: name("ZIP"),
        phone: name("PHONE"),
        start: name("EFF"),
        pcp_npi: name("PCP"),
        ..Columns::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roster.csv");
    std::fs::write(&path, roster()).unwrap();
    let form = Form::Csv { columns: Box::new(columns), dates: DateForm::Detect, latin_1: false };
    let panel = Panel {
        id: "p".into(),
        kind: PanelKind::Aco,
        owner_npi: None,
        zone: TimeZone::UTC,
        source: Source { path, form, mode: Mode::Supersede },
        stale_after: Panel::STALE_AFTER,
        min_attributed: 0,
        max_drop_pct: 20,
    };
    let begin = Instant::now();
    let rows = files::read(&panel.source, &Matching::default()).unwrap();
    let read = begin.elapsed();
    let snapshot = Snapshot::new(&[(&panel, &rows)], &Matching::default());
    let loaded = begin.elapsed();
    drop(rows);
    assert_eq!(snapshot.people() as u64, MEMBERS);
    let each = snapshot.bytes() / snapshot.people();
    assert!(each <= BYTES_A_MEMBER_MAX, "{each} bytes a member");
    println!("read in {read:.1?}, loaded in {loaded:.1?}, {each} bytes a member");

    let asked: Vec<Patient> = (0..ASKED).map(|at| patient(number(at, 99, MEMBERS))).collect();
    let misspelt =
        asked.iter().map(|one| Patient { identifiers: vec![], family: format!("{}x", one.family), ..one.clone() });
    let misspelt: Vec<Patient> = misspelt.collect();
    let strangers: Vec<Patient> =
        (0..ASKED).map(|at| Patient { identifiers: vec![], ..patient(MEMBERS + at) }).collect();
    let aliases = Aliases::default();
    let time = |what: &str, patients: &[Patient]| {
        let begin = Instant::now();
        patients.iter().for_each(|patient| drop(black_box(snapshot.find(black_box(patient), &aliases))));
        println!("{what}: {:.2?} each", begin.elapsed() / u32::try_from(patients.len()).unwrap());
        patients.iter().map(|patient| snapshot.find(patient, &aliases)).collect::<Vec<_>>()
    };
    let exact = time("by identifier", &asked);
    assert!(exact.iter().all(|found| matches!(found, Match::Person(_, How::Strong))));
    let scored = time("by score", &misspelt);
    let right = scored.iter().zip(&exact).filter(|(scored, exact)| scored.person() == exact.person()).count();
    assert!(right as u64 > ASKED * 99 / 100, "{right} of {ASKED}");
    assert!(
        scored.iter().zip(&exact).all(|(scored, exact)| scored.person().is_none_or(|key| Some(key) == exact.person()))
    );
    let nobody = time("nobody, by score", &strangers);
    assert!(nobody.iter().all(|found| found.person().is_none()));
}
