//! The sending side of MLLP: one message at a time, each waits for what the peer answers.
//!
//! In release 2 the peer says first that it has the message in safe storage, or that it has not. Its own message after that is answered in the same way: it was read, and
//! whoever asked for it has it.
use super::connector::Connector;
use super::decoder::{Decoder, Event, Framing, Options as DecoderOptions, Violation};
use super::{ACK, NAK, Release};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

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
    Framing(#[from] Violation),
}

/// A connection to a peer that receives.
#[derive(Debug)]
pub struct Client {
    stream: Box<dyn Stream>,
    options: Options,
    decoder: Decoder,
    /// What has come and was not asked for yet; all of one read at most.
    blocks: VecDeque<Vec<u8>>,
    /// What came last is not MLLP, or it could not be told that its answer was read.
    broken: bool,
    /// Whether it has said that it has kept a message, or has not; none before it has said anything.
    commits: Option<bool>,
    out: Vec<u8>,
}

/// Looks at what came while nobody waited for it, a buffer each; one that says more is connected to anew.
const READS_MAX: usize = 16;
/// Answers of its application before it says that it has kept the message, where only that is waited for.
const PASSED_MAX: usize = 1000;
const BUFFER_BYTES: usize = 8 << 10;

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
        Ok(Client::over(stream, options))
    }

    fn over(stream: Box<dyn Stream>, options: Options) -> Client {
        // What comes back is read leniently: an acknowledgement is not refused for its framing.
        let decoder = Decoder::new(DecoderOptions {
            framing: Framing::Lenient,
            frame_bytes_max: options.reply_bytes_max,
            ..Default::default()
        });
        Client { stream, options, decoder, blocks: VecDeque::new(), broken: false, commits: None, out: Vec::new() }
    }

    /// Whether the peer has neither said anything that nobody asked for, nor closed. Where a commit acknowledgement is all that is waited for its application may have answered.
    pub fn is_quiet(&mut self) -> bool {
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..READS_MAX {
            let mut read = ReadBuf::new(&mut buffer);
            // Pending is what is wanted; whoever reads next asks to be woken again.
            match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut read) {
                Poll::Pending => {
                    let expected = |block: &Vec<u8>| self.options.commit_only && !is_commit(block);
                    return !self.broken && self.blocks.iter().all(expected) && self.decoder.partial_bytes().is_none();
                }
                Poll::Ready(Ok(())) if self.options.commit_only && !read.filled().is_empty() => {
                    self.broken |= self.decode(read.filled()).is_err();
                }
                Poll::Ready(_) => return false,
            }
        }
        false
    }

    /// Sends one message and returns the peer's next one; nothing where a commit acknowledgement is all that is waited for.
    ///
    /// # Errors
    /// After any [`Error`] the connection must not be used again: a late answer would be taken for the next one's.
    pub async fn exchange(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        if self.broken {
            return Err(Error::Closed);
        }
        let until = Instant::now() + self.options.reply_timeout;
        self.out.clear();
        if self.options.commit_only {
            // First, as it may wait for that before it reads on.
            let answered = self.pass_over();
            self.blocks.clear();
            (0..answered).for_each(|_| super::frame(&[ACK], &mut self.out));
        }
        super::frame(message, &mut self.out);
        let answer = match timeout_at(until, self.round()).await {
            Ok(reply) => reply,
            Err(_) => match self.decoder.finish() {
                // A frame without its end would be a commit acknowledgement of nothing.
                Some(frame) if self.options.release == Release::One => Ok(frame.bytes),
                _ => Err(Error::Timeout(self.options.reply_timeout)),
            },
        };
        match answer {
            Ok(answer) if self.options.release == Release::Two => {
                // What has come counts, whether the peer hears of that or not.
                let read = if self.options.commit_only { self.pass_over() } else { 1 };
                self.broken |= !matches!(timeout_at(until, self.commit(read)).await, Ok(Ok(())));
                Ok(answer)
            }
            Err(Error::Timeout(_) | Error::Closed) if self.commits == Some(false) => Err(Error::NoCommit),
            answer => answer,
        }
    }

    /// Writes the message and reads the answer to it.
    async fn round(&mut self) -> Result<Vec<u8>, Error> {
        self.write().await?;
        if self.options.release == Release::One {
            return self.block().await;
        }
        let mut passed = 0;
        loop {
            match self.block().await?.as_slice() {
                [ACK] => break,
                [NAK] => return Err(Error::NotKept),
                // The application's answer to an earlier message.
                _ if self.options.commit_only && passed < PASSED_MAX => passed += 1,
                _ => return Err(Error::NoCommit),
            }
            self.commits.get_or_insert(false);
            self.broken |= self.commit(1).await.is_err();
        }
        self.commits = Some(true);
        if self.options.commit_only { Ok(Vec::new()) } else { self.block().await }
    }

    /// Says that so many blocks of the peer were read.
    async fn commit(&mut self, blocks: usize) -> Result<(), Error> {
        self.out.clear();
        (0..blocks).for_each(|_| super::frame(&[ACK], &mut self.out));
        if blocks > 0 { self.write().await } else { Ok(()) }
    }

    /// Takes out what is no commit acknowledgement; how much that was.
    fn pass_over(&mut self) -> usize {
        let before = self.blocks.len();
        self.blocks.retain(|block| is_commit(block));
        before - self.blocks.len()
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
        if self.broken {
            return Err(Error::Closed);
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                // Without its end it is no commit acknowledgement, here neither.
                let last = self.decoder.finish().filter(|_| self.options.release == Release::One);
                return last.map(|frame| frame.bytes).ok_or(Error::Closed);
            }
            let decoded = self.decode(&buffer[..count]);
            if let Some(block) = self.blocks.pop_front() {
                self.broken |= decoded.is_err();
                return Ok(block);
            }
            decoded?;
        }
    }

    /// To the end of what was read: a second answer in the same packet would be taken for the next message's.
    fn decode(&mut self, mut input: &[u8]) -> Result<(), Violation> {
        while let Some(event) = self.decoder.decode(&mut input)? {
            if let Event::Frame(frame) = event {
                self.blocks.push_back(frame.bytes);
            }
        }
        Ok(())
    }
}

/// Whether a block says that a message was kept, or was not.
fn is_commit(block: &[u8]) -> bool {
    matches!(block, [ACK | NAK])
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
        let commit_only = Options { commit_only: true, ..two };
        let mut client = scripted(commit_only, b"\x0b\x06\x1c", usize::MAX);
        assert!(matches!(client.exchange(b"M").await, Err(Error::Closed)), "at the end of the stream neither");
        let (answer, quiet, told) = exchanged(Options { commit_only: true, ..two }, b"\x0b\x06\x1c\r").await;
        assert_eq!((answer.unwrap(), quiet, told), (Vec::new(), true, Vec::new()));
    }

    /// A peer that says this and closes, and takes so many bytes.
    #[derive(Debug)]
    struct Scripted {
        says: &'static [u8],
        takes: usize,
    }

    impl AsyncRead for Scripted {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buffer.put_slice(std::mem::take(&mut self.says));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Scripted {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let Some(takes) = self.takes.checked_sub(bytes.len()) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            self.takes = takes;
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn scripted(options: Options, says: &'static [u8], takes: usize) -> Client {
        Client::over(Box::new(Scripted { says, takes }), options)
    }

    #[tokio::test]
    async fn an_answer_counts_though_the_peer_cannot_be_told_so() {
        let two = Options { release: Release::Two, ..QUICK };
        let mut client = scripted(two, b"\x0b\x06\x1c\r\x0bone\x1c\r", b"\x0bM\x1c\r".len());
        assert_eq!(client.exchange(b"M").await.unwrap(), b"one");
        assert!(!client.is_quiet());
        assert!(matches!(client.exchange(b"M").await, Err(Error::Closed)), "the connection is not used again");
    }

    #[tokio::test]
    async fn answers_of_the_application_are_passed_over_where_only_commits_are_waited_for() {
        let options = Options { release: Release::Two, commit_only: true, ..QUICK };
        for answers in [b"\x0bone\x1c\r\x0b\x06\x1c\r".as_slice(), b"\x0b\x06\x1c\r\x0bone\x1c\r"] {
            let (answer, quiet, told) = exchanged(options, answers).await;
            assert_eq!((answer.unwrap(), quiet, told), (Vec::new(), true, b"\x0b\x06\x1c\r".to_vec()));
        }
        let (answer, quiet, told) = exchanged(options, b"\x0bone\x1c\r\x0b\x15\x1c\r").await;
        assert!(matches!((answer, quiet), (Err(Error::NotKept), true)));
        assert_eq!(told, b"\x0b\x06\x1c\r");
        let (answer, quiet, _) = exchanged(options, b"\x0b\x06\x1c\r\x0b\x06\x1c\r").await;
        assert!(answer.is_ok() && !quiet, "a second one would be taken for the next message's");
        let short = Options { reply_timeout: Duration::from_millis(100), ..options };
        assert!(matches!(exchanged(short, b"\x0bone\x1c\r").await.0, Err(Error::NoCommit)), "release 1");
    }

    #[tokio::test]
    async fn answers_of_the_application_between_two_messages_are_answered_before_the_next() {
        let options = Options { release: Release::Two, commit_only: true, ..QUICK };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::connect(&listener.local_addr().unwrap().to_string(), None, options).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let (told, tell) = tokio::sync::oneshot::channel();
        let answering = tokio::spawn(async move {
            let mut message = [0; 4];
            peer.read_exact(&mut message).await.unwrap();
            peer.write_all(b"\x0b\x06\x1c\r").await.unwrap();
            tell.await.unwrap();
            peer.write_all(b"\x0bone\x1c\r").await.unwrap();
            let mut next = [0; 8];
            peer.read_exact(&mut next).await.unwrap();
            peer.write_all(b"\x0b\x06\x1c\r").await.unwrap();
            (next, peer)
        });
        client.exchange(b"M").await.unwrap();
        assert!(client.is_quiet());
        told.send(()).unwrap();
        // The first look that finds it keeps it.
        while client.blocks.is_empty() {
            client.is_quiet();
            tokio::task::yield_now().await;
        }
        assert!(client.is_quiet());
        client.exchange(b"N").await.unwrap();
        assert_eq!(&answering.await.unwrap().0, b"\x0b\x06\x1c\r\x0bN\x1c\r");
        assert!(!client.broken && client.blocks.is_empty());
    }

    #[tokio::test]
    async fn a_connection_on_which_more_than_the_answer_came_is_not_used_again() {
        assert_eq!(after(b"\x0bone\x1c\r").await, (b"one".to_vec(), true));
        assert_eq!(after(b"\x0bone\x1c\r\r\n").await, (b"one".to_vec(), true), "line ends are nothing");
        assert_eq!(after(b"\x0bone\x1c\r\x0btwo\x1c\r").await, (b"one".to_vec(), false));
        assert_eq!(after(b"\x0bone\x1c\r\x0btw").await, (b"one".to_vec(), false), "the beginning of another");
    }
}
