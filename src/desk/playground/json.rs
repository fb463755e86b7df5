//! A Bundle in lines, each with what it is, so that a page can show it in colours and mark what has changed.
use maud::{Markup, html};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// One line.
struct Line<'v> {
    depth: usize,
    key: Option<&'v str>,
    /// A scalar as JSON, or a bracket.
    text: String,
    class: &'static str,
    comma: bool,
    changed: bool,
    origin: Option<&'v str>,
}

/// A Bundle of more lines is not shown to its end.
const LINES_MAX: usize = 20_000;

/// Walks through a value; recursion is as deep as the value, which the reader of JSON limits.
struct Walk<'v> {
    lines: Vec<Line<'v>>,
    changed: &'v HashSet<&'v str>,
    origins: &'v HashMap<String, String>,
}

/// The Bundle, what has changed in it marked; beside each value, where that is known, what it came from.
pub(super) fn shown(bundle: &Value, changed: &HashSet<&str>, origins: &HashMap<String, String>) -> Markup {
    let mut walk = Walk { lines: Vec::new(), changed, origins };
    walk.value(0, None, "Bundle", bundle, false, false);
    let cut = walk.lines.len() > LINES_MAX;
    html! {
        pre.fhir { code {
            @for line in walk.lines.iter().take(LINES_MAX) { (one(line)) }
        } }
        @if cut { p.soft { "The Bundle has " (walk.lines.len()) " lines; the first " (LINES_MAX) " are shown." } }
    }
}

fn one(line: &Line<'_>) -> Markup {
    let content = html! {
        @if let Some(key) = line.key { span.key { (Value::from(key).to_string()) } ": " }
        span class=(line.class) { (line.text) } @if line.comma { "," }
    };
    html! {
        ("  ".repeat(line.depth))
        @if line.changed { mark { (content) } } @else { (content) }
        @if let Some(origin) = line.origin { span.origin { "  ← " (origin) } }
        "\n"
    }
}

impl<'v> Walk<'v> {
    fn value(&mut self, depth: usize, key: Option<&'v str>, path: &str, value: &'v Value, comma: bool, around: bool) {
        let changed = around || self.changed.contains(path);
        let line = |text: String, class| Line { depth, key, text, class, comma, changed, origin: None };
        let (open, close, count) = match value {
            Value::Object(object) if !object.is_empty() => ("{", "}", object.len()),
            Value::Array(list) if !list.is_empty() => ("[", "]", list.len()),
            scalar => {
                let class = match scalar {
                    Value::String(_) => "string",
                    Value::Number(_) => "num",
                    _ => "word",
                };
                let origin = self.origins.get(path).map(String::as_str);
                self.lines.push(Line { origin, ..line(scalar.to_string(), class) });
                return;
            }
        };
        self.lines.push(Line { comma: false, ..line(open.to_owned(), "bracket") });
        match value {
            Value::Object(object) => {
                for (number, (name, inner)) in object.iter().enumerate() {
                    self.value(depth + 1, Some(name), &format!("{path}.{name}"), inner, number + 1 < count, changed);
                }
            }
            Value::Array(list) => {
                for (number, inner) in list.iter().enumerate() {
                    self.value(depth + 1, None, &format!("{path}[{number}]"), inner, number + 1 < count, changed);
                }
            }
            _ => {}
        }
        self.lines.push(Line { key: None, ..line(close.to_owned(), "bracket") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bundle_reads_as_json_and_shows_what_changed() {
        let bundle = json!({ "a": [{ "b": "<x>\n" }, 1.50, true], "c": {}, "d": [] });
        let (changed, mut origins) = (HashSet::from(["Bundle.a[0]"]), HashMap::new());
        origins.insert("Bundle.a[0].b".to_owned(), "PID-5".to_owned());
        let html = shown(&bundle, &changed, &origins).into_string();
        let text = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        assert!(html.contains("&lt;x&gt;") && !html.contains("<x>"), "{html}");
        assert!(text.contains("← PID-5"), "{text}");
        assert_eq!(html.matches("<mark>").count(), 3, "{html}");
        let mut plain = String::new();
        let mut inside = false;
        for part in html.split_inclusive(['<', '>']) {
            if !inside {
                plain.push_str(part.trim_end_matches('<'));
            }
            inside = part.ends_with('<');
        }
        let plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("  ← PID-5", "");
        assert_eq!(serde_json::from_str::<Value>(&plain).unwrap(), bundle, "{plain}");
    }
}
