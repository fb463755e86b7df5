//! What a message says for the card: the segments of each entry, as they stand.
use super::body::part;
use super::{ENTRY_BYTES_MAX, Section};
use crate::coordination::read::Reading;
use crate::facets::Facets;
use crate::fhir::identity::version_5;
use jiff::tz::TimeZone;

/// The namespace of keys, a UUID of our own.
const KEYS: [u8; 16] = [0x5a, 0x0d, 0x61, 0x3c, 0xf8, 0x27, 0x4e, 0x90, 0xb1, 0x43, 0x7c, 0xee, 0x02, 0x98, 0xd5, 0x6f];
/// Entries of one message.
const ENTRIES_MAX: usize = 128;

/// Events of visits that say how a visit is.
const OF_VISIT: [&[u8]; 25] = [
    b"A01", b"A02", b"A03", b"A04", b"A05", b"A06", b"A07", b"A08", b"A09", b"A10", b"A11", b"A12", b"A13", b"A14",
    b"A15", b"A16", b"A21", b"A22", b"A23", b"A25", b"A27", b"A38", b"A52", b"A53", b"A54",
];
/// What stands with an order of medication and tells of it.
const OF_ORDER: [&[u8; 3]; 7] = [b"ORC", b"RXO", b"RXE", b"RXD", b"RXR", b"RXC", b"TQ1"];
/// What stands with an appointment and tells of it.
const OF_APPOINTMENT: [&[u8; 3]; 6] = [b"TQ1", b"RGS", b"AIS", b"AIG", b"AIL", b"AIP"];

/// What is known of a message beside its segments.
pub(in crate::coordination) struct Context<'c> {
    pub facets: &'c Facets<'c>,
    pub trigger: &'c [u8],
    pub facility: &'c str,
    /// The visit as its labels are kept; empty where there is none.
    pub visit: &'c str,
    /// The zone of times without an offset.
    pub zone: &'c TimeZone,
    /// When it happened.
    pub at_ms: i64,
    /// When its sender sent it (MSH-7), at the earliest and at the latest; never after it was received.
    pub sent_ms: (i64, i64),
    /// Its segments are not in the character set that MSH-18 names, but in UTF-8.
    pub is_transcoded: bool,
    /// The codes of the labels that it carries, as they are written.
    pub labels: &'c str,
}

/// An entry that a message tells of.
pub(in crate::coordination) struct Piece {
    pub section: Section,
    pub key: [u8; 16],
    /// The key that it has where it is told openly.
    pub plain: [u8; 16],
    pub at_ms: i64,
    /// Empty: it is not so any more.
    pub body: Vec<u8>,
    /// Of a result: 0 as long as it is preliminary, 1 final, 2 corrected or withdrawn. Else 1.
    pub rank: u8,
    /// What it is one of, hashed: of a result the test, of AL1 the list, of a head the number of the patient. Else zeros.
    pub series: [u8; 16],
    /// Of a result: it takes the place of all that was told of it, not of each value alone.
    pub replaces: bool,
}

/// The list of AL1 that a message has: what the feed told so before and what is not in it is no more (2.10.4.1, snapshot mode, which AL1 is for; IAM says itself what is deleted).
pub(in crate::coordination) struct List {
    pub series: [u8; 16],
    /// Plain keys of what is in it.
    pub keys: Vec<[u8; 16]>,
}

/// What becomes of what was told of a visit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::coordination) enum Over {
    /// It did not happen (A11, A38): nothing was diagnosed in it.
    Cancelled,
    /// It is deleted (A23), with all that its feed told of it.
    Deleted,
}

/// All that a message says for the card.
pub(in crate::coordination) struct Told {
    pub head: [u8; 16],
    /// The visit; zeros where there is none.
    pub visit: [u8; 16],
    pub pieces: Vec<Piece>,
    pub list: Option<List>,
    pub over: Option<Over>,
    /// Entries that are too long, or have nothing that they can be read with.
    pub oversized: u64,
    /// Bit n: an entry of the section of number n is among them, which may be told.
    pub cut: u32,
    /// What parts components.
    pub between: u8,
    /// When its sender sent it, at the earliest and at the latest.
    pub sent_ms: (i64, i64),
}

/// What a message says; none of one that is about nobody, or about two.
pub(in crate::coordination) fn told(reading: Reading<'_>, context: &Context<'_>) -> Option<Told> {
    let mut pids = reading.segments(reading.all(), b"PID");
    let pid = pids.next()?;
    if pids.next().is_some() {
        return None;
    }
    let mut found = Finder::new(reading, pid, context);
    match context.facets.code {
        b"ADT" => found.visit_and_codes(),
        b"ORU" => found.groups(b"OBR", Finder::result),
        b"RDE" | b"RDS" | b"OMP" => found.groups(b"ORC", Finder::order),
        b"MDM" => found.document(),
        b"SIU" => found.appointment(),
        _ => {}
    }
    let Finder { head, visit, pieces, oversized, list, over, cut, .. } = found;
    let (between, sent_ms) = (reading.between(), context.sent_ms);
    Some(Told { head, visit, pieces, list, over, oversized, cut, between, sent_ms })
}

struct Finder<'m, 'c> {
    reading: Reading<'m>,
    context: &'c Context<'c>,
    /// Feed and patient.
    who: [u8; 16],
    head: [u8; 16],
    visit: [u8; 16],
    pv1: Option<usize>,
    /// What every entry begins with.
    prefix: Vec<u8>,
    /// The visit, by no more than its numbers.
    reduced: Vec<u8>,
    pieces: Vec<Piece>,
    list: Option<List>,
    over: Option<Over>,
    oversized: u64,
    cut: u32,
    /// What it would be read with is too long.
    is_headless: bool,
}

impl<'m, 'c> Finder<'m, 'c> {
    fn new(reading: Reading<'m>, pid: usize, context: &'c Context<'c>) -> Finder<'m, 'c> {
        let (msh, facets) = (reading.header(), context.facets);
        let field = |segment, number| reading.field(segment, number);
        let [application, facility, number] = [field(msh, 3), field(msh, 4), field(pid, 3)];
        let patient = facets.patient.unwrap_or_default().to_le_bytes();
        // The number by which the sender knows the patient, whatever stands beside it.
        let whose: &[u8] = if facets.patient.is_some() { &patient } else { number };
        let who = key(&KEYS, &[application, facility, whose]);
        // How its segments are written; mappings, versions and further numbers change, and the feed stays the same.
        let read_with = [1, 2, 11, 18].map(|number| field(msh, number));
        // What is told in secret is read with what was told so: the patient of it is shown to nobody else.
        let head = key(&key(&who, &read_with), &[facets.listener, context.labels.as_bytes()]);
        let pv1 = reading.find(reading.all(), b"PV1").filter(|pv1| field(*pv1, 2) != b"N");
        let (visit, reduced) = pv1.map_or_else(Default::default, |pv1| visit(reading, &who, pv1));
        let mut prefix = Vec::with_capacity(128);
        for text in [context.facility.as_bytes(), context.visit.as_bytes()] {
            part(&mut prefix, text);
        }
        for number in [7, 9, 10] {
            part(&mut prefix, field(msh, number));
        }
        part(&mut prefix, field(pid, 18));
        let (pieces, oversized, cut) = (Vec::with_capacity(4), 0, 0);
        let (list, over, is_headless) = (None, None, false);
        let mut found = Finder {
            reading,
            context,
            who,
            head,
            visit,
            pv1,
            prefix,
            reduced,
            pieces,
            list,
            over,
            oversized,
            cut,
            is_headless,
        };
        found.patient(pid);
        found
    }

    /// What the feed says of the patient, and what its entries are read with.
    fn patient(&mut self, pid: usize) {
        let reading = self.reading;
        let pd1 = reading.find(reading.all(), b"PD1");
        let pd1 = pd1.map(|pd1| reading.segment(pd1)).unwrap_or_default();
        let whole = reading.segment(pid);
        let mut header = reading.segment(reading.header()).to_vec();
        if self.context.is_transcoded {
            header = in_utf8(&header, reading.separator());
        }
        // Of what has no room that is kept by which somebody is known: up to PID-8.
        let brief = whole.iter().enumerate().filter(|(_, byte)| **byte == reading.separator()).nth(8);
        let brief = brief.and_then(|(at, _)| whole.get(..at)).unwrap_or(whole);
        let mut body = Vec::with_capacity(640);
        for (pid, pd1) in [(whole, pd1), (brief, &[])] {
            body.clear();
            for segment in [&header[..], pid, pd1] {
                part(&mut body, segment);
            }
            part(&mut body, &self.context.facets.plan);
            part(&mut body, self.context.facets.listener);
            if body.len() <= ENTRY_BYTES_MAX {
                break;
            }
        }
        self.push(Section::Head, self.head, self.context.at_ms, body);
        // Nothing of it can be read then; what it takes away goes all the same.
        self.is_headless = self.pieces.is_empty();
        let number = self.context.facets.patient.map(number_key).unwrap_or_default();
        self.pieces.iter_mut().for_each(|head| head.series = number);
    }

    fn visit_and_codes(&mut self) {
        let reading = self.reading;
        let trigger = self.context.trigger;
        if let Some(pv1) = self.pv1.filter(|_| self.visit != [0; 16] && OF_VISIT.contains(&trigger)) {
            let pv2 = reading.find(reading.all(), b"PV2");
            let evn = reading.find(reading.all(), b"EVN");
            let segments: Vec<usize> = [Some(pv1), pv2].into_iter().flatten().collect();
            let key = key(&self.visit, &[b"PV1"]);
            // A23: the visit is deleted.
            let at_ms = self.context.at_ms;
            self.entry((Section::Encounter, key), at_ms, evn, false, &segments, trigger == b"A23");
        }
        // Whose they are is another matter in a merge or move.
        if matches!(trigger, b"A18" | b"A30" | b"A34" | b"A40" | b"A43" | b"A44" | b"A45" | b"A47" | b"A50") {
            return;
        }
        self.over = match trigger {
            b"A11" | b"A38" => Some(Over::Cancelled),
            b"A23" => Some(Over::Deleted),
            _ => None,
        };
        let mut at = 0;
        while at < reading.all().end {
            let id = reading.id(at);
            let mut next = at + 1;
            match &id {
                // Of a visit that did not happen none are told.
                b"DG1" if self.over.is_none() => self.condition(at),
                b"IAM" => {
                    while next < reading.all().end && matches!(&reading.id(next), b"NTE" | b"IAR") {
                        next += 1;
                    }
                    let segments: Vec<usize> = (at..next).filter(|one| reading.id(*one) != *b"NTE").collect();
                    let numbered = !reading.bytes(Some(at), 7, 1).is_empty();
                    self.allergy(at, &segments, if numbered { 7 } else { 3 }, reading.bytes(Some(at), 6, 1) == b"D");
                }
                _ => {}
            }
            at = next;
        }
        self.allergies();
    }

    /// AL1 tells all that the feed knows (snapshot mode).
    fn allergies(&mut self) {
        let reading = self.reading;
        let series = key(&self.who, &[b"AL1 list"]);
        let (mut keys, mut is_whole, mut is_any) = (Vec::new(), true, false);
        for al1 in reading.segments(reading.all(), b"AL1") {
            is_any = true;
            let named = [1, 2].iter().any(|component| !reading.bytes(Some(al1), 3, *component).is_empty());
            if named {
                keys.push(self.allergen(al1, 3));
                let from = self.pieces.len();
                self.allergy(al1, &[al1], 3, false);
                self.pieces.iter_mut().skip(from).for_each(|piece| piece.series = series);
            } else {
                // `AL1|1||""` alone: none any more. What is not understood takes nothing away.
                is_whole &= reading.field(al1, 3).starts_with(b"\"\"");
            }
        }
        if is_any && is_whole && self.pieces.len() < ENTRIES_MAX {
            self.list = Some(List { series, keys });
        }
    }

    /// The plain key of an allergy, by its code or its number.
    fn allergen(&self, segment: usize, by: usize) -> [u8; 16] {
        let part = |component| self.reading.bytes(Some(segment), by, component);
        let value = [part(1), part(2)].into_iter().find(|value| !value.is_empty()).unwrap_or_default();
        key(&self.who, &[b"AL1", value, part(3)])
    }

    fn condition(&mut self, dg1: usize) {
        let reading = self.reading;
        let field = |number, component| reading.bytes(Some(dg1), number, component);
        let codes = [field(20, 1), field(3, 1), field(3, 2), field(4, 1)];
        let Some(code) = codes.into_iter().find(|code| !code.is_empty()) else { return };
        let key = key(&self.who, &[b"DG1", code, field(3, 3), field(6, 1), &self.visit]);
        let gone = field(21, 1) == b"D";
        self.entry((Section::Condition, key), self.context.at_ms, None, true, &[dg1], gone);
    }

    fn allergy(&mut self, segment: usize, segments: &[usize], by: usize, gone: bool) {
        let reading = self.reading;
        let is_known = |by| [1, 2].iter().any(|component| !reading.bytes(Some(segment), by, *component).is_empty());
        if !is_known(by) {
            return;
        }
        let at_ms = self.context.at_ms;
        self.entry((Section::Allergy, self.allergen(segment, by)), at_ms, None, true, segments, gone);
        // What is deleted by its number was told by its code, where AL1 told it.
        if gone && by != 3 && is_known(3) {
            self.entry((Section::Allergy, self.allergen(segment, 3)), at_ms, None, true, segments, true);
        }
    }

    /// Calls it with the segments from each segment of a name to the next; an ORC before an OBR belongs to it.
    fn groups(&mut self, first: &'static [u8; 3], take: fn(&mut Self, &[usize])) {
        let reading = self.reading;
        let mut group: Vec<usize> = Vec::new();
        let mut has_first = false;
        for segment in reading.all() {
            let id = reading.id(segment);
            let begins = id == *first || (id == *b"ORC" && has_first);
            if begins && has_first {
                take(self, &group);
                group.clear();
                has_first = false;
            }
            if id == *first || id == *b"ORC" {
                has_first |= id == *first;
                group.push(segment);
            } else if has_first {
                group.push(segment);
            }
        }
        if has_first {
            take(self, &group);
        }
    }

    fn result(&mut self, group: &[usize]) {
        let reading = self.reading;
        let Some(obr) = group.iter().copied().find(|segment| reading.id(*segment) == *b"OBR") else { return };
        let is_kept = |segment: &&usize| match &reading.id(**segment) {
            b"ORC" | b"OBR" | b"SPM" => true,
            b"OBX" => !matches!(reading.bytes(Some(**segment), 2, 1), b"TX" | b"FT" | b"ED" | b"RP"),
            _ => false,
        };
        let segments: Vec<usize> = group.iter().filter(is_kept).copied().collect();
        let code = [1, 2].map(|component| reading.bytes(Some(obr), 4, component));
        let Some(code) = code.into_iter().find(|code| !code.is_empty()) else { return };
        let test = key(&self.who, &[b"OBR", code, reading.bytes(Some(obr), 4, 3), self.context.labels.as_bytes()]);
        let order = [3, 2].into_iter().find(|field| !reading.bytes(Some(obr), *field, 1).is_empty());
        let order = order.map(|field| [1, 2].map(|component| reading.bytes(Some(obr), field, component)));
        let [order, by] = order.unwrap_or_default();
        let specimen = group.iter().copied().find(|segment| reading.id(*segment) == *b"SPM");
        let key = key(&test, &[order, by, reading.bytes(specimen, 2, 1)]);
        let obx = group.iter().copied().find(|segment| reading.id(*segment) == *b"OBX");
        let observed = [(Some(obr), 7), (obx, 14), (Some(obr), 22)];
        let mut observed = observed
            .into_iter()
            .filter_map(|(segment, field)| reading.time(segment, field, 1, self.context.zone).map(|moment| moment.ms));
        // A time that has not been yet is a mistake, and would be the newest for ever.
        let at_ms = observed.next().unwrap_or(self.context.at_ms).min(self.context.facets.received_ms);
        let state = [(Some(obr), 25), (obx, 11)].map(|(segment, field)| reading.bytes(segment, field, 1));
        let rank = match state.into_iter().find(|state| !state.is_empty()) {
            Some(b"O" | b"I" | b"S" | b"A" | b"P" | b"R") => 0,
            Some(b"C" | b"X" | b"D" | b"W") => 2,
            _ => 1,
        };
        // Without a number nobody knows that it is the same order; and a text that is not kept may take a value back.
        let is_text = |segment: &&usize| reading.id(**segment) == *b"OBX" && !is_kept(segment);
        let takes_back =
            |segment: &usize| rank == 2 || matches!(reading.bytes(Some(*segment), 11, 1), b"C" | b"D" | b"W" | b"X");
        let replaces = order.is_empty() || group.iter().filter(is_text).any(takes_back);
        let from = self.pieces.len();
        self.entry((Section::Result, key), at_ms, None, true, &segments, false);
        for piece in self.pieces.iter_mut().skip(from) {
            (piece.rank, piece.series, piece.replaces) = (rank, test, replaces);
        }
    }

    fn order(&mut self, group: &[usize]) {
        let reading = self.reading;
        let segments: Vec<usize> =
            group.iter().filter(|segment| OF_ORDER.contains(&&reading.id(**segment))).copied().collect();
        let find = |id: &[u8; 3]| segments.iter().copied().find(|segment| reading.id(*segment) == *id);
        let (orc, rxo, rxe, rxd) = (find(b"ORC"), find(b"RXO"), find(b"RXE"), find(b"RXD"));
        let what: &[u8] = if rxd.is_some() { b"RXD" } else { b"RXE" };
        let fields = [(orc, 2), (orc, 3), (rxe, 15), (rxd, 7)];
        let number = fields.into_iter().find(|(segment, field)| !reading.bytes(*segment, *field, 1).is_empty());
        let coded = [(rxd, 2), (rxe, 2), (rxo, 1)].into_iter().find(|(segment, _)| segment.is_some());
        let Some((by, field)) = number.or(coded) else { return };
        let value = by.map(|segment| reading.field(segment, field)).unwrap_or_default();
        // One order may be dispensed more than once.
        let fill = rxd.map(|rxd| reading.field(rxd, 1)).unwrap_or_default();
        let key = key(&self.who, &[what, value, fill]);
        self.entry((Section::Medication, key), self.context.at_ms, None, true, &segments, false);
    }

    fn document(&mut self) {
        let reading = self.reading;
        let Some(txa) = reading.find(reading.all(), b"TXA") else { return };
        let field = |number, component| reading.bytes(Some(txa), number, component);
        let number = [field(12, 1), field(12, 3), field(16, 1)].into_iter().find(|number| !number.is_empty());
        let number = number.unwrap_or_else(|| reading.field(reading.header(), 10));
        let known_by = key(&self.who, &[b"TXA", number, field(12, 2)]);
        let at_ms = self.context.at_ms;
        self.entry((Section::Document, known_by), at_ms, None, true, &[txa], false);
        // What is replaced is current no more.
        let parent = [field(13, 1), field(13, 3)].into_iter().find(|number| !number.is_empty());
        let Some(parent) = parent.filter(|_| matches!(self.context.trigger, b"T09" | b"T10")) else { return };
        let by = [field(13, 2), field(12, 2)].into_iter().find(|by| !by.is_empty()).unwrap_or_default();
        let replaced = key(&self.who, &[b"TXA", parent, by]);
        if replaced != known_by {
            self.entry((Section::Document, replaced), at_ms, None, true, &[txa], true);
        }
    }

    fn appointment(&mut self) {
        let reading = self.reading;
        let Some(sch) = reading.find(reading.all(), b"SCH") else { return };
        let number = [2, 1].into_iter().find(|field| !reading.bytes(Some(sch), *field, 1).is_empty());
        let Some(field) = number else { return };
        let key = key(&self.who, &[b"SCH", reading.bytes(Some(sch), field, 1), reading.bytes(Some(sch), field, 2)]);
        let is_kept = |segment: &usize| *segment == sch || OF_APPOINTMENT.contains(&&reading.id(*segment));
        let segments: Vec<usize> = reading.all().filter(is_kept).collect();
        self.entry((Section::Appointment, key), self.context.at_ms, None, true, &segments, false);
    }

    fn entry(
        &mut self,
        (section, key): (Section, [u8; 16]),
        at_ms: i64,
        evn: Option<usize>,
        reduced: bool,
        segments: &[usize],
        gone: bool,
    ) {
        if gone {
            return self.push(section, key, at_ms, Vec::new());
        }
        let reading = self.reading;
        let mut body = Vec::with_capacity(self.prefix.len() + 512);
        body.extend_from_slice(&self.prefix);
        let place = u16::try_from(self.pieces.len()).unwrap_or(u16::MAX);
        part(&mut body, &place.to_be_bytes());
        part(&mut body, &self.context.facets.received_ms.to_be_bytes());
        part(&mut body, evn.map(|evn| reading.segment(evn)).unwrap_or_default());
        part(&mut body, if reduced { &self.reduced } else { &[] });
        for segment in segments {
            part(&mut body, reading.segment(*segment));
            // What is not taken need not be written.
            if body.len() > ENTRY_BYTES_MAX {
                break;
            }
        }
        self.push(section, key, at_ms, body);
    }

    fn push(&mut self, section: Section, plain: [u8; 16], at_ms: i64, body: Vec<u8>) {
        let is_too_long = body.len() > ENTRY_BYTES_MAX.min(section.limits().1) || self.pieces.len() >= ENTRIES_MAX;
        if is_too_long || (self.is_headless && !body.is_empty()) {
            self.oversized += 1;
            // That there was something in secret is not told.
            if self.context.labels.is_empty() {
                self.cut |= 1 << section.number();
            }
            return;
        }
        let piece = |key, body| Piece { section, key, plain, at_ms, body, rank: 1, series: [0; 16], replaces: false };
        let mut key = plain;
        if section != Section::Head && !self.context.labels.is_empty() {
            // Beside what was told openly, and never in its place: an allergy does not go from the card of those who may not know where it was told again.
            key = self::key(&plain, &[b"labels", self.context.labels.as_bytes()]);
            if body.is_empty() {
                self.pieces.push(piece(plain, Vec::new()));
            }
        }
        self.pieces.push(piece(key, body));
    }
}

/// By what the end of a stay is known, as its labels are kept.
pub(super) fn stay_key(stay: &str) -> [u8; 16] {
    key(&KEYS, &[b"stay", stay.as_bytes()])
}

/// What heads of one number of a patient have in common, whichever feed told them: `patient` is that of the facets.
pub(in crate::coordination) fn number_key(patient: u64) -> [u8; 16] {
    let mut key = *b"________number__";
    key[..8].copy_from_slice(&patient.to_le_bytes());
    key
}

/// The key of a visit, and a PV1 that holds nothing but its numbers: class, visit, begin where there is no number, alternate.
fn visit(reading: Reading<'_>, who: &[u8; 16], pv1: usize) -> ([u8; 16], Vec<u8>) {
    let field = |number| reading.field(pv1, number);
    let known = |number| !reading.bytes(Some(pv1), number, 1).is_empty();
    let by = [19, 50, 44].into_iter().find(|number| known(*number));
    let Some(by) = by else { return Default::default() };
    let separator = reading.separator();
    let mut out = b"PV1".to_vec();
    let mut written = 0;
    for number in [2, by] {
        while written < number {
            out.push(separator);
            written += 1;
        }
        out.extend_from_slice(field(number));
    }
    (key(who, &[b"PV1", reading.bytes(Some(pv1), by, 1), reading.bytes(Some(pv1), by, 4)]), out)
}

/// A header that says of itself what its message is written in by now.
fn in_utf8(header: &[u8], separator: u8) -> Vec<u8> {
    let mut fields: Vec<&[u8]> = header.split(|byte| *byte == separator).collect();
    fields.resize(fields.len().max(18), b"");
    if let Some(field) = fields.get_mut(17) {
        *field = b"UNICODE UTF-8";
    }
    fields.join(&separator)
}

/// A hash of some parts, told apart by their lengths.
fn key(of: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    let mut all = Vec::with_capacity(128);
    parts.iter().for_each(|bytes| part(&mut all, bytes));
    version_5(of, &[&all])
}
