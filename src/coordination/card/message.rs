//! Entries as messages again: as much of the message that told them as the mappings need to give the same resources.
use super::body::parts;
use super::{Card, Row, Section};
use std::collections::BTreeMap;

/// A message that was put together.
#[derive(Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is about: a visit with its conditions is of [`Section::Encounter`].
    pub section: Section,
    /// The message.
    pub raw: Vec<u8>,
    /// The hash of the plan by which it was translated.
    pub plan: [u8; 32],
    /// The listener.
    pub listener: Vec<u8>,
    /// Where it happened.
    pub facility: String,
    /// MSH-3.1 and MSH-4.1, joined by `|`.
    pub feed: String,
    /// The visit as its labels are kept; empty where there is none.
    pub visit: String,
    /// When its message was received, in milliseconds since 1970 (UTC).
    pub received_ms: i64,
    /// When it happened.
    pub at_ms: i64,
    /// The codes of the labels that its entries carry: all, and those of events as a whole.
    pub labels: (Vec<String>, Vec<String>),
    /// What told each of its entries, in the order in which they stand in it.
    pub sources: Vec<Source>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Group({:?}, {} bytes)", self.section, self.raw.len())
    }
}

/// The message that told of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What the entry is about.
    pub section: Section,
    /// Its number in the journal.
    pub seq: u64,
    /// When what it tells of happened.
    pub at_ms: i64,
    /// When it was received, in milliseconds since 1970 (UTC).
    pub received_ms: i64,
    /// MSH-3.1 and MSH-4.1, joined by `|`.
    pub feed: String,
    /// MSH-10.
    pub control_id: String,
    /// It carries labels.
    pub is_secret: bool,
}

/// The parts of a head, see the module above.
struct Head<'r> {
    msh: &'r [u8],
    pid: &'r [u8],
    pd1: &'r [u8],
    plan: [u8; 32],
    listener: &'r [u8],
    separator: u8,
}

/// The parts of an entry.
struct Entry<'r> {
    row: &'r Row,
    facility: &'r [u8],
    visit: &'r [u8],
    sent: &'r [u8],
    kind: &'r [u8],
    control_id: &'r [u8],
    account: &'r [u8],
    place: &'r [u8],
    received_ms: i64,
    evn: &'r [u8],
    pv1: &'r [u8],
    segments: Vec<&'r [u8]>,
}

/// All that a card holds as messages: first what feeds say of the patient, then by section, the newest first.
pub fn groups(card: &Card) -> Vec<Group> {
    let heads: BTreeMap<[u8; 16], Head<'_>> = card
        .rows
        .iter()
        .filter(|row| row.section == Section::Head)
        .filter_map(|row| Some((row.key, Head::read(&row.body)?)))
        .collect();
    let mut all = Vec::new();
    let of_head = card.rows.iter().filter(|row| row.section == Section::Head);
    all.extend(of_head.filter_map(|row| Some(patient(row, heads.get(&row.key)?))));
    // In order of appearance: by section, the newest first.
    let mut order: Vec<(Section, [u8; 16], [u8; 24])> = Vec::new();
    let mut parts: BTreeMap<(Section, [u8; 16], [u8; 24]), Vec<Entry<'_>>> = BTreeMap::new();
    for row in card.rows.iter().filter(|row| row.section != Section::Head) {
        let Some(entry) = Entry::read(row) else { continue };
        let mut of = [0; 24];
        let section = match row.section {
            // A visit names its diagnoses.
            Section::Encounter | Section::Condition => {
                of[..16].copy_from_slice(&row.visit);
                Section::Encounter
            }
            section => {
                of[..8].copy_from_slice(&row.seq.to_be_bytes());
                section
            }
        };
        let key = (section, row.head, of);
        let group = parts.entry(key).or_default();
        if group.is_empty() {
            order.push(key);
        }
        group.push(entry);
    }
    for key in order {
        let (Some(head), Some(mut entries)) = (heads.get(&key.1), parts.remove(&key)) else { continue };
        entries.sort_by_key(|entry| (entry.row.section, entry.row.seq, entry.place));
        // Messages of transfers and of leaves tell of no diagnoses: those that others told stand in a message of their own.
        let is_apart = entries.iter().any(|entry| entry.row.section == Section::Encounter && !head.has_codes(entry));
        let (apart, entries): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| is_apart && entry.row.section == Section::Condition);
        all.extend(message(key.0, head, &entries));
        all.extend(message(key.0, head, &apart));
    }
    all
}

fn patient(row: &Row, head: &Head<'_>) -> Group {
    let mut raw = Vec::with_capacity(row.body.len());
    for segment in [head.msh, head.pid, head.pd1] {
        line(&mut raw, segment);
    }
    let control_id = text(head.field(10));
    let source = Source {
        section: Section::Head,
        seq: row.seq,
        at_ms: row.at_ms,
        received_ms: row.at_ms,
        feed: head.feed(),
        control_id,
        is_secret: !row.labels.is_empty(),
    };
    Group {
        section: Section::Head,
        raw,
        plan: head.plan,
        listener: head.listener.to_vec(),
        facility: head.facility(),
        feed: head.feed(),
        visit: String::new(),
        received_ms: row.at_ms,
        at_ms: row.at_ms,
        labels: labels(std::iter::once(row)),
        sources: vec![source],
    }
}

fn message(section: Section, head: &Head<'_>, entries: &[Entry<'_>]) -> Option<Group> {
    let first = entries.first()?;
    let newest = entries.iter().max_by_key(|entry| entry.row.seq)?;
    let mut raw = Vec::with_capacity(2_048);
    head.header(&mut raw, first);
    let mut segments = entries.iter().flat_map(|entry| entry.segments.iter().copied());
    if section == Section::Appointment {
        // SCH and what stands with it come before the patient.
        let (before, after): (Vec<&[u8]>, Vec<&[u8]>) =
            segments.partition(|segment| segment.starts_with(b"SCH") || segment.starts_with(b"TQ1"));
        before.into_iter().for_each(|segment| line(&mut raw, segment));
        head.patient(&mut raw, first);
        after.into_iter().for_each(|segment| line(&mut raw, segment));
    } else {
        line(&mut raw, first.evn);
        head.patient(&mut raw, first);
        segments.by_ref().for_each(|segment| line(&mut raw, segment));
    }
    let source = |entry: &Entry<'_>| Source {
        section: entry.row.section,
        seq: entry.row.seq,
        at_ms: entry.row.at_ms,
        received_ms: entry.received_ms,
        feed: head.feed(),
        control_id: text(entry.control_id),
        is_secret: !entry.row.labels.is_empty(),
    };
    Some(Group {
        section,
        raw,
        plan: head.plan,
        listener: head.listener.to_vec(),
        facility: text(first.facility),
        feed: head.feed(),
        visit: text(first.visit),
        received_ms: first.received_ms,
        at_ms: newest.row.at_ms,
        labels: labels(entries.iter().map(|entry| entry.row)),
        sources: entries.iter().map(source).collect(),
    })
}

impl<'r> Head<'r> {
    fn read(body: &'r [u8]) -> Option<Head<'r>> {
        let mut parts = parts(body);
        let (msh, pid, pd1) = (parts.next()?, parts.next()?, parts.next()?);
        let (plan, listener) = (parts.next()?.try_into().ok()?, parts.next()?);
        Some(Head { msh, pid, pd1, plan, listener, separator: *msh.get(3)? })
    }

    /// A field of MSH from 3.
    fn field(&self, number: usize) -> &'r [u8] {
        self.msh.split(|byte| *byte == self.separator).nth(number - 1).unwrap_or_default()
    }

    fn component(&self) -> u8 {
        self.msh.get(4).copied().unwrap_or(b'^')
    }

    fn name(&self, number: usize) -> String {
        text(self.field(number).split(|byte| *byte == self.component()).next().unwrap_or_default())
    }

    fn feed(&self) -> String {
        format!("{}|{}", self.name(3), self.name(4))
    }

    fn facility(&self) -> String {
        self.name(4)
    }

    /// Whether the message that told of a visit is one that may tell of diagnoses.
    fn has_codes(&self, entry: &Entry<'_>) -> bool {
        let event = entry.kind.split(|byte| *byte == self.component()).nth(1).unwrap_or_default();
        !matches!(event, b"A02" | b"A21" | b"A22" | b"A23" | b"A25" | b"A27" | b"A52" | b"A53" | b"A54")
    }

    /// MSH with what is of the message of an entry.
    fn header(&self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        let mut kind = entry.kind.to_vec();
        if entry.row.section == Section::Condition {
            let between = self.component();
            kind = [b"ADT".as_slice(), b"A08", b"ADT_A01"].join(&between);
        }
        if kind.starts_with(b"MDM") {
            without_text(&mut kind);
        }
        let mut fields = self.msh.split(|byte| *byte == self.separator).enumerate().peekable();
        while let Some((at, field)) = fields.next() {
            out.extend_from_slice(match at + 1 {
                7 => entry.sent,
                9 => &kind,
                10 => entry.control_id,
                _ => field,
            });
            if fields.peek().is_some() {
                out.push(self.separator);
            }
        }
        out.push(b'\r');
    }

    /// PID with the account of an entry, PD1, and the visit.
    fn patient(&self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        let mut written = 0;
        for (at, field) in self.pid.split(|byte| *byte == self.separator).enumerate() {
            if at > 0 {
                out.push(self.separator);
            }
            out.extend_from_slice(if at == 18 { entry.account } else { field });
            written = at;
        }
        while written < 18 && !entry.account.is_empty() {
            out.push(self.separator);
            written += 1;
            if written == 18 {
                out.extend_from_slice(entry.account);
            }
        }
        out.push(b'\r');
        line(out, self.pd1);
        line(out, entry.pv1);
    }
}

/// `MDM^T02^MDM_T02` → `MDM^T01^MDM_T01`: the event that tells the same of a document without its text.
fn without_text(kind: &mut [u8]) {
    for at in 1..kind.len() {
        let is_number = kind.get(at - 1).is_some_and(|before| *before == b'T')
            && kind.get(at) == Some(&b'0')
            && kind.get(at + 1).is_some_and(|digit| matches!(digit, b'2' | b'4' | b'6' | b'8'));
        if let (true, Some(digit)) = (is_number, kind.get_mut(at + 1)) {
            *digit -= 1;
        }
        // T10
        if kind.get(at - 1) == Some(&b'T') && kind.get(at..at + 2) == Some(b"10".as_slice()) {
            kind[at..at + 2].copy_from_slice(b"09");
        }
    }
    // All of them have the structure of T01.
    if let Some(at) = kind.windows(6).position(|window| window.starts_with(b"MDM_T0"))
        && let Some(structure) = kind.get_mut(at..at + 7)
    {
        structure.copy_from_slice(b"MDM_T01");
    }
}

impl<'r> Entry<'r> {
    fn read(row: &'r Row) -> Option<Entry<'r>> {
        let mut parts = parts(&row.body);
        Some(Entry {
            row,
            facility: parts.next()?,
            visit: parts.next()?,
            sent: parts.next()?,
            kind: parts.next()?,
            control_id: parts.next()?,
            account: parts.next()?,
            place: parts.next()?,
            received_ms: i64::from_be_bytes(parts.next()?.try_into().ok()?),
            evn: parts.next()?,
            pv1: parts.next()?,
            segments: parts.collect(),
        })
    }
}

fn labels<'r>(rows: impl Iterator<Item = &'r Row>) -> (Vec<String>, Vec<String>) {
    let (mut all, mut whole) = (Vec::new(), Vec::new());
    for row in rows {
        let (of_all, of_whole) = row.labels.split_once('/').unwrap_or((&row.labels, &row.labels));
        all.extend(of_all.split_whitespace().map(str::to_owned));
        whole.extend(of_whole.split_whitespace().map(str::to_owned));
    }
    for codes in [&mut all, &mut whole] {
        codes.sort_unstable();
        codes.dedup();
    }
    (all, whole)
}

fn line(out: &mut Vec<u8>, segment: &[u8]) {
    if !segment.is_empty() {
        out.extend_from_slice(segment);
        out.push(b'\r');
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
