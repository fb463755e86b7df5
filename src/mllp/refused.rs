//! Why a TLS handshake came to nothing, in the words of somebody who can do something about it.
use std::io;
use tokio_rustls::rustls::{CertificateError, Error};

/// A peer that was not let in.
#[derive(Debug, thiserror::Error)]
#[error("{} ({error})", reason.text())]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    error: io::Error,
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It shows none.
    NoCertificate,
    /// Of an authority that `client_ca` does not hold.
    UnknownAuthority,
    /// Out of its time.
    Expired,
    /// On the list in `revoked`.
    Revoked,
    /// Otherwise no good.
    BadCertificate,
    /// It does not want ours.
    Mistrust,
    /// What it says is not TLS, or not one that is spoken here.
    NoTls,
    /// It took too long.
    Timeout,
    /// It went away, or the connection failed.
    Broken,
}

impl Reason {
    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NoCertificate => "no_certificate",
            Reason::UnknownAuthority => "unknown_authority",
            Reason::Expired => "expired",
            Reason::Revoked => "revoked",
            Reason::BadCertificate => "bad_certificate",
            Reason::Mistrust => "mistrust",
            Reason::NoTls => "no_tls",
            Reason::Timeout => "timeout",
            Reason::Broken => "broken",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Reason::NoCertificate => "it shows no certificate, and client_ca asks for one",
            Reason::UnknownAuthority => "its certificate is of no authority in client_ca",
            Reason::Expired => "its certificate is not valid at this time",
            Reason::Revoked => "its certificate is on the list in revoked",
            Reason::BadCertificate => "its certificate is no good",
            Reason::Mistrust => "it does not accept the certificate of this listener",
            Reason::NoTls => "it speaks no TLS that is spoken here",
            Reason::Timeout => "it did not shake hands in time",
            Reason::Broken => "it went away while shaking hands",
        }
    }

    fn of(error: &io::Error) -> Reason {
        if error.kind() == io::ErrorKind::TimedOut {
            return Reason::Timeout;
        }
        match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
            Some(Error::NoCertificatesPresented) => Reason::NoCertificate,
            Some(Error::InvalidCertificate(error)) => Reason::of_certificate(error),
            Some(Error::AlertReceived(_)) => Reason::Mistrust,
            Some(_) => Reason::NoTls,
            None => Reason::Broken,
        }
    }

    fn of_certificate(error: &CertificateError) -> Reason {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Reason::UnknownAuthority,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Reason::Expired,
            CertificateError::Revoked => Reason::Revoked,
            _ => Reason::BadCertificate,
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused { reason: Reason::of(&error), error }
    }
}
