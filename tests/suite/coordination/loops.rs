//! The story from its messages on: what becomes of a discharge and a referral, to the minute.
use handoff::config::Config;
use handoff::coordination::care_team::{self, Member};
use handoff::coordination::fold::Fold;
use handoff::coordination::loops::{self, Outcome, Panel, Setting, State, Subject, Tracker};
use handoff::coordination::store::{Error, Place, Store};
use handoff::coordination::{Options, PersonKey};
use handoff::facets::Facets;
use handoff::hl7::Index;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::Path;

const STORY: [&[u8]; 9] = [
    include_bytes!("story/m1.hl7"),
    include_bytes!("story/m2.hl7"),
    include_bytes!("story/m3.hl7"),
    include_bytes!("story/m4.hl7"),
    include_bytes!("story/m5.hl7"),
    include_bytes!("story/m6.hl7"),
    include_bytes!("story/r1.hl7"),
    include_bytes!("story/r2.hl7"),
    include_bytes!("story/r3.hl7"),
];
const CONFIG: &str = r#"
[coordination]
tz = "America/New_York"
[coordination.facility.SBMC]
npi = "9990001015"
[coordination.facility.CHFM]
npi = "9990007079"
[[coordination.loop]]
use = "post-discharge"
[[coordination.loop.step]]
id = "summary"
due = "2d"
clock = "received"
close = { event = "document", loinc = ["18842-5"], completion = ["AU", "LA", "DO"], same_visit = true }
escalate = [{ at = "24h", to = "role:care-manager" }, { at = "due", to = "org:SBMC" }]
[[coordination.loop]]
use = "referral"
"#;
const MARISOL: PersonKey = PersonKey([7; 16]);
const MEMBERS: [Member<'static>; 1] =
    [Member { panel: "aco-lakeshore", pcp_npi: "9990003037", care_manager: "9990006063" }];

/// The parts one after the other, as they stand in one transaction.
struct Layer {
    store: Store,
    fold: Fold,
    tracker: Tracker,
    options: Options,
    setting: Setting,
    seq: u64,
    outcomes: Vec<Outcome>,
}

impl Layer {
    fn open(data: &Path) -> Layer {
        let config = Config::parse(CONFIG, Path::new("handoff.toml"), &|_| None).unwrap();
        let options = config.coordination.unwrap();
        let panel = Panel { owner_npi: "9990004043".into(), zone: None };
        let panels = [("aco-lakeshore".to_owned(), panel)].into_iter().collect();
        let setting = Setting { facilities: options.facilities.clone(), panels, keep: options.keep };
        let store = Store::open(data).unwrap();
        let fold = Fold::open(&options, store.connection()).unwrap();
        let tracker = Tracker::open(store.connection(), options.loops.clone(), setting.clone()).unwrap();
        Layer { store, fold, tracker, options, setting, seq: 0, outcomes: Vec::new() }
    }

    fn message(&mut self, raw: &[u8]) {
        self.seq += 1;
        let (seq, fold, tracker, options) = (self.seq, &mut self.fold, &mut self.tracker, &self.options);
        let zone = self.setting.zone("SBMC", &[]);
        let work = |transaction: &rusqlite::Transaction<'_>| -> Result<_, Error> {
            let mut index = Index::new();
            let message = index.parse(raw).ok().map(|()| index.message(raw));
            let facets = Facets::of(raw, message, b"adt", received_ms(raw));
            let mut told = Vec::new();
            for event in fold.message(transaction, seq, &facets, raw)? {
                care_team::take(transaction, &event, MARISOL, false, &zone)?;
                let team = care_team::team(transaction, MARISOL, &MEMBERS, event.at_ms, &options.care_team)?;
                let subject = Subject { person: MARISOL, others: &[], members: &MEMBERS, team: &team.numbers() };
                told.extend(tracker.apply(transaction, &event, subject)?);
            }
            fold.flush(transaction)?;
            Ok((Place { next: seq + 1, last: [0; 16] }, told))
        };
        self.outcomes.extend(self.store.batch(work).unwrap());
    }

    fn until(&mut self, at: &str) {
        let (seq, tracker) = (self.seq, &mut self.tracker);
        let to_ms = at.parse::<Timestamp>().unwrap().as_millisecond();
        let work = |transaction: &rusqlite::Transaction<'_>| -> Result<_, Error> {
            Ok((Place { next: seq + 1, last: [0; 16] }, tracker.advance(transaction, to_ms)?))
        };
        self.outcomes.extend(self.store.batch(work).unwrap());
    }

    fn lines(&self) -> Vec<String> {
        let zone = TimeZone::get("America/New_York").unwrap();
        let line = |outcome: &Outcome| {
            let at = Timestamp::from_millisecond(outcome.at_ms).unwrap().to_zoned(zone.clone()).strftime("%m-%d %H:%M");
            let step = format!("{}/{}{}", outcome.definition, outcome.step, outcome.detail);
            format!("{at} {} {step} {}", outcome.kind.name(), outcome.to.join(",")).trim_end().to_owned()
        };
        self.outcomes.iter().map(line).collect()
    }
}

/// When its sender sent it (MSH-7).
fn received_ms(raw: &[u8]) -> i64 {
    let time = std::str::from_utf8(raw).unwrap().split('|').nth(6).unwrap();
    Timestamp::strptime("%Y%m%d%H%M%S%z", time).unwrap().as_millisecond()
}

/// An admission to another hospital.
fn elsewhere() -> Vec<u8> {
    String::from_utf8(STORY[0].to_vec())
        .unwrap()
        .replace("SBADT|SBMC", "MYADT|MERCY")
        .replace("^B^SBMC", "^B^MERCY")
        .replace("V20260302001^^^SBMC", "E99^^^MERCY")
        .replace("20260302091502", "20260318073000")
        .replace("20260302091500", "20260318073000")
        .replace("20260302090800", "20260318073000")
        .replace("-0500", "-0400")
        .into_bytes()
}

#[test]
fn the_story_from_its_messages_on() {
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
    for cut in [None, Some(2), Some(7)] {
        let data = tempfile::tempdir().unwrap();
        let mut layer = Layer::open(data.path());
        for (at, raw) in STORY.into_iter().chain([&elsewhere()[..]]).enumerate() {
            if cut == Some(at) {
                let (seq, outcomes) = (layer.seq, std::mem::take(&mut layer.outcomes));
                layer = Layer { seq, outcomes, ..Layer::open(data.path()) };
            }
            layer.message(raw);
        }
        layer.until("2026-04-05T12:00:00-04:00");
        assert_eq!(layer.lines(), expected, "restarted before {cut:?}");
        let overdue = loops::worklist(layer.store.connection(), "aco-lakeshore", State::Overdue, 0, 10).unwrap();
        assert_eq!(
            overdue.iter().map(|found| found.definition.as_str()).collect::<Vec<_>>(),
            ["post-discharge", "referral"]
        );
    }
}
