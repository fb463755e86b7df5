//! `[coordination]`: what the coordination layer is to do. Each part has a file of its own here.
mod events;
mod subscriptions;

use super::section::Section;
use crate::coordination::Options;

/// All of it; none without the section.
pub(super) fn coordination(section: Section<'_>) -> Option<Options> {
    let options = Options {
        events: events::events(&section),
        facilities: events::facilities(&section),
        subscriptions: subscriptions::subscriptions(&section),
    };
    section.finish();
    Some(options)
}
