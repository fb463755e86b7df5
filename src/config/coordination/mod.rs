//! `[coordination]`: what the coordination layer is to do. Each part has a file of its own here.
mod events;
mod panels;

use super::section::Section;
use crate::coordination::Options;

/// All of it; none without the section.
pub(super) fn coordination(section: Section<'_>) -> Option<Options> {
    let facilities = events::facilities(&section);
    let rosters = panels::rosters(&section, facilities.zone.as_ref());
    let options = Options { events: events::events(&section), facilities, rosters };
    section.finish();
    Some(options)
}
