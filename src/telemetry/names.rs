//! Every metric, its labels and every span by name, in one place: dashboards and alerts are written against these. The registry puts `handoff_` before each
//! metric, the unit and `_total` behind it.
//!
//! Labels hold names from the configuration and words from the lists below, nothing of a message.

/// A metric: its name and what it tells.
pub(super) type Name = (&'static str, &'static str);

pub(super) const PREFIX: &str = "handoff";

// Counted as it happens.
pub(super) const MESSAGES: Name = ("messages", "Messages received, by listener and outcome");
pub(super) const RECEIVED: Name = ("received", "Bytes of the messages received, by listener");
pub(super) const STAGE: Name = (
    "stage",
    "Time of a message, by listener and stage: translate (frame to draft), journal (draft to durable), ack (frame to acknowledgement)",
);
pub(super) const UNMAPPED: Name =
    ("unmapped_codes", "Codes that no code table has, by listener and result: noted, not_noted (too many at once)");
pub(super) const REFUSED: Name = (
    "senders_refused",
    "Senders that were not let in, by listener and reason: network, limit, no_certificate, unknown_authority, expired, revoked, bad_certificate, mistrust (of our certificate), no_tls, timeout, broken, name (a message that its certificate may not send)",
);
pub(super) const DELIVERY: Name = ("delivery_attempt", "Time of attempts to deliver, by route and result");
pub(super) const JOURNAL_BATCH: Name = ("journal_batch_records", "Records written by one sync");
pub(super) const JOURNAL_SYNC: Name = ("journal_sync", "Time to write and sync a batch");
pub(super) const JOURNAL_QUEUE: Name = ("journal_queue_records", "Records that wait for the journal");
pub(super) const TAIL: Name =
    ("tail_reads", "Reads of routes, by result: hit (in memory), miss (from the journal, translated again)");
pub(super) const UNROUTABLE: Name =
    ("unroutable", "What loops ask of somebody and that leads to nobody, by whom it was for");
pub(super) const OVERSIZED: Name =
    ("card_oversized", "Entries that messages told of and that are too long for the card of a patient");
pub(super) const SPANS: Name = (
    "trace_spans",
    "Spans of traces, by result: sent, dropped (more than the collector takes), refused (by the collector, or it was out of reach for too long)",
);

// Asked for when they are looked at.
pub(super) const CONNECTIONS: Name = ("connections", "Open connections, by listener");
pub(super) const ROUTE_STATE: Name = ("route_state", "1 for the state that a route is in: started, paused, stopped");
pub(super) const ROUTE_RESTING: Name = ("route_resting", "1 while a route rests because its endpoint takes nothing");
pub(super) const ROUTE_LOOKED: Name = ("route_received", "Messages that a route has looked at");
pub(super) const ROUTE_FILTERED: Name = ("route_filtered", "Messages that a route did not want");
pub(super) const ROUTE_SENT: Name = ("route_sent", "Messages that a route has delivered");
pub(super) const ROUTE_DEAD: Name = ("route_dead_letters", "Messages that a route has given up");
pub(super) const ROUTE_QUEUED: Name = ("route_queued", "Messages that wait for a route");
pub(super) const ROUTE_OLDEST: Name = ("route_oldest_queued_age", "Age of the oldest message that waits for a route");
pub(super) const JOURNAL_HEAD: Name = ("journal_head", "The number of the last durable message");
pub(super) const JOURNAL_HEALTH: Name = ("journal_health", "1 for the state of the journal: ready, full, failed");
pub(super) const DISK_FREE: Name = ("disk_free", "Free space where the data directory lies");
pub(super) const ALERT: Name = ("alert_open", "1 for each alert that is open, by rule and subject");
pub(super) const BUILD: Name = ("build", "Version of the program");
pub(super) const CPU: Name = ("process_cpu", "Processor time used");
pub(super) const RESIDENT: Name = ("process_resident_memory", "Memory in use");
pub(super) const FILES: Name = ("process_open_files", "Open files and sockets");

// Labels.
pub(super) const LISTENER: &str = "listener";
pub(super) const ROUTE: &str = "route";
pub(super) const OUTCOME: &str = "outcome";
pub(super) const RESULT: &str = "result";
pub(super) const STATE: &str = "state";
pub(super) const STAGE_OF: &str = "stage";
/// From the frame to the acknowledgement.
pub(super) const STAGE_ACK: &str = "ack";
pub(super) const RULE: &str = "rule";
pub(super) const SUBJECT: &str = "subject";
pub(super) const TO: &str = "to";
pub(super) const REASON: &str = "reason";
pub(super) const VERSION: &str = "version";

/// Why senders are not let in.
pub(super) const REFUSALS: [&str; 12] = [
    REFUSED_NETWORK,
    REFUSED_LIMIT,
    "no_certificate",
    "unknown_authority",
    "expired",
    "revoked",
    "bad_certificate",
    "mistrust",
    "no_tls",
    "timeout",
    "broken",
    REFUSED_NAME,
];
/// A sender whose address is in none of the networks of its listener.
pub const REFUSED_NETWORK: &str = "network";
/// One too many.
pub const REFUSED_LIMIT: &str = "limit";
/// A message of a sender whose certificate may not send as that.
pub const REFUSED_NAME: &str = "name";

/// How an attempt to deliver can end: taken, refused for good, to be tried again, the endpoint takes nothing.
pub const RESULTS: [&str; 4] = ["delivered", "refused", "again", "endpoint"];
/// The label value of messages that could not be stored.
pub const NOT_STORED: &str = "not_stored";
/// That of messages that came before and were answered as they were then.
pub const REPEATED: &str = "repeated";
/// That of messages with another sequence number than the one that is expected.
pub const OUT_OF_SEQUENCE: &str = "out_of_sequence";

/// Spans that the collector has taken.
pub const SPANS_SENT: &str = "sent";
/// Spans for which there was no room.
pub const SPANS_DROPPED: &str = "dropped";
/// Spans that the collector did not take.
pub const SPANS_REFUSED: &str = "refused";

/// The span of a connection to a listener.
pub const SPAN_CONNECTION: &str = "connection";
/// The span of a request to the admin API.
pub const SPAN_REQUEST: &str = "request";
