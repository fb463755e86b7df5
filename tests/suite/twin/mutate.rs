//! Messages with a few things changed, as senders change them: reproducible, from a seed.

/// A small generator of numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(name: &str, number: usize) -> Random {
        let seed = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Random(seed.wrapping_add(number as u64))
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

/// Values that make rows take other ways.
const VALUES: &[&str] = &[
    "",
    "\"\"",
    "X",
    "Y",
    "N",
    "M",
    "D",
    "U",
    "C",
    "F",
    "P",
    "I",
    "E",
    "0",
    "-1",
    "1.50",
    "20240229",
    "20240229103000+0100",
    "20241332",
    "2024",
    " x ",
    "^",
    "^^X",
    "A^B^C&D&ISO^MR",
    "A~B",
    "~A",
    "A~~A",
    "1^Doe^Jane",
    "^Doe",
    "\\T\\ and \\F\\",
    "\\X41\\",
    "SEL",
    "NM",
    "ST",
    "CE",
    "a b",
    "1.2.3.4",
    "2.999.1^ISO",
    "-",
    "&",
    "x&y",
    "0.5-1.5 g/dL",
    "<3 %",
    "http://example.org/x",
];

/// The message with one to four changes.
pub fn mutant(raw: &[u8], random: &mut Random) -> Vec<u8> {
    let mut segments: Vec<Vec<u8>> = raw
        .split(|byte| *byte == b'\r' || *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    for _ in 0..=random.below(4) {
        change(&mut segments, random);
    }
    segments.join(&b'\r')
}

fn change(segments: &mut Vec<Vec<u8>>, random: &mut Random) {
    let count = segments.len();
    if count < 2 {
        return;
    }
    // The first is the MSH, and stays.
    let (at, other) = (1 + random.below(count - 1), 1 + random.below(count - 1));
    match random.below(12) {
        0 => drop(segments.remove(at)),
        1 => segments.insert(other, segments[at].clone()),
        2 => segments.swap(at, other),
        3 => change_header(&mut segments[0], random),
        _ => change_field(&mut segments[at], random),
    }
}

fn change_field(segment: &mut Vec<u8>, random: &mut Random) {
    let Some(separator) = segment.get(3).copied() else { return };
    let mut fields: Vec<Vec<u8>> = segment.split(|byte| *byte == separator).map(<[u8]>::to_vec).collect();
    // Mostly a field that is there, now and then one behind.
    let beyond = if random.below(5) == 0 { 20 } else { 0 };
    let at = 1 + random.below(fields.len() - 1 + beyond);
    if at >= fields.len() {
        fields.resize(at + 1, Vec::new());
    }
    let value = VALUES[random.below(VALUES.len())].as_bytes().to_vec();
    let field = &mut fields[at];
    match random.below(8) {
        0 => field.clear(),
        1 => *field = b"\"\"".to_vec(),
        2 => *field = [&field[..], b"~", &field.clone()[..]].concat(),
        3 => *field = [&value[..], b"~", &field[..]].concat(),
        4 | 5 => {
            let mut components: Vec<Vec<u8>> = field.split(|byte| *byte == b'^').map(<[u8]>::to_vec).collect();
            let part = random.below(components.len());
            components[part] = value;
            *field = components.join(&b'^');
        }
        _ => *field = value,
    }
    *segment = fields.join(&separator);
}

fn change_header(header: &mut Vec<u8>, random: &mut Random) {
    let Some(separator) = header.get(3).copied() else { return };
    let mut fields: Vec<Vec<u8>> = header.split(|byte| *byte == separator).map(<[u8]>::to_vec).collect();
    // MSH-3 to 7 and what follows MSH-12; the message type stays.
    let choices = [2, 3, 4, 5, 6, 10, 12, 13, 14, 15, 16, 18, 20, 21, 22, 23, 24];
    let at = choices[random.below(choices.len())];
    if at >= fields.len() {
        fields.resize(at + 1, Vec::new());
    }
    fields[at] = VALUES[random.below(VALUES.len())].as_bytes().to_vec();
    *header = fields.join(&separator);
}
