//! One connection: frames in, replies out in the same order.
//!
//! The reading half hands each frame to the handler as soon as it is whole and goes on reading; the writing half waits for the replies in order. So many
//! frames of one peer can share one sync, while their acknowledgements never overtake each other. A peer that has closed its sending side still gets them.
//!
//! In release 2 a frame that is kept is answered with a commit acknowledgement before what its message is answered with, and one that is not kept with a negative one. What the peer
//! says of our acknowledgement is heeded: a negative one has it sent again, a few times. That it says nothing holds nothing up, as nothing can be lost by it.
//! No buffer stands for an idle connection: bytes are read onto the stack once they are there.
use super::decoder::{self, Decoder, Event, Frame, Violation};
use super::{ACK, NAK, Release};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 16 << 10;
/// Replies are written once this many bytes are ready, or nothing more is.
const WRITE_BYTES: usize = 16 << 10;

/// How often an acknowledgement is sent that the peer says it has not kept.
const REPEATS_MAX: usize = 3;

/// The limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// What is spoken.
    pub release: Release,
    /// The limits of a frame.
    pub decoder: decoder::Options,
    /// From the start of a frame to its end.
    pub frame_timeout: Duration,
    /// Between frames.
    pub idle_timeout: Duration,
    /// How long the peer may take to accept an acknowledgement.
    pub write_timeout: Duration,
    /// Silence that ends a lenient frame.
    pub end_timeout: Duration,
    /// How long a connection stays open, unread, after a frame that was not kept; keeps a peer from reconnecting in a tight loop.
    pub hold: Duration,
    /// Before a negative commit acknowledgement; keeps a peer from sending again in a tight loop.
    pub refusal_pause: Duration,
    /// Frames that may be taken before the first of them is answered.
    pub pipeline_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            release: Release::default(),
            decoder: decoder::Options::default(),
            frame_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(15 * 60),
            write_timeout: Duration::from_secs(30),
            end_timeout: Duration::from_millis(500),
            hold: Duration::from_secs(30),
            refusal_pause: Duration::from_millis(500),
            pipeline_max: 64,
        }
    }
}

/// What becomes of a frame.
pub enum Reply {
    /// It is kept; send this message back.
    Message(Vec<u8>),
    /// It is kept; say nothing: the sender asked for no acknowledgement.
    Nothing,
    /// It is kept; what is said of it comes later.
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
    /// It could not be kept. In release 1: send this message back, or where there is none no acknowledgement, no further reading.
    NotKept(Option<Vec<u8>>),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The peer closed between frames.
    #[error("closed by the peer")]
    Closed,
    /// The peer closed inside a frame; it was discarded and not acknowledged.
    #[error("closed by the peer inside a frame, {bytes} bytes discarded without acknowledgement")]
    Torn {
        /// Bytes of the partial frame.
        bytes: usize,
    },
    /// Nothing came for too long.
    #[error("idle for too long")]
    Idle,
    /// A frame took too long.
    #[error("frame not finished in time, {bytes} bytes discarded without acknowledgement")]
    Slow {
        /// Bytes of the partial frame.
        bytes: usize,
    },
    /// The bytes are not MLLP.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// The handler said [`Reply::NotKept`], with nothing to send back.
    #[error("stopped: the message could not be stored")]
    Stopped,
    /// The gateway is shutting down.
    #[error("shutting down")]
    Shutdown,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Drives one connection until it ends. `handler` takes a frame and returns, when there is room for it, the reply to come; `shutdown` turning true stops
/// the reading, and what has been taken is still answered.
pub async fn run<S, H, A, R>(stream: S, options: &Options, handler: &H, mut shutdown: watch::Receiver<bool>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Frame) -> A,
    A: Future<Output = R>,
    R: Future<Output = Reply>,
{
    let (reading, mut writing) = tokio::io::split(stream);
    let (queue, pending) = mpsc::channel(options.pipeline_max.max(1));
    let mut reader = Reader {
        stream: reading,
        decoder: Decoder::new(options.decoder),
        options,
        events: VecDeque::new(),
        began: None,
    };
    let read = async {
        let end = reader.run(handler, &queue, shutdown.clone()).await;
        drop(queue);
        end
    };
    match tokio::join!(read, write(&mut writing, options, pending)) {
        (end, Ok(())) => end,
        (_, Err(End::Stopped)) => {
            // Both halves live until here: the peer sees a connection that does not answer, not one that invites to try again at once.
            tokio::select! {
                () = sleep(options.hold) => {}
                _ = shutdown.wait_for(|&stop| stop) => {}
            }
            End::Stopped
        }
        (_, Err(end)) => end,
    }
}

/// What the writing half is to do.
enum Errand<R> {
    /// To answer a frame.
    Reply(R),
    /// To send the acknowledgement before once more.
    Repeat,
}

/// What a block says of content that we sent (release 2); none for content of the peer.
fn commitment(frame: &Frame, release: Release) -> Option<bool> {
    match (release, frame.bytes.as_slice()) {
        (Release::Two, [ACK]) => Some(true),
        (Release::Two, [NAK]) => Some(false),
        _ => None,
    }
}

struct Reader<'a, S> {
    stream: S,
    decoder: Decoder,
    options: &'a Options,
    events: VecDeque<Event>,
    /// When the frame began that is being received.
    began: Option<Instant>,
}

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    async fn run<H, A, R>(
        &mut self,
        handler: &H,
        queue: &mpsc::Sender<Errand<R>>,
        mut shutdown: watch::Receiver<bool>,
    ) -> End
    where
        H: Fn(Frame) -> A,
        A: Future<Output = R>,
        R: Future<Output = Reply>,
    {
        loop {
            let outcome = tokio::select! {
                _ = shutdown.wait_for(|&stop| stop) => Err(End::Shutdown),
                () = queue.closed() => Err(End::Stopped),
                outcome = self.receive() => outcome,
            };
            while let Some(event) = self.events.pop_front() {
                match event {
                    Event::Frame(frame) => {
                        if frame.odd_bytes > 0 {
                            tracing::warn!(
                                count = frame.odd_bytes,
                                "framing bytes inside a message were taken as data"
                            );
                        }
                        let errand = match commitment(&frame, self.options.release) {
                            None => Errand::Reply(handler(frame).await),
                            Some(true) => continue,
                            Some(false) => Errand::Repeat,
                        };
                        if queue.send(errand).await.is_err() {
                            return End::Stopped;
                        }
                    }
                    Event::Restarted { dropped_bytes } => tracing::warn!(
                        dropped_bytes,
                        "the peer began a new frame inside a frame; the partial one was dropped, not acknowledged"
                    ),
                }
            }
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// Reads once and decodes; a frame that silence or the end of the stream completes counts too.
    async fn receive(&mut self) -> Result<(), End> {
        let partial = self.decoder.partial_bytes();
        let now = Instant::now();
        let deadline = match partial {
            None => {
                self.began = None;
                now + self.options.idle_timeout
            }
            Some(_) if self.decoder.may_finish() => now + self.options.end_timeout,
            Some(_) => *self.began.get_or_insert(now) + self.options.frame_timeout,
        };
        match timeout_at(deadline, read(&mut self.stream, &mut self.decoder, &mut self.events)).await {
            Ok(Ok(0)) => {
                self.finish();
                Err(self.decoder.partial_bytes().map_or(End::Closed, |bytes| End::Torn { bytes }))
            }
            Ok(Ok(_)) => {
                // A frame that ended here and another that began share no clock.
                if self.events.iter().any(|event| matches!(event, Event::Frame(_))) {
                    self.began = None;
                }
                Ok(())
            }
            Ok(Err(end)) => Err(end),
            Err(_) if self.finish() => Ok(()),
            Err(_) => Err(partial.map_or(End::Idle, |bytes| End::Slow { bytes })),
        }
    }

    fn finish(&mut self) -> bool {
        let frame = self.decoder.finish();
        let finished = frame.is_some();
        self.events.extend(frame.map(Event::Frame));
        finished
    }
}

/// Waits for bytes and decodes them where they lie; the number of bytes read, 0 at the end of the stream.
async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    decoder: &mut Decoder,
    events: &mut VecDeque<Event>,
) -> Result<usize, End> {
    poll_fn(|context| {
        let mut bytes = [const { MaybeUninit::<u8>::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(End::Io(error))),
            Poll::Ready(Ok(())) => {
                let mut input = buffer.filled();
                let count = input.len();
                loop {
                    match decoder.decode(&mut input) {
                        Ok(Some(event)) => events.push_back(event),
                        Ok(None) => return Poll::Ready(Ok(count)),
                        Err(violation) => return Poll::Ready(Err(End::Violation(violation))),
                    }
                }
            }
        }
    })
    .await
}

/// Writes the replies in the order of their frames, several at a time when they are ready together.
async fn write<S, R>(stream: &mut S, options: &Options, mut pending: mpsc::Receiver<Errand<R>>) -> Result<(), End>
where
    S: AsyncWrite + Unpin,
    R: Future<Output = Reply>,
{
    let mut writer = Writer { stream, options, out: Vec::new(), last: Vec::new(), repeats: 0 };
    loop {
        let next = match pending.try_recv() {
            Ok(errand) => Some(errand),
            Err(_) => {
                writer.flush().await?;
                pending.recv().await
            }
        };
        match next {
            None => break,
            Some(Errand::Repeat) => writer.repeat(),
            Some(Errand::Reply(reply)) => {
                let reply = writer.wait_for(reply).await?;
                writer.reply(reply).await?;
            }
        }
        if writer.out.len() >= WRITE_BYTES {
            writer.flush().await?;
        }
    }
    writer.flush().await?;
    let _ = timeout(options.write_timeout, stream.shutdown()).await; // The peer may be gone; everything is written.
    Ok(())
}

struct Writer<'a, S> {
    stream: &'a mut S,
    options: &'a Options,
    out: Vec<u8>,
    /// The last message sent (release 2), for a peer that has not kept it, and how often it was sent again.
    last: Vec<u8>,
    repeats: usize,
}

impl<S: AsyncWrite + Unpin> Writer<'_, S> {
    /// A reply that is not there yet must not keep back those that are.
    async fn wait_for(&mut self, reply: impl Future<Output = Reply>) -> Result<Reply, End> {
        let mut reply = std::pin::pin!(reply);
        match poll_fn(|context| Poll::Ready(reply.as_mut().poll(context))).await {
            Poll::Ready(reply) => Ok(reply),
            Poll::Pending => {
                self.flush().await?;
                Ok(reply.await)
            }
        }
    }

    async fn reply(&mut self, mut reply: Reply) -> Result<(), End> {
        let release = self.options.release;
        if release == Release::Two {
            if let Reply::NotKept(_) = reply {
                self.flush().await?;
                sleep(self.options.refusal_pause).await;
                super::frame(&[NAK], &mut self.out);
                return Ok(());
            }
            super::frame(&[ACK], &mut self.out);
        }
        while let Reply::Later(later) = reply {
            reply = self.wait_for(later).await?;
        }
        match reply {
            Reply::Message(message) | Reply::NotKept(Some(message)) => {
                super::frame(&message, &mut self.out);
                if release == Release::Two {
                    (self.last, self.repeats) = (message, 0);
                }
                Ok(())
            }
            Reply::Nothing | Reply::Later(_) => Ok(()),
            Reply::NotKept(None) => {
                self.flush().await?;
                Err(End::Stopped)
            }
        }
    }

    fn repeat(&mut self) {
        if self.last.is_empty() || self.repeats == REPEATS_MAX {
            return tracing::warn!("the peer does not keep an acknowledgement; it is not sent again");
        }
        self.repeats += 1;
        super::frame(&self.last, &mut self.out);
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await // TLS may have kept some of it back.
        };
        match timeout(self.options.write_timeout, written).await {
            Ok(written) => written?,
            Err(_) => {
                return Err(End::Io(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer does not read its acknowledgements",
                )));
            }
        }
        self.out.clear();
        self.out.shrink_to(WRITE_BYTES);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, duplex};

    async fn echo(frame: Frame) -> std::future::Ready<Reply> {
        std::future::ready(match frame.bytes.as_slice() {
            b"stop" => Reply::NotKept(None),
            b"quiet" => Reply::Nothing,
            _ => Reply::Message(frame.bytes),
        })
    }

    fn options() -> Options {
        Options {
            decoder: decoder::Options { framing: decoder::Framing::Lenient, ..Default::default() },
            frame_timeout: Duration::from_millis(80),
            idle_timeout: Duration::from_millis(120),
            end_timeout: Duration::from_millis(40),
            hold: Duration::from_millis(100),
            ..Options::default()
        }
    }

    async fn talk(input: &[u8], close: bool) -> (Vec<u8>, End) {
        talk_by(&options(), input, close).await
    }

    async fn talk_by(options: &Options, input: &[u8], close: bool) -> (Vec<u8>, End) {
        let (mut peer, ours) = duplex(1 << 16);
        let (_keep, shutdown) = watch::channel(false);
        let peer = async {
            peer.write_all(input).await.unwrap();
            if close {
                peer.shutdown().await.unwrap();
            }
            let mut out = Vec::new();
            peer.read_to_end(&mut out).await.unwrap();
            out
        };
        tokio::join!(peer, run(ours, options, &echo, shutdown))
    }

    #[tokio::test]
    async fn pipelined_frames_are_answered_in_order_after_a_half_close() {
        let (out, end) = talk(b"\x0ba\x1c\r\x0bquiet\x1c\r\x0bb\x1c\r\x0bc\x1c\r", true).await;
        assert_eq!(out, b"\x0ba\x1c\r\x0bb\x1c\r\x0bc\x1c\r");
        assert!(matches!(end, End::Closed), "{end}");
    }

    #[tokio::test]
    async fn a_torn_frame_is_not_answered() {
        let (out, end) = talk(b"\x0ba\x1c\r\x0bhalf", true).await;
        assert_eq!(out, b"\x0ba\x1c\r");
        assert!(matches!(end, End::Torn { bytes: 4 }), "{end}");
    }

    #[tokio::test]
    async fn silence_ends_a_lenient_frame_a_slow_frame_and_an_idle_connection() {
        let before = Instant::now();
        let (out, end) = talk(b"\x0ba\x1c", false).await;
        assert_eq!(out, b"\x0ba\x1c\r");
        assert!(matches!(end, End::Idle), "{end}");
        assert!(before.elapsed() >= Duration::from_millis(160));
        let (out, end) = talk(b"\x0bhalf", false).await;
        assert!(out.is_empty() && matches!(end, End::Slow { bytes: 4 }), "{end}");
    }

    #[tokio::test]
    async fn in_release_2_what_is_kept_and_what_is_not_is_said_before_anything_else() {
        let options = Options { release: Release::Two, refusal_pause: Duration::from_millis(1), ..options() };
        let (out, end) = talk_by(&options, b"\x0ba\x1c\r\x0bstop\x1c\r\x0bquiet\x1c\r", true).await;
        assert_eq!(out, b"\x0b\x06\x1c\r\x0ba\x1c\r\x0b\x15\x1c\r\x0b\x06\x1c\r");
        assert!(matches!(end, End::Closed), "{end}");
        let (out, _) = talk_by(&options, b"\x0ba\x1c\r\x0b\x06\x1c\r", true).await;
        assert_eq!(out, b"\x0b\x06\x1c\r\x0ba\x1c\r", "what the peer says of it is no message");
        let naks = [b"\x0ba\x1c\r".as_slice(), &b"\x0b\x15\x1c\r".repeat(REPEATS_MAX + 3)].concat();
        let (out, _) = talk_by(&options, &naks, true).await;
        assert_eq!(out, [b"\x0b\x06\x1c\r".as_slice(), &b"\x0ba\x1c\r".repeat(REPEATS_MAX + 1)].concat());
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_not_answered_and_the_connection_is_held() {
        let before = Instant::now();
        let (out, end) = talk(b"\x0ba\x1c\r\x0bstop\x1c\r\x0bb\x1c\r", false).await;
        assert_eq!(out, b"\x0ba\x1c\r");
        assert!(matches!(end, End::Stopped), "{end}");
        assert!(before.elapsed() >= Duration::from_millis(100));
    }
}
