//! From rows to people: who is who, within a panel and across panels.
//!
//! Two rows are of one person when they share a strong identifier and one of the fields that guard it; or a deterministic set of fields, and no system knows them by
//! two numbers. People who share an identifier without agreeing in a guarding field stay apart: the identifier is *contested*.
//! Everything follows from what stands in the rows, nothing from their order.
use super::fields::{Demographics, SEPARATOR, hash_of, hash_of_identifier};
use super::index::Index;
use super::key::PersonKey;
use super::options::{Matching, Panel};
use super::rows::{Row, Rows, key_of_demographics};
use super::snapshot::{Member, PanelFacts, Person, Set, Snapshot};
use std::collections::{BTreeMap, HashSet};
use std::hash::Hasher as _;

pub(super) fn build(panels: &[(&Panel, &Rows)], matching: &Matching) -> Snapshot {
    let all = Rowset::new(panels);
    let mut groups = Groups::new(all.len());
    let identifiers = all.by_identifier(matching, &mut groups);
    all.by_fields(matching, &mut groups);
    let contested = contested(&identifiers, &mut groups);
    drop(identifiers);
    let mut snapshot = Snapshot {
        panels: panels.iter().map(|(panel, _)| facts(panel)).collect(),
        matching: matching.clone(),
        contested: contested.len(),
        ..Snapshot::default()
    };
    fill(&mut snapshot, &all, &mut groups, &contested);
    let people = 0..u32::try_from(snapshot.people.len()).unwrap_or(u32::MAX);
    let hashes = people.flat_map(|person| {
        let hash = |(system, value): (u32, &str)| (hash_of_identifier(snapshot.systems.text(system), value), person);
        snapshot.identifiers_of(person).map(hash).collect::<Vec<_>>()
    });
    snapshot.by_identifier = Index::new(hashes);
    snapshot.deterministic = matching.deterministic.iter().map(|set| Set::new(set, &snapshot)).collect();
    snapshot.blocks = matching.block.iter().map(|set| Set::new(set, &snapshot)).collect();
    snapshot
}

fn facts(panel: &Panel) -> PanelFacts {
    PanelFacts { id: panel.id.clone(), kind: panel.kind, owner_npi: panel.owner_npi.clone(), zone: panel.zone.clone() }
}

/// The rows of all panels, by number.
struct Rowset<'a> {
    panels: &'a [(&'a Panel, &'a Rows)],
    /// The number of the first row of each panel.
    starts: Vec<usize>,
    length: usize,
}

impl<'a> Rowset<'a> {
    fn new(panels: &'a [(&'a Panel, &'a Rows)]) -> Rowset<'a> {
        let (mut starts, mut length) = (Vec::new(), 0);
        for (_, rows) in panels {
            starts.push(length);
            length += rows.rows.len();
        }
        Rowset { panels, starts, length }
    }

    fn len(&self) -> usize {
        self.length
    }

    /// A row, its panel's number and rows.
    fn get(&self, number: u32) -> (&'a Row, u16, &'a Rows) {
        let number = number as usize;
        let panel = self.starts.partition_point(|start| *start <= number).saturating_sub(1);
        // The last panel that begins at or before it; those without rows begin where the next does.
        let (_, rows) = self.panels[panel];
        (&rows.rows[number - self.starts[panel]], u16::try_from(panel).unwrap_or(u16::MAX), rows)
    }

    fn numbers(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.length).unwrap_or(u32::MAX)
    }

    /// Joins rows that share an identifier and a guarding field. Returns every identifier with its row, sorted.
    fn by_identifier(&self, matching: &Matching, groups: &mut Groups) -> Vec<(u64, u32)> {
        let mut identifiers = Vec::with_capacity(self.length);
        let mut guarded = Vec::with_capacity(self.length * 2);
        for number in self.numbers() {
            let (row, _, rows) = self.get(number);
            let person = row.demographics();
            for (system, value) in row.identifiers() {
                let identifier = hash_of_identifier(rows.systems.text(system), value);
                identifiers.push((identifier, number));
                for (at, field) in matching.guard.iter().enumerate() {
                    if let Some(hash) = hash_of(&[*field], &person) {
                        let mut hasher = std::hash::DefaultHasher::new();
                        hasher.write_u64(identifier);
                        hasher.write_usize(at);
                        hasher.write_u64(hash);
                        guarded.push((hasher.finish(), number));
                    }
                }
            }
        }
        guarded.sort_unstable();
        for run in guarded.chunk_by(|left, right| left.0 == right.0) {
            for (_, number) in &run[1..] {
                groups.join(run[0].1, *number);
            }
        }
        identifiers.sort_unstable();
        identifiers
    }

    /// Joins rows that agree in a deterministic set, unless they have different numbers in one system.
    fn by_fields(&self, matching: &Matching, groups: &mut Groups) {
        for way in matching.deterministic.iter().flat_map(|set| set.alternatives()) {
            let hash = |number| Some((hash_of(&way, &self.get(number).0.demographics())?, number));
            let mut keyed: Vec<(u64, u32)> = self.numbers().filter_map(hash).collect();
            keyed.sort_unstable();
            for run in keyed.chunk_by(|left, right| left.0 == right.0) {
                let mut roots: Vec<u32> = run.iter().map(|(_, number)| groups.root(*number)).collect();
                roots.sort_unstable();
                roots.dedup();
                if roots.len() < 2 {
                    continue;
                }
                if self.conflict(&roots, groups) {
                    // Those without any number are still one.
                    roots.retain(|root| {
                        groups.all(*root).iter().all(|row| self.get(*row).0.identifiers().next().is_none())
                    });
                }
                for pair in roots.windows(2) {
                    groups.join(pair[0], pair[1]);
                }
            }
        }
    }

    /// Whether some system knows these groups by two numbers.
    fn conflict(&self, roots: &[u32], groups: &Groups) -> bool {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        let rows = roots.iter().flat_map(|root| groups.all(*root));
        for (row, _, rows) in rows.map(|number| self.get(number)) {
            for (system, value) in row.identifiers() {
                if known.insert(rows.systems.text(system), value).is_some_and(|other| other != value) {
                    return true;
                }
            }
        }
        false
    }
}

/// Rows that are of one person: a forest of parents, and a ring through each group.
struct Groups {
    parents: Vec<u32>,
    next: Vec<u32>,
}

impl Groups {
    fn new(length: usize) -> Groups {
        let own: Vec<u32> = (0..u32::try_from(length).unwrap_or(u32::MAX)).collect();
        Groups { parents: own.clone(), next: own }
    }

    fn root(&mut self, mut at: u32) -> u32 {
        while self.parents[at as usize] != at {
            let above = self.parents[at as usize];
            // Halves the way for the next who asks.
            self.parents[at as usize] = self.parents[above as usize];
            at = self.parents[at as usize];
        }
        at
    }

    fn join(&mut self, left: u32, right: u32) {
        let (left, right) = (self.root(left), self.root(right));
        if left != right {
            self.parents[left.max(right) as usize] = left.min(right);
            self.next.swap(left as usize, right as usize);
        }
    }

    /// Every row of a group.
    fn all(&self, first: u32) -> Vec<u32> {
        let mut all = vec![first];
        let mut at = self.next[first as usize];
        while at != first {
            all.push(at);
            at = self.next[at as usize];
        }
        all
    }
}

/// Hashes of the identifiers that people have who are not one.
fn contested(identifiers: &[(u64, u32)], groups: &mut Groups) -> HashSet<u64> {
    let mut found = HashSet::new();
    for run in identifiers.chunk_by(|left, right| left.0 == right.0) {
        let first = groups.root(run[0].1);
        if run.iter().any(|(_, number)| groups.root(*number) != first) {
            found.insert(run[0].0);
        }
    }
    found
}

/// Writes the people, sorted by their keys.
fn fill(snapshot: &mut Snapshot, all: &Rowset<'_>, groups: &mut Groups, contested: &HashSet<u64>) {
    let mut people: Vec<(PersonKey, u32)> = Vec::with_capacity(all.len());
    for number in all.numbers() {
        if groups.root(number) == number {
            let one = One::of(all, groups.all(number), snapshot);
            people.push((one.key(snapshot, contested), number));
        }
    }
    people.sort_unstable();
    // Who share a number may be called the same by now, each by rows that differ: no two people have one key. Numbers stay longest.
    for said in [One::numbers, One::all_said] {
        for alike in people.chunk_by_mut(|left, right| left.0 == right.0).filter(|alike| alike.len() > 1) {
            for (key, number) in alike {
                *key = PersonKey::of_alike(*key, said(&One::of(all, groups.all(*number), snapshot)));
            }
        }
        people.sort_unstable();
    }
    snapshot.people.reserve_exact(people.len());
    snapshot.text.reserve(people.len() * 80);
    snapshot.members.reserve(people.len());
    for (key, number) in people {
        let one = One::of(all, groups.all(number), snapshot);
        let (text, members) = (snapshot.text.len(), snapshot.members.len());
        one.person.pack(&mut snapshot.text);
        for (_, system, value) in &one.identifiers {
            let system = snapshot.systems.add(system);
            snapshot.text.push_str(&format!("{system}={value}{SEPARATOR}"));
        }
        for (row, panel, rows) in &one.rows {
            let member = Member {
                panel: *panel,
                start: row.start,
                end: row.end,
                pcp: snapshot.words.add(rows.words.text(row.pcp)),
                care_manager: snapshot.words.add(rows.words.text(row.care_manager)),
                consent: snapshot.words.add(rows.words.text(row.consent)),
            };
            if !snapshot.members[members..].contains(&member) {
                snapshot.members.push(member);
            }
        }
        snapshot.people.push(Person {
            key,
            text: text as u64,
            members: u32::try_from(members).unwrap_or(u32::MAX),
            birth: one.person.birth,
            sex: one.person.sex,
        });
    }
    snapshot.text.shrink_to_fit();
    snapshot.members.shrink_to_fit();
}

/// A person as their rows tell them.
struct One<'a> {
    /// The newest period first, within the order of the panels.
    rows: Vec<(&'a Row, u16, &'a Rows)>,
    person: Demographics<'a>,
    /// Rank, system and value, strongest first.
    identifiers: Vec<(usize, &'a str, &'a str)>,
}

impl<'a> One<'a> {
    fn of(all: &Rowset<'a>, numbers: Vec<u32>, snapshot: &Snapshot) -> One<'a> {
        let mut rows: Vec<_> = numbers.into_iter().map(|number| all.get(number)).collect();
        rows.sort_by(|(left, left_panel, left_rows), (right, right_panel, right_rows)| {
            let words =
                |row: &Row, rows: &'a Rows| [row.pcp, row.care_manager, row.consent].map(|word| rows.words.text(word));
            let by_period = right.start.cmp(&left.start).then(right.end.cmp(&left.end));
            let by_text = || left.demographics_text().cmp(&right.demographics_text());
            let by_words = || words(left, left_rows).cmp(&words(right, right_rows));
            left_panel.cmp(right_panel).then(by_period).then_with(by_text).then_with(by_words)
        });
        let mut person = Demographics::default();
        let mut identifiers = Vec::new();
        for (row, _, from) in &rows {
            person.fill_from(&row.demographics());
            let named = row.identifiers().map(|(system, value)| (from.systems.text(system), value));
            identifiers
                .extend(named.filter_map(|(system, value)| Some((snapshot.matching.rank(system)?, system, value))));
        }
        identifiers.sort_unstable();
        identifiers.dedup();
        One { rows, person, identifiers }
    }

    /// Their identifiers.
    fn numbers(&self) -> Vec<String> {
        self.identifiers.iter().map(|(_, system, value)| format!("{system}={value}")).collect()
    }

    /// All that their rows say of who they are.
    fn all_said(&self) -> Vec<String> {
        let said = |(row, _, rows): &(&Row, u16, &Rows)| {
            let (text, birth, sex) = row.demographics_text();
            let mut said = format!("{birth}|{}|{text}", char::from(sex));
            for (system, value) in row.identifiers() {
                said.extend([rows.systems.text(system), "=", value, "|"]);
            }
            said
        };
        self.rows.iter().map(said).collect()
    }

    fn key(&self, snapshot: &Snapshot, contested: &HashSet<u64>) -> PersonKey {
        match self.identifiers.first() {
            Some((_, system, value)) if contested.contains(&hash_of_identifier(system, value)) => {
                PersonKey::of_contested(system, value, &self.person)
            }
            Some((_, system, value)) => PersonKey::of_identifier(system, value),
            // A row without an identifier was only taken with such a set.
            None => key_of_demographics(&self.person, &snapshot.matching.deterministic)
                .unwrap_or_else(|| PersonKey::of_fields(&[], &self.person)),
        }
    }
}
