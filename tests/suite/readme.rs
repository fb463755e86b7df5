//! The commands of the README, of the handbook of mappings, of the page of certificates and of the guide to coordinated care run as they stand there: every block that opens with
//! "```bash run", in order, and the demo.
//!
//! Those of the README run in a temporary folder that looks like the project (what they may write to is copied, the rest linked), those of handbook and page
//! in an empty one, which the page itself fills: a block that opens with "```toml file=site/site.toml" is that file. The guide has one with its example alone. The built program is on the
//! path, ports are replaced by free ones. What follows "#=> " in a block is a part of what its commands say, in this order.
#![cfg(unix)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_handoff");
const PORT: &str = "2575";
const ADMIN_PORT: &str = "8080";
const FHIR_PORT: &str = "8090";
const ENDPOINT_PORT: &str = "8091";
const EXPECTED: &str = "#=> ";
/// A block that hangs is killed after this.
const TIMEOUT: &str = "120";

#[test]
fn commands_of_the_readme_run() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let blocks = blocks(&readme);
    assert!(blocks.len() >= 5, "the README has {} blocks to run", blocks.len());
    let port = free_port();
    let folder = project_in(&port);
    for Block { line, text, .. } in blocks {
        let output = bash(folder.path(), &text.replace(PORT, &port), &[]);
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "README.md:{line}: {}\n{shown}", output.status);
        assert!(!output.stdout.is_empty(), "README.md:{line}: shows nothing\n{shown}");
    }
}

#[test]
fn handbook_of_mappings_runs() {
    let folder = tempfile::tempdir().unwrap();
    let ran = page_runs("docs/mappings.md", folder.path(), &[(PORT, free_port()), (ADMIN_PORT, free_port())]);
    assert!(ran >= 10, "the handbook has {ran} blocks to run");
}

#[test]
fn page_of_certificates_runs() {
    let folder = tempfile::tempdir().unwrap();
    let ran = page_runs("docs/tls.md", folder.path(), &[(PORT, free_port())]);
    assert!(ran >= 2, "the page has {ran} blocks to run");
}

#[test]
fn guide_to_coordinated_care_runs() {
    endpoint_program();
    let ports = [PORT, ADMIN_PORT, FHIR_PORT, ENDPOINT_PORT].map(|port| (port, free_port()));
    let folder = tempfile::tempdir().unwrap();
    copy_with(&Path::new(ROOT).join("examples/care"), &folder.path().join("examples/care"), &ports);
    let ran = page_runs("docs/coordinated-care.md", folder.path(), &ports);
    assert!(ran >= 8, "the guide has {ran} blocks to run");
}

/// Runs the blocks of a page, with other ports; how many there were.
fn page_runs(page: &str, folder: &Path, ports: &[(&str, String)]) -> usize {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let mut ran = 0;
    for Block { line, file, before, text } in blocks(&text) {
        let text = with_ports(&text, ports);
        if let Some(file) = file {
            assert!(before.contains(&format!("`{file}`")), "{page}:{line}: the line before does not name {file}");
            let to = folder.join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, text).unwrap();
            continue;
        }
        let output = bash(folder, &format!("exec 2>&1\n{text}"), &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{page}:{line}: {}\n{said}", output.status);
        if let Err(missing) = says(&text, &said) {
            panic!("{page}:{line}: does not say {missing:?} there, but\n{said}");
        }
        ran += 1;
    }
    ran
}

fn with_ports(text: &str, ports: &[(&str, String)]) -> String {
    ports.iter().fold(text.to_owned(), |text, (port, free)| text.replace(&format!(":{port}"), &format!(":{free}")))
}

/// Copies a folder of texts, with other ports.
fn copy_with(from: &Path, to: &Path, ports: &[(&str, String)]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_with(&path, &to, ports);
        } else {
            fs::copy(&path, &to).unwrap();
            fs::write(&to, with_ports(&fs::read_to_string(&path).unwrap(), ports)).unwrap();
        }
    }
}

/// Where the example `endpoint` is.
fn endpoint_program() -> PathBuf {
    let endpoint = Path::new(BINARY).with_file_name("examples").join("endpoint");
    assert!(
        endpoint.is_file(),
        "cargo test builds the example `endpoint`; with --test add `cargo build --example endpoint`"
    );
    endpoint
}

#[test]
fn demo_shows_every_message_at_the_endpoint() {
    let endpoint = endpoint_program();
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
    let text =
        "a\n```bash run\none\ntwo\n```\n```bash\nthree\n```\n\nNow `b/c.toml`:\n\n```toml file=b/c.toml\nx = 1\n```\n";
    let found = blocks(text);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].line, found[0].text.as_str(), &found[0].file), (2, "one\ntwo\n", &None));
    assert_eq!((found[1].file.as_deref(), found[1].before.as_str()), (Some("b/c.toml"), "Now `b/c.toml`:"));
    assert_eq!(found[1].text, "x = 1\n");
}

#[test]
fn what_a_block_expects_comes_in_order() {
    let block = "one\n#=> first\ntwo\n#=> second\n";
    assert_eq!(says(block, "the first, then the second"), Ok(()));
    assert_eq!(says(block, "the second, then the first"), Err("second"));
    assert_eq!(says("one\n", "anything"), Err("nothing is expected"));
}

/// A block of a page that is run, or that is a file.
struct Block {
    /// The line on which it opens.
    line: usize,
    /// The name of the file.
    file: Option<String>,
    /// The last line of text before it.
    before: String,
    text: String,
}

/// Every block to run or to write, in order.
fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut inside, mut wanted, mut before) = (false, false, "");
    for (number, line) in text.lines().enumerate() {
        if let Some(opening) = line.strip_prefix("```") {
            inside = !inside;
            let file = opening.split_once(" file=").map(|(_, name)| name.to_owned());
            wanted = inside && (file.is_some() || opening == "bash run");
            if wanted {
                found.push(Block { line: number + 1, file, before: before.to_owned(), text: String::new() });
            }
        } else if wanted && let Some(block) = found.last_mut() {
            block.text.push_str(line);
            block.text.push('\n');
        } else if !inside && !line.trim().is_empty() {
            before = line;
        }
    }
    found
}

/// Whether a block's commands said everything that it expects, in its order; else what is missing.
fn says<'b>(block: &'b str, said: &str) -> Result<(), &'b str> {
    let mut expected = block.lines().filter_map(|line| line.strip_prefix(EXPECTED)).peekable();
    expected.peek().ok_or("nothing is expected")?;
    let mut rest = said;
    for fragment in expected {
        let at = rest.find(fragment).ok_or(fragment)?;
        rest = &rest[at + fragment.len()..];
    }
    Ok(())
}

/// Runs a script that stops at the first failure, and whatever it left running in the background.
fn bash(folder: &Path, script: &str, variables: &[(&str, &str)]) -> Output {
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let programs = Path::new(BINARY).parent().unwrap();
    let path = format!(
        "{}:{}:{}",
        programs.display(),
        programs.join("examples").display(),
        std::env::var("PATH").unwrap_or_default()
    );
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
