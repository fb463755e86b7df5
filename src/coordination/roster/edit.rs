//! Changing the FHIR Group of a panel from outside: somebody comes, somebody goes, or the list is another one. What comes of it is a file of the panel's source, read and judged as
//! any other; nothing is written here.
//!
//! | source | somebody comes or goes | the list is another one |
//! |---|---|---|
//! | a file | the file with them or without them, all else as it stands | what was sent |
//! | a folder of which the last file counts | one more file: the last one with them or without them | one more file: what was sent |
//! | a folder of changes (`mode = "delta"`) | one more file, of them alone | not to be had: each file is a change to those before it |
use super::difference::Difference;
use super::group;
use super::kept::Fingerprint;
use super::key::PersonKey;
use super::options::{Form, Matching, Mode, Panel, Source};
use super::rows::{Reason, RosterError, Row, Rows};
use super::{file_names, files, group_edit};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of a list that is sent, and of a file in which somebody is added or removed: it is read as a whole.
pub const LIST_BYTES_MAX: u64 = 64 << 20;

/// What is to be changed. Holds patients: no `Debug`.
pub enum Change<'a> {
    /// The list is this one: a Group, or a Bundle with one and its patients.
    Put(&'a [u8]),
    /// Somebody comes, or is told of anew.
    Add(Addition),
    /// Somebody goes.
    Remove(Removal),
}

/// Who comes.
pub struct Addition {
    /// A FHIR Patient.
    pub patient: Value,
    /// The Identifier by which the list knows them, beside those of the Patient.
    pub member_id: Option<Value>,
    /// The NPI of who looks after them.
    pub provider_npi: Option<String>,
    /// A FHIR Period: from when to when.
    pub period: Option<Value>,
}

/// Who goes.
pub struct Removal {
    /// By what they are named.
    pub named: Named,
    /// The NPI of who looks after them, which must be so.
    pub provider_npi: Option<String>,
}

/// How a member is named.
pub enum Named {
    /// By a FHIR Identifier.
    Number(Value),
    /// By the key of a person of the rosters, and the identifiers (system and value) that they have there.
    Person(PersonKey, Vec<(String, String)>),
}

/// A change that can be made.
pub struct Draft<'a> {
    /// The file that makes it.
    pub bytes: Cow<'a, [u8]>,
    /// Where it is to lie.
    pub path: PathBuf,
    /// What it changes.
    pub difference: Difference,
    /// The roster that comes of it.
    pub rows: Rows,
    /// Whom it is about, where that is one.
    pub person: Option<PersonKey>,
}

/// Why a change cannot be made. Nothing of a patient stands in it.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The panel is no FHIR Group.
    #[error("the source of this panel is no FHIR Group: its file is what counts, and is changed by whoever writes it")]
    NotGroup,
    /// What was sent is a whole list, and the files of the panel are changes.
    #[error(
        "the files of this panel are changes (mode = \"delta\"): add and remove members by $member-add and $member-remove, or give the source a folder with mode = \"supersede\""
    )]
    Changes,
    /// What lies in the source has not been taken on.
    #[error(
        "what lies in the source of this panel is not what is in force: it waits for approval, is refused, or was not read yet; look at `handoff rosters status` first"
    )]
    Unseen,
    /// The file is too large to be changed.
    #[error(
        "the list has more than {LIST_BYTES_MAX} bytes: give the source of this panel a folder with mode = \"delta\", of which each change is a small file"
    )]
    Large,
    /// Who comes cannot be a member.
    #[error("{0}")]
    Rejected(Reason),
    /// The list that comes of it cannot be used.
    #[error(transparent)]
    Refused(#[from] RosterError),
    /// The number is that of somebody else.
    #[error(
        "a member of this panel has this number and another birth date or family name: remove that one first, or mend the number"
    )]
    SomebodyElse,
    /// By what a member is named nobody is.
    #[error(
        "memberId must have a system that patients are looked up by (strong in [coordination.match]), and a value that is no placeholder"
    )]
    NoNumber,
    /// Nobody is so named.
    #[error("no member of this panel is named so")]
    NoMember,
    /// Several are.
    #[error("several members of this panel are named so, and nothing tells which one is meant: change the file")]
    Several,
    /// They are looked after by somebody else.
    #[error("this member is attributed to another provider, or to several")]
    OtherProvider,
    /// A change of its own does not reach them.
    #[error("this member cannot be named in a file of changes: change the files of the panel")]
    OutOfReach,
}

/// Reads what would come of a change. `in_force` says which roster of the panel is, and its rows; `now_ms`, in milliseconds since 1970, names a new file.
///
/// # Errors
/// An [`EditError`].
pub fn draft<'a>(
    panel: &Panel,
    matching: &Matching,
    in_force: (Option<Fingerprint>, &dyn Fn() -> Rows),
    change: Change<'a>,
    now_ms: i64,
) -> Result<Draft<'a>, EditError> {
    let source = &panel.source;
    let Form::Group { id_system } = &source.form else { return Err(EditError::NotGroup) };
    let is_changes = source.mode == Mode::Delta && source.path.is_dir();
    let (fingerprint, before) = in_force;
    let (bytes, person, before, after) = match change {
        Change::Put(_) if is_changes => return Err(EditError::Changes),
        Change::Put(bytes) => (Cow::Borrowed(bytes), None, before(), Rows::default()),
        Change::Add(_) | Change::Remove(_) => {
            let files = files::files(source).map_err(|_| EditError::Unseen)?;
            let before = files::read_from(source, &files, matching).map_err(|_| EditError::Unseen)?;
            if Some(before.fingerprint) != fingerprint {
                return Err(EditError::Unseen);
            }
            let step = match change {
                Change::Add(addition) => come(addition, &before, source, matching)?,
                Change::Remove(removal) => go(&removal, &before, id_system, matching)?,
                Change::Put(_) => return Err(EditError::Changes),
            };
            let person = step.person;
            let (bytes, after) = match files.last().filter(|_| !is_changes) {
                None => (step.alone(), before.clone()),
                Some(last) => (step.within(last, &before.fingerprint)?, Rows::default()),
            };
            (Cow::Owned(bytes), Some(person), before, after)
        }
    };
    let mut rows = after;
    files::add(&mut rows, source, &bytes, Path::new(SENT), matching)?;
    let difference = Difference::between(&before, &rows);
    let goes = matches!(person, Some((_, true)));
    if goes && difference.dropped == 0 {
        return Err(EditError::OutOfReach);
    }
    let path = file_names::next(source, &panel.id, now_ms)?;
    Ok(Draft { bytes, path, difference, rows, person: person.map(|(key, _)| key) })
}

/// As what was sent is called, where it is wrong.
const SENT: &str = "the Group";

/// Somebody who comes or goes.
struct Step {
    /// Who, and whether they go.
    person: (PersonKey, bool),
    /// Which members (from 1) of the last file are they.
    lines: BTreeSet<u32>,
    /// Their patient, and what stands of them as a member.
    patient: Value,
    member: Value,
}

impl Step {
    /// As a file of changes.
    fn alone(self) -> Vec<u8> {
        group_edit::alone(self.patient, self.member).to_string().into_bytes()
    }

    /// Within the list of a file, which must still be that of the fingerprint.
    fn within(self, file: &Path, fingerprint: &Fingerprint) -> Result<Vec<u8>, EditError> {
        let unreadable = |error| RosterError::Unreadable { path: PathBuf::from(SENT), error };
        let bytes = std::fs::read(file).map_err(unreadable)?;
        if bytes.len() as u64 > LIST_BYTES_MAX {
            return Err(EditError::Large);
        }
        let mut read = Rows::default();
        read.fingerprint(&bytes);
        if read.fingerprint != *fingerprint {
            return Err(EditError::Unseen);
        }
        let text = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&bytes);
        let mut list: Value = serde_json::from_slice(text).map_err(|_| EditError::Unseen)?;
        let new = (!self.person.1).then_some((self.patient, self.member));
        group_edit::change(&mut list, &self.lines, new).ok_or(EditError::Unseen)?;
        Ok(list.to_string().into_bytes())
    }
}

fn come(addition: Addition, before: &Rows, source: &Source, matching: &Matching) -> Result<Step, EditError> {
    let Addition { patient, member_id, provider_npi, period } = addition;
    let patient = group_edit::needed(&patient);
    let mut member = group_edit::member("new", member_id, provider_npi.as_deref(), period);
    // Read as any file is: what is wrong with it is told as of a file.
    let (mut one, list) = (Rows::default(), group_edit::alone(patient.clone(), member.clone()));
    let read = files::add(&mut one, source, list.to_string().as_bytes(), Path::new(SENT), matching);
    read.map_err(|error| match &error {
        RosterError::Bad { first, .. } => {
            first.first().map(|one| EditError::Rejected(one.reason)).unwrap_or(EditError::Refused(error))
        }
        _ => EditError::Refused(error),
    })?;
    let new = one.rows.first().ok_or(EditError::Rejected(Reason::Unidentified))?;
    let known: Vec<&Row> = before.rows.iter().filter(|row| row.key == new.key).collect();
    if known.iter().any(|old| !is_one(old, new, matching)) {
        return Err(EditError::SomebodyElse);
    }
    if !known.is_empty() {
        group_edit::set_change(&mut member, "changed");
    }
    let lines = known.iter().map(|row| row.place.line).collect();
    Ok(Step { person: (new.key, false), lines, patient: group_edit::named(patient, new.key), member })
}

fn go(removal: &Removal, before: &Rows, id_system: &str, matching: &Matching) -> Result<Step, EditError> {
    let numbers = match &removal.named {
        Named::Number(identifier) => group::numbers(identifier, id_system),
        Named::Person(_, numbers) => numbers.clone(),
    };
    let is_number = matches!(removal.named, Named::Number(_));
    if is_number && numbers.is_empty() {
        return Err(EditError::NoNumber);
    }
    let is_named = |row: &&Row| {
        let has = |(system, value): (u32, &str)| {
            numbers.iter().any(|(known, number)| known == before.systems.text(system) && number == value)
        };
        let by_key = matches!(&removal.named, Named::Person(key, _) if *key == row.key);
        by_key || row.identifiers().any(has)
    };
    let rows: Vec<&Row> = before.rows.iter().filter(is_named).collect();
    let first = *rows.first().ok_or(EditError::NoMember)?;
    if !rows.iter().skip(1).all(|row| row.key == first.key && is_one(row, first, matching)) {
        return Err(EditError::Several);
    }
    if let Some(npi) = &removal.provider_npi
        && rows.iter().any(|row| before.words.text(row.pcp) != npi)
    {
        return Err(EditError::OtherProvider);
    }
    let patient = group_edit::named(group_edit::patient(before, first), first.key);
    let member = json!({ "entity": { "reference": format!("#{}", first.key) }, "inactive": true });
    Ok(Step { person: (first.key, true), lines: rows.iter().map(|row| row.place.line).collect(), patient, member })
}

/// Whether two rows of a number are of one person: they agree in a field that guards it, as those of a snapshot do.
fn is_one(left: &Row, right: &Row, matching: &Matching) -> bool {
    let (left, right) = (left.demographics(), right.demographics());
    matching.guard.iter().any(|field| left.agrees(&right, *field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::roster::options::PanelKind;
    use jiff::tz::TimeZone;

    const MBI: &str = "http://hl7.org/fhir/sid/us-mbi";

    fn patient(id: &str, number: &str, family: &str, birth: &str) -> Value {
        let identifier = json!([{ "system": MBI, "value": number }]);
        json!({
            "resourceType": "Patient", "id": id, "identifier": identifier, "birthDate": birth, "gender": "female",
            "name": [{ "family": family, "given": ["Ana"] }], "address": [{ "postalCode": "14150" }],
        })
    }

    /// A folder of changes with one file of these patients.
    fn panel(folder: &Path, patients: &[Value]) -> Panel {
        let members: Vec<Value> = patients
            .iter()
            .map(|one| json!({ "entity": { "reference": format!("#{}", one["id"].as_str().unwrap()) } }))
            .collect();
        let list = json!({ "resourceType": "Group", "contained": patients, "member": members });
        std::fs::write(folder.join("a.json"), list.to_string()).unwrap();
        let form = Form::Group { id_system: String::new() };
        Panel {
            id: "aco".into(),
            kind: PanelKind::Aco,
            owner_npi: None,
            zone: TimeZone::UTC,
            source: Source { path: folder.to_owned(), form, mode: Mode::Delta },
            stale_after: Panel::STALE_AFTER,
            min_attributed: 0,
            max_drop_pct: 20,
        }
    }

    /// Members before and after, or why not.
    fn drafted(panel: &Panel, change: Change<'_>) -> Result<(usize, usize), EditError> {
        let matching = Matching::default();
        let now = files::read(&panel.source, &matching).unwrap();
        let draft = draft(panel, &matching, (Some(now.fingerprint), &|| now.clone()), change, 7)?;
        assert_eq!(draft.path, panel.source.path.join("a.json.0000000000000007.json"));
        Ok((draft.difference.before, draft.rows.members()))
    }

    fn number(value: &str) -> Named {
        Named::Number(json!({ "system": MBI, "value": value }))
    }

    fn remove(panel: &Panel, named: Named) -> Result<(usize, usize), EditError> {
        drafted(panel, Change::Remove(Removal { named, provider_npi: None }))
    }

    #[test]
    fn a_number_of_two_names_neither() {
        let folder = tempfile::tempdir().unwrap();
        let twice =
            [patient("1", "1AA1AA1AA11", "QUILL", "1950-01-02"), patient("2", "1AA1AA1AA11", "ROOK", "1960-01-02")];
        let panel =
            panel(folder.path(), &[twice.as_slice(), &[patient("3", "2AA1AA1AA11", "SWIFT", "1970-01-02")]].concat());
        assert!(matches!(remove(&panel, number("1AA1AA1AA11")), Err(EditError::Several)));
        assert!(matches!(remove(&panel, number("999999999")), Err(EditError::NoNumber)));
        assert!(matches!(remove(&panel, number("5AA1AA1AA11")), Err(EditError::NoMember)));
        assert_eq!(remove(&panel, number("2aa1-aa1-aa11")).unwrap(), (2, 1));
    }

    #[test]
    fn somebody_without_a_number_is_named_by_their_key_and_dropped_by_what_they_are_known_by() {
        let folder = tempfile::tempdir().unwrap();
        let mut nameless = patient("1", "", "Quill Jr.", "1950-01-02");
        nameless.as_object_mut().unwrap().remove("identifier");
        let panel = panel(folder.path(), &[nameless, patient("2", "2AA1AA1AA11", "SWIFT", "1970-01-02")]);
        let rows = files::read(&panel.source, &Matching::default()).unwrap();
        let key = rows.rows.iter().find(|row| row.identifiers().next().is_none()).unwrap().key;
        assert_eq!(remove(&panel, Named::Person(key, Vec::new())).unwrap(), (2, 1));
    }

    #[test]
    fn what_has_not_been_taken_on_is_not_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let panel = panel(folder.path(), &[patient("1", "1AA1AA1AA11", "QUILL", "1950-01-02")]);
        let add = || {
            let patient = patient("x", "2AA1AA1AA11", "SWIFT", "1970-01-02");
            Change::Add(Addition { patient, member_id: None, provider_npi: None, period: None })
        };
        assert_eq!(drafted(&panel, add()).unwrap(), (1, 2));
        let drafted = draft(&panel, &Matching::default(), (Some([0; 32]), &Rows::default), add(), 7);
        assert!(matches!(drafted, Err(EditError::Unseen)));
    }
}
