//! `[coordination.fhir]`: where recipients subscribe and read.
//!
//! ```toml
//! [coordination.fhir]
//! listen = "127.0.0.1:8090"         # beyond loopback: tls = { certificate, key }, or plaintext = true
//! stewards = [{ name = "privacy-office", sha256 = "…" }]   # who may write Consent and CareTeam; `handoff token create --steward NAME` makes token and hash
//! ```
use super::super::admin::check_address;
use super::super::section::Section;
use super::super::sections::{name, tls};
use crate::admin::credentials::parse_hash;
use crate::facade::Options;

/// Where to serve; nowhere without the section.
pub(super) fn fhir(coordination: &Section<'_>) -> Option<Options> {
    let section = coordination.table("fhir")?;
    let mut options = Options::default();
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    options.tls = section.table("tls").and_then(tls);
    match section.text("listen") {
        Some(address) => {
            check_address(&section, &address, plaintext || options.tls.is_some());
            section.document.listens("[coordination.fhir]".into(), &address.value, &address.at);
            options.listen = address.value;
        }
        None => section.wrong("listen is missing: give the address to serve on, such as listen = \"127.0.0.1:8090\""),
    }
    for steward in section.inline_tables("stewards").into_iter().flatten() {
        let name = name(&steward);
        let hash = steward.text("sha256").and_then(|text| {
            let hash = parse_hash(&text.value);
            if hash.is_none() {
                let remedy = "sha256 must be 64 hexadecimal digits; `handoff token create --steward NAME` prints it";
                steward.document.wrong(Some(text.at), remedy);
            }
            hash
        });
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
