//! `handoff parse`: what was understood of a message: its structure, groups, fields with their names, values.
mod outline;

use super::files::{Format, Layers, load, messages, read_messages};
use crate::hl7::{Index, PlacementKind};
use clap::Args;
use outline::{Outline, Part, SegmentOutline, outline};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show what is understood of a message: structure, groups, fields with names
#[derive(Debug, Args)]
pub struct ParseArgs {
    #[command(flatten)]
    layers: Layers,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A file of messages or a batch; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// In the text form, longer values are cut; JSON has all of them.
const SHOWN_CHARACTERS: usize = 100;

/// Runs the command: exit 0 when all messages could be read, else 1.
///
/// # Errors
/// When the mappings (which hold the structures) do not compile.
pub fn run(args: &ParseArgs) -> anyhow::Result<ExitCode> {
    let plan = load(&args.layers)?;
    let name = args.file.display().to_string();
    let bytes = match read_messages(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{name}: error: {error:#}");
            return Ok(ExitCode::from(1));
        }
    };
    let (messages, notes) = messages(&name, &bytes);
    let (mut failed, mut list, mut index) = (false, Vec::new(), Index::new());
    for (number, (label, span)) in messages.into_iter().enumerate() {
        match outline(&plan, &bytes[span], &mut index) {
            Ok(outline) if args.format == Format::Json => list.push(json_of(&label, &outline)),
            Ok(outline) => print!("{}{}", if number > 0 { "\n" } else { "" }, text_of(&label, &outline)),
            Err(error) => {
                failed = true;
                eprintln!("{label}: error: {error}");
            }
        }
    }
    if args.format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&list)?);
    }
    for note in notes {
        eprintln!("{name}: warning: {note}");
    }
    Ok(ExitCode::from(u8::from(failed)))
}

fn text_of(label: &str, outline: &Outline) -> String {
    let mut out = format!("{label}: {}", outline.message_type);
    for (what, value) in
        [("version", &outline.version), ("control id", &outline.control_id), ("structure", &outline.structure)]
    {
        if !value.is_empty() {
            let _ = write!(out, ", {what} {value}");
        }
    }
    let _ = writeln!(out, ", {} segments, {} bytes", outline.segments.len(), outline.bytes);
    for note in &outline.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let mut at: &[String] = &[];
    for segment in &outline.segments {
        let same = segment.groups.iter().zip(at).take_while(|(a, b)| a == b).count();
        for (depth, group) in segment.groups.iter().enumerate().skip(same) {
            let _ = writeln!(out, "{}{group}", "  ".repeat(depth));
        }
        at = &segment.groups;
        segment_text(&mut out, segment, &outline.structure);
    }
    out
}

fn segment_text(out: &mut String, segment: &SegmentOutline, structure: &str) {
    let indent = "  ".repeat(segment.groups.len());
    let mark = match segment.kind {
        PlacementKind::Matched => String::new(),
        PlacementKind::Misplaced => "  (misplaced: not at this point of the structure)".to_owned(),
        PlacementKind::Extra if structure.is_empty() => String::new(),
        PlacementKind::Extra => format!("  (extra: not in {structure})"),
    };
    let _ = writeln!(out, "{indent}{}{mark}", segment.id);
    let mut lines: Vec<(String, &str, &str, String)> = Vec::new();
    for field in &segment.fields {
        part_lines(field, 0, &mut lines);
    }
    let width = |column: fn(&(String, &str, &str, String)) -> usize| lines.iter().map(column).max().unwrap_or(0);
    let (place, name, datatype) = (width(|l| l.0.chars().count()), width(|l| l.1.len()), width(|l| l.2.len()));
    for line in &lines {
        let text = format!("{indent}  {:place$}  {:name$}  {:datatype$}  {}", line.0, line.1, line.2, line.3);
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

fn part_lines<'p>(part: &'p Part, depth: usize, lines: &mut Vec<(String, &'p str, &'p str, String)>) {
    let label = if depth == 0 { part.place.clone() } else { format!("{}{}", "  ".repeat(depth), part.place) };
    let text = match (part.null, part.parts.is_empty()) {
        (true, _) => "\"\" (null: to be deleted)".to_owned(),
        (_, true) => cut(&part.text),
        _ => String::new(),
    };
    lines.push((label, &part.name, &part.datatype, text));
    for inner in &part.parts {
        part_lines(inner, depth + 1, lines);
    }
}

/// One line of text, not too long.
fn cut(text: &str) -> String {
    let line = text.replace(['\r', '\n'], "⏎");
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}… ({} characters)", &line[..at], text.chars().count()),
        None => line,
    }
}

fn json_of(label: &str, outline: &Outline) -> Value {
    let segments: Vec<Value> = outline.segments.iter().map(segment_json).collect();
    json!({
        "message": label, "type": outline.message_type, "version": outline.version, "control_id": outline.control_id, "structure": outline.structure,
        "bytes": outline.bytes, "notes": outline.notes, "segments": segments,
    })
}

fn segment_json(segment: &SegmentOutline) -> Value {
    let placement = match segment.kind {
        PlacementKind::Matched => "matched",
        PlacementKind::Misplaced => "misplaced",
        PlacementKind::Extra => "extra",
    };
    json!({
        "id": segment.id, "groups": segment.groups, "placement": placement, "start": segment.span.start, "end": segment.span.end,
        "fields": segment.fields.iter().map(part_json).collect::<Vec<_>>(),
    })
}

fn part_json(part: &Part) -> Value {
    let mut object = json!({ "place": part.place, "name": part.name, "datatype": part.datatype });
    if part.null {
        object["null"] = Value::Bool(true);
    } else if part.parts.is_empty() {
        object["text"] = part.text.clone().into();
    } else {
        object["parts"] = part.parts.iter().map(part_json).collect();
    }
    object
}
