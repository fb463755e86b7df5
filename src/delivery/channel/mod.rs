//! Channels: how a Bundle gets to its target. What a channel calls delivered is proven: synced to the file, accepted by the server.
mod answer;
pub mod egress;
pub mod fhir;
pub mod file;
pub mod http;
pub mod mllp;
pub mod replies;
pub mod rest_hook;
pub mod smart;

pub use answer::{Untaken, is_conflict, transaction_taken};

pub use crate::fhir::envelope::Envelope;
pub use crate::fhir::requests::{Conditional, Mode};
pub use http::ClientError;

use crate::routing::Live;
use replies::Replies;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where to, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file of Bundles, one a line.
    File(file::Options),
    /// A FHIR server.
    Fhir(fhir::Options),
    /// An HL7 v2 receiver.
    Mllp(mllp::Options),
    /// A web hook.
    RestHook(rest_hook::Options),
}

impl Target {
    /// Whether the Bundle is sent to it, and not the message as it came.
    pub fn wants_bundle(&self) -> bool {
        match self {
            Target::File(_) | Target::Fhir(_) => true,
            Target::Mllp(_) => false,
            Target::RestHook(options) => options.envelope.is_some(),
        }
    }

    /// Whether it gets acknowledgements of messages instead of the messages.
    pub fn acknowledges(&self) -> bool {
        matches!(self, Target::Mllp(options) if options.acknowledges)
    }

    /// Files that are read when its route starts, and may be renewed: certificates.
    pub fn files(&self) -> Vec<&Path> {
        let (ca, identity) = match self {
            Target::File(_) => (None, None),
            Target::Fhir(fhir::Options { http, .. }) | Target::RestHook(rest_hook::Options { http, .. }) => (
                http.tls.as_ref().and_then(|tls| tls.ca.as_ref()),
                http.tls.as_ref().and_then(|tls| tls.identity.as_ref()),
            ),
            Target::Mllp(mllp::Options { tls, .. }) => {
                (tls.as_ref().map(|tls| &tls.ca), tls.as_ref().and_then(|tls| tls.identity.as_ref()))
            }
        };
        let identity = identity.into_iter().flat_map(|(certificate, key)| [certificate, key]);
        ca.into_iter().chain(identity).map(PathBuf::as_path).collect()
    }

    /// The word for its kind, as it stands in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::File(_) => "file",
            Target::Fhir(_) => "fhir",
            Target::Mllp(_) => "mllp",
            Target::RestHook(_) => "rest_hook",
        }
    }
}

/// A target, ready to be delivered to.
#[derive(Debug)]
pub enum Channel {
    /// A file.
    File(file::FileChannel),
    /// A FHIR server.
    Fhir(fhir::FhirChannel),
    /// An HL7 v2 receiver.
    Mllp(Box<mllp::MllpChannel>),
    /// A web hook.
    RestHook(rest_hook::RestHookChannel),
}

/// A text that is shown to a server and to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How far a delivery came.
#[derive(Debug, Default)]
pub struct Progress {
    /// So many, from the first on, have arrived.
    pub delivered: usize,
    /// Why the next has not.
    pub failure: Option<Failure>,
}

/// Why a message was not delivered. A reason holds no value of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The target takes nothing at present, whatever the message: it is out of reach, or the credentials do not hold. Never ends in a dead letter.
    Endpoint {
        /// What is wrong.
        reason: String,
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
    },
    /// Another attempt at this message may succeed.
    Again {
        /// What is wrong.
        reason: String,
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
    },
    /// The receiver will never take it.
    Refused(String),
    /// The route says that it need not arrive.
    Skipped(String),
}

impl Failure {
    /// What is wrong.
    pub fn reason(&self) -> &str {
        match self {
            Failure::Endpoint { reason, .. } | Failure::Again { reason, .. } => reason,
            Failure::Refused(reason) | Failure::Skipped(reason) => reason,
        }
    }
}

impl Channel {
    /// Makes as many channels of a target as are wanted at once, or the one that it can have; nothing is opened yet. They share what a route has once: connections to
    /// an HTTP server, and its token.
    ///
    /// # Errors
    /// Certificates or a client that cannot be used.
    pub fn several(target: Target, replies: &Replies, count: usize) -> Result<Vec<Channel>, ClientError> {
        let replies = replies.clone();
        Ok(match target {
            Target::File(options) => vec![Channel::File(file::FileChannel::new(options))],
            Target::Fhir(options) => {
                let one = fhir::FhirChannel::new(options, replies)?;
                vec![one; count].into_iter().map(Channel::Fhir).collect()
            }
            Target::Mllp(options) => {
                let setup = mllp::Setup::new(options, replies)?;
                (0..count).map(|_| Channel::Mllp(Box::new(mllp::MllpChannel::new(&setup)))).collect()
            }
            Target::RestHook(options) => {
                let one = rest_hook::RestHookChannel::new(options, replies)?;
                vec![one; count].into_iter().map(Channel::RestHook).collect()
            }
        })
    }

    /// Messages that are best handed over at once; a channel that takes several is given them in the order of the journal, whatever their keys.
    pub fn batch_max(&self) -> usize {
        match self {
            Channel::File(_) => 256,
            Channel::Fhir(_) | Channel::Mllp(_) | Channel::RestHook(_) => 1,
        }
    }

    /// The word for the kind of its target, as it stands in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Channel::File(_) => "file",
            Channel::Fhir(_) => "fhir",
            Channel::Mllp(_) => "mllp",
            Channel::RestHook(_) => "rest_hook",
        }
    }

    /// Whether it sends the Bundle, and not the message as it came.
    pub fn wants_bundle(&self) -> bool {
        match self {
            Channel::File(_) | Channel::Fhir(_) => true,
            Channel::Mllp(_) => false,
            Channel::RestHook(channel) => channel.wants_bundle(),
        }
    }

    /// Its route begins to work.
    pub fn begin(&mut self) {
        if let Channel::File(channel) = self {
            channel.begin();
        }
    }

    /// Its route has ended; nothing is under way.
    pub async fn end(&mut self) {
        if let Channel::File(channel) = self {
            channel.end().await;
        }
    }

    /// Delivers in order, as far as it goes. `traceparent` goes with requests over HTTP, which knows where to put it.
    pub async fn deliver(&mut self, messages: &[Arc<Live>], traceparent: Option<&str>) -> Progress {
        match self {
            Channel::File(channel) => channel.deliver(messages).await,
            Channel::Fhir(channel) => channel.deliver(messages, traceparent).await,
            Channel::Mllp(channel) => channel.deliver(messages).await,
            Channel::RestHook(channel) => channel.deliver(messages, traceparent).await,
        }
    }
}
