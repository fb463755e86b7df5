//! A JSON schema of the mapping files, for editors: completion of elements while one types, and the coarse mistakes underlined.
//!
//! It knows the sections, the keys of a map, and the elements of every FHIR type. What needs the whole of the mappings (tables, names, fields of
//! segments, types of values) is left to `handoff mappings check`.
use crate::fhir::shape::{self, Element};
use serde_json::{Map, Value, json};

const SEGMENT: &str = "^[A-Z][A-Z0-9]{1,2}[0-9]?$";
const SEGMENT_KEY: &str = "^[A-Z][A-Z0-9]{2}(#[0-9]+)?$";
const STRUCTURE: &str = "^[A-Z][A-Z0-9]{2}(_[A-Za-z0-9]+)?$";
const STATEMENT: &str = r"^([a-z][A-Za-z0-9_]*\s*\+?=\s*[A-Z][A-Z0-9]{1,3}\.[A-Za-z][A-Za-z0-9-]*.*)?$";

/// The schema, draft 7: what editors understand.
pub fn schema() -> Value {
    let mut definitions = sections();
    let mut maps = Map::new();
    for name in shape::structured_types() {
        definitions.insert(format!("rows-{name}"), rows(shape::children(name)));
        maps.insert(format!("^{name}(-[A-Za-z0-9-]+)?$"), map(Some(name)));
    }
    // A map to a primitive has one row, `value`.
    maps.insert("^[a-z][A-Za-z0-9]*(-[A-Za-z0-9-]+)?$".to_owned(), map(None));
    definitions
        .insert("maps".into(), json!({ "type": "object", "patternProperties": maps, "additionalProperties": false }));
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "handoff mapping file",
        "description": "See mappings/README.md. `handoff mappings check` finds what a schema cannot.",
        "type": "object",
        "properties": {
            "profile": { "$ref": "#/definitions/profile" },
            "systems": { "$ref": "#/definitions/uris", "description": "Code system names of CWE.3 and the like → URI" },
            "authorities": { "$ref": "#/definitions/uris", "description": "Assigning authorities of CX.4 and the like, namespace or OID → URI" },
            "short": { "$ref": "#/definitions/uris", "description": "Short names that `coding(…)` takes" },
            "structures": { "$ref": "#/definitions/texts", "description": "Message structure → its grammar" },
            "events": { "$ref": "#/definitions/texts", "description": "`ADT^A04` → structure" },
            "structure": { "$ref": "#/definitions/insertions" },
            "table": { "$ref": "#/definitions/tables" },
        },
        "patternProperties": {
            // A segment without an underscore may also be a message map of a structure such as ACK; both are objects of objects or statements.
            (SEGMENT): { "anyOf": [{ "$ref": "#/definitions/maps" }, { "$ref": "#/definitions/message" }] },
            "^[A-Z][A-Z0-9]{2}_[A-Za-z0-9]+$": { "$ref": "#/definitions/message" },
        },
        "additionalProperties": false,
        "definitions": definitions,
    })
}

fn sections() -> Map<String, Value> {
    let strings = json!({ "type": ["string", "array"], "items": { "type": "string" } });
    let when = json!({
        "type": "object",
        "description": "Which messages this layer is about: fields of MSH; all must hold",
        "patternProperties": { r"^MSH-([3-9]|[1-9][0-9])(\.[1-9][0-9]?)?$": strings },
        "additionalProperties": false,
    });
    let statement = json!({ "type": "string", "pattern": STATEMENT });
    let definitions = json!({
        "texts": { "type": "object", "additionalProperties": { "type": "string" } },
        "uris": { "type": "object", "additionalProperties": { "type": "string" } },
        "profile": {
            "type": "object",
            "properties": {
                "extends": { "type": "array", "items": { "type": "string" }, "description": "Layers below: `core` and realms" },
                "when": when,
                "namespace": { "type": "string", "description": "URI from which ids are derived; default: MSH-3 and MSH-4" },
                "timezone": { "type": "string", "description": "IANA zone for times without an offset" },
                "charset": { "type": "string", "description": "Used only when MSH-18 is empty" },
                "patient_types": { "type": "array", "items": { "type": "string" }, "description": "Identifier types that identify a patient, best first" },
                "nulls": { "enum": ["drop", "data-absent"], "description": "What the v2 null \"\" does" },
            },
            "additionalProperties": false,
        },
        "insertions": {
            "type": "object",
            "patternProperties": { (STRUCTURE): { "type": "object", "properties": { "insert": {
                "type": "object",
                "description": "Z-segments of the site: `ZPD = \"after PD1\"`",
                "additionalProperties": { "type": "string", "pattern": "^(after|before) [A-Z][A-Z0-9]{2}" },
            } }, "additionalProperties": false } },
            "additionalProperties": false,
        },
        "tables": { "type": "object", "additionalProperties": { "type": "object", "additionalProperties": { "anyOf": [
            { "type": "string" },
            { "type": "object", "properties": { "code": { "type": "string" }, "display": { "type": "string" }, "system": { "type": "string" } }, "additionalProperties": false },
        ] } } },
        "message": {
            "type": "object",
            "properties": {
                "covers": { "type": "array", "items": { "type": "string", "pattern": r"^[A-Z0-9]{3}(\^[A-Z0-9]{3})?$" }, "description": "Trigger events: `ADT^A01`" },
                "extends": { "type": "string", "description": "Another message map whose statements hold here too" },
            },
            "patternProperties": {
                (SEGMENT_KEY): { "anyOf": [statement, { "type": "array", "items": statement }, { "$ref": "#/definitions/message" }] },
                "^([A-Z]{2}|[A-Z][A-Z0-9_]{3,})(#[0-9]+)?$": { "$ref": "#/definitions/message" },
            },
            "additionalProperties": false,
        },
        "row": { "anyOf": [
            { "type": "string", "description": "An expression such as `7 : date` or `8 @AdministrativeSex | 'unknown'`; \"\" takes an inherited row away" },
            { "type": "object", "additionalProperties": { "$ref": "#/definitions/row" } },
            { "type": "array", "items": { "$ref": "#/definitions/row" } },
        ] },
        "switch": { "type": "object", "additionalProperties": {
            "type": "object",
            "properties": { "on": { "type": "string", "description": "The field whose code picks the row" } },
            "additionalProperties": { "type": "string" },
        } },
    });
    match definitions {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A map to one type; `None`: to a primitive.
fn map(kind: Option<&str>) -> Value {
    let rows = kind.map(|name| json!({ "$ref": format!("#/definitions/rows-{name}") }));
    let mut properties = json!({
        "identity": { "type": ["string", "array"], "items": { "type": "string" }, "description": "What makes two occurrences the same resource" },
        "params": { "type": "array", "items": { "type": "string" } },
        "events": { "type": "boolean", "description": "Never merged; a repeated identity gets its position" },
        "distinct": { "type": "boolean", "description": "Never the same as a resource that another map made" },
        "chain": { "type": "object", "additionalProperties": { "$ref": "#/definitions/row" } },
        "switch": { "$ref": "#/definitions/switch" },
    });
    match rows {
        Some(rows) => properties["set"] = rows,
        None => properties["value"] = json!({ "type": "string", "description": "The one row" }),
    }
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// The rows of a type: each of its elements as it stands, and with a slot, a part or a reference behind it.
fn rows(children: &[Element]) -> Value {
    let mut properties = Map::new();
    let mut names: Vec<String> = Vec::new();
    for element in children {
        let types: Vec<&str> = element.types.iter().map(|kind| kind.name).collect();
        let most = if element.many { "*" } else { "1" };
        let description = format!("{}..{most} {}", element.min, types.join(" | "));
        // What may stand there says the pattern below, which holds for the same name.
        properties.insert(element.name.to_owned(), json!({ "description": description }));
        match element.name.strip_suffix("[x]") {
            // `value[x]` and `valueQuantity`
            Some(stem) => names.push(format!("{stem}(\\[x\\]|[A-Z][A-Za-z0-9]*)")),
            None => names.push(element.name.to_owned()),
        }
    }
    let deeper = format!("^({})([.\\[]|->|$)", names.join("|"));
    json!({
        "type": "object",
        "properties": properties,
        "patternProperties": {
            r"^(extension|modifierExtension)\(": { "$ref": "#/definitions/row" },
            (deeper): { "$ref": "#/definitions/row" },
            r"^\*$": { "$ref": "#/definitions/row" },
        },
        "additionalProperties": false,
    })
}
