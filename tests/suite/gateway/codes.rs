//! A code that no table has: noticed while messages come, resolved while the gateway runs, and its messages sent once more.
use super::admin::Administered;
use super::http::ask;
use super::process::{Peer, handoff, lines, message, wait_for};
use super::server::{Request, Server};
use handoff::journal::{CodeStanding, View};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

impl Administered {
    /// `handoff codes …` with the token of a role: exit code, standard output, standard error.
    fn codes(&self, role: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
        let done = handoff()
            .arg("codes")
            .args(arguments)
            .args(["--admin", &format!("http://{}", self.address)])
            .env("HANDOFF_TOKEN", self.token(role))
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    }

    fn open_codes(&self) -> Vec<Value> {
        let (code, out, said) = self.codes("operator", &["list", "--format", "json"]);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str::<Value>(&out).unwrap()["codes"].as_array().unwrap().clone()
    }
}

/// A message about a patient of its own, whose sex is told by this code.
fn with_sex(id: &str, sex: &str) -> String {
    message(id, "A01").replace("|19800101|F\r", &format!("|19800101|{sex}\r"))
}

/// The gender of the patient in a request.
fn gender(request: &Request) -> Option<String> {
    let entries = request.body["entry"].as_array()?;
    let patient = entries.iter().map(|entry| &entry["resource"]).find(|r| r["resourceType"] == "Patient")?;
    patient["gender"].as_str().map(str::to_owned)
}

fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    std::fs::write(site.path().join("site.toml"), "[profile]\ntimezone = \"America/New_York\"\n").unwrap();
    site
}

fn listener(rest: &str) -> String {
    format!("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n{rest}\n")
}

fn with_site(site: &Path) -> String {
    listener(&format!("site = \"{}\"", site.display()))
}

#[test]
fn a_code_is_noticed_resolved_and_its_messages_sent_again() {
    let (site, server) = (site(), Server::start(|_| "200 OK"));
    let rest = format!("{}{}", with_site(site.path()), server.configuration("", ""));
    let admin = Administered::start("", &rest);
    let mut peer = Peer::connect(&admin.gateway);
    for id in ["one", "two"] {
        assert!(peer.exchange(&with_sex(id, "X7")).contains(&format!("MSA|AA|{id}")));
    }
    let genders = |patient: &str| -> Vec<Option<String>> {
        server.requests().iter().filter(|r| r.patient == patient).map(gender).collect()
    };
    let first = wait_for("both messages", || {
        let both = [genders("patient-one"), genders("patient-two")];
        (!both[0].is_empty() && !both[1].is_empty()).then_some(both)
    });
    assert!(first.iter().flatten().all(|gender| gender.as_deref() != Some("male")), "{first:?}");
    let item = wait_for("the item", || admin.open_codes().into_iter().find(|item| item["count"] == 2));
    assert_eq!((&item["table"], &item["code"]), (&"AdministrativeSex".into(), &"X7".into()));
    assert_eq!((&item["listener"], &item["feed"]), (&"adt".into(), &"HIS|HARBOR".into()));
    assert!(item["first_seen"].as_str() <= item["last_seen"].as_str());
    let id = item["id"].to_string();
    let (_, shown, _) = admin.codes("operator", &["messages", &id]);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(shown.contains("ADT^A01"));

    // What does not compile is never written, and nothing changes.
    let (code, _, said) = admin.codes("admin", &["resolve", &id, "no-gender"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no-gender") && said.contains("422"), "{said}");
    assert!(!site.path().join("tables").exists());
    assert_eq!(admin.codes("operator", &["resolve", &id, "male"]).0, Some(1), "an operator may not");

    let (code, told, said) = admin.codes("admin", &["resolve", &id, "male"]);
    assert_eq!(code, Some(0), "{said}");
    let file = site.path().join("tables/AdministrativeSex.csv");
    assert!(told.contains(&format!("written: {}", file.display())), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "v2_code,fhir_code,display,system\nX7,male,,\n");
    assert!(admin.open_codes().iter().all(|item| item["code"] != "X7"));

    let (code, told, said) = admin.codes("operator", &["resend", &id]);
    assert_eq!((code, told.as_str()), (Some(0), "2 of 2 messages sent again\n"), "{said}");
    for patient in ["patient-one", "patient-two"] {
        assert_eq!(genders(patient).last(), Some(&Some("male".to_owned())), "{patient}: {:?}", genders(patient));
    }
    // From now on the table has it.
    assert!(peer.exchange(&with_sex("three", "X7")).contains("MSA|AA|three"));
    let third = wait_for("the third", || genders("patient-three").pop());
    assert_eq!(third.as_deref(), Some("male"));

    // By a file, which names table and code.
    assert!(peer.exchange(&with_sex("four", "Z9")).contains("MSA|AA|four"));
    wait_for("another item", || admin.open_codes().into_iter().find(|item| item["code"] == "Z9"));
    let (_, sheet, _) = admin.codes("operator", &["list", "--csv"]);
    assert!(sheet.starts_with("id,listener,feed,table,v2_code,count,fhir_code,display,system\n"), "{sheet}");
    let filled = site.path().join("filled.txt");
    std::fs::write(&filled, "table,v2_code,fhir_code\nAdministrativeSex,Z9,other\nAdministrativeSex,Q1,\n").unwrap();
    let (code, _, said) = admin.codes("admin", &["resolve", "--csv", filled.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("X7,male,,\nZ9,other,,\n"));

    let metrics = admin.ask("viewer", "GET", "/metrics").body;
    assert!(metrics.contains("handoff_unmapped_codes_total{listener=\"adt\",result=\"noted\"} 3\n"), "{metrics}");
    // The names of folders are made of any letters.
    let log = admin.gateway.log().lines().filter(|line| !line.contains("/.tmp")).collect::<Vec<_>>().join("\n");
    for hidden in ["X7", "Z9", "CANARY"] {
        assert!(!metrics.contains(hidden) && !log.contains(hidden), "{hidden}");
    }
    let data = admin.gateway.data();
    admin.gateway.stop();
    let kept = View::open(&data).unwrap().state().codes(Some(CodeStanding::Resolved), 0, 10).unwrap();
    let kept: Vec<_> = kept.iter().map(|item| (item.code.as_str(), item.count)).collect();
    assert_eq!(kept, [("X7", 2), ("Z9", 1)]);
}

/// Kept untranslated (`ack_on = "durable"`), a message is translated by each route: its code counts once all the same.
#[test]
fn what_is_translated_later_is_noticed_as_well() {
    let route = |name: &str| format!("[[route]]\nname = \"{name}\"\nto = {{ file = \"{name}.ndjson\" }}\n");
    let rest = format!("{}{}{}", listener("ack_on = \"durable\""), route("a"), route("b"));
    let admin = Administered::start("", &rest);
    let mut peer = Peer::connect(&admin.gateway);
    assert!(peer.exchange(&with_sex("one", "X7")).contains("MSA|AA|one"));
    for name in ["a", "b"] {
        let path = admin.gateway.folder().join(format!("{name}.ndjson"));
        wait_for("the bundle", || (lines(&path).len() == 1).then_some(()));
    }
    let counted = "handoff_unmapped_codes_total{listener=\"adt\",result=\"noted\"} 2\n";
    wait_for("both routes", || admin.ask("viewer", "GET", "/metrics").body.contains(counted).then_some(()));
    let item = wait_for("the item", || admin.open_codes().pop());
    let id = item["id"].to_string();
    assert_eq!((&item["code"], &item["count"]), (&"X7".into(), &1.into()));

    let (code, _, said) = admin.codes("admin", &["resolve", &id, "male"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("has no site folder"), "{said}");
    let (code, told, _) = admin.codes("operator", &["dismiss", &id]);
    assert!(code == Some(0) && told.contains("standing: dismissed"), "{told}");
    assert!(admin.open_codes().is_empty());
    assert!(peer.exchange(&with_sex("two", "X7")).contains("MSA|AA|two"));
    let again = wait_for("the second message", || {
        let (_, out, _) = admin.codes("operator", &["list", "--standing", "all", "--format", "json"]);
        let all: Value = serde_json::from_str(&out).unwrap();
        (all["codes"][0]["count"] == 2).then(|| all["codes"][0].clone())
    });
    assert_eq!(again["standing"], "dismissed");
    admin.gateway.stop();
}

/// What stands where a code belongs may be a patient's name: whoever operates sees how long it is, and settles it all the same.
#[test]
fn what_does_not_look_like_a_code_is_for_who_may_read_messages() {
    let site = site();
    let admin = Administered::start("", &with_site(site.path()));
    let mut peer = Peer::connect(&admin.gateway);
    assert!(peer.exchange(&with_sex("one", "CANARY Theodora")).contains("MSA|AA|one"));
    let item = wait_for("the item", || admin.open_codes().pop());
    assert_eq!(item["code"], "<15 bytes>");
    let id = item["id"].to_string();
    for (role, shown) in [("operator", "code: <15 bytes>\n"), ("phi-reader", "code: CANARY Theodora\n")] {
        let (code, told, said) = admin.codes(role, &["show", &id]);
        assert!(code == Some(0) && told.contains(shown), "{role}: {told}{said}");
    }
    let (_, sheet, _) = admin.codes("operator", &["list", "--csv"]);
    assert!(sheet.contains(",<15 bytes>,") && !sheet.contains("CANARY"), "{sheet}");
    assert!(admin.codes("phi-reader", &["list"]).1.contains("CANARY Theodora"));
    let filled = site.path().join("filled.txt");
    std::fs::write(&filled, "table,v2_code,fhir_code\nAdministrativeSex,<15 bytes>,other\n").unwrap();
    let (code, _, said) = admin.codes("admin", &["resolve", "--csv", filled.to_str().unwrap()]);
    assert!(code == Some(2) && said.contains("by its id"), "{said}");
    assert_eq!(admin.codes("admin", &["resolve", &id, "other"]).0, Some(0));
    let table = std::fs::read_to_string(site.path().join("tables/AdministrativeSex.csv")).unwrap();
    assert!(table.ends_with("CANARY Theodora,other,,\n"), "{table}");
    let log = admin.gateway.log();
    assert!(log.contains("codes read") && log.contains("code read") && !log.contains("CANARY"));
    admin.gateway.stop();
}

/// A configuration that is broken on the disk: the row compiles, the reload fails, and the file is as it was.
#[test]
fn what_is_not_taken_on_is_put_back() {
    let site = site();
    let admin = Administered::start("", &with_site(site.path()));
    let mut peer = Peer::connect(&admin.gateway);
    assert!(peer.exchange(&with_sex("one", "X7")).contains("MSA|AA|one"));
    let id = wait_for("the item", || admin.open_codes().pop())["id"].to_string();
    let tables = site.path().join("tables");
    std::fs::create_dir(&tables).unwrap();
    let file = tables.join("AdministrativeSex.csv");
    std::fs::write(&file, "v2_code,fhir_code\nM1,male").unwrap();
    let other = site.path().join("broken.toml");
    std::fs::write(&other, "[PID.Patient.set]\nbirthDate = \"99\"\n").unwrap();
    let (code, _, said) = admin.codes("admin", &["resolve", &id, "male"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("the files are as they were"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "v2_code,fhir_code\nM1,male");
    assert_eq!(admin.open_codes().len(), 1);
    std::fs::remove_file(&other).unwrap();
    assert_eq!(admin.codes("admin", &["resolve", &id, "male"]).0, Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "v2_code,fhir_code\nM1,male\nX7,male\n");
    admin.gateway.stop();
}

/// What the lane of a route has still before it is its own to deliver; what it gave up and arrives now is no dead letter any more.
#[test]
fn a_lane_is_not_overtaken_and_what_arrives_is_no_dead_letter() {
    let server = Server::start(|request| match (request.patient.as_str(), request.earlier) {
        ("patient-one", 0) => "422 Unprocessable Entity",
        _ => "200 OK",
    });
    let admin = Administered::start("", &format!("{}{}", listener(""), server.configuration("", "")));
    let letters = || admin.get("/api/v1/dead-letters")["dead_letters"].as_array().unwrap().len();
    let mut peer = Peer::connect(&admin.gateway);
    assert!(peer.exchange(&with_sex("one", "X7")).contains("MSA|AA|one"));
    wait_for("the dead letter", || (letters() == 1).then_some(()));
    assert_eq!(admin.ask("operator", "POST", "/api/v1/routes/ehr/pause").status, 200);
    assert!(peer.exchange(&with_sex("two", "X7")).contains("MSA|AA|two"));
    let item = wait_for("the item", || admin.open_codes().into_iter().find(|item| item["count"] == 2));
    let id = item["id"].to_string();

    let (code, told, said) = admin.codes("operator", &["resend", &id]);
    assert_eq!((code, told.as_str()), (Some(1), "0 of 2 messages sent again\n"), "{said}");
    assert!(said.contains("2 waiting: ehr has not delivered it yet"), "{said}");
    assert!(said.contains("1 failed: ehr is paused; start it"), "what somebody holds back gets nothing: {said}");
    assert_eq!(letters(), 1);
    let requests = |patient: &str| server.requests().iter().filter(|request| request.patient == patient).count();
    assert_eq!((requests("patient-one"), requests("patient-two")), (1, 0));

    assert_eq!(admin.ask("operator", "POST", "/api/v1/routes/ehr/start").status, 200);
    wait_for("the second message", || (requests("patient-two") == 1).then_some(()));
    let again = || admin.codes("operator", &["resend", &id]);
    wait_for("its lane to be done with it", || (again().0 == Some(0)).then_some(()));
    assert_eq!((requests("patient-two"), letters()), (2, 0));
    admin.gateway.stop();
}

#[test]
fn the_api_says_what_is_wrong_with_a_question() {
    let admin = Administered::start("", "");
    for (role, method, path, status) in [
        ("viewer", "GET", "/api/v1/codes", 403),
        ("viewer", "GET", "/api/v1/codes/99", 403),
        ("phi-reader", "GET", "/api/v1/codes", 200),
        ("phi-reader", "GET", "/api/v1/codes/99", 404),
        ("phi-reader", "GET", "/api/v1/codes/99/messages", 403),
        ("phi-reader", "POST", "/api/v1/codes/99/dismiss", 403),
        ("operator", "GET", "/api/v1/codes", 200),
        ("operator", "GET", "/api/v1/codes?limit=0", 400),
        ("operator", "GET", "/api/v1/codes?standing=gone", 400),
        ("operator", "GET", "/api/v1/codes?nonsense=1", 400),
        ("operator", "GET", "/api/v1/codes/99", 404),
        ("operator", "GET", "/api/v1/codes/x", 400),
        ("operator", "GET", "/api/v1/codes/99/messages", 404),
        ("operator", "POST", "/api/v1/codes/99/resend", 404),
        ("operator", "POST", "/api/v1/codes/99/dismiss", 404),
        ("operator", "POST", "/api/v1/codes/resolve", 403),
        ("admin", "POST", "/api/v1/codes/resolve", 400),
    ] {
        assert_eq!(admin.ask(role, method, path).status, status, "{role} {method} {path}");
    }
    assert_eq!(ask(&admin.address, "GET", "/api/v1/codes", &[]).status, 401);
    admin.gateway.stop();
}
