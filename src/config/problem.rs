//! What is wrong with a configuration, and where.
use crate::delivery::channel::egress::Allowed;
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line and column from 1; none when the file as a whole is meant.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub text: String,
}

/// Everything that is wrong with a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Problems {
        Problems {
            path: path.to_owned(),
            problems: vec![Problem { place: None, text: format!("cannot be read: {error}") }],
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some((line, column)) = problem.place {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}", problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A file that is being checked; collects what is wrong.
pub(super) struct Document<'a> {
    pub text: &'a str,
    pub path: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    /// Where targets may lead; read before they are.
    pub allowed: OnceCell<Allowed>,
    listening: RefCell<Vec<Listening>>,
    problems: RefCell<Vec<Problem>>,
}

/// Who listens where.
struct Listening {
    owner: String,
    address: String,
    at: Range<usize>,
}

impl<'a> Document<'a> {
    pub fn new(text: &'a str, path: &'a Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Document<'a> {
        Document {
            text,
            path,
            environment,
            allowed: OnceCell::new(),
            listening: RefCell::default(),
            problems: RefCell::default(),
        }
    }

    /// Notes a mistake at bytes of the file.
    pub fn wrong(&self, at: Option<Range<usize>>, text: impl Into<String>) {
        let place = at.map(|span| self.place(span.start));
        self.problems.borrow_mut().push(Problem { place, text: text.into() });
    }

    /// The value when nothing is wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        if problems.is_empty() { Ok(value) } else { Err(Problems { path: self.path.to_owned(), problems }) }
    }

    /// Where targets may lead.
    pub fn allowed(&self) -> Allowed {
        self.allowed.get().cloned().unwrap_or_default()
    }

    /// Notes a host that `[egress]` does not let through.
    pub fn check_host(&self, host: &str, at: &Range<usize>) {
        if let Err(refused) = self.allowed().check(host) {
            self.wrong(Some(at.clone()), refused.to_string());
        }
    }

    /// Notes where somebody listens, and a mistake at the later of two that cannot both have their socket.
    pub fn listens(&self, owner: String, address: &str, at: &Range<usize>) {
        let here = Listening { owner, address: address.to_owned(), at: at.clone() };
        for there in self.listening.borrow().iter().filter(|there| collide(&there.address, address)) {
            let (first, second) = if there.at.start < at.start { (there, &here) } else { (&here, there) };
            let (owner, line) = (&first.owner, self.place(first.at.start).0);
            let taken = format!("{} is taken by {owner} in line {line}", first.address);
            self.wrong(Some(second.at.clone()), format!("{taken}: give {} another port", second.owner));
        }
        self.listening.borrow_mut().push(here);
    }

    /// A path, relative to the folder of the file.
    pub fn relative(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A text with each `${NAME}` replaced.
    pub fn expand(&self, text: &str, at: Range<usize>) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.wrong(Some(at), "`${` without `}`: an environment variable is written ${NAME}");
                return out;
            };
            match (self.environment)(name) {
                Some(value) => out.push_str(&value),
                None => self.wrong(Some(at.clone()), format!("the environment variable {name} is not set")),
            }
            rest = after;
        }
        out + rest
    }

    fn place(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Whether two sockets could not both be bound: the same port of the same host, or of all hosts of this machine. Port 0 is another one each time.
fn collide(one: &str, other: &str) -> bool {
    let (Some((one, port)), Some((other, other_port))) = (one.rsplit_once(':'), other.rsplit_once(':')) else {
        return false;
    };
    let (port, other_port) = (port.parse::<u16>().ok(), other_port.parse::<u16>().ok());
    let (one, other) = (host(one), host(other));
    port.is_some_and(|port| port != 0)
        && port == other_port
        && (one == other || covers(&one, &other) || covers(&other, &one))
}

/// An address, or a name that only a look-up could tell.
fn host(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let address = text.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map(|address| address.to_canonical()).map_err(|_| text.to_ascii_lowercase())
}

/// Whether the one is every address of this machine, the other among them. `[::]` takes those of IPv4 as well.
fn covers(one: &Result<IpAddr, String>, other: &Result<IpAddr, String>) -> bool {
    match (one, other) {
        (Ok(IpAddr::V4(_)), Ok(IpAddr::V6(_))) => false,
        (Ok(one), _) => one.is_unspecified(),
        (Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::collide;

    #[test]
    fn sockets_that_cannot_both_be_bound() {
        for (one, other, expected) in [
            ("127.0.0.1:2575", "127.0.0.1:2575", true),
            ("127.0.0.1:2575", "127.0.0.1:2576", false),
            ("127.0.0.1:2575", "127.0.0.2:2575", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("localhost:2575", "127.0.0.1:2575", true),
            ("0.0.0.0:2575", "10.1.2.3:2575", true),
            ("0.0.0.0:2575", "[::1]:2575", false),
            ("[::]:2575", "127.0.0.1:2575", true),
            ("[::]:2575", "lab.example:2575", true),
            ("lab.example:2575", "LAB.example:2575", true),
            ("lab.example:2575", "his.example:2575", false),
            ("no address", "no address", false),
        ] {
            assert_eq!((collide(one, other), collide(other, one)), (expected, expected), "{one} and {other}");
        }
    }
}
