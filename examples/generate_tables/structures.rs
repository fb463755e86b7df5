//! Message structures of three versions → `mappings/structures/<family>.toml`.
use super::HEADER;
use super::grammar::{Node, accompany, merge, read, render, require};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Message codes by file; what is in none goes to `other`.
const FAMILIES: &[(&str, &str)] = &[
    ("adt", "ADT ADR"),
    ("oru", "ORU OUL OPU ORF ORA OSM"),
    (
        "orders",
        "ORM ORR OML ORL OMG ORG OMI ORI OMB ORB OMD ORD OMN ORN OMP ORP OMS ORS OMQ ORX OPL OPR OSU OSQ OSR BPS BRP BRT BTS DBC DEL DEO DER DPR DRC DRG",
    ),
    ("pharmacy", "RAS RRA RDE RRE RDS RRD RGV RRG RDO RRO RAR RDR RER RGR ROR"),
    ("vaccination", "VXU VXQ VXR VXX"),
    ("scheduling", "SIU SRM SRR SQM SQR"),
    ("documents", "MDM DOC"),
    ("finance", "BAR DFT EHC"),
    (
        "care",
        "REF RRI RPA RPI RPL RPR RQA RQC RQI RQP RCI RCL CCF CCI CCM CCQ CCR CCU CQU PIN PGL PPG PPP PPR PPT PPV PRR PTR",
    ),
    ("master", "MFD MFK MFN MFQ MFR PMU"),
    ("query", "QBP QCK QCN QRY QSB QVR RSP RTB RDY DSR EDR EQQ ERP SPQ TBR VQQ UDM NMD NMQ NMR RQQ"),
    ("laboratory", "EAC EAN EAR ESR ESU INR INU LSU SSR SSU TCU SDR SLR STC"),
    ("other", ""),
];

/// Structures that are ours. Senders go on using ORM with what later versions gave to its successors (TQ1, PRT, SPM, several details), and RQ1 goes with RQD.
/// OPL has many patients: with the prior results of HL7's grammar behind them, the second patient would be the prior one of the first.
/// In HL7's grammar of diets the ORC of a tray begins one more diet, so that its ODT would stand alone: here a diet and a tray are one group.
const OWN: &[(&str, &str)] = &[
    (
        "OMD_O01",
        "MSH [{NTE}] [PATIENT: PID [PD1] [{NTE}] [PATIENT_VISIT: PV1 [PV2]] [{INSURANCE: IN1 [IN2] [IN3]}] [GT1] [{AL1}]] {ORDER_DIET: ORC \
         [DIET: {<ODS|ODT>} [{NTE}] {OBSERVATION: OBX [{NTE}]}]}",
    ),
    (
        "OMD_O03",
        "MSH [{SFT}] [UAC] [{NTE}] [PATIENT: PID [PD1] [{PRT}] [{ARV}] [{NTE}] [PATIENT_VISIT: PV1 [PV2] [{PRT}]] [{INSURANCE: IN1 [IN2] \
         [IN3]}] [GT1] [{AL1}]] {ORDER_DIET: ORC [{PRT}] [{TIMING_DIET: TQ1 [{TQ2}]}] [DIET: {<ODS|ODT>} [{NTE}] [{OBSERVATION: OBX [{PRT}] \
         [{NTE}]}]]}",
    ),
    (
        "OPL_O37",
        "MSH [{SFT}] [UAC] [{NTE}] {PRT} [GUARANTOR: GT1 [{NTE}]] {ORDER: {NK1} [PATIENT: PID [PD1] [{PRT}] [{ARV}] \
         [{OBSERVATIONS_ON_PATIENT: OBX [{PRT}]}] [{INSURANCE: IN1 [IN2] [IN3]}] [{AL1}]] {SPECIMEN: SPM [{SPECIMEN_OBSERVATION: OBX \
         [{PRT}]}] [{CONTAINER: SAC [{CONTAINER_OBSERVATION: OBX [{PRT}]}]}] {OBSERVATION_REQUEST: ORC [{PRT}] OBR [{PRT}] [{TIMING: TQ1 \
         [{TQ2}]}] [TCD] [{DG1}] [{ORDER_RELATED_OBSERVATION: OBX [{PRT}]}]}} [SGH] [SGT] [{FT1}] [{CTI}] [BLG]}",
    ),
    ("ORD_O02", "MSH MSA [ERR] [{NTE}] [RESPONSE: [PATIENT: PID [{NTE}]] {ORDER_DIET: ORC [{<ODS|ODT>}] [{NTE}]}]"),
    (
        "ORD_O04",
        "MSH MSA [{ERR}] [{SFT}] [UAC] [{NTE}] [RESPONSE: [PATIENT: PID [{PRT}] [{ARV}] [{NTE}]] {ORDER_DIET: ORC [{PRT}] [{TIMING_DIET: \
         TQ1 [{TQ2}]}] [{<ODS|ODT>}] [{NTE}]}]",
    ),
    (
        "ORM_O01",
        "MSH [{SFT}] [{NTE}] [PATIENT: PID [PD1] [{PRT}] [{NTE}] [{NK1}] [PATIENT_VISIT: PV1 [PV2] [{PRT}]] [{INSURANCE: IN1 [IN2] \
         [{IN3}]}] [GT1] [{AL1}]] {ORDER: ORC [{PRT}] [{TIMING: TQ1 [{TQ2}]}] [ORDER_DETAIL: {<OBR|RQD|RXO|RXE|ODS|ODT>} [RQ1] [{NTE}] \
         [{PRT}] [{RXR}] [{RXC}] [CTD] [{DG1}] [{OBSERVATION: OBX [{PRT}] [{NTE}]}] [{SPECIMEN: SPM [{SPECIMEN_OBSERVATION: OBX [{PRT}]}] \
         [{CONTAINER: SAC}]}]] [{FT1}] [{CTI}] [BLG]}",
    ),
];

/// Renders one file for each family, newest version first in `versions`.
pub fn structures(versions: &[Value]) -> Result<Vec<(String, String)>> {
    let mut all: BTreeMap<String, Vec<Node>> = BTreeMap::new();
    for version in versions {
        for (name, grammar) in version["structures"].as_object().context("no structures")? {
            if name.starts_with("SIU_") && name != "SIU_S12" {
                continue; // table 0354 knows SIU_S12 alone, for all of S12 to S27
            }
            let nodes = read(grammar, name);
            match all.remove(name) {
                Some(newer) => all.insert(name.clone(), merge(newer, &nodes)),
                None => all.insert(name.clone(), nodes),
            };
        }
    }
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (name, mut nodes) in all {
        // PRT took over from ROL, one version after the other in each chapter: wherever one may stand, so may the other.
        accompany(&mut nodes, "ROL", "PRT", false);
        if name.starts_with("ADT_") {
            accompany(&mut nodes, "AL1", "IAM", true); // since 2.7, for A01 to A14; senders use it for more
        }
        let file = files.entry(family(&name)).or_insert_with(|| format!("{HEADER}[structures]\n"));
        // Where everything before ORDER_PRIOR is optional, each further ORC of a message would be a prior result. An order follows an order far more often
        // than a prior result does, so that begins with its patient.
        require(&mut nodes, "PATIENT_PRIOR");
        let own = OWN.iter().find(|(known, _)| *known == name);
        let mut text = own.map_or_else(|| render(&nodes), |(_, text)| (*text).to_owned());
        if name.starts_with("OUL_") {
            // Behind an ORC that follows its OBR the first OBX is a result far more often than a document.
            text = text.replace("[ORDER_DOCUMENT: OBX [{PRT}] TXA]", "[ORDER_DOCUMENT: TXA]");
        }
        // The RXR of an order without a comment would go to the RXE or RXD behind it.
        text = text.replace("ORDER_DETAIL_SUPPLEMENT: {NTE} {RXR}", "ORDER_DETAIL_SUPPLEMENT: [{NTE}] {RXR}");
        writeln!(file, "{name} = \"{text}\"")?;
    }
    Ok(files.into_iter().map(|(family, text)| (format!("mappings/structures/{family}.toml"), text)).collect())
}

fn family(structure: &str) -> &'static str {
    let code = structure.split('_').next().unwrap_or(structure);
    FAMILIES.iter().find(|(_, codes)| codes.split(' ').any(|known| known == code)).map_or("other", |(family, _)| family)
}
