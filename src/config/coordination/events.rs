//! `[coordination.events]` and `[coordination.facility.KEY]`: what becomes an event, and where.
use super::super::section::{Placed, Section};
use super::super::sections::set;
use crate::coordination::options::{Class, EventOptions, Facilities, Facility, is_npi};
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// What becomes an event.
pub(super) fn events(coordination: &Section<'_>) -> EventOptions {
    let mut options = EventOptions::default();
    let Some(section) = coordination.table("events") else { return options };
    set(&mut options.max_event_age, section.duration("max_event_age"));
    set(&mut options.hanging_ed_close, section.duration("hanging_ed_close"));
    if options.max_event_age.is_zero() || options.hanging_ed_close.is_zero() {
        section.wrong("max_event_age and hanging_ed_close must be more than nothing");
    }
    if let Some(map) = section.table("class_map") {
        for Placed { value, .. } in map.keys() {
            if let Some(class) = map.choice_of(&value, &Class::ALL) {
                options.class_map.insert(value, class);
            }
        }
    }
    if let Some(processing) = section.texts("processing") {
        if processing.is_empty() {
            section.wrong("processing must name one value of MSH-11 at least, such as processing = [\"P\"]");
        }
        options.processing = processing.into_iter().map(|text| text.value).collect();
    }
    section.finish();
    options
}

/// Facilities by their keys, and the zone of those that say none.
pub(super) fn facilities(coordination: &Section<'_>) -> Facilities {
    let mut facilities = Facilities { zone: zone(coordination), ..Facilities::default() };
    for (key, section) in coordination.table("facility").into_iter().flat_map(Section::all_tables) {
        facilities.by_key.insert(key, facility(section));
    }
    facilities
}

fn facility(section: Section<'_>) -> Facility {
    let facility = Facility {
        npi: npi(&section, "npi"),
        zone: zone(&section),
        kind: section.text("type").map(|kind| kind.value),
        part2: section.boolean("part2").unwrap_or(false),
    };
    section.finish();
    facility
}

/// A National Provider Identifier.
pub(super) fn npi(section: &Section<'_>, key: &'static str) -> Option<String> {
    let text = section.text(key)?;
    if !is_npi(&text.value) {
        let form =
            format!("{key} must be an NPI: ten digits, the last of them the check digit; this one does not pass it");
        section.document.wrong(Some(text.at), form);
        return None;
    }
    Some(text.value)
}

/// A time zone by the name that the IANA database has for it, in `tz`.
pub(in super::super) fn zone(section: &Section<'_>) -> Option<TimeZone> {
    let text = section.text("tz")?;
    // Bundled, not the host's: the same messages make the same events everywhere.
    let zone = TimeZoneDatabase::bundled().get(&text.value).ok();
    if zone.is_none() {
        section.document.wrong(Some(text.at), "tz must be a time zone such as \"America/New_York\"");
    }
    zone
}
