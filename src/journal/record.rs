//! What the journal keeps of a message, and the checksum over it.

/// One record. The journal gives it a number and does not look into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// When the message was received, in milliseconds since 1970 (UTC).
    pub received_ms: i64,
    /// What routing may know of the message, encoded.
    pub facets: Vec<u8>,
    /// The message as it came.
    pub raw: Vec<u8>,
    /// The acknowledgement that was sent for it; empty when none was.
    pub ack: Vec<u8>,
}

impl Record {
    /// Bytes of its parts.
    pub fn len(&self) -> usize {
        self.facets.len() + self.raw.len() + self.ack.len()
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// CRC-32 over the number, the time and the length and bytes of each part: SQLite has no page checksums, so this is what notices a flipped bit, a part that was
    /// swapped for another's, and a record that stands under a wrong number.
    pub(super) fn checksum(&self, seq: u64) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&seq.to_le_bytes());
        hasher.update(&self.received_ms.to_le_bytes());
        for part in [&self.facets, &self.raw, &self.ack] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_covers_everything() {
        let record = Record { received_ms: 7, facets: b"ab".to_vec(), raw: b"c".to_vec(), ack: b"d".to_vec() };
        let sum = record.checksum(1);
        let changed = [
            record.checksum(2),
            Record { received_ms: 8, ..record.clone() }.checksum(1),
            Record { facets: b"a".to_vec(), raw: b"bc".to_vec(), ..record.clone() }.checksum(1),
            Record { raw: b"d".to_vec(), ack: b"c".to_vec(), ..record.clone() }.checksum(1),
        ];
        assert!(changed.iter().all(|other| *other != sum));
    }
}
