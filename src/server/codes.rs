//! Rows for codes that no table had: written into the site's folder, compiled before they are kept, taken on without a restart.
//!
//! ```text
//! SITE/tables/<Table>.csv        v2_code,fhir_code,display,system
//!                                X7,male,,
//! ```
//! A CSV file of that name below the site's `tables` lies over the table of the mappings. Where it is not there it is made; else one line is put behind its last,
//! or takes the place of the one for the same code. Nothing else is written. First the mappings with the new text are compiled in memory: what does not compile is never
//! on the disk. Then the files are replaced (each whole, under its name only when it is synced), and the configuration is read anew; where that fails, for
//! whatever reason, the files are put back as they were.
use super::control::{ReloadError, ReloadSummary};
use super::gateway::Gateway;
use crate::mapping::Plan;
use crate::mapping::diagnostic::Severity;
use crate::mapping::source::{Layer, SourceFile};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A row that a table is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRow {
    /// The listener whose site it is for.
    pub listener: String,
    /// The code table.
    pub table: String,
    /// The code of the messages.
    pub code: String,
    /// The FHIR code.
    pub fhir: String,
    /// Its display; may be empty.
    pub display: String,
    /// Its system; empty: that of the table's other rows with the same FHIR code.
    pub system: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The files that have other text now.
    pub files: Vec<PathBuf>,
    /// What the reload has changed.
    pub reload: ReloadSummary,
}

/// A row as it would be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRow {
    /// The file.
    pub path: PathBuf,
    /// Whether it would be made.
    pub is_new: bool,
    /// The first line of it, which names the columns.
    pub header: String,
    /// The line.
    pub line: String,
    /// The line whose place it takes.
    pub instead_of: Option<String>,
}

/// Why nothing was written, or all of it was put back.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The listener is not configured any more.
    #[error("there is no listener \"{0}\" any more")]
    NoListener(String),
    /// There is no folder to write to.
    #[error("listener \"{0}\" has no site folder to write the row to; give it `site = \"DIR\"` in the configuration")]
    NoSite(String),
    /// The mappings have no table of that name.
    #[error("the mappings of listener \"{listener}\" have no code table \"{table}\"")]
    NoTable {
        /// The listener.
        listener: String,
        /// The table.
        table: String,
    },
    /// A row without a FHIR code, or with a line end in it.
    #[error("the row for {0}: {1}")]
    Row(String, &'static str),
    /// The mappings do not compile with the rows.
    #[error("the mappings do not compile with these rows; nothing was written\n{0}")]
    Compile(String),
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration cannot be read anew; the files are as they were.
    #[error("the configuration was not taken on, and the files are as they were: {0}")]
    Reload(#[from] ReloadError),
}

/// Files by path: the text that they are to have.
type Texts = BTreeMap<PathBuf, String>;
/// The folder of a listener's site, and its plan.
pub(super) type Site = (Option<PathBuf>, Arc<Plan>);

impl Gateway {
    /// Writes rows and takes them on: all of them, or none.
    pub(super) async fn resolve(&mut self, rows: Vec<CodeRow>) -> Result<Resolved, ResolveError> {
        let sites = self.sites.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let texts = texts(&rows, &|listener| sites.get(listener).cloned())?;
            let before: Vec<(PathBuf, Option<Vec<u8>>)> =
                texts.keys().map(|path| Ok((path.clone(), read(path)?))).collect::<Result<_, ResolveError>>()?;
            write_all(&texts, &before)?;
            Ok::<_, ResolveError>((texts, before))
        });
        let (texts, before) = prepared.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        match self.reload().await {
            Ok(reload) => Ok(Resolved { files: texts.into_keys().collect(), reload }),
            Err(error) => {
                let back = tokio::task::spawn_blocking(move || put_back(&before)).await;
                back.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                Err(error.into())
            }
        }
    }
}

impl Gateway {
    /// What [`Gateway::resolve`] would write; nothing is.
    pub(super) async fn resolution(&self, rows: Vec<CodeRow>) -> Result<Vec<PlannedRow>, ResolveError> {
        let sites = self.sites.clone();
        let planned = tokio::task::spawn_blocking(move || {
            let texts = texts(&rows, &|listener| sites.get(listener).cloned())?;
            let planned = |(path, after): (&PathBuf, &String)| {
                let before = String::from_utf8(read(path)?.unwrap_or_default()).unwrap_or_default();
                Ok(planned(path, &before, after))
            };
            texts.iter().map(planned).collect()
        });
        planned.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// What becomes of a file: its last line is the new one.
fn planned(path: &Path, before: &str, after: &str) -> PlannedRow {
    let line = after.lines().last().unwrap_or_default().to_owned();
    let header = after.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    let gone = before.lines().find(|old| !old.trim().is_empty() && !after.lines().any(|kept| kept == *old));
    // The same line again is at another place only.
    let same = || before.lines().skip(1).find(|old| *old == line);
    let instead_of = gone.or_else(same).map(str::to_owned);
    PlannedRow { path: path.to_owned(), is_new: before.is_empty(), header, line, instead_of }
}

/// The texts of all files that rows change, compiled with the rest.
fn texts(rows: &[CodeRow], site_of: &dyn Fn(&str) -> Option<Site>) -> Result<Texts, ResolveError> {
    let mut all = Texts::new();
    let mut plans: Vec<(PathBuf, Arc<Plan>)> = Vec::new();
    for row in rows {
        let (site, plan) = site_of(&row.listener).ok_or_else(|| ResolveError::NoListener(row.listener.clone()))?;
        let site = site.ok_or_else(|| ResolveError::NoSite(row.listener.clone()))?;
        // The name of a table becomes that of a file.
        let is_name = !row.table.starts_with('.') && !row.table.contains(['/', '\\', '\0']);
        if !is_name || !plan.sources().tables.contains_key(&row.table) {
            let (listener, table) = (row.listener.clone(), row.table.clone());
            return Err(ResolveError::NoTable { listener, table });
        }
        check(row)?;
        let path = site.join("tables").join(format!("{}.csv", row.table));
        let before = match all.remove(&path) {
            Some(text) => text,
            None => String::from_utf8(read(&path)?.unwrap_or_default()).map_err(|_| ResolveError::Write {
                path: path.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"),
            })?,
        };
        all.insert(path, with_row(&before, row));
        if !plans.iter().any(|(known, _)| *known == site) {
            plans.push((site, plan));
        }
    }
    for (site, plan) in &plans {
        let own = |(path, _): &(&PathBuf, &String)| path.starts_with(site);
        let compiled = compile(plan, all.iter().filter(own))?;
        for row in rows.iter().filter(|row| site_of(&row.listener).is_some_and(|(of, _)| of.as_ref() == Some(site))) {
            if !compiled.has_code(&row.table, &row.code) {
                let text = "another file of the site says otherwise of this code; look at its [table] sections";
                return Err(ResolveError::Row(row.table.clone(), text));
            }
        }
    }
    Ok(all)
}

fn check(row: &CodeRow) -> Result<(), ResolveError> {
    let wrong = |why| Err(ResolveError::Row(row.table.clone(), why));
    let texts = [&row.code, &row.fhir, &row.display, &row.system];
    if row.fhir.trim().is_empty() || row.code.trim().is_empty() {
        return wrong("a row needs the code of the messages and the FHIR code");
    }
    if texts.iter().any(|text| text.len() > 1000 || text.contains(char::is_control)) {
        return wrong("a text is too long, or holds control characters");
    }
    Ok(())
}

/// The text of a table with a row more, or with another one for the same code.
fn with_row(before: &str, row: &CodeRow) -> String {
    const HEADER: &str = "v2_code,fhir_code,display,system";
    let header = before.lines().find(|line| !line.trim().is_empty()).unwrap_or(HEADER).to_owned();
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    let key = columns.iter().position(|name| matches!(*name, "v2_code" | "v2code"));
    let cells = columns.iter().map(|name| match *name {
        "v2_code" | "v2code" => row.code.as_str(),
        "fhir_code" | "code" => &row.fhir,
        "display" => &row.display,
        "system" => &row.system,
        _ => "",
    });
    let line = cells.map(quoted).collect::<Vec<_>>().join(",");
    let is_same = |text: &str| {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let record = reader.records().next().and_then(Result::ok);
        key.and_then(|key| record.as_ref()?.get(key)).is_some_and(|code| code.trim() == row.code)
    };
    let mut out = String::new();
    if before.trim().is_empty() {
        out.push_str(HEADER);
        out.push('\n');
    }
    for (number, kept) in before.split_inclusive('\n').enumerate() {
        if number == 0 || !is_same(kept) {
            out.push_str(kept);
        }
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(&line);
    out.push('\n');
    out
}

/// A text as a cell of a CSV file.
fn quoted(text: &str) -> String {
    if text.contains([',', '"']) || text.trim() != text {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

/// The plan of a site with other texts of some files.
fn compile<'t>(plan: &Plan, texts: impl Iterator<Item = (&'t PathBuf, &'t String)>) -> Result<Plan, ResolveError> {
    let mut files = plan.sources().files.clone();
    for (path, text) in texts {
        let name = path.to_string_lossy().into_owned();
        match files.iter_mut().find(|file| file.name == name) {
            Some(file) => file.text = text.clone(),
            None => {
                // Before what lies over it.
                let at = files.iter().position(|file| matches!(file.layer, Layer::Feed(_))).unwrap_or(files.len());
                files.insert(at, SourceFile { name, text: text.clone(), layer: Layer::Site });
            }
        }
    }
    match Plan::load(files) {
        Ok((plan, _)) => Ok(plan),
        Err((sources, diagnostics)) => {
            let sorted = diagnostics.sorted();
            let errors = sorted.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
            Err(ResolveError::Compile(errors.map(|diagnostic| diagnostic.render(&sources)).collect()))
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, ResolveError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ResolveError::Write { path: path.to_owned(), source }),
    }
}

/// Writes all files; where one cannot be written, those before it are put back.
fn write_all(texts: &Texts, before: &[(PathBuf, Option<Vec<u8>>)]) -> Result<(), ResolveError> {
    for (path, text) in texts {
        if let Err(source) = replace(path, text.as_bytes()) {
            put_back(before);
            return Err(ResolveError::Write { path: path.clone(), source });
        }
    }
    Ok(())
}

/// A file whole or not at all, on stable storage.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        // Its name is in the folder of the site, which must be on the disk as well.
        folder.parent().map_or(Ok(()), sync)?;
    }
    let unfinished = path.with_extension("csv.new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync(folder)
}

/// The names in a folder, on stable storage.
fn sync(folder: &Path) -> io::Result<()> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(here)?.sync_all()
}

fn put_back(before: &[(PathBuf, Option<Vec<u8>>)]) {
    for (path, bytes) in before {
        let done = match bytes {
            Some(bytes) => replace(path, bytes),
            None if path.exists() => fs::remove_file(path).and_then(|()| path.parent().map_or(Ok(()), sync)),
            None => Ok(()),
        };
        if let Err(error) = done {
            tracing::error!("{} could not be put back as it was: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(code: &str, fhir: &str) -> CodeRow {
        CodeRow {
            listener: "adt".into(),
            table: "AdministrativeSex".into(),
            code: code.into(),
            fhir: fhir.into(),
            display: String::new(),
            system: String::new(),
        }
    }

    #[test]
    fn a_row_is_put_behind_the_last_or_in_the_place_of_its_like() {
        let first = with_row("", &row("X7", "male"));
        assert_eq!(first, "v2_code,fhir_code,display,system\nX7,male,,\n");
        let second = with_row(first.trim_end(), &row("a,\"b", "other"));
        assert_eq!(second, "v2_code,fhir_code,display,system\nX7,male,,\n\"a,\"\"b\",other,,\n");
        let third = with_row(&second, &row("X7", "female"));
        assert_eq!(third, "v2_code,fhir_code,display,system\n\"a,\"\"b\",other,,\nX7,female,,\n");
        assert_eq!(with_row("code,note,v2code\r\n", &row("Q", "other")), "code,note,v2code\r\nother,,Q\n");
    }

    #[test]
    fn what_would_be_written_is_told_first() {
        let path = Path::new("site/tables/AdministrativeSex.csv");
        let first = with_row("", &row("X7", "male"));
        let told = planned(path, "", &first);
        assert_eq!((told.is_new, told.line.as_str(), told.instead_of), (true, "X7,male,,", None));
        let told = planned(path, &first, &with_row(&first, &row("X8", "other")));
        assert_eq!((told.is_new, told.line.as_str(), told.instead_of), (false, "X8,other,,", None));
        let told = planned(path, &first, &with_row(&first, &row("X7", "female")));
        assert_eq!((told.header.as_str(), told.line.as_str()), ("v2_code,fhir_code,display,system", "X7,female,,"));
        assert_eq!(told.instead_of.as_deref(), Some("X7,male,,"));
    }

    #[test]
    fn what_does_not_compile_or_has_no_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plan = Arc::new(Plan::embedded());
        let site = folder.path().to_owned();
        let with_site = |listener: &str| (listener == "adt").then(|| (Some(site.clone()), Arc::clone(&plan)));
        let texts_of = |row: CodeRow| texts(&[row], &with_site);
        let good = texts_of(row("X7", "male")).unwrap();
        assert_eq!(good.keys().collect::<Vec<_>>(), [&site.join("tables/AdministrativeSex.csv")]);
        let wrong = texts_of(row("X7", "no-gender"));
        assert!(matches!(&wrong, Err(ResolveError::Compile(why)) if why.contains("no-gender")), "{wrong:?}");
        for bad in [
            CodeRow { table: "../evil".into(), ..row("X7", "male") },
            CodeRow { table: "NoSuchTable".into(), ..row("X7", "male") },
        ] {
            assert!(matches!(texts_of(bad), Err(ResolveError::NoTable { .. })));
        }
        for bad in [row("X7", ""), row("X\n7", "male"), row("", "male")] {
            assert!(matches!(texts_of(bad), Err(ResolveError::Row(..))));
        }
        let elsewhere = CodeRow { listener: "gone".into(), ..row("X7", "male") };
        assert!(matches!(texts_of(elsewhere), Err(ResolveError::NoListener(_))));
        let without = |_: &str| Some((None, Arc::clone(&plan)));
        assert!(matches!(texts(&[row("X7", "male")], &without), Err(ResolveError::NoSite(_))));
    }

    #[test]
    fn files_are_put_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("tables/Old.csv"), folder.path().join("tables/New.csv"));
        fs::create_dir(folder.path().join("tables")).unwrap();
        fs::write(&old, "v2_code,fhir_code\n").unwrap();
        let before = vec![(old.clone(), read(&old).unwrap()), (new.clone(), read(&new).unwrap())];
        let texts = Texts::from([(old.clone(), "changed".to_owned()), (new.clone(), "made".to_owned())]);
        write_all(&texts, &before).unwrap();
        assert_eq!(fs::read_to_string(&new).unwrap(), "made");
        put_back(&before);
        assert_eq!(fs::read_to_string(&old).unwrap(), "v2_code,fhir_code\n");
        assert!(!new.exists());
    }
}
