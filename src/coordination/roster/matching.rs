//! Who of the rosters a message is about.
//!
//! First what somebody decided, then identifiers that a guarding field confirms, then sets of fields that name one person, then a score. What does not fit together
//! is put before somebody, and nobody is notified: to tell the wrong people is worse than to tell nobody.
use super::aliases::{Alias, Aliases};
use super::fields::{Demographics, Field, hash_of, hash_of_identifier};
use super::key::PersonKey;
use super::score::{Part, alike, score};
use super::snapshot::{Set, Snapshot};
use super::strangers::Strangers;
use super::systems::{self, Keyed};
use super::values;
use crate::coordination::event::Patient;
use crate::coordination::roster::options::DateForm;

/// Whom a message is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Match {
    /// This person.
    Person(PersonKey, How),
    /// Somebody has to look at it.
    Review {
        /// Why.
        reason: Reason,
        /// Who it may be, sorted.
        candidates: Vec<PersonKey>,
    },
    /// Nobody in the rosters.
    None,
}

impl Match {
    /// The person, where one was found.
    pub fn person(&self) -> Option<PersonKey> {
        match self {
            Match::Person(key, _) => Some(*key),
            _ => None,
        }
    }
}

/// How somebody was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum How {
    /// Somebody said so.
    Decided,
    /// By an identifier of the roster.
    Strong,
    /// By an identifier that other messages have together with one of the roster.
    Alias,
    /// By name, birth and the like.
    Deterministic,
    /// By a score, 0 to 1.
    Score(f64),
}

impl How {
    /// As answers and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            How::Decided => "decided",
            How::Strong => "strong",
            How::Alias => "alias",
            How::Deterministic => "deterministic",
            How::Score(_) => "score",
        }
    }

    /// Whether the message's other identifiers may be learned: nothing is learned from a likeness, nor from what was learned.
    pub fn is_certain(self) -> bool {
        matches!(self, How::Decided | How::Strong | How::Deterministic)
    }
}

/// Why somebody has to look at a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// An identifier agrees, and none of the fields that must agree as well.
    #[error("an identifier is theirs, but none of the fields of strong_guard")]
    Guard,
    /// Identifiers of several people, or another one than theirs in the same system.
    #[error("identifiers that are not of one person")]
    Conflict,
    /// Several people agree in a deterministic set.
    #[error("several people with the same name, birth and the like")]
    Several,
    /// Several people score nearly the same.
    #[error("several people who are as much alike")]
    Close,
    /// Somebody scores between `review` and `accept`, or something speaks against them.
    #[error("somebody who is alike, but not enough")]
    Alike,
    /// More people than can be told apart.
    #[error("more people who are alike than max_candidates")]
    Many,
}

impl Reason {
    /// Every one with its name, as it is stored.
    pub const ALL: [(&'static str, Reason); 6] = [
        ("guard", Reason::Guard),
        ("conflict", Reason::Conflict),
        ("several", Reason::Several),
        ("close", Reason::Close),
        ("alike", Reason::Alike),
        ("many", Reason::Many),
    ];

    /// As answers and the command line write it.
    pub fn name(self) -> &'static str {
        Reason::ALL.into_iter().find(|(_, reason)| *reason == self).map_or("", |(name, _)| name)
    }

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, reason)| reason)
    }
}

/// The next best must score so much less.
const APART: f64 = 0.05;
/// More people than this in one block say nothing of anybody; those whom it alone would find are not found.
const BLOCK_MAX: usize = 4096;

/// What was tried, in order. Holds no value of the patient.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// An identifier was looked up.
    Identifier {
        /// Its system.
        system: String,
        /// Who has it.
        people: Vec<PersonKey>,
        /// Learned, or somebody decided.
        alias: bool,
        /// Those whom a guarding field confirms.
        confirmed: Vec<PersonKey>,
    },
    /// A set of fields was looked up.
    Fields {
        /// As the configuration writes it.
        set: String,
        /// Who agrees in all of it.
        people: Vec<PersonKey>,
    },
    /// A block has too many people to look at.
    Broad {
        /// As the configuration writes it.
        block: String,
    },
    /// Somebody was compared.
    Compared {
        /// Who.
        person: PersonKey,
        /// Their score; none as soon as they could not reach `review`.
        score: Option<f64>,
        /// What each field added.
        parts: Vec<Part>,
        /// Their given name is another one (`given_min`).
        another_given: bool,
    },
}

/// How a match came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Whom it is about.
    pub found: Match,
    /// What was tried, in order.
    pub steps: Vec<Step>,
}

/// People who are compared in full before an explanation stops telling of each.
const EXPLAINED_MAX: usize = 64;

impl Snapshot {
    /// Whom a patient is among the members of the panels.
    pub fn find(&self, patient: &Patient, aliases: &Aliases) -> Match {
        let mut search = Search { snapshot: self, aliases, strangers: None, steps: None };
        search.find(patient)
    }

    /// The same, for whoever asks of the same people again and again.
    pub fn find_again(&self, patient: &Patient, aliases: &Aliases, strangers: &mut Strangers) -> Match {
        let mut search = Search { snapshot: self, aliases, strangers: Some(strangers), steps: None };
        search.find(patient)
    }

    /// The same, with what was tried.
    pub fn explain(&self, patient: &Patient, aliases: &Aliases) -> Explanation {
        let mut search = Search { snapshot: self, aliases, strangers: None, steps: Some(Vec::new()) };
        let found = search.find(patient);
        Explanation { found, steps: search.steps.unwrap_or_default() }
    }

    /// Who somebody of other rosters is among these people: by an identifier and a guarding field, or a set of fields and no other number, as rows of one roster are of one person. Of several
    /// who share an identifier, the only one who has all of theirs.
    pub(super) fn same(&self, others: &Snapshot, key: &PersonKey) -> Option<PersonKey> {
        let person = others.demographics(others.number(key)?);
        let identifiers: Vec<Keyed> =
            others.identifiers(key).map(|(system, value)| (system.to_owned(), value.to_owned())).collect();
        let aliases = Aliases::default();
        let mut search = Search { snapshot: self, aliases: &aliases, strangers: None, steps: None };
        let found = search.by_identifier(&identifiers, &person).or_else(|| search.by_fields(&identifiers, &person));
        found?.person().or_else(|| {
            let has_all = |number: &u32| {
                let has = |(system, value): &Keyed| having(self, system, value).contains(number);
                search.guarded(*number, &person) && identifiers.iter().all(has)
            };
            let (system, value) = identifiers.first()?;
            let mut all = having(self, system, value).into_iter().filter(has_all);
            let one = all.next()?;
            all.next().is_none().then(|| self.key(one))
        })
    }

    /// Who of the rosters has an identifier, sorted.
    pub(in crate::coordination) fn owners(&self, system: &str, value: &str) -> Vec<PersonKey> {
        having(self, system, value).into_iter().map(|person| self.key(person)).collect()
    }

    /// Whether a patient is called as somebody of the rosters is, and was born on that day. Not so where one of it is not told.
    pub(in crate::coordination) fn is_named(&self, key: &PersonKey, patient: &Patient) -> bool {
        let Some(person) = self.number(key) else { return false };
        let (theirs, told) = (self.demographics(person), Subject::guarding(patient));
        let is_told = !told.family.is_empty() && !told.given.is_empty() && told.birth != 0;
        is_told && (theirs.family, theirs.given, theirs.birth) == (&told.family, &told.given, told.birth)
    }

    /// Whether anybody of the rosters has an identifier.
    pub(super) fn is_known(&self, system: &str, value: &str) -> bool {
        !having(self, system, value).is_empty()
    }
}

/// Who of the rosters has an identifier.
fn having(snapshot: &Snapshot, system: &str, value: &str) -> Vec<u32> {
    let Some(number) = snapshot.systems.find(system) else { return Vec::new() };
    let found = snapshot.by_identifier.find(hash_of_identifier(system, value));
    let has = |person: &u32| snapshot.identifiers_of(*person).any(|known| known == (number, value));
    found.filter(has).take(BLOCK_MAX).collect()
}

/// A patient's values as they are compared.
#[derive(Default)]
struct Subject {
    family: String,
    given: String,
    street: String,
    city: String,
    zip: String,
    phone: String,
    birth: u32,
    sex: u8,
}

/// What is known of a patient before they are [`Subject::complete`].
const GUARDING: [Field; 6] =
    [Field::Family, Field::FamilySound, Field::Given, Field::Dob, Field::BirthYear, Field::Sex];

impl Subject {
    fn guarding(patient: &Patient) -> Subject {
        let (mut family, mut given) = (values::family(&patient.family), values::given(&patient.given));
        if values::is_nobody(&family, &given) {
            (family, given) = (String::new(), String::new());
        }
        let birth = values::date(patient.birth_date.get(..8).unwrap_or_default(), DateForm::Compact);
        Subject {
            family,
            given,
            birth: birth.ok().flatten().map_or(0, values::number),
            sex: values::sex(&patient.sex),
            ..Subject::default()
        }
    }

    fn complete(&mut self, patient: &Patient) {
        (self.street, self.city) = (values::address(&patient.street), values::address(&patient.city));
        (self.zip, self.phone) = (values::zip(&patient.zip), values::phone(&patient.phone));
    }

    fn demographics(&self) -> Demographics<'_> {
        Demographics {
            family: &self.family,
            given: &self.given,
            street: &self.street,
            city: &self.city,
            zip: &self.zip,
            phone: &self.phone,
            birth: self.birth,
            sex: self.sex,
        }
    }
}

struct Search<'s> {
    snapshot: &'s Snapshot,
    aliases: &'s Aliases,
    /// Those of whom is known that nobody is like them.
    strangers: Option<&'s mut Strangers>,
    /// What was tried, where somebody wants to know.
    steps: Option<Vec<Step>>,
}

impl Search<'_> {
    fn find(&mut self, patient: &Patient) -> Match {
        let identifiers = systems::of_message(&patient.identifiers);
        if let Some(found) = self.decided(&identifiers) {
            return found;
        }
        // Most are found by an identifier: what only likeness needs is not made before.
        let mut subject = Subject::guarding(patient);
        if !self.snapshot.matching.guard.iter().all(|field| GUARDING.contains(field)) {
            subject.complete(patient);
        }
        if let Some(found) = self.by_identifier(&identifiers, &subject.demographics()) {
            return found;
        }
        let snapshot = self.snapshot;
        if self.strangers.as_mut().is_some_and(|strangers| strangers.has(snapshot, patient)) {
            return Match::None;
        }
        subject.complete(patient);
        let subject = subject.demographics();
        let found = self.by_fields(&identifiers, &subject).unwrap_or_else(|| self.by_score(&identifiers, &subject));
        if let (Match::None, Some(strangers)) = (&found, &mut self.strangers) {
            strangers.add(patient.clone());
        }
        found
    }

    fn tell(&mut self, step: impl FnOnce() -> Step) {
        if let Some(steps) = &mut self.steps {
            steps.push(step());
        }
    }

    /// What somebody said of these identifiers. Who has left the rosters is nobody.
    fn decided(&mut self, identifiers: &[Keyed]) -> Option<Match> {
        if self.aliases.is_empty() {
            return None;
        }
        let mut people: Vec<Option<PersonKey>> = Vec::new();
        for (system, value) in identifiers {
            if let Some(Alias { person, decided: true }) = self.aliases.find(system, value) {
                let person = person.filter(|key| self.snapshot.has(key));
                people.push(person);
                let all: Vec<_> = person.into_iter().collect();
                self.tell(|| Step::Identifier {
                    system: system.clone(),
                    people: all.clone(),
                    alias: true,
                    confirmed: all,
                });
            }
        }
        people.sort_unstable();
        people.dedup();
        match people.as_slice() {
            [] => None,
            [None] => Some(Match::None),
            [Some(key)] => Some(Match::Person(*key, How::Decided)),
            _ => Some(review(Reason::Conflict, people.into_iter().flatten())),
        }
    }

    /// Identifiers of the roster and learned ones, each confirmed by a guarding field.
    fn by_identifier(&mut self, identifiers: &[Keyed], subject: &Demographics<'_>) -> Option<Match> {
        let (mut strong, mut learned, mut refused, mut unfit) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (system, value) in identifiers {
            let people: Vec<u32> = having(self.snapshot, system, value);
            let (confirmed, others): (Vec<u32>, Vec<u32>) =
                people.iter().partition(|person| self.guarded(**person, subject));
            if confirmed.is_empty() {
                refused.extend(others);
            }
            if !people.is_empty() {
                self.tell_identifier(system, &people, &confirmed, false);
            }
            strong.extend(confirmed);
            let alias = if self.aliases.is_empty() { None } else { self.aliases.find(system, value) };
            if let Some(person) = alias.and_then(|alias| alias.person).and_then(|key| self.snapshot.number(&key)) {
                let confirmed: &[u32] = if self.guarded(person, subject) { &[person] } else { &[] };
                self.tell_identifier(system, &[person], confirmed, true);
                // What was learned and does not fit never speaks against an identifier of the roster: record numbers are given again.
                if confirmed.is_empty() { &mut unfit } else { &mut learned }.push(person);
            }
        }
        if strong.is_empty() && learned.is_empty() {
            refused.append(&mut unfit);
        }
        let keys = |people: Vec<u32>| people.into_iter().map(|person| self.snapshot.key(person)).collect::<Vec<_>>();
        if !refused.is_empty() {
            return Some(review(Reason::Guard, keys([refused, strong].concat()).into_iter()));
        }
        let how = if strong.is_empty() { How::Alias } else { How::Strong };
        let mut people = [strong, learned].concat();
        people.sort_unstable();
        people.dedup();
        match people.as_slice() {
            [] => None,
            [one] => Some(Match::Person(self.snapshot.key(*one), how)),
            _ => Some(review(Reason::Conflict, keys(people).into_iter())),
        }
    }

    fn tell_identifier(&mut self, system: &str, people: &[u32], confirmed: &[u32], alias: bool) {
        let snapshot = self.snapshot;
        let keys = |people: &[u32]| people.iter().map(|person| snapshot.key(*person)).collect();
        self.tell(|| Step::Identifier {
            system: system.to_owned(),
            people: keys(people),
            alias,
            confirmed: keys(confirmed),
        });
    }

    fn guarded(&self, person: u32, subject: &Demographics<'_>) -> bool {
        let theirs = self.snapshot.demographics(person);
        self.snapshot.matching.guard.iter().any(|field| theirs.agrees(subject, *field))
    }

    /// Whether somebody is known by another number in a system that the message names.
    fn conflicts(&self, person: u32, identifiers: &[Keyed]) -> bool {
        identifiers.iter().any(|(system, value)| {
            let Some(number) = self.snapshot.systems.find(system) else { return false };
            let mut theirs = self.snapshot.identifiers_of(person).filter(|(known, _)| *known == number).peekable();
            theirs.peek().is_some() && theirs.all(|(_, known)| known != value)
        })
    }

    /// Who agrees in all fields of a set, and whether there were too many to look at.
    fn agreeing(&self, set: &Set, subject: &Demographics<'_>) -> (Vec<u32>, bool) {
        let (mut people, mut broad) = (Vec::new(), false);
        for (way, index) in &set.ways {
            let Some(hash) = hash_of(way, subject) else { continue };
            let found = index.find(hash);
            if found.clone().nth(BLOCK_MAX).is_some() {
                broad = true;
                continue;
            }
            let agrees = |person: &u32| {
                let theirs = self.snapshot.demographics(*person);
                way.iter().all(|field| theirs.agrees(subject, *field))
            };
            people.extend(found.filter(agrees));
        }
        people.sort_unstable();
        people.dedup();
        (people, broad)
    }

    fn by_fields(&mut self, identifiers: &[Keyed], subject: &Demographics<'_>) -> Option<Match> {
        let snapshot = self.snapshot;
        for set in &snapshot.deterministic {
            let (people, broad) = self.agreeing(set, subject);
            let keys = || people.iter().map(|person| snapshot.key(*person));
            if broad {
                self.tell(|| Step::Broad { block: set.name.clone() });
                return Some(review(Reason::Many, keys()));
            }
            if !people.is_empty() {
                self.tell(|| Step::Fields { set: set.name.clone(), people: keys().collect() });
            }
            match people.as_slice() {
                [] => {}
                [one] if self.conflicts(*one, identifiers) => return Some(review(Reason::Conflict, keys())),
                [one] => return Some(Match::Person(snapshot.key(*one), How::Deterministic)),
                _ => return Some(review(Reason::Several, keys())),
            }
        }
        None
    }

    fn by_score(&mut self, identifiers: &[Keyed], subject: &Demographics<'_>) -> Match {
        let snapshot = self.snapshot;
        let matching = &snapshot.matching;
        let mut people = Vec::new();
        for block in &snapshot.blocks {
            let (found, broad) = self.agreeing(block, subject);
            people.extend(found);
            if broad {
                self.tell(|| Step::Broad { block: block.name.clone() });
            }
        }
        people.sort_unstable();
        people.dedup();
        let mut scored: Vec<(f64, u32)> = Vec::new();
        for person in people {
            scored.extend(self.compared(person, subject).map(|score| (score, person)));
        }
        // The best first; of equals the one with the lower key.
        scored.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
        let keys = |most: usize| scored.iter().take(most).map(|(_, person)| snapshot.key(*person));
        let Some((best, person)) = scored.first().copied() else { return Match::None };
        if scored.len() > matching.max_candidates {
            return review(Reason::Many, keys(matching.max_candidates));
        }
        if best < matching.accept {
            return review(Reason::Alike, keys(usize::MAX));
        }
        let close = scored.iter().take_while(|(score, _)| best - score < APART).count();
        if close > 1 {
            return review(Reason::Close, keys(close));
        }
        if self.conflicts(person, identifiers) {
            return review(Reason::Conflict, keys(1));
        }
        let theirs = snapshot.demographics(person);
        // A given name that nobody told could be that of a twin; so could a name of the other sex that looks much the same.
        let told = theirs.has(Field::Given) && !subject.given.is_empty();
        if !told || alike(Field::Sex, &theirs, subject) == Some(0.0) {
            return review(Reason::Alike, keys(1));
        }
        Match::Person(snapshot.key(person), How::Score(best))
    }

    /// The score of somebody; none where they are another one.
    fn compared(&mut self, person: u32, subject: &Demographics<'_>) -> Option<f64> {
        let (snapshot, matching) = (self.snapshot, &self.snapshot.matching);
        let theirs = snapshot.demographics(person);
        let another_given = || alike(Field::Given, subject, &theirs).is_some_and(|alike| alike < matching.given_min);
        let Some(steps) = self.steps.as_mut().filter(|steps| steps.len() < EXPLAINED_MAX) else {
            let score = score(matching, subject, &theirs, matching.review, |_| ())?;
            return (!another_given()).then_some(score);
        };
        let mut parts = Vec::new();
        let score = score(matching, subject, &theirs, matching.review, |part| parts.push(part));
        let (person, another_given) = (snapshot.key(person), another_given());
        steps.push(Step::Compared { person, score, parts, another_given });
        score.filter(|_| !another_given)
    }
}

fn review(reason: Reason, candidates: impl Iterator<Item = PersonKey>) -> Match {
    let mut candidates: Vec<_> = candidates.collect();
    candidates.sort_unstable();
    candidates.dedup();
    candidates.truncate(CANDIDATES_MAX);
    Match::Review { reason, candidates }
}

/// People that somebody is shown to choose from.
const CANDIDATES_MAX: usize = 64;
