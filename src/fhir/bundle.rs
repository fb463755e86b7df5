//! What a translated Bundle consists of: where its resources stand in the bytes, so that an envelope can be rendered without parsing JSON.
use std::ops::Range;

/// One resource of a translated Bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of the resource (`{"resourceType":…}`) within the canonical Bundle.
    pub resource: Range<usize>,
    /// FHIR resource type, such as `Patient`.
    pub resource_type: &'static str,
    /// Logical id: a UUIDv5 in its 36-character text form. Its fullUrl is `urn:uuid:<id>`.
    pub id: [u8; 36],
}
