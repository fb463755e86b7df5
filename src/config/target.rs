//! Where a route leads to (`to`), and what it says of replies.
use super::section::{Placed, Section};
use super::sections::{check_address, release, set};
use crate::delivery::channel::egress::Egress;
use crate::delivery::channel::fhir::Credentials;
use crate::delivery::channel::replies::{Action, Replies, Reply};
use crate::delivery::channel::{Conditional, Envelope, Mode, Secret, Target, fhir, file, http, mllp, rest_hook, smart};
use crate::mllp::{Release, connector};
use reqwest::Url;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Resources in one transaction or batch, unless the configuration says otherwise: as many as there are.
const ENTRIES_MAX: usize = usize::MAX;
/// 128 bits, in hexadecimal or base64.
const SECRET_BYTES_MIN: usize = 22;

pub(super) fn target(section: Section<'_>) -> Option<Target> {
    section.not_yet(&["websocket"]);
    let envelopes = Envelope::ALL.map(|envelope| (envelope.name(), envelope));
    let envelope = section.choice("bundle", &envelopes);
    let (server, hook) = (section.text("fhir"), section.text("rest_hook"));
    let (path, receiver) = (section.text("file"), section.text("mllp"));
    let target = match (server, hook, path, receiver) {
        (Some(base), None, None, None) => fhir_target(&section, &base, envelope),
        (None, Some(url), None, None) => hook_target(&section, &url, envelope),
        (None, None, Some(path), None) => {
            if envelope == Some(Envelope::Put) {
                section.wrong("bundle = \"put\" is for a FHIR server: a file holds Bundles");
            }
            let path = section.document.relative(&path.value);
            let roll = section.table("roll").and_then(|roll| self::roll(roll, &path));
            Some(Target::File(file::Options { path, envelope: envelope.unwrap_or_default(), roll }))
        }
        (None, None, None, Some(address)) => {
            if envelope.is_some() {
                section.wrong("bundle does not go with mllp: the message is sent as it came");
            }
            mllp_target(&section, address)
        }
        (None, None, None, None) => {
            section.wrong(
                "to names no target: give fhir = \"https://…\", rest_hook = \"https://…\", mllp = \"host:port\" or file = \"…\"",
            );
            None
        }
        _ => {
            section.wrong("to has one target: fhir, rest_hook, mllp or file; make a route for each");
            None
        }
    };
    section.finish();
    target
}

/// `roll = { size = "100MB", age = "1h" }`.
fn roll(section: Section<'_>, path: &Path) -> Option<file::Roll> {
    let roll = file::Roll { bytes_max: section.size("size"), age: section.duration("age") };
    if roll.bytes_max.is_none() && roll.age.is_none() {
        section.wrong("roll needs size or age, or both: roll = { size = \"100MB\", age = \"1h\" }");
    }
    if roll.bytes_max == Some(0) || roll.age.is_some_and(|age| age.is_zero()) {
        section.wrong("roll: size and age must be more than nothing");
    }
    if path.file_name().is_none() {
        section.wrong("roll: file names no file, of whose name those of the others are made");
    }
    section.finish();
    Some(roll)
}

fn mllp_target(section: &Section<'_>, address: Placed<String>) -> Option<Target> {
    let tls = section.table("tls").and_then(|section| {
        let (document, at, tls) = (section.document, section.at.clone(), tls(section));
        if tls.ca.is_none() {
            document.wrong(Some(at), "tls of an MLLP target needs ca, the authority of its certificate, a file in PEM");
        }
        tls.ca.map(|ca| connector::Options { ca, identity: tls.identity, server_name: None })
    });
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    check_address(section, "mllp", &address, plaintext || tls.is_some(), "target");
    let timeout = section.duration("timeout").unwrap_or(Duration::from_secs(30));
    let connect_timeout = Duration::from_secs(5);
    let acknowledges = section.choice("send", &[("message", false), ("acknowledgement", true)]).unwrap_or(false);
    let release = release(section).unwrap_or_default();
    let commit_only = section.choice("wait_for", &[("acknowledgement", false), ("commit", true)]).unwrap_or(false);
    if commit_only && release == Release::One {
        section.wrong("wait_for = \"commit\" goes with release = 2: in release 1 there is no commit acknowledgement");
    }
    let egress = Egress { public_only: false, allowed: section.document.allowed() };
    if let Some((host, _)) = address.value.rsplit_once(':') {
        section.document.check_host(host, &address.at);
    }
    let address = address.value;
    Some(Target::Mllp(mllp::Options {
        address,
        tls,
        connect_timeout,
        acknowledges,
        release,
        commit_only,
        egress,
        timeout,
    }))
}

/// `tls = { ca, certificate, key }`.
fn tls(section: Section<'_>) -> http::Tls {
    let file = |key| section.text(key).map(|file| section.document.relative(&file.value));
    let (ca, certificate, key): (Option<PathBuf>, _, _) = (file("ca"), file("certificate"), file("key"));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            section.wrong("tls has certificate and key, or neither: files in PEM");
            None
        }
    };
    if ca.is_none() && identity.is_none() {
        section.wrong("tls needs ca, or certificate and key, files in PEM");
    }
    section.finish();
    http::Tls { ca, identity }
}

/// A URL that is checked, and how it is spoken to.
fn web(section: &Section<'_>, name: &str, text: &Placed<String>) -> Option<(Url, http::Options)> {
    let wrong = |what: String| section.document.wrong(Some(text.at.clone()), what);
    let mut options = http::Options::default();
    set(&mut options.timeout, section.duration("timeout"));
    options.egress =
        Egress { public_only: section.boolean("public_only").unwrap_or(false), allowed: section.document.allowed() };
    options.tls = section.table("tls").map(tls);
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    let Some(url) = http_url(&text.value) else {
        wrong(format!("{name} must be a URL, such as \"https://ehr.example/fhir\""));
        return None;
    };
    if url.scheme() == "http" && !http::is_loopback(&url) && !plaintext {
        wrong(
            "http is not encrypted: use https, or add plaintext = true to this target if the network is trusted".into(),
        );
    }
    section.document.check_host(url.host_str().unwrap_or_default(), &text.at);
    if url.scheme() == "http" && options.tls.is_some() {
        wrong("tls goes with https".into());
    }
    Some((url, options))
}

/// Without user and password, which have keys of their own.
fn http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    (url.username().is_empty() && url.password().is_none() && url.fragment().is_none()).then_some(url)
}

fn fhir_target(section: &Section<'_>, base: &Placed<String>, envelope: Option<Envelope>) -> Option<Target> {
    let envelope = envelope.unwrap_or(Envelope::Transaction);
    let entries_max: Option<usize> = section.number("entries_max", 1);
    if entries_max.is_some() && !matches!(envelope, Envelope::Transaction | Envelope::Batch) {
        section.wrong("entries_max goes with bundle = \"transaction\" or \"batch\": nothing else can be split");
    }
    let conditional = conditional(section, envelope);
    let credentials = credentials(section);
    let (base_url, http) = web(section, "fhir", base)?;
    if base_url.query().is_some() {
        section.document.wrong(Some(base.at.clone()), "fhir must be a plain base URL, without query");
    }
    let entries_max = entries_max.unwrap_or(ENTRIES_MAX);
    Some(Target::Fhir(fhir::Options { base: base_url, envelope, conditional, entries_max, http, credentials }))
}

fn conditional(section: &Section<'_>, envelope: Envelope) -> Option<Conditional> {
    let mode = section.choice("conditional", &[("update", Mode::Update), ("create", Mode::Create)]);
    let types = section.texts("conditional_types");
    if mode.is_none() && types.is_some() {
        section.wrong("conditional_types goes with conditional = \"update\" or \"create\"");
    }
    let known = |text: Placed<String>| {
        let found = Conditional::TYPES.into_iter().find(|name| *name == text.value);
        if found.is_none() {
            let names = Conditional::TYPES.join(", ");
            section.document.wrong(
                Some(text.at),
                format!("conditional_types may name {names}: other resources are not what an identifier says"),
            );
        }
        found
    };
    let types = types.map_or_else(|| vec!["Patient"], |types| types.into_iter().filter_map(known).collect());
    if mode.is_some() && !matches!(envelope, Envelope::Transaction | Envelope::Put) {
        section.wrong(
            "conditional goes with bundle = \"transaction\" or \"put\": in a batch nothing tells the others where a resource is",
        );
    }
    mode.map(|mode| Conditional { mode, types })
}

fn credentials(section: &Section<'_>) -> Option<Credentials> {
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    let basic = section.secret("basic").and_then(|basic| match basic.value.split_once(':') {
        Some((user, password)) => Some(Credentials::Basic(user.to_owned(), Secret::new(password))),
        None => {
            section.document.wrong(Some(basic.at), "basic must be user:password");
            None
        }
    });
    let bearer = section.secret("bearer").map(|bearer| Credentials::Bearer(Secret::new(bearer.value)));
    let smart = section.table("smart").and_then(|smart| smart_options(smart, plaintext)).map(Credentials::Smart);
    if [&basic, &bearer, &smart].into_iter().filter(|shown| shown.is_some()).count() > 1 {
        section.wrong("a target shows bearer or basic or smart, not several");
    }
    bearer.or(basic).or(smart)
}

fn smart_options(section: Section<'_>, plaintext: bool) -> Option<smart::Options> {
    let token_url = section.text("token_url").and_then(|text| {
        let safe = |url: &Url| url.scheme() == "https" || plaintext || http::is_loopback(url);
        let url = http_url(&text.value).filter(safe);
        if url.is_none() {
            section
                .document
                .wrong(Some(text.at.clone()), "token_url must be a URL, such as \"https://ehr.example/token\"");
        }
        if let Some(host) = url.as_ref().and_then(Url::host_str) {
            section.document.check_host(host, &text.at);
        }
        url
    });
    let text = |key: &'static str, value: Option<Placed<String>>| {
        if value.is_none() {
            section.wrong(format!("smart needs {key}"));
        }
        value.map(|value| value.value)
    };
    let client_id = text("client_id", section.text("client_id"));
    let scope = text("scope", section.text("scope"));
    let key_id = section.text("key_id").map(|key_id| key_id.value);
    let pem = section.secret_file("key");
    let key = pem.and_then(|pem| {
        let key = smart::Key::from_pem(&pem.value);
        key.map_err(|error| section.document.wrong(Some(pem.at), format!("key {error}"))).ok()
    });
    section.finish();
    Some(smart::Options { token_url, client_id: client_id?, key: key?, key_id, scope: scope?, plaintext })
}

fn hook_target(section: &Section<'_>, url: &Placed<String>, envelope: Option<Envelope>) -> Option<Target> {
    let raw = section.boolean("raw").unwrap_or(false);
    if raw && envelope.is_some() {
        section.wrong("bundle does not go with raw = true: the message is sent as it came");
    }
    if envelope == Some(Envelope::Put) {
        section.wrong("bundle = \"put\" is for a FHIR server: a web hook is sent a Bundle");
    }
    let secrets = signing(section).into_iter().map(Secret::new).collect();
    let envelope = (!raw).then_some(envelope.unwrap_or_default());
    let (url, http) = web(section, "rest_hook", url)?;
    Some(Target::RestHook(rest_hook::Options { url, envelope, secrets, http }))
}

/// `secret` and `secret_next`: what signs, none, one or two.
pub(super) fn signing(section: &Section<'_>) -> Vec<String> {
    let secrets = [section.secret("secret"), section.secret("secret_next")];
    if secrets[0].is_none() && secrets[1].is_some() {
        section.wrong("secret_next is beside secret, while keys are changed");
    }
    for secret in secrets.iter().flatten().filter(|secret| secret.value.len() < SECRET_BYTES_MIN) {
        let short = format!("a secret that signs has at least {SECRET_BYTES_MIN} characters");
        section.document.wrong(Some(secret.at.clone()), short);
    }
    secrets.into_iter().flatten().map(|secret| secret.value).collect()
}

/// `replies = { AE = "retry", 409 = "dead", timeout = "pause" }`.
pub(super) fn replies(section: Section<'_>) -> Replies {
    let actions = [("retry", Action::Retry), ("dead", Action::Dead), ("skip", Action::Skip), ("pause", Action::Pause)];
    let mut found = Vec::new();
    for key in section.keys() {
        let Some(reply) = reply(&key.value) else {
            let form = "replies names AE, AR, CE, CR, timeout, or an HTTP status from 300 to 599";
            section.document.wrong(Some(key.at), format!("{form}; not \"{}\"", key.value));
            continue;
        };
        let Some(action) = section.choice_of(&key.value, &actions) else { continue };
        if reply == Reply::Status(401) && matches!(action, Action::Dead | Action::Skip) {
            section
                .document
                .wrong(Some(key.at), "401 is about credentials, not about a message: give \"retry\" or \"pause\"");
        }
        found.push((reply, action));
    }
    Replies(found)
}

fn reply(key: &str) -> Option<Reply> {
    match key {
        "AE" | "AR" | "CE" | "CR" => key.as_bytes().try_into().ok().map(Reply::Acknowledgement),
        "timeout" => Some(Reply::Timeout),
        _ => key.parse().ok().filter(|status| (300..600).contains(status)).map(Reply::Status),
    }
}
