//! Many dead letters at once: counted, sent again, dropped; and what the state of the gateway tells of them.
use super::admin::Administered;
use super::process::{Peer, handoff, message, wait_for};
use super::server::{Server, update};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A gateway with dead letters 1 to `count` of the route `ehr` and one that could not be translated, and what has its server take everything from then on.
fn with_letters(count: usize) -> (Administered, Server, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server =
        Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "422 Unprocessable Entity" });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    for number in 1..=count {
        assert!(peer.exchange(&update(&format!("p-{number}"), "N")).contains("MSA|AA|"));
    }
    assert!(peer.exchange(&message("x", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99")).contains("MSA|AR|x"));
    wait_for("dead letters", || {
        let found = admin.get("/api/v1/dead-letters");
        (found["count"] == count + 1).then_some(())
    });
    (admin, server, up)
}

#[test]
fn the_api_counts_and_sends_again_and_drops_many() {
    let (admin, server, up) = with_letters(4);
    let list = |query: &str| admin.get(&format!("/api/v1/dead-letters?{query}"));
    assert_eq!(list("route=ehr&reason=http%20422&limit=1")["count"], 4, "not only those of the page");
    assert_eq!(
        (&list("route=ehr&reason=409")["count"], &list("since=2100-01-01T00:00:00Z")["count"]),
        (&0.into(), &0.into())
    );
    let many = "/api/v1/dead-letters/ehr";
    assert_eq!(admin.ask("viewer", "POST", &format!("{many}/resend")).status, 403);
    for wrong in ["limit=0", "since=yesterday", "reson=x", "after=-1"] {
        assert_eq!(admin.ask("operator", "POST", &format!("{many}/resend?{wrong}")).status, 400, "{wrong}");
    }
    let failed = admin.ask("operator", "POST", &format!("{many}/resend?limit=1")).json();
    assert_eq!(
        (&failed["sent"], &failed["next"], &failed["dead_letters"][0]["result"]),
        (&0.into(), &1.into(), &"failed".into())
    );
    up.store(true, Ordering::SeqCst);
    let sent = admin.ask("operator", "POST", &format!("{many}/resend?limit=2&after=1&reason=422")).json();
    let seqs: Vec<_> = sent["dead_letters"].as_array().unwrap().iter().map(|letter| letter["seq"].clone()).collect();
    assert_eq!((&sent["sent"], &sent["next"], seqs), (&2.into(), &3.into(), vec![2.into(), 3.into()]), "{sent}");
    assert_eq!(server.taken().iter().map(|(patient, _)| patient.as_str()).collect::<Vec<_>>(), ["p-2", "p-3"]);

    let status = admin.get("/api/v1/status");
    assert_eq!(status["dead_letters"], serde_json::json!({"ehr": 2, "untranslated": 1}));
    let route = &admin.get("/api/v1/routes")["routes"][0];
    let figures = ["received", "sent", "resent", "errored", "dead_letters"].map(|key| route[key].as_u64().unwrap());
    // The one that could not be translated is none of its own.
    assert_eq!(figures, [5, 2, 2, 4, 2], "what is sent again was received before: {route}");
    assert!(route["last_sent_at"].is_string(), "{route}");

    // One has come since somebody looked, or gone.
    for expected in [1, 3] {
        for verb in ["drop", "resend"] {
            let refused = admin.ask("operator", "POST", &format!("{many}/{verb}?expected={expected}"));
            assert_eq!(refused.status, 409, "{}", refused.body);
            assert!(refused.body.contains("there are 2 by now") && refused.body.contains("nothing was done"));
        }
    }
    assert_eq!((&list("route=ehr")["count"], server.taken().len()), (&2.into(), 2));
    let dropped = admin.ask("operator", "POST", &format!("{many}/drop?limit=1&expected=2")).json();
    assert_eq!((&dropped["dropped"], &dropped["left"]), (&1.into(), &1.into()));
    assert_eq!(list("route=ehr")["dead_letters"][0]["seq"], 4);
    let log = admin.gateway.stop();
    assert!(log.contains("dead letters sent again") && log.contains("dead letters dropped"), "{log}");
    assert!(log.contains("token=the-operator route=\"ehr\" dropped=1"), "{log}");
}

#[test]
fn the_command_line_counts_first_and_does_it_when_told() {
    let (admin, server, up) = with_letters(3);
    let config = admin.gateway.folder().join("handoff.toml");
    let letters = |arguments: &[&str]| {
        let mut command = handoff();
        command.arg("dead-letters").args(arguments).arg("--config").arg(&config).stdout(Stdio::piped());
        let done = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    up.store(true, Ordering::SeqCst);
    let (code, counted, _) = letters(&["resend", "--route", "ehr", "--reason", "422"]);
    assert_eq!(code, Some(0));
    assert!(counted.starts_with("3 dead letters of ehr\n3: ") && counted.contains("HTTP 422"), "{counted}");
    let advice = "nothing was done; with --yes they are sent again, with --yes --pin ";
    let pin = counted.split(advice).nth(1).and_then(|rest| rest.strip_suffix(" these alone\n")).unwrap().to_owned();
    let (code, _, said) = letters(&["resend", "--route", "ehr", "--limit", "2", "--yes", "--pin", &pin]);
    assert!(code == Some(2) && said.contains("others than were seen: nothing was done"), "{code:?} {said}");
    let (code, _, said) = letters(&["resend", "--route", "ehr", "--yes", "--expected", "2"]);
    assert!(code == Some(2) && said.contains("2 were expected: nothing was done"), "{code:?} {said}");
    assert_eq!(server.taken().len(), 0, "nothing was done");
    let none = letters(&["resend", "--route", "ehr", "--since", "2100-01-01", "--yes"]);
    assert_eq!(none.1, "0 dead letters of ehr\n0 of 0 sent again\n");
    let (code, sent, said) = letters(&["resend", "--route", "ehr", "--since", "1h", "--limit", "2", "--yes"]);
    assert_eq!(
        (code, sent.as_str()),
        (Some(0), "2 dead letters of ehr\nsent 1 to ehr\nsent 2 to ehr\n2 of 2 sent again\n"),
        "{said}"
    );
    assert_eq!(server.taken().len(), 2);
    let route = &admin.get("/api/v1/routes")["routes"][0];
    assert_eq!(
        (&route["sent"], &route["dead_letters"]),
        (&2.into(), &1.into()),
        "also what a command has sent: {route}"
    );
    let (code, _, said) = letters(&["resend", "--route", "untranslated", "--yes"]);
    assert!(code == Some(1) && said.contains("not sent 4: no message map covers ZZZ^Z99"), "{said}");
    assert_eq!(letters(&["drop", "--route", "untranslated", "--yes"]).1, "1 dead letters of untranslated\n1 dropped\n");
    assert!(letters(&["list"]).1.starts_with("ehr 3 "));
    for (arguments, expected) in [
        (&["resend"][..], "<ROUTE>"),
        (&["resend", "ehr"], "<NUMBER>"),
        (&["drop", "ehr", "3", "--route", "ehr"], "cannot be used with"),
        (&["drop", "ehr", "3", "--yes"], "cannot be used with"),
        (&["drop", "--yes"], "--route <NAME>"),
        (&["drop", "--route", "ehr", "--since", "soon"], "--since soon: is no time"),
    ] {
        let (code, _, said) = letters(arguments);
        assert!(code == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
    let done = handoff()
        .args(["status", "--admin", &format!("http://{}", admin.address)])
        .env("HANDOFF_TOKEN", admin.token("viewer"))
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let shown = String::from_utf8(done.stdout).unwrap();
    assert!(shown.contains("SENT  ERRORED  DEAD LETTERS  LAST MESSAGE\n"), "{shown}");
    let row: Vec<_> = shown.lines().find(|line| line.starts_with("STARTED")).unwrap().split_whitespace().collect();
    assert_eq!(row[5..8], ["2", "3", "1"], "{shown}");
    admin.gateway.stop();
}

#[test]
fn two_who_send_all_again_send_each_once_and_what_is_dropped_is_not_sent() {
    let (admin, server, up) = with_letters(4);
    let already = server.requests().len();
    up.store(true, Ordering::SeqCst);
    let many = "/api/v1/dead-letters/ehr/resend";
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(admin.ask("operator", "POST", many).status, 200));
        }
    });
    assert_eq!(admin.get("/api/v1/dead-letters?route=ehr")["count"], 0);
    assert_eq!((server.taken().len(), server.requests().len() - already), (4, 4), "each once");
    admin.gateway.stop();
}

#[test]
fn a_route_that_is_held_back_gets_no_dead_letters_either() {
    let (admin, server, up) = with_letters(2);
    up.store(true, Ordering::SeqCst);
    for (verb, how) in [("pause", "paused"), ("stop", "stopped")] {
        assert_eq!(admin.ask("operator", "POST", &format!("/api/v1/routes/ehr/{verb}")).status, 200);
        let refused = admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/1/resend");
        assert!(refused.status == 409 && refused.body.contains(&format!("ehr is {how}; start it")), "{}", refused.body);
    }
    assert_eq!(server.taken().len(), 0);
    admin.ask("operator", "POST", "/api/v1/routes/ehr/start");
    assert_eq!(admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/1/resend").json()["arrived"], true);
    admin.gateway.stop();
}
