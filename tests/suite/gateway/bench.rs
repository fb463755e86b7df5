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
fn a_route_is_measured_beside_one_whose_endpoint_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = handoff();
    command
        .args(["bench", "gateway", "--workloads", "T1,T3", "--connections", "2", "--beside", "dead,slow"])
        .args(["--seconds", "1", "--warm-up", "0", "--json", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped());
    let done = command.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let figures: Vec<serde_json::Value> =
        String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let beside: Vec<_> =
        figures.iter().map(|figure| (figure["workload"].as_str(), figure["beside"].as_str())).collect();
    let each = |workload| [None, Some("dead"), Some("slow")].map(|beside| (Some(workload), beside));
    assert_eq!(beside, [each("T1"), each("T3")].concat());
    for figure in figures.iter().filter(|figure| !figure["beside"].is_null()) {
        let ratio = |which: &str| figure["ratio_to_alone"][which].as_f64();
        assert!(ratio("acknowledged").unwrap() > 0.0, "{figure}");
        assert_eq!(ratio("delivered").is_some(), figure["workload"] == "T3", "{figure}");
        assert_eq!(figure["missing"], 0, "the route that is measured has everything: {figure}");
    }
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
