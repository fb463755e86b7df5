//! Expressions back into the language in which they are written. Spaces may differ from the file, the meaning does not.
use crate::mapping::expression::{Argument, Condition, Operand, Path, Repetition, Value};
use std::cmp::Ordering;

/// `PID-3[1].4.2`.
pub fn path(path: &Path) -> String {
    let mut text = path.segment.as_ref().map_or_else(String::new, |s| format!("{s}-"));
    text.push_str(&path.field.to_string());
    match &path.repetition {
        Repetition::Current => {}
        Repetition::Index(n) => text.push_str(&format!("[{n}]")),
        Repetition::Last => text.push_str("[last]"),
        Repetition::Filter(filter) => text.push_str(&format!("[{}]", condition(filter))),
    }
    for part in [path.component, path.subcomponent] {
        if part > 0 {
            text.push_str(&format!(".{part}"));
        }
    }
    text
}

/// `3`, `'text'`, `join(' ', 2, 3)`.
pub fn value(value: &Value) -> String {
    match value {
        Value::Path(p) => path(p),
        Value::Literal(text) => format!("'{text}'"),
        Value::Parameter(name) => format!("${name}"),
        Value::Call(name, arguments) => {
            let arguments: Vec<String> = arguments
                .iter()
                .map(|argument| match argument {
                    Argument::Value(v) => self::value(v),
                    Argument::Word(word) => word.clone(),
                })
                .collect();
            format!("{name}({})", arguments.join(", "))
        }
    }
}

/// `2 = 'P' and 7 valued`.
pub fn condition(condition: &Condition) -> String {
    let join = |list: &[Condition], word: &str| {
        let parts: Vec<String> = list
            .iter()
            .map(|c| {
                if matches!(c, Condition::And(_) | Condition::Or(_)) {
                    format!("({})", self::condition(c))
                } else {
                    self::condition(c)
                }
            })
            .collect();
        parts.join(word)
    };
    match condition {
        Condition::Valued(v) => format!("{} valued", value(v)),
        Condition::In(left, codes) => match codes.as_slice() {
            [one] => format!("{} = '{one}'", operand(left)),
            _ => format!("{} in ({})", operand(left), codes.join(", ")),
        },
        Condition::InTable(left, name) => format!("{} in @{name}", operand(left)),
        Condition::Order(left, order, number) => format!("{} {} {number}", operand(left), sign(*order)),
        Condition::And(list) => join(list, " and "),
        Condition::Or(list) => join(list, " or "),
        Condition::Not(inner) => match inner.as_ref() {
            Condition::Valued(v) => format!("{} not valued", value(v)),
            Condition::In(left, codes) => match codes.as_slice() {
                [one] => format!("{} != '{one}'", operand(left)),
                _ => format!("{} not in ({})", operand(left), codes.join(", ")),
            },
            Condition::InTable(left, name) => format!("{} not in @{name}", operand(left)),
            other => format!("not ({})", self::condition(other)),
        },
    }
}

fn operand(operand: &Operand) -> String {
    match operand {
        Operand::Text(v) => value(v),
        Operand::Count(p) => format!("count({})", path(p)),
        Operand::Length(p) => format!("length({})", path(p)),
    }
}

/// `<`, `=` or `>`.
pub fn sign(order: Ordering) -> &'static str {
    match order {
        Ordering::Less => "<",
        Ordering::Equal => "=",
        Ordering::Greater => ">",
    }
}

#[cfg(test)]
mod tests {
    use super::condition;
    use crate::mapping::expression::parse_condition;

    #[test]
    fn conditions_read_back_as_they_were() {
        for text in [
            "2.1 != 'N' and (7 valued or PID-3[last].1 not valued)",
            "count(11) = 1",
            "length(7) > 8",
            "3[5 in (MR, PI)].1 not in (EMR, E)",
            "not (1 valued and 2 valued)",
        ] {
            let first = parse_condition(text).unwrap();
            assert_eq!(parse_condition(&condition(&first)).as_ref(), Ok(&first), "{text} → {}", condition(&first));
        }
    }
}
