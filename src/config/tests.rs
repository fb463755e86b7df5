//! Tests of the configuration as a user writes it.
use super::*;
use crate::alerts::Security;
use crate::coordination::options::Class;
use crate::delivery::channel::replies::{Action, Reply};
use crate::delivery::channel::{Conditional, Mode, http};
use crate::intake::{self, AckOn};
use crate::server::{Hours, Silence};
use jiff::tz::TimeZone;
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
    assert!(config.index && config.journal.durability == journal::Durability::Fsync);
    assert_eq!((config.listeners.len(), config.listeners[0].address.as_str()), (1, "127.0.0.1:2575"));
    let Target::File(file) = &config.routes[0].target else { panic!("a file") };
    assert_eq!(file.path, Path::new("/etc/handoff/handoff-data/bundles.ndjson"));
}

#[test]
fn everything_that_can_be_said() {
    let config = parse(
        r#"
        data = "/var/lib/handoff"
        durability = "memory"
        index = false
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
    assert_eq!((config.journal.durability, config.index), (journal::Durability::Memory, false));
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
        Target::File(file::Options {
            path: "/etc/handoff/out/bundles.ndjson".into(),
            envelope: Envelope::Message,
            roll: None
        })
    );
}

#[test]
fn what_operators_set() {
    let hash = "ab".repeat(32);
    let text = format!(
        r#"
        [[listener]]
        name = "adt"
        mllp = "127.0.0.1:1"
        silence = "30m"
        [admin]
        listen = "0.0.0.0:8443"
        tls = {{ certificate = "a.pem", key = "a.key" }}
        hosts = ["ops.example"]
        metrics = "open"
        tokens = [{{ name = "ops", role = "operator", sha256 = "{hash}" }}, {{ name = "prom", role = "viewer", sha256 = "{hash}" }}]
        [log]
        format = "json"
        level = "warn"
        [alerts]
        webhook = "https://alerts.example/hook?key=1"
        queue_age = "5m"
        disk_free = "10GB"
        [traces]
        endpoint = "http://127.0.0.1:4318"
        "#
    );
    let config = parse(&text).unwrap();
    let admin = config.admin.unwrap();
    assert_eq!((admin.listen.as_str(), admin.metrics_open, admin.hosts.len()), ("0.0.0.0:8443", true, 1));
    let token = crate::admin::Token { name: "ops".into(), role: crate::admin::Role::Operator, sha256: [0xab; 32] };
    assert_eq!(admin.tokens[0], token);
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LevelFilter::WARN });
    let alerts = config.alerts.unwrap();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    assert_eq!((alerts.rules.queue_age, alerts.rules.route_held), (minutes(5), minutes(60)));
    assert_eq!((alerts.rules.disk_free, config.listeners[0].silence.clone()), (10 << 30, Some(minutes(30).into())));
    let traces = config.traces.unwrap();
    assert_eq!((traces.endpoint.as_str(), traces.share), ("http://127.0.0.1:4318/", 0.01));
    let shown = parse("[admin]\nlisten = \"127.0.0.1:0\"").unwrap().alerts;
    assert_eq!(shown, Some(crate::alerts::Options::default()), "nobody is told, but there is somewhere to look");
    let none = parse("").unwrap();
    assert!(
        none.admin.is_none() && none.alerts.is_none() && none.traces.is_none(),
        "nothing is served or told unless somebody asks for it"
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
        "handoff.toml:5:10: ack_on must be one of \"translated\", \"durable\", \"delivered\"; did you mean \"translated\"?",
        "handoff.toml:8:10: filter: before `ADT`: ",
        "handoff.toml:9:6: to names no target",
        "handoff.toml:9:8: unknown key \"fil\"; did you mean \"file\"?",
    ] {
        assert!(found.contains(expected), "{expected:?} not in:\n{found}");
    }
}

#[test]
fn nobody_listens_where_another_one_does() {
    let listener = |name: &str, address: &str| format!("[[listener]]\nname = \"{name}\"\n{address}\n");
    let (one, two) = (listener("adt", "mllp = \"127.0.0.1:2575\""), listener("web", "http = \"localhost:2575\""));
    assert_eq!(
        wrong(&format!("{one}{two}")),
        "/etc/handoff/handoff.toml:6:8: 127.0.0.1:2575 is taken by listener \"adt\" in line 3: give listener \"web\" another port"
    );
    let admin = "[admin]\nlisten = \"127.0.0.1:2575\"\n";
    let told = wrong(&format!("{one}{admin}"));
    assert!(told.contains(":5:10: 127.0.0.1:2575 is taken by listener \"adt\" in line 3: give [admin]"), "{told}");
    let care = "[coordination]\n[coordination.fhir]\nlisten = \"127.0.0.1:2575\"\n";
    let told = wrong(&format!("{care}{admin}"));
    assert!(told.contains(":5:10: 127.0.0.1:2575 is taken by [coordination.fhir] in line 3: give [admin]"), "{told}");
    let free = |address: &str| listener("a", address) + &listener("b", address);
    assert!(parse(&free("mllp = \"127.0.0.1:0\"")).is_ok(), "the system chooses another port for each");
}

#[test]
fn each_mistake_has_a_remedy() {
    let listener = |line: &str| wrong(&format!("[[listener]]\nname = \"a\"\nmllp = \"127.0.0.1:1\"\n{line}\n"));
    let admin = |token: &str| wrong(&format!("[admin]\nlisten = \"127.0.0.1:1\"\ntokens = [{token}]\n"));
    let route = |to: &str| wrong(&format!("[[route]]\nname = \"a\"\nto = {to}\n"));
    for (found, expected) in [
        (wrong("data = "), "handoff.toml:1:"),
        (wrong("data = 7"), "data must be a text in quotes"),
        (wrong("data = \"${NOPE}\""), "the environment variable NOPE is not set"),
        (wrong("retention = { size = \"much\" }"), "size must be a size such as"),
        (wrong("durability = \"disk\""), "durability must be one of \"fsync\", \"os\", \"memory\""),
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
        (route("{ fhir = \"ehr.example\" }"), "fhir must be a URL"),
        (route("{ fhir = \"http://ehr.example/fhir\" }"), "http is not encrypted"),
        (route("{ fhir = \"https://user:secret@ehr.example\" }"), "fhir must be a URL"),
        (route("{ fhir = \"https://a.example\", file = \"x\" }"), "one target"),
        (route("{ mllp = \"lab.example:2575\" }"), "give the target tls = { ca = … }, or plaintext = true"),
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
        (route("{ websocket = true }"), "websocket is not supported"),
        (route("{ fhir = \"https://a.example?x=1\" }"), "without query"),
        (route("{ fhir = \"https://a.example\", bundle = \"put\", entries_max = 5 }"), "nothing else can be split"),
        (
            route("{ fhir = \"https://a.example\", bundle = \"batch\", conditional = \"update\" }"),
            "conditional goes with",
        ),
        (route("{ fhir = \"https://a.example\", conditional_types = [\"Patient\"] }"), "conditional_types goes with"),
        (
            route("{ fhir = \"https://a.example\", conditional = \"create\", conditional_types = [\"Observation\"] }"),
            "conditional_types may name Patient, Practitioner",
        ),
        (
            route("{ fhir = \"https://a.example\", conditional = \"create\", conditional_types = [\"Location\"] }"),
            "set concurrency = 1",
        ),
        (route("{ file = \"x\", bundle = \"put\" }"), "a file holds Bundles"),
        (route("{ rest_hook = \"http://a.example\" }"), "http is not encrypted"),
        (route("{ rest_hook = \"https://a.example\", raw = true, bundle = \"batch\" }"), "bundle does not go with raw"),
        (route("{ rest_hook = \"https://a.example\", secret = \"short\" }"), "at least 22 characters"),
        (route("{ rest_hook = \"https://a.example\", secret_next = \"0123456789012345678901\" }"), "beside secret"),
        (route("{ fhir = \"https://a.example\", tls = { certificate = \"x\" } }"), "certificate and key, or neither"),
        (route("{ fhir = \"http://127.0.0.1/\", tls = { ca = \"x\" } }"), "tls goes with https"),
        (route("{ mllp = \"lab.example:1\", tls = { certificate = \"x\", key = \"y\" } }"), "needs ca"),
        (route("{ fhir = \"https://a.example\", smart = { client_id = \"x\" } }"), "smart needs scope"),
        (
            route("{ fhir = \"https://a.example\", smart = { client_id = \"x\", scope = \"s\", key = \"no key\" } }"),
            "key is no private key in PEM",
        ),
        (
            route(
                "{ fhir = \"https://a.example\", smart = { client_id = \"x\", token_url = \"http://a.example/token\" } }",
            ),
            "token_url must be a URL",
        ),
        (
            route("{ file = \"x\" }\nreplies = { AA = \"dead\" }"),
            "handoff.toml:4:13: replies names AE, AR, CE, CR, timeout, or an HTTP status",
        ),
        (route("{ file = \"x\" }\nreplies = { 409 = \"dye\" }"), "409 must be one of \"retry\", \"dead\""),
        (route("{ file = \"x\" }\nreplies = { 401 = \"dead\" }"), "401 is about credentials"),
        (route("{ fil = \"x\" }\nrat = 5"), "unknown key \"rat\""),
        (route("{ file = \"x\", roll = {} }"), "roll needs size or age"),
        (route("{ file = \"x\", roll = { age = \"0s\" } }"), "more than nothing"),
        (route("{ file = \"..\", roll = { age = \"1m\" } }"), "names no file"),
        (route("{ mllp = \"127.0.0.1:1\", roll = { age = \"1m\" } }"), "unknown key \"roll\""),
        (route("{ mllp = \"127.0.0.1:1\", release = 3 }"), "release of MLLP is 1, or 2"),
        (route("{ mllp = \"127.0.0.1:1\", wait_for = \"commit\" }"), "goes with release = 2"),
        (wrong("[[listener]]\nname = \"a\"\nhttp = \"127.0.0.1:1\"\nrelease = 2"), "release is about MLLP"),
        (route("{ file = \"x\" }\nrate = 0"), "rate must be a whole number, 1 or more"),
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
        (wrong("[admin]\nmetrics = \"open\""), "listen is missing"),
        (wrong("[admin]\nlisten = \"8080\""), "listen must be host:port"),
        (wrong("[admin]\nlisten = \"0.0.0.0:8080\""), "tokens would travel in the clear"),
        (admin("{ name = \"a\", role = \"root\", sha256 = \"00\" }"), "role must be one of \"viewer\""),
        (admin("{ name = \"a\", role = \"viewer\", sha256 = \"00\" }"), "64 hexadecimal digits"),
        (admin("{ name = \"a\", role = \"viewer\" }"), "a token needs sha256"),
        (admin("{ name = \"a\", role = \"viewer\", hash = \"00\" }"), "unknown key \"hash\""),
        (wrong("[log]\nformat = \"xml\""), "format must be one of \"text\", \"json\""),
        (wrong("[alerts]\nqueue_age = \"1m\""), "nobody would see these alerts"),
        (wrong("[alerts]\nwebhook = \"http://a.example/x\""), "http is not encrypted"),
        (wrong("[traces]\nshare = 0.5"), "endpoint is missing"),
        (wrong("[traces]\nendpoint = \"127.0.0.1:4318\""), "endpoint must be a URL such as \"http://127.0.0.1:4318\""),
        (wrong("[traces]\nendpoint = \"http://a.example:4318\""), "http is not encrypted"),
        (wrong("[traces]\nendpoint = \"http://127.0.0.1:4318\"\nshare = 1.5"), "a number from 0 to 1"),
        (wrong("[alerts]\nwebhook = \"https://a.example/x\"\nevery = \"0s\""), "every must be more than nothing"),
    ] {
        assert!(found.contains(expected), "{expected:?} not in:\n{found}");
    }
}

#[test]
fn how_alerts_are_set() {
    let text = |email: &str| {
        format!(
            r#"
            [alerts]
            email = {{ to = ["Desk <desk@a.example>", "b@b.example"], from = "handoff@c.example", {email} }}
            queue_depth = 500
            error_rate = {{ letters = 3, within = "10m" }}
            ack_latency = "0s"
            silence = {{ after = "1h", hours = "07:00-19:00", days = "mon-fri", tz = "America/New_York" }}
            [[listener]]
            name = "adt"
            mllp = "127.0.0.1:1"
            silence = {{ after = "2h", days = "sun" }}
            "#
        )
    };
    let config =
        parse(&text("smtp = \"smtp://mail.example\", user = \"u\", password = \"p\", ca = \"ca.pem\"")).unwrap();
    let alerts = config.alerts.unwrap();
    let rate = crate::alerts::ErrorRate { letters: 3, share: 0.05, within: Duration::from_secs(600) };
    assert_eq!(
        (alerts.rules.queue_depth, alerts.rules.error_rate, alerts.rules.ack_latency),
        (Some(500), Some(rate), None)
    );
    let hours = |hours, days, zone: &str| Hours::parse(hours, Some(days), TimeZone::get(zone).unwrap());
    let hour = Duration::from_secs(3600);
    let weekdays = hours("07:00-19:00", "mon-fri", "America/New_York");
    assert_eq!(alerts.rules.silence, Some(Silence { after: hour, hours: weekdays }));
    let sundays = hours("00:00-24:00", "sun", "UTC");
    assert_eq!(config.listeners[0].silence, Some(Silence { after: 2 * hour, hours: sundays }));
    let email = alerts.email.unwrap();
    assert_eq!((email.to[0].email.to_string().as_str(), email.to.len()), ("desk@a.example", 2));
    assert_eq!(email.login, Some(("u".into(), "p".to_owned().into())));
    assert!(!format!("{:?}", email.login).contains("\"p\""), "{email:?}");
    assert!(email.ca.unwrap().ends_with("ca.pem"));
    for (server, expected) in [
        ("smtp = \"smtp://mail.example\"", ("mail.example", 587, Security::StartTls)),
        ("smtp = \"smtp://mail.example:25\", plaintext = true", ("mail.example", 25, Security::Plain)),
        ("smtp = \"smtps://mail.example\"", ("mail.example", 465, Security::Tls)),
        ("smtp = \"smtp://127.0.0.1:25\"", ("127.0.0.1", 25, Security::Plain)),
        ("smtp = \"smtp://[::1]:25\", starttls = true", ("::1", 25, Security::StartTls)),
    ] {
        let email = parse(&text(server)).unwrap().alerts.unwrap().email.unwrap();
        assert_eq!((email.host.as_str(), email.port, email.security), expected, "{server}");
    }
    for (keys, expected) in [
        ("smtp = \"smtp://mail.example\", starttls = false", "this is not encrypted"),
        ("smtp = \"smtps://mail.example\", plaintext = true", "leave out what says otherwise"),
        ("smtp = \"mail.example:25\"", "smtp must be a server"),
        ("smtp = \"smtp://u:p@mail.example\"", "user and password stand beside it"),
        ("smtp = \"smtp://mail.example\", user = \"u\"", "user and password go together"),
        ("ssl = true", "email needs smtp"),
        ("ssl = true", "unknown key \"ssl\""),
    ] {
        let found = wrong(&text(keys));
        assert!(found.contains(expected), "{expected:?} not in:\n{found}");
    }
    for (text, expected) in [
        ("[alerts]\nemail = { to = [], smtp = \"smtp://a.example\" }", "email needs to, a list"),
        (
            "[alerts]\nemail = { to = [\"a b\"], from = \"x@y.example\", smtp = \"smtp://a.example\" }",
            "this is no address of mail",
        ),
        ("[alerts]\nemail = { to = [\"a@b.example\"], smtp = \"smtp://a.example\" }", "email needs from"),
        ("[alerts]\nsilence = { hours = \"07:00-19:00\" }", "silence needs after"),
        ("[alerts]\nsilence = { after = \"1h\", hours = \"7-19\" }", ":2:35: silence counts in hours such as"),
        ("[alerts]\nsilence = { after = \"1h\", days = \"weekdays\" }", "on days such as \"mon-fri\""),
        ("[alerts]\nsilence = { after = \"1h\", hours = \"07:00-19:00\", tz = \"EST5\" }", "tz must be a time zone"),
        ("[alerts]\nerror_rate = { share = 5 }", "share must be a number from 0 to 1"),
        (
            "[egress]\nallow = [\"x.example\"]\n[alerts]\nemail = { smtp = \"smtp://mail.example\" }",
            ":4:18: mail.example is not in [egress] allow",
        ),
    ] {
        let found = wrong(text);
        assert!(found.contains(expected), "{expected:?} not in:\n{found}");
    }
}

#[test]
fn what_may_be_connected_to() {
    let text = |allow: &str| {
        format!(
            r#"[egress]
allow = {allow}
[[route]]
name = "ehr"
to = {{ fhir = "https://ehr.example/fhir", smart = {{ client_id = "x", scope = "s", key = "none", token_url = "https://token.example/t" }} }}
[[route]]
name = "lab"
to = {{ mllp = "10.9.0.1:2575", plaintext = true }}
[[route]]
name = "hook"
to = {{ rest_hook = "https://hook.lab.example/x" }}
[alerts]
webhook = "https://alerts.example/x"
[traces]
endpoint = "https://traces.example:4318"
"#
        )
    };
    let told = wrong(&text("[\"10.2.0.1\", \"*.lab.example\"]"));
    assert!(told.contains("handoff.toml:8:15: 10.9.0.1 is not in [egress] allow"), "{told}");
    assert!(!told.contains("ehr.example is") && !told.contains("hook.lab"), "names may be in a network: {told}");
    let told = wrong(&text("[\"*.lab.example\"]"));
    let hosts =
        [("5:15", "ehr.example"), ("5:109", "token.example"), ("13:11", "alerts.example"), ("15:12", "traces.example")];
    for (place, host) in hosts {
        assert!(told.contains(&format!("handoff.toml:{place}: {host} is not in [egress] allow")), "{told}");
    }
    assert!(wrong("[egress]\nallow = [\"https://x\"]").contains(":2:10: allow lists hosts and networks"));
    assert!(wrong("[egress]\n").contains("allow is missing"));
    let config = parse("[egress]\nallow = [\"lab.example\"]\n[[route]]\nname = \"lab\"\nto = { mllp = \"lab.example:1\", plaintext = true }").unwrap();
    let Target::Mllp(lab) = &config.routes[0].target else { panic!("a receiver") };
    assert!(lab.egress.allowed == config.egress && !lab.egress.is_free());
}

#[test]
fn targets_of_every_kind() {
    let config = parse(
        r#"
        [[route]]
        name = "ehr"
        rate = 50
        replies = { AE = "retry", 409 = "dead", timeout = "pause" }
        to = { fhir = "https://ehr.example/fhir", entries_max = 100, conditional = "update", tls = { ca = "ca.pem", certificate = "us.pem", key = "us.key" } }
        [[route]]
        name = "hook"
        to = { rest_hook = "https://hook.example/in?tenant=1", raw = true, secret = "0123456789abcdef012345", public_only = true }
        [[route]]
        name = "lab"
        to = { mllp = "lab.example:2575", tls = { ca = "ca.pem" } }
        "#,
    )
    .unwrap();
    let file = |name: &str| Path::new("/etc/handoff").join(name);
    assert_eq!((config.routes[0].rate, config.routes[1].rate), (50, 0));
    let replies = [
        (Reply::Acknowledgement(*b"AE"), Action::Retry),
        (Reply::Status(409), Action::Dead),
        (Reply::Timeout, Action::Pause),
    ];
    assert_eq!(config.routes[0].replies, Replies(replies.to_vec()));
    let Target::Fhir(server) = &config.routes[0].target else { panic!("a server") };
    assert_eq!((server.entries_max, &server.envelope), (100, &Envelope::Transaction));
    assert_eq!(server.conditional, Some(Conditional { mode: Mode::Update, types: vec!["Patient"] }));
    let identity = Some((file("us.pem"), file("us.key")));
    assert_eq!(server.http.tls, Some(http::Tls { ca: Some(file("ca.pem")), identity }));
    let Target::RestHook(hook) = &config.routes[1].target else { panic!("a web hook") };
    assert_eq!((hook.envelope, hook.secrets.len(), hook.http.egress.public_only), (None, 1, true));
    let Target::Mllp(lab) = &config.routes[2].target else { panic!("a receiver") };
    assert_eq!(lab.tls.as_ref().map(|tls| (&tls.ca, &tls.identity)), Some((&file("ca.pem"), &None)));
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "a secret is not shown");
}

#[test]
fn events_and_facilities() {
    let text = r#"
        [coordination]
        tz = "America/Chicago"
        [coordination.events]
        max_event_age = "24h"
        class_map = { V = "OBSENC", S = "SS" }
        processing = ["P", "D"]
        [coordination.facility.SBMC]
        npi = "9990001015"
        tz = "America/New_York"
        part2 = true
        type = "HHA"
        "#;
    let options = parse(text).unwrap().coordination.unwrap();
    assert_eq!(options.events.max_event_age, Duration::from_secs(24 * 3600));
    assert_eq!(options.events.hanging_ed_close, Duration::from_secs(48 * 3600));
    assert_eq!(options.events.processing, ["P", "D"]);
    assert_eq!(
        ["I", "V", "S", "Q"].map(|class| options.events.class(class).map_or("", Class::code)),
        ["IMP", "OBSENC", "SS", ""]
    );
    let facility = &options.facilities.by_key["SBMC"];
    assert_eq!(
        (facility.npi.as_deref(), facility.kind.as_deref(), facility.part2),
        (Some("9990001015"), Some("HHA"), true)
    );
    // The name of a programme under Part 2 tells what it is.
    let labels = &options.privacy.labels;
    assert_eq!(labels.names(labels.of_facility("SBMC")), ["SUD"]);
    let without = text.replace(
        "[coordination.events]",
        "[[coordination.label]]\ncode = \"SUD\"\nstarter = false\nicd10_prefix = [\"F10\"]\n[coordination.events]",
    );
    let labels = &parse(&without).unwrap().coordination.unwrap().privacy.labels;
    assert_eq!(labels.names(labels.of_facility("SBMC")), ["V"], "of no label with that policy");
    let zones = ["SBMC", "OTHER"].map(|key| options.facilities.zone(key).iana_name().map(str::to_owned));
    assert_eq!(zones, [Some("America/New_York".into()), Some("America/Chicago".into())]);
    assert!(parse("").unwrap().coordination.is_none());

    for (text, expected) in [
        ("[coordination]\nevent = 1", ":2:1: unknown key \"event\"; did you mean \"events\"?"),
        ("[coordination.events]\nclass_map = { V = \"OBS\" }", ":2:19: V must be one of \"IMP\""),
        (
            "[coordination.events]\nmax_event_age = \"0s\"",
            ":1:1: max_event_age and hanging_ed_close must be more than nothing",
        ),
        ("[coordination.events]\nprocessing = []", ":1:1: processing must name one value of MSH-11 at least"),
        ("[coordination.facility.A]\nnpi = \"9990001016\"", ":2:7: npi must be an NPI"),
        ("[coordination.facility.A]\ntz = \"Lakeshore\"", ":2:6: tz must be a time zone"),
        ("[coordination.facility.A]\nzone = \"UTC\"", ":2:1: unknown key \"zone\""),
        ("[coordination]\nfacility = { A = 3 }", ":2:18: A must be a table"),
    ] {
        assert!(wrong(text).contains(expected), "{text}: {}", wrong(text));
    }
}

#[test]
fn labels_and_recipients() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("codes.csv"), "loinc,75626-2\nmark,HOUSE\n").unwrap();
    std::fs::write(folder.path().join("bad.csv"), "loinc,75626-2\nlonic,1-8\n").unwrap();
    let parse = |text: &str| Config::parse(text, &folder.path().join("handoff.toml"), &|_| None);
    let wrong = |text: &str| parse(text).unwrap_err().to_string();
    let hash = "ab".repeat(32);
    let text = format!(
        r#"
        [[coordination.label]]
        code = "SUD"
        policy = "42CFRPart2"
        conf = "V"
        icd10_prefix = ["F10", "F99"]
        codes = {{ loinc = ["5643-2"], snomed = ["7200002"] }}
        value_set = "codes.csv"
        facilities = ["LAKERECOV"]
        units = ["DETOX"]
        [[coordination.label]]
        code = "PSY"
        starter = false
        icd10_prefix = ["F33"]
        [[coordination.recipient]]
        id = "aco-cm"
        panels = ["aco-lakeshore"]
        purpose = "HOPERAT"
        topics = ["admission", "discharge"]
        max_content = "id-only"
        clear = ["PSY"]
        consent_required = ["SUD"]
        deny_action = "drop-element"
        unstructured = "withhold-if-sensitive"
        fields_profile = "cop-minimum"
        token_sha256 = "{hash}"
        {}"#,
        panel("aco-lakeshore")
    );
    let privacy = parse(&text).unwrap().coordination.unwrap().privacy;
    let labels = &privacy.labels;
    let names = |system: &str, code: &str| labels.names(labels.of_code(system, code)).join(" ");
    assert_eq!([names("I10C", "F99.1"), names("I10C", "F11.2"), names("LN", "75626-2")], ["SUD", "SUD", "SUD"]);
    assert_eq!([names("I10C", "F33.2"), names("I10C", "F20.0")], ["PSY", ""], "its starter list is gone");
    assert_eq!(labels.names(labels.of_mark("MSH-8", "house")), ["SUD"]);
    let [recipient] = privacy.recipients.as_slice() else { panic!("one recipient") };
    assert_eq!((recipient.clear, recipient.consent_required), (labels.of("PSY").unwrap(), labels.of("SUD").unwrap()));
    assert_eq!(recipient.max_content, crate::privacy::MaxContent::IdOnly);
    assert_eq!(recipient.token_sha256, Some([0xab; 32]));
    assert!(privacy.recipient_of_token("x").is_none());
    // Nothing configured, and still nothing goes by unlabelled.
    let privacy = parse("[coordination]").unwrap().coordination.unwrap().privacy;
    assert!(privacy == crate::privacy::Options::default() && !privacy.labels.of_code("I10C", "F10.20").is_empty());

    let label = |text: &str| wrong(&format!("[[coordination.label]]\n{text}"));
    let recipient = |text: &str| wrong(&format!("[[coordination.recipient]]\n{text}\n{}", panel("p")));
    let whole = "id = \"a\"\npanels = [\"p\"]\npurpose = \"TREAT\"\ntopics = [\"discharge\"]\nmax_content = \"empty\"\nclear = []\n";
    assert!(parse(&format!("[[coordination.recipient]]\n{whole}{}", panel("p"))).is_ok());
    for missing in ["id", "panels", "purpose", "topics", "max_content", "clear"] {
        let without: String =
            whole.lines().filter(|line| !line.starts_with(missing)).map(|line| format!("{line}\n")).collect();
        let told = recipient(&without);
        assert!(told.contains("handoff.toml:1:1:") && told.contains(missing), "{missing}: {told}");
    }
    for (found, expected) in [
        (label("conf = \"R\""), ":1:1: code is missing"),
        (label("code = \"A B\""), ":2:8: code must be 1 to 64 letters"),
        (label("code = \"A\"\nicd10_prefix = [\"1\"]"), ":3:17: icd10_prefix lists beginnings"),
        (label("code = \"A\"\ncodes = { lonic = [] }"), ":3:11: codes: \"lonic\" is no code system here"),
        (label("code = \"A\"\nvalue_set = \"bad.csv\""), "bad.csv: line 2: \"lonic\" is no code system here"),
        (label("code = \"A\"\nvalue_set = \"none.csv\""), "none.csv: cannot be read"),
        (label("code = \"A\"\nconf = \"X\""), "conf must be one of \"U\""),
        (label("code = \"A\"\nunits = [\"\"]"), "units holds an empty text"),
        (label("code = \"SUD\"\nstarter = false"), "takes the starter list away"),
        (label("code = \"A\"\nprefix = []"), "unknown key \"prefix\""),
        (label("code = \"A\"\n[[coordination.label]]\ncode = \"A\""), ":4:8: two labels have the code \"A\""),
        (
            recipient(&whole.replace("clear = []", "clear = [\"PYS\"]")),
            ":7:10: clear: \"PYS\" is no label; there are R, V, SUD, PSY",
        ),
        (recipient(&whole.replace("[\"p\"]", "[\"q\"]")), ":3:11: panels: \"q\" is no panel; did you mean \"p\"?"),
        (recipient(&whole.replace("discharge", "dischrage")), ":5:11: topics: \"dischrage\" is no topic; did you mean"),
        (recipient(&whole.replace("\"empty\"", "\"all\"")), "max_content must be one of \"empty\""),
        (recipient(&format!("{whole}token_sha256 = \"x\"")), ":8:16: token_sha256 must be 64"),
        (recipient(&format!("{whole}[[coordination.recipient]]\n{whole}")), "two recipients have the id \"a\""),
        (recipient(&format!("{whole}deny = \"drop-event\"")), "unknown key \"deny\""),
    ] {
        assert!(found.contains(expected), "{expected:?} not in:\n{found}");
    }
}

/// A panel, for recipients that name it.
fn panel(id: &str) -> String {
    let source = "source = { type = \"fhir-group\", path = \"group.json\" }";
    format!("[[coordination.panel]]\nid = \"{id}\"\nkind = \"aco\"\ntz = \"America/New_York\"\n{source}\n")
}

#[test]
fn subscriptions_are_configured_and_mistakes_in_them_are_told() {
    use crate::coordination::subscription::{Options, standing::Backlog};
    let options = |text: &str| parse(text).unwrap().coordination.unwrap().subscriptions;
    assert_eq!(options("[coordination]"), Options::default());
    let read = options(
        r#"
        [coordination.subscriptions]
        base = "https://gateway.example/fhir/"
        attempts_max = 3
        retry_min = "2s"
        retry_max = "10s"
        backlog = "send"
        keep = "7d"
        "#,
    );
    assert_eq!((read.base(), read.focus_base()), ("https://gateway.example/fhir", "https://gateway.example/fhir"));
    assert_eq!((read.policy.attempts_max, read.policy.backlog), (3, Backlog::Send));
    assert_eq!((read.policy.retry_max, read.keep), (Duration::from_secs(10), Duration::from_secs(7 * 86_400)));
    for (line, part) in [
        ("base = \"gateway\"", "base must be a URL"),
        ("retry_max = \"1ms\"", "retry_max no less than it"),
        ("keep = \"0s\"", "keep must be more than nothing"),
        ("backlog = \"drop\"", "backlog must be one of"),
        ("attempts_max = 0", "attempts_max must be a whole number, 1 or more"),
        ("attempt_max = 1", "attempt_max"),
    ] {
        let text = wrong(&format!("[coordination.subscriptions]\n{line}"));
        assert!(text.contains(part), "{text}");
    }
}
