//! The sending side of MLLP: one message at a time, each waits for what the peer answers.
//!
//! In release 2 the peer says first that it has the message in safe storage, or that it has not. Its own message after that is answered in the same way: it was read, and
//! whoever asked for it has it.
use super::connector::Connector;
use super::decoder::{Decoder, Event, Framing, Options as DecoderOptions};
use super::{ACK, NAK, Release};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the peer may take.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// To accept a connection.
    pub connect_timeout: Duration,
    /// To take a message and answer it.
    pub reply_timeout: Duration,
    /// Largest answer in bytes.
    pub reply_bytes_max: usize,
    /// What is spoken.
    pub release: Release,
    /// Whether a commit acknowledgement is all that is waited for (release 2).
    pub commit_only: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connect_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(5),
            reply_bytes_max: 1 << 20,
            release: Release::default(),
            commit_only: false,
        }
    }
}

/// Why a message has no answer. Whether the peer has it is then unknown: send the same bytes again, on a new connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The peer took too long.
    #[error("no acknowledgement within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The peer closed instead of answering.
    #[error("the peer closed the connection without an acknowledgement")]
    Closed,
    /// The socket failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// Release 2: it has not kept the message.
    #[error("the peer has not kept the message (negative commit acknowledgement)")]
    NotKept,
    /// It speaks release 1.
    #[error("the peer answers without a commit acknowledgement: it does not speak release 2 of MLLP")]
    NoCommit,
    /// The answer is not MLLP.
    #[error("the answer is not MLLP: {0}")]
    Framing(#[from] super::decoder::Violation),
}

/// A connection to a peer that receives.
#[derive(Debug)]
pub struct Client {
    stream: Box<dyn Stream>,
    options: Options,
    decoder: Decoder,
    /// What has come and was not asked for yet; all of one read at most.
    blocks: VecDeque<Vec<u8>>,
    /// What came last is not MLLP.
    broken: bool,
    out: Vec<u8>,
}

/// TCP, or TLS over it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Stream for T {}

impl Client {
    /// Connects to `address` (`host:port`), with TLS where there is a connector.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(address: &str, tls: Option<&Connector>, options: Options) -> Result<Client, Error> {
        let look_up = async { Ok(tokio::net::lookup_host(address).await?.collect()) };
        Client::connect_where(address, look_up, tls, options).await
    }

    /// The same, with another way to look the address up.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect_where(
        address: &str,
        look_up: impl Future<Output = io::Result<Vec<SocketAddr>>>,
        tls: Option<&Connector>,
        options: Options,
    ) -> Result<Client, Error> {
        let opened = async {
            let stream = TcpStream::connect(look_up.await?.as_slice()).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => Box::new(tls.connect(address, stream).await?),
            };
            Ok(stream)
        };
        let opened = timeout(options.connect_timeout, opened).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", options.connect_timeout.as_secs_f32());
            Err(io::Error::new(io::ErrorKind::TimedOut, reason))
        });
        let stream = opened.map_err(|source| Error::Connect { address: address.to_owned(), source })?;
        // What comes back is read leniently: an acknowledgement is not refused for its framing.
        let decoder = Decoder::new(DecoderOptions {
            framing: Framing::Lenient,
            frame_bytes_max: options.reply_bytes_max,
            ..Default::default()
        });
        Ok(Client { stream, options, decoder, blocks: VecDeque::new(), broken: false, out: Vec::new() })
    }

    /// Whether the peer has neither said anything that nobody asked for, nor closed.
    pub fn is_quiet(&mut self) -> bool {
        let mut one = [0];
        let mut buffer = ReadBuf::new(&mut one);
        // Pending is what is wanted; whoever reads next asks to be woken again.
        let read = Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        read.is_pending() && !self.broken && self.blocks.is_empty() && self.decoder.partial_bytes().is_none()
    }

    /// Sends one message and returns the peer's next one; nothing where a commit acknowledgement is all that is waited for.
    ///
    /// # Errors
    /// After any [`Error`] the connection must not be used again: a late answer would be taken for the next one's.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.out.clear();
        super::frame(message, &mut self.out);
        match timeout(self.options.reply_timeout, self.round()).await {
            Ok(reply) => reply,
            Err(_) => match self.decoder.finish() {
                // A frame without its end would be a commit acknowledgement of nothing.
                Some(frame) if self.options.release == Release::One => Ok(frame.bytes),
                _ => Err(Error::Timeout(self.options.reply_timeout)),
            },
        }
    }

    async fn round(&mut self) -> Result<Vec<u8>, Error> {
        self.write().await?;
        if self.options.release == Release::One {
            return self.block().await;
        }
        match self.block().await?.as_slice() {
            [ACK] => {}
            [NAK] => return Err(Error::NotKept),
            _ => return Err(Error::NoCommit),
        }
        if self.options.commit_only {
            return Ok(Vec::new());
        }
        let answer = self.block().await?;
        self.out.clear();
        super::frame(&[ACK], &mut self.out);
        self.write().await?;
        Ok(answer)
    }

    async fn write(&mut self) -> Result<(), Error> {
        self.stream.write_all(&self.out).await?;
        // TLS may have kept some of it back.
        Ok(self.stream.flush().await?)
    }

    /// The next block of the peer.
    async fn block(&mut self) -> Result<Vec<u8>, Error> {
        if let Some(block) = self.blocks.pop_front() {
            return Ok(block);
        }
        let mut buffer = vec![0; 8 << 10];
        loop {
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return self.decoder.finish().map(|frame| frame.bytes).ok_or(Error::Closed);
            }
            let mut input = &buffer[..count];
            // To the end of what was read: a second answer in the same packet would be taken for the next message's.
            loop {
                match self.decoder.decode(&mut input) {
                    Ok(Some(Event::Frame(frame))) => self.blocks.push_back(frame.bytes),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(violation) if self.blocks.is_empty() => return Err(violation.into()),
                    Err(_) => {
                        self.broken = true;
                        break;
                    }
                }
            }
            if let Some(block) = self.blocks.pop_front() {
                return Ok(block);
            }
            if self.broken {
                return Err(Error::Closed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const QUICK: Options = Options {
        connect_timeout: Duration::from_secs(30),
        reply_timeout: Duration::from_secs(30),
        reply_bytes_max: 1000,
        release: Release::One,
        commit_only: false,
    };

    /// The first answer to a message, and whether the connection may be used again.
    async fn after(answers: &'static [u8]) -> (Vec<u8>, bool) {
        let (answer, quiet, _) = exchanged(QUICK, answers).await;
        (answer.unwrap(), quiet)
    }

    /// The same, with what the peer is told in the end.
    async fn exchanged(options: Options, answers: &'static [u8]) -> (Result<Vec<u8>, Error>, bool, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::connect(&listener.local_addr().unwrap().to_string(), None, options).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let answering = tokio::spawn(async move {
            let mut message = [0; 4];
            peer.read_exact(&mut message).await.unwrap();
            peer.write_all(answers).await.unwrap();
            peer
        });
        let answer = client.exchange(b"M").await;
        let mut peer = answering.await.unwrap();
        let quiet = client.is_quiet();
        drop(client);
        let mut told = Vec::new();
        // It is cut where answers were left unread.
        let _ = peer.read_to_end(&mut told).await;
        (answer, quiet, told)
    }

    #[tokio::test]
    async fn in_release_2_the_peer_says_first_whether_it_has_the_message() {
        let two = Options { release: Release::Two, ..QUICK };
        let (answer, quiet, told) = exchanged(two, b"\x0b\x06\x1c\r\x0bone\x1c\r").await;
        assert_eq!((answer.unwrap(), quiet, told), (b"one".to_vec(), true, b"\x0b\x06\x1c\r".to_vec()));
        let (answer, quiet, _) = exchanged(two, b"\x0b\x15\x1c\r").await;
        assert!(matches!((answer, quiet), (Err(Error::NotKept), true)));
        let (answer, ..) = exchanged(two, b"\x0bone\x1c\r").await;
        assert!(matches!(answer, Err(Error::NoCommit)));
        let short = Options { reply_timeout: Duration::from_millis(100), ..two };
        for half in [b"\x0b\x06\x1c\r".as_slice(), b"\x0b\x06\x1c"] {
            assert!(matches!(exchanged(short, half).await.0, Err(Error::Timeout(_))), "half of it is none");
        }
        let (answer, quiet, told) = exchanged(Options { commit_only: true, ..two }, b"\x0b\x06\x1c\r").await;
        assert_eq!((answer.unwrap(), quiet, told), (Vec::new(), true, Vec::new()));
    }

    #[tokio::test]
    async fn a_connection_on_which_more_than_the_answer_came_is_not_used_again() {
        assert_eq!(after(b"\x0bone\x1c\r").await, (b"one".to_vec(), true));
        assert_eq!(after(b"\x0bone\x1c\r\r\n").await, (b"one".to_vec(), true), "line ends are nothing");
        assert_eq!(after(b"\x0bone\x1c\r\x0btwo\x1c\r").await, (b"one".to_vec(), false));
        assert_eq!(after(b"\x0bone\x1c\r\x0btw").await, (b"one".to_vec(), false), "the beginning of another");
    }
}
