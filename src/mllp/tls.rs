//! TLS for listeners: 1.3 and 1.2, with client certificates where a client CA is named, and without those that a revocation list names. The files are looked at again as connections come, so that a renewed
//! certificate needs no restart; if the new ones are no good the old ones stay in use, and the log says so.
use super::refused::Refused;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Files of a listener, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The certificate and those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whose certificates clients must show; without one clients show none.
    pub client_ca: Option<PathBuf>,
    /// Certificates of clients that count no more: a list of each authority that signed one.
    pub revoked: Option<PathBuf>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read, or is no PEM of the right kind.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key do not go together, or cannot be used.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// Makes TLS connections with the files as they are now.
#[derive(Debug)]
pub struct Acceptor {
    options: Options,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    versions: Vec<Option<SystemTime>>,
    looked: Instant,
}

/// How long a peer may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one that is refused may read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(options: Options) -> Result<Acceptor, Error> {
        let versions = versions(&options);
        let config = load(&options)?;
        Ok(Acceptor { options, current: Mutex::new(Current { config, versions, looked: Instant::now() }) })
    }

    /// Shakes hands. A peer that is refused has been sent the TLS alert that says why.
    ///
    /// # Errors
    /// When the peer does not get through it, or not in time.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Refused> {
        let acceptor = TlsAcceptor::from(self.current());
        match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream).into_fallible()).await {
            Ok(Ok(accepted)) => Ok(accepted),
            Ok(Err((error, stream))) => {
                // Boxed: a connection that goes on must not carry its room.
                Box::pin(farewell(stream)).await;
                Err(error.into())
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time").into()),
        }
    }

    fn current(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let versions = versions(&self.options);
            if versions != current.versions {
                match load(&self.options) {
                    Ok(config) => {
                        tracing::info!(certificate = %self.options.certificate.display(), "certificate read anew");
                        current.config = config;
                    }
                    Err(error) => tracing::error!("the certificate of before stays in use: {error}"),
                }
                // Looked at again only when they change again: a file that is half written will.
                current.versions = versions;
            }
        }
        Arc::clone(&current.config)
    }
}

/// Waits until the peer has closed, shortly. In TLS 1.3 it thinks itself let in and has sent its first message already: to close on what nobody has read resets the connection, and the alert
/// is lost with it.
async fn farewell(mut stream: TcpStream) {
    let (_, mut unread) = (stream.shutdown().await, [0; 4096]);
    let _ = timeout(FAREWELL, async { while stream.read(&mut unread).await.is_ok_and(|read| read > 0) {} }).await;
}

fn versions(options: &Options) -> Vec<Option<SystemTime>> {
    let files = [Some(&options.certificate), Some(&options.key), options.client_ca.as_ref(), options.revoked.as_ref()];
    files.into_iter().flatten().map(|file| file.metadata().and_then(|data| data.modified()).ok()).collect()
}

fn load(options: &Options) -> Result<Arc<ServerConfig>, Error> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Unusable { path, source }
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable(&options.certificate))?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(unusable(path))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .with_crls(revoked(options)?)
                .build()
                .map_err(|error| {
                    // What is wrong with a list must not be looked for in the authority.
                    let at = options.revoked.as_ref().filter(|_| matches!(error, VerifierBuilderError::InvalidCrl(_)));
                    Error::File { path: at.unwrap_or(path).clone(), reason: error.to_string() }
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&options.key).map_err(wrong_file(&options.key, "private key"))?;
    let config =
        builder.with_single_cert(certificates(&options.certificate)?, key).map_err(unusable(&options.certificate))?;
    Ok(Arc::new(config))
}

fn revoked(options: &Options) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let Some(path) = &options.revoked else { return Ok(Vec::new()) };
    let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(wrong_file(path, "X509 CRL")(pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong_file(path, "X509 CRL")(error)),
    }
}

/// What the certificate of a client calls it: its DNS names, else its common name.
pub fn names(stream: &TlsStream<TcpStream>) -> Arc<[String]> {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some((_, certificate)) = certificate.and_then(|certificate| X509Certificate::from_der(certificate).ok()) else {
        return Arc::default();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let dns = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    let mut found: Vec<String> = dns.collect();
    if found.is_empty() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        found.extend(common.map(str::to_owned));
    }
    found.into()
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(wrong_file(path, "certificate")(pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong_file(path, "certificate")(error)),
    }
}

pub(super) fn wrong_file(path: &Path, wanted: &'static str) -> impl FnOnce(pem::Error) -> Error {
    let path = path.to_owned();
    move |error| {
        let reason = match error {
            pem::Error::Io(error) => format!("cannot be read: {error}"),
            pem::Error::NoItemsFound => format!("holds no {wanted} in PEM"),
            error => format!("is no {wanted} in PEM: {error}"),
        };
        Error::File { path, reason }
    }
}
