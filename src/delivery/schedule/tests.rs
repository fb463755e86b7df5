//! The schedule against endpoints that are made up, on a clock that is moved by hand.
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn live(seq: u64) -> Arc<Live> {
    Arc::new(Live { seq, bundle: vec![b'x'; 100], ..Live::default() })
}

fn limits() -> Limits {
    Limits { concurrency: 8, batch_max: 1, waiting_max: 100, held_bytes_max: 1 << 20, rate: 0 }
}

/// All that can be started now, read again where it must be: (first number, job).
fn start(schedule: &mut Schedule, now: Instant) -> Vec<(u64, Job)> {
    let mut jobs = Vec::new();
    schedule.wake(now);
    while let Some(next) = schedule.next(now) {
        match next {
            Next::Deliver(job) => jobs.push((job.messages[0].seq, job)),
            Next::Recall { key, from, count } => (from..).take(count).for_each(|seq| schedule.recalled(key, live(seq))),
        }
    }
    jobs
}

fn numbers(jobs: &[(u64, Job)]) -> Vec<u64> {
    jobs.iter().map(|(seq, _)| *seq).collect()
}

fn failing(failure: Failure) -> Progress {
    Progress { delivered: 0, failure: Some(failure) }
}

fn again() -> Progress {
    failing(Failure::Again { reason: "HTTP 503".into(), after: None })
}

fn endpoint() -> Progress {
    failing(Failure::Endpoint { reason: "HTTP 401".into(), after: None })
}

fn delivered() -> Progress {
    Progress { delivered: 1, failure: None }
}

#[test]
fn a_message_that_fails_holds_its_key_and_no_other() {
    let (mut schedule, mut now) = (Schedule::new(Retry::default(), limits()), Instant::now());
    for (seq, patient) in [(1, 7), (2, 7), (3, 8), (4, 8)] {
        schedule.add(Key::Patient(patient), live(seq));
    }
    let mut jobs = start(&mut schedule, now);
    assert_eq!(numbers(&jobs), [1, 3], "one of each key");
    let finished = schedule.finished(jobs.remove(0).1, again(), now);
    let pause = finished.again.map(|again| again.pause).unwrap();
    assert_eq!(schedule.behind(), 1, "the second of its key, not those of the other");
    assert_eq!(schedule.finished(jobs.remove(0).1, delivered(), now).delivered, [3]);
    let mut jobs = start(&mut schedule, now);
    assert_eq!(numbers(&jobs), [4]);
    schedule.finished(jobs.remove(0).1, delivered(), now);
    assert!(start(&mut schedule, now).is_empty());
    assert_eq!((schedule.deadline(now), schedule.held_bytes), (Some(now + pause), 0), "what rests is not in memory");
    now += pause;
    let mut jobs = start(&mut schedule, now);
    assert_eq!(numbers(&jobs), [1], "the same again, read again");
    schedule.add(Key::Patient(7), live(5));
    assert_eq!(schedule.behind(), 2, "also what comes while it is under way");
    schedule.finished(jobs.remove(0).1, delivered(), now);
    assert_eq!(schedule.behind(), 0);
    assert_eq!(numbers(&start(&mut schedule, now)), [2]);
}

#[test]
fn a_message_is_given_up_after_its_attempts_or_its_age_and_its_key_goes_on() {
    let retry = Retry { attempts: 3, ..Retry::default() };
    for (retry, attempts) in [(retry, 3), (Retry { age: 4 * SECOND, ..Retry::default() }, 0)] {
        let (mut schedule, mut now) = (Schedule::new(retry, limits()), Instant::now());
        schedule.add(Key::Patient(7), live(1));
        schedule.add(Key::Patient(7), live(2));
        let given_up = loop {
            let (_, job) = start(&mut schedule, now).remove(0);
            if let Some(given_up) = schedule.finished(job, again(), now).given_up {
                break given_up;
            }
            now = schedule.deadline(now).unwrap();
        };
        assert_eq!(given_up.0, 1);
        assert!(attempts == 0 || given_up.1 == attempts, "{given_up:?}");
        assert!(given_up.2.starts_with("given up after ") && given_up.2.ends_with(" attempts: HTTP 503"));
        assert_eq!(numbers(&start(&mut schedule, now)), [2]);
    }
}

#[test]
fn credentials_that_do_not_hold_make_the_route_rest_for_days_and_lose_nothing() {
    let retry = Retry { attempts: 2, ..Retry::default() };
    let (mut schedule, mut now) = (Schedule::new(retry, limits()), Instant::now());
    let began = now;
    (1..=20).for_each(|seq| schedule.add(Key::Patient(seq), live(seq)));
    let mut asked = 0;
    while now - began < 72 * 3600 * SECOND {
        let jobs = start(&mut schedule, now);
        assert_eq!(jobs.len(), if asked == 0 { 8 } else { 1 }, "all at first, then one at a time");
        asked += jobs.len();
        for (_, job) in jobs {
            let finished = schedule.finished(job, endpoint(), now);
            assert!(finished.given_up.is_none() && finished.again.is_some_and(|again| again.route_rests));
        }
        assert!(start(&mut schedule, now).is_empty(), "the route rests");
        now = schedule.deadline(now).unwrap();
    }
    assert!((800..2000).contains(&asked), "every few minutes: {asked}");
    let mut jobs = start(&mut schedule, now);
    schedule.finished(jobs.remove(0).1, delivered(), now);
    assert_eq!(start(&mut schedule, now).len(), 8, "and back at once");
}

#[test]
fn many_different_messages_that_fail_make_the_route_rest_and_one_that_fails_does_not_keep_it_so() {
    let (mut schedule, mut now) = (Schedule::new(Retry::default(), limits()), Instant::now());
    (1..=12).for_each(|seq| schedule.add(Key::Patient(seq), live(seq)));
    for (_, job) in start(&mut schedule, now) {
        schedule.finished(job, again(), now);
    }
    assert!(start(&mut schedule, now).is_empty() && !schedule.has_room(now));
    // The server is back, but for one message that it never takes.
    let mut seen = 0;
    while schedule.waiting() > 1 {
        let jobs = start(&mut schedule, now);
        if jobs.is_empty() {
            now = schedule.deadline(now).unwrap();
        }
        for (seq, job) in jobs {
            schedule.finished(job, if seq == 1 { again() } else { delivered() }, now);
        }
        seen += 1;
        assert!(seen < 200);
    }
}

#[test]
fn what_speaks_of_several_patients_stands_alone() {
    let (mut schedule, now) = (Schedule::new(Retry::default(), limits()), Instant::now());
    schedule.add(Key::Patient(7), live(1));
    assert!(!schedule.takes(Key::Everything), "something is before it");
    let mut jobs = start(&mut schedule, now);
    assert!(!schedule.takes(Key::Everything), "and still is");
    schedule.finished(jobs.remove(0).1, delivered(), now);
    assert!(schedule.takes(Key::Everything));
    schedule.add(Key::Everything, live(2));
    assert!(!schedule.takes(Key::Patient(9)) && !schedule.takes(Key::Everything), "nothing passes it");
    let (_, job) = start(&mut schedule, now).remove(0);
    schedule.finished(job, again(), now);
    assert!(!schedule.takes(Key::Patient(9)), "not even while it rests");
    let later = schedule.deadline(now).unwrap();
    let (_, job) = start(&mut schedule, later).remove(0);
    schedule.finished(job, delivered(), later);
    assert!(schedule.takes(Key::Patient(9)));
}

#[test]
fn a_route_sends_no_more_than_its_rate() {
    for (batch_max, rate) in [(1, 5), (1, 1000), (3, 4)] {
        let limits = Limits { concurrency: 100, batch_max, rate, ..limits() };
        let (mut schedule, began) = (Schedule::new(Retry::default(), limits), Instant::now());
        let mut now = began;
        (0..90).for_each(|seq| schedule.add(if batch_max > 1 { Key::Route } else { Key::Patient(seq) }, live(seq)));
        let mut sent = 0;
        while schedule.waiting() > 0 {
            for (_, job) in start(&mut schedule, now) {
                sent += job.messages.len();
                let progress = Progress { delivered: job.messages.len(), failure: None };
                schedule.finished(job, progress, now);
            }
            let most = (now - began + SLACK).as_secs_f64() * f64::from(rate) + batch_max as f64;
            assert!(sent as f64 <= most, "{sent} after {:?} at {rate}", now - began);
            if let Some(then) = schedule.deadline(now) {
                now = then;
            }
        }
        let took = (now - began).as_secs_f64() * f64::from(rate);
        assert!((85.0 - SLACK.as_secs_f64() * f64::from(rate)..=90.0).contains(&took), "nor much less: {took}");
    }
}

#[test]
fn what_had_failed_before_a_restart_is_given_up_in_its_time() {
    let retry = Retry { attempts: 5, age: 100 * SECOND, ..Retry::default() };
    for (tried, reason) in [
        (Tried { failed: 4, age: SECOND }, "given up after 5 attempts: HTTP 503"),
        (Tried { failed: 1, age: 100 * SECOND }, "given up after 2 attempts: HTTP 503"),
    ] {
        let (mut schedule, now) = (Schedule::new(retry, limits()), Instant::now());
        schedule.add_tried(Key::Patient(7), live(1), tried, now);
        schedule.add(Key::Patient(7), live(2));
        let (_, job) = start(&mut schedule, now).remove(0);
        assert_eq!(schedule.finished(job, again(), now).given_up, Some((1, tried.failed + 1, reason.into())));
        let (_, job) = start(&mut schedule, now).remove(0);
        let next = schedule.finished(job, again(), now).again.unwrap();
        assert_eq!((next.seq, next.failed, next.age), (2, 1, Duration::ZERO), "the next begins anew");
    }
}

#[test]
fn what_the_route_passes_over_is_no_dead_letter() {
    let (mut schedule, now) = (Schedule::new(Retry::default(), limits()), Instant::now());
    schedule.add(Key::Patient(7), live(1));
    schedule.add(Key::Patient(7), live(2));
    let (_, job) = start(&mut schedule, now).remove(0);
    let finished = schedule.finished(job, failing(Failure::Skipped("HTTP 404".into())), now);
    assert_eq!((finished.skipped, finished.given_up), (Some((1, "HTTP 404".into())), None));
    assert_eq!(numbers(&start(&mut schedule, now)), [2]);
}

#[test]
fn batches_are_put_back_in_order() {
    let limits = Limits { concurrency: 1, batch_max: 3, ..limits() };
    let (mut schedule, mut now) = (Schedule::new(Retry::default(), limits), Instant::now());
    (1..=5).for_each(|seq| schedule.add(Key::Route, live(seq)));
    let (_, job) = start(&mut schedule, now).remove(0);
    assert_eq!(job.messages.len(), 3);
    let failure = Some(Failure::Endpoint { reason: "disk full".into(), after: None });
    assert_eq!(schedule.finished(job, Progress { delivered: 1, failure }, now).delivered, [1]);
    now = schedule.deadline(now).unwrap();
    let (_, job) = start(&mut schedule, now).remove(0);
    assert_eq!(job.messages.iter().map(|live| live.seq).collect::<Vec<_>>(), [2, 3, 4]);
}

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// The oracle knows which number has which key, and what arrived; nothing of the schedule's own books.
#[test]
fn whatever_fails_order_holds_and_nothing_is_lost() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let limits = Limits {
            concurrency: 1 + dice.roll(8) as usize,
            batch_max: 1 + dice.roll(2) as usize * 3,
            waiting_max: 1 + dice.roll(40) as usize,
            held_bytes_max: dice.roll(4) as usize * 1000,
            rate: dice.roll(2) as u32 * 7,
        };
        let retry = Retry { attempts: dice.roll(2) as u32 * 6, ..Retry::default() };
        let keys: Vec<Key> = (0..200)
            .map(|_| match dice.roll(12) {
                0 => Key::Everything,
                patient => Key::Patient(patient),
            })
            .collect();
        let (mut schedule, mut now) = (Schedule::new(retry, limits), Instant::now());
        let mut under_way: Vec<Job> = Vec::new();
        let (mut next, mut settled) = (0, Vec::new());
        while settled.len() < keys.len() {
            while next < keys.len() && schedule.has_room(now) && schedule.takes(keys[next]) {
                schedule.add(keys[next], live(next as u64));
                next += 1;
            }
            under_way.extend(start(&mut schedule, now).into_iter().map(|(_, job)| job));
            assert!(under_way.len() <= limits.concurrency && schedule.waiting() <= limits.waiting_max);
            assert!(schedule.held_bytes <= limits.held_bytes_max);
            if under_way.is_empty() {
                if !schedule.ready.is_empty()
                    || !schedule.has_room(now)
                    || next == keys.len()
                    || !schedule.takes(keys[next])
                {
                    now = schedule.deadline(now).expect("something to wait for");
                }
                continue;
            }
            let job = under_way.swap_remove(dice.roll(under_way.len() as u64) as usize);
            let delivered = dice.roll(job.messages.len() as u64 + 1) as usize;
            let failure = match dice.roll(7) {
                _ if delivered == job.messages.len() => None,
                6 => Some(Failure::Skipped("HTTP 404".into())),
                0 => Some(Failure::Refused("HTTP 422".into())),
                1 => Some(Failure::Endpoint { reason: "cannot connect".into(), after: Some(SECOND) }),
                2 => None,
                _ => Some(Failure::Again { reason: "HTTP 503".into(), after: None }),
            };
            let finished = schedule.finished(job, Progress { delivered, failure }, now);
            settled.extend(finished.delivered);
            settled.extend(finished.given_up.map(|(seq, ..)| seq));
            settled.extend(finished.skipped.map(|(seq, _)| seq));
        }
        assert_eq!((schedule.waiting(), schedule.held_bytes, schedule.queues.len()), (0, 0, 0), "seed {seed}");
        for (at, later) in settled.iter().enumerate() {
            let key = |seq: u64| keys[seq as usize];
            let ordered = |earlier: u64| {
                earlier < *later
                    || (key(earlier) != key(*later)
                        && key(earlier) != Key::Everything
                        && key(*later) != Key::Everything)
            };
            assert!(settled[..at].iter().all(|earlier| ordered(*earlier)), "seed {seed}: {later} was overtaken");
        }
    }
}

#[test]
fn a_key_is_held_for_a_message_that_goes_out_once_more() {
    let (mut schedule, now) = (Schedule::new(Retry::default(), limits()), Instant::now());
    let patient = Key::Patient(7);
    let done = |schedule: &mut Schedule, key| {
        let nothing = schedule.finished(Job { key, messages: Vec::new() }, Progress::default(), now);
        assert!(nothing.delivered.is_empty() && nothing.again.is_none());
    };
    assert_eq!(schedule.reserve(patient, now), Reserved::Yes);
    assert_eq!(schedule.reserve(patient, now), Reserved::NotYet, "not two of a key");
    // What comes meanwhile waits for it; others do not, but for what must stand alone.
    schedule.add(patient, live(1));
    schedule.add(Key::Patient(8), live(2));
    assert!(!schedule.takes(Key::Everything));
    let mut jobs = start(&mut schedule, now);
    assert_eq!(numbers(&jobs), [2]);
    assert_eq!(schedule.reserve(Key::Patient(8), now), Reserved::NotYet, "an attempt is under way");
    assert_eq!(schedule.reserve(Key::Everything, now), Reserved::NotYet);
    schedule.finished(jobs.remove(0).1, delivered(), now);
    done(&mut schedule, patient);
    // What waits and is not under way came later: it goes out after it.
    assert_eq!(schedule.reserve(patient, now), Reserved::Yes);
    assert!(start(&mut schedule, now).is_empty());
    done(&mut schedule, patient);
    let mut jobs = start(&mut schedule, now);
    assert_eq!(numbers(&jobs), [1]);
    schedule.finished(jobs.remove(0).1, again(), now);
    assert_eq!(schedule.reserve(patient, now), Reserved::Fails(1));
    assert_eq!(schedule.reserve(Key::Patient(9), now), Reserved::Yes);
    done(&mut schedule, Key::Patient(9));
    assert_eq!((schedule.waiting(), schedule.under_way), (1, 0));
}

#[test]
fn what_must_stand_alone_does_so_also_once_more() {
    let (mut schedule, now) = (Schedule::new(Retry::default(), limits()), Instant::now());
    assert_eq!(schedule.reserve(Key::Everything, now), Reserved::Yes);
    assert!(!schedule.takes(Key::Patient(7)) && !schedule.takes(Key::Everything));
    schedule.finished(Job { key: Key::Everything, messages: Vec::new() }, Progress::default(), now);
    assert!(schedule.takes(Key::Patient(7)));
    schedule.add(Key::Everything, live(1));
    assert_eq!(schedule.reserve(Key::Patient(7), now), Reserved::NotYet);
}
