use super::*;
use crate::hl7::Index;

const ORU_R01: &str = "MSH [{SFT}] {PATIENT_RESULT: [PATIENT: PID [PD1] [{NTE}] [{NK1}] [VISIT: PV1 [PV2]]] \
    {ORDER_OBSERVATION: [ORC] OBR [{NTE}] [{TIMING_QTY: TQ1 [{TQ2}]}] [CTD] [{OBSERVATION: OBX [{NTE}]}] [{FT1}] [{CTI}] [{SPECIMEN: SPM [{OBX}]}]}} [DSC]";
const ORU_R01_282: &str = "MSH [{SFT}] [UAC] {PATIENT_RESULT: [PATIENT: PID [PD1] [{PRT}] [{NTE}] [{NK1}] [{ARV}] [{PATIENT_OBSERVATION: OBX [{PRT}]}] \
    [VISIT: PV1 [PV2] [{PRT}]]] {ORDER_OBSERVATION: [COMMON_ORDER: ORC [{PRT}] [ORDER_DOCUMENT: OBX [{PRT}] TXA]] OBR [{NTE}] [{PRT}] \
    [{TIMING_QTY: TQ1 [{TQ2}]}] [CTD] [{OBSERVATION: OBX [{PRT}] [{NTE}]}] [{FT1}] [{CTI}] [{SPECIMEN: SPM [{OBX}]}]}} [DSC]";
const ADT_A01: &str = "MSH [{SFT}] [UAC] EVN PID [PD1] [{ARV}] [{ROL}] [{NK1}] PV1 [PV2] [{ARV}] [{ROL}] [{DB1}] [{OBX}] [{AL1}] [{DG1}] [DRG] \
    [{PROCEDURE: PR1 [{ROL}]}] [{GT1}] [{INSURANCE: IN1 [IN2] [{IN3}] [{ROL}]}] [ACC] [UB1] [UB2] [PDA]";
const ORM_O01: &str = "MSH [{NTE}] [PATIENT: PID [PD1] [{NTE}] [PATIENT_VISIT: PV1 [PV2]] [{INSURANCE: IN1 [IN2] [IN3]}] [GT1] [{AL1}]] \
    {ORDER: ORC [ORDER_DETAIL: <OBR|RQD|RXO> [{NTE}] [CTD] [{DG1}] [{OBSERVATION: OBX [{NTE}]}]] [{FT1}] [{CTI}] [BLG]}";

/// Matches segments named in order, and shows the groups as brackets around them: `-` before a misplaced one, `+` before an extra one. Groups are abbreviated
/// by their initials and numbered by occurrence: `PR0`. A misplaced segment closes and opens brackets as its place demands.
fn show(grammar: &str, segments: &str) -> String {
    let structure = Structure::parse("X", grammar).expect("a grammar");
    let raw = segments.split(' ').map(|id| if id == "MSH" { "MSH|^~\\&|" } else { id }).collect::<Vec<_>>().join("\r");
    let mut index = Index::new();
    index.parse(raw.as_bytes()).expect("parses");
    let message = index.message(raw.as_bytes());
    let mut matcher = Matcher::new();
    matcher.run(&structure, message);
    check(&structure, &matcher, message);
    let path = |mut at: u32| {
        let mut names = Vec::new();
        while at != 0 {
            let instance = matcher.instances()[at as usize];
            let name = &structure.groups[usize::from(instance.group)].name;
            let short: String = name.split('_').filter_map(|word| word.chars().next()).collect();
            names.push(format!("{short}{}", instance.index));
            at = instance.parent;
        }
        names.reverse();
        names.join(".")
    };
    let mut shown = Vec::new();
    let mut group = String::new();
    for at in 0..message.segment_count() {
        let placement = matcher.placement(at);
        let now = path(placement.instance);
        if now != group {
            shown.push(format!("/{now}"));
            group = now;
        }
        let key = match structure.groups[usize::from(matcher.instances()[placement.instance as usize].group)]
            .children
            .get(usize::from(placement.child))
        {
            Some(child) => child.key.clone(),
            None => message.segment_id(at).as_str().to_owned(),
        };
        let mark = match placement.kind {
            PlacementKind::Matched => "",
            PlacementKind::Misplaced => "-",
            PlacementKind::Extra => "+",
        };
        shown.push(format!("{mark}{key}"));
    }
    shown.join(" ")
}

/// What holds of every matching.
fn check(structure: &Structure, matcher: &Matcher, message: Message<'_>) {
    assert_eq!(matcher.placements.len(), message.segment_count());
    for at in 0..message.segment_count() {
        let Placement { instance, child, kind } = matcher.placement(at);
        let group = &structure.groups[usize::from(matcher.instances()[instance as usize].group)];
        match group.children.get(usize::from(child)) {
            Some(known) => {
                assert_eq!(known.kind, ChildKind::Segment(message.segment_id(at)));
                assert!(matcher.first(instance, child).is_some_and(|first| first as usize <= at));
            }
            None => assert_eq!((child, kind), (u16::MAX, PlacementKind::Extra)),
        }
    }
    for (at, instance) in matcher.instances().iter().enumerate().skip(1) {
        assert!((instance.parent as usize) < at);
        assert!(matcher.instances()[at - 1].segment <= instance.segment);
        let parent = &structure.groups[usize::from(matcher.instances()[instance.parent as usize].group)];
        assert_eq!(parent.children[usize::from(instance.child)].kind, ChildKind::Group(instance.group));
        assert_eq!(matcher.first(instance.parent, instance.child), None);
    }
}

#[test]
fn a_result_as_it_should_be() {
    assert_eq!(
        show(ORU_R01, "MSH SFT PID PD1 NTE PV1 ORC OBR NTE TQ1 OBX NTE NTE OBX SPM ORC OBR OBX PID OBR OBX DSC"),
        "MSH SFT /PR0.P0 PID PD1 NTE /PR0.P0.V0 PV1 /PR0.OO0 ORC OBR NTE /PR0.OO0.TQ0 TQ1 /PR0.OO0.O0 OBX NTE NTE /PR0.OO0.O1 OBX /PR0.OO0.S0 SPM \
         /PR0.OO1 ORC OBR /PR0.OO1.O0 OBX /PR1.P0 PID /PR1.OO0 OBR /PR1.OO0.O0 OBX / DSC"
    );
    assert_eq!(
        show(ORU_R01_282, "MSH PID OBX PRT PV1 PRT ORC PRT OBR PRT OBX PRT NTE OBX OBR OBX"),
        "MSH /PR0.P0 PID /PR0.P0.PO0 OBX PRT /PR0.P0.V0 PV1 PRT /PR0.OO0.CO0 ORC PRT /PR0.OO0 OBR PRT /PR0.OO0.O0 OBX PRT NTE /PR0.OO0.O1 OBX \
         /PR0.OO1 OBR /PR0.OO1.O0 OBX"
    );
}

#[test]
fn a_result_with_parts_missing() {
    assert_eq!(show(ORU_R01, "MSH OBR OBX OBR OBX"), "MSH /PR0.OO0 OBR /PR0.OO0.O0 OBX /PR0.OO1 OBR /PR0.OO1.O0 OBX");
    assert_eq!(show(ORU_R01, "MSH PID OBX NTE OBX"), "MSH /PR0.P0 PID /PR0.OO0.O0 OBX NTE /PR0.OO0.O1 OBX");
    assert_eq!(show(ORU_R01, "MSH PV1 OBR"), "MSH /PR0.P0.V0 PV1 /PR0.OO0 OBR");
    assert_eq!(show(ORU_R01, "MSH NTE PID OBR"), "MSH /PR0.P0 NTE /PR1.P0 PID /PR1.OO0 OBR");
    assert_eq!(
        show(ORU_R01_282, "MSH PID PV1 OBX OBX"),
        "MSH /PR0.P0 PID /PR0.P0.V0 PV1 /PR0.OO0.O0 OBX /PR0.OO0.O1 OBX"
    );
}

#[test]
fn a_result_in_the_wrong_order() {
    assert_eq!(
        show(ORU_R01, "MSH PID OBR OBX PV1 PV2 OBX TQ1 TQ2 OBX"),
        "MSH /PR0.P0 PID /PR0.OO0 OBR /PR0.OO0.O0 OBX /PR0.P0.V0 -PV1 PV2 /PR0.OO0.O1 OBX /PR0.OO0.TQ0 -TQ1 TQ2 /PR0.OO0.O2 OBX"
    );
    assert_eq!(
        show(ORU_R01, "MSH PID ORC NTE OBR OBX ORC OBR"),
        "MSH /PR0.P0 PID /PR0.OO0 ORC NTE -OBR /PR0.OO0.O0 OBX /PR0.OO1 ORC OBR"
    );
    assert_eq!(show(ORU_R01, "MSH PID OBR SPM OBX"), "MSH /PR0.P0 PID /PR0.OO0 OBR /PR0.OO0.S0 SPM OBX");
    assert_eq!(
        show(ORU_R01, "MSH PID OBR ZZZ OBX ZOB XYZ OBX"),
        "MSH /PR0.P0 PID /PR0.OO0 OBR +ZZZ /PR0.OO0.O0 OBX +ZOB +XYZ /PR0.OO0.O1 OBX"
    );
}

#[test]
fn an_admission() {
    assert_eq!(
        show(ADT_A01, "MSH EVN PID PD1 ROL NK1 NK1 PV1 PV2 ROL OBX AL1 DG1 PR1 ROL PR1 GT1 IN1 IN2 IN3 ROL IN1 ACC"),
        "MSH EVN PID PD1 ROL NK1 NK1 PV1 PV2 ROL#2 OBX AL1 DG1 /P0 PR1 ROL /P1 PR1 / GT1 /I0 IN1 IN2 IN3 ROL /I1 IN1 / ACC"
    );
    assert_eq!(show(ADT_A01, "MSH PID OBX"), "MSH PID OBX");
    assert_eq!(show(ADT_A01, "MSH EVN PID PV1 NK1 NK1 OBX PD1"), "MSH EVN PID PV1 -NK1 -NK1 OBX -PD1");
    assert_eq!(show(ADT_A01, "MSH EVN PID PID PV1 AL1 ROL"), "MSH EVN PID -PID PV1 AL1 -ROL#2");
    assert_eq!(show(ADT_A01, "MSH PID PV1 IN2 IN1 IN2 AL1 DG1"), "MSH PID PV1 /I0 IN2 /I1 IN1 IN2 / -AL1 -DG1");
    assert_eq!(
        show(ADT_A01, "MSH PID PV1 IN1 PR1 ROL PR1 ROL IN2 ZZZ"),
        "MSH PID PV1 /I0 IN1 /P0 -PR1 ROL /P1 -PR1 ROL /I0 IN2 +ZZZ"
    );
    assert_eq!(show(ADT_A01, "MSH ZZZ PID EVN ZPI"), "MSH +ZZZ PID -EVN +ZPI");
}

#[test]
fn choices() {
    assert_eq!(
        show(ORM_O01, "MSH PID PV1 ORC OBR NTE OBX NTE ORC RXO ORC RQD DG1"),
        "MSH /P0 PID /P0.PV0 PV1 /O0 ORC /O0.OD0 OBR NTE /O0.OD0.O0 OBX NTE /O1 ORC /O1.OD0 RXO /O2 ORC /O2.OD0 RQD DG1"
    );
    assert_eq!(
        show("MSH {<AL1|(G: DG1 [NTE])>} PV1", "MSH DG1 NTE AL1 DG1 DG1 AL1 PV1"),
        "MSH /G0 DG1 NTE / AL1 /G1 DG1 /G2 DG1 / AL1 PV1"
    );
    assert_eq!(show("MSH <AL1|DG1> [AL1] PV1", "MSH AL1 AL1 PV1"), "MSH AL1 AL1#2 PV1");
}

#[test]
fn lookups() {
    let structure = Structure::parse("ORU_R01", ORU_R01).expect("a grammar");
    let raw = b"MSH|^~\\&|\rPID\rOBR\rOBX\rNTE\rNTE\rOBX";
    let mut index = Index::new();
    index.parse(raw).expect("parses");
    let mut matcher = Matcher::new();
    matcher.run(&structure, index.message(raw));
    let note = matcher.placement(5);
    assert_eq!(
        (matcher.first(note.instance, 1), matcher.first(note.instance, 0), matcher.first(note.instance, 99)),
        (Some(4), Some(3), None)
    );
    assert_eq!((matcher.first(0, 0), matcher.first(0, 1), matcher.first(99, 0)), (Some(0), None, None));
    let order = matcher.instances()[note.instance as usize].parent;
    assert_eq!(matcher.latest(order, 5), Some(matcher.placement(6).instance));
    assert_eq!(matcher.placement(99).kind, PlacementKind::Extra);
}

#[test]
fn many_segments_in_linear_time() {
    let structure = Structure::parse("ORU_R01", ORU_R01_282).expect("a grammar");
    let mut matcher = Matcher::new();
    let mut index = Index::new();
    // The second kind is the worst: every segment misplaced, so that every fit is tried.
    for (repeated, instances) in [("OBX\r", 90_003), ("OBX\rPV1\rTQ1\rZZZ\r", 0)] {
        let raw = format!("MSH|^~\\&|\rPID\rOBR\r{}", repeated.repeat(90_000 / (repeated.len() / 4)));
        index.parse(raw.as_bytes()).expect("parses");
        matcher.run(&structure, index.message(raw.as_bytes()));
        assert_eq!(matcher.placements.len(), index.message(raw.as_bytes()).segment_count());
        assert!(instances == 0 || matcher.instances().len() == instances + 1, "{}", matcher.instances().len());
    }
}
