//! What a map was compiled to: the nodes of the plan, one a line, in the order in which they run.
use super::{Line, written};
use crate::mapping::Plan;
use crate::mapping::plan::*;
use crate::mapping::source::MapSource;

impl Plan {
    /// The compiled form of a map, and what that is.
    pub(super) fn compiled_map(&self, map: &MapSource) -> (Vec<Line>, String) {
        let plan = &self.compiled;
        if let Some(part) = plan.parts.iter().find(|p| p.name == map.name) {
            let program = &plan.programs[usize::from(part.program)];
            let mut lister = Lister { plan, lines: Vec::new(), part: Some((part.kind, &part.name)) };
            for (node, _, fatal) in &part.required {
                lister.push(1, if *fatal { "fatal when empty" } else { "required" }, NONE);
                lister.node(*node, 2, "");
            }
            lister.node(program.root, 1, program.resource_type);
            let of = plan.parts.iter().filter(|p| p.program == part.program).count();
            return (lister.lines, format!("part {} of {of} of the {} program", part.kind + 1, program.resource_type));
        }
        let nodes = plan.map_nodes(&map.name);
        let Some(first) = nodes.first() else {
            return (Vec::new(), "only where it is spread over an element".to_owned());
        };
        let mut lister = Lister { plan, lines: Vec::new(), part: None };
        lister.node(*first, 1, &map.to);
        let note = match nodes.len() {
            1 => format!("node {first}"),
            more => format!("node {first}; {} more copies with parameters or a table", more - 1),
        };
        (lister.lines, note)
    }
}

impl Compiled {
    /// The nodes of a datatype map: the shared one, and copies with parameters or a table.
    fn map_nodes(&self, name: &str) -> Vec<NodeId> {
        let called = self
            .alternatives
            .iter()
            .filter_map(|a| if let Emit::Map { node, .. } = a.emit { Some(node) } else { None });
        let mut nodes: Vec<NodeId> = called.filter(|node| self.map_of(*node) == Some(name)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The map that a node was made from.
    fn map_of(&self, node: NodeId) -> Option<&str> {
        let rule = match &self.nodes[node as usize] {
            Node::Object { children, .. } => self.children[children.start as usize..children.end as usize]
                .iter()
                .map(|c| c.rule)
                .find(|r| *r != NONE),
            Node::Value { alternatives, .. } => self.alternatives.get(alternatives.start as usize).map(|a| a.rule),
            _ => None,
        };
        self.rules.get(rule? as usize).map(|r| r.map.as_str())
    }

    fn shown(&self, text: Text) -> String {
        String::from_utf8_lossy(self.text(text)).into_owned()
    }

    fn source_text(&self, source: SourceId) -> String {
        let all = |list: &[SourceId]| list.iter().map(|s| self.source_text(*s)).collect::<Vec<_>>().join(", ");
        match &self.sources[source as usize] {
            Source::Path(path) => self.path_text(*path),
            Source::Literal(text) => format!("'{}'", self.shown(*text)),
            Source::Join { separator, arguments } => format!("join('{}', {})", self.shown(*separator), all(arguments)),
            Source::Phone(arguments) => format!("phone({})", all(arguments)),
            Source::Ssn(inner) => format!("ssn({})", self.source_text(*inner)),
            Source::Authority(arguments) => format!("authority({})", all(arguments)),
            Source::System(inner) => format!("system({})", self.source_text(*inner)),
            Source::Uri(id, kind) => format!("uri({}, {})", self.source_text(*id), self.source_text(*kind)),
            Source::Lines(path) => format!("lines({})", self.path_text(*path)),
            Source::TextOf(inner) => format!("text({})", self.source_text(*inner)),
            Source::PatientId(path) => format!("patient_id({})", self.path_text(*path)),
            Source::Patient => "patient".to_owned(),
            Source::Position => "position()".to_owned(),
            Source::Occurrence => "occurrence()".to_owned(),
            Source::Base64(inner) => format!("base64({})", self.source_text(*inner)),
            Source::Later(parts) => format!("later({})", all(parts)),
            Source::AllLines(path, None) => format!("all_lines({})", self.path_text(*path)),
            Source::AllLines(path, Some((field, codes))) => {
                let codes: Vec<String> = codes.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
                format!("all_lines({}, {}, {})", self.path_text(*path), self.path_text(*field), codes.join(", "))
            }
            Source::DerivedStatus => "derived_status()".to_owned(),
            Source::Range(inner, part) => {
                let name = match part {
                    RangePart::Low => "range_low",
                    RangePart::High => "range_high",
                    RangePart::Unit => "range_unit",
                };
                format!("{name}({})", self.source_text(*inner))
            }
            Source::Nothing => "nothing".to_owned(),
        }
    }

    /// `3.1`; `../` for each frame further up.
    fn path_text(&self, path: Path) -> String {
        if path.beside {
            return format!("beside({})", self.path_text(Path { beside: false, ..path }));
        }
        let mut text = "../".repeat(usize::from(path.up));
        if path.segment != CURRENT {
            text.push_str(&format!("{}-", self.segment_refs[usize::from(path.segment)]));
        }
        text.push_str(&path.field.to_string());
        match path.repetition {
            Repetition::Current => {}
            Repetition::Index(n) => text.push_str(&format!("[{n}]")),
            Repetition::Last => text.push_str("[last]"),
            Repetition::Filter(condition) => text.push_str(&format!("[{}]", self.condition_text(condition))),
        }
        for part in [path.component, path.subcomponent] {
            if part > 0 {
                text.push_str(&format!(".{part}"));
            }
        }
        text
    }

    fn in_text(&self, source: SourceId, codes: Vec<Vec<u8>>) -> String {
        let codes: Vec<String> = codes.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect();
        format!("{} in ({})", self.source_text(source), codes.join(", "))
    }

    fn condition_text(&self, condition: ConditionId) -> String {
        let join = |list: &[ConditionId], word: &str| {
            list.iter().map(|c| self.condition_text(*c)).collect::<Vec<_>>().join(word)
        };
        match &self.conditions[condition as usize] {
            Condition::Valued(source) => format!("{} valued", self.source_text(*source)),
            Condition::In(source, codes) => {
                let codes = self.codes[codes.start as usize..codes.end as usize].iter().map(|c| unpacked(*c)).collect();
                self.in_text(*source, codes)
            }
            Condition::InTexts(source, codes) => self.in_text(*source, codes.clone()),
            Condition::Order(measure, order, number) => {
                format!("{} {} {number}", self.measure_text(*measure), written::sign(*order))
            }
            Condition::CountIn(measure, numbers) => {
                let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
                format!("{} in ({})", self.measure_text(*measure), numbers.join(", "))
            }
            Condition::And(list) => format!("({})", join(list, " and ")),
            Condition::Or(list) => format!("({})", join(list, " or ")),
            Condition::Not(inner) => format!("not {}", self.condition_text(*inner)),
            Condition::NotFromTable(table) => {
                format!("the first coding is not the one of @{}", self.tables[usize::from(*table)].name)
            }
        }
    }

    fn measure_text(&self, measure: Measure) -> String {
        match measure {
            Measure::Text(source) => self.source_text(source),
            Measure::Count(path) => format!("count({})", self.path_text(path)),
            Measure::Length(source) => format!("length({})", self.source_text(source)),
        }
    }

    fn guard_text(&self, guard: ConditionId) -> String {
        if guard == NONE { String::new() } else { format!(" if {}", self.condition_text(guard)) }
    }
}

struct Lister<'p> {
    plan: &'p Compiled,
    lines: Vec<Line>,
    /// The part that is listed, of a program that has several: its kind, and its map.
    part: Option<(u8, &'p str)>,
}

impl<'p> Lister<'p> {
    fn push(&mut self, depth: usize, text: &str, rule: RuleId) {
        let location = self.plan.rules.get(rule as usize).map(|r| r.location);
        self.lines.push(Line { depth, text: text.to_owned(), location });
    }

    /// Whether a part is the listed one, or the listed map is no part.
    fn is_listed(&self, part: u8) -> bool {
        part == CURRENT || self.part.is_none_or(|(kind, _)| kind == part)
    }

    /// Lists a node under a name. Depth is that of the plan, whose maps do not call one another in circles.
    fn node(&mut self, node: NodeId, depth: usize, name: &str) {
        let plan = self.plan;
        match &plan.nodes[node as usize] {
            Node::Value { alternatives, codes } => {
                let listed = self.alternatives(alternatives.clone());
                let required = if codes.is_some() { " (one of the required codes)" } else { "" };
                if let [alternative] = listed[..] {
                    self.alternative(alternative, depth, &format!("{name} "), required);
                } else if !listed.is_empty() {
                    self.push(depth, &format!("{name} first valued of{required}"), NONE);
                    listed.into_iter().for_each(|a| self.alternative(a, depth + 1, "| ", ""));
                }
            }
            Node::Object { children, enter, .. } => {
                let enter = plan.enters.get(*enter as usize);
                let head = match enter {
                    Some(enter) if self.is_listed(enter.part) => {
                        let sources: Vec<String> = enter
                            .sources
                            .iter()
                            .map(|(s, g)| format!("{}{}", plan.source_text(*s), plan.guard_text(*g)))
                            .collect();
                        format!("{name} {{ enter {}", sources.join(" | "))
                    }
                    _ => format!("{name} {{"),
                };
                let at = self.lines.len();
                self.push(depth, &head, enter.map_or(NONE, |e| e.rule));
                self.children(children.clone(), depth + 1);
                if self.lines.len() == at + 1 {
                    self.lines.truncate(at);
                }
            }
            Node::List { items } => {
                let at = self.lines.len();
                self.push(depth, &format!("{name} ["), NONE);
                for item in &plan.items[items.start as usize..items.end as usize] {
                    self.item(item, depth + 1);
                }
                if self.lines.len() == at + 1 {
                    self.lines.truncate(at);
                }
            }
            Node::Switch { on, cases, default } => self.switch(*on, cases.clone(), *default, depth, name),
            Node::Constant { node, .. } => self.node(*node, depth, name),
            Node::TableCoding { table } => self.push(
                depth,
                &format!("{name} coding of component 1 @{}", plan.tables[usize::from(*table)].name),
                NONE,
            ),
        }
    }

    fn alternatives(&self, range: std::ops::Range<u32>) -> Vec<&'p Alternative> {
        let plan = self.plan;
        let of_map = |a: &Alternative| match (self.part, &a.emit) {
            // What other parts write stands in nodes of their own.
            (Some((_, map)), Emit::Node(_)) if a.part == CURRENT => {
                plan.rules.get(a.rule as usize).is_none_or(|r| r.map == map)
            }
            _ => true,
        };
        plan.alternatives[range.start as usize..range.end as usize]
            .iter()
            .filter(|a| self.is_listed(a.part) && of_map(a))
            .collect()
    }

    fn children(&mut self, children: std::ops::Range<u32>, depth: usize) {
        let plan = self.plan;
        for child in &plan.children[children.start as usize..children.end as usize] {
            if self.part.is_some_and(|(kind, _)| child.mask != 0 && child.mask & (1 << kind) == 0) {
                continue;
            }
            let mut name = plan.shown(child.key).trim_matches(['"', ':']).to_owned();
            if name.is_empty() {
                name.push_str("(choice)");
            }
            if child.required {
                name.push_str(" !required");
            }
            self.node(child.node, depth, &name);
        }
    }

    fn item(&mut self, item: &Item, depth: usize) {
        if !self.is_listed(item.part) {
            return;
        }
        let repeat = match item.repeat {
            Repeat::Once => "item".to_owned(),
            Repeat::Field(field) => format!("item for each repetition of {field}"),
            Repeat::Links(_) => "item for each link".to_owned(),
        };
        let name = format!("{repeat}{}", self.plan.guard_text(item.guard));
        self.node(item.node, depth, &name);
    }

    fn switch(&mut self, on: SourceId, cases: std::ops::Range<u32>, default: NodeId, depth: usize, name: &str) {
        let plan = self.plan;
        self.push(depth, &format!("{name} switch {}", plan.source_text(on)), NONE);
        for (code, node) in &plan.cases[cases.start as usize..cases.end as usize] {
            self.node(*node, depth + 1, &format!("case {}:", plan.shown(*code)));
        }
        if default != NONE {
            self.node(default, depth + 1, "else:");
        }
    }

    fn alternative(&mut self, alternative: &Alternative, depth: usize, before: &str, after: &str) {
        let plan = self.plan;
        let key = plan.shown(alternative.key).trim_matches(['"', ':']).to_owned();
        let (before, key) =
            if key.is_empty() { (before, key) } else { (before.trim_end_matches("(choice) "), format!("{key} ")) };
        let guard = plan.guard_text(alternative.guard);
        if let Emit::Node(node) = alternative.emit {
            return self.node(node, depth, &format!("{before}{key}{guard}"));
        }
        let text = format!("{before}{key}= {}{guard}{after}", self.emit_text(&alternative.emit));
        self.push(depth, &text, alternative.rule);
    }

    fn emit_text(&self, emit: &Emit) -> String {
        let plan = self.plan;
        let table = |table: &u16| plan.tables[usize::from(*table)].name.as_str();
        let text = |source: &SourceId| plan.source_text(*source);
        match emit {
            Emit::Literal(literal) => plan.shown(*literal),
            Emit::Primitive { source, conversion, table: None } => format!("{} : {conversion:?}", text(source)),
            Emit::Primitive { source, conversion, table: Some(number) } => {
                format!("{} @{} : {conversion:?}", text(source), table(number))
            }
            Emit::Coding { system, code, display, concept } => {
                let name = if *concept { "concept" } else { "coding" };
                format!("{name}({}, {}, {})", text(system), text(code), text(display))
            }
            Emit::TableCoding { source, table: number, concept, hit_only } => {
                let name = if *concept { "CodeableConcept" } else { "Coding" };
                format!(
                    "{} @{} : {name}{}",
                    text(source),
                    table(number),
                    if *hit_only { " when the table has it" } else { "" }
                )
            }
            Emit::Map { source, node, .. } => {
                format!("{} : {} (node {node})", text(source), plan.map_of(*node).unwrap_or("?"))
            }
            Emit::Node(node) => format!("node {node}"),
            Emit::Resource { source, part, extra, guard } => {
                let made = part.map(|p| format!("{} : {}", text(source), plan.parts[usize::from(p)].name));
                let extra = extra.map(|p| plan.parts[usize::from(p)].name.clone());
                let both: Vec<String> = [made, extra].into_iter().flatten().collect();
                format!("reference to {}{}", both.join(" with "), plan.guard_text(*guard))
            }
            Emit::Bound(name) => format!("reference to {}", plan.bindings[usize::from(*name)]),
            Emit::Link(slot) => format!("reference along link {slot}"),
        }
    }
}
