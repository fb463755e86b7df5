//! HTTP as all channels speak it: no redirects, bounded answers, reasons without values, `Retry-After`, certificates of one's own.
use super::Failure;
use super::egress::{Egress, Refused, Resolver};
use super::replies::{Replies, Reply};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, Response, Url, redirect};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How a server is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// To accept a connection.
    pub connect_timeout: Duration,
    /// To answer a request.
    pub timeout: Duration,
    /// Certificates other than those that everybody trusts.
    pub tls: Option<Tls>,
    /// Where it may lead.
    pub egress: Egress,
}

impl Default for Options {
    fn default() -> Options {
        let second = Duration::from_secs(1);
        Options { connect_timeout: 5 * second, timeout: 30 * second, tls: None, egress: Egress::default() }
    }
}

/// Files in PEM, read when a route starts; a reload starts it anew when they have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Whose certificate the server must have; without it, that of an authority that browsers trust.
    pub ca: Option<PathBuf>,
    /// Our certificate, with those between it and the root, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why a target cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No client, perhaps for want of certificates.
    #[error("no HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// A file of `tls` that cannot be used.
    #[error("tls: {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An address that the target may not have.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// TLS of an MLLP target.
    #[error("tls: {0}")]
    Mllp(#[from] crate::mllp::tls::Error),
}

/// As much of an answer as is read.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// The longest that a server may ask to be left alone; the route's own `retry.max` is usually less.
const AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A client for a server.
pub(super) fn client(base: &Url, options: &Options) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(options.connect_timeout)
        .timeout(options.timeout);
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    if !options.egress.is_free() {
        options.egress.check(base)?;
        // A proxy would look names up by itself.
        builder = builder.no_proxy().dns_resolver(Arc::new(Resolver(options.egress.clone())));
    }
    if let Some(tls) = &options.tls {
        if let Some(path) = &tls.ca {
            let wrong = |reason: String| ClientError::File { path: path.clone(), reason };
            let found = Certificate::from_pem_bundle(&file(path)?).map_err(|error| wrong(cause(&error)))?;
            if found.is_empty() {
                return Err(wrong("holds no certificate in PEM".into()));
            }
            builder = builder.tls_built_in_root_certs(false);
            for certificate in found {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let Some((certificate, key)) = &tls.identity {
            let pem = [file(certificate)?, b"\n".to_vec(), file(key)?].concat();
            let identity = Identity::from_pem(&pem)
                .map_err(|error| ClientError::File { path: certificate.clone(), reason: cause(&error) })?;
            builder = builder.identity(identity);
        }
    }
    Ok(builder.build()?)
}

fn file(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path)
        .map_err(|error| ClientError::File { path: path.to_owned(), reason: format!("cannot be read: {error}") })
}

/// The header that tells a receiver to which trace a request belongs (W3C Trace Context).
pub(super) const TRACEPARENT: &str = "traceparent";

/// Whether a URL names this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// The body of an answer; `None` when there is more than is read.
pub(super) async fn read(mut response: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// How long the server asks to be left alone (RFC 9110, 10.2.3): seconds, or a date. A date is measured by the server's own clock where it tells the time.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = httpdate::parse_http_date(text).ok()?;
            let told = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
            until.duration_since(told.unwrap_or(now)).unwrap_or_default()
        }
    };
    Some(asked.min(AFTER_MAX))
}

/// A request that has no answer. The URL stays out: it may name a patient.
pub(super) fn unanswered(error: &reqwest::Error, replies: &Replies) -> Failure {
    let what = match error {
        error if error.is_connect() => "cannot connect",
        error if error.is_timeout() => "no answer in time",
        error if error.is_body() || error.is_decode() => "the answer broke off",
        _ => "the request failed",
    };
    let reason = match std::error::Error::source(error) {
        Some(_) => format!("{what}: {}", cause(error)),
        None => what.to_owned(),
    };
    if error.is_connect() {
        return Failure::Endpoint { reason, after: None };
    }
    let failure = Failure::Again { reason, after: None };
    if error.is_timeout() { replies.apply(Reply::Timeout, failure) } else { failure }
}

/// The innermost cause.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_asks_in_seconds_or_by_date_and_not_for_ever() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let asked = |after: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            date.map(|date| headers.insert(DATE, date.parse().unwrap()));
            retry_after(&headers, now).map(|asked| asked.as_secs())
        };
        assert_eq!(asked("120", None), Some(120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:51:37 GMT", None), Some(120));
        let slow = Some("Sun, 06 Nov 1994 08:51:00 GMT");
        assert_eq!(asked("Sun, 06 Nov 1994 08:51:37 GMT", slow), Some(37), "by the clock of the server");
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT", None), Some(0), "gone by");
        assert_eq!(asked("99999999999999999", None), Some(7 * 86_400));
        assert_eq!(asked("Fri, 01 Jan 2100 00:00:00 GMT", None), Some(7 * 86_400));
        assert_eq!([asked("soon", None), asked("-1", None), asked("", None)], [None; 3]);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn loopback() {
        let is = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(is("http://127.0.0.1:1/fhir") && is("http://localhost/") && is("http://[::1]:8/"));
        assert!(!is("http://10.0.0.1/") && !is("http://localhost.example/"));
    }

    #[test]
    fn files_that_are_no_use_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let base = Url::parse("https://ehr.example/fhir").unwrap();
        let missing = folder.path().join("no.pem");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        for tls in [
            Tls { ca: Some(missing.clone()), identity: None },
            Tls { ca: Some(empty.clone()), identity: None },
            Tls { ca: None, identity: Some((empty.clone(), empty.clone())) },
        ] {
            let path = if tls.ca.as_ref() == Some(&missing) { &missing } else { &empty };
            let error = client(&base, &Options { tls: Some(tls), ..Options::default() }).unwrap_err().to_string();
            assert!(error.starts_with(&format!("tls: {}: ", path.display())), "{error}");
        }
    }
}
