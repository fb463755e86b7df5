//! The definitions, as they are held against facts: texts have become words, and each word is asked once which of the lists it stands in.
use super::definition::{Definition, Options};
use super::fact::{CODED, Coded, Fact, Facts, LEFT, TEAM};
use super::marks::Marks;
use super::words::{Sort, Words};
use crate::coordination::Kind;
use crate::coordination::loops::{FINISHED, Pattern, Setting, Span, same_system};
use crate::privacy::Labels;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Lists of codes in all patterns; each takes a bit.
pub const CODE_LISTS_MAX: usize = 128;
/// Labels that facts tell apart; what comes beyond them is the last one, which nobody is cleared for.
pub const LABELS_MAX: usize = 63;
/// The label of what is known by no name any more.
const UNKNOWN: u64 = 1 << LABELS_MAX;

/// Sees facts as the definitions do.
#[derive(Debug)]
pub struct Lens {
    definitions: Vec<Definition>,
    setting: Setting,
    /// By the place of the definition.
    pub(super) compiled: Vec<Compiled>,
    lists: Vec<List>,
    /// By word: in which lists it stands.
    in_lists: Vec<u128>,
    /// By word of a facility, what it is; by word of a set of panels, their words.
    places: Vec<Place>,
    /// Labels by their bit.
    labels: Vec<String>,
    /// Labels that words carry.
    pub(super) marks: Marks,
    fingerprint: [u8; 32],
}

/// What a word stands for.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The name of a panel.
    name: String,
    /// The NPI of a facility, or of the owner of a panel.
    npi: Option<String>,
    /// The kind of a facility.
    kind: Option<String>,
    /// The panels of a set.
    panels: Vec<u32>,
}

/// A definition whose patterns are compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub open: Vec<Fit>,
    pub close: Vec<Fit>,
    pub void: u32,
    pub exclude: u32,
    /// The kinds of closers.
    pub closers: u32,
}

/// A pattern.
#[derive(Debug)]
pub(super) struct Fit {
    pub kinds: u32,
    pub same_visit: bool,
    pub care_team: bool,
    pub panel_org: bool,
    /// Days in which an appointment starts.
    pub starts_within: Option<Span>,
    /// Bits of lists; 0 asks nothing.
    loinc: u128,
    loinc_not: u128,
    diagnosis: u128,
    codes: u128,
    value_min: Option<f64>,
    pub(super) pattern: Pattern,
    class: Vec<u32>,
    disposition: Vec<u32>,
    disposition_not: Vec<u32>,
    trigger: Vec<u32>,
    completion: Vec<u32>,
    facilities: Vec<u32>,
}

/// A list of codes.
#[derive(Debug, Clone, PartialEq)]
enum List {
    Loinc(Vec<String>),
    Diagnosis(Vec<String>),
    Codes(Vec<(String, String)>),
}

impl List {
    fn has(&self, sort: Sort, system: &str, code: &str) -> bool {
        match self {
            List::Loinc(all) => same_system("LOINC", system) && all.iter().any(|one| one == code),
            List::Diagnosis(all) => sort == Sort::Diagnosis && all.iter().any(|one| code.starts_with(one.as_str())),
            List::Codes(all) => all.iter().any(|(own, one)| one == code && same_system(own, system)),
        }
    }
}

pub(super) fn bit(kind: Kind) -> u32 {
    1 << kind as u32
}

impl Lens {
    /// For these definitions and labels, with the words that there are.
    pub fn new(options: &Options, setting: &Setting, labels: &Arc<Labels>, words: &Words) -> Lens {
        let mut lists: Vec<List> = Vec::new();
        let compiled = options.definitions.iter().map(|one| compile(one, &mut lists)).collect();
        let mut lens = Lens {
            definitions: options.definitions.clone(),
            setting: setting.clone(),
            compiled,
            lists,
            in_lists: vec![0],
            places: vec![Place::default()],
            labels: Vec::new(),
            marks: Marks::new(labels),
            fingerprint: fingerprint(options, setting, labels),
        };
        (1..=words.len()).for_each(|number| lens.learn(number, words));
        lens
    }

    /// SHA-256 over all that decides what facts become.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The definitions.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// The setting.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The labels by their bits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The bits of labels; one that is not known has the last.
    pub fn bits<'n>(&self, names: impl Iterator<Item = &'n str>) -> u64 {
        bits_of(&self.labels, names)
    }

    /// The panels of a set of them.
    pub fn panels(&self, set: u32) -> &[u32] {
        self.places.get(set as usize).map_or(&[], |place| place.panels.as_slice())
    }

    /// The same of one that may not be a word yet.
    pub fn asks_text(&self, sort: Sort, text: &str) -> bool {
        let (system, code) = text.split_once('|').unwrap_or(("", text));
        self.lists.iter().any(|list| list.has(sort, system, code))
    }

    /// Sees a new word.
    pub fn learn(&mut self, number: u32, words: &Words) {
        let at = number as usize;
        if self.in_lists.len() <= at {
            self.in_lists.resize(at + 1, 0);
            self.places.resize(at + 1, Place::default());
        }
        let Some((sort, text)) = words.word(number) else { return };
        let mut place = Place::default();
        match sort {
            Sort::Diagnosis | Sort::Code => {
                let (system, code) = text.split_once('|').unwrap_or(("", text));
                let found = self.lists.iter().enumerate().filter(|(_, list)| list.has(sort, system, code));
                self.in_lists[at] = found.fold(0, |all, (bit, _)| all | 1 << bit);
            }
            Sort::Facility => {
                let known = self.setting.facilities.by_key.get(text);
                place.npi = known.and_then(|known| known.npi.clone());
                place.kind = known.and_then(|known| known.kind.clone());
            }
            Sort::Panel => {
                let owner = self.setting.panels.get(text).map(|panel| panel.owner_npi.clone());
                place.npi = owner.filter(|npi| !npi.is_empty());
                text.clone_into(&mut place.name);
            }
            Sort::Panels => {
                place.panels = text.split(' ').filter_map(|panel| words.find(Sort::Panel, panel)).collect();
            }
            Sort::Label if self.labels.len() < LABELS_MAX => self.labels.push(text.to_owned()),
            _ => {}
        }
        for fit in self.compiled.iter_mut().flat_map(|one| one.open.iter_mut().chain(&mut one.close)) {
            fit.learn(number, (sort, text), place.kind.as_deref());
        }
        self.places[at] = place;
        self.marks.learn(number, (sort, text), &self.setting.facilities);
        let Lens { marks, labels, .. } = self;
        marks.name(sort == Sort::Label, |names| bits_of(labels, names.iter().copied()));
    }

    /// Whether a panel is one of these.
    pub(super) fn is_one_of(&self, panel: u32, named: &[String]) -> bool {
        self.places.get(panel as usize).is_some_and(|place| named.contains(&place.name))
    }

    /// The kind of a facility.
    pub(super) fn kind_of(&self, facility: u32) -> Option<&str> {
        self.places.get(facility as usize).and_then(|place| place.kind.as_deref())
    }

    /// Whether a fact is one that a pattern means, in all that lies in it alone: the labels of what tells so.
    pub(super) fn fits(&self, fit: &Fit, fact: &Fact, facts: &Facts) -> Option<u64> {
        let one_of = |asked: bool, list: &[u32], word: u32| !asked || list.contains(&word);
        let pattern = &fit.pattern;
        let plain = fit.kinds >> fact.kind & 1 == 1
            && (one_of(!pattern.class.is_empty(), &fit.class, fact.class) || fit.class.contains(&fact.ended_as))
            && one_of(!pattern.disposition.is_empty(), &fit.disposition, fact.disposition)
            && !fit.disposition_not.contains(&fact.disposition)
            && one_of(!pattern.trigger.is_empty(), &fit.trigger, fact.trigger)
            && one_of(fact.kind == Kind::Document as u8, &fit.completion, fact.completion)
            && one_of(pattern.facility_type.is_some(), &fit.facilities, fact.facility);
        if !plain {
            return None;
        }
        let codes = facts.codes(fact);
        let coded = self.coded(fit, fact, codes)?;
        Some(fact.whole | coded)
    }

    /// The labels of the codes by which a fact counts; none where it has not those that are asked for.
    fn coded(&self, fit: &Fit, fact: &Fact, codes: &[Coded]) -> Option<u64> {
        let lists = |code: &Coded| self.in_lists.get(code.word as usize).copied().unwrap_or(0);
        if fit.loinc_not != 0 && (!fact.has(CODED) || codes.iter().any(|code| lists(code) & fit.loinc_not != 0)) {
            return None;
        }
        let enough = |code: &&Coded| {
            fit.value_min.is_none_or(|least| code.value.is_some_and(|value| thousandth(value) >= least))
        };
        // Of several the one that says least.
        let found = |list: u128, is: &dyn Fn(&&Coded) -> bool| match list {
            0 => Some(0),
            list => {
                let named = codes.iter().filter(|code| lists(code) & list != 0).filter(is);
                named.map(|code| code.labels).min_by_key(|labels| (labels.count_ones(), *labels))
            }
        };
        Some(
            found(fit.loinc, &enough)?
                | found(fit.diagnosis, &|code| code.principal || !fit.pattern.icd10_principal)?
                | found(fit.codes, &|_| true)?,
        )
    }

    /// The value of what a pattern asks for by its LOINC code.
    pub(super) fn value(&self, fit: &Fit, fact: &Fact, facts: &Facts) -> Option<f64> {
        let named = |code: &&Coded| self.in_lists.get(code.word as usize).is_some_and(|lists| lists & fit.loinc != 0);
        facts.codes(fact).iter().filter(named).find_map(|code| code.value).map(thousandth)
    }

    /// Whether an event with that code (0: any) at a facility is one by which somebody of a panel would be told: as far as its code and those who acted tell.
    pub(super) fn would_tell(&self, fit: &Fit, (facility, code, team): (u32, u32, u32), panel: u32) -> bool {
        let npi = |word: u32| self.places.get(word as usize).and_then(|place| place.npi.as_ref());
        let asked = fit.loinc | fit.codes | fit.diagnosis;
        let lists = self.in_lists.get(code as usize).copied().unwrap_or(0);
        if asked != 0 && lists & asked == 0 {
            return false;
        }
        if !fit.care_team && !fit.panel_org {
            return true;
        }
        (fit.care_team && team != 0 && code == team)
            || (fit.panel_org && npi(facility).is_some_and(|own| npi(panel) == Some(own)))
    }

    /// Whether a fact is with somebody who looks after a person in these panels.
    pub(super) fn with_provider(&self, fit: &Fit, fact: &Fact, panels: &[u32]) -> bool {
        if !fit.care_team && !fit.panel_org {
            return true;
        }
        let npi = |word: u32| self.places.get(word as usize).and_then(|place| place.npi.as_ref());
        let at_owner = || npi(fact.facility).is_some_and(|own| panels.iter().any(|panel| npi(*panel) == Some(own)));
        (fit.care_team && fact.has(TEAM)) || (fit.panel_org && at_owner())
    }
}

fn bits_of<'n>(labels: &[String], names: impl Iterator<Item = &'n str>) -> u64 {
    let one = |name: &str| labels.iter().position(|label| label == name).map_or(UNKNOWN, |at| 1 << at);
    names.fold(0, |all, name| all | one(name))
}

#[expect(clippy::cast_precision_loss, reason = "scores are small")]
fn thousandth(value: i64) -> f64 {
    value as f64 / 1000.0
}

impl Fit {
    fn new(pattern: &Pattern, lists: &mut Vec<List>) -> Fit {
        let mut list = |is_empty: bool, list: List| -> u128 {
            if is_empty {
                return 0;
            }
            let at = lists.iter().position(|known| *known == list).unwrap_or_else(|| {
                lists.push(list);
                lists.len() - 1
            });
            // Configuration refuses more.
            if at < CODE_LISTS_MAX { 1 << at } else { 0 }
        };
        let kinds = pattern.kinds.iter().fold(0, |all, kind| all | bit(*kind));
        Fit {
            kinds: if kinds == 0 { !(1 << LEFT) } else { kinds },
            same_visit: pattern.same_visit,
            care_team: pattern.provider.care_team,
            panel_org: pattern.provider.panel_org,
            starts_within: pattern.starts_within,
            loinc: list(pattern.loinc.is_empty(), List::Loinc(pattern.loinc.clone())),
            loinc_not: list(pattern.loinc_not.is_empty(), List::Loinc(pattern.loinc_not.clone())),
            diagnosis: list(pattern.icd10_prefix.is_empty(), List::Diagnosis(pattern.icd10_prefix.clone())),
            codes: list(pattern.codes.is_empty(), List::Codes(pattern.codes.clone())),
            value_min: pattern.value_min,
            pattern: pattern.clone(),
            class: Vec::new(),
            disposition: Vec::new(),
            disposition_not: Vec::new(),
            trigger: Vec::new(),
            completion: Vec::new(),
            facilities: Vec::new(),
        }
    }

    fn learn(&mut self, number: u32, (sort, text): (Sort, &str), kind: Option<&str>) {
        let pattern = &self.pattern;
        let note = |list: &mut Vec<u32>, is: bool| {
            if is {
                list.push(number);
            }
        };
        let has = |list: &[String]| list.iter().any(|one| one == text);
        match sort {
            Sort::Class => note(&mut self.class, has(&pattern.class)),
            Sort::Disposition => {
                note(&mut self.disposition, has(&pattern.disposition));
                note(&mut self.disposition_not, has(&pattern.disposition_not));
            }
            Sort::Trigger => note(&mut self.trigger, has(&pattern.trigger)),
            // A document that may still change tells nobody anything for sure.
            Sort::Completion => {
                let finished = pattern.completion.is_empty() && FINISHED.contains(&text);
                note(&mut self.completion, finished || has(&pattern.completion));
            }
            Sort::Facility => {
                let is = pattern.facility_type.is_some() && pattern.facility_type.as_deref() == kind;
                note(&mut self.facilities, is);
            }
            _ => {}
        }
    }
}

fn compile(definition: &Definition, lists: &mut Vec<List>) -> Compiled {
    let bits = |kinds: &[Kind]| kinds.iter().fold(0, |all, kind| all | bit(*kind));
    let open: Vec<_> = definition.open.iter().map(|pattern| Fit::new(pattern, lists)).collect();
    let close: Vec<_> = definition.close.iter().map(|pattern| Fit::new(pattern, lists)).collect();
    let closers = close.iter().fold(0, |all, fit| all | fit.kinds);
    Compiled { open, close, void: bits(&definition.void), exclude: bits(&definition.exclude), closers }
}

/// How many lists of codes the definitions have.
pub fn code_lists(options: &Options) -> usize {
    let mut lists = Vec::new();
    options.definitions.iter().for_each(|one| _ = compile(one, &mut lists));
    lists.len()
}

fn fingerprint(options: &Options, setting: &Setting, labels: &Labels) -> [u8; 32] {
    let mut sha = Sha256::new();
    // Changes with what facts become of the same definitions.
    sha.update(b"measures 4");
    sha.update(format!("{:?}", options.definitions));
    for (key, facility) in &setting.facilities.by_key {
        sha.update(format!("{key:?} {:?} {:?} {}", facility.npi, facility.kind, facility.part2));
    }
    for (id, panel) in &setting.panels {
        sha.update(format!("{id:?} {:?}", panel.owner_npi));
    }
    for label in labels.labels(labels.every()) {
        sha.update(format!("{label:?}"));
    }
    sha.finalize().into()
}
