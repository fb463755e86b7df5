//! Which configuration a command takes where nobody names one.
use super::process::handoff;
use std::path::Path;

/// Exit code, and all that was said.
fn said(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let done = handoff().args(arguments).current_dir(folder).stdout(std::process::Stdio::piped()).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code(), text)
}

#[test]
fn every_command_takes_the_file_of_the_folder_it_runs_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("handoff.toml");
    let readers: [&[&str]; 4] =
        [&["dead-letters", "list"], &["messages", "search"], &["journal", "verify"], &["audit", "verify"]];
    let others: [&[&str]; 3] = [&["check"], &["rosters", "load"], &["status", "--token", "x"]];
    for arguments in readers {
        let (code, text) = said(folder.path(), arguments);
        assert!(code == Some(2) && text.contains("handoff-data"), "{arguments:?}: {text}");
    }
    for arguments in others {
        let (code, text) = said(folder.path(), arguments);
        assert!(code == Some(2) && text.contains("handoff.toml: cannot be read"), "{arguments:?}: {text}");
    }
    std::fs::write(&file, "data = \"kept\"\n").unwrap();
    for arguments in readers {
        let (code, text) = said(folder.path(), arguments);
        assert!(code == Some(2) && text.contains("configuration: handoff.toml\n"), "{arguments:?}: {text}");
        assert!(text.contains("kept") && !text.contains("handoff-data"), "{arguments:?}: {text}");
    }
    assert_eq!(said(folder.path(), &["check"]), (Some(0), "handoff.toml: good (1 listeners, 1 routes)\n".into()));
    std::fs::write(&file, "dta = \"kept\"\n").unwrap();
    for arguments in [&["serve"], readers[0], others[0], others[1], others[2]] {
        let (code, text) = said(folder.path(), arguments);
        assert!(code == Some(2) && text.contains("handoff.toml:1:1: unknown key \"dta\""), "{arguments:?}: {text}");
    }
}

#[test]
fn a_gateway_without_a_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // The data cannot be made there: it ends before it listens.
    std::fs::write(folder.path().join("handoff-data"), "in the way").unwrap();
    let (code, text) = said(folder.path(), &["serve"]);
    assert!(code == Some(1) && text.starts_with("configuration: built in, as there is no handoff.toml here"), "{text}");
}
