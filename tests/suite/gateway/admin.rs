//! The admin server of a running gateway: who gets in, what is told, what is done.
use super::http::{Answer, ask, ask_plainly};
use super::process::{Gateway, Peer, handoff, lines, message, wait_for};
use super::server::{Server, update};
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;

/// A gateway with a token for each role.
pub struct Administered {
    pub gateway: Gateway,
    pub address: String,
    tokens: HashMap<&'static str, String>,
}

const ROLES: [&str; 4] = ["viewer", "operator", "admin", "phi-reader"];

/// Standard output, standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let done = handoff().args(arguments).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// A new token and its table for the configuration.
fn token(role: &str) -> (String, String) {
    let (code, token, said) = run(&["token", "create", "--name", &format!("the-{role}"), "--role", role]);
    assert_eq!(code, Some(0), "{said}");
    let table = said.split("tokens = [").nth(1).unwrap().split("]\n").next().unwrap();
    (token.trim().to_owned(), table.to_owned())
}

impl Administered {
    /// `admin` are further keys of `[admin]`, `rest` is what stands behind.
    pub fn start(admin: &str, rest: &str) -> Administered {
        let mut tables = Vec::new();
        let mut tokens = HashMap::new();
        for role in ROLES {
            let (token, table) = token(role);
            tokens.insert(role, token);
            tables.push(table);
        }
        let configuration =
            format!("[admin]\nlisten = \"127.0.0.1:0\"\ntokens = [{}]\n{admin}\n{rest}", tables.join(", "));
        let gateway = Gateway::start(&configuration);
        let address = address(&gateway);
        Administered { gateway, address, tokens }
    }

    /// Kills it and starts it again in its folder, with the same tokens.
    pub fn kill_and_restart(self) -> Administered {
        let gateway = self.gateway.kill_and_restart(None);
        let address =
            wait_for("the admin server", || gateway.log().contains("admin http://").then(|| address(&gateway)));
        Administered { gateway, address, tokens: self.tokens }
    }

    pub fn token(&self, role: &str) -> &str {
        &self.tokens[role]
    }

    pub fn ask(&self, role: &str, method: &str, path: &str) -> Answer {
        ask(&self.address, method, path, &[&format!("Authorization: Bearer {}", self.tokens[role])])
    }

    pub fn get(&self, path: &str) -> serde_json::Value {
        let answer = self.ask("viewer", "GET", path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn route(&self, name: &str) -> serde_json::Value {
        let routes = self.get("/api/v1/routes");
        routes["routes"].as_array().unwrap().iter().find(|route| route["name"] == name).unwrap().clone()
    }
}

fn address(gateway: &Gateway) -> String {
    let log = gateway.log();
    log.split("admin http://").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

fn folder_of(gateway: &Gateway) -> &Path {
    gateway.folder()
}

const FILE: &str = "[[route]]\nname = \"out\"\nto = { file = \"out.ndjson\" }\n";

#[test]
fn health_and_metrics_follow_what_happens() {
    let admin = Administered::start("", FILE);
    let open = |path: &str| ask(&admin.address, "GET", path, &[]);
    assert_eq!((open("/health/live").status, open("/health/ready").json()["status"].as_str()), (200, Some("ready")));
    assert_eq!(open("/metrics").status, 401);
    let mut peer = Peer::connect(&admin.gateway);
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one"));
    assert!(peer.exchange(&message("two", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99")).contains("MSA|AR|two"));
    let metrics = wait_for("the delivery", || {
        let metrics = admin.ask("viewer", "GET", "/metrics");
        assert!(metrics.status == 200 && metrics.head.contains("content-type: application/openmetrics-text"));
        metrics.body.contains("handoff_route_sent_total{route=\"out\"} 1\n").then_some(metrics.body)
    });
    for line in [
        "handoff_messages_total{listener=\"adt\",outcome=\"translated\"} 1",
        "handoff_messages_total{listener=\"adt\",outcome=\"rejected\"} 1",
        "handoff_stage_seconds_count{listener=\"adt\",stage=\"ack\"} 2",
        "handoff_stage_seconds_count{listener=\"adt\",stage=\"translate\"} 2",
        "handoff_delivery_attempt_seconds_count{route=\"out\",result=\"delivered\"} 1",
        "handoff_connections{listener=\"adt\"} 1",
        "handoff_journal_batch_records_sum 2.0",
        "handoff_journal_queue_records 0",
        "handoff_journal_head 2",
        "handoff_journal_health{state=\"ready\"} 1",
        "handoff_route_state{route=\"out\",state=\"started\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} not in\n{metrics}");
    }
    let bytes = message("one", "A01").len() + message("two", "A01").replace("ADT^A01^ADT_A01", "ZZZ^Z99").len();
    assert!(metrics.contains(&format!("handoff_received_bytes_total{{listener=\"adt\"}} {bytes}\n")), "{metrics}");
    admin.gateway.stop();
    let admin = Administered::start("metrics = \"open\"", FILE);
    assert_eq!(ask(&admin.address, "GET", "/metrics", &[]).status, 200);
    admin.gateway.stop();
}

#[test]
fn only_good_tokens_get_in_and_do_no_more_than_their_role() {
    let admin = Administered::start("", FILE);
    for (method, path, roles) in [
        ("GET", "/api/v1/status", "viewer operator admin phi-reader"),
        ("POST", "/api/v1/routes/out/start", "operator admin"),
        ("POST", "/api/v1/reload", "admin"),
        ("GET", "/api/v1/messages/9/raw", "phi-reader"),
        ("GET", "/api/v1/dead-letters/out/9", "phi-reader"),
        ("GET", "/api/v1/rosters", "viewer operator admin phi-reader"),
        ("POST", "/api/v1/rosters/reload", "operator admin"),
        ("POST", "/api/v1/rosters/aco/approve", "operator admin"),
        ("POST", "/api/v1/rosters/explain", "phi-reader"),
        ("GET", "/api/v1/rosters/reviews", "operator admin phi-reader"),
        ("POST", "/api/v1/rosters/reviews/1", "operator admin"),
    ] {
        for role in ROLES {
            let status = admin.ask(role, method, path).status;
            let allowed = roles.split(' ').any(|allowed| allowed == role);
            assert_eq!(status != 403, allowed, "{role} {method} {path}: {status}");
        }
    }
    let status = "/api/v1/status";
    let none = ask(&admin.address, "GET", status, &[]);
    assert!(none.status == 401 && none.head.contains("www-authenticate: bearer"), "{}", none.head);
    assert!(none.head.contains("content-type: application/problem+json"), "{}", none.head);
    assert!(none.json()["remedy"].as_str().unwrap().contains("handoff token create"));
    let good = admin.token("viewer").to_owned();
    for wrong in ["Bearer x".to_owned(), format!("Basic {good}"), format!("Bearer {good}x"), "Bearer".to_owned()] {
        assert_eq!(ask(&admin.address, "GET", status, &[&format!("Authorization: {wrong}")]).status, 401, "{wrong}");
    }
    // Who guesses on is turned away; who shows a good token is not.
    let refused: Vec<_> = (0..12).map(|_| ask(&admin.address, "GET", status, &[]).status).collect();
    assert!(refused.contains(&429), "{refused:?}");
    assert_eq!(admin.ask("viewer", "GET", status).status, 200);
    let log = admin.gateway.stop();
    assert!(log.contains("request refused") && !log.contains(&good), "{log}");
}

#[test]
fn what_a_browser_was_led_to_do_is_not_done() {
    let admin = Administered::start("hosts = [\"ops.example\"]", FILE);
    let bearer = format!("Authorization: Bearer {}", admin.token("admin"));
    let status = |headers: &[&str]| {
        let headers = [headers, &[bearer.as_str()]].concat();
        ask_plainly(&admin.address, "GET", "/api/v1/status", &headers).status
    };
    assert_eq!(status(&["Host: localhost"]), 200);
    assert_eq!(status(&["Host: OPS.example:8080", "Origin: http://ops.example:8080"]), 200);
    assert_eq!(status(&["Host: evil.example"]), 403, "DNS rebinding");
    assert_eq!(status(&["Host: localhost.evil.example"]), 403);
    assert_eq!(status(&[]), 403, "no Host at all");
    assert_eq!(status(&["Host: localhost:1", "Origin: http://evil.example"]), 403);
    assert_eq!(status(&["Host: localhost:1", "Origin: null"]), 403);
    assert_eq!(ask_plainly(&admin.address, "GET", "/health/live", &["Host: evil.example"]).status, 403);
    // A body is neither waited for nor read: this one never comes.
    assert_eq!(status(&["Host: localhost", "Content-Length: 99999999"]), 413);
    let unauthorized = ask(&admin.address, "POST", "/api/v1/reload", &["Content-Length: 60000"]);
    assert_eq!(unauthorized.status, 401);
    let nothing = ask(&admin.address, "GET", "/nothing", &[]);
    assert!(nothing.status == 404 && nothing.json()["status"] == 404);
    let method = ask(&admin.address, "DELETE", "/api/v1/status", &[]);
    assert!(method.status == 405 && method.head.contains("allow: get"), "{}", method.head);
    for guard in ["cache-control: no-store", "x-content-type-options: nosniff", "content-security-policy: default-src"]
    {
        assert!(nothing.head.contains(guard), "{}", nothing.head);
    }
    admin.gateway.stop();
}

#[test]
fn a_route_is_paused_and_started_and_stays_so_over_a_restart() {
    let admin = Administered::start("", FILE);
    let out = folder_of(&admin.gateway).join("out.ndjson");
    let mut peer = Peer::connect(&admin.gateway);
    assert_eq!(admin.ask("operator", "POST", "/api/v1/routes/nobody/pause").status, 404);
    let paused = admin.ask("operator", "POST", "/api/v1/routes/out/pause");
    assert_eq!((paused.status, paused.json()["state"].as_str()), (200, Some("paused")));
    assert!(peer.exchange(&message("one", "A01")).contains("MSA|AA|one"));
    let route = admin.route("out");
    assert_eq!((&route["state"], &route["queued"], &route["sent"]), (&"paused".into(), &1.into(), &0.into()));
    assert!(route["oldest_queued_at"].is_string(), "{route}");
    let tokens = admin.tokens;
    let gateway = admin.gateway.kill_and_restart(None);
    let admin = Administered { address: address(&gateway), gateway, tokens };
    assert_eq!(admin.route("out")["state"], "paused");
    assert!(!out.exists());
    assert_eq!(admin.ask("operator", "POST", "/api/v1/routes/out/start").json()["state"], "started");
    wait_for("the Bundle", || (lines(&out).len() == 1).then_some(()));
    wait_for("the count", || (admin.route("out")["sent"] == 1).then_some(()));
    let listeners = admin.get("/api/v1/listeners");
    assert_eq!(
        (&listeners["listeners"][0]["name"], &listeners["listeners"][0]["kind"]),
        (&"adt".into(), &"mllp".into())
    );
    let log = admin.gateway.stop();
    assert!(log.contains("token=the-operator route=\"out\" state=\"started\""), "{log}");
}

#[test]
fn a_reload_takes_all_or_nothing_and_says_why() {
    let admin = Administered::start("", FILE);
    let path = folder_of(&admin.gateway).join("handoff.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}{}", FILE.replace("\"out\"", "\"two\""))).unwrap();
    let reloaded = admin.ask("admin", "POST", "/api/v1/reload");
    assert_eq!((reloaded.status, &reloaded.json()["routes_added"]), (200, &serde_json::json!(["two"])));
    std::fs::write(&path, format!("{text}wrng = 1\n")).unwrap();
    let refused = admin.ask("admin", "POST", "/api/v1/reload");
    assert_eq!(refused.status, 422);
    assert!(refused.json()["detail"].as_str().unwrap().contains("unknown key \"wrng\""), "{}", refused.body);
    assert_eq!(admin.get("/api/v1/routes")["routes"].as_array().unwrap().len(), 2, "all is as it was");
    std::fs::write(&path, format!("data = \"elsewhere\"\n{text}")).unwrap();
    assert_eq!(admin.ask("admin", "POST", "/api/v1/reload").status, 409);
    admin.gateway.stop();
}

#[test]
fn dead_letters_are_listed_read_sent_again_and_dropped() {
    let up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = std::sync::Arc::clone(&up);
    let server = Server::start(move |_| {
        if is_up.load(std::sync::atomic::Ordering::SeqCst) { "200 OK" } else { "422 Unprocessable Entity" }
    });
    let admin = Administered::start("", &server.configuration("", ""));
    let mut peer = Peer::connect(&admin.gateway);
    let sent: Vec<_> = ["a", "b", "c"].map(|name| update(&format!("p-{name}"), &format!("CANARY{name}"))).into();
    for text in &sent {
        assert!(peer.exchange(text).contains("MSA|AA|"));
    }
    let list = |query: &str| admin.get(&format!("/api/v1/dead-letters{query}"));
    let letters = wait_for("dead letters", || {
        let found = list("?route=ehr")["dead_letters"].as_array().unwrap().clone();
        (found.len() == 3).then_some(found)
    });
    assert_eq!(
        (&letters[0]["seq"], &letters[0]["type"], &letters[0]["attempts"]),
        (&1.into(), &"ADT^A08".into(), &1.into())
    );
    assert!(letters[0]["reason"].as_str().unwrap().contains("HTTP 422"), "{}", letters[0]);
    let page = list("?limit=2");
    assert_eq!((page["dead_letters"].as_array().unwrap().len(), page["next"].as_str()), (2, Some("ehr:2")));
    let page = list("?limit=2&after=ehr:2");
    assert_eq!((&page["dead_letters"][0]["seq"], &page["next"]), (&3.into(), &serde_json::Value::Null));
    for wrong in ["?limit=0", "?limit=501", "?limit=x", "?after=x", "?after=:1", "?route=", "?rout=ehr"] {
        assert_eq!(admin.ask("viewer", "GET", &format!("/api/v1/dead-letters{wrong}")).status, 400, "{wrong}");
    }

    let one = "/api/v1/dead-letters/ehr/1";
    assert_eq!(admin.ask("phi-reader", "GET", one).body, sent[0]);
    let again = admin.ask("operator", "POST", &format!("{one}/resend"));
    assert_eq!((again.status, &again.json()["arrived"]), (200, &false.into()));
    assert!(again.json()["sent"][0]["reason"].as_str().unwrap().contains("HTTP 422"), "{}", again.body);
    up.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(admin.ask("operator", "POST", &format!("{one}/resend")).json()["arrived"], true);
    assert!(server.taken().contains(&("p-a".to_owned(), "CANARYa".to_owned())));
    assert_eq!(admin.ask("operator", "POST", &format!("{one}/resend")).status, 404, "it is none any more");
    assert_eq!(admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/2/drop").status, 204);
    let left: Vec<_> =
        list("")["dead_letters"].as_array().unwrap().iter().map(|letter| letter["seq"].clone()).collect();
    assert_eq!(left, [3]);
    for path in ["/api/v1/dead-letters/ehr/99/drop", "/api/v1/dead-letters/nobody/3/drop"] {
        assert_eq!(admin.ask("operator", "POST", path).status, 404, "{path}");
    }
    assert_eq!(admin.ask("operator", "POST", "/api/v1/dead-letters/ehr/x/drop").status, 400);
    let log = admin.gateway.stop();
    assert!(log.contains("token=the-phi-reader route=\"ehr\" seq=1") && !log.contains("CANARY"), "{log}");
}

#[test]
fn messages_by_number() {
    let admin = Administered::start("", FILE);
    let text = message("one", "A01");
    assert!(Peer::connect(&admin.gateway).exchange(&text).contains("MSA|AA|one"));
    let facts = admin.get("/api/v1/messages/1");
    assert_eq!(
        (&facts["type"], &facts["outcome"], &facts["listener"], &facts["bytes"]),
        (&"ADT^A01".into(), &"translated".into(), &"adt".into(), &text.len().into())
    );
    let raw = admin.ask("phi-reader", "GET", "/api/v1/messages/1/raw");
    assert!(raw.status == 200 && raw.body == text && raw.head.contains("x-application/hl7-v2+er7"), "{}", raw.head);
    for (path, status) in
        [("2", 404), ("0", 404), ("18446744073709551615", 404), ("99999999999999999999", 400), ("-1", 400)]
    {
        assert_eq!(admin.ask("viewer", "GET", &format!("/api/v1/messages/{path}")).status, status, "{path}");
    }
    assert!(admin.gateway.stop().contains("token=the-phi-reader seq=1"));
}

#[test]
fn the_command_line_operates_a_running_gateway() {
    let admin = Administered::start("", FILE);
    let url = format!("http://{}", admin.address);
    let command = |role: &str, arguments: &[&str]| {
        let done = handoff()
            .args(arguments)
            .args(["--admin", &url])
            .env("HANDOFF_TOKEN", admin.token(role))
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    assert!(Peer::connect(&admin.gateway).exchange(&message("one", "A01")).contains("MSA|AA|one"));
    wait_for("the count", || (admin.route("out")["sent"] == 1).then_some(()));
    let (code, shown, said) = command("viewer", &["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(shown.contains(" ready, started ") && shown.contains("journal ready at 1"), "{shown}");
    let (_, shown, _) = command("viewer", &["routes", "list"]);
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..7], ["STATUS", "NAME", "RECEIVED", "FILTERED", "QUEUED", "SENT", "ERRORED"]);
    assert_eq!(rows[1][..7], ["STARTED", "out", "1", "0", "0", "1", "0"]);
    assert_eq!(command("operator", &["routes", "pause", "out"]), (Some(0), "out paused\n".into(), String::new()));
    let (_, shown, _) = command("viewer", &["routes", "list", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(json["routes"][0]["state"], "paused");
    let (code, _, said) = command("viewer", &["routes", "start", "out"]);
    assert!(code == Some(1) && said.contains("has the role viewer, this needs operator"), "{said}");
    let (code, _, said) = command("operator", &["routes", "start", "nobody"]);
    assert!(code == Some(1) && said.contains("no route of that name"), "{said}");
    let (code, shown, said) = command("admin", &["reload"]);
    assert!(code == Some(0) && shown.contains("listeners: adt"), "{shown}{said}");
    admin.gateway.stop();
    let (code, _, said) = command_without_gateway(&url);
    assert!(code == Some(2) && said.contains("cannot ask the gateway"), "{said}");
    let (code, _, said) = run(&["status", "--config", "nowhere.toml", "--token", "x"]);
    assert!(code == Some(2) && said.contains("nowhere.toml: cannot be read"), "{said}");
}

fn command_without_gateway(url: &str) -> (Option<i32>, String, String) {
    run(&["status", "--admin", url, "--token", "x"])
}

/// A canary in every field that a sender can fill, in messages that are taken and in those that are not.
fn canaries() -> Vec<String> {
    let good = "MSH|^~\\&|CANARYapp|CANARYfac|CANARYto|CANARYat|20260102030405+0000|CANARYsec|ADT^A01^ADT_A01|CANARYid|P|2.5.1|||||CANARYcc\rEVN|A01|20260102030405+0000|20260102030405+0000|CANARYreason|CANARYop\rPID|1|CANARYp2|CANARYp3^^^CANARYauth^MR|CANARYp4|CANARYfamily^CANARYgiven|CANARYmother|19800101|F|CANARYalias|CANARYrace|CANARYstreet^^CANARYcity|CANARYcounty|CANARYphone\rPV1|1|I|CANARYward|CANARYt4|CANARYpre|CANARYprior|CANARYdoc^CANARYdoctor\rZPI|CANARYz\r";
    vec![
        good.to_owned(),
        good.replace("ADT^A01^ADT_A01", "ORU^R01^ORU_R01"),
        good.replace("ADT^A01^ADT_A01", "CANARY^CANARYev^CANARYst"),
        good.replace("ADT^A01^ADT_A01", "CAN^ARY^CANARY_A"),
        good.replace("|P|2.5.1", "|CANARYproc|2.5.1"),
        good.replace("|P|2.5.1", "|P|CANARYver"),
        good.replace("19800101", "CANARYbirth").replace("20260102030405+0000", "CANARYtime"),
        good.replace("PID|", "CANARYSEG|"),
        good.replace("\rPID", "\rCANARY"),
        format!("{good}{good}"),
        "CANARY no message".to_owned(),
        "MSH|CANARY".to_owned(),
    ]
}

#[test]
fn nothing_of_a_patient_is_told_to_who_may_not_read_it() {
    let server = Server::start(|_| "422 Unprocessable Entity");
    for format in ["text", "json"] {
        let rest = format!("{}[log]\nformat = \"{format}\"\nlevel = \"trace\"\n", server.configuration("", ""));
        let admin = Administered::start("metrics = \"open\"", &rest);
        let mut peer = Peer::connect(&admin.gateway);
        let sent = canaries();
        for text in &sent {
            peer.exchange(text);
        }
        wait_for("all to be settled", || (admin.route("ehr")["queued"] == 0).then_some(()));
        wait_for("dead letters", || {
            let letters = admin.get("/api/v1/dead-letters")["dead_letters"].as_array().unwrap().len();
            (letters >= sent.len() - 1).then_some(())
        });
        let mut told = String::new();
        for path in ["/metrics", "/api/v1/status", "/api/v1/listeners", "/api/v1/routes", "/api/v1/dead-letters"] {
            told += &admin.ask("admin", "GET", path).body;
        }
        for seq in 1..=sent.len() {
            told += &admin.ask("viewer", "GET", &format!("/api/v1/messages/{seq}")).body;
            for role in ["viewer", "operator", "admin"] {
                told += &admin.ask(role, "GET", &format!("/api/v1/messages/{seq}/raw")).body;
                told += &admin.ask(role, "GET", &format!("/api/v1/dead-letters/ehr/{seq}")).body;
            }
            for route in ["ehr", "untranslated"] {
                told += &admin.ask("operator", "POST", &format!("/api/v1/dead-letters/{route}/{seq}/resend")).body;
            }
            let raw = admin.ask("phi-reader", "GET", &format!("/api/v1/messages/{seq}/raw"));
            assert_eq!(raw.body, sent[seq - 1], "who may read it does");
        }
        assert!(told.matches("\"seq\":").count() > sent.len(), "{told}");
        let log = admin.gateway.stop();
        for (what, text) in [("answers", &told), ("log", &log)] {
            let found: Vec<_> = text.lines().filter(|line| line.contains("CANARY")).collect();
            assert!(found.is_empty(), "{what}, {format}: {found:#?}");
        }
        if format == "json" {
            let events = log.lines().filter(|line| line.starts_with('{'));
            let events: Vec<serde_json::Value> = events.map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(events.iter().any(|event| event["message"] == "message" && event["seq"] == 1), "{log}");
        }
    }
}

#[test]
fn tls_stands_before_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("a.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("a.key"), key.serialize_pem()).unwrap();
    let (token, table) = token("viewer");
    let tls = format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", path("a.pem"), path("a.key"));
    let gateway = Gateway::start(&format!("[admin]\nlisten = \"127.0.0.1:0\"\ntokens = [{table}]\n{tls}\n"));
    let log = gateway.log();
    let port = log.split("admin https://127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap();
    let status = |url: &str, rest: &[&str]| run(&[&["status", "--admin", url, "--token", &token], rest].concat());
    let url = format!("https://localhost:{port}");
    let (code, shown, said) = status(&url, &["--ca", &path("a.pem")]);
    assert!(code == Some(0) && shown.contains(" ready, started "), "{shown}{said}");
    assert_eq!(status(&url, &[]).0, Some(2), "nobody vouches for it");
    assert_eq!(status(&format!("http://localhost:{port}"), &[]).0, Some(2), "not without TLS");
    gateway.stop();
}
