//! The playground: an overlay is tried on a message and on the last ones, told of its mistakes, and taken away as a file.
use super::super::http::Answer;
use super::super::process::{Peer, handoff, message};
use super::{Desk, Visitor};
use serde_json::Value;
use std::process::Stdio;

/// A form as a browser sends it.
fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect()
    };
    fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

fn attempt(visitor: &Visitor, message: &str, overlay: &str) -> Answer {
    let answer = visitor.act("/playground", &form(&[("message", message), ("overlay", overlay)]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

/// The text of a part of a page, as it is read.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// The Bundle that is shown.
fn bundle(answer: &Answer) -> Value {
    let html = answer.body.split("<pre class=\"fhir\">").nth(1).unwrap_or_else(|| panic!("no Bundle: {}", answer.body));
    serde_json::from_str(&plain(html.split("</pre>").next().unwrap())).unwrap()
}

fn patient(bundle: &Value) -> &Value {
    let entries = bundle["entry"].as_array().unwrap();
    entries.iter().map(|entry| &entry["resource"]).find(|one| one["resourceType"] == "Patient").unwrap()
}

const SEX: &str = "[table.AdministrativeSex]\n\"F\" = \"male\"\n";

#[test]
fn an_overlay_is_seen_at_once_and_a_mistake_is_told_with_its_place() {
    let desk = Desk::start("", "");
    let visitor = desk.sign_in("viewer");
    let page = visitor.get("/playground");
    assert!(page.status == 200 && page.body.contains("SAMPLE-1") && !page.body.contains(" style=\""), "{}", page.body);
    assert!(visitor.get("/playground?sample=vaccination").body.contains("SAMPLE-4"));
    assert_eq!(visitor.get("/playground?listener=none").status, 404);

    let hostile = message("m1", "A01").replace("CANARY^Name", "CANARY^<script>alert(1)</script>");
    let present = attempt(&visitor, &hostile, "");
    assert_eq!(patient(&bundle(&present))["gender"], "female");
    assert!(present.body.contains("no overlay") && !present.body.contains("<mark>"), "{}", present.body);
    let changed = attempt(&visitor, &hostile, SEX);
    assert_eq!(patient(&bundle(&changed))["gender"], "male");
    let told = plain(&changed.body);
    assert!(told.contains("changedPatient.gender\"female\"\"male\"") && told.contains("1 change"), "{told}");
    assert!(changed.body.contains("<mark>") && changed.body.contains("&lt;script&gt;alert(1)"), "{}", changed.body);
    assert!(!changed.body.contains("<script>"), "{}", changed.body);
    // Without a script it is a whole page, with what was written.
    let csrf = form(&[("csrf", visitor.csrf()), ("message", &hostile), ("overlay", SEX)]);
    let whole = visitor.ask("POST", "/playground", &[], &csrf).body;
    assert!(whole.contains("<html") && whole.contains("&quot;F&quot; = &quot;male&quot;"), "{whole}");
    assert!(!whole.contains("<script>"), "{whole}");

    let wrong = attempt(&visitor, &hostile, "[PID.Patient.set]\r\n\r\nbirthdate = \"7 : date\"\r\n<script>\r\n");
    let told = plain(&wrong.body);
    assert!(told.contains("playground.toml:4:") && told.contains("M001"), "{told}");
    assert!(!wrong.body.contains("<script>"), "{}", wrong.body);
    let wrong = attempt(&visitor, &hostile, "[PID.Patient.set]\n\nbirthdate = \"7 : date\"\n");
    let told = plain(&wrong.body);
    assert!(
        told.contains("M012 playground.toml:3:1") && told.contains("What to do: did you mean `birthDate`"),
        "{told}"
    );
    assert!(wrong.body.contains("data-line=\"3\" data-column=\"0\""), "{}", wrong.body);
    assert_eq!(patient(&bundle(&wrong))["gender"], "female", "what the present mappings make of it");

    let origins = visitor.act("/playground", &form(&[("message", &hostile), ("overlay", SEX), ("origins", "1")]));
    assert!(
        plain(&origins.body).contains("← PID-8, PID.Patient `gender` (segments/pid.toml:"),
        "{}",
        plain(&origins.body)
    );
    for (message, overlay, path, said) in [
        ("nothing", "", "", "Paste a message"),
        (&*hostile, SEX, "../evil.toml", "leads out of the folder"),
        (&*hostile, "[profile]\nextends = [\"core\", \"xx\"]\n", "", "there is no realm `xx`"),
    ] {
        let answer = visitor.act("/playground", &form(&[("message", message), ("overlay", overlay), ("path", path)]));
        assert!(answer.status == 200 && plain(&answer.body).contains(said), "{said}: {}", answer.body);
    }
    let realm = attempt(&visitor, &hostile, "[profile]\nextends = [\"core\", \"us\"]\n");
    assert!(realm.body.contains("us-core-patient"), "a realm that is not in use: {}", realm.body);
    let rules = visitor.get("/playground?rules=segments%2Fpid.toml").body;
    assert!(
        rules.contains("data-section=\"[PID.Patient.set]\" data-rule=\"birthDate          = &quot;7 : date&quot;\""),
        "{rules}"
    );
    let log = desk.gateway.stop();
    assert!(!log.contains("CANARY") && !log.contains("AdministrativeSex"), "{log}");
}

#[test]
fn the_last_messages_are_compared_for_those_who_may_know() {
    let desk = Desk::start("", "");
    let mut peer = Peer::connect(&desk.gateway);
    for (id, sex) in [("one", "F"), ("two", "F"), ("three", "M"), ("four", "F"), ("five", "")] {
        let sent = message(id, "A01").replace("|19800101|F\r", &format!("|19800101|{sex}\r"));
        assert!(peer.exchange(&sent).contains(&format!("MSA|AA|{id}")));
    }
    let ask = |user: &str, path: &str, overlay: &str| {
        let visitor = desk.sign_in(user);
        visitor.act(path, &form(&[("overlay", overlay), ("count", "100")]))
    };
    let facts = |answer: &Answer| plain(answer.body.split("</dl>").next().unwrap());
    let masked = ask("admin", "/playground/messages", SEX);
    let told = facts(&masked);
    assert!(told.contains("Compared5 messages of listener adt (the journal has no more"), "{told}");
    assert!(told.contains("Changed3Unchanged2Translated by neither0"), "{told}");
    let rows = plain(&masked.body);
    assert!(rows.contains("changedPatient.gender334") && !rows.contains("female"), "{rows}");
    let shown = ask("phi-reader", "/playground/messages/values", SEX);
    assert!(plain(&shown.body).contains("changedPatient.gender334\"female\"\"male\""), "{}", plain(&shown.body));
    assert!(shown.body.contains("href=\"/messages/4\""), "{}", shown.body);
    // With what one of them lacks.
    let fatal = ask("admin", "/playground/messages", "[PID.Patient.set]\ngender = \"8 @AdministrativeSex !fatal\"\n");
    let told = plain(&fatal.body);
    assert!(told.contains("Changed1Unchanged4") && told.contains("refused now"), "{told}");
    let wrong = ask("admin", "/playground/messages", "[PID.Patient.set]\nbirthdate = \"7\"\n");
    assert!(plain(&wrong.body).contains("playground.toml:2:1"), "{}", wrong.body);
    for (user, path, status) in [
        ("viewer", "/playground/messages", 403),
        ("operator", "/playground/messages", 403),
        ("admin", "/playground/messages/values", 403),
        ("phi-reader", "/playground/messages", 403),
        ("all", "/playground/messages/values", 200),
    ] {
        assert_eq!(ask(user, path, SEX).status, status, "{user} {path}");
    }
    // A message of the journal is read by those who may read messages.
    assert_eq!(desk.sign_in("admin").get("/playground?seq=3").status, 403);
    let reader = desk.sign_in("phi-reader");
    assert!(reader.get("/playground?seq=3").body.contains("patient-three^^^HARBOR^MR"));
    assert_eq!(reader.get("/playground?seq=77").status, 404);
    let log = desk.gateway.stop();
    let audited = |text: &str| log.lines().any(|line| line.contains("audit=true") && line.contains(text));
    assert!(audited("message read in the playground") && audited("messages compared in the playground"), "{log}");
    assert!(!log.contains("CANARY"), "{log}");
}

#[test]
fn the_file_that_is_taken_away_does_in_a_site_what_was_seen() {
    let site = tempfile::tempdir().unwrap();
    let own = "[profile]\nwhen = { MSH-4 = \"HARBOR\" }\n\n[PID.Patient.set]\nbirthDate = \"\"\n";
    std::fs::write(site.path().join("site.toml"), own).unwrap();
    let listener =
        format!("[[listener]]\nname = \"adt\"\nmllp = \"127.0.0.1:0\"\nsite = \"{}\"\n", site.path().display());
    let desk = Desk::start("", &listener);
    let visitor = desk.sign_in("viewer");
    let opened = visitor.get("/playground?listener=adt&file=site.toml").body;
    assert!(opened.contains("birthDate = &quot;&quot;") && opened.contains("value=\"site.toml\""), "{opened}");
    let raw = message("m1", "A01").replace("CANARY^Name", "Zoe^Name");
    let rows = "[PID.Patient.set]\nbirthDate = \"'1999-09-09'\"\n\n[table.AdministrativeSex]\nF = \"other\"\n";
    let fields = [("listener", "adt"), ("message", &raw), ("path", "zz/patient.toml"), ("overlay", rows)];
    let seen = visitor.act("/playground", &form(&fields));
    let shown = bundle(&seen);
    assert_eq!((&patient(&shown)["birthDate"], &patient(&shown)["gender"]), (&"1999-09-09".into(), &"other".into()));
    let file = visitor.act("/playground/download", &form(&fields));
    assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"patient.toml\""), "{}", file.head);
    assert!(file.body.starts_with("# handoff overlay: zz/patient.toml ") && file.body.ends_with(rows), "{}", file.body);
    // Opened and taken away once more, it says so once.
    let again = [fields[0], fields[1], fields[2], ("overlay", &*file.body)];
    assert_eq!(visitor.act("/playground/download", &form(&again)).body, file.body);

    std::fs::create_dir(site.path().join("zz")).unwrap();
    std::fs::write(site.path().join("zz/patient.toml"), &file.body).unwrap();
    std::fs::write(site.path().join("message.hl7"), &raw).unwrap();
    let run = |arguments: &[&str]| {
        let done = handoff().current_dir(site.path()).args(arguments).stdout(Stdio::piped()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, told, _) = run(&["mappings", "check", "--site", "."]);
    assert!(code == Some(0) && told.contains(" 0 errors"), "{told}");
    let (code, translated, errors) = run(&["translate", "--site", ".", "message.hl7"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(serde_json::from_str::<Value>(&translated).unwrap(), shown, "{translated}");

    // The gateway went on with its own mappings all the while.
    assert!(Peer::connect(&desk.gateway).exchange(&raw).contains("MSA|AA|m1"));
    let delivered: Value = serde_json::from_str(&desk.gateway.wait_for_bundles(1)[0]).unwrap();
    assert_eq!((&patient(&delivered)["birthDate"], &patient(&delivered)["gender"]), (&Value::Null, &"female".into()));
    desk.gateway.stop();
}
