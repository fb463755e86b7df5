//! What leaves a person as it turns out to be another patient's: what was told under a number that is told apart again (A37) or moved (A43), or that somebody said is not theirs, of an account
//! (A44) or a visit (A45) that is moved, and under a number that was another one's by mistake (A47). It leaves the card, and with it the care team, the measures and the loops ([`Gone`]):
//! what another patient did opens, closes and ends no loop of this one.
//!
//! Whose a number is say the rosters of that place of the journal, and messages; so the same leaves when the journal is read again. Where nobody can tell whom something is moved to, it is on
//! no card. It does not go over to the card of whom it is moved to: their messages tell of them. That a visit began and ended does, and is followed up for them: nobody may ever tell of that again.
use super::batch::Batch;
use super::{Error, Parts};
use crate::coordination::PersonKey;
use crate::coordination::card::{self, Account, Head};
use crate::coordination::care_team::{self, Member};
use crate::coordination::event::{Event, Identifier, Patient, VisitKey};
use crate::coordination::lineage::{self, Gone, Under};
use crate::coordination::read::Reading;
use crate::coordination::registry::{self, Entry};
use crate::coordination::roster::reviews::Verdict;
use crate::coordination::roster::{Aliases, Keyed, keyed};
use crate::coordination::sensitivity::visit_text;
use crate::facets::{Facets, patient_key_of};
use crate::hl7::transcode;
use crate::privacy::Found;
use rusqlite::Transaction;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What leaves.
#[derive(Default)]
struct Leaving {
    /// By whose it has been.
    gone: BTreeMap<[u8; 16], Gone>,
    /// The visits of heads.
    stays: BTreeSet<String>,
    /// Visits, the segments that name their patient, and whether somebody else's card told of them.
    moved: Vec<(Range<usize>, VisitKey, bool)>,
}

impl Batch<'_> {
    /// Takes away what the message says is another's; before it is learned from. What happened to whom it is moved to, and whether somebody who is looked after had it until now; `count`: events that came of the message already.
    pub(super) fn leaves(
        &mut self,
        transaction: &Transaction<'_>,
        (seq, facets, raw): (u64, &Facets<'_>, &[u8]),
        count: usize,
    ) -> Result<Vec<(Event, bool)>, Error> {
        if facets.code != b"ADT" || !matches!(facets.event, b"" | b"A37" | b"A43" | b"A44" | b"A45" | b"A47") {
            return Ok(Vec::new());
        }
        let Some(index) = self.parts.fold.parsed() else { return Ok(Vec::new()) };
        let text = transcode(raw);
        let done = match Reading::new(index.message(&text)) {
            Some(reading) => self.left(transaction, (seq, facets, reading), count),
            None => Ok(Vec::new()),
        };
        self.parts.fold.give_back(index);
        done
    }

    fn left(
        &mut self,
        transaction: &Transaction<'_>,
        (seq, facets, reading): (u64, &Facets<'_>, Reading<'_>),
        count: usize,
    ) -> Result<Vec<(Event, bool)>, Error> {
        let mut leaving = Leaving::default();
        let evn = reading.find(reading.all(), b"EVN");
        let trigger = if facets.event.is_empty() { reading.bytes(evn, 1, 1) } else { facets.event };
        if trigger == b"A37" {
            self.parted(transaction, reading, &mut leaving)?;
        }
        let all = if matches!(trigger, b"A43" | b"A44" | b"A45" | b"A47") { reading.all() } else { 0..0 };
        for mrg in reading.segments(all.clone(), b"MRG") {
            let Some(pid) = reading.segments(0..mrg, b"PID").last() else { continue };
            let end = reading.segments(mrg + 1..all.end, b"MRG").next().unwrap_or(all.end);
            self.moved_on(transaction, (reading, trigger), (pid, mrg, end), &mut leaving)?;
        }
        self.disown(transaction, leaving.gone)?;
        let mut events = Vec::new();
        for (patient, visit, was_anothers) in leaving.moved {
            let (told, count) = ((seq, facets, reading), count + events.len());
            let moved = self.parts.fold.moved(transaction, told, (patient, &visit), count)?;
            events.extend(moved.into_iter().map(|event| (event, was_anothers)));
        }
        Ok(events)
    }

    /// Two patients are told apart: what came under the number of one of them leaves the card of the other.
    fn parted(
        &mut self,
        transaction: &Transaction<'_>,
        reading: Reading<'_>,
        leaving: &mut Leaving,
    ) -> Result<(), Error> {
        let mut pids = reading.segments(reading.all(), b"PID");
        let (Some(first), Some(second)) = (pids.next(), pids.next()) else { return Ok(()) };
        let sides = [first, second].map(|pid| keyed(&reading.identifiers(pid, 3)));
        let patients = [first, second].map(|pid| reading.patient(pid));
        let mut people = BTreeSet::new();
        for (pid, side) in [first, second].into_iter().zip(&sides) {
            people.extend(self.find(&reading.patient(pid)).person().map(|key| key.0));
            people.extend(self.named(side));
            people.extend(self.told_by(transaction, reading, (pid, 3))?);
        }
        for head in self.heads(transaction, people)? {
            let owner = lineage::known_as(transaction, head.head.origin).map_err(Error::database)?;
            let is_own = self.own_sides(transaction, owner, (&sides, &patients))?;
            let is_under = [0, 1].map(|side| meet(&head.names, &sides[side]));
            // What names the person, too, was told of the person.
            let is_others = match is_own {
                [true, true] => false,
                // Of neither is it known: what was told in another name was told of somebody else.
                [false, false] => is_under != [false, false] && !self.snapshot.is_named(&owner, &head.patient),
                [true, false] => is_under == [false, true],
                [false, true] => is_under == [true, false],
            };
            if is_others && !self.is_theirs(owner, &head.names) {
                drop_head(transaction, &head, leaving)?;
            }
        }
        Ok(())
    }

    /// Which sides of an unlink are somebody: those that have a number that the rosters know as theirs, or that is told with such a one, or else that somebody decided on, or else that the
    /// rosters find to be them, or else their name and birth.
    fn own_sides(
        &self,
        transaction: &Transaction<'_>,
        owner: PersonKey,
        (sides, patients): (&[Vec<Keyed>; 2], &[Patient; 2]),
    ) -> Result<[bool; 2], Error> {
        let mut is_own = [0, 1].map(|side| self.is_theirs(owner, &sides[side]));
        if is_own == [false, false] {
            for head in self.heads(transaction, BTreeSet::from([owner.0]))? {
                let of_owner = lineage::known_as(transaction, head.head.origin).map_err(Error::database)? == owner;
                for side in [0, 1].into_iter().filter(|_| of_owner && self.is_theirs(owner, &head.names)) {
                    is_own[side] |= meet(&head.names, &sides[side]) && !meet(&head.names, &sides[1 - side]);
                }
            }
        }
        if is_own == [false, false] {
            // Somebody said whose they are.
            let decided = |(system, value): &Keyed| {
                let alias = self.parts.aliases.find(system, value);
                alias.is_some_and(|alias| alias.decided && alias.person == Some(owner))
            };
            is_own = [0, 1].map(|side| sides[side].iter().any(decided));
        }
        if is_own == [false, false] {
            // By what the rosters alone say of them.
            let nothing = Aliases::default();
            is_own = [0, 1].map(|side| self.snapshot.find(&patients[side], &nothing).person() == Some(owner));
        }
        if is_own == [false, false] {
            is_own = [0, 1].map(|side| self.snapshot.is_named(&owner, &patients[side]));
        }
        Ok(is_own)
    }

    /// What was told under a number, of an account or of a visit is of another patient, or of one who is known by another number.
    fn moved_on(
        &mut self,
        transaction: &Transaction<'_>,
        (reading, trigger): (Reading<'_>, &[u8]),
        (pid, mrg, end): (usize, usize, usize),
        leaving: &mut Leaving,
    ) -> Result<(), Error> {
        let from_field = if reading.identifiers(mrg, 1).is_empty() { 4 } else { 1 };
        let (from, to) = (keyed(&reading.identifiers(mrg, from_field)), keyed(&reading.identifiers(pid, 3)));
        let is_number = matches!(trigger, b"A43" | b"A47");
        // From one account to another of the same patient.
        if !is_number && meet(&from, &to) {
            return Ok(());
        }
        // The number that is moved says nothing of whom it is moved to.
        let mut patient = reading.patient(pid);
        let others = |one: &Identifier| !meet(&keyed(std::slice::from_ref(one)), &from);
        if patient.identifiers.iter().any(others) {
            patient.identifiers.retain(others);
        }
        let target = self.find(&patient).person();
        let target = target.map(|target| lineage::root(transaction, target)).transpose().map_err(Error::database)?;
        let mut people = self.named(&from);
        people.extend(self.told_by(transaction, reading, (mrg, from_field))?);
        if is_number {
            // A43 names the number on both sides beside those of whom it was and is; A47 the one before and the one after.
            let is_both = |one: &Keyed| to.contains(one) == (trigger == b"A43");
            let some: Vec<Keyed> = from.iter().filter(|one| is_both(one)).cloned().collect();
            let moved = if some.is_empty() && trigger == b"A43" { from } else { some };
            // Whose number changes is the same patient (v2.5.1, 3.3.47), also where nobody knows whom the message names.
            let same = (trigger == b"A47" && target.is_none()).then_some(&patient);
            self.renumbered(transaction, (people, target), (&moved, same), leaving)?;
            let stays = std::mem::take(&mut leaving.stays);
            // Whose number changes goes on being looked after.
            let target = target.filter(|_| trigger == b"A43");
            happened_to(target, &(pid..end), (&stays, &stays), leaving);
            return Ok(());
        }
        let mut lost = BTreeSet::new();
        let mut moved = if trigger == b"A45" { visits(reading, mrg..end) } else { BTreeSet::new() };
        let mut owners = BTreeSet::new();
        for key in people {
            owners.insert(lineage::root(transaction, PersonKey(key)).map_err(Error::database)?.0);
        }
        for owner in owners.into_iter().map(PersonKey).filter(|owner| Some(*owner) != target) {
            let stays = if trigger == b"A44" {
                let field =
                    |segment, field| Account::of(reading.field(segment, field), reading.segment(reading.header()));
                let Some(account) = field(mrg, 3).or_else(|| field(pid, 18)) else { continue };
                card::drop_of_account(transaction, owner, &account).map_err(Error::database)?
            } else {
                let stays = moved.clone();
                lost.extend(card::stays_of(transaction, owner).map_err(Error::database)?);
                let dropped = stays.iter().try_for_each(|stay| card::drop_of_stay(transaction, owner, stay));
                dropped.map_err(Error::database)?;
                stays
            };
            if trigger == b"A44" {
                moved.extend(stays.iter().cloned());
                lost.extend(stays.iter().cloned());
            }
            leaving.gone.entry(owner.0).or_default().visits.extend(stays);
        }
        happened_to(target, &(pid..end), (&moved, &lost), leaving);
        Ok(())
    }

    /// Numbers are of another patient: what was told under them leaves every card but theirs, and nothing is learned from messages of before.
    fn renumbered(
        &mut self,
        transaction: &Transaction<'_>,
        (people, target): (BTreeSet<[u8; 16]>, Option<PersonKey>),
        (numbers, same): (&[Keyed], Option<&Patient>),
        leaving: &mut Leaving,
    ) -> Result<(), Error> {
        let is_same = |one: &Patient| {
            same.is_some_and(|same| {
                !same.birth_date.is_empty()
                    && same.birth_date == one.birth_date
                    && same.given.eq_ignore_ascii_case(&one.given)
                    && same.family.eq_ignore_ascii_case(&one.family)
            })
        };
        let mut is_known = false;
        // Of a patient whose number changes nothing is another's but what the card cannot tell apart.
        let mut of_card = Leaving::default();
        let leaving = if same.is_some() { &mut of_card } else { leaving };
        for head in self.heads(transaction, people)? {
            if meet(&head.known_by, numbers) && is_same(&head.patient) {
                is_known = true;
                continue;
            }
            if meet(&head.known_by, numbers) && Some(head.head.person) != target {
                drop_head(transaction, &head, leaving)?;
            }
        }
        for (system, value) in numbers.iter().filter(|_| !is_known) {
            let learned = self.parts.aliases.find(system, value).and_then(|alias| alias.person);
            let Some(learned) = learned else { continue };
            if Some(lineage::root(transaction, learned).map_err(Error::database)?) != target {
                self.parts.aliases.forget(transaction, system, value).map_err(Error::database)?;
            }
        }
        Ok(())
    }

    /// Whom a decision that takes effect may be about: those whose its numbers have been.
    pub(super) fn decided_before(&self, entry: &Entry) -> BTreeSet<[u8; 16]> {
        let verdict = verdict(entry);
        verdict.map(|verdict| self.named(&verdict.identifiers)).unwrap_or_default()
    }

    /// Takes off cards what was told under the numbers of a decision and is somebody else's by it.
    pub(super) fn decided(
        &mut self,
        transaction: &Transaction<'_>,
        entry: &Entry,
        people: BTreeSet<[u8; 16]>,
    ) -> Result<(), Error> {
        let Some(verdict) = verdict(entry) else { return Ok(()) };
        let mut leaving = Leaving::default();
        for head in self.heads(transaction, people)? {
            let owner = lineage::known_as(transaction, head.head.origin).map_err(Error::database)?;
            if meet(&head.names, &verdict.identifiers) && self.find(&head.patient).person() != Some(owner) {
                drop_head(transaction, &head, &mut leaving)?;
            }
        }
        self.disown(transaction, leaving.gone)
    }

    /// Everybody whose one of these numbers is, by the rosters or as was learned.
    fn named(&self, numbers: &[Keyed]) -> BTreeSet<[u8; 16]> {
        let mut people = BTreeSet::new();
        for (system, value) in numbers {
            people.extend(self.snapshot.owners(system, value).iter().map(|key| key.0));
            people.extend(self.parts.aliases.find(system, value).and_then(|alias| alias.person).map(|key| key.0));
        }
        people
    }

    /// Everybody on whose card something is told under one of the numbers of a field, however they were found.
    fn told_by(
        &self,
        transaction: &Transaction<'_>,
        reading: Reading<'_>,
        (segment, field): (usize, usize),
    ) -> Result<BTreeSet<[u8; 16]>, Error> {
        let mut people = BTreeSet::new();
        for number in reading.repetitions(segment, field) {
            let number = card::number_key(patient_key_of(reading.whole(number, 4), reading.whole(number, 1)));
            let heads = card::heads_of_number(transaction, &number).map_err(Error::database)?;
            people.extend(heads.iter().map(|head| head.origin.0));
        }
        Ok(people)
    }

    /// Whether the rosters know one of these numbers as that of somebody.
    fn is_theirs(&self, person: PersonKey, numbers: &[Keyed]) -> bool {
        numbers.iter().any(|(system, value)| self.snapshot.owners(system, value).contains(&person))
    }

    /// The heads of cards, by what they name.
    fn heads(&self, transaction: &Transaction<'_>, people: BTreeSet<[u8; 16]>) -> Result<Vec<Named>, Error> {
        let mut roots = BTreeSet::new();
        for key in people {
            roots.insert(lineage::root(transaction, PersonKey(key)).map_err(Error::database)?.0);
        }
        let mut all = Vec::new();
        for key in roots {
            let heads = card::heads_of(transaction, PersonKey(key)).map_err(Error::database)?;
            all.extend(heads.into_iter().filter_map(Named::of));
        }
        Ok(all)
    }

    /// What left the card leaves all else.
    fn disown(&mut self, transaction: &Transaction<'_>, gone: BTreeMap<[u8; 16], Gone>) -> Result<(), Error> {
        for (person, mut gone) in gone {
            let person = PersonKey(person);
            gone.kept = card::stays_of(transaction, person).map_err(Error::database)?;
            // Of the same number something stays that names the person, too.
            let left = self.heads(transaction, BTreeSet::from([person.0]))?;
            let is_left = |under: &Under| left.iter().any(|head| head.under() == *under);
            gone.under.retain(|under| !is_left(under));
            care_team::disown(transaction, person, &gone).map_err(Error::database)?;
            let memberships: Vec<_> = self.snapshot.memberships_at(&person, self.now_ms).collect();
            let members: Vec<_> = memberships.iter().map(Member::of).collect();
            let team = care_team::team(transaction, person, &members, self.now_ms, &self.options.care_team);
            let team = team.map_err(Error::database)?.numbers();
            let Parts { tracker, measures, .. } = &mut *self.parts;
            let since = (&team[..], self.now_ms);
            let outcomes = tracker.disown(transaction, person, &gone, since).map_err(Error::database)?;
            let changed = measures.disown(transaction, person, &gone)?;
            self.note(transaction, &changed)?;
            self.outcomes(transaction, outcomes, Found::default())?;
        }
        Ok(())
    }
}

/// Takes a head off a card, with what was told with it.
fn drop_head(transaction: &Transaction<'_>, head: &Named, leaving: &mut Leaving) -> Result<(), Error> {
    let (under, head) = (head.under(), &head.head);
    for stay in card::drop_head(transaction, head).map_err(Error::database)? {
        care_team::forget_visit(transaction, head.person, &stay).map_err(Error::database)?;
        leaving.stays.insert(stay);
    }
    leaving.gone.entry(head.person.0).or_default().under.push(under);
    Ok(())
}

/// Notes visits that are somebody's whose they were not.
fn happened_to(
    target: Option<PersonKey>,
    patient: &Range<usize>,
    (stays, lost): (&BTreeSet<String>, &BTreeSet<String>),
    leaving: &mut Leaving,
) {
    if target.is_none() {
        return;
    }
    for stay in stays {
        let Some((authority, number)) = stay.split_once('|') else { continue };
        let visit = VisitKey { authority: authority.to_owned(), number: number.to_owned(), weak: false };
        let is_lost = lost.contains(stay);
        // A message may name one visit under several numbers of its patient.
        match leaving.moved.iter_mut().find(|(_, known, _)| *known == visit) {
            Some((.., known)) => *known |= is_lost,
            None => leaving.moved.push((patient.clone(), visit, is_lost)),
        }
    }
}

/// A head, and whom it names.
struct Named {
    head: Head,
    patient: Patient,
    names: Vec<Keyed>,
    /// The number by which its sender knows the patient.
    known_by: Vec<Keyed>,
    /// The same, as what is told under it has it.
    told_as: i64,
}

impl Named {
    fn under(&self) -> Under {
        Under { origin: self.head.origin, told_as: self.told_as }
    }

    fn of(head: Head) -> Option<Named> {
        let (patient, feed) = head.read(|reading, pid| (reading.patient(pid), reading.feed()))?;
        let known_by = keyed(patient.known_by().map(std::slice::from_ref).unwrap_or_default());
        Some(Named { names: keyed(&patient.identifiers), known_by, told_as: patient.told_as(&feed), head, patient })
    }
}

fn verdict(entry: &Entry) -> Option<Verdict> {
    if entry.what.kind() != registry::Kind::MatchDecision {
        return None;
    }
    Verdict::parse(entry.what.id(), entry.what.body()?)
}

fn meet(some: &[Keyed], others: &[Keyed]) -> bool {
    some.iter().any(|one| others.contains(one))
}

/// The visits that a move names: MRG-5, PV1-19.
fn visits(reading: Reading<'_>, within: Range<usize>) -> BTreeSet<String> {
    let pv1 = reading.find(within.clone(), b"PV1");
    let fields = [Some((within.start, 5)), pv1.map(|pv1| (pv1, 19))];
    let visits = fields.into_iter().flatten().filter_map(|(segment, field)| reading.visit(segment, field));
    visits.map(|visit| visit_text(&visit)).collect()
}
