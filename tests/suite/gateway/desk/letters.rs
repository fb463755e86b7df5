//! Dead letters, from finding them to having them delivered.
use super::{Desk, Visitor};
use crate::gateway::process::{Peer, message, wait_for};
use crate::gateway::server::{Server, update};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A desk whose route has given up messages 1 to `count`, and what has its server take everything from then on.
fn with_letters(count: usize) -> (Desk, Server, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server =
        Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "422 Unprocessable Entity" });
    let desk = Desk::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&desk.gateway);
    for number in 1..=count {
        assert!(peer.exchange(&update(&format!("p-{number}"), "N")).contains("MSA|AA|"));
    }
    let visitor = desk.sign_in("viewer");
    wait_for_page(&visitor, "/dead-letters", &format!("({count})"));
    (desk, server, up)
}

/// The page, once it holds a text.
fn wait_for_page(visitor: &Visitor, path: &str, text: &str) -> String {
    wait_for(text, || Some(visitor.get(path).body).filter(|body| body.contains(text)))
}

/// The value of a hidden field.
fn field<'p>(page: &'p str, name: &str) -> &'p str {
    page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap().split('"').next().unwrap()
}

#[test]
fn a_dead_letter_is_found_mended_and_sent_again() {
    let (desk, server, up) = with_letters(2);
    let viewer = desk.sign_in("viewer");
    let page = viewer.get("/dead-letters").body;
    assert!(page.contains("By cause") && page.contains("HTTP 422"), "{page}");
    assert!(page.contains("The target refuses its content"), "the remedy: {page}");
    assert!(!page.contains("/resend\"") && !page.contains("many?"), "a viewer changes nothing: {page}");
    assert!(!page.contains("p-1"), "nothing of a patient: {page}");

    let operator = desk.sign_in("operator");
    let one = operator.get("/dead-letters/ehr/1").body;
    assert!(one.contains("Send again") && one.contains("href=\"/messages/1\"") && !one.contains("/edit"), "{one}");
    let failed = operator.act("/dead-letters/ehr/1/resend", "");
    assert_eq!(failed.status, 200);
    assert!(failed.body.contains("Not taken by ehr") && !failed.body.contains("<html"), "{}", failed.body);
    assert_eq!(operator.get("/dead-letters/ehr/1/edit").status, 403);
    assert_eq!(desk.sign_in("phi-reader").get("/dead-letters/ehr/1/edit").status, 403, "reading alone does not send");

    let all = desk.sign_in("all");
    let form = all.get("/dead-letters/ehr/1/edit").body;
    let shown = form.split("<textarea").nth(1).unwrap().split('>').nth(1).unwrap();
    assert!(shown.starts_with("\nMSH|^~\\&amp;|HIS|"), "{shown}");
    up.store(true, Ordering::SeqCst);
    let copy = update("p-1", "MENDED").replace('\r', "\r\n").replace('&', "%26").replace('+', "%2B");
    let copy = copy.replace('\r', "%0D").replace('\n', "%0A").replace(' ', "+");
    let sent = all.act("/dead-letters/ehr/1/edit", &format!("text={copy}"));
    assert!(sent.body.contains("Sent to ehr"), "{}", sent.body);
    assert_eq!(server.taken(), [("p-1".to_owned(), "MENDED".to_owned())]);
    assert_eq!(operator.get("/dead-letters/ehr/1").status, 404, "it is none any more");

    let form = format!("csrf={}", operator.csrf());
    let whole = operator.ask("POST", "/dead-letters/ehr/2/resend", &[], &form).body;
    assert!(whole.contains("<html") && whole.contains("Sent to ehr"), "also without scripts: {whole}");
    assert!(operator.get("/dead-letters").body.contains("No dead letters"));
    let log = desk.gateway.stop();
    assert!(
        log.contains("user=all route=\"ehr\" seq=1 \"dead letter read\"") || log.contains("dead letter read"),
        "{log}"
    );
    assert!(!log.contains("MENDED"), "{log}");
}

#[test]
fn all_of_a_cause_are_shown_first_and_then_sent_or_dropped() {
    let (desk, server, up) = with_letters(3);
    let operator = desk.sign_in("operator");
    let preview = operator.get("/dead-letters/many?route=ehr&reason=422&what=resend").body;
    assert!(preview.contains("Send again: 3 dead letters") && preview.contains("HTTP 422"), "{preview}");
    assert_eq!((field(&preview, "expected"), field(&preview, "what")), ("3", "resend"));
    let (until, pin) = (field(&preview, "until").to_owned(), field(&preview, "pin").to_owned());
    let chosen = |what: &str, expected: u32, pin: &str| {
        format!("what={what}&route=ehr&reason=422&until={until}&expected={expected}&pin={pin}")
    };
    for stale in [chosen("drop", 2, &pin), chosen("resend", 3, "0"), chosen("drop", 3, "")] {
        let stale = operator.act("/dead-letters/many", &stale);
        assert!(stale.status == 409 && stale.body.contains("Nothing was done"), "{}", stale.body);
        assert!(stale.body.contains("What you saw has changed") && field(&stale.body, "pin") == pin, "{}", stale.body);
    }
    assert_eq!(operator.get("/dead-letters/many?what=nothing").status, 400);

    // What is given up after the look is not meant.
    let mut peer = Peer::connect(&desk.gateway);
    peer.exchange(&update("p-late", "N"));
    wait_for_page(&operator, "/dead-letters", "(4)");
    up.store(true, Ordering::SeqCst);
    let sent = operator.act("/dead-letters/many", &chosen("resend", 3, &pin));
    assert!(sent.body.contains("<strong>3 sent</strong>") && !sent.body.contains("hx-trigger"), "{}", sent.body);
    assert_eq!(server.taken().len(), 3);
    let left = operator.get("/dead-letters").body;
    assert!(left.contains("(1)") && left.contains("/dead-letters/ehr/4"), "{left}");

    let preview = operator.get("/dead-letters/many?what=drop").body;
    let (until, pin) = (field(&preview, "until"), field(&preview, "pin"));
    let form = format!("csrf={}&what=drop&until={until}&expected=1&pin={pin}", operator.csrf());
    let dropped = operator.ask("POST", "/dead-letters/many", &[], &form).body;
    assert!(dropped.contains("<html") && dropped.contains("1 dropped"), "{dropped}");
    assert!(operator.get("/dead-letters").body.contains("No dead letters"));
    let log = desk.gateway.stop();
    assert!(log.contains("dead letters dropped") && log.contains("dead letters sent again"), "{log}");
}

#[test]
fn what_somebody_writes_is_no_part_of_the_page() {
    let (desk, _, _) = with_letters(2);
    let operator = desk.sign_in("operator");
    let hostile = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for path in ["/dead-letters?reason=", "/dead-letters?cause=", "/dead-letters/many?what=drop&reason="] {
        let page = operator.get(&format!("{path}{hostile}")).body;
        assert!(!page.contains("<script>alert") && !page.contains(" style=\""), "{page}");
    }
    for wrong in ["route=a%20b", "since=yesterday", "after=x"] {
        assert_eq!(operator.get(&format!("/dead-letters?{wrong}")).status, 400, "{wrong}");
    }
    let page = operator.get("/dead-letters?route=ehr&since=1h").body;
    assert!(page.contains("/dead-letters/ehr/2"), "{page}");
    assert!(operator.get("/dead-letters?since=2100-01-01T00:00:00Z").body.contains("None of the dead letters"));
    let before = operator.act("/dead-letters/ehr/2/drop", "");
    assert!(before.body.contains("is no dead letter of ehr any more"), "{}", before.body);
    desk.gateway.stop();
}

/// A patient whose message fails again and again waits; others go on, and the page says so.
#[test]
fn what_waits_behind_a_failing_message_is_told() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |request| match request.patient.as_str() {
        "ill" if !is_up.load(Ordering::SeqCst) => "503 Service Unavailable",
        _ => "200 OK",
    });
    let desk = Desk::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&desk.gateway);
    for (patient, name) in [("ill", "A"), ("well", "A"), ("ill", "B"), ("ill", "C"), ("well", "B")] {
        assert!(peer.exchange(&update(patient, name)).contains("MSA|AA|"));
    }
    let viewer = desk.sign_in("viewer");
    server.wait_for_taken(2);
    let page = wait_for("what waits", || {
        let page = viewer.get("/dead-letters").body;
        let row = page.split("id=\"parked\"").nth(1)?.split("</table>").next()?.to_owned();
        (row.contains("1 parked") && row.contains("<td class=\"number\">2</td>") && row.contains("HTTP 503"))
            .then_some(page)
    });
    assert!(page.contains("href=\"/messages/1\"") && page.contains("holds up its patient"), "{page}");
    assert!(!page.contains("ill of HARBOR"), "nothing of a patient");
    let read = desk.sign_in("phi-reader").get("/dead-letters").body;
    assert!(read.contains("ill of HARBOR"), "{read}");
    up.store(true, Ordering::SeqCst);
    server.wait_for_taken(5);
    wait_for("nothing parked", || (!viewer.get("/dead-letters").body.contains("id=\"parked\"")).then_some(()));
    desk.gateway.stop();
}

#[test]
fn a_letter_that_no_mapping_covers_says_what_to_do() {
    let desk = Desk::start("", "[[route]]\nname = \"out\"\nto = { file = \"out.ndjson\" }\n");
    let mut peer = Peer::connect(&desk.gateway);
    assert!(peer.exchange(&message("x", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99")).contains("MSA|AR|x"));
    let operator = desk.sign_in("operator");
    let page = wait_for_page(&operator, "/dead-letters", "ZZZ^Z99");
    assert!(page.contains("No mapping covers this type"), "{page}");
    let not = operator.act("/dead-letters/untranslated/1/resend", "").body;
    assert!(not.contains("Not sent:") && not.contains("no message map covers"), "{not}");
    desk.gateway.stop();
}

/// What is not sent is counted by why over all of it, with a way to each; and the end does not look as if all was well.
#[test]
fn what_is_passed_over_is_told_at_the_end_by_why() {
    let (desk, server, up) = with_letters(3);
    let written = std::fs::read_to_string(desk.gateway.folder().join("handoff.toml")).unwrap();
    desk.gateway.reload(&written.replace("\nretry = ", "\nfilter = \"PID-3.1 != 'p-2'\"\nretry = "));
    desk.gateway.wait_for_log("configuration read anew");
    up.store(true, Ordering::SeqCst);
    let operator = desk.sign_in("operator");
    let preview = operator.get("/dead-letters/many?what=resend").body;
    let sent = operator.act("/dead-letters/many", &super::form_of(&preview, "Send again 3")).body;
    assert!(sent.contains("<strong>2 sent</strong>, <strong>1 not</strong> of 3"), "{sent}");
    let told = "<strong>1</strong> a route&#39;s filter of today, or what became of it at intake, keeps it away";
    assert!(sent.replace('\'', "&#39;").contains(told) && sent.contains("href=\"/dead-letters/ehr/2\""), "{sent}");
    assert!(!sent.contains("class=\"done\""), "{sent}");
    assert_eq!(server.taken().len(), 2);
    desk.gateway.stop();
}
