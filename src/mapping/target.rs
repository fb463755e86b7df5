//! The left-hand sides of the mapping language: `name[legal].given`, `extension(patient-religion)`, `requester->organization`.

/// A parsed left side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The steps, outermost first. Empty: the element itself (`"*"`).
    pub steps: Vec<Step>,
}

/// One step of a left side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Element name, `extension` for extensions, `value[x]` for a choice.
    pub name: String,
    /// The slot label in brackets.
    pub label: Option<String>,
    /// The URL (or short name) of `extension(…)`.
    pub extension: Option<String>,
    /// Reached through a reference (`->`), with the resource type if it was given.
    pub through: Option<Option<String>>,
}

/// Reads a left side.
///
/// # Errors
/// The byte offset and what is wrong.
pub fn parse(text: &str) -> Result<Target, (usize, &'static str)> {
    if text == "*" {
        return Ok(Target { steps: Vec::new() });
    }
    let mut steps = Vec::new();
    let mut rest = text;
    let mut through = None;
    loop {
        let at = text.len() - rest.len();
        let (mut step, next) = step(rest).map_err(|(offset, what)| (at + offset, what))?;
        rest = next;
        if through.is_some() && step.name.starts_with(|c: char| c.is_ascii_uppercase()) {
            through = Some(Some(step.name));
            rest = rest.strip_prefix('.').ok_or((text.len() - rest.len(), "an element after the resource type"))?;
            continue;
        }
        step.through = through.take();
        steps.push(step);
        if rest.is_empty() {
            return Ok(Target { steps });
        } else if let Some(next) = rest.strip_prefix('.') {
            rest = next;
        } else if let Some(next) = rest.strip_prefix("->") {
            through = Some(None);
            rest = next;
        } else {
            return Err((text.len() - rest.len(), "`.`, `->`, `[label]` or the end"));
        }
    }
}

fn step(text: &str) -> Result<(Step, &str), (usize, &'static str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    if end == 0 {
        return Err((0, "an element name"));
    }
    let (name, mut rest) = text.split_at(end);
    let mut step = Step { name: name.to_owned(), label: None, extension: None, through: None };
    if let Some(inner) = rest.strip_prefix('(') {
        let close = inner.find(')').ok_or((end, "a closing `)`"))?;
        step.extension = Some(inner[..close].to_owned());
        rest = &inner[close + 1..];
    }
    if let Some(inner) = rest.strip_prefix('[') {
        let close = inner.find(']').ok_or((end, "a closing `]`"))?;
        if &inner[..close] == "x" {
            step.name.push_str("[x]");
        } else {
            step.label = Some(inner[..close].to_owned());
        }
        rest = &inner[close + 1..];
    }
    Ok((step, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_labels_extensions_and_arrows() {
        let target = parse("identifier[id].type").unwrap();
        assert_eq!(target.steps[0].label.as_deref(), Some("id"));
        let target = parse("extension(http://x.example/a.b)").unwrap();
        assert_eq!(target.steps[0].extension.as_deref(), Some("http://x.example/a.b"));
        let target = parse("hospitalization.destination->Location.name").unwrap();
        assert_eq!(target.steps[2].through, Some(Some("Location".into())));
        assert_eq!(parse("value[x]").unwrap().steps[0].name, "value[x]");
        assert!(parse("name[legal").is_err());
        assert!(parse("").is_err());
    }
}
