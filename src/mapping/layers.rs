//! Layers that are about some messages only: a site's `when`, and its feeds.
//!
//! ```text
//! core + realms [+ site, unless it has a `when`]      what every other message gets
//! core + realms + site                                 messages that meet the site's `when`
//! core + realms + site + one feed                      messages that meet the feed's `when` too
//! ```
//! Each is a plan of its own, so a message costs one look at its header and nothing more.
use super::diagnostic::{Code, Diagnostics, Severity};
use super::source::{Layer, Location, SourceFile, Sources, When};
use super::{Plan, read};
use crate::hl7::{Message, decode_into};

/// A plan for the messages that meet a `when`.
#[derive(Debug)]
pub struct Feed {
    layer: Layer,
    when: Vec<When>,
    plan: Plan,
}

impl Feed {
    /// The site or the feed.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }
    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// The realms that a site's files ask for: `extends = ["core", "us"]` in a profile, without `core`.
///
/// A file that is not TOML asks for none here; loading it says what is wrong.
pub fn realms(files: &[SourceFile]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for file in files.iter().filter(|file| file.name.ends_with(".toml")) {
        let document = toml::from_str::<toml::Table>(&file.text).unwrap_or_default();
        let extends =
            document.get("profile").and_then(|profile| profile.get("extends")).and_then(toml::Value::as_array);
        for name in extends.into_iter().flatten().filter_map(toml::Value::as_str) {
            if name != "core" && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Compiles what all messages share, and each layer that is about some of them.
#[expect(clippy::result_large_err, reason = "as for `Plan::load`")]
pub(super) fn compile(all: Sources, diagnostics: &mut Diagnostics) -> Result<Plan, Sources> {
    let site_when = all.when.get(&Layer::Site).cloned().unwrap_or_default();
    let mut names: Vec<&Layer> = Vec::new();
    for file in &all.files {
        if matches!(file.layer, Layer::Feed(_)) && !names.contains(&&file.layer) {
            names.push(&file.layer);
        }
    }
    if names.is_empty() && site_when.is_empty() {
        return Plan::compile(all, 0, diagnostics);
    }
    let mut feeds = Vec::new();
    for layer in names {
        let Some(when) = all.when.get(layer) else {
            let number = all.files.iter().position(|file| file.layer == *layer).unwrap_or(0);
            let at = Location { file: number as u16, start: 0, end: 0 };
            let text = format!("{layer} does not say which messages it is about");
            let remedy = "add `when = { MSH-3 = \"…\" }` below `[profile]` in one of its files";
            diagnostics.error(Code::Key, at, text).suggest_last(remedy);
            continue;
        };
        let when = site_when.iter().chain(when).cloned().collect();
        feeds.extend(feed(&all, layer.clone(), when, feeds.len(), diagnostics));
    }
    if !site_when.is_empty() {
        feeds.extend(feed(&all, Layer::Site, site_when.clone(), feeds.len(), diagnostics));
    }
    let mut found = Diagnostics::default();
    let wanted = |layer: &Layer| match layer {
        Layer::Core | Layer::Realm(_) => true,
        Layer::Site => site_when.is_empty(),
        Layer::Feed(_) => false,
    };
    let base = read::read(all.files.clone(), &wanted, &mut found);
    let base = Plan::compile(base, feeds.len() + 1, &mut found);
    // What the core has for sites to use is not unused.
    diagnostics.extend(found, |one| one.severity == Severity::Error || site_when.is_empty());
    let mut base = base.map_err(|_| all)?;
    base.feeds = feeds;
    Ok(base)
}

fn feed(all: &Sources, layer: Layer, when: Vec<When>, number: usize, diagnostics: &mut Diagnostics) -> Option<Feed> {
    let mut found = Diagnostics::default();
    let wanted = |other: &Layer| !matches!(other, Layer::Feed(_)) || *other == layer;
    let sources = read::read(all.files.clone(), &wanted, &mut found);
    let plan = Plan::compile(sources, number + 1, &mut found).ok();
    let own = |one: &super::diagnostic::Diagnostic| {
        layer == Layer::Site || all.files.get(usize::from(one.location.file)).is_some_and(|file| file.layer == layer)
    };
    diagnostics.extend(found, |one| one.severity == Severity::Error || own(one));
    Some(Feed { layer, when, plan: plan? })
}

impl Plan {
    /// The layers that are about some messages only, in the order in which they are asked.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// The plan for one message as it came: that of the first feed whose `when` holds.
    pub fn of_message(&self, message: Message<'_>) -> &Plan {
        self.of_feed(self.feed_of(message))
    }

    /// Number of the feed whose plan a message gets; none: this very plan.
    pub(super) fn feed_of(&self, message: Message<'_>) -> Option<u16> {
        if self.feeds.is_empty() {
            return None;
        }
        let header = message.find(crate::hl7::SegmentId(*b"MSH")).unwrap_or(0);
        let holds = |when: &When| {
            let field = message.field(header, when.field);
            let component = message.bytes(message.part(field, message.delimiters().component, when.component));
            let plain = component.is_ascii() && !component.contains(&message.delimiters().escape);
            let mut decoded = Vec::new();
            if !plain {
                let charset = self.charset(message.text(header, 18));
                decode_into(component, &message.delimiters(), charset, &mut decoded);
            }
            let text = if plain { component } else { decoded.as_slice() };
            when.values.iter().any(|value| value.as_bytes() == text)
        };
        self.feeds.iter().position(|feed| feed.when.iter().all(holds)).map(|number| number as u16)
    }

    /// The plan of a feed by its number.
    pub(super) fn of_feed(&self, number: Option<u16>) -> &Plan {
        number.and_then(|number| self.feeds.get(usize::from(number))).map_or(self, |feed| &feed.plan)
    }
}
