//! Deterministic ids: UUIDv5 (RFC 9562, section 5.5) over what makes a resource the one it is.
use sha1::{Digest, Sha1};

/// The UUID namespace for URLs (RFC 9562, section 6.6).
const URL_NAMESPACE: [u8; 16] =
    [0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8];

/// The namespace of a feed, from the profile's URI or, without one, from MSH-3 and MSH-4.
pub fn feed_namespace(profile: Option<&str>, sending_application: &[u8], sending_facility: &[u8]) -> [u8; 16] {
    match profile {
        Some(uri) => version_5(&URL_NAMESPACE, &[uri.as_bytes()]),
        None => version_5(&URL_NAMESPACE, &[b"urn:handoff:feed:", sending_application, b"|", sending_facility]),
    }
}

/// UUIDv5 of the pieces, one after the other, within a namespace.
pub fn version_5(namespace: &[u8; 16], pieces: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha1::new();
    hash.update(namespace);
    for piece in pieces {
        hash.update(piece);
    }
    let digest = hash.finalize();
    let mut uuid = [0u8; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x50;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

/// The 36 characters of a UUID.
pub fn text(uuid: &[u8; 16]) -> [u8; 36] {
    /// Where the two digits of each byte stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut out = [b'-'; 36];
    for (byte, at) in uuid.iter().zip(PLACES) {
        [out[at], out[at + 1]] = HEXADECIMAL[usize::from(*byte)];
    }
    out
}

/// The two digits of every byte: ids are a good part of what a Bundle holds.
const HEXADECIMAL: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_example_of_the_python_library() {
        // uuid.uuid5(uuid.NAMESPACE_URL, 'http://example.com/') as any implementation gives it.
        let uuid = version_5(&URL_NAMESPACE, &[b"http://example.com/"]);
        assert_eq!(std::str::from_utf8(&text(&uuid)).unwrap(), "0a300ee9-f9e4-5697-a51a-efc7fafaba67");
    }
}
