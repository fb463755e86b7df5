//! `[coordination.sink]`: a FHIR server that takes what happens to people of the rosters, beyond what a card holds.
//!
//! ```toml
//! [coordination.sink]
//! fhir = "https://repository.example/fhir"
//! recipient = "repository"          # whose policy says what goes there
//! bearer = "env:SINK_TOKEN"
//! ```
use super::super::section::Section;
use crate::coordination::options::Sink;
use crate::coordination::subscription::channel::{ENDPOINT_BYTES_MAX, HEADER_BYTES_MAX};
use crate::delivery::channel::http::is_loopback;
use crate::privacy::recipient::MaxContent;
use crate::privacy::{Key, Recipient};
use reqwest::Url;

/// Bytes of `bearer`: with its name it is a header of a subscription.
const BEARER_BYTES_MAX: usize = HEADER_BYTES_MAX - "Authorization: Bearer ".len();

/// Where to; nowhere without the section.
pub(super) fn sink(coordination: &Section<'_>, recipients: &[Recipient]) -> Option<Sink> {
    let section = coordination.table("sink")?;
    let plaintext = section.boolean("plaintext").unwrap_or(false);
    let url = section.text("fhir");
    if url.is_none() {
        section.wrong(
            "[coordination.sink] needs fhir, the base of a FHIR server: fhir = \"https://repository.example/fhir\"",
        );
    }
    let url = url.and_then(|text| {
        let plain = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.as_str().len() <= ENDPOINT_BYTES_MAX
        };
        let Some(url) = Url::parse(text.value.trim_end_matches('/')).ok().filter(plain) else {
            section
                .document
                .wrong(Some(text.at), "fhir must be a plain base URL, such as \"https://repository.example/fhir\"");
            return None;
        };
        if url.scheme() == "http" && !is_loopback(&url) && !plaintext {
            let why = "http is not encrypted: use https, or add plaintext = true if the network is trusted";
            section.document.wrong(Some(text.at.clone()), why);
        }
        section.document.check_host(url.host_str().unwrap_or_default(), &text.at);
        Some(url)
    });
    let recipient = recipient(&section, recipients);
    let bearer = section.secret("bearer").filter(|bearer| {
        // What a header cannot hold, or not as it is.
        let is_plain = !bearer.value.is_empty() && bearer.value.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
        let is_good = is_plain && bearer.value.len() <= BEARER_BYTES_MAX;
        if !is_good {
            let why =
                format!("bearer must be a token of 1 to {BEARER_BYTES_MAX} visible ASCII characters, without spaces");
            section.document.wrong(Some(bearer.at.clone()), why);
        }
        is_good
    });
    let bearer = bearer.map(|bearer| format!("Bearer {}", bearer.value));
    section.finish();
    Some(Sink { url: url?, recipient: recipient?, authorization: bearer.map(Key::new) })
}

/// Under whose policy it is: nothing leaves without one.
fn recipient(section: &Section<'_>, recipients: &[Recipient]) -> Option<String> {
    let Some(named) = section.text("recipient") else {
        section.wrong(
            "[coordination.sink] needs recipient, the [[coordination.recipient]] whose policy says what goes there",
        );
        return None;
    };
    let found = recipients.iter().find(|recipient| recipient.id == named.value);
    let wrong = |why: String| section.document.wrong(Some(named.at.clone()), why);
    match found {
        None => wrong(format!("there is no [[coordination.recipient]] of the id \"{}\"", named.value)),
        Some(recipient) if recipient.max_content < MaxContent::FullResource => {
            wrong("its recipient needs max_content = \"full-resource\": a server takes resources".into());
        }
        Some(recipient) if recipient.panels.is_empty() => {
            wrong("its recipient needs panels: what goes there is what happens to their people".into());
        }
        Some(recipient) if !recipient.topics.iter().any(|topic| topic == "patient-data-feed") => {
            wrong("its recipient needs \"patient-data-feed\" among its topics".into());
        }
        Some(_) => return Some(named.value),
    }
    None
}
