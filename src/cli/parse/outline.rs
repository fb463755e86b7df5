//! A message → what there is to say about it: type, notes, segments in their groups, valued fields with names, values with escapes resolved.
use crate::hl7::names::{self, ComponentDef};
use crate::hl7::{
    Charset, Index, Matcher, Message, ParseError, PlacementKind, SegmentId, Span, Structure, decode_into, is_null,
    transcode,
};
use crate::mapping::Plan;

/// What was understood of a message.
pub struct Outline {
    /// `ADT^A01`.
    pub message_type: String,
    /// MSH-12.
    pub version: String,
    /// MSH-10.
    pub control_id: String,
    /// `ADT_A01`; empty when it is unknown.
    pub structure: String,
    /// How long it is.
    pub bytes: usize,
    /// What was tolerated.
    pub notes: Vec<String>,
    /// In the order of the message.
    pub segments: Vec<SegmentOutline>,
}

/// A segment.
pub struct SegmentOutline {
    /// `PID`.
    pub id: String,
    /// The groups around it, outermost first: `ORDER_OBSERVATION[2]`.
    pub groups: Vec<String>,
    /// How well it fits.
    pub kind: PlacementKind,
    /// Its bytes.
    pub span: Span,
    /// Its valued fields, one for each repetition.
    pub fields: Vec<Part>,
}

/// A field, component or subcomponent that has a value.
pub struct Part {
    /// `PID-3[1]`, `.4`.
    pub place: String,
    /// In words; empty when HL7 names none.
    pub name: String,
    /// `CX`.
    pub datatype: String,
    /// The value, when there are no parts.
    pub text: String,
    /// The v2 null.
    pub null: bool,
    /// Valued components or subcomponents, when there is more than the first.
    pub parts: Vec<Part>,
}

/// Reads a message.
///
/// # Errors
/// When it has no readable MSH.
pub fn outline(plan: &Plan, raw: &[u8], index: &mut Index) -> Result<Outline, ParseError> {
    index.parse(raw)?;
    let of_header = |message: Message<'_>| Charset::of_message(message.text(header(message), 18));
    let transcoded = of_header(index.message(raw)).needs_transcoding();
    let text = if transcoded { transcode(raw) } else { raw.into() };
    index.parse(&text)?;
    let message = index.message(&text);
    let reader = Reader { message, charset: of_header(message) };
    let field = |number| reader.text(message.field(header(message), number));
    let component = |n| reader.text(message.part(message.field(header(message), 9), message.delimiters().component, n));
    let structure = plan.structure(message);
    let mut notes = notes(message, transcoded);
    if structure.is_none() {
        notes.push("the structure of this message type is unknown, so the segments stand without groups".to_owned());
    }
    Ok(Outline {
        message_type: [component(1), component(2)].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join("^"),
        version: reader.text(message.part(message.field(header(message), 12), message.delimiters().component, 1)),
        control_id: field(10),
        structure: structure.map(|s| s.name.clone()).unwrap_or_default(),
        bytes: raw.len(),
        notes,
        segments: reader.segments(structure),
    })
}

fn header(message: Message<'_>) -> usize {
    message.find(SegmentId(*b"MSH")).unwrap_or(0)
}

fn notes(message: Message<'_>, transcoded: bool) -> Vec<String> {
    let found = message.notes();
    let mut notes = Vec::new();
    if !found.leading.is_empty() {
        notes.push(format!(
            "{} bytes before the MSH segment were skipped (byte order mark, framing, blanks or junk)",
            found.leading.len()
        ));
    }
    if found.continuation_lines > 0 {
        notes.push(format!("{} lines that begin no segment continue the one before them", found.continuation_lines));
    }
    if found.odd_ids > 0 {
        notes.push(format!("{} segments have a name that is not three letters and digits", found.odd_ids));
    }
    if found.default_delimiters {
        notes.push("MSH-2 is empty; the usual encoding characters ^~\\& were taken".to_owned());
    }
    let ends = line_ends(message);
    if ends != "CR" && !ends.is_empty() {
        notes.push(format!("segments end with {ends}; HL7 v2 says CR"));
    }
    if transcoded {
        notes.push(
            "made UTF-8 before it was read, because its character set can hide separators; bytes count there"
                .to_owned(),
        );
    }
    notes
}

/// What stands behind the segments, each kind once.
fn line_ends(message: Message<'_>) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    for segment in 0..message.segment_count() {
        let end = message.segment_span(segment).end as usize;
        let kind = match message.raw().get(end..) {
            Some([b'\r', b'\n', ..]) => "CR LF",
            Some([b'\r', ..]) => "CR",
            Some([b'\n', ..]) => "LF",
            _ => continue,
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" and ")
}

struct Reader<'a> {
    message: Message<'a>,
    charset: Charset,
}

impl Reader<'_> {
    fn text(&self, span: Span) -> String {
        let mut text = Vec::new();
        decode_into(self.message.bytes(span), &self.message.delimiters(), self.charset, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn segments(&self, structure: Option<&Structure>) -> Vec<SegmentOutline> {
        let mut matcher = Matcher::new();
        if let Some(structure) = structure {
            matcher.run(structure, self.message);
        }
        let groups = |segment: usize| structure.map_or_else(Vec::new, |s| groups(s, &matcher, segment));
        (0..self.message.segment_count())
            .map(|segment| SegmentOutline {
                id: self.message.segment_id(segment).to_string(),
                groups: groups(segment),
                kind: matcher.placement(segment).kind,
                span: self.message.segment_span(segment),
                fields: self.fields(segment),
            })
            .collect()
    }

    fn fields(&self, segment: usize) -> Vec<Part> {
        let id = self.message.segment_id(segment);
        let definition = names::segment(id.as_str());
        let mut fields = Vec::new();
        for number in 1..=self.message.field_count(segment) {
            let span = self.message.field(segment, number);
            if span.is_empty() {
                continue;
            }
            let known = definition.and_then(|d| d.field(number as u16));
            let name = known.map_or("", |f| f.name);
            // The type of OBX-5 is what OBX-2 says.
            let datatype = match known.map_or("", |f| f.datatype) {
                "varies" if id == SegmentId(*b"OBX") => self.text(self.message.field(segment, 2)),
                known => known.to_owned(),
            };
            let place = format!("{id}-{number}");
            if id.is_header() && number <= 2 {
                let text = String::from_utf8_lossy(self.message.bytes(span)).into_owned();
                fields.push(Part { place, name: name.to_owned(), datatype, text, null: false, parts: Vec::new() });
                continue;
            }
            let repetitions: Vec<Span> = self.message.parts(span, self.message.delimiters().repetition).collect();
            for (at, repetition) in repetitions.iter().enumerate() {
                let place = if repetitions.len() > 1 { format!("{place}[{}]", at + 1) } else { place.clone() };
                fields.extend(self.part(place, name, &datatype, *repetition, self.message.delimiters().component));
            }
        }
        fields
    }

    /// A value and its parts; none when it is empty.
    fn part(&self, place: String, name: &str, datatype: &str, span: Span, separator: u8) -> Option<Part> {
        if span.is_empty() {
            return None;
        }
        let delimiters = self.message.delimiters();
        let pieces: Vec<Span> = self.message.parts(span, separator).collect();
        let mut parts = Vec::new();
        if pieces.len() > 1
            || (separator == delimiters.component && self.message.parts(span, delimiters.subcomponent).nth(1).is_some())
        {
            let definition = names::datatype(datatype);
            for (at, piece) in pieces.iter().enumerate() {
                let known: Option<&ComponentDef> = definition.and_then(|d| d.component(at as u16 + 1));
                let (name, datatype) = known.map_or(("", ""), |c| (c.name, c.datatype));
                let below = if separator == delimiters.component { delimiters.subcomponent } else { 0 };
                parts.extend(self.part(format!(".{}", at + 1), name, datatype, *piece, below));
            }
        }
        let text = if parts.is_empty() { self.text(span) } else { String::new() };
        let null = is_null(self.message.bytes(span));
        Some(Part { place, name: name.to_owned(), datatype: datatype.to_owned(), text, null, parts })
    }
}

/// The groups around a segment below the root: their names, with an ordinal where they repeat.
fn groups(structure: &Structure, matcher: &Matcher, segment: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = matcher.placement(segment).instance;
    while at != 0 {
        let instance = matcher.instances()[at as usize];
        let parent = matcher.instances()[instance.parent as usize];
        let child = &structure.groups[usize::from(parent.group)].children[usize::from(instance.child)];
        let name = &structure.groups[usize::from(instance.group)].name;
        names.push(if child.repeats { format!("{name}[{}]", instance.index + 1) } else { name.clone() });
        at = instance.parent;
    }
    names.reverse();
    names
}
