//! Channels: how a Bundle gets to its target. What a channel calls delivered is proven: synced to the file, accepted by the server.
pub mod fhir;
pub mod file;
pub mod mllp;

pub use crate::fhir::envelope::Envelope;
use crate::routing::Live;
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
}

impl Target {
    /// The word for its kind, as it stands in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::File(_) => "file",
            Target::Fhir(_) => "fhir",
            Target::Mllp(_) => "mllp",
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
}

impl Channel {
    /// Makes the channel of a target; nothing is opened yet.
    ///
    /// # Errors
    /// An HTTP client that cannot be made.
    pub fn new(target: Target) -> Result<Channel, reqwest::Error> {
        Ok(match target {
            Target::File(options) => Channel::File(file::FileChannel::new(options)),
            Target::Fhir(options) => Channel::Fhir(fhir::FhirChannel::new(options)?),
            Target::Mllp(options) => Channel::Mllp(Box::new(mllp::MllpChannel::new(options))),
        })
    }

    /// Messages that are best handed over at once; a channel that takes several is given them in the order of the journal, whatever their keys.
    pub fn batch_max(&self) -> usize {
        match self {
            Channel::File(_) => 256,
            Channel::Fhir(_) | Channel::Mllp(_) => 1,
        }
    }

    /// Whether it sends the Bundle, and not the message as it came.
    pub fn wants_bundle(&self) -> bool {
        !matches!(self, Channel::Mllp(_))
    }

    /// Delivers in order, as far as it goes.
    pub async fn deliver(&mut self, messages: &[Arc<Live>]) -> Progress {
        match self {
            Channel::File(channel) => channel.deliver(messages).await,
            Channel::Fhir(channel) => channel.deliver(messages).await,
            Channel::Mllp(channel) => channel.deliver(messages).await,
        }
    }
}
