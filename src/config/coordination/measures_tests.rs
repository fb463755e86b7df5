//! Measures as configured, run on events: the story of a discharge, what is taken back, merges, and that counters are what all facts say.
use crate::config::Config;
use crate::coordination::care_team::{self, Member};
use crate::coordination::event::{
    Appointment, Code, Confidentiality, Document, Number, Participant, Patient, VisitKey,
};
use crate::coordination::loops::{self, Panel, Setting, Subject as Concerned, Tracker};
use crate::coordination::measures::period::{day_of, parse_month};
use crate::coordination::measures::{
    self, Changed, Figures, Measures, Month, Observed, Outcome, Page, Reader, Subject, Viewer, Wanted,
};
use crate::coordination::{Event, Kind, Options, PersonKey};
use crate::privacy::{DenyAction, FieldsProfile, Found, Labels, MaxContent, Recipient, Set, Unstructured};
use jiff::Timestamp;
use jiff::civil::date;
use proptest::prelude::*;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;

const MARISOL: PersonKey = PersonKey([1; 16]);
const OTHER: PersonKey = PersonKey([2; 16]);
const THIRD: PersonKey = PersonKey([3; 16]);
const BAPTISTE: &str = "9990003037";
const HALVERSEN: &str = "9990002021";
pub const PANEL: &str = "aco-lakeshore";

const FACILITIES: &str = r#"
[coordination]
tz = "America/New_York"
[coordination.facility.SBMC]
npi = "9990001015"
[coordination.facility.CHFM]
npi = "9990007079"
[coordination.facility.VISITING]
type = "HHA"
"#;

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap_or_else(|wrong| panic!("{text}: {wrong}")).as_millisecond()
}

fn parse(measures: &str) -> Result<Options, String> {
    let text = format!("{FACILITIES}\n{measures}");
    let parsed = Config::parse(&text, Path::new("a.toml"), &|_| None);
    parsed.map(|config| config.coordination.unwrap()).map_err(|wrong| wrong.to_string())
}

fn setting(options: &Options) -> Setting {
    let panel = Panel { owner_npi: "9990007079".into(), zone: None };
    Setting { facilities: options.facilities.clone(), panels: [(PANEL.to_owned(), panel)].into(), keep: options.keep }
}

/// What the gateway does with events, each in a transaction of its own.
pub struct World {
    pub connection: Connection,
    tracker: Tracker,
    pub measures: Measures,
    options: Options,
    labels: Arc<Labels>,
    seq: u64,
    panels: Vec<&'static str>,
    found: Found,
}

/// One who is told of rates.
fn recipient(clear: Set, deny_action: DenyAction) -> Recipient {
    Recipient {
        id: "r".into(),
        panels: vec![PANEL.into(), "pcmh-chfm".into()],
        purpose: "TREAT".into(),
        topics: vec!["measure-updated".into()],
        max_content: MaxContent::IdOnly,
        clear,
        consent_required: Set::EMPTY,
        deny_action,
        unstructured: Unstructured::Withhold,
        fields_profile: FieldsProfile::All,
        token_sha256: None,
        keys: Vec::new(),
    }
}

impl World {
    fn new() -> World {
        World::with(parse("").unwrap())
    }

    fn with(options: Options) -> World {
        World::of(options, Connection::open_in_memory().unwrap())
    }

    /// One in a file.
    pub fn at(path: &Path) -> World {
        let connection = Connection::open(path).unwrap();
        connection.set_prepared_statement_cache_capacity(256);
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-32768;")
            .unwrap();
        World::of(parse("").unwrap(), connection)
    }

    /// Counts events and nothing else, all in one transaction.
    pub fn many(&mut self, events: &[(Event, PersonKey)]) {
        let transaction = self.connection.transaction().unwrap();
        for (event, person) in events {
            self.seq += 1;
            let event = Event { seq: self.seq, ..event.clone() };
            let team = [BAPTISTE.to_owned()];
            let subject = Subject { panels: &self.panels, team: &team, found: self.found, labels: &self.labels };
            self.measures.came(&event, true);
            self.measures.take(&transaction, &event, *person, &subject).unwrap();
        }
        self.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
    }

    fn of(mut options: Options, connection: Connection) -> World {
        let labels = Arc::clone(&options.privacy.labels);
        let [sud, none] = [labels.of("SUD").unwrap(), Set::EMPTY];
        options.privacy.recipients = vec![
            recipient(none, DenyAction::DropElement),
            recipient(none, DenyAction::DropEvent),
            recipient(sud, DenyAction::DropElement),
        ];
        connection.execute_batch(&format!("{}{}", loops::TABLES.concat(), care_team::TABLES)).unwrap();
        connection.execute_batch(&measures::TABLES.concat()).unwrap();
        connection.execute_batch(crate::coordination::card::TABLES).unwrap();
        let tracker = Tracker::open(&connection, options.loops.clone(), setting(&options)).unwrap();
        let measures = Measures::open(&connection, &options.measures, &setting(&options), &options.privacy).unwrap();
        World { connection, tracker, measures, options, labels, seq: 0, panels: vec![PANEL], found: Found::default() }
    }

    fn take(&mut self, event: &Event, person: PersonKey, others: &[PersonKey]) -> Vec<Changed> {
        self.seq += 1;
        let event = Event { seq: self.seq, ..event.clone() };
        let transaction = self.connection.transaction().unwrap();
        let members: Vec<_> =
            self.panels.iter().map(|panel| Member { panel, pcp_npi: BAPTISTE, care_manager: "" }).collect();
        let team = [BAPTISTE.to_owned()];
        let concerned = Concerned { person, others, members: &members, team: &team };
        self.measures.came(&event, true);
        self.tracker.apply(&transaction, &event, concerned).unwrap();
        let subject = Subject { panels: &self.panels, team: &team, found: self.found, labels: &self.labels };
        let changed = self.measures.take(&transaction, &event, person, &subject).unwrap();
        self.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        changed
    }

    /// Something that carries a label as a whole.
    fn secret(&mut self, label: &str, event: &Event) -> Vec<Changed> {
        let set = self.labels.of(label).unwrap();
        self.found = Found { all: set, whole: set };
        let changed = self.take(event, MARISOL, &[]);
        self.found = Found::default();
        changed
    }

    /// Who is told that a measure changed, in March.
    fn hears(&self, changed: &[Changed], measure: &str) -> Vec<String> {
        let of = u32::try_from(self.reader().measure(measure).unwrap().0).unwrap();
        let what = (of, parse_month("2026-03").unwrap());
        let told = changed.iter().filter(|one| one.panel == PANEL && one.what.contains(&what));
        told.map(|one| one.audience.clone()).collect()
    }

    fn leaves(&mut self, who: PersonKey, at: &str) -> Vec<Changed> {
        let transaction = self.connection.transaction().unwrap();
        let changed = self.measures.left(&transaction, who, &[PANEL], (self.seq, ms(at))).unwrap();
        self.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        changed
    }

    fn comes_back(&mut self, who: PersonKey, at: &str) -> Vec<Changed> {
        let transaction = self.connection.transaction().unwrap();
        let changed = self.measures.back(&transaction, who, &[PANEL], ms(at)).unwrap();
        self.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        changed
    }

    fn all(&mut self, events: &[Event]) {
        events.iter().for_each(|event| _ = self.take(event, MARISOL, &[]));
    }

    pub fn reader(&self) -> Reader {
        let mut reader = Reader::new(&self.options.measures, &setting(&self.options), &self.labels);
        reader.refresh(&self.connection).unwrap();
        reader
    }

    /// March 2026, asked on a day.
    fn month(&self, measure: &str, as_of: jiff::civil::Date, viewer: Viewer<'_>) -> Month {
        let reader = self.reader();
        let march = parse_month("2026-03").unwrap();
        let measure = reader.measure(measure).unwrap_or_else(|| panic!("{measure}")).0;
        let wanted = Wanted { panel: PANEL, measure, months: (march, march), as_of: day_of(as_of), viewer };
        let feeds = reader.feeds(&self.connection, (march, march + 12)).unwrap();
        reader.series(&self.connection, &wanted, &feeds, &|_| 100).unwrap()[0]
    }

    fn figures(&self, measure: &str) -> Figures {
        self.month(measure, date(2026, 12, 1), Viewer::Everything).figures
    }

    /// Numerator and denominator at the end of the year.
    fn rate(&self, measure: &str) -> (u64, u64) {
        let figures = self.figures(measure);
        (figures.numerator, figures.denominator)
    }

    fn people(&self, measure: &str) -> Vec<(PersonKey, Outcome)> {
        self.people_of(measure, Viewer::Everything)
    }

    fn people_of(&self, measure: &str, viewer: Viewer<'_>) -> Vec<(PersonKey, Outcome)> {
        let reader = self.reader();
        let march = parse_month("2026-03").unwrap();
        let measure = reader.measure(measure).unwrap().0;
        let as_of = day_of(date(2026, 12, 1));
        let wanted = Wanted { panel: PANEL, measure, months: (march, march), as_of, viewer };
        let (found, _) =
            reader.people(&self.connection, &wanted, Page { after: None, most: 50 }, &mut anybody).unwrap();
        found.into_iter().map(|one| (one.person, one.outcome)).collect()
    }

    fn is_sound(&self) {
        let (_, differences) = measures::check(&self.connection, self.measures.lens()).unwrap();
        assert_eq!(differences, []);
        for (table, count) in [("measure_day", "count"), ("measure_place", "count"), ("measure_case", "measures")] {
            let sql = format!("SELECT count(*) FROM {table} WHERE {count} < 1");
            assert_eq!(self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "{table}");
        }
    }
}

/// For whom anybody may be told of.
pub fn anybody(_: PersonKey, _: i64, _: &measures::Names) -> Result<bool, crate::coordination::store::Error> {
    Ok(true)
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
    Participant { role: role.into(), number: number.into(), ..Participant::default() }
}

fn code(field: &str, system: &str, code: &str, value: &str) -> Code {
    Code { field: field.into(), system: system.into(), code: code.into(), value: value.into() }
}

fn event(kind: Kind, facility: &str, at: &str, received: &str) -> Event {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&ms(received).to_be_bytes());
    id[8..].copy_from_slice(&ms(at).wrapping_add(kind as i64).to_be_bytes());
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
        patient: Patient::default(),
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
        participants: vec![person("attending", HALVERSEN)],
        ..event(Kind::Admission, "SBMC", "2026-03-02T09:08:00-05:00", "2026-03-02T09:15:02-05:00")
    }
}

fn discharge() -> Event {
    Event {
        visit: visit("V20260302001^SBMC"),
        class: "IMP".into(),
        disposition: "06".into(),
        participants: vec![person("attending", HALVERSEN)],
        codes: vec![code("DG1-3", "I10C", "I50.23", "")],
        ..event(Kind::Discharge, "SBMC", "2026-03-05T15:20:00-05:00", "2026-03-05T15:22:04-05:00")
    }
}

fn summary() -> Event {
    Event {
        visit: visit("V20260302001^SBMC"),
        participants: vec![person("author", HALVERSEN)],
        codes: vec![code("TXA-2", "LN", "18842-5", "")],
        document: Some(Document { number: number("DOC884213^SBMC"), parent: None, completion: "AU".into() }),
        ..event(Kind::Document, "SBMC", "2026-03-06T17:40:00-05:00", "2026-03-06T18:05:12-05:00")
    }
}

fn booking() -> Event {
    Event {
        participants: vec![person("appointment", BAPTISTE)],
        appointment: Some(Appointment {
            number: number("A77120^CHFM"),
            start_ms: Some(ms("2026-03-11T10:30:00-04:00")),
        }),
        ..now(Kind::AppointmentBooked, "CHFM", "2026-03-06T18:30:10-05:00")
    }
}

fn practice_visit(at: &str) -> Event {
    Event {
        class: "AMB".into(),
        participants: vec![person("attending", BAPTISTE)],
        ..now(Kind::OutpatientVisit, "CHFM", at)
    }
}

fn reconciled() -> Event {
    Event {
        codes: vec![code("FT1-25", "C4", "1111F", "")],
        ..event(Kind::ServiceCoded, "CHFM", "2026-03-11T10:45:00-04:00", "2026-03-11T11:15:00-04:00")
    }
}

/// M1 to M6.
fn story() -> [Event; 6] {
    [admission(), discharge(), summary(), booking(), practice_visit("2026-03-11T10:24:00-04:00"), reconciled()]
}

#[test]
fn the_story_moves_the_rates() {
    let mut world = World::new();
    let [admitted, discharged, summarised, booked, seen, medications] = story();
    world.all(&[admitted]);
    assert_eq!(world.rate("admission-notice"), (0, 0), "nobody is counted before the discharge");
    world.all(&[discharged]);
    // Received seven minutes after it happened.
    assert_eq!(world.rate("admission-notice"), (1, 1));
    for measure in
        ["discharge-information", "engagement", "medication-reconciliation", "visit-7", "visit-14", "home-health-48h"]
    {
        assert_eq!(world.rate(measure), (0, 1), "{measure}");
        assert_eq!(world.people(measure), [(MARISOL, Outcome::Missing)], "{measure}");
    }
    world.all(&[summarised]);
    assert_eq!(world.rate("discharge-information"), (1, 1), "6 March is the day after");
    assert_eq!(world.people("discharge-information"), []);
    world.all(&[booked, seen, medications]);
    for measure in ["engagement", "medication-reconciliation", "visit-7", "visit-14"] {
        assert_eq!(world.rate(measure), (1, 1), "{measure}: 11 March is six days after 5 March");
        assert_eq!(world.figures(measure).inferred, 1, "{measure}: no visit of a practice names a stay");
    }
    assert_eq!(world.figures("discharge-information").inferred, 0);
    assert_eq!(world.rate("home-health-48h"), (0, 1), "disposition 06, and nobody came");
    assert_eq!(world.rate("readmission-30"), (0, 1));
    assert_eq!(world.rate("bh-visit-7"), (0, 0), "heart failure is no mental illness");
    // 18 March, elsewhere: 13 days after.
    let back = Event {
        visit: visit("E99^MERCY"),
        class: "IMP".into(),
        ..now(Kind::Admission, "MERCY", "2026-03-18T07:30:00-04:00")
    };
    world.all(&[back]);
    assert_eq!(world.rate("readmission-30"), (1, 1));
    assert_eq!(world.people("readmission-30"), [(MARISOL, Outcome::Met)], "those who came back, not those who did not");
    assert_eq!(world.rate("visit-7"), (1, 1), "what was there before she came back stays");
    world.is_sound();
}

#[test]
fn windows_are_local_dates_and_open_ones_are_pending() {
    let mut world = World::new();
    // The last minute of the seventh date after 5 March, across the change of clocks; then the first of the eighth.
    world.all(&[discharge(), practice_visit("2026-03-12T23:59:00-04:00")]);
    assert_eq!(world.rate("visit-7"), (1, 1));
    let mut late = World::new();
    late.all(&[discharge(), practice_visit("2026-03-13T00:00:00-04:00")]);
    assert_eq!((late.rate("visit-7"), late.figures("visit-7").late), ((0, 1), 1));
    assert_eq!(late.people("visit-7"), [(MARISOL, Outcome::LateInferred)]);
    assert_eq!(late.rate("visit-14"), (1, 1));
    let on = |world: &World, day: i8| world.month("visit-7", date(2026, 3, day), Viewer::Everything).figures;
    assert_eq!(
        (on(&world, 12).pending, on(&world, 12).pending_met, on(&world, 12).denominator),
        (1, 1, 0),
        "until the 12th is over"
    );
    assert_eq!((on(&world, 13).pending, on(&world, 13).numerator, on(&world, 13).denominator), (0, 1, 1));
    // On the day itself does not count, and before the discharge neither.
    let mut early = World::new();
    early.all(&[practice_visit("2026-03-04T10:00:00-05:00"), discharge(), practice_visit("2026-03-05T18:00:00-05:00")]);
    assert_eq!(early.rate("engagement"), (0, 1));
}

#[test]
fn what_is_taken_back_counts_no_more() {
    let mut world = World::new();
    world.all(&story());
    let back = |kind, at| Event { visit: visit("V20260302001^SBMC"), ..now(kind, "SBMC", at) };
    let withdrawn =
        Event { document: summary().document, ..now(Kind::DocumentCancelled, "SBMC", "2026-03-12T09:00:00-04:00") };
    world.all(&[withdrawn]);
    assert_eq!(world.rate("discharge-information"), (0, 1));
    world.all(&[back(Kind::DischargeCancelled, "2026-03-12T10:00:00-04:00")]);
    assert_eq!(["visit-7", "admission-notice", "readmission-30"].map(|one| world.rate(one)), [(0, 0); 3]);
    world.all(&[Event { visit: visit("V20260302001^SBMC"), ..discharge() }]);
    assert_eq!(world.rate("visit-7"), (1, 1), "ended after all");
    world.is_sound();
}

#[test]
fn emergencies_are_counted_by_a_thousand_members() {
    let mut world = World::new();
    let there =
        |number: &str, at| Event { visit: visit(number), class: "EMER".into(), ..now(Kind::EdVisit, "SBMC", at) };
    world.all(&[there("E1^SBMC", "2026-03-03T09:00:00-05:00"), there("E2^SBMC", "2026-03-09T09:00:00-04:00")]);
    assert_eq!(world.rate("ed-visits"), (2, 100));
    assert_eq!(world.people("ed-visits").len(), 2);
    let half = world.month("ed-visits", date(2026, 3, 18), Viewer::Everything);
    assert_eq!(
        (half.figures.numerator, half.figures.denominator, half.complete),
        (2, 48, false),
        "15 of 31 days are over"
    );
    // One of them became a stay.
    let stays = Event {
        visit: visit("E2^SBMC"),
        class: "IMP".into(),
        ..now(Kind::Admission, "SBMC", "2026-03-09T15:00:00-04:00")
    };
    world.all(&[stays]);
    assert_eq!(world.rate("ed-visits"), (1, 100));
    world.is_sound();
}

#[test]
fn a_readmission_or_death_excludes_and_a_transfer_is_none() {
    let mut world = World::new();
    let back = Event {
        visit: visit("E99^MERCY"),
        class: "IMP".into(),
        ..now(Kind::Admission, "MERCY", "2026-03-08T07:30:00-04:00")
    };
    world.all(&[discharge(), back, practice_visit("2026-03-11T10:24:00-04:00")]);
    assert_eq!((world.rate("visit-7"), world.figures("visit-7").excluded), ((0, 0), 1));
    assert_eq!(world.rate("readmission-30"), (1, 1));
    let mut moved = World::new();
    moved.all(&[Event { disposition: "02".into(), ..discharge() }]);
    assert_eq!(moved.rate("readmission-30"), (0, 0));
    let mut died = World::new();
    died.all(&[discharge(), now(Kind::Death, "SBMC", "2026-03-07T07:30:00-05:00")]);
    assert_eq!((died.rate("engagement"), died.figures("engagement").excluded), ((0, 0), 1));
}

#[test]
fn referrals_orders_and_scores() {
    let mut world = World::new();
    let of = |kind, facility, at| Event { referral: Some(number("REF55120-1^CHFM")), ..now(kind, facility, at) };
    let refer = Event {
        codes: vec![code("OBR-4", "LN", "57133-1", "")],
        trigger: "O19".into(),
        ..of(Kind::ReferralRequested, "CHFM", "2026-03-11T11:30:00-04:00")
    };
    world.all(&[refer]);
    assert_eq!((world.rate("referral-closed"), world.rate("result-received")), ((0, 1), (0, 0)));
    world.all(&[of(Kind::ReferralCompleted, "LCARD", "2026-03-20T16:00:00-04:00")]);
    assert_eq!((world.rate("referral-closed"), world.figures("referral-closed").inferred), ((1, 1), 0));
    let order = Event {
        trigger: "O21".into(),
        codes: vec![code("OBR-4", "LN", "24323-8", "")],
        referral: Some(number("O1^CHFM")),
        ..now(Kind::ReferralRequested, "CHFM", "2026-03-11T11:40:00-04:00")
    };
    world.all(&[order]);
    assert_eq!(world.rate("result-received"), (0, 1));
    let result = Event { referral: Some(number("O1^CHFM")), ..now(Kind::Result, "LAB", "2026-03-12T08:00:00-04:00") };
    world.all(&[Event { referral: Some(number("O2^CHFM")), ..result.clone() }]);
    assert_eq!(world.rate("result-received"), (0, 1), "of another order");
    world.all(&[result]);
    assert_eq!(world.rate("result-received"), (1, 1));
    let phq =
        |value: &str, at| Event { codes: vec![code("OBX-3", "LN", "44261-6", value)], ..now(Kind::Result, "CHFM", at) };
    world.all(&[phq("16", "2026-03-12T09:00:00-04:00"), phq("12", "2026-04-09T09:00:00-04:00")]);
    assert_eq!(
        (world.rate("phq-9-response"), world.rate("phq-9-remission")),
        ((0, 1), (0, 1)),
        "12 of 16 is no answer, and no other beginning"
    );
    world.all(&[phq("8", "2026-05-07T09:00:00-04:00")]);
    assert_eq!((world.rate("phq-9-response"), world.rate("phq-9-remission")), ((1, 1), (0, 1)));
    world.all(&[phq("4", "2026-07-02T09:00:00-04:00")]);
    assert_eq!(world.rate("phq-9-remission"), (1, 1));
    world.is_sound();
}

#[test]
fn what_nobody_tells_of_is_not_observable() {
    let mut world = World::new();
    world.all(&[admission(), discharge()]);
    let at = date(2026, 12, 1);
    let observed = |world: &World, measure: &str| world.month(measure, at, Viewer::Everything).observed;
    assert_eq!(observed(&world, "discharge-information"), Observed::Not, "no document ever came from there");
    assert_eq!(observed(&world, "visit-7"), Observed::Not);
    assert_eq!(observed(&world, "admission-notice"), Observed::Wholly);
    // Another hospital sends documents: that says nothing of this one, but of its own.
    let theirs = Event { facility: "MERCY".into(), visit: visit("E1^MERCY"), ..summary() };
    world.take(&theirs, OTHER, &[]);
    assert_eq!(observed(&world, "discharge-information"), Observed::Not);
    world.take(&Event { facility: "MERCY".into(), visit: visit("E1^MERCY"), ..discharge() }, OTHER, &[]);
    assert_eq!(observed(&world, "discharge-information"), Observed::Partly(500));
    // A visit of anybody anywhere: the gateway would hear of one.
    world.take(&practice_visit("2026-03-30T10:00:00-04:00"), THIRD, &[]);
    assert_eq!(observed(&world, "visit-7"), Observed::Wholly);
    assert_eq!(observed(&world, "home-health-48h"), Observed::Not, "of a home-health agency");
}

#[test]
fn what_tells_of_something_else_makes_nothing_observable() {
    let mut world = World::new();
    world.all(&[admission(), discharge()]);
    let at = date(2026, 12, 1);
    let observed = |world: &World, measure: &str| world.month(measure, at, Viewer::Everything).observed;
    let radiology = Event { codes: vec![code("TXA-2", "LN", "18748-4", "")], ..summary() };
    let clinic = Event { class: "AMB".into(), ..now(Kind::OutpatientVisit, "SBMC", "2026-03-20T09:00:00-04:00") };
    let charge = Event { codes: vec![code("FT1-25", "C4", "99213", "")], ..reconciled() };
    for event in [radiology, clinic, charge] {
        world.take(&event, OTHER, &[]);
    }
    assert_eq!(observed(&world, "discharge-information"), Observed::Not, "a report of an X-ray is no summary");
    assert_eq!(observed(&world, "visit-7"), Observed::Not, "no practice of theirs tells of visits");
    assert_eq!(observed(&world, "medication-reconciliation"), Observed::Not);
    assert_eq!(observed(&world, "engagement"), Observed::Wholly, "any visit will do");
    // Of anybody at all.
    world.measures.came(&summary(), false);
    world.measures.came(&reconciled(), false);
    world.measures.came(&practice_visit("2026-03-30T10:00:00-04:00"), false);
    let transaction = world.connection.transaction().unwrap();
    world.measures.flush(&transaction).unwrap();
    transaction.commit().unwrap();
    for measure in ["discharge-information", "visit-7", "medication-reconciliation"] {
        assert_eq!(observed(&world, measure), Observed::Wholly, "{measure}");
    }
    world.is_sound();
}

#[test]
fn strangers_count_as_unmatched() {
    let mut world = World::new();
    world.all(&[discharge()]);
    let stranger = practice_visit("2026-03-11T10:24:00-04:00");
    world.measures.came(&Event { time_suspect: true, ..stranger }, false);
    let transaction = world.connection.transaction().unwrap();
    world.measures.flush(&transaction).unwrap();
    transaction.commit().unwrap();
    assert_eq!(world.month("visit-7", date(2026, 12, 1), Viewer::Everything).events, [(2, 1, 1); 2]);
}

#[test]
fn who_looked_after_them_then_is_who_they_count_for() {
    let mut world = World::new();
    world.all(&[discharge()]);
    world.panels = vec!["pcmh-chfm"];
    world.all(&[practice_visit("2026-03-11T10:24:00-04:00")]);
    assert_eq!(world.rate("visit-7"), (1, 1), "she counts for the panel of that day, wherever she is now");
    let sql = "SELECT count(DISTINCT panel) FROM measure_day";
    assert_eq!(world.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    world.panels = Vec::new();
    world.all(&[Event { visit: visit("V2^SBMC"), ..discharge() }]);
    assert_eq!(world.rate("visit-7"), (1, 1), "of nobody's panel");
}

#[test]
fn merges_move_what_was_counted_and_unlinks_give_it_back() {
    let mut world = World::new();
    world.take(&discharge(), MARISOL, &[]);
    world.take(&practice_visit("2026-03-11T10:24:00-04:00"), OTHER, &[]);
    assert_eq!(world.rate("visit-7"), (0, 1));
    let merge = |kind| now(kind, "SBMC", "2026-03-12T08:00:00-04:00");
    world.take(&merge(Kind::IdentityMerge), MARISOL, &[OTHER]);
    assert_eq!(world.rate("visit-7"), (1, 1), "both were her");
    world.is_sound();
    world.take(&merge(Kind::Unlink), MARISOL, &[OTHER]);
    assert_eq!((world.rate("visit-7"), world.people("visit-7")), ((0, 1), vec![(MARISOL, Outcome::Missing)]));
    world.is_sound();
}

#[test]
fn what_is_not_cleared_is_not_counted() {
    let mut world = World::new();
    let ill = Event { codes: vec![code("DG1-3", "I10C", "F33.2", "principal")], ..discharge() };
    world.found = Found { all: world.labels.of("PSY").unwrap(), whole: Set::EMPTY };
    world.all(&[ill]);
    let rate = |world: &World, measure: &str, viewer| {
        let figures = world.month(measure, date(2026, 12, 1), viewer).figures;
        (figures.numerator, figures.denominator)
    };
    // That she was there is no secret, why is.
    assert_eq!(rate(&world, "engagement", Viewer::Unlabelled), (0, 1));
    assert_eq!(rate(&world, "bh-visit-7", Viewer::Unlabelled), (0, 0));
    assert_eq!(rate(&world, "bh-visit-7", Viewer::Everything), (0, 1));
    // A visit where addictions are treated: that she was seen is the secret.
    let sud = world.labels.of("SUD").unwrap();
    world.found = Found { all: sud, whole: sud };
    world.all(&[practice_visit("2026-03-11T10:24:00-04:00")]);
    assert_eq!(
        (rate(&world, "engagement", Viewer::Unlabelled), rate(&world, "engagement", Viewer::Everything)),
        ((0, 1), (1, 1))
    );
    world.is_sound();
}

/// Somebody comes back to a hospital.
fn readmission(facility: &str, at: &str) -> Event {
    Event { visit: visit("E99^MERCY"), class: "IMP".into(), ..now(Kind::Admission, facility, at) }
}

#[test]
fn what_closes_in_secret_is_missing_in_rate_and_list() {
    let mut world = World::new();
    world.all(&[discharge()]);
    let changed = world.secret("SUD", &practice_visit("2026-03-08T10:24:00-04:00"));
    assert_eq!(world.hears(&changed, "visit-7"), ["element SUD"], "nobody is told of what they may not know");
    assert!(changed.iter().all(|one| one.audience == "element SUD"), "{changed:?}");
    let seen = |world: &World, measure: &str, viewer| {
        let figures = world.month(measure, date(2026, 12, 1), viewer).figures;
        (figures.numerator, figures.denominator, world.people_of(measure, viewer).len())
    };
    for measure in ["engagement", "visit-7", "visit-14"] {
        assert_eq!(seen(&world, measure, Viewer::Unlabelled), (0, 1, 1), "{measure}");
        assert_eq!(seen(&world, measure, Viewer::Everything), (1, 1, 0), "{measure}");
    }
    // One that everybody may know of comes later, and late: that is what they see.
    world.all(&[practice_visit("2026-03-14T10:24:00-04:00")]);
    assert_eq!(world.people_of("visit-7", Viewer::Unlabelled), [(MARISOL, Outcome::LateInferred)]);
    assert_eq!(seen(&world, "visit-7", Viewer::Everything), (1, 1, 0));
    assert_eq!(seen(&world, "visit-14", Viewer::Unlabelled), (1, 1, 0));
    world.is_sound();
}

#[test]
fn what_excludes_in_secret_leaves_the_case_in_as_missing() {
    let mut world = World::new();
    world.all(&[discharge()]);
    let changed = world.secret("SUD", &readmission("LAKERECOV", "2026-03-08T07:30:00-04:00"));
    assert!(changed.iter().all(|one| one.audience == "element SUD"), "{changed:?}");
    let seen = |world: &World, measure: &str, viewer| {
        let figures = world.month(measure, date(2026, 12, 1), viewer).figures;
        (figures.numerator, figures.denominator, figures.excluded, world.people_of(measure, viewer).len())
    };
    assert_eq!(seen(&world, "visit-7", Viewer::Unlabelled), (0, 1, 0, 1));
    assert_eq!(seen(&world, "visit-7", Viewer::Everything), (0, 0, 1, 0));
    assert_eq!(seen(&world, "readmission-30", Viewer::Unlabelled), (0, 1, 0, 0));
    assert_eq!(seen(&world, "readmission-30", Viewer::Everything), (1, 1, 0, 1));
    // Seen after that: for whoever does not know, in time.
    world.all(&[practice_visit("2026-03-10T10:24:00-04:00")]);
    assert_eq!(seen(&world, "visit-7", Viewer::Unlabelled), (1, 1, 0, 0));
    assert_eq!(seen(&world, "visit-7", Viewer::Everything), (0, 0, 1, 0));
    // An emergency that became a stay of which nobody may know is one emergency more for them.
    let emergency = Event {
        visit: visit("E7^SBMC"),
        class: "EMER".into(),
        ..now(Kind::EdVisit, "SBMC", "2026-03-20T09:00:00-04:00")
    };
    world.all(&[emergency]);
    let stay = |number| Event { visit: visit(number), ..readmission("SBMC", "2026-03-20T11:00:00-04:00") };
    let changed = world.secret("SUD", &stay("V7^SBMC"));
    assert_eq!(world.hears(&changed, "ed-visits"), ["element SUD"]);
    let visits = |world: &World, viewer| world.month("ed-visits", date(2026, 12, 1), viewer).figures.numerator;
    assert_eq!((visits(&world, Viewer::Unlabelled), visits(&world, Viewer::Everything)), (1, 0));
    // Under the same number it is of the same visit, all of which is a secret from there on; that it goes is told to nobody.
    let changed = world.secret("SUD", &stay("E7^SBMC"));
    assert!(changed.iter().all(|one| one.audience == "element SUD"), "{changed:?}");
    assert_eq!((visits(&world, Viewer::Unlabelled), visits(&world, Viewer::Everything)), (0, 0));
    world.is_sound();
}

#[test]
fn of_two_secrets_each_is_seen_by_who_is_cleared_for_it() {
    let mut world = World::new();
    let [sud, psy] = ["SUD", "PSY"].map(|name| recipient(world.labels.of(name).unwrap(), DenyAction::DropElement));
    world.all(&[discharge()]);
    world.secret("SUD", &practice_visit("2026-03-08T10:24:00-04:00"));
    world.secret("PSY", &practice_visit("2026-03-14T10:24:00-04:00"));
    let listed = |who| world.people_of("visit-7", Viewer::Recipient(who, &world.labels));
    assert_eq!(listed(&sud), []);
    assert_eq!(listed(&psy), [(MARISOL, Outcome::LateInferred)]);
    assert_eq!(world.people_of("visit-7", Viewer::Unlabelled), [(MARISOL, Outcome::Missing)]);
    world.is_sound();
}

#[test]
fn who_was_seen_before_she_came_back_was_seen() {
    let mut world = World::new();
    // Not by the care team's own word, then readmitted, then by one that names the stay.
    let told = Event { visit: visit("V20260302001^SBMC"), ..practice_visit("2026-03-11T10:24:00-04:00") };
    world.all(&[
        discharge(),
        practice_visit("2026-03-07T10:24:00-05:00"),
        readmission("MERCY", "2026-03-09T07:30:00-04:00"),
        told,
    ]);
    assert_eq!((world.rate("visit-7"), world.figures("visit-7").excluded), ((1, 1), 0));
    world.is_sound();
}

#[test]
fn who_left_the_rosters_is_not_missed() {
    let mut world = World::new();
    world.all(&[discharge()]);
    let changed = world.leaves(MARISOL, "2026-03-10T08:00:00-04:00");
    assert_eq!(world.leaves(THIRD, "2026-03-10T08:00:00-04:00"), [], "nobody");
    assert_eq!(world.hears(&changed, "visit-7").len(), 3, "{changed:?}");
    for measure in ["visit-7", "visit-14", "engagement", "readmission-30"] {
        let figures = world.figures(measure);
        assert_eq!((figures.denominator, figures.excluded), (0, 1), "{measure}");
        assert_eq!(world.people(measure), [], "{measure}");
    }
    // The 48 hours and the two days were over before.
    assert_eq!((world.rate("home-health-48h"), world.rate("discharge-information")), ((0, 1), (0, 1)));
    world.is_sound();
    // Whoever was seen before was seen.
    let mut world = World::new();
    world.all(&[discharge(), practice_visit("2026-03-09T10:24:00-04:00")]);
    world.leaves(MARISOL, "2026-03-10T08:00:00-04:00");
    assert_eq!((world.rate("visit-7"), world.rate("readmission-30")), ((1, 1), (0, 0)));
    world.is_sound();
}

#[test]
fn who_is_back_before_the_window_is_over_has_not_left() {
    let figures = |world: &World, measure: &str| {
        let figures = world.figures(measure);
        world.is_sound();
        (figures.numerator, figures.denominator, figures.excluded)
    };
    let gone = |back: &str| {
        let mut world = World::new();
        world.all(&[discharge()]);
        world.leaves(MARISOL, "2026-03-07T08:00:00-05:00");
        assert_eq!((figures(&world, "visit-7"), world.people("visit-7")), ((0, 0, 1), vec![]));
        assert_eq!(world.comes_back(THIRD, back), [], "who never left");
        let changed = world.comes_back(MARISOL, back);
        assert_eq!(world.comes_back(MARISOL, back), [], "once");
        (world, changed)
    };
    let (mut world, changed) = gone("2026-03-12T23:00:00-04:00");
    assert_eq!(world.hears(&changed, "visit-7").len(), 3, "{changed:?}");
    assert_eq!((figures(&world, "visit-7"), figures(&world, "engagement")), ((0, 1, 0), (0, 1, 0)));
    assert_eq!(world.people("visit-7"), [(MARISOL, Outcome::Missing)], "somebody to call");
    assert_eq!(figures(&world, "discharge-information"), (0, 0, 1), "those two days were over");
    // What happened meanwhile and is told later.
    world.all(&[event(Kind::OutpatientVisit, "CHFM", "2026-03-08T10:00:00-04:00", "2026-03-14T10:00:00-04:00")]);
    assert_eq!(figures(&world, "engagement"), (1, 1, 0));
    // She leaves once more.
    world.leaves(MARISOL, "2026-03-20T08:00:00-04:00");
    assert_eq!(figures(&world, "readmission-30"), (0, 0, 1));

    // When that window is over: nobody knows, until somebody tells of a visit in time. One that is late tells nothing of the time she was gone.
    let (mut world, _) = gone("2026-03-13T00:30:00-04:00");
    assert_eq!((figures(&world, "visit-7"), figures(&world, "engagement")), ((0, 0, 1), (0, 1, 0)));
    world.all(&[practice_visit("2026-03-16T10:24:00-04:00")]);
    assert_eq!((figures(&world, "visit-7"), figures(&world, "visit-14")), ((0, 0, 1), (1, 1, 0)));
    world.all(&[practice_visit("2026-03-11T10:24:00-04:00")]);
    assert_eq!(figures(&world, "visit-7"), (1, 1, 0));
    // Of hours the moment counts.
    let mut world = World::new();
    world.all(&[discharge()]);
    world.leaves(MARISOL, "2026-03-06T08:00:00-05:00");
    world.comes_back(MARISOL, "2026-03-07T15:19:00-05:00");
    assert_eq!(figures(&world, "home-health-48h"), (0, 1, 0));
}

#[test]
fn who_left_by_one_key_and_is_back_by_another_is_back() {
    let mut world = World::new();
    world.take(&discharge(), MARISOL, &[]);
    world.take(&practice_visit("2026-03-01T10:24:00-05:00"), OTHER, &[]);
    let merge = |kind| now(kind, "SBMC", "2026-03-06T08:00:00-05:00");
    world.take(&merge(Kind::IdentityMerge), MARISOL, &[OTHER]);
    for key in [MARISOL, OTHER] {
        world.leaves(key, "2026-03-07T08:00:00-05:00");
    }
    assert_eq!(world.figures("visit-7").excluded, 1);
    world.comes_back(OTHER, "2026-03-09T08:00:00-04:00");
    assert_eq!((world.rate("visit-7"), world.figures("visit-7").excluded), ((0, 1), 0));
    world.is_sound();
    // Nor is that forgotten when they are two again.
    world.take(&merge(Kind::Unlink), MARISOL, &[OTHER]);
    assert_eq!((world.rate("visit-7"), world.figures("visit-7").excluded), ((0, 1), 0));
    world.is_sound();
}

#[test]
fn each_is_told_of_what_changes_for_them() {
    let mut world = World::new();
    let psy = world.labels.of("PSY").unwrap();
    let coded = Found { all: psy, whole: Set::EMPTY };
    let stay = |kind, at| Event { visit: visit("E5^SBMC"), class: "EMER".into(), ..now(kind, "SBMC", at) };
    let changed = world.take(&stay(Kind::EdVisit, "2026-03-03T09:00:00-05:00"), MARISOL, &[]);
    assert_eq!(world.hears(&changed, "ed-visits"), ["element", "event", "element SUD"]);
    // A diagnosis that some may not know of: for them nothing changes, or, to whom the visit is none any more, nothing is told.
    world.found = coded;
    assert_eq!(world.take(&stay(Kind::EdDischarge, "2026-03-03T12:00:00-05:00"), MARISOL, &[]), []);
    let visits = |world: &World, deny| {
        let one = recipient(Set::EMPTY, deny);
        let viewer = Viewer::Recipient(&one, &world.labels);
        world.month("ed-visits", date(2026, 12, 1), viewer).figures.numerator
    };
    assert_eq!((visits(&world, DenyAction::DropElement), visits(&world, DenyAction::DropEvent)), (1, 0));
    // A stay for such a diagnosis: that there was one is told to those to whom it is one.
    let changed = world.take(&discharge(), MARISOL, &[]);
    assert_eq!(world.hears(&changed, "engagement"), ["element", "element SUD"]);
    world.found = Found::default();
    // That two are one, told by where addictions are treated.
    world.take(&practice_visit("2026-03-11T10:24:00-04:00"), OTHER, &[]);
    let sud = world.labels.of("SUD").unwrap();
    world.found = Found { all: sud, whole: sud };
    let merge = |kind| now(kind, "SBMC", "2026-03-12T08:00:00-04:00");
    let changed = world.take(&merge(Kind::IdentityMerge), MARISOL, &[OTHER]);
    assert_eq!(world.hears(&changed, "visit-7"), ["element SUD"]);
    world.found = Found::default();
    let changed = world.take(&merge(Kind::Unlink), MARISOL, &[OTHER]);
    assert_eq!(world.hears(&changed, "visit-7"), ["element", "element SUD"], "to whom the stay is none it is none");
    world.is_sound();
}

#[test]
fn a_label_that_is_configured_later_marks_what_was_told_before() {
    let mut world = World::new();
    world.all(&[discharge(), practice_visit("2026-03-11T10:24:00-04:00")]);
    assert_eq!(world.month("visit-7", date(2026, 12, 1), Viewer::Unlabelled).figures.numerator, 1);
    let later = "[[coordination.label]]\ncode = \"VIO\"\nconf = \"R\"\nfacilities = [\"CHFM\"]\n\
                 [[coordination.label]]\ncode = \"SEX\"\nconf = \"R\"\nicd10_prefix = [\"I50\"]\n";
    let mut options = parse(later).unwrap();
    options.privacy.recipients = world.options.privacy.recipients.clone();
    world.measures =
        Measures::open(&world.connection, &options.measures, &setting(&options), &options.privacy).unwrap();
    world.labels = Arc::clone(&options.privacy.labels);
    world.options = options;
    world.is_sound();
    let seen = |world: &World, viewer: Viewer<'_>| {
        let figures = world.month("visit-7", date(2026, 12, 1), viewer).figures;
        (figures.numerator, figures.denominator, world.people_of("visit-7", viewer).len())
    };
    // Where she was seen is a secret now, and of the stay why it was.
    assert_eq!(seen(&world, Viewer::Everything), (1, 1, 0));
    assert_eq!(seen(&world, Viewer::Unlabelled), (0, 1, 1));
    let of = |names: &[&str], deny| recipient(world.labels.of_all(names.iter().copied()), deny);
    let viewer = |one: &Recipient| seen(&world, Viewer::Recipient(one, &world.labels));
    assert_eq!(viewer(&of(&["VIO"], DenyAction::DropElement)), (1, 1, 0));
    assert_eq!(viewer(&of(&["VIO"], DenyAction::DropEvent)), (0, 0, 0));
    assert_eq!(viewer(&of(&["VIO", "SEX"], DenyAction::DropEvent)), (1, 1, 0));
    // What comes then is counted beside it alike.
    let changed = world.take(&practice_visit("2026-03-08T10:24:00-04:00"), MARISOL, &[]);
    assert_eq!(world.hears(&changed, "visit-7"), [""; 0]);
    world.is_sound();
    assert_eq!(seen(&world, Viewer::Unlabelled), (0, 1, 1));
}

#[test]
fn months_of_which_messages_are_gone_are_not_observable() {
    let mut world = World::new();
    let is_gone = |world: &mut World, first: Option<&str>| {
        let transaction = world.connection.transaction().unwrap();
        if first.is_none() {
            world.measures.lost(&transaction).unwrap();
        }
        first.into_iter().for_each(|at| world.measures.heard(&transaction, ms(at)).unwrap());
        transaction.commit().unwrap();
    };
    let told = |world: &World, measure: &str| {
        let month = world.month(measure, date(2026, 12, 1), Viewer::Everything);
        let rate = world.reader().measure(measure).unwrap().1.rate;
        let span = measures::spans(&[month], rate).remove(0);
        (month.lost, span.observed, span.known, span.shown.denominator, span.shown.rate(rate))
    };
    world.all(&story());
    is_gone(&mut world, Some("2026-03-01T00:00:01-05:00"));
    assert_eq!((told(&world, "visit-7").0, told(&world, "ed-visits").0), (false, false), "nothing is gone");
    is_gone(&mut world, None);
    assert!(told(&world, "visit-7").0, "nothing has come since");
    // A restart in between; only the first one behind it counts.
    let options = world.options.clone();
    world.measures =
        Measures::open(&world.connection, &options.measures, &setting(&options), &options.privacy).unwrap();
    for at in ["2026-02-28T23:59:59-05:00", "2026-05-01T00:00:00-04:00"] {
        is_gone(&mut world, Some(at));
    }
    assert!(!told(&world, "visit-7").0 && !told(&world, "ed-visits").0, "all of March is there");
    for measure in ["admission-notice", "phq-9-response"] {
        assert!(told(&world, measure).0, "{measure}: the stay, or the score, before it is not");
    }
    is_gone(&mut world, None);
    is_gone(&mut world, Some("2026-03-01T00:00:01-05:00"));
    assert_eq!(told(&world, "visit-7"), (true, Observed::Not, false, None, None));
    assert_eq!(told(&world, "ed-visits"), (true, Observed::Not, false, Some(100), None), "whom rosters list is known");
    world.is_sound();
}

#[test]
fn who_acts_in_the_visit_of_an_order_links_its_result() {
    let mut world = World::new();
    let order = Event {
        trigger: "O21".into(),
        codes: vec![code("OBR-4", "LN", "24323-8", "")],
        referral: Some(number("O1^CHFM")),
        visit: visit("V1^SBMC"),
        ..now(Kind::ReferralRequested, "CHFM", "2026-03-11T11:40:00-04:00")
    };
    let by = |event: Event| Event { participants: vec![person("attending", HALVERSEN)], ..event };
    let result = by(Event {
        codes: vec![code("OBX-3", "LN", "44261-6", "3")],
        ..now(Kind::Result, "LAB", "2026-03-12T08:00:00-04:00")
    });
    world.all(&[order, result]);
    assert_eq!(world.rate("result-received"), (0, 1), "nobody who ordered it");
    // A kind that no measure of orders asks for.
    world.all(&[by(Event { visit: visit("V1^SBMC"), ..now(Kind::Transfer, "SBMC", "2026-03-11T12:00:00-04:00") })]);
    assert_eq!((world.rate("result-received"), world.figures("result-received").inferred), ((1, 1), 1));
    world.is_sound();
}

#[test]
fn the_first_in_time_is_the_beginning() {
    let mut world = World::new();
    let phq =
        |value: &str, at| Event { codes: vec![code("OBX-3", "LN", "44261-6", value)], ..now(Kind::Result, "CHFM", at) };
    // What was taken in March is told after what was taken in May.
    world.all(&[phq("11", "2026-05-07T09:00:00-04:00"), phq("20", "2026-03-12T09:00:00-04:00")]);
    assert_eq!(world.rate("phq-9-response"), (0, 1), "one beginning, in March");
    world.all(&[phq("10", "2026-05-20T09:00:00-04:00")]);
    assert_eq!(world.rate("phq-9-response"), (1, 1), "half of twenty, not of eleven");
    world.is_sound();
}

#[test]
fn what_was_a_beginning_stays_one_as_time_goes_on() {
    let mut world = World::new();
    let first = ms("2024-01-10T14:00:00Z");
    let score = |month: i64| {
        let at_ms = first + month * 30 * 86_400_000;
        let codes = vec![code("OBX-3", "LN", "44261-6", "16")];
        Event { codes, at_ms, received_ms: at_ms, ..now(Kind::Result, "CHFM", "2024-01-10T14:00:00Z") }
    };
    let beginnings = |world: &World, from: &str| {
        let reader = world.reader();
        let measure = reader.measure("phq-9-remission").unwrap().0;
        let months = (parse_month(from).unwrap(), parse_month("2026-12").unwrap());
        let as_of = day_of(date(2028, 1, 1));
        let wanted = Wanted { panel: PANEL, measure, months, as_of, viewer: Viewer::Everything };
        let feeds = reader.feeds(&world.connection, months).unwrap();
        let all = reader.series(&world.connection, &wanted, &feeds, &|_| 0).unwrap();
        let counted = all.iter().filter(|one| one.figures.denominator > 0);
        counted.map(|one| measures::period::month_text(one.month)).collect::<Vec<_>>()
    };
    (0..32).for_each(|month| _ = world.take(&score(month), MARISOL, &[]));
    let before = beginnings(&world, "2025-01");
    assert_eq!(before.len(), 2, "one a year: {before:?}");
    let count = |world: &World| {
        world.connection.query_row("SELECT sum(count) FROM measure_fact", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let mut left = count(&world);
    for days in (0..500).step_by(50) {
        let transaction = world.connection.transaction().unwrap();
        let now_ms = first + (30 * 32 + days) * 86_400_000;
        world.measures.prune(&transaction, now_ms).unwrap();
        world.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        world.is_sound();
        let from = now_ms - measures::KEPT_MS;
        let month = measures::period::month_of(measures::day(from, &jiff::tz::TimeZone::UTC)) + 1;
        let kept: Vec<_> = before.iter().filter(|one| parse_month(one).unwrap() >= month).cloned().collect();
        assert_eq!(beginnings(&world, &measures::period::month_text(month)), kept, "{days}");
        assert!(count(&world) <= left);
        left = count(&world);
    }
    assert!(left < 20, "{left}");
    // An event goes by the same rule.
    let mut one = world.take(&Event { received_ms: first + 1_500 * 86_400_000, ..score(49) }, MARISOL, &[]);
    one.clear();
    world.is_sound();
}

#[test]
fn what_came_goes_with_age_too() {
    let mut world = World::new();
    let months = |world: &World| {
        let sql = "SELECT count(DISTINCT month), min(month) FROM measure_feed";
        world.connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i32>(1)?))).unwrap()
    };
    let old = event(Kind::OutpatientVisit, "CHFM", "1900-01-01T00:00:00Z", "2026-03-05T00:00:00Z");
    world.all(&[discharge(), old, practice_visit("2026-05-05T00:00:00Z")]);
    assert_eq!(months(&world), (2, parse_month("2026-03").unwrap()));
    let prune = |world: &mut World, at: &str| {
        let transaction = world.connection.transaction().unwrap();
        world.measures.prune(&transaction, ms(at) + measures::KEPT_MS).unwrap();
        transaction.commit().unwrap();
    };
    prune(&mut world, "2026-03-31T12:00:00Z");
    assert_eq!(months(&world).0, 2);
    prune(&mut world, "2026-04-01T12:00:00Z");
    assert_eq!(months(&world), (1, parse_month("2026-05").unwrap()));
}

#[test]
fn a_stay_is_for_what_is_its_principal_diagnosis() {
    let of = |codes: Vec<Code>| {
        let mut world = World::new();
        world.all(&[Event { codes, ..discharge() }]);
        world.is_sound();
        world.rate("bh-visit-7").1
    };
    let [hip, low] = ["S72.0", "F32.9"].map(|text| code("DG1-3", "I10C", text, ""));
    let principal = |one: &Code| Code { value: "principal".into(), ..one.clone() };
    assert_eq!(of(vec![principal(&hip), low.clone()]), 0);
    assert_eq!(of(vec![hip.clone(), principal(&low)]), 1);
    assert_eq!(of(vec![low.clone(), hip]), 0, "none is");
}

#[test]
fn what_a_visit_turns_out_to_be_it_was_all_along() {
    let mut world = World::new();
    let stay = |kind, at| Event { visit: visit("E5^SBMC"), class: "EMER".into(), ..now(kind, "SBMC", at) };
    world.all(&[stay(Kind::EdVisit, "2026-03-03T09:00:00-05:00")]);
    let visits = |world: &World, viewer| world.month("ed-visits", date(2026, 12, 1), viewer).figures.numerator;
    assert_eq!(visits(&world, Viewer::Unlabelled), 1);
    world.secret("SUD", &stay(Kind::EdDischarge, "2026-03-03T12:00:00-05:00"));
    assert_eq!((visits(&world, Viewer::Unlabelled), visits(&world, Viewer::Everything)), (0, 1));
    assert_eq!(world.people_of("ed-visits", Viewer::Unlabelled), []);
    world.is_sound();
    // By a message of which no event came: who is behind it is judged by that too.
    world.all(&[Event { visit: visit("E6^SBMC"), ..stay(Kind::EdVisit, "2026-03-09T09:00:00-04:00") }]);
    assert_eq!(world.people_of("ed-visits", Viewer::Unlabelled), [(MARISOL, Outcome::Missing)]);
    let transaction = world.connection.transaction().unwrap();
    let text = crate::coordination::sensitivity::visit_text(&visit("E6^SBMC").unwrap());
    measures::keep_secrets(&transaction, &text, (&["SUD"], &["SUD"]), ms("2026-03-10T09:00:00-04:00")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(world.people_of("ed-visits", Viewer::Unlabelled), []);
    assert_eq!(world.people_of("ed-visits", Viewer::Everything).len(), 2);
}

#[test]
fn one_who_comes_often_is_one_of_a_month_a_quarter_and_a_year() {
    let mut world = World::new();
    let there = |number: u32, at: &str| Event {
        visit: visit(&format!("E{number}^SBMC")),
        class: "EMER".into(),
        ..now(Kind::EdVisit, "SBMC", at)
    };
    for day in 10..25 {
        world.all(&[there(day, &format!("2026-03-{day}T09:00:00-04:00"))]);
    }
    let of = |world: &World, viewer| {
        let month = world.month("ed-visits", date(2026, 12, 1), viewer);
        (month.figures.numerator, month.people.map(|people| people.numerator))
    };
    assert_eq!(of(&world, Viewer::Everything), (15, [1; 3]));
    // She was there in February as well, in January in secret: that makes no difference for whoever does not know.
    world.all(&[there(1, "2026-02-10T09:00:00-05:00")]);
    assert_eq!(of(&world, Viewer::Everything), (15, [1, 0, 0]));
    world.take(&there(2, "2026-03-20T09:00:00-04:00"), OTHER, &[]);
    assert_eq!(of(&world, Viewer::Unlabelled), (16, [2, 1, 1]));
    let sud = world.labels.of("SUD").unwrap();
    world.found = Found { all: sud, whole: sud };
    world.take(&there(3, "2026-01-20T09:00:00-05:00"), OTHER, &[]);
    assert_eq!(of(&world, Viewer::Unlabelled), (16, [2, 1, 1]));
    world.is_sound();
}

#[test]
fn changes_of_a_day_are_told_when_it_is_over() {
    let mut world = World::new();
    let note = |world: &mut World, changed: &[Changed], at: &str| {
        let transaction = world.connection.transaction().unwrap();
        world.measures.note(&transaction, changed, ms(at)).unwrap();
        transaction.commit().unwrap();
    };
    let due = |world: &mut World, at: &str| {
        let transaction = world.connection.transaction().unwrap();
        let due = world.measures.due(&transaction, ms(at)).unwrap();
        transaction.commit().unwrap();
        due
    };
    let discharged = world.take(&discharge(), MARISOL, &[]);
    note(&mut world, &discharged, "2026-03-05T15:22:04-05:00");
    let seen = world.take(&practice_visit("2026-03-06T09:00:00-05:00"), MARISOL, &[]);
    note(&mut world, &seen, "2026-03-05T23:59:59-05:00");
    assert_eq!(world.measures.next_ms(), Some(ms("2026-03-06T00:00:00-05:00")));
    assert_eq!(due(&mut world, "2026-03-06T00:00:00-05:00"), None, "not before it is over");
    // A restart in between.
    let options = world.options.clone();
    world.measures =
        Measures::open(&world.connection, &options.measures, &setting(&options), &options.privacy).unwrap();
    let told = due(&mut world, "2026-03-06T00:00:01-05:00").unwrap();
    let others = [(); 2].map(|()| due(&mut world, "2026-03-06T00:00:01-05:00").unwrap());
    assert_eq!(
        (told.audience.as_str(), others.clone().map(|one| one.audience)),
        ("element", ["element SUD", "event"].map(str::to_owned))
    );
    assert!(others.iter().all(|one| (one.day, &one.updated) == (told.day, &told.updated)));
    assert_eq!((told.updated.panel.as_str(), told.updated.at_ms), (PANEL, ms("2026-03-06T00:00:00-05:00")));
    let measures: Vec<&str> = told.updated.reports.iter().map(|(measure, _)| measure.as_str()).collect();
    // Of the discharge, and of the visit.
    assert!(["admission-notice", "visit-7", "engagement"].iter().all(|one| measures.contains(one)), "{measures:?}");
    assert!(told.updated.reports.iter().all(|(_, month)| month == "2026-03"));
    assert_eq!((due(&mut world, "2026-03-20T00:00:00-04:00"), world.measures.next_ms()), (None, None));
    // A clock that was set back: the day was told, so it is the one behind it.
    note(&mut world, &discharged, "2026-03-05T12:00:00-05:00");
    assert_eq!(world.measures.next_ms(), Some(ms("2026-03-07T00:00:00-05:00")));
    assert_eq!(due(&mut world, "2026-03-08T00:00:00-05:00").unwrap().day, told.day + 1);
}

#[test]
fn a_death_of_which_only_the_date_is_known_excludes() {
    let mut world = World::new();
    world.all(&[discharge(), now(Kind::Death, "SBMC", "2026-03-05T00:00:00-05:00")]);
    assert_eq!((world.rate("engagement"), world.figures("engagement").excluded), ((0, 0), 1));
}

#[test]
fn a_number_that_comes_again_is_another_stay() {
    let mut world = World::new();
    let again = |kind, at| Event {
        visit: visit("V20260302001^SBMC"),
        class: "IMP".into(),
        disposition: "01".into(),
        ..now(kind, "SBMC", at)
    };
    world.all(&[admission(), discharge(), again(Kind::Admission, "2026-03-12T09:00:00-04:00")]);
    assert_eq!(world.rate("readmission-30"), (1, 1));
    world.all(&[again(Kind::Discharge, "2026-03-16T09:00:00-04:00")]);
    assert_eq!(world.rate("readmission-30"), (1, 2));
    world.all(&[again(Kind::DischargeCancelled, "2026-03-16T10:00:00-04:00")]);
    assert_eq!(world.rate("readmission-30"), (1, 1), "only the second has not ended");
    world.is_sound();
}

#[test]
fn an_observation_that_ended_as_a_stay_is_a_readmission() {
    let mut world = World::new();
    let begun = Event { class: "OBSENC".into(), ..readmission("MERCY", "2026-03-18T07:30:00-04:00") };
    world.all(&[discharge(), begun]);
    assert_eq!(world.rate("readmission-30"), (0, 1));
    let ended = |kind, at| Event { visit: visit("E99^MERCY"), class: "IMP".into(), ..now(kind, "MERCY", at) };
    world.all(&[ended(Kind::Discharge, "2026-03-20T07:30:00-04:00")]);
    assert_eq!(world.rate("readmission-30"), (1, 2));
    world.is_sound();
    world.all(&[ended(Kind::DischargeCancelled, "2026-03-20T08:30:00-04:00")]);
    assert_eq!(world.rate("readmission-30"), (0, 1));
    world.is_sound();
}

#[test]
fn an_emergency_is_a_stay_under_another_number_too_and_is_one_again_without_it() {
    let mut world = World::new();
    let of = |kind, number: &str, class: &str, at| Event {
        visit: visit(number),
        class: class.into(),
        ..now(kind, "SBMC", at)
    };
    let emergency = of(Kind::EdVisit, "E1^SBMC", "EMER", "2026-03-03T09:00:00-05:00");
    world.all(&[emergency.clone(), of(Kind::Admission, "V9^SBMC", "IMP", "2026-03-03T14:00:00-05:00")]);
    assert_eq!(world.rate("ed-visits").0, 0);
    world.all(&[of(Kind::AdmissionCancelled, "V9^SBMC", "IMP", "2026-03-03T15:00:00-05:00")]);
    assert_eq!(world.rate("ed-visits").0, 1);
    world.is_sound();
    // The same under one number: only the admission is taken back.
    let mut world = World::new();
    world.all(&[emergency, of(Kind::Admission, "E1^SBMC", "IMP", "2026-03-03T14:00:00-05:00")]);
    assert_eq!(world.rate("ed-visits").0, 0);
    world.all(&[of(Kind::AdmissionCancelled, "E1^SBMC", "IMP", "2026-03-03T15:00:00-05:00")]);
    assert_eq!(world.rate("ed-visits").0, 1);
    world.is_sound();
    // And of the emergency itself.
    world.all(&[of(Kind::AdmissionCancelled, "E1^SBMC", "EMER", "2026-03-03T16:00:00-05:00")]);
    assert_eq!(world.rate("ed-visits").0, 0);
    world.is_sound();
}

#[test]
fn hours_are_hours() {
    let mut world = World::new();
    // 48 hours were over at 15:20 of the day before.
    world.all(&[discharge(), readmission("MERCY", "2026-03-08T07:30:00-04:00")]);
    assert_eq!((world.rate("home-health-48h"), world.figures("home-health-48h").excluded), ((0, 1), 0));
    let (reader, march) = (world.reader(), parse_month("2026-03").unwrap());
    let measure = reader.measure("home-health-48h").unwrap().0;
    let as_of = day_of(date(2026, 12, 1));
    let wanted = Wanted { panel: PANEL, measure, months: (march, march), as_of, viewer: Viewer::Everything };
    let (found, _) = reader.people(&world.connection, &wanted, Page { after: None, most: 5 }, &mut anybody).unwrap();
    assert_eq!(found[0].due_day, day_of(date(2026, 3, 7)));
}

#[test]
fn scores_of_other_orders_are_of_the_same_person() {
    let mut world = World::new();
    // As laboratories and practices send it: an order of its own, by the code of what is observed.
    let phq = |value: &str, order: &str, at| Event {
        codes: vec![code("OBR-4", "LN", "44261-6", ""), code("OBX-3", "LN", "44261-6", value)],
        referral: Some(number(order)),
        ..now(Kind::Result, "CHFM", at)
    };
    world.all(&[phq("16", "O100^CHFM", "2026-03-12T09:00:00-04:00")]);
    assert_eq!(world.rate("phq-9-remission"), (0, 1));
    world.all(&[phq("4", "O200^CHFM", "2026-05-07T09:00:00-04:00")]);
    assert_eq!((world.rate("phq-9-response"), world.rate("phq-9-remission")), ((1, 1), (1, 1)));
    world.is_sound();
}

#[test]
fn facts_of_one_message_have_one_order() {
    let mut world = World::new();
    let phq =
        |value: &str, at| Event { codes: vec![code("OBX-3", "LN", "44261-6", value)], ..now(Kind::Result, "CHFM", at) };
    world.take(&now(Kind::IdentityMerge, "SBMC", "2026-03-01T08:00:00-05:00"), MARISOL, &[OTHER]);
    // Two groups of one message: who was two is one. Whichever is first is the beginning.
    world.take(&phq("16", "2026-03-12T09:00:00-04:00"), OTHER, &[]);
    world.seq -= 1;
    world.take(&phq("12", "2026-03-14T09:00:00-04:00"), MARISOL, &[]);
    world.is_sound();
    world.take(&phq("4", "2026-04-12T09:00:00-04:00"), OTHER, &[]);
    world.is_sound();
}

#[test]
fn counting_anew_beside_a_gateway_knows_the_words_of_what_it_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let mut world = World::at(&path);
    world.all(&[admission()]);
    let mut reader = world.reader();
    let mut connection = Connection::open(&path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    // The gateway is in the middle of a batch: a set of panels, a class and a disposition that nobody has heard of.
    let transaction = world.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let subject = Subject { panels: &["aco-lakeshore", "new"], team: &[], found: world.found, labels: &world.labels };
    let event = Event { seq: 9, ..discharge() };
    world.measures.take(&transaction, &event, MARISOL, &subject).unwrap();
    world.measures.flush(&transaction).unwrap();
    let anew = std::thread::spawn(move || measures::recount(&mut connection, &mut reader, false).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(500));
    transaction.commit().unwrap();
    assert_eq!(anew.join().unwrap().unwrap().0, 2);
    assert_eq!(world.rate("admission-notice"), (1, 1));
    world.is_sound();
}

#[test]
fn other_definitions_are_counted_from_the_facts_that_are_there() {
    let mut world = World::new();
    world.all(&story());
    assert_eq!(world.rate("visit-7"), (1, 1));
    let other = parse("[[coordination.measure]]\nuse = \"visit-7\"\nid = \"visit-5\"\nwindow = [\"1d\", \"5d\"]\n[[coordination.measure]]\nid = \"ed-visits\"\nenabled = false\n").unwrap();
    world.measures = Measures::open(&world.connection, &other.measures, &setting(&other), &other.privacy).unwrap();
    world.options = other;
    assert_eq!((world.rate("visit-7"), world.rate("visit-5"), world.figures("visit-5").late), ((1, 1), (0, 1), 1));
    assert!(world.reader().measure("ed-visits").is_none());
    world.is_sound();
}

#[test]
fn mistakes_are_told_with_line_and_remedy() {
    let says = |text: &str, wanted: &[&str]| {
        let told = parse(text).map(|_| String::new()).unwrap_or_else(|told| told);
        for part in wanted {
            assert!(told.contains(part), "{part} in {told}");
        }
    };
    says("[[coordination.measure]]\nuse = \"visit-8\"\n", &["there is no measure \"visit-8\" to take", "visit-7"]);
    says(
        "[[coordination.measure]]\nid = \"a\"\n",
        &["open is missing", "title is missing", "due is missing", "close is missing"],
    );
    says(
        "[[coordination.measure]]\nid = \"a_b\"\nenabled = false\n",
        &["letters, digits or '-'", "no measure \"a_b\" to leave out"],
    );
    says(
        "[[coordination.measure]]\nuse = \"visit-7\"\nopen = { event = \"dischrge\" }\n",
        &["did you mean \"discharge\"?"],
    );
    says("[[coordination.measure]]\nuse = \"ed-visits\"\nclose = { event = \"death\" }\n", &["remove close"]);
    says("[[coordination.measure]]\nuse = \"visit-7\"\nlate_until = \"2d\"\n", &["late_until must not be before"]);
    says("[[coordination.measure]]\nuse = \"visit-7\"\nwindow = [\"1d\", \"500d\"]\n", &["more than 400 days"]);
    says(
        "[[coordination.measure]]\nuse = \"visit-7\"\n[[coordination.measure]]\nuse = \"visit-7\"\n",
        &["two measures have the id \"visit-7\""],
    );
    says("[[coordination.measure]]\nuse = \"visit-7\"\npanels = [\"nobody\"]\n", &["there is no panel \"nobody\""]);
    says("[[coordination.measure]]\nuse = \"visit-7\"\nvalue_below = 3\n", &["give its code in loinc of close"]);
    assert_eq!(parse("").unwrap().measures.definitions.len(), 15, "all of them");
}

/// Something that happens to one of three keys.
#[derive(Debug, Clone)]
struct Step {
    kind: usize,
    who: usize,
    other: usize,
    visit: u8,
    hours: i64,
    late_hours: i64,
    again: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..18_usize, 0..3_usize, 0..3_usize, 0..3_u8, 0..1_500_i64, 0..100_i64, any::<bool>());
    let step = step.prop_map(|(kind, who, other, visit, hours, late_hours, again)| Step {
        kind,
        who,
        other,
        visit,
        hours,
        late_hours,
        again,
    });
    proptest::collection::vec(step, 1..40)
}

fn happening(step: &Step) -> Event {
    const KINDS: [Kind; 18] = [
        Kind::Admission,
        Kind::Discharge,
        Kind::Discharge,
        Kind::DischargeCancelled,
        Kind::AdmissionCancelled,
        Kind::OutpatientVisit,
        Kind::Document,
        Kind::DocumentCancelled,
        Kind::EdVisit,
        Kind::Death,
        Kind::ServiceCoded,
        Kind::ReferralRequested,
        Kind::ReferralCompleted,
        Kind::ReferralCancelled,
        Kind::Result,
        Kind::Result,
        Kind::IdentityMerge,
        Kind::Unlink,
    ];
    let kind = KINDS[step.kind];
    let base = ms("2026-02-01T00:00:00Z");
    let at_ms = base + step.hours * 3_600_000;
    let number_of = |name: &str| number(&format!("{name}{}^SBMC", step.visit));
    let mut event = now(kind, ["SBMC", "CHFM", "VISITING"][step.other], "2026-02-01T00:00:00Z");
    (event.at_ms, event.received_ms) = (at_ms, at_ms + step.late_hours * 3_600_000);
    if step.again || matches!(kind, Kind::Admission | Kind::Discharge) {
        event.visit = visit(&format!("V{}^SBMC", step.visit));
    }
    event.class = if kind == Kind::EdVisit { "EMER" } else { "IMP" }.into();
    event.disposition = ["01", "06", "02"][usize::from(step.visit)].into();
    event.participants = vec![person("attending", if step.again { BAPTISTE } else { HALVERSEN })];
    event.codes = match kind {
        Kind::Discharge => vec![code("DG1-3", "I10C", "F33.2", "principal")],
        Kind::Document => vec![code("TXA-2", "LN", "18842-5", "")],
        Kind::ServiceCoded => vec![code("FT1-25", "C4", "1111F", "")],
        Kind::ReferralRequested => vec![code("OBR-4", "LN", "57133-1", "")],
        Kind::Result => vec![code("OBX-3", "LN", "44261-6", ["16", "8", "3"][usize::from(step.visit)])],
        _ => Vec::new(),
    };
    if matches!(kind, Kind::Document | Kind::DocumentCancelled) {
        event.document = Some(Document { number: number_of("D"), parent: None, completion: "AU".into() });
    }
    if matches!(kind, Kind::ReferralRequested | Kind::ReferralCompleted | Kind::ReferralCancelled) {
        event.referral = Some(number_of("R"));
    }
    event
}

/// One of the events of a member over 24 months: of twenty, a stay in four, of an emergency in two, of visits in eight, and what goes with them.
pub fn happening_of(number: u32, event: u32) -> Event {
    let kinds = [
        (Kind::OutpatientVisit, "AMB"),
        (Kind::ReferralRequested, ""),
        (Kind::Result, ""),
        (Kind::ServiceCoded, ""),
        (Kind::EdVisit, "EMER"),
        (Kind::OutpatientVisit, "AMB"),
        (Kind::Admission, "IMP"),
        (Kind::Discharge, "IMP"),
        (Kind::Document, ""),
        (Kind::OutpatientVisit, "AMB"),
    ];
    let (kind, class) = kinds[(event % 10) as usize];
    let day = i64::from((number * 7 + event * 36) % 720);
    let stay = event / 10;
    let mut one = now(kind, &format!("F{}", number % 200), "2025-01-02T12:00:00Z");
    one.at_ms += day * 86_400_000 + i64::from(event % 10) * 3_600_000;
    one.received_ms = one.at_ms + 60_000;
    one.class = class.into();
    one.disposition = if number.is_multiple_of(9) { "06" } else { "01" }.into();
    if matches!(kind, Kind::Admission | Kind::Discharge | Kind::Document | Kind::EdVisit) {
        one.visit = visit(&format!("V{number}-{stay}{}^F", u8::from(kind == Kind::EdVisit)));
    }
    one.participants = vec![person("attending", if number.is_multiple_of(3) { HALVERSEN } else { BAPTISTE })];
    one.codes = match kind {
        Kind::Document => vec![code("TXA-2", "LN", "18842-5", "")],
        Kind::Discharge => vec![
            code("DG1-3", "I10C", &format!("I{:02}.{}", number % 90, number % 10), ""),
            code("DG1-3", "I10C", "E11.9", ""),
        ],
        Kind::ServiceCoded => vec![code("FT1-25", "C4", "1111F", "")],
        _ => Vec::new(),
    };
    if kind == Kind::Document {
        one.document = Some(Document { number: number_of(number, stay), parent: None, completion: "AU".into() });
    }
    if matches!(kind, Kind::ReferralRequested | Kind::Result) {
        one.referral = Some(number_of(number, stay));
        one.trigger = "O21".into();
        one.codes = vec![code("OBR-4", "LN", "24323-8", "")];
    }
    one
}

fn number_of(person: u32, number: u32) -> Number {
    Number { value: format!("N{person}-{number}"), authority: "F".into() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    /// Whatever happens in whatever order, to persons who turn out to be one and not to be: the counters are what all facts say.
    #[test]
    fn counters_are_what_the_facts_say(steps in steps()) {
        let mut world = World::new();
        let people = [MARISOL, OTHER, THIRD];
        for step in &steps {
            let others: Vec<_> = [people[step.other]].into_iter().filter(|other| *other != people[step.who]).collect();
            world.panels = if step.again { vec![PANEL, "pcmh-chfm"] } else { vec![PANEL] };
            let sud = world.labels.of("SUD").unwrap();
            world.found = if step.late_hours > 90 { Found { all: sud, whole: sud } } else { Found::default() };
            if step.hours % 3 == 0 {
                // Of the message before.
                world.seq = world.seq.saturating_sub(1);
            }
            world.take(&happening(step), people[step.who], &others);
            if step.late_hours < 10 {
                // The same message once more.
                world.take(&happening(step), people[step.who], &others);
            }
        }
        world.is_sound();
        // And a restart in between changes nothing.
        let options = world.options.clone();
        world.measures = Measures::open(&world.connection, &options.measures, &setting(&options), &options.privacy).unwrap();
        world.take(&discharge(), OTHER, &[]);
        world.is_sound();
        // And half of it goes by age.
        let now_ms = ms("2026-02-01T00:00:00Z") + measures::KEPT_MS + 750 * 3_600_000;
        let transaction = world.connection.transaction().unwrap();
        world.measures.prune(&transaction, now_ms).unwrap();
        world.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        world.is_sound();
    }
}

#[path = "measures_twin_tests.rs"]
mod twin;
