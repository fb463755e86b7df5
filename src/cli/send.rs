//! `handoff send`: messages from files to an MLLP receiver, plain or over TLS, one after the other, each acknowledged.
use super::files::read_messages;
use crate::hl7::{Index, SegmentId, ack::Code, split};
use crate::mllp::Release;
use crate::mllp::client::{Client, Error, Options};
use crate::mllp::connector::{self, Connector};
use anyhow::{Context as _, bail};
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_rustls::rustls::pki_types::ServerName;

/// Send HL7 v2 messages over MLLP and check each acknowledgement
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Where to
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2575")]
    to: String,
    /// Release of MLLP that the receiver speaks; 2 has commit acknowledgements
    #[arg(long, value_name = "1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    release: u8,
    #[command(flatten)]
    tls: Tls,
    /// Seconds for which a receiver that is not there yet is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Files of messages or batches; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// TLS, as a target of a route has it.
#[derive(Debug, Args)]
struct Tls {
    /// Speak TLS
    #[arg(long, requires = "ca")]
    tls: bool,
    /// The authority whose certificate the receiver must have (PEM)
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// Our certificate, with those between it and the authority (PEM), for a receiver that asks for one
    #[arg(long, value_name = "FILE", requires = "tls", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of our certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls", requires = "cert")]
    key: Option<PathBuf>,
    /// What the certificate of the receiver must name, where that is not the HOST of --to
    #[arg(long, value_name = "NAME", requires = "tls", value_parser = server_name)]
    server_name: Option<ServerName<'static>>,
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| "this is neither a host name nor an address".to_owned())
}

impl Tls {
    /// None without `--tls`.
    fn connector(&self) -> anyhow::Result<Option<Connector>> {
        // clap lets neither of --tls and --ca through without the other.
        let Some(ca) = self.ca.clone() else { return Ok(None) };
        let identity = self.cert.clone().zip(self.key.clone());
        let options = connector::Options { ca, identity, server_name: self.server_name.clone() };
        Ok(Some(Connector::new(&options)?))
    }
}

/// Connections tried for one message: the same bytes are sent again after a failure, for the receiver may or may not have them.
const ATTEMPTS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// Between lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Runs the command: exit 0 when all were accepted, 1 when some were not, 2 when the arguments or files are no good (nothing is sent then).
///
/// # Errors
/// For an address or a file that cannot be used.
pub fn run(args: SendArgs) -> anyhow::Result<ExitCode> {
    let port =
        args.to.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        bail!("--to must be HOST:PORT, such as 127.0.0.1:2575, not {:?}", args.to);
    }
    let tls = args.tls.connector()?;
    let mut files = Vec::new();
    for path in &args.files {
        let bytes = read_messages(path).with_context(|| path.display().to_string())?;
        files.push((path.display().to_string(), bytes));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let release = if args.release == 2 { Release::Two } else { Release::One };
    let until = Instant::now() + Duration::from_secs(args.wait.min(86_400));
    let options = Options { release, ..Options::default() };
    let receiver = Receiver { address: &args.to, tls: tls.as_ref(), options, until };
    let totals = runtime.block_on(send_all(&receiver, &files));
    eprintln!("{}", totals.line());
    Ok(ExitCode::from(u8::from(totals.failed + totals.unsent > 0)))
}

/// Where to, and how it is spoken to.
struct Receiver<'a> {
    address: &'a str,
    tls: Option<&'a Connector>,
    options: Options,
    /// Until then it may be still starting.
    until: Instant,
}

#[derive(Debug)]
struct Totals {
    accepted: usize,
    failed: usize,
    /// Left, once the receiver could not be reached at all.
    unsent: usize,
    bytes: usize,
    started: Instant,
    told: Instant,
}

impl Totals {
    fn line(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.accepted + self.failed) as f64 / seconds.max(0.001);
        let unsent = if self.unsent > 0 { format!("{} not sent, ", self.unsent) } else { String::new() };
        format!(
            "{} accepted, {} failed, {unsent}{} bytes in {seconds:.2} s ({rate:.0}/s)",
            self.accepted, self.failed, self.bytes
        )
    }

    /// A line now and then where a human looks on.
    fn tell(&mut self) {
        if self.told.elapsed() >= PROGRESS && std::io::stderr().is_terminal() {
            eprintln!("{}…", self.line());
            self.told = Instant::now();
        }
    }
}

async fn send_all(receiver: &Receiver<'_>, files: &[(String, Vec<u8>)]) -> Totals {
    let mut totals =
        Totals { accepted: 0, failed: 0, unsent: 0, bytes: 0, started: Instant::now(), told: Instant::now() };
    let mut connection = None;
    let mut reachable = true;
    for (name, bytes) in files {
        let mut messages = split(bytes);
        let mut number = 0;
        for span in messages.by_ref() {
            number += 1;
            if !reachable {
                totals.unsent += 1;
                continue;
            }
            let message = on_the_wire(&bytes[span]);
            match deliver(receiver, &mut connection, &message).await {
                Ok(()) => totals.accepted += 1,
                Err(problem) => {
                    totals.failed += 1;
                    reachable = !matches!(problem, Problem::Unanswered(Error::Connect { .. }));
                    eprintln!("{name}: message {number}: {problem}");
                }
            }
            totals.bytes += message.len();
            totals.tell();
        }
        for note in messages.notes() {
            eprintln!("{name}: {note}");
        }
    }
    totals
}

/// Why a message does not count as accepted.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Unanswered(Error),
    #[error("{0}")]
    Answered(String),
}

/// Segments end with CR on the wire, also where an editor has saved them with other line ends.
fn on_the_wire(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1);
    let has_returns = message.contains(&b'\r');
    for (at, &byte) in message.iter().enumerate() {
        match byte {
            b'\n' if at > 0 && message[at - 1] == b'\r' => {}
            b'\n' if !has_returns => out.push(b'\r'),
            _ => out.push(byte),
        }
    }
    if out.last() != Some(&b'\r') {
        out.push(b'\r');
    }
    out
}

/// Sends one message until somebody acknowledges it.
async fn deliver(receiver: &Receiver<'_>, connection: &mut Option<Client>, message: &[u8]) -> Result<(), Problem> {
    let mut attempt = 1;
    loop {
        match exchange(receiver, connection, message).await {
            Ok(answer) => return judge(message, &answer).map_err(Problem::Answered),
            Err(_) if Instant::now() < receiver.until => {
                sleep(PAUSE).await;
                continue;
            }
            Err(error) if attempt == ATTEMPTS_MAX => return Err(Problem::Unanswered(error)),
            Err(error) => eprintln!("{error}; trying again ({attempt} of {})", ATTEMPTS_MAX - 1),
        }
        attempt += 1;
        sleep(PAUSE).await;
    }
}

async fn exchange(receiver: &Receiver<'_>, connection: &mut Option<Client>, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut client = match connection.take() {
        Some(client) => client,
        None => Client::connect(receiver.address, receiver.tls, receiver.options).await?,
    };
    let answer = client.exchange(message).await?;
    *connection = Some(client); // Kept only after an answer: a late one must not meet the next message.
    Ok(answer)
}

/// Whether the answer accepts this very message.
fn judge(message: &[u8], answer: &[u8]) -> Result<(), String> {
    let (mut sent, mut received) = (Index::default(), Index::default());
    received.parse(answer).map_err(|error| format!("the answer is no HL7 v2 message: {error}"))?;
    let answer = received.message(answer);
    let msa = answer.find(SegmentId(*b"MSA")).ok_or("the answer has no MSA segment")?;
    let id = sent.parse(message).ok().and_then(|()| {
        let message = sent.message(message);
        message.find(SegmentId(*b"MSH")).map(|msh| message.text(msh, 10))
    });
    if id.unwrap_or_default() != answer.text(msa, 2) {
        return Err("the acknowledgement is for another message: MSA-2 differs from MSH-10".into());
    }
    match Code::parse(answer.text(msa, 1)) {
        Some(code) if code.is_positive() => Ok(()),
        Some(code) => Err(format!("{}{}", code.as_str(), reasons(answer))),
        None => Err("MSA-1 is none of AA, AE, AR, CA, CE, CR".into()),
    }
}

/// What the receiver says is wrong: MSA-3 and each ERR segment, as it came.
fn reasons(answer: crate::hl7::Message<'_>) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect::<String>()
    };
    let mut found = String::new();
    for segment in 0..answer.segment_count() {
        let said = match &answer.segment_id(segment).0 {
            b"MSA" => text(answer.text(segment, 3)),
            b"ERR" => text(answer.bytes(answer.segment_span(segment))),
            _ => continue,
        };
        if !said.is_empty() {
            found.push_str(": ");
            found.push_str(&said);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[u8] = b"MSH|^~\\&|A|B|C|D|1||ADT^A01|77|P|2.5\r";

    #[test]
    fn segments_end_with_a_return() {
        for file in [&b"MSH|a\nPID|1\n"[..], b"MSH|a\r\nPID|1\r\n", b"MSH|a\rPID|1"] {
            assert_eq!(on_the_wire(file), b"MSH|a\rPID|1\r");
        }
        assert_eq!(on_the_wire(b"MSH|a\rNTE|two\nlines\r"), b"MSH|a\rNTE|two\nlines\r");
    }

    #[test]
    fn only_a_positive_acknowledgement_of_this_message_counts() {
        let judge = |answer: &str| judge(SENT, answer.as_bytes());
        let header = "MSH|^~\\&|C|D|A|B|1||ACK^A01^ACK|9|P|2.5\r";
        assert_eq!(judge(&format!("{header}MSA|AA|77\r")), Ok(()));
        assert_eq!(judge(&format!("{header}MSA|CA|77\r")), Ok(()));
        assert!(judge(&format!("{header}MSA|AA|78\r")).unwrap_err().contains("another message"));
        assert_eq!(judge(&format!("{header}MSA|AE|77|no\rERR||PID^1^3|101\r")), Err("AE: no: ERR||PID^1^3|101".into()));
        assert!(judge(header).unwrap_err().contains("no MSA"));
        assert!(judge("hello").unwrap_err().contains("no HL7"));
        assert!(judge(&format!("{header}MSA|OK|77\r")).is_err());
    }
}
