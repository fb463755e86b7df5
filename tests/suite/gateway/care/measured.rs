//! Measures from end to end: the story moves the rates, small figures are hidden, who is behind them is for those who may know, and what is secret is counted for nobody else.
use super::*;

/// `2026-09`: two months ago, wherever the clock is; the story is moved there.
fn month() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    today.checked_sub(jiff::Span::new().months(2)).unwrap().strftime("%Y-%m").to_string()
}

fn moved(message: &str) -> String {
    message.replace("202603", &month().replace('-', ""))
}

/// The same of another stay.
fn stay(message: &str, number: usize) -> String {
    let other =
        message.replace("V20260302001", &format!("VX{number:06}")).replace("SB000188", &format!("SX{number:06}"));
    moved(&other)
}

/// Other members than the two of the story.
const OTHERS: usize = 30;

/// Identifier, family name and day of birth of one of them.
fn other(number: usize) -> (String, String, usize) {
    let letter = |number: usize| char::from(b'A' + u8::try_from(number % 26).unwrap());
    (format!("1EG4TA{number:05}"), format!("OKAFOR{}{}", letter(number / 26), letter(number)), 1 + number % 28)
}

/// The same of another member, of whom it is a stay of their own.
fn of_other(message: &str, number: usize) -> String {
    let (identifier, family, day) = other(number);
    let theirs = message
        .replace("1EG4TE5MK73", &identifier)
        .replace("00718243", &format!("8{number:07}"))
        .replace("C55120", &format!("C8{number:04}"))
        .replace("CH000355", &format!("CX{number:06}"))
        .replace("OKAFOR^", &format!("{family}^"))
        .replace("19510314", &format!("195103{day:02}"));
    stay(&theirs, number)
}

fn roster() -> String {
    let row = |number: usize| {
        let (identifier, family, day) = other(number);
        format!("{identifier},{family},MARISOL,1951-03-{day:02},F,14150,,2026-01-01,,9990003037,cm-ortega\n")
    };
    ROSTER.to_owned() + &(0..OTHERS).map(row).collect::<String>()
}

fn start(recipients: &str) -> Care {
    Care::start_of(&roster(), "", recipients)
}

/// Sends, and waits until it is counted.
fn send(care: &Care, before: usize, messages: &[String]) -> usize {
    care.send(&messages.iter().map(String::as_str).collect::<Vec<_>>());
    let all = before + messages.len();
    care.wait_until_read(all as u64);
    all
}

/// The figures of a measure in the month of the story, as a role sees them.
fn figures(care: &Care, role: &str, measure: &str, more: &str) -> Value {
    let month = month();
    let path = format!("panels/aco-lakeshore/measures?from={month}&to={month}&measure={measure}{more}");
    let answer = care.operate(role, "GET", &path, None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["measures"][0]["series"][0].clone()
}

fn people(care: &Care, role: &str, measure: &str, more: &str) -> Vec<Value> {
    let month = month();
    let path = format!("panels/aco-lakeshore/measures/{measure}/people?from={month}&to={month}{more}");
    let answer = care.operate(role, "GET", &path, None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["people"].as_array().unwrap().clone()
}

/// What the page of those behind a rate says of it.
fn standing(care: &Care, measure: &str) -> String {
    let month = month();
    let page = care.visit("phi-reader").get(&format!("/measures/aco-lakeshore/{measure}?from={month}&to={month}")).body;
    page.split("<p><strong>").nth(1).unwrap_or_else(|| panic!("{page}")).split('<').next().unwrap().to_owned()
}

#[test]
fn the_rate_moves_because_a_nurse_called() {
    let care = start(&recipient("aco-cm", "id-only", ""));
    let sent = send(&care, 0, &[M1, M2].map(moved));
    assert_eq!(standing(&care, "visit-7"), "0 of 1, 0.0 %");
    let missing = people(&care, "operator", "visit-7", "");
    assert_eq!((missing.len(), &missing[0]["state"], &missing[0]["facility"]), (1, &"missing".into(), &"SBMC".into()));
    assert_eq!(missing[0]["due_on"], format!("{}-12", month()));
    // The summary, the appointment that was made by telephone, the visit, the medications.
    let sent = send(&care, sent, &[M3].map(moved));
    // They all came months after they happened: that is no notice, and no information in time.
    assert_eq!(
        (standing(&care, "admission-notice"), standing(&care, "discharge-information")),
        ("0 of 1, 0.0 %".into(), "0 of 1, 0.0 %".into())
    );
    send(&care, sent, &[M4, M5, M6].map(moved));
    for measure in ["engagement", "visit-7", "visit-14", "medication-reconciliation"] {
        assert_eq!(standing(&care, measure), "1 of 1, 100.0 %", "{measure}");
        assert!(people(&care, "operator", measure, "").is_empty(), "{measure}");
    }
    assert_eq!(standing(&care, "home-health-48h"), "0 of 1, 0.0 %");
    // One person is nobody's business but of those who look at each of them.
    let hidden = figures(&care, "operator", "visit-7", "");
    assert_eq!(
        (&hidden["denominator"], &hidden["numerator"], &hidden["rate"], &hidden["hidden"]),
        (&Value::Null, &Value::Null, &Value::Null, &true.into())
    );
    assert_eq!(figures(&care, "viewer", "home-health-48h", "")["observable"], "not-observable");
    assert_eq!(figures(&care, "viewer", "visit-7", "")["unmatched_share"], 0.0);
    // Who looked stands in the audit.
    let looks = care.visit("operator").get("/audit?chain=access&q=behind").body;
    assert!(looks.contains("people behind a measure read") && looks.contains("the-phi-reader"), "{looks}");
    let (code, said) = command(care.gateway.folder(), &["measures", "recompute", "--check"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the counters are what the facts say"), "{said}");
    care.gateway.stop();
}

#[test]
fn questions_that_cannot_be_answered_are_refused() {
    let care = start(&recipient("aco-cm", "id-only", ""));
    let ask = |role: &str, path: &str| care.operate(role, "GET", path, None).status;
    assert_eq!(ask("viewer", "panels/aco-lakeshore/measures"), 200);
    assert_eq!(ask("viewer", "panels/nobody/measures"), 404);
    assert_eq!(ask("viewer", "panels/aco-lakeshore/measures?measure=none"), 404);
    assert_eq!(ask("viewer", "panels/aco-lakeshore/measures?recipient=none"), 404);
    for query in ["from=2026", "from=2026-13", "from=1999-01&to=1999-02", "to=2999-01", "months=3"] {
        assert_eq!(ask("viewer", &format!("panels/aco-lakeshore/measures?{query}")), 400, "{query}");
    }
    assert_eq!(ask("viewer", "panels/aco-lakeshore/measures/visit-7/people"), 403);
    assert_eq!(ask("operator", "panels/aco-lakeshore/measures/none/people"), 404);
    assert_eq!(ask("operator", "panels/aco-lakeshore/measures/visit-7/people?after=x"), 404);
    care.gateway.stop();
}

#[test]
fn a_secret_is_counted_for_nobody_who_is_not_cleared() {
    let keys = "clear = [\"PSY\"]\nconsent_required = [\"SUD\"]";
    let care = start(&(recipient("aco-cm", "full-resource", keys) + &recipient("other", "full-resource", "")));
    // Fourteen people where addictions are treated, twelve elsewhere, of whom each is there for a depression.
    let there = |number| of_other(M2, number).replace("SBMC", "LAKERECOV");
    let ill = |number| {
        let known = of_other(M2, number).replace("|F\r", "|F|||||||||2\r");
        known + "DG1|2||F33.2^Major depressive disorder^I10C|||F|||||||||1\r"
    };
    let messages: Vec<String> = (0..14).map(there).chain((14..26).map(ill)).collect();
    let sent = send(&care, 0, &messages);
    let counted = |role: &str, measure: &str, more: &str| figures(&care, role, measure, more)["denominator"].clone();
    for role in ["viewer", "operator", "admin"] {
        assert_eq!((counted(role, "engagement", ""), counted(role, "bh-visit-7", "")), (12.into(), 0.into()), "{role}");
    }
    assert_eq!(
        (counted("phi-reader", "engagement", ""), counted("phi-reader", "bh-visit-7", "")),
        (26.into(), 12.into())
    );
    // As a recipient: what it is cleared for, and for an operator not even that.
    let of = "&recipient=aco-cm";
    assert_eq!(
        (counted("phi-reader", "engagement", of), counted("phi-reader", "bh-visit-7", of)),
        (12.into(), 12.into())
    );
    assert_eq!(counted("operator", "bh-visit-7", of), 0);
    assert_eq!(counted("phi-reader", "bh-visit-7", "&recipient=other"), 0);
    let report =
        |who: &str, measure: &str| care.get(who, &format!("/fhir/MeasureReport/aco-lakeshore.{measure}.{}", month()));
    let count = |report: &Value| report["group"][0]["population"][2]["count"].clone();
    assert_eq!(
        (count(&report("aco-cm", "engagement")), count(&report("aco-cm", "bh-visit-7"))),
        (12.into(), 12.into())
    );
    assert_eq!((count(&report("other", "engagement")), count(&report("other", "bh-visit-7"))), (12.into(), 0.into()));
    let everything =
        figures(&care, "phi-reader", "engagement", of).to_string() + &report("aco-cm", "engagement").to_string();
    assert!(!everything.contains("LAKERECOV") && !everything.contains("SUD"), "{everything}");
    // Nor by who is behind it.
    assert_eq!(people(&care, "phi-reader", "engagement", "").len(), 26);
    for (role, more) in [("operator", ""), ("phi-reader", of), ("operator", of)] {
        let listed = people(&care, role, "engagement", more);
        assert_eq!(listed.len(), 12, "{role}");
        assert!(!json!(listed).to_string().contains("LAKERECOV"), "{role}");
    }
    let page = care.visit("operator").get(&format!("/measures/aco-lakeshore/engagement?from={0}&to={0}", month())).body;
    assert!(page.contains("SBMC") && !page.contains("LAKERECOV") && !page.contains("OKAFOR"), "{page}");
    let page =
        care.visit("phi-reader").get(&format!("/measures/aco-lakeshore/engagement?from={0}&to={0}", month())).body;
    assert!(page.contains(", MARISOL") && page.contains("LAKERECOV"), "{page}");
    // The recipient was told of nobody; who looked at what it would be told stands in the audit.
    assert!(audit(&care).iter().all(|entry| !entry.to_string().contains("measure|")));
    let looks = care.visit("operator").get("/audit?chain=access&q=behind").body;
    let person = people(&care, "operator", "engagement", "")[0]["person"].as_str().unwrap().to_owned();
    for part in ["aco-cm", &person, &month()] {
        assert!(looks.contains(part), "{part}: {looks}");
    }
    // A patient who forbids everything is behind no rate for a recipient.
    care.forbid("no", &person);
    let listed = people(&care, "phi-reader", "engagement", of);
    assert_eq!(listed.len(), 11);
    assert!(!json!(listed).to_string().contains(&person));
    // One of the twelve is seen where addictions are treated: for whoever may not know she is missing, in rate and list.
    let seen = of_other(M5, 20).replace("CHFM", "LAKERECOV");
    send(&care, sent, &[seen]);
    assert_eq!(people(&care, "phi-reader", "engagement", "").len(), 25);
    assert_eq!(people(&care, "operator", "engagement", "").len(), 12);
    assert_eq!(figures(&care, "operator", "engagement", "")["numerator"], 0);
    for secret in ["OKAFOR", "LAKERECOV", "F33.2"] {
        assert!(!care.metrics().contains(secret), "{secret}");
    }
    let log = care.gateway.stop();
    assert!(!log.contains("OKAFOR") && !log.contains("F33.2"), "{log}");
}

#[test]
fn reports_are_read_and_searched_and_an_update_is_told_once_a_day() {
    let web = receiver();
    let topics = "\"patient-data-feed\", \"measure-updated\"]";
    let care = start(&recipient("aco-cm", "full-resource", "").replace("\"patient-data-feed\"]", topics));
    let id = care.subscribe("aco-cm", &subscription("measure-updated", &web.address, "full-resource"));
    care.wait_for_state("aco-cm", &id, "active");
    let sent = send(&care, 0, &[M1, M2, M3, M4, M5, M6].map(moved));
    assert!(notifications(&web.requests(), "event-notification").is_empty(), "the day is not over");
    // The gateway is down when it is: what changed was of yesterday.
    let data = care.gateway.data();
    let care = care.kill_and_restart_after(|| {
        let database = rusqlite::Connection::open(data.join("coordination.sqlite")).unwrap();
        assert!(database.execute("UPDATE measure_news SET day = day - 1", []).unwrap() > 7);
    });
    let told = wait_for("the update", || notifications(&web.requests(), "event-notification").pop());
    let reports: Vec<_> =
        told["entry"].as_array().unwrap().iter().skip(1).map(|entry| entry["resource"].clone()).collect();
    // All that changed on the day, not only by its first message.
    for measure in ["admission-notice", "discharge-information", "visit-7", "medication-reconciliation"] {
        assert!(reports.iter().any(|report| report["id"].as_str().unwrap().contains(measure)), "{measure}: {told}");
    }
    for report in &reports {
        assert_eq!(report["resourceType"], "MeasureReport");
        assert_eq!(crate::validity::shaped(report), Vec::<String>::new(), "{report}");
        assert!(report["group"][0]["population"][2]["_count"].is_object(), "one person is masked: {report}");
    }
    let read = care.get("aco-cm", &format!("/fhir/MeasureReport/aco-lakeshore.visit-7.{}", month()));
    assert_eq!((&read["subject"]["reference"], &read["type"]), (&"Group/aco-lakeshore".into(), &"summary".into()));
    let canonical = read["measure"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let measure = care.get("aco-cm", &format!("/fhir/Measure/{canonical}"));
    assert_eq!(crate::validity::shaped(&measure), Vec::<String>::new(), "{measure}");
    assert_eq!(measure["url"], read["measure"]);
    let all = care.get("aco-cm", &format!("/fhir/MeasureReport?subject=Group/aco-lakeshore&period={}", month()));
    assert_eq!(all["total"], 15);
    for entry in all["entry"].as_array().unwrap() {
        assert_eq!(crate::validity::shaped(&entry["resource"]), Vec::<String>::new(), "{entry}");
    }
    // Of a quarter and of a year, from their first to their last day.
    let last = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year() - 1;
    for (period, start) in
        [(format!("{last}-Q4"), format!("{last}-10-01")), (last.to_string(), format!("{last}-01-01"))]
    {
        let read = care.get("aco-cm", &format!("/fhir/MeasureReport/aco-lakeshore.visit-7.{period}"));
        assert_eq!(crate::validity::shaped(&read), Vec::<String>::new(), "{read}");
        assert_eq!(
            (&read["period"]["start"], &read["period"]["end"]),
            (&start.into(), &format!("{last}-12-31").into())
        );
        let all = care.get("aco-cm", &format!("/fhir/MeasureReport?subject=Group/aco-lakeshore&period={period}"));
        assert_eq!(all["total"], 15);
    }
    let status = |path: &str| care.ask("aco-cm", "GET", path, None).status;
    assert_eq!(status("/fhir/MeasureReport/pcmh-chfm.visit-7.2026-03"), 404);
    assert_eq!(status("/fhir/MeasureReport/aco-lakeshore.visit-7.1999-03"), 404);
    assert_eq!((status("/fhir/MeasureReport/x"), status("/fhir/MeasureReport")), (404, 400));
    // What changes today is told when today is over.
    send(&care, sent, &[stay(M2, 7)]);
    assert_eq!(events_in(&care.events("aco-cm", &id, 1)).len(), 1);
    care.gateway.stop();
}

#[test]
fn the_pages_show_rates_and_the_trend() {
    let care = start(&recipient("aco-cm", "id-only", ""));
    let again: Vec<String> = (100..115).map(|number| stay(M2, number)).chain([moved(M5)]).collect();
    let sent = send(&care, 0, &again);
    // Fifteen stays of one person stand for one.
    assert_eq!(figures(&care, "operator", "engagement", "")["denominator"], Value::Null);
    let messages = (0..12).flat_map(|number| [of_other(M2, number), of_other(M5, number)]).collect::<Vec<_>>();
    send(&care, sent, &messages);
    assert_eq!(figures(&care, "operator", "engagement", "")["numerator"], 27);
    let viewer = care.visit("viewer");
    let page = viewer.get("/measures").body;
    assert!(page.contains("aco-lakeshore") && page.contains("Visit with the care team within 7 days"), "{page}");
    let month = month();
    let page = viewer.get(&format!("/measures/aco-lakeshore?from={month}&to={month}")).body;
    for text in ["<svg class=\"trend\"", "role=\"img\"", "100 %", "not observable", "not for submission"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("<polyline"), "one month is no line: {page}");
    assert!(!page.contains("style=") && !page.contains("<script>"), "{page}");
    assert!(!page.contains("/measures/aco-lakeshore/visit-7?"), "who is behind it is not for a viewer");
    assert_eq!(viewer.get("/measures/aco-lakeshore/visit-7").status, 403);
    assert_eq!(viewer.get("/measures/nobody").status, 404);
    care.gateway.stop();
}

#[test]
fn a_roster_that_leaves_somebody_out_changes_no_month_that_is_over() {
    let care = start(&recipient("aco-cm", "id-only", ""));
    // Discharged yesterday: nobody has seen her yet.
    let day = |ago: i64| {
        let then = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC) - jiff::Span::new().days(ago);
        (then.strftime("%Y%m%d").to_string(), then.strftime("%Y-%m").to_string())
    };
    let message = M2.replace("20260302", &day(4).0).replace("20260305", &day(1).0);
    let sent = send(&care, 0, &[message]);
    let of_now = |measure: &str| {
        let path = format!("panels/aco-lakeshore/measures/{measure}/people?from={}&to={}", day(2).1, day(0).1);
        care.operate("operator", "GET", &path, None).json()["people"].as_array().unwrap().len()
    };
    let members = || figures(&care, "viewer", "ed-visits", "")["denominator"].clone();
    assert_eq!((of_now("visit-7"), of_now("engagement"), members()), (1, 1, json!(OTHERS + 2)));
    // Without her, and without one who came this month.
    let without: String = roster().split_inclusive('\n').filter(|row| !row.contains(",OKAFOR,")).collect();
    care.write_roster(&without);
    let read = care.operate("operator", "POST", "rosters/reload", None).json()["rosters"][0].clone();
    assert_eq!((&read["state"], &read["dropped"]), (&"accepted".into(), &1.into()), "{read}");
    // Whether somebody saw her nobody will hear: she is excluded, and whom to call no more.
    wait_for("her to be gone", || (of_now("visit-7") == 0 && of_now("engagement") == 0).then_some(()));
    assert_eq!(members(), OTHERS + 2, "she was a member then");
    // Nor when all is made anew of the journal.
    let (code, said) = command(care.gateway.folder(), &["measures", "recompute", "--check"]);
    assert_eq!(code, Some(0), "{said}");
    let care = care.kill_and_make_anew();
    care.wait_until_read(sent as u64);
    wait_for("the same months", || {
        (figures(&care, "viewer", "ed-visits", "")["denominator"] == OTHERS + 2).then_some(())
    });
    care.gateway.stop();
}
