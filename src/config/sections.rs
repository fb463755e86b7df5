//! What stands in the sections, and what goes together.
use super::Config;
use super::problem::Document;
use super::section::{Placed, Section};
use super::target::{replies, target};
use crate::delivery::channel::{Envelope, Target, fhir, file};
use crate::delivery::{self, Order, Retry, UNTRANSLATED};
use crate::intake::{AckOn, OnDuplicate, Sender, Senders};
use crate::journal::Durability;
use crate::mllp::decoder::Framing;
use crate::mllp::{Release, tls};
use crate::routing::{Filter, FilterError, Route};
use crate::server::directory::{self, After};
use crate::server::http::Token;
use crate::server::{Listener, Protocol};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;
use toml::de::DeTable;

pub(super) fn read(document: &Document<'_>) -> Config {
    let mut config = Config::default();
    let table = match DeTable::parse(document.text) {
        Ok(table) => table,
        Err(error) => {
            document.wrong(error.span(), error.message());
            return config;
        }
    };
    let root = Section::new(document, table.span(), table.get_ref());
    if let Some(egress) = root.table("egress").map(super::admin::egress) {
        config.egress = egress.clone();
        let _ = document.allowed.set(egress); // Nobody else has.
    }
    config.admin = root.table("admin").and_then(super::admin::admin);
    config.traces = root.table("traces").and_then(super::traces::traces);
    let alerts = root.table("alerts").map(|section| (section.at.clone(), super::alerts::alerts(section)));
    let is_told = |alerts: &crate::alerts::Options| alerts.webhook.is_some() || alerts.email.is_some();
    if let Some((at, _)) = alerts.as_ref().filter(|(_, alerts)| config.admin.is_none() && !is_told(alerts)) {
        document.wrong(
            Some(at.clone()),
            "nobody would see these alerts: give webhook = \"https://…\", email = { … } or a section [admin]",
        );
    }
    // Who has an admin API can look, whether or not anybody is told.
    config.alerts = alerts.map(|(_, alerts)| alerts).or(config.admin.is_some().then(Default::default));
    (config.coordination, config.fhir) =
        root.table("coordination").map(super::coordination::coordination).unwrap_or_default();
    config.log = root.table("log").map(super::admin::log).unwrap_or_default();
    config.mappings = root.text("mappings").map(|folder| document.relative(&folder.value));
    let data = root.text("data");
    config.data = document.relative(data.as_ref().map_or(super::DATA, |data| data.value.as_str()));
    let durabilities = Durability::ALL.map(|durability| (durability.name(), durability));
    set(&mut config.journal.durability, root.choice("durability", &durabilities));
    set(&mut config.index, root.boolean("index"));
    if let Some(retention) = root.table("retention") {
        set(&mut config.retention.age, retention.duration("age"));
        set(&mut config.retention.bytes, retention.size("size"));
        retention.finish();
    }
    if let Some(listeners) = root.tables("listener") {
        config.listeners = listeners.into_iter().map(listener).collect();
    }
    config.routes = match root.tables("route") {
        Some(routes) => routes.into_iter().filter_map(route).collect(),
        None => default_routes(&config),
    };
    unique(&root, "listener", config.listeners.iter().map(|listener| listener.name.as_str()));
    unique(&root, "route", config.routes.iter().map(|route| route.route.name.as_str()));
    root.finish();
    config
}

/// Without a route everything goes to a file in the data directory.
fn default_routes(config: &Config) -> Vec<delivery::Options> {
    let path = config.data.join("bundles.ndjson");
    let target = Target::File(file::Options { path, envelope: Envelope::Message, roll: None });
    Config::default().routes.into_iter().map(|route| delivery::Options { target: target.clone(), ..route }).collect()
}

fn unique<'n>(root: &Section<'_>, kind: &str, names: impl Iterator<Item = &'n str>) {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1] && !pair[0].is_empty()) {
        root.wrong(format!("two {kind}s are named \"{}\"; names must differ", pair[0]));
    }
}

/// A name as it stands in logs and as a cursor: letters, digits, `-`, `_`, `.`.
pub(super) fn name(section: &Section<'_>) -> String {
    let Some(Placed { value, at }) = section.text("name") else {
        section.wrong("name is missing");
        return String::new();
    };
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if value.is_empty() || value.len() > 64 || !plain {
        section.document.wrong(Some(at), "name must be 1 to 64 letters, digits, '-', '_' or '.'");
    }
    value
}

fn listener(section: Section<'_>) -> Listener {
    let mut listener = Listener::default();
    let name = name(&section);
    listener.name = name;
    set(&mut listener.intake.ack_on, section.choice("ack_on", &ACK_ON));
    let duplicates = [("replay", OnDuplicate::Replay), ("strict", OnDuplicate::Strict), ("off", OnDuplicate::Accept)];
    set(&mut listener.intake.ack_timeout, section.duration("ack_timeout"));
    set(&mut listener.intake.on_duplicate, section.choice("duplicates", &duplicates));
    set(&mut listener.intake.duplicate_window, section.duration("duplicate_window"));
    set(&mut listener.intake.sequence, section.boolean("sequence"));
    listener.site = section.text("site").map(|folder| section.document.relative(&folder.value));
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    listener.tls = section.table("tls").and_then(|table| listener_tls(table, &mut listener.senders));
    listener.silence = super::alerts::silence(&section);
    for network in section.texts("allow").into_iter().flatten() {
        // An address alone is a network of one.
        let parsed = network.value.parse().or_else(|_| network.value.parse::<IpAddr>().map(IpNet::from));
        match parsed {
            Ok(parsed) => listener.options.allow.push(parsed),
            Err(_) => {
                section.document.wrong(Some(network.at), "allow lists addresses and networks such as \"10.1.0.0/16\"")
            }
        }
    }
    entrance(&section, plaintext, &mut listener);
    let options = &mut listener.options;
    let connection = &mut options.connection;
    if let Some(framing) = section.choice("framing", &[("strict", Framing::Strict), ("lenient", Framing::Lenient)]) {
        connection.decoder.framing = framing;
    }
    set(&mut connection.decoder.frame_bytes_max, section.number("frame_bytes_max", 1024));
    set(&mut connection.pipeline_max, section.number("pipeline_max", 1));
    set(&mut connection.frame_timeout, section.duration("frame_timeout"));
    set(&mut connection.idle_timeout, section.duration("idle_timeout"));
    set(&mut options.connections_max, section.number("connections_max", 1));
    set(&mut options.connections_per_address_max, section.number("connections_per_address_max", 1));
    section.finish();
    listener
}

const ACK_ON: [(&str, AckOn); 3] =
    [("translated", AckOn::Translated), ("durable", AckOn::Durable), ("delivered", AckOn::Delivered)];

/// Where it listens, and what is spoken there.
fn entrance(section: &Section<'_>, plaintext: bool, listener: &mut Listener) {
    let (mllp, http, token) = (section.text("mllp"), section.text("http"), section.secret("bearer"));
    if let (Some(_), Some(token)) = (&mllp, &token) {
        section.document.wrong(Some(token.at.clone()), "bearer goes with http: a sender over MLLP can show none");
    }
    let (key, address) = match (mllp, http, section.text("directory")) {
        (Some(address), None, None) => ("mllp", address),
        (None, Some(address), None) => {
            listener.protocol = Protocol::Http(token.map(|token| Token::new(&token.value)));
            ("http", address)
        }
        (None, None, Some(path)) => return watched(section, &path, listener),
        (None, None, None) => {
            return section.wrong(
                "mllp is missing: give the address to listen on, such as mllp = \"127.0.0.1:2575\", or http, or a directory",
            );
        }
        _ => return section.wrong("a listener has one address: mllp, http or directory; make one for each"),
    };
    check_address(section, key, &address, plaintext || listener.tls.is_some(), "listener");
    section.document.listens(format!("listener \"{}\"", listener.name), &address.value, &address.at);
    listener.address = address.value;
    if let Some(release) = release(section) {
        listener.options.connection.release = release;
        if key != "mllp" {
            section.wrong("release is about MLLP: remove it from a listener for HTTP");
        }
    }
}

/// Which release of MLLP is spoken.
pub(super) fn release(section: &Section<'_>) -> Option<Release> {
    match section.number::<u8>("release", 1)? {
        1 => Some(Release::One),
        2 => Some(Release::Two),
        _ => {
            section.wrong("release of MLLP is 1, or 2 with commit acknowledgements");
            None
        }
    }
}

fn watched(section: &Section<'_>, path: &Placed<String>, listener: &mut Listener) {
    let mut options = directory::Options {
        path: section.document.relative(&path.value),
        age: Duration::from_secs(2),
        pattern: "*.hl7".into(),
        after: After::default(),
    };
    set(&mut options.age, section.duration("age"));
    set(&mut options.pattern, section.text("pattern").map(|pattern| pattern.value));
    set(&mut options.after, section.choice("after", &[("move", After::Move), ("delete", After::Delete)]));
    if listener.intake.on_duplicate == OnDuplicate::Accept {
        section.wrong("duplicates = \"off\" does not go with a directory: after a crash its files are taken once more");
    }
    if listener.intake.sequence || listener.tls.is_some() || !listener.options.allow.is_empty() {
        section.wrong("sequence, tls and allow are about senders that connect: remove them from a directory");
    }
    listener.address = String::new();
    listener.protocol = Protocol::Directory(options);
}

/// `tls`, and whom its `names` may speak for.
fn listener_tls(section: Section<'_>, senders: &mut Option<Senders>) -> Option<tls::Options> {
    *senders = section.table("names").map(names);
    if senders.is_some() && section.text("client_ca").is_none() {
        section.wrong("names is about certificates of clients: give client_ca, whose certificates they must show");
    }
    tls(section)
}

/// The files of a listener.
pub(super) fn tls(section: Section<'_>) -> Option<tls::Options> {
    let file = |key| section.text(key).map(|file| section.document.relative(&file.value));
    let (certificate, key, client_ca) = (file("certificate"), file("key"), file("client_ca"));
    let revoked = file("revoked");
    if client_ca.is_none() && revoked.is_some() {
        section.wrong("revoked is about certificates of clients: give client_ca, whose certificates they must show");
    }
    if certificate.is_none() || key.is_none() {
        section.wrong("tls needs certificate and key, files in PEM");
    }
    section.finish();
    Some(tls::Options { certificate: certificate?, key: key?, client_ca, revoked })
}

fn names(section: Section<'_>) -> Senders {
    let document = section.document;
    let sender = |text: Placed<String>| {
        let sender = Sender::parse(&text.value);
        if sender.is_none() {
            document.wrong(Some(text.at), "names lists senders by MSH-3 and MSH-4: \"LAB\", \"LAB|CITY\" or \"|CITY\"");
        }
        sender
    };
    let lists = section.all_texts().into_iter();
    Senders(lists.map(|(name, texts)| (name, texts.into_iter().filter_map(sender).collect())).collect())
}

pub(super) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

pub(super) fn check_address(section: &Section<'_>, key: &str, address: &Placed<String>, plaintext: bool, owner: &str) {
    let wrong = |text: &str| section.document.wrong(Some(address.at.clone()), text);
    let form = format!("{key} must be host:port, such as \"127.0.0.1:2575\"");
    let Some((host, port)) = address.value.rsplit_once(':') else {
        return wrong(&form);
    };
    if port.parse::<u16>().is_err() || host.is_empty() {
        return wrong(&form);
    }
    let remedy = if owner == "listener" {
        "give the listener tls = { certificate = …, key = … }, or "
    } else {
        "give the target tls = { ca = … }, or "
    };
    if !is_loopback(host) && !plaintext {
        wrong(&format!(
            "this address can be reached from other machines, and {} is not encrypted: {remedy}plaintext = true if its network is trusted",
            key.to_ascii_uppercase()
        ));
    }
}

/// Whether a host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn route(section: Section<'_>) -> Option<delivery::Options> {
    let name = name(&section);
    let filter = section.text("filter").and_then(|text| {
        let parsed = Filter::parse(&text.value);
        parsed.map_err(|error| section.document.wrong(Some(text.at), filter_error(&text.value, &error))).ok()
    });
    if name == UNTRANSLATED {
        section.wrong(format!(
            "a route cannot be named \"{UNTRANSLATED}\": messages that cannot be translated are kept under that name"
        ));
    }
    let orders = [("patient", Order::Patient), ("link", Order::Link), ("none", Order::None)];
    let order = section.choice("order", &orders);
    let concurrency = section.number("concurrency", 1);
    let waiting_max = section.number("waiting_max", 1).unwrap_or(delivery::WAITING_MAX);
    let retry = section.table("retry").map(retry).unwrap_or_default();
    let replies = section.table("replies").map(replies).unwrap_or_default();
    let rate = section.number("rate", 1).unwrap_or(0);
    let target = match section.table("to") {
        Some(to) => target(to),
        None => {
            section.wrong("to is missing: give a target, such as to = { file = \"out/bundles.ndjson\" }");
            None
        }
    };
    if matches!(target, Some(Target::File(_))) && concurrency.is_some_and(|most: usize| most > 1) {
        section.wrong("concurrency: a file has one writer, in the order of the journal; remove it");
    }
    // A receiver of HL7 v2 gets what its sender sent, as the sender sent it: in order, one after the other.
    let (usual_order, usual_concurrency) = match target {
        Some(Target::Mllp(_)) => (Order::Link, 1),
        _ => (Order::default(), delivery::CONCURRENCY),
    };
    let (order, concurrency) = (order.unwrap_or(usual_order), concurrency.unwrap_or(usual_concurrency));
    if let Some(Target::Fhir(fhir::Options { conditional: Some(conditional), .. })) = &target {
        // Two requests at once would each find nothing, and each make one: from then on the server finds several, and refuses.
        let shared = conditional.types.iter().any(|kind| *kind != "Patient");
        if concurrency > 1 && (shared || order != Order::Patient) {
            section.wrong("conditional: several requests at once could make the same resource twice; set concurrency = 1, or order = \"patient\" and no types but Patient");
        }
    }
    section.finish();
    let route = Route { name, filter };
    Some(delivery::Options { route, target: target?, retry, replies, rate, order, concurrency, waiting_max })
}

/// Quotes the rest from where reading stopped: the place in the file is that of the whole text.
fn filter_error(text: &str, error: &FilterError) -> String {
    match text.get(error.offset..).map(str::trim) {
        Some(rest) if error.offset > 0 && !rest.is_empty() => format!("filter: before `{rest}`: {error}"),
        _ => format!("filter: {error}"),
    }
}

fn retry(section: Section<'_>) -> Retry {
    let mut retry = Retry::default();
    set(&mut retry.first, section.duration("first"));
    set(&mut retry.max, section.duration("max"));
    set(&mut retry.age, section.duration("age"));
    set(&mut retry.attempts, section.number("attempts", 0));
    if retry.first.is_zero() || retry.max < retry.first {
        section.wrong("retry: first must be more than nothing and at most max");
    }
    section.finish();
    retry
}
