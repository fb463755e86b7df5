//! Coordinated care from end to end: the program itself takes the messages of the story, and subscribers hear of them.
mod attempts;
mod enveloped;
mod escalated;
mod group_written;
mod interface;
mod judged;
mod listed;
mod measured;
mod mended;
mod merged;
mod pictured;
mod posted;
mod rebuilt;
mod rekeyed;
mod relabelled;
mod reviewed;
mod secrets;
mod stated;
mod subscribed;
mod sunk;
mod team;
mod tested;
mod websocket;
mod worked;
mod wrong;

use super::desk::Visitor;
use super::http::{Answer, ask_with};
use super::process::{Gateway, Peer, handoff, wait_for};
use super::web::{self, Request, Web};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Stdio;

const EXTENSIONS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
const TOPICS: &str = "https://handoff.example/fhir/SubscriptionTopic/";

/// The hospital.
pub const M1: &str = include_str!("../coordination/story/m1.hl7");
pub const M2: &str = include_str!("../coordination/story/m2.hl7");
pub const M3: &str = include_str!("../coordination/story/m3.hl7");
/// The practice.
pub const M4: &str = include_str!("../coordination/story/m4.hl7");
pub const M5: &str = include_str!("../coordination/story/m5.hl7");
pub const M6: &str = include_str!("../coordination/story/m6.hl7");
/// The referral.
pub const R1: &str = include_str!("../coordination/story/r1.hl7");
pub const R2: &str = include_str!("../coordination/story/r2.hl7");
pub const R3: &str = include_str!("../coordination/story/r3.hl7");

/// Who is looked after.
pub const ROSTER: &str = "MBI,LAST,FIRST,DOB,SEX,ZIP,PHONE,EFF,TERM,PCP,CM\n\
    1EG4TE5MK73,OKAFOR,MARISOL,1951-03-14,F,14150,7165550142,2026-01-01,,9990003037,cm-ortega\n\
    1EG4TE5MK74,ZEPHYRINE,CASIMIR,1960-07-01,M,14150,7165550143,2026-01-01,,9990003037,cm-ortega\n";

/// Of the admin server.
pub const ROLES: [&str; 4] = ["viewer", "operator", "admin", "phi-reader"];

/// Recipients have tokens of their own name.
pub fn token(who: &str) -> String {
    format!("{who}-0123456789abcdef0123456789abcdef")
}

pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A recipient of the panel; `keys` are further ones.
pub fn recipient(id: &str, max_content: &str, keys: &str) -> String {
    let clear = if keys.contains("clear = ") { "" } else { "clear = []\n" };
    format!(
        "[[coordination.recipient]]\nid = \"{id}\"\npanels = [\"aco-lakeshore\"]\npurpose = \"HOPERAT\"\ntopics = [\"admission\", \"discharge\", \"open-loop\", \"care-flag\", \"patient-data-feed\"]\nmax_content = \"{max_content}\"\ntoken_sha256 = \"{}\"\n{clear}{keys}\n",
        sha256(&token(id))
    )
}

/// `rosters` is where the file of the panel lies; `keys` are those of `[coordination.subscriptions]`.
pub fn configuration(rosters: &Path, keys: &str, recipients: &str) -> String {
    let facility =
        |key: &str, npi: &str| format!("[coordination.facility.{key}]\nnpi = \"{npi}\"\ntz = \"America/New_York\"\n");
    let facilities: String = [("SBMC", "9990001015"), ("CHFM", "9990003037"), ("LCARD", "9990005057")]
        .iter()
        .map(|(key, npi)| facility(key, npi))
        .collect();
    format!(
        r#"[admin]
listen = "127.0.0.1:0"
metrics = "open"
tokens = [{{ name = "ops", role = "operator", sha256 = "{}" }}]

[coordination]
tz = "America/New_York"

[coordination.events]
max_event_age = "200000h"

{facilities}
[coordination.facility.LAKERECOV]
tz = "America/New_York"
part2 = true

[[coordination.panel]]
id = "aco-lakeshore"
kind = "aco"
owner_npi = "9990004043"
tz = "America/New_York"
source = {{ type = "csv", path = "{}", mode = "supersede" }}
columns = {{ id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", family = "LAST", given = "FIRST", dob = "DOB", sex = "SEX", zip = "ZIP", phone = "PHONE", start = "EFF", end = "TERM", pcp_npi = "PCP", care_manager = "CM" }}

[[coordination.loop]]
use = "post-discharge"

[[coordination.loop]]
use = "referral"

[[coordination.label]]
code = "SUD"
facilities = ["LAKERECOV"]

{recipients}
[coordination.subscriptions]
retry_min = "10ms"
retry_max = "50ms"
{keys}

[coordination.fhir]
listen = "127.0.0.1:0"
stewards = [{{ name = "privacy-office", sha256 = "{}" }}]
"#,
        sha256(&token("ops")),
        rosters.join("lakeshore.csv").display(),
        sha256(&token("privacy-office"))
    )
}

/// A running gateway with a panel, recipients and its FHIR interface.
pub struct Care {
    pub gateway: Gateway,
    fhir: String,
    rosters: tempfile::TempDir,
}

impl Care {
    pub fn start(keys: &str, recipients: &str) -> Care {
        Care::start_with(keys, recipients, "")
    }

    /// One with another roster.
    pub fn start_of(roster: &str, keys: &str, recipients: &str) -> Care {
        Care::start_all(roster, keys, recipients, "")
    }

    /// One whose admin server knows a token of each role, of the name of the role; `rest` is more of the configuration.
    pub fn start_with(keys: &str, recipients: &str, rest: &str) -> Care {
        Care::start_all(ROSTER, keys, recipients, rest)
    }

    fn start_all(roster: &str, keys: &str, recipients: &str, rest: &str) -> Care {
        let rosters = tempfile::tempdir().unwrap();
        std::fs::write(rosters.path().join("lakeshore.csv"), roster).unwrap();
        let configuration = configuration(rosters.path(), keys, recipients) + rest;
        Care::start_in(rosters, &configuration)
    }

    fn start_in(rosters: tempfile::TempDir, configuration: &str) -> Care {
        let known = |role: &str| {
            format!("{{ name = \"the-{role}\", role = \"{role}\", sha256 = \"{}\" }}", sha256(&token(role)))
        };
        let tokens = ROLES.map(known).join(", ");
        let gateway = Gateway::start(&configuration.replace("tokens = [{", &format!("tokens = [{tokens}, {{")));
        let fhir = address(&gateway, "fhir");
        Care { gateway, fhir, rosters }
    }

    /// One with another roster, and the practice's own panel with the same; whatever is dropped from them.
    pub fn start_of_two(roster: &str, recipients: &str) -> Care {
        let rosters = tempfile::tempdir().unwrap();
        for file in ["lakeshore.csv", "chfm.csv"] {
            std::fs::write(rosters.path().join(file), roster).unwrap();
        }
        let one = configuration(rosters.path(), "", recipients).replace("columns =", "max_drop_pct = 100\ncolumns =");
        let begin = one.find("[[coordination.panel]]").unwrap();
        let end = begin + one[begin..].find("\n\n").unwrap();
        let names = [
            ("aco-lakeshore", "pcmh-chfm"),
            ("\"aco\"", "\"pcmh\""),
            ("lakeshore.csv", "chfm.csv"),
            ("9990004043", "9990003037"),
        ];
        let other = names.iter().fold(one[begin..end].to_owned(), |panel, (from, to)| panel.replace(from, to));
        Care::start_in(rosters, &format!("{one}\n{other}\n"))
    }

    /// Writes the roster of the panel anew.
    pub fn write_roster(&self, text: &str) {
        self.write_roster_of("lakeshore.csv", text);
    }

    pub fn write_roster_of(&self, file: &str, text: &str) {
        std::fs::write(self.rosters.path().join(file), text).unwrap();
    }

    /// Somebody of a role who has signed in to the desk.
    pub fn visit(&self, role: &str) -> Visitor {
        Visitor::enter(&address(&self.gateway, "admin"), &format!("token={}", token(role)))
    }

    /// Asks the admin server, as somebody of a role.
    pub fn operate(&self, role: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Authorization: Bearer {}", token(role));
        let body = body.map(Value::to_string).unwrap_or_default();
        let address = address(&self.gateway, "admin");
        ask_with(&address, method, &format!("/api/v1/{path}"), &[&bearer, "Content-Type: application/json"], &body)
    }

    /// `handoff …` against the admin server, as somebody of a role: exit code, and all that it said.
    pub fn operate_by_command(&self, role: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let admin = format!("http://{}", address(&self.gateway, "admin"));
        let mut command = handoff();
        command.args(arguments).args(["--admin", &admin]).env("HANDOFF_TOKEN", token(role));
        let done = command.stdout(Stdio::piped()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout) + &text(done.stderr))
    }

    /// Kills it, removes what was made of the journal, and starts it again.
    pub fn kill_and_make_anew(self) -> Care {
        let data = self.gateway.data();
        self.kill_and_restart_after(|| {
            for suffix in ["", "-wal", "-shm"] {
                let file = data.join(format!("coordination.sqlite{suffix}"));
                assert!(std::fs::remove_file(&file).is_ok() || !suffix.is_empty(), "{}", file.display());
            }
        })
    }

    /// Kills it and starts it again; `while_starting` as of the gateway.
    pub fn kill_and_restart(self, while_starting: Option<std::time::Duration>) -> Care {
        let gateway = self.gateway.kill_and_restart(while_starting);
        Care { fhir: address(&gateway, "fhir"), gateway, rosters: self.rosters }
    }

    /// Kills it, does something, and starts it again.
    pub fn kill_and_restart_after(self, between: impl FnOnce()) -> Care {
        let gateway = self.gateway.kill_and_restart_after(between);
        Care { fhir: address(&gateway, "fhir"), gateway, rosters: self.rosters }
    }

    pub fn ask(&self, who: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bearer = format!("Authorization: Bearer {}", token(who));
        let body = body.map(Value::to_string).unwrap_or_default();
        ask_with(&self.fhir, method, path, &[&bearer, "Content-Type: application/fhir+json"], &body)
    }

    pub fn get(&self, who: &str, path: &str) -> Value {
        let answer = self.ask(who, "GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Sends messages, each of which is taken.
    pub fn send(&self, messages: &[&str]) {
        let mut peer = Peer::connect(&self.gateway);
        for message in messages {
            let ack = peer.exchange(message);
            assert!(ack.contains("MSA|CA|") || ack.contains("MSA|AA|"), "{ack}");
        }
    }

    /// A steward writes down that a patient forbids everything.
    pub fn forbid(&self, id: &str, patient: &str) {
        let deny = json!({
            "resourceType": "Consent", "id": id, "status": "active",
            "scope": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy" }] },
            "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
            "patient": { "reference": format!("Patient/{patient}") }, "provision": { "type": "deny" },
        });
        let said = self.ask("privacy-office", "PUT", &format!("/fhir/Consent/{id}"), Some(&deny));
        assert!(matches!(said.status, 200 | 201), "{}", said.body);
    }

    /// They do not any more.
    pub fn forbid_no_more(&self, id: &str) {
        let gone = self.ask("privacy-office", "DELETE", &format!("/fhir/Consent/{id}"), None);
        assert!(matches!(gone.status, 200 | 204), "{}", gone.body);
    }

    /// Subscribes, and gives the id.
    pub fn subscribe(&self, who: &str, subscription: &Value) -> String {
        let made = self.ask(who, "POST", "/fhir/Subscription", Some(subscription));
        assert_eq!(made.status, 201, "{}", made.body);
        assert!(made.head.contains("/fhir/subscription/"), "{}", made.head);
        made.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn wait_for_state(&self, who: &str, id: &str, state: &str) {
        let path = format!("/fhir/Subscription/{id}");
        wait_for(&format!("the state {state}"), || (self.get(who, &path)["status"] == state).then_some(()));
    }

    /// Waits until so many events have been numbered.
    pub fn wait_for_events(&self, who: &str, id: &str, count: u64) {
        let path = format!("/fhir/Subscription/{id}/$status");
        wait_for("events", || {
            let status = self.get(who, &path)["entry"][0]["resource"].clone();
            let last: u64 = text_of(&status, "events-since-subscription-start").parse().unwrap();
            assert!(last <= count, "{last} events");
            (last == count).then_some(())
        });
    }

    /// What `$events` answers from a number on.
    pub fn events(&self, who: &str, id: &str, since: u64) -> Value {
        self.get(who, &format!("/fhir/Subscription/{id}/$events?eventsSinceNumber={since}"))
    }

    /// Waits until every message of the journal has been taken.
    pub fn wait_until_read(&self, head: u64) {
        let data = self.gateway.data();
        wait_for("the journal to be read", || {
            let next: i64 = database(&data).query_row("SELECT next FROM cursor", [], |row| row.get(0)).ok()?;
            (next.unsigned_abs() > head).then_some(())
        });
    }

    /// What the admin API answers to an operator.
    pub fn administer(&self, path: &str) -> Value {
        let bearer = format!("Authorization: Bearer {}", token("ops"));
        let answer = ask_with(&address(&self.gateway, "admin"), "GET", path, &[&bearer], "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub fn metrics(&self) -> String {
        let answer = ask_with(&address(&self.gateway, "admin"), "GET", "/metrics", &[], "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }
}

/// Where it says that it listens.
pub fn address(gateway: &Gateway, what: &str) -> String {
    let log = gateway.log();
    let rest = log.split(&format!("{what} http://")).nth(1).unwrap();
    rest.split(['/', ' ']).next().unwrap().to_owned()
}

/// What has been made of the journal, to look at.
pub fn database(data: &Path) -> Connection {
    Connection::open_with_flags(data.join("coordination.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// A subscription to a topic for everybody of the panel.
pub fn subscription(topic: &str, address: &str, content: &str) -> Value {
    let extension = |name: &str, kind: &str, value: &str| json!({ "url": format!("{EXTENSIONS}{name}"), kind: value });
    json!({
        "resourceType": "Subscription", "status": "requested", "reason": "stays of our members", "criteria": format!("{TOPICS}{topic}"),
        "_criteria": { "extension": [extension("backport-filter-criteria", "valueString", "_in=Group/aco-lakeshore")] },
        "channel": {
            "type": "rest-hook", "endpoint": format!("http://{address}/notify"), "payload": "application/fhir+json",
            "_payload": { "extension": [extension("backport-payload-content", "valueCode", content)] },
        },
    })
}

/// What stands in the audit.
pub fn audit(care: &Care) -> Vec<Value> {
    let folder = care.gateway.data().join("audit");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|name| name == "ndjson"));
    files.sort();
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>())
        .collect()
}

/// A receiver that takes everything.
pub fn receiver() -> Web {
    Web::start(|_| says("200 OK"))
}

pub fn says(status: &'static str) -> web::Answer {
    (status, String::new(), String::new())
}

/// The value of a parameter or part of that name.
pub fn part<'v>(of: &'v Value, name: &str) -> &'v Value {
    let list = of["parameter"].as_array().or(of["part"].as_array()).unwrap();
    list.iter().find(|one| one["name"] == name).unwrap_or(&Value::Null)
}

pub fn text_of(of: &Value, name: &str) -> String {
    let found = part(of, name).as_object().unwrap_or_else(|| panic!("{name} in {of}"));
    let value = found.iter().find(|(key, _)| key.starts_with("value")).unwrap().1;
    value.as_str().or(value["reference"].as_str()).unwrap().to_owned()
}

/// The notifications of a type that a receiver has been sent.
pub fn notifications(requests: &[Request], kind: &str) -> Vec<Value> {
    let bodies = requests.iter().map(Request::json);
    bodies.filter(|body| text_of(&body["entry"][0]["resource"], "type") == kind).collect()
}

/// The events of a notification: number, and what of it is told.
pub fn events_in(bundle: &Value) -> Vec<(u64, Value)> {
    let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    let events = parameters.iter().filter(|one| one["name"] == "notification-event");
    events.map(|one| (text_of(one, "event-number").parse().unwrap(), one.clone())).collect()
}

/// `handoff …` with the configuration of a folder: exit code, and all that it said.
pub fn command(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let config = folder.join("handoff.toml");
    let done = handoff().args(arguments).arg("--config").arg(config).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout) + &text(done.stderr))
}
