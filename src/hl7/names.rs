//! Names of HL7 v2: the fields of each segment, the components of each datatype, the tables they take their codes from.
//!
//! The union of versions 2.8.2, 2.5.1 and 2.3.1: the newest definition wins, a withdrawn field or component keeps its last meaning, and a field repeats if
//! any version lets it. Read when mappings are loaded, never per message. The facts are one embedded text, parsed once on first use:
//!
//! ```text
//! !segments
//! PID
//!  3 CX* - Patient identifier list      number, datatype (* repeats), table or -, name
//! !datatypes
//! CX
//!  5 ID 0203 Identifier type code
//! ```
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A segment and its fields.
#[derive(Debug)]
pub struct SegmentDef {
    /// Three characters: `PID`.
    pub id: &'static str,
    /// By number, ascending; a number that no version uses is missing.
    pub fields: Vec<FieldDef>,
}

impl SegmentDef {
    /// The field of this number, counted from 1.
    pub fn field(&self, number: u16) -> Option<&FieldDef> {
        self.fields.iter().find(|field| field.number == number)
    }
}

/// One field.
#[derive(Debug)]
pub struct FieldDef {
    /// Counted from 1.
    pub number: u16,
    /// In words: `Patient identifier list`.
    pub name: &'static str,
    /// `CX`; `varies` where another field decides (OBX-5), `-` where no version says.
    pub datatype: &'static str,
    /// Four digits: `0001`.
    pub table: Option<&'static str>,
    /// Whether it may hold more than one repetition.
    pub repeats: bool,
}

/// A datatype and its components; a primitive one (`ST`, `DTM`) has none and is not listed.
#[derive(Debug)]
pub struct DatatypeDef {
    /// `CX`
    pub name: &'static str,
    /// By number, ascending.
    pub components: Vec<ComponentDef>,
}

impl DatatypeDef {
    /// The component of this number, counted from 1.
    pub fn component(&self, number: u16) -> Option<&ComponentDef> {
        self.components.iter().find(|component| component.number == number)
    }
}

/// One component.
#[derive(Debug)]
pub struct ComponentDef {
    /// Counted from 1.
    pub number: u16,
    /// In words: `Assigning authority`.
    pub name: &'static str,
    /// `HD`
    pub datatype: &'static str,
    /// Four digits: `0203`.
    pub table: Option<&'static str>,
}

/// The segment of this id; `None` for Z segments and unknown ones.
///
/// ```
/// use handoff::hl7::names::segment;
/// let sex = segment("PID").and_then(|pid| pid.field(8)).unwrap();
/// assert_eq!((sex.name, sex.table), ("Administrative sex", Some("0001")));
/// ```
pub fn segment(id: &str) -> Option<&'static SegmentDef> {
    names().segments.get(id)
}

/// The composite datatype of this name, older ones (`CE`, `TS`, `CN`) included; `None` for primitives.
pub fn datatype(name: &str) -> Option<&'static DatatypeDef> {
    names().datatypes.get(name)
}

/// All segments, by id.
pub fn segments() -> impl Iterator<Item = &'static SegmentDef> {
    names().segments.values()
}

/// All composite datatypes, by name.
pub fn datatypes() -> impl Iterator<Item = &'static DatatypeDef> {
    names().datatypes.values()
}

#[derive(Default)]
struct Names {
    segments: BTreeMap<&'static str, SegmentDef>,
    datatypes: BTreeMap<&'static str, DatatypeDef>,
}

const TEXT: &str = include_str!("names/v2.txt");

fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(load)
}

fn load() -> Names {
    let mut names = Names::default();
    let (mut in_segments, mut current) = (true, "");
    for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('!') {
            in_segments = line == "!segments";
        } else if let Some(field) = line.strip_prefix(' ').and_then(part) {
            if in_segments {
                names.segments.entry(current).or_insert(SegmentDef { id: current, fields: vec![] }).fields.push(field);
            } else {
                let FieldDef { number, name, datatype, table, .. } = field;
                let known = names.datatypes.entry(current).or_insert(DatatypeDef { name: current, components: vec![] });
                known.components.push(ComponentDef { number, name, datatype, table });
            }
        } else {
            current = line;
        }
    }
    names
}

/// `3 CX* - Patient identifier list`
fn part(line: &'static str) -> Option<FieldDef> {
    let mut words = line.splitn(4, ' ');
    let (number, datatype, table, name) = (words.next()?.parse().ok()?, words.next()?, words.next()?, words.next()?);
    let base = datatype.strip_suffix('*');
    Some(FieldDef {
        number,
        name,
        datatype: base.unwrap_or(datatype),
        table: (table != "-").then_some(table),
        repeats: base.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(id: &str, number: u16) -> &'static FieldDef {
        segment(id).unwrap().field(number).unwrap()
    }

    #[test]
    fn the_newest_definition_wins() {
        assert_eq!((field("PID", 3).datatype, field("PID", 3).repeats), ("CX", true));
        assert_eq!((field("PID", 7).datatype, field("PID", 7).repeats), ("DTM", false));
        assert_eq!((field("PID", 8).datatype, field("PID", 8).table), ("CWE", Some("0001")));
        assert_eq!((field("OBX", 5).datatype, field("OBX", 5).repeats), ("varies", true));
        assert_eq!(field("OBX", 11).table, Some("0085"));
        assert_eq!(field("PV1", 44).name, "Admit date time");
    }

    #[test]
    fn withdrawn_parts_keep_their_last_meaning() {
        assert_eq!((field("PID", 19).datatype, field("PID", 19).name), ("ST", "Ssn number patient"));
        assert_eq!((field("PID", 28).datatype, field("PID", 2).datatype), ("CE", "CX"));
        assert_eq!(field("PR1", 11).name, "Surgeon");
        let phone = datatype("XTN").unwrap().component(1).unwrap();
        assert_eq!((phone.name, phone.datatype), ("Telephone number", "ST"));
        assert_eq!(datatype("XPN").unwrap().component(10).unwrap().datatype, "DR");
    }

    #[test]
    fn tables_survive_from_the_version_that_names_them() {
        assert_eq!(datatype("CX").unwrap().component(5).unwrap().table, Some("0203"));
        assert_eq!(datatype("XTN").unwrap().component(3).unwrap().table, Some("0202"));
    }

    #[test]
    fn older_datatypes_are_known_and_primitives_are_not() {
        assert_eq!(datatype("CE").unwrap().components.len(), 6);
        assert_eq!(datatype("TS").unwrap().components.len(), 2);
        assert_eq!(datatype("CWE").unwrap().components.len(), 22);
        assert!(datatype("ST").is_none() && datatype("DTM").is_none() && segment("ZPD").is_none());
    }

    #[test]
    fn every_line_is_understood_and_every_datatype_known() {
        const PRIMITIVES: &[&str] = &[
            "-", "DT", "DTM", "FT", "GTS", "ID", "IS", "NM", "SI", "SNM", "ST", "TM", "TN", "TX", "varies", "NUL", "CM",
        ];
        let parts: usize = segments().map(|segment| segment.fields.len()).sum::<usize>()
            + datatypes().map(|known| known.components.len()).sum::<usize>();
        assert_eq!(parts, TEXT.lines().filter(|line| line.starts_with(' ')).count());
        let fields = segments().flat_map(|segment| segment.fields.iter().map(|field| (segment.id, field.datatype)));
        let components = datatypes().flat_map(|known| known.components.iter().map(|part| (known.name, part.datatype)));
        for (owner, name) in fields.chain(components) {
            assert!(PRIMITIVES.contains(&name) || datatype(name).is_some(), "{owner}: {name}");
        }
    }
}
