//! The audit: what went to whom, what was withheld from whom, and who changed whose list. One FHIR AuditEvent (R4, in the shapes of IHE BALP) a line.
//!
//! ```text
//! DATA/audit/audit-00000000000000000001.ndjson   named by the number of its first line
//! DATA/audit/head                                number and hash of the last line that was synced: 20 digits, a blank, 64 hexadecimal digits, a line feed
//! DATA/audit/pruned                              the same of the last line that was removed; only where some were
//! DATA/audit/lock
//!
//! {"seq":1,"at":1772712000000,"before":"<hash of line 0>","event":{"resourceType":"AuditEvent",…},"hash":"<SHA-256 of what stands before ,"hash">"}
//! ```
//!
//! `before` of the very first line is 64 zeros; that of the first that is left, where older files were removed ([`prune`]), is the hash in `pruned`; that of the first line of a file is the hash of the last line of the file before. Whoever changes a byte breaks the chain there; whoever
//! writes it anew from there on has to change `head` too, so a copy of its hash kept elsewhere proves all that came before. Ids only: no name, no identifier of a patient, no code or label
//! of what was withheld. A second chain, `DATA/access`, says who of those who run the gateway looked at what and did what ([`Access`]). A batch that is written again after a crash stands there twice, under the same ids.
mod access;
mod change;
mod line;
mod prune;
mod read;
mod record;
mod verify;
mod writer;

pub use access::{Access, Looks, Unwritten, witnessed};
pub use change::{Change, Verb};
pub use prune::{Pruned, prune};
pub use read::{Shown, latest};
pub use record::{Entry, Outcome};
pub use verify::{Break, Report, verify};
pub use writer::{Lasting, Options, Writer};

use std::io;
use std::path::PathBuf;

/// What becomes a line.
pub trait Record {
    /// When it was, in milliseconds since 1970.
    fn at_ms(&self) -> i64;
    /// Appends the AuditEvent as JSON in one line.
    fn write(&self, out: &mut Vec<u8>);
}

/// Why the audit cannot be written: nothing may be delivered then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process writes it.
    #[error("{} is in use by another handoff process", .0.display())]
    InUse(PathBuf),
    /// What is there is not what was written.
    #[error("{} was changed since it was written: {what}; see `handoff audit verify`, and move the folder away to begin a new chain", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// An entry that cannot be a line.
    #[error("an audit entry is longer than {} bytes", line::LINE_MAX)]
    TooLong,
    /// After an error the files are looked at anew first: open the writer again.
    #[error("the audit could not be written before; it is opened again first")]
    Failed,
    /// It could not be made, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    }
}

#[cfg(test)]
mod tests;
