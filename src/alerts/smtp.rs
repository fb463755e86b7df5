//! One mail over SMTP (RFC 5321), on a connection of its own: mails are few. The addresses that a name leads to are judged by the egress rules before they are connected to.
use super::Secret;
use super::mail::{Options, Security};
use crate::delivery::channel::egress::Egress;
use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use std::path::PathBuf;
use std::time::Duration;

/// Why no mail can be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of the authorities.
    #[error("[alerts] email: {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is in it, or the name of the server.
    #[error("[alerts] email: tls: {0}")]
    Tls(lettre::transport::smtp::Error),
}

/// A server, and how it is spoken to.
pub(super) struct Server {
    host: String,
    port: u16,
    tls: Option<(Security, TlsParameters)>,
    login: Option<Credentials>,
    hello: ClientId,
    egress: Egress,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({}:{})", self.host, self.port)
    }
}

/// For a mail as a whole.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Server {
    /// Reads the certificates. `own_name` is that of this machine.
    pub fn new(options: &Options, own_name: Option<&str>, egress: Egress) -> Result<Server, StartError> {
        let tls = match options.security {
            Security::Plain => None,
            security => Some((security, parameters(options)?)),
        };
        let login = options.login.as_ref();
        Ok(Server {
            host: options.host.clone(),
            port: options.port,
            tls,
            login: login.map(|(user, Secret(password))| Credentials::new(user.clone(), password.clone())),
            hello: own_name.map_or_else(ClientId::default, |name| ClientId::Domain(name.to_owned())),
            egress,
        })
    }

    /// Sends a mail; done when the server has taken it for at least one of its readers. One that it refuses keeps it from no other; those that it refuses for the moment alone are
    /// given back.
    pub async fn send(&self, from: &Address, to: &[Address], mail: &[u8]) -> Result<Vec<Address>, String> {
        let sent = tokio::time::timeout(TIMEOUT, self.exchange(from, to, mail)).await;
        sent.unwrap_or_else(|_| Err(format!("{} took longer than {} s", self.host, TIMEOUT.as_secs())))
    }

    async fn exchange(&self, from: &Address, to: &[Address], mail: &[u8]) -> Result<Vec<Address>, String> {
        let told = |error: lettre::transport::smtp::Error| error.to_string();
        let mut connection = self.connect().await?;
        connection.command(Mail::new(Some(from.clone()), vec![])).await.map_err(told)?;
        let mut refused = Vec::new();
        for reader in to {
            match connection.command(Rcpt::new(reader.clone(), vec![])).await {
                Ok(_) => {}
                // An answer, and none that is the end of the connection.
                Err(error) if error.is_permanent() || error.is_transient() => refused.push((reader, error)),
                Err(error) => return Err(told(error)),
            }
        }
        if refused.len() == to.len() {
            connection.abort().await;
            return Err(refused.pop().map_or_else(String::new, |(_, error)| format!("no reader is taken: {error}")));
        }
        connection.command(Data).await.map_err(told)?;
        connection.message(mail).await.map_err(told)?;
        let mut late = Vec::new();
        for (reader, error) in refused {
            if error.is_transient() {
                tracing::warn!("alerts: no mail to {reader} for the moment, it is tried again: {error}");
                late.push(reader.clone());
            } else {
                tracing::error!("alerts: no mail to {reader}: {error}");
            }
        }
        // It has been taken; how the server says goodbye changes nothing.
        connection.abort().await;
        Ok(late)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let told = |error: lettre::transport::smtp::Error| error.to_string();
        let addresses = self.egress.look_up(&self.host, self.port).await.map_err(|error| error.to_string())?;
        let (from_the_start, later) = match &self.tls {
            Some((Security::StartTls, tls)) => (None, Some(tls.clone())),
            tls => (tls.as_ref().map(|(_, tls)| tls.clone()), None),
        };
        let connecting =
            AsyncSmtpConnection::connect_tokio1(&addresses[..], Some(TIMEOUT), &self.hello, from_the_start, None);
        let mut connection = connecting.await.map_err(told)?;
        if let Some(tls) = later {
            // A server that does not offer it, or somebody on the way who takes the offer out, gets neither password nor mail.
            connection.starttls(tls, &self.hello).await.map_err(told)?;
        }
        if let Some(login) = &self.login {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await.map_err(told)?;
        }
        Ok(connection)
    }
}

fn parameters(options: &Options) -> Result<TlsParameters, StartError> {
    let mut builder = TlsParameters::builder(options.host.clone());
    if let Some(path) = &options.ca {
        let text = std::fs::read(path).map_err(|source| StartError::Unreadable { path: path.clone(), source })?;
        builder = builder.certificate_store(CertificateStore::None);
        builder = builder.add_root_certificate(Certificate::from_pem(&text).map_err(StartError::Tls)?);
    }
    builder.build_rustls().map_err(StartError::Tls)
}

/// The name of this machine, where it has one that servers can be greeted with.
pub(super) fn own_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned();
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    (is_plain && !name.is_empty()).then_some(name)
}
