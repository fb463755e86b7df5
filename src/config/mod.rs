//! The configuration: a TOML file, read once at start into checked options. All mistakes are told at once, each with its place and a remedy.
//!
//! ```toml
//! data = "handoff-data"             # journal and state
//! durability = "fsync"              # fsync | os | memory
//! mappings = "mappings"             # default: built in
//! index = true                      # keep the search index up while the gateway runs; false: searching makes it up to date first
//! retention = { age = "30d", size = "50GB" }   # what every route has passed and no dead letter needs
//!
//! [[listener]]
//! name = "adt"
//! mllp = "127.0.0.1:2575"           # or http = "127.0.0.1:8081": POST /hl7, with bearer = "…" where senders must show a token
//! tls = { certificate = "server.pem", key = "server.key", client_ca = "clients.pem", revoked = "revoked.pem",
//!         names = { "lab.example" = ["LAB", "LAB2|CITY"] } }       # certificate name → MSH-3, or MSH-3|MSH-4, that it may send as
//! release = 1                       # of MLLP: 1 | 2, with commit acknowledgements before those of HL7
//! allow = ["10.1.0.0/16"]           # networks that may connect
//! ack_on = "translated"             # durable | translated | delivered (by every route; ack_timeout = "30s": so long at most)
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
//! to = { fhir = "https://ehr.example/fhir", bundle = "transaction" }   # transaction | batch | put | message | collection
//! order = "patient"                 # patient | link | none: what is delivered in order; the rest several at once
//! concurrency = 8                   # so many at once; a file has one writer
//! rate = 50                         # messages a second; default: as many as there are
//! waiting_max = 10000               # so many may wait for others of their key before the route waits with them
//! retry = { first = "1s", max = "5m", attempts = 0, age = "72h" }      # attempts 0: until age; an endpoint out of reach counts as none
//! replies = { 409 = "dead", AE = "retry", timeout = "pause" }          # retry | dead | skip | pause, by HTTP status, MSA-1, or no answer
//!
//! [[route]]
//! name = "acks"
//! to = { mllp = "127.0.0.1:2576", send = "acknowledgement" }   # message | acknowledgement: the application's, for senders whose MSH-16 asks beside MSH-15
//!
//! [[route]]
//! name = "archive"
//! to = { file = "out/bundles.ndjson" }
//!
//! [egress]                          # default: anywhere
//! allow = ["ehr.example", "*.lab.example", "10.2.0.0/16"]   # hosts and networks that routes, tokens, alerts and traces may connect to
//!
//! [admin]                           # health, metrics, the API and the desk; changes need a restart
//! listen = "127.0.0.1:8080"         # beyond loopback: tls = { certificate, key }, or plaintext = true
//! metrics = "token"                 # token | open
//! hosts = ["ops.example"]           # names it may be asked by
//! failures_max = 10                 # requests of an address without a good token that are answered in a minute
//! tokens = [{ name = "ops", role = "operator", sha256 = "…" }]   # viewer | operator | admin | phi-reader; `handoff token create`
//! users = [{ name = "kim", roles = ["operator", "phi-reader"], password = "$argon2id$…" }]   # who signs in to the desk, its pages; `handoff user create`
//!
//! [log]
//! format = "text"                   # text | json
//! level = "info"                    # error | warn | info | debug | trace
//!
//! [alerts]                          # changes need a restart; with [admin] it is looked at, and shown there, even without this section
//! webhook = "https://alerts.example/hook"   # one POST opens, one resolves; default: nobody is told
//! secret = "file:alerts.secret"     # signs each POST (HMAC-SHA256); default: none
//! email = { to = ["desk@hospital.example"], from = "handoff@hospital.example", smtp = "smtp://mail.hospital.example:587", user = "handoff", password = "${SMTP_PASSWORD}" }
//!                                   # smtps:// (465) or smtp:// (587) with STARTTLS; plaintext = true: neither; ca = "ca.pem": of an authority of your own
//!                                   # one mail tells all that came up since the last; pause = "15s": each of the last hour makes the next wait so much longer
//! queue_age = "15m"                 # the oldest message that waits for a route
//! queue_depth = 10000               # messages that wait for a route; default: any number
//! route_held = "1h"                 # a route that is paused, stopped or rests
//! error_rate = { letters = 5, share = 0.05, within = "1h" }   # dead letters of a route: so many, and that share of what it delivered or gave up; letters = 0: never
//! ack_latency = "5s"                # 99 in 100 acknowledgements of a listener within a minute; "0s": never
//! disk_free = "2GB"
//! certificate = "21d"               # before one of a listener ends
//! silence = "1h"                    # a listener without a message; of its own with silence = … in [[listener]]; default: none
//!                                   # or { after = "1h", hours = "07:00-19:00", days = "mon-fri", tz = "America/New_York" }: only that time counts; default of tz: UTC
//! every = "10s"                     # how often it is looked at
//!
//! [traces]                          # one a message, with each attempt to deliver it; changes need a restart
//! endpoint = "http://127.0.0.1:4318"   # a collector that takes OTLP over HTTP; beyond loopback https, or plaintext = true
//! share = 0.01                      # of the messages; what goes wrong is told of in any case
//!
//! [coordination]                    # events, and who is told of them; default: none of it
//! tz = "America/New_York"           # of times without an offset, where the facility says none; default: UTC
//! keep = "400d"                     # loops that are over, by the times of receipt of messages; no less
//!
//! [coordination.events]
//! max_event_age = "72h"             # older: kept, nobody is told
//! hanging_ed_close = "48h"          # an emergency visit that nobody ended is over then
//! processing = ["P"]                # MSH-11.1 of messages that count, beside those without; of T and D nobody is told
//! class_map = { V = "OBSENC", S = "SS" }   # PV1-2 → v3 ActEncounterCode, before I, B (IMP), E (EMER), O, R (AMB), P (PRENC)
//!
//! [coordination.facility.SBMC]      # PV1-3.4.1, else MSH-4.1
//! npi = "9990001015"
//! tz = "America/New_York"
//! type = "HHA"                      # as loops ask for with facility_type; default: none
//! part2 = false                     # a programme under 42 CFR Part 2
//!
//! [[coordination.panel]]            # whose patients they are
//! id = "aco-lakeshore"              # Group/aco-lakeshore
//! kind = "aco"                      # aco | pcmh | hha | bh | payer
//! owner_npi = "9990004043"
//! tz = "America/New_York"           # of the dates of its periods; default: that of [coordination]
//! source = { type = "csv", path = "rosters/lakeshore.csv", mode = "supersede" }   # csv | fhir-group; a file or a folder; supersede | delta; charset = "latin-1"
//! stale_after = "90d"               # an older file is worth a warning, and an alert
//! min_attributed = 5000             # fewer members are worth a warning; default: 5000 of an aco, else none
//! max_drop_pct = 20                 # a roster that drops more is held until approved: `handoff rosters approve`
//! dates = "detect"                  # detect | iso | us (month first) | compact
//! columns = { id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", mrn = "MRN", mrn_aa = "MRN_AA", family = "LAST", given = "FIRST", dob = "DOB", sex = "SEX",
//!             address = "STREET", city = "CITY", zip = "ZIP", phone = "PHONE", start = "EFF", end = "TERM", pcp_npi = "PCP", care_manager = "CM",
//!             consent = "CONSENT", change = "CHG" }
//!
//! [coordination.match]              # whom of the members a message is about; these are the defaults
//! strong = ["http://hl7.org/fhir/sid/us-mbi", "mrn@aa"]   # mrn@aa: record numbers of any authority
//! strong_guard = "dob|family"       # one of these must agree as well
//! deterministic = [["family", "given", "dob", "sex", "zip5|phone"]]   # also family_sdx, birth_year, address, city
//! block = [["dob", "sex"], ["family_sdx", "birth_year", "zip5"], ["phone"]]
//! max_candidates = 16
//! given_min = 0.90                  # twins
//! weights = { dob = 10.13, address = 8.44, given = 6.85, family = 6.35, zip = 4.98, city = 2.44, sex = 0.75 }
//! accept = 0.925
//! review = 0.80                     # from here on somebody is asked
//!
//! [[coordination.label]]            # what is sensitive, beside the starter lists of SUD, PSY, HIV, SEX and VIO, which are not legal advice
//! code = "SUD"
//! starter = true                    # false: in place of the starter list of that code
//! policy = "42CFRPart2"
//! conf = "R"                        # U | L | M | N | R | V
//! icd10_prefix = ["F10", "F11"]
//! codes = { loinc = ["75626-2"] }   # icd10, icd10pcs, icd9, atc (these four with all below), loinc, snomed, rxnorm, ndc, cpt, hcpcs, cvx
//! value_set = "codes/sud.csv"       # system,code lines, or an expanded ValueSet in JSON
//! marks = ["ETH", "PV2-22=Y"]       # what senders write in MSH-8, MSH-26, MSH-27, PV2-22, TXA-18, ARV-3, ARV-4; others count as label R
//! facilities = ["LAKERECOV"]        # there the whole event is sensitive
//! units = ["DETOX", "SBMC|4W"]      # PV1-3.1, or with its facility
//!
//! [[coordination.recipient]]        # all of its first six keys must be there
//! id = "aco-cm"
//! panels = ["aco-lakeshore"]
//! purpose = "HOPERAT"
//! topics = ["admission", "discharge"]
//! max_content = "id-only"           # empty | id-only | full-resource
//! clear = ["PSY"]                   # labels that it may see
//! consent_required = ["SUD"]        # labels that it may see once the patient permits it by name
//! deny_action = "drop-element"      # drop-element | drop-event
//! unstructured = "withhold-if-sensitive"   # withhold-if-sensitive | withhold
//! fields_profile = "cop-minimum"    # all | cop-minimum: patient name, practitioner, institution, event and time; of a Task what, whose, until when and whether
//! token_sha256 = "…"                # of its bearer token for the FHIR API; `handoff token create --recipient ID`
//! secret = "file:aco-cm.secret"     # signs what is posted to its subscriptions, as of a rest_hook; secret_next beside it while keys are changed; default: none
//!
//! [[coordination.loop]]             # what should happen, until when, and who hears when it does not; all keys stand with their reader
//! use = "post-discharge"            # ed-follow-up | bh-discharge | order-result | phq-9 | referral; or open = …, and steps of its own
//! panels = ["aco-lakeshore"]        # default: all
//!
//! [[coordination.measure]]          # what panels are measured by, beside the fifteen that are shipped or instead of one; all keys stand with their reader
//! use = "visit-7"                   # one of those; what stands beside it goes before what it says
//! id = "visit-10"                   # without it, or with that of one that is shipped, it takes its place; enabled = false: there is none of that id
//! window = ["1d", "10d"]
//!
//! [coordination.care_team]
//! precedence = ["api", "roster", "rol", "pd1"]   # whose word counts for who looks after a patient
//! route = { "role:care-manager" = { endpoint = "aco-cm", fallback = "role:pcp", then = "panel-owner" } }   # then: panel-owner | unroutable
//!                                   # endpoint: the recipient that takes what is for the role; those of other roles are told only where it is not
//!
//! [coordination.fhir]               # where recipients subscribe and read; changes need a restart
//! listen = "127.0.0.1:8090"         # beyond loopback: tls = { certificate, key }, or plaintext = true
//! stewards = [{ name = "privacy-office", sha256 = "…" }]   # who may write Consent, CareTeam and Group; `handoff token create --steward NAME`
//!
//! [coordination.subscriptions]
//! base = "https://gateway.example/fhir"      # where clients reach the FHIR interface; default: canonical_base
//! canonical_base = "https://handoff.example/fhir"   # what canonical URLs of our own topics begin with
//! focus_base = "https://ehr.example/fhir"    # where id-only resources are read; default: base
//! attempts_max = 8                  # failures in a row after which a subscription is in error
//! retry_min = "1s"                  # doubled by each failure, up to retry_max
//! retry_max = "5m"
//! backlog = "leave"                 # events of the time in error: the client reads them with $events; "send": sent once it asks again
//! keep = "30d"                      # how long events and what they refer to can be read
//!
//! [coordination.sink]               # a FHIR server that takes what happens to people of the rosters, as transactions; changes need a restart
//! fhir = "https://repository.example/fhir"
//! recipient = "repository"          # whose policy says what goes there: with patient-data-feed and max_content = "full-resource"
//! bearer = "env:SINK_TOKEN"         # if it wants one; http beyond loopback: plaintext = true
//! ```
//!
//! | target | keys beside it |
//! |---|---|
//! | `fhir` | `bundle`, `entries_max`, `conditional` (`update`, `create`), `conditional_types`, one of `bearer`, `basic` (`user:password`) and `smart` |
//! | `rest_hook` | `bundle` or `raw = true`, `secret`, `secret_next` |
//! | `fhir`, `rest_hook` | `timeout`, `plaintext`, `tls = { ca, certificate, key }`, `public_only` |
//! | `mllp` | `timeout`, `plaintext`, `tls = { ca, certificate, key }`, `send`, `release` (1, 2), `wait_for` (`acknowledgement`; with release 2 also `commit`) |
//! | `file` | `bundle`, `roll = { size = "100MB", age = "1h" }`: many files, each published whole under its time |
//!
//! `smart = { client_id, key, key_id, scope, token_url }`. Secrets are written as `${NAME}` or `file:PATH`.
//!
//! `--config FILE` names it. Without that every command takes `handoff.toml` of the working directory; where there is none, `handoff serve` and the commands that read the data directory take
//! the built-in one (MLLP on 127.0.0.1:2575, data in `handoff-data`, Bundles to `handoff-data/bundles.ndjson`), and the others say what is missing.
//!
//! Paths are relative to the file. `${NAME}` in a text reads the environment. Keys that later versions will know are refused, never ignored.
mod admin;
mod alerts;
mod coordination;
mod problem;
mod section;
mod sections;
mod target;
mod traces;

pub use problem::{Problem, Problems};

use crate::delivery::channel::egress::Allowed;
use crate::delivery::channel::replies::Replies;
use crate::delivery::channel::{Envelope, Target, file};
use crate::delivery::{self, Order, Retry};
use crate::journal;
use crate::routing::Route;
use crate::server::Listener;
use problem::Document;
use std::path::{Path, PathBuf};
use tracing_subscriber::filter::LevelFilter;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// The journal.
    pub journal: journal::Options,
    /// How long it keeps what every route has passed.
    pub retention: journal::Retention,
    /// Whether the search index is kept up while the gateway runs.
    pub index: bool,
    /// The folder of mappings; none for those built in.
    pub mappings: Option<PathBuf>,
    /// Where messages come in.
    pub listeners: Vec<Listener>,
    /// Where they go.
    pub routes: Vec<delivery::Options>,
    /// The admin server, where there is to be one.
    pub admin: Option<crate::admin::Options>,
    /// Whom to tell what.
    pub alerts: Option<crate::alerts::Options>,
    /// Who is told of the ways of messages.
    pub traces: Option<crate::traces::Options>,
    /// Who is told what of patients; none without the section.
    pub coordination: Option<crate::coordination::Options>,
    /// Where its FHIR interface is.
    pub fhir: Option<crate::facade::Options>,
    /// How the log is written.
    pub log: Log,
    /// Where targets, alerts and traces may lead.
    pub egress: Allowed,
}

/// How the log is written; `HANDOFF_LOG` in the environment goes before its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// From what on.
    pub level: LevelFilter,
}

/// For whom a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// People: a line an event.
    #[default]
    Text,
    /// Programs: a JSON object an event.
    Json,
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::default(), level: LevelFilter::INFO }
    }
}

impl Default for Config {
    /// What `handoff serve` runs on without a file: paths relative to the working directory.
    fn default() -> Config {
        let path = Path::new(DATA).join("bundles.ndjson");
        let archive = delivery::Options {
            route: Route { name: "bundles".into(), filter: None },
            target: Target::File(file::Options { path, envelope: Envelope::Message, roll: None }),
            retry: Retry::default(),
            replies: Replies::default(),
            rate: 0,
            order: Order::default(),
            concurrency: delivery::CONCURRENCY,
            waiting_max: delivery::WAITING_MAX,
        };
        Config {
            data: DATA.into(),
            journal: journal::Options::default(),
            retention: journal::Retention::default(),
            index: true,
            mappings: None,
            listeners: vec![Listener::default()],
            routes: vec![archive],
            admin: None,
            alerts: None,
            traces: None,
            coordination: None,
            fhir: None,
            log: Log::default(),
            egress: Allowed::default(),
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
