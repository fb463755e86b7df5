//! What groups of a card are in FHIR, each resource looked at once, in however many of them it stands.
use super::super::Shared;
use super::super::content::Contents;
use super::super::label::{label_of, status_of};
use super::drawings::{Drawings, Key};
use crate::coordination::card::{Group, Section};
use crate::delivery::Plans;
use crate::facets::Facets;
use crate::fhir::tree::{Node, Object as _, Tree, member};
use crate::mapping::{Context, Plan, Scratch};
use crate::privacy::{Carried, Glance};
use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A resource as it was translated or released, and what there is to know of it.
pub(super) struct Piece {
    pub kind: String,
    pub id: String,
    /// Compact.
    pub json: Arc<str>,
    pub carried: Carried,
    /// Where it refers to.
    pub references: Vec<String>,
    /// Of these, what a Provenance is about; and how many references there are to that.
    pub targets: Vec<String>,
    /// What a header is about.
    pub focus: Vec<String>,
    /// For people: what it is, and how it stands.
    pub label: String,
    pub state: String,
    /// Until when it lasts, as it is written, of an appointment.
    pub ends: String,
    /// Marked as restricted, or more.
    pub is_restricted: bool,
}

/// A group in FHIR.
pub(super) struct Drawn {
    pub pieces: Vec<Arc<Piece>>,
    /// Of which of the group's sources each is, where that had to be looked at: the numbers of segments of a kind.
    pub segments: Option<Vec<Vec<usize>>>,
    /// The ids of its header, and of what is there for its sake alone.
    aside: Vec<String>,
}

/// A plan by its hash and its listener, if it can be had.
type Found = ([u8; 32], Vec<u8>, Option<Arc<Plan>>);

/// The resources of a card.
pub(super) struct Sheet<'s> {
    contents: &'s Contents,
    glance: Glance<'s>,
    scratch: Scratch,
    drawings: &'s Drawings,
    plans: Vec<Found>,
    pieces: HashMap<Arc<str>, Arc<Piece>>,
    /// Bytes of those that were looked at here.
    bytes: usize,
    /// Of those that somebody needed to change.
    trees: HashMap<Arc<str>, Option<Value>>,
}

impl<'s> Sheet<'s> {
    pub fn new(shared: &'s Shared) -> Sheet<'s> {
        let Shared { contents, gate, drawings, .. } = shared;
        let (glance, scratch) = (gate.glance(), contents.scratch());
        let (pieces, trees) = (HashMap::new(), HashMap::new());
        Sheet { contents, glance, scratch, drawings, plans: Vec::new(), pieces, bytes: 0, trees }
    }

    /// A group in FHIR; none where it cannot be translated, or be looked at.
    pub fn draw(&mut self, group: &Group) -> Option<Arc<Drawn>> {
        let plan = self.plan(group)?;
        let key = Key::of(group, plan.hash());
        if let Some(drawn) = self.drawings.find(&key) {
            return Some(drawn);
        }
        let before = self.bytes;
        let drawn = Arc::new(self.translated(group, &plan)?);
        self.drawings.keep(key, &drawn, self.bytes - before);
        Some(drawn)
    }

    fn translated(&mut self, group: &Group, plan: &Plan) -> Option<Drawn> {
        let received = jiff::Timestamp::from_millisecond(group.received_ms).ok().map(|time| time.to_string());
        let context = Context { received_at: received.as_deref() };
        let mut scratch = std::mem::take(&mut self.scratch);
        let done = if is_of_several(group) {
            plan.origins(&group.raw, &context, &mut scratch).map(|origins| segments(group, origins))
        } else {
            plan.translate(&group.raw, &context, &mut scratch).map(|()| None)
        };
        let drawn = done.ok().and_then(|segments| self.looked(group, &scratch, segments));
        self.scratch = scratch;
        drawn
    }

    fn looked(&mut self, group: &Group, scratch: &Scratch, segments: Option<Vec<Vec<usize>>>) -> Option<Drawn> {
        let bundle = std::str::from_utf8(scratch.bundle()).ok()?;
        // Of a visit that is only named nobody told how it is.
        let is_only_named = !group.sources.iter().any(|source| source.section == Section::Encounter);
        let mut pieces = Vec::with_capacity(scratch.entries().len());
        for entry in scratch.entries() {
            let text = bundle.get(entry.resource.clone())?;
            if is_only_named && entry.resource_type == "Encounter" {
                pieces.push(self.piece(&unstated(text)?)?);
            } else {
                pieces.push(self.piece(text)?);
            }
        }
        let aside = aside(&pieces);
        Some(Drawn { pieces, segments, aside })
    }

    /// A resource by its JSON; none of what cannot be judged.
    pub fn piece(&mut self, text: &str) -> Option<Arc<Piece>> {
        if let Some(known) = self.pieces.get(text) {
            return Some(Arc::clone(known));
        }
        let json: Arc<str> = text.into();
        let piece = Arc::new(Piece::read(&json, &self.glance)?);
        self.bytes += piece.bytes();
        self.pieces.insert(json, Arc::clone(&piece));
        Some(piece)
    }

    /// A group as a Bundle that can be changed. What comes of it unchanged is not looked at again.
    pub fn bundle(&mut self, drawn: &Drawn) -> Option<Value> {
        for piece in &drawn.pieces {
            if !self.pieces.contains_key(&piece.json) {
                self.pieces.insert(Arc::clone(&piece.json), Arc::clone(piece));
            }
        }
        let mut entry = |piece: &Arc<Piece>| {
            let mut entry = Map::with_capacity(2);
            entry.insert("fullUrl".into(), format!("urn:uuid:{}", piece.id).into());
            // Moved, not copied: `json!` copies what it is given.
            entry.insert("resource".into(), self.value(piece)?);
            Some(Value::Object(entry))
        };
        let entries = drawn.pieces.iter().map(&mut entry).collect::<Option<Vec<_>>>()?;
        let mut bundle = json!({ "resourceType": "Bundle", "type": "message" });
        bundle.as_object_mut()?.insert("entry".into(), entries.into());
        Some(bundle)
    }

    /// A tree of a resource that can be changed.
    pub fn value(&mut self, piece: &Piece) -> Option<Value> {
        let read = || serde_json::from_str(&piece.json).ok();
        self.trees.entry(Arc::clone(&piece.json)).or_insert_with(read).clone()
    }

    fn plan(&mut self, group: &Group) -> Option<Arc<Plan>> {
        let is_same = |(hash, listener, _): &&Found| *hash == group.plan && *listener == group.listener;
        if let Some((_, _, plan)) = self.plans.iter().find(is_same) {
            return plan.clone();
        }
        let plans: &Plans = self.contents.plans();
        let plan = plans.find(&Facets { plan: group.plan, listener: &group.listener, ..Facets::default() });
        self.plans.push((group.plan, group.listener.clone(), plan.clone()));
        plan
    }
}

impl Drop for Sheet<'_> {
    fn drop(&mut self) {
        self.contents.give_back(std::mem::take(&mut self.scratch));
    }
}

impl Drawn {
    /// Resources that no message told.
    pub fn of(pieces: Vec<Arc<Piece>>) -> Drawn {
        Drawn { pieces, segments: None, aside: Vec::new() }
    }

    /// What all of it carries.
    pub fn carried(&self) -> Carried {
        self.pieces.iter().fold(Carried::default(), |all, one| all.with(one.carried))
    }

    /// Whether a resource is the header, or there for its sake.
    pub fn is_aside(&self, piece: &Piece) -> bool {
        piece.kind == HEADER || self.aside.contains(&piece.id)
    }
}

const HEADER: &str = "MessageHeader";

impl Piece {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        let lists = [&self.references, &self.targets, &self.focus].into_iter().flatten();
        let texts = [&self.kind, &self.id, &self.label, &self.state, &self.ends].into_iter().chain(lists);
        texts.map(|text| text.len() + size_of::<String>()).sum::<usize>() + self.json.len() + size_of::<Piece>()
    }

    fn read(json: &Arc<str>, glance: &Glance<'_>) -> Option<Piece> {
        let node = Node::parse(json).ok()?;
        let text = |name: &str| node.text_of(name).unwrap_or_default().to_owned();
        let (kind, id) = (text("resourceType"), text("id"));
        let carried = glance.at(&node, json)?;
        let member = |of: &str, name: &str| if kind == of { references(node.get(name)) } else { Vec::new() };
        let is_shown = kind != HEADER;
        Some(Piece {
            carried,
            references: references(Some(&node)),
            targets: member("Provenance", "target"),
            focus: member(HEADER, "focus"),
            label: if is_shown { label_of(&node) } else { String::new() },
            state: if is_shown { status_of(&node) } else { String::new() },
            ends: if kind == "Appointment" {
                node.text_of("end").map_or_else(|| text("start"), str::to_owned)
            } else {
                String::new()
            },
            is_restricted: is_restricted(&node),
            json: Arc::clone(json),
            kind,
            id,
        })
    }
}

fn is_restricted(node: &Node<'_>) -> bool {
    let marks = node.get("meta").map(|meta| meta.each("security")).into_iter().flatten();
    marks.filter_map(|mark| mark.text_of("code")).any(|code| code == "R" || code == "V")
}

/// Where a value refers to.
fn references(value: Option<&Node<'_>>) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting: Vec<&Node<'_>> = value.into_iter().collect();
    while let Some(value) = waiting.pop() {
        if let Some(object) = value.object() {
            found.extend(object.get("reference").and_then(Tree::text).map(str::to_owned));
            waiting.extend(object.members().map(|(_, value)| value));
        } else if let Some(items) = value.list() {
            waiting.extend(items);
        }
    }
    found
}

/// An Encounter of which nobody told how it is, whether or not a mapping says something of it.
fn unstated(text: &str) -> Option<String> {
    let Some(at) = member(text, "status") else {
        let rest = text.strip_prefix('{')?;
        let comma = if rest.starts_with('}') { "" } else { "," };
        return Some(format!("{{\"status\":\"unknown\"{comma}{rest}"));
    };
    Some(format!("{}\"unknown\"{}", text.get(..at.start)?, text.get(at.end..)?))
}

/// The ids of the header of a message and of what is there for its sake alone: where its Provenance comes from, who was to receive it.
fn aside(pieces: &[Arc<Piece>]) -> Vec<String> {
    let leads = |url: &str, to: &str| url.strip_prefix("urn:uuid:") == Some(to);
    let headers: Vec<&Arc<Piece>> = pieces.iter().filter(|one| one.kind == HEADER).collect();
    let of_header = |url: &String| headers.iter().any(|header| leads(url, &header.id));
    let is_theirs = |one: &Piece| {
        one.kind == HEADER || (one.kind == "Provenance" && !one.targets.is_empty() && one.targets.iter().all(of_header))
    };
    let (theirs, others): (Vec<&Arc<Piece>>, Vec<&Arc<Piece>>) = pieces.iter().partition(|one| is_theirs(one));
    // What the message is about is never aside, though nothing else may refer to it.
    let kept: HashSet<&str> = theirs
        .iter()
        .flat_map(|one| &one.focus)
        .chain(others.iter().flat_map(|one| &one.references))
        .map(String::as_str)
        .collect();
    let is_kept = |url: &String| kept.contains(url.as_str());
    let gone = theirs.iter().flat_map(|one| &one.references).filter(|url| !is_kept(url));
    let gone = gone.filter_map(|url| url.strip_prefix("urn:uuid:")).map(str::to_owned);
    theirs.iter().map(|one| one.id.clone()).chain(gone).collect()
}

/// Whether it must be looked at which message told which diagnosis.
fn is_of_several(group: &Group) -> bool {
    let mut own = conditions(group).map(|source| source.seq);
    let first = own.next();
    own.any(|seq| Some(seq) != first)
}

fn conditions(group: &Group) -> impl Iterator<Item = &crate::coordination::card::Source> {
    group.sources.iter().filter(|source| source.section == Section::Condition)
}

/// Of which of its diagnoses each resource was made, by their places among them. Each of them is one segment.
fn segments(group: &Group, origins: Option<Vec<Vec<usize>>>) -> Option<Vec<Vec<usize>>> {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in group.raw.split(|byte| *byte == b'\r') {
        lines.push((at, line.starts_with(b"DG1")));
        at += line.len() + 1;
    }
    // Nobody knows whose is which.
    if lines.iter().filter(|(_, is_own)| *is_own).count() != conditions(group).count() {
        return Some(Vec::new());
    }
    let numbered = |start: &usize| {
        let line = lines.partition_point(|(at, _)| at <= start).checked_sub(1)?;
        let is_own = lines.get(line)?.1;
        is_own.then(|| lines.iter().take(line).filter(|(_, is_own)| *is_own).count())
    };
    let numbers = |starts: &Vec<usize>| {
        let mut numbers: Vec<usize> = starts.iter().filter_map(numbered).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    Some(origins.unwrap_or_default().iter().map(numbers).collect())
}

#[cfg(test)]
mod tests {
    use super::unstated;

    #[test]
    fn a_visit_of_which_nobody_told_how_it_is_says_so() {
        let unstated = |text: &str| unstated(text).unwrap();
        assert_eq!(
            unstated(r#"{"id":"a","status":"in-progress","class":{}}"#),
            r#"{"id":"a","status":"unknown","class":{}}"#
        );
        assert_eq!(
            unstated(r#"{"id":"a","class":{"status":"no"}}"#),
            r#"{"status":"unknown","id":"a","class":{"status":"no"}}"#
        );
        assert_eq!(unstated("{}"), r#"{"status":"unknown"}"#);
    }
}
