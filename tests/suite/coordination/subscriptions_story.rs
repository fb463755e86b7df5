//! The story of subscriptions: subscribe to a panel; M1 is told once; the receiver fails until exhaustion; M2 is counted; the client asks again and reads what it
//! missed. And all of it again from journal and registry, into another database: the same numbers.
use handoff::coordination::event::{Confidentiality, Patient};
use handoff::coordination::registry::{self, Registry, What};
use handoff::coordination::subscription::TABLES;
use handoff::coordination::subscription::channel::Kind as Channel;
use handoff::coordination::subscription::filter::Candidate;
use handoff::coordination::subscription::matcher::Matcher;
use handoff::coordination::subscription::resource::{Checks, EXTENSIONS, Subscription};
use handoff::coordination::subscription::standing::{Fault, Input, Policy, Standing, State, Timing, Todo};
use handoff::coordination::subscription::store::{self, Told};
use handoff::coordination::subscription::topic::{Topics, Trigger};
use handoff::coordination::{Event, Kind};
use rusqlite::Connection;
use serde_json::{Value, json};

const ID: &str = "aco-stays";

fn topics() -> Topics {
    Topics::new("https://handoff.example/fhir")
}

fn event(seq: u64, kind: Kind) -> Event {
    Event {
        id: [u8::try_from(seq).unwrap(); 16],
        seq,
        kind,
        detail: String::new(),
        at_ms: 1_000 * seq.cast_signed(),
        received_ms: 1_000 * seq.cast_signed() + 5,
        time_suspect: false,
        partial: false,
        stale: false,
        facility: "SBMC".into(),
        feed: "SBADT|SBMC".into(),
        trigger: if kind == Kind::Admission { "A01" } else { "A03" }.into(),
        patient: Patient::default(),
        others: Vec::new(),
        visit: None,
        class: "IMP".into(),
        disposition: String::new(),
        participants: Vec::new(),
        codes: Vec::new(),
        document: None,
        appointment: None,
        referral: None,
        confidentiality: Confidentiality::default(),
    }
}

fn resource(status: &str) -> Value {
    let filter = |text: &str| json!({"url": format!("{EXTENSIONS}backport-filter-criteria"), "valueString": text});
    let content = json!({"url": format!("{EXTENSIONS}backport-payload-content"), "valueCode": "id-only"});
    json!({
        "resourceType": "Subscription", "status": status, "reason": "stays of our members",
        "criteria": "http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed",
        "_criteria": {"extension": [filter("Encounter?_in=Group/aco-lakeshore"), filter("Encounter?trigger=admission,discharge")]},
        "channel": {"type": "rest-hook", "endpoint": "https://aco.example/hook", "payload": "application/fhir+json",
            "_payload": {"extension": [content]}},
    })
}

fn asked(status: &str) -> What {
    let topics = topics();
    let panel = |id: &str| id == "aco-lakeshore";
    let checks = Checks { topics: &topics, panel: &panel, allowed: &|_| Ok(()), stored: None };
    let subscription = Subscription::read(ID, &resource(status), &checks).unwrap();
    What::Put { kind: registry::Kind::Subscription, id: ID.into(), body: subscription.body() }
}

/// What reads journal and registry in one order.
struct Reader {
    connection: Connection,
    matcher: Matcher,
    entries: u64,
    policy: Policy,
}

impl Reader {
    fn new() -> Reader {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&TABLES.concat()).unwrap();
        let policy = Policy { attempts_max: 2, ..Policy::default() };
        Reader { connection, matcher: Matcher::new(topics().events_system()), entries: 0, policy }
    }

    /// What was said and holds for the message `seq`.
    fn hear(&mut self, registry: &Registry, seq: u64) {
        for entry in registry.after(self.entries, 100).unwrap().into_iter().filter(|entry| entry.after_seq < seq) {
            self.entries = entry.number;
            let transaction = self.connection.transaction().unwrap();
            match entry.what.body() {
                Some(body) => {
                    let subscription = Subscription::stored(entry.what.id(), body, &topics()).unwrap();
                    let asked = (subscription.wanted, subscription.channel.kind);
                    store::put(&transaction, ID, asked, (entry.number, entry.at_ms), &self.policy).unwrap();
                    assert!(self.matcher.put(&subscription));
                }
                None => {
                    self.matcher.remove(entry.what.id());
                    store::delete(&transaction, entry.what.id()).unwrap();
                }
            }
            transaction.commit().unwrap();
        }
    }

    fn read(&mut self, registry: &Registry, event: &Event, panels: &[&str]) -> Vec<u64> {
        self.hear(registry, event.seq);
        let candidate = Candidate::of(event, &["p1"], panels, &[]).unwrap();
        let transaction = self.connection.transaction().unwrap();
        let mut numbers = Vec::new();
        for found in self.matcher.matches(&candidate) {
            let told = Told {
                event: event.id,
                seq: event.seq,
                at_ms: event.at_ms,
                received_ms: event.received_ms,
                trigger: Trigger::Event(event.kind),
                v2_event: event.trigger.clone(),
                focus: found.focus().map(str::to_owned).collect(),
            };
            numbers.extend(store::number(&transaction, found.id, &told).unwrap());
        }
        transaction.commit().unwrap();
        numbers
    }

    fn standing(&self) -> Standing {
        store::standing(&self.connection, ID).unwrap().unwrap()
    }

    fn came(&self, input: Input, now_ms: i64) -> Standing {
        let after = self.standing().after(input, Channel::RestHook, now_ms, &self.policy);
        assert!(store::save(&self.connection, ID, &after).unwrap());
        after
    }

    fn events(&self, since: u64) -> Vec<(u64, Told)> {
        store::events(&self.connection, ID, since, u64::MAX).unwrap()
    }
}

#[test]
fn what_was_missed_is_counted_and_can_be_read() {
    let temporary = tempfile::tempdir().unwrap();
    let registry = Registry::open(temporary.path()).unwrap();
    let timing = Timing { heartbeat_s: None, count_max: 20, end_ms: None };
    let panels = ["aco-lakeshore"];
    let (before, m1, m2, later) =
        (event(1, Kind::Admission), event(2, Kind::Admission), event(3, Kind::Discharge), event(4, Kind::Admission));
    let mut reader = Reader::new();
    assert!(reader.read(&registry, &before, &panels).is_empty(), "nobody has asked yet");
    registry.append(1, 1_500, "aco", asked("requested")).unwrap();
    reader.hear(&registry, 2);
    assert_eq!(reader.standing().todo(&timing, 1_500), Todo::Handshake);
    assert_eq!(reader.came(Input::Greeted, 1_600).state, State::Active);

    assert_eq!(reader.read(&registry, &m1, &panels), [1]);
    assert_eq!(reader.read(&registry, &m1, &panels), [1], "read again, it keeps its number");
    assert!(reader.read(&registry, &event(2, Kind::Admission), &["other"]).is_empty());
    assert!(reader.read(&registry, &event(2, Kind::Result), &panels).is_empty());
    assert_eq!(reader.standing().todo(&timing, 2_100), Todo::Events(1, 1));
    reader.came(Input::Failed(Fault::Refused), 2_100);
    assert_eq!(reader.came(Input::Failed(Fault::Refused), 3_100).state, State::Error);

    assert_eq!(reader.read(&registry, &m2, &panels), [2], "counted all the same");
    assert_eq!(reader.standing().todo(&timing, i64::MAX), Todo::Nothing);
    registry.append(3, 9_000, "aco", asked("requested")).unwrap();
    reader.hear(&registry, 4);
    assert_eq!(reader.standing().todo(&timing, 9_000), Todo::Handshake);
    assert_eq!(reader.came(Input::Greeted, 9_100).todo(&timing, 9_100), Todo::Nothing);
    let missed = reader.events(2);
    assert_eq!(missed.len(), 1);
    assert_eq!((missed[0].0, missed[0].1.seq, missed[0].1.trigger), (2, 3, Trigger::Event(Kind::Discharge)));
    assert_eq!(missed[0].1.focus, ["Encounter"]);
    assert_eq!(reader.read(&registry, &later, &panels), [3]);
    assert_eq!(reader.standing().todo(&timing, 9_200), Todo::Events(3, 3));

    // Again from the beginning, into another database, with nothing known of what came of deliveries.
    let registry = Registry::open(temporary.path()).unwrap();
    let mut again = Reader::new();
    for event in [&before, &m1, &m2, &later] {
        again.read(&registry, event, &panels);
    }
    assert_eq!(again.events(0), reader.events(0));
    assert_eq!(again.standing().last, 3);
}

#[test]
fn who_is_off_or_gone_is_told_nothing_and_who_comes_back_begins_again() {
    let temporary = tempfile::tempdir().unwrap();
    let registry = Registry::open(temporary.path()).unwrap();
    let mut reader = Reader::new();
    let panels = ["aco-lakeshore"];
    registry.append(0, 1, "aco", asked("requested")).unwrap();
    assert_eq!(reader.read(&registry, &event(1, Kind::Admission), &panels), [1]);
    registry.append(1, 2, "aco", What::Delete { kind: registry::Kind::Subscription, id: ID.into() }).unwrap();
    assert!(reader.read(&registry, &event(2, Kind::Admission), &panels).is_empty());
    registry.append(2, 3, "aco", asked("requested")).unwrap();
    assert_eq!(reader.read(&registry, &event(3, Kind::Discharge), &panels), [1]);
    registry.append(3, 4, "aco", asked("off")).unwrap();
    reader.hear(&registry, 9);
    assert_eq!(reader.standing().state, State::Off);
    assert!(reader.read(&registry, &event(9, Kind::Discharge), &panels).is_empty());
}
