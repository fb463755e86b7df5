//! Alerts, as a receiver of the webhook sees them, and whoever looks.
use super::admin::Administered;
use super::http::ask;
use super::process::{Gateway, Peer, message, wait_for};
use super::server::Server;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Takes POSTs, or refuses them while it is told to; what came either way is kept.
pub struct Receiver {
    address: String,
    refuses: Arc<AtomicBool>,
    posts: Arc<Mutex<Vec<Post>>>,
}

#[derive(Clone)]
struct Post {
    head: String,
    text: String,
    body: serde_json::Value,
    refused: bool,
}

impl Receiver {
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver {
            address: listener.local_addr().unwrap().to_string(),
            refuses: Arc::default(),
            posts: Arc::default(),
        };
        let (refuses, posts) = (Arc::clone(&receiver.refuses), Arc::clone(&receiver.posts));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
                let lower = head.to_ascii_lowercase();
                let Some(length) = lower.split("content-length: ").nth(1) else { continue };
                let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                let text = String::from_utf8(body).unwrap();
                let refused = refuses.load(Ordering::SeqCst);
                let body = serde_json::from_str(&text).unwrap();
                posts.lock().unwrap().push(Post { head, text, body, refused });
                let status = if refused { "503 Service Unavailable" } else { "204 No Content" };
                let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            }
        });
        receiver
    }

    pub fn configuration(&self, rules: &str) -> String {
        format!("[alerts]\nwebhook = \"http://{}/hook\"\nevery = \"200ms\"\n{rules}\n", self.address)
    }

    /// Those about a rule that were taken: state and id.
    fn taken(&self, rule: &str) -> Vec<(String, String)> {
        let posts = self.posts.lock().unwrap();
        let about = posts.iter().filter(|post| !post.refused && post.body["rule"] == rule);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        about.map(|post| (text(&post.body["state"]), text(&post.body["id"]))).collect()
    }

    pub fn wait_for(&self, rule: &str, count: usize) -> Vec<(String, String)> {
        wait_for(rule, || Some(self.taken(rule)).filter(|taken| taken.len() >= count))
    }
}

#[test]
fn a_queue_that_grows_old_opens_one_alert_and_resolves_it_once() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "401 Unauthorized" });
    let receiver = Receiver::start();
    let rules = "queue_age = \"50ms\"\nroute_held = \"50ms\"\ndisk_free = \"1KB\"\nsecret = \"a secret\"";
    let gateway = Gateway::start(&format!("{}{}", receiver.configuration(rules), server.configuration("", "")));
    assert!(Peer::connect(&gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"));
    for rule in ["queue_age", "route_held"] {
        assert_eq!(receiver.wait_for(rule, 1)[0].0, "open");
    }
    // A restart is no reason to tell it again; only a POST of which it is not known whether it arrived is made once more.
    let book = gateway.folder().join("handoff-data/alerts.json");
    wait_for("the book", || {
        let text = std::fs::read_to_string(&book).unwrap_or_default();
        (text.matches("\"told\":\"open\"").count() == 2).then_some(())
    });
    let gateway = gateway.kill_and_restart(None);
    gateway.wait_for_log("not delivered, to be tried again");
    wait_for("some looks", || (server.requests().len() > 5).then_some(()));
    up.store(true, Ordering::SeqCst);
    for rule in ["queue_age", "route_held"] {
        let told = receiver.wait_for(rule, 2);
        assert_eq!(told.iter().map(|(state, _)| state.as_str()).collect::<Vec<_>>(), ["open", "resolved"], "{rule}");
        assert_eq!(told[0].1, told[1].1, "one alert, one id");
    }
    gateway.stop();
    assert_eq!((receiver.taken("queue_age").len(), receiver.taken("route_held").len()), (2, 2));
    for post in receiver.posts.lock().unwrap().iter() {
        assert!(!post.text.contains("CANARY") && !post.text.contains("patient-one"), "{}", post.text);
        let signature = post.head.lines().find(|line| line.to_ascii_lowercase().starts_with("handoff-signature: t="));
        assert!(signature.is_some_and(|line| line.split("v1=").nth(1).unwrap().len() == 64), "{}", post.head);
        for key in ["since", "at", "subject", "text", "value"] {
            assert!(!post.body[key].is_null(), "{key}: {}", post.text);
        }
    }
}

#[test]
fn what_cannot_be_told_is_told_later() {
    let receiver = Receiver::start();
    receiver.refuses.store(true, Ordering::SeqCst);
    let listener = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nsilence = \"50ms\"\n";
    let gateway = Gateway::start(&format!("{}{listener}", receiver.configuration("disk_free = \"1KB\"")));
    wait_for("a POST", || (!receiver.posts.lock().unwrap().is_empty()).then_some(()));
    gateway.wait_for_log("alerts cannot be told: HTTP 503");
    receiver.refuses.store(false, Ordering::SeqCst);
    let told = receiver.wait_for("silence", 1);
    assert_eq!(told[0].0, "open");
    let ids: Vec<_> = receiver.posts.lock().unwrap().iter().map(|post| post.body["id"].clone()).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == told[0].1.as_str()), "the same alert again: {ids:?}");
    gateway.stop();
}

#[test]
fn certificates_and_space_are_watched() {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2027, 6, 1);
    let (certificate, file) = (params.self_signed(&key).unwrap().pem(), |name: &str| folder.path().join(name));
    std::fs::write(file("server.pem"), certificate).unwrap();
    std::fs::write(file("server.key"), key.serialize_pem()).unwrap();
    let listener = format!(
        "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\ntls = {{ certificate = \"{}\", key = \"{}\" }}\n",
        file("server.pem").display(),
        file("server.key").display()
    );
    let rules = "certificate = \"36500d\"\ndisk_free = \"9999999TB\"";
    let gateway = Gateway::start(&format!("{}{listener}", receiver.configuration(rules)));
    assert_eq!(receiver.wait_for("certificate", 1)[0].0, "open");
    assert_eq!(receiver.wait_for("disk_free", 1)[0].0, "open");
    let posts = receiver.posts.lock().unwrap();
    let certificate = posts.iter().find(|post| post.body["rule"] == "certificate").unwrap();
    assert_eq!(certificate.body["subject"], "adt");
    drop(posts);
    gateway.stop();
}

/// As in `crash`: a limit on the size of files stands in for a broken disk, and the gateway ends when it meets it.
#[test]
fn a_journal_that_fails_is_told_though_the_gateway_ends() {
    let receiver = Receiver::start();
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_handoff")]);
    limited.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let listener = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n";
    let rules = receiver.configuration("disk_free = \"1KB\"").replace("200ms", "1h");
    let gateway = Gateway::start_with(&format!("route = []\n{rules}{listener}"), limited);
    let mut peer = Peer::connect(&gateway);
    let text =
        |number: u32| format!("\x0b{}NTE|1||{}\r\x1c\r", message(&number.to_string(), "A01"), "x".repeat(20_000));
    let sent =
        (0..10_000).take_while(|number| peer.try_write(text(*number).as_bytes()).is_ok() && peer.receive().is_some());
    assert!(sent.count() < 10_000, "the limit was never met");
    let (code, log) = gateway.wait();
    assert_eq!(code, Some(1), "{log}");
    assert_eq!(
        receiver.taken("journal").iter().map(|(state, _)| state.as_str()).collect::<Vec<_>>(),
        ["open"],
        "{log}"
    );
}

/// A receiver that takes a connection and says nothing holds nobody up who looks.
#[test]
fn looking_goes_on_while_a_receiver_is_slow() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("webhook = \"http://{}/hook\"", deaf.local_addr().unwrap());
    let gateway = Administered::start("", &format!("[alerts]\nevery = \"100ms\"\n{hook}\ndisk_free = \"9999999TB\"\n"));
    let (stream, _) = deaf.accept().unwrap();
    let looked = || gateway.get("/api/v1/alerts")["looked_at"].as_str().unwrap().to_owned();
    let (first, started) = (looked(), std::time::Instant::now());
    wait_for("another look", || (looked() > first).then_some(()));
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "the POST takes ten: {:?}", started.elapsed());
    // One at a time: nothing else comes while that is under way.
    deaf.set_nonblocking(true).unwrap();
    assert!(deaf.accept().is_err());
    drop(stream);
    gateway.gateway.stop();
}

/// Nobody is told; the page and Prometheus see it nevertheless.
#[test]
fn what_is_open_is_shown_where_nobody_is_told() {
    let listener = "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n";
    let quiet = format!("[alerts]\nevery = \"100ms\"\ndisk_free = \"9999999TB\"\nsilence = \"1h\"\n{listener}");
    let gateway = Administered::start("", &quiet);
    let alerts = wait_for("the alert", || {
        let alerts = gateway.get("/api/v1/alerts");
        (!alerts["open"].as_array().unwrap().is_empty()).then_some(alerts)
    });
    let alert = &alerts["open"][0];
    assert_eq!((alert["rule"].as_str(), alert["subject"].as_str()), (Some("disk_free"), Some("data")));
    assert!(alert["value"].as_i64().unwrap() > 0 && alert["text"].as_str().unwrap().contains("bytes are free"));
    assert!(alert["since"].as_str().unwrap() <= alerts["looked_at"].as_str().unwrap(), "{alerts}");
    assert_eq!(alert["told"], serde_json::json!({"webhook": null, "email": null}));
    assert_eq!(alerts["resolved"], serde_json::json!([]));
    let metrics = gateway.ask("viewer", "GET", "/metrics").body;
    assert!(metrics.contains("handoff_alert_open{rule=\"disk_free\",subject=\"data\"} 1\n"), "{metrics}");
    let open = gateway.ask("operator", "GET", "/api/v1/alerts");
    assert_eq!(open.status, 200);
    assert_eq!(ask(&gateway.address, "GET", "/api/v1/alerts", &[]).status, 401);
    gateway.gateway.stop();
}

#[test]
fn what_is_over_is_shown_for_a_while_and_without_a_section_it_is_looked_at_as_well() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = Server::start(move |_| if is_up.load(Ordering::SeqCst) { "200 OK" } else { "401 Unauthorized" });
    let rules = "[alerts]\nevery = \"100ms\"\nqueue_age = \"50ms\"\ndisk_free = \"1KB\"\n";
    let gateway = Administered::start("", &format!("{rules}{}", server.configuration("", "")));
    assert!(Peer::connect(&gateway.gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"));
    let about = |kind: &str| {
        let alerts = gateway.get("/api/v1/alerts");
        alerts[kind].as_array().unwrap().iter().find(|alert| alert["rule"] == "queue_age").cloned()
    };
    let open = wait_for("the alert", || about("open"));
    assert_eq!(open["resolved_at"], serde_json::Value::Null);
    up.store(true, Ordering::SeqCst);
    let resolved = wait_for("its end", || about("resolved"));
    assert_eq!((&resolved["id"], about("open")), (&open["id"], None));
    assert!(resolved["since"].as_str().unwrap() < resolved["resolved_at"].as_str().unwrap(), "{resolved}");
    gateway.gateway.stop();

    let plain = Administered::start("", "");
    wait_for("a look", || plain.get("/api/v1/alerts")["looked_at"].as_str().map(|_| ()));
    plain.gateway.stop();
}

#[test]
fn dead_letters_and_long_queues_are_told() {
    let server =
        Server::start(
            |request| if request.patient.contains("wait") { "401 Unauthorized" } else { "422 Unprocessable Entity" },
        );
    let receiver = Receiver::start();
    let rules = "error_rate = { letters = 2, within = \"1h\" }\nqueue_depth = 1\ndisk_free = \"1KB\"";
    let gateway = Gateway::start(&format!("{}{}", receiver.configuration(rules), server.configuration("", "")));
    let mut peer = Peer::connect(&gateway);
    for id in ["one", "two"] {
        assert!(peer.exchange(&message(id, "A01")).contains("MSA|AA|"));
    }
    assert_eq!(receiver.wait_for("error_rate", 1)[0].0, "open");
    for id in ["wait1", "wait2", "wait3"] {
        assert!(peer.exchange(&message(id, "A01")).contains("MSA|AA|"));
    }
    assert_eq!(receiver.wait_for("queue_depth", 1)[0].0, "open");
    let posts = receiver.posts.lock().unwrap();
    let of = |rule: &str| posts.iter().find(|post| post.body["rule"] == rule).unwrap().body.clone();
    assert_eq!(of("error_rate")["text"], "2 of 2 messages of route ehr became dead letters within 60 min");
    assert!(of("queue_depth")["value"].as_i64().unwrap() > 1, "{}", of("queue_depth"));
    drop(posts);
    gateway.stop();
}
