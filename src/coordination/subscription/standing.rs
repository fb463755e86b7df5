//! How a subscription stands, and what becomes of it: a state machine without a clock, a socket or a database.
//!
//! ```text
//!            put requested                 handshake taken
//!   (none) ────────────────▶ requested ────────────────────▶ active ◀─┐ delivered
//!                              ▲   │ handshake failed           │ └───┘
//!                put requested │   ▼                            │ as often in a row as is tried
//!                              error ◀──────────────────────────┘
//!   any ── put off, `end` passed, 410 Gone ──▶ off
//! ```
//!
//! A handshake is tried once (channels, "REST-Hook": any error of it sets `error`). Only the client leaves `error`: it must know that it may have missed
//! something. Events are counted in every state but `off`; those that were counted in `error` are the client's to read with `$events`, unless it is told that
//! they are to be sent ([`Backlog::Send`]). A handshake tells the count, so a client sees what it has missed.
//!
//! A websocket and Da Vinci know no handshake of their own: they are active at once.
use super::channel::Kind;
use std::time::Duration;

/// Events in one notification, where the client does not say.
pub const EVENTS_AT_ONCE: u32 = 20;

/// As the resource says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The client wants it; the endpoint has not answered yet.
    Requested,
    /// Events are sent.
    Active,
    /// Events are counted.
    Error,
    /// Nothing any more.
    Off,
}

impl State {
    /// Its code (value set subscription-status).
    pub fn name(self) -> &'static str {
        match self {
            State::Requested => "requested",
            State::Active => "active",
            State::Error => "error",
            State::Off => "off",
        }
    }

    /// The state of that code.
    pub fn parse(name: &str) -> Option<State> {
        [State::Requested, State::Active, State::Error, State::Off].into_iter().find(|state| state.name() == name)
    }
}

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The name of the endpoint is not known.
    Name,
    /// It did not answer, or could not be reached.
    NoResponse,
    /// It answered that it does not take it.
    Refused,
    /// Filters were adjusted; the client has to agree.
    Adjusted,
    /// It has gone for good (410).
    Gone,
}

impl Fault {
    const ALL: [Fault; 5] = [Fault::Name, Fault::NoResponse, Fault::Refused, Fault::Adjusted, Fault::Gone];

    /// Its code in <http://terminology.hl7.org/CodeSystem/subscription-error>; none where that has nothing like it.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Fault::Name => Some("dns-resolution-error"),
            Fault::NoResponse => Some("no-response"),
            Fault::Refused | Fault::Gone => Some("error-response"),
            Fault::Adjusted => None,
        }
    }

    /// For the client, as the resource's `error`.
    pub fn text(self) -> &'static str {
        match self {
            Fault::Name => {
                "The name of the endpoint is not known. Events are counted; set status to requested when it is."
            }
            Fault::NoResponse => {
                "The endpoint does not answer. Events are counted; set status to requested, and read what was missed with $events."
            }
            Fault::Refused => {
                "The endpoint does not take notifications. Events are counted; set status to requested, and read what was missed with $events."
            }
            Fault::Adjusted => {
                "Filters that cannot be met were taken out. Read what is left, and set status to requested to agree."
            }
            Fault::Gone => "The endpoint said that it has gone for good (410).",
        }
    }

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn of_number(number: u8) -> Option<Fault> {
        Fault::ALL.get(usize::from(number)).copied()
    }
}

/// What is done with events that were counted while a subscription was in `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backlog {
    /// The client reads them with `$events`.
    #[default]
    Leave,
    /// They are sent once the client has asked for it again.
    Send,
}

/// How deliveries are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Attempts in a row after which a subscription is in `error`.
    pub attempts_max: u32,
    /// After the first failure; twice as long after each further one…
    pub retry_min: Duration,
    /// …up to this.
    pub retry_max: Duration,
    /// What is done with events of the time in `error`.
    pub backlog: Backlog,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            attempts_max: 8,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(300),
            backlog: Backlog::default(),
        }
    }
}

impl Policy {
    /// How long to wait after so many failures in a row, in milliseconds.
    pub fn wait_ms(&self, failures: u32) -> i64 {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.retry_min.saturating_mul(factor).min(self.retry_max);
        i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
    }
}

/// How a subscription stands. Times are milliseconds since 1970 (UTC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its state…
    pub state: State,
    /// …and since when.
    pub since_ms: i64,
    /// The entry of the registry that it follows.
    pub entry: u64,
    /// The number of its last event; how many there have been.
    pub last: u64,
    /// Up to which event the client has been told, or has to read by itself.
    pub delivered: u64,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// No attempt before this.
    pub due_ms: i64,
    /// When something was last taken by the endpoint.
    pub sent_ms: i64,
    /// Why nothing is sent.
    pub fault: Option<Fault>,
}

/// What has happened to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A client wants this, by that entry of the registry.
    Put(super::resource::Wanted, u64),
    /// The endpoint took the handshake.
    Greeted,
    /// It took events up to this one.
    Delivered(u64),
    /// It took a heartbeat.
    Alive,
    /// It took nothing, or could not be reached.
    Failed(Fault),
    /// It said 410. Whoever delivers writes `off` into the registry too, so that matching knows.
    Gone,
    /// `end` has passed.
    Ended,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Send a handshake.
    Handshake,
    /// Send events from this number up to that one.
    Events(u64, u64),
    /// Send a heartbeat.
    Heartbeat,
    /// Nothing before this time, unless something happens.
    Wait(i64),
    /// Nothing, unless something happens.
    Nothing,
    /// `end` has passed: tell the state machine.
    End,
}

/// What of a subscription says when something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Seconds between heartbeats.
    pub heartbeat_s: Option<u32>,
    /// Events in one notification, at most.
    pub count_max: u32,
    /// When nothing is sent any more.
    pub end_ms: Option<i64>,
}

impl Timing {
    /// Of a checked subscription. A notification of Da Vinci is of one event.
    pub fn of(subscription: &super::resource::Subscription) -> Timing {
        let channel = &subscription.channel;
        let count_max = match channel.kind {
            Kind::DavinciAlert | Kind::Transaction => 1,
            _ => channel.count_max.unwrap_or(EVENTS_AT_ONCE),
        };
        Timing { heartbeat_s: channel.heartbeat_s, count_max, end_ms: subscription.end_ms }
    }
}

impl Standing {
    /// One that nobody has heard of; `Put` is what comes next.
    pub fn new() -> Standing {
        Standing {
            state: State::Off,
            since_ms: 0,
            entry: 0,
            last: 0,
            delivered: 0,
            failures: 0,
            due_ms: 0,
            sent_ms: 0,
            fault: None,
        }
    }

    /// How it stands after something has happened. What comes too late (an answer after the client has switched it off) changes nothing.
    #[must_use]
    pub fn after(&self, input: Input, kind: Kind, now_ms: i64, policy: &Policy) -> Standing {
        let mut next = self.clone();
        match input {
            Input::Put(wanted, entry) => return self.put(wanted, entry, kind, now_ms, policy),
            Input::Ended if self.state != State::Off => next.become_state(State::Off, None, now_ms),
            Input::Gone if matches!(self.state, State::Requested | State::Active) => {
                next.become_state(State::Off, Some(Fault::Gone), now_ms);
            }
            Input::Greeted if self.state == State::Requested => {
                next.become_state(State::Active, None, now_ms);
                next.sent_ms = now_ms;
            }
            Input::Delivered(upto) if self.state == State::Active => {
                next.delivered = self.delivered.max(upto).min(self.last);
                (next.failures, next.due_ms, next.sent_ms) = (0, now_ms, now_ms);
            }
            Input::Alive if self.state == State::Active => {
                (next.failures, next.due_ms, next.sent_ms) = (0, now_ms, now_ms);
            }
            Input::Failed(fault) if self.state == State::Requested => {
                next.become_state(State::Error, Some(fault), now_ms);
            }
            Input::Failed(fault) if self.state == State::Active => {
                let failures = self.failures.saturating_add(1);
                // Our own is not given up: nobody would ask for it again.
                if failures >= policy.attempts_max && kind != Kind::Transaction {
                    next.become_state(State::Error, Some(fault), now_ms);
                }
                next.failures = failures;
                next.due_ms = now_ms.saturating_add(policy.wait_ms(failures));
            }
            _ => {}
        }
        next
    }

    fn put(&self, wanted: super::resource::Wanted, entry: u64, kind: Kind, now_ms: i64, policy: &Policy) -> Standing {
        use super::resource::Wanted;
        // Read already: journal and registry are read again after a crash.
        if entry <= self.entry {
            return self.clone();
        }
        let mut next = Standing { entry, ..self.clone() };
        match wanted {
            Wanted::Requested => {
                let silent = matches!(self.state, State::Error | State::Off);
                if silent && policy.backlog == Backlog::Leave {
                    next.delivered = self.last;
                }
                let greets = matches!(kind, Kind::RestHook | Kind::Message);
                next.become_state(if greets { State::Requested } else { State::Active }, None, now_ms);
            }
            Wanted::Agreement => next.become_state(State::Error, Some(Fault::Adjusted), now_ms),
            // Whoever delivers says so of an endpoint that has gone: the client is to see why.
            Wanted::Off => {
                let fault = self.fault.filter(|fault| self.state == State::Off && *fault == Fault::Gone);
                next.become_state(State::Off, fault, now_ms);
            }
        }
        next
    }

    fn become_state(&mut self, state: State, fault: Option<Fault>, now_ms: i64) {
        if self.state != state {
            self.since_ms = now_ms;
        }
        if state == State::Active {
            // Where no handshake was sent, heartbeats count from here.
            self.sent_ms = now_ms;
        }
        (self.state, self.fault, self.failures, self.due_ms) = (state, fault, 0, now_ms);
    }

    /// What is to be done now.
    pub fn todo(&self, timing: &Timing, now_ms: i64) -> Todo {
        if self.state == State::Off {
            return Todo::Nothing;
        }
        if timing.end_ms.is_some_and(|end| end <= now_ms) {
            return Todo::End;
        }
        let wait = |at: i64| Todo::Wait(timing.end_ms.map_or(at, |end| at.min(end)));
        let resting = || timing.end_ms.map_or(Todo::Nothing, Todo::Wait);
        match self.state {
            State::Requested | State::Active if self.due_ms > now_ms => wait(self.due_ms),
            State::Requested => Todo::Handshake,
            State::Active if self.delivered < self.last => {
                let most = u64::from(timing.count_max.max(1));
                Todo::Events(self.delivered + 1, self.last.min(self.delivered.saturating_add(most)))
            }
            State::Active => match timing.heartbeat_s {
                None => resting(),
                Some(seconds) => {
                    let at = self.sent_ms.saturating_add(i64::from(seconds) * 1000);
                    if at <= now_ms { Todo::Heartbeat } else { wait(at) }
                }
            },
            State::Error | State::Off => resting(),
        }
    }
}

impl Default for Standing {
    fn default() -> Standing {
        Standing::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::resource::Wanted;
    use super::*;

    const POLICY: Policy = Policy {
        attempts_max: 3,
        retry_min: Duration::from_secs(1),
        retry_max: Duration::from_secs(3),
        backlog: Backlog::Leave,
    };
    const TIMING: Timing = Timing { heartbeat_s: None, count_max: 20, end_ms: None };

    fn after(standing: &Standing, input: Input, now_ms: i64) -> Standing {
        standing.after(input, Kind::RestHook, now_ms, &POLICY)
    }

    fn event(standing: &Standing) -> Standing {
        Standing { last: standing.last + 1, ..standing.clone() }
    }

    /// Subscribe; M1; 500 until exhaustion → error; M2 is counted; the client asks again, handshake, and new events are sent.
    #[test]
    fn the_way_of_the_specification() {
        let requested = after(&Standing::new(), Input::Put(Wanted::Requested, 1), 100);
        assert_eq!((requested.state, requested.todo(&TIMING, 100)), (State::Requested, Todo::Handshake));
        let active = after(&requested, Input::Greeted, 110);
        assert_eq!((active.state, active.last, active.todo(&TIMING, 110)), (State::Active, 0, Todo::Nothing));
        let mut told = event(&active);
        assert_eq!(told.todo(&TIMING, 200), Todo::Events(1, 1));
        for (now, due) in [(200, 1200), (1200, 3200)] {
            told = after(&told, Input::Failed(Fault::Refused), now);
            assert_eq!((told.state, told.todo(&TIMING, now)), (State::Active, Todo::Wait(due)));
            assert_eq!(told.todo(&TIMING, due), Todo::Events(1, 1));
        }
        let error = after(&told, Input::Failed(Fault::Refused), 3200);
        assert_eq!((error.state, error.fault, error.since_ms), (State::Error, Some(Fault::Refused), 3200));
        let error = event(&error);
        assert_eq!(
            (error.last, error.todo(&TIMING, i64::MAX)),
            (2, Todo::Nothing),
            "the server never does it by itself"
        );
        let again = after(&error, Input::Put(Wanted::Requested, 2), 9000);
        assert_eq!((again.state, again.fault, again.todo(&TIMING, 9000)), (State::Requested, None, Todo::Handshake));
        let active = after(&again, Input::Greeted, 9010);
        assert_eq!((active.last, active.todo(&TIMING, 9010)), (2, Todo::Nothing), "1 and 2 are the client's to read");
        let active = event(&active);
        assert_eq!(active.todo(&TIMING, 9020), Todo::Events(3, 3));
        assert_eq!(after(&active, Input::Delivered(3), 9030).todo(&TIMING, 9030), Todo::Nothing);
    }

    #[test]
    fn a_backlog_is_sent_where_that_is_wanted() {
        let send = Policy { backlog: Backlog::Send, ..POLICY };
        let error = Standing { state: State::Error, entry: 1, last: 45, delivered: 2, ..Standing::new() };
        let again = error.after(Input::Put(Wanted::Requested, 2), Kind::RestHook, 5, &send);
        let active = after(&again, Input::Greeted, 6);
        assert_eq!(active.todo(&TIMING, 6), Todo::Events(3, 22));
        let active = after(&active, Input::Delivered(22), 7);
        assert_eq!(active.todo(&TIMING, 7), Todo::Events(23, 42));
        assert_eq!(active.todo(&Timing { count_max: 1, ..TIMING }, 7), Todo::Events(23, 23));
    }

    #[test]
    fn events_before_the_first_handshake_are_sent() {
        let requested = event(&after(&Standing::new(), Input::Put(Wanted::Requested, 1), 1));
        assert_eq!(requested.todo(&TIMING, 1), Todo::Handshake);
        assert_eq!(after(&requested, Input::Greeted, 2).todo(&TIMING, 2), Todo::Events(1, 1));
    }

    #[test]
    fn a_handshake_is_tried_once() {
        let requested = after(&Standing::new(), Input::Put(Wanted::Requested, 1), 1);
        let failed = after(&requested, Input::Failed(Fault::Name), 2);
        assert_eq!((failed.state, failed.fault), (State::Error, Some(Fault::Name)));
    }

    #[test]
    fn off_is_for_good_until_the_client_asks_again() {
        let requested = after(&Standing::new(), Input::Put(Wanted::Requested, 1), 1);
        let active = after(&requested, Input::Greeted, 2);
        for (input, fault) in
            [(Input::Gone, Some(Fault::Gone)), (Input::Ended, None), (Input::Put(Wanted::Off, 2), None)]
        {
            let off = after(&active, input, 3);
            assert_eq!((off.state, off.fault, off.todo(&TIMING, 9)), (State::Off, fault, Todo::Nothing));
            for late in [Input::Greeted, Input::Delivered(1), Input::Alive, Input::Failed(Fault::Name), Input::Gone] {
                assert_eq!(after(&off, late, 4), off, "an answer that comes too late");
            }
            assert_eq!(after(&off, Input::Put(Wanted::Requested, 3), 5).state, State::Requested);
        }
    }

    #[test]
    fn the_end_is_due_in_every_state() {
        let timing = Timing { end_ms: Some(50), heartbeat_s: Some(1), ..TIMING };
        for state in [State::Requested, State::Active, State::Error] {
            let standing = Standing { state, ..Standing::new() };
            assert_eq!(standing.todo(&timing, 50), Todo::End);
            assert!(!matches!(standing.todo(&timing, 49), Todo::End));
        }
        let active = Standing { state: State::Active, sent_ms: 0, ..Standing::new() };
        assert_eq!(active.todo(&timing, 49), Todo::Wait(50), "before the heartbeat");
        let error = Standing { state: State::Error, ..Standing::new() };
        assert_eq!(error.todo(&timing, 1), Todo::Wait(50));
    }

    #[test]
    fn heartbeats_are_due_when_nothing_else_was_sent() {
        let timing = Timing { heartbeat_s: Some(60), ..TIMING };
        let requested = after(&Standing::new(), Input::Put(Wanted::Requested, 1), 1_000);
        let active = after(&requested, Input::Greeted, 1_000);
        assert_eq!(active.todo(&timing, 60_999), Todo::Wait(61_000));
        assert_eq!(active.todo(&timing, 61_000), Todo::Heartbeat);
        let alive = after(&active, Input::Alive, 61_010);
        assert_eq!((alive.todo(&timing, 61_010), alive.last), (Todo::Wait(121_010), 0), "it does not count");
        let told = after(&event(&alive), Input::Delivered(1), 90_000);
        assert_eq!(told.todo(&timing, 90_000), Todo::Wait(150_000));
        let failed = after(&told, Input::Failed(Fault::NoResponse), 150_000);
        assert_eq!(failed.todo(&timing, 150_000), Todo::Wait(151_000));
        assert_eq!(failed.todo(&timing, 151_000), Todo::Heartbeat);
    }

    #[test]
    fn what_was_read_already_changes_nothing() {
        let requested = after(&Standing::new(), Input::Put(Wanted::Requested, 7), 1);
        let active = after(&requested, Input::Greeted, 2);
        assert_eq!(after(&active, Input::Put(Wanted::Requested, 7), 3), active);
        assert_eq!(after(&active, Input::Put(Wanted::Off, 6), 3), active);
        assert_eq!(after(&active, Input::Put(Wanted::Requested, 8), 3).state, State::Requested);
    }

    #[test]
    fn channels_without_a_handshake_are_active_at_once() {
        for kind in [Kind::Websocket, Kind::DavinciAlert] {
            let put = Standing::new().after(Input::Put(Wanted::Requested, 1), kind, 5, &POLICY);
            assert_eq!((put.state, put.sent_ms), (State::Active, 5));
        }
        let adjusted = after(&Standing::new(), Input::Put(Wanted::Agreement, 1), 5);
        assert_eq!((adjusted.state, adjusted.fault), (State::Error, Some(Fault::Adjusted)));
    }

    #[test]
    fn waits_grow_up_to_a_limit() {
        let waits: Vec<i64> = [1, 2, 3, 4, 40, u32::MAX].map(|failures| POLICY.wait_ms(failures)).to_vec();
        assert_eq!(waits, [1000, 2000, 3000, 3000, 3000, 3000]);
        for fault in Fault::ALL {
            assert_eq!(Fault::of_number(fault.number()), Some(fault));
        }
    }
}
