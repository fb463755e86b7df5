//! Another configuration while it runs: taken on whole, or not at all, and no connection is closed for it. Routes started, paused and stopped.
use super::process::{Gateway, Peer, lines, message, wait_for};
use super::server::{Server, configuration};
use handoff::delivery::channel::{Envelope, Target, file};
use handoff::delivery::{self, Order, Retry};
use handoff::journal;
use handoff::mapping::Plan;
use handoff::routing::Route;
use handoff::server::{ControlError, Listener, RouteState, Setup};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

const LISTENER: &str = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n";

fn file_route(name: &str, rest: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\nto = {{ file = \"{name}.ndjson\" }}\n{rest}")
}

#[test]
fn routes_come_change_and_go_and_the_connection_stays() {
    let gateway = Gateway::start(&file_route("one", ""));
    let mut peer = Peer::connect(&gateway);
    let route = |name: &str| gateway.folder().join(format!("{name}.ndjson"));
    let wait = |name: &str, count: usize| {
        wait_for("bundles", || Some(lines(&route(name))).filter(|lines| lines.len() >= count))
    };
    assert!(peer.exchange(&message("a", "A01")).contains("MSA|AA|a"));
    wait("one", 1);
    gateway.reload(&format!("{LISTENER}{}{}", file_route("one", "filter = \"PV1-2 = 'O'\"\n"), file_route("two", "")));
    gateway.wait_for_log("routes added: two; routes changed: one");
    assert!(peer.exchange(&message("b", "A01")).contains("MSA|AA|b"));
    assert!(peer.exchange(&message("c", "A01").replace("PV1|1|I", "PV1|1|O")).contains("MSA|AA|c"));
    assert!(wait("two", 2)[0].contains("patient-b"), "a new route begins with the next message");
    assert!(wait("one", 2)[1].contains("patient-c"), "one that changed goes on where it was");
    gateway.reload(&format!("{LISTENER}{}", file_route("two", "")));
    gateway.wait_for_log("routes removed: one");
    assert!(peer.exchange(&message("d", "A01")).contains("MSA|AA|d"));
    wait("two", 3);
    gateway.stop();
}

#[test]
fn what_is_wrong_is_not_taken_on_and_all_stays_as_it_was() {
    let gateway = Gateway::start(&file_route("one", ""));
    let mut peer = Peer::connect(&gateway);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let two = format!("[[listener]]\nname = \"b\"\nmllp = \"{}\"\n", taken.local_addr().unwrap());
    let mistakes = [
        (format!("{LISTENER}{}", file_route("one", "filtre = \"x\"\n")), "did you mean \\\"filter\\\"?"),
        (format!("{LISTENER}{two}{}", file_route("three", "")), "listener b: cannot listen on"),
        (format!("data = \"elsewhere\"\n{LISTENER}"), "the data directory can only be changed by a restart"),
        (format!("durability = \"os\"\n{LISTENER}"), "durability can only be changed by a restart"),
        (format!("{LISTENER}site = \"broken\"\n"), "the mappings do not compile"),
    ];
    std::fs::create_dir(gateway.folder().join("broken")).unwrap();
    std::fs::write(gateway.folder().join("broken/site.toml"), "[profile]\ntimezone = \"Nowhere/Else\"\n").unwrap();
    for (number, (text, why)) in mistakes.iter().enumerate() {
        gateway.reload(text);
        gateway.wait_for_log(&why.replace("\\\"", "\""));
        let id = format!("m{number}");
        assert!(peer.exchange(&message(&id, "A01")).contains(&format!("MSA|AA|{id}")));
        wait_for("bundles", || (lines(&gateway.folder().join("one.ndjson")).len() > number).then_some(()));
    }
    assert!(!gateway.folder().join("three.ndjson").exists());
    gateway.stop();
}

#[test]
fn a_route_that_lags_delivers_what_the_mappings_of_then_made() {
    // Nobody listens there yet, so the message waits.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let site = |folder: &Path, uri: &str| {
        std::fs::create_dir_all(folder.join("site")).unwrap();
        std::fs::write(folder.join("site/site.toml"), format!("[authorities]\nHARBOR = \"{uri}\"\n")).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    site(folder.path(), "urn:example:then");
    let listener = format!("{LISTENER}site = \"{}\"\n", folder.path().join("site").display());
    let gateway = Gateway::start(&format!("{listener}{}", configuration(&address, "", "")));
    let mut peer = Peer::connect(&gateway);
    assert!(peer.exchange(&message("old", "A01")).contains("MSA|AA|old"));
    site(folder.path(), "urn:example:now");
    gateway.hang_up();
    gateway.wait_for_log("mappings changed for: adt");
    assert!(peer.exchange(&message("new", "A01")).contains("MSA|AA|new"));
    // Killed, so that what was translated is not in memory any more; the present configuration knows only the mappings of now.
    let gateway = gateway.kill_and_restart(None);
    let server = Server::start_at(&address, |_| "200 OK");
    server.wait_for_taken(2);
    let body = |patient: &str| {
        let requests = server.requests();
        requests.iter().find(|request| request.patient == patient).unwrap().body.to_string()
    };
    assert!(body("patient-old").contains("urn:example:then") && !body("patient-old").contains("urn:example:now"));
    assert!(body("patient-new").contains("urn:example:now"));
    gateway.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_paused_or_stopped_keeps_its_messages_also_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        data: folder.path().join("data"),
        journal: journal::Options::default(),
        retention: journal::Retention::default(),
        index: true,
        listeners: vec![(
            Listener { address: "127.0.0.1:0".into(), ..Listener::default() },
            Arc::new(Plan::embedded()),
        )],
        routes: ["one", "two"].map(|name| route(name, folder.path())).into(),
        coordination: None,
    };
    let start = || async {
        let again = setup.clone();
        let gateway =
            handoff::server::Gateway::start(setup.clone(), Box::new(move || Ok(again.clone()))).await.unwrap();
        let control = gateway.control();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(gateway.run(async { _ = stopped.await }));
        let address = control.listeners().await[0].address.clone();
        (control, stop, running, address)
    };
    let count = |name: &str| lines(&folder.path().join(format!("{name}.ndjson"))).len();
    let (control, stop, running, address) = start().await;
    assert_eq!(control.set_route("three", RouteState::Paused).await, Err(ControlError::UnknownRoute("three".into())));
    control.set_route("one", RouteState::Paused).await.unwrap();
    control.set_route("two", RouteState::Stopped).await.unwrap();
    send(&address, &["a", "b"]).await;
    let status = |state| {
        let control = control.clone();
        async move {
            let routes = control.routes().await;
            assert!(routes.iter().all(|route| route.state == state || route.name == "two"), "{routes:?}");
            routes.iter().map(|route| (route.queued, route.sent)).collect::<Vec<_>>()
        }
    };
    assert_eq!(status(RouteState::Paused).await, [(2, 0), (2, 0)]);
    assert!(control.routes().await[0].oldest_queued_ms.is_some());
    assert_eq!(control.listeners().await[0].received, 2);
    stop.send(()).unwrap();
    assert!(!running.await.unwrap());
    assert_eq!((count("one"), count("two")), (0, 0));

    let (control, stop, running, address) = start().await;
    send(&address, &["c"]).await;
    assert_eq!(control.reload().await.unwrap().routes_changed, Vec::<String>::new());
    assert_eq!(control.routes().await[1].state, RouteState::Stopped);
    assert_eq!((count("one"), count("two")), (0, 0));
    control.set_route("one", RouteState::Started).await.unwrap();
    control.set_route("two", RouteState::Started).await.unwrap();
    for name in ["one", "two"] {
        while count(name) < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    while control.routes().await.iter().any(|route| (route.queued, route.sent) != (0, 3)) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.send(()).unwrap();
    assert!(!running.await.unwrap());
}

fn route(name: &str, folder: &Path) -> delivery::Options {
    let path = folder.join(format!("{name}.ndjson"));
    delivery::Options {
        route: Route { name: name.into(), filter: None },
        target: Target::File(file::Options { path, envelope: Envelope::Message, roll: None }),
        retry: Retry::default(),
        replies: handoff::delivery::channel::replies::Replies::default(),
        rate: 0,
        order: Order::default(),
        concurrency: 1,
        waiting_max: 100,
    }
}

/// Sends messages, each once the one before is acknowledged.
async fn send(address: &str, ids: &[&str]) {
    let mut client =
        handoff::mllp::client::Client::connect(address, None, handoff::mllp::client::Options::default()).await.unwrap();
    for id in ids {
        let ack = client.exchange(message(id, "A01").as_bytes()).await.unwrap();
        assert!(String::from_utf8(ack).unwrap().contains(&format!("MSA|AA|{id}")));
    }
}
