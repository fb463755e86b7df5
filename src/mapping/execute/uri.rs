//! Names of authorities and code systems in the message → URIs: a registry's, a universal id's, or one that holds within the feed.
use super::text::Piece;
use super::{COMPONENT, Frame, REPETITION, Run};
use crate::hl7::{Span, is_null};
use crate::mapping::plan::{Source, SourceId, Text};

impl<const TRACE: bool> Run<'_, TRACE> {
    /// The URI of an assigning authority.
    pub(super) fn authority(&mut self, sources: &[SourceId], frame: &Frame<'_>) {
        let plan = self.plan;
        let parts: [Option<Span>; 3] = match (sources, sources.first().map(|s| &plan.sources[*s as usize])) {
            ([_], Some(Source::Path(path))) => {
                let Some((span, level)) = self.locate(*path, frame) else { return };
                let delimiters = self.message.delimiters();
                let separator = if level == REPETITION { delimiters.component } else { delimiters.subcomponent };
                let split = |n| {
                    if level > COMPONENT {
                        (n == 1).then_some(span)
                    } else {
                        Some(self.message.part(span, separator, n))
                    }
                };
                let parts = [split(1), split(2), split(3)];
                let parts = parts.map(|s| s.filter(|s| !s.is_empty() && !is_null(self.message.bytes(*s))));
                parts.into_iter().flatten().for_each(|part| self.read(part));
                parts
            }
            _ => {
                let mut found = [None; 3];
                for (slot, source) in found.iter_mut().zip(sources) {
                    if let Piece::Raw(span) = self.text(*source, frame) {
                        *slot = Some(span);
                    }
                }
                found
            }
        };
        let [namespace, id, kind] = parts;
        for key in [namespace, id].into_iter().flatten() {
            if self.registered(&plan.authorities, key) {
                return;
            }
        }
        if let Some(id) = id
            && self.universal(id, kind)
        {
            return;
        }
        if let Some(name) = namespace.or(id) {
            self.local(name);
        }
    }

    /// Looks a name of the message up in a registry, upper case.
    pub(super) fn registered(&mut self, registry: &hashbrown::HashMap<Box<[u8]>, Text>, key: Span) -> bool {
        let bytes = self.message.bytes(key);
        let mut upper = [0u8; 64];
        let Some(buffer) = upper.get_mut(..bytes.len()) else { return false };
        buffer.copy_from_slice(bytes);
        buffer.make_ascii_uppercase();
        match registry.get(&*buffer) {
            Some(uri) => {
                self.state.temporary.extend_from_slice(self.plan.text(*uri));
                true
            }
            None => false,
        }
    }

    /// `urn:oid:…`, `urn:uuid:…` or the URI itself, if the universal id is one.
    pub(super) fn universal(&mut self, id: Span, kind: Option<Span>) -> bool {
        let bytes = self.message.bytes(id);
        let kind = kind.map_or(&b""[..], |k| self.message.bytes(k));
        let is_oid = bytes.contains(&b'.') && bytes.first().is_some_and(|b| (b'0'..=b'2').contains(b)) && oid(bytes);
        let out = &mut self.state.temporary;
        if is_oid {
            out.extend_from_slice(b"urn:oid:");
            out.extend_from_slice(bytes);
        } else if uuid(bytes) {
            out.extend_from_slice(b"urn:uuid:");
            out.extend(bytes.iter().map(u8::to_ascii_lowercase));
        } else if (bytes.starts_with(b"http") || bytes.starts_with(b"urn:") || kind.eq_ignore_ascii_case(b"URI"))
            && bytes.contains(&b':')
            && bytes.iter().all(u8::is_ascii_graphic)
        {
            out.extend_from_slice(bytes);
        } else {
            return false;
        }
        true
    }

    /// `urn:v2:<feed>:<name>`: a name that is only unique within the feed.
    pub(super) fn local(&mut self, name: Span) {
        self.state.temporary.extend_from_slice(b"urn:v2:");
        let header = self.message.find(crate::hl7::SegmentId(*b"MSH")).unwrap_or(0);
        let delimiters = self.message.delimiters();
        for field in [3, 4] {
            let part = self.message.part(self.message.field(header, field), delimiters.component, 1);
            self.read(part);
            if field == 4 {
                self.state.temporary.push(b'.');
            }
            self.percent(part);
        }
        self.state.temporary.push(b':');
        self.percent(name);
    }

    fn percent(&mut self, span: Span) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in self.message.bytes(span) {
            if byte.is_ascii_alphanumeric() || b"-_~.".contains(byte) {
                self.state.temporary.push(*byte);
            } else {
                self.state.temporary.extend_from_slice(&[
                    b'%',
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                ]);
            }
        }
    }

    /// The URI of a code system named in the message.
    pub(super) fn system(&mut self, source: SourceId, frame: &Frame<'_>) {
        if let Piece::Raw(span) = self.text(source, frame) {
            self.system_of(span);
        }
    }

    pub(super) fn system_of(&mut self, span: Span) {
        let plan = self.plan;
        if self.registered(&plan.systems, span) {
            return;
        }
        let bytes = self.message.bytes(span);
        let hl7 = bytes
            .get(..3)
            .filter(|p| p.eq_ignore_ascii_case(b"HL7"))
            .and_then(|_| bytes.get(3..))
            .filter(|d| (1..=4).contains(&d.len()) && d.iter().all(u8::is_ascii_digit));
        if let Some(digits) = hl7 {
            self.state.temporary.extend_from_slice(b"http://terminology.hl7.org/CodeSystem/v2-");
            self.state.temporary.resize(self.state.temporary.len() + 4 - digits.len(), b'0');
            self.state.temporary.extend_from_slice(digits);
        } else if !self.universal(span, None) {
            self.local(span);
        }
    }

    pub(super) fn uri_of(&mut self, id: SourceId, kind: SourceId, frame: &Frame<'_>) {
        let Piece::Raw(id) = self.text(id, frame) else { return };
        let kind = if let Piece::Raw(span) = self.text(kind, frame) { Some(span) } else { None };
        self.universal(id, kind);
    }
}

/// Whether digits and dots make an OID.
fn oid(bytes: &[u8]) -> bool {
    bytes
        .split(|b| *b == b'.')
        .all(|arc| !arc.is_empty() && arc.iter().all(u8::is_ascii_digit) && (arc.len() == 1 || arc[0] != b'0'))
}

fn uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes
            .iter()
            .enumerate()
            .all(|(n, b)| if matches!(n, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() })
}
