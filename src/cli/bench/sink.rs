//! Where the routes of a measured gateway deliver: an MLLP receiver and a FHIR endpoint that take everything and count it; a slow endpoint that is not counted, and one that is not
//! there.
use crate::mllp::decoder::{Decoder, Event};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long the slow endpoint takes.
const SLOW: Duration = Duration::from_secs(1);

/// The sinks; dropping them leaves their connections to the runtime.
pub(super) struct Sinks {
    pub mllp: String,
    pub http: String,
    /// It answers each request after a second.
    pub slow: String,
    /// Nobody listens there.
    pub dead: String,
    count: Arc<AtomicU64>,
}

impl Sinks {
    /// Binds them; the address that nobody listens on is free again afterwards.
    pub async fn start() -> std::io::Result<Sinks> {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (mllp, http, slow, dead) = (bind().await?, bind().await?, bind().await?, bind().await?);
        let count = Arc::new(AtomicU64::new(0));
        let sinks = Sinks {
            mllp: mllp.local_addr()?.to_string(),
            http: http.local_addr()?.to_string(),
            slow: slow.local_addr()?.to_string(),
            dead: dead.local_addr()?.to_string(),
            count: Arc::clone(&count),
        };
        let taken = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((stream, _)) = mllp.accept().await {
                tokio::spawn(receive(stream, Arc::clone(&taken)));
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&count), Duration::ZERO));
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = slow.accept().await {
                tokio::spawn(serve(stream, Arc::default(), SLOW));
            }
        });
        Ok(sinks)
    }

    /// What has arrived.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Answers each message with AA. A connection that breaks ends; the gateway makes another.
async fn receive(mut stream: TcpStream, count: Arc<AtomicU64>) -> Option<()> {
    let mut decoder = Decoder::new(crate::mllp::decoder::Options::default());
    let (mut buffer, mut out) = (vec![0; 64 << 10], Vec::new());
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        let mut input = &buffer[..read];
        while let Some(event) = decoder.decode(&mut input).ok()? {
            let Event::Frame(frame) = event else { continue };
            let id = frame.bytes.split(|byte| *byte == b'|').nth(9).unwrap_or_default();
            let ack = [b"MSH|^~\\&|EHR|STELLA|ADMIT|STELLA|20240310||ACK|1|P|2.5.1\rMSA|AA|", id, b"\r"].concat();
            out.clear();
            crate::mllp::frame(&ack, &mut out);
            stream.write_all(&out).await.ok()?;
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Answers each transaction as a server that created all of it.
async fn serve(mut stream: TcpStream, count: Arc<AtomicU64>, pause: Duration) -> Option<()> {
    let (mut input, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let (head, length) = loop {
            if let Some(end) = memchr::memmem::find(&input, b"\r\n\r\n") {
                break (end + 4, content_length(&input[..end])?);
            }
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            input.extend_from_slice(&buffer[..read]);
        };
        while input.len() < head + length {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            input.extend_from_slice(&buffer[..read]);
        }
        let entries = memchr::memmem::find_iter(&input[head..head + length], b"\"fullUrl\"").count();
        input.drain(..head + length);
        let entry = r#"{"response":{"status":"201 Created"}}"#;
        let body = format!(
            r#"{{"resourceType":"Bundle","type":"transaction-response","entry":[{}]}}"#,
            vec![entry; entries].join(",")
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // Not even for no time: the timer would make a millisecond of it.
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        stream.write_all(answer.as_bytes()).await.ok()?;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    text.split("content-length:").nth(1)?.split("\r\n").next()?.trim().parse().ok()
}
