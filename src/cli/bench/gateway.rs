//! The gateway that is measured: this very program, in a process of its own.
use super::care::{CareArgs, prepare};
use crate::coordination::store::Store;
use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the configuration, which does not say, has its data.
const DATA: &str = "handoff-data";

/// A running gateway; dropping it ends the process and removes its folder.
pub(super) struct Process {
    child: Child,
    folder: PathBuf,
    address: String,
}

impl Process {
    /// Starts one with that configuration, and coordinated care where that is asked for, and waits until it listens.
    pub fn start(parent: &Path, configuration: &str, care: Option<CareArgs>) -> anyhow::Result<Process> {
        let folder = parent.join(format!("handoff-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut configuration = configuration.to_owned();
        if let Some(care) = care {
            std::fs::create_dir(folder.join(DATA))?;
            configuration += &prepare(&folder, &folder.join(DATA), care)?;
        }
        let file = folder.join("handoff.toml");
        std::fs::write(&file, configuration)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(&file)
            .env("HANDOFF_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let Some(stderr) = child.stderr.take() else { bail!("no standard error") };
        let mut process = Process { child, folder, address: String::new() };
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(rest) = line.split("listening mllp ").nth(1) {
                process.address = rest.split(' ').next().unwrap_or_default().to_owned();
                break;
            }
            said += &line;
            said.push('\n');
        }
        if process.address.is_empty() {
            bail!("the gateway did not start:\n{said}");
        }
        // What it says later is shown, and its pipe never fills up.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("gateway: {line}")));
        Ok(process)
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Processor time used so far, in seconds; 0 where the system does not tell.
    pub fn cpu_seconds(&self) -> f64 {
        // Fields 14 and 15 of proc(5) `stat`, counted behind the name in brackets, in hundredths of a second.
        let text = self.proc_file("stat");
        let ticks = |text: &str| {
            let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        };
        ticks(&text).unwrap_or(0.0) / 100.0
    }

    /// How many messages coordinated care has read.
    pub fn read(&self) -> anyhow::Result<u64> {
        let path = Store::path(&self.folder.join(DATA));
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        let next = connection.query_row("SELECT next FROM cursor", [], |row| row.get::<_, i64>(0)).optional()?;
        Ok(next.map_or(0, |next| next.unsigned_abs().saturating_sub(1)))
    }

    /// The most memory that it had at any time, in bytes.
    pub fn memory_bytes_max(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that it has now, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, key: &str) -> u64 {
        let text = self.proc_file("status");
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) << 10
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended already.
        let _ = self.child.wait();
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} was left behind: {error}", self.folder.display());
        }
    }
}
