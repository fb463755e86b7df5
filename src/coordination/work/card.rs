//! What a message says for the card of somebody of the rosters, whether or not an event comes of it.
use super::batch::{Batch, whole};
use super::{Error, Parts};
use crate::coordination::card::{self, Context, told};
use crate::coordination::fold::Silent;
use crate::coordination::loops::{self, Definition, Loop};
use crate::coordination::read::Reading;
use crate::coordination::sensitivity::{self, Said, visit_text};
use crate::coordination::{Event, PersonKey, lineage};
use crate::facets::{Facets, Outcome};
use crate::hl7::{Index, transcode};
use crate::privacy::{Found, Labels, visits};
use rusqlite::{Connection, Transaction};
use std::borrow::Cow;

impl Batch<'_> {
    /// Notes on the card what the message says that the fold has just taken.
    pub(super) fn card(
        &mut self,
        transaction: &Transaction<'_>,
        (seq, facets, raw): (u64, &Facets<'_>, &[u8]),
        (events, silent): (&[Event], Option<&Silent>),
    ) -> Result<(), Error> {
        let Some(index) = self.parts.fold.parsed() else { return Ok(()) };
        let done = self.carded(transaction, (seq, facets, raw), (events, silent), &index);
        self.parts.fold.give_back(index);
        done
    }

    fn carded(
        &mut self,
        transaction: &Transaction<'_>,
        (seq, facets, raw): (u64, &Facets<'_>, &[u8]),
        (events, silent): (&[Event], Option<&Silent>),
        index: &Index,
    ) -> Result<(), Error> {
        let text = transcode(raw);
        let is_transcoded = matches!(text, Cow::Owned(_));
        let Some(reading) = Reading::new(index.message(&text)) else { return Ok(()) };
        let Some(pid) = reading.find(reading.all(), b"PID") else { return Ok(()) };
        self.mark_others(transaction, reading)?;
        let matched = match events.first() {
            Some(event) => self.find(&event.patient),
            None => self.find(&reading.patient(pid)),
        };
        let Some(origin) = matched.person() else { return Ok(()) };
        let person = lineage::root(transaction, origin).map_err(Error::database)?;
        let visit = events.iter().find_map(|event| event.visit.as_ref());
        let visit = visit.or(silent.and_then(|silent| silent.visit.as_ref())).map(visit_text).unwrap_or_default();
        let sender = || reading.text(Some(reading.header()), 4, 1);
        let facility = events.first().map(|event| event.facility.clone());
        let facility = facility.or(silent.map(|silent| silent.facility.clone())).unwrap_or_else(sender);
        let found = self.found(transaction, reading, (person, &facility, &visit))?;
        // Whatever else becomes of the message.
        self.mark(transaction, person, ([0; 16], &visit), found)?;
        // What could not be translated when it came is told to nobody.
        if !matches!(facets.outcome, Outcome::Received | Outcome::Translated) {
            return Ok(());
        }
        let zone = self.options.facilities.zone(&facility);
        let received_ms = facets.received_ms;
        let sent = reading.time(Some(reading.header()), 7, 1, zone);
        // Nothing is sent after it was received.
        let sent_ms =
            sent.map_or((received_ms, received_ms), |sent| (sent.ms.min(received_ms), sent.last_ms.min(received_ms)));
        let at_ms = events.first().map_or(sent_ms.0, |event| event.at_ms);
        let evn = reading.find(reading.all(), b"EVN");
        let trigger = if facets.event.is_empty() { reading.bytes(evn, 1, 1) } else { facets.event };
        let text = card::settle(self.gate.labels(), found.all, found.whole);
        let context = Context {
            facets,
            trigger,
            facility: &facility,
            visit: &visit,
            zone,
            at_ms,
            sent_ms,
            is_transcoded,
            labels: &text,
        };
        let Some(told) = told(reading, &context) else { return Ok(()) };
        let of = card::Of { person, origin, seq, labels: &text, stay: &visit };
        card::take(transaction, &mut self.parts.outlines, of, &told).map_err(Error::database)?;
        if visit.is_empty() {
            self.mark(transaction, person, (told.visit, ""), found)?;
        }
        let Parts { oversized, .. } = &mut *self.parts;
        *oversized += told.oversized;
        Ok(())
    }

    /// The labels of all that the message says, and of its visit.
    fn found(
        &self,
        transaction: &Transaction<'_>,
        reading: Reading<'_>,
        (person, facility, visit): (PersonKey, &str, &str),
    ) -> Result<Found, Error> {
        let all = reading.all();
        let feed = reading.feed();
        let (codes, confidentiality) = (reading.codes(&all, all.clone()), reading.confidentiality(&all, all.clone()));
        let said = Said { facility, feed: &feed, codes: &codes, confidentiality: &confidentiality };
        let (mut earlier, mut of_whole) = (Vec::new(), Vec::new());
        if !visit.is_empty() {
            earlier = visits::labels_of(transaction, visit).map_err(Error::database)?;
            of_whole = visits::labels_of(transaction, &whole(visit)).map_err(Error::database)?;
            // What is kept of the stay is let go of one day; what the card has of it is not.
            let (on_card, on_card_whole) = card::labels_of(transaction, person, visit).map_err(Error::database)?;
            earlier.extend(on_card);
            of_whole.extend(on_card_whole);
        }
        let labels = self.gate.labels();
        let mut found = sensitivity::found(labels, &self.options.facilities, said, &earlier);
        found.whole = found.whole.with(labels.of_all(of_whole.iter().map(String::as_str)));
        found.all = found.all.with(found.whole);
        Ok(found)
    }

    /// Of a message about several patients each visit is as secret as the message.
    fn mark_others(&mut self, transaction: &Transaction<'_>, reading: Reading<'_>) -> Result<(), Error> {
        let all = reading.all();
        if reading.segments(all.clone(), b"PID").nth(1).is_none() {
            return Ok(());
        }
        let facility = reading.text(Some(reading.header()), 4, 1);
        let found = self.found(transaction, reading, (PersonKey([0; 16]), &facility, ""))?;
        for pid in reading.segments(all.clone(), b"PID") {
            let end = reading.segments(pid + 1..all.end, b"PID").next().unwrap_or(all.end);
            let visit = reading.find(pid..end, b"PV1").and_then(|pv1| reading.visit(pv1, 19));
            if let (Some(visit), Some(key)) = (visit, self.find(&reading.patient(pid)).person()) {
                let person = lineage::root(transaction, key).map_err(Error::database)?;
                self.mark(transaction, person, ([0; 16], &visit_text(&visit)), found)?;
            }
        }
        Ok(())
    }

    fn mark(
        &mut self,
        transaction: &Transaction<'_>,
        person: PersonKey,
        (visit, stay): ([u8; 16], &str),
        found: Found,
    ) -> Result<(), Error> {
        let labels = (self.gate.labels(), found.all, found.whole);
        card::mark(transaction, &mut self.parts.outlines, person, (&visit, stay), labels).map_err(Error::database)
    }
}

/// The labels of a loop as it stands: its own, and those of its visit.
///
/// # Errors
/// A database that cannot be read.
pub fn labels_of_loop(
    connection: &Connection,
    labels: &Labels,
    options: &loops::Options,
    found: &Loop,
) -> rusqlite::Result<Found> {
    let visit = found.facts.visit.as_ref().map(visit_text);
    let keys: Vec<String> = visit.into_iter().chain([format!("loop|{}", found.number)]).collect();
    let (mut all, mut over) = (Vec::new(), Vec::new());
    for key in &keys {
        all.extend(visits::labels_of(connection, key)?);
        over.extend(visits::labels_of(connection, &whole(key))?);
    }
    let look = |codes: &[String]| labels.look().earlier(codes.iter().map(String::as_str)).found().all;
    let over = look(&over);
    let mut of_loop = Found { all: look(&all).with(over), whole: over };
    // Where a diagnosis or result is what it is about, its name alone tells of that.
    let definition = options.definitions.iter().find(|one| one.id == found.definition);
    if definition.is_none_or(Definition::is_coded) {
        of_loop.whole = of_loop.all;
    }
    Ok(of_loop)
}

/// The key under which a visit keeps the labels of whole events of it.
pub fn whole_of(visit: &str) -> String {
    whole(visit)
}
