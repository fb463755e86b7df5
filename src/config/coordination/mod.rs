//! `[coordination]`: what the coordination layer is to do. Each part has a file of its own here.
mod events;
mod panels;
mod privacy;

use super::section::Section;
use crate::coordination::Options;

/// All of it; none without the section.
pub(super) fn coordination(section: Section<'_>) -> Option<Options> {
    let facilities = events::facilities(&section);
    let rosters = panels::rosters(&section, facilities.zone.as_ref());
    let events = events::events(&section);
    let options = Options { events, facilities, rosters, privacy: privacy::privacy(&section) };
    section.finish();
    Some(options)
}
