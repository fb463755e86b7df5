//! `handoff explain`: for each value of the FHIR output, the field, the rule and the table row that it came from; for each field, where it went.
mod fields;

use super::files::{Format, Layers, failure_line, load, messages, read_messages};
use crate::mapping::diagnostic::nearest;
use crate::mapping::explain::{Explained, Explanation, Origin, RulePlace, without_indices};
use crate::mapping::source::Layer;
use crate::mapping::{Context, Plan, Scratch};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Explain where each FHIR value of a translated message came from
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    layers: Layers,
    /// Only the values below this FHIR path, such as `Patient.birthDate` or `Observation(2).value[x]`
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The other way round: where this field of the message went, such as `PID-3.1`, `PID-3[2]`, `OBX[2]-5` or `PID`
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["path", "fields"])]
    field: Option<String>,
    /// Where each field of the message went
    #[arg(long, conflicts_with = "path")]
    fields: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A file of messages or a batch; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// In the text form, longer values are cut; JSON has all of them.
const SHOWN_CHARACTERS: usize = 120;

/// Runs the command: exit 0 when all messages were translated and any value lies below the path, else 1.
///
/// # Errors
/// When the mappings do not compile.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let plan = load(&args.layers)?;
    let name = args.file.display().to_string();
    let bytes = match read_messages(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{name}: error: {error:#}");
            return Ok(ExitCode::from(1));
        }
    };
    let (messages, _) = messages(&name, &bytes);
    if args.fields || args.field.is_some() {
        return fields::run(args, &plan, &bytes, messages);
    }
    let (several, mut failed, mut found) = (messages.len() > 1, false, false);
    let mut scratch = Scratch::new();
    let mut list = Vec::new();
    for (label, span) in messages {
        match plan.explain(&bytes[span.clone()], &Context::default(), args.path.as_deref(), &mut scratch) {
            Ok(explained) => {
                found |= !explained.values.is_empty();
                if args.format == Format::Json {
                    list.push(json_of(&label, &explained));
                } else {
                    print!("{}", text_of(several.then_some(&label), &explained));
                }
            }
            Err(failure) => {
                failed = true;
                eprintln!("{}", failure_line(&label, &failure));
            }
        }
        if let (Some(path), false) = (&args.path, found || failed) {
            eprintln!("{label}: nothing lies below `{path}`{}", suggestion(&plan, &bytes[span], path, &mut scratch));
        }
    }
    if args.format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&list)?);
    }
    Ok(ExitCode::from(u8::from(failed || !found)))
}

/// A path that this message has, where the wanted one is mistyped.
fn suggestion(plan: &Plan, raw: &[u8], wanted: &str, scratch: &mut Scratch) -> String {
    let Ok(all) = plan.explain(raw, &Context::default(), None, scratch) else { return String::new() };
    let mut known = BTreeSet::new();
    for value in &all.values {
        let path = without_indices(&value.name);
        known.extend(path.match_indices('.').map(|(at, _)| path[..at].to_owned()));
        known.insert(path);
    }
    let near = nearest(&without_indices(wanted), known.iter().map(String::as_str));
    near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default()
}

fn text_of(label: Option<&String>, explained: &Explained) -> String {
    let mut out = String::new();
    if let Some(label) = label {
        let _ = writeln!(out, "== {label}");
    }
    if explained.transcoded {
        out.push_str("(bytes count in the message as UTF-8)\n");
    }
    for value in &explained.values {
        let _ = writeln!(out, "{} = {}", value.name, cut(&value.value));
        if let Some(source) = &value.source {
            let _ = writeln!(
                out,
                "  from   {} = {} (bytes {}..{})",
                source.place,
                cut(&source.text),
                source.span.start,
                source.span.end
            );
        }
        if let Some(row) = &value.row {
            let _ = writeln!(out, "  table  {} `{}` ({}:{})", row.table, row.code, row.file, row.line);
        }
        let _ = match &value.origin {
            Origin::Rule(rule) => writeln!(out, "  rule   {}", rule_text(rule)),
            Origin::Bundle(how) => writeln!(out, "  rule   the Bundle itself: {how}"),
            Origin::Unknown => writeln!(out, "  rule   unknown; please report this"),
        };
        for via in value.via.iter().rev() {
            let _ = writeln!(out, "  via    {}", rule_text(via));
        }
    }
    out
}

/// One line of text, not too long.
fn cut(text: &str) -> String {
    let line = text.replace(['\r', '\n'], "⏎");
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}… ({} characters)", &line[..at], text.chars().count()),
        None => line,
    }
}

/// The rule, its layer where that is not the core, and the row that it took the place of.
fn rule_text(rule: &RulePlace) -> String {
    let mut text = rule.to_string();
    if rule.layer != Layer::Core {
        let _ = write!(text, " of the {}", rule.layer);
    }
    if let Some((file, line, layer)) = &rule.replaced {
        let _ = write!(text, ", in place of {file}:{line} of the {layer}");
    }
    text
}

fn rule_json(rule: &RulePlace) -> Value {
    let mut value = json!({ "map": rule.map, "target": rule.target, "file": rule.file, "line": rule.line, "layer": rule.layer.to_string() });
    if let Some((file, line, layer)) = &rule.replaced {
        value["replaces"] = json!({ "file": file, "line": line, "layer": layer.to_string() });
    }
    value
}

fn json_of(label: &str, explained: &Explained) -> Value {
    let values: Vec<Value> = explained.values.iter().map(value_of).collect();
    json!({ "message": label, "transcoded": explained.transcoded, "values": values })
}

fn value_of(value: &Explanation) -> Value {
    let mut object = json!({
        "path": value.path,
        "name": value.name,
        "value": serde_json::from_str::<Value>(&value.value).unwrap_or(Value::Null),
        "rule": match &value.origin {
            Origin::Rule(place) => rule_json(place),
            Origin::Bundle(how) => json!({ "built_in": how }),
            Origin::Unknown => Value::Null,
        },
        "via": value.via.iter().map(rule_json).collect::<Vec<_>>(),
    });
    if let Some(source) = &value.source {
        object["source"] =
            json!({ "field": source.place, "start": source.span.start, "end": source.span.end, "text": source.text });
    }
    if let Some(row) = &value.row {
        object["table"] = json!({ "name": row.table, "code": row.code, "file": row.file, "line": row.line });
    }
    object
}
