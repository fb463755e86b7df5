//! A slow twin of the measures, written from the words of the guide: it reads events as they are, keeps nothing but them, knows one viewer at a time and looks at everything for
//! everything. What it counts must be what the counters say.
use super::*;
use crate::coordination::lineage;
use crate::coordination::loops::{Pattern, Span};
use crate::coordination::measures::{Clock, Definition, FACTS_MAX, KEPT_MS, Rate, spans};
use std::collections::{BTreeMap, BTreeSet};

/// Beside what is shipped: appointments, transfers and documents.
const MORE: &str = r#"
[[coordination.measure]]
id = "booked"
title = "Booked within two weeks"
open = { event = "discharge" }
due = "14d"
late_until = "30d"
close = { event = "appointment-booked", starts_within = "14d", provider = "careteam" }
[[coordination.measure]]
id = "moved"
title = "Admitted where they were moved"
open = { event = "transfer" }
due = "5d"
close = { event = "admission", same_visit = true }
[[coordination.measure]]
id = "told"
title = "Told within hours"
panels = ["pcmh-chfm"]
clock = "received"
open = { event = "discharge" }
exclude = ["death"]
window = ["2h", "80h"]
late_until = "9d"
close = [{ event = "document", same_visit = true }, { event = "result", loinc = ["44261-6"], value_min = 5 }]
[[coordination.panel]]
id = "aco-lakeshore"
kind = "aco"
source = { type = "csv", path = "a.csv" }
columns = { id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", family = "LAST", dob = "DOB" }
[[coordination.panel]]
id = "pcmh-chfm"
kind = "pcmh"
source = { type = "csv", path = "b.csv" }
columns = { id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", family = "LAST", dob = "DOB" }
"#;

/// An event as it was told, or that somebody left.
#[derive(Clone)]
struct Told {
    event: Event,
    origin: PersonKey,
    panels: Vec<&'static str>,
    labels: Set,
    left: bool,
    /// When they were back.
    back_ms: Option<i64>,
    /// In which order they were told.
    order: usize,
}

#[derive(Default)]
struct Twin {
    kept: BTreeMap<PersonKey, Vec<Told>>,
    count: usize,
}

/// What is known of an event once all are there.
#[derive(Clone)]
struct Seen {
    told: Told,
    labels: Set,
    /// Those, and of what else it is coded as.
    carried: Set,
    class: BTreeSet<String>,
    start_ms: Option<i64>,
    gone: bool,
}

/// What becomes of somebody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Became {
    Excluded,
    Met,
    MetInferred,
    Late,
    LateInferred,
    Missing,
}

impl Twin {
    fn tell(&mut self, world: &mut World, event: &Event, who: PersonKey, others: &[PersonKey]) {
        world.take(event, who, others);
        let event = Event { seq: world.seq, ..event.clone() };
        self.note(world, event, who, false);
    }

    fn leave(&mut self, world: &mut World, who: PersonKey, at_ms: i64) {
        let transaction = world.connection.transaction().unwrap();
        let known = {
            let root = lineage::root(&transaction, who).unwrap();
            let sql = "SELECT count(*) FROM measure_fact WHERE person = ?1";
            transaction.query_row(sql, [root.0], |row| row.get::<_, i64>(0)).unwrap() > 0
        };
        world.measures.left(&transaction, who, &world.panels, (world.seq, at_ms)).unwrap();
        world.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        if known {
            let mut event = now(Kind::Death, "", "2026-02-01T00:00:00Z");
            (event.at_ms, event.received_ms, event.seq) = (at_ms, at_ms, world.seq);
            self.note(world, event, who, true);
        }
    }

    fn come_back(&mut self, world: &mut World, who: PersonKey, at_ms: i64) {
        let transaction = world.connection.transaction().unwrap();
        world.measures.back(&transaction, who, &world.panels, at_ms).unwrap();
        world.measures.flush(&transaction).unwrap();
        transaction.commit().unwrap();
        let root = |key: PersonKey| lineage::root(&world.connection, key).unwrap();
        let of_them = self.kept.iter_mut().filter(|(origin, _)| root(**origin) == root(who));
        for told in of_them.flat_map(|(_, own)| own).filter(|told| told.left && told.back_ms.is_none()) {
            told.back_ms = Some(at_ms);
        }
    }

    fn note(&mut self, world: &World, event: Event, who: PersonKey, left: bool) {
        let received_ms = event.received_ms;
        if !matches!(event.kind, Kind::IdentityMerge | Kind::Unlink) {
            let labels = if left { Set::EMPTY } else { world.found.all };
            self.count += 1;
            let told = Told {
                event,
                origin: who,
                panels: world.panels.clone(),
                labels,
                left,
                back_ms: None,
                order: self.count,
            };
            let own = self.kept.entry(who).or_default();
            own.push(told);
            own.retain(|told| told.event.at_ms >= received_ms - KEPT_MS);
            while own.len() > FACTS_MAX {
                let oldest = own.iter().map(|told| told.event.at_ms).min().unwrap();
                let at = own.iter().position(|told| told.event.at_ms == oldest).unwrap();
                own.remove(at);
            }
        }
    }

    /// What is older than is kept goes; not what counted somebody in last who is not counted in again meanwhile, and what that message told of the same moment.
    fn let_go(&mut self, world: &World, now_ms: i64) {
        let before_ms = now_ms - KEPT_MS;
        let first =
            day_of(Timestamp::from_millisecond(before_ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date()) - 1;
        let mut stays = BTreeSet::new();
        for (person, all) in &self.people(world) {
            for definition in world.options.measures.definitions.iter().filter(|one| one.once) {
                let cases = Person { world, all, cleared: true }.cases(definition);
                let last = cases.iter().filter(|case| case.opener.1 < before_ms).max_by_key(|case| case.opener.1);
                let last = last.filter(|case| case.day + definition.late_days() >= first);
                stays.extend(last.map(|case| (*person, case.opener)));
            }
        }
        for (origin, own) in &mut self.kept {
            let person = lineage::root(&world.connection, *origin).unwrap();
            let is_kept =
                |event: &Event| event.at_ms >= before_ms || stays.contains(&(person, (event.seq, event.at_ms)));
            own.retain(|told| is_kept(&told.event));
        }
    }

    /// The events of each person, as they are once all are there.
    fn people(&self, world: &World) -> BTreeMap<PersonKey, Vec<Seen>> {
        let mut people: BTreeMap<PersonKey, Vec<Told>> = BTreeMap::new();
        for (origin, told) in &self.kept {
            people.entry(lineage::root(&world.connection, *origin).unwrap()).or_default().extend(told.iter().cloned());
        }
        for told in people.values_mut() {
            told.sort_by_key(|told| (told.event.seq, told.origin, told.order));
        }
        people.into_iter().map(|(person, told)| (person, settled(world, &told))).collect()
    }
}

fn day_at(world: &World, at_ms: i64, facility: &str, panels: &[&str]) -> i32 {
    let of: Vec<String> = panels.iter().map(|panel| (*panel).to_owned()).collect();
    let zone = setting(&world.options).zone(facility, &of);
    day_of(Timestamp::from_millisecond(at_ms).unwrap().to_zoned(zone).date())
}

fn begins(kind: Kind) -> bool {
    matches!(kind, Kind::Admission | Kind::EdVisit | Kind::OutpatientVisit)
}

fn ends(kind: Kind) -> bool {
    matches!(kind, Kind::Discharge | Kind::EdDischarge)
}

fn same(one: Option<&Number>, other: Option<&Number>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let authority = one.authority == other.authority || one.authority.is_empty() || other.authority.is_empty();
    !one.value.is_empty() && one.value == other.value && authority
}

fn same_visit(one: &Event, other: &Event) -> bool {
    one.visit.is_some() && one.visit == other.visit
}

/// What was taken back, what stays are called that ended as something else, and what visits turned out to be.
fn settled(world: &World, told: &[Told]) -> Vec<Seen> {
    let mut all: Vec<Seen> = told
        .iter()
        .map(|told| Seen {
            labels: told.labels,
            carried: told
                .event
                .codes
                .iter()
                .fold(told.labels, |all, one| all.with(world.labels.of_code(&one.system, &one.code))),
            class: [told.event.class.clone()].into(),
            start_ms: told.event.appointment.as_ref().and_then(|one| one.start_ms),
            gone: false,
            told: told.clone(),
        })
        .collect();
    for at in 0..all.len() {
        let back = all[at].told.event.clone();
        if !back.kind.name().ends_with("-cancelled")
            && !matches!(back.kind, Kind::AppointmentChanged | Kind::AppointmentNoShow)
        {
            continue;
        }
        let before: Vec<Seen> = all[..at].to_vec();
        for (place, seen) in before.iter().enumerate().filter(|(_, seen)| !seen.gone && !seen.told.left) {
            let event = &seen.told.event;
            // Another stay under the same number began since.
            let another = before[place + 1..].iter().any(|later| {
                !later.gone
                    && begins(later.told.event.kind)
                    && same_visit(&later.told.event, &back)
                    && later.told.event.at_ms > event.at_ms
            });
            let (mine, theirs) =
                (back.appointment.as_ref().map(|one| &one.number), event.appointment.as_ref().map(|one| &one.number));
            let gone = match back.kind {
                Kind::AdmissionCancelled => {
                    same_visit(event, &back) && (begins(event.kind) || ends(event.kind)) && !another
                }
                Kind::DischargeCancelled => same_visit(event, &back) && ends(event.kind) && !another,
                Kind::TransferCancelled => same_visit(event, &back) && event.kind == Kind::Transfer,
                Kind::DocumentCancelled => {
                    let number = |event: &Event| event.document.as_ref().map(|document| document.number.clone());
                    event.kind == Kind::Document && same(number(event).as_ref(), number(&back).as_ref())
                }
                Kind::AppointmentCancelled | Kind::AppointmentNoShow => {
                    event.kind == Kind::AppointmentBooked && same(mine, theirs)
                }
                Kind::AppointmentChanged => {
                    if event.kind == Kind::AppointmentBooked && same(mine, theirs) {
                        all[place].start_ms = back.appointment.as_ref().and_then(|one| one.start_ms);
                    }
                    false
                }
                _ => false,
            };
            all[place].gone |= gone;
        }
    }
    let whole = all.clone();
    for seen in &mut all {
        let event = &seen.told.event;
        let of_visit = whole.iter().filter(|other| same_visit(&other.told.event, event));
        seen.labels = of_visit.clone().fold(seen.labels, |all, other| all.with(other.labels));
        seen.carried = of_visit.clone().fold(seen.carried, |all, other| all.with(other.carried));
        if event.kind == Kind::Admission {
            let end = of_visit
                .clone()
                .find(|end| end.told.event.kind == Kind::Discharge && !end.gone && event.at_ms <= end.told.event.at_ms);
            seen.class.extend(end.map(|end| end.told.event.class.clone()));
        }
    }
    all.retain(|seen| !seen.gone);
    all
}

fn coded(event: &Event, system: &str, code: &str) -> bool {
    event.codes.iter().any(|one| one.system == system && one.code == code)
}

fn value_of(event: &Event, loinc: &[String]) -> Option<f64> {
    let named = event.codes.iter().filter(|one| one.system == "LN" && loinc.contains(&one.code));
    named.filter_map(|one| one.value.parse().ok()).next()
}

/// Whether an event is one that a pattern means.
fn fits(world: &World, pattern: &Pattern, seen: &Seen) -> bool {
    let event = &seen.told.event;
    let one_of = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
    let completion = event.document.as_ref().map_or("", |document| &document.completion);
    let finished = match pattern.completion.is_empty() {
        true => ["AU", "LA", "DO"].contains(&completion),
        false => one_of(&pattern.completion, completion),
    };
    let diagnosed = event.codes.iter().any(|one| {
        one.field == "DG1-3"
            && (!pattern.icd10_principal || one.value == "principal")
            && pattern.icd10_prefix.iter().any(|prefix| one.code.starts_with(prefix))
    });
    let kind = world.options.facilities.by_key.get(&event.facility).and_then(|facility| facility.kind.clone());
    !seen.told.left
        && pattern.kinds.contains(&event.kind)
        && (pattern.class.is_empty() || seen.class.iter().any(|class| pattern.class.contains(class)))
        && one_of(&pattern.disposition, &event.disposition)
        && (pattern.disposition_not.is_empty() || !pattern.disposition_not.contains(&event.disposition))
        && one_of(&pattern.trigger, &event.trigger)
        && (event.kind != Kind::Document || finished)
        && (pattern.facility_type.is_none() || pattern.facility_type == kind)
        && (pattern.loinc.is_empty() || pattern.loinc.iter().any(|code| coded(event, "LN", code)))
        && pattern.value_min.is_none_or(|least| value_of(event, &pattern.loinc).is_some_and(|value| value >= least))
        && (pattern.loinc_not.is_empty()
            || (!event.codes.is_empty() && !pattern.loinc_not.iter().any(|code| coded(event, "LN", code))))
        && (pattern.icd10_prefix.is_empty() || diagnosed)
        && (pattern.codes.is_empty() || pattern.codes.iter().any(|(_, code)| coded(event, "C4", code)))
}

/// What by its code it is a secret of: where each code that a pattern asks for carries a label.
fn coded_in_secret(world: &World, pattern: &Pattern, event: &Event) -> Set {
    let least = |is: &dyn Fn(&&Code) -> bool| {
        let named = event.codes.iter().filter(is).map(|one| world.labels.of_code(&one.system, &one.code));
        named.min_by_key(|labels| !labels.is_empty()).unwrap_or_default()
    };
    let principal = |one: &Code| !pattern.icd10_principal || one.value == "principal";
    least(&|one| pattern.loinc.contains(&one.code))
        .with(least(&|one| principal(one) && pattern.icd10_prefix.iter().any(|prefix| one.code.starts_with(prefix))))
        .with(least(&|one| pattern.codes.iter().any(|(_, code)| *code == one.code)))
}

fn acting(event: &Event) -> BTreeSet<&str> {
    event.participants.iter().map(|one| one.number.as_str()).collect()
}

/// One case of somebody, as somebody who is cleared for everything or for nothing sees it.
struct Case {
    /// Of which message what counted them in is, and when that was.
    opener: (u64, i64),
    day: i32,
    panels: Vec<&'static str>,
    became: Became,
}

struct Person<'a> {
    world: &'a World,
    all: &'a [Seen],
    cleared: bool,
}

impl Person<'_> {
    fn day(&self, seen: &Seen, at_ms: i64) -> i32 {
        let told = &seen.told;
        day_at(self.world, at_ms, &told.event.facility, &told.panels)
    }

    fn happened(&self, seen: &Seen) -> i32 {
        self.day(seen, seen.told.event.at_ms)
    }

    fn visible(&self, seen: &Seen) -> bool {
        self.cleared || seen.labels.is_empty()
    }

    /// Of the visit or the referral of what counted somebody in.
    fn names(&self, opener: &Event, other: &Event) -> bool {
        match (&opener.referral, &other.referral) {
            (Some(_), Some(_)) => same(opener.referral.as_ref(), other.referral.as_ref()),
            _ => same_visit(opener, other),
        }
    }

    fn voids(&self, definition: &Definition, opener: &Event, other: &Seen) -> bool {
        let event = &other.told.event;
        let became = opener.kind == Kind::EdVisit
            && event.kind == Kind::Admission
            && opener.facility == event.facility
            && (0..86_400_000).contains(&(event.at_ms - opener.at_ms));
        !other.told.left && definition.void.contains(&event.kind) && (self.names(opener, event) || became)
    }

    /// Another stay, under the same number or not.
    fn another_visit(opener: &Event, event: &Event) -> bool {
        let again = ends(opener.kind) && begins(event.kind) && event.at_ms > opener.at_ms;
        !same_visit(opener, event) || again
    }

    fn cases(&self, definition: &Definition) -> Vec<Case> {
        let mut by_time: Vec<&Seen> = self.all.iter().collect();
        by_time.sort_by_key(|seen| (seen.told.event.at_ms, seen.told.event.seq));
        let (mut counted, mut cases): (Vec<&Seen>, Vec<Case>) = (Vec::new(), Vec::new());
        for opener in by_time {
            let event = &opener.told.event;
            let fitting = || definition.open.iter().filter(|pattern| fits(self.world, pattern, opener));
            let is_secret = |pattern: &&Pattern| !coded_in_secret(self.world, pattern, event).is_empty();
            let fit = fitting().min_by_key(|pattern| is_secret(pattern));
            let Some(open) = fit.filter(|_| !opener.told.panels.is_empty()) else { continue };
            if counted.iter().any(|earlier| self.is_again(definition, earlier, opener)) {
                continue;
            }
            let void = |openly: bool| {
                self.all.iter().any(|other| {
                    self.voids(definition, event, other)
                        && if openly { other.labels.is_empty() } else { self.visible(other) }
                })
            };
            if void(true) {
                continue;
            }
            counted.push(opener);
            if !void(false) && self.visible(opener) && (self.cleared || !is_secret(&open)) {
                let became = self.became(definition, open, opener);
                cases.push(Case {
                    opener: (event.seq, event.at_ms),
                    day: self.happened(opener),
                    panels: opener.told.panels.clone(),
                    became,
                });
            }
        }
        cases
    }

    fn is_again(&self, definition: &Definition, earlier: &Seen, opener: &Seen) -> bool {
        let (one, other) = (&earlier.told.event, &opener.told.event);
        let same = match (&one.referral, &other.referral) {
            (Some(_), Some(_)) => same(one.referral.as_ref(), other.referral.as_ref()),
            (_, Some(_)) => false,
            _ => same_visit(one, other),
        };
        let stays = |seen: &&Seen| begins(seen.told.event.kind) && same_visit(&seen.told.event, one);
        let between = |seen: &Seen| (one.at_ms + 1..=other.at_ms).contains(&seen.told.event.at_ms);
        let another = ends(one.kind) && ends(other.kind) && self.all.iter().filter(stays).any(between);
        let lasts = self.happened(opener) - self.happened(earlier) <= definition.late_days();
        (same && !another) || (definition.once && lasts)
    }

    fn became(&self, definition: &Definition, open: &Pattern, opener: &Seen) -> Became {
        let mut came: Vec<(u8, i64, Became, [Set; 2])> = Vec::new();
        let mut left = false;
        let event = &opener.told.event;
        for seen in self.all.iter().filter(|seen| self.visible(seen)) {
            let other = &seen.told.event;
            let days = |at_ms: i64| self.day(seen, at_ms) - self.happened(opener);
            let within = |at_ms: i64| match definition.due.0 {
                Span::Days(most) => days(at_ms) <= i32::from(most),
                Span::Ms(most) => at_ms - event.at_ms <= most,
            };
            if seen.told.left {
                // Who is in no roster when the window is over.
                let is_back = seen.told.back_ms.is_some_and(within);
                left |= definition.rate == Rate::Share && other.at_ms >= event.at_ms && within(other.at_ms) && !is_back;
                continue;
            }
            if definition.exclude.contains(&other.kind) && within(other.at_ms) {
                let dies = other.kind == Kind::Death;
                let after = if dies { days(other.at_ms) >= 0 } else { other.at_ms >= event.at_ms };
                let stays = other.kind != Kind::Admission || Person::another_visit(event, other);
                let at_ms = if dies { other.at_ms + 86_399_999 } else { other.at_ms };
                if after && stays {
                    came.push((0, at_ms, Became::Excluded, [seen.labels, seen.carried]));
                }
            }
            let visible = |close: &&Pattern| self.cleared || coded_in_secret(self.world, close, other).is_empty();
            for close in definition.close.iter().filter(|close| fits(self.world, close, seen)).filter(visible) {
                came.extend(self.closes(definition, (open, close), opener, seen));
            }
        }
        // What comes first in time; else nobody knows of who left; else late, told before inferred.
        let in_time = came.iter().filter(|one| one.0 == 0);
        let in_time = in_time.min_by_key(|one| (one.1, one.2 == Became::Excluded, one.2));
        // One that says so itself is as good, for everybody who may know of the first.
        let within = |[needed, carried]: [Set; 2], of: [Set; 2]| needed.is_within(of[0]) && carried.is_within(of[1]);
        let told = |of: [Set; 2]| came.iter().any(|one| one.2 == Became::Met && within(one.3, of));
        match in_time {
            Some((_, _, Became::MetInferred, labels)) if told(*labels) => Became::Met,
            Some((_, _, became, _)) => *became,
            None if left => Became::Excluded,
            None => came.iter().map(|one| one.2).min().unwrap_or(Became::Missing),
        }
    }

    fn closes(
        &self,
        definition: &Definition,
        (open, close): (&Pattern, &Pattern),
        opener: &Seen,
        seen: &Seen,
    ) -> Option<(u8, i64, Became, [Set; 2])> {
        let (event, other) = (&opener.told.event, &seen.told.event);
        let itself = opener.told.order == seen.told.order;
        if itself && !close.same_visit {
            return None;
        }
        let (days, ms) = match definition.clock {
            Clock::Event => (self.happened(seen) - self.happened(opener), other.at_ms - event.at_ms),
            Clock::Received => {
                (self.day(seen, other.received_ms) - self.happened(opener), other.received_ms - event.at_ms)
            }
            Clock::Notice => (self.day(seen, other.received_ms) - self.happened(seen), other.received_ms - other.at_ms),
        };
        let within = |span: Span| match span {
            Span::Days(most) => days <= i32::from(most),
            Span::Ms(most) => ms <= most,
        };
        let early = definition.from.is_some_and(|from| match from {
            Span::Days(least) => days < i32::from(least),
            Span::Ms(least) => ms < least,
        });
        let late = !within(definition.due.0);
        if early || (late && !definition.late_until.is_some_and(within)) {
            return None;
        }
        // Nothing is waited for longer than that, by the day on which it happened.
        if self.happened(seen) - self.happened(opener) > definition.late_days() + 1 {
            return None;
        }
        if definition.other_visit && (itself || other.at_ms < event.at_ms || !Person::another_visit(event, other)) {
            return None;
        }
        let is_told = if definition.other_visit || itself { true } else { self.is_told(close, opener, seen)? };
        let happened_ms = if other.appointment.is_some() { seen.start_ms.unwrap_or(other.at_ms) } else { other.at_ms };
        if !is_told && happened_ms < event.at_ms {
            return None;
        }
        if definition.value_below.is_some() || definition.value_share.is_some() {
            let (first, value) = (value_of(event, &open.loinc), value_of(other, &close.loinc)?);
            if definition.value_below.is_some_and(|below| value >= below)
                || definition.value_share.is_some_and(|share| first.is_none_or(|first| value > first * share))
            {
                return None;
            }
        }
        if let Some(span) = close.starts_within {
            let start_ms = seen.start_ms.filter(|start| *start >= event.at_ms)?;
            let in_days = self.day(seen, start_ms) - self.happened(opener);
            if !match span {
                Span::Days(days) => in_days <= i32::from(days),
                Span::Ms(ms) => start_ms - event.at_ms <= ms,
            } {
                return None;
            }
        }
        let npi = |facility: &str| self.world.options.facilities.by_key.get(facility).and_then(|one| one.npi.clone());
        let at_owner = opener.told.panels.contains(&PANEL) && npi(&other.facility).as_deref() == Some("9990007079");
        let with =
            (close.provider.care_team && acting(other).contains(BAPTISTE)) || (close.provider.panel_org && at_owner);
        if (close.provider.care_team || close.provider.panel_org) && !with {
            return None;
        }
        let became = match (late, is_told) {
            (false, true) => Became::Met,
            (false, false) => Became::MetInferred,
            (true, true) => Became::Late,
            (true, false) => Became::LateInferred,
        };
        let needed = seen.labels.with(coded_in_secret(self.world, close, other));
        Some((u8::from(late), other.at_ms, became, [needed, seen.carried]))
    }

    /// Whether it says of what it is; none where it is of something else, or may be.
    fn is_told(&self, close: &Pattern, opener: &Seen, seen: &Seen) -> Option<bool> {
        let (event, other) = (&opener.told.event, &seen.told.event);
        let score = event.kind == Kind::Result;
        if event.referral.is_some() && other.referral.is_some() {
            let same = same(event.referral.as_ref(), other.referral.as_ref());
            if same || !score {
                return same.then_some(true);
            }
        }
        if event.visit.is_some() && other.visit.is_some() {
            if event.visit == other.visit {
                return Some(true);
            }
            if close.same_visit {
                return None;
            }
        }
        // Somebody who took part in the one did the other.
        let must = close.same_visit || (event.referral.is_some() && !score);
        let ours = self.all.iter().filter(|one| self.names(event, &one.told.event) && !one.told.left);
        let ours = ours.filter(|one| event.referral.is_none() || one.told.event.seq != event.seq);
        let shared = ours.flat_map(|one| acting(&one.told.event)).any(|npi| acting(other).contains(npi));
        (!must || shared).then_some(false)
    }
}

impl Twin {
    /// Figures of a month at the end of time, how many persons have any case in it, and who is listed.
    fn month(
        (world, people): (&World, &BTreeMap<PersonKey, Vec<Seen>>),
        (panel, definition): (&str, &Definition),
        month: i32,
        cleared: bool,
    ) -> (Figures, usize, Vec<(i32, PersonKey)>) {
        let (mut figures, mut counted, mut listed) = (Figures::default(), BTreeSet::new(), Vec::new());
        for (person, all) in people {
            let all = Person { world, all, cleared };
            let of_month = |case: &Case| measures::period::month_of(case.day) == month && case.panels.contains(&panel);
            for case in all.cases(definition).iter().filter(|case| of_month(case)) {
                counted.insert(*person);
                figures.excluded += u64::from(case.became == Became::Excluded);
                figures.denominator += u64::from(case.became != Became::Excluded);
                let met = matches!(case.became, Became::Met | Became::MetInferred);
                let numerator =
                    if definition.rate == Rate::PerThousand { case.became != Became::Excluded } else { met };
                figures.numerator += u64::from(numerator);
                figures.inferred += u64::from(case.became == Became::MetInferred);
                figures.late += u64::from(matches!(case.became, Became::Late | Became::LateInferred));
                let lists = match (definition.rate, definition.lower_is_better) {
                    (Rate::PerThousand, _) => case.became != Became::Excluded,
                    (Rate::Share, true) => met,
                    (Rate::Share, false) => !met && case.became != Became::Excluded,
                };
                listed.extend(lists.then_some((case.day, *person)));
            }
        }
        listed.sort_unstable();
        (figures, counted.len(), listed)
    }

    fn is_same(&self, world: &World) {
        let reader = world.reader();
        let january = parse_month("2026-01").unwrap();
        let months = (january, january + 5);
        let feeds = reader.feeds(&world.connection, (months.0, months.1 + 13)).unwrap();
        let as_of = day_of(date(2029, 1, 1));
        let known = self.people(world);
        for (measure, definition) in reader.definitions().iter().enumerate() {
            for (panel, cleared) in [(PANEL, true), (PANEL, false), ("pcmh-chfm", true)] {
                if !definition.panels.is_empty() && !definition.panels.iter().any(|one| one == panel) {
                    continue;
                }
                let viewer = if cleared { Viewer::Everything } else { Viewer::Unlabelled };
                let wanted = Wanted { panel, measure, months, as_of, viewer };
                let series = reader.series(&world.connection, &wanted, &feeds, &|_| 0).unwrap();
                let page = Page { after: None, most: 5_000 };
                let (listed, _) = reader.people(&world.connection, &wanted, page, &mut anybody).unwrap();
                let mut all = Vec::new();
                for one in &series {
                    let (mut figures, people, listed) =
                        Twin::month((world, &known), (panel, definition), one.month, cleared);
                    if definition.rate == Rate::PerThousand {
                        figures.denominator = 0;
                    }
                    let what = (&definition.id, panel, cleared, one.month - january);
                    assert_eq!(one.figures, figures, "{what:?}");
                    // Each person counts once among all of a month, and in no sum of months more than once.
                    let counted = |at: usize| match definition.rate {
                        Rate::PerThousand => one.people[at].numerator,
                        Rate::Share => one.people[at].denominator + one.people[at].excluded,
                    };
                    assert!(
                        counted(0) <= people as u64 && counted(2) <= counted(1) && counted(1) <= counted(0),
                        "{what:?}"
                    );
                    all.extend(listed);
                }
                let listed: Vec<_> = listed.iter().map(|one| (one.day, one.person)).collect();
                assert_eq!(listed, all, "{} {panel} {cleared}", definition.id);
                // Three people: nothing but nought is told.
                for span in spans(&series, definition.rate) {
                    let shown = span.shown;
                    let told = [shown.numerator, shown.inferred, shown.late, shown.excluded, shown.denominator];
                    assert!(told.into_iter().flatten().all(|count| count == 0), "{} {span:?}", definition.id);
                }
            }
        }
        world.is_sound();
    }
}

/// What happens, to whom, when and how: more than `happening` knows of.
fn event_of(step: &Step) -> Event {
    const MORE: [Kind; 8] = [
        Kind::Transfer,
        Kind::TransferCancelled,
        Kind::AppointmentBooked,
        Kind::AppointmentBooked,
        Kind::AppointmentChanged,
        Kind::AppointmentCancelled,
        Kind::AppointmentNoShow,
        Kind::EdDischarge,
    ];
    let mut event = happening(&Step { kind: step.kind % 16, ..step.clone() });
    if let Some(kind) = step.kind.checked_sub(16).and_then(|at| MORE.get(at)) {
        event.kind = *kind;
        event.codes.clear();
        (event.document, event.referral) = (None, None);
    }
    if matches!(event.kind, Kind::Transfer | Kind::TransferCancelled) {
        event.visit = visit(&format!("V{}^SBMC", step.visit));
    }
    event.class = match (event.kind, step.late_hours % 3) {
        (Kind::EdVisit, _) => "EMER",
        (_, 0) => "OBSENC",
        _ => "IMP",
    }
    .into();
    if matches!(
        event.kind,
        Kind::AppointmentBooked | Kind::AppointmentChanged | Kind::AppointmentCancelled | Kind::AppointmentNoShow
    ) {
        let start_ms = (step.late_hours % 5 > 0).then_some(event.at_ms + step.late_hours * 7_200_000);
        event.appointment = Some(Appointment { number: number(&format!("A{}^CHFM", step.visit)), start_ms });
    }
    if event.kind == Kind::Document && step.hours % 4 == 0 {
        event.document.as_mut().unwrap().completion = "IP".into();
    }
    if event.kind == Kind::ReferralRequested && step.again {
        event.trigger = "O21".into();
        event.codes = vec![code("OBR-4", "LN", "24323-8", "")];
    }
    if event.kind == Kind::Result && step.late_hours % 2 == 0 {
        event.referral = Some(number(&format!("R{}^SBMC", step.visit)));
    }
    if event.kind == Kind::Discharge && step.hours % 5 == 0 {
        event.codes = vec![code("DG1-3", "I10C", "I50.23", "principal"), code("DG1-3", "I10C", "F33.2", "")];
    }
    event
}

fn histories() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..28_usize, 0..3_usize, 0..3_usize, 0..3_u8, 0..2_400_i64, 0..100_i64, any::<bool>());
    let step = step.prop_map(|(kind, who, other, visit, hours, late_hours, again)| Step {
        kind,
        who,
        other,
        visit,
        hours,
        late_hours,
        again,
    });
    proptest::collection::vec(step, 1..40)
}

impl Twin {
    fn step(&mut self, world: &mut World, step: &Step) {
        let people = [MARISOL, OTHER, THIRD];
        let (who, other) = (people[step.who], people[step.other]);
        let at_ms = ms("2026-02-01T00:00:00Z") + step.hours * 3_600_000;
        world.panels = match step.late_hours % 7 {
            0 => vec![],
            1 | 2 => vec![PANEL, "pcmh-chfm"],
            _ => vec![PANEL],
        };
        let sud = world.labels.of("SUD").unwrap();
        world.found = if step.late_hours > 88 { Found { all: sud, whole: sud } } else { Found::default() };
        if step.hours % 3 == 0 {
            // Of the message before.
            world.seq = world.seq.saturating_sub(1);
        }
        match step.kind {
            24 | 25 if who != other => {
                let kind = if step.kind == 24 { Kind::IdentityMerge } else { Kind::Unlink };
                let mut event = now(kind, "SBMC", "2026-02-01T00:00:00Z");
                event.received_ms = at_ms;
                self.tell(world, &event, who, &[other]);
            }
            26 if step.again => self.come_back(world, who, at_ms),
            26 => self.leave(world, who, at_ms),
            27 if who != other => {
                let transaction = world.connection.transaction().unwrap();
                if step.again {
                    lineage::rename(&transaction, who, other).unwrap();
                } else {
                    lineage::restore(&transaction, |key| *key == who).unwrap();
                }
                world.measures.settle(&transaction, (0, 0)).unwrap();
                world.measures.flush(&transaction).unwrap();
                transaction.commit().unwrap();
            }
            24.. => {}
            _ => self.tell(world, &event_of(step), who, &[]),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Whatever happens: the counters and the lists are what the words of the guide make of it.
    #[test]
    fn measures_are_what_the_guide_says(steps in histories()) {
        is_what_the_guide_says(&steps);
    }
}

#[test]
fn of_more_than_is_kept_the_newest_stays() {
    let mut options = parse(MORE).unwrap();
    options.measures.definitions.retain(|one| ["visit-7", "ed-visits", "booked"].contains(&one.id.as_str()));
    let mut world = World::with(options);
    let mut twin = Twin::default();
    let step = |number: usize| Step {
        kind: [5, 1, 0, 14, 6, 8][number % 6],
        who: 0,
        other: number % 3,
        visit: u8::try_from(number % 3).unwrap(),
        hours: i64::try_from(number * 7_919 % 2_300).unwrap(),
        late_hours: 9,
        again: number.is_multiple_of(2),
    };
    for number in 0..FACTS_MAX + 60 {
        let mut event = event_of(&step(number));
        if number % 16 > 0 {
            // Most are of no measure, which would take long.
            event.kind = Kind::EdDischarge;
            event.codes.clear();
            (event.document, event.referral) = (None, None);
        }
        world.many(&[(event.clone(), MARISOL)]);
        let event = Event { seq: world.seq, ..event };
        twin.note(&world, event, MARISOL, false);
    }
    assert_eq!(twin.kept[&MARISOL].len(), FACTS_MAX);
    twin.is_same(&world);
}

fn is_what_the_guide_says(steps: &[Step]) {
    let mut world = World::with(parse(MORE).unwrap());
    let mut twin = Twin::default();
    for step in steps {
        twin.step(&mut world, step);
    }
    twin.is_same(&world);
    // Half of it goes by age.
    let now_ms = ms("2026-02-01T00:00:00Z") + KEPT_MS + 1_200 * 3_600_000;
    let transaction = world.connection.transaction().unwrap();
    world.measures.prune(&transaction, now_ms).unwrap();
    world.measures.flush(&transaction).unwrap();
    transaction.commit().unwrap();
    twin.let_go(&world, now_ms);
    twin.is_same(&world);
}

/// One that says so itself carries the label of a diagnosis of the stay: it is as good for nobody who may know of the other alone.
#[test]
fn what_says_so_itself_is_as_good_for_whoever_may_know_of_it() {
    let step = |kind, visit, hours, late_hours, again| Step { kind, who: 1, other: 0, visit, hours, late_hours, again };
    is_what_the_guide_says(&[step(10, 0, 686, 0, false), step(1, 1, 53, 1, false), step(10, 1, 687, 0, true)]);
}

/// A message orders a test and tells its result, which counts somebody in who is not counted in again for half a year: when both are old, both stay.
#[test]
fn what_was_told_with_the_last_that_counted_stays_with_it() {
    let step = |kind, late_hours, again| Step { kind, who: 1, other: 0, visit: 0, hours: 0, late_hours, again };
    is_what_the_guide_says(&[step(11, 8, true), step(14, 1, false)]);
}

/// An appointment of a visit is cancelled, by a message that does not name the visit: who was to act in it links a document to the visit no more.
#[test]
fn who_was_only_to_act_in_a_visit_links_nothing_to_it() {
    let step = |kind, visit, hours, again| Step { kind, who: 0, other: 0, visit, hours, late_hours: 1, again };
    is_what_the_guide_says(&[
        step(6, 0, 1489, false),
        step(18, 1, 0, false),
        step(1, 1, 749, true),
        step(21, 1, 1, false),
    ]);
}
