//! `[admin]`, `[egress]` and `[log]`: operating the gateway.
use super::section::{Placed, Section};
use super::sections::{is_loopback, set};
use super::{Log, LogFormat, sections};
use crate::admin::credentials::parse_hash;
use crate::admin::users::{Roles, is_hash};
use crate::admin::{self, Role, Token, User};
use crate::delivery::channel::egress::{Allowed, Entry};
use crate::delivery::channel::http;
use crate::mllp::tls;
use reqwest::Url;
use tracing_subscriber::filter::LevelFilter;

/// The admin server; none without an address.
pub(super) fn admin(section: Section<'_>) -> Option<admin::Options> {
    let mut options = admin::Options::default();
    (options.listen, options.tls) = listen(&section, "[admin]", "127.0.0.1:8080");
    options.hosts = section.texts("hosts").into_iter().flatten().map(|host| host.value).collect();
    options.metrics_open = section.choice("metrics", &[("open", true), ("token", false)]).unwrap_or_default();
    set(&mut options.failures_max, section.number("failures_max", 1));
    for token in section.inline_tables("tokens").into_iter().flatten() {
        options.tokens.extend(self::token(token));
    }
    let mut names: Vec<_> = options.tokens.iter().map(|token| token.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        section.wrong(format!("two tokens are named \"{}\"; the log tells them apart by their names", pair[0]));
    }
    for user in section.inline_tables("users").into_iter().flatten() {
        options.users.extend(self::user(user));
    }
    let mut names: Vec<_> = options.users.iter().map(|user| user.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        section.wrong(format!("two users are named \"{}\"", pair[0]));
    }
    section.finish();
    Some(options)
}

/// Somebody who may sign in.
fn user(section: Section<'_>) -> Option<User> {
    let name = super::sections::name(&section);
    let named = section.texts("roles");
    if named.as_ref().is_none_or(Vec::is_empty) {
        section.wrong("a user needs roles: of viewer, operator, admin and phi-reader, one or several");
    }
    let mut roles = Roles::default();
    for text in named.into_iter().flatten() {
        match Role::ALL.iter().find(|(name, _)| *name == text.value) {
            Some((_, role)) => roles.0.push(*role),
            None => {
                let wrong = format!("\"{}\" is no role: viewer, operator, admin or phi-reader", text.value);
                section.document.wrong(Some(text.at), wrong);
            }
        }
    }
    let password = section.secret("password");
    match &password {
        None => section.wrong("a user needs password, its hash; `handoff user create` prints the line"),
        Some(text) if !is_hash(&text.value) => {
            let wrong = "password must be the Argon2id hash that `handoff user create` prints, not the password itself";
            section.document.wrong(Some(text.at.clone()), wrong);
        }
        Some(_) => {}
    }
    section.finish();
    Some(User { name, roles, password: password?.value })
}

fn token(section: Section<'_>) -> Option<Token> {
    let name = super::sections::name(&section);
    let role = section.choice("role", &Role::ALL);
    if role.is_none() {
        section.wrong("a token needs a role: viewer, operator, admin or phi-reader");
    }
    let sha256 = token_hash(&section, "sha256", "handoff token create");
    if sha256.is_none() {
        section.wrong("a token needs sha256, its hash; `handoff token create` makes a token and prints the line");
    }
    section.finish();
    Some(Token { name, role: role?, sha256: sha256? })
}

/// Where a server listens whose callers show tokens, and its certificate: `listen`, `plaintext` and `tls`.
pub(super) fn listen(section: &Section<'_>, owner: &str, example: &str) -> (String, Option<tls::Options>) {
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    let tls = section.table("tls").and_then(sections::tls);
    let Some(address) = section.text("listen") else {
        section.wrong(format!("listen is missing: give the address to serve on, such as listen = \"{example}\""));
        return (String::new(), tls);
    };
    check_address(section, &address, plaintext || tls.is_some());
    section.document.listens(owner.to_owned(), &address.value, &address.at);
    (address.value, tls)
}

/// The hash of a token, as `command` prints it.
pub(super) fn token_hash(section: &Section<'_>, key: &'static str, command: &str) -> Option<[u8; 32]> {
    let text = section.text(key)?;
    let hash = parse_hash(&text.value);
    if hash.is_none() {
        let remedy = format!("{key} must be 64 hexadecimal digits; `{command}` prints them");
        section.document.wrong(Some(text.at), remedy);
    }
    hash
}

fn check_address(section: &Section<'_>, address: &Placed<String>, encrypted: bool) {
    let wrong = |text: &str| section.document.wrong(Some(address.at.clone()), text);
    let parts = address.value.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let Some((host, _)) = parts else {
        return wrong("listen must be host:port, such as \"127.0.0.1:8080\"");
    };
    if !encrypted && !is_loopback(host) {
        wrong(
            "this address can be reached from other machines, and tokens would travel in the clear: give tls = { certificate = …, key = … }, or plaintext = true if its network is trusted",
        );
    }
}

/// Where targets may lead.
pub(super) fn egress(section: Section<'_>) -> Allowed {
    let entries = section.texts("allow");
    if entries.is_none() {
        section.wrong("allow is missing: list the hosts and networks that may be connected to, such as allow = [\"ehr.example\", \"10.2.0.0/16\"]");
    }
    let entry = |text: Placed<String>| {
        let entry = Entry::parse(&text.value);
        if entry.is_none() {
            let form = "allow lists hosts and networks such as \"ehr.example\", \"*.lab.example\" or \"10.2.0.0/16\"";
            section.document.wrong(Some(text.at), form);
        }
        entry
    };
    let allowed = Allowed::only(entries.into_iter().flatten().filter_map(entry).collect());
    section.finish();
    allowed
}

/// How the log is written.
pub(super) fn log(section: Section<'_>) -> Log {
    let mut log = Log::default();
    set(&mut log.format, section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]));
    let levels = [
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    set(&mut log.level, section.choice("level", &levels));
    section.finish();
    log
}

/// A URL that we ask something of, as the value of a key, with an example of one: somewhere that we may connect to, and encrypted unless it is here.
pub(super) fn url(
    section: &Section<'_>,
    text: &Placed<String>,
    (key, example): (&str, &str),
    plaintext: bool,
) -> Option<Url> {
    let wrong = |why: &str| section.document.wrong(Some(text.at.clone()), why);
    let url = Url::parse(&text.value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        wrong(&format!("{key} must be a URL such as \"{example}\""));
        return None;
    };
    section.document.check_host(url.host_str().unwrap_or_default(), &text.at);
    if url.scheme() == "http" && !http::is_loopback(&url) && !plaintext {
        wrong("http is not encrypted: use https, or add plaintext = true if the network is trusted");
    }
    Some(url)
}
