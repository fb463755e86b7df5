//! MLLP, the minimal lower layer protocol (HL7 v2 transport specification, release 1).
//!
//! ```text
//! 0B  message bytes  1C 0D
//! ```
//!
//! [`decoder`] finds frames in bytes and does no I/O; [`connection`] drives one socket with it, reads ahead and answers in order; [`listener`] accepts
//! sockets within limits; [`client`] is the other side. What a message means is not known here: a handler takes a frame and gives back a reply.
//! [`tls`] stands before a connection where a listener is to be reached from other machines. Left out: release 2 commit bytes.
pub mod client;
pub mod connection;
pub mod connector;
pub mod decoder;
pub mod listener;
pub mod tls;

/// `<SB>`, the byte before a message.
pub const START: u8 = 0x0B;
/// `<EB>`, the byte after a message.
pub const END: u8 = 0x1C;
/// The carriage return that follows [`END`].
pub const RETURN: u8 = 0x0D;

/// Appends `message` as one frame to `out`.
pub fn frame(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len() + 3);
    out.push(START);
    out.extend_from_slice(message);
    out.extend_from_slice(&[END, RETURN]);
}
