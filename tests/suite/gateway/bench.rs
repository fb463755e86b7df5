//! The bench of the gateway measures a real one: what it counts has been acknowledged and has arrived.
use super::process::handoff;
use std::process::Stdio;

#[test]
fn every_workload_is_measured_and_nothing_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = handoff();
    command
        .args(["bench", "gateway", "--workloads", "T1,T2,T3,T4", "--connections", "4"])
        .args(["--seconds", "1", "--warm-up", "0", "--json", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped());
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let figures: Vec<serde_json::Value> =
        String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let workloads: Vec<&str> = figures.iter().map(|figure| figure["workload"].as_str().unwrap()).collect();
    assert_eq!(workloads, ["T1", "T2", "T3", "T4"]);
    for figure in &figures {
        assert!(figure["acknowledged_per_s"].as_f64().unwrap() > 0.0, "{figure}");
        assert_eq!(figure["missing"], 0, "{figure}");
        let delivered = figure["deliveries_per_s"].as_f64().unwrap() > 0.0;
        assert_eq!(delivered, figure["workload"] != "T1", "{figure}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its folder is removed");
}

#[test]
fn a_route_is_measured_beside_endpoints_that_take_nothing_and_open_pages() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = handoff();
    command
        .args(["bench", "gateway", "--workloads", "T1,T3", "--connections", "2", "--beside", "dead,slow,pages"])
        .args(["--seconds", "1", "--warm-up", "0", "--json", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped());
    let done = command.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let figures: Vec<serde_json::Value> =
        String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let beside: Vec<_> =
        figures.iter().map(|figure| (figure["workload"].as_str(), figure["beside"].as_str())).collect();
    let each = |workload| [None, Some("dead"), Some("slow"), Some("pages")].map(|beside| (Some(workload), beside));
    assert_eq!(beside, [each("T1"), each("T3")].concat());
    for figure in figures.iter().filter(|figure| !figure["beside"].is_null()) {
        let ratio = |which: &str| figure["ratio_to_alone"][which].as_f64();
        assert!(ratio("acknowledged").unwrap() > 0.0, "{figure}");
        assert_eq!(ratio("delivered").is_some(), figure["workload"] == "T3", "{figure}");
        assert_eq!(figure["missing"], 0, "the route that is measured has everything: {figure}");
    }
}

/// The page opens from disk as it is, and what it draws stands in its tables, too.
#[test]
fn a_page_tells_and_draws_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.html");
    let mut command = handoff();
    command
        .args(["bench", "gateway", "--workloads", "T1,T4", "--connections", "4", "--durability", "os"])
        .args(["--seconds", "1", "--warm-up", "1", "--json", "--data"])
        .arg(folder.path())
        .arg("--html")
        .arg(&file)
        .stdout(Stdio::piped());
    let done = command.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let figures: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let page = std::fs::read_to_string(&file).unwrap();
    assert_well_formed(&page);
    for reaching_out in ["<script", "http:", "https:", "<link", "<img", "@import", "url("] {
        assert!(!page.contains(reaching_out), "{reaching_out}");
    }
    let row = |name: &str, cells: &str| format!("<tr><th scope=\"row\">{name}</th><td>{cells}</td>");
    assert!(page.contains(&row("Durability", "os")));
    assert!(page.contains(concat!("<td>handoff ", env!("CARGO_PKG_VERSION"))));
    assert!(page.contains(&format!("one fsync of 4 KB takes {:.2} ms", figures[0]["fsync_ms"].as_f64().unwrap())));
    for figure in &figures {
        let workload = figure["workload"].as_str().unwrap();
        let whole = |key: &str| format!("{:.0}", figure[key].as_f64().unwrap());
        let cells = [whole("acknowledged_per_s"), whole("acknowledged_per_cpu_s")].join("</td><td>");
        let found =
            page.split(&format!("<th scope=\"row\">{workload} ")).nth(1).and_then(|rest| rest.split("</tr>").next());
        assert!(found.is_some_and(|found| found.contains(&cells)), "{workload}: {cells} in {found:?}");
    }
    assert_eq!((page.matches("<svg ").count(), page.matches("</desc>").count()), (8, 8), "four charts each");
    // One line where nothing is delivered, two where something is; and a curve of latencies has more than its ends.
    assert_eq!(page.matches("<polyline ").count(), 4 + 6);
    let points = |line: &str| line.split("points=\"").nth(1).map_or(0, |points| points.split(' ').count());
    let few: Vec<usize> = page
        .split("<polyline ")
        .skip(1)
        .map(|line| points(&format!("<polyline {}", line.split("/>").next().unwrap())))
        .collect();
    assert!(few.iter().all(|count| *count > 8), "{few:?}");
}

/// Every element that opens closes, in order; attributes stand in quotes.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    let body = page.strip_prefix("<!doctype html>").unwrap();
    for (number, part) in body.split('<').skip(1).enumerate() {
        let tag = part.split('>').next().unwrap();
        assert!(part.contains('>') && tag.matches('"').count() % 2 == 0, "element {number}: {tag}");
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name), "element {number}"),
            (false, true) => {}
            (false, false) => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// What is measured is what runs: all that was acknowledged has been read in the end, and members are told of.
#[test]
fn coordinated_care_is_measured_beside_and_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = handoff();
        command.args(args).args(["--members", "200", "--subscriptions", "6", "--json"]);
        let done = command.current_dir(folder.path()).stdout(Stdio::piped()).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let load = ["--workloads", "T1", "--connections", "4", "--seconds", "1", "--warm-up", "0", "--coordination"];
    let figures = run(&[&["bench", "gateway"], &load[..]].concat());
    let care = &figures[0]["care"];
    assert!(care["read_per_s"].as_f64().unwrap() + care["read_per_s_after"].as_f64().unwrap() > 0.0, "{care}");
    let figures = run(&["bench", "reader", "--messages", "1600"]);
    let of = |key: &str| figures.iter().map(|figure| figure[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("mix"), ["strangers", "mixed", "members"]);
    assert!(figures.iter().all(|figure| figure["read_per_cpu_s"].as_f64().unwrap() > 0.0), "{figures:?}");
    // 200 visits: an admission, three results and a discharge of each are told.
    assert_eq!((&of("told")[0], &of("told")[2]), (&0.into(), &1000.into()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its folder is removed");
}
