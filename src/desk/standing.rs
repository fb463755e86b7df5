//! What has become of a message on a route, for pages.
use super::parts::{Tone, state};
use crate::server::fate::Status;
use maud::Markup;

/// It as a label.
pub(super) fn label(status: &Status) -> Markup {
    let tone = match status {
        Status::Sent => Tone::Good,
        Status::Queued | Status::Unsent(_) => Tone::Warn,
        Status::Errored(_) => Tone::Bad,
        Status::Filtered | Status::Passed | Status::Before => Tone::Still,
    };
    state(tone, status.name())
}
