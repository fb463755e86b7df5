//! The rules of the mapping files, to begin an overlay with.
use super::overlay::{is_of_site, shown};
use crate::mapping::excerpt::excerpts;
use crate::mapping::source::{Layer, SourceFile};
use crate::server::ListenerMappings;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// The files of a listener's mappings, and the rules of one of them.
pub(super) fn section(at: &ListenerMappings, file: &str) -> Markup {
    let files = &at.plan.sources().files;
    let chosen = files.iter().find(|one| one.name == file);
    html! {
        section #rules.card aria-labelledby="rules-title" {
            h2 #rules-title { "Begin with a rule" }
            p.soft { "What you put into the overlay takes the place of the rule with the same section and the same left side; an empty right side (" code { "\"\"" } ") takes it away. A table keeps its other rows." }
            form.bar method="get" action="/playground" hx-get="/playground" hx-target="#rules" hx-select="#rules" hx-swap="outerHTML" hx-trigger="change, submit" {
                input type="hidden" name="listener" value=(at.listener);
                label { "Mapping file"
                    select name="rules" { option value="" { "Choose a file" } (options(at, files, file)) }
                }
                button type="submit" { "Show its rules" }
                @if let Some(chosen) = chosen.filter(|one| is_of_site(one)) {
                    @let link = edit(at, shown(at, &chosen.name));
                    a.button href=(link) hx-get=(link) hx-target="#overlay-box" hx-select="#overlay-box" hx-swap="outerHTML" { "Edit this file" }
                }
            }
            @if let Some(chosen) = chosen { (list(chosen)) }
        }
    }
}

/// Where a file of the site is opened.
fn edit(at: &ListenerMappings, file: &str) -> String {
    let pairs = [("listener", at.listener.as_str()), ("file", file)];
    let url = reqwest::Url::parse_with_params("desk:/playground", pairs);
    url.map(|url| format!("/playground?{}", url.query().unwrap_or_default())).unwrap_or_default()
}

fn options(at: &ListenerMappings, files: &[SourceFile], chosen: &str) -> Markup {
    let mut layers: BTreeMap<std::cmp::Reverse<&Layer>, Vec<&SourceFile>> = BTreeMap::new();
    for file in files {
        layers.entry(std::cmp::Reverse(&file.layer)).or_default().push(file);
    }
    html! {
        @for (layer, files) in layers {
            optgroup label=(title(layer.0)) {
                @for file in files {
                    option value=(file.name) selected[file.name == chosen] { (shown(at, &file.name)) }
                }
            }
        }
    }
}

fn title(layer: &Layer) -> String {
    match layer {
        Layer::Core => "Mappings".to_owned(),
        Layer::Realm(name) => format!("Realm {name}"),
        Layer::Site => "Site".to_owned(),
        Layer::Feed(name) => format!("Feed {name}"),
    }
}

fn list(file: &SourceFile) -> Markup {
    let all = excerpts(file);
    html! {
        @if all.is_empty() { p.empty { "The file has no rules." } }
        ol.rules {
            @for (number, one) in all.iter().enumerate() {
                @if number == 0 || all.get(number - 1).is_some_and(|before| before.section != one.section) {
                    li.section { code { (one.section) } }
                }
                li {
                    button.take type="button" data-section=(one.section) data-rule=(one.text) aria-label=(format!("Override line {}", one.line)) { "Override" }
                    pre { (one.text) }
                }
            }
        }
    }
}
