//! Sources → text, and the functions of the language.
use super::place::{Context, Located, trimmed};
use super::{Twin, Wide};
use base64::Engine as _;
use handoff::hl7::{Precision, SegmentId, Span, Timestamp, is_null};
use handoff::mapping::expression::{Argument, Path, Value};
use std::collections::BTreeMap;

/// Text that is there.
#[derive(Clone, Debug)]
pub enum Text {
    /// As it stands in the message.
    Raw(Span),
    /// As it stands in the mapping.
    Fixed(String),
    /// Made by a function.
    Built(Vec<u8>),
}

impl Twin<'_> {
    pub fn bytes_of(&self, text: &Text) -> Vec<u8> {
        match text {
            Text::Raw(span) => self.decoded(*span),
            Text::Fixed(text) => text.clone().into_bytes(),
            Text::Built(text) => text.clone(),
        }
    }

    /// The text of a source, if there is any.
    pub fn text(&self, value: &Value, context: &Context) -> Option<Text> {
        match self.resolved(value, context)? {
            (Value::Path(path), context) => self.leaf(&path, &context).map(Text::Raw),
            (Value::Literal(text), _) => (!text.is_empty()).then_some(Text::Fixed(text)),
            (Value::Call(name, arguments), context) => {
                let built = self.call(&name, &arguments, &context)?;
                (!built.is_empty()).then_some(Text::Built(built))
            }
            (Value::Parameter(_), _) => None,
        }
    }

    /// A value as text is its first component and subcomponent, unless the path says more.
    fn leaf(&self, path: &Path, context: &Context) -> Option<Span> {
        let mut found = self.locate(path, context)?;
        while found.wide != Wide::Subcomponent {
            found = self.part(found, 1);
        }
        let span = trimmed(self.message, found.span);
        (!span.is_empty() && !is_null(self.message.bytes(span))).then_some(span)
    }

    fn argument(&self, argument: &Argument, context: &Context) -> Option<Text> {
        match argument {
            Argument::Value(value) => self.text(value, context),
            Argument::Word(word) => Some(Text::Fixed(word.clone())),
        }
    }

    pub fn argument_text(&self, argument: &Argument, context: &Context) -> Option<Text> {
        self.argument(argument, context)
    }

    fn raw(&self, argument: Option<&Argument>, context: &Context) -> Option<Span> {
        match self.argument(argument?, context)? {
            Text::Raw(span) => Some(span),
            _ => None,
        }
    }

    fn call(&self, name: &str, arguments: &[Argument], context: &Context) -> Option<Vec<u8>> {
        let text = |argument: &Argument| self.argument(argument, context).map(|text| self.bytes_of(&text));
        match (name, arguments) {
            ("join", [separator, rest @ ..]) => {
                Some(rest.iter().filter_map(text).collect::<Vec<_>>().join(&text(separator).unwrap_or_default()[..]))
            }
            ("phone", [country, area, local, extension]) => {
                let local = text(local)?;
                let country = text(country)
                    .map(|digits| if digits.starts_with(b"+") { digits } else { [b"+", &digits[..]].concat() });
                let main: Vec<Vec<u8>> = [country, text(area), Some(local)].into_iter().flatten().collect();
                let extension = text(extension).map_or_else(Vec::new, |digits| [b" x", &digits[..]].concat());
                Some([main.join(&b' '), extension].concat())
            }
            ("ssn", [number]) => {
                let number = text(number)?;
                let digits: Vec<u8> = number.iter().copied().filter(|byte| !b"- ".contains(byte)).collect();
                Some(digits).filter(|digits| digits.len() == 9 && digits.iter().all(u8::is_ascii_digit))
            }
            ("authority", [Argument::Value(one)]) => {
                let whole = self.span_of(one, context)?;
                let part = |n| {
                    if whole.wide == Wide::Subcomponent {
                        (n == 1).then_some(whole.span)
                    } else {
                        self.filled(self.part(whole, n))
                    }
                };
                self.authority([part(1), part(2), part(3)])
            }
            ("authority", _) => self.authority([0, 1, 2].map(|at| self.raw(arguments.get(at), context))),
            ("system", [one]) => self.system(self.raw(Some(one), context)?),
            ("uri", [id, kind]) => self.universal(self.raw(Some(id), context)?, self.raw(Some(kind), context)),
            ("lines", [Argument::Value(Value::Path(path))]) => self.lines(path, context),
            ("text", [Argument::Value(value)]) => match self.span_of(value, context) {
                Some(found) => Some(self.decoded(found.span)),
                None => text(&arguments[0]),
            },
            ("patient_id", [Argument::Value(Value::Path(path))]) => self.patient_id(path, context),
            ("patient", []) => Some(self.instances[self.patient(context)?].id.clone().into_bytes()),
            ("position", []) => Some((context.frame.segment + 1).to_string().into_bytes()),
            ("occurrence", []) => {
                Some((self.matcher.instances()[context.frame.scope].index + 1).to_string().into_bytes())
            }
            ("base64", [one]) => {
                let whole = match one {
                    Argument::Value(Value::Call(name, inner)) => self.call(name, inner, context)?,
                    one => text(one)?,
                };
                Some(base64::engine::general_purpose::STANDARD.encode(whole).into_bytes())
            }
            ("later", [start, amount, unit]) => self.later([text(start)?, text(amount)?, text(unit)?]),
            ("all_lines", [Argument::Value(Value::Path(path)), only @ ..]) => self.all_lines(path, only, context),
            ("derived_status", []) => self.derived_status(),
            ("range_low" | "range_high" | "range_unit", [text_of]) => {
                let text = text(text_of)?;
                let [low, high, unit] = range(std::str::from_utf8(&text).ok()?.trim_ascii())?;
                Some(match name {
                    "range_low" => low.into(),
                    "range_high" => high.into(),
                    _ => unit.into(),
                })
            }
            _ => panic!("a function that the twin does not know: {name}"),
        }
    }

    fn filled(&self, part: Located) -> Option<Span> {
        (!part.span.is_empty() && !is_null(self.message.bytes(part.span))).then_some(part.span)
    }

    fn lines(&self, path: &Path, context: &Context) -> Option<Vec<u8>> {
        if context.frame.value.is_some() || path.component > 0 {
            return Some(self.decoded(self.locate(path, context)?.span));
        }
        let field = self.message.field(context.frame.segment, path.field.into());
        let line = |span: &Span| if is_null(self.message.bytes(*span)) { Vec::new() } else { self.decoded(*span) };
        let all = self.repetitions(field).iter().map(line).collect::<Vec<_>>().join(&b'\n');
        let end = all.iter().rposition(|byte| !b"\n ".contains(byte))?;
        Some(all[..=end].to_vec())
    }

    /// Registry, then what is universal, then the name within the feed.
    fn authority(&self, [namespace, id, kind]: [Option<Span>; 3]) -> Option<Vec<u8>> {
        let registered =
            [namespace, id].into_iter().flatten().find_map(|name| self.registered(&self.sources.authorities, name));
        registered.or_else(|| self.universal(id?, kind)).or_else(|| self.local(namespace.or(id)?))
    }

    pub fn system(&self, name: Span) -> Option<Vec<u8>> {
        if let Some(uri) = self.registered(&self.sources.systems, name) {
            return Some(uri);
        }
        let text = String::from_utf8_lossy(self.message.bytes(name)).to_uppercase();
        let digits = text
            .strip_prefix("HL7")
            .filter(|digits| (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()));
        match digits {
            Some(digits) => Some(format!("http://terminology.hl7.org/CodeSystem/v2-{digits:0>4}").into_bytes()),
            None => self.universal(name, None).or_else(|| self.local(name)),
        }
    }

    fn registered(&self, registry: &BTreeMap<String, String>, name: Span) -> Option<Vec<u8>> {
        let key = String::from_utf8(self.message.bytes(name).to_ascii_uppercase()).ok()?;
        registry.get(&key).map(|uri| uri.clone().into_bytes())
    }

    fn universal(&self, id: Span, kind: Option<Span>) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(self.message.bytes(id)).ok()?;
        let is_uri = kind.is_some_and(|kind| self.message.bytes(kind).eq_ignore_ascii_case(b"URI"));
        let arc = |arc: &str| {
            arc == "0" || (!arc.is_empty() && !arc.starts_with('0') && arc.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        if text.contains('.') && text.starts_with(['0', '1', '2']) && text.split('.').all(arc) {
            Some(format!("urn:oid:{text}").into_bytes())
        } else if lengths == [8, 4, 4, 4, 12] && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Some(format!("urn:uuid:{}", text.to_ascii_lowercase()).into_bytes())
        } else if (text.starts_with("http") || text.starts_with("urn:") || is_uri)
            && text.contains(':')
            && text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            Some(text.into())
        } else {
            None
        }
    }

    fn local(&self, name: Span) -> Option<Vec<u8>> {
        let msh = self.message.find(SegmentId(*b"MSH")).unwrap_or(0);
        let sender = |field| {
            self.percent(self.message.part(self.message.field(msh, field), self.message.delimiters().component, 1))
        };
        Some(format!("urn:v2:{}.{}:{}", sender(3), sender(4), self.percent(name)).into_bytes())
    }

    fn percent(&self, span: Span) -> String {
        let one = |byte: &u8| {
            if byte.is_ascii_alphanumeric() || b"-_~.".contains(byte) {
                char::from(*byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        };
        self.message.bytes(span).iter().map(one).collect()
    }

    /// A field of all segments of its name in a group or right below it: the own group, else the nearest around that has any, up to one that repeats.
    fn all_lines(&self, path: &Path, only: &[Argument], context: &Context) -> Option<Vec<u8>> {
        let name = path.segment.as_ref()?;
        let place = |segment: usize| self.matcher.placement(segment).instance as usize;
        let named = |segment: &usize| self.message.segment_id(*segment).as_str() == name;
        let mut scope = context.frame.scope;
        let found = loop {
            let near = |segment: &usize| place(*segment) == scope || self.parent(place(*segment)) == scope;
            let found: Vec<usize> = (0..self.message.segment_count()).filter(named).filter(near).collect();
            if !found.is_empty() || scope == 0 || self.repeats(scope) {
                break found;
            }
            scope = self.parent(scope);
        };
        let wanted = |segment: usize| {
            let [Argument::Value(Value::Path(field)), codes @ ..] = only else { return true };
            let code = String::from_utf8_lossy(self.message.text(segment, field.field.into())).trim().to_lowercase();
            codes.iter().any(|one| match one {
                Argument::Word(word) | Argument::Value(Value::Literal(word)) => word.to_lowercase() == code,
                Argument::Value(_) => false,
            })
        };
        let line = |span: Span| if is_null(self.message.bytes(span)) { Vec::new() } else { self.decoded(span) };
        let lines = found
            .into_iter()
            .filter(|segment| wanted(*segment))
            .flat_map(|segment| self.repetitions(self.message.field(segment, path.field.into())).into_iter().map(line));
        let all = lines.collect::<Vec<_>>().join(&b'\n');
        let end = all.iter().rposition(|byte| !b"\n ".contains(byte))?;
        Some(all[..=end].to_vec())
    }

    /// A v2 time some while later: counted in seconds from the year 0.
    fn later(&self, [start, amount, unit]: [Vec<u8>; 3]) -> Option<Vec<u8>> {
        let time = Timestamp::parse(&start).ok()?;
        let of_unit = match String::from_utf8(unit).ok()?.trim().to_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "min" | "mins" | "minute" | "minutes" | "m" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            "wk" | "w" | "week" | "weeks" => 604_800.0,
            _ => return None,
        };
        let amount = String::from_utf8(amount).ok()?;
        let amount = amount.trim();
        let amount: f64 = amount.parse().ok().filter(|_| amount.chars().all(|c| c.is_ascii_digit() || c == '.'))?;
        let while_ = (amount * of_unit).round();
        let is_day = time.precision == Precision::Day;
        if !(1.0..=36_600.0 * 86_400.0).contains(&while_)
            || time.precision < Precision::Day
            || is_day && while_ % 86_400.0 != 0.0
        {
            return None;
        }
        let days_of = |year: u64| {
            if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) { 366 } else { 365 }
        };
        let months = |year: u64| [31, days_of(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut year, mut month) = (u64::from(time.year), usize::from(time.month) - 1);
        let clock = u64::from(time.hour) * 3600 + u64::from(time.minute) * 60 + u64::from(time.second);
        let seconds = clock + while_ as u64;
        let mut day = u64::from(time.day) + seconds / 86_400;
        while day > months(year)[month] {
            day -= months(year)[month];
            (year, month) = if month == 11 { (year + 1, 0) } else { (year, month + 1) };
        }
        if year > 9999 {
            return None;
        }
        let mut text = format!("{year:04}{:02}{day:02}", month + 1);
        if !is_day {
            let [hour, minute, second] = [seconds % 86_400 / 3600, seconds % 3600 / 60, seconds % 60];
            text += &format!("{hour:02}{minute:02}");
            if second > 0 || time.precision == Precision::Second {
                text += &format!("{second:02}");
            }
            if time.fraction_digits > 0 {
                text += ".";
                text += std::str::from_utf8(&time.fraction[..time.fraction_digits.into()]).ok()?;
            }
            if let Some(offset) = self.offset(&time) {
                text +=
                    &format!("{}{:02}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 60, offset.abs() % 60);
            }
        }
        Some(text.into_bytes())
    }

    /// Id and authority of the repetition that identifies the patient.
    fn patient_id(&self, path: &Path, context: &Context) -> Option<Vec<u8>> {
        let types = &self.sources.profile.patient_types;
        let types: Vec<&str> =
            if types.is_empty() { vec!["MR", "PI", "PT"] } else { types.iter().map(String::as_str).collect() };
        let field = self.message.field(context.frame.segment, path.field.into());
        let component = |span: Span, n| self.part(Located { span, wide: Wide::Repetition }, n);
        let valued: Vec<Span> =
            self.repetitions(field).into_iter().filter(|span| self.filled(component(*span, 1)).is_some()).collect();
        let of_type =
            |kind: &&str| valued.iter().find(|span| self.message.bytes(component(**span, 5).span) == kind.as_bytes());
        let chosen = types
            .iter()
            .find_map(of_type)
            .or_else(|| valued.iter().find(|span| self.message.bytes(component(**span, 5).span) != b"SS"))?;
        let authority = component(*chosen, 4);
        let part = |n| Some(self.part(authority, n).span).filter(|span| !span.is_empty());
        let authority = self.authority([part(1), part(2), part(3)]).unwrap_or_default();
        Some([self.decoded(component(*chosen, 1).span), vec![0x1f], authority].concat())
    }

    /// What the OBX-11s of the linked Observations add up to.
    fn derived_status(&self) -> Option<Vec<u8>> {
        let linked = self.instances[self.current].links.iter().filter_map(|(_, to)| self.instances[*to].parts.first());
        let observations =
            linked.filter(|(_, context)| self.message.segment_id(context.frame.segment) == SegmentId(*b"OBX"));
        let statuses: Vec<&[u8]> =
            observations.map(|(_, context)| self.message.text(context.frame.segment, 11)).collect();
        let open = |status: &&[u8]| [&b"P"[..], b"R", b"S", b"I", b"O", b""].contains(status);
        let (some_open, some_settled) = (statuses.iter().any(open), !statuses.iter().all(open));
        let text = match (some_open, some_settled) {
            (false, false) => return None,
            (true, true) => "partial",
            (true, false) => "preliminary",
            _ if statuses.contains(&&b"C"[..]) => "corrected",
            _ => "final",
        };
        Some(text.into())
    }
}

/// Low end, high end and unit of a range written as text: `3.5-5.0`, `>5`, `<=3 %`.
fn range(text: &str) -> Option<[&str; 3]> {
    let numeric = |c: char| c.is_ascii_digit() || c == '.';
    // The unit is what stands behind the last number: all before it is made of numbers, blanks and signs.
    let head = text.trim_start_matches(|c: char| numeric(c) || c.is_ascii_whitespace() || "<>=-".contains(c));
    let unit = head.trim_end();
    let ends = text[..text.len() - head.len()].trim();
    let first = unit.chars().next();
    if first.is_some_and(|c| !c.is_alphabetic() && !"%[{".contains(c)) || unit.contains([',', ';', ':', '<', '>', '='])
    {
        return None;
    }
    // 5E3, 5 x 10
    let power = unit.strip_prefix(['e', 'E', 'x', 'X']).map(|rest| rest.trim_start_matches([' ', '+', '-']));
    if power.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    let is_number = |text: &str| text.chars().all(numeric) && text.contains(|c: char| c.is_ascii_digit());
    let [low, high] = match (ends.strip_prefix('>'), ends.strip_prefix('<')) {
        (Some(low), _) => [Some(low.strip_prefix('=').unwrap_or(low)), None],
        (_, Some(high)) => [None, Some(high.strip_prefix('=').unwrap_or(high))],
        _ => ends.split_once('-').map(|(low, high)| [Some(low), Some(high)])?,
    };
    let [low, high] = [low, high].map(|end| end.map(str::trim));
    let good = [low, high].into_iter().flatten().all(is_number);
    good.then_some([low.unwrap_or(""), high.unwrap_or(""), unit])
}
