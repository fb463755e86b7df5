//! The section `[traces]`.
use super::admin::url;
use super::section::Section;
use crate::traces::{Options, SHARE};

const EXAMPLE: &str = "http://127.0.0.1:4318";

/// Who is told of the ways of messages.
pub(super) fn traces(section: Section<'_>) -> Option<Options> {
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    let endpoint = match section.text("endpoint") {
        Some(text) => url(&section, &text, ("endpoint", EXAMPLE), plaintext),
        None => {
            section.wrong(format!("endpoint is missing: give the collector, such as endpoint = \"{EXAMPLE}\""));
            None
        }
    };
    let share = section.decimal("share", 0.0, 1.0).unwrap_or(SHARE);
    section.finish();
    Some(Options { endpoint: endpoint?, share })
}
