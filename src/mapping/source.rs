//! What the mapping files say, read but not yet checked: rows, maps, message maps, tables, systems, profile.
use super::expression::{Condition, Path, Row};
use super::target::Target;
use std::collections::BTreeMap;

/// Bytes of one source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Index into [`Sources::files`].
    pub file: u16,
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// Whose file it is. Later layers replace rows of earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// HL7's guide and our rules: what comes with handoff.
    #[default]
    Core,
    /// What a country adds, such as `us`.
    Realm(String),
    /// What a site does its own way.
    Site,
    /// What one sender of the site does its own way; its profile has a `when`.
    Feed(String),
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Layer::Core => f.write_str("core"),
            Layer::Realm(name) => write!(f, "realm {name}"),
            Layer::Site => f.write_str("site"),
            Layer::Feed(name) => write!(f, "feed {name}"),
        }
    }
}

/// One mapping file.
#[derive(Debug, Clone, Default)]
pub struct SourceFile {
    /// Path as the user knows it, such as `segments/pid.toml`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whose it is.
    pub layer: Layer,
}

/// All mapping files of a plan, layers already laid over one another.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    /// The files, core first, site last.
    pub files: Vec<SourceFile>,
    /// Structure name → grammar text.
    pub structures: BTreeMap<String, (String, Location)>,
    /// `ADT^A04` → structure.
    pub events: BTreeMap<String, (String, Location)>,
    /// `PID.Patient` → map.
    pub maps: BTreeMap<String, MapSource>,
    /// `ADT_A01` → message map.
    pub messages: BTreeMap<String, MessageSource>,
    /// Code tables.
    pub tables: BTreeMap<String, TableSource>,
    /// Code system names of messages → URI; keys in upper case.
    pub systems: BTreeMap<String, String>,
    /// Assigning authorities of messages → URI; keys in upper case.
    pub authorities: BTreeMap<String, String>,
    /// Short names for `coding(…)`.
    pub short: BTreeMap<String, String>,
    /// Settings of the site.
    pub profile: Profile,
    /// Rows that took the place of another one: the bytes of the new one, and where the old one stands.
    pub replaced: Vec<(Location, Location)>,
    /// Numbers of the CSV files that a `[table.X] file = …` names.
    pub named: Vec<u16>,
    /// Which messages a layer is about (`when`); a layer without one is about all.
    pub when: BTreeMap<Layer, Vec<When>>,
}

/// `MSH-3 = "OLDLAB"`: one condition of a profile's `when`; all must hold.
#[derive(Debug, Clone)]
pub struct When {
    /// Field of MSH, from 3.
    pub field: usize,
    /// Component of it, from 1.
    pub component: usize,
    /// One of these stands there.
    pub values: Vec<String>,
}

/// Settings that decide what the messages leave open.
#[derive(Debug, Default, Clone)]
pub struct Profile {
    /// Where it stands.
    pub location: Location,
    /// URI from which ids are derived; none: from MSH-3 and MSH-4.
    pub namespace: Option<String>,
    /// IANA zone for times without offset.
    pub timezone: Option<String>,
    /// Character set when MSH-18 is empty.
    pub charset: Option<String>,
    /// Identifier types that identify a patient, best first.
    pub patient_types: Vec<String>,
    /// What `""` in a message does.
    pub nulls: Nulls,
}

/// What the v2 null `""` does to an element.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Nothing is written.
    #[default]
    Drop,
    /// A data-absent-reason extension is written.
    DataAbsent,
}

/// `[PID.Patient]`.
#[derive(Debug, Clone)]
pub struct MapSource {
    /// `PID.Patient`, `PL.Location-Room`.
    pub name: String,
    /// Segment or datatype.
    pub from: String,
    /// FHIR type.
    pub to: String,
    /// Where it was first declared.
    pub location: Location,
    /// What makes two occurrences the same resource.
    pub identity: Vec<(Row, Location)>,
    /// Names of parameters.
    pub parameters: Vec<String>,
    /// Never merged, a repeated identity gets its position.
    pub events: bool,
    /// Never the same as a resource that another map made: with its identity, nothing is made.
    pub distinct: bool,
    /// The single row of a map to a primitive.
    pub value: Option<(Row, Location)>,
    /// Rows, in the order written.
    pub rows: Vec<RowSource>,
}

/// One row of a map: left side, right side.
#[derive(Debug, Clone)]
pub struct RowSource {
    /// Left side as written; the key of overlays.
    pub key: String,
    /// Left side, parsed.
    pub target: Target,
    /// Where the left side stands.
    pub location: Location,
    /// Right side.
    pub value: RowValue,
}

/// A right side.
#[derive(Debug, Clone)]
pub enum RowValue {
    /// An expression.
    Expression(Row, Location),
    /// `{ a = …, b = …, if = … }`.
    Table(Vec<RowSource>, Option<Condition>),
    /// `[ …, … ]`.
    Many(Vec<RowValue>),
    /// A jump table.
    Switch(SwitchSource),
}

/// `[OBX.Observation.switch."value[x]"]`.
#[derive(Debug, Clone)]
pub struct SwitchSource {
    /// What is looked at.
    pub on: Path,
    /// Codes → row; the code `*` is the default.
    pub cases: Vec<(Vec<String>, Row, Location)>,
}

/// A message map.
#[derive(Debug, Clone, Default)]
pub struct MessageSource {
    /// Structure name.
    pub name: String,
    /// Where it was declared.
    pub location: Location,
    /// `ADT^A04`…
    pub covers: Vec<(String, Location)>,
    /// Another message map whose statements hold here too.
    pub extends: Option<(String, Location)>,
    /// Group path below the structure, segment key, statements.
    pub places: Vec<PlaceSource>,
}

/// The statements for one segment in one group.
#[derive(Debug, Clone)]
pub struct PlaceSource {
    /// Group path below the structure, empty for the root.
    pub group: String,
    /// `OBX`, `ROL#2`.
    pub key: String,
    /// Where the key stands.
    pub location: Location,
    /// The statements.
    pub statements: Vec<Statement>,
}

/// `name = Map; path -> other if cond`.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Name of the resource.
    pub binding: String,
    /// `+=`.
    pub add: bool,
    /// `PID.Patient`.
    pub map: String,
    /// Links.
    pub links: Vec<Link>,
    /// Guard.
    pub guard: Option<Condition>,
    /// Where the statement stands.
    pub location: Location,
}

/// `encounter.diagnosis[+].condition -> cond`.
#[derive(Debug, Clone)]
pub struct Link {
    /// Left side as written, with or without a leading name.
    pub path: String,
    /// The name it leads to.
    pub to: String,
}

/// A code table.
#[derive(Debug, Clone, Default)]
pub struct TableSource {
    /// `AdministrativeSex`.
    pub name: String,
    /// Where it begins.
    pub location: Location,
    /// Rows in file order; a later row for the same code replaces.
    pub rows: Vec<TableRow>,
}

/// One row of a code table.
#[derive(Debug, Clone, Default)]
pub struct TableRow {
    /// v2 code.
    pub code: String,
    /// FHIR code.
    pub fhir: String,
    /// Display, may be empty.
    pub display: String,
    /// System URI, may be empty for required codes.
    pub system: String,
    /// Where the row stands.
    pub location: Location,
}

impl Sources {
    /// Whether a place is in a file of whoever has these checked: of the site, where there is one. What the core has is there for sites to use.
    pub fn is_own(&self, location: Location) -> bool {
        let of_site = |file: &SourceFile| matches!(file.layer, Layer::Site | Layer::Feed(_));
        !self.files.iter().any(of_site) || self.files.get(usize::from(location.file)).is_some_and(of_site)
    }

    /// Whether a table is there only because a file has its name that another table names.
    pub fn is_named(&self, table: &TableSource) -> bool {
        let stem = |file: &SourceFile| {
            file.name.rsplit('/').next().and_then(|name| name.strip_suffix(".csv")) == Some(&table.name)
        };
        self.named.contains(&table.location.file) && self.files.get(usize::from(table.location.file)).is_some_and(stem)
    }

    /// Where the row stands that the one at these bytes took the place of.
    pub fn replaced(&self, location: Location) -> Option<Location> {
        let around = |new: &Location| {
            new.file == location.file && new.start <= location.start && location.end <= new.end.max(new.start + 1)
        };
        self.replaced.iter().rev().find(|(new, _)| around(new)).map(|(_, old)| *old)
    }

    /// File name, line, column (both from 1) and the line itself.
    pub fn position(&self, location: Location) -> (&str, usize, usize, &str) {
        let Some(file) = self.files.get(location.file as usize) else { return ("", 1, 1, "") };
        let start = (location.start as usize).min(file.text.len());
        let before = file.text.get(..start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let quoted = file.text[line_start..].lines().next().unwrap_or("");
        (&file.name, line, start - line_start + 1, quoted)
    }

    /// What stands in a mapping file, quotes taken off.
    pub fn written(&self, location: Location) -> &str {
        let file = self.files.get(usize::from(location.file));
        let text = file.and_then(|f| f.text.get(location.start as usize..location.end as usize)).unwrap_or_default();
        ["\"\"\"", "'''", "\"", "'"]
            .iter()
            .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(text)
    }
}
