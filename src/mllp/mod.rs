//! MLLP, the minimal lower layer protocol (HL7 v2 transport specification, releases 1 and 2).
//!
//! ```text
//! 0B  message bytes  1C 0D       content
//! 0B  06             1C 0D       release 2: the content before is in safe storage (commit acknowledgement)
//! 0B  15             1C 0D       release 2: it is not, send it again (negative commit acknowledgement)
//! ```
//!
//! In release 2 each side answers content, an HL7 acknowledgement too, with one of the last two, and sends the next content only then.
//!
//! [`decoder`] finds frames in bytes and does no I/O; [`connection`] drives one socket with it, reads ahead and answers in order; [`listener`] accepts
//! sockets within limits; [`client`] is the other side. What a message means is not known here: a handler takes a frame and gives back a reply.
//! [`tls`] stands before a connection where a listener is to be reached from other machines.
pub mod client;
pub mod connection;
pub mod connector;
pub mod decoder;
pub mod listener;
pub mod refused;
pub mod tls;

/// `<SB>`, the byte before a message.
pub const START: u8 = 0x0B;
/// `<EB>`, the byte after a message.
pub const END: u8 = 0x1C;
/// The carriage return that follows [`END`].
pub const RETURN: u8 = 0x0D;
/// What alone in a block says that content is in safe storage.
pub const ACK: u8 = 0x06;
/// What alone in a block says that it is not.
pub const NAK: u8 = 0x15;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Release {
    /// The messages alone.
    #[default]
    One,
    /// Commit acknowledgements as well.
    Two,
}

/// Appends `message` as one frame to `out`.
pub fn frame(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len() + 3);
    out.push(START);
    out.extend_from_slice(message);
    out.extend_from_slice(&[END, RETURN]);
}
