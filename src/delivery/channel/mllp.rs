//! An HL7 v2 receiver: the message goes on as it came, byte for byte, and only the receiver's acknowledgement of this very message counts.
//!
//! | answer | what becomes of the message |
//! |---|---|
//! | AA, CA with the message's control id in MSA-2 | delivered |
//! | CE, no answer, an answer to another message, nothing that can be read | again, on a new connection, the same bytes |
//! | AE, AR, CR | refused: a dead letter |
//! | no connection | again; no message's fault, so the route rests |
//!
//! `replies` of the route may say otherwise of AE, AR, CE, CR and of no answer in time.
//!
//! With release 2 the receiver says before that whether it has the message in safe storage: if not, the same bytes again. Where `wait_for = "commit"` that is all that is waited for.
use super::egress::Egress;
use super::replies::{Replies, Reply};
use super::{ClientError, Failure, Progress};
use crate::hl7::header::holds_frame_end;
use crate::hl7::{Index, SegmentId};
use crate::mllp::Release;
use crate::mllp::client::{self, Client};
use crate::mllp::connector::{self, Connector};
use crate::routing::Live;
use std::sync::Arc;

/// Where to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port`.
    pub address: String,
    /// Certificates; without them it is spoken to plainly.
    pub tls: Option<connector::Options>,
    /// To accept a connection.
    pub connect_timeout: std::time::Duration,
    /// Whether it gets the application's acknowledgements of messages instead of the messages.
    pub acknowledges: bool,
    /// What is spoken.
    pub release: Release,
    /// Whether a message has arrived once the receiver says that it is in safe storage (release 2).
    pub commit_only: bool,
    /// Where it may lead.
    pub egress: Egress,
    /// To acknowledge a message.
    pub timeout: std::time::Duration,
}

/// What all connections of a route have in common.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    options: Arc<Options>,
    replies: Arc<Replies>,
    connector: Option<Arc<Connector>>,
}

/// One connection to a receiver, kept open.
#[derive(Debug)]
pub struct MllpChannel {
    setup: Setup,
    client: Option<Client>,
    index: Index,
}

impl Setup {
    pub fn new(options: Options, replies: Replies) -> Result<Setup, ClientError> {
        let connector = options.tls.as_ref().map(Connector::new).transpose()?.map(Arc::new);
        Ok(Setup { options: Arc::new(options), replies: Arc::new(replies), connector })
    }

    async fn connect(&self) -> Result<Client, client::Error> {
        let options = client::Options {
            connect_timeout: self.options.connect_timeout,
            reply_timeout: self.options.timeout,
            release: self.options.release,
            commit_only: self.options.commit_only,
            ..client::Options::default()
        };
        let (address, egress) = (&self.options.address, &self.options.egress);
        let look_up = async {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            egress.look_up(host, port.parse().unwrap_or_default()).await
        };
        Client::connect_where(address, look_up, self.connector.as_deref(), options).await
    }
}

impl MllpChannel {
    pub(super) fn new(setup: &Setup) -> MllpChannel {
        MllpChannel { setup: setup.clone(), client: None, index: Index::new() }
    }

    pub(super) async fn deliver(&mut self, messages: &[Arc<Live>]) -> Progress {
        for (delivered, live) in messages.iter().enumerate() {
            if let Err(failure) = self.send(&live.raw).await {
                return Progress { delivered, failure: Some(failure) };
            }
        }
        Progress { delivered: messages.len(), failure: None }
    }

    async fn send(&mut self, raw: &[u8]) -> Result<(), Failure> {
        if holds_frame_end(raw) {
            return Err(Failure::Refused("it holds the end of an MLLP frame (1C 0D)".into()));
        }
        // Taken out: after a failure the connection is dropped, or a late answer would be taken for the next one's.
        // So it is where something is waiting already: a second answer to the message before.
        let kept = self.client.take().and_then(|mut client| client.is_quiet().then_some(client));
        let mut client = match kept {
            Some(client) => client,
            None => {
                let down = |error: client::Error| Failure::Endpoint { reason: error.to_string(), after: None };
                self.setup.connect().await.map_err(down)?
            }
        };
        let replies = &self.setup.replies;
        let answer = client.exchange(raw).await.map_err(|error| {
            let (reason, after) = (error.to_string(), None);
            match error {
                client::Error::Timeout(_) => replies.apply(Reply::Timeout, Failure::Again { reason, after }),
                // No message will fare better.
                client::Error::NoCommit => Failure::Endpoint { reason, after },
                _ => Failure::Again { reason, after },
            }
        })?;
        if self.setup.options.commit_only {
            self.client = Some(client);
            return Ok(());
        }
        let sent = control_id(&mut self.index, raw);
        let judged = judge(&mut self.index, &answer, &sent);
        // Without a control id nothing tells the answer to one message from that to the next.
        if !matches!(judged, Err((_, Failure::Again { .. }))) && !sent.is_empty() {
            self.client = Some(client);
        }
        judged.map_err(|(reply, failure)| match reply {
            Some(reply) => replies.apply(reply, failure),
            None => failure,
        })
    }
}

fn control_id(index: &mut Index, raw: &[u8]) -> Vec<u8> {
    match index.parse(raw) {
        Ok(()) => {
            let message = index.message(raw);
            message.find(SegmentId(*b"MSH")).map_or_else(Vec::new, |header| message.text(header, 10).to_vec())
        }
        Err(_) => Vec::new(),
    }
}

type Judged = Result<(), (Option<Reply>, Failure)>;

/// What an acknowledgement says of the message with that control id. A reason quotes codes only.
fn judge(index: &mut Index, answer: &[u8], sent: &[u8]) -> Judged {
    let again = |reason: &str| Err((None, Failure::Again { reason: reason.into(), after: None }));
    if index.parse(answer).is_err() {
        return again("the acknowledgement has no MSH");
    }
    let message = index.message(answer);
    let Some(msa) = message.find(SegmentId(*b"MSA")) else { return again("the acknowledgement has no MSA") };
    if message.text(msa, 2) != sent {
        return again("the acknowledgement is for another message (MSA-2)");
    }
    let refused = |text: &str| {
        let code = |segment: usize| match message.text(segment, 3).split(|byte| !byte.is_ascii_digit()).next() {
            Some(code) if (1..=5).contains(&code.len()) => format!(", ERR-3 {}", String::from_utf8_lossy(code)),
            _ => String::new(),
        };
        format!("{text}{}", message.find(SegmentId(*b"ERR")).map_or_else(String::new, code))
    };
    let code = message.text(msa, 1);
    let said = |failure| Err((code.try_into().ok().map(Reply::Acknowledgement), failure));
    match code {
        b"AA" | b"CA" => Ok(()),
        b"CE" => said(Failure::Again { reason: refused("the receiver answers CE (commit error)"), after: None }),
        b"AE" => said(Failure::Refused(refused("the receiver answers AE (application error)"))),
        b"AR" => said(Failure::Refused(refused("the receiver answers AR (application reject)"))),
        b"CR" => said(Failure::Refused(refused("the receiver answers CR (commit reject)"))),
        _ => again("MSA-1 of the acknowledgement is none of AA, AE, AR, CA, CE, CR"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_acknowledgement_of_this_message_counts() {
        let judged =
            |msa: &str| judge(&mut Index::new(), format!("MSH|^~\\&|||||||ACK|9|P|2.5\r{msa}\r").as_bytes(), b"M1");
        assert_eq!(judged("MSA|AA|M1"), Ok(()));
        assert_eq!(judged("MSA|CA|M1"), Ok(()));
        for again in ["MSA|AA|M2", "MSA|AA", "MSA|CE|M1", "MSA||M1", "PID|1"] {
            assert!(matches!(judged(again), Err((_, Failure::Again { .. }))), "{again}");
        }
        for (refused, why) in [
            (
                "MSA|AE|M1|CANARY\rERR||PID^1^5|101^Required^HL70357|E|||CANARY",
                "the receiver answers AE (application error), ERR-3 101",
            ),
            ("MSA|AR|M1", "the receiver answers AR (application reject)"),
            ("MSA|CR|M1\rERR|||Lee^CANARY TEXT", "the receiver answers CR (commit reject)"),
        ] {
            let shown = judged(refused).unwrap_err();
            assert!(
                matches!(&shown, (Some(Reply::Acknowledgement(_)), Failure::Refused(reason)) if reason.starts_with(why) && !reason.contains("CANARY TEXT")),
                "{shown:?}"
            );
        }
        assert!(matches!(judge(&mut Index::new(), b"HTTP/1.1 400", b"M1"), Err((None, Failure::Again { .. }))));
    }
}
