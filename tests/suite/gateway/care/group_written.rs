//! The list of a panel, written over FHIR: what becomes of its file, of the roster, and of those who are told.
use super::listed::{list_change, listener, put};
use super::*;
use std::io::Write as _;

/// Somebody on a list.
fn patient(id: &str, number: &str, family: &str, birth: &str) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "name": [{ "family": family, "given": ["ANY"] }], "birthDate": birth,
        "identifier": [{ "system": "http://hl7.org/fhir/sid/us-mbi", "value": number }],
    })
}

/// A Group of so many, with its patients inside it.
fn list(count: usize) -> Value {
    let number = |at: usize| format!("3AA0AA0AA{at:02}");
    let one = |at: usize| patient(&format!("p{at}"), &number(at), &format!("MEMBER{at}"), "1950-02-03");
    let patients: Vec<Value> = (1..=count).map(one).collect();
    let members: Vec<Value> = (1..=count).map(|at| json!({ "entity": { "reference": format!("#p{at}") } })).collect();
    json!({ "resourceType": "Group", "id": "aco-lakeshore", "type": "person", "actual": true, "quantity": count, "contained": patients, "member": members })
}

/// Whose admission M1 tells of.
fn okafor() -> Value {
    patient("x", "1EG4-TE5-MK73", "Okafor", "1951-03-14")
}

fn mbi(value: &str) -> Value {
    json!({ "name": "memberId", "valueIdentifier": { "system": "http://hl7.org/fhir/sid/us-mbi", "value": value } })
}

fn parameters(parameters: &[Value]) -> Value {
    json!({ "resourceType": "Parameters", "parameter": parameters })
}

fn added(patient: Value) -> Value {
    let npi = json!({ "system": "http://hl7.org/fhir/sid/us-npi", "value": "9990003037" });
    parameters(&[
        mbi("1EG4TE5MK73"),
        json!({ "name": "providerNpi", "valueIdentifier": npi }),
        json!({ "name": "attributionPeriod", "valuePeriod": { "start": "2026-01-01" } }),
        json!({ "name": "patient", "resource": patient }),
    ])
}

/// A gateway whose panel is read from `path` in its folder of rosters, where these files lie.
fn start(path: &str, mode: &str, files: &[(&str, Value)]) -> Care {
    let rosters = tempfile::tempdir().unwrap();
    for (name, list) in files {
        let file = rosters.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, list.to_string()).unwrap();
    }
    let usual = configuration(rosters.path(), "", &listener("aco-cm"));
    let csv =
        format!("type = \"csv\", path = \"{}\", mode = \"supersede\"", rosters.path().join("lakeshore.csv").display());
    let group = format!("type = \"fhir-group\", path = \"{}\", mode = \"{mode}\"", rosters.path().join(path).display());
    let columns = usual.lines().find(|line| line.starts_with("columns = ")).unwrap();
    let operator = format!(
        "tokens = [{{ name = \"the-operator\", role = \"operator\", sha256 = \"{}\" }}, {{",
        sha256(&token("operator"))
    );
    let changed = usual.replace(&csv, &group).replace(columns, "").replace("tokens = [{", &operator);
    assert!(changed.contains("fhir-group"));
    let gateway = Gateway::start(&changed);
    Care { fhir: address(&gateway, "fhir"), gateway, rosters }
}

impl Care {
    fn write(&self, method: &str, rest: &str, headers: &[&str], body: &Value) -> Answer {
        let bearer = format!("Authorization: Bearer {}", token("privacy-office"));
        let headers = [&[bearer.as_str(), "Content-Type: application/fhir+json"], headers].concat();
        ask_with(&self.fhir, method, &format!("/fhir/Group/aco-lakeshore{rest}"), &headers, &body.to_string())
    }

    fn list(&self) -> Value {
        self.get("privacy-office", "/fhir/Group/aco-lakeshore")
    }

    fn roster(&self) -> Value {
        self.operate("operator", "GET", "rosters", None).json()["rosters"][0].clone()
    }

    /// The files in a folder of the rosters, in their order.
    fn files(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.rosters.path().join(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn said(answer: &Answer) -> String {
    answer.json()["issue"][0]["details"]["text"].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

fn count(of: &Value, name: &str) -> u64 {
    part(of, name)["valueUnsignedInt"].as_u64().unwrap_or_else(|| panic!("{name} in {of}"))
}

#[test]
fn who_is_added_is_heard_of_until_they_are_removed() {
    let web = receiver();
    let care = start("list.json", "supersede", &[("list.json", list(5))]);
    put(&care, "admissions", subscription("admission", &web.address, "full-resource"));
    put(&care, "lists", list_change(&web.address));
    let file = care.rosters.path().join("list.json");
    let text = || std::fs::read_to_string(&file).unwrap();
    let first = (text(), care.list());
    assert_eq!(first.1["quantity"], 5);
    assert_eq!(first.1["meta"]["versionId"], care.roster()["in_force"]["sha256"]);
    let version = first.1["meta"]["versionId"].as_str().unwrap().to_owned();

    // Not by anybody, not by a number alone, not without what guards the number, not for another list than was read.
    assert_eq!(care.ask("aco-cm", "POST", "/fhir/Group/aco-lakeshore/$member-add", Some(&added(okafor()))).status, 401);
    let alone = care.write("POST", "/$member-add", &[], &parameters(&[mbi("1EG4TE5MK73")]));
    assert!(alone.status == 422 && said(&alone).contains("not named by a number alone"), "{}", alone.body);
    let mut unguarded = okafor();
    ["name", "birthDate"].iter().for_each(|name| _ = unguarded.as_object_mut().unwrap().remove(*name));
    let unguarded = care.write("POST", "/$member-add", &[], &added(unguarded));
    assert!(unguarded.status == 422 && said(&unguarded).contains("strong_guard"), "{}", unguarded.body);
    let other = care.write("POST", "/$member-add", &["If-Match: W/\"0000\""], &added(okafor()));
    assert_eq!((other.status, other.json()["resourceType"].as_str()), (412, Some("OperationOutcome")));
    for wrong in [
        json!({ "name": "providerNpi", "valueIdentifier": { "value": "12" } }),
        json!({ "name": "member", "valueString": "x" }),
        json!({ "name": "patientReference", "valueReference": { "reference": "Patient/y" } }),
    ] {
        let mut asked = added(okafor());
        asked["parameter"].as_array_mut().unwrap().push(wrong);
        assert_eq!(care.write("POST", "/$member-add", &[], &asked).status, 422, "{asked}");
    }
    let dry = care.write("POST", "/$member-add?dry_run=true", &[], &added(okafor())).json();
    assert_eq!(
        (count(&dry, "added"), count(&dry, "members"), part(&dry, "outcome")["valueCode"].as_str()),
        (1, 6, Some("accepted"))
    );
    assert_eq!((text(), care.list()), first, "nothing has changed");

    let tag = format!("If-Match: W/\"{version}\"");
    let done = care.write("POST", "/$member-add", &[&tag], &added(okafor()));
    assert_eq!((done.status, done.json()), (200, care.list()), "{}", done.body);
    assert_eq!((&care.list()["quantity"], &care.roster()["state"]), (&6.into(), &"accepted".into()));
    assert!(done.head.contains(&format!("etag: w/\"{}\"", part_of_version(&care))), "{}", done.head);
    assert_ne!(part_of_version(&care), version);
    let now: Value = serde_json::from_str(&text()).unwrap();
    assert_eq!((&now["quantity"], &now["contained"][5]["name"][0]["family"]), (&6.into(), &"Okafor".into()));
    let members = now["member"].as_array().unwrap();
    assert_eq!(members[..5], *list(5)["member"].as_array().unwrap(), "the others as they stood");
    assert_eq!(care.write("POST", "/$member-add", &[&tag], &added(okafor())).status, 412, "that version is over");

    // Those who subscribed are told of the list, and of what happens to its new member.
    care.wait_for_events("aco-cm", "lists", 1);
    care.send(&[M1]);
    care.wait_for_events("aco-cm", "admissions", 1);
    let told = wait_for("an admission", || {
        let all = notifications(&web.requests(), "event-notification");
        all.into_iter().find(|one| text_of(&one["entry"][0]["resource"], "subscription").ends_with("/admissions"))
    });
    assert!(told.to_string().contains("OKAFOR"), "{told}");

    // Somebody else with the same number takes nobody's place.
    let other = patient("x", "1EG4TE5MK73", "BRANDVOLD", "1977-07-07");
    let taken = care.write("POST", "/$member-add", &[], &added(other));
    assert!(taken.status == 409 && said(&taken).contains("another birth date or family name"), "{}", taken.body);
    let moved = added(patient("x", "1EG4TE5MK73", "Okafor-Lee", "1951-03-14"));
    assert_eq!(care.write("POST", "/$member-add", &[], &moved).status, 200, "told of anew");
    assert_eq!((&care.list()["quantity"], &care.roster()["changed"]), (&6.into(), &1.into()));
    assert!(text().contains("Okafor-Lee") && !text().contains("\"Okafor\""));

    let remove = |parameters: Value| care.write("POST", "/$member-remove", &[], &parameters);
    assert_eq!(remove(parameters(&[mbi("9ZZ9ZZ9ZZ99")])).status, 404);
    assert_eq!(remove(parameters(&[])).status, 422);
    let npi = json!({ "name": "providerNpi", "valueIdentifier": { "value": "9990005057" } });
    assert_eq!(remove(parameters(&[mbi("1EG4TE5MK73"), npi])).status, 409, "attributed to somebody else");
    let gone = remove(parameters(&[mbi("1eg4te5mk73")]));
    assert_eq!((gone.status, &gone.json()["quantity"]), (200, &5.into()), "{}", gone.body);
    assert!(!text().contains("Okafor") && !text().contains("1EG4"), "nothing of them stays in the file");
    care.send(&[&M1.replace("SB000101", "SB000102").replace("V20260302001", "V20260302002")]);
    care.wait_until_read(2);
    care.wait_for_events("aco-cm", "admissions", 1);
    care.wait_for_events("aco-cm", "lists", 3);

    // Each write stands in the audit, without a name or a number.
    let all = audit(&care);
    let writes: Vec<_> = all.iter().map(|line| &line["event"]).filter(|event| event["action"] == "U").collect();
    let verbs: Vec<_> = writes.iter().map(|event| event["subtype"][1]["code"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["member-add", "member-add", "member-remove"]);
    for event in &writes {
        assert_eq!(crate::validity::shaped(event), Vec::<String>::new());
        assert_eq!(event["agent"][0]["who"]["identifier"]["value"], "privacy-office");
        assert_eq!(event["entity"][0]["what"]["identifier"]["value"], "aco-lakeshore");
        assert!(event["entity"][1]["what"]["identifier"]["value"].as_str().unwrap().len() == 36);
        assert!(!event.to_string().to_lowercase().contains("okafor") && !event.to_string().contains("1EG4"));
    }
    let (code, told) = command(care.gateway.folder(), &["audit", "verify"]);
    assert_eq!(code, Some(0), "{told}");
    let log = care.gateway.log();
    assert!(log.contains("list to be written") && !log.to_lowercase().contains("okafor"), "{log}");

    // The journal is read again with the lists of then.
    let care = care.kill_and_make_anew();
    care.wait_until_read(2);
    care.wait_for_events("aco-cm", "admissions", 1);
    care.wait_for_events("aco-cm", "lists", 3);
    care.gateway.stop();
}

fn part_of_version(care: &Care) -> String {
    care.list()["meta"]["versionId"].as_str().unwrap().to_owned()
}

#[test]
fn a_folder_of_changes_gets_a_file_for_each() {
    let care = start("lists", "delta", &[("lists/2026.json", list(5))]);
    let done = care.write("POST", "/$member-add", &[], &added(okafor()));
    assert_eq!((done.status, &done.json()["quantity"]), (200, &6.into()), "{}", done.body);
    let files = care.files("lists");
    assert_eq!((files.len(), files[0].as_str()), (2, "2026.json"));
    let change = std::fs::read_to_string(care.rosters.path().join("lists").join(&files[1])).unwrap();
    assert!(change.contains("Okafor") && !change.contains("MEMBER1"), "{change}");

    // What lies there unseen is nobody's to add to.
    let unseen = care.rosters.path().join("lists").join("2027.json");
    std::fs::write(&unseen, list(1).to_string()).unwrap();
    let refused = care.write("POST", "/$member-remove", &[], &parameters(&[mbi("1EG4TE5MK73")]));
    assert!(refused.status == 409 && said(&refused).contains("not what is in force"), "{}", refused.body);
    std::fs::remove_file(unseen).unwrap();
    let whole = care.write("PUT", "", &[], &list(6));
    assert!(whole.status == 409 && said(&whole).contains("$member-add"), "{}", whole.body);

    let person =
        format!("Patient/{}", audit(&care)[0]["event"]["entity"][1]["what"]["identifier"]["value"].as_str().unwrap());
    let named = json!({ "name": "patientReference", "valueReference": { "reference": person } });
    let gone = care.write("POST", "/$member-remove", &[], &parameters(&[named]));
    assert_eq!((gone.status, &gone.json()["quantity"]), (200, &5.into()), "{}", gone.body);
    assert_eq!(care.files("lists").len(), 3);
    let version = part_of_version(&care);
    let care = care.kill_and_restart(None);
    assert_eq!((part_of_version(&care), &care.roster()["members"]), (version, &5.into()));
    care.gateway.stop();
}

#[test]
fn a_whole_list_is_tried_held_approved_of_and_taken_on() {
    let care = start("lists", "supersede", &[("lists/2026.json", list(5))]);
    let first = care.list();
    let dry = care.write("PUT", "?dry_run=true", &[], &list(3)).json();
    assert_eq!(
        (count(&dry, "dropped"), count(&dry, "members"), part(&dry, "outcome")["valueCode"].as_str()),
        (2, 3, Some("held"))
    );
    assert_eq!((care.files("lists"), care.list()), (vec!["2026.json".to_owned()], first.clone()));
    let mut other = list(5);
    other["id"] = "another".into();
    assert_eq!(care.write("PUT", "", &[], &other).status, 400);
    assert_eq!(care.write("PUT", "", &[], &json!([])).status, 400);
    assert_eq!(care.write("PUT", "?dryrun=true", &[], &list(5)).status, 400);
    let mut bad = list(5);
    ["p1", "p2"].iter().enumerate().for_each(|(at, _)| bad["contained"][at]["birthDate"] = "soon".into());
    let bad = care.write("PUT", "", &[], &bad);
    assert!(bad.status == 422 && said(&bad).contains("2 of 5 rows are bad"), "{}", bad.body);
    assert!(!said(&bad).contains(care.rosters.path().to_str().unwrap()), "{}", bad.body);
    assert_eq!(care.files("lists"), ["2026.json"], "nothing was written");
    assert_eq!(care.write("PUT", "", &[], &list(5)).status, 200, "the same");
    assert_eq!(care.files("lists"), ["2026.json"]);

    let held = care.write("PUT", "", &[], &list(3));
    let sha256 = care.roster()["sha256"].as_str().unwrap().to_owned();
    let advice = format!("handoff rosters approve aco-lakeshore {sha256}");
    assert!(held.status == 202 && said(&held).contains(&advice), "{}", held.body);
    assert_eq!((&care.roster()["state"], care.list()), (&"held".into(), first), "the list before stays in force");
    assert_eq!(care.files("lists").len(), 2);
    assert_eq!(care.write("POST", "/$member-add", &[], &added(okafor())).status, 409, "not to what is held");
    let (code, told) = care.operate_by_command("operator", &["rosters", "approve", "aco-lakeshore", &sha256]);
    assert_eq!((code, told.contains("accepted")), (Some(0), true), "{told}");
    assert_eq!((&care.list()["quantity"], part_of_version(&care)), (&3.into(), sha256));

    // A list is longer than anything else that is written, and a Bundle does.
    let mut long = list(80);
    let text = "x".repeat(4_000);
    (0..80).for_each(|at| long["contained"][at]["text"] = json!({ "status": "generated", "div": text }));
    let long = json!({ "resourceType": "Bundle", "type": "collection", "entry": [{ "resource": long }] });
    assert!(long.to_string().len() > 300_000);
    let taken = care.write("PUT", "", &[], &long);
    assert_eq!((taken.status, &taken.json()["quantity"]), (200, &80.into()), "{}", taken.body);
    assert!(!care.gateway.data().join("list.sent").exists());
    let bearer = format!("Authorization: Bearer {}", token("privacy-office"));
    let lengths = [bearer.as_str(), "Content-Length: 67108865"];
    let too_long = super::super::http::ask(&care.fhir, "PUT", "/fhir/Group/aco-lakeshore", &lengths);
    assert_eq!(too_long.status, 413);

    // One at a time; one that breaks off leaves nothing behind.
    let sent = care.gateway.data().join("list.sent");
    let mut stream = std::net::TcpStream::connect(&care.fhir).unwrap();
    let head = format!(
        "PUT /fhir/Group/aco-lakeshore HTTP/1.1\r\nHost: {}\r\n{bearer}\r\nContent-Length: 900\r\n\r\n",
        care.fhir
    );
    stream.write_all(format!("{head}{{").as_bytes()).unwrap();
    wait_for("the list to be sent", || sent.exists().then_some(()));
    assert_eq!(care.write("PUT", "", &[], &list(1)).status, 503);
    drop(stream);
    wait_for("it to be forgotten", || (!sent.exists()).then_some(()));
    assert_eq!(care.list()["quantity"], 80);
    assert_eq!(
        care.ask(
            "privacy-office",
            "PUT",
            "/fhir/Group/nobody",
            Some(&json!({ "resourceType": "Group", "id": "nobody" }))
        )
        .status,
        404
    );
    care.gateway.stop();
}

#[test]
fn a_panel_of_a_table_is_written_by_whoever_writes_the_table() {
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    for (method, rest, body) in [
        ("PUT", "", list(5)),
        ("POST", "/$member-add", added(okafor())),
        ("POST", "/$member-remove", parameters(&[mbi("1EG4TE5MK73")])),
    ] {
        let refused = care.write(method, rest, &[], &body);
        assert!(refused.status == 409 && said(&refused).contains("its file is what counts"), "{}", refused.body);
    }
    assert_eq!(care.list()["quantity"], 2);
    assert!(audit(&care).is_empty(), "nothing was done");
    care.gateway.stop();
}
