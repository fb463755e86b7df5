//! The dashboard and the pages of routes: what is wrong and the way on, what is done from there, and the stream that keeps them up to date.
use super::super::http::Answer;
use super::super::process::{Peer, message, wait_for};
use super::super::server::{Server, configuration, update};
use super::{Desk, Visitor};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const FILE: &str = "[[route]]\nname = \"out\"\nto = { file = \"out.ndjson\" }\n";
const MORE: &str = "[[route]]\nname = \"more\"\nto = { file = \"more.ndjson\" }\n";

fn wait_for_page(visitor: &Visitor, path: &str, text: &str) -> String {
    wait_for(text, || {
        std::thread::sleep(Duration::from_millis(50));
        Some(visitor.get(path).body).filter(|page| page.contains(text))
    })
}

#[test]
fn a_route_that_rests_says_why_and_what_waits() {
    // Nobody listens there any more.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let desk = Desk::start("", &configuration(&address, "", ""));
    Peer::connect(&desk.gateway).exchange(&message("one", "A01"));
    let viewer = desk.sign_in("viewer");
    let page = wait_for_page(&viewer, "/", " delivers nothing: ");
    assert!(page.contains(">resting</span>") && page.contains("1 message waits"), "{page}");
    for link in
        ["/messages?route=ehr&amp;state=queued", "/messages?listener=adt", "/routes/ehr", "/messages?state=queued"]
    {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}: {page}");
    }
    assert!(
        !page.contains("/routes/ehr/pause") && !page.contains("action=\"/reload\""),
        "a viewer does nothing: {page}"
    );
    let route = viewer.get("/routes/ehr").body;
    assert!(route.contains(" delivers nothing: ") && route.contains("tried again"), "{route}");
    assert!(route.contains("ADT^A01") && route.contains("href=\"/messages/1\""), "what waits: {route}");
    assert!(route.contains(&format!("http://{address}/fhir")) && route.contains("transaction"), "where to: {route}");
    assert!(!route.contains("CANARY") && !route.contains("patient-one"), "nothing of a patient: {route}");
    assert_eq!(viewer.get("/routes/other").status, 404);
    desk.gateway.stop();
}

#[test]
fn dead_letters_lead_to_where_they_are_sent_again() {
    let server = Server::start(|request| if request.name == "N0" { "422 Unprocessable Entity" } else { "200 OK" });
    let secret = "bearer = \"sesame\", bundle";
    let desk = Desk::start("", &server.configuration("", "").replace("bundle", secret));
    let mut peer = Peer::connect(&desk.gateway);
    let visitor = desk.sign_in("operator");
    let fine = visitor.get("/").body;
    assert!(fine.contains("all well") && fine.contains("Nothing waits for you."), "{fine}");
    peer.exchange(&update("one", "N0"));
    peer.exchange(&message("two", "A01").replace("ADT^A01^ADT_A01", "<b>^<i>"));
    let page = wait_for_page(&visitor, "/", "<strong>1 message</strong> could not be translated");
    assert!(page.contains("href=\"/dead-letters?route=untranslated\""), "{page}");
    let page = wait_for_page(&visitor, "/", "1 dead letter</strong>");
    assert!(page.contains("href=\"/dead-letters?route=ehr\"") && page.contains("Look at it and send again"), "{page}");
    let route = visitor.get("/routes/ehr").body;
    assert!(route.contains("given up") && route.contains("422"), "{route}");
    assert!(route.contains("a bearer token") && !route.contains("sesame"), "no secret: {route}");
    assert!(!page.contains("<b>^") && !route.contains("<b>^") && !route.contains("CANARY"), "{route}");
    desk.gateway.stop();
}

#[test]
fn routes_are_paused_resumed_and_stopped_from_the_page() {
    let desk = Desk::start("", FILE);
    let operator = desk.sign_in("operator");
    let said = operator.act("/routes/out/pause", "");
    assert!(said.status == 200 && said.body.contains("class=\"done\" role=\"status\""), "{}", said.body);
    let page = operator.get("/").body;
    assert!(page.contains("has been paused by operator, ") && page.contains(">Resume</button>"), "{page}");
    Peer::connect(&desk.gateway).exchange(&message("one", "A01"));
    wait_for_page(&operator, "/", "1 message waits");
    // What works without a script: a form, and a page that asks first.
    let form = format!("csrf={}", operator.csrf());
    let asked = operator.get("/routes/out/stop");
    assert!(asked.status == 200 && asked.body.contains("<strong>1 message waits</strong>"), "{}", asked.body);
    assert!(asked.body.contains(">Stop out</button>") && asked.body.contains("Leave it as it is"), "{}", asked.body);
    let stopped = operator.ask("POST", "/routes/out/stop", &[], &form);
    assert_eq!((stopped.status, stopped.header("location")), (303, Some("/routes/out?done=stopped")));
    let page = operator.get("/routes/out?done=stopped").body;
    assert!(page.contains("The route is stopped: ") && page.contains("has been stopped by operator, "), "{page}");
    let started = operator.ask("POST", "/routes/out/start", &[], &form);
    assert_eq!(started.header("location"), Some("/routes/out?done=started"));
    wait_for_page(&operator, "/", "all well");
    wait_for("the delivery", || {
        std::fs::read_to_string(desk.gateway.folder().join("out.ndjson"))
            .ok()
            .filter(|text| text.contains("patient-one"))
    });
    assert_eq!(operator.act("/routes/other/pause", "").status, 404);
    assert_eq!(desk.sign_in("viewer").act("/routes/out/pause", "").status, 403);
    let log = desk.gateway.stop();
    let audited =
        |state: &str| log.contains(&format!("route set audit=true user=operator route=\"out\" state=\"{state}\""));
    assert!(audited("paused") && audited("stopped") && audited("started"), "{log}");
}

#[test]
fn the_configuration_is_read_anew_and_its_mistakes_are_shown() {
    let desk = Desk::start("", FILE);
    let admin = desk.sign_in("admin");
    let file = desk.gateway.folder().join("handoff.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}\n{}", MORE)).unwrap();
    let answer = admin.act("/reload", "");
    assert!(answer.body.contains("read anew") && answer.body.contains("<dd>more</dd>"), "{}", answer.body);
    assert!(!answer.body.contains("<html"), "a part of the page: {}", answer.body);
    std::fs::write(&file, format!("{before}\n[[route]]\nname = \"<script>alert(1)</script>\"\n")).unwrap();
    let answer = admin.act("/reload", "");
    assert!(answer.status == 200 && answer.body.contains("name must be 1 to 64 letters"), "{}", answer.body);
    assert!(!answer.body.contains("<script>"), "{}", answer.body);
    let page = admin.ask("POST", "/reload", &[], &format!("csrf={}", admin.csrf()));
    assert!(page.status == 422 && page.body.contains("<html") && page.body.contains("name must be"), "{}", page.body);
    assert!(admin.get("/").body.contains("href=\"/routes/more\""), "the configuration of before stays");
    desk.gateway.stop();
}

/// An open stream: the head of its answer, and what comes.
struct Stream {
    reader: BufReader<TcpStream>,
    status: u16,
}

impl Stream {
    fn open(visitor: &Visitor, path: &str) -> Stream {
        let mut stream = TcpStream::connect(&visitor.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nConnection: close\r\nHost: {}\r\nCookie: {}\r\n\r\n",
            visitor.address, visitor.cookie
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = Stream { reader: BufReader::new(stream), status: 0 };
        stream.status = stream.line().split(' ').nth(1).unwrap().parse().unwrap();
        while stream.line() != "\r\n" {}
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    /// Reads until an event of this name; gives its data.
    fn event(&mut self, name: &str) -> String {
        let wanted = format!("event: {name}\n");
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the stream ended before {name}");
            if line == wanted {
                return self.line();
            }
        }
    }

    /// What is left, up to the end.
    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).unwrap();
        rest
    }
}

#[test]
fn a_page_that_is_open_is_told_what_changes_until_its_session_ends() {
    let desk = Desk::start("", FILE);
    let (viewer, operator) = (desk.sign_in("viewer"), desk.sign_in("operator"));
    let page = viewer.get("/").body;
    let from = page.split("sse-connect=\"").nth(1).unwrap().split('"').next().unwrap();
    let mut stream = Stream::open(&viewer, from);
    assert_eq!(stream.status, 200);
    let (mut route, mut elsewhere) = (Stream::open(&viewer, "/live?route=out"), Stream::open(&viewer, "/live"));
    assert!(stream.event("listener-adt").contains("<td class=\"number\">0</td>"), "as it is");
    Peer::connect(&desk.gateway).exchange(&message("one", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99"));
    let told = loop {
        let told = stream.event("listener-adt");
        if told.contains("href=\"/messages?listener=adt\">1</a>") {
            break told;
        }
    };
    assert!(told.starts_with("data: <td>") && !told.contains("CANARY"), "{told}");
    wait_for("a page of no figures of its own", || {
        elsewhere.event("letters").starts_with("data: 1<span class=\"unseen\"> to look at").then_some(())
    });
    operator.act("/routes/out/pause", "");
    wait_for("the route as it is", || route.event("route-head").contains("has been paused by operator").then_some(()));
    assert!(stream.event("attention").contains("could not be translated"));
    // The others go on; those of a session that has ended do not.
    let mut other = Stream::open(&operator, from);
    viewer.ask("POST", "/sign-out", &[], &format!("csrf={}", viewer.csrf()));
    stream.event("over");
    assert!(stream.rest().ends_with("\r\n0\r\n\r\n"), "the answer is whole");
    let rest = elsewhere.rest();
    assert!(
        rest.contains("event: over") && !rest.contains("event: routes") && !rest.contains("event: figures"),
        "{rest}"
    );
    operator.act("/routes/out/start", "");
    wait_for("the route at work", || other.event("route-out").contains(">started</span>").then_some(()));
    desk.gateway.stop();
}

#[test]
fn rows_come_whole_where_others_are_there_than_the_page_has() {
    let desk = Desk::start("", FILE);
    let admin = desk.sign_in("admin");
    let page = admin.get("/").body;
    let from = page.split("sse-connect=\"").nth(1).unwrap().split('"').next().unwrap();
    let mut stream = Stream::open(&admin, from);
    let file = desk.gateway.folder().join("handoff.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}\n{}", MORE)).unwrap();
    assert_eq!(admin.act("/reload", "").status, 200);
    let rows = stream.event("routes");
    assert!(rows.contains("sse-swap=\"route-out\"") && rows.contains("sse-swap=\"route-more\""), "{rows}");
    desk.gateway.stop();
}

#[test]
fn there_are_only_so_many_streams_and_none_holds_up_the_end() {
    let desk = Desk::start("", FILE);
    let viewer = desk.sign_in("viewer");
    let mut streams: Vec<Stream> = (0..64).map(|_| Stream::open(&viewer, "/live")).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    let refused: Answer = viewer.get("/live");
    assert!(refused.status == 503 && refused.header("retry-after").is_some(), "{}", refused.head);
    assert_eq!(viewer.get("/").status, 200, "pages are still made");
    drop(streams.pop());
    wait_for("a place", || (viewer.ask("HEAD", "/live", &[], "").status == 200).then_some(()));
    let log = desk.gateway.stop();
    assert!(log.contains("stopped"), "{log}");
    for stream in streams {
        // One that is cut when the process ends has no such end.
        assert!(stream.rest().ends_with("\r\n0\r\n\r\n"), "the answer is whole");
    }
}

#[test]
fn a_listener_has_a_page_and_its_counts_lead_to_messages() {
    let desk = Desk::start("", FILE);
    let (viewer, operator, all) = (desk.sign_in("viewer"), desk.sign_in("operator"), desk.sign_in("all"));
    assert!(viewer.get("/").body.contains("href=\"/listeners/adt\""), "the dashboard leads there");
    let empty = viewer.get("/listeners/adt").body;
    assert!(empty.contains("Nothing has come") && empty.contains("Nobody is connected"), "{empty}");
    let mut peer = Peer::connect(&desk.gateway);
    peer.exchange(&message("one", "A01"));
    peer.exchange(&message("two", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99"));
    let page = wait_for_page(&viewer, "/listeners/adt", "outcome=rejected");
    for text in [
        "href=\"/messages?listener=adt\">2</a>",
        "href=\"/messages?listener=adt&amp;outcome=translated\">1</a>",
        "href=\"/messages?listener=adt&amp;outcome=rejected\">1</a>",
        "answered AR",
        "<code>127.0.0.1</code>",
        "not encrypted",
        "translated: once it is stored and could be translated",
        "99 of 100 within",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("HARBOR") && !page.contains("CANARY"), "who sends is for who may know: {page}");
    let seen = wait_for_page(&operator, "/listeners/adt", "HIS | HARBOR");
    assert!(!seen.contains("sender=HIS"), "senders are looked for by who may read messages: {seen}");
    assert!(all.get("/listeners/adt").body.contains("/messages?listener=adt&amp;sender=HIS%7CHARBOR"));
    let mut stream = Stream::open(&viewer, "/live?listener=adt");
    assert!(stream.event("listener-outcomes").contains("outcome=translated"));
    assert_eq!(viewer.get("/listeners/other").status, 404);
    desk.gateway.stop();
}

#[test]
fn alerts_that_are_open_stand_beside_their_page_and_on_the_dashboard() {
    let desk = Desk::start("", &format!("[alerts]\nevery = \"100ms\"\ndisk_free = \"9999999TB\"\n{FILE}"));
    let viewer = desk.sign_in("viewer");
    let page = viewer.get("/").body;
    assert!(page.contains("href=\"/alerts\"") && page.contains("sse-swap=\"alerts\""), "{page}");
    let mut stream = Stream::open(&viewer, "/live?alerts=1");
    wait_for("the badge", || {
        stream.event("alerts").starts_with("data: 1<span class=\"unseen\"> open</span>").then_some(())
    });
    wait_for("the page", || stream.event("alerts-page").contains("disk_free").then_some(()));
    let page = wait_for_page(&viewer, "/", "Look at the alerts");
    assert!(!page.contains("all well") && page.contains("disk_free"), "{page}");
    let route = viewer.get("/routes/out").body;
    assert!(!route.contains("Look at the route"), "it is looked at: {route}");
    desk.gateway.stop();
}
