//! Who looked at what, and did what, of those who run the gateway: whatever is logged with `audit = true` is a line of the chain in `DATA/access`, however little of the log is kept.
//!
//! It is there for good before whoever asked gets the answer: what shows something of a patient is logged by [`witnessed`], and not shown where that says that the line could not be
//! written. Names of people and of things in the configuration stand in it, numbers of messages, counts: nothing of a patient.
use super::record::instant;
use super::{Lasting, Options, Record};
use crate::fhir::json;
use std::cell::Cell;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;

/// One look or deed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// By whom: a user, a token, a recipient or a steward.
    pub who: String,
    /// `message read`
    pub what: String,
    /// What it was about: name and value.
    pub about: Vec<(&'static str, String)>,
    /// Something was looked at, whatever the words say; else something was done.
    pub look: bool,
}

/// Whoever looked cannot be written down: they must not see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("who looked at what cannot be written down")]
pub struct Unwritten;

thread_local! {
    /// Whether the last line of this thread was written. An event is taken on the thread that logs it, before the call returns.
    static WRITTEN: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Logs something that is marked, and says whether it stands in the audit. Where nobody takes such events it does not.
///
/// # Errors
/// It does not stand there.
pub fn witnessed(log: impl FnOnce()) -> Result<(), Unwritten> {
    WRITTEN.set(None);
    log();
    if WRITTEN.take() == Some(true) { Ok(()) } else { Err(Unwritten) }
}

/// What an event of the log calls whoever did it.
const ACTORS: [&str; 4] = ["user", "token", "recipient", "steward"];
/// The field that makes one a line.
const MARK: &str = "audit";
/// The field that makes it a look.
const LOOK: &str = "look";

impl Record for Access {
    fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// Type and subtype as for a look into a record (ISO 21089) or for anything else that was done; what it was about as details.
    fn write(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| json::string(out, text.as_bytes());
        let plain = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
        let looked = self.look || self.what.ends_with("read") || self.what.ends_with("explained");
        plain(out, r#"{"resourceType":"AuditEvent","type":{"system":"#);
        plain(
            out,
            match looked {
                true => r#""http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle","code":"access"}"#,
                false => r#""urn:handoff:audit","code":"operate"}"#,
            },
        );
        plain(out, r#","subtype":[{"system":"urn:handoff:audit","display":"#);
        text(out, &self.what);
        plain(out, if looked { r#"}],"action":"R","recorded":""# } else { r#"}],"action":"E","recorded":""# });
        plain(out, &instant(self.at_ms));
        plain(out, r#"","outcome":"0","agent":[{"who":{"display":"#);
        text(out, &self.who);
        plain(out, r#"},"requestor":true}],"source":{"observer":{"display":"handoff"}}"#);
        for (at, (name, value)) in self.about.iter().enumerate() {
            plain(out, if at == 0 { r#","entity":[{"detail":["# } else { "," });
            plain(out, r#"{"type":"#);
            text(out, name);
            plain(out, r#","valueString":"#);
            text(out, value);
            plain(out, "}");
        }
        plain(out, if self.about.is_empty() { "}" } else { "]}]}" });
    }
}

/// Takes them from the log.
pub struct Looks {
    folder: PathBuf,
    writer: Mutex<Option<Lasting>>,
}

impl Looks {
    /// To be written into a folder, which is made with the first.
    pub fn new(folder: PathBuf) -> Looks {
        Looks { folder, writer: Mutex::default() }
    }

    /// What of the log it needs to see, and no more.
    pub fn filter() -> FilterFn<fn(&Metadata<'_>) -> bool> {
        let marked: fn(&Metadata<'_>) -> bool = |event| event.is_event() && event.fields().field(MARK).is_some();
        filter_fn(marked).with_max_level_hint(LevelFilter::INFO)
    }

    fn write(&self, access: &Access) -> Result<(), super::Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_none() {
            *writer = Some(Lasting::open(&self.folder, Options::default())?);
        }
        writer.as_mut().map_or(Ok(()), |writer| writer.append(std::slice::from_ref(access)))
    }
}

impl<S: Subscriber> Layer<S> for Looks {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        if !seen.marked {
            return;
        }
        seen.access.at_ms = jiff::Timestamp::now().as_millisecond();
        let written = self.write(&seen.access);
        WRITTEN.set(Some(written.is_ok()));
        if let Err(error) = written {
            // The log is where this comes from: it is told beside it.
            eprintln!("error: who looked at what cannot be written down: {error}");
        }
    }
}

#[derive(Default)]
struct Seen {
    marked: bool,
    access: Access,
}

impl Visit for Seen {
    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            MARK => self.marked = value,
            LOOK => self.access.look = value,
            _ => self.record_debug(field, &value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field.name(), format!("{value:?}"));
    }
}

impl Seen {
    fn take(&mut self, name: &'static str, value: String) {
        match name {
            "message" => self.access.what = value,
            name if ACTORS.contains(&name) => self.access.who = value,
            name => self.access.about.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::audit::{latest, verify};
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn what_is_marked_in_the_log_is_a_line_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access");
        let looks = Looks::new(path.clone());
        let layers = tracing_subscriber::registry().with(looks.with_filter(Looks::filter()));
        tracing::subscriber::with_default(layers, || {
            tracing::info!(audit = true, user = %"kim", seq = 12_u64, "message read");
            tracing::info!(audit = false, user = "kim", "not audited");
            tracing::info!(user = "kim", "plain");
            tracing::info!(audit = true, token = %"ops", route = "ehr", "route \"set\"");
        });
        let (lines, more) = latest(&path, None, 10, |_| true).unwrap();
        assert_eq!((lines.len(), more, verify(&path).unwrap().lines), (2, None, 2));
        let (second, first) = (&lines[0].event, &lines[1].event);
        assert_eq!((first["action"].as_str(), first["type"]["code"].as_str()), (Some("R"), Some("access")));
        assert_eq!(first["agent"][0]["who"]["display"], "kim");
        assert_eq!(first["entity"][0]["detail"][0], serde_json::json!({ "type": "seq", "valueString": "12" }));
        assert_eq!((&second["subtype"][0]["display"], &second["action"]), (&"route \"set\"".into(), &"E".into()));
    }

    #[test]
    fn what_cannot_be_written_down_is_told_to_whoever_would_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access");
        let look = || tracing::info!(audit = true, look = true, user = %"kim", seq = 12_u64, "messages listed");
        assert_eq!(witnessed(look), Err(Unwritten), "nobody takes it");
        let layers = || tracing_subscriber::registry().with(Looks::new(path.clone()).with_filter(Looks::filter()));
        std::fs::write(&path, "no folder").unwrap();
        tracing::subscriber::with_default(layers(), || {
            assert_eq!(witnessed(look), Err(Unwritten));
            assert_eq!(witnessed(|| tracing::info!("not marked")), Err(Unwritten));
            std::fs::remove_file(&path).unwrap();
            assert_eq!(witnessed(look), Ok(()), "once it can be, it is");
        });
        let lines =
            std::fs::read_dir(&path).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let lines: String = lines.collect();
        assert!(
            lines.contains("messages listed") && lines.contains("\"action\":\"R\"") && !lines.contains("look\""),
            "{lines}"
        );
    }
}
