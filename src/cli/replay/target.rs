//! Where a replay goes.
use super::source::Replayed;
use crate::config::Config;
use crate::delivery::channel::egress::Egress;
use crate::delivery::channel::replies::Replies;
use crate::delivery::channel::{Channel, Envelope, Failure, Target, file, mllp};
use crate::delivery::{Plans, resend};
use crate::facets::Facets;
use crate::mllp::Release;
use crate::routing::{Live, Route};
use anyhow::{Context as _, bail};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The target as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    Route(String),
    Mllp(String),
    File(PathBuf),
    None,
}

impl To {
    pub fn parse(text: &str) -> anyhow::Result<To> {
        let port = |address: &str| {
            let (host, port) = address.rsplit_once(':')?;
            (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| address.to_owned())
        };
        match text.split_once(':') {
            None if text == "none" => Ok(To::None),
            Some(("route", name)) if !name.is_empty() => Ok(To::Route(name.into())),
            Some(("file", path)) if !path.is_empty() => Ok(To::File(path.into())),
            Some(("mllp", address)) => {
                port(address).map(To::Mllp).context("--to mllp: must be mllp:HOST:PORT, such as mllp:127.0.0.1:2575")
            }
            _ => bail!("--to must be route:NAME, mllp:HOST:PORT, file:PATH or none, not {text:?}"),
        }
    }

    pub fn route(&self) -> Option<&str> {
        match self {
            To::Route(name) => Some(name),
            _ => None,
        }
    }

    /// What has been done with what arrived.
    pub fn done(&self) -> &'static str {
        match self {
            To::None => "translated",
            _ => "delivered",
        }
    }
}

/// Delivers one message after the other.
pub(super) struct Sender {
    plans: Plans,
    /// Of the route, whose filter holds here too.
    route: Option<Route>,
    /// None: nowhere.
    channel: Option<Channel>,
}

/// What became of a message.
pub(super) enum Sent {
    Arrived,
    NotWanted,
    Failed(String),
    /// The same will happen to all that follow.
    OutOfReach(String),
}

impl Sender {
    pub fn new(to: &To, config: &Config, plans: Plans) -> anyhow::Result<Sender> {
        let (route, target, replies) = match to {
            To::None => (None, None, Replies::default()),
            To::Route(name) => {
                let known =
                    || config.routes.iter().map(|options| options.route.name.as_str()).collect::<Vec<_>>().join(", ");
                let options = config.routes.iter().find(|options| options.route.name == *name);
                let options = options.with_context(|| {
                    format!("the configuration has no route {name:?}; it has: {} (give it with --config)", known())
                })?;
                if options.target.acknowledges() {
                    bail!(
                        "route {name} sends acknowledgements: what it gave up is sent again with `handoff dead-letters resend`"
                    );
                }
                (Some(options.route.clone()), Some(options.target.clone()), options.replies.clone())
            }
            To::File(path) => {
                let target =
                    Target::File(file::Options { path: path.clone(), envelope: Envelope::Message, roll: None });
                (None, Some(target), Replies::default())
            }
            To::Mllp(address) => {
                let (connect_timeout, timeout) = (Duration::from_secs(5), Duration::from_secs(30));
                let options = mllp::Options {
                    address: address.clone(),
                    tls: None,
                    connect_timeout,
                    acknowledges: false,
                    release: Release::One,
                    commit_only: false,
                    egress: Egress::default(),
                    timeout,
                };
                (None, Some(Target::Mllp(options)), Replies::default())
            }
        };
        let channels = target.map(|target| Channel::several(target, &replies, 1)).transpose()?;
        let channel = channels.and_then(|mut channels| channels.pop());
        Ok(Sender { plans, route, channel })
    }

    /// Delivers it, at most so many times as long as another attempt may succeed.
    pub async fn send(&mut self, message: &Replayed, attempts_max: u32, pause: Duration) -> Sent {
        let live = match self.prepare(message) {
            Ok(Some(live)) => [Arc::new(live)],
            Ok(None) => return Sent::NotWanted,
            Err(reason) => return Sent::Failed(reason),
        };
        let Some(channel) = &mut self.channel else { return Sent::Arrived };
        let mut attempt = 1;
        loop {
            let (out_of_reach, reason, after) = match channel.deliver(&live, None).await.failure {
                None => return Sent::Arrived,
                Some(Failure::Refused(reason)) => return Sent::Failed(reason),
                // As the route wants it: it need not arrive.
                Some(Failure::Skipped(_)) => return Sent::NotWanted,
                Some(Failure::Again { reason, after }) => (false, reason, after),
                Some(Failure::Endpoint { reason, after }) => (true, reason, after),
            };
            if attempt == attempts_max {
                return if out_of_reach { Sent::OutOfReach(reason) } else { Sent::Failed(reason) };
            }
            attempt += 1;
            tokio::time::sleep(after.unwrap_or(pause).min(Duration::from_secs(60))).await;
        }
    }

    /// The message as it is delivered; `None` when the route does not want it.
    fn prepare(&self, message: &Replayed) -> Result<Option<Live>, String> {
        if let Some(Channel::Mllp(_)) = &self.channel
            && self.route.is_none()
        {
            // As it came: nobody asks whether it can be translated.
            let (facets, raw) = (message.record.facets.clone(), message.record.raw.clone().into());
            return Ok(Some(Live { seq: message.seq, facets, raw, ..Live::default() }));
        }
        let bundle = self.channel.as_ref().is_none_or(Channel::wants_bundle);
        let by = resend::Mappings::Current;
        let live = resend::prepare(message.seq, message.record.clone(), &self.plans, bundle, by)?.live;
        let wanted = match (&self.route, Facets::decode(&live.facets)) {
            (Some(route), Some(facets)) => route.wants(&facets, &live.raw),
            _ => true,
        };
        Ok(wanted.then_some(live))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let parse = |text| To::parse(text).ok();
        assert_eq!(parse("route:ehr"), Some(To::Route("ehr".into())));
        assert_eq!(parse("mllp:[::1]:2575"), Some(To::Mllp("[::1]:2575".into())));
        assert_eq!(parse("file:a:b"), Some(To::File("a:b".into())));
        assert_eq!(parse("none"), Some(To::None));
        assert_eq!(["", "ehr", "route:", "mllp:host", "mllp::1", "file:", "none:"].map(parse), [const { None }; 7]);
    }
}
