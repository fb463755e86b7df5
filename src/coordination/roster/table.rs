//! Rosters as tables: a header that names the columns, a row for each period of a member. Comma, semicolon, tab or bar between fields, as the header has it.
use super::options::{Columns, DateForm, Matching};
use super::rows::{Change, Draft, Place, ROWS_MAX, Reason, RosterError, Rows};
use super::{systems, values};
use jiff::civil::Date;
use std::borrow::Cow;
use std::path::Path;

/// Reads a table into the rows of its panel.
///
/// # Errors
/// An encoding that is not the one that was told, a column that is missing, or too many bad rows.
pub(super) fn read(
    bytes: &[u8],
    path: &Path,
    form: (&Columns, DateForm, bool),
    matching: &Matching,
    rows: &mut Rows,
) -> Result<(), RosterError> {
    let (columns, dates, latin_1) = form;
    let text = decoded(bytes, path, latin_1)?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(&text))
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(text.as_bytes());
    let unreadable = |error: csv::Error| form_error(path, format!("its header cannot be read: {error}"));
    let header = reader.headers().map_err(unreadable)?.clone();
    let places = Places::of(columns, &header, path)?;
    let file = u16::try_from(rows.files.len().saturating_sub(1)).unwrap_or(u16::MAX);
    let before = (rows.read, rows.bad);
    let mut record = csv::StringRecord::new();
    loop {
        let more = reader.read_record(&mut record);
        let line = record.position().map_or(0, |position| position.line());
        let place = Place { file, line: u32::try_from(line).unwrap_or(u32::MAX) };
        match more {
            Ok(false) => break,
            Ok(true) => {}
            Err(_) => {
                // The position of the reader: a record that failed has none.
                rows.read += 1;
                let line = u32::try_from(reader.position().line()).unwrap_or(u32::MAX);
                rows.reject(Place { file, line }, Reason::Unreadable);
                if reader.is_done() {
                    break;
                }
                continue;
            }
        }
        if record.iter().all(str::is_empty) {
            continue;
        }
        rows.read += 1;
        if rows.read > ROWS_MAX {
            return Err(RosterError::Large { path: path.to_owned(), what: "rows", max: ROWS_MAX });
        }
        let taken = if record.len() == header.len() {
            places.draft(&record, columns, dates).and_then(|draft| rows.take(draft, place, matching))
        } else {
            Err(Reason::Fields)
        };
        if let Err(reason) = taken {
            rows.reject(place, reason);
        }
    }
    if rows.read == before.0 {
        return Err(form_error(path, "it has a header and no rows".into()));
    }
    rows.judge(path, before.0, before.1)
}

fn form_error(path: &Path, text: String) -> RosterError {
    RosterError::Form { path: path.to_owned(), text }
}

/// The text without a byte order mark.
fn decoded<'b>(bytes: &'b [u8], path: &Path, latin_1: bool) -> Result<Cow<'b, str>, RosterError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(form_error(path, "is UTF-16; save it as UTF-8".into()));
    }
    let has_mark = bytes.starts_with(&[0xef, 0xbb, 0xbf]);
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    if latin_1 && !has_mark {
        return Ok(Cow::Owned(windows_1252(bytes)));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => {
            let line = memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count() + 1;
            let remedy = "save it as UTF-8, or give its source charset = \"latin-1\" if that is what it is";
            Err(form_error(path, format!("line {line} is not UTF-8; {remedy}")))
        }
    }
}

/// Every byte is a character of it.
fn windows_1252(bytes: &[u8]) -> String {
    let mut decoder = encoding_rs::WINDOWS_1252.new_decoder_without_bom_handling();
    // The longest possible text, so that one call reads it all.
    let mut text = vec![0; decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(0)];
    let (_, _, written, _) = decoder.decode_to_utf8(bytes, &mut text, true);
    text.truncate(written);
    String::from_utf8(text).unwrap_or_default()
}

/// What parts the fields of the header, outside of quotes.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    let mut quoted = false;
    let mut counts = [(0, b','), (0, b';'), (0, b'\t'), (0, b'|')];
    for byte in header.bytes() {
        quoted ^= byte == b'"';
        counts.iter_mut().filter(|(_, known)| *known == byte && !quoted).for_each(|(count, _)| *count += 1);
    }
    // The first of those that occur most.
    counts.iter().rev().max_by_key(|(count, _)| *count).map_or(b',', |(_, byte)| *byte)
}

/// Where the columns stand.
struct Places {
    id: Option<usize>,
    mrn: Option<usize>,
    mrn_aa: Option<usize>,
    family: Option<usize>,
    given: Option<usize>,
    dob: Option<usize>,
    sex: Option<usize>,
    street: Option<usize>,
    city: Option<usize>,
    zip: Option<usize>,
    phone: Option<usize>,
    start: Option<usize>,
    end: Option<usize>,
    pcp_npi: Option<usize>,
    care_manager: Option<usize>,
    consent: Option<usize>,
    change: Option<usize>,
}

impl Places {
    fn of(columns: &Columns, header: &csv::StringRecord, path: &Path) -> Result<Places, RosterError> {
        // Without a header the first line is somebody's, and not to be shown.
        let is_column = |name: &str| columns.names().iter().any(|column| name.eq_ignore_ascii_case(column));
        if !header.iter().any(is_column) {
            let text = "its first line has none of the columns; a roster begins with a line of their names";
            return Err(form_error(path, text.into()));
        }
        let find = |key: &'static str, column: &str| {
            if column.is_empty() {
                return Ok(None);
            }
            let mut named = header.iter().enumerate().filter(|(_, name)| name.eq_ignore_ascii_case(column));
            match (named.next(), named.next()) {
                (Some((at, _)), None) => Ok(Some(at)),
                (Some(_), Some(_)) => Err(form_error(path, format!("two columns are called \"{column}\" ({key})"))),
                (None, _) => Err(RosterError::Column {
                    path: path.to_owned(),
                    key,
                    column: column.to_owned(),
                    header: header.iter().map(values::kept).collect(),
                }),
            }
        };
        Ok(Places {
            id: find("id", &columns.id)?,
            mrn: find("mrn", &columns.mrn)?,
            mrn_aa: find("mrn_aa", &columns.mrn_aa)?,
            family: find("family", &columns.family)?,
            given: find("given", &columns.given)?,
            dob: find("dob", &columns.dob)?,
            sex: find("sex", &columns.sex)?,
            street: find("street", &columns.street)?,
            city: find("city", &columns.city)?,
            zip: find("zip", &columns.zip)?,
            phone: find("phone", &columns.phone)?,
            start: find("start", &columns.start)?,
            end: find("end", &columns.end)?,
            pcp_npi: find("pcp_npi", &columns.pcp_npi)?,
            care_manager: find("care_manager", &columns.care_manager)?,
            consent: find("consent", &columns.consent)?,
            change: find("change", &columns.change)?,
        })
    }

    fn draft(&self, record: &csv::StringRecord, columns: &Columns, dates: DateForm) -> Result<Draft, Reason> {
        let text = |place: Option<usize>| place.and_then(|at| record.get(at)).unwrap_or_default();
        let date =
            |place, reason| -> Result<Option<Date>, Reason> { values::date(text(place), dates).map_err(|_| reason) };
        let mut draft = Draft {
            family: text(self.family).to_owned(),
            given: text(self.given).to_owned(),
            street: text(self.street).to_owned(),
            city: text(self.city).to_owned(),
            zip: text(self.zip).to_owned(),
            phone: text(self.phone).to_owned(),
            sex: values::sex(text(self.sex)),
            birth: date(self.dob, Reason::Birth)?,
            start: date(self.start, Reason::Start)?,
            end: date(self.end, Reason::End)?,
            pcp: values::kept(text(self.pcp_npi)),
            care_manager: values::kept(text(self.care_manager)),
            consent: values::kept(text(self.consent)),
            change: Change::parse(text(self.change)).ok_or(Reason::Change)?,
            identifiers: Vec::new(),
        };
        draft.identify(columns.id_system.clone(), text(self.id));
        if let Some(system) = systems::of_authority(text(self.mrn_aa)) {
            draft.identify(system, text(self.mrn));
        }
        Ok(draft)
    }
}
