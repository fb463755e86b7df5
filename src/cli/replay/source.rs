//! What is replayed: chosen messages of the journal, or those in files.
use super::super::files::{messages, read_messages};
use super::super::selection::{Data, Selection};
use crate::facets::Facets;
use crate::hl7::Index;
use crate::journal::Record;
use crate::search::{Entry, Order};
use anyhow::{Context as _, bail};
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A message to replay.
pub(super) enum Message {
    Readable(Box<Replayed>),
    /// Its name.
    Unreadable(String),
}

pub(super) struct Replayed {
    /// What it is called in what is said: `message 7`, `file.hl7#2`.
    pub label: String,
    pub seq: u64,
    pub record: Record,
    /// When it came, or happened; for the pace.
    pub at_ms: Option<i64>,
}

pub(super) enum Source {
    Journal {
        data: Box<Data>,
        seqs: std::vec::IntoIter<u64>,
        /// Dead letters of this route: what arrives is none any more.
        letters: Option<String>,
    },
    Files(VecDeque<Replayed>),
}

/// What was chosen from the journal.
pub(super) struct Chosen {
    /// Ascending.
    pub seqs: Vec<u64>,
    /// The newest message of each patient among them.
    patients: HashMap<String, u64>,
}

/// Messages replayed at once, and bytes of files: they are kept in memory.
const CHOSEN_MAX: usize = 20_000_000;

pub(super) fn choose(data: &mut Data, selection: &Selection, limit: Option<usize>) -> anyhow::Result<Chosen> {
    let mut chosen = Chosen { seqs: Vec::new(), patients: HashMap::new() };
    let mut full = false;
    let scanned = data.select(selection, Order::OldestFirst, |found| {
        if limit == Some(chosen.seqs.len()) {
            return Ok(ControlFlow::Break(()));
        }
        if chosen.seqs.len() == CHOSEN_MAX {
            full = true;
            return Ok(ControlFlow::Break(()));
        }
        chosen.seqs.push(found.entry.seq);
        if let Some(patient) = found.entry.patients.into_iter().next() {
            chosen.patients.insert(patient, found.entry.seq);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if full || scanned.cut {
        bail!("too many messages for one replay: narrow the choice (--since, --until, --limit), or raise --scan-max");
    }
    Ok(chosen)
}

/// Of how many patients the journal holds newer messages than those that were chosen, and the number of one such.
pub(super) fn superseded(data: &Data, chosen: &Chosen) -> anyhow::Result<Option<(usize, u64)>> {
    let mut found: Option<(usize, u64)> = None;
    for (patient, last) in &chosen.patients {
        if let Some(newest) = data.newest_of(patient)?.filter(|newest| newest > last) {
            let (patients, example) = found.unwrap_or((0, newest));
            found = Some((patients + 1, example.min(newest)));
        }
    }
    Ok(found)
}

impl Source {
    /// Reads all files first: one that is no good is told before anything is sent.
    pub fn files(paths: &[PathBuf], listener: &str, limit: Option<usize>) -> anyhow::Result<Source> {
        let mut found = VecDeque::new();
        let mut index = Index::new();
        let now = jiff::Timestamp::now().as_millisecond();
        for path in paths {
            let name = path.display().to_string();
            let bytes = read_messages(path).with_context(|| name.clone())?;
            let (labelled, notes) = messages(&name, &bytes);
            for (label, span) in labelled {
                let raw = bytes[span].to_vec();
                let mut facets = Vec::new();
                index.parse(&raw).with_context(|| label.clone())?;
                Facets::of(&raw, Some(index.message(&raw)), listener.as_bytes(), now).encode(&mut facets);
                let record = Record { received_ms: now, facets, raw, ack: Vec::new() };
                let at_ms = Entry::of(0, &record, &mut index).event_ms;
                found.push_back(Replayed { label, seq: 0, record, at_ms });
            }
            for note in notes {
                eprintln!("{name}: {note}");
            }
        }
        found.truncate(limit.unwrap_or(usize::MAX));
        Ok(Source::Files(found))
    }

    pub fn next(&mut self) -> anyhow::Result<Option<Message>> {
        match self {
            Source::Files(messages) => Ok(messages.pop_front().map(|message| Message::Readable(Box::new(message)))),
            Source::Journal { data, seqs, .. } => {
                let Some(seq) = seqs.next() else { return Ok(None) };
                let label = format!("message {seq}");
                let record = match data.view.record(seq) {
                    Err(crate::journal::Error::Pruned { .. }) => None,
                    record => record?,
                };
                Ok(Some(match record {
                    Some(record) => {
                        let at_ms = Some(record.received_ms);
                        Message::Readable(Box::new(Replayed { label, seq, record, at_ms }))
                    }
                    None => Message::Unreadable(label),
                }))
            }
        }
    }

    /// A message has arrived.
    pub fn arrived(&mut self, message: &Replayed) -> anyhow::Result<()> {
        if let Source::Journal { data, letters: Some(route), .. } = self {
            data.view.state().forget_dead_letter(route, message.seq)?;
        }
        Ok(())
    }
}
