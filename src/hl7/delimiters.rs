//! The delimiters that a message declares in MSH-1 and MSH-2 (HL7 v2 chapter 2, "Message delimiters").
use super::index::ParseError;

/// The bytes that separate the parts of one message. 0 means that the message declares none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delimiters {
    /// MSH-1, usually `|`.
    pub field: u8,
    /// First of MSH-2, usually `^`.
    pub component: u8,
    /// Second, usually `~`.
    pub repetition: u8,
    /// Third, usually `\`.
    pub escape: u8,
    /// Fourth, usually `&`.
    pub subcomponent: u8,
    /// Fifth, since 2.7, usually `#`.
    pub truncation: u8,
}

impl Default for Delimiters {
    fn default() -> Self {
        Self { field: b'|', component: b'^', repetition: b'~', escape: b'\\', subcomponent: b'&', truncation: 0 }
    }
}

impl Delimiters {
    /// Reads MSH-1 and MSH-2 at `header`, which holds `MSH` and what follows it, at byte `offset` of the input.
    ///
    /// An empty MSH-2 gives the recommended delimiters, a short one leaves the rest absent.
    ///
    /// # Errors
    /// When the separator cannot be one, or MSH-2 holds more than five characters, a letter twice, or control characters.
    pub(super) fn of_header(header: &[u8], offset: usize) -> Result<Self, ParseError> {
        let Some(&field) = header.get(3) else {
            return Err(ParseError::HeaderCutShort { offset });
        };
        if matches!(field, b'\r' | b'\n') {
            return Err(ParseError::HeaderCutShort { offset });
        }
        if !is_delimiter(field) {
            return Err(ParseError::FieldSeparator { offset: offset + 3, byte: field });
        }
        let rest = header.get(4..).unwrap_or_default();
        let declared =
            rest.iter().take(ENCODING_BYTES_MAX + 1).position(|&byte| byte == field || byte == b'\r' || byte == b'\n');
        let declared = match declared {
            Some(end) => &rest[..end],
            None if rest.len() <= ENCODING_BYTES_MAX => rest,
            None => return Err(ParseError::EncodingCharacters { offset: offset + 4 }),
        };
        if declared.is_empty() {
            return Ok(Self { field, ..Self::default() });
        }
        // `^~\\\\&`: a sender that escaped its own escape character, as program text does. The second one means nothing.
        let mut once = [0; ENCODING_BYTES_MAX];
        let doubled = declared.len() > 3 && declared[3] == declared[2];
        let declared = match doubled {
            true => {
                let kept = declared.iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, byte)| *byte);
                let length = once.iter_mut().zip(kept).map(|(slot, byte)| *slot = byte).count();
                &once[..length]
            }
            false => declared,
        };
        let wrong =
            declared.iter().enumerate().position(|(at, byte)| !is_delimiter(*byte) || declared[..at].contains(byte));
        if let Some(at) = wrong {
            return Err(ParseError::EncodingCharacters { offset: offset + 4 + at });
        }
        let byte = |at: usize| declared.get(at).copied().unwrap_or(0);
        Ok(Self {
            field,
            component: byte(0),
            repetition: byte(1),
            escape: byte(2),
            subcomponent: byte(3),
            truncation: byte(4),
        })
    }
}

/// Whether a byte may be a delimiter: anything visible in ASCII. Letters are unwise but have been seen.
pub(super) fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

/// Component, repetition, escape, subcomponent, truncation.
const ENCODING_BYTES_MAX: usize = 5;
