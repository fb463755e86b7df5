//! A gateway in its own process and a peer that speaks MLLP by hand.
use handoff::journal::{Directory, Item, Journal, Limits, Options, State};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A synthetic message about `patient-<id>`.
pub fn message(id: &str, event: &str) -> String {
    format!(
        "MSH|^~\\&|HIS|HARBOR|LAB|CITY|20260102030405+0000||ADT^{event}^ADT_A01|{id}|P|2.5.1\rEVN|{event}|20260102030405+0000\rPID|1||patient-{id}^^^HARBOR^MR||CANARY^Name||19800101|F\rPV1|1|I\r"
    )
}

pub fn handoff() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handoff"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Waits until `found` gives something.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lines of a file that are whole.
pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}

/// The raw messages in the journal of a gateway that is not running.
pub fn journal(data: &Path) -> Vec<String> {
    let journal = Journal::open(&Arc::new(Directory::open(data).unwrap()), Options::default()).unwrap();
    let (mut reader, mut next, mut found) = (journal.reader(), 1, Vec::new());
    loop {
        let items = reader.read(next, Limits::default()).unwrap();
        let Some(last) = items.last() else { return found };
        next = last.next();
        for item in items {
            let Item::Record(_, record) = item else { panic!("damaged: {item:?}") };
            found.push(String::from_utf8(record.raw).unwrap());
        }
    }
}

/// The numbers that a reader of a gateway that is not running gave up.
pub fn dead_letters(data: &Path, reader: &str) -> Vec<u64> {
    let state = State::open(&Directory::open(data).unwrap()).unwrap();
    state.dead_letters(reader).unwrap().iter().map(|letter| letter.seq).collect()
}

/// A running gateway in a folder of its own.
pub struct Gateway {
    folder: Arc<tempfile::TempDir>,
    child: Option<Child>,
    port: u16,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts one; a listener is added where the configuration has none.
    pub fn start(configuration: &str) -> Gateway {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let listener = if configuration.contains("[[listener]]") {
            ""
        } else {
            "[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\n"
        };
        std::fs::write(folder.path().join("handoff.toml"), format!("{configuration}\n{listener}")).unwrap();
        Gateway::run(folder, handoff())
    }

    /// Starts the gateway of a folder; `command` is the program, without its arguments.
    fn run(folder: Arc<tempfile::TempDir>, command: Command) -> Gateway {
        let mut gateway = Gateway { folder, child: None, port: 0, log: Arc::default(), reader: None };
        let mut child = gateway.with_arguments(command).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        gateway.child = Some(child);
        let log = Arc::clone(&gateway.log);
        gateway.reader = Some(std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        }));
        let log = Arc::clone(&gateway.log);
        gateway.port = wait_for("the line that says where it listens", || {
            let log = log.lock().unwrap();
            let rest = log.split("listening ").nth(1)?.split_once(" 127.0.0.1:")?.1;
            rest.split_once(' ')?.0.parse().ok()
        });
        gateway
    }

    fn with_arguments(&self, mut command: Command) -> Command {
        command.args(["serve", "--config"]).arg(self.folder.path().join("handoff.toml"));
        command
    }

    /// The command that starts it once more.
    pub fn command(&self) -> Command {
        self.with_arguments(handoff())
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn data(&self) -> Data {
        Data { path: self.folder.path().join("handoff-data"), _folder: Arc::clone(&self.folder) }
    }

    pub fn bundles_path(&self) -> Data {
        Data { path: self.folder.path().join("handoff-data/bundles.ndjson"), _folder: Arc::clone(&self.folder) }
    }

    pub fn wait_for_bundles(&self, count: usize) -> Vec<String> {
        let path = self.bundles_path();
        wait_for("bundles", || Some(lines(&path)).filter(|lines| lines.len() >= count))
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes another configuration and asks it to take that on.
    pub fn reload(&self, configuration: &str) {
        std::fs::write(self.folder.path().join("handoff.toml"), configuration).unwrap();
        self.hang_up();
    }

    pub fn hang_up(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    pub fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }

    /// What the process holds in memory (resident set), in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    pub fn terminate(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Stops it as a service manager does, and gives its log.
    pub fn stop(mut self) -> String {
        self.terminate();
        let status = self.child.take().unwrap().wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let log = self.log();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.take().unwrap().wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.log())
    }

    /// Kills it (SIGKILL) and starts it again in the same folder; with `while_starting` kills it once more so long after it was started.
    pub fn kill_and_restart(mut self, while_starting: Option<Duration>) -> Gateway {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(pause) = while_starting {
            let mut starting = self.command().stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(pause);
            starting.kill().unwrap();
            starting.wait().unwrap();
        }
        Gateway::run(Arc::clone(&self.folder), handoff())
    }

    /// Kills it (SIGKILL), does something, and starts it again in the same folder.
    pub fn kill_and_restart_after(mut self, between: impl FnOnce()) -> Gateway {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        between();
        Gateway::run(Arc::clone(&self.folder), handoff())
    }

    /// Starts one under another command than the program itself.
    pub fn start_with(configuration: &str, command: Command) -> Gateway {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("handoff.toml"), configuration).unwrap();
        Gateway::run(folder, command)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("log of the gateway:\n{}", self.log());
            }
        }
    }
}

/// A path that keeps the folder of its gateway alive.
pub struct Data {
    path: PathBuf,
    _folder: Arc<tempfile::TempDir>,
}

impl std::ops::Deref for Data {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// A connection that speaks MLLP, byte by byte in our hands.
pub struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    pub fn connect(gateway: &Gateway) -> Peer {
        let stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { stream: BufReader::new(stream) }
    }

    pub fn read_timeout(&self, timeout: Duration) {
        self.stream.get_ref().set_read_timeout(Some(timeout)).unwrap();
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn send(&mut self, message: &str) {
        self.write(&[b"\x0b", message.as_bytes(), b"\x1c\r"].concat());
    }

    /// Ends our side; the other may still answer.
    pub fn close_sending(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// The next message; `None` when the gateway closes or says nothing in time.
    pub fn receive(&mut self) -> Option<String> {
        let mut frame = Vec::new();
        self.stream.read_until(0x1c, &mut frame).ok()?;
        let mut end = [0];
        self.stream.read_exact(&mut end).ok()?;
        assert_eq!((frame.first(), end), (Some(&0x0b), [b'\r']), "an MLLP frame");
        Some(String::from_utf8(frame[1..frame.len() - 1].to_vec()).unwrap())
    }

    pub fn exchange(&mut self, message: &str) -> String {
        self.send(message);
        self.receive().expect("an acknowledgement")
    }
}
