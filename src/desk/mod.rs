//! The desk: the pages that whoever runs the gateway keeps open all day. Made on the server (`maud`), brought up to date in place (`htmx`, vendored in `assets/`), served by
//! the admin server behind its guard.
//!
//! | file | what |
//! |---|---|
//! | `gate` | what a request for a page must pass: a session, its roles, and, where something is changed, that a page of ours asks |
//! | `session` | who has signed in |
//! | `sign_in` | signing in and out |
//! | `shell` | what is around every page |
//! | `parts` | what pages are made of: states, times, counts, tables |
//! | `fault` | the page that says what is not done, and why |
//! | `standing` | what has become of a message on each route |
//! | `assets` | style, scripts and their licences |
//! | `pulse`, `live` | how the gateway is from moment to moment, and pages that show it |
//! | all others | one page each |
//!
//! A page shows what the API under `/api/v1` answers and does what that does, by the same functions. Everything that a sender or a patient could have written is escaped, and
//! no script or style runs that is not a file of ours (Content-Security-Policy). What holds anything of a patient needs the role `phi-reader`, and is noted in the log with who read it.
mod alerts;
mod assets;
mod audit;
mod card;
mod codes;
mod dashboard;
mod fault;
mod gate;
mod letters;
mod listener;
mod live;
mod loops;
mod measures;
mod message;
mod messages;
mod operate;
mod parts;
mod people;
mod playground;
mod pulse;
mod reviews;
mod rosters;
mod route;
mod session;
mod shell;
mod sign_in;
mod standing;
mod subscriptions;
mod tally;

use crate::admin::Shared;
use crate::admin::credentials::Need;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use pulse::Pulse;
use session::Sessions;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all pages share.
pub(crate) struct Desk {
    /// The gateway, and what of it the API shares.
    pub admin: Arc<Shared>,
    sessions: Sessions,
    pulse: Pulse,
    /// Passwords are compared one at a time: each takes 19 MiB.
    comparing: Semaphore,
    /// Where overlays are tried.
    workshop: Arc<playground::Workshop>,
}

type Page = (&'static str, &'static str, Need, MethodRouter<Arc<Desk>>);

/// Everything that can be asked for: method, path, what it takes.
fn pages() -> Vec<Page> {
    vec![
        ("get", "/assets/{version}/{file}", Need::Nobody, get(assets::serve)),
        ("get", "/sign-in", Need::Nobody, get(sign_in::page)),
        ("post", "/sign-in", Need::Nobody, post(sign_in::enter)),
        ("post", "/sign-out", Need::View, post(sign_in::leave)),
        ("get", "/", Need::View, get(dashboard::page)),
        ("get", "/live", Need::View, get(live::stream)),
        ("get", "/listeners/{name}", Need::View, get(listener::page)),
        ("get", "/routes/{name}", Need::View, get(route::page)),
        ("get", "/routes/{name}/stop", Need::Operate, get(operate::before_stop)),
        ("post", "/routes/{name}/start", Need::Operate, post(operate::start)),
        ("post", "/routes/{name}/pause", Need::Operate, post(operate::pause)),
        ("post", "/routes/{name}/stop", Need::Operate, post(operate::stop)),
        ("post", "/reload", Need::Configure, post(operate::reload)),
        ("get", "/rosters", Need::View, get(rosters::page)),
        ("post", "/rosters/reload", Need::Operate, post(rosters::reload)),
        ("post", "/rosters/{panel}/approve", Need::Operate, post(rosters::approve)),
        ("post", "/rosters/{panel}/reject", Need::Operate, post(rosters::reject)),
        ("get", "/reviews", Need::Codes, get(reviews::page)),
        ("post", "/reviews/{id}", Need::Operate, post(reviews::decide)),
        ("get", "/loops", Need::Codes, get(loops::page)),
        ("get", "/people/{id}", Need::Phi, get(card::page)),
        ("get", "/measures", Need::View, get(measures::page)),
        ("get", "/measures/{panel}", Need::View, get(measures::panel)),
        ("get", "/measures/{panel}/{measure}", Need::Codes, get(measures::people)),
        ("get", "/alerts", Need::View, get(alerts::page)),
        ("get", "/audit", Need::View, get(audit::page)),
        ("post", "/audit/verify", Need::View, post(audit::verify)),
        ("get", "/messages", Need::View, get(messages::page)),
        ("post", "/messages/many", Need::Operate, post(messages::many::preview)),
        ("post", "/messages/many/send", Need::Operate, post(messages::many::act)),
        ("get", "/messages/{seq}", Need::View, get(message::page)),
        ("get", "/messages/{seq}/raw", Need::Phi, get(message::raw)),
        ("get", "/messages/{seq}/preview", Need::Operate, get(message::again::page)),
        ("post", "/messages/{seq}/resend", Need::Operate, post(message::again::resend)),
        ("get", "/dead-letters", Need::View, get(letters::page)),
        ("get", "/dead-letters/many", Need::Operate, get(letters::many::preview)),
        ("post", "/dead-letters/many", Need::Operate, post(letters::many::act)),
        ("get", "/dead-letters/{route}/{seq}", Need::View, get(letters::one::page)),
        ("post", "/dead-letters/{route}/{seq}/resend", Need::Operate, post(letters::one::resend)),
        ("post", "/dead-letters/{route}/{seq}/drop", Need::Operate, post(letters::one::forget)),
        // These take an operator as well.
        ("get", "/dead-letters/{route}/{seq}/edit", Need::Phi, get(letters::edit::page)),
        ("post", "/dead-letters/{route}/{seq}/edit", Need::Phi, post(letters::edit::send)),
        ("get", "/codes", Need::Codes, get(codes::page)),
        ("get", "/codes/{id}", Need::Codes, get(codes::one::page)),
        ("post", "/codes/{id}/resolve", Need::Configure, post(codes::one::resolve)),
        ("post", "/codes/{id}/dismiss", Need::Operate, post(codes::one::dismiss)),
        ("post", "/codes/{id}/resend", Need::Operate, post(codes::one::resend)),
        ("get", "/subscriptions", Need::View, get(subscriptions::page)),
        ("get", "/subscriptions/{id}", Need::View, get(subscriptions::one::page)),
        ("post", "/subscriptions/{id}/self-test", Need::Operate, post(subscriptions::one::test)),
        ("get", "/playground", Need::View, get(playground::page)),
        ("post", "/playground", Need::View, long(post(playground::attempt))),
        ("post", "/playground/messages", Need::Configure, long(post(playground::masked))),
        ("post", "/playground/messages/values", Need::Phi, long(post(playground::values))),
        ("post", "/playground/download", Need::View, long(post(playground::download))),
    ]
}

/// For a form that may be as long as the gate lets through.
fn long(handler: MethodRouter<Arc<Desk>>) -> MethodRouter<Arc<Desk>> {
    handler.layer(DefaultBodyLimit::max(gate::BODY_BYTES_MAX))
}

/// Method, path and need of every page, by the name of the role that has it (`codes`: operators and phi-readers); none where nobody need sign in.
pub fn index() -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    pages().into_iter().map(|(method, path, need, _)| (method, path, need.name())).collect()
}

/// The pages, for the admin server.
pub(crate) fn router(admin: &Arc<Shared>) -> Router {
    let desk = Arc::new(Desk {
        admin: Arc::clone(admin),
        sessions: Sessions::default(),
        pulse: Pulse::start(Arc::clone(admin)),
        comparing: Semaphore::new(1),
        workshop: Arc::default(),
    });
    let mut router = Router::new();
    for (_, path, need, handler) in pages() {
        let handler = handler.route_layer(from_fn_with_state((Arc::clone(&desk), need), gate::enter));
        router = router.route(path, handler);
    }
    router.fallback(gate::nothing).with_state(desk)
}
