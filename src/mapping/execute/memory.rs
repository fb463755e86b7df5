//! What was made of values in earlier messages. A feed names the same few hundred practitioners, places, units and codes all day: a closed map (one that reads
//! nothing but its value) writes the same for the same bytes, so it need not run again.
//!
//! Only what identifies no patient (codes and their words, units, practitioners, organisations, places) is kept beyond its message: see [`LASTING`](crate::mapping::compile::closed::LASTING). An entry holds within its context
//! alone: the plan, and whatever of the message's header a closed map depends on. A message is translated in the same way with and without memory, which the
//! twin test sees to.
use super::{Frame, Run, State, Wrote};
use crate::hl7::Span;
use crate::mapping::plan::{Keeps, NodeId, PartId};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;
use std::ops::Range;

/// How much is kept, in bytes of values and of what they became; then everything is forgotten.
const BYTES_MAX: usize = 4 << 20;
/// How many contexts: feeds, and versions of the mappings.
const CONTEXTS_MAX: usize = 64;
/// The longest value that is kept.
pub(super) const VALUE_BYTES_MAX: usize = 256;

/// Elements and resources by the bytes that they were made from.
#[derive(Debug, Default)]
pub struct Memory {
    contexts: Vec<Vec<u8>>,
    /// The context of the message at hand.
    context: u16,
    elements: HashTable<Element>,
    resources: HashTable<u32>,
    list: Vec<Resource>,
    made: Vec<Made>,
    text: Vec<u8>,
    hasher: DefaultHashBuilder,
    /// The value of the resource being written, if it is to be kept.
    recording: Option<Span>,
}

/// What a value is looked up by.
#[derive(Debug, Clone, Copy)]
struct Key {
    context: u16,
    /// The level of the value; of an element also (high bit) whether its resource has several parts.
    level: u8,
    /// A node or a part.
    map: u32,
    /// Bytes of [`Memory::text`].
    value: (u32, u32),
}

/// What a datatype map wrote.
#[derive(Debug, Clone, Copy)]
struct Element {
    key: Key,
    wrote: Wrote,
    text: (u32, u32),
}

/// A resource that was written from one value.
#[derive(Debug, Clone, Copy)]
struct Resource {
    key: Key,
    id: [u8; 16],
    text: (u32, u32),
    /// The resources that it refers to, in [`Memory::made`].
    made: (u32, u32),
}

/// A resource made from a part of the value: where that lies from the value's first byte.
#[derive(Debug, Clone, Copy)]
struct Made {
    part: PartId,
    level: u8,
    start: u32,
    end: u32,
}

fn range(bytes: (u32, u32)) -> Range<usize> {
    bytes.0 as usize..bytes.1 as usize
}

impl Memory {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.contexts.clear();
        self.elements.clear();
        self.resources.clear();
        self.list.clear();
        self.made.clear();
        self.text.clear();
        self.recording = None;
    }

    /// Begins a message.
    pub fn begin(&mut self, context: &[&[u8]]) {
        self.recording = None;
        if self.text.len() > BYTES_MAX || self.contexts.len() > CONTEXTS_MAX {
            self.clear();
        }
        let same = |known: &Vec<u8>| {
            let mut rest = known.as_slice();
            context.iter().all(|piece| match rest.split_at_checked(piece.len()) {
                Some((head, tail)) if head == *piece => {
                    rest = tail;
                    true
                }
                _ => false,
            }) && rest.is_empty()
        };
        let number = self.contexts.iter().position(same).unwrap_or_else(|| {
            self.contexts.push(context.concat());
            self.contexts.len() - 1
        });
        self.context = number as u16;
    }

    fn is(&self, key: &Key, map: u32, level: u8, value: &[u8]) -> bool {
        key.map == map && key.level == level && key.context == self.context && &self.text[range(key.value)] == value
    }

    fn hash(&self, map: u32, level: u8, value: &[u8]) -> u64 {
        self.hasher.hash_one((self.context, map, level, value))
    }

    fn key(&mut self, map: u32, level: u8, value: &[u8]) -> Key {
        Key { context: self.context, level, map, value: self.keep(value) }
    }

    fn keep(&mut self, text: &[u8]) -> (u32, u32) {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(text);
        (start, self.text.len() as u32)
    }

    fn element(&self, node: NodeId, level: u8, value: &[u8]) -> Option<&Element> {
        self.elements.find(self.hash(node, level, value), |element| self.is(&element.key, node, level, value))
    }

    fn keep_element(&mut self, node: NodeId, level: u8, value: &[u8], wrote: Wrote, text: &[u8]) {
        let element = Element { key: self.key(node, level, value), wrote, text: self.keep(text) };
        let (hasher, all) = (&self.hasher, &self.text);
        let hash = |e: &Element| hasher.hash_one((e.key.context, e.key.map, e.key.level, &all[range(e.key.value)]));
        self.elements.insert_unique(hash(&element), element, hash);
    }

    /// The resource kept for a value, as index, and its id.
    pub(super) fn resource(&self, part: PartId, level: u8, value: &[u8]) -> Option<(u32, [u8; 16])> {
        let map = u32::from(part);
        let same = |number: &u32| self.is(&self.list[*number as usize].key, map, level, value);
        let found = *self.resources.find(self.hash(map, level, value), same)?;
        Some((found, self.list[found as usize].id))
    }
}

impl<const TRACE: bool> Run<'_, TRACE> {
    /// Tells the memory what, beside its value, a closed map depends on.
    pub(super) fn begin_memory(&mut self, plan: [u8; 32]) {
        let header = self.message.find(crate::hl7::SegmentId(*b"MSH")).unwrap_or(0);
        let delimiters = self.message.delimiters();
        let separators = [
            delimiters.field,
            delimiters.component,
            delimiters.repetition,
            delimiters.escape,
            delimiters.subcomponent,
            delimiters.truncation,
        ];
        let [low, high] = self.offset_minutes.unwrap_or_default().to_le_bytes();
        let offset = [u8::from(self.offset_minutes.is_some()), low, high];
        let text = |field| self.message.text(header, field);
        // The charset follows from MSH-18 and the plan; the namespace and local names from MSH-3 and MSH-4.
        let context = [&plan[..], &separators, &offset, text(18), b"\r", text(3), b"\r", text(4)];
        self.state.memory.begin(&context);
    }

    /// A closed datatype map: what it wrote for the same bytes before is written again.
    #[inline(never)]
    pub(super) fn remembered(&mut self, keeps: Keeps, node: NodeId, span: Span, level: u8, frame: &Frame<'_>) -> Wrote {
        let value = self.message.bytes(span);
        // Where a resource has several parts, equal elements of its lists are written once: another text for the same value.
        let merged = self.state.instances.get(self.instance as usize).is_some_and(|instance| instance.merged);
        let kind = level | u8::from(merged) << 7;
        let State { out, memory, own_memory, .. } = &mut *self.state;
        let memory = if keeps == Keeps::Lasting { memory } else { own_memory };
        if let Some(Element { text, wrote, .. }) = memory.element(node, kind, value).copied() {
            out.extend_from_slice(&memory.text[range(text)]);
            return wrote;
        }
        let (start, findings) = (self.state.out.len(), self.state.findings.len());
        let inner = self.enter(span, level, frame);
        let wrote = self.value(node, &inner);
        // What is worth a finding is so each time, with its own place.
        if self.state.findings.len() == findings {
            let State { out, memory, own_memory, .. } = &mut *self.state;
            let memory = if keeps == Keeps::Lasting { memory } else { own_memory };
            memory.keep_element(node, kind, value, wrote, &out[start..]);
        }
        wrote
    }

    /// Writes a resource from memory, and makes the resources that it refers to.
    pub(super) fn write_remembered(&mut self, number: u32, frame: &Frame<'_>) {
        let Resource { text, made, .. } = self.state.memory.list[number as usize];
        self.state.out.extend_from_slice(&self.state.memory.text[range(text)]);
        for number in range(made) {
            let Made { part, level, start, end } = self.state.memory.made[number];
            let span = Span { start: frame.span.start + start, end: frame.span.start + end };
            self.made_from(part, span, level, frame);
        }
    }

    /// Begins to keep a resource that is written from one value.
    pub(super) fn record(&mut self, frame: &Frame<'_>) -> Recording {
        self.state.memory.recording = Some(frame.span).filter(|span| span.len() <= VALUE_BYTES_MAX);
        Recording {
            out: self.state.out.len(),
            findings: self.state.findings.len(),
            made: self.state.memory.made.len() as u32,
        }
    }

    /// Keeps what was written since, if nothing stood against it.
    pub(super) fn recorded(&mut self, begun: &Recording, part: PartId, id: [u8; 16], frame: &Frame<'_>) {
        let memory = &mut self.state.memory;
        if memory.recording.take().is_none() || self.state.findings.len() > begun.findings {
            memory.made.truncate(begun.made as usize);
            return;
        }
        let key = memory.key(part.into(), frame.level, self.message.bytes(frame.span));
        let text = memory.keep(&self.state.out[begun.out..]);
        let number = memory.list.len() as u32;
        memory.list.push(Resource { key, id, text, made: (begun.made, memory.made.len() as u32) });
        let (hasher, all, list) = (&memory.hasher, &memory.text, &memory.list);
        let hash = |number: &u32| {
            let key = &list[*number as usize].key;
            hasher.hash_one((key.context, key.map, key.level, &all[range(key.value)]))
        };
        memory.resources.insert_unique(hash(&number), number, hash);
    }

    /// Notes a resource made while another one is being kept. Only one that lies within that one's value can be made again from memory.
    pub(super) fn note_made(&mut self, part: Option<PartId>, value: Option<(Span, u8)>, alone: bool, contained: bool) {
        let Some(whole) = self.state.memory.recording.filter(|_| !self.probing) else { return };
        match (part, value) {
            (Some(part), Some((span, level))) if alone && whole.start <= span.start && span.end <= whole.end => {
                if !contained {
                    let (start, end) = (span.start - whole.start, span.end - whole.start);
                    self.state.memory.made.push(Made { part, level, start, end });
                }
            }
            _ => self.stop_recording(),
        }
    }

    /// What is being written depends on more than its value after all.
    pub(super) fn stop_recording(&mut self) {
        self.state.memory.recording = None;
    }
}

/// Where everything stood when a resource was begun.
pub(super) struct Recording {
    out: usize,
    findings: usize,
    made: u32,
}
