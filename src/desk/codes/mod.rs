//! Codes that no code table has: by table, then one by one. What does not look like a code is shown to those alone who may read messages.
pub(super) mod one;

use super::Desk;
use super::fault::Fault;
use super::parts::{Tone, count, href, state, time};
use super::session::Session;
use super::shell::{self, Tab};
use crate::admin::api::codes::{code_text, failed};
use crate::admin::api::{blocking, noted, view};
use crate::admin::credentials::Need;
use crate::admin::problem::Problem;
use crate::journal::{CodeItem, CodeStanding};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Which; what is empty is not asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    table: String,
    standing: String,
    after: String,
}

/// On one page.
const CODES_SHOWN: usize = 100;
/// What can be asked for; the first where nothing is.
const STANDINGS: [&str; 4] = ["open", "resolved", "dismissed", "all"];

impl Asked {
    fn standing(&self) -> Result<Option<CodeStanding>, Problem> {
        match self.standing.as_str() {
            "" => Ok(Some(CodeStanding::Open)),
            "all" => Ok(None),
            name => {
                CodeStanding::parse(name).map(Some).ok_or_else(|| bad("standing is open, resolved, dismissed or all"))
            }
        }
    }

    fn page(&self, table: &str, after: &str) -> String {
        let all = [("table", table), ("standing", self.standing.as_str()), ("after", after)];
        href("/codes", &all.into_iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
    }
}

fn bad(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad query", detail, "choose from the page of codes")
}

/// Name, items, messages, when the last was seen.
type Table = (String, u64, u64, i64);

/// `GET /codes`
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Html<String>, Fault> {
    let Query(asked) = asked.map_err(Problem::from)?;
    let standing = asked.standing()?;
    let after: u64 =
        if asked.after.is_empty() { 0 } else { asked.after.parse().map_err(|_| bad("that is no next page"))? };
    let (data, table) = (desk.admin.data.clone(), Some(asked.table.clone()).filter(|table| !table.is_empty()));
    let (tables, items, full) = blocking(move || {
        let view = view(&data)?;
        let tables = view.state().code_tables(standing).map_err(failed)?;
        let items = view.state().codes_of(table.as_deref(), standing, after, CODES_SHOWN).map_err(failed)?;
        Ok((tables, items, view.state().codes_full().map_err(failed)?))
    })
    .await?;
    noted!(look = true, user = %session.who, count = items.len(), "codes read")?;
    let content = html! {
        h1 { "Codes that no table has" }
        p.soft { "Messages with these codes were taken and delivered; what the code says was left out, or passed on as it came. Give each code its place in a table, then send its messages again." }
        @if full { p.note { "As many codes are kept as there is room for, and none is settled: new ones are not kept. Settle some." } }
        (filters(&asked))
        (table_list(&asked, &tables))
        (code_list(&session, &asked, &items))
    };
    Ok(Html(shell::page(&session, "Codes", Tab::Codes, content).into_string()))
}

fn filters(asked: &Asked) -> Markup {
    html! {
        form.bar method="get" action="/codes" role="search" aria-label="Codes" {
            @if !asked.table.is_empty() { label.tick { input type="checkbox" name="table" value=(asked.table) checked; "only the table " (asked.table) } }
            label { "Standing" select name="standing" { @for name in STANDINGS { option value=(name) selected[asked.standing == name] { (name) } } } }
            button type="submit" { "Show" }
        }
    }
}

fn table_list(asked: &Asked, tables: &[Table]) -> Markup {
    html! {
        @if !tables.is_empty() && asked.table.is_empty() {
            h2 #tables { "By table" }
            div.scroll tabindex="0" role="region" aria-labelledby="tables" {
                table {
                    thead { tr { th scope="col" { "Table" } th.number scope="col" { "Codes" } th.number scope="col" { "Messages" } th scope="col" { "Last seen" } } }
                    tbody {
                        @for (name, items, messages, last_ms) in tables {
                            tr { th scope="row" { a href=(asked.page(name, "")) { (name) } } td.number { (count(*items)) } td.number { (count(*messages)) } td { (time(*last_ms)) } }
                        }
                    }
                }
            }
        }
    }
}

fn code_list(session: &Session, asked: &Asked, items: &[CodeItem]) -> Markup {
    let next = items.last().filter(|_| items.len() == CODES_SHOWN);
    html! {
        h2 #codes { @if asked.table.is_empty() { "Codes" } @else { (asked.table) } }
        @if items.is_empty() {
            div.empty { p { "No such codes: the tables have every code that came." } @if !asked.table.is_empty() || !asked.standing.is_empty() { p { a href="/codes" { "Show all that are open" } } } }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="codes" {
                table data-rows {
                    thead { tr { th scope="col" { "Code" } th scope="col" { "Table" } th scope="col" { "From" } th.number scope="col" { "Messages" } th scope="col" { "First seen" } th scope="col" { "Last seen" } th scope="col" { "Standing" } } }
                    tbody {
                        @for item in items {
                            tr {
                                th scope="row" { a href={ "/codes/" (item.id) } { code { (code_text(item, session.may(Need::Phi))) } } }
                                td { (item.table) }
                                td { (item.feed) span.soft { " by " (item.listener) } }
                                td.number { (count(item.count)) }
                                td { (time(item.seen_ms.0)) }
                                td { (time(item.seen_ms.1)) }
                                td { (standing(item)) }
                            }
                        }
                    }
                }
            }
            @if let Some(last) = next { p.pager { a.button rel="next" href=(asked.page(&asked.table, &last.id.to_string())) { "Next page" } } }
        }
    }
}

fn standing(item: &CodeItem) -> Markup {
    let tone = match item.standing {
        CodeStanding::Open => Tone::Warn,
        CodeStanding::Resolved => Tone::Good,
        CodeStanding::Dismissed => Tone::Still,
    };
    state(tone, item.standing.name())
}
