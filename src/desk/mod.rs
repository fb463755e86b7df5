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
//! | `assets` | style, scripts and their licences |
//! | all others | one page each |
//!
//! A page shows what the API under `/api/v1` answers and does what that does, by the same functions. Everything that a sender or a patient could have written is escaped, and
//! no script or style runs that is not a file of ours (Content-Security-Policy). What holds anything of a patient needs the role `phi-reader`, and is noted in the log with who read it.
mod assets;
mod dashboard;
mod fault;
mod gate;
mod parts;
mod playground;
mod session;
mod shell;
mod sign_in;

use crate::admin::Shared;
use crate::admin::credentials::Need;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use session::Sessions;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all pages share.
pub(crate) struct Desk {
    /// The gateway, and what of it the API shares.
    pub admin: Arc<Shared>,
    sessions: Sessions,
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
        comparing: Semaphore::new(1),
        workshop: Arc::default(),
    });
    let mut router = Router::new();
    for (_, path, need, handler) in pages() {
        let handler = handler.route_layer(from_fn_with_state((Arc::clone(&desk), need), gate::enter));
        router = router.route(path, handler);
    }
    router.with_state(desk)
}
