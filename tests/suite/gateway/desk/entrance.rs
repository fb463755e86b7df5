//! Who gets in, to which page, and what no page lets through.
use super::{Desk, USERS, password};
use handoff::admin::{Role, credentials::Need};

#[test]
fn nobody_sees_a_page_before_signing_in() {
    let desk = Desk::start("", "");
    let answer = desk.get("/");
    assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in")));
    let deep = desk.get("/?q=a%26b");
    assert_eq!(deep.header("location"), Some("/sign-in?then=%2f%3fq%3da%2526b"), "{}", deep.head);
    let searched = desk.get("/messages?patient=4711");
    assert_eq!(searched.header("location"), Some("/sign-in?then=%2fmessages"), "nothing of a patient in an address");
    let form = desk.get("/sign-in?then=%2Fmessages");
    assert!(form.status == 200 && form.body.contains("value=\"/messages\""), "{}", form.body);
    for (user, with) in
        [("viewer", "wrong"), ("nobody", password("viewer")), ("viewer", ""), ("VIEWER", password("viewer"))]
    {
        let answer = desk.post("/sign-in", &[], &format!("name={user}&password={with}"));
        assert!(answer.status == 401 && answer.header("set-cookie").is_none(), "{user}: {}", answer.head);
    }
    let answer =
        desk.post("/sign-in", &[], &format!("name=viewer&password={}&then=//evil.example", password("viewer")));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "nobody is led elsewhere");
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("httponly") && cookie.contains("samesite=strict"), "{cookie}");
    let log = desk.gateway.stop();
    assert!(log.contains("signed in") && !log.contains(password("viewer")), "{log}");
}

#[test]
fn a_token_signs_in_with_its_role_and_too_many_failures_are_turned_away() {
    let (token, hash) = handoff::admin::credentials::create().unwrap();
    let tokens = format!("failures_max = 3\ntokens = [{{ name = \"ops\", role = \"operator\", sha256 = \"{hash}\" }}]");
    let desk = Desk::start(&tokens, "");
    let answer = desk.post("/sign-in", &[], &format!("token={token}"));
    assert_eq!(answer.status, 303, "{}", answer.body);
    let statuses: Vec<u16> = (0..5).map(|_| desk.post("/sign-in", &[], "token=wrong").status).collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let right = desk.post("/sign-in", &[], &format!("name=viewer&password={}", password("viewer")));
    assert_eq!(right.status, 429, "whoever guesses passwords must not learn that one was right");
    assert_eq!(desk.post("/sign-in", &[], &format!("token={token}")).status, 303, "a token is no guess");
    // Somebody who guesses is seen, once for all of it.
    let access = std::fs::read_dir(desk.gateway.data().join("access")).unwrap();
    let lines: String = access.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap_or_default()).collect();
    assert_eq!(lines.matches("sign-in refused").count(), 1, "{lines}");
    assert!(lines.contains("127.0.0.1") && !lines.contains("wrong"), "{lines}");
    desk.gateway.stop();
}

#[test]
fn signing_out_ends_the_session() {
    let desk = Desk::start("", "");
    let visitor = desk.sign_in("viewer");
    let form = format!("csrf={}", visitor.csrf());
    assert_eq!(visitor.ask("POST", "/sign-out", &[], &form).header("location"), Some("/sign-in"));
    assert_eq!(visitor.get("/").status, 303);
    assert_eq!(visitor.part("/").header("hx-refresh"), Some("true"), "a part of a page has the page loaded again");
    desk.gateway.stop();
}

/// Every page and every role, as the router has them: who may gets past the gate, who may not does not.
#[test]
fn every_page_keeps_out_whom_it_is_not_for() {
    let desk = Desk::start("", "");
    let pages = handoff::desk::index();
    assert!(pages.len() > 4, "{pages:?}");
    for (user, roles) in USERS {
        let visitor = desk.sign_in(user);
        for (method, path, need) in &pages {
            if *path == "/sign-out" || *path == "/sign-in" {
                continue;
            }
            let path = path.replace("{seq}", "1").replace(['{', '}'], "");
            let may = need.is_none_or(|need| roles.iter().any(|role| allowed(role, need)));
            let status = match *method {
                // Its answer has no end.
                "get" if path == "/live" => visitor.ask("HEAD", &path, &[], "").status,
                "get" => visitor.get(&path).status,
                _ => visitor.act(&path, "").status,
            };
            assert_eq!(status != 403, may, "{user}: {method} {path} answers {status}, which needs {need:?}");
            if *method != "get" && may {
                let foreign = visitor.ask("POST", &path, &["HX-Request: true"], "csrf=guessed");
                assert_eq!(foreign.status, 403, "{path} is done for another site");
            }
        }
    }
    desk.gateway.stop();
}

fn allowed(role: &str, need: &str) -> bool {
    let (_, role) = Role::ALL.iter().find(|(name, _)| *name == role).unwrap();
    let need = match need {
        "viewer" => Need::View,
        "operator" => Need::Operate,
        "admin" => Need::Configure,
        "phi-reader" => Need::Phi,
        // Operators see codes, and who reads messages sees them whole.
        "codes" => Need::Codes,
        other => panic!("{other}"),
    };
    role.may(need)
}

#[test]
fn no_page_runs_what_is_not_ours() {
    let desk = Desk::start("", "");
    let visitor = desk.sign_in("all");
    for page in [visitor.get("/"), desk.get("/sign-in"), visitor.get("/messages/99")] {
        let policy = page.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("same-origin"), "a browser sends forms with their origin");
    }
    let page = visitor.get("/").body;
    assert!(!page.contains("<script>") && !page.contains(" style=\"") && !page.contains("onclick"), "{page}");
    let style = page.split("href=\"/assets/").nth(1).unwrap().split('"').next().unwrap();
    let asset = desk.get(&format!("/assets/{style}"));
    assert!(asset.status == 200 && asset.header("cache-control").unwrap().contains("immutable"), "{}", asset.head);
    assert_eq!(desk.get("/assets/old/desk.css").status, 404);
    desk.gateway.stop();
}

#[test]
fn an_address_of_nothing_is_a_page_for_a_browser_and_a_problem_for_others() {
    let desk = Desk::start("", "");
    let viewer = desk.sign_in("viewer");
    let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let page = viewer.ask("GET", "/no-such-page", &[browser], "");
    assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(
        page.body.contains("no such page") && page.body.contains("id=\"nav\"") && page.body.contains("What to do"),
        "{}",
        page.body
    );
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self'"));
    let stranger = super::super::http::ask(&desk.address, "GET", "/no-such-page", &[browser]);
    assert!(stranger.status == 404 && stranger.body.contains("<html") && stranger.body.contains("href=\"/sign-in\""));
    assert!(!stranger.body.contains("id=\"nav\""), "{}", stranger.body);
    for (path, accept) in [("/api/v1/nothing", browser), ("/no-such-page", "Accept: application/json")] {
        let problem = super::super::http::ask(&desk.address, "GET", path, &[accept]);
        assert_eq!((problem.status, problem.header("content-type")), (404, Some("application/problem+json")), "{path}");
    }
    // What cannot be read is told on a page as well.
    for path in ["/audit?before=x", "/messages/x/preview", "/loops?after=-1"] {
        let wrong = desk.sign_in("all").get(path);
        assert!(
            wrong.status == 400 && wrong.body.contains("<html") && wrong.body.contains("What to do"),
            "{path}: {}",
            wrong.body
        );
    }
    desk.gateway.stop();
}
