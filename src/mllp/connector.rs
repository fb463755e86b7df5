//! TLS for the sending side: 1.3 and 1.2. The peer must have a certificate of the named authority, for the host that the address names
//! or, where that is not its name, for another one that is given.
//!
//! The files are read when a route starts; one that is renewed is taken up when the configuration is read anew.
use super::tls::{Error, certificates, wrong_file};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Files of a target, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whose certificate the peer must have. Receivers of HL7 v2 have certificates of their own authority; those that browsers trust are not asked.
    pub ca: PathBuf,
    /// Our certificate, with those between it and the root, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// What its certificate must name, where that is not the host of the address.
    pub server_name: Option<ServerName<'static>>,
}

/// Makes TLS connections to a peer.
pub struct Connector {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(options: &Options) -> Result<Connector, Error> {
        let mut roots = RootCertStore::empty();
        let unusable = |path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Unusable { path, source }
        };
        for certificate in certificates(&options.ca)? {
            roots.add(certificate).map_err(unusable(&options.ca))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable(&options.ca))?
            .with_root_certificates(roots);
        let config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(wrong_file(key, "private key"))?;
                builder.with_client_auth_cert(certificates(certificate)?, private).map_err(unusable(certificate))?
            }
        };
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Connector { connector, server_name: options.server_name.clone() })
    }

    /// Shakes hands with the peer at `address` (`host:port`).
    pub(super) async fn connect(&self, address: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => host_of(address)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the address names no host"))?,
        };
        self.connector.connect(name, stream).await
    }
}

fn host_of(address: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
}
