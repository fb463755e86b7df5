//! `handoff replay --diff-against`: nothing is delivered; what the present mappings make of the chosen messages is compared with what others make of them.
use super::super::files::{Format, compiled, folder_files};
use super::super::revision;
use super::super::serve::with_plans;
use super::source::{Message, Source};
use crate::facets::Facets;
use crate::mapping::Plan;
use crate::mapping::compare::Comparison;
use crate::mapping::folder::{Folder, built_in, composed};
use crate::server::Listener;
use anyhow::Context as _;
use clap::Args;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// With what the present mappings are compared.
#[derive(Debug, Args)]
pub(super) struct Against {
    /// Deliver nothing; compare what the present mappings make of the messages with what these make of them: a folder, a git revision (`HEAD~1`, `main:path`), or `built-in`
    #[arg(long, value_name = "DIR|REV", conflicts_with_all = ["to", "overwrite"])]
    diff_against: Option<String>,
    /// The same with another site over the mappings: a folder, or REV:FOLDER
    #[arg(long, value_name = "DIR|REV:DIR", conflicts_with_all = ["to", "overwrite"])]
    diff_site: Option<String>,
    /// Show values of messages in the comparison
    #[arg(long)]
    phi: bool,
    /// Exit status 1 when the comparison finds any difference
    #[arg(long)]
    exit_code: bool,
    /// How the comparison is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// For each listener the plan to compare with, and its present one.
pub(super) struct Plans {
    by_listener: HashMap<String, (Arc<Plan>, Arc<Plan>)>,
}

impl Against {
    /// Whether a comparison is asked for.
    pub fn is_given(&self) -> bool {
        self.diff_against.is_some() || self.diff_site.is_some()
    }

    /// Compiles both sides for each listener; what several listeners share, once.
    ///
    /// # Errors
    /// When mappings cannot be read or do not compile.
    pub fn plans(&self, mappings: Option<&PathBuf>, listeners: &[Listener]) -> anyhow::Result<Plans> {
        let base = match &self.diff_against {
            Some(word) => revision::named(word)?,
            None => mappings.map_or_else(|| Ok(built_in()), |folder| folder_files(folder, Folder::Mappings))?,
        };
        let mut compiled_sites: HashMap<Option<PathBuf>, Arc<Plan>> = HashMap::new();
        let mut by_listener = HashMap::new();
        for (listener, present) in with_plans(mappings.cloned(), listeners.to_vec())? {
            // With a site of its own for the comparison, that of the listener does not matter.
            let key = listener.site.clone().filter(|_| self.diff_site.is_none());
            let other = match compiled_sites.get(&key) {
                Some(plan) => Arc::clone(plan),
                None => {
                    let site = match (&self.diff_site, &key) {
                        (Some(word), _) => revision::named_site(word)?,
                        (None, Some(site)) => folder_files(site, Folder::Site)?,
                        (None, None) => Vec::new(),
                    };
                    let plan = compiled(composed(base.clone(), site, &[])?)
                        .with_context(|| format!("what is compared with: {}", self.name()))?;
                    Arc::clone(compiled_sites.entry(key).or_insert(Arc::new(plan)))
                }
            };
            by_listener.insert(listener.name, (other, present));
        }
        Ok(Plans { by_listener })
    }

    fn name(&self) -> String {
        let words: Vec<&str> =
            [&self.diff_against, &self.diff_site].into_iter().flatten().map(String::as_str).collect();
        words.join(" with site ")
    }

    /// Compares all messages of a source: exit 1 when some could not be compared or there was none, or for a difference where that is asked for.
    ///
    /// # Errors
    /// When the source breaks.
    pub fn run(&self, source: &mut Source, plans: &Plans) -> anyhow::Result<ExitCode> {
        let mut comparison = Comparison::new(self.phi);
        let (mut compared, mut failed) = (0, 0);
        while let Some(message) = source.next()? {
            let message = match message {
                Message::Readable(message) => message,
                Message::Unreadable(label) => {
                    eprintln!("{label}: cannot be read");
                    failed += 1;
                    continue;
                }
            };
            match plans.of(&message.record.facets) {
                Some((before, after)) => {
                    comparison.add(&message.label, &message.record.raw, before, after);
                    compared += 1;
                }
                None => {
                    eprintln!("{}: came in at a listener that the configuration does not have", message.label);
                    failed += 1;
                }
            }
        }
        match self.format {
            Format::Text => print!("before: {}; after: the present mappings\n{}", self.name(), comparison.text()),
            Format::Json => println!("{}", serde_json::to_string_pretty(&comparison.json())?),
        }
        let differ = self.exit_code && comparison.any();
        Ok(ExitCode::from(u8::from(failed > 0 || compared == 0 || differ)))
    }
}

impl Plans {
    /// Those of the listener where a message came in; with one listener there is no doubt.
    fn of(&self, facets: &[u8]) -> Option<(&Plan, &Plan)> {
        let facets = Facets::decode(facets);
        let name = facets.as_ref().and_then(|facets| std::str::from_utf8(facets.listener).ok());
        let only = || self.by_listener.values().next().filter(|_| self.by_listener.len() == 1);
        let (before, after) = name.and_then(|name| self.by_listener.get(name)).or_else(only)?;
        Some((before, after))
    }
}
