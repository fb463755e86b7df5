//! The page: the message, the overlay, and where its outcome is shown.
use super::overlay::{self, is_of_site, shown};
use super::{journal, rules, samples};
use crate::admin::credentials::Need;
use crate::desk::gate::CSRF_FIELD;
use crate::desk::session::Session;
use crate::server::ListenerMappings;
use maud::{Markup, html};

/// What the page is filled with.
pub(super) struct Sheet<'s> {
    pub session: &'s Session,
    pub all: &'s [ListenerMappings],
    pub at: &'s ListenerMappings,
    pub message: &'s str,
    pub path: &'s str,
    pub overlay: &'s str,
    pub rules: &'s str,
    pub origins: bool,
}

impl<'s> Sheet<'s> {
    pub fn new(session: &'s Session, all: &'s [ListenerMappings], at: &'s ListenerMappings) -> Sheet<'s> {
        let path = overlay::PATH;
        Sheet { session, all, at, message: "", path, overlay: "", rules: "", origins: false }
    }

    /// All of it; without an outcome the page asks for one.
    pub fn page(&self, outcome: Option<Markup>) -> Markup {
        html! {
            h1 { "Playground" }
            p.soft { "See what becomes of a message while you write a mapping. Nothing is changed in the running gateway, and what you paste is not stored and not logged." }
            (self.picks())
            form #play method="post" action="/playground" hx-post="/playground" hx-target="#outcome" hx-sync="this:replace"
                hx-trigger=(if outcome.is_some() { "input delay:300ms" } else { "load, input delay:300ms" }) {
                input type="hidden" name=(CSRF_FIELD) value=(self.session.csrf());
                (self.bar())
                div.play {
                    div #message-box.message-box { (self.message_box()) }
                    div #overlay-box.overlay-box { (self.overlay_box()) }
                    section.outcome-box aria-labelledby="outcome-title" {
                        h2 #outcome-title { "What becomes of it" }
                        div #outcome {
                            @match outcome { Some(outcome) => { (outcome) }, None => { p.soft { "Press Translate." } } }
                        }
                    }
                }
                (self.wide())
            }
            (rules::section(self.at, self.rules))
        }
    }

    /// Another message. Links, so that it works without a script; with one, what was written stays.
    fn picks(&self) -> Markup {
        html! {
            div.picks {
                span.soft { "Begin with" }
                ul {
                    @for (name, title, _) in samples::ALL {
                        @let link = format!("/playground?sample={name}");
                        li { a href=(link) hx-get=(link) hx-target="#message-box" hx-select="#message-box" hx-swap="outerHTML" { (title) } }
                    }
                }
                @if self.session.may(Need::Phi) {
                    form method="get" action="/playground" hx-get="/playground" hx-target="#message-box" hx-select="#message-box" hx-swap="outerHTML" {
                        label { "or message number" input name="seq" type="number" min="1" size="9" required; }
                        button type="submit" { "Load" }
                    }
                }
            }
        }
    }

    fn bar(&self) -> Markup {
        html! {
            div.bar {
                label { "Mappings of listener"
                    select #listener name="listener" {
                        @for one in self.all {
                            option value=(one.listener) selected[one.listener == self.at.listener] {
                                (one.listener)
                                @match &one.site { Some(site) => { " (site " (site.display()) ")" }, None => { " (no site)" } }
                            }
                        }
                    }
                }
                label.tick { input type="checkbox" name="origins" value="1" checked[self.origins]; "Where each value came from" }
                button.primary.end type="submit" { "Translate" }
            }
        }
    }

    fn message_box(&self) -> Markup {
        html! {
            h2 { label for="message" { "Message" } }
            (lines("message", "message", self.message, 12, "MSH|^~\\&|…"))
        }
    }

    fn overlay_box(&self) -> Markup {
        let files = self.at.plan.sources().files.iter().filter(|file| is_of_site(file));
        let example = "[PID.Patient.set]\ngender = \"8 @AdministrativeSex | 'unknown'\"\n\n[table.AdministrativeSex]\n\"2\" = \"female\"";
        html! {
            h2 { label for="overlay" { "Overlay" } }
            (lines("overlay", "overlay", self.overlay, 16, example))
            div.bar {
                label { "File of the site"
                    input name="path" value=(self.path) list="site-files" size="26" spellcheck="false" autocomplete="off";
                }
                datalist #site-files { @for file in files { option value=(shown(self.at, &file.name)) {} } }
                button type="submit" formaction="/playground/download" { "Download the file" }
            }
        }
    }

    /// The last messages of the listener.
    fn wide(&self) -> Markup {
        let action = if self.session.may(Need::Phi) { "/playground/messages/values" } else { "/playground/messages" };
        let may = self.session.may(Need::Phi) || self.session.may(Need::Configure);
        html! {
            section.card aria-labelledby="wide-title" {
                h2 #wide-title { "The last messages with this overlay" }
                @if may {
                    p.soft {
                        "Each is translated with the present mappings and with the overlay; nothing is delivered."
                        @if !self.session.may(Need::Phi) { " Values are shown to those who have the role phi-reader." }
                    }
                    div.bar {
                        label { "Messages" input name="count" type="number" min=(journal::COUNT.start()) max=(journal::COUNT.end()) value="100"; }
                        button type="submit" formaction=(action) hx-post=(action) hx-include="#play" hx-sync="this:replace" hx-target="#wide" hx-trigger="click" hx-disabled-elt="this" hx-indicator="#wide" { "Compare" }
                    }
                    div #wide.busy {}
                } @else {
                    p.soft { "What an overlay makes of real messages tells of patients. It is shown to those who have the role admin or phi-reader." }
                }
            }
        }
    }
}

/// A field for many lines, which are numbered by a script; so is the place of the caret.
fn lines(id: &str, name: &str, text: &str, rows: usize, example: &str) -> Markup {
    html! {
        div.lines data-lines {
            pre.numbers aria-hidden="true" {}
            // A browser leaves out the first line end.
            textarea id=(id) name=(name) rows=(rows) wrap="off" spellcheck="false" autocapitalize="off" autocomplete="off" aria-describedby=(format!("{id}-caret")) placeholder=(example) { "\n" (text) }
        }
        p.caret.soft id=(format!("{id}-caret")) {}
    }
}
