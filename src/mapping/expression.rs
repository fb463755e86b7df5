//! The right-hand sides of the mapping language: `3[1].4 : HD.Organization | 'unknown' if 2 valued !required`.
//!
//! The grammar is in `mappings/README.md`; this module only reads it. Positions are byte offsets within the expression, so that a diagnostic can point at them.
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, digit1, multispace0, one_of};
use nom::combinator::{cut, map, opt, value, verify};
use nom::multi::{separated_list0, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

/// A whole right-hand side: alternatives, of which the first that is not empty wins.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The `|` chain.
    pub alternatives: Vec<Alternative>,
    /// What a missing value means.
    pub demand: Demand,
}

/// What an empty row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demand {
    /// Nothing is written.
    #[default]
    None,
    /// A diagnostic only.
    Warn,
    /// The smallest enclosing element or resource is dropped.
    Required,
    /// The message fails.
    Fatal,
}

/// One alternative: a value, what it goes through, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// Where the value comes from.
    pub value: Value,
    /// `: CX.Identifier`, `: dateTime`.
    pub via: Option<Via>,
    /// `@AdministrativeSex`.
    pub table: Option<String>,
    /// `if …`.
    pub guard: Option<Condition>,
}

/// A datatype map or primitive that a value goes through.
#[derive(Debug, Clone, PartialEq)]
pub struct Via {
    /// `CX.Identifier` or `dateTime`.
    pub name: String,
    /// `(unit=6)`.
    pub arguments: Vec<(String, Value)>,
}

/// A source of text.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A place in the message.
    Path(Path),
    /// `'text'`.
    Literal(String),
    /// `join(' ', 2, 3)`.
    Call(String, Vec<Argument>),
    /// `$unit`.
    Parameter(String),
}

/// An argument of a function.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A path, a literal, a parameter or a nested call.
    Value(Value),
    /// A bare word, such as `v2-0203` or `MR`.
    Word(String),
}

/// `PID-3[1].4.2`; in a datatype map `4.2`, where `field` is the component.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Another segment in scope; none: the map's own.
    pub segment: Option<String>,
    /// Field, or component in a datatype map; 0 the whole value.
    pub field: u16,
    /// Which repetition.
    pub repetition: Repetition,
    /// 1-based; 0: the whole field.
    pub component: u16,
    /// 1-based; 0: the whole component.
    pub subcomponent: u16,
}

/// Which repetition of a field a path means.
#[derive(Debug, Clone, PartialEq)]
pub enum Repetition {
    /// The one at hand in a repeating slot, else the first.
    Current,
    /// `[2]`.
    Index(u16),
    /// `[last]`.
    Last,
    /// The first for which the condition holds.
    Filter(Box<Condition>),
}

/// A guard.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `7 valued`.
    Valued(Value),
    /// `7 = 'x'`, `7 in (a, b)`.
    In(Operand, Vec<String>),
    /// `7 in @Table`: the table has a row for it.
    InTable(Operand, String),
    /// `count(7) < 3`.
    Order(Operand, std::cmp::Ordering, f64),
    /// `a and b`.
    And(Vec<Condition>),
    /// `a or b`.
    Or(Vec<Condition>),
    /// `not a`.
    Not(Box<Condition>),
}

/// The left side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// The text of a value.
    Text(Value),
    /// `count(11)`: how many repetitions are valued.
    Count(Path),
    /// `length(7)`: bytes of the value.
    Length(Path),
}

/// Where reading stopped, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset within the expression.
    pub offset: usize,
    /// What would have been right.
    pub expected: &'static str,
}

#[derive(Debug)]
struct Stop<'a> {
    rest: &'a str,
    expected: &'static str,
}

impl<'a> nom::error::ParseError<&'a str> for Stop<'a> {
    fn from_error_kind(rest: &'a str, _: nom::error::ErrorKind) -> Self {
        Stop { rest, expected: "" }
    }
    fn append(_: &'a str, _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
    fn or(self, other: Self) -> Self {
        if other.rest.len() < self.rest.len() || self.expected.is_empty() { other } else { self }
    }
}

type Read<'a, T> = IResult<&'a str, T, Stop<'a>>;

/// Reads a right-hand side.
///
/// # Errors
/// With the offset where reading stopped.
pub fn parse_row(text: &str) -> Result<Row, SyntaxError> {
    whole(text, row, "`|`, `if`, `!required` or the end")
}

/// Reads a chain: names of maps that take the whole value, with guards.
///
/// # Errors
/// With the offset where reading stopped.
pub fn parse_chain(text: &str) -> Result<Row, SyntaxError> {
    let link = |input| {
        let (rest, via) = expect("the name of a map", via)(input)?;
        let (rest, guard) = opt(preceded(keyword("if"), cut(condition))).parse(rest)?;
        let whole = Path { segment: None, field: 0, repetition: Repetition::Current, component: 0, subcomponent: 0 };
        Ok((rest, Alternative { value: Value::Path(whole), via: Some(via), table: None, guard }))
    };
    let chain = |input| {
        map(separated_list1(token("|"), link), |alternatives| Row { alternatives, demand: Demand::None }).parse(input)
    };
    whole(text, chain, "`|`, `if` or the end")
}

/// Reads a condition alone (the `if` of a slot table).
///
/// # Errors
/// With the offset where reading stopped.
pub fn parse_condition(text: &str) -> Result<Condition, SyntaxError> {
    whole(text, condition, "`and`, `or` or the end")
}

/// Reads a path alone (the `on` of a switch).
///
/// # Errors
/// With the offset where reading stopped.
pub fn parse_path(text: &str) -> Result<Path, SyntaxError> {
    whole(text, path, "the end of the path")
}

fn whole<'a, T>(
    text: &'a str,
    mut inner: impl FnMut(&'a str) -> Read<'a, T>,
    end: &'static str,
) -> Result<T, SyntaxError> {
    match inner(text) {
        Ok((rest, parsed)) if rest.trim().is_empty() => Ok(parsed),
        Ok((rest, _)) => Err(SyntaxError { offset: text.len() - rest.trim_start().len(), expected: end }),
        Err(nom::Err::Error(stop) | nom::Err::Failure(stop)) => Err(SyntaxError {
            offset: text.len() - stop.rest.len(),
            expected: if stop.expected.is_empty() { "a field number, 'text' or a function" } else { stop.expected },
        }),
        Err(nom::Err::Incomplete(_)) => Err(SyntaxError { offset: text.len(), expected: "more" }),
    }
}

fn expect<'a, T>(
    expected: &'static str,
    mut inner: impl FnMut(&'a str) -> Read<'a, T>,
) -> impl FnMut(&'a str) -> Read<'a, T> {
    move |input| {
        inner(input).map_err(|error| {
            error.map(|stop| if stop.expected.is_empty() { Stop { rest: stop.rest, expected } } else { stop })
        })
    }
}

fn token<'a>(text: &'static str) -> impl FnMut(&'a str) -> Read<'a, &'a str> {
    move |input| preceded(multispace0, tag(text)).parse(input)
}

fn word(input: &str) -> Read<'_, &str> {
    preceded(multispace0, take_while1(|c: char| c.is_ascii_alphanumeric() || "_-.#/".contains(c))).parse(input)
}

fn keyword<'a>(text: &'static str) -> impl FnMut(&'a str) -> Read<'a, &'a str> {
    move |input| {
        verify(preceded(multispace0, take_while1(|c: char| c.is_ascii_alphanumeric() || c == '_')), |w: &str| w == text)
            .parse(input)
    }
}

fn number(input: &str) -> Read<'_, u16> {
    let (rest, digits) = digit1(input)?;
    match digits.parse() {
        Ok(n) => Ok((rest, n)),
        Err(_) => Err(nom::Err::Failure(Stop { rest: input, expected: "a number below 65536" })),
    }
}

fn row(input: &str) -> Read<'_, Row> {
    let (rest, alternatives) =
        separated_list1(token("|"), expect("a field number, 'text' or a function", alternative)).parse(input)?;
    let (rest, demand) = opt(preceded(token("!"), cut(expect("`required`, `fatal` or `warn`", demand)))).parse(rest)?;
    Ok((rest, Row { alternatives, demand: demand.unwrap_or_default() }))
}

fn demand(input: &str) -> Read<'_, Demand> {
    alt((
        value(Demand::Required, tag("required")),
        value(Demand::Fatal, tag("fatal")),
        value(Demand::Warn, tag("warn")),
    ))
    .parse(input)
}

fn alternative(input: &str) -> Read<'_, Alternative> {
    let (mut rest, value) = source(input)?;
    let (mut through, mut table) = (None, None);
    loop {
        if let Ok((next, _)) = token(":")(rest) {
            let (next, found) =
                cut(expect("a datatype map such as `CX.Identifier` or a primitive such as `dateTime`", via))
                    .parse(next)?;
            through = Some(found);
            rest = next;
        } else if let Ok((next, _)) = token("@")(rest) {
            let (next, name) = cut(expect("the name of a code table", table_name)).parse(next)?;
            table = Some(name);
            rest = next;
        } else {
            break;
        }
    }
    let (rest, guard) = opt(preceded(keyword("if"), cut(condition))).parse(rest)?;
    Ok((rest, Alternative { value, via: through, table, guard }))
}

fn table_name(input: &str) -> Read<'_, String> {
    let (rest, name) = take_while1(|c: char| c.is_ascii_alphanumeric() || "_-.".contains(c)).parse(input)?;
    let (rest, flavour) =
        opt(delimited(char('['), take_while1(|c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c)), char(']')))
            .parse(rest)?;
    Ok((rest, flavour.map_or_else(|| name.to_owned(), |f| format!("{name}[{f}]"))))
}

fn via(input: &str) -> Read<'_, Via> {
    let (rest, name) =
        preceded(multispace0, take_while1(|c: char| c.is_ascii_alphanumeric() || "_-.".contains(c))).parse(input)?;
    let argument = |input| {
        let (rest, name) = word(input)?;
        let (rest, _) = cut(expect("`=`", token("="))).parse(rest)?;
        let (rest, value) = cut(source).parse(rest)?;
        Ok((rest, (name.to_owned(), value)))
    };
    let (rest, arguments) =
        opt(delimited(char('('), separated_list1(token(","), argument), cut(expect("`)`", token(")"))))).parse(rest)?;
    Ok((rest, Via { name: name.to_owned(), arguments: arguments.unwrap_or_default() }))
}

fn source(input: &str) -> Read<'_, Value> {
    let (input, _) = multispace0(input)?;
    alt((
        map(literal, Value::Literal),
        map(preceded(char('$'), cut(expect("a parameter name", word))), |name| Value::Parameter(name.to_owned())),
        call,
        map(path, Value::Path),
    ))
    .parse(input)
}

fn literal(input: &str) -> Read<'_, String> {
    let piece =
        |input| delimited(char('\''), take_while(|c| c != '\''), cut(expect("a closing `'`", char('\'')))).parse(input);
    let (mut rest, first) = piece(input)?;
    let mut text = first.to_owned();
    // A doubled quote stands for one: 'Patient''s number'.
    while rest.starts_with('\'') {
        let (next, more) = piece(rest)?;
        text.push('\'');
        text.push_str(more);
        rest = next;
    }
    Ok((rest, text))
}

fn call(input: &str) -> Read<'_, Value> {
    let letters = take_while1(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let name = verify(letters, |name: &str| name.starts_with(|c: char| c.is_ascii_lowercase()));
    let (rest, name) = terminated(name, char('(')).parse(input)?;
    let (rest, arguments) = separated_list0(token(","), argument).parse(rest)?;
    let (rest, _) = cut(expect("`,` or `)`", token(")"))).parse(rest)?;
    Ok((rest, Value::Call(name.to_owned(), arguments)))
}

fn argument(input: &str) -> Read<'_, Argument> {
    let (input, _) = multispace0(input)?;
    if let Ok((rest, found)) = source(input)
        && (rest.trim_start().starts_with([',', ')']))
    {
        return Ok((rest, Argument::Value(found)));
    }
    map(word, |w| Argument::Word(w.to_owned())).parse(input)
}

fn path(input: &str) -> Read<'_, Path> {
    let (input, _) = multispace0(input)?;
    let (rest, segment) = opt(terminated(segment_name, char('-'))).parse(input)?;
    let (rest, field) = expect("a field number", number)(rest)?;
    let (rest, repetition) = opt(delimited(
        char('['),
        cut(expect("a number, `last` or a condition", repetition)),
        cut(expect("`]`", token("]"))),
    ))
    .parse(rest)?;
    let (rest, component) = opt(preceded(char('.'), cut(expect("a component number", number)))).parse(rest)?;
    let (rest, subcomponent) = opt(preceded(char('.'), cut(expect("a subcomponent number", number)))).parse(rest)?;
    let repetition = repetition.unwrap_or(Repetition::Current);
    Ok((
        rest,
        Path { segment, field, repetition, component: component.unwrap_or(0), subcomponent: subcomponent.unwrap_or(0) },
    ))
}

fn segment_name(input: &str) -> Read<'_, String> {
    let (rest, name) = verify(take_while1(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()), |name: &str| {
        name.len() == 3 && name.starts_with(|c: char| c.is_ascii_uppercase())
    })
    .parse(input)?;
    Ok((rest, name.to_owned()))
}

fn repetition(input: &str) -> Read<'_, Repetition> {
    alt((
        map(terminated(number, nom::combinator::peek(char(']'))), Repetition::Index),
        value(Repetition::Last, tag("last")),
        map(condition, |c| Repetition::Filter(Box::new(c))),
    ))
    .parse(input)
}

fn condition(input: &str) -> Read<'_, Condition> {
    let (rest, mut found) = separated_list1(keyword("or"), conjunction).parse(input)?;
    Ok((rest, if found.len() == 1 { found.remove(0) } else { Condition::Or(found) }))
}

fn conjunction(input: &str) -> Read<'_, Condition> {
    let (rest, mut found) = separated_list1(keyword("and"), negation).parse(input)?;
    Ok((rest, if found.len() == 1 { found.remove(0) } else { Condition::And(found) }))
}

fn negation(input: &str) -> Read<'_, Condition> {
    if let Ok((rest, _)) = keyword("not")(input) {
        return map(negation, |c| Condition::Not(Box::new(c))).parse(rest);
    }
    if let Ok((rest, _)) = token("(")(input) {
        return terminated(condition, cut(expect("`)`", token(")")))).parse(rest);
    }
    comparison(input)
}

fn comparison(input: &str) -> Read<'_, Condition> {
    let (rest, left) = expect("a field, `count(…)` or `length(…)`", operand)(input)?;
    if let (Operand::Text(found), Ok((rest, _))) = (&left, keyword("valued")(rest)) {
        return Ok((rest, Condition::Valued(found.clone())));
    }
    let (after_not, negated) = match keyword("not")(rest) {
        Ok((rest, _)) => (rest, true),
        Err(_) => (rest, false),
    };
    let negate = |c: Condition| if negated { Condition::Not(Box::new(c)) } else { c };
    if negated && let (Operand::Text(found), Ok((rest, _))) = (&left, keyword("valued")(after_not)) {
        return Ok((rest, negate(Condition::Valued(found.clone()))));
    }
    if let Ok((rest, _)) = keyword("in")(after_not) {
        if let Ok((rest, _)) = token("@")(rest) {
            return map(cut(table_name), |name| negate(Condition::InTable(left.clone(), name))).parse(rest);
        }
        let list = delimited(token("("), separated_list1(token(","), constant), token(")"));
        return map(
            cut(expect("a list such as `(MR, PI)`, or a table such as `@Religion`", list_reader(list))),
            |list| negate(Condition::In(left.clone(), list)),
        )
        .parse(rest);
    }
    let (rest, operator) =
        cut(expect("`valued`, `not valued`, `=`, `!=`, `<`, `>`, `in (…)`", operator)).parse(rest)?;
    let (rest, right) = cut(expect("a constant, such as `P` or 'P'", constant)).parse(rest)?;
    let order = |ordering| match right.parse::<f64>() {
        Ok(n) => Ok((rest, Condition::Order(left.clone(), ordering, n))),
        Err(_) => Err(nom::Err::Failure(Stop { rest, expected: "a number after `<` or `>`" })),
    };
    match operator {
        '<' => order(std::cmp::Ordering::Less),
        '>' => order(std::cmp::Ordering::Greater),
        '!' => Ok((rest, Condition::Not(Box::new(Condition::In(left, vec![right]))))),
        _ => Ok((rest, Condition::In(left, vec![right]))),
    }
}

fn list_reader<'a, T>(
    mut inner: impl Parser<&'a str, Output = T, Error = Stop<'a>>,
) -> impl FnMut(&'a str) -> Read<'a, T> {
    move |input| inner.parse(input)
}

fn operator(input: &str) -> Read<'_, char> {
    preceded(multispace0, alt((value('!', tag("!=")), one_of("=<>")))).parse(input)
}

fn operand(input: &str) -> Read<'_, Operand> {
    let (input, _) = multispace0(input)?;
    let function = |name: &'static str| delimited(tag(name), cut(path), cut(token(")")));
    alt((
        map(function("count("), Operand::Count),
        map(function("length("), Operand::Length),
        map(source, Operand::Text),
    ))
    .parse(input)
}

fn constant(input: &str) -> Read<'_, String> {
    let (input, _) = multispace0(input)?;
    alt((literal, map(word, str::to_owned))).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Alternative {
        parse_row(text).unwrap().alternatives.remove(0)
    }

    #[test]
    fn paths_have_segment_repetition_component_and_subcomponent() {
        let Value::Path(path) = first("PID-3[1].4.2").value else { panic!() };
        assert_eq!((path.segment.as_deref(), path.field, path.component, path.subcomponent), (Some("PID"), 3, 4, 2));
        assert_eq!(path.repetition, Repetition::Index(1));
        let Value::Path(path) = first("3[5 in (MR, PI)].1").value else { panic!() };
        assert!(matches!(path.repetition, Repetition::Filter(_)));
    }

    #[test]
    fn alternatives_guards_tables_and_demands() {
        let row =
            parse_row("29 : dateTime if 29 valued and not 30 = N | 30 @YesNoIndicator : boolean !required").unwrap();
        assert_eq!(row.demand, Demand::Required);
        assert_eq!(row.alternatives.len(), 2);
        assert_eq!(row.alternatives[1].table.as_deref(), Some("YesNoIndicator"));
        assert_eq!(row.alternatives[1].via.as_ref().unwrap().name, "boolean");
        let row = first("2 @PatientClass[EncounterStatus]");
        assert_eq!(row.table.as_deref(), Some("PatientClass[EncounterStatus]"));
    }

    #[test]
    fn calls_take_words_paths_and_literals() {
        let Value::Call(name, arguments) = first("coding(v2-0203, MR, 'Medical record number')").value else {
            panic!()
        };
        assert_eq!((name.as_str(), arguments.len()), ("coding", 3));
        assert_eq!(arguments[0], Argument::Word("v2-0203".into()));
        let Value::Call(_, arguments) = first("join(' ', 2, 3, 1.1)").value else { panic!() };
        assert!(matches!(arguments[3], Argument::Value(Value::Path(_))));
    }

    #[test]
    fn errors_point_at_the_place() {
        assert_eq!(parse_row("7 : ").unwrap_err().offset, 4);
        assert_eq!(parse_row("7 if 2 is valued").unwrap_err().offset, 7);
        assert_eq!(parse_row("7 !requird").unwrap_err().expected, "`required`, `fatal` or `warn`");
        assert_eq!(parse_row("'abc").unwrap_err().expected, "a closing `'`");
    }
}
