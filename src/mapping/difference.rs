//! What two sets of mapping files say differently, rule by rule. Layers, files and the order of rows do not matter, nor do spaces: what is compared is what was read.
use super::Plan;
use super::expression::Row;
use super::listing::written;
use super::source::{Layer, Location, MapSource, MessageSource, RowSource, RowValue, Sources, TableSource};
use std::collections::BTreeMap;

/// One rule that only one side has, or that the sides have differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDifference {
    /// Only for the messages of this site or feed; none: for all.
    pub layer: Option<Layer>,
    /// What kind of rule.
    pub kind: RuleKind,
    /// `PID.Patient`, `AdministrativeSex`, `ADT_A01`; empty where the kind has no owners.
    pub owner: String,
    /// `telecom[work].use`, a code, `INSURANCE.IN1: cov`, a name.
    pub path: String,
    /// None: added.
    pub before: Option<Written>,
    /// None: removed.
    pub after: Option<Written>,
}

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its right side.
    pub text: String,
    /// Its file; empty where that is not kept.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
}

/// Kinds of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleKind {
    /// A row of a map, its identity or its settings.
    Map,
    /// A row of a code table.
    Table,
    /// A statement of a message map, what it covers and extends.
    Message,
    /// A structure's grammar.
    Structure,
    /// A trigger event.
    Event,
    /// A code system.
    System,
    /// An assigning authority.
    Authority,
    /// A short name for `coding(…)`.
    Short,
    /// A setting of the profile.
    Profile,
}

impl RuleKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            RuleKind::Map => "map",
            RuleKind::Table => "table",
            RuleKind::Message => "message",
            RuleKind::Structure => "structure",
            RuleKind::Event => "event",
            RuleKind::System => "system",
            RuleKind::Authority => "authority",
            RuleKind::Short => "short",
            RuleKind::Profile => "profile",
        }
    }
}

/// Kind, owner and path.
type Key = (RuleKind, String, String);

/// A rule with what it means, whatever the way in which that is written.
struct Rule {
    text: String,
    meaning: String,
    location: Option<Location>,
}

/// All differences: for all messages first, then what differs for those of a site or a feed alone.
pub fn differences(before: &Plan, after: &Plan) -> Vec<RuleDifference> {
    let mut found = of_sources(before.sources(), after.sources(), None);
    let all = before.feeds().iter().chain(after.feeds()).map(|feed| feed.layer().clone());
    // The site before its feeds, which have what it has.
    let layers: std::collections::BTreeSet<Layer> = all.collect();
    for layer in layers {
        let own = of_sources(of_layer(before, &layer).sources(), of_layer(after, &layer).sources(), Some(&layer));
        let fresh: Vec<RuleDifference> =
            own.into_iter().filter(|one| !found.iter().any(|known| known.says(one))).collect();
        found.extend(fresh);
    }
    found
}

impl RuleDifference {
    /// Whether another says the same, wherever it holds and stands.
    fn says(&self, other: &RuleDifference) -> bool {
        let text = |side: &Option<Written>| side.as_ref().map(|written| written.text.clone());
        let sides = |one: &RuleDifference| (text(&one.before), text(&one.after));
        (self.kind, &self.owner, &self.path) == (other.kind, &other.owner, &other.path) && sides(self) == sides(other)
    }
}

/// The plan of a layer; where it is missing, the one that its messages get instead.
fn of_layer<'p>(plan: &'p Plan, layer: &Layer) -> &'p Plan {
    let of = |wanted: &Layer| plan.feeds().iter().find(|feed| feed.layer() == wanted).map(|feed| feed.plan());
    of(layer).or_else(|| of(&Layer::Site)).unwrap_or(plan)
}

/// By kind, owner and path.
fn of_sources(before: &Sources, after: &Sources, layer: Option<&Layer>) -> Vec<RuleDifference> {
    let (old, mut new) = (rules(before), rules(after));
    let mut found = Vec::new();
    for (key, rule) in old {
        let other = new.remove(&key);
        if other.as_ref().is_some_and(|other| other.meaning == rule.meaning) {
            continue;
        }
        let after = other.map(|rule| rule.written(after));
        found.push((key, Some(rule.written(before)), after));
    }
    found.extend(new.into_iter().map(|(key, rule)| (key, None, Some(rule.written(after)))));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let difference = |((kind, owner, path), before, after)| RuleDifference {
        layer: layer.cloned(),
        kind,
        owner,
        path,
        before,
        after,
    };
    found.into_iter().map(difference).collect()
}

impl Rule {
    fn written(self, sources: &Sources) -> Written {
        let (file, line) = self.location.map_or(("", 0), |location| {
            let (file, line, ..) = sources.position(location);
            (file, line)
        });
        Written { text: self.text, file: file.to_owned(), line }
    }
}

fn rules(sources: &Sources) -> BTreeMap<Key, Rule> {
    let mut collector = Collector { sources, rules: BTreeMap::new() };
    sources.maps.values().for_each(|map| collector.map(map));
    sources.tables.values().for_each(|table| collector.table(table));
    sources.messages.values().for_each(|message| collector.message(message));
    for (kind, named) in [(RuleKind::Structure, &sources.structures), (RuleKind::Event, &sources.events)] {
        for (name, (text, location)) in named {
            collector.plain(kind, name, text, Some(*location));
        }
    }
    let unplaced = [
        (RuleKind::System, &sources.systems),
        (RuleKind::Authority, &sources.authorities),
        (RuleKind::Short, &sources.short),
    ];
    for (kind, named) in unplaced {
        named.iter().for_each(|(name, text)| collector.plain(kind, name, text, None));
    }
    let profile = &sources.profile;
    let settings = [("namespace", &profile.namespace), ("timezone", &profile.timezone), ("charset", &profile.charset)];
    for (name, value) in settings {
        if let Some(text) = value {
            collector.plain(RuleKind::Profile, name, text, Some(profile.location));
        }
    }
    let lists = [("patient_types", profile.patient_types.join(", ")), ("nulls", format!("{:?}", profile.nulls))];
    for (name, text) in lists.iter().filter(|(_, text)| !text.is_empty()) {
        collector.plain(RuleKind::Profile, name, text, Some(profile.location));
    }
    for (layer, all) in &sources.when {
        let when = |when: &super::source::When| {
            format!("MSH-{}.{} in ({})", when.field, when.component, when.values.join(", "))
        };
        let text = all.iter().map(when).collect::<Vec<_>>().join(" and ");
        collector.plain(RuleKind::Profile, &format!("when of the {layer}"), &text, None);
    }
    collector.rules
}

struct Collector<'s> {
    sources: &'s Sources,
    rules: BTreeMap<Key, Rule>,
}

impl Collector<'_> {
    /// Puts a rule; another one with the same key is the second of that name.
    fn put(&mut self, kind: RuleKind, owner: &str, path: &str, rule: Rule) {
        let mut key = (kind, owner.to_owned(), path.to_owned());
        let mut number = 2;
        while self.rules.contains_key(&key) {
            key.2 = format!("{path} #{number}");
            number += 1;
        }
        self.rules.insert(key, rule);
    }

    fn plain(&mut self, kind: RuleKind, name: &str, text: &str, location: Option<Location>) {
        self.put(kind, "", name, Rule { text: text.to_owned(), meaning: text.to_owned(), location });
    }

    fn setting(&mut self, map: &MapSource, name: &str, text: String) {
        let rule = Rule { meaning: text.clone(), text, location: Some(map.location) };
        self.put(RuleKind::Map, &map.name, name, rule);
    }

    fn map(&mut self, map: &MapSource) {
        for (row, location) in &map.identity {
            self.expression(map, "identity", row, *location);
        }
        if let Some((row, location)) = &map.value {
            self.expression(map, "value", row, *location);
        }
        if !map.parameters.is_empty() {
            self.setting(map, "params", map.parameters.join(", "));
        }
        for (name, set) in [("events", map.events), ("distinct", map.distinct)] {
            if set {
                self.setting(map, name, "true".to_owned());
            }
        }
        map.rows.iter().for_each(|row| self.row(map, "", row));
    }

    fn row(&mut self, map: &MapSource, around: &str, row: &RowSource) {
        let path = if around.is_empty() { row.key.clone() } else { format!("{around}.{}", row.key) };
        self.right_side(map, &path, row, &row.value);
    }

    /// Depth is that of the tables written in a mapping file.
    fn right_side(&mut self, map: &MapSource, path: &str, row: &RowSource, value: &RowValue) {
        match value {
            RowValue::Expression(expression, location) => self.expression(map, path, expression, *location),
            RowValue::Many(values) => values.iter().for_each(|value| self.right_side(map, path, row, value)),
            RowValue::Table(rows, guard) => {
                if let Some(guard) = guard {
                    let text = written::condition(guard);
                    let rule = Rule { meaning: format!("{guard:?}"), text, location: Some(row.location) };
                    self.put(RuleKind::Map, &map.name, &format!("{path} if"), rule);
                }
                rows.iter().for_each(|row| self.row(map, path, row));
            }
            RowValue::Switch(switch) => {
                let (meaning, text) = (format!("{:?}", switch.on), written::path(&switch.on));
                let rule = Rule { text, meaning, location: Some(row.location) };
                self.put(RuleKind::Map, &map.name, &format!("{path} switch on"), rule);
                for (codes, expression, location) in &switch.cases {
                    self.expression(map, &format!("{path} for {}", codes.join(",")), expression, *location);
                }
            }
        }
    }

    fn expression(&mut self, map: &MapSource, path: &str, row: &Row, location: Location) {
        let text = self.sources.written(location).to_owned();
        let rule = Rule { text, meaning: format!("{row:?}"), location: Some(location) };
        self.put(RuleKind::Map, &map.name, path, rule);
    }

    fn table(&mut self, table: &TableSource) {
        for row in &table.rows {
            let columns = [&row.fhir, &row.display, &row.system].map(String::as_str);
            let text = columns.iter().filter(|column| !column.is_empty()).copied().collect::<Vec<_>>().join(", ");
            let rule = Rule { text, meaning: columns.join("\0"), location: Some(row.location) };
            self.put(RuleKind::Table, &table.name, &row.code, rule);
        }
    }

    fn message(&mut self, message: &MessageSource) {
        for (event, location) in &message.covers {
            let rule = Rule { text: event.clone(), meaning: event.clone(), location: Some(*location) };
            self.put(RuleKind::Message, &message.name, &format!("covers {event}"), rule);
        }
        if let Some((name, location)) = &message.extends {
            let rule = Rule { text: name.clone(), meaning: name.clone(), location: Some(*location) };
            self.put(RuleKind::Message, &message.name, "extends", rule);
        }
        for place in &message.places {
            let group = if place.group.is_empty() { String::new() } else { format!("{}.", place.group) };
            let path = format!("{group}{}", place.key);
            if place.statements.is_empty() {
                // It takes away what the extended map has here.
                let rule = Rule { text: String::new(), meaning: String::new(), location: Some(place.location) };
                self.put(RuleKind::Message, &message.name, &path, rule);
            }
            for s in &place.statements {
                let text = self.sources.written(s.location).to_owned();
                let meaning = format!("{}{:?}{:?}", s.map, s.links, s.guard);
                let sign = if s.add { " +=" } else { "" };
                let rule = Rule { text, meaning, location: Some(s.location) };
                self.put(RuleKind::Message, &message.name, &format!("{path}: {}{sign}", s.binding), rule);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::source::SourceFile;

    fn with(text: &str) -> Plan {
        let mut files = Plan::embedded_files();
        files.push(SourceFile { name: "site.toml".into(), text: text.into(), layer: Layer::Site });
        Plan::load(files).map_err(|(sources, d)| d.sorted()[0].render(&sources)).unwrap().0
    }

    fn told(before: &str, after: &str) -> Vec<String> {
        let side = |side: &Option<Written>| side.as_ref().map_or("nothing".to_owned(), |w| w.text.clone());
        let line = |d: &RuleDifference| {
            format!("{} {} {}: {} → {}", d.kind.name(), d.owner, d.path, side(&d.before), side(&d.after))
        };
        differences(&with(before), &with(after)).iter().map(line).collect()
    }

    #[test]
    fn rows_tables_and_statements_differ() {
        let before = "[PID.Patient.set]\n\"telecom[home]\" = { \"*\" = \"13 : XTN.ContactPoint\", use = \"'home' if 13.2 not valued\" }\n[table.AdministrativeSex]\n\"1\" = \"male\"\n\"3\" = \"other\"\n[authorities]\nX = \"urn:x\"\n";
        let after = "[PID.Patient.set]\n\"telecom[home]\" = { \"*\" = \"13 : XTN.ContactPoint\", use = \"'work' if 13.2 not valued\" }\n[table.AdministrativeSex]\n\"1\" = \"female\"\n\"4\" = \"other\"\n[profile]\ntimezone = \"Europe/Amsterdam\"\n[structure.ADT_A01]\ninsert = { ZPD = \"after PD1\" }\n[ADT_A01]\nZPD = \"patient += ZPD.Patient\"\n[ZPD.Patient.set]\nbirthDate = \"2 : date\"\n";
        let found = told(before, after);
        for line in [
            "map PID.Patient telecom[home].use: 'home' if 13.2 not valued → 'work' if 13.2 not valued",
            "map ZPD.Patient birthDate: nothing → 2 : date",
            "table AdministrativeSex 1: male, http://hl7.org/fhir/administrative-gender → female, http://hl7.org/fhir/administrative-gender",
            "authority  X: urn:x → nothing",
            "profile  timezone: nothing → Europe/Amsterdam",
            "message ADT_A01 ZPD: patient +=: nothing → patient += ZPD.Patient",
        ] {
            assert!(found.iter().any(|l| l == line), "{line} is not in\n{}", found.join("\n"));
        }
        assert!(
            found.iter().any(|l| l.starts_with("table AdministrativeSex 3: other") && l.ends_with("→ nothing")),
            "{found:?}"
        );
        assert!(found.iter().any(|l| l.starts_with("structure  ADT_A01: ")), "{found:?}");
        assert_eq!(found.len(), 9, "{}", found.join("\n"));
    }

    #[test]
    fn what_differs_for_some_messages_alone_is_told_once() {
        let site = "[profile]\nwhen = { MSH-4 = \"A\" }\n[PID.Patient.set]\nbirthDate = \"\"\n";
        let found = differences(&with(""), &with(site));
        let told: Vec<(Option<Layer>, &str)> = found.iter().map(|d| (d.layer.clone(), d.path.as_str())).collect();
        assert!(told.contains(&(Some(Layer::Site), "birthDate")), "{told:?}");
        assert!(told.iter().any(|(_, path)| *path == "when of the site"), "{told:?}");
        assert_eq!(told.iter().filter(|(_, path)| *path == "birthDate").count(), 1, "{told:?}");
    }

    #[test]
    fn spaces_and_files_do_not() {
        let one = "[PID.Patient.set]\ngender = \"8 @AdministrativeSex | 'other'\"\n[systems]\nX = \"urn:x\"\n";
        let two = "[systems]\nx = 'urn:x'\n\n[PID.Patient.set]\ngender = \"8  @AdministrativeSex|'other'\"\n";
        assert_eq!(told(one, two), [""; 0]);
    }
}
