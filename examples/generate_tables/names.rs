//! Segments and datatypes of three versions → `src/hl7/names/v2.txt`. The format is drawn in `src/hl7/names.rs`.
use super::HEADER;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Placeholders and samples of the source, no segments of the standard.
const NO_SEGMENTS: &[&str] = &["HXX", "ZXX", "ZL7"];

#[derive(Clone)]
struct Part {
    name: String,
    datatype: Option<String>,
    table: Option<String>,
    repeats: bool,
}

type Table = BTreeMap<String, BTreeMap<u32, Part>>;

/// Renders the union of the versions, newest first.
pub fn names(versions: &[Value]) -> Result<String> {
    let mut out = HEADER.to_owned();
    for (kind, separator) in [("segments", '-'), ("datatypes", '.')] {
        let mut table = Table::new();
        for version in versions {
            for (id, parts) in version[kind].as_object().with_context(|| format!("no {kind}"))? {
                if !NO_SEGMENTS.contains(&id.as_str()) && !id.contains('_') {
                    let entry = table.entry(id.clone()).or_default();
                    parts
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|part| read(part, separator))
                        .for_each(|(number, part)| unite(entry, number, part));
                }
            }
        }
        writeln!(out, "!{kind}")?;
        for (id, parts) in &table {
            writeln!(out, "{id}")?;
            for (number, part) in parts {
                let table = part.table.as_deref().unwrap_or("-");
                let datatype = part.datatype.as_deref().unwrap_or("-");
                writeln!(out, " {number} {datatype}{} {table} {}", if part.repeats { "*" } else { "" }, part.name)?;
            }
        }
    }
    Ok(out)
}

/// One field or component; `None` for the source's catch-all entries, which have no number.
fn read(part: &Value, separator: char) -> Option<(u32, Part)> {
    let number = part["id"].as_str()?.rsplit_once(separator)?.1.parse().ok()?;
    let max = part["max"].as_i64().unwrap_or(1);
    // A withdrawn part keeps its number; its meaning comes from the newest version that still had one.
    let datatype = part["type"].as_str().filter(|datatype| *datatype != "WD" && max != 0);
    let datatype = datatype.map(|datatype| {
        datatype.strip_suffix("_SIMPLE").or(datatype.strip_suffix("_CHALLENGE")).unwrap_or(datatype).to_owned()
    });
    // 9999 is the source's mark for "no table assigned".
    let table = part["table"]
        .as_str()
        .and_then(|table| table.strip_prefix("HL7"))
        .filter(|table| *table != "9999")
        .map(str::to_owned);
    Some((number, Part { name: part["name"].as_str()?.to_owned(), datatype, table, repeats: max != 0 && max != 1 }))
}

fn unite(parts: &mut BTreeMap<u32, Part>, number: u32, older: Part) {
    match parts.get_mut(&number) {
        None => {
            parts.insert(number, older);
        }
        Some(newer) if newer.datatype.is_none() => *newer = older,
        Some(newer) => {
            newer.repeats |= older.repeats;
            if newer.table.is_none() && newer.name == older.name {
                newer.table = older.table;
            }
        }
    }
}
