//! `[[coordination.label]]` and `[[coordination.recipient]]`: what is sensitive, and who may see it. A recipient whose policy is not all there is refused.
use super::super::admin::token_hash;
use super::super::section::{Placed, Section, closest};
use super::super::target::signing;
use crate::coordination::subscription::topic::TOPICS;
use crate::privacy::label::{CODE_MAX, LABELS_MAX, PART_2, RESTRICTED, VERY_RESTRICTED};
use crate::privacy::systems::System;
use crate::privacy::{
    DenyAction, FieldsProfile, Key, Label, Labels, MaxContent, Options, Recipient, Set, Unstructured, starter,
};
use std::sync::Arc;

/// Labels and recipients; `panels` are the ids of those there are, `part_2` the facilities that are under 42 CFR Part 2.
pub(super) fn privacy(coordination: &Section<'_>, panels: &[&str], part_2: &[&str]) -> Options {
    let mut all = starter::labels();
    let mut names: Vec<String> = Vec::new();
    for section in coordination.tables("label").into_iter().flatten() {
        let Some((label, adds, at)) = label(section) else { continue };
        if names.contains(&label.code) {
            coordination.document.wrong(Some(at), format!("two labels have the code \"{}\"", label.code));
        }
        names.push(label.code.clone());
        if !adds {
            all.retain(|known| known.code != label.code);
        }
        all.push(label);
    }
    let mut distinct: Vec<&str> = all.iter().map(|label| label.code.as_str()).collect();
    distinct.extend([RESTRICTED, VERY_RESTRICTED]);
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() > LABELS_MAX {
        coordination.wrong(format!("more than {LABELS_MAX} labels, those of the starter lists among them"));
    }
    name_programmes(&mut all, part_2);
    let labels = Labels::new(all);
    let sections = coordination.tables("recipient").into_iter().flatten();
    let recipients: Vec<Recipient> = sections.filter_map(|section| recipient(section, &labels, panels)).collect();
    check_distinct(coordination, &recipients);
    Options { labels: Arc::new(labels), recipients }
}

/// Their names tell as much as those of facilities that a label lists.
fn name_programmes(all: &mut Vec<Label>, part_2: &[&str]) {
    let names = || part_2.iter().map(|name| (*name).to_owned());
    let under = |label: &&mut Label| label.policy.as_deref().is_some_and(|policy| policy.eq_ignore_ascii_case(PART_2));
    let mut is_any = false;
    for label in all.iter_mut().filter(under) {
        label.facilities.extend(names());
        is_any = true;
    }
    if !is_any && !part_2.is_empty() {
        all.push(Label {
            code: VERY_RESTRICTED.into(),
            conf: "V".into(),
            facilities: names().collect(),
            ..Label::default()
        });
    }
}

/// A label, whether it adds to the starter list, and where its code stands.
fn label(section: Section<'_>) -> Option<(Label, bool, std::ops::Range<usize>)> {
    let code = id(&section, "code", "as HL7 writes it, such as code = \"SUD\"");
    let mut label = Label { conf: "R".into(), ..Label::default() };
    label.policy = section.text("policy").map(|policy| policy.value);
    let levels = ["U", "L", "M", "N", "R", "V"].map(|level| (level, level));
    if let Some(conf) = section.choice("conf", &levels) {
        label.conf = conf.into();
    }
    for prefix in section.texts("icd10_prefix").into_iter().flatten() {
        if let Some(prefix) = listed_code(&section, "icd10_prefix", prefix) {
            label.codes.push((System::Icd10, prefix));
        }
    }
    if let Some(table) = section.table("codes") {
        codes(table, &mut label);
    }
    if let Some(path) = section.text("value_set") {
        value_set(&section, &path, &mut label);
    }
    for (key, list) in [("marks", &mut label.marks), ("facilities", &mut label.facilities), ("units", &mut label.units)]
    {
        for text in section.texts(key).into_iter().flatten() {
            if text.value.trim().is_empty() {
                section.document.wrong(Some(text.at), format!("{key} holds an empty text"));
            } else {
                list.push(text.value);
            }
        }
    }
    let adds = section.boolean("starter").unwrap_or(true);
    let says_nothing =
        label.codes.is_empty() && label.marks.is_empty() && label.facilities.is_empty() && label.units.is_empty();
    if !adds && says_nothing {
        section.wrong("starter = false takes the starter list away: give icd10_prefix, codes, value_set, marks, facilities or units in its place");
    }
    section.finish();
    let code = code?;
    label.code = code.value;
    Some((label, adds, code.at))
}

fn codes(table: Section<'_>, label: &mut Label) {
    let document = table.document;
    let keys = table.keys();
    for (name, texts) in table.all_texts() {
        let Some(system) = System::listed(&name) else {
            let at = keys.iter().find(|key| key.value == name).map(|key| key.at.clone());
            let names: Vec<&str> = System::LISTED.iter().map(|(name, _)| *name).collect();
            document.wrong(at, format!("codes: \"{name}\" is no code system here: one of {}", names.join(", ")));
            continue;
        };
        for text in texts {
            if text.value.is_empty() || text.value.len() > CODE_MAX {
                document.wrong(Some(text.at), format!("codes: a code has 1 to {CODE_MAX} characters"));
            } else {
                label.codes.push((system, text.value));
            }
        }
    }
}

fn listed_code(section: &Section<'_>, key: &str, text: Placed<String>) -> Option<String> {
    let form = text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let begins = text.value.starts_with(|first: char| first.is_ascii_alphabetic());
    if !form || !begins || !(2..=8).contains(&text.value.len()) {
        let remedy = format!("{key} lists beginnings of codes of ICD-10 such as \"F10\" or \"F10.2\"");
        section.document.wrong(Some(text.at), remedy);
        return None;
    }
    Some(text.value)
}

fn value_set(section: &Section<'_>, text: &Placed<String>, label: &mut Label) {
    let path = section.document.relative(&text.value);
    let wrong =
        |what: String| section.document.wrong(Some(text.at.clone()), format!("value_set: {}: {what}", path.display()));
    match std::fs::read_to_string(&path) {
        Err(error) => wrong(format!("cannot be read: {error}")),
        Ok(content) => match starter::read(&content) {
            Err(error) => wrong(error.to_string()),
            Ok(list) if list.codes.is_empty() && list.marks.is_empty() => wrong("it lists nothing".into()),
            Ok(list) => {
                label.codes.extend(list.codes);
                label.marks.extend(list.marks);
            }
        },
    }
}

fn recipient(section: Section<'_>, labels: &Labels, known: &[&str]) -> Option<Recipient> {
    let id = id(&section, "id", "of whoever receives, such as id = \"aco-cm\"");
    let list = |key: &'static str, what: &str| {
        let texts = section.texts(key);
        if texts.is_none() || texts.as_ref().is_some_and(|texts| texts.is_empty() && key != "clear") {
            section.wrong(format!("a recipient needs {key}: {what}"));
        }
        texts
    };
    let panels = list("panels", "the panels whose people it looks after, such as panels = [\"aco-lakeshore\"]");
    let topics = list("topics", "what it may subscribe to, such as topics = [\"admission\", \"discharge\"]");
    let known_topics: Vec<_> = TOPICS.iter().map(|topic| topic.id).collect();
    check_known(&section, "panels", "panel", panels.as_deref().unwrap_or_default(), known);
    check_known(&section, "topics", "topic", topics.as_deref().unwrap_or_default(), &known_topics);
    let clear = list("clear", "the labels that it may see, such as clear = [\"PSY\"], or [] for none");
    let clear = labelled(&section, "clear", clear, labels);
    let consent_required = labelled(&section, "consent_required", section.texts("consent_required"), labels);
    let purpose = section.text("purpose");
    if purpose.as_ref().is_none_or(|purpose| purpose.value.is_empty()) {
        section.wrong("a recipient needs purpose, a code of v3 ActReason such as \"TREAT\" or \"HOPERAT\"");
    }
    let max_content = section.choice("max_content", &MaxContent::ALL);
    if max_content.is_none() {
        section.wrong("a recipient needs max_content: \"empty\", \"id-only\" or \"full-resource\"");
    }
    let token_sha256 = token_hash(&section, "token_sha256", "handoff token create --recipient ID");
    let deny_action = section.choice("deny_action", &DenyAction::ALL).unwrap_or(DenyAction::DropElement);
    let unstructured = section.choice("unstructured", &Unstructured::ALL).unwrap_or(Unstructured::WithholdIfSensitive);
    let fields_profile = section.choice("fields_profile", &FieldsProfile::ALL).unwrap_or(FieldsProfile::All);
    let keys = signing(&section).into_iter().map(Key::new).collect();
    section.finish();
    let texts = |list: Option<Vec<Placed<String>>>| list.into_iter().flatten().map(|text| text.value).collect();
    Some(Recipient {
        id: id?.value,
        panels: texts(panels),
        purpose: purpose?.value,
        topics: texts(topics),
        max_content: max_content?,
        clear,
        consent_required,
        deny_action,
        unstructured,
        fields_profile,
        token_sha256,
        keys,
    })
}

/// Whether there is everything that is named: what is misspelt would never be told, and nobody would notice.
pub(super) fn check_known(section: &Section<'_>, key: &str, what: &str, texts: &[Placed<String>], known: &[&str]) {
    for text in texts.iter().filter(|text| !known.contains(&text.value.as_str())) {
        let remedy = match closest(&text.value, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if known.is_empty() => format!("there is none: add [[coordination.{what}]]"),
            None => format!("there are {}", known.join(", ")),
        };
        section.document.wrong(Some(text.at.clone()), format!("{key}: \"{}\" is no {what}; {remedy}", text.value));
    }
}

fn labelled(section: &Section<'_>, key: &str, texts: Option<Vec<Placed<String>>>, labels: &Labels) -> Set {
    let mut set = Set::EMPTY;
    for text in texts.into_iter().flatten() {
        match labels.of(&text.value) {
            Some(label) => set = set.with(label),
            None => {
                let known = labels.names(labels.every()).join(", ");
                let what = format!("{key}: \"{}\" is no label; there are {known}", text.value);
                section.document.wrong(Some(text.at), what);
            }
        }
    }
    set
}

/// A name as it stands in the audit, in consents and beside visits: letters, digits, `-`, `_`, `.`.
fn id(section: &Section<'_>, key: &'static str, what: &str) -> Option<Placed<String>> {
    let Some(text) = section.text(key) else {
        section.wrong(format!("{key} is missing: {what}"));
        return None;
    };
    let plain = text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if text.value.is_empty() || text.value.len() > 64 || !plain {
        let form = format!("{key} must be 1 to 64 letters, digits, '-', '_' or '.'");
        section.document.wrong(Some(text.at), form);
        return None;
    }
    Some(text)
}

/// Whether recipients are told apart by what they are known by.
fn check_distinct(coordination: &Section<'_>, recipients: &[Recipient]) {
    for (number, one) in recipients.iter().enumerate() {
        for other in recipients.iter().skip(number + 1) {
            if one.id == other.id {
                coordination.wrong(format!("two recipients have the id \"{}\"", one.id));
            } else if one.token_sha256.is_some() && one.token_sha256 == other.token_sha256 {
                coordination.wrong(format!("recipients \"{}\" and \"{}\" have the same token", one.id, other.id));
            }
        }
    }
}
