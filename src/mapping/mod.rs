//! Mappings: TOML sources → checked model → flat [`Plan`] → executor with its own [`Scratch`].
//!
//! | module | holds |
//! |---|---|
//! | [`source`], `read` | what the mapping files say |
//! | [`expression`], [`target`], `statement` | the small languages of right sides, left sides and message maps |
//! | [`diagnostic`] | what is wrong with them |
//! | `compile` → `plan` | checked sources → flat arenas of nodes |
//! | `execute` | a plan over a message |
//! | [`explain`] | where every element came from |
//! | `origin` | of which bytes of the message each resource was made |
//! | [`usage`] | where every value of a message went, or why nowhere |
//! | [`coverage`] | the same, added up over many messages |
//! | [`layers`] | a site or a sender with ways of its own: which plan a message gets |
//! | [`folder`] | mapping files as they lie in folders |
//! | [`listing`] | a plan in readable form |
//! | [`schema`] | the mapping files as editors understand them |
//! | [`difference`] | what two sets of mapping files say differently |
//! | [`compare`], [`provenance`] | what two plans make of the same messages, and by which rules |
//! | [`excerpt`] | the rules of a mapping file as they stand in it |
//!
//! Pure: no I/O, no clock, nothing allocated per message once a [`Scratch`] has grown. A `Scratch` remembers what it made of codes, practitioners and places
//! (`execute/memory.rs`), which makes it faster and changes nothing else.
pub mod compare;
mod compile;
pub mod coverage;
pub mod diagnostic;
pub mod difference;
mod embedded;
pub mod excerpt;
mod execute;
pub mod explain;
pub mod expression;
pub mod finding;
pub mod folder;
pub mod layers;
pub mod listing;
mod origin;
mod plan;
pub mod provenance;
mod read;
pub mod schema;
pub mod source;
mod statement;
pub mod target;
pub mod usage;

use crate::fhir::bundle::Entry;
use crate::hl7::{Charset, Index, Matcher, Message, Options, ParseError, SegmentId, Span, transcode};
use diagnostic::Diagnostics;
pub use finding::{Finding, FindingCode, place};
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use source::{SourceFile, Sources};

/// Compiled mappings: immutable, shared behind an `Arc`, swapped whole on reload.
#[derive(Debug)]
pub struct Plan {
    compiled: plan::Compiled,
    sources: Sources,
    hash: [u8; 32],
    zone: Option<TimeZone>,
    charset: Option<Charset>,
    /// Layers that are about some messages only.
    feeds: Vec<layers::Feed>,
}

/// What a translation may know beside the message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// `Bundle.timestamp` as FHIR instant; when absent MSH-7 is used if it has an offset.
    pub received_at: Option<&'a str>,
}

/// Buffers of one worker, reused for every message; holds the result of the last translation.
#[derive(Debug)]
pub struct Scratch {
    index: Index,
    matcher: Matcher,
    state: execute::State,
    /// The message in UTF-8, where its own encoding could not be indexed.
    transcoded: Vec<u8>,
    /// The feed whose plan the message got: whatever is asked of the translation afterwards asks that plan.
    feed: Option<u16>,
}

/// Where an element came from: its first byte in the Bundle, the rule, the bytes of the message, the row of a code table.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    start: usize,
    rule: plan::RuleId,
    source: Option<Span>,
    row: Option<(u16, u32)>,
}

/// Why a message could not be translated at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// HL7 table 0357 code for ERR-3: 100 segment sequence, 101 required field, 200 message type, 201 event, 203 version, 207 internal.
    pub code: u16,
    /// ERR-2 location as segment, sequence, field: (`PID`, 1, 3).
    pub location: Option<([u8; 3], u16, u16)>,
    /// What is wrong and what to do; never holds field values.
    pub text: String,
}

impl Default for Scratch {
    fn default() -> Scratch {
        // How long a message may be is for the listener to say; here it only has to fit 32-bit offsets.
        let index = Index::with_options(Options { bytes_max: u32::MAX as usize, ..Options::default() });
        Scratch {
            index,
            matcher: Matcher::default(),
            state: execute::State::default(),
            transcoded: Vec::new(),
            feed: None,
        }
    }
}

impl Scratch {
    /// Empty buffers.
    pub fn new() -> Scratch {
        Scratch::default()
    }
    /// Forgets what was kept of earlier messages: codes, practitioners, places. It changes nothing but the time that the next ones take.
    pub fn forget(&mut self) {
        self.state.memory.clear();
    }
    fn mark_findings(&mut self) {
        if self.feed.is_some() {
            self.state.findings.iter_mut().for_each(|finding| finding.feed = self.feed);
        }
    }
    /// The canonical Bundle (type `message`) as JSON bytes, without a line end.
    pub fn bundle(&self) -> &[u8] {
        &self.state.out
    }
    /// The resources within [`Scratch::bundle`].
    pub fn entries(&self) -> &[Entry] {
        &self.state.entries
    }
    /// The message as the last translation read it: in UTF-8 where its own encoding could not be indexed. `raw` is what was translated.
    pub fn message<'a>(&'a self, raw: &'a [u8]) -> Message<'a> {
        self.index.message(if self.transcoded.is_empty() { raw } else { &self.transcoded })
    }
    /// What the last translation noticed.
    pub fn findings(&self) -> &[Finding] {
        &self.state.findings
    }
}

impl Plan {
    /// The mappings built into the binary.
    ///
    /// # Panics
    /// When the files built in do not compile, which a test excludes.
    pub fn embedded() -> Plan {
        match Plan::load(Plan::embedded_files()) {
            Ok((plan, _)) => plan,
            Err((sources, diagnostics)) => {
                let text: String = diagnostics
                    .sorted()
                    .iter()
                    .filter(|d| d.severity == diagnostic::Severity::Error)
                    .map(|d| d.render(&sources))
                    .collect();
                panic!("the built-in mappings do not compile:\n{text}")
            }
        }
    }

    /// The types of resources that it writes; those of its feeds' plans too, so one may come more than once.
    pub fn resource_types(&self) -> Vec<&'static str> {
        let own = |plan: &Plan| plan.compiled.programs.iter().map(|program| program.resource_type).collect::<Vec<_>>();
        let feeds = self.feeds.iter().flat_map(|feed| own(feed.plan()));
        own(self).into_iter().chain(feeds).collect()
    }

    /// The mapping files built into the binary, as (path, text).
    pub fn embedded_files() -> Vec<SourceFile> {
        embedded::files()
    }

    /// The files of a realm that is built into the binary; none when there is no such realm.
    pub fn embedded_realm(name: &str) -> Vec<SourceFile> {
        embedded::realm(name)
    }

    /// The realms built into the binary, such as `us`.
    pub fn embedded_realms() -> Vec<String> {
        embedded::realms()
    }

    /// Compiles mapping files, later ones laid over earlier ones; the plan comes with its warnings.
    ///
    /// # Errors
    /// All diagnostics, when any is an error.
    #[expect(
        clippy::result_large_err,
        reason = "loading happens once; the error carries the sources that its diagnostics quote"
    )]
    pub fn load(files: Vec<SourceFile>) -> Result<(Plan, Diagnostics), (Sources, Diagnostics)> {
        let mut diagnostics = Diagnostics::default();
        let sources = read::read(files, &|_| true, &mut diagnostics);
        match layers::compile(sources, &mut diagnostics) {
            Ok(plan) if !diagnostics.has_errors() => Ok((plan, diagnostics)),
            Ok(plan) => Err((plan.sources, diagnostics)),
            Err(sources) => Err((sources, diagnostics)),
        }
    }

    /// Compiles what was read; `variant` tells the plans apart that were made of the same files.
    #[expect(clippy::result_large_err, reason = "as for `load`")]
    fn compile(sources: Sources, variant: usize, diagnostics: &mut Diagnostics) -> Result<Plan, Sources> {
        let compiled = compile::compile(&sources, diagnostics);
        let mut hash = Sha256::new();
        for file in &sources.files {
            for piece in [file.name.as_bytes(), b"\0", file.text.as_bytes(), b"\0"] {
                hash.update(piece);
            }
        }
        if variant > 0 {
            hash.update(variant.to_le_bytes());
        }
        let (zone, charset) = (Self::profile_zone(&sources, diagnostics), Self::profile_charset(&sources, diagnostics));
        if diagnostics.has_errors() {
            return Err(sources);
        }
        Ok(Plan { compiled, sources, hash: hash.finalize().into(), zone, charset, feeds: Vec::new() })
    }

    fn profile_zone(sources: &Sources, diagnostics: &mut Diagnostics) -> Option<TimeZone> {
        let name = sources.profile.timezone.as_deref()?;
        // Bundled data, never the host's: the same input gives the same bytes everywhere.
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(name);
        if zone.is_err() {
            let text = format!("profile.timezone: there is no time zone `{name}`");
            diagnostics
                .error(diagnostic::Code::ValueKind, sources.profile.location, text)
                .suggest_last("an IANA name such as `America/Chicago` or `Europe/Amsterdam`");
        }
        zone.ok()
    }

    fn profile_charset(sources: &Sources, diagnostics: &mut Diagnostics) -> Option<Charset> {
        let name = sources.profile.charset.as_deref()?;
        let charset = Charset::of_name(name.as_bytes());
        if charset.is_none() {
            let text = format!("profile.charset: `{name}` is not a known character set");
            diagnostics
                .error(diagnostic::Code::ValueKind, sources.profile.location, text)
                .suggest_last("a name such as `windows-1252`, `8859/1` or `UNICODE UTF-8`");
        }
        charset
    }

    /// SHA-256 over the mapping sources.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The sources that the plan was made from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    fn namespace(&self) -> Option<&str> {
        self.sources.profile.namespace.as_deref()
    }

    fn charset(&self, msh18: &[u8]) -> Charset {
        match self.charset {
            Some(charset) if msh18.is_empty() => charset,
            _ => Charset::of_message(msh18),
        }
    }

    /// Translates one message into `scratch`.
    ///
    /// # Errors
    /// Only for an unreadable MSH, a structure without mapping, or a `!fatal` row without a value.
    pub fn translate(&self, raw: &[u8], context: &Context<'_>, scratch: &mut Scratch) -> Result<(), Failure> {
        // A defect of ours must not take the connection with it: the message stays, untranslated, and the next one is served.
        let run = std::panic::AssertUnwindSafe(|| self.translate_with::<false>(raw, context, scratch));
        std::panic::catch_unwind(run).unwrap_or_else(|_| {
            Err(Failure {
                code: 207,
                location: None,
                text: "internal error while translating; please report it with the message's structure".into(),
            })
        })
    }

    fn translate_with<const TRACE: bool>(
        &self,
        raw: &[u8],
        context: &Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        scratch.state.clear();
        scratch.transcoded.clear();
        scratch.feed = None;
        scratch.index.parse(raw).map_err(unreadable)?;
        let message = scratch.index.message(raw);
        let at = message.find(SegmentId(*b"MSH")).unwrap_or(0);
        scratch.feed = self.feed_of(message);
        let mut plan = self.of_feed(scratch.feed);
        if plan.charset(message.text(at, 18)).needs_transcoding() {
            let mut text = std::mem::take(&mut scratch.transcoded);
            text.clear();
            text.extend_from_slice(&transcode(raw));
            scratch.index.parse(&text).map_err(unreadable)?;
            // Now the names of the header can be read.
            scratch.feed = self.feed_of(scratch.index.message(&text));
            plan = self.of_feed(scratch.feed);
            let result = plan.structured::<TRACE>(&text, context, scratch);
            scratch.transcoded = text;
            scratch.mark_findings();
            return result;
        }
        let result = plan.structured::<TRACE>(raw, context, scratch);
        scratch.mark_findings();
        result
    }

    fn structured<const TRACE: bool>(
        &self,
        raw: &[u8],
        context: &Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        let structure = self.structure_of(raw, scratch)?;
        execute::run::<TRACE>(self, raw, structure, context, scratch)
    }

    /// The structure of a message: by its event, else as MSH-9.3 says.
    fn structure_of(&self, raw: &[u8], scratch: &Scratch) -> Result<u16, Failure> {
        let message = scratch.index.message(raw);
        let header = message.find(SegmentId(*b"MSH")).unwrap_or(0);
        let (field, separator) = (message.field(header, 9), message.delimiters().component);
        let part = |n| message.bytes(message.part(field, separator, n));
        let (code, event, named) = (part(1), part(2), part(3));
        let mut key = [0u8; 16];
        let length = (code.len() + 1 + event.len()).min(key.len());
        for (slot, byte) in key.iter_mut().zip(code.iter().chain(b"^").chain(event)) {
            *slot = byte.to_ascii_uppercase();
        }
        // Bare codes (`ACK`) serve every event that is not listed.
        let code_only = code.len().min(length);
        let by_event = self.compiled.events.get(&key[..length]).or_else(|| self.compiled.events.get(&key[..code_only]));
        let by_name = self.compiled.structure_names.get(named);
        let mapped = |number: &&u16| self.compiled.structures[usize::from(**number)].mapped;
        if let Some(number) = by_event.filter(mapped).or(by_name.filter(mapped)) {
            return Ok(*number);
        }
        // Names of types and events only: whatever else stands there may be anything, and this text reaches logs.
        let shown = |bytes: &[u8]| match bytes.len() <= 4 && bytes.iter().all(u8::is_ascii_alphanumeric) {
            true => String::from_utf8_lossy(bytes).into_owned(),
            false => "?".to_owned(),
        };
        let text = if code.is_empty() {
            "MSH-9 names no message type; the sender must say which message this is".to_owned()
        } else {
            format!(
                "no message map covers {}^{} (MSH-9); add one to mappings/messages, or `covers` to an existing one",
                shown(code),
                shown(event)
            )
        };
        let known = self.compiled.events.keys().any(|k| k.split(|b| *b == b'^').next() == Some(code));
        Err(Failure { code: if known { 201 } else { 200 }, location: Some((*b"MSH", 1, 9)), text })
    }
}

fn unreadable(error: ParseError) -> Failure {
    Failure { code: 100, location: Some((*b"MSH", 1, 0)), text: error.to_string() }
}
