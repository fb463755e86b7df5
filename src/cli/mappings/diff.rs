//! `handoff mappings diff`: what two sets of mappings say differently, and what they make of messages.
use super::super::files::{Format, Layers, compiled, folder_files, messages, read_messages};
use super::super::revision;
use crate::mapping::Plan;
use crate::mapping::compare::Comparison;
use crate::mapping::difference::{RuleDifference, Written, differences};
use crate::mapping::folder::{Folder, built_in, composed};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compare two sets of mappings, rule by rule, and what they make of messages
///
/// A and B are folders, git revisions (`HEAD~1`, or `main:path/to/mappings`; without a path the folder `mappings` below the current one), or `built-in`. With message files, the Bundles
/// that both make of them are compared as well; order of lists and ids make no difference.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// Folder, git revision, or `built-in`: before
    a: String,
    /// The same: after
    b: String,
    /// A and B are folders of sites, laid over the mappings (`--mappings`, else those built in)
    #[arg(long, conflicts_with = "site")]
    sites: bool,
    #[command(flatten)]
    layers: Layers,
    /// Exit status 1 when there is any difference
    #[arg(long)]
    exit_code: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Files of messages or batches that both translate; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let (before, after) = (plan(args, &args.a)?, plan(args, &args.b)?);
    let rules = differences(&before, &after);
    let mut comparison = Comparison::new(true);
    let mut unread = false;
    for file in &args.files {
        let name = file.display().to_string();
        match read_messages(file) {
            Ok(bytes) => {
                for (label, span) in messages(&name, &bytes).0 {
                    comparison.add(&label, &bytes[span], &before, &after);
                }
            }
            Err(error) => {
                eprintln!("{name}: error: {error:#}");
                unread = true;
            }
        }
    }
    let output = (!args.files.is_empty()).then_some(&comparison);
    match args.format {
        Format::Text => print!("{}{}", rules_text(&rules), output.map(Comparison::text).unwrap_or_default()),
        Format::Json => {
            let rules: Vec<Value> = rules.iter().map(rule_json).collect();
            let whole = json!({ "rules": rules, "output": output.map(Comparison::json) });
            println!("{}", serde_json::to_string_pretty(&whole)?);
        }
    }
    let differ = !rules.is_empty() || comparison.any();
    Ok(ExitCode::from(if unread { 2 } else { u8::from(args.exit_code && differ) }))
}

fn plan(args: &DiffArgs, word: &str) -> anyhow::Result<Plan> {
    let layers = &args.layers;
    let (mappings, site) = if args.sites {
        let mappings = match &layers.mappings {
            Some(folder) => folder_files(folder, Folder::Mappings)?,
            None => built_in(),
        };
        (mappings, revision::named_site(word)?)
    } else {
        let site = layers.site.as_deref().map(|folder| folder_files(folder, Folder::Site)).transpose()?;
        (revision::named(word)?, site.unwrap_or_default())
    };
    compiled(composed(mappings, site, &layers.realm)?).with_context(|| word.to_owned())
}

fn rules_text(rules: &[RuleDifference]) -> String {
    let mut out = match rules.len() {
        0 => "rules: no difference\n".to_owned(),
        1 => "rules: 1 difference\n".to_owned(),
        many => format!("rules: {many} differences\n"),
    };
    for rule in rules {
        let sign = match (&rule.before, &rule.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        let layer = rule.layer.as_ref().map(|layer| format!(" ({layer})")).unwrap_or_default();
        let owner = if rule.owner.is_empty() { String::new() } else { format!(" {}", rule.owner) };
        let _ = writeln!(out, "  {sign} {}{owner} {}{layer}", rule.kind.name(), rule.path);
        for (word, side) in [("before", &rule.before), ("after ", &rule.after)] {
            let Some(Written { text, file, line }) = side else { continue };
            let place = if file.is_empty() { String::new() } else { format!("  ({file}:{line})") };
            let _ = writeln!(out, "      {word}  {text}{place}");
        }
    }
    out
}

fn rule_json(rule: &RuleDifference) -> Value {
    let side =
        |side: &Option<Written>| side.as_ref().map(|w| json!({ "text": w.text, "file": w.file, "line": w.line }));
    json!({ "layer": rule.layer.as_ref().map(ToString::to_string), "kind": rule.kind.name(), "owner": rule.owner, "path": rule.path, "before": side(&rule.before), "after": side(&rule.after) })
}
