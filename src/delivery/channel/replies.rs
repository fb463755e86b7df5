//! What becomes of a message when its receiver says no: as each channel judges it, or as the route says (`replies`).
//!
//! | action | what becomes of the message |
//! |---|---|
//! | `retry` | again, as `retry` of the route says |
//! | `dead` | a dead letter |
//! | `skip` | passed over; the log tells |
//! | `pause` | again, and the route rests: it asks with one message at a time, and gives none up |
use super::Failure;

/// What a receiver may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// MSA-1, such as `AE`.
    Acknowledgement([u8; 2]),
    /// HTTP, of the answer or of an entry in it.
    Status(u16),
    /// Nothing, in time.
    Timeout,
}

/// What is done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Again.
    Retry,
    /// Given up, with a trace.
    Dead,
    /// Given up, without one.
    Skip,
    /// Again, and the route rests.
    Pause,
}

/// What a route says of replies; the rest is the channel's to judge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies(pub Vec<(Reply, Action)>);

impl Replies {
    /// A failure as the route wants it.
    pub fn apply(&self, reply: Reply, failure: Failure) -> Failure {
        let Some((_, action)) = self.0.iter().find(|(known, _)| *known == reply) else { return failure };
        let (reason, after) = match failure {
            Failure::Endpoint { reason, after } | Failure::Again { reason, after } => (reason, after),
            Failure::Refused(reason) | Failure::Skipped(reason) => (reason, None),
        };
        match action {
            Action::Retry => Failure::Again { reason, after },
            Action::Dead => Failure::Refused(reason),
            Action::Skip => Failure::Skipped(reason),
            Action::Pause => Failure::Endpoint { reason, after },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_the_route_says_goes_before_what_the_channel_thinks() {
        let replies = Replies(vec![
            (Reply::Status(409), Action::Dead),
            (Reply::Status(422), Action::Skip),
            (Reply::Acknowledgement(*b"AE"), Action::Retry),
            (Reply::Timeout, Action::Pause),
        ]);
        let after = Some(Duration::from_secs(3));
        let again = || Failure::Again { reason: "why".into(), after };
        assert_eq!(replies.apply(Reply::Status(409), again()), Failure::Refused("why".into()));
        assert_eq!(replies.apply(Reply::Status(422), Failure::Refused("why".into())), Failure::Skipped("why".into()));
        let retried = Failure::Again { reason: "why".into(), after: None };
        assert_eq!(replies.apply(Reply::Acknowledgement(*b"AE"), Failure::Refused("why".into())), retried);
        assert_eq!(replies.apply(Reply::Timeout, again()), Failure::Endpoint { reason: "why".into(), after });
        assert_eq!(replies.apply(Reply::Status(503), again()), again(), "nothing is said of it");
    }
}
