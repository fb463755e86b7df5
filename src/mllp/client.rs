//! The sending side of MLLP: one message at a time, each waits for what the peer answers.
use super::connector::Connector;
use super::decoder::{Decoder, Event, Framing, Options as DecoderOptions};
use std::io;
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
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connect_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(5),
            reply_bytes_max: 1 << 20,
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
    /// More came than the answer.
    surplus: bool,
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
        let opened = async {
            let stream = TcpStream::connect(address).await?;
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
        Ok(Client { stream, options, decoder, surplus: false, out: Vec::new() })
    }

    /// Whether the peer has neither said anything that nobody asked for, nor closed.
    pub fn is_quiet(&mut self) -> bool {
        let mut one = [0];
        let mut buffer = ReadBuf::new(&mut one);
        // Pending is what is wanted; whoever reads next asks to be woken again.
        let read = Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        read.is_pending() && !self.surplus && self.decoder.partial_bytes().is_none()
    }

    /// Sends one message and returns the peer's next one.
    ///
    /// # Errors
    /// After any [`Error`] the connection must not be used again: a late answer would be taken for the next one's.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.out.clear();
        super::frame(message, &mut self.out);
        match timeout(self.options.reply_timeout, self.round()).await {
            Ok(reply) => reply,
            Err(_) => match self.decoder.finish() {
                Some(frame) => Ok(frame.bytes),
                None => Err(Error::Timeout(self.options.reply_timeout)),
            },
        }
    }

    async fn round(&mut self) -> Result<Vec<u8>, Error> {
        self.stream.write_all(&self.out).await?;
        // TLS may have kept some of it back.
        self.stream.flush().await?;
        let mut buffer = vec![0; 8 << 10];
        loop {
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return self.decoder.finish().map(|frame| frame.bytes).ok_or(Error::Closed);
            }
            let (mut input, mut answer) = (&buffer[..count], None);
            // To the end of what was read: a second answer in the same packet would be taken for the next message's.
            loop {
                match self.decoder.decode(&mut input) {
                    Ok(Some(Event::Frame(frame))) if answer.is_none() => answer = Some(frame.bytes),
                    Ok(Some(Event::Frame(_))) => self.surplus = true,
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(violation) if answer.is_none() => return Err(violation.into()),
                    Err(_) => {
                        self.surplus = true;
                        break;
                    }
                }
            }
            if let Some(answer) = answer {
                return Ok(answer);
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
    };

    /// The first answer to a message, and whether the connection may be used again.
    async fn after(answers: &'static [u8]) -> (Vec<u8>, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::connect(&listener.local_addr().unwrap().to_string(), None, QUICK).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let answering = tokio::spawn(async move {
            let mut message = [0; 4];
            peer.read_exact(&mut message).await.unwrap();
            peer.write_all(answers).await.unwrap();
            peer
        });
        let answer = client.exchange(b"M").await.unwrap();
        let _peer = answering.await.unwrap();
        (answer, client.is_quiet())
    }

    #[tokio::test]
    async fn a_connection_on_which_more_than_the_answer_came_is_not_used_again() {
        assert_eq!(after(b"\x0bone\x1c\r").await, (b"one".to_vec(), true));
        assert_eq!(after(b"\x0bone\x1c\r\r\n").await, (b"one".to_vec(), true), "line ends are nothing");
        assert_eq!(after(b"\x0bone\x1c\r\x0btwo\x1c\r").await, (b"one".to_vec(), false));
        assert_eq!(after(b"\x0bone\x1c\r\x0btw").await, (b"one".to_vec(), false), "the beginning of another");
    }
}
