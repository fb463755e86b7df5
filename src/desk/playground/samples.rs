//! Messages to begin with, about invented people.

/// Name in links, what it is, the message.
pub(super) type Sample = (&'static str, &'static str, &'static str);

/// All of them; the first is shown where nothing else is asked for.
pub(super) const ALL: [Sample; 4] = [
    ("admission", "Admission (ADT^A01)", include_str!("../assets/samples/admission.hl7")),
    ("result", "Laboratory result (ORU^R01)", include_str!("../assets/samples/result.hl7")),
    ("appointment", "Appointment (SIU^S12)", include_str!("../assets/samples/appointment.hl7")),
    ("vaccination", "Vaccination (VXU^V04)", include_str!("../assets/samples/vaccination.hl7")),
];

/// The message of that name, else the first.
pub(super) fn named(name: &str) -> &'static str {
    let found = ALL.iter().find(|(known, ..)| *known == name);
    found.or(ALL.first()).map_or("", |(.., message)| message)
}
