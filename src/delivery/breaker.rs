//! When a route rests because its endpoint takes nothing: better one message every now and then than every message once for nothing.
//!
//! It opens at once when the endpoint itself fails (no connection, no valid credentials), and after [`IN_A_ROW_MAX`] different messages in a row that failed at their
//! first attempt: one message that fails again and again says nothing about the endpoint. While it is open, one message at a time is tried after each pause; the
//! first of them that is answered, be it with a refusal, closes it.
use super::Retry;
use std::time::Duration;
use tokio::time::Instant;

/// The state of one route's endpoint. Knows no clock: whoever asks says what time it is.
#[derive(Debug)]
pub(super) struct Breaker {
    retry: Retry,
    in_a_row: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    failed: u32,
    until: Instant,
}

/// So many messages in a row that fail at their first attempt mean that the endpoint is at fault.
const IN_A_ROW_MAX: u32 = 5;

impl Breaker {
    pub fn new(retry: Retry) -> Breaker {
        Breaker { retry, in_a_row: 0, open: None }
    }

    /// How many deliveries may be under way, of at most `most`.
    pub fn allowed(&self, now: Instant, most: usize) -> usize {
        match &self.open {
            None => most,
            Some(open) if now < open.until => 0,
            Some(_) => most.min(1),
        }
    }

    /// When the next message may be tried, if that is yet to come.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.open.as_ref().map(|open| open.until).filter(|until| *until > now)
    }

    /// The endpoint has taken or refused a message. While the route rests, such a message was under way before; the endpoint is still left alone as it asked to be.
    pub fn answered(&mut self, now: Instant) {
        self.in_a_row = 0;
        self.open.take_if(|open| open.until <= now);
    }

    /// A message failed, so often by now; gives the pause if the route is to rest.
    pub fn message_failed(&mut self, failed: u32, after: Option<Duration>, now: Instant) -> Option<Duration> {
        self.in_a_row = self.in_a_row.saturating_add(u32::from(failed == 1));
        (self.open.is_some() || self.in_a_row >= IN_A_ROW_MAX).then(|| self.endpoint_failed(after, now))
    }

    /// The endpoint failed; gives the pause.
    pub fn endpoint_failed(&mut self, after: Option<Duration>, now: Instant) -> Duration {
        let open = self.open.get_or_insert(Open { failed: 0, until: now });
        if open.failed == 0 || now >= open.until {
            open.failed = open.failed.saturating_add(1);
            open.until = now + self.retry.pause(open.failed, after);
        } else if after.is_some() {
            // Under way since before it opened: no further failure, but the endpoint may ask for a longer rest.
            open.until = open.until.max(now + self.retry.pause(1, after));
        }
        open.until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_at_once_probes_with_one_and_backs_off() {
        let retry = Retry::default();
        let (mut breaker, mut now) = (Breaker::new(retry), Instant::now());
        for failed in 1..30 {
            let full = retry.first.saturating_mul(1 << failed.min(20) >> 1).min(retry.max);
            let pause = breaker.endpoint_failed(None, now);
            assert!(pause >= full / 2 && pause <= full, "{failed}: {pause:?}");
            assert_eq!(breaker.endpoint_failed(None, now), pause, "those that were under way do not lengthen it");
            assert_eq!((breaker.allowed(now, 8), breaker.until(now)), (0, Some(now + pause)));
            now += pause;
            assert_eq!((breaker.allowed(now, 8), breaker.until(now)), (1, None));
        }
        breaker.answered(now);
        assert_eq!(breaker.allowed(now, 8), 8);
        let asked = Duration::from_secs(120);
        assert_eq!(breaker.endpoint_failed(Some(asked), now), asked);
        breaker.answered(now + asked / 2);
        assert_eq!(breaker.until(now), Some(now + asked), "an answer to what was under way does not cut it short");
    }

    #[test]
    fn one_message_that_always_fails_does_not_open_it() {
        let (mut breaker, now) = (Breaker::new(Retry::default()), Instant::now());
        assert!((1..100).all(|failed| breaker.message_failed(failed, None, now).is_none()));
        assert!((2..IN_A_ROW_MAX).all(|_| breaker.message_failed(1, None, now).is_none()));
        assert!(breaker.message_failed(1, None, now).is_some(), "but several different ones do");
        breaker.answered(now + Duration::from_secs(3600));
        assert!(breaker.message_failed(1, None, now).is_none());
    }
}
