//! What is posted and when: heartbeats, an end, 410, signatures and headers; and one slow endpoint that keeps nobody else waiting.
use super::*;
use crate::gateway::hook::is_signed;
use std::net::TcpListener;

const FIRST: &str = "first-secret-0123456789abcdef";
const NEXT: &str = "next-secret-0123456789abcdef";

fn count(care: &Care, id: &str) -> String {
    let status = care.get("aco-cm", &format!("/fhir/Subscription/{id}/$status"));
    text_of(&status["entry"][0]["resource"], "events-since-subscription-start")
}

#[test]
fn what_is_posted_is_signed_and_carries_the_headers_of_the_client() {
    let web = receiver();
    let recipients = recipient("aco-cm", "id-only", &format!("secret = \"{FIRST}\"\nsecret_next = \"{NEXT}\""))
        + &recipient("other", "id-only", "");
    let care = Care::start("", &recipients);
    let mut asked = subscription("admission", &web.address, "id-only");
    asked["channel"]["header"] = json!(["Authorization: Bearer s3cret-of-the-client", "X-Tenant: blue"]);
    let id = care.subscribe("aco-cm", &asked);
    care.wait_for_state("aco-cm", &id, "active");
    let shown = care.get("aco-cm", &format!("/fhir/Subscription/{id}"));
    assert_eq!(shown["channel"]["header"], json!(["Authorization: ***", "X-Tenant: ***"]));
    care.send(&[M1]);
    let requests = web.wait_for(2);
    for request in &requests {
        assert_eq!(request.line, "POST /notify");
        assert_eq!(request.header("content-type"), Some("application/fhir+json"));
        assert_eq!(
            (request.header("authorization"), request.header("x-tenant")),
            (Some("bearer s3cret-of-the-client"), Some("blue"))
        );
        assert!(is_signed(request, FIRST) && is_signed(request, NEXT) && !is_signed(request, "another"));
    }
    let other = receiver();
    let of_other = care.subscribe("other", &subscription("admission", &other.address, "id-only"));
    care.wait_for_state("other", &of_other, "active");
    assert_eq!(other.requests()[0].header("x-handoff-signature"), None, "it has no key");
    let log = care.gateway.stop();
    assert!(!log.contains("s3cret") && !log.contains("secret-0123"), "{log}");
}

/// The least that can be asked for are ten seconds.
#[test]
fn a_heartbeat_comes_when_nothing_else_does_and_counts_nothing() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let mut asked = subscription("admission", &web.address, "id-only");
    let period = json!({ "url": format!("{EXTENSIONS}backport-heartbeat-period"), "valueUnsignedInt": 10 });
    asked["channel"]["extension"] = json!([period]);
    let id = care.subscribe("aco-cm", &asked);
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1]);
    let beats =
        wait_for("two heartbeats", || Some(notifications(&web.requests(), "heartbeat")).filter(|all| all.len() >= 2));
    for beat in &beats {
        assert_eq!((beat["type"].as_str(), beat["entry"].as_array().unwrap().len()), (Some("history"), 1));
        assert_eq!(text_of(&beat["entry"][0]["resource"], "events-since-subscription-start"), "1");
        assert!(events_in(beat).is_empty());
    }
    assert_ne!(beats[0]["id"], beats[1]["id"]);
    assert_eq!(count(&care, &id), "1");
    care.gateway.stop();
}

#[test]
fn nothing_is_told_behind_the_end() {
    let (web, later) = (receiver(), receiver());
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let mut asked = subscription("admission", &web.address, "id-only");
    asked["end"] = (jiff::Timestamp::now() + std::time::Duration::from_secs(2)).to_string().into();
    let id = care.subscribe("aco-cm", &asked);
    care.wait_for_state("aco-cm", &id, "off");
    let other = care.subscribe("aco-cm", &subscription("admission", &later.address, "id-only"));
    care.wait_for_state("aco-cm", &other, "active");
    care.send(&[M1]);
    wait_for("the other", || notifications(&later.requests(), "event-notification").pop());
    assert_eq!(count(&care, &id), "0");
    assert!(notifications(&web.requests(), "event-notification").is_empty());
    care.gateway.stop();
}

#[test]
fn who_is_gone_for_good_is_told_nothing_until_it_asks_again() {
    let web = Web::start(|request| says(if request.earlier == 1 { "410 Gone" } else { "200 OK" }));
    let other = receiver();
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1]);
    care.wait_for_state("aco-cm", &id, "off");
    let of_other = care.subscribe("aco-cm", &subscription("admission", &other.address, "id-only"));
    care.wait_for_state("aco-cm", &of_other, "active");
    let path = format!("/fhir/Subscription/{id}");
    let shown = care.get("aco-cm", &path);
    assert!(shown["error"].as_str().is_some_and(|why| why.contains("410")), "{shown}");
    let next = M1.replace("SB000101", "SB000900").replace("V20260302001", "V20260310001");
    care.send(&[&next]);
    wait_for("the other", || notifications(&other.requests(), "event-notification").pop());
    assert_eq!((count(&care, &id).as_str(), web.requests().len()), ("1", 2), "it is not even counted");

    let mut again = shown;
    again["status"] = "requested".into();
    assert_eq!(care.ask("aco-cm", "PUT", &path, Some(&again)).status, 200);
    care.wait_for_state("aco-cm", &id, "active");
    assert!(care.get("aco-cm", &path).get("error").is_none());
    care.send(&[&next.replace("SB000900", "SB000901").replace("V20260310001", "V20260311001")]);
    let told = wait_for("the next", || notifications(&web.requests(), "event-notification").into_iter().nth(1));
    assert_eq!(events_in(&told)[0].0, 2);
    care.gateway.stop();
}

/// It takes connections and says nothing; more subscriptions lead to it than one recipient may keep waiting.
#[test]
fn a_slow_endpoint_delays_nobody_else() {
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = slow.local_addr().unwrap().to_string();
    let held = std::thread::spawn(move || slow.incoming().map_while(Result::ok).take(8).collect::<Vec<_>>());
    let web = receiver();
    let care = Care::start("", &(recipient("aco-cm", "id-only", "") + &recipient("slow", "id-only", "")));
    let mut asked = subscription("admission", &address, "id-only");
    let timeout = json!({ "url": format!("{EXTENSIONS}backport-timeout"), "valueUnsignedInt": 300 });
    asked["channel"]["extension"] = json!([timeout]);
    let ids: Vec<_> = (0..12).map(|_| care.subscribe("slow", &asked)).collect();
    let held = held.join().unwrap();
    assert_eq!(held.len(), 8, "as many as one recipient may keep waiting");
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    care.send(&[M1]);
    wait_for("the notification", || notifications(&web.requests(), "event-notification").pop());
    for id in &ids {
        assert_eq!(
            care.get("slow", &format!("/fhir/Subscription/{id}"))["status"],
            "requested",
            "it has not answered yet"
        );
    }
    drop(held);
    care.gateway.stop();
}
