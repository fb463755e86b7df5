//! What of the messages reached FHIR: of the fields that hold something, those that a value of the Bundle was read from.
use crate::hl7::{Index, transcode};
use crate::mapping::explain::Explained;
use std::collections::BTreeMap;

/// Sums over messages.
#[derive(Default)]
pub(super) struct Coverage {
    pub populated: usize,
    pub reached: usize,
    /// Fields that did not, by name.
    lost: BTreeMap<String, usize>,
    index: Index,
}

/// Field names that are told apart.
const NAMES_MAX: usize = 10_000;

impl Coverage {
    /// Counts one message that was translated.
    pub fn add(&mut self, raw: &[u8], explained: &Explained) {
        let text = if explained.transcoded { transcode(raw) } else { raw.into() };
        if self.index.parse(&text).is_err() {
            return;
        }
        let message = self.index.message(&text);
        let mut read: Vec<(u32, u32)> =
            explained.values.iter().filter_map(|v| v.source.as_ref()).map(|s| (s.span.start, s.span.end)).collect();
        read.sort_unstable();
        for segment in 0..message.segment_count() {
            let id = message.segment_id(segment);
            // MSH-1 and MSH-2 say how to read the message, not what it is about.
            let first = if id.is_header() { 3 } else { 1 };
            for number in first..=message.field_count(segment) {
                let field = message.field(segment, number);
                if field.is_empty() || message.bytes(field) == b"\"\"" {
                    continue;
                }
                self.populated += 1;
                let from = read.partition_point(|(start, _)| *start < field.start);
                if read.get(from).is_some_and(|(start, _)| *start < field.end) {
                    self.reached += 1;
                } else if self.lost.len() < NAMES_MAX {
                    *self.lost.entry(format!("{id}-{number}")).or_default() += 1;
                }
            }
        }
    }

    /// Of a hundred; 100 where there was nothing.
    pub fn percent(&self) -> f64 {
        if self.populated == 0 { 100.0 } else { self.reached as f64 * 100.0 / self.populated as f64 }
    }

    /// The fields that most often reached nothing, most often first.
    pub fn most_lost(&self, count: usize) -> Vec<(&str, usize)> {
        let mut all: Vec<(&str, usize)> = self.lost.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.truncate(count);
        all
    }
}
