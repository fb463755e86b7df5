//! What is kept and for how long, and time that does not pass as it should: whatever happened live, the same comes of journal and registry when they are read again.
use super::super::gateway::care::{configuration, recipient, subscription};
use handoff::config::Config;
use handoff::coordination::Options;
use handoff::coordination::measures::{self, Difference};
use handoff::coordination::registry::{Kind, Registry, What};
use handoff::coordination::roster::in_force::{self, InForce};
use handoff::coordination::roster::kept::KeepError;
use handoff::coordination::roster::{Rosters, Snapshot};
use handoff::coordination::subscription::resource::Subscription;
use handoff::coordination::subscription::topic::Topics;
use handoff::coordination::work::{PRUNE_EVERY, Work, setting};
use handoff::facets::{Facets, Outcome};
use handoff::hl7::Index;
use handoff::journal::{Directory, Durability, Journal, Options as JournalOptions, Reader, Record};
use jiff::{Timestamp, ToSpan};
use rusqlite::types::Value as Cell;
use std::path::Path;
use std::sync::Arc;

pub const ROSTER: &str = "MBI,LAST,FIRST,DOB,SEX,ZIP,PHONE,EFF,TERM,PCP,CM\n\
    1EG4TE5MK73,OKAFOR,MARISOL,1951-03-14,F,14150,7165550142,2020-01-01,,9990003037,cm-ortega\n";
const DAY_MS: i64 = 86_400_000;

/// Journal, registry and what is made of them, with a clock that the test sets.
pub struct World {
    folder: tempfile::TempDir,
    options: Arc<Options>,
    registry: Arc<Registry>,
    rosters: Arc<Rosters>,
    journal: Journal,
    reader: Reader,
    work: Option<Work>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub fn new() -> World {
        World::of("")
    }

    /// One with more members.
    pub fn of(members: &str) -> World {
        let options = JournalOptions { durability: Durability::Memory, ..JournalOptions::default() };
        World::with(members, &recipient("aco-cm", "id-only", ""), |_| String::new(), options)
    }

    /// One with more loops.
    pub fn with_loops(members: &str, loops: &str) -> World {
        let options = JournalOptions { durability: Durability::Memory, ..JournalOptions::default() };
        let recipients = loops.to_owned() + &recipient("aco-cm", "id-only", "");
        World::with(members, &recipients, |_| String::new(), options)
    }

    /// One with these recipients, and more of the configuration beside the folder of the rosters.
    pub fn with(
        members: &str,
        recipients: &str,
        rest: impl Fn(&Path) -> String,
        journal_options: JournalOptions,
    ) -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lakeshore.csv"), format!("{ROSTER}{members}")).unwrap();
        let text = configuration(folder.path(), "", recipients) + &rest(folder.path());
        let config = Config::parse(&text, &folder.path().join("handoff.toml"), &|_| None);
        let options = Arc::new(config.unwrap_or_else(|wrong| panic!("{wrong}")).coordination.unwrap());
        let data = folder.path().join("data");
        let directory = Arc::new(Directory::open(&data).unwrap());
        let journal = Journal::open(&directory, journal_options).unwrap();
        let (rosters, errors) = Rosters::open(options.rosters.clone(), data.join("rosters"), InForce::default());
        assert!(errors.is_empty());
        rosters.swap::<KeepError>(&rosters.load(0, &|_, _| false), 0, |_| Ok(())).unwrap();
        let registry = Arc::new(Registry::open(&data).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reader = journal.reader();
        let mut world =
            World { folder, options, registry, rosters: Arc::new(rosters), journal, reader, work: None, runtime };
        world.restart();
        world
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    pub fn restart(&mut self) {
        self.work = None;
        let (options, registry, rosters) = (&self.options, &self.registry, &self.rosters);
        let opened =
            Work::open(&self.data(), Arc::clone(options), Arc::clone(registry), Arc::clone(rosters), &mut self.reader);
        self.work = Some(opened.unwrap());
    }

    /// A message is received at a time, and taken.
    pub fn receive(&mut self, raw: &str, at: &str) {
        self.receive_at(raw, ms(at));
    }

    pub fn receive_at(&mut self, raw: &str, received_ms: i64) {
        self.take(raw.replace('\n', "\r").into_bytes(), received_ms, Outcome::Received);
    }

    /// One that could not be translated when it came.
    pub fn receive_untranslated(&mut self, raw: &str, at: &str) {
        self.take(raw.as_bytes().to_vec(), ms(at), Outcome::Untranslated);
    }

    /// One that is no UTF-8.
    pub fn receive_bytes(&mut self, raw: Vec<u8>, at: &str) {
        self.take(raw, ms(at), Outcome::Received);
    }

    fn take(&mut self, raw: Vec<u8>, received_ms: i64, outcome: Outcome) {
        let mut index = Index::new();
        let message = index.parse(&raw).ok().map(|()| index.message(&raw));
        let mut facets = Vec::new();
        Facets { outcome, ..Facets::of(&raw, message, b"adt", received_ms) }.encode(&mut facets);
        let record = Arc::new(Record { received_ms, facets, raw, ack: Vec::new() });
        let journal = &self.journal;
        self.runtime.block_on(async { journal.append(record, |_| {}).await.await }).unwrap();
        self.read();
    }

    /// Somebody subscribes to a topic.
    pub fn subscribe(&mut self, id: &str, topic: &str, at: &str) {
        let mut body = subscription(topic, "127.0.0.1:9", "id-only");
        body["id"] = id.into();
        let topics = Topics::new(&self.options.subscriptions.canonical_base);
        let body = Subscription::stored(id, &body, &topics).unwrap().body();
        let what = What::Put { kind: Kind::Subscription, id: id.into(), body };
        let head = self.reader.head();
        self.registry.say(|| head, ms(at), "aco-cm", what).unwrap();
        self.read();
    }

    /// Somebody says something.
    pub fn say(&mut self, what: What, at: &str) {
        let head = self.reader.head();
        self.registry.say(|| head, ms(at), "ops", what).unwrap();
        self.read();
    }

    /// Which rosters are in force is said.
    pub fn say_rosters(&mut self, at: &str) {
        let what = What::Put { kind: Kind::Roster, id: in_force::ID.into(), body: self.rosters.in_force().body() };
        let head = self.reader.head();
        self.registry.say(|| head, ms(at), "ops", what).unwrap();
        self.read();
    }

    /// Another roster is taken on.
    pub fn take_roster(&mut self, text: &str, at: &str) {
        self.swap_roster("lakeshore.csv", text, at);
        self.say_rosters(at);
    }

    /// It is there, and nobody has said so yet.
    pub fn swap_roster(&mut self, file: &str, text: &str, at: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
        let loaded = self.rosters.load(ms(at), &|_, _| true);
        assert!(self.rosters.swap::<KeepError>(&loaded, ms(at), |_| Ok(())).unwrap());
    }

    /// The people of the rosters of now.
    pub fn people(&self) -> Arc<Snapshot> {
        self.rosters.current()
    }

    /// The journal lets go of what lies before a message, by whole partitions.
    pub fn cut_before(&self, number: u64) -> u64 {
        self.journal.prune(number).unwrap()
    }

    /// Where counters and facts of the measures differ.
    pub fn differences(&self) -> Vec<Difference> {
        let mut connection = rusqlite::Connection::open(self.data().join("coordination.sqlite")).unwrap();
        measures::recount(&mut connection, &mut self.rates(), true).unwrap().unwrap().1
    }

    /// The measures, for who asks.
    pub fn rates(&self) -> measures::Reader {
        let options = &self.options;
        let mut reader = measures::Reader::new(&options.measures, &setting(options), &options.privacy.labels);
        reader.refresh(self.connection()).unwrap();
        reader
    }

    fn read(&mut self) {
        let work = self.work.as_mut().unwrap();
        while work.step(&mut self.reader).unwrap().taken > 0 {}
    }

    /// It is that late.
    pub fn is_now(&mut self, at: &str) {
        self.is_now_at(ms(at));
    }

    pub fn is_now_at(&mut self, now_ms: i64) {
        let work = self.work.as_mut().unwrap();
        while work.advance(now_ms).unwrap().taken > 0 {}
    }

    /// All rows but when the database was made.
    pub fn rows(&self) -> Vec<String> {
        let store = self.work.as_ref().unwrap().store();
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'anew' AND name NOT LIKE 'sqlite_stat%' ORDER BY name";
        let mut select = store.connection().prepare(sql).unwrap();
        let names: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut all = Vec::new();
        for name in names {
            let mut select = store.connection().prepare(&format!("SELECT * FROM {name}")).unwrap();
            let columns = select.column_count();
            let rows = select
                .query_map([], |row| (0..columns).map(|at| row.get(at)).collect::<Result<Vec<Cell>, _>>())
                .unwrap();
            let mut rows: Vec<String> = rows.map(|row| format!("{name} {:?}", row.unwrap())).collect();
            rows.sort();
            all.extend(rows);
        }
        all
    }

    /// The same from the beginning, into another database; with the time of now at its end.
    pub fn read_again(&mut self, now: &str) -> Vec<String> {
        self.work = None;
        remove(&self.data());
        self.restart();
        self.read();
        self.is_now(now);
        self.rows()
    }

    pub fn connection(&self) -> &rusqlite::Connection {
        self.work.as_ref().unwrap().store().connection()
    }

    pub fn text(&self, sql: &str) -> String {
        self.work.as_ref().unwrap().store().connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn count(&self, sql: &str) -> i64 {
        self.work.as_ref().unwrap().store().connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// Rows of which one side has none; nothing where they are alike.
pub fn difference(one: &[String], other: &[String]) -> Vec<String> {
    let lacks = |rows: &[String], row: &&String| !rows.contains(row);
    let left = one.iter().filter(|row| lacks(other, row)).map(|row| format!("- {row}"));
    let right = other.iter().filter(|row| lacks(one, row)).map(|row| format!("+ {row}"));
    left.chain(right).collect()
}

fn remove(data: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let file = data.join(format!("coordination.sqlite{suffix}"));
        assert!(std::fs::remove_file(&file).is_ok() || !suffix.is_empty(), "{}", file.display());
    }
}

pub fn ms(at: &str) -> i64 {
    at.parse::<Timestamp>().unwrap().as_millisecond()
}

/// A stay of one of the panel, or of a stranger.
fn adt(trigger: &str, control_id: &str, mbi: &str, visit: &str, at_ms: i64, diagnosis: &str) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap().strftime("%Y%m%d%H%M%S+0000").to_string();
    let (admit, end) = if trigger == "A01" { (at.as_str(), "") } else { ("", at.as_str()) };
    let name = if mbi == "1EG4TE5MK73" { "OKAFOR^MARISOL" } else { "STRANGER^UNKNOWN" };
    let blanks = "|".repeat(15);
    format!(
        "MSH|^~\\&|SBADT|SBMC|HANDOFF|LAKE|{at}||ADT^{trigger}^ADT_A01|{control_id}|P|2.5.1\nEVN|{trigger}|{at}||||{at}\n\
         PID|1||{mbi}^^^CMS&2.16.840.1.113883.4.927&ISO^MC||{name}||19510314|F\n\
         PV1|1|I|4W^412^B^SBMC||||9990002021^HALVERSEN^INGRID||||||||||||{visit}^^^SBMC{blanks}||01||||||||{admit}|{end}\n\
         DG1|1||{diagnosis}^x^I10C\n"
    )
}

const NOW: &str = "2026-03-20T12:00:00Z";

/// The clock is days ahead for a while, then set back: what went off by it stays told, and told once.
#[test]
fn a_clock_that_was_set_back_changes_nothing_when_all_is_read_again() {
    let at = "2026-03-05T20:20:00Z";
    let stay = |trigger: &str, id: &str| adt(trigger, id, "1EG4TE5MK73", "V1", ms(at), "I50.23");
    let mut world = World::new();
    world.subscribe("loops", "open-loop", "2026-03-05T20:00:00Z");
    world.receive(&stay("A03", "1"), "2026-03-05T20:20:05Z");
    let told = |world: &World| world.count("SELECT count(*) FROM subscription_event");
    world.is_now("2026-03-05T21:00:00Z");
    assert_eq!(told(&world), 0, "nothing is due yet");
    // The machine sleeps, or somebody sets the clock.
    world.is_now("2026-03-09T12:00:00Z");
    let early = told(&world);
    assert!(early > 0, "the summary is overdue by that clock: {:?}", world.rows());
    // A restart knows as well that time had come so far.
    world.restart();
    world.subscribe("more", "discharge", "2026-03-05T21:10:00Z");
    world.is_now("2026-03-12T12:00:00Z");
    assert!(told(&world) > early);
    let summary = include_str!("story/m3.hl7").replace('\r', "\n").replace("V20260302001", "V1");
    world.receive(&summary, "2026-03-06T23:05:00Z");
    world.receive(&stay("A08", "2"), "2026-03-06T23:06:00Z");
    world.is_now(NOW);
    let live = world.rows();
    assert_eq!(world.registry.passed().unwrap().len(), 2, "once before the entry and once before the message");
    assert_eq!(difference(&world.read_again(NOW), &live), [""; 0]);
    assert_eq!(difference(&world.read_again(NOW), &live), [""; 0], "and ever after");

    // It is the note of it that makes them alike.
    let registry = rusqlite::Connection::open(world.data().join("registry.sqlite")).unwrap();
    registry.execute("DELETE FROM passed", []).unwrap();
    assert_ne!(difference(&world.read_again(NOW), &live), [""; 0]);
}

/// Time that goes on as it should needs no note, however long nothing was heard.
#[test]
fn a_clock_that_goes_on_leaves_no_notes() {
    let mut world = World::new();
    world.subscribe("loops", "open-loop", "2026-03-05T20:00:00Z");
    for (number, day) in [5, 9, 14].into_iter().enumerate() {
        let at = ms("2026-03-01T20:20:00Z") + day * DAY_MS;
        let discharge = adt("A03", &number.to_string(), "1EG4TE5MK73", &format!("V{number}"), at, "I10");
        world.receive_at(&discharge, at + 5_000);
        world.is_now_at(at + 2 * DAY_MS);
    }
    world.is_now(NOW);
    assert!(world.count("SELECT count(*) FROM subscription_event") > 0);
    assert!(world.registry.passed().unwrap().is_empty());
    let live = world.rows();
    assert_eq!(difference(&world.read_again(NOW), &live), [""; 0]);
}

/// Three years of stays, each of which opens a loop: what is kept stays within its bounds, and is the same with restarts, with time that passed live, and when all is read again.
#[test]
fn what_is_over_is_let_go_and_the_same_when_all_is_read_again() {
    const DAYS: i64 = 1_100;
    let start = ms("2022-01-03T12:00:00Z");
    let run = |disturbed: bool| {
        let mut world = World::new();
        for day in 0..DAYS {
            let at = start + day * DAY_MS;
            if disturbed && day % 7 == 0 {
                world.is_now_at(at);
            }
            if disturbed && day % 211 == 0 {
                world.restart();
            }
            if day % 20 == 0 {
                // Each third is of a kind that stays secret as long as anything refers to it.
                let diagnosis = if day % 60 == 0 { "F10.20" } else { "I50.23" };
                for (trigger, hours) in [("A01", 1), ("A03", 30)] {
                    let at = at + hours * 3_600_000;
                    let id = format!("{trigger}{day}");
                    world.receive_at(&adt(trigger, &id, "1EG4TE5MK73", &format!("V{day}"), at, diagnosis), at + 2_000);
                }
            } else {
                let stranger = adt("A01", &format!("S{day}"), "9ZZ9ZZ9ZZ99", &format!("S{day}"), at, "I10");
                world.receive_at(&stranger, at + 2_000);
            }
        }
        world
    };
    let mut world = run(false);
    let end = (Timestamp::from_millisecond(start).unwrap() + (DAYS * 24).hours()).to_string();
    world.is_now(&end);
    let rows = world.rows();
    // Loops that were opened within 400 days, and before the places at which they are let go.
    let slack = i64::try_from(PRUNE_EVERY).unwrap() + 30;
    let kept_from = ms(&end) - (400 + slack) * DAY_MS;
    let old = |table: &str, column: &str, from: i64| {
        world.count(&format!("SELECT count(*) FROM {table} WHERE {column} < {from}"))
    };
    assert_eq!(old("loop", "received_ms", kept_from), 0);
    assert!(world.count("SELECT count(*) FROM loop") >= 20, "those of the last 400 days");
    assert!(world.count("SELECT max(number) FROM loop") > 50, "numbers go on");
    for (table, column) in [("loop_step", "loop"), ("loop_panel", "loop")] {
        let lost = format!("SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT number FROM loop)");
        assert_eq!(world.count(&lost), 0, "{table}");
    }
    let of_loops = "SELECT count(*) FROM visit_labels WHERE visit LIKE 'loop|%' AND visit NOT LIKE '%whole'
                    AND CAST(substr(visit, 6) AS INTEGER) NOT IN (SELECT number FROM loop)";
    assert_eq!(world.count(of_loops), 0);
    assert!(world.count("SELECT count(*) FROM visit_labels WHERE visit LIKE 'loop|%'") > 0);
    assert_eq!(old("loop_history", "at_ms", kept_from), 0);
    assert_eq!(old("loop_waiting", "received_ms", ms(&end) - (3 + slack) * DAY_MS), 0);
    assert_eq!(old("visit_labels", "day", kept_from.div_euclid(DAY_MS) - 8), 0);
    assert!(world.count("SELECT count(*) FROM visit_labels WHERE day IS NOT NULL") > 0);
    assert_eq!(old("care_member", "since_ms", kept_from - 31 * DAY_MS), 0);
    assert_eq!(difference(&world.read_again(&end), &rows), [""; 0]);

    let mut other = run(true);
    other.is_now(&end);
    assert_eq!(difference(&other.rows(), &rows), [""; 0], "restarts, and time that passed live, make no difference");
}

/// A roster loses her number, and has it again: the same is told of her as if it had never changed, and it is hers.
#[test]
fn a_key_that_rosters_change_changes_nothing_of_what_is_told() {
    let nameless = ROSTER.replace("1EG4TE5MK73", "");
    let run = |changes: bool| {
        let mut world = World::new();
        world.say_rosters("2026-03-01T00:00:00Z");
        world.subscribe("loops", "open-loop", "2026-03-01T00:01:00Z");
        world.subscribe("stays", "discharge", "2026-03-01T00:02:00Z");
        if changes {
            world.take_roster(&nameless, "2026-03-01T12:00:00Z");
        }
        world.receive(include_str!("story/m1.hl7"), "2026-03-02T14:15:03Z");
        world.receive(include_str!("story/m2.hl7"), "2026-03-05T20:22:05Z");
        world.is_now("2026-03-06T21:00:00Z");
        if changes {
            let person = world.text("SELECT hex(person) FROM loop");
            world.restart();
            world.take_roster(ROSTER, "2026-03-06T21:00:00Z");
            assert_ne!(world.text("SELECT hex(person) FROM loop"), person);
            world.restart();
        }
        world.receive(include_str!("story/m3.hl7"), "2026-03-06T23:05:13Z");
        world.receive(include_str!("story/m4.hl7"), "2026-03-06T23:30:00Z");
        if changes {
            // Another one between two that are in force, of whom nothing is known yet.
            world.take_roster(&nameless, "2026-03-08T00:00:00Z");
            world.take_roster(ROSTER, "2026-03-08T00:00:01Z");
        }
        world.receive(include_str!("story/m5.hl7"), "2026-03-11T14:24:20Z");
        world.is_now(NOW);
        world
    };
    let (plain, mut changed) = (run(false), run(true));
    let steps = "SELECT group_concat(id || state || coalesce(closed_event_ms, ''), ' ') FROM (SELECT * FROM loop_step ORDER BY place)";
    assert!(plain.text(steps).contains("summarymet1"), "{}", plain.text(steps));
    assert_eq!(changed.text(steps), plain.text(steps));
    let told = "SELECT group_concat(subscription || number || hex(event) || at_ms, ' ') FROM (SELECT * FROM subscription_event ORDER BY subscription, number)";
    assert!(plain.text(told).contains("loops2") && plain.text(told).contains("stays1"), "{}", plain.text(told));
    assert_eq!(changed.text(told), plain.text(told), "nothing is told twice, and nothing is not");
    for table in ["loop", "loop_history", "loop_waiting", "care_member"] {
        let people = format!("SELECT group_concat(DISTINCT hex(person)) FROM {table}");
        assert_eq!(changed.text(&people), plain.text(&people), "{table}");
    }
    let team = "SELECT group_concat(source || role || npi || visit || coalesce(until_ms, ''), ' ') FROM (SELECT * FROM care_member ORDER BY number)";
    assert_eq!(changed.text(team), plain.text(team));
    assert_eq!(plain.count("SELECT count(*) FROM person_edge"), 0);

    let live = changed.rows();
    assert!(live.iter().any(|row| row.starts_with("person_edge")), "{live:?}");
    assert_eq!(difference(&changed.read_again(NOW), &live), [""; 0]);
}
