use super::*;

fn show(structure: &Structure, group: usize) -> String {
    let child = |child: &Child| {
        let optional = if child.required { "" } else { "?" };
        let repeats = if child.repeats { "*" } else { "" };
        let inner = match child.kind {
            ChildKind::Segment(_) => String::new(),
            ChildKind::Group(inner) => format!("({})", show(structure, inner.into())),
        };
        let choice = child.choice.map_or(String::new(), |at| format!("|{at}"));
        format!("{}{inner}{optional}{repeats}{choice}", child.key)
    };
    let children = &structure.groups[group].children;
    children.iter().map(child).collect::<Vec<_>>().join(" ")
}

fn parsed(text: &str) -> String {
    show(&Structure::parse("X", text).expect(text), 0)
}

fn error(text: &str) -> (usize, String) {
    let error = Structure::parse("X", text).expect_err(text);
    (error.column, error.message)
}

#[test]
fn brackets() {
    assert_eq!(parsed("MSH [PD1] {OBX} [{NTE}] {[AL1]}"), "MSH PD1? OBX* NTE?* AL1?*");
    assert_eq!(parsed("MSH (A: PID) [B: PID] {C: PID} [{D: PID [PD1]}]"), "MSH A(PID) B(PID)? C(PID)* D(PID PD1?)?*");
    assert_eq!(parsed("MSH {[A: PID [ROL] [{ROL}] PV1 {ROL}]}"), "MSH A(PID ROL? ROL#2?* PV1 ROL#3*)?*");
    assert_eq!(parsed("ORC <OBR|RQD> {<AL1|(G: DG1)>}"), "ORC OBR|1 RQD|1 AL1*|3 G(DG1)*|3");
}

#[test]
fn paths_and_parents() {
    let structure =
        Structure::parse("ORU_R01", "MSH {PATIENT_RESULT: [PATIENT: PID [VISIT: PV1]] {ORDER: OBR}}").expect("parses");
    let paths: Vec<_> = structure.groups.iter().map(|group| (group.path.as_str(), group.parent)).collect();
    assert_eq!(
        paths,
        [
            ("ORU_R01", None),
            ("ORU_R01.PATIENT_RESULT", Some(0)),
            ("ORU_R01.PATIENT_RESULT.PATIENT", Some(1)),
            ("ORU_R01.PATIENT_RESULT.PATIENT.VISIT", Some(2)),
            ("ORU_R01.PATIENT_RESULT.ORDER", Some(1)),
        ]
    );
}

#[test]
fn what_a_group_begins_with() {
    let structure = Structure::parse("X", "MSH [{G: [ORC] <OBR|RQD> [NTE]}]").expect("parses");
    let group = &structure.groups[1];
    let names = |set: &Symbols| {
        structure
            .symbols
            .iter()
            .filter(|id| structure.symbol(**id).is_some_and(|at| set.contains(at)))
            .map(|id| id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&group.first), names(&group.all)),
        (["OBR", "ORC", "RQD"].map(String::from).to_vec(), ["NTE", "OBR", "ORC", "RQD"].map(String::from).to_vec())
    );
}

#[test]
fn errors_say_where_and_what_to_do() {
    assert_eq!(error(""), (1, "the group is empty: name at least one segment".into()));
    assert_eq!(error("MSH [PID"), (5, "this bracket is not closed by ]".into()));
    assert_eq!(error("MSH [A: PID"), (8, "this group is not closed by ]".into()));
    assert_eq!(
        error("MSH [PID PD1]"),
        (5, "a bracket around more than one item needs a name: write NAME: after it".into())
    );
    assert!(error("MSH pid").1.starts_with("pid is no segment"));
    assert!(error("MSH PIDX").1.starts_with("PIDX is no segment"));
    assert_eq!(error("MSH ]").0, 5);
    assert_eq!(error("MSH [A: ]"), (8, "the group is empty: name at least one segment".into()));
    assert_eq!(error("MSH [: PID]").0, 6);
    assert_eq!((error("MSH <PID").0, error("é <PID|<A|B>>").0), (5, 1));
    assert!(error(&"[".repeat(100)).1.contains("within each other"));
}
