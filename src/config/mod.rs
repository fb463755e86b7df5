//! The configuration: a TOML file, read once at start into checked options. All mistakes are told at once, each with its place and a remedy.
//!
//! ```toml
//! data = "handoff-data"             # journal and state
//! durability = "fsync"              # fsync | os
//! mappings = "mappings"             # default: built in
//! retention = { age = "30d", size = "50GB" }   # what every route has passed and no dead letter needs
//!
//! [[listener]]
//! name = "adt"
//! mllp = "127.0.0.1:2575"           # or http = "127.0.0.1:8081": POST /hl7, with bearer = "…" where senders must show a token
//! tls = { certificate = "server.pem", key = "server.key", client_ca = "clients.pem", revoked = "revoked.pem",
//!         names = { "lab.example" = ["LAB", "LAB2|CITY"] } }       # certificate name → MSH-3, or MSH-3|MSH-4, that it may send as
//! allow = ["10.1.0.0/16"]           # networks that may connect
//! ack_on = "translated"             # durable | translated
//! duplicates = "replay"             # replay | strict | off: the same message again; strict also refuses a control id of another one
//! duplicate_window = "7d"           # how far back
//! sequence = false                  # hold MSH-13 to the sequence number protocol, for each listener and address of a sender
//! site = "sites/mercy"              # profile and overlay; default: none
//!
//! [[listener]]
//! name = "files"
//! directory = "inbox"               # files of messages; taken ones go to inbox/done, others to inbox/failed
//! pattern = "*.hl7"
//! age = "2s"                        # so long a file must not have changed
//! after = "move"                    # move | delete
//!
//! [[route]]
//! name = "ehr"
//! to = { fhir = "https://ehr.example/fhir", bundle = "transaction" }   # transaction | batch | message | collection
//! order = "patient"                 # patient | link | none: what is delivered in order; the rest several at once
//! concurrency = 8                   # so many at once; a file has one writer
//! waiting_max = 10000               # so many may wait for others of their key before the route waits with them
//! retry = { first = "1s", max = "5m", attempts = 0, age = "72h" }      # attempts 0: until age; an endpoint out of reach counts as none
//!
//! [[route]]
//! name = "archive"
//! to = { file = "out/bundles.ndjson" }
//! ```
//!
//! A FHIR target may have `bearer = "…"` or `basic = "user:password"`, written as `${NAME}` or `file:PATH`.
//!
//! Paths are relative to the file. `${NAME}` in a text reads the environment. Keys that later versions will know are refused, never ignored.
mod problem;
mod section;
mod sections;

pub use problem::{Problem, Problems};

use crate::delivery::channel::{Envelope, Target, file};
use crate::delivery::{self, Order, Retry};
use crate::routing::Route;
use crate::server::{directory, http};
use crate::{intake, journal, mllp};
use problem::Document;
use std::path::{Path, PathBuf};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The journal.
    pub journal: journal::Options,
    /// How long it keeps what every route has passed.
    pub retention: journal::Retention,
    /// The folder of mappings; none for those built in.
    pub mappings: Option<PathBuf>,
    /// Where messages come in.
    pub listeners: Vec<Listener>,
    /// Where they go.
    pub routes: Vec<delivery::Options>,
}

/// Where messages come in.
#[derive(Debug, Clone)]
pub struct Listener {
    /// `host:port`; port 0 lets the system choose. Nothing for a directory.
    pub address: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Its limits.
    pub options: mllp::listener::Options,
    /// Its name.
    pub name: String,
    /// When it acknowledges, and what it makes of duplicates.
    pub intake: intake::Options,
    /// The folder of a site (profile and overlay), laid over the mappings.
    pub site: Option<PathBuf>,
    /// Certificate and key; without them it speaks plainly.
    pub tls: Option<mllp::tls::Options>,
    /// Whom the certificates of its clients may speak for; none: for anybody.
    pub senders: Option<intake::Senders>,
}

/// What is spoken at a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// MLLP.
    Mllp,
    /// HTTP, and the token that its senders must show.
    Http(Option<http::Token>),
    /// Nothing: files are put into a directory.
    Directory(directory::Options),
}

impl Default for Config {
    /// What `handoff serve` runs on without a file: paths relative to the working directory.
    fn default() -> Config {
        let path = Path::new(DATA).join("bundles.ndjson");
        let archive = delivery::Options {
            route: Route { name: "bundles".into(), filter: None },
            target: Target::File(file::Options { path, envelope: Envelope::Message }),
            retry: Retry::default(),
            order: Order::default(),
            concurrency: delivery::CONCURRENCY,
            waiting_max: delivery::WAITING_MAX,
        };
        Config {
            data: DATA.into(),
            journal: journal::Options::default(),
            retention: journal::Retention::default(),
            mappings: None,
            listeners: vec![Listener::default()],
            routes: vec![archive],
        }
    }
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            address: "127.0.0.1:2575".into(),
            protocol: Protocol::Mllp,
            options: mllp::listener::Options::default(),
            name: "mllp".into(),
            intake: intake::Options::default(),
            site: None,
            tls: None,
            senders: None,
        }
    }
}

const DATA: &str = "handoff-data";

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Config, Problems> {
        let text = std::fs::read_to_string(path).map_err(|error| Problems::unreadable(path, &error))?;
        Config::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Checks the text of the file at `path`; `environment` gives the values of `${NAME}`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, path: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
        let document = Document::new(text, path, environment);
        let config = sections::read(&document);
        document.finish(config)
    }
}

#[cfg(test)]
mod tests;
