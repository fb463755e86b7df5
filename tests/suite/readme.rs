//! The commands of the README run as they stand there: every block that opens with "```bash run", in order, and the demo.
//!
//! They run in a temporary folder that looks like the project (what they may write to is copied, the rest linked), with the built program on the
//! path and the MLLP port replaced by a free one.
#![cfg(unix)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_handoff");
const PORT: &str = "2575";
/// A block that hangs is killed after this.
const TIMEOUT: &str = "120";

#[test]
fn commands_of_the_readme_run() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let blocks = blocks(&readme);
    assert!(blocks.len() >= 5, "the README has {} blocks to run", blocks.len());
    let port = free_port();
    let folder = project_in(&port);
    for (line, block) in blocks {
        let output = bash(folder.path(), &block.replace(PORT, &port), &[]);
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "README.md:{line}: {}\n{shown}", output.status);
        assert!(!output.stdout.is_empty(), "README.md:{line}: shows nothing\n{shown}");
    }
}

#[test]
fn demo_shows_every_message_at_the_endpoint() {
    let endpoint = Path::new(BINARY).with_file_name("examples").join("endpoint");
    assert!(
        endpoint.is_file(),
        "cargo test builds the example `endpoint`; with --test add `cargo build --example endpoint`"
    );
    let port = free_port();
    let folder = project_in(&port);
    let variables = [("MLLP_PORT", port.as_str()), ("HANDOFF", BINARY), ("ENDPOINT", endpoint.to_str().unwrap())];
    let output = bash(folder.path(), "examples/demo.sh", &variables);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{shown}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let received = shown
        .lines()
        .filter(|line| line.starts_with("received Bundle transaction:") && line.contains("Patient"))
        .count();
    assert_eq!(received, 7, "{shown}");
}

#[test]
fn blocks_are_found_with_their_line() {
    let text = "a\n```bash run\none\ntwo\n```\n```bash\nthree\n```\n";
    assert_eq!(blocks(text), [(2, "one\ntwo\n".to_owned())]);
}

/// The text of every block to run, with the line on which it opens.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            open = line == "```bash run";
            if open {
                found.push((number + 1, String::new()));
            }
        } else if open && let Some((_, block)) = found.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    found
}

/// Runs a script that stops at the first failure, and whatever it left running in the background.
fn bash(folder: &Path, script: &str, variables: &[(&str, &str)]) -> Output {
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let path =
        format!("{}:{}", Path::new(BINARY).parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    Command::new("timeout")
        .args([TIMEOUT, "bash", "-euo", "pipefail", "-c", &script])
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A folder with the parts of the project that the commands name.
fn project_in(port: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["fixtures", "mappings"] {
        symlink(Path::new(ROOT).join(name), folder.path().join(name)).unwrap();
    }
    for file in
        ["demo.sh", "config/handoff.toml", "site/site.toml", "site/feeds/oldlab/feed.toml", "site/tables/services.csv"]
    {
        let to: PathBuf = folder.path().join("examples").join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(ROOT).join("examples").join(file), &to).unwrap();
    }
    let cases = "examples/site/tests";
    symlink(Path::new(ROOT).join(cases), folder.path().join(cases)).unwrap();
    let config = folder.path().join("examples/config/handoff.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains(PORT), "the configuration listens on another port than the README says");
    fs::write(&config, text.replace(PORT, port)).unwrap();
    folder
}

/// A port that was free a moment ago.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}
