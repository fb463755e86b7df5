//! Reads the notation of structure grammars: `[ ]` optional, `{ }` repeating, `NAME:` after an opening bracket, `(NAME: …)`, `<A|B>`.
use super::grammar::{Child, ChildKind, GrammarError, Group};
use super::span::SegmentId;

/// The groups of a grammar, the root first, each before the groups within it.
///
/// # Errors
/// For the first place that does not follow the notation.
pub(super) fn read_groups(name: &str, text: &str) -> Result<Vec<Group>, GrammarError> {
    let mut reader = Reader { text, at: 0, groups: vec![Group::new(name, name.to_owned(), None)] };
    reader.group(0, None, 0)?;
    Ok(reader.groups)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    groups: Vec<Group>,
}

/// How a child stands in its group.
#[derive(Clone, Copy)]
struct Mode {
    required: bool,
    repeats: bool,
    choice: Option<u16>,
}

impl Reader<'_> {
    /// Reads children into a group until `close`, or the end of the text.
    fn group(&mut self, group: u16, close: Option<char>, depth: usize) -> Result<(), GrammarError> {
        let opened = self.at;
        loop {
            match (self.peek(), close) {
                (None, None) => break,
                (None, Some(close)) => {
                    return Err(self.error_at(opened, format!("this group is not closed by {close}")));
                }
                (Some(found), Some(close)) if found == close => break,
                _ => self.item(group, Mode { required: true, repeats: false, choice: None }, depth)?,
            }
        }
        if self.groups[usize::from(group)].children.is_empty() {
            return Err(self.error_at(opened, "the group is empty: name at least one segment".to_owned()));
        }
        Ok(())
    }

    /// Reads one segment, bracket or choice into `group`.
    fn item(&mut self, group: u16, mode: Mode, depth: usize) -> Result<(), GrammarError> {
        if depth > DEPTH_MAX {
            return Err(self.error_at(self.at, format!("more than {DEPTH_MAX} brackets within each other")));
        }
        match self.peek() {
            Some('[') => self.bracket(group, ']', Mode { required: false, ..mode }, depth),
            Some('{') => self.bracket(group, '}', Mode { repeats: true, ..mode }, depth),
            Some('(') => self.bracket(group, ')', mode, depth),
            Some('<') => self.choice(group, mode, depth),
            Some(letter) if letter.is_ascii_alphanumeric() => self.segment(group, mode),
            Some(other) => Err(self.error_at(
                self.at,
                format!("unexpected {other}: a segment, [ ], {{ }}, (NAME: ) or <A|B> is expected"),
            )),
            None => Err(self.error_at(self.at, "a segment is expected".to_owned())),
        }
    }

    fn bracket(&mut self, group: u16, close: char, mode: Mode, depth: usize) -> Result<(), GrammarError> {
        let opened = self.at;
        self.at += 1;
        if let Some(name) = self.group_name()? {
            let inner = self.groups.len() as u16;
            let path = format!("{}.{name}", self.groups[usize::from(group)].path);
            self.groups.push(Group::new(&name, path, Some(group)));
            self.push(group, ChildKind::Group(inner), &name, mode, opened)?;
            self.group(inner, Some(close), depth + 1)?;
        } else {
            self.item(group, mode, depth + 1)?;
            match self.peek() {
                Some(found) if found == close => {}
                None => {
                    return Err(self.error_at(opened, format!("this bracket is not closed by {close}")));
                }
                Some(_) => {
                    return Err(self.error_at(
                        opened,
                        "a bracket around more than one item needs a name: write NAME: after it".to_owned(),
                    ));
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    fn choice(&mut self, group: u16, mode: Mode, depth: usize) -> Result<(), GrammarError> {
        let opened = self.at;
        if mode.choice.is_some() {
            return Err(self.error_at(opened, "a choice within a choice: list all alternatives in one".to_owned()));
        }
        self.at += 1;
        let first = self.groups[usize::from(group)].children.len() as u16;
        loop {
            self.item(group, Mode { choice: Some(first), ..mode }, depth + 1)?;
            match self.peek() {
                Some('|') => self.at += 1,
                Some('>') => break,
                _ => {
                    return Err(self.error_at(
                        opened,
                        "the alternatives of a choice are separated by | and closed by >".to_owned(),
                    ));
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    fn segment(&mut self, group: u16, mode: Mode) -> Result<(), GrammarError> {
        let start = self.at;
        let word = self.word();
        let id = SegmentId::new(word.as_bytes()).filter(|id| id.as_str() == word);
        let Some(id) = id else {
            return Err(self.error_at(
                start,
                format!("{word} is no segment: three capitals and digits are (a group name ends in a colon)"),
            ));
        };
        self.push(group, ChildKind::Segment(id), &word, mode, start)
    }

    fn push(&mut self, group: u16, kind: ChildKind, name: &str, mode: Mode, at: usize) -> Result<(), GrammarError> {
        let full = self.groups.len() > NAMES_MAX || self.groups[usize::from(group)].children.len() >= NAMES_MAX;
        if full {
            return Err(self.error_at(at, format!("more than {NAMES_MAX} groups, or segments in one group")));
        }
        let children = &mut self.groups[usize::from(group)].children;
        let same = children.iter().filter(|child| child.key.split('#').next() == Some(name)).count();
        let key = if same == 0 { name.to_owned() } else { format!("{name}#{}", same + 1) };
        let Mode { required, repeats, choice } = mode;
        children.push(Child { kind, key, required, repeats, choice, symbol: u16::MAX });
        Ok(())
    }

    /// The name after an opening bracket, if a colon follows it.
    fn group_name(&mut self) -> Result<Option<String>, GrammarError> {
        self.peek();
        let start = self.at;
        let name = self.word();
        if self.peek() != Some(':') {
            self.at = start;
            return Ok(None);
        }
        if name.is_empty() {
            return Err(self.error_at(start, "a group name is expected before the colon".to_owned()));
        }
        self.at += 1;
        Ok(Some(name))
    }

    fn word(&mut self) -> String {
        let rest = &self.text[self.at..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    /// The next character that is no blank; stops before it.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn error_at(&self, at: usize, message: String) -> GrammarError {
        GrammarError { column: self.text[..at].chars().count() + 1, message }
    }
}

const DEPTH_MAX: usize = 32;
const NAMES_MAX: usize = 4096;
