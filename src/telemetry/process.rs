//! What the operating system says of this process; nothing where it does not tell.
use std::fs;
use std::path::Path;

/// Usage of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Memory that is in use, in bytes.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub open_files: u64,
}

/// proc(5) counts processor time in hundredths of a second on every machine that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

impl Usage {
    /// As it is now.
    pub fn now() -> Usage {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Usage {
            cpu_seconds: cpu_seconds(&stat).unwrap_or(0.0),
            resident_bytes: resident(&status).unwrap_or(0),
            open_files,
        }
    }
}

/// Bytes that may still be written where a path lies, by who is not the superuser.
pub fn disk_free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Fields 14 and 15 (user, system), counted behind the name in brackets, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_writes_is_read() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1024 kB\n"), Some(1 << 20));
        assert_eq!((cpu_seconds(""), resident("")), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let usage = Usage::now();
        assert!(usage.resident_bytes > 0 && usage.open_files > 0, "{usage:?}");
        assert!(disk_free(Path::new("/")).is_some() && disk_free(Path::new("/nowhere/at/all")).is_none());
    }
}
