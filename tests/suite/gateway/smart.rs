//! SMART Backend Services: one token for all, a new one when it is refused, and no dead letter over credentials. That others can verify the assertions is for the peers
//! to say (`tests/peers`); here its claims are read.
use super::process::{Gateway, Peer, dead_letters, message, wait_for};
use super::web::{Answer, Request, Web, taken};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Claims of the assertion in a request for a token.
fn claims(request: &Request) -> Value {
    let body = String::from_utf8(request.body.clone()).unwrap();
    let assertion = body.split('&').find_map(|pair| pair.strip_prefix("client_assertion=")).unwrap();
    let claims = assertion.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn says(status: &'static str, body: Value) -> Answer {
    (status, String::new(), body.to_string())
}

fn tokens(web: &Web) -> Vec<Request> {
    web.requests().into_iter().filter(|request| request.line.ends_with("/token")).collect()
}

fn route(web: &Web, more: &str) -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem()).unwrap();
    let smart = format!(
        "smart = {{ client_id = \"us\", key = \"file:{}\", key_id = \"k1\", scope = \"system/*.cud\"{more} }}",
        key.display()
    );
    let to = format!("to = {{ fhir = \"http://{}/fhir\", {smart} }}", web.address);
    (format!("[[route]]\nname = \"ehr\"\n{to}\nretry = {{ first = \"10ms\", max = \"50ms\" }}\n"), folder)
}

#[test]
fn one_token_serves_all_and_a_new_one_is_asked_for_when_it_is_revoked() {
    let (given, revoked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, is_revoked) = (Arc::clone(&given), Arc::clone(&revoked));
    let web = Web::start(move |request| {
        if request.line == "GET /fhir/.well-known/smart-configuration" {
            let host = request.header("host").unwrap();
            return says("200 OK", json!({"token_endpoint": format!("http://{host}/token")}));
        }
        if request.line == "POST /token" {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            return says(
                "200 OK",
                json!({"access_token": format!("s3cret-{number}"), "token_type": "bearer", "expires_in": 3600}),
            );
        }
        let good = if is_revoked.load(Ordering::SeqCst) { "bearer s3cret-2" } else { "bearer s3cret-1" };
        match request.header("authorization") == Some(good) {
            true => taken(request),
            false => says("401 Unauthorized", json!({})),
        }
    });
    let (route, _folder) = route(&web, "");
    let gateway = Gateway::start(&route);
    let mut peer = Peer::connect(&gateway);
    let delivered = || web.requests().iter().filter(|request| request.line == "POST /fhir").count();
    // Sent before any answer is read, so that several deliveries are under way at once.
    (0..20).for_each(|number| peer.send(&message(&format!("m{number}"), "A01")));
    (0..20).for_each(|_| assert!(peer.receive().unwrap().contains("MSA|AA|")));
    wait_for("the deliveries", || (delivered() == 20).then_some(()));
    assert_eq!(given.load(Ordering::SeqCst), 1, "one token for twenty messages of eight channels");
    revoked.store(true, Ordering::SeqCst);
    peer.exchange(&message("late", "A01"));
    wait_for("the last delivery", || (delivered() == 22).then_some(()));
    let asked = tokens(&web);
    let data = gateway.data();
    let log = gateway.stop();
    assert_eq!(asked.len(), 2);
    for request in &asked {
        let claims = claims(request);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("us"), &json!("us")));
        assert_eq!(claims["aud"], format!("http://{}/token", web.address));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!((now..=now + 300).contains(&claims["exp"].as_u64().unwrap()));
        let body = String::from_utf8(request.body.clone()).unwrap();
        assert!(body.contains("grant_type=client_credentials") && body.contains("scope=system%2F*.cud"), "{body}");
    }
    let ids: BTreeSet<_> = asked.iter().map(|request| claims(request)["jti"].to_string()).collect();
    assert_eq!(ids.len(), 2, "no assertion twice");
    assert!(dead_letters(&data, "ehr").is_empty());
    assert!(!log.contains("s3cret") && !log.contains("not delivered"), "{log}");
}

#[test]
fn credentials_that_are_refused_make_the_route_rest_and_nothing_a_dead_letter() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let web = Web::start(move |request| match request.line.as_str() {
        "POST /token" if request.earlier == 0 => {
            says("400 Bad Request", json!({"error": "invalid_client", "error_description": "CANARY"}))
        }
        "POST /token" if request.earlier == 1 => says("200 OK", json!({"hello": "CANARY"})),
        "POST /token" => says("200 OK", json!({"access_token": "s3cret", "token_type": "Bearer", "expires_in": 3600})),
        _ if is_well.load(Ordering::SeqCst) => taken(request),
        _ => says("401 Unauthorized", json!({})),
    });
    let (route, _folder) = route(&web, &format!(", token_url = \"http://{}/token\"", web.address));
    let gateway =
        Gateway::start(&format!("{route}order = \"link\"\n").replace("max = \"50ms\"", "max = \"50ms\", attempts = 2"));
    let mut peer = Peer::connect(&gateway);
    peer.exchange(&message("a", "A01"));
    peer.exchange(&message("b", "A01"));
    wait_for("refusals", || (web.requests().len() > 20).then_some(()));
    well.store(true, Ordering::SeqCst);
    let bundles = || {
        web.requests()
            .into_iter()
            .filter(|request| request.line == "POST /fhir" && request.body.windows(9).any(|part| part == b"patient-b"))
            .count()
    };
    wait_for("the second message", || (bundles() > 0).then_some(()));
    let data = gateway.data();
    let log = gateway.stop();
    assert!(dead_letters(&data, "ehr").is_empty(), "{log}");
    assert!(log.contains("the token server answers HTTP 400 Bad Request (invalid_client)"), "{log}");
    assert!(log.contains("answers without a bearer token") && log.contains("HTTP 401"), "{log}");
    assert!(!log.contains("CANARY") && !log.contains("s3cret"), "{log}");
    // Each refusal of a token asks for one more, once.
    let refused = web.requests().iter().filter(|request| request.line == "POST /fhir").count();
    assert!(tokens(&web).len() <= refused + 3, "{} tokens for {refused} requests", tokens(&web).len());
}
