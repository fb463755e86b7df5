//! The desk as a browser meets it: pages, forms and fragments of a running gateway, asked for by hand.
mod codes;
mod dashboard;
mod entrance;
mod letters;
mod many;
mod messages;
mod playground;
mod subscriptions;

use super::http::{Answer, ask, ask_with};
use super::process::{Gateway, handoff};
use std::process::Stdio;
use std::sync::LazyLock;

/// A gateway with a user for each role, and `all`, who has every one.
pub struct Desk {
    pub gateway: Gateway,
    pub address: String,
}

/// Somebody who has signed in.
pub struct Visitor {
    address: String,
    cookie: String,
    csrf: String,
}

/// Name, roles.
pub const USERS: [(&str, &[&str]); 5] = [
    ("viewer", &["viewer"]),
    ("operator", &["operator"]),
    ("admin", &["admin"]),
    ("phi-reader", &["phi-reader"]),
    ("all", &["admin", "phi-reader"]),
];

/// Passwords by user, and the lines of the configuration. A hash takes long, by intent; so it is made once.
static MADE: LazyLock<Vec<(String, String)>> =
    LazyLock::new(|| USERS.iter().map(|(name, roles)| create(name, roles)).collect());

fn create(name: &str, roles: &[&str]) -> (String, String) {
    let mut arguments = vec!["user", "create", "--name", name];
    roles.iter().for_each(|role| arguments.extend(["--role", role]));
    let done = handoff().args(arguments).stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    let table = said.split("users = [").nth(1).unwrap().split("]\n").next().unwrap();
    (String::from_utf8(done.stdout).unwrap().trim().to_owned(), table.to_owned())
}

pub fn password(user: &str) -> &'static str {
    &MADE[USERS.iter().position(|(name, _)| *name == user).unwrap()].0
}

impl Desk {
    /// `admin` are further keys of `[admin]`, `rest` is what stands behind.
    pub fn start(admin: &str, rest: &str) -> Desk {
        let tables: Vec<&str> = MADE.iter().map(|(_, table)| table.as_str()).collect();
        let configuration =
            format!("[admin]\nlisten = \"127.0.0.1:0\"\nusers = [{}]\n{admin}\n{rest}", tables.join(", "));
        let gateway = Gateway::start(&configuration);
        let log = gateway.log();
        let address = log.split("admin http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        Desk { gateway, address }
    }

    /// Asks for a page without having signed in.
    pub fn get(&self, path: &str) -> Answer {
        ask(&self.address, "GET", path, &[])
    }

    /// Sends a form without having signed in.
    pub fn post(&self, path: &str, headers: &[&str], form: &str) -> Answer {
        let headers = [&["Content-Type: application/x-www-form-urlencoded"], headers].concat();
        ask_with(&self.address, "POST", path, &headers, form)
    }

    /// Signs a user in.
    pub fn sign_in(&self, user: &str) -> Visitor {
        Visitor::enter(&self.address, &format!("name={user}&password={}", password(user)))
    }
}

impl Visitor {
    /// Signs in with a form.
    pub fn enter(address: &str, form: &str) -> Visitor {
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let answer = ask_with(address, "POST", "/sign-in", &[kind], form);
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.cookie().expect("no cookie").to_owned();
        let mut visitor = Visitor { address: address.to_owned(), cookie, csrf: String::new() };
        let page = visitor.get("/");
        assert_eq!(page.status, 200, "{}", page.body);
        page.body
            .split("name=\"csrf\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .clone_into(&mut visitor.csrf);
        visitor
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[&str], form: &str) -> Answer {
        let cookie = format!("Cookie: {}", self.cookie);
        let headers = [&[cookie.as_str(), "Content-Type: application/x-www-form-urlencoded"], headers].concat();
        ask_with(&self.address, method, path, &headers, form)
    }

    /// A whole page.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    /// A part of a page, as htmx asks for it.
    pub fn part(&self, path: &str) -> Answer {
        self.ask("GET", path, &["HX-Request: true"], "")
    }

    /// What a page of ours does: by script, with the header.
    pub fn act(&self, path: &str, form: &str) -> Answer {
        let csrf = format!("X-CSRF-Token: {}", self.csrf);
        self.ask("POST", path, &["HX-Request: true", &csrf], form)
    }

    pub fn csrf(&self) -> &str {
        &self.csrf
    }
}

/// What the form of a page sends that has a button of this text: its hidden fields.
pub fn form_of(page: &str, button: &str) -> String {
    let forms = page.split("<form ").skip(1).map(|form| form.split("</form>").next().unwrap());
    let form = forms.filter(|form| form.contains(&format!(">{button}</button>"))).last();
    let form = form.unwrap_or_else(|| panic!("no form with {button}: {page}"));
    let plain =
        |text: &str| text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let fields = form.split("<input type=\"hidden\" name=\"").skip(1).map(|field| {
        let (name, rest) = field.split_once("\" value=\"").unwrap();
        (name.to_owned(), plain(rest.split('"').next().unwrap()))
    });
    let fields: Vec<_> = fields.filter(|(name, _)| name != "csrf").collect();
    let url = reqwest::Url::parse_with_params("desk:/", &fields).unwrap();
    url.query().unwrap_or_default().to_owned()
}

impl Answer {
    /// `name=value` of the cookie that is set.
    fn cookie(&self) -> Option<&str> {
        self.raw_head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next())
    }
}
