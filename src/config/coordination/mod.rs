//! `[coordination]`: what the coordination layer is to do. Each part has a file of its own here.
mod care_team;
mod events;
mod fhir;
mod loops;
mod panels;
mod privacy;
mod subscriptions;

use super::section::Section;
use crate::coordination::Options;
use crate::facade;

/// All of it, and where its FHIR interface is; none without the section.
pub(super) fn coordination(section: Section<'_>) -> (Option<Options>, Option<facade::Options>) {
    let facilities = events::facilities(&section);
    let rosters = panels::rosters(&section, facilities.zone.as_ref());
    let panels: Vec<_> = rosters.panels.iter().map(|panel| panel.id.as_str()).collect();
    let privacy = privacy::privacy(&section, &panels);
    let recipients: Vec<_> = privacy.recipients.iter().map(|recipient| recipient.id.as_str()).collect();
    let care_team = care_team::care_team(&section, &recipients);
    let options = Options {
        events: events::events(&section),
        facilities,
        rosters,
        privacy,
        loops: loops::loops(&section),
        care_team,
        subscriptions: subscriptions::subscriptions(&section),
    };
    let fhir = fhir::fhir(&section);
    section.finish();
    (Some(options), fhir)
}
