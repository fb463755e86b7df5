//! The chain: written, read, cut, tampered with.
use super::*;
use crate::privacy::Reason;
use std::fs;
use std::path::Path;

/// 2026-03-05T12:00Z.
const NOON: i64 = 1_772_712_000_000;
const DAY: i64 = 86_400_000;

fn entry(number: u8, at_ms: i64) -> Entry<'static> {
    Entry {
        id: [number; 16],
        at_ms,
        outcome: if number.is_multiple_of(2) { Outcome::Disclosed } else { Outcome::Suppressed(Reason::Policy) },
        recipient: "aco-cm",
        purpose: "HOPERAT",
        person: "7d0f",
        event: [number; 16],
        subscription: Some("sub-1"),
        number: Some(u64::from(number)),
    }
}

fn append(folder: &Path, options: Options, numbers: std::ops::Range<u8>, at_ms: i64) {
    let batch: Vec<Entry<'_>> = numbers.map(|number| entry(number, at_ms)).collect();
    Writer::open(folder, options).unwrap().append(&batch).unwrap();
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    writer::files(folder).unwrap().into_iter().map(|(_, path)| path).collect()
}

#[test]
fn batches_files_and_days_are_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let small = Options { file_bytes_max: 4000 };
    append(folder.path(), small, 0..2, NOON);
    append(folder.path(), small, 2..4, NOON);
    append(folder.path(), small, 4..5, NOON);
    append(folder.path(), small, 5..6, NOON + DAY);
    let mut writer = Writer::open(folder.path(), small).unwrap();
    assert!(matches!(Writer::open(folder.path(), small), Err(Error::InUse(_))));
    writer.append(&[entry(6, NOON + DAY), entry(7, NOON + 2 * DAY)]).unwrap();
    writer.append(&[] as &[Entry<'_>]).unwrap();
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.lines, report.last, report.hash, report.broken), (8, 8, writer.last().1, None));
    let names: Vec<_> =
        files(folder.path()).iter().map(|path| path.file_stem().unwrap().to_str().unwrap()[24..].to_owned()).collect();
    assert_eq!((names, report.files), (vec!["01".into(), "05".into(), "06".into(), "08".to_owned()], 4));
}

#[test]
fn lines_are_audit_events_with_ids_only() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), Options::default(), 0..2, NOON);
    let text = fs::read_to_string(&files(folder.path())[0]).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (disclosed, suppressed) = (&lines[0]["event"], &lines[1]["event"]);
    assert_eq!((&disclosed["recorded"], &disclosed["outcome"]), (&"2026-03-05T12:00:00.000Z".into(), &"0".into()));
    assert_eq!((&suppressed["outcome"], &suppressed["outcomeDesc"]), (&"4".into(), &"policy".into()));
    assert_eq!(disclosed["subtype"][0]["code"], "disclose");
    assert_eq!(suppressed["subtype"][0]["code"], "suppress");
    for event in [disclosed, suppressed] {
        assert_eq!(event["resourceType"], "AuditEvent");
        assert_eq!(event["agent"][1]["who"]["identifier"]["value"], "aco-cm");
        assert_eq!(event["entity"][0]["what"]["identifier"]["value"], "7d0f");
        assert_eq!(event["entity"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn ids_follow_what_an_entry_says() {
    let id = |entry: Entry<'_>| entry.identified().id;
    assert_eq!(id(entry(4, NOON)), id(Entry { id: [9; 16], ..entry(4, NOON) }));
    let others = [
        entry(4, NOON + 1),
        entry(6, NOON),
        Entry { number: Some(5), ..entry(4, NOON) },
        Entry { recipient: "other", ..entry(4, NOON) },
        Entry { outcome: Outcome::Suppressed(Reason::Policy), ..entry(4, NOON) },
        Entry { subscription: None, ..entry(4, NOON) },
    ];
    assert!(others.into_iter().all(|other| id(other) != id(entry(4, NOON))));
}

/// Every byte of every file, changed, is found; so is every line taken out, and every end cut off.
#[test]
fn whatever_is_changed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let small = Options { file_bytes_max: 1 };
    append(folder.path(), small, 0..2, NOON);
    append(folder.path(), small, 2..3, NOON);
    assert_eq!(verify(folder.path()).unwrap().broken, None);
    let mut paths = files(folder.path());
    assert_eq!(paths.len(), 2);
    paths.push(folder.path().join("head"));
    for path in &paths {
        let sound = fs::read(path).unwrap();
        // The second file is of the same kind as the first.
        for at in (0..sound.len()).filter(|_| *path != paths[1]) {
            let mut changed = sound.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(path, &changed).unwrap();
            assert!(verify(folder.path()).unwrap().broken.is_some(), "byte {at} of {} changed", path.display());
        }
        for length in (0..sound.len()).step_by(31).chain([sound.len() - 1]) {
            // An empty head is one that was never written, yet there are lines.
            fs::write(path, &sound[..length]).unwrap();
            assert!(verify(folder.path()).unwrap().broken.is_some(), "{} cut to {length}", path.display());
        }
        fs::write(path, [&sound[..], b"\n"].concat()).unwrap();
        assert!(verify(folder.path()).unwrap().broken.is_some());
        fs::write(path, &sound).unwrap();
    }
    let first = fs::read_to_string(&paths[0]).unwrap();
    let lines: Vec<&str> = first.split_inclusive('\n').collect();
    for (text, line) in
        [(lines[1].to_owned(), 1), (format!("{}{}", lines[1], lines[0]), 1), (format!("{first}{}", lines[1]), 3)]
    {
        fs::write(&paths[0], text).unwrap();
        let broken = verify(folder.path()).unwrap().broken.unwrap();
        assert_eq!((broken.path, broken.line), (paths[0].clone(), line));
    }
    fs::write(&paths[0], &first).unwrap();
    fs::remove_file(&paths[0]).unwrap();
    assert!(verify(folder.path()).unwrap().broken.unwrap().what.contains("a file before it is missing"));
}

#[test]
fn a_torn_last_line_is_cut_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), Options::default(), 0..3, NOON);
    let path = files(folder.path()).remove(0);
    let sound = fs::read(&path).unwrap();
    let mut next = Vec::new();
    line::write(&mut next, 4, NOON, &line::NONE, |out| entry(3, NOON).write(out));
    for torn in [&next[..next.len() - 1], &next[..10], b"{"] {
        fs::write(&path, [&sound[..], torn].concat()).unwrap();
        assert!(verify(folder.path()).unwrap().broken.unwrap().what.contains("not whole"));
        drop(Writer::open(folder.path(), Options::default()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), sound);
        assert_eq!(verify(folder.path()).unwrap().broken, None);
    }
    // A batch that reached its file, and not the head.
    let head = fs::read(folder.path().join("head")).unwrap();
    append(folder.path(), Options::default(), 3..5, NOON);
    fs::write(folder.path().join("head"), head).unwrap();
    assert_eq!(verify(folder.path()).unwrap().broken, None, "more than was noted is no break");
    append(folder.path(), Options::default(), 5..6, NOON);
    assert_eq!(verify(folder.path()).unwrap().last, 6);
    // What was synced and is not there was no crash.
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(Writer::open(folder.path(), Options::default()), Err(Error::Broken { .. })));
}

#[test]
fn a_file_that_was_begun_and_not_written_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), Options::default(), 0..1, NOON);
    fs::write(folder.path().join("audit-00000000000000000002.ndjson"), "").unwrap();
    append(folder.path(), Options::default(), 1..2, NOON);
    assert_eq!((verify(folder.path()).unwrap().last, files(folder.path()).len()), (2, 1));
}

#[test]
fn after_an_error_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut audit = Lasting::open(folder.path(), Options::default()).unwrap();
    audit.append(&[entry(0, NOON)]).unwrap();
    let long = "r".repeat(line::LINE_MAX);
    assert!(matches!(audit.append(&[Entry { recipient: &long, ..entry(1, NOON) }]), Err(Error::TooLong)));
    audit.append(&[entry(2, NOON)]).unwrap();
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.last, report.broken), (2, None));
}

/// Three files of three days.
fn three_days() -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    for day in 0..3 {
        let first = 2 * u8::try_from(day).unwrap();
        append(folder.path(), Options::default(), first..first + 2, NOON + day * DAY);
    }
    let paths = files(folder.path());
    (folder, paths)
}

#[test]
fn the_oldest_files_go_and_the_chain_goes_on() {
    let (folder, paths) = three_days();
    let before = verify(folder.path()).unwrap();
    assert_eq!((before.lines, before.pruned), (6, 0));
    let none = prune(folder.path(), NOON).unwrap();
    assert_eq!((none, files(folder.path()).len()), (Pruned::default(), 3), "a line of that very time is kept");
    let done = prune(folder.path(), NOON + 1).unwrap();
    assert_eq!((done.files, done.lines, done.last), (1, 2, 2));
    assert_eq!(files(folder.path()), paths[1..]);
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.pruned, report.lines, report.last, report.broken), (2, 4, 6, None));
    assert_eq!(report.hash, before.hash, "the copy that is kept elsewhere still proves it");
    // The newest stays, whatever is asked.
    let rest = prune(folder.path(), i64::MAX).unwrap();
    assert_eq!((rest.files, rest.lines, rest.last, files(folder.path()).len()), (1, 2, 4, 1));
    append(folder.path(), Options::default(), 6..7, NOON + 3 * DAY);
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.pruned, report.lines, report.last, report.broken), (4, 3, 7, None));
}

#[test]
fn what_was_changed_is_not_removed_and_a_removal_is_not_changed() {
    let (folder, paths) = three_days();
    let sound = fs::read(&paths[1]).unwrap();
    let mut changed = sound.clone();
    changed[200] ^= 1;
    fs::write(&paths[1], &changed).unwrap();
    assert!(matches!(prune(folder.path(), i64::MAX), Err(Error::Broken { path, .. }) if path == paths[1]));
    assert_eq!(files(folder.path()), paths, "nothing is gone");
    fs::write(&paths[1], &sound).unwrap();
    let first = fs::read(&paths[0]).unwrap();
    prune(folder.path(), NOON + 1).unwrap();
    let mark = folder.path().join("pruned");
    let noted = fs::read(&mark).unwrap();
    for at in 0..noted.len() {
        let mut changed = noted.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&mark, &changed).unwrap();
        assert!(verify(folder.path()).unwrap().broken.is_some(), "byte {at} of the note");
    }
    fs::remove_file(&mark).unwrap();
    assert!(verify(folder.path()).unwrap().broken.unwrap().what.contains("a file before it is missing"));
    fs::write(&mark, &noted).unwrap();
    // A crash before the file was gone: it is passed over, and goes the next time.
    fs::write(&paths[0], first).unwrap();
    assert_eq!(verify(folder.path()).unwrap().broken, None);
    assert_eq!(prune(folder.path(), NOON + 1).unwrap().files, 0);
    assert_eq!(files(folder.path()), paths[1..]);
}

#[test]
fn a_file_that_was_only_begun_is_nothing_to_go_on_from() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), Options::default(), 0..2, NOON);
    fs::write(folder.path().join("audit-00000000000000000003.ndjson"), "").unwrap();
    assert_eq!(prune(folder.path(), i64::MAX).unwrap().files, 0);
    append(folder.path(), Options::default(), 2..3, NOON);
    assert_eq!(verify(folder.path()).unwrap().lines, 3);
}
