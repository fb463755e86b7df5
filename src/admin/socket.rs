//! The socket of the admin server: so many connections and no more, TLS where it is configured, and none that says nothing for long.
use crate::mllp::refused::Reason;
use crate::mllp::tls::Acceptor;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep};

/// Connections at the same time; others wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// From one request to the next, or from the connection to its first: also the time that a request may take to arrive.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often a silent connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Gives connections to the server.
pub(crate) struct Socket {
    address: SocketAddr,
    ready: mpsc::Receiver<(Stream, SocketAddr)>,
}

impl Socket {
    /// Accepts on a bound socket from now on. A handshake that takes its time keeps nobody else waiting.
    pub fn new(listener: TcpListener, tls: Option<Arc<Acceptor>>) -> io::Result<Socket> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(CONNECTIONS_MAX);
        tokio::spawn(accept(listener, address, tls, sender));
        Ok(Socket { address, ready })
    }
}

async fn accept(
    listener: TcpListener,
    here: SocketAddr,
    tls: Option<Arc<Acceptor>>,
    sender: mpsc::Sender<(Stream, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = sender.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, say: the pause lets connections close.
                tracing::warn!(listener = %here, "cannot accept: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (sender, tls) = (sender.clone(), tls.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let transport: Box<dyn Transport> = match tls {
                None => Box::new(stream),
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => Box::new(stream),
                    // One that only looks whether somebody is there is no news.
                    Err(refused) if refused.reason == Reason::Broken => {
                        return tracing::debug!(%peer, listener = %here, "no TLS connection: {refused}");
                    }
                    Err(refused) => return tracing::warn!(%peer, listener = %here, "no TLS connection: {refused}"),
                },
            };
            let _ = sender.send((Stream::new(transport, place), peer)).await;
        });
    }
}

impl Listener for Socket {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl Transport for TcpStream {}
impl Transport for tokio_rustls::server::TlsStream<TcpStream> {}

/// A connection within its limits.
pub(crate) struct Stream {
    transport: Box<dyn Transport>,
    heard: Heard,
    look: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// When the last request of a connection arrived.
#[derive(Debug, Clone)]
pub(crate) struct Heard(Arc<AtomicU64>);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Heard {
    /// A request has arrived.
    pub fn now(&self) {
        self.0.store(START.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn is_long_ago(&self) -> bool {
        START.elapsed().as_secs().saturating_sub(self.0.load(Ordering::Relaxed)) >= SILENCE_MAX.as_secs()
    }
}

impl Stream {
    fn new(transport: Box<dyn Transport>, place: OwnedSemaphorePermit) -> Stream {
        let heard = Heard(Arc::default());
        heard.now();
        Stream { transport, heard, look: Box::pin(sleep(LOOK_EVERY)), _place: place }
    }

    /// An error once it has been silent for too long; wakes the task when it is to be looked at again.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if self.heard.is_long_ago() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.look.set(sleep(LOOK_EVERY));
        }
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut *self.transport).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Also one that asks and asks and never reads what it is answered.
        self.check(context)?;
        Pin::new(&mut *self.transport).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport).poll_shutdown(context)
    }
}

/// What a request knows of its connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    pub heard: Heard,
}

impl Connected<IncomingStream<'_, Socket>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Socket>) -> Peer {
        Peer { address: *stream.remote_addr(), heard: stream.io().heard.clone() }
    }
}
