//! A million members over 24 months: how long counting all anew takes, how long a question takes, and what an event costs.
//!
//! `cargo test --release --lib a_million_members_over_two_years -- --ignored --nocapture`
use super::tests::{PANEL, World, anybody, happening_of};
use crate::coordination::PersonKey;
use crate::coordination::measures::period::parse_month;
use crate::coordination::measures::{self, Page, Viewer, Wanted, spans};
use rusqlite::params;
use std::time::Instant;

/// Unless `HANDOFF_MEMBERS` says otherwise.
const MEMBERS: u32 = 1_000_000;
/// People whose facts the others have too.
const KINDS_OF_PEOPLE: u32 = 5_000;
/// Events of each: 24 months.
const EVENTS: u32 = 20;

fn key(number: u32) -> PersonKey {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
    key[12..].copy_from_slice(&number.to_be_bytes());
    PersonKey(key)
}

#[test]
#[ignore = "a million members take minutes"]
fn a_million_members_over_two_years() {
    let members = std::env::var("HANDOFF_MEMBERS").ok().and_then(|members| members.parse().ok()).unwrap_or(MEMBERS);
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(&folder.path().join("coordination.sqlite"));
    let started = Instant::now();
    for event in 0..EVENTS {
        for first in (0..KINDS_OF_PEOPLE).step_by(256) {
            let some = first..(first + 256).min(KINDS_OF_PEOPLE);
            world.many(&some.map(|number| (happening_of(number, event), key(number))).collect::<Vec<_>>());
        }
    }
    let events = f64::from(KINDS_OF_PEOPLE * EVENTS);
    println!(
        "an event {:.0} µs with all that is written, in transactions of 256",
        started.elapsed().as_secs_f64() * 1e6 / events
    );
    let copy = "INSERT INTO measure_fact SELECT ?1, ?1, count, oldest_ms, facts FROM measure_fact WHERE origin = ?2";
    let transaction = world.connection.transaction().unwrap();
    for number in KINDS_OF_PEOPLE..members {
        transaction
            .prepare_cached(copy)
            .unwrap()
            .execute(params![key(number).0, key(number % KINDS_OF_PEOPLE).0])
            .unwrap();
    }
    transaction.commit().unwrap();
    let (facts, bytes): (i64, i64) = world
        .connection
        .query_row("SELECT sum(count), sum(length(facts)) FROM measure_fact", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    println!("{facts} facts of {members} members, {:.0} bytes each", bytes as f64 / facts as f64);

    let started = Instant::now();
    let counted = measures::tally(&world.connection, world.measures.lens()).unwrap();
    let rate = counted as f64 / started.elapsed().as_secs_f64();
    println!("decoded and evaluated: {:.2} million events/s on one core", rate / 1e6);
    let started = Instant::now();
    let transaction = world.connection.transaction().unwrap();
    let counted = measures::recompute(&transaction, world.measures.lens(), "main").unwrap();
    transaction.commit().unwrap();
    println!(
        "counted anew with all that is written: {:.1?}, {:.2} million events/s",
        started.elapsed(),
        counted as f64 / started.elapsed().as_secs_f64() / 1e6
    );

    let reader = world.reader();
    let months = (parse_month("2025-01").unwrap(), parse_month("2026-12").unwrap());
    for round in 0..3 {
        let started = Instant::now();
        let feeds = reader.feeds(&world.connection, (months.0, months.1 + 12)).unwrap();
        let mut told = 0;
        for (measure, definition) in reader.definitions().iter().enumerate() {
            let wanted = Wanted { panel: PANEL, measure, months, as_of: 20_900, viewer: Viewer::Everything };
            let all = reader.series(&world.connection, &wanted, &feeds, &|_| u64::from(members)).unwrap();
            told += spans(&all, definition.rate).len();
        }
        println!("question {round}: {told} rates of all measures over 24 months in {:.1?}", started.elapsed());
    }
    let measure = reader.measure("visit-7").unwrap().0;
    let wanted = Wanted { panel: PANEL, measure, months, as_of: 20_900, viewer: Viewer::Everything };
    let started = Instant::now();
    let (people, _) = reader.people(&world.connection, &wanted, Page { after: None, most: 50 }, &mut anybody).unwrap();
    println!("{} people behind a rate in {:.1?}", people.len(), started.elapsed());
    let size = std::fs::metadata(folder.path().join("coordination.sqlite")).unwrap().len();
    println!("database {} MB", size / 1_000_000);
}
