//! The labels that the words of facts carry as the configuration says it now: codes and facilities. What was told before a label was configured is marked by it as well, as far as facts tell;
//! a label that a fact was given stays, whether it is configured any more or not.
use super::words::Sort;
use crate::coordination::event::Confidentiality;
use crate::coordination::options::Facilities;
use crate::coordination::sensitivity::{Said, found};
use crate::privacy::{Labels, Set};
use std::sync::Arc;

/// Which words carry labels.
#[derive(Debug)]
pub(super) struct Marks {
    labels: Arc<Labels>,
    /// Words that carry any.
    marked: Vec<(u32, Set)>,
    /// By word: the bits of its labels.
    bits: Vec<u64>,
}

impl Marks {
    pub fn new(labels: &Arc<Labels>) -> Marks {
        Marks { labels: Arc::clone(labels), marked: Vec::new(), bits: vec![0] }
    }

    /// Sees a new word; whether it carries any.
    pub fn learn(&mut self, number: u32, (sort, text): (Sort, &str), facilities: &Facilities) {
        if self.bits.len() <= number as usize {
            self.bits.resize(number as usize + 1, 0);
        }
        let set = match sort {
            Sort::Diagnosis | Sort::Code => {
                let (system, code) = text.split_once('|').unwrap_or(("", text));
                self.labels.of_code(system, code)
            }
            Sort::Facility => {
                let confidentiality = &Confidentiality::default();
                let said = Said { facility: text, feed: "", codes: &[], confidentiality };
                found(&self.labels, facilities, said, &[]).whole
            }
            _ => Set::EMPTY,
        };
        if !set.is_empty() {
            self.marked.push((number, set));
        }
    }

    /// Gives the words that carry labels the bits of these: all of them, or the last one that was learned.
    pub fn name(&mut self, all: bool, bits: impl Fn(&[&str]) -> u64) {
        let from = if all { 0 } else { self.marked.len().saturating_sub(1) };
        for (number, set) in self.marked.get(from..).unwrap_or_default() {
            if let Some(own) = self.bits.get_mut(*number as usize) {
                *own = bits(&self.labels.names(*set));
            }
        }
    }

    /// The bits of the labels of a word.
    pub fn of(&self, word: u32) -> u64 {
        self.bits.get(word as usize).copied().unwrap_or(0)
    }

    /// The bits of the labels of each word; none where no word carries any.
    pub fn bits(&self) -> Option<&[u64]> {
        (!self.marked.is_empty()).then_some(&self.bits)
    }
}
