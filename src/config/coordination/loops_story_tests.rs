//! Loops as configured, run on events: the story of a discharge, what is taken back, what comes in another order, and restarts.
use super::tests::POST_DISCHARGE;
use crate::config::Config;
use crate::coordination::care_team::{self, Member, Route};
use crate::coordination::event::{
    Appointment, Code, Confidentiality, Document, Number, Participant, Patient, VisitKey,
};
use crate::coordination::loops::{
    self, Facts, Loop, Outcome, OutcomeKind, Panel, Parts, Setting, State, Step, Subject, Tracker,
};
use crate::coordination::{Event, Kind, Options, PersonKey};
use crate::facets::uuid_text;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rusqlite::Connection;
use std::path::Path;

const MARISOL: PersonKey = PersonKey([1; 16]);
const OTHER: PersonKey = PersonKey([2; 16]);
const THIRD: PersonKey = PersonKey([3; 16]);
const BAPTISTE: &str = "9990003037";
const HALVERSEN: &str = "9990002021";
const LINDQVIST: &str = "9990005057";
const MANAGER: &str = "9990006063";
const FACILITIES: &str = r#"
[coordination.facility.SBMC]
npi = "9990001015"
tz = "America/New_York"
[coordination.facility.CHFM]
npi = "9990007079"
tz = "America/New_York"
[coordination.facility.LCARD]
tz = "America/New_York"
[coordination.facility.VISITING]
type = "HHA"
"#;
const MEMBERS: [Member<'static>; 2] = [
    Member { panel: "aco-lakeshore", pcp_npi: BAPTISTE, care_manager: MANAGER },
    Member { panel: "pcmh-chfm", pcp_npi: BAPTISTE, care_manager: "" },
];

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap_or_else(|wrong| panic!("{text}: {wrong}")).as_millisecond()
}

fn zone() -> TimeZone {
    TimeZone::get("America/New_York").unwrap()
}

fn options(loops: &str) -> Options {
    let text = format!("{loops}\n{FACILITIES}");
    Config::parse(&text, Path::new("a.toml"), &|_| None).unwrap_or_else(|wrong| panic!("{wrong}")).coordination.unwrap()
}

fn number(text: &str) -> Number {
    let (value, authority) = text.split_once('^').unwrap_or((text, ""));
    Number { value: value.into(), authority: authority.into() }
}

fn visit(text: &str) -> Option<VisitKey> {
    let Number { value, authority } = number(text);
    Some(VisitKey { authority, number: value, weak: false })
}

fn person(role: &str, number: &str) -> Participant {
    Participant { role: role.into(), number: number.into(), family: "NAME".into(), given: String::new() }
}

fn code(field: &str, system: &str, code: &str, value: &str) -> Code {
    Code { field: field.into(), system: system.into(), code: code.into(), value: value.into() }
}

fn document(number_text: &str, completion: &str) -> Option<Document> {
    Some(Document { number: number(number_text), parent: None, completion: completion.into() })
}

fn appointment(number_text: &str, start: &str) -> Option<Appointment> {
    Some(Appointment { number: number(number_text), start_ms: Some(ms(start)) })
}

/// An event at a facility; its id is made of kind and time.
fn event(kind: Kind, facility: &str, at: &str, received: &str) -> Event {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&ms(received).to_be_bytes());
    id[8..16].copy_from_slice(&ms(at).wrapping_add(kind as i64).to_be_bytes());
    Event {
        id,
        seq: 0,
        kind,
        detail: String::new(),
        at_ms: ms(at),
        received_ms: ms(received),
        time_suspect: false,
        partial: false,
        stale: false,
        facility: facility.into(),
        feed: format!("X|{facility}"),
        trigger: String::new(),
        patient: Patient { family: "OKAFOR".into(), ..Patient::default() },
        others: Vec::new(),
        visit: None,
        class: String::new(),
        disposition: String::new(),
        participants: Vec::new(),
        codes: Vec::new(),
        document: None,
        appointment: None,
        referral: None,
        confidentiality: Confidentiality::default(),
    }
}

fn now(kind: Kind, facility: &str, at: &str) -> Event {
    event(kind, facility, at, at)
}

fn admission() -> Event {
    Event {
        visit: visit("V20260302001^SBMC"),
        class: "IMP".into(),
        participants: vec![person("attending", HALVERSEN), person("primary-care", BAPTISTE)],
        ..event(Kind::Admission, "SBMC", "2026-03-02T09:08:00-05:00", "2026-03-02T09:15:02-05:00")
    }
}

fn discharge() -> Event {
    Event {
        visit: visit("V20260302001^SBMC"),
        class: "IMP".into(),
        disposition: "06".into(),
        participants: vec![person("attending", HALVERSEN), person("primary-care", BAPTISTE)],
        ..event(Kind::Discharge, "SBMC", "2026-03-05T15:20:00-05:00", "2026-03-05T15:22:04-05:00")
    }
}

fn summary() -> Event {
    Event {
        visit: visit("V20260302001^SBMC"),
        participants: vec![person("attending", HALVERSEN), person("author", HALVERSEN)],
        codes: vec![code("TXA-2", "LN", "18842-5", ""), code("OBX-3", "LN", "18842-5", "")],
        document: document("DOC884213^SBMC", "AU"),
        ..event(Kind::Document, "SBMC", "2026-03-06T17:40:00-05:00", "2026-03-06T18:05:12-05:00")
    }
}

fn booking() -> Event {
    Event {
        participants: vec![person("appointment", BAPTISTE)],
        appointment: appointment("A77120^CHFM", "2026-03-11T10:30:00-04:00"),
        ..now(Kind::AppointmentBooked, "CHFM", "2026-03-06T18:30:10-05:00")
    }
}

fn practice_visit() -> Event {
    Event {
        class: "AMB".into(),
        participants: vec![person("attending", BAPTISTE)],
        ..event(Kind::OutpatientVisit, "CHFM", "2026-03-11T10:24:00-04:00", "2026-03-11T10:24:15-04:00")
    }
}

fn reconciled() -> Event {
    Event {
        participants: vec![person("attending", BAPTISTE)],
        codes: vec![code("FT1-25", "C4", "1111F", "")],
        ..event(Kind::ServiceCoded, "CHFM", "2026-03-11T10:45:00-04:00", "2026-03-11T11:15:00-04:00")
    }
}

fn referral() -> Vec<Event> {
    let of = |kind, facility, at| Event { referral: Some(number("REF55120-1^CHFM")), ..now(kind, facility, at) };
    vec![
        Event {
            trigger: "O19".into(),
            participants: vec![person("attending", BAPTISTE)],
            codes: vec![code("OBR-4", "LN", "57133-1", "")],
            ..of(Kind::ReferralRequested, "CHFM", "2026-03-11T11:30:00-04:00")
        },
        of(Kind::ReferralAccepted, "LCARD", "2026-03-12T09:10:00-04:00"),
        Event {
            participants: vec![person("appointment", LINDQVIST)],
            appointment: appointment("LA9^LCARD", "2026-03-20T14:00:00-04:00"),
            ..of(Kind::AppointmentBooked, "LCARD", "2026-03-13T10:15:00-04:00")
        },
    ]
}

fn elsewhere() -> Event {
    Event {
        visit: visit("E99^MERCY"),
        class: "IMP".into(),
        ..now(Kind::Admission, "MERCY", "2026-03-18T07:30:00-04:00")
    }
}

/// What the gateway does with an event, all in one transaction.
struct World {
    connection: Connection,
    tracker: Tracker,
    options: Options,
    setting: Setting,
    outcomes: Vec<Outcome>,
}

impl World {
    fn new(loops: &str) -> World {
        let options = options(loops);
        let panel = |npi: &str| Panel { owner_npi: npi.into(), zone: Some(zone()) };
        let panels = [("aco-lakeshore", "9990004043"), ("pcmh-chfm", "9990007079")];
        let setting = Setting {
            facilities: options.facilities.clone(),
            panels: panels.into_iter().map(|(id, npi)| (id.to_owned(), panel(npi))).collect(),
            keep: options.keep,
        };
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&format!(
                "{}{}{}",
                loops::TABLES.concat(),
                care_team::TABLES,
                crate::coordination::card::TABLES
            ))
            .unwrap();
        let tracker = Tracker::open(&connection, options.loops.clone(), setting.clone()).unwrap();
        World { connection, tracker, options, setting, outcomes: Vec::new() }
    }

    fn restart(&mut self) {
        self.tracker = Tracker::open(&self.connection, self.options.loops.clone(), self.setting.clone()).unwrap();
    }

    fn tell(&mut self, event: &Event) -> &mut World {
        self.tell_of(event, MARISOL, &[])
    }

    fn tell_all(&mut self, events: &[Event]) {
        for event in events {
            self.tell(event);
        }
    }

    fn tell_of(&mut self, event: &Event, person: PersonKey, others: &[PersonKey]) -> &mut World {
        let transaction = self.connection.transaction().unwrap();
        care_team::take(&transaction, event, person, false, &zone()).unwrap();
        let team = care_team::team(&transaction, person, &MEMBERS, event.at_ms, &self.options.care_team).unwrap();
        let subject = Subject { person, others, members: &MEMBERS, team: &team.numbers() };
        let outcomes = self.tracker.apply(&transaction, event, subject).unwrap();
        transaction.commit().unwrap();
        self.outcomes.extend(outcomes);
        self
    }

    fn until(&mut self, at: &str) -> &mut World {
        let transaction = self.connection.transaction().unwrap();
        let outcomes = self.tracker.advance(&transaction, ms(at)).unwrap();
        transaction.commit().unwrap();
        self.outcomes.extend(outcomes);
        self
    }

    /// What came of it since the last look: when, what, of what, to whom.
    fn lines(&mut self) -> Vec<String> {
        let line = |outcome: &Outcome| {
            let at = Timestamp::from_millisecond(outcome.at_ms).unwrap().to_zoned(zone()).strftime("%m-%d %H:%M");
            let of = format!("{}/{}{}", outcome.definition, outcome.step, outcome.detail);
            let quiet = if outcome.quiet { " quietly" } else { "" };
            let told = format!("{at} {} {of} {}", outcome.kind.name(), outcome.to.join(","));
            format!("{}{quiet}", told.trim_end())
        };
        let lines = self.outcomes.iter().map(line).collect();
        self.outcomes.clear();
        lines
    }

    fn loops(&self, person: PersonKey) -> Vec<Loop> {
        loops::of_person(&self.connection, person, 100).unwrap()
    }

    fn step(&self, id: &str) -> Step {
        let found = self.loops(MARISOL).into_iter().flat_map(|found| found.steps).find(|step| step.id == id);
        found.unwrap_or_else(|| panic!("a step {id}"))
    }

    fn states(&self) -> Vec<String> {
        let of = |found: &Loop| {
            found.steps.iter().map(|step| format!("{} {}", step.id, step.state.name())).collect::<Vec<_>>()
        };
        self.loops(MARISOL).iter().flat_map(of).collect()
    }

    /// Every row of every table, as it stands.
    fn rows(&self) -> Vec<String> {
        let mut all = Vec::new();
        for table in ["loop", "loop_step", "loop_panel", "loop_history", "loop_waiting", "person_edge", "care_member"] {
            let mut select = self.connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = select.column_count();
            let mut rows = select.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let values: Vec<_> = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
                all.push(format!("{table}: {}", values.join(", ")));
            }
        }
        all
    }
}

fn story() -> Vec<Event> {
    let mut story = vec![admission(), discharge(), summary(), booking(), practice_visit(), reconciled()];
    story.extend(referral());
    story.push(elsewhere());
    story
}

fn both() -> String {
    format!("{POST_DISCHARGE}\n[[coordination.loop]]\nuse = \"referral\"")
}

#[test]
fn the_story_to_the_minute() {
    let mut world = World::new(&both());
    world.tell_all(&story());
    world.until("2026-04-05T12:00:00-04:00");
    let expected = [
        "03-05 15:22 opened post-discharge/",
        "03-06 15:20 due-soon post-discharge/summary role:care-manager",
        "03-06 18:05 met post-discharge/summary",
        "03-06 18:30 met post-discharge/appointment",
        "03-07 15:20 overdue post-discharge/hha-soc role:care-manager",
        "03-11 10:24 met post-discharge/visit",
        "03-11 11:15 met post-discharge/medrec",
        "03-11 11:30 opened referral/",
        "03-12 09:10 met referral/accepted",
        "03-13 10:15 met referral/scheduled",
        "03-18 07:30 flag /readmission role:care-manager",
        "03-18 07:30 suspended post-discharge/",
        "04-03 23:59 overdue referral/completed role:pcp",
    ];
    assert_eq!(world.lines(), expected);
    let due = |id: &str| loops::instant(world.step(id).due_ms.unwrap(), &zone());
    assert_eq!(due("summary"), "2026-03-07T23:59:59.999-05:00");
    assert_eq!(due("hha-soc"), "2026-03-07T15:20:00-05:00");
    assert_eq!(due("appointment"), "2026-03-10T23:59:59.999-04:00");
    assert_eq!(due("visit"), "2026-03-12T23:59:59.999-04:00");
    assert_eq!(due("medrec"), "2026-04-04T23:59:59.999-04:00");
    assert_eq!(due("completed"), "2026-04-03T23:59:59.999-04:00");
    let closed = world.step("summary").closed.unwrap();
    assert_eq!((closed.event_ms, closed.inferred), (ms("2026-03-06T17:40:00-05:00"), false));
    assert_eq!(closed.received_ms, ms("2026-03-06T18:05:12-05:00"));
    assert_eq!(closed.handoff, None, "a text cannot be judged");
    assert!(world.step("visit").closed.unwrap().inferred && !world.step("accepted").closed.unwrap().inferred);
    let states: Vec<_> = world.loops(MARISOL).iter().map(|found| found.state).collect();
    assert_eq!(states, [State::Overdue, State::Overdue]);
    // Both panels have both on their lists.
    let page = |panel: &str, after, limit| {
        let page = loops::worklist(&world.connection, panel, State::Overdue, after, limit).unwrap();
        page.iter().map(|found| found.number).collect::<Vec<_>>()
    };
    assert_eq!(
        [page("aco-lakeshore", 0, 10), page("pcmh-chfm", 0, 1), page("pcmh-chfm", 1, 9)],
        [vec![1, 2], vec![1], vec![2]]
    );
    assert!(page("another", 0, 10).is_empty() && page("aco-lakeshore", 2, 10).is_empty());
    assert!(loops::worklist(&world.connection, "aco-lakeshore", State::Met, 0, 10).unwrap().is_empty());
    assert_eq!(loops::find(&world.connection, 1).unwrap().unwrap().definition, "post-discharge");
}

#[test]
fn the_ids_of_outcomes_differ_and_are_the_same_the_next_time() {
    let ids = || {
        let mut world = World::new(&both());
        world.tell_all(&story());
        world.until("2026-09-01T00:00:00Z");
        world.outcomes.iter().map(|outcome| outcome.id).collect::<Vec<_>>()
    };
    let (first, mut distinct) = (ids(), ids());
    assert_eq!(first, distinct);
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(first.len(), distinct.len());
    assert!(first.len() > 12);
}

#[test]
fn a_restart_at_any_moment_changes_nothing() {
    let run = |cut: Option<usize>| {
        let mut world = World::new(&both());
        let story = story();
        for (at, event) in story.iter().enumerate() {
            if cut == Some(at) {
                world.restart();
            }
            world.tell(event);
        }
        if cut == Some(story.len()) {
            world.restart();
        }
        world.until("2026-03-25T12:00:00-04:00");
        if cut == Some(story.len() + 1) {
            world.restart();
        }
        world.until("2026-04-05T12:00:00-04:00");
        (world.rows(), world.tracker.timers(), world.lines())
    };
    let whole = run(None);
    assert!(whole.0.len() > 15);
    for cut in 0..=story().len() + 1 {
        assert_eq!(run(Some(cut)), whole, "restarted before {cut}");
    }
}

#[test]
fn nothing_of_the_patient_is_kept_that_is_not_needed() {
    let mut world = World::new(&both());
    world.tell_all(&story());
    assert!(!world.rows().iter().any(|row| row.contains("OKAFOR")));
    let shown = format!("{:?} {:?} {:?}", world.outcomes, world.loops(MARISOL), MARISOL);
    assert!(!shown.contains("V20260302001") && !shown.contains("OKAFOR"), "{shown}");
}

#[test]
fn a_discharge_that_did_not_happen_leaves_nothing_to_do() {
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&discharge());
    let other = Event { visit: visit("V1^SBMC"), ..now(Kind::DischargeCancelled, "SBMC", "2026-03-05T16:00:00-05:00") };
    world.tell(&other);
    assert_eq!(world.loops(MARISOL)[0].state, State::Open, "that was another stay");
    world.tell(&Event {
        visit: discharge().visit,
        ..now(Kind::DischargeCancelled, "SBMC", "2026-03-05T16:10:00-05:00")
    });
    world.until("2026-05-01T00:00:00Z");
    assert_eq!(
        world.lines(),
        ["03-05 15:22 opened post-discharge/", "03-05 16:10 void post-discharge/discharge-cancelled role:care-manager"]
    );
    assert_eq!((world.tracker.timers(), world.loops(MARISOL)[0].facts.reason.as_str()), (0, "discharge-cancelled"));
    // The next discharge of the same stay opens another one.
    world.tell(&Event { id: [9; 16], ..now_discharge("2026-03-06T10:00:00-05:00") });
    assert_eq!(world.loops(MARISOL).len(), 2);
    world.tell(&now(Kind::Death, "SBMC", "2026-03-06T11:00:00-05:00"));
    assert_eq!(world.loops(MARISOL)[1].state, State::Void);
}

fn now_discharge(at: &str) -> Event {
    Event { at_ms: ms(at), received_ms: ms(at), ..discharge() }
}

#[test]
fn a_loop_is_opened_once_and_only_where_it_is_meant() {
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&discharge()).tell(&Event { id: [8; 16], ..now_discharge("2026-03-05T15:30:00-05:00") });
    assert_eq!(world.loops(MARISOL).len(), 1);
    for event in [
        Event { visit: visit("2^SBMC"), disposition: "02".into(), ..discharge() },
        Event { visit: visit("3^SBMC"), class: "AMB".into(), ..discharge() },
    ] {
        world.tell(&event);
    }
    assert_eq!(world.loops(MARISOL).len(), 1);
    // Without home health nobody waits for it.
    world.tell(&Event { visit: visit("4^SBMC"), disposition: "01".into(), ..discharge() });
    let steps: Vec<_> = world.loops(MARISOL)[1].steps.iter().map(|step| step.id.clone()).collect();
    assert_eq!(steps, ["summary", "appointment", "visit", "medrec"]);
    let mut elsewhere = World::new(&POST_DISCHARGE.replace("\"aco-lakeshore\", \"pcmh-chfm\"", "\"aco-elsewhere\""));
    elsewhere.tell(&discharge());
    assert!(elsewhere.loops(MARISOL).is_empty());
}

#[test]
fn what_is_taken_back_opens_the_step_again() {
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&discharge()).tell(&summary()).tell(&booking()).lines();
    let withdrawn = |at| Event { document: document("DOC884213^SBMC", ""), ..now(Kind::DocumentCancelled, "SBMC", at) };
    world.tell(&withdrawn("2026-03-06T19:00:00-05:00"));
    let missed = |kind, at| Event { appointment: booking().appointment, ..now(kind, "CHFM", at) };
    world.tell(&missed(Kind::AppointmentCancelled, "2026-03-06T20:00:00-05:00"));
    // Booked again, and missed.
    world.tell(&Event { id: [7; 16], ..booking() }).tell(&missed(Kind::AppointmentNoShow, "2026-03-11T11:00:00-04:00"));
    world.until("2026-03-11T12:00:00-04:00");
    let lines: Vec<_> = world.lines().into_iter().filter(|line| !line.contains("hha")).collect();
    let expected = [
        "03-06 19:00 reopened post-discharge/summary role:care-manager",
        "03-06 20:00 reopened post-discharge/appointment role:care-manager",
        "03-06 18:30 met post-discharge/appointment",
        "03-07 23:59 overdue post-discharge/summary org:SBMC",
        "03-11 11:00 reopened post-discharge/appointment role:care-manager",
        "03-10 23:59 overdue post-discharge/appointment role:care-manager",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_moved_appointment_moves_what_comes_after_it() {
    let mut world = World::new("[[coordination.loop]]\nuse = \"referral\"");
    world.tell_all(&referral());
    let due = |world: &World| loops::instant(world.step("completed").due_ms.unwrap(), &zone());
    assert_eq!(due(&world), "2026-04-03T23:59:59.999-04:00");
    let moved = Event {
        appointment: appointment("LA9^LCARD", "2026-03-27T09:00:00-04:00"),
        ..now(Kind::AppointmentChanged, "LCARD", "2026-03-14T10:00:00-04:00")
    };
    world.tell(&moved);
    assert_eq!(due(&world), "2026-04-10T23:59:59.999-04:00");
    let gone = |at| Event { appointment: moved.appointment.clone(), ..now(Kind::AppointmentCancelled, "LCARD", at) };
    world.tell(&gone("2026-03-15T10:00:00-04:00"));
    assert_eq!(world.states(), ["accepted met", "scheduled open", "completed dormant"]);
    assert_eq!(world.step("completed").due_ms, None);
    // A consult note that names no referral is known by its author, whom the appointment named.
    let note = |author, at| Event {
        codes: vec![code("TXA-2", "LN", "11488-4", "")],
        document: document("N1^LCARD", "LA"),
        participants: vec![person("author", author)],
        ..now(Kind::Document, "LCARD", at)
    };
    world.tell(&note(BAPTISTE, "2026-03-21T10:00:00-04:00"));
    assert_eq!(world.states(), ["accepted met", "scheduled open", "completed dormant"], "that is who referred");
    world.tell(&note(LINDQVIST, "2026-03-22T10:00:00-04:00"));
    assert_eq!(world.states(), ["accepted met", "scheduled met", "completed met"]);
    assert!(world.step("completed").closed.unwrap().inferred);
    assert_eq!((world.loops(MARISOL)[0].state, world.tracker.timers()), (State::Met, 0));
}

#[test]
fn a_rejected_referral_is_over_and_another_one_is_not() {
    let mut world = World::new("[[coordination.loop]]\nuse = \"referral\"");
    let requested = referral().remove(0);
    world.tell(&requested).tell(&Event { id: [5; 16], referral: Some(number("REF2^CHFM")), ..requested.clone() });
    let rejected =
        Event { referral: Some(number("REF2")), ..now(Kind::ReferralRejected, "LCARD", "2026-03-12T09:00:00-04:00") };
    world.tell(&rejected);
    let states: Vec<_> = world.loops(MARISOL).iter().map(|found| found.state).collect();
    assert_eq!(states, [State::Open, State::Void], "the authority may be missing, the number not");
}

#[test]
fn what_comes_before_its_discharge_waits_for_it() {
    let early = |hours: i64| Event { received_ms: discharge().received_ms - hours * 3_600_000, ..summary() };
    for (hours, expected) in [(1, "summary met"), (72, "summary met"), (73, "summary open")] {
        let mut world = World::new(POST_DISCHARGE);
        world.tell(&early(hours)).tell(&discharge());
        assert_eq!(world.states()[0], expected, "{hours} hours before");
    }
    // A cancelled appointment does not wait, nor does one for long after.
    let mut world = World::new(POST_DISCHARGE);
    let cancelled = Event {
        appointment: booking().appointment,
        ..now(Kind::AppointmentCancelled, "CHFM", "2026-03-05T12:00:00-05:00")
    };
    let booked =
        Event { at_ms: ms("2026-03-05T11:00:00-05:00"), received_ms: ms("2026-03-05T11:00:00-05:00"), ..booking() };
    world.tell(&booked).tell(&cancelled).tell(&discharge());
    assert_eq!(world.states()[2], "appointment open");
    let mut world = World::new(POST_DISCHARGE);
    let late = Event { appointment: appointment("A1^CHFM", "2026-03-20T10:00:00-04:00"), ..booked.clone() };
    world.tell(&late).tell(&discharge());
    assert_eq!(world.states()[2], "appointment open", "15 days later");
    let moved = Event { appointment: appointment("A1^CHFM", "2026-03-19T10:00:00-04:00"), ..late.clone() };
    world.tell(&Event { id: [4; 16], received_ms: ms("2026-03-06T10:00:00-05:00"), ..moved });
    assert_eq!(world.states()[2], "appointment met", "the last day");
    // What waits is bounded in number and in time.
    let mut world = World::new(POST_DISCHARGE);
    for at in 0..100u8 {
        world.tell(&Event { id: [at; 16], ..practice_visit() });
    }
    let waiting = |world: &World| world.rows().iter().filter(|row| row.starts_with("loop_waiting")).count();
    assert_eq!(waiting(&world), 64);
    let transaction = world.connection.transaction().unwrap();
    world.tracker.prune(&transaction, ms("2026-03-20T00:00:00Z"), 60).unwrap();
    transaction.commit().unwrap();
    assert_eq!(waiting(&world), 4, "as much at once as was asked for");
}

#[test]
fn a_referral_may_be_told_of_in_any_order() {
    let mut world = World::new("[[coordination.loop]]\nuse = \"referral\"");
    for (hour, event) in (0..).zip(referral().into_iter().rev()) {
        world.tell(&Event { received_ms: ms("2026-03-13T12:00:00-04:00") + hour * 3_600_000, ..event });
    }
    assert_eq!(world.states(), ["accepted met", "scheduled met", "completed open"]);
    assert!(!world.step("scheduled").closed.unwrap().inferred);
}

#[test]
fn time_in_pieces_is_time() {
    let run = |most: usize| {
        let mut world = World::new(&both());
        world.tell_all(&story());
        loop {
            let transaction = world.connection.transaction().unwrap();
            let to_ms = ms("2026-09-01T00:00:00Z");
            let outcomes = world.tracker.advance_some(&transaction, to_ms, most).unwrap();
            transaction.commit().unwrap();
            world.outcomes.extend(outcomes);
            if world.tracker.next_ms().is_none_or(|next| next >= to_ms) {
                break;
            }
        }
        world.until("2026-09-01T00:00:00Z");
        (world.rows(), world.lines())
    };
    let whole = run(usize::MAX);
    assert!(whole.1.len() > 13);
    assert_eq!([run(1), run(2)], [whole.clone(), whole]);
}

#[test]
fn only_what_fits_closes() {
    let preliminary = |completion: &str| Event { document: document("D1^SBMC", completion), ..summary() };
    let place = |facility: &str| Event { facility: facility.into(), ..practice_visit() };
    let with =
        |number: &str, facility: &str| Event { participants: vec![person("attending", number)], ..place(facility) };
    let at = |text: &str| Event { at_ms: ms(text), received_ms: ms(text), ..practice_visit() };
    let unnamed = |author: &str| Event { visit: None, participants: vec![person("author", author)], ..summary() };
    for (event, step, expected) in [
        (preliminary("PA"), "summary", "open"),
        (preliminary("IP"), "summary", "open"),
        (preliminary("LA"), "summary", "met"),
        (Event { visit: visit("OTHER^SBMC"), ..summary() }, "summary", "open"),
        (unnamed(HALVERSEN), "summary", "met"),
        (unnamed(LINDQVIST), "summary", "open"),
        (Event { codes: vec![code("TXA-2", "L", "18842-5", "")], ..summary() }, "summary", "open"),
        (Event { received_ms: ms("2026-03-08T00:00:00-05:00"), ..summary() }, "summary", "met-late"),
        (Event { received_ms: ms("2026-03-07T23:59:59.999-05:00"), ..summary() }, "summary", "met"),
        (with(LINDQVIST, "LCARD"), "visit", "open"),
        (with(LINDQVIST, "CHFM"), "visit", "met"),
        (at("2026-03-05T23:59:00-05:00"), "visit", "open"),
        (at("2026-03-06T00:00:00-05:00"), "visit", "met"),
        (at("2026-03-12T23:59:00-04:00"), "visit", "met"),
        (at("2026-03-13T00:00:00-04:00"), "visit", "met-late"),
        (at("2026-04-05T00:00:00-04:00"), "visit", "expired"),
        (Event { received_ms: ms("2026-03-20T00:00:00Z"), ..practice_visit() }, "visit", "met"),
        (
            Event {
                at_ms: ms("2026-03-07T15:20:00-05:00"),
                received_ms: ms("2026-03-07T15:20:00-05:00"),
                ..place("VISITING")
            },
            "hha-soc",
            "met",
        ),
        (
            Event {
                at_ms: ms("2026-03-07T15:20:01-05:00"),
                received_ms: ms("2026-03-07T15:20:01-05:00"),
                ..place("VISITING")
            },
            "hha-soc",
            "met-late",
        ),
        (Event { codes: vec![code("FT1-25", "C4", "99213", "")], ..reconciled() }, "medrec", "open"),
        (Event { codes: vec![code("PR1-3", "CPT", "99496", "")], ..reconciled() }, "medrec", "met"),
    ] {
        let mut world = World::new(POST_DISCHARGE);
        world.tell(&admission()).tell(&discharge()).tell(&event);
        let (found, at) = (world.step(step).state.name(), event.received_ms);
        assert_eq!(found, expected, "{step} with {event:?} received at {at}");
    }
}

#[test]
fn an_addendum_is_known_by_its_parent() {
    let mut world = World::new(POST_DISCHARGE);
    let draft = Event { document: document("D1^SBMC", "IP"), ..summary() };
    let parent = Some(number("D1^SBMC"));
    let last = Document { number: number("D2^SBMC"), parent, completion: "AU".into() };
    let addendum = Event { id: [6; 16], visit: None, participants: Vec::new(), document: Some(last), ..summary() };
    world.tell(&discharge()).tell(&addendum);
    assert_eq!(world.states()[0], "summary open", "nobody knows that parent yet");
    world.tell(&draft).tell(&addendum);
    assert_eq!((world.states()[0].as_str(), world.step("summary").closed.unwrap().inferred), ("summary met", false));
}

#[test]
fn another_stay_suspends_and_its_discharge_begins_again() {
    let mut world = World::new(POST_DISCHARGE);
    let back = |kind, at| Event { visit: visit("E99^MERCY"), class: "IMP".into(), ..now(kind, "MERCY", at) };
    world.tell(&discharge()).tell(&back(Kind::Admission, "2026-03-06T08:00:00-05:00"));
    world.until("2026-03-06T20:00:00-05:00");
    assert_eq!(world.tracker.timers(), 0);
    world.tell(&back(Kind::AdmissionCancelled, "2026-03-06T21:00:00-05:00")).until("2026-03-06T21:00:01-05:00");
    let expected = [
        "03-05 15:22 opened post-discharge/",
        "03-06 08:00 flag /readmission role:care-manager",
        "03-06 08:00 suspended post-discharge/",
        "03-06 21:00 resumed post-discharge/",
        "03-06 15:20 due-soon post-discharge/summary role:care-manager",
    ];
    assert_eq!(world.lines(), expected);
    world.tell(&back(Kind::Admission, "2026-03-06T22:00:00-05:00")).lines();
    world.tell(&Event { disposition: "01".into(), ..back(Kind::Discharge, "2026-03-09T10:00:00-04:00") });
    assert_eq!(
        world.lines(),
        ["03-09 10:00 opened post-discharge/", "03-09 10:00 void post-discharge/readmission role:care-manager"]
    );
    // One that ends elsewhere than home opens none, and the first goes on.
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&discharge()).tell(&back(Kind::Admission, "2026-03-06T08:00:00-05:00")).lines();
    world.tell(&Event { disposition: "02".into(), ..back(Kind::Discharge, "2026-03-06T09:00:00-05:00") });
    assert_eq!(world.lines(), ["03-06 09:00 resumed post-discharge/"]);
    assert_eq!(world.tracker.timers(), 5);
}

#[test]
fn merged_persons_share_their_loops_until_they_are_told_apart() {
    let mut world = World::new(&both());
    world.tell(&discharge());
    let theirs = Event { id: [3; 16], visit: visit("T1^SBMC"), ..discharge() };
    world.tell_of(&theirs, OTHER, &[]);
    let before = world.rows();
    let merge = |at| now(Kind::IdentityMerge, "SBMC", at);
    // Other is Marisol, and Marisol is the third.
    world.tell_of(&merge("2026-03-05T16:00:00-05:00"), MARISOL, &[OTHER]);
    assert_eq!([world.loops(MARISOL).len(), world.loops(OTHER).len()], [2, 0]);
    world.tell_of(&merge("2026-03-05T16:01:00-05:00"), THIRD, &[MARISOL]);
    assert_eq!([world.loops(THIRD).len(), world.loops(MARISOL).len()], [2, 0]);
    // A message with the old number finds the loops where they are now.
    let read = Event { visit: visit("T1^SBMC"), id: [2; 16], ..summary() };
    world.tell_of(&Event { received_ms: ms("2026-03-05T17:00:00-05:00"), ..read }, OTHER, &[]);
    let met = |person| world.loops(person).iter().map(|found| found.steps[0].state.name()).collect::<Vec<_>>();
    assert_eq!(met(THIRD), ["open", "met"]);
    // Only the merge in the middle is undone: what came by way of it goes back there.
    world.tell_of(&now(Kind::Unlink, "SBMC", "2026-03-05T18:00:00-05:00"), THIRD, &[MARISOL]);
    assert_eq!([THIRD, MARISOL, OTHER].map(|person| world.loops(person).len()), [0, 2, 0]);
    world.tell_of(&now(Kind::Unlink, "SBMC", "2026-03-05T19:00:00-05:00"), MARISOL, &[OTHER]);
    assert_eq!([THIRD, MARISOL, OTHER].map(|person| world.loops(person).len()), [0, 1, 1]);
    let of =
        |rows: &[String], table: &str| rows.iter().filter(|row| row.starts_with(table)).cloned().collect::<Vec<_>>();
    assert_eq!(of(&world.rows(), "loop:")[0], of(&before, "loop:")[0], "hers is as it was");
    assert_eq!(of(&world.rows(), "care_member"), of(&before, "care_member"));
}

#[test]
fn old_news_is_kept_quietly() {
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&Event { stale: true, received_ms: ms("2026-03-10T12:00:00-04:00"), ..discharge() });
    world.until("2026-04-05T12:00:00-04:00");
    let expected = [
        "03-10 12:00 opened post-discharge/ quietly",
        "03-06 15:20 due-soon post-discharge/summary role:care-manager quietly",
        "03-07 15:20 overdue post-discharge/hha-soc role:care-manager quietly",
        "03-07 23:59 overdue post-discharge/summary org:SBMC quietly",
        "03-10 23:59 overdue post-discharge/appointment role:care-manager",
        "03-12 23:59 overdue post-discharge/visit role:care-manager",
        "04-04 23:59 expired post-discharge/visit",
        "04-04 23:59 overdue post-discharge/medrec role:care-manager",
    ];
    assert_eq!(world.lines(), expected);
}

#[test]
fn who_was_told_that_it_is_late_hears_that_it_is_done() {
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&discharge());
    world.tell(&Event { received_ms: ms("2026-03-08T09:00:00-04:00"), ..summary() });
    let lines = world.lines();
    assert!(
        lines.contains(&"03-08 09:00 met-late post-discharge/summary org:SBMC,role:care-manager".into()),
        "{lines:?}"
    );
}

#[test]
fn nothing_stays_open_for_ever() {
    let mut world = World::new(&both());
    world.tell(&discharge()).tell(&referral()[0]);
    world.until("2027-01-01T00:00:00Z");
    let states: Vec<_> = world.loops(MARISOL).iter().map(|found| found.state).collect();
    assert_eq!((states, world.tracker.timers()), (vec![State::Expired, State::Expired], 0));
    assert_eq!(world.step("completed").state.name(), "expired", "what it waited for did not come");
}

#[test]
fn depression_is_treated_to_target() {
    let mut world = World::new("[[coordination.loop]]\nuse = \"phq-9\"");
    let measured = |score: &str, item: &str, at: &str| Event {
        detail: "final".into(),
        codes: vec![code("OBX-3", "LN", "44261-6", score), code("OBX-3", "LN", "44260-8", item)],
        ..now(Kind::Result, "CHFM", at)
    };
    world.tell(&measured("9", "LA6568-5", "2026-01-02T10:00:00-05:00"));
    assert!(world.loops(MARISOL).is_empty(), "not high enough to follow");
    world.tell(&measured("18", "LA6569-3", "2026-01-05T10:00:00-05:00"));
    world.tell(&measured("16", "0", "2026-02-02T10:00:00-05:00"));
    world.until("2026-03-03T10:00:00-05:00");
    world.tell(&measured("9", "0", "2026-03-04T10:00:00-05:00"));
    world.tell(&measured("8", "0", "2026-04-01T10:00:00-04:00"));
    world.tell(&measured("4", "1", "2026-04-29T10:00:00-04:00"));
    let expected = [
        "01-05 10:00 alert phq-9/alert role:care-manager",
        "01-05 10:00 opened phq-9/",
        "02-02 10:00 met phq-9/next",
        "03-02 23:59 overdue phq-9/next role:care-manager",
        "03-04 10:00 flag phq-9/phq-9-response role:care-manager",
        "03-04 10:00 met-late phq-9/next role:care-manager",
        "04-01 10:00 met phq-9/next",
        "04-29 10:00 alert phq-9/alert role:care-manager",
        "04-29 10:00 flag phq-9/phq-9-remission role:care-manager",
        "04-29 10:00 met phq-9/next",
    ];
    assert_eq!(world.lines(), expected);
    assert_eq!((world.loops(MARISOL)[0].state, world.tracker.timers()), (State::Met, 0));
    world.tell(&measured("12", "0", "2026-08-01T10:00:00-04:00"));
    assert_eq!(world.loops(MARISOL).len(), 2, "it came back");
}

/// A loop that goes on is not over however old it is; one that is over goes after its time, and its number comes never again.
#[test]
fn what_goes_on_is_kept_and_what_is_over_goes() {
    let mut world = World::new("[[coordination.loop]]\nuse = \"phq-9\"");
    let measured = |score: &str, at_ms: i64| {
        let at = Timestamp::from_millisecond(at_ms).unwrap().to_string();
        Event {
            detail: "final".into(),
            codes: vec![code("OBX-3", "LN", "44261-6", score)],
            ..now(Kind::Result, "CHFM", &at)
        }
    };
    let (start, week) = (ms("2024-01-05T10:00:00-05:00"), 7 * 86_400_000);
    let prune = |world: &mut World, now_ms: i64| {
        let transaction = world.connection.transaction().unwrap();
        let gone = world.tracker.prune(&transaction, now_ms, 10).unwrap();
        transaction.commit().unwrap();
        gone
    };
    for number in 0..20 {
        world.tell(&measured("18", start + number * 4 * week));
        assert_eq!(prune(&mut world, start + number * 4 * week), [0; 0]);
    }
    let found = world.loops(MARISOL);
    assert_eq!((found.len(), found[0].steps[0].turn), (1, 19), "80 weeks are one loop");
    let end = start + 80 * week;
    world.tell(&measured("2", end));
    assert_eq!((world.loops(MARISOL)[0].state, prune(&mut world, start + 400 * 86_400_000)), (State::Met, vec![]));
    assert_eq!(prune(&mut world, end), [1]);
    assert_eq!(
        world.rows().iter().filter(|row| row.starts_with("loop_") || row.starts_with("loop:")).count(),
        1,
        "what waits"
    );
    world.restart();
    world.tell(&measured("18", end + week));
    assert_eq!(world.loops(MARISOL)[0].number, 2);
}

#[test]
fn a_visit_on_the_day_of_a_discharge_for_mental_illness_does_not_count() {
    let mut world = World::new("[[coordination.loop]]\nuse = \"bh-discharge\"");
    world.tell(&discharge());
    assert!(world.loops(MARISOL).is_empty(), "not for mental illness");
    world.tell(&Event { codes: vec![code("DG1-3", "I10C", "F33.2", "")], ..discharge() });
    let seen = |at: &str| Event { at_ms: ms(at), received_ms: ms(at), ..practice_visit() };
    world.tell(&seen("2026-03-05T17:00:00-05:00"));
    assert_eq!(world.states(), ["visit-7 open", "visit-30 open"]);
    world.tell(&seen("2026-03-13T09:00:00-04:00"));
    assert_eq!(world.states(), ["visit-7 met-late", "visit-30 met"]);
}

#[test]
fn what_was_done_stays_done() {
    let mut world =
        World::new("[[coordination.loop]]\nuse = \"order-result\"\nvoid = [\"referral-cancelled\", \"death\"]");
    let of = |kind, at| Event { referral: Some(number("O1^CHFM")), trigger: "O19".into(), ..now(kind, "CHFM", at) };
    let order = Event {
        codes: vec![code("OBR-4", "LN", "2160-0", "")],
        ..of(Kind::ReferralRequested, "2026-03-11T11:30:00-04:00")
    };
    world.tell(&order).tell(&of(Kind::Result, "2026-03-11T12:30:00-04:00"));
    world.tell(&of(Kind::ReferralCancelled, "2026-03-11T13:30:00-04:00"));
    world.tell(&now(Kind::Death, "SBMC", "2026-03-11T14:30:00-04:00"));
    assert_eq!((world.states(), world.loops(MARISOL)[0].state), (vec!["result met".to_owned()], State::Met));
    let mut world = World::new("[[coordination.loop]]\nuse = \"bh-discharge\"");
    world.tell(&Event { codes: vec![code("DG1-3", "I10C", "F33.2", "")], ..discharge() });
    world.tell(&Event {
        at_ms: ms("2026-03-06T12:00:00Z"),
        received_ms: ms("2026-03-06T12:00:00Z"),
        ..practice_visit()
    });
    assert_eq!(world.loops(MARISOL)[0].state, State::Met);
    world.tell(&Event { visit: discharge().visit, ..now(Kind::DischargeCancelled, "SBMC", "2026-03-06T13:00:00Z") });
    assert_eq!(world.loops(MARISOL)[0].state, State::Void, "there was no discharge");
}

#[test]
fn an_order_is_closed_by_its_result_alone() {
    let mut world = World::new("[[coordination.loop]]\nuse = \"order-result\"");
    let order = |number_text: &str| Event {
        trigger: "O19".into(),
        codes: vec![code("OBR-4", "LN", "2160-0", "")],
        referral: Some(number(number_text)),
        ..now(Kind::ReferralRequested, "CHFM", "2026-03-11T11:30:00-04:00")
    };
    world.tell(&order("O1^CHFM")).tell(&Event { id: [1; 16], ..order("O2^CHFM") });
    let result = |referral| Event { referral, ..now(Kind::Result, "LAB", "2026-03-12T11:30:00-04:00") };
    world.tell(&result(None)).tell(&result(Some(number("O2^CHFM"))));
    assert_eq!(world.states(), ["result open", "result met"]);
}

#[test]
fn emergency_visits_are_counted_and_stays_remembered() {
    let mut world = World::new(POST_DISCHARGE);
    let ed = |number_text: &str, at: &str| Event {
        visit: visit(number_text),
        class: "EMER".into(),
        ..now(Kind::EdVisit, "SBMC", at)
    };
    world.tell(&ed("1^SBMC", "2026-01-01T10:00:00-05:00")).tell(&ed("1^SBMC", "2026-01-01T10:00:00-05:00"));
    world.tell(&ed("2^SBMC", "2026-01-20T10:00:00-05:00"));
    assert!(world.lines().is_empty());
    // The 60th day after the first, whatever the clock says.
    world.tell(&ed("3^SBMC", "2026-03-02T23:00:00-05:00"));
    let tells_of: Vec<_> = world.outcomes.iter().flat_map(|one| &one.visits).flatten().map(|one| &one.number).collect();
    assert_eq!(tells_of, ["3", "1", "2"], "what is secret of one of them is secret of the flag");
    assert_eq!(world.lines(), ["03-02 23:00 flag /ed-3-in-60-days role:care-manager"]);
    world.tell(&discharge()).lines();
    world.tell(&ed("4^SBMC", "2026-04-04T12:00:00-04:00"));
    let flags: Vec<_> = world.lines().into_iter().filter(|line| line.contains("flag")).collect();
    assert_eq!(
        flags,
        ["04-04 12:00 flag /ed-after-stay role:care-manager", "04-04 12:00 flag /ed-4-in-365-days role:care-manager"]
    );
    // The 31st day, and a transfer, are no readmission.
    let stay = |number_text: &str, at: &str| Event { visit: visit(number_text), ..now(Kind::Admission, "MERCY", at) };
    world.tell(&stay("5^MERCY", "2026-04-05T12:00:00-04:00"));
    assert!(!world.lines().iter().any(|line| line.contains("flag")));
    world.tell(&Event {
        visit: visit("5^MERCY"),
        disposition: "02".into(),
        ..now(Kind::Discharge, "MERCY", "2026-04-06T12:00:00-04:00")
    });
    world.tell(&stay("6^SBMC", "2026-04-06T14:00:00-04:00"));
    assert!(!world.lines().iter().any(|line| line.contains("flag")));
    for at in 0..80 {
        world.tell(&ed(&format!("X{at}^SBMC"), "2026-04-07T12:00:00-04:00"));
    }
    assert_eq!(world.rows().iter().filter(|row| row.starts_with("loop_history")).count(), 64);
}

#[test]
fn a_handoff_is_judged_by_its_sections_or_not_at_all() {
    assert_eq!(loops::check(&summary()), None, "a text");
    let sections =
        |codes: &[&str]| Event { codes: codes.iter().map(|one| code("OBX-3", "LN", one, "")).collect(), ..summary() };
    let all = ["11535-2", "47519-4", "10183-2", "48765-2", "30954-2", "8653-8"];
    assert_eq!(loops::check(&sections(&all)).unwrap().count(), 6);
    let some = loops::check(&sections(&["11535-2", "10183-2", "8648-8"])).unwrap();
    assert_eq!(
        (some.count(), some.missing()),
        (2, vec!["procedures", "medications-and-allergies", "results", "instructions"])
    );
    assert_eq!(Parts::from_bits(some.bits()), some);
    let mut world = World::new(POST_DISCHARGE);
    let mut coded = sections(&["11535-2", "10183-2"]);
    coded.codes.push(code("TXA-2", "LN", "18842-5", ""));
    world.tell(&discharge()).tell(&coded);
    assert_eq!(world.step("summary").closed.unwrap().handoff, Some(some.bits()));
    let task = loops::task(&world.loops(MARISOL)[0], &world.step("summary"), "Patient/p", None, &zone());
    assert_eq!(task["output"][2]["valueString"], "2/6");
    assert_eq!(task["output"][3]["valueString"], "procedures");
}

#[test]
fn tasks_requests_and_flags() {
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&admission()).tell(&discharge()).until("2026-03-08T12:00:00-04:00");
    let found = world.loops(MARISOL).remove(0);
    let member = care_team::TeamMember {
        role: "care-manager".into(),
        source: care_team::Source::Roster,
        number: MANAGER.into(),
        family: String::new(),
        given: String::new(),
        since_ms: 0,
        until_ms: None,
        secret: false,
    };
    let to = ["role:care-manager".to_owned()];
    let routes = [Route::Recipient { role: "care-manager".into(), member, endpoint: None }];
    let owner = serde_json::json!({
        "type": "Practitioner", "display": "care-manager",
        "identifier": { "system": "http://hl7.org/fhir/sid/us-npi", "value": MANAGER },
    });
    let mut hha = loops::task(&found, &found.steps[1], "Patient/p", Some("Encounter/e"), &zone());
    assert_eq!((hha.get("owner"), hha.get("performerType")), (None, None), "nobody is asked yet");
    loops::assign(&mut hha, &to, &routes);
    assert_eq!(hha["performerType"][0]["coding"][0]["code"], "care-manager");
    assert_eq!(
        (&hha["status"], &hha["priority"], &hha["for"]["reference"]),
        (&"requested".into(), &"urgent".into(), &"Patient/p".into())
    );
    assert_eq!((&hha["focus"]["reference"], &hha["owner"]), (&"Encounter/e".into(), &owner));
    assert_eq!(hha["restriction"]["period"]["end"], "2026-03-07T15:20:00-05:00");
    assert_eq!((&hha["reasonCode"]["text"], &hha["intent"]), (&"post-discharge".into(), &"order".into()));
    let of =
        |step: &str, kind| world.outcomes.iter().find(|outcome| outcome.step == step && outcome.kind == kind).unwrap();
    let request = |outcome, step: usize| {
        loops::communication_request(outcome, "Patient/p", &routes, (&found, &found.steps[step]), &zone())
    };
    assert_eq!(request(of("summary", OutcomeKind::DueSoon), 0), None, "the first level");
    assert_eq!(request(of("hha-soc", OutcomeKind::Overdue), 1), None, "the first level of that step");
    let second = request(of("summary", OutcomeKind::Overdue), 0).unwrap();
    assert_eq!((&second["resourceType"], &second["recipient"][0]), (&"CommunicationRequest".into(), &owner));
    let summary_task = loops::task(&found, &found.steps[0], "Patient/p", None, &zone());
    assert_eq!(second["about"][0]["reference"], format!("Task/{}", summary_task["id"].as_str().unwrap()));
    world.tell(&elsewhere());
    let rests = world.loops(MARISOL).remove(0);
    assert_eq!(loops::task(&rests, &rests.steps[1], "Patient/p", None, &zone())["status"], "on-hold");
    let readmitted = world.outcomes.iter().find(|outcome| outcome.detail == loops::READMISSION).unwrap();
    let flag = loops::flag(readmitted, "Patient/p", &zone());
    assert_eq!((&flag["code"]["text"], &flag["id"]), (&"readmission".into(), &uuid_text(&readmitted.id).into()));
    // The message that closes a step completes its Task.
    let mut world = World::new(POST_DISCHARGE);
    world.tell(&discharge()).tell(&summary());
    let task = loops::task(&world.loops(MARISOL)[0], &world.step("summary"), "Patient/p", None, &zone());
    assert_eq!((&task["status"], &task["id"]), (&"completed".into(), &summary_task["id"]));
    assert_eq!(task["executionPeriod"]["end"], "2026-03-06T17:40:00-05:00");
    assert_eq!(task["output"][0]["valueString"], uuid_text(&summary().id));
}

/// Events of the story in any order, for three persons.
fn scripts() -> impl Strategy<Value = Vec<(usize, usize, i64)>> {
    prop::collection::vec((0..3usize, 0..story().len(), 0..40i64), 1..40)
}

/// A loop as far as it does not depend on how many others there are: its facts; its steps with state, timer and when they were closed.
type Told = (Facts, Vec<(String, &'static str, Option<i64>, Option<i64>)>);

fn persons_apart(script: &[(usize, usize, i64)], backwards: bool) -> Vec<Vec<Told>> {
    let story = story();
    let keys = [MARISOL, OTHER, THIRD];
    let mut events: Vec<(i64, usize, usize, usize)> =
        script.iter().enumerate().map(|(place, (person, event, hour))| (*hour, *person, place, *event)).collect();
    // Of one moment and one person the order stays; between persons it is turned round.
    events.sort_by_key(|(hour, person, place, _)| (*hour, if backwards { 2 - person } else { *person }, *place));
    let mut world = World::new(&both());
    for (hour, person, place, event) in events {
        let mut event = story[event].clone();
        event.id = [u8::try_from(place).unwrap(); 16];
        event.received_ms = ms("2026-03-05T12:00:00Z") + hour * 6 * 3_600_000;
        world.tell_of(&event, keys[person], &[]);
    }
    world.until("2026-04-01T00:00:00Z");
    let step = |step: Step| (step.id, step.state.name(), step.timer_ms, step.closed.map(|closed| closed.received_ms));
    let of = |person| {
        world.loops(person).into_iter().map(|found| (found.facts, found.steps.into_iter().map(step).collect()))
    };
    keys.into_iter().map(|person| of(person).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn persons_do_not_disturb_each_other(script in scripts()) {
        prop_assert!(persons_apart(&script, false) == persons_apart(&script, true));
    }

    #[test]
    fn what_is_in_memory_is_what_a_restart_reads(script in scripts()) {
        let (story, mut kept, mut again) = (story(), World::new(&both()), World::new(&both()));
        for (place, (_, event, hour)) in script.iter().enumerate() {
            let mut event = story[*event].clone();
            event.id = [u8::try_from(place).unwrap(); 16];
            event.received_ms = ms("2026-03-05T12:00:00Z") + hour * 6 * 3_600_000;
            kept.tell(&event);
            again.restart();
            again.tell(&event);
        }
        prop_assert_eq!(kept.rows(), again.rows());
        prop_assert_eq!(kept.lines(), again.lines());
    }
}

/// `cargo test --release --lib story_tests::measure -- --ignored --nocapture`
#[test]
#[ignore = "a measure"]
fn measure() {
    const LOOPS: u32 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::new(POST_DISCHARGE);
    world.connection = Connection::open(directory.path().join("coordination.sqlite")).unwrap();
    world.connection.set_prepared_statement_cache_capacity(256);
    world.connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF").unwrap();
    world
        .connection
        .execute_batch(&format!("{}{}{}", loops::TABLES.concat(), care_team::TABLES, crate::coordination::card::TABLES))
        .unwrap();
    let started = std::time::Instant::now();
    let mut opened = 0;
    let mut transaction = world.connection.transaction().unwrap();
    for number in 0..LOOPS {
        let mut event = discharge();
        event.id[..4].copy_from_slice(&number.to_be_bytes());
        event.visit = visit(&format!("{number}^SBMC"));
        event.at_ms += i64::from(number) * 10;
        event.received_ms = event.at_ms;
        let mut person = [0; 16];
        person[12..].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        let subject = Subject { person: PersonKey(person), others: &[], members: &MEMBERS, team: &[] };
        opened += world.tracker.apply(&transaction, &event, subject).unwrap().len();
        if number % 1_000 == 999 {
            transaction.commit().unwrap();
            transaction = world.connection.transaction().unwrap();
        }
    }
    transaction.commit().unwrap();
    let steps = world.tracker.timers();
    println!("{LOOPS} discharges, {opened} outcomes: {:?} each, {steps} timers", started.elapsed() / LOOPS);
    let started = std::time::Instant::now();
    world.restart();
    println!("restart: {:?}", started.elapsed());
    assert_eq!(world.tracker.timers(), steps);
    let started = std::time::Instant::now();
    world.until("2027-12-31T00:00:00Z");
    println!(
        "{} outcomes of time: {:?} each",
        world.outcomes.len(),
        started.elapsed() / u32::try_from(world.outcomes.len()).unwrap()
    );
    assert_eq!(world.tracker.timers(), 0);
}
