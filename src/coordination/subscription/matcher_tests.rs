//! Tests of the matcher: its twin looks at every subscription, the slow and obvious way.
use super::super::filter::Criterion;
use super::super::resource::{Checks, EXTENSIONS};
use super::super::topic::{TOPICS, Topics};
use super::*;
use crate::coordination::Kind;
use crate::coordination::event::Code;
use proptest::prelude::*;
use serde_json::{Value, json};

const EVENTS: &str = "https://h.example/fhir/CodeSystem/event";

fn subscription(id: &str, topic: &'static Topic, filters: &[String], end: Option<&str>) -> Subscription {
    let topics = Topics::new("https://h.example/fhir");
    let filters: Vec<Value> = filters
        .iter()
        .map(|text| json!({"url": format!("{EXTENSIONS}backport-filter-criteria"), "valueString": text}))
        .collect();
    let content = json!({"url": format!("{EXTENSIONS}backport-payload-content"), "valueCode": "empty"});
    let mut resource = json!({
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "test",
        "criteria": topics.canonical(topic),
        "_criteria": {"extension": filters},
        "channel": {"type": "websocket", "payload": "application/fhir+json", "_payload": {"extension": [content]}},
    });
    if let Some(end) = end {
        resource["end"] = json!(end);
    }
    let checks = Checks { topics: &topics, panel: &|_| true, allowed: &|_| Ok(()), stored: None };
    Subscription::read(id, &resource, &checks).unwrap()
}

fn topic(id: &str) -> &'static Topic {
    TOPICS.iter().find(|topic| topic.id == id).unwrap()
}

/// Every subscription, every type, every filter: no list and no compiled form.
fn twin(all: &[Subscription], candidate: &Candidate<'_>) -> Vec<(String, Vec<&'static str>)> {
    let mut found = Vec::new();
    for one in all {
        let mut types = Vec::new();
        for name in one.topic.types(candidate.trigger) {
            let holds = |criterion: &&Criterion| {
                let focus = focus(name).unwrap();
                criterion.tests.iter().all(|test| test.holds(focus, candidate, EVENTS))
            };
            let named = one.criteria.iter().any(|criterion| criterion.focus.is_some());
            let own = |criterion: &&Criterion| criterion.focus == Some(*name);
            let wanted = !named || one.criteria.iter().any(|criterion| own(&criterion));
            let common = |criterion: &&Criterion| criterion.focus.is_none();
            let mut must_hold = one.criteria.iter().filter(|criterion| own(criterion) || common(criterion));
            if wanted && must_hold.all(|criterion| holds(&criterion)) {
                types.push(*name);
            }
        }
        let ended = one.end_ms.is_some_and(|end| end <= candidate.received_ms);
        if !types.is_empty() && !ended {
            found.push((one.id.clone(), types));
        }
    }
    found.sort();
    found
}

fn fast(matcher: &Matcher, candidate: &Candidate<'_>) -> Vec<(String, Vec<&'static str>)> {
    matcher.matches(candidate).iter().map(|found| (found.id.to_owned(), found.focus().collect())).collect()
}

/// A filter that the topic understands.
fn filter(topic: &'static Topic) -> impl Strategy<Value = String> {
    const VALUES: [(&str, &[&str]); 9] = [
        ("patient", &["a"]),
        ("_in", &["Group/x", "Group/y", "Group/x,Group/y"]),
        ("facility", &["F", "G", "F,G"]),
        ("class", &["IMP", "EMER,IMP"]),
        ("type", &["inpatient", "18842-5"]),
        ("category", &["laboratory", "imaging"]),
        ("code", &["1-8", "http://loinc.org|1-8", "I50"]),
        ("trigger", &["feed-event", "admission", "R01", "discharge,result"]),
        ("_security", &["R", "SUD"]),
    ];
    let types: Vec<&'static Focus> = topic.all_types().collect();
    let parts = proptest::collection::vec((0..VALUES.len(), 0..3usize), 1..3);
    (proptest::option::of(0..types.len()), parts).prop_map(move |(at, parts)| {
        let known = |name: &str| {
            let asked: Vec<_> = at.map_or(types.clone(), |at| vec![types[at]]);
            asked.iter().all(|focus| topic.parameters(focus).any(|parameter| parameter.name() == name))
        };
        let mut texts: Vec<String> = parts
            .iter()
            .map(|(at, value)| (VALUES[*at].0, VALUES[*at].1[value % VALUES[*at].1.len()]))
            .filter(|(name, _)| known(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if texts.is_empty() {
            texts.push("_in=Group/x".into());
        }
        at.map(|at| format!("{}?", types[at].name)).unwrap_or_default() + &texts.join("&")
    })
}

fn subscriptions() -> impl Strategy<Value = Vec<Subscription>> {
    let one = (0..TOPICS.len()).prop_flat_map(|at| {
        let filters = proptest::collection::vec(filter(&TOPICS[at]), 0..4);
        (Just(at), filters, proptest::bool::weighted(0.1))
    });
    proptest::collection::vec(one, 1..30).prop_map(|all| {
        let make = |(number, (at, filters, ends)): (usize, (usize, Vec<String>, bool))| {
            // Ids in another order than that in which they were made.
            let id = format!("s{:02}", (number * 17) % 31);
            subscription(&id, &TOPICS[at], &filters, ends.then_some("2026-01-01T00:00:00Z"))
        };
        all.into_iter().enumerate().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_matcher_and_its_twin_agree(
        all in subscriptions(),
        removed in proptest::collection::vec(0..30usize, 0..8),
        kind in 0..Kind::ALL.len(),
        (facility, class, v2_event) in (0..3usize, 0..3usize, 0..2usize),
        (people, panels, labels, codes) in (0..4usize, 0..4usize, 0..3usize, 0..4usize),
        late in any::<bool>(),
    ) {
        let mut matcher = Matcher::new(EVENTS.into());
        for one in &all {
            prop_assert!(matcher.put(one));
        }
        let mut left = all.clone();
        for at in removed {
            if at < left.len() {
                let gone = left.remove(at);
                prop_assert!(matcher.remove(&gone.id) && !matcher.remove(&gone.id));
                // Half of them come again, into the places of others.
                if at % 2 == 0 {
                    matcher.put(&gone);
                    left.push(gone);
                }
            }
        }
        prop_assert_eq!(matcher.len(), left.len());
        let code = |field: &str, system: &str, code: &str| Code { field: field.into(), system: system.into(), code: code.into(), value: String::new() };
        let codes = [
            vec![],
            vec![code("OBR-4", "LN", "1-8"), code("OBX-3", "L", "1-8")],
            vec![code("DG1-3", "I10C", "I50"), code("TXA-2", "LN", "18842-5")],
            vec![code("OBR-24", "", "RAD"), code("PR1-3", "C4", "1-8")],
        ][codes].clone();
        let candidate = Candidate {
            trigger: Trigger::Event(Kind::ALL[kind]),
            v2_event: ["A01", "R01"][v2_event],
            detail: "inpatient",
            facility: ["F", "G", "H"][facility],
            class: ["IMP", "EMER", ""][class],
            codes: &codes,
            people: [&["a"][..], &["b"], &["b", "a"], &[]][people],
            panels: [&[][..], &["x"], &["y"], &["x", "y"]][panels],
            labels: [&[][..], &["R"], &["R", "SUD"]][labels],
            received_ms: if late { 1_800_000_000_000 } else { 1_700_000_000_000 },
        };
        prop_assert_eq!(fast(&matcher, &candidate), twin(&left, &candidate));
    }
}

fn stay<'a>(people: &'a [&'a str], panels: &'a [&'a str]) -> Candidate<'a> {
    Candidate {
        trigger: Trigger::Event(Kind::Admission),
        v2_event: "A01",
        detail: "inpatient",
        facility: "SBMC",
        class: "IMP",
        codes: &[],
        people,
        panels,
        labels: &[],
        received_ms: 0,
    }
}

#[test]
fn the_story_reaches_the_panel_once_and_nobody_else() {
    let mut matcher = Matcher::new(EVENTS.into());
    for (id, on, filter) in [
        ("z-aco", "admission", "_in=Group/aco-lakeshore"),
        ("b-other", "admission", "_in=Group/other"),
        ("a-feed", "patient-data-feed", "Encounter?patient=p1&trigger=feed-event"),
        ("c-labs", "new-lab-result", "_in=Group/aco-lakeshore"),
        ("d-all", "admission", "facility=SBMC"),
    ] {
        assert!(matcher.put(&subscription(id, topic(on), &[filter.to_owned()], None)));
    }
    let ids = |matcher: &Matcher, candidate: &Candidate<'_>| {
        fast(matcher, candidate).into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&matcher, &stay(&["p1"], &["aco-lakeshore"])), ["a-feed", "d-all", "z-aco"]);
    assert_eq!(ids(&matcher, &stay(&["p2"], &["other", "aco-lakeshore"])), ["b-other", "d-all", "z-aco"]);
    assert_eq!(ids(&matcher, &stay(&[], &[])), ["d-all"]);
    let change = Candidate { trigger: Trigger::RosterChanged, ..stay(&[], &["aco-lakeshore"]) };
    assert!(ids(&matcher, &change).is_empty());
    matcher.put(&subscription("e-atr", topic("atr-list-change"), &["Group/aco-lakeshore".into()], None));
    assert_eq!(fast(&matcher, &change), [("e-atr".to_owned(), vec!["Group"])]);
    matcher.put(&subscription("z-aco", topic("discharge"), &["_in=Group/aco-lakeshore".into()], None));
    assert_eq!(ids(&matcher, &stay(&[], &["aco-lakeshore"])), ["d-all"], "the new one stands in place of the old");
}

/// `cargo test --release --lib matcher -- --ignored --nocapture`; a measure, not a judgement.
#[test]
#[ignore = "prints how long matching takes"]
fn how_long_ten_thousand_take() {
    let mut matcher = Matcher::new(EVENTS.into());
    let started = std::time::Instant::now();
    for number in 0..10_000 {
        let filter = match number % 10 {
            0..6 => format!("_in=Group/panel-{}", number % 500),
            6..9 => format!("patient=person-{number}&class=IMP"),
            _ => format!("facility=F{}&class=IMP,OBSENC", number % 200),
        };
        let on = &TOPICS[number % 9];
        let filter = if on.id == "patient-data-feed" { format!("Encounter?{filter}") } else { filter };
        let filter = if filter.contains("class") && !on.all_types().any(|focus| focus.name == "Encounter") {
            format!("patient=person-{number}")
        } else {
            filter
        };
        matcher.put(&subscription(&format!("s{number:05}"), on, &[filter], None));
    }
    println!("{} subscriptions made in {:?}", matcher.len(), started.elapsed());
    let people: Vec<String> = (0..1000).map(|number| format!("person-{}", number * 7)).collect();
    let panels: Vec<String> = (0..500).map(|number| format!("panel-{number}")).collect();
    let (mut found, rounds) = (0, 200);
    let started = std::time::Instant::now();
    for round in 0..rounds {
        for (number, person) in people.iter().enumerate() {
            let own = [panels[number % 500].as_str(), panels[(number + round) % 500].as_str()];
            found += matcher.matches(&stay(&[person], &own)).len();
        }
    }
    let events = people.len() * rounds;
    println!("{events} events, {found} matches, {:?} an event", started.elapsed() / u32::try_from(events).unwrap());
}
