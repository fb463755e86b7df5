//! Checked sources → [`Compiled`] plan. Every mistake is reported; the plan is only used when there was none.
mod closed;
mod element;
mod expression;
mod fill;
mod lower;
mod message;
mod missing;
mod needs;
mod tables;
mod trie;
mod value;

use super::diagnostic::{Code, Diagnostics, nearest};
use super::expression::{Value, Via};
use super::plan::*;
use super::source::{Layer, Location, MapSource, Sources};
use crate::fhir::shape;
use crate::hl7::{SegmentId, names};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use trie::{Trie, Whole};

/// Compiles the sources.
pub fn compile(sources: &Sources, diagnostics: &mut Diagnostics) -> Compiled {
    let mut compiler = Compiler {
        sources,
        diagnostics,
        plan: Compiled::default(),
        parts: Vec::new(),
        programs: BTreeMap::new(),
        map_nodes: HashMap::new(),
        calls: Vec::new(),
        texts: HashMap::new(),
        rules: HashMap::new(),
        links: Vec::new(),
        used_maps: Default::default(),
        used_tables: Default::default(),
        table_ids: BTreeMap::new(),
    };
    compiler.tables();
    compiler.parts();
    compiler.messages();
    compiler.programs();
    compiler.missing();
    compiler.unused();
    needs::fill(&mut compiler.plan);
    closed::mark(&mut compiler.plan);
    lower::lower(&mut compiler.plan);
    compiler.plan
}

struct Compiler<'s, 'd> {
    sources: &'s Sources,
    diagnostics: &'d mut Diagnostics,
    plan: Compiled,
    /// Beside `plan.parts`: what each part is built from.
    parts: Vec<PartSource>,
    /// Resource type → its parts.
    programs: BTreeMap<String, Vec<PartId>>,
    map_nodes: HashMap<String, NodeId>,
    /// Datatype maps being compiled, to find circles.
    calls: Vec<String>,
    texts: HashMap<Vec<u8>, Text>,
    rules: HashMap<(String, Location), RuleId>,
    /// Link slots: resource type, path, rule.
    links: Vec<LinkSlot>,
    used_maps: std::collections::BTreeSet<String>,
    used_tables: std::collections::BTreeSet<String>,
    table_ids: BTreeMap<String, u16>,
}

struct LinkSlot {
    resource_type: String,
    path: String,
    rule: RuleId,
    location: Location,
}

#[derive(Clone)]
struct PartSource {
    map: String,
    scope: Scope,
    tries: Vec<Trie>,
}

/// What bare numbers mean.
#[derive(Debug, Clone, PartialEq)]
enum Scope {
    Segment(String),
    Datatype(String),
}

/// Where a row is compiled: whose numbers, which part, at which frame.
#[derive(Clone)]
struct Place {
    scope: Scope,
    part: u8,
    /// Depth of the frame that bare numbers read.
    level: u8,
    inner: bool,
    map: String,
    parameters: Rc<HashMap<String, (Value, Place)>>,
    /// Field that the enclosing slot repeats with.
    driver: Option<u16>,
}

impl Compiler<'_, '_> {
    fn text(&mut self, bytes: &[u8]) -> Text {
        if let Some(text) = self.texts.get(bytes) {
            return *text;
        }
        let start = self.plan.pool.len() as u32;
        self.plan.pool.extend_from_slice(bytes);
        let text = Text { start, end: self.plan.pool.len() as u32 };
        self.texts.insert(bytes.to_vec(), text);
        text
    }

    fn json_text(&mut self, value: &str) -> Text {
        let mut out = Vec::new();
        crate::fhir::json::string(&mut out, value.as_bytes());
        self.text(&out)
    }

    fn key_text(&mut self, name: &str) -> Text {
        self.text(format!("\"{name}\":").as_bytes())
    }

    fn rule(&mut self, map: &str, target: &str, location: Location) -> RuleId {
        let plan = &mut self.plan;
        *self.rules.entry((format!("{map} {target}"), location)).or_insert_with(|| {
            plan.rules.push(Rule { map: map.to_owned(), target: target.to_owned(), location });
            plan.rules.len() as u32 - 1
        })
    }

    fn node(&mut self, node: Node) -> NodeId {
        self.plan.nodes.push(node);
        self.plan.nodes.len() as u32 - 1
    }

    fn source(&mut self, source: Source) -> SourceId {
        self.plan.sources.push(source);
        self.plan.sources.len() as u32 - 1
    }

    fn segment_ref(&mut self, name: &str, location: Location) -> u8 {
        let id = name.as_bytes().try_into().map(SegmentId).unwrap_or(SegmentId(*b"???"));
        if names::segment(name).is_none() && !name.starts_with('Z') {
            self.diagnostics.error(Code::UnknownSegment, location, format!("HL7 v2 has no segment `{name}`"));
        }
        let refs = &mut self.plan.segment_refs;
        match refs.iter().position(|s| *s == id) {
            Some(at) => at as u8,
            None if refs.len() >= usize::from(CURRENT) => {
                self.diagnostics.error(
                    Code::UnknownSegment,
                    location,
                    "more than 254 different segments are read from others",
                );
                0
            }
            None => {
                refs.push(id);
                refs.len() as u8 - 1
            }
        }
    }

    fn binding(&mut self, name: &str) -> u16 {
        let names = &mut self.plan.bindings;
        names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        }) as u16
    }

    fn scope_of(map: &MapSource) -> Scope {
        let segment = (names::segment(&map.from).is_some() || map.from.starts_with('Z')) && !is_datatype(&map.from);
        if segment { Scope::Segment(map.from.clone()) } else { Scope::Datatype(map.from.clone()) }
    }

    /// Registers every map to a resource as a part, and what its `->` rows add to other resources.
    fn parts(&mut self) {
        for map in self.sources.maps.values() {
            let known = names::segment(&map.from).is_some() || is_datatype(&map.from) || map.from.starts_with('Z');
            if !known {
                self.diagnostics.error(
                    Code::UnknownSegment,
                    map.location,
                    format!("HL7 v2 has no segment or datatype `{}`", map.from),
                );
            } else if shape::is_resource(&map.to) {
                let tries = trie::group(&map.rows);
                self.part(&map.name, &map.to, Self::scope_of(map), tries, map.location);
            } else if !shape::is_type(&map.to) && !shape::is_primitive(&map.to) {
                let suggestion = match nearest(&map.to, shape::structured_types()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "a resource or datatype of FHIR R4, such as `Patient` or `CodeableConcept`".to_owned(),
                };
                self.diagnostics
                    .error(Code::UnknownType, map.location, format!("FHIR R4 has no type `{}`", map.to))
                    .suggest_last(suggestion);
            }
        }
        let mut number = 0;
        while number < self.parts.len() {
            let mut tries = std::mem::take(&mut self.parts[number].tries);
            let (map, scope) = (self.parts[number].map.clone(), self.parts[number].scope.clone());
            self.extras(&mut tries, &map, &scope);
            self.parts[number].tries = tries;
            number += 1;
        }
    }

    fn part(&mut self, name: &str, to: &str, scope: Scope, tries: Vec<Trie>, location: Location) -> PartId {
        let id = self.parts.len() as PartId;
        let kinds = self.programs.entry(to.to_owned()).or_default();
        if kinds.len() >= 64 {
            self.diagnostics.error(Code::UnknownMap, location, format!("more than 64 maps to {to}"));
        }
        let kind = kinds.len().min(63) as u8;
        kinds.push(id);
        let rule = self.rule(name, "", location);
        self.plan.parts.push(Part {
            closed: false,
            lasting: false,
            name: name.to_owned(),
            program: 0,
            kind,
            identity: Vec::new(),
            events: false,
            distinct: false,
            required: Vec::new(),
            rule,
        });
        self.parts.push(PartSource { map: name.to_owned(), scope, tries });
        id
    }

    fn extras(&mut self, tries: &mut [Trie], map: &str, scope: &Scope) {
        for trie in tries {
            self.extras(&mut trie.children, map, scope);
            let Some((given, inner)) = trie.through.take() else { continue };
            let via = trie
                .wholes
                .iter()
                .find_map(|w| if let Whole::Row(row, _) = w { row.alternatives[0].via.clone() } else { None });
            let from_map = via.and_then(|v| self.sources.maps.get(&v.name)).map(|m| m.to.clone());
            match given.or(from_map) {
                Some(to) if shape::is_resource(&to) => {
                    let name = format!("{map} {}->", trie.key);
                    trie.extra = Some(self.part(&name, &to, scope.clone(), inner, trie.location));
                    trie.through = Some((Some(to), Vec::new()));
                }
                _ => {
                    self.diagnostics
                        .error(
                            Code::WrongReference,
                            trie.location,
                            format!("`{}`: the resource behind `->` is unknown", trie.key),
                        )
                        .suggest_last(format!("name its type: `{}->Organization.name`", trie.key));
                }
            }
        }
    }

    /// Builds the program of each resource type.
    fn programs(&mut self) {
        let programs = self.programs.clone();
        for (number, (resource_type, parts)) in programs.iter().enumerate() {
            for part in parts {
                self.plan.parts[usize::from(*part)].program = number as u16;
            }
            let name = shape::resource_name(resource_type).unwrap_or("Basic");
            let open = self.text(format!("{{\"resourceType\":\"{name}\",\"id\":\"").as_bytes());
            self.plan.programs.push(Program { resource_type: name, open, root: NONE, alone: Vec::new() });
        }
        for (number, (resource_type, parts)) in programs.iter().enumerate() {
            let sources: Vec<PartSource> = parts.iter().map(|p| self.parts[usize::from(*p)].clone()).collect();
            let mut layers = Vec::new();
            for (part, source) in parts.iter().zip(&sources) {
                let kind = self.plan.parts[usize::from(*part)].kind;
                let place = Place {
                    scope: source.scope.clone(),
                    part: kind,
                    level: 0,
                    inner: false,
                    map: source.map.clone(),
                    parameters: Rc::default(),
                    driver: None,
                };
                self.identity(*part, &place);
                layers.push((source.tries.as_slice(), place));
            }
            let root = self.root(resource_type, &layers, parts);
            self.plan.programs[number].root = root;
        }
    }

    fn identity(&mut self, part: PartId, place: &Place) {
        let Some(map) = self.sources.maps.get(&place.map) else { return };
        let place = Place { part: CURRENT, ..place.clone() };
        let mut nodes = Vec::new();
        for (row, location) in &map.identity {
            let rule = self.rule(&place.map, "identity", *location);
            nodes.push(self.text_row(row, &place, *location, rule));
        }
        let part = &mut self.plan.parts[usize::from(part)];
        part.identity = nodes;
        part.events = map.events;
        part.distinct = map.distinct;
    }

    /// The map that a `: Name` means.
    fn map(&mut self, via: &Via, location: Location) -> Option<&MapSource> {
        if let Some(map) = self.sources.maps.get(&via.name) {
            self.used_maps.insert(via.name.clone());
            return Some(map);
        }
        let suggestion = match nearest(&via.name, self.sources.maps.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`handoff mappings list` names the maps that there are".to_owned(),
        };
        self.diagnostics
            .error(Code::UnknownMap, location, format!("there is no map `{}`", via.name))
            .suggest_last(suggestion);
        None
    }

    fn unused(&mut self) {
        let sources = self.sources;
        for map in sources.maps.values().filter(|map| sources.is_own(map.location)) {
            if !self.used_maps.contains(&map.name) {
                self.diagnostics
                    .warning(Code::Unused, map.location, format!("nothing uses the map {}", map.name))
                    .suggest_last(format!(
                        "name it in a message map (`name = {0}`) or behind a field (`5 : {0}`)",
                        map.name
                    ));
            }
        }
        // Of tables the core has more than it reads itself.
        let of_site =
            |at: Location| !matches!(sources.files[usize::from(at.file)].layer, Layer::Core | Layer::Realm(_));
        for table in sources.tables.values().filter(|table| of_site(table.location)) {
            // A file that a `[table.X]` names is read under its own name as well.
            if self.used_tables.contains(&table.name) || sources.is_named(table) {
                continue;
            }
            let suggestion = match nearest(&table.name, self.used_tables.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("name it behind a field: `5 @{}`", table.name),
            };
            self.diagnostics
                .warning(Code::Unused, table.location, format!("nothing uses the code table {}", table.name))
                .suggest_last(suggestion);
        }
    }
}

/// Whether HL7 v2 has a datatype of this name; those of one component are not in the tables.
fn is_datatype(name: &str) -> bool {
    const PRIMITIVES: [&str; 14] =
        ["ST", "TX", "FT", "NM", "SI", "ID", "IS", "DT", "TM", "DTM", "TS", "GTS", "TN", "SNM"];
    names::datatype(name).is_some() || PRIMITIVES.contains(&name)
}
