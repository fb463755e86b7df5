//! FHIR R4: the shape of its elements, a JSON writer into a reused buffer, deterministic ids, Bundle envelopes, what two Bundles say differently.
pub mod bundle;
pub mod diff;
pub mod envelope;
pub mod identity;
pub mod json;
pub mod requests;
pub mod shape;
pub mod tree;
