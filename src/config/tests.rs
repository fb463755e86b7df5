//! Tests of the configuration as a user writes it.
use super::*;
use crate::intake::AckOn;
use std::time::Duration;

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, Path::new("/etc/handoff/handoff.toml"), &|name| (name == "PORT").then(|| "2600".to_owned()))
}

fn wrong(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_the_defaults_beside_the_file() {
    let config = parse("").unwrap();
    assert_eq!(config.data, Path::new("/etc/handoff/handoff-data"));
    assert_eq!((config.listeners.len(), config.listeners[0].address.as_str()), (1, "127.0.0.1:2575"));
    let Target::File(file) = &config.routes[0].target else { panic!("a file") };
    assert_eq!(file.path, Path::new("/etc/handoff/handoff-data/bundles.ndjson"));
}

#[test]
fn everything_that_can_be_said() {
    let config = parse(
        r#"
        data = "/var/lib/handoff"
        durability = "os"
        retention = { age = "90d", size = "200GB" }
        [[listener]]
        name = "adt"
        mllp = "0.0.0.0:${PORT}"
        plaintext = true
        ack_on = "durable"
        duplicates = "strict"
        duplicate_window = "2d"
        framing = "lenient"
        frame_bytes_max = 52_428_800
        idle_timeout = "1h"
        [[route]]
        name = "ehr"
        order = "link"
        concurrency = 3
        waiting_max = 500
        to = { fhir = "https://ehr.example/fhir", bundle = "batch", timeout = "10s" }
        retry = { first = "500ms", max = "1m", attempts = 7, age = "1d" }
        [[route]]
        name = "archive"
        to = { file = "out/bundles.ndjson" }
        "#,
    )
    .unwrap();
    assert_eq!(config.retention, journal::Retention { age: Duration::from_secs(90 * 86_400), bytes: 200 << 30 });
    let listener = &config.listeners[0];
    assert_eq!((listener.address.as_str(), listener.intake.ack_on), ("0.0.0.0:2600", AckOn::Durable));
    assert_eq!(listener.intake.on_duplicate, intake::OnDuplicate::Strict);
    assert_eq!(listener.intake.duplicate_window, Duration::from_secs(2 * 86_400));
    assert_eq!(listener.options.connection.decoder.frame_bytes_max, 50 << 20);
    assert_eq!(
        config.routes[0].retry,
        Retry {
            first: Duration::from_millis(500),
            max: Duration::from_secs(60),
            attempts: 7,
            age: Duration::from_secs(86_400)
        }
    );
    let (ehr, archive) = (&config.routes[0], &config.routes[1]);
    assert_eq!((ehr.order, ehr.concurrency, ehr.waiting_max), (delivery::Order::Link, 3, 500));
    assert_eq!((archive.order, archive.waiting_max), (delivery::Order::Patient, 10_000));
    let Target::Fhir(server) = &config.routes[0].target else { panic!("a server") };
    assert_eq!((server.base.as_str(), server.envelope), ("https://ehr.example/fhir", Envelope::Batch));
    assert_eq!(
        config.routes[1].target,
        Target::File(file::Options { path: "/etc/handoff/out/bundles.ndjson".into(), envelope: Envelope::Message })
    );
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let text = "dta = \"x\"\n[[listener]]\nname = \"a b\"\nmllp = \"0.0.0.0:2575\"\nack_on = \"tranlated\"\n[[route]]\nname = \"r\"\nfilter = \"MSH-9.1 in ADT\"\nto = { fil = \"x\" }\n";
    let found = wrong(text);
    for expected in [
        "handoff.toml:1:1: unknown key \"dta\"; did you mean \"data\"?",
        "handoff.toml:3:8: name must be",
        "handoff.toml:4:8: this address can be reached from other machines, and MLLP is not encrypted: give the listener tls",
        "handoff.toml:5:10: ack_on must be one of \"translated\", \"durable\"; did you mean \"translated\"?",
        "handoff.toml:8:10: filter: before `ADT`: ",
        "handoff.toml:9:6: to names no target",
        "handoff.toml:9:8: unknown key \"fil\"; did you mean \"file\"?",
    ] {
        assert!(found.contains(expected), "{expected:?} not in:\n{found}");
    }
}

#[test]
fn each_mistake_has_a_remedy() {
    let listener = |line: &str| wrong(&format!("[[listener]]\nname = \"a\"\nmllp = \"127.0.0.1:1\"\n{line}\n"));
    let route = |to: &str| wrong(&format!("[[route]]\nname = \"a\"\nto = {to}\n"));
    for (found, expected) in [
        (wrong("data = "), "handoff.toml:1:"),
        (wrong("data = 7"), "data must be a text in quotes"),
        (wrong("data = \"${NOPE}\""), "the environment variable NOPE is not set"),
        (wrong("retention = { size = \"much\" }"), "size must be a size such as"),
        (wrong("durability = \"memory\""), "durability must be one of \"fsync\", \"os\""),
        (wrong("[listener]\nname = \"a\""), "listener must be written as [[listener]]"),
        (wrong("[[listener]]\nname = \"a\""), "mllp is missing"),
        (wrong("[[listener]]\nmllp = \"127.0.0.1:1\""), "name is missing"),
        (wrong("[[listener]]\nname = \"a\"\nmllp = \"127.0.0.1\""), "mllp must be host:port"),
        (listener("tls = { certificate = \"x\" }"), "tls needs certificate and key"),
        (listener("allow = [\"10.0.0.0/8\", \"ten\"]"), "handoff.toml:4:24: allow lists addresses and networks"),
        (listener("http = \"127.0.0.1:80\""), "a listener has one address: mllp, http or directory"),
        (listener("bearer = \"x\""), "bearer goes with http"),
        (
            wrong("[[listener]]\nname = \"a\"\ndirectory = \"in\"\nduplicates = \"off\""),
            "duplicates = \"off\" does not go with a directory",
        ),
        (
            wrong("[[listener]]\nname = \"a\"\ndirectory = \"in\"\nsequence = true"),
            "sequence, tls and allow are about senders that connect",
        ),
        (wrong("[[listener]]\nname = \"a\"\nhttp = \"0.0.0.0:80\""), "and HTTP is not encrypted"),
        (listener("tls = { certificate = \"x\", key = \"y\", revoked = \"z\" }"), "give client_ca"),
        (
            listener("tls = { certificate = \"x\", key = \"y\", client_ca = \"z\", names = { a = [\"|\"] } }"),
            "handoff.toml:4:71: names lists senders by MSH-3 and MSH-4",
        ),
        (listener("duplicates = \"on\""), "duplicates must be one of \"replay\", \"strict\", \"off\""),
        (listener("idle_timeout = \"soon\""), "idle_timeout must be a time span"),
        (listener("pipeline_max = 0"), "pipeline_max must be a whole number, 1 or more"),
        (wrong("[[route]]\nname = \"a\""), "to is missing"),
        (route("{ fhir = \"ehr.example\" }"), "fhir must be the base URL"),
        (route("{ fhir = \"http://ehr.example/fhir\" }"), "http is not encrypted"),
        (route("{ fhir = \"https://user:secret@ehr.example\" }"), "without user, password"),
        (route("{ fhir = \"https://a.example\", file = \"x\" }"), "one target"),
        (route("{ mllp = \"lab.example:2575\" }"), "give the target plaintext = true"),
        (route("{ fhir = \"https://a.example\", basic = \"nobody\" }"), "basic must be user:password"),
        (route("{ fhir = \"https://a.example\", bearer = \"file:none\" }"), "/etc/handoff/none cannot be read"),
        (route("{ fhir = \"https://a.example\", bearer = \"x\", basic = \"a:b\" }"), "bearer or basic"),
        (route("{ file = \"x\", bearer = \"x\" }"), "unknown key \"bearer\""),
        (route("{ mllp = \"lab\" }"), "mllp must be host:port"),
        (route("{ mllp = \"127.0.0.1:1\", bundle = \"batch\" }"), "bundle does not go with mllp"),
        (
            wrong("[[route]]\nname = \"a\"\nfilter = \"PIX-3 valued\"\nto = { file = \"x\" }"),
            "handoff.toml:3:10: filter: HL7 v2 has no segment PIX",
        ),
        (route("{ rest_hook = \"https://a.example\" }"), "rest_hook is not supported"),
        (wrong("[[route]]\nname = \"untranslated\"\nto = { file = \"x\" }"), "cannot be named"),
        (
            wrong("[[route]]\nname = \"a\"\nto = { file = \"x\" }\n[[route]]\nname = \"a\"\nto = { file = \"y\" }"),
            "two routes are named \"a\"",
        ),
        (
            wrong("[[route]]\nname = \"a\"\nto = { file = \"x\" }\nretry = { first = \"1h\", max = \"1s\" }"),
            "at most max",
        ),
        (
            wrong("[[route]]\nname = \"a\"\nto = { file = \"x\" }\nconcurrency = 4"),
            "concurrency: a file has one writer",
        ),
        (wrong("[admin]\nlisten = \"127.0.0.1:8080\""), "admin is not supported"),
    ] {
        assert!(found.contains(expected), "{expected:?} not in:\n{found}");
    }
}
