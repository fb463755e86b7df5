//! Accepts connections within limits and drives each in its own task.
use super::connection::{self, Reply};
use super::decoder::Frame;
use super::refused::Refused;
use super::tls::{self, Acceptor};
use crate::telemetry::{names, telemetry};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

/// The limits of a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The limits of each connection.
    pub connection: connection::Options,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Connections at the same time from one address.
    pub connections_per_address_max: usize,
    /// How long connections may take to answer what they have taken, once a shutdown began.
    pub drain_timeout: Duration,
    /// Networks that may connect; empty: all.
    pub allow: Vec<IpNet>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connection: connection::Options::default(),
            connections_max: 20_000,
            connections_per_address_max: 10_000,
            drain_timeout: Duration::from_secs(10),
            allow: Vec::new(),
        }
    }
}

/// How connections are taken; may be changed for those to come.
#[derive(Debug)]
pub struct Settings {
    /// What the listener is called.
    pub name: String,
    /// Limits.
    pub options: Options,
    /// Certificates; without them it speaks plainly.
    pub tls: Option<Arc<Acceptor>>,
}

/// Who is on the other side of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// What its certificate calls it; nothing where it shows none.
    pub names: Arc<[String]>,
}

/// Accepts until `shutdown` turns true, then waits for the connections to answer what they have taken. Frames go to `handler` with the peer they come from; `open` tells how many
/// connections there are.
pub async fn run<H, A, R>(
    listener: TcpListener,
    settings: Arc<ArcSwap<Settings>>,
    open: Arc<Open>,
    handler: H,
    mut shutdown: watch::Receiver<bool>,
) where
    H: Fn(Frame, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = R> + Send + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = shutdown.wait_for(|&stop| stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let now = settings.load();
        let Some(place) = admit(&open, peer, &now) else { continue };
        let _ = stream.set_nodelay(true);
        let (handler, shutdown, now) = (handler.clone(), shutdown.clone(), Arc::clone(&now));
        let span = tracing::info_span!(names::SPAN_CONNECTION, %peer);
        connections.spawn(
            async move {
                let _place = place;
                tracing::debug!("opened");
                let handler = |names: Arc<[String]>| {
                    move |frame| handler(frame, Peer { address: peer, names: Arc::clone(&names) })
                };
                let limits = now.options.connection;
                let end = match &now.tls {
                    None => connection::run(stream, &limits, &handler(Arc::default()), shutdown).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => {
                            let names = tls::names(&stream);
                            connection::run(stream, &limits, &handler(names), shutdown).await
                        }
                        Err(refused) => return turned_away(&now.name, &refused),
                    },
                };
                report(&end);
            }
            .instrument(span),
        );
    }
    drop(listener);
    let drain_timeout = settings.load().options.drain_timeout;
    let drained = timeout(drain_timeout, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(connections = connections.len(), "connections were cut: they did not finish in time");
    }
}

/// A place for a connection from there; none, and a line in the log, when it is not to be.
pub fn admit(open: &Arc<Open>, peer: SocketAddr, settings: &Settings) -> Option<Place> {
    let (listener, options) = (settings.name.as_str(), &settings.options);
    if !options.allows(peer.ip()) {
        telemetry().refused(listener, names::REFUSED_NETWORK);
        tracing::warn!(%peer, listener, "connection refused: its address is in no network of allow");
        return None;
    }
    let place = Open::enter(open, peer.ip(), options);
    if place.is_none() {
        telemetry().refused(listener, names::REFUSED_LIMIT);
        tracing::warn!(%peer, listener, "connection refused: connections_max or connections_per_address_max is reached");
    }
    place
}

/// Counts a peer that did not get through the handshake, and says so in the log; who it is says the span.
pub fn turned_away(listener: &str, refused: &Refused) {
    telemetry().refused(listener, refused.reason.name());
    tracing::warn!(listener, reason = refused.reason.name(), "no TLS connection: {refused}");
}

impl Options {
    fn allows(&self, address: IpAddr) -> bool {
        // A dual-stack socket sees IPv4 peers as ::ffff:a.b.c.d.
        let address = address.to_canonical();
        self.allow.is_empty() || self.allow.iter().any(|network| network.contains(&address))
    }
}

fn report(end: &connection::End) {
    use connection::End;
    match end {
        End::Closed | End::Idle | End::Shutdown => tracing::debug!("connection ended: {end}"),
        End::Torn { .. } | End::Slow { .. } | End::Violation(_) | End::Io(_) => {
            tracing::warn!("connection ended: {end}")
        }
        End::Stopped => tracing::error!("connection ended: {end}"),
    }
}

/// Out of file descriptors is not the end of a listener: the pause lets connections close.
pub async fn pause_after(error: &io::Error) {
    tracing::warn!("cannot accept: {error}");
    sleep(Duration::from_millis(100)).await;
}

/// The connections that are open, by address.
#[derive(Debug, Default)]
pub struct Open {
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection; leaves the count when dropped.
#[derive(Debug)]
pub struct Place {
    open: Arc<Open>,
    address: IpAddr,
}

impl Open {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// How many of each address, by address.
    pub fn peers(&self) -> Vec<(IpAddr, u64)> {
        let by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let mut peers: Vec<_> = by_address.iter().map(|(address, count)| (*address, *count as u64)).collect();
        peers.sort_unstable();
        peers
    }

    fn enter(open: &Arc<Open>, address: IpAddr, options: &Options) -> Option<Place> {
        let mut by_address = open.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = by_address.values().sum();
        let here = by_address.entry(address).or_default();
        if total >= options.connections_max || *here >= options.connections_per_address_max {
            return None;
        }
        *here += 1;
        Some(Place { open: Arc::clone(open), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.open.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let options = Options { connections_max: 3, connections_per_address_max: 2, ..Options::default() };
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let open = Arc::new(Open::default());
        let first = Open::enter(&open, one, &options);
        let _second = Open::enter(&open, one, &options);
        assert!(first.is_some() && Open::enter(&open, one, &options).is_none(), "two from one address");
        let _third = Open::enter(&open, two, &options);
        assert!(Open::enter(&open, two, &options).is_none(), "three altogether");
        drop(first);
        assert!(Open::enter(&open, two, &options).is_some());
    }
}
