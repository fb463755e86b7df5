//! `[coordination.fhir]`: where recipients subscribe and read.
//!
//! ```toml
//! [coordination.fhir]
//! listen = "127.0.0.1:8090"         # beyond loopback: tls = { certificate, key }, or plaintext = true
//! stewards = [{ name = "privacy-office", sha256 = "…" }]   # who may write Consent, CareTeam and Group; `handoff token create --steward NAME` makes token and hash
//! ```
use super::super::admin::{listen, token_hash};
use super::super::section::Section;
use super::super::sections::name;
use crate::facade::Options;

/// Where to serve; nowhere without the section.
pub(super) fn fhir(coordination: &Section<'_>) -> Option<Options> {
    let section = coordination.table("fhir")?;
    let mut options = Options::default();
    (options.listen, options.tls) = listen(&section, "[coordination.fhir]", "127.0.0.1:8090");
    for steward in section.inline_tables("stewards").into_iter().flatten() {
        let name = name(&steward);
        let hash = token_hash(&steward, "sha256", "handoff token create --steward NAME");
        if hash.is_none() {
            steward.wrong(
                "a steward needs sha256, the hash of its token; `handoff token create --steward NAME` prints it",
            );
        }
        steward.finish();
        options.stewards.extend(hash.map(|hash| (name, hash)));
    }
    section.finish();
    Some(options)
}
