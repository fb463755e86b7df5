//! The answer to a batch: a batch of acknowledgements (HL7 v2 chapter 2, 2.10.3).
//!
//! ```text
//! BHS|^~\&|<5>|<6>|<3>|<4>|<time>||||<new id>|<11>
//! MSH… MSA…        one acknowledgement for each message that is to get one
//! BTS|<count>
//! ```
//!
//! The numbers in angle brackets are those of the sender's BHS, or of its FHS where it sends no BHS.
use super::ack::Stamp;
use super::batch::{header_line, is_batch};

/// Writes the batch of `acknowledgements` that answers the batch `raw`.
pub fn write_batch(raw: &[u8], acknowledgements: &[Vec<u8>], stamp: Stamp<'_>, out: &mut Vec<u8>) {
    let header = header_line(raw, b"BHS").or_else(|| header_line(raw, b"FHS")).unwrap_or(b"BHS|^~\\&");
    let separator = header.get(3).copied().unwrap_or(b'|');
    let fields: Vec<&[u8]> = header.split(|byte| *byte == separator).collect();
    // BHS-1 is the separator itself, so BHS-2 stands behind the first one.
    let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
    out.extend_from_slice(b"BHS");
    let values: [&[u8]; 11] = [
        if field(2).is_empty() { b"^~\\&" } else { field(2) },
        field(5),
        field(6),
        field(3),
        field(4),
        stamp.time.as_bytes(),
        b"",
        b"",
        b"",
        stamp.control_id.as_bytes(),
        field(11),
    ];
    for value in values {
        out.push(separator);
        out.extend(value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0x0B | 0x1C)));
    }
    out.push(b'\r');
    acknowledgements.iter().for_each(|ack| out.extend_from_slice(ack));
    out.extend_from_slice(b"BTS");
    out.push(separator);
    out.extend_from_slice(acknowledgements.len().to_string().as_bytes());
    out.push(b'\r');
    debug_assert!(is_batch(out));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(raw: &str) -> String {
        let mut out = Vec::new();
        let stamp = Stamp { time: "20240102", control_id: "H1" };
        write_batch(raw.as_bytes(), &[b"MSH|1\rMSA|AA|1\r".to_vec(), b"MSH|2\r".to_vec()], stamp, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_header_is_turned_round_and_names_the_batch() {
        let raw = "FHS|^~\\&|X\rBHS|^~\\&|A|B|C|D|2023||n|c|77|old\rMSH|^~\\&|\rBTS|1\r";
        assert_eq!(answer(raw), "BHS|^~\\&|C|D|A|B|20240102||||H1|77\rMSH|1\rMSA|AA|1\rMSH|2\rBTS|2\r");
        assert!(answer("FHS#*+!%#A#B#C#D#1####88\rMSH#").starts_with("BHS#*+!%#C#D#A#B#20240102####H1#88\r"));
        assert!(answer("BHS").starts_with("BHS|^~\\&|||||20240102||||H1|\r"));
    }
}
