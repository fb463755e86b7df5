//! What to do about a failure, by why it is one.

/// What a reason holds, and what to do then; the first that fits counts.
const REMEDIES: [(&str, &str); 22] = [
    (
        "of the same patient has gone out",
        "Look at both. If the older state is meant, open the dead letter and send it anyway.",
    ),
    (
        "keeps it away now",
        "Look whether it still belongs there. Its message's own page sends it all the same (with a tick); or widen the filter, or drop it.",
    ),
    ("start it, then send it again", "Start the route, then send it again."),
    (
        "no message map covers",
        "No mapping covers this type. Add a message map (or `covers` to one), reload, then send again.",
    ),
    ("the present mappings can", "The mappings of today can translate it: send it again."),
    (
        "type, processing id or version",
        "The listener does not take such messages. Change what it takes and reload, or drop it.",
    ),
    (
        "certificate may not send it",
        "The sender's certificate does not cover this sender. Correct the listener's senders, then send again.",
    ),
    (
        "control id is that of an earlier message",
        "Most likely a message that was sent twice. Compare both, then drop this one.",
    ),
    ("no MSH could be read", "It is no HL7 v2 message. Ask the sender what it was, or edit a copy; else drop it."),
    (
        "listener is no longer configured",
        "Configure the listener again and reload, so that its mappings are known; then send again.",
    ),
    (
        "damaged",
        "The journal cannot read it, so it cannot be sent. Run `handoff journal verify`, ask the sender for it again, then drop it.",
    ),
    ("there is no Bundle", "The mappings make nothing of it. Mend them and reload, or take the type out of the route."),
    ("redirects are not followed", "Name the final address of the target in the route, reload, then send again."),
    (
        "receiver answers AE",
        "The receiver took the message for wrong. Compare it with what the receiver asks for; mend the mapping or send an edited copy.",
    ),
    (
        "receiver answers AR",
        "The receiver refuses such messages. Check type, version and names in MSH with whoever runs it.",
    ),
    ("receiver answers C", "The receiver could not keep the message. Once it can, send again."),
    (
        "fatal-error",
        "The receiver refuses the message. Ask whoever runs it why; mend the mapping or send an edited copy.",
    ),
    (
        "2xx without",
        "The target answered without saying that it kept anything. Check that the address is that of a FHIR server, then send again.",
    ),
    ("end of an MLLP frame", "It holds bytes that end an MLLP frame. Send an edited copy without them."),
    ("timed out", "The target did not answer in time. Once it does, send again."),
    ("connect", "The target could not be reached. Once it can, send again."),
    ("facets", "Another version of the gateway wrote it. Send an edited copy, or drop it."),
];

/// What to do.
pub(in crate::desk) fn remedy(reason: &str) -> &'static str {
    if let Some((_, remedy)) = REMEDIES.iter().find(|(held, _)| reason.contains(held)) {
        return remedy;
    }
    match status(reason) {
        Some(401 | 403) => {
            "The target does not let the gateway in. Correct the route's credentials, reload, then send again."
        }
        Some(404 | 405 | 410) => {
            "The target has nothing at this address. Correct the route's address, reload, then send again."
        }
        Some(409 | 412) => "It contradicts what the target has. Look at both; send an edited copy, or drop it.",
        Some(413) => "It is too long for the target. Have the target take more, then send again.",
        Some(400..=499) => {
            "The target refuses its content. Mend the mapping and reload, then send again; or send an edited copy."
        }
        Some(500..=599) => "The target failed. Once it works, send again.",
        _ => "Look at the message and at the log of the target. Mend the cause, then send again.",
    }
}

/// `HTTP 422 …`, `entry 3: status 422 …`
fn status(reason: &str) -> Option<u16> {
    let after = |word: &str| reason.split_once(word).and_then(|(_, rest)| rest.get(..3)?.parse().ok());
    after("status ").or_else(|| after("HTTP "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_follows_from_why() {
        let starts =
            |reason: &str, with: &str| assert!(remedy(reason).starts_with(with), "{reason}: {}", remedy(reason));
        starts("HTTP 422 Unprocessable Entity: error invalid", "The target refuses its content");
        starts("entry 2: status 404 (error not-found)", "The target has nothing at this address");
        starts("given up after 3 attempts: HTTP 503 Service Unavailable", "The target failed");
        starts("no message map covers ZZZ^Z99 (MSH-9)", "No mapping covers this type");
        starts("the filter of ehr keeps it away now, though", "Look whether it still belongs there");
        starts("ehr is paused; start it, then send it again", "Start the route");
        starts("HTTP 4", "Look at the message");
        starts("HTTP 42é", "Look at the message");
    }
}
