//! Which events a message tells of, as far as the message alone can say. Those of visits need what is known of the visit as well: see `fold/visit.rs`.
//!
//! | message | event, by |
//! |---|---|
//! | ADT A40 A18 A34, A37 | one for each patient that another is merged into (MRG-1, else MRG-4); one for the first of two PIDs |
//! | ORU | each OBR: OBR-25 F, C; where that is empty, OBX-11; at OBR-22 |
//! | RDE RDS OMP | one, how by ORC-1 |
//! | MDM T02 T04 T06 T08 T10, T11 | one |
//! | SIU S12–S17 S26 | one for each patient |
//! | OMG OSU | each ORC, by ORC-1 (table 0119), then ORC-5 (table 0038) |
//! | REF, RRI | I12 asks, I14 takes back; else RF1-1 (table 0283) |
//! | DFT | FT1-25 and PR1-3 of each FT1 that is no credit (FT1-6), at FT1-4, else PR1-5; those of one time together |
use super::{Moment, Reading};
use crate::coordination::Reason;
use crate::coordination::event::{Appointment, Document, Identifier, Kind, Number};
use jiff::tz::TimeZone;
use std::ops::Range;

/// Events of one message.
const CANDIDATES_MAX: usize = 256;

/// What may become an event.
#[derive(Clone)]
pub(in crate::coordination) struct Candidate {
    pub kind: Kind,
    pub detail: &'static str,
    /// The segments about its patient; the first PID among them says who that is.
    pub patient: Range<usize>,
    /// The segments that tell of it.
    pub part: Range<usize>,
    /// When it happened, where these say so better than EVN and MSH.
    pub at: Option<Moment>,
    pub others: Vec<Identifier>,
    pub document: Option<Document>,
    pub appointment: Option<Appointment>,
    pub referral: Option<Number>,
}

impl Candidate {
    pub fn new(kind: Kind, detail: &'static str, patient: Range<usize>, part: Range<usize>) -> Candidate {
        let (others, document, appointment, referral) = (Vec::new(), None, None, None);
        Candidate { kind, detail, patient, part, at: None, others, document, appointment, referral }
    }
}

/// Whether messages of a type can tell of events at all.
pub(in crate::coordination) fn matters(code: &[u8]) -> bool {
    const CODES: [&[u8]; 12] =
        [b"ADT", b"ORU", b"RDE", b"RDS", b"OMP", b"MDM", b"SIU", b"REF", b"RRI", b"OMG", b"OSU", b"DFT"];
    CODES.contains(&code)
}

/// What a message tells of; `told` hears what became none, and why.
pub(in crate::coordination) fn candidates(
    reading: Reading<'_>,
    (code, trigger): (&[u8], &[u8]),
    zone: &TimeZone,
    mut told: impl FnMut(Reason),
) -> Vec<Candidate> {
    let mut found = match code {
        b"ADT" => identities(reading, trigger),
        b"ORU" => results(reading, zone, &mut told),
        b"RDE" | b"RDS" | b"OMP" => one(reading, Kind::MedicationChange, medication(reading, code)),
        b"MDM" => documents(reading, trigger),
        b"SIU" => appointments(reading, trigger, zone),
        b"OMG" | b"OSU" => orders(reading, code, &mut told),
        b"REF" | b"RRI" => referrals(reading, code, trigger, &mut told),
        b"DFT" => services(reading, zone, &mut told),
        _ => Vec::new(),
    };
    if found.len() > CANDIDATES_MAX {
        told(Reason::TooMany);
        found.truncate(CANDIDATES_MAX);
    }
    found
}

/// The segments about the patient that a segment stands with: from their PID to the next, or all of them where there is one PID.
fn around(reading: Reading<'_>, segment: usize) -> Range<usize> {
    let pids = || reading.segments(reading.all(), b"PID");
    if pids().nth(1).is_none() {
        return reading.all();
    }
    let start = pids().take_while(|pid| *pid <= segment).last().or_else(|| pids().next()).unwrap_or(0);
    let end = pids().find(|pid| *pid > start).unwrap_or(reading.all().end);
    start..end
}

fn one(reading: Reading<'_>, kind: Kind, detail: &'static str) -> Vec<Candidate> {
    vec![Candidate::new(kind, detail, around(reading, 0), reading.all())]
}

fn identities(reading: Reading<'_>, trigger: &[u8]) -> Vec<Candidate> {
    let all = reading.all();
    match trigger {
        b"A40" | b"A18" | b"A34" => {
            let merge = |mrg: usize| {
                let patient = around(reading, mrg);
                let others =
                    [1, 4].map(|field| reading.identifiers(mrg, field)).into_iter().find(|list| !list.is_empty());
                let merge = Candidate::new(Kind::IdentityMerge, "", patient.clone(), patient);
                others.map(|others| Candidate { others, ..merge })
            };
            reading.segments(all, b"MRG").filter_map(merge).collect()
        }
        b"A37" => {
            let mut pids = reading.segments(all, b"PID");
            let (Some(first), Some(second)) = (pids.next(), pids.next()) else { return Vec::new() };
            let others = reading.identifiers(second, 3);
            let patient = around(reading, first);
            vec![Candidate { others, ..Candidate::new(Kind::Unlink, "", patient.clone(), patient) }]
        }
        _ => Vec::new(),
    }
}

/// The parts of a message that begin with one of these segments (with the ORC before an OBR), up to the next, or the next patient.
fn groups(reading: Reading<'_>, first: [&'static [u8; 3]; 2]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for segment in reading.all() {
        let id = reading.id(segment);
        let begins = first.contains(&&id);
        // An ORC and its OBR are one group: the OBR does not begin another while the group has none.
        let joins =
            open && id == *b"OBR" && groups.last().is_some_and(|group| reading.find(group.clone(), b"OBR").is_none());
        if begins && !joins {
            groups.push(segment..segment);
            open = true;
        } else if matches!(&id, b"PID" | b"DSC") {
            open = false;
        }
        if let (true, Some(group)) = (open, groups.last_mut()) {
            group.end = segment + 1;
        }
    }
    groups
}

fn results(reading: Reading<'_>, zone: &TimeZone, told: &mut impl FnMut(Reason)) -> Vec<Candidate> {
    let mut found = Vec::new();
    for part in groups(reading, [b"ORC", b"OBR"]) {
        let Some(obr) = reading.find(part.clone(), b"OBR") else { continue };
        let Some(detail) = result(reading, obr, part.clone()) else {
            told(Reason::NotFinal);
            continue;
        };
        let orc = reading.find(part.clone(), b"ORC");
        found.push(Candidate {
            at: reading.time(Some(obr), 22, 1, zone),
            referral: reading.number(Some(obr), 2).or_else(|| reading.number(orc, 2)),
            ..Candidate::new(Kind::Result, detail, around(reading, obr), part)
        });
    }
    found
}

/// `final` or `corrected` (tables 0123 and 0085).
fn result(reading: Reading<'_>, obr: usize, part: Range<usize>) -> Option<&'static str> {
    let states = || reading.segments(part.clone(), b"OBX").map(|obx| reading.bytes(Some(obx), 11, 1));
    let corrected = states().any(|state| state == b"C");
    match reading.bytes(Some(obr), 25, 1) {
        b"C" => Some("corrected"),
        b"F" if corrected => Some("corrected"),
        b"F" => Some("final"),
        b"" if states().any(|state| matches!(state, b"P" | b"I" | b"R" | b"S")) => None,
        b"" if corrected => Some("corrected"),
        b"" if states().any(|state| matches!(state, b"F" | b"U")) => Some("final"),
        _ => None,
    }
}

/// How medication changes, by ORC-1 of all orders.
fn medication(reading: Reading<'_>, code: &[u8]) -> &'static str {
    if code == b"RDS" {
        return "dispensed";
    }
    let how = |orc| match reading.bytes(Some(orc), 1, 1) {
        b"NW" => "ordered",
        b"XO" | b"XX" | b"XR" | b"RU" | b"RP" | b"RO" | b"RF" | b"HD" | b"OH" | b"RL" => "changed",
        b"CA" | b"OC" | b"CR" | b"DC" | b"OD" | b"DR" => "stopped",
        _ => "",
    };
    let mut all = reading.segments(reading.all(), b"ORC").map(how);
    let first = all.next().unwrap_or_default();
    if all.all(|other| other == first) { first } else { "changed" }
}

fn documents(reading: Reading<'_>, trigger: &[u8]) -> Vec<Candidate> {
    let (kind, detail) = match trigger {
        b"T02" => (Kind::Document, "original"),
        b"T04" => (Kind::Document, "status"),
        b"T06" => (Kind::Document, "addendum"),
        b"T08" => (Kind::Document, "edit"),
        b"T10" => (Kind::Document, "replacement"),
        b"T11" => (Kind::DocumentCancelled, ""),
        _ => return Vec::new(),
    };
    let txa = reading.find(reading.all(), b"TXA");
    let order = [b"ORC", b"OBR"].map(|id| reading.number(reading.find(reading.all(), id), 2));
    let document = Document {
        number: reading.number(txa, 12).unwrap_or_default(),
        parent: reading.number(txa, 13),
        completion: reading.text(txa, 17, 1),
    };
    let mut found = one(reading, kind, detail);
    for candidate in &mut found {
        candidate.document = Some(document.clone());
        candidate.referral = reading.number(txa, 14).or_else(|| order.iter().flatten().next().cloned());
    }
    found
}

fn appointments(reading: Reading<'_>, trigger: &[u8], zone: &TimeZone) -> Vec<Candidate> {
    let (kind, detail) = match trigger {
        b"S12" => (Kind::AppointmentBooked, ""),
        b"S13" => (Kind::AppointmentChanged, "rescheduled"),
        b"S14" => (Kind::AppointmentChanged, "modified"),
        b"S15" => (Kind::AppointmentCancelled, "cancelled"),
        b"S16" => (Kind::AppointmentCancelled, "discontinued"),
        b"S17" => (Kind::AppointmentCancelled, "deleted"),
        b"S26" => (Kind::AppointmentNoShow, ""),
        _ => return Vec::new(),
    };
    let all = reading.all();
    let sch = reading.find(all.clone(), b"SCH");
    // Newer versions say it in TQ1, and for each resource.
    let starts = [(b"SCH", 11, 4), (b"TQ1", 7, 1), (b"AIS", 4, 1), (b"AIP", 6, 1)];
    let start = |(id, field, component)| reading.time(reading.find(all.clone(), id), field, component, zone);
    let appointment = Appointment {
        number: reading.number(sch, 2).or_else(|| reading.number(sch, 1)).unwrap_or_default(),
        start_ms: starts.into_iter().find_map(start).map(|start| start.ms),
    };
    let resources = reading.find(all.clone(), b"RGS").unwrap_or(all.end)..all.end;
    // Several may come to one appointment.
    let pids = reading.segments(all.clone(), b"PID");
    let patient = |pid| {
        let patient = around(reading, pid);
        let end = if patient == all { all.end } else { patient.end.min(resources.start) };
        let part = if patient == all { all.clone() } else { resources.clone() };
        Candidate {
            appointment: Some(appointment.clone()),
            referral: reading.number(sch, 26),
            ..Candidate::new(kind, detail, patient.start..end, part)
        }
    };
    pids.map(patient).collect()
}

fn orders(reading: Reading<'_>, code: &[u8], told: &mut impl FnMut(Reason)) -> Vec<Candidate> {
    let mut found = Vec::new();
    for part in groups(reading, [b"ORC", b"ORC"]) {
        let orc = part.start;
        let [control, status] = [1, 5].map(|field| reading.bytes(Some(orc), field, 1));
        match order(code, control, status) {
            Some(kind) => found.push(Candidate {
                referral: reading.number(Some(orc), 2),
                ..Candidate::new(kind, "", around(reading, orc), part)
            }),
            None => told(Reason::UnknownState),
        }
    }
    found
}

/// The state of an order, by its control code (table 0119), then by its status (table 0038).
fn order(code: &[u8], control: &[u8], status: &[u8]) -> Option<Kind> {
    let by_status = match status {
        b"IP" | b"SC" | b"A" => Some(Kind::ReferralAccepted),
        b"CM" => Some(Kind::ReferralCompleted),
        b"CA" | b"DC" => Some(Kind::ReferralCancelled),
        _ => None,
    };
    match control {
        b"NW" if code == b"OMG" => Some(Kind::ReferralRequested),
        b"UA" => Some(Kind::ReferralRejected),
        b"CM" => Some(Kind::ReferralCompleted),
        b"CA" | b"OC" | b"CR" | b"DC" | b"OD" | b"DR" => Some(Kind::ReferralCancelled),
        b"OK" if status.is_empty() => Some(Kind::ReferralAccepted),
        b"OK" | b"SC" | b"SR" | b"" => by_status,
        _ => None,
    }
}

fn referrals(reading: Reading<'_>, code: &[u8], trigger: &[u8], told: &mut impl FnMut(Reason)) -> Vec<Candidate> {
    let rf1 = reading.find(reading.all(), b"RF1");
    let kind = match (code, trigger, reading.bytes(rf1, 1, 1)) {
        (b"REF", b"I12", _) => Some(Kind::ReferralRequested),
        (b"REF", b"I14", _) => Some(Kind::ReferralCancelled),
        // The answer to one that was taken back tells nothing new.
        (b"RRI", b"I14", _) => None,
        (_, _, b"A") => Some(Kind::ReferralAccepted),
        (_, _, b"R") => Some(Kind::ReferralRejected),
        _ => None,
    };
    let Some(kind) = kind else {
        told(Reason::UnknownState);
        return Vec::new();
    };
    let mut found = one(reading, kind, "");
    for candidate in &mut found {
        candidate.referral = reading.number(rf1, 6).or_else(|| reading.number(rf1, 11));
    }
    found
}

fn services(reading: Reading<'_>, zone: &TimeZone, told: &mut impl FnMut(Reason)) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for part in groups(reading, [b"FT1", b"FT1"]) {
        let ft1 = Some(part.start);
        let pr1 = reading.segments(part.clone(), b"PR1").find(|pr1| !reading.bytes(Some(*pr1), 3, 1).is_empty());
        if reading.bytes(ft1, 25, 1).is_empty() && pr1.is_none() {
            continue;
        }
        if reading.bytes(ft1, 6, 1) == b"CR" {
            told(Reason::Credit);
            continue;
        }
        let at = reading.time(ft1, 4, 1, zone).or_else(|| reading.time(pr1, 5, 1, zone));
        match found.last_mut() {
            Some(last) if last.at == at && last.part.end == part.start => last.part.end = part.end,
            _ => {
                let patient = around(reading, part.start);
                found.push(Candidate { at, ..Candidate::new(Kind::ServiceCoded, "", patient, part) });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
