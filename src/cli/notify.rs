//! Telling the service manager how we are (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET` names, if there is one.
use crate::server::Control;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The service manager.
#[derive(Debug)]
pub(super) struct Notify {
    socket: UnixDatagram,
    /// A path, or behind `@` an abstract name.
    address: String,
    /// How often it wants to hear of us.
    watchdog: Option<Duration>,
}

impl Notify {
    /// The one that started us; none where none did.
    pub fn from_environment() -> Option<Notify> {
        let variable = |name: &str| std::env::var(name).ok();
        let own = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let microseconds = variable("WATCHDOG_USEC").filter(|_| own).and_then(|text| text.parse().ok());
        Some(Notify {
            socket: UnixDatagram::unbound().ok()?,
            address: variable("NOTIFY_SOCKET").filter(|address| !address.is_empty())?,
            watchdog: microseconds.filter(|time| *time > 0).map(Duration::from_micros),
        })
    }

    /// Says something, such as `READY=1`. Who does not hear it will say so.
    pub fn tell(&self, state: &str) {
        if let Err(error) = self.send(state) {
            tracing::warn!("the service manager cannot be told {state}: {error}");
        }
    }

    fn send(&self, state: &str) -> io::Result<()> {
        match self.address.strip_prefix('@') {
            #[cfg(target_os = "linux")]
            Some(name) => {
                use std::os::linux::net::SocketAddrExt as _;
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                self.socket.send_to_addr(state.as_bytes(), &address)?;
            }
            _ => _ = self.socket.send_to(state.as_bytes(), &self.address)?,
        }
        Ok(())
    }

    /// Tells twice as often as it is wanted that the gateway answers; one that does not is not vouched for, and so is started again.
    pub async fn keep_telling(&self, control: Control) {
        let Some(watchdog) = self.watchdog else { return std::future::pending().await };
        loop {
            if let Ok(Some(_)) = timeout(watchdog, control.journal()).await {
                self.tell("WATCHDOG=1");
            }
            sleep(watchdog / 2).await;
        }
    }
}
