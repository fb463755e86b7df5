//! What is said of rosters in the configuration: panels with their files, and how a message's patient is matched.
use super::fields::{Field, FieldSet};
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::time::Duration;

/// `[[coordination.panel]]` and `[coordination.match]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Who looks after whom, in the order of the configuration.
    pub panels: Vec<Panel>,
    /// How a patient of a message is found among their members.
    pub matching: Matching,
}

/// A list of people whom somebody looks after.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Its name; `Group/{id}` in subscriptions.
    pub id: String,
    /// Who looks after them.
    pub kind: PanelKind,
    /// The organisation's NPI.
    pub owner_npi: Option<String>,
    /// The zone in which the dates of its periods count.
    pub zone: TimeZone,
    /// Where its members are read from.
    pub source: Source,
    /// So old its file may be before somebody is warned.
    pub stale_after: Duration,
    /// With fewer members somebody is warned.
    pub min_attributed: usize,
    /// If more of its members than this part (per cent) are gone, the file is held until somebody approves of it.
    pub max_drop_pct: u8,
}

impl Panel {
    /// Before somebody is warned: 90 days.
    pub const STALE_AFTER: Duration = Duration::from_secs(90 * 86_400);
    /// Per cent.
    pub const MAX_DROP_PCT: u8 = 20;
}

/// Who looks after the members of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanelKind {
    /// An accountable care organisation.
    Aco,
    /// A patient-centred medical home.
    Pcmh,
    /// A home health agency.
    Hha,
    /// Behavioural health.
    Bh,
    /// A payer.
    Payer,
}

impl PanelKind {
    /// Every one, as the configuration writes it.
    pub const ALL: [(&'static str, PanelKind); 5] = [
        ("aco", PanelKind::Aco),
        ("pcmh", PanelKind::Pcmh),
        ("hha", PanelKind::Hha),
        ("bh", PanelKind::Bh),
        ("payer", PanelKind::Payer),
    ];

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        PanelKind::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Fewer members than this are worth a warning: the Medicare Shared Savings Program asks 5,000 beneficiaries of an ACO (42 CFR 425.110).
    pub fn min_attributed(self) -> usize {
        if self == PanelKind::Aco { 5000 } else { 0 }
    }
}

/// Where the members of a panel are read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// A file, or a folder whose files are read in the order of their names.
    pub path: PathBuf,
    /// What is in them.
    pub form: Form,
    /// What a later file says of the members of an earlier one.
    pub mode: Mode,
}

/// What is in the files of a panel.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// A table with a header.
    Csv {
        /// What its columns are called.
        columns: Box<Columns>,
        /// How it writes dates.
        dates: DateForm,
        /// Windows-1252, of which Latin-1 is a part, instead of UTF-8.
        latin_1: bool,
    },
    /// A FHIR Group, alone or in a Bundle with its patients (Da Vinci Member Attribution List).
    Group {
        /// The system that identifiers without one are of.
        id_system: String,
    },
}

/// What a file says of the members of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is the whole panel. Of a folder the last file counts.
    Supersede,
    /// It adds, changes and drops members; who is not named stays. The first file of a folder is the whole panel.
    Delta,
}

/// How a table writes dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateForm {
    /// By its look: `1951-03-14`, `19510314`, and `3/14/1951` month first.
    #[default]
    Detect,
    /// `1951-03-14`
    Iso,
    /// `3/14/1951`
    Us,
    /// `19510314`
    Compact,
}

impl DateForm {
    /// Every one, as the configuration writes it.
    pub const ALL: [(&'static str, DateForm); 4] =
        [("detect", DateForm::Detect), ("iso", DateForm::Iso), ("us", DateForm::Us), ("compact", DateForm::Compact)];
}

/// The names of a table's columns; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// An identifier, of [`Columns::id_system`].
    pub id: String,
    /// Not a column: the system of `id`.
    pub id_system: String,
    /// A medical record number.
    pub mrn: String,
    /// Who assigned it: a name or an OID.
    pub mrn_aa: String,
    /// Family name.
    pub family: String,
    /// Given name.
    pub given: String,
    /// Date of birth.
    pub dob: String,
    /// `F`, `M`, …
    pub sex: String,
    /// Street and number.
    pub street: String,
    /// Town.
    pub city: String,
    /// Postal code.
    pub zip: String,
    /// Telephone.
    pub phone: String,
    /// The first day of membership.
    pub start: String,
    /// The last day of membership.
    pub end: String,
    /// The NPI of the primary care provider.
    pub pcp_npi: String,
    /// The care manager.
    pub care_manager: String,
    /// What they consented to, for the privacy gate.
    pub consent: String,
    /// `add` or `new`, `change`, `drop`: what a row of a delta does.
    pub change: String,
}

impl Columns {
    /// What the columns are called that there are.
    pub(super) fn names(&self) -> Vec<&str> {
        let names = [
            &self.id,
            &self.mrn,
            &self.mrn_aa,
            &self.family,
            &self.given,
            &self.dob,
            &self.sex,
            &self.street,
            &self.city,
            &self.zip,
            &self.phone,
            &self.start,
            &self.end,
            &self.pcp_npi,
            &self.care_manager,
            &self.consent,
            &self.change,
        ];
        names.into_iter().map(String::as_str).filter(|name| !name.is_empty()).collect()
    }
}

/// How a patient of a message is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// Identifiers that name one person, strongest first: URIs of systems, and `mrn@aa` for record numbers of any authority.
    pub strong: Vec<String>,
    /// One of these must agree as well.
    pub guard: Vec<Field>,
    /// Sets of fields that together name one person.
    pub deterministic: Vec<FieldSet>,
    /// Sets of fields one of which must agree before a person is scored.
    pub block: Vec<FieldSet>,
    /// So many people who could be meant are told apart; with more nobody is picked.
    pub max_candidates: usize,
    /// Given names must be as alike as this (Jaro-Winkler, 0 to 1).
    pub given_min: f64,
    /// What agreement of a field counts: its log-odds.
    pub weights: Weights,
    /// From this score on (0 to 1) a person is taken.
    pub accept: f64,
    /// From this score on somebody is asked.
    pub review: f64,
}

/// Who assigns record numbers is part of their system: `mrn@SBMC`.
pub const ANY_MRN: &str = "mrn@aa";

impl Default for Matching {
    fn default() -> Matching {
        let set = |terms: &[&str]| FieldSet::parse(terms.iter().copied()).unwrap_or_default();
        Matching {
            strong: vec![super::systems::MBI.into(), ANY_MRN.into()],
            guard: vec![Field::Dob, Field::Family],
            deterministic: vec![set(&["family", "given", "dob", "sex", "zip5|phone"])],
            block: vec![set(&["dob", "sex"]), set(&["family_sdx", "birth_year", "zip5"]), set(&["phone"])],
            max_candidates: 16,
            given_min: 0.90,
            weights: Weights::default(),
            accept: 0.925,
            review: 0.80,
        }
    }
}

impl Matching {
    /// How strong a system is: its place in `strong`; none for others.
    pub(super) fn rank(&self, system: &str) -> Option<usize> {
        let any_mrn = system.starts_with(super::systems::MRN);
        self.strong.iter().position(|strong| strong == system || any_mrn && strong == ANY_MRN)
    }
}

/// The log-odds by which agreement of a field tells for the same person, as the CDC's RecordLinker publishes them for its default algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Date of birth.
    pub dob: f64,
    /// Street and number.
    pub address: f64,
    /// Given name.
    pub given: f64,
    /// Family name.
    pub family: f64,
    /// Postal code.
    pub zip: f64,
    /// Town.
    pub city: f64,
    /// Sex.
    pub sex: f64,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { dob: 10.13, address: 8.44, given: 6.85, family: 6.35, zip: 4.98, city: 2.44, sex: 0.75 }
    }
}

impl Weights {
    /// What full agreement counts.
    pub fn total(&self) -> f64 {
        self.dob + self.address + self.given + self.family + self.zip + self.city + self.sex
    }
}
