//! Any message of the journal sent once more from a running gateway: only where its route is done with it, never beside what must keep its order with it, and never over a newer
//! state unless somebody says so. The receiver is the oracle.
use super::admin::Administered;
use super::http::Answer;
use super::process::{Peer, handoff, lines, message, wait_for};
use super::server::{Request, Server, update};
use serde_json::Value;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn again(admin: &Administered, seq: u64, query: &str) -> Answer {
    admin.ask("operator", "POST", &format!("/api/v1/messages/{seq}/resend?{query}"))
}

/// The answer of one that nothing came of, with why.
fn refused(answer: &Answer) -> (u16, String) {
    let problem = answer.json();
    assert!(!problem["remedy"].as_str().unwrap().is_empty(), "{problem}");
    (answer.status, problem["detail"].as_str().unwrap().to_owned())
}

fn key(request: &Request) -> String {
    let line = request.head.lines().find(|line| line.to_ascii_lowercase().starts_with("idempotency-key: "));
    line.unwrap().split_once(": ").unwrap().1.to_owned()
}

fn names(server: &Server) -> Vec<String> {
    server.requests().into_iter().map(|request| request.name).collect()
}

/// Until the route has nothing before it.
fn wait_until_done(admin: &Administered, route: &str, sent: u64) {
    wait_for("the route", || {
        let routes = admin.get("/api/v1/routes");
        let found = routes["routes"].as_array().unwrap().iter().find(|found| found["name"] == route)?.clone();
        (found["sent"].as_u64() >= Some(sent) && found["queued"] == 0).then_some(())
    });
}

/// Sends it until the state database says that the route is done with it.
fn settled(admin: &Administered, seq: u64, query: &str) -> Value {
    wait_for("the route to be done with it", || {
        let told = again(admin, seq, &format!("{query}&dry_run=true"));
        assert_eq!(told.status, 200, "{}", told.body);
        let told = told.json();
        (told["routes"][0]["standing"] != "queued").then_some(told)
    })
}

#[test]
fn a_delivered_message_goes_out_once_more_and_that_is_kept() {
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let server =
        Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "500 Internal Server Error" });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    assert!(peer.exchange(&update("ill", "ONE")).contains("MSA|AA|"));
    wait_until_done(&admin, "ehr", 1);
    let told = settled(&admin, 1, "routes=ehr&mappings=original");
    assert_eq!(
        (&told["routes"][0]["standing"], &told["routes"][0]["result"], &told["routes"][0]["later"], &told["seen"]),
        (&"delivered".into(), &"would be sent".into(), &0.into(), &0.into())
    );
    assert_eq!(server.requests().len(), 1, "nothing goes out of looking");

    for wrong in
        ["", "routes=ehr", "routes=&mappings=original", "routes=a%20b&mappings=original", "routes=ehr&mappings=mine"]
    {
        assert_eq!(again(&admin, 1, wrong).status, 400, "{wrong}");
    }
    assert_eq!(again(&admin, 1, "routes=lab&mappings=original").status, 404);
    assert_eq!(again(&admin, 9, "routes=ehr&mappings=original").status, 404);
    for role in ["viewer", "phi-reader"] {
        let asked = "/api/v1/messages/1/resend?routes=ehr&mappings=original";
        assert_eq!(admin.ask(role, "POST", asked).status, 403, "{role}");
    }
    assert_eq!(server.requests().len(), 1);

    let sent = again(&admin, 1, "routes=ehr&mappings=original&seen=0");
    assert_eq!((sent.status, &sent.json()["arrived"]), (200, &true.into()), "{}", sent.body);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((key(&requests[0]), &requests[0].body), (key(&requests[1]), &requests[1].body), "the same once more");
    wait_until_done(&admin, "ehr", 2);
    let (status, why) = refused(&again(&admin, 1, "routes=ehr&mappings=original&seen=0"));
    assert!(status == 409 && why.contains("sent again since you looked"), "{why}");

    // A receiver that fails: it is said, and nothing else changes.
    up.store(false, Ordering::SeqCst);
    let failed = again(&admin, 1, "routes=ehr&mappings=original");
    let told = failed.json();
    assert_eq!((failed.status, &told["arrived"], &told["routes"][0]["result"]), (200, &false.into(), &"failed".into()));
    assert!(told["routes"][0]["reason"].as_str().unwrap().contains("HTTP 500"), "{told}");
    assert_eq!(server.requests().len(), 3, "one attempt");
    assert_eq!(admin.get("/api/v1/dead-letters")["count"], 0);
    up.store(true, Ordering::SeqCst);
    assert!(peer.exchange(&update("ill", "TWO")).contains("MSA|AA|"));
    wait_until_done(&admin, "ehr", 3);
    assert_eq!(names(&server), ["ONE", "ONE", "ONE", "TWO"]);
    let log = admin.gateway.stop();
    for line in ["message to be sent again", "message sent again", "token=the-operator", "result=\"failed\""] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(!log.contains("ONE"), "{log}");
}

#[test]
fn what_a_route_has_still_before_it_is_not_sent_beside_it() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |request| match request.name.as_str() {
        "BAD" if !is_up.load(Ordering::SeqCst) => "503 Service Unavailable",
        _ => "200 OK",
    });
    let admin = Administered::start("", &server.configuration("", ""));
    let asked = "routes=ehr&mappings=original&overwrite=true";
    let mut peer = Peer::connect(&admin.gateway);
    peer.exchange(&update("ill", "GOOD"));
    wait_until_done(&admin, "ehr", 1);

    // Stopped or paused: it says so of what it is done with, and of what it is not.
    for (verb, state) in [("pause", "paused"), ("stop", "stopped")] {
        assert_eq!(admin.ask("operator", "POST", &format!("/api/v1/routes/ehr/{verb}")).status, 200);
        settled(&admin, 1, asked);
        let (status, why) = refused(&again(&admin, 1, asked));
        assert!(status == 409 && why.contains(&format!("the route is {state}")), "{why}");
    }
    peer.exchange(&update("well", "HELD"));
    let (status, why) = refused(&again(&admin, 2, asked));
    assert!(status == 409 && why.contains("is stopped and has not come to it yet"), "{why}");
    assert_eq!(admin.ask("operator", "POST", "/api/v1/routes/ehr/start").status, 200);
    wait_until_done(&admin, "ehr", 1);
    assert_eq!(names(&server), ["GOOD", "HELD"], "once each");

    // One that fails and is tried again is the route's own; what is of its patient waits for it, others do not.
    peer.exchange(&update("ill", "BAD"));
    server.wait_for(4);
    let (status, why) = refused(&again(&admin, 3, asked));
    assert!(status == 409 && why.contains("will send it by itself"), "{why}");
    let (status, why) = refused(&again(&admin, 1, asked));
    assert!(status == 409 && why.contains("message 3, which must keep its order with it, fails"), "{why}");
    assert_eq!(names(&server).iter().filter(|name| *name == "GOOD").count(), 1);
    settled(&admin, 2, asked);
    let sent = again(&admin, 2, asked);
    assert_eq!((sent.status, &sent.json()["arrived"]), (200, &true.into()), "{}", sent.body);
    up.store(true, Ordering::SeqCst);
    wait_for("the rest", || server.taken().contains(&("ill".into(), "BAD".into())).then_some(()));
    admin.gateway.stop();
}

#[test]
fn an_older_state_is_brought_back_only_by_who_says_so_and_never_beside_an_attempt() {
    let server = Server::start(|request| {
        if request.name == "SLOW" {
            std::thread::sleep(Duration::from_millis(700));
        }
        "200 OK"
    });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    for (patient, name) in [("ill", "OLD"), ("well", "X"), ("ill", "NEW"), ("ill", "NEWER")] {
        peer.exchange(&update(patient, name));
    }
    wait_until_done(&admin, "ehr", 4);
    let told = settled(&admin, 1, "routes=ehr&mappings=original");
    let route = &told["routes"][0];
    assert_eq!((&route["later"], &route["later_last"], &route["result"]), (&2.into(), &4.into(), &"refused".into()));
    let (status, why) = refused(&again(&admin, 1, "routes=ehr&mappings=original"));
    assert!(status == 409 && why.contains("2 later messages of the same patient (the last is 4)"), "{why}");
    settled(&admin, 4, "routes=ehr&mappings=original");
    let newest = again(&admin, 4, "routes=ehr&mappings=original");
    assert_eq!(newest.status, 200, "nothing is behind it: {}", newest.body);
    assert_eq!(server.requests().len(), 5);
    let sent = again(&admin, 1, "routes=ehr&mappings=original&overwrite=true");
    assert_eq!((sent.status, &sent.json()["arrived"]), (200, &true.into()), "{}", sent.body);
    assert_eq!(names(&server).last().unwrap(), "OLD");

    // While one of the patient is under way it waits, and what came meanwhile is told: it must not go out over that.
    peer.exchange(&update("ill", "SLOW"));
    std::thread::sleep(Duration::from_millis(150));
    let (status, why) = refused(&again(&admin, 4, "routes=ehr&mappings=original"));
    assert!(status == 409 && why.contains("message 5 of the same patient has gone out meanwhile"), "{why}");
    peer.exchange(&update("ill", "SLOW").replace("|ill.SLOW|", "|ill.SLOW.2|"));
    std::thread::sleep(Duration::from_millis(150));
    peer.exchange(&update("ill", "LAST"));
    let sent = again(&admin, 4, "routes=ehr&mappings=original&overwrite=true");
    assert_eq!((sent.status, &sent.json()["arrived"]), (200, &true.into()), "{}", sent.body);
    let requests = server.wait_for(10);
    let order: Vec<&str> = requests[6..].iter().map(|request| request.name.as_str()).collect();
    assert_eq!(order, ["SLOW", "SLOW", "NEWER", "LAST"], "behind the attempt under way, before what came later");
    admin.gateway.stop();
}

#[test]
fn routes_are_chosen_and_one_that_filters_it_takes_a_word() {
    let server = Server::start(|_| "200 OK");
    let file = "[[route]]\nname = \"out\"\nto = { file = \"out.ndjson\" }\n[[route]]\nname = \"admissions\"\nfilter = \"MSH-9.2 = 'A01'\"\nto = { file = \"admissions.ndjson\" }\n";
    let admin = Administered::start("", &format!("{}{file}", server.configuration("", "")));
    let mut peer = Peer::connect(&admin.gateway);
    peer.exchange(&update("ill", "ONE"));
    wait_until_done(&admin, "ehr", 1);
    wait_until_done(&admin, "out", 1);
    wait_until_done(&admin, "admissions", 0);
    settled(&admin, 1, "routes=admissions&mappings=original");
    settled(&admin, 1, "routes=out&mappings=original");
    let (status, why) = refused(&again(&admin, 1, "routes=out,admissions&mappings=original"));
    assert!(status == 409 && why.contains("admissions: the route's filter"), "{why}");
    let folder = admin.gateway.folder().to_owned();
    assert_eq!(lines(&folder.join("out.ndjson")).len(), 1, "one that cannot be: none is sent");
    let sent = again(&admin, 1, "routes=out,admissions&mappings=original&filtered=true");
    assert_eq!((sent.status, &sent.json()["arrived"]), (200, &true.into()), "{}", sent.body);
    assert_eq!(lines(&folder.join("out.ndjson")).len(), 2);
    assert_eq!(lines(&folder.join("admissions.ndjson")).len(), 1);
    assert_eq!(server.requests().len(), 1, "the route that was not chosen");

    // What could not be translated is a dead letter of its own, and is sent as that.
    assert!(peer.exchange(&message("x", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99")).contains("MSA|AR|x"));
    wait_for("the letter", || (admin.get("/api/v1/dead-letters")["count"] == 1).then_some(()));
    wait_for("the routes", || {
        let (_, why) = refused(&again(&admin, 2, "routes=ehr&mappings=current&filtered=true"));
        why.contains("lies among the dead letters").then_some(())
    });
    let (_, why) = refused(&again(&admin, 2, "routes=untranslated&mappings=current"));
    assert!(why.contains("no message map covers"), "{why}");
    admin.gateway.stop();
}

#[test]
fn other_mappings_bear_another_key_and_those_of_then_the_same() {
    let server = Server::start(|_| "200 OK");
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    peer.exchange(&update("ill", "ONE"));
    wait_until_done(&admin, "ehr", 1);
    let folder = admin.gateway.folder().to_owned();
    std::fs::create_dir(folder.join("site")).unwrap();
    std::fs::write(folder.join("site/site.toml"), "[authorities]\nHARBOR = \"urn:example:today\"\n").unwrap();
    let configuration = std::fs::read_to_string(folder.join("handoff.toml")).unwrap();
    admin.gateway.reload(&format!("{configuration}\nsite = \"site\"\n"));
    admin.gateway.wait_for_log("configuration read anew");
    settled(&admin, 1, "routes=ehr&mappings=original");
    for mappings in ["original", "current", "current"] {
        let sent = again(&admin, 1, &format!("routes=ehr&mappings={mappings}"));
        assert_eq!((sent.status, &sent.json()["arrived"]), (200, &true.into()), "{}", sent.body);
    }
    let requests = server.requests();
    let keys: Vec<String> = requests.iter().map(key).collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(requests[0].body, requests[1].body);
    assert!(!requests[1].body.to_string().contains("urn:example:today"));
    assert!(requests[2].body.to_string().contains("urn:example:today"));
    assert!(keys[2] != keys[0] && keys[2].len() == 36, "a receiver that remembers keys must not take it for the first");
    assert_eq!(keys[2], keys[3], "what is the same has the same");
    admin.gateway.stop();
}

#[test]
fn of_two_who_send_it_at_once_one_is_told() {
    let server = Server::start(|request| {
        if request.earlier > 0 {
            std::thread::sleep(Duration::from_millis(500));
        }
        "200 OK"
    });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    peer.exchange(&update("ill", "ONE"));
    wait_until_done(&admin, "ehr", 1);
    settled(&admin, 1, "routes=ehr&mappings=original");
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| again(&admin, 1, "routes=ehr&mappings=original&seen=0").status));
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!((statuses, server.requests().len()), (vec![200, 409], 2));
    admin.gateway.stop();
}

#[test]
fn a_dead_letter_is_resolved_and_a_crash_is_at_most_a_copy_with_the_same_key() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |request| match (is_up.load(Ordering::SeqCst), request.earlier) {
        (false, _) => "422 Unprocessable Entity",
        (true, 1) => {
            // The gateway dies meanwhile.
            std::thread::sleep(Duration::from_millis(600));
            "200 OK"
        }
        _ => "200 OK",
    });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    peer.exchange(&update("ill", "ONE"));
    wait_for("the letter", || (admin.get("/api/v1/dead-letters")["count"] == 1).then_some(()));
    up.store(true, Ordering::SeqCst);
    drop(peer);
    let asked = "routes=ehr&mappings=current";
    let (address, token) = (admin.address.clone(), admin.token("operator").to_owned());
    let dying = std::thread::spawn(move || {
        let bearer = format!("Authorization: Bearer {token}");
        let line = format!(
            "POST /api/v1/messages/1/resend?{asked} HTTP/1.1\r\nHost: {address}\r\n{bearer}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        std::io::Write::write_all(&mut stream, line.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
        answer
    });
    // It is recorded as soon as it is answered, so give it the time to be under way.
    std::thread::sleep(Duration::from_millis(300));
    let admin = admin.kill_and_restart();
    assert_eq!(dying.join().unwrap(), "", "no answer");
    assert_eq!(admin.get("/api/v1/dead-letters")["count"], 1, "nothing is lost");
    let sent = again(&admin, 1, asked);
    assert_eq!((sent.status, &sent.json()["arrived"]), (200, &true.into()), "{}", sent.body);
    assert_eq!(admin.get("/api/v1/dead-letters")["count"], 0);
    let keys: Vec<String> = server.wait_for(3).iter().map(key).collect();
    assert!(keys.iter().all(|known| *known == keys[0]), "{keys:?}");
    admin.gateway.stop();
}

/// One that was under way when somebody looked, and is known to be: what it brings must not be put back either.
#[test]
fn what_was_under_way_when_somebody_looked_counts_once_it_has_gone_out() {
    let server = Server::start(|request| {
        if request.name == "SLOW" {
            std::thread::sleep(Duration::from_millis(2500));
        }
        "200 OK"
    });
    let admin = Administered::start("", &server.configuration("", "filter = \"MSH-9.2 = 'A08'\""));
    let mut peer = Peer::connect(&admin.gateway);
    peer.exchange(&update("ill", "OLD"));
    wait_until_done(&admin, "ehr", 1);
    settled(&admin, 1, "routes=ehr&mappings=original");
    peer.exchange(&update("ill", "SLOW"));
    std::thread::sleep(Duration::from_millis(100));
    // Passed by the filter: it is written down how far the route has come, and that the slow one waits.
    peer.exchange(&message("other", "A01"));
    settled(&admin, 3, "routes=ehr&mappings=original&filtered=true");
    let told = again(&admin, 1, "routes=ehr&mappings=original&dry_run=true").json();
    assert_eq!(told["routes"][0]["later"], 0, "still under way: {told}");
    let (status, why) = refused(&again(&admin, 1, "routes=ehr&mappings=original"));
    assert!(status == 409 && why.contains("message 2 of the same patient has gone out meanwhile"), "{why}");
    assert_eq!(names(&server), ["OLD", "SLOW"]);
    admin.gateway.stop();
}

/// What a filter kept away and somebody sent by hand went out: what is older does not go over it unasked.
#[test]
fn what_was_sent_by_hand_is_not_overtaken_either() {
    let server = Server::start(|_| "200 OK");
    let admin = Administered::start("", &server.configuration("", "filter = \"MSH-9.2 = 'A08'\""));
    let mut peer = Peer::connect(&admin.gateway);
    peer.exchange(&update("ill", "OLD"));
    peer.exchange(&update("ill", "NEW").replace("ADT^A08", "ADT^A01"));
    wait_until_done(&admin, "ehr", 1);
    let later = || again(&admin, 1, "routes=ehr&mappings=original&dry_run=true").json()["routes"][0]["later"].clone();
    assert_eq!(later(), 0, "it was kept away");
    let query = "routes=ehr&mappings=original&filtered=true";
    settled(&admin, 2, query);
    let sent = again(&admin, 2, query);
    assert_eq!(sent.status, 200, "{}", sent.body);
    assert_eq!(later(), 1);
    assert_eq!(refused(&again(&admin, 1, "routes=ehr&mappings=original")).0, 409);
    assert_eq!(names(&server).len(), 2);

    // The command line tells it as sent as well, though the filter kept it away.
    let told = |arguments: &[&str]| {
        let mut command = handoff();
        command.arg("messages").args(arguments).arg("--config").arg(admin.gateway.folder().join("handoff.toml"));
        String::from_utf8(command.stdout(Stdio::piped()).output().unwrap().stdout).unwrap()
    };
    assert!(told(&["show", "2"]).contains("route ehr: sent\n"), "{}", told(&["show", "2"]));
    let sent = told(&["search", "--route", "ehr", "--status", "sent", "--oldest-first"]);
    assert_eq!(sent.lines().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(), ["1", "2"], "{sent}");
    admin.gateway.stop();
}

fn all(admin: &Administered, query: &str) -> Answer {
    admin.ask("operator", "POST", &format!("/api/v1/messages/resend?{query}"))
}

/// What a look tells of those behind a number, as the parameters that send exactly these.
fn pins(admin: &Administered, meant: &str, after: u64) -> String {
    let told = all(admin, &format!("{meant}&after={after}&dry_run=true"));
    assert_eq!(told.status, 200, "{}", told.body);
    let told = told.json();
    format!("&after={after}&expected={}&pin={}", told["count"], told["pin"].as_str().unwrap())
}

/// What is told of all turns: how many were sent, and how many were not for which cause, with the first of them.
fn whole(answer: &Answer) -> (u64, Vec<(String, u64, Vec<u64>)>) {
    let whole = answer.json()["whole"].clone();
    let number = |value: &Value| value.as_u64().unwrap();
    let by_cause = whole["by_cause"].as_array().unwrap().iter().map(|one| {
        let first = one["first"].as_array().unwrap().iter().map(number).collect();
        assert!(!one["reason"].as_str().unwrap().is_empty() && !one["remedy"].as_str().unwrap().is_empty(), "{one}");
        (one["cause"].as_str().unwrap().to_owned(), number(&one["count"]), first)
    });
    (number(&whole["sent"]), by_cause.collect())
}

/// What has come of each, by its number.
fn results(answer: &Answer) -> Vec<(u64, String)> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = answer.json();
    let each = told["messages"].as_array().unwrap().iter();
    each.map(|one| (one["seq"].as_u64().unwrap(), one["result"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn all_of_a_search_goes_out_once_more_in_its_order_and_in_turns() {
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let server =
        Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "422 Unprocessable Entity" });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    for (patient, name) in [("a", "ONE"), ("b", "TWO"), ("c", "THREE"), ("a", "FOUR"), ("b", "FIVE")] {
        assert!(peer.exchange(&update(patient, name)).contains("MSA|AA|"));
    }
    wait_until_done(&admin, "ehr", 5);
    settled(&admin, 5, "routes=ehr&mappings=original");
    let mut gone = names(&server);
    gone.sort();
    assert_eq!(gone.len(), 5);
    let meant = "routes=ehr&mappings=original&type=ADT%5EA08&route=ehr&state=sent";
    let told = all(&admin, &format!("{meant}&dry_run=true"));
    assert_eq!(told.status, 200, "{}", told.body);
    let told = told.json();
    assert_eq!(
        (&told["count"], &told["first"], &told["last"], &told["seen"]),
        (&5.into(), &1.into(), &5.into(), &0.into())
    );
    assert_eq!(told["fates"]["ehr"]["sent"], 5);
    assert_eq!(server.requests().len(), 5, "nothing goes out of looking");

    // Only what somebody has looked at, and only by who may.
    let pin = format!("&pin={}", told["pin"].as_str().unwrap());
    for (query, status) in [
        (meant.to_owned(), 409),
        (format!("{meant}&expected=5&seen=0{pin}"), 409),
        (format!("{meant}&last=5&seen=0&expected=5"), 409),
        (format!("{meant}&last=5&seen=0&expected=4{pin}"), 409),
        (format!("{meant}&last=4&seen=0&expected=5{pin}"), 409),
        (format!("{meant}&last=5&seen=0&expected=5&pin=x"), 400),
        (format!("{meant}&last=5&seen=0&expected=5{pin}&so_far=x"), 409),
        (format!("{meant}&last=5&seen=0&expected=5{pin}&patient=a"), 400),
        (format!("{meant}&last=5&seen=0&expected=5{pin}&text=ONE"), 400),
        (format!("{}&last=5&seen=0&expected=5{pin}", meant.replace("routes=ehr", "routes=lab")), 404),
    ] {
        let answer = all(&admin, &query);
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
    }
    let pinned = format!("{meant}&last=5&seen=0");
    for role in ["viewer", "phi-reader"] {
        let answer = admin.ask(role, "POST", &format!("/api/v1/messages/resend?{pinned}&expected=5"));
        assert_eq!(answer.status, 403, "{role}");
    }
    assert_eq!(server.requests().len(), 5);
    // What came since is no part of it.
    assert!(peer.exchange(&update("d", "SIX")).contains("MSA|AA|"));
    wait_until_done(&admin, "ehr", 6);

    // A turn at a time; what would put an older state over a newer one is passed over.
    let sent = all(&admin, &format!("{pinned}{}&limit=2", pins(&admin, &pinned, 0)));
    assert_eq!(results(&sent), [(1, "refused".into()), (2, "refused".into())]);
    assert!(sent.body.contains("may bring an older state back"), "{}", sent.body);
    assert_eq!((&sent.json()["next"], &sent.json()["left"]), (&2.into(), &3.into()));
    // A receiver that does not take one ends the turn, and it can be tried again from there.
    up.store(false, Ordering::SeqCst);
    let turn = |answer: &Answer| {
        let told = answer.json();
        let (next, pin, so_far) = (&told["next"], told["pin"].as_str().unwrap(), told["so_far"].as_str().unwrap());
        format!("{pinned}&after={next}&expected={}&pin={pin}&so_far={so_far}", told["left"])
    };
    let rest = turn(&sent);
    let sent = all(&admin, &rest);
    assert_eq!((results(&sent), &sent.json()["stopped"]), (vec![(3, "failed".into())], &true.into()));
    let left = ("left_behind".to_owned(), 1, vec![3]);
    assert_eq!(whole(&sent), (0, vec![("overtaken".into(), 2, vec![1, 2]), left]), "should it be left behind");
    let once_more = sent.json()["retry"].clone();
    let text = |key: &str| once_more[key].as_str().unwrap().to_owned();
    let retry = format!(
        "{pinned}&after={}&expected={}&pin={}&so_far={}",
        once_more["after"],
        once_more["expected"],
        text("pin"),
        text("so_far")
    );
    up.store(true, Ordering::SeqCst);
    let sent = all(&admin, &retry);
    assert_eq!(results(&sent), [3, 4, 5].map(|seq| (seq, "sent".to_owned())));
    assert_eq!((&sent.json()["next"], &sent.json()["stopped"]), (&Value::Null, &false.into()));
    assert_eq!(whole(&sent), (3, vec![("overtaken".into(), 2, vec![1, 2])]), "of all turns");
    assert_eq!(names(&server)[6..], ["THREE", "THREE", "FOUR", "FIVE"]);

    // The same once more by somebody who has not seen that: none twice.
    let sent = all(&admin, &rest);
    assert_eq!(results(&sent), [3, 4, 5].map(|seq| (seq, "refused".to_owned())));
    assert_eq!(sent.json()["messages"][0]["cause"], "sent_meanwhile");
    // All of them, an older state or not, in their order.
    let seen = all(&admin, &format!("{meant}&last=5&dry_run=true")).json()["seen"].clone();
    let sent = all(&admin, &format!("{meant}&last=5&seen={seen}&expected=5{pin}&overwrite=true"));
    assert_eq!(results(&sent).len(), 5);
    assert_eq!(names(&server)[10..], ["ONE", "TWO", "THREE", "FOUR", "FIVE"]);
    // A route that is held back gets none.
    assert_eq!(admin.ask("operator", "POST", "/api/v1/routes/ehr/pause").status, 200);
    let (status, why) = refused(&all(&admin, &format!("{meant}&last=5&seen=99&expected=5{pin}&overwrite=true")));
    assert!(status == 409 && why.contains("paused"), "{why}");
    let log = admin.gateway.stop();
    assert_eq!(log.matches("messages of a search to be sent again").count(), 7, "{log}");
}

/// What is against one message alone stops no bulk: it is passed over, and told by why.
#[test]
fn a_bulk_goes_on_past_what_stands_against_one_alone() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |request| match (request.name.as_str(), is_up.load(Ordering::SeqCst)) {
        ("GIVEN" | "DROPPED", false) => "422 Unprocessable Entity",
        ("CONFLICT", true) => "409 Conflict",
        _ => "200 OK",
    });
    let configuration = server.configuration("", "filter = \"PID-5.1 != 'NOBODY'\"");
    let admin = Administered::start("", &configuration);
    let mut peer = Peer::connect(&admin.gateway);
    for name in ["GIVEN", "DROPPED", "THREE", "CONFLICT", "FIVE"] {
        assert!(peer.exchange(&update(&format!("patient-{name}"), name)).contains("MSA|AA|"));
    }
    wait_for("the letters", || (admin.get("/api/v1/dead-letters")["count"] == 2).then_some(()));
    wait_until_done(&admin, "ehr", 3);
    assert_eq!(admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/2/drop").status, 204);
    // The filter is narrowed: what it gave up before it would not take today.
    let written = std::fs::read_to_string(admin.gateway.folder().join("handoff.toml")).unwrap();
    admin.gateway.reload(&written.replace("'NOBODY'", "'GIVEN'"));
    admin.gateway.wait_for_log("configuration read anew");
    up.store(true, Ordering::SeqCst);
    settled(&admin, 5, "routes=ehr&mappings=original");

    let many = admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/resend").json();
    assert_eq!(many["dead_letters"][0]["result"], "filtered", "{many}");
    assert_eq!((&many["whole"]["not_sent"], &many["whole"]["by_cause"][0]["cause"]), (&1.into(), &"filtered".into()));
    let one = admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/1/resend");
    assert!(one.status == 409 && one.body.contains("keeps it away now"), "{}", one.body);

    let meant = "routes=ehr&mappings=original&last=5&seen=0";
    let before = server.requests().len();
    let sent = all(&admin, &format!("{meant}{}", pins(&admin, meant, 0)));
    let came = results(&sent);
    assert_eq!(
        came.iter().map(|(_, came)| came.as_str()).collect::<Vec<_>>(),
        ["refused", "refused", "sent", "refused", "sent"],
        "{}",
        sent.body
    );
    assert_eq!((&sent.json()["stopped"], &sent.json()["left"]), (&false.into(), &0.into()));
    let one = |cause: &str, seq: u64| (cause.to_owned(), 1, vec![seq]);
    assert_eq!(whole(&sent), (2, vec![one("filtered", 1), one("conflict", 4), one("dropped", 2)]));
    assert_eq!(names(&server)[before..], ["THREE", "CONFLICT", "FIVE"], "what somebody dropped is not sent");
    // Who says so sends what the filter keeps away, a dead letter as well; it is none then.
    let sent =
        all(&admin, &format!("{meant}&first=1{}&limit=1&filtered=true", pins(&admin, &format!("{meant}&first=1"), 0)));
    assert_eq!(results(&sent), [(1, "sent".into())], "{}", sent.body);
    assert_eq!(admin.get("/api/v1/dead-letters")["count"], 0);
    admin.gateway.stop();
}

/// Of two routes one has not taken it: to try it again is to reach that one, and the other gets it once.
#[test]
fn trying_it_again_reaches_the_route_that_failed() {
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let ehr = Server::start(|_| "200 OK");
    let lab = Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "500 Internal Server Error" });
    let second = lab.configuration("", "").replace("name = \"ehr\"", "name = \"lab\"");
    let admin = Administered::start("", &format!("{}{second}", ehr.configuration("", "")));
    let mut peer = Peer::connect(&admin.gateway);
    assert!(peer.exchange(&update("ill", "ONE")).contains("MSA|AA|"));
    for route in ["ehr", "lab"] {
        wait_until_done(&admin, route, 1);
        settled(&admin, 1, &format!("routes={route}&mappings=original"));
    }
    let meant = "routes=ehr,lab&mappings=original&last=1&seen=0";
    let asked = format!("{meant}{}", pins(&admin, meant, 0));
    up.store(false, Ordering::SeqCst);
    let sent = all(&admin, &asked);
    assert_eq!((results(&sent), &sent.json()["stopped"]), (vec![(1, "failed".into())], &true.into()));
    assert!(sent.body.contains("ehr has taken it; lab: HTTP 500"), "{}", sent.body);
    assert_eq!((ehr.requests().len(), lab.requests().len()), (2, 2));
    up.store(true, Ordering::SeqCst);
    let sent = all(&admin, &asked);
    assert_eq!(results(&sent), [(1, "sent".into())], "{}", sent.body);
    assert_eq!((ehr.requests().len(), lab.requests().len()), (2, 3), "the one that has it gets it no more");
    assert_eq!(results(&all(&admin, &asked)), [(1, "refused".into())]);
    admin.gateway.stop();
}

/// As many as were seen are not those that were seen; and who looks so is in the audit, whatever comes of it.
#[test]
fn one_that_went_and_one_that_came_are_noticed_and_who_asked_is_noted() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |request| match request.name.as_str() {
        "LATER" if !is_up.load(Ordering::SeqCst) => "503 Service Unavailable",
        "FINE" => "200 OK",
        _ => "422 Unprocessable Entity",
    });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    for name in ["ONE", "TWO", "LATER", "FINE"] {
        assert!(peer.exchange(&update(&format!("patient-{name}"), name)).contains("MSA|AA|"));
    }
    let letters = || admin.get("/api/v1/dead-letters?route=ehr");
    wait_for("the letters", || (letters()["count"] == 2).then_some(()));
    wait_until_sent(&admin, 1);
    let meant = "routes=ehr&mappings=original&route=ehr&state=errored&last=4&seen=0";
    let asked = format!("{meant}{}", pins(&admin, meant, 0));
    let pin = letters()["pin"].as_str().unwrap().to_owned();
    assert_eq!(admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/1/drop").status, 204);
    up.store(true, Ordering::SeqCst);
    wait_for("the other letter", || (letters()["count"] == 2).then_some(()));
    let before = server.requests().len();
    let noted = |admin: &Administered| admin.gateway.log().matches("messages of a search to be sent again").count();
    assert_eq!(noted(&admin), 0);
    let (status, why) = refused(&all(&admin, &asked));
    assert!(status == 409 && why.contains("there are 2 by now as well, but not the same"), "{why}");
    assert_eq!(noted(&admin), 1, "before they are counted, which tells of them");
    for verb in ["resend", "drop"] {
        let other = admin.ask("operator", "POST", &format!("/api/v1/dead-letters/ehr/{verb}?expected=2&pin={pin}"));
        let (status, why) = refused(&other);
        assert!(status == 409 && why.contains("but not the same"), "{why}");
    }
    assert_eq!((server.requests().len(), &letters()["count"]), (before, &2.into()), "nothing was done");
    let now = letters()["pin"].as_str().unwrap().to_owned();
    let dropped = admin.ask("operator", "POST", &format!("/api/v1/dead-letters/ehr/drop?limit=1&pin={now}")).json();
    assert_eq!((&dropped["dropped"], &dropped["left"], &dropped["pin"]), (&1.into(), &1.into(), &letters()["pin"]));
    admin.gateway.stop();
}

/// Until the route has sent so many, whatever it has still before it.
fn wait_until_sent(admin: &Administered, sent: u64) {
    wait_for("the route", || {
        let routes = admin.get("/api/v1/routes");
        (routes["routes"][0]["sent"].as_u64() >= Some(sent)).then_some(())
    });
}
