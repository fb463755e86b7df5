//! Traces, as a collector sees them: what comes over OTLP, and what receivers are told of it.
use super::process::{Gateway, Peer, message, wait_for};
use super::web::{Web, taken};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn collector() -> Web {
    Web::start(|_| ("200 OK", "Content-Type: application/json\r\n".into(), "{\"partialSuccess\":{}}".into()))
}

fn section(collector: &Web, share: &str) -> String {
    format!("[traces]\nendpoint = \"http://{}\"\nshare = {share}\n", collector.address)
}

fn route(name: &str, target: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\nto = {{ {target} }}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n")
}

/// What a collector has been told, oldest first; a span that came twice is there twice.
fn spans(collector: &Web) -> Vec<Value> {
    let mut found = Vec::new();
    for request in collector.requests() {
        assert_eq!(request.line, "POST /v1/traces");
        assert_eq!(request.header("content-type"), Some("application/json"));
        let text = String::from_utf8(request.body.clone()).unwrap();
        for hidden in ["CANARY", "patient-", "CTRL"] {
            assert!(!text.contains(hidden), "{text}");
        }
        let body = request.json();
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "handoff");
        found.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned());
    }
    found
}

/// Waits for one whose attributes are these, among others.
fn wait_for_span(collector: &Web, name: &str, attributes: &[(&str, &str)]) -> Value {
    wait_for(name, || {
        let fits = |span: &Value| {
            span["name"] == name
                && attributes.iter().all(|(key, value)| attribute(span, key).as_deref() == Some(*value))
        };
        spans(collector).into_iter().find(fits)
    })
}

fn attribute(span: &Value, key: &str) -> Option<String> {
    let value = &span["attributes"].as_array()?.iter().find(|attribute| attribute["key"] == key)?["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str()).map(str::to_owned)
}

fn text<'s>(span: &'s Value, key: &str) -> &'s str {
    span[key].as_str().unwrap_or_default()
}

/// The header that an attempt with this span had to send.
fn header(span: &Value, flags: &str) -> String {
    format!("00-{}-{}-{flags}", text(span, "traceId"), text(span, "spanId"))
}

#[test]
fn a_message_is_one_trace_over_two_routes_and_a_restart() {
    let (collector, fhir) = (collector(), Web::start(taken));
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let hook = Web::start(move |_| {
        let status = if is_up.load(Ordering::SeqCst) { "204 No Content" } else { "503 Service Unavailable" };
        (status, String::new(), String::new())
    });
    let (to_fhir, to_hook) =
        (format!("fhir = \"http://{}/fhir\"", fhir.address), format!("rest_hook = \"http://{}/in\"", hook.address));
    let configuration = section(&collector, "1") + &route("ehr", &to_fhir) + &route("hook", &to_hook);
    let gateway = Gateway::start(&configuration);
    assert!(Peer::connect(&gateway).exchange(&message("CTRL-1", "A01")).contains("MSA|AA|CTRL-1"));
    let root = wait_for_span(&collector, "message", &[("handoff.seq", "1")]);
    let failed = wait_for_span(&collector, "deliver", &[("handoff.route", "hook"), ("error.type", "again")]);
    wait_for_span(&collector, "deliver", &[("handoff.route", "ehr")]);
    for stage in ["translate", "journal", "acknowledge"] {
        wait_for_span(&collector, stage, &[]);
    }
    let gateway = gateway.kill_and_restart_after(|| up.store(true, Ordering::SeqCst));
    let delivered = wait_for("the delivery after the restart", || {
        let all = spans(&collector);
        all.into_iter()
            .find(|span| attribute(span, "handoff.route").as_deref() == Some("hook") && span["status"].is_null())
    });
    gateway.stop();

    // The tree: one root, known by all that is below it.
    let all = spans(&collector);
    for span in &all {
        assert_eq!(span["traceId"], root["traceId"], "{span}");
        let is_root = span["spanId"] == root["spanId"];
        assert_eq!(span["parentSpanId"].as_str(), (!is_root).then(|| text(&root, "spanId")), "{span}");
        assert!(
            text(span, "startTimeUnixNano").parse::<u64>().unwrap() <= text(span, "endTimeUnixNano").parse().unwrap()
        );
        assert_eq!((text(span, "traceId").len(), text(span, "spanId").len()), (32, 16));
    }
    assert_eq!(root["kind"], 2);
    for (key, expected) in [("listener", "adt"), ("message_type", "ADT^A01"), ("outcome", "translated")] {
        assert_eq!(attribute(&root, &format!("handoff.{key}")).as_deref(), Some(expected));
    }
    assert_eq!((&failed["kind"], &failed["status"]["code"]), (&3.into(), &2.into()));
    assert_eq!(attribute(&failed, "handoff.attempts").as_deref(), Some("1"));
    assert_eq!(attribute(&failed, "handoff.target").as_deref(), Some("rest_hook"));

    // Each receiver is told which attempt it sees.
    let sent: Vec<String> =
        hook.requests().iter().map(|request| request.header("traceparent").unwrap().into()).collect();
    assert_eq!((sent.first(), sent.last()), (Some(&header(&failed, "01")), Some(&header(&delivered, "01"))));
    let to_ehr = all.iter().find(|span| attribute(span, "handoff.route").as_deref() == Some("ehr")).unwrap();
    assert_eq!(fhir.requests()[0].header("traceparent"), Some(header(to_ehr, "01").as_str()));
}

#[test]
fn what_goes_wrong_is_told_of_whatever_the_share() {
    let collector = collector();
    let hook = Web::start(|request| {
        let refused = String::from_utf8_lossy(&request.body).contains("A03");
        (if refused { "422 Unprocessable Content" } else { "200 OK" }, String::new(), String::new())
    });
    let to = format!("rest_hook = \"http://{}/in\", raw = true", hook.address);
    let gateway = Gateway::start(&(section(&collector, "0") + &route("hook", &to)));
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("CTRL-1", "A01")).contains("MSA|AA"));
    assert!(peer.exchange(&message("CTRL-2", "A03")).contains("MSA|AA"));
    assert!(peer.exchange("CANARY, no message").contains("MSA|AR"));
    let letter = wait_for_span(&collector, "dead letter", &[("handoff.route", "hook")]);
    let refused = wait_for_span(&collector, "deliver", &[("error.type", "refused")]);
    let kept = wait_for_span(&collector, "dead letter", &[("handoff.route", "untranslated")]);
    let unreadable = wait_for_span(&collector, "message", &[("error.type", "unreadable")]);
    gateway.stop();
    let all = spans(&collector);
    assert!(all.iter().all(|span| attribute(span, "handoff.seq").as_deref() != Some("1")), "nothing of what went well");
    assert_eq!(
        (attribute(&letter, "handoff.seq"), attribute(&letter, "handoff.attempts")),
        (Some("2".into()), Some("1".into()))
    );
    // It had not been told of when it came; now it is, so that nothing hangs in the air.
    let roots: Vec<&Value> = all.iter().filter(|span| span["spanId"] == letter["parentSpanId"]).collect();
    assert_eq!(roots.len(), 1);
    assert_eq!((&roots[0]["name"], &roots[0]["traceId"]), (&"message".into(), &letter["traceId"]));
    assert_eq!(attribute(roots[0], "handoff.message_type").as_deref(), Some("ADT^A03"));
    assert_eq!((&refused["traceId"], &refused["parentSpanId"]), (&letter["traceId"], &letter["parentSpanId"]));
    assert_eq!((&kept["traceId"], &kept["parentSpanId"]), (&unreadable["traceId"], &unreadable["spanId"]));
    let told: Vec<String> =
        hook.requests().iter().map(|request| request.header("traceparent").unwrap().into()).collect();
    // They are of two patients: either may have come first.
    let unsampled = told.iter().all(|one| one.ends_with("-00"));
    assert!(told.len() == 2 && unsampled && told.contains(&header(&refused, "00")), "{told:?}");
}

#[test]
fn a_collector_that_takes_nothing_holds_nothing_up() {
    let collector = Web::start(|_| ("400 Bad Request", String::new(), String::new()));
    let hook = Web::start(|_| ("200 OK", String::new(), String::new()));
    let to = format!("rest_hook = \"http://{}/in\"", hook.address);
    let gateway = Gateway::start(&(section(&collector, "1") + &route("hook", &to)));
    let mut peer = Peer::connect(&gateway);
    for number in 0..20 {
        assert!(peer.exchange(&message(&format!("CTRL-{number}"), "A01")).contains("MSA|AA"));
    }
    hook.wait_for(20);
    gateway.wait_for_log("the collector of traces does not take them: HTTP 400");
    gateway.stop();
}

#[test]
fn without_the_section_receivers_are_told_of_no_trace() {
    let hook = Web::start(|_| ("200 OK", String::new(), String::new()));
    let gateway = Gateway::start(&route("hook", &format!("rest_hook = \"http://{}/in\"", hook.address)));
    Peer::connect(&gateway).exchange(&message("one", "A01"));
    assert_eq!(hook.wait_for(1)[0].header("traceparent"), None);
    gateway.stop();
}
