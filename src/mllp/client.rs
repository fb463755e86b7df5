//! The sending side of MLLP: one message at a time, each waits for what the peer answers.
use super::decoder::{Decoder, Event, Framing, Options as DecoderOptions};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    stream: TcpStream,
    options: Options,
    decoder: Decoder,
    out: Vec<u8>,
}

impl Client {
    /// Connects to `address` (`host:port`).
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(address: &str, options: Options) -> Result<Client, Error> {
        let refused = |source| Error::Connect { address: address.to_owned(), source };
        let stream = match timeout(options.connect_timeout, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(refused)?,
            Err(_) => {
                return Err(refused(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer within {} s", options.connect_timeout.as_secs_f32()),
                )));
            }
        };
        stream.set_nodelay(true)?;
        // What comes back is read leniently: an acknowledgement is not refused for its framing.
        let decoder = Decoder::new(DecoderOptions {
            framing: Framing::Lenient,
            frame_bytes_max: options.reply_bytes_max,
            ..Default::default()
        });
        Ok(Client { stream, options, decoder, out: Vec::new() })
    }

    /// Whether the peer has neither said anything that nobody asked for, nor closed.
    pub fn is_quiet(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        self.decoder.partial_bytes().is_none()
            && matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends one message and returns the peer's next one.
    ///
    /// # Errors
    /// After any [`Error`] the connection must not be used again: a late answer would be taken for the next one's.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.out.clear();
        super::frame(message, &mut self.out);
        match timeout(self.options.reply_timeout, Self::round(&mut self.stream, &mut self.decoder, &self.out)).await {
            Ok(reply) => reply,
            Err(_) => match self.decoder.finish() {
                Some(frame) => Ok(frame.bytes),
                None => Err(Error::Timeout(self.options.reply_timeout)),
            },
        }
    }

    async fn round(stream: &mut TcpStream, decoder: &mut Decoder, out: &[u8]) -> Result<Vec<u8>, Error> {
        stream.write_all(out).await?;
        let mut buffer = vec![0; 8 << 10];
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return decoder.finish().map(|frame| frame.bytes).ok_or(Error::Closed);
            }
            let mut input = &buffer[..count];
            while let Some(event) = decoder.decode(&mut input)? {
                if let Event::Frame(frame) = event {
                    return Ok(frame.bytes);
                }
            }
        }
    }
}
