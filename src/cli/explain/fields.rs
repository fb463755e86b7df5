//! `handoff explain --field` and `--fields`: where each field of a message went, or why nowhere.
use super::{ExplainArgs, cut, rule_json, rule_text};
use crate::cli::files::{Format, Labelled, failure_line};
use crate::hl7::Path;
use crate::mapping::explain::{Explained, FieldStory, FieldUse};
use crate::mapping::usage::Standing;
use crate::mapping::{Context, Plan, Scratch};
use anyhow::Context as _;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Exit 0 when all messages were translated and the field holds anything in one of them, else 1.
pub fn run(args: &ExplainArgs, plan: &Plan, bytes: &[u8], messages: Vec<Labelled>) -> anyhow::Result<ExitCode> {
    let path = args.field.as_deref().map(|text| Path::parse(text).with_context(|| format!("--field `{text}`")));
    let path = path.transpose()?;
    let (several, mut failed, mut found) = (messages.len() > 1, false, false);
    let mut scratch = Scratch::new();
    let mut list = Vec::new();
    for (label, span) in messages {
        match plan.explain_fields(&bytes[span], &Context::default(), path.as_ref(), &mut scratch) {
            Ok((stories, explained)) => {
                found |= !stories.is_empty();
                if args.format == Format::Json {
                    let fields: Vec<Value> = stories.iter().map(|s| story_json(s, &explained)).collect();
                    list.push(json!({ "message": label, "transcoded": explained.transcoded, "fields": fields }));
                    continue;
                }
                if several {
                    println!("== {label}");
                }
                if explained.transcoded {
                    println!("(bytes count in the message as UTF-8)");
                }
                for story in &stories {
                    print!("{}", story_text(story, &explained));
                }
            }
            Err(failure) => {
                failed = true;
                eprintln!("{}", failure_line(&label, &failure));
            }
        }
    }
    if args.format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&list)?);
    }
    if let (Some(path), false, false) = (path, found, failed) {
        eprintln!("nothing stands at {path}");
    }
    Ok(ExitCode::from(u8::from(failed || !found)))
}

/// What is said of a standing, first word first.
fn standing_text(story: &FieldStory) -> String {
    match story.standing {
        Standing::Mapped => "mapped".to_owned(),
        Standing::ReadOnly => "read as condition or identity only".to_owned(),
        Standing::Nowhere(reason) => format!("nowhere: {}", story.why.as_deref().unwrap_or(reason.text())),
    }
}

fn story_text(story: &FieldStory, explained: &Explained) -> String {
    let mut out = format!("{} = {} (bytes {}..{})\n", story.place, cut(&story.text), story.span.start, story.span.end);
    let _ = writeln!(out, "  {}", standing_text(story));
    for number in &story.elements {
        let Some(value) = explained.values.get(*number) else { continue };
        let _ = writeln!(out, "  to     {} = {}", value.name, cut(&value.value));
        if let Some(row) = &value.row {
            let _ = writeln!(out, "         table {} `{}` ({}:{})", row.table, row.code, row.file, row.line);
        }
    }
    for (does, rule) in &story.uses {
        let by = rule.as_ref().map_or_else(|| "the gateway itself".to_owned(), |rule| rule_text(rule));
        let _ = writeln!(out, "  rule   {by}{}", suffix(*does));
    }
    out
}

fn suffix(does: FieldUse) -> String {
    if does == FieldUse::Value { String::new() } else { format!(" [{}]", does.word()) }
}

fn story_json(story: &FieldStory, explained: &Explained) -> Value {
    let elements: Vec<Value> = story
        .elements
        .iter()
        .filter_map(|number| explained.values.get(*number))
        .map(|value| super::value_of(value))
        .collect();
    let uses: Vec<Value> = story
        .uses
        .iter()
        .map(|(does, rule)| json!({ "use": does.word(), "rule": rule.as_ref().map(|r| rule_json(r)) }))
        .collect();
    let mut value = json!({
        "field": story.place, "start": story.span.start, "end": story.span.end, "text": story.text,
        "standing": match story.standing {
            Standing::Mapped => "mapped",
            Standing::ReadOnly => "read only",
            Standing::Nowhere(_) => "nowhere",
        },
        "elements": elements, "rules": uses,
    });
    if let Standing::Nowhere(reason) = story.standing {
        value["reason"] = json!(reason.word());
        value["why"] = json!(story.why);
    }
    value
}
