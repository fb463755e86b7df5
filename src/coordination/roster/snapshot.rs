//! The members of all panels at one time: people in little room, and indexes to find them by. Never changed; a new roster makes a new one.
use super::build;
use super::fields::{Demographics, Field, FieldSet};
use super::index::Index;
use super::key::PersonKey;
use super::options::{Matching, Panel, PanelKind};
use super::rows::{self, Rows};
use super::systems::Words;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use std::fmt;

/// All panels and their members.
///
/// A person takes 40 bytes, the texts (names, address, identifiers: about 90), 28 bytes for each membership and 12 for each entry of an index.
#[derive(Default)]
pub struct Snapshot {
    pub(super) panels: Vec<PanelFacts>,
    pub(super) matching: Matching,
    /// Sorted by key.
    pub(super) people: Vec<Person>,
    pub(super) text: String,
    pub(super) members: Vec<Member>,
    pub(super) systems: Words,
    pub(super) words: Words,
    pub(super) by_identifier: Index,
    pub(super) deterministic: Vec<Set>,
    pub(super) blocks: Vec<Set>,
    pub(super) contested: usize,
    pub(super) fingerprint: [u8; 32],
}

/// What is known of a panel beside its members.
#[derive(Debug, Clone, PartialEq)]
pub struct PanelFacts {
    /// Its name.
    pub id: String,
    /// Who looks after them.
    pub kind: PanelKind,
    /// The organisation's NPI.
    pub owner_npi: Option<String>,
    /// The zone in which its dates count.
    pub zone: TimeZone,
}

/// Where the texts and memberships of a person begin; they end where those of the next begin.
#[derive(PartialEq)]
pub(super) struct Person {
    pub key: PersonKey,
    pub text: u64,
    pub members: u32,
    pub birth: u32,
    pub sex: u8,
}

#[derive(PartialEq)]
pub(super) struct Member {
    pub panel: u16,
    pub start: Date,
    pub end: Date,
    pub pcp: u32,
    pub care_manager: u32,
    pub consent: u32,
}

/// Indexes over a set of fields, one for each way to read it.
#[derive(Default)]
pub(super) struct Set {
    pub name: String,
    pub ways: Vec<(Vec<Field>, Index)>,
}

/// A period in which somebody is a member of a panel.
#[derive(Clone, Copy, PartialEq)]
pub struct Membership<'a> {
    /// The panel.
    pub panel: &'a PanelFacts,
    /// The first day in the panel's zone; none where it is open.
    pub start: Option<Date>,
    /// The last day.
    pub end: Option<Date>,
    /// The primary care provider as the roster tells them: an NPI where it passes its check.
    pub pcp: &'a str,
    /// The care manager.
    pub care_manager: &'a str,
    /// The consent column.
    pub consent: &'a str,
}

/// What a roster says of a person, as it is compared: upper case, without accents and marks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// Family name.
    pub family: &'a str,
    /// Given name.
    pub given: &'a str,
    /// Date of birth as a number, `19510314`; 0 where it is not known.
    pub birth: u32,
    /// Sex as a letter; none where it is not known.
    pub sex: Option<char>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Snapshot({} panels, {} people)", self.panels.len(), self.people.len())
    }
}

impl Snapshot {
    /// The people of these panels, each once however many panels they are in. The order of rows makes no difference.
    pub fn new(panels: &[(&Panel, &Rows)], matching: &Matching) -> Snapshot {
        let mut snapshot = build::build(panels, matching);
        let fingerprints = panels.iter().map(|(panel, rows)| (panel.id.as_str(), rows.fingerprint));
        snapshot.fingerprint = Snapshot::fingerprint_of(fingerprints);
        snapshot
    }

    /// SHA-256 over panels and their files.
    pub(super) fn fingerprint_of<'p>(panels: impl Iterator<Item = (&'p str, [u8; 32])>) -> [u8; 32] {
        let mut sha = Sha256::new();
        for (id, fingerprint) in panels {
            sha.update((id.len() as u64).to_le_bytes());
            sha.update(id);
            sha.update(fingerprint);
        }
        sha.finalize().into()
    }

    /// SHA-256 over the files of all panels: the same files give the same people.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// The panels, in the order of the configuration.
    pub fn panels(&self) -> &[PanelFacts] {
        &self.panels
    }

    /// How many people there are.
    pub fn people(&self) -> usize {
        self.people.len()
    }

    /// Identifiers that stand for several people, who are then told apart by `strong_guard`.
    pub fn contested(&self) -> usize {
        self.contested
    }

    /// Every person, sorted.
    pub fn keys(&self) -> impl Iterator<Item = PersonKey> {
        self.people.iter().map(|person| person.key)
    }

    /// Whether somebody is in any panel, at whatever time.
    pub fn has(&self, key: &PersonKey) -> bool {
        self.number(key).is_some()
    }

    /// Every membership of a person, at whatever time.
    pub fn memberships(&self, key: &PersonKey) -> impl Iterator<Item = Membership<'_>> {
        let members = self.number(key).map(|person| self.members_of(person)).unwrap_or_default();
        members.iter().filter_map(|member| self.membership(member))
    }

    /// The memberships of a person at a time in milliseconds since 1970: its date in the zone of each panel lies in the period, first and last day included.
    pub fn memberships_at(&self, key: &PersonKey, at_ms: i64) -> impl Iterator<Item = Membership<'_>> {
        let time = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
        let holds = move |one: &Membership<'_>| {
            let day = one.panel.zone.to_datetime(time).date();
            one.start.is_none_or(|start| start <= day) && one.end.is_none_or(|end| day <= end)
        };
        self.memberships(key).filter(holds)
    }

    /// Every membership of a panel, at whatever time, sorted by person.
    pub fn members<'s>(&'s self, panel: &str) -> impl Iterator<Item = (PersonKey, Membership<'s>)> {
        let number = self.panels.iter().position(|known| known.id == panel);
        let all = 0..u32::try_from(self.people.len()).unwrap_or(u32::MAX);
        all.flat_map(move |person| self.members_of(person).iter().map(move |member| (self.key(person), member)))
            .filter(move |(_, member)| Some(usize::from(member.panel)) == number)
            .filter_map(|(key, member)| Some((key, self.membership(member)?)))
    }

    /// What the roster says of a person.
    pub fn about(&self, key: &PersonKey) -> Option<About<'_>> {
        let Demographics { family, given, birth, sex, .. } = self.demographics(self.number(key)?);
        Some(About { family, given, birth, sex: (sex != 0).then(|| char::from(sex)) })
    }

    /// The identifiers of a person: system and value, strongest first.
    pub fn identifiers(&self, key: &PersonKey) -> impl Iterator<Item = (&str, &str)> {
        let packed = self.number(key).map_or("", |person| self.unpacked(person).1);
        rows::identifiers(packed).map(|(system, value)| (self.systems.text(system), value))
    }

    /// Bytes it takes, about.
    pub fn bytes(&self) -> usize {
        let sets = self.deterministic.iter().chain(&self.blocks).flat_map(|set| &set.ways);
        self.people.len() * size_of::<Person>()
            + self.text.len()
            + self.members.len() * size_of::<Member>()
            + self.systems.bytes()
            + self.words.bytes()
            + self.by_identifier.bytes()
            + sets.map(|(_, index)| index.bytes()).sum::<usize>()
    }

    fn membership(&self, member: &Member) -> Option<Membership<'_>> {
        Some(Membership {
            panel: self.panels.get(usize::from(member.panel))?,
            start: Some(member.start).filter(|start| *start != Date::MIN),
            end: Some(member.end).filter(|end| *end != Date::MAX),
            pcp: self.words.text(member.pcp),
            care_manager: self.words.text(member.care_manager),
            consent: self.words.text(member.consent),
        })
    }

    pub(super) fn number(&self, key: &PersonKey) -> Option<u32> {
        let at = self.people.binary_search_by(|person| person.key.cmp(key)).ok()?;
        u32::try_from(at).ok()
    }

    pub(super) fn key(&self, person: u32) -> PersonKey {
        self.people.get(person as usize).map_or(PersonKey([0; 16]), |person| person.key)
    }

    fn members_of(&self, person: u32) -> &[Member] {
        let at = person as usize;
        let start = self.people.get(at).map_or(0, |person| person.members as usize);
        let end = self.people.get(at + 1).map_or(self.members.len(), |next| next.members as usize);
        self.members.get(start..end).unwrap_or_default()
    }

    fn unpacked(&self, person: u32) -> (Demographics<'_>, &str) {
        let at = person as usize;
        let Some(Person { text, birth, sex, .. }) = self.people.get(at) else { return Default::default() };
        let end = self.people.get(at + 1).map_or(self.text.len(), |next| next.text as usize);
        Demographics::unpack(self.text.get(*text as usize..end).unwrap_or_default(), *birth, *sex)
    }

    pub(super) fn demographics(&self, person: u32) -> Demographics<'_> {
        self.unpacked(person).0
    }

    /// The identifiers of a person: number of the system, and value.
    pub(super) fn identifiers_of(&self, person: u32) -> impl Iterator<Item = (u32, &str)> {
        rows::identifiers(self.unpacked(person).1)
    }
}

impl Set {
    pub(super) fn new(fields: &FieldSet, people: &Snapshot) -> Set {
        let hashes = |way: &[Field]| {
            let all = 0..u32::try_from(people.people.len()).unwrap_or(u32::MAX);
            let hash = |person| Some((super::fields::hash_of(way, &people.demographics(person))?, person));
            Index::new(all.filter_map(hash))
        };
        let ways = fields.alternatives().into_iter().map(|way| (hashes(&way), way)).map(|(index, way)| (way, index));
        Set { name: fields.name(), ways: ways.collect() }
    }
}
