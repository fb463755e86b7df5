//! `[coordination]`: what the coordination layer is to do. Each part has a file of its own here.
mod care_team;
mod events;
mod fhir;
mod loops;
mod measures;
mod panels;
mod privacy;
mod sink;
mod subscriptions;

pub(super) use events::zone;

use super::section::Section;
use crate::coordination::Options;
use crate::coordination::options::Keep;
use crate::facade;

/// All of it, and where its FHIR interface is; none without the section.
pub(super) fn coordination(section: Section<'_>) -> (Option<Options>, Option<facade::Options>) {
    let facilities = events::facilities(&section);
    let rosters = panels::rosters(&section, facilities.zone.as_ref());
    let panels: Vec<_> = rosters.panels.iter().map(|panel| panel.id.as_str()).collect();
    let part_2: Vec<_> = facilities.by_key.iter().filter(|(_, one)| one.part2).map(|(key, _)| key.as_str()).collect();
    let privacy = privacy::privacy(&section, &panels, &part_2);
    let recipients: Vec<_> = privacy.recipients.iter().map(|recipient| recipient.id.as_str()).collect();
    let care_team = care_team::care_team(&section, &recipients);
    let keep = keep(&section);
    let measures = measures::measures(&section, &panels);
    let options = Options {
        sink: sink::sink(&section, &privacy.recipients),
        events: events::events(&section),
        facilities,
        rosters,
        privacy,
        loops: loops::loops(&section, keep),
        measures,
        care_team,
        subscriptions: subscriptions::subscriptions(&section),
        keep,
    };
    let fhir = fhir::fhir(&section);
    section.finish();
    (Some(options), fhir)
}

/// How long what is over is kept.
fn keep(section: &Section<'_>) -> Keep {
    let keep = section.duration("keep").map(Keep).unwrap_or_default();
    if keep.0 < Keep::MIN {
        let days = Keep::MIN.as_secs() / 86_400;
        section.wrong(format!("keep must be at least \"{days}d\": for so long what is over may be taken back"));
    }
    keep
}
