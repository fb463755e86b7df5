//! `GET /live`: what has changed, to a page that is open, as long as it is (server-sent events, WHATWG HTML 9.2). An event is named after the element whose content it brings.
//!
//! A stream ends when its session or the gateway does. It does not count as using the session: a page that is left open signs nobody in for longer.
use super::Desk;
use super::fault::Fault;
use super::pulse::{Seen, Watching};
use super::session::Session;
use super::{alerts, dashboard, listener, parts, route};
use crate::admin::problem::Problem;
use crate::admin::socket::{Heard, Peer};
use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use futures_core::Stream;
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;
use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Silence after which something is said, so that both sides know that the other is there.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Events that wait for a page that does not read.
const WAITING_MAX: usize = 64;

/// What a page shows.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The dashboard, with the rows that it has.
    rows: Option<String>,
    /// A route, by its name.
    route: Option<String>,
    /// The page of alerts.
    alerts: Option<String>,
    /// A listener, by its name.
    listener: Option<String>,
}

/// A part of a page: the name of its event, its content, and, where it is sent for other reasons than that it has changed, what must have changed.
pub(super) struct Part {
    pub name: String,
    pub content: Markup,
    pub sign: Option<String>,
}

impl Part {
    /// One that is sent when it has changed.
    pub fn new(name: impl Into<String>, content: Markup) -> Part {
        Part { name: name.into(), content, sign: None }
    }
}

/// Events on their way to a page.
pub(super) struct Events {
    waiting: mpsc::Receiver<Event>,
    heard: Heard,
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.waiting.poll_recv(context);
        if let Poll::Ready(Some(_)) = &next {
            // Its connection is in use; one that is not read is asked for nothing, and closed like any other that is silent.
            self.heard.now();
        }
        next.map(|event| event.map(Ok))
    }
}

/// `GET /live`
pub(super) async fn stream(
    State(desk): State<Arc<Desk>>,
    Extension(session): Extension<Arc<Session>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Sse<Events>, Fault> {
    let Query(asked) = asked.map_err(Problem::from)?;
    let Some(watching) = desk.pulse.watch() else {
        let remedy = "close some, or load this page again to see what has changed";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many pages are open", remedy);
        return Err(problem.retry_after(30).into());
    };
    let (events, waiting) = mpsc::channel(WAITING_MAX);
    tokio::spawn(tell(desk, session, asked, watching, events));
    Ok(Sse::new(Events { waiting, heard: peer.heard }))
}

/// Tells what has changed until the page goes, the session ends or the gateway stops.
async fn tell(
    desk: Arc<Desk>,
    session: Arc<Session>,
    asked: Asked,
    mut watching: Watching,
    events: mpsc::Sender<Event>,
) {
    let mut told: HashMap<String, String> = HashMap::new();
    if let Some(rows) = &asked.rows {
        told.insert(dashboard::ROUTES.to_owned(), rows.clone());
        told.insert(dashboard::LISTENERS.to_owned(), rows.clone());
    }
    loop {
        let event = tokio::select! {
            () = events.closed() => break,
            changed = watching.newest.changed() => match changed {
                Ok(()) => None,
                Err(_) => break,
            },
            () = tokio::time::sleep(SILENCE_MAX) => Some(Event::default().comment("")),
        };
        if !desk.sessions.is_on(&session, Instant::now()) {
            let _ = events.send(Event::default().event("over").data("over")).await;
            break;
        }
        let seen = watching.newest.borrow_and_update().clone();
        let news = match (event, seen) {
            (None, Some(seen)) => changed(&session, &asked, &seen, &mut told),
            (event, _) => event.into_iter().collect(),
        };
        for event in news {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
    drop(watching.place);
}

/// What of a page is other than what was told.
fn changed(session: &Session, asked: &Asked, seen: &Seen, told: &mut HashMap<String, String>) -> Vec<Event> {
    let mut all =
        vec![Part::new("letters", letters(seen)), Part::new("alerts", waiting(seen.open.open.len() as u64, "open"))];
    if asked.alerts.is_some() {
        all.push(Part::new("alerts-page", alerts::shown(&seen.open)));
    }
    if asked.rows.is_some() {
        all.extend(dashboard::parts(session, seen));
    }
    if let Some(name) = &asked.route {
        all.extend(route::parts(session, seen, name));
    }
    if let Some(name) = &asked.listener {
        all.extend(listener::parts(seen, name));
    }
    let mut events = Vec::new();
    for part in all {
        let content = part.content.into_string();
        let sign = part.sign.unwrap_or_else(|| content.clone());
        if told.get(&part.name) != Some(&sign) {
            events.push(Event::default().event(&part.name).data(&content));
            told.insert(part.name, sign);
        }
    }
    events
}

/// Beside the name of their page: how many dead letters there are, where there are any.
fn letters(seen: &Seen) -> Markup {
    waiting(seen.sight.letters.values().sum::<u64>(), "to look at")
}

/// A count beside the name of a page, and for those who hear it what is counted.
fn waiting(count: u64, what: &str) -> Markup {
    // A browser passes over an event without data; a comment makes the badge empty.
    html! { @if count > 0 { (parts::count(count)) span.unseen { " " (what) } } @else { (PreEscaped("<!---->")) } }
}
