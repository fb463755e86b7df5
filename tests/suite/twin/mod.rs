//! The twin: a slow, obvious interpreter of the mapping sources, which judges the plan and its executor.
//!
//! It follows `mappings/README.md` row by row, over strings and `serde_json::Value`, and shares with the library what it takes apart a message with (`hl7`), the shape of R4,
//! and the reader of the mapping files; nothing of the compiler and the executor. Ids are compared by what they connect, not by their digits.
mod bind;
mod element;
pub mod judge;
mod message;
pub mod mutate;
mod place;
mod primitive;
mod text;
mod tree;
mod value;

use handoff::fhir::shape::{self, Element};
use handoff::hl7::{
    Charset, Index, Matcher, Message, Precision, SegmentId, Span, Structure, Timestamp, is_null, transcode,
};
use handoff::mapping::source::{Sources, TableRow};
use place::Context;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use tree::Tree;

/// How much of a field a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wide {
    Repetition,
    Component,
    Subcomponent,
}

/// Whether something was written, and whether any of it was read from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrote {
    Nothing,
    Literal,
    Sourced,
}

/// What rows gave.
struct Out {
    value: Option<Json>,
    wrote: Wrote,
    /// The type that a choice took.
    kind: Option<String>,
}

/// A map, or what stands behind one of its arrows.
type PartKey = (u8, String, usize);

/// Rows with the places that they read.
struct Layer {
    trees: Vec<Tree>,
    part: Option<PartKey>,
    contexts: Vec<Context>,
}

#[derive(Clone)]
struct One {
    tree: Tree,
    part: Option<PartKey>,
    contexts: Vec<Context>,
}

struct Slot {
    element: &'static Element,
    parent: String,
    /// The type that the name of a choice spells out.
    chosen: Option<String>,
}

struct Instance {
    kind: String,
    id: String,
    contained: bool,
    identity: Option<Vec<String>>,
    parts: Vec<(PartKey, Context)>,
    links: Vec<(usize, usize)>,
}

struct Twin<'a> {
    sources: &'a Sources,
    message: Message<'a>,
    structure: &'a Structure,
    matcher: &'a Matcher,
    charset: Charset,
    sent: Option<Timestamp>,
    instances: Vec<Instance>,
    next_id: usize,
    bounds: Vec<bind::Bound>,
    slots: Vec<(String, String)>,
    contained: Vec<usize>,
    /// The resource that is written, and the link at hand.
    current: usize,
    link: Option<usize>,
    unmapped: Vec<usize>,
    forest: HashMap<String, Rc<Vec<Tree>>>,
    behinds: HashMap<PartKey, Rc<Vec<Tree>>>,
}

/// A Bundle, and the segments that no message map reads.
pub struct Translated {
    pub bundle: Json,
    pub unmapped: Vec<Span>,
}

/// Translates a message, or tells that it cannot be.
pub fn translate(sources: &Sources, raw: &[u8]) -> Option<Translated> {
    let mut index = Index::new();
    index.parse(raw).ok()?;
    let msh18 = |message: Message<'_>| {
        message.find(SegmentId(*b"MSH")).map_or_else(Vec::new, |msh| message.text(msh, 18).to_vec())
    };
    let charset = match (msh18(index.message(raw)), &sources.profile.charset) {
        (name, Some(fallback)) if name.is_empty() => Charset::of_name(fallback.as_bytes())?,
        (name, _) => Charset::of_message(&name),
    };
    let text = if charset.needs_transcoding() { transcode(raw) } else { raw.into() };
    index.parse(&text).ok()?;
    let message = index.message(&text);
    let map = message::of(sources, message)?;
    let structure = Structure::parse(&map.name, &sources.structures[&map.name].0).ok()?;
    let mut matcher = Matcher::new();
    matcher.run(&structure, message);
    let msh = message.find(SegmentId(*b"MSH"))?;
    let mut twin = Twin {
        sources,
        message,
        structure: &structure,
        matcher: &matcher,
        charset,
        sent: Timestamp::parse(message.text(msh, 7).split(|byte| *byte == b'^').next()?).ok(),
        instances: Vec::new(),
        next_id: 0,
        bounds: Vec::new(),
        slots: bind::slots(sources),
        contained: Vec::new(),
        current: 0,
        link: None,
        unmapped: Vec::new(),
        forest: HashMap::new(),
        behinds: HashMap::new(),
    };
    twin.bind(map);
    let bundle = twin.bundle();
    Some(Translated { bundle, unmapped: twin.unmapped.iter().map(|segment| message.segment_span(*segment)).collect() })
}

impl Twin<'_> {
    fn bundle(&mut self) -> Json {
        let mut entries = Vec::new();
        let mut number = 0;
        while number < self.instances.len() {
            if !self.instances[number].contained {
                self.contained.clear();
                let mut resource = self.resource(number);
                let (mut inner, mut next) = (Vec::new(), 0);
                while let Some(contained) = self.contained.get(next).copied() {
                    inner.push(Json::Object(self.resource(contained)));
                    next += 1;
                }
                if !inner.is_empty() {
                    resource.insert("contained".into(), inner.into());
                }
                entries.push(
                    json!({ "fullUrl": format!("urn:uuid:{}", self.instances[number].id), "resource": resource }),
                );
            }
            number += 1;
        }
        let mut bundle = json!({ "resourceType": "Bundle", "type": "message", "entry": entries });
        let msh = self.message.find(SegmentId(*b"MSH")).unwrap_or(0);
        let control_id = place::trimmed(self.message, self.message.field(msh, 10));
        if let Some(value) =
            primitive::string(&self.decoded(control_id)).filter(|_| !is_null(self.message.bytes(control_id)))
        {
            bundle["identifier"] = json!({ "value": value });
        }
        if let Some(sent) = self.sent.filter(|sent| sent.precision >= Precision::Hour)
            && let Some(offset) = self.offset(&sent)
        {
            bundle["timestamp"] = json!(primitive::date_text(&sent) + &primitive::time_text(&sent, offset));
        }
        bundle
    }

    fn resource(&mut self, number: usize) -> Map<String, Json> {
        self.current = number;
        let (kind, id) = (self.instances[number].kind.clone(), self.instances[number].id.clone());
        let mut layers: Vec<Layer> = Vec::new();
        for (slot, (_, path)) in self.slots.iter().enumerate().filter(|(_, (resource, _))| *resource == kind) {
            let target = handoff::mapping::target::parse(path).expect("a path");
            layers.push(Layer { trees: tree::of_link(&target, slot), part: None, contexts: vec![Context::default()] });
        }
        let mut parts: BTreeMap<PartKey, Vec<Context>> = BTreeMap::new();
        for (part, context) in &self.instances[number].parts {
            parts.entry(part.clone()).or_default().push(context.clone());
        }
        for (part, contexts) in parts {
            let trees = if part.0 == 0 { self.trees(&part.1) } else { self.behinds[&part].clone() };
            layers.push(Layer { trees: trees.to_vec(), part: Some(part), contexts });
        }
        let (mut object, _) = self.children(&kind, &layers, true).unwrap_or_else(|| (Map::new(), Wrote::Nothing));
        object.insert("resourceType".into(), kind.into());
        object.insert("id".into(), id.into());
        object
    }
}

impl One {
    fn below(&self) -> Layer {
        Layer { trees: self.tree.children.clone(), part: self.part.clone(), contexts: self.contexts.clone() }
    }

    fn is_spread(&self) -> bool {
        self.contexts.iter().any(|context| context.spread)
    }
}

impl Out {
    fn new(value: Json, wrote: Wrote) -> Out {
        Out { value: Some(value), wrote, kind: None }
    }

    fn nothing() -> Out {
        Out { value: None, wrote: Wrote::Nothing, kind: None }
    }

    /// Puts the value under its name; a choice takes its type into it.
    fn put(self, object: &mut Map<String, Json>, name: &str) {
        let Some(value) = self.value else { return };
        let key = match (&self.kind, name.strip_suffix("[x]")) {
            (Some(kind), Some(base)) => format!("{base}{}{}", kind[..1].to_ascii_uppercase(), &kind[1..]),
            _ => name.to_owned(),
        };
        object.insert(key, value);
    }
}

impl Slot {
    fn of(parent: &str, name: &str) -> Slot {
        let plain = shape::child(parent, name).filter(|element| element.name == name);
        let (element, chosen) = match plain {
            Some(element) => (element, None),
            None => shape::choice(parent, name)
                .map(|(element, kind)| (element, Some(kind.name.to_owned())))
                .unwrap_or_else(|| panic!("{parent}.{name}")),
        };
        Slot { element, parent: parent.to_owned(), chosen }
    }

    fn is_primitive(&self) -> bool {
        match &self.chosen {
            Some(kind) => shape::is_primitive(kind),
            None => self.element.types.len() == 1 && shape::is_primitive(self.element.types[0].name),
        }
    }
}

fn row_coding(row: &TableRow) -> Json {
    let mut coding = json!({ "code": row.fhir });
    for (key, value) in [("system", &row.system), ("display", &row.display)] {
        if !value.is_empty() {
            coding[key] = json!(value);
        }
    }
    coding
}
