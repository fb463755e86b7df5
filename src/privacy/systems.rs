//! Code systems that lists speak of, by the names of HL7 v2 (table 0396), the URIs of FHIR and OIDs.
//!
//! A name that is nobody's is [`System::Unknown`], not harmless: senders write codes of ICD-10 under names of their own, and under none.
use hashbrown::HashMap;
use std::sync::OnceLock;

/// A code system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum System {
    /// ICD-10, ICD-10-CM, ICD-10-GM: a code and all below it.
    Icd10,
    /// ICD-10-PCS: the same.
    Icd10Pcs,
    /// ICD-9-CM: the same.
    Icd9,
    /// ATC: the same.
    Atc,
    /// LOINC.
    Loinc,
    /// SNOMED CT.
    Snomed,
    /// RxNorm.
    Rxnorm,
    /// NDC.
    Ndc,
    /// CPT.
    Cpt,
    /// HCPCS level II.
    Hcpcs,
    /// CVX.
    Cvx,
    /// Known, and of no list: tables of HL7, units.
    Other,
    /// Nobody's name, or none.
    Unknown,
}

impl System {
    /// Those that lists may be of, with their names in configuration and files.
    pub const LISTED: [(&'static str, System); 11] = [
        ("icd10", System::Icd10),
        ("icd10pcs", System::Icd10Pcs),
        ("icd9", System::Icd9),
        ("atc", System::Atc),
        ("loinc", System::Loinc),
        ("snomed", System::Snomed),
        ("rxnorm", System::Rxnorm),
        ("ndc", System::Ndc),
        ("cpt", System::Cpt),
        ("hcpcs", System::Hcpcs),
        ("cvx", System::Cvx),
    ];

    /// Whether a code in a list stands for everything that begins with it.
    pub fn has_prefixes(self) -> bool {
        matches!(self, System::Icd10 | System::Icd10Pcs | System::Icd9 | System::Atc)
    }

    /// By a name in configuration.
    pub fn listed(name: &str) -> Option<System> {
        System::LISTED.into_iter().find(|(listed, _)| listed.eq_ignore_ascii_case(name)).map(|(_, system)| system)
    }

    /// By what a message or resource calls it.
    pub fn of(name: &str) -> System {
        let name = name.trim();
        let name = match name.split_at_checked(8) {
            Some((urn, oid)) if urn.eq_ignore_ascii_case("urn:oid:") => oid,
            _ => name,
        };
        // As long as the longest of ours.
        let mut upper = [0; 64];
        if let Some(upper) = upper.get_mut(..name.len()) {
            upper.copy_from_slice(name.as_bytes());
            upper.make_ascii_uppercase();
            if let Some(system) = names().get(&*upper) {
                return *system;
            }
        }
        if is_table(name) { System::Other } else { System::Unknown }
    }
}

/// Tables of HL7, by name or URI, and units.
fn is_table(name: &str) -> bool {
    const URIS: [&str; 8] = [
        "http://terminology.hl7.org/",
        "http://hl7.org/fhir/",
        "http://unitsofmeasure.org",
        "urn:iso:std:iso:",
        "urn:ietf:",
        "http://nucc.org/",
        "http://dicom.nema.org/",
        "2.16.840.1.113883.12.",
    ];
    // HL70203; "HL7" alone is nobody's table.
    let table = |name: &str| name.len() > 3 && name.bytes().skip(3).all(|byte| byte.is_ascii_digit());
    (name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("HL7")) && table(name))
        || name.eq_ignore_ascii_case("UCUM")
        || URIS.iter().any(|uri| name.get(..uri.len()).is_some_and(|start| start.eq_ignore_ascii_case(uri)))
}

/// In capitals.
const NAMES: &[(System, &[&str])] = &[
    (
        System::Icd10,
        &[
            "HTTP://HL7.ORG/FHIR/SID/ICD-10",
            "HTTP://HL7.ORG/FHIR/SID/ICD-10-CM",
            "HTTP://HL7.ORG/FHIR/SID/ICD-10-US",
            "HTTP://HL7.ORG/FHIR/SID/ICD-10-DE",
            "HTTP://FHIR.DE/CODESYSTEM/BFARM/ICD-10-GM",
            "HTTP://FHIR.DE/CODESYSTEM/DIMDI/ICD-10-GM",
            "2.16.840.1.113883.6.3",
            "2.16.840.1.113883.6.90",
            "1.2.276.0.76.5.409",
            "I10",
            "I10C",
            "I10CM",
            "I10CDX",
            "ICD10",
            "ICD-10",
            "ICD10CM",
            "ICD-10-CM",
            "ICD10GM",
            "ICD-10-GM",
        ],
    ),
    (
        System::Icd10Pcs,
        &[
            "HTTP://WWW.CMS.GOV/MEDICARE/CODING/ICD10",
            "HTTP://HL7.ORG/FHIR/SID/ICD-10-PCS",
            "2.16.840.1.113883.6.4",
            "I10P",
            "ICD10PCS",
            "ICD-10-PCS",
        ],
    ),
    (
        System::Icd9,
        &[
            "HTTP://HL7.ORG/FHIR/SID/ICD-9-CM",
            "2.16.840.1.113883.6.2",
            "2.16.840.1.113883.6.42",
            "2.16.840.1.113883.6.103",
            "2.16.840.1.113883.6.104",
            "I9",
            "I9C",
            "I9CDX",
            "I9CP",
            "ICD9",
            "ICD-9",
            "ICD9CM",
            "ICD-9-CM",
        ],
    ),
    (System::Atc, &["HTTP://WWW.WHOCC.NO/ATC", "2.16.840.1.113883.6.73", "ATC", "WC"]),
    (System::Loinc, &["HTTP://LOINC.ORG", "2.16.840.1.113883.6.1", "LN", "LNC", "LOINC"]),
    (
        System::Snomed,
        &[
            "HTTP://SNOMED.INFO/SCT",
            "2.16.840.1.113883.6.96",
            "SCT",
            "SCT2",
            "SCTID",
            "SNM",
            "SNM3",
            "SNO",
            "SNOMED",
            "SNOMEDCT",
            "SNOMED CT",
            "SNOMED-CT",
        ],
    ),
    (System::Rxnorm, &["HTTP://WWW.NLM.NIH.GOV/RESEARCH/UMLS/RXNORM", "2.16.840.1.113883.6.88", "RXN", "RXNORM"]),
    (System::Ndc, &["HTTP://HL7.ORG/FHIR/SID/NDC", "2.16.840.1.113883.6.69", "NDC"]),
    (
        System::Cpt,
        &["HTTP://WWW.AMA-ASSN.ORG/GO/CPT", "2.16.840.1.113883.6.12", "C4", "C5", "CPT", "CPT4", "CPT-4", "CPTM"],
    ),
    (
        System::Hcpcs,
        &[
            "HTTP://WWW.CMS.GOV/MEDICARE/CODING/HCPCSRELEASECODESETS",
            "2.16.840.1.113883.6.285",
            "2.16.840.1.113883.6.14",
            "HCPCS",
            "HPC",
            "HCP",
        ],
    ),
    (
        System::Cvx,
        &["HTTP://HL7.ORG/FHIR/SID/CVX", "2.16.840.1.113883.12.292", "2.16.840.1.113883.6.59", "CVX", "HL70292"],
    ),
];

fn names() -> &'static HashMap<&'static [u8], System> {
    static MAP: OnceLock<HashMap<&'static [u8], System>> = OnceLock::new();
    MAP.get_or_init(|| {
        NAMES.iter().flat_map(|(system, names)| names.iter().map(|name| (name.as_bytes(), *system))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind() {
        for (name, system) in [
            ("I10C", System::Icd10),
            ("i10c", System::Icd10),
            ("http://hl7.org/fhir/sid/icd-10-cm", System::Icd10),
            ("urn:oid:2.16.840.1.113883.6.90", System::Icd10),
            ("http://hl7.org/fhir/sid/icd-9-cm", System::Icd9),
            ("LN", System::Loinc),
            ("http://snomed.info/sct", System::Snomed),
            ("HL70203", System::Other),
            ("http://terminology.hl7.org/CodeSystem/v2-0203", System::Other),
            ("HL7", System::Unknown),
            ("", System::Unknown),
            ("99HOUSE", System::Unknown),
            ("urn:oid:2.999.1", System::Unknown),
            (&"x".repeat(200), System::Unknown),
        ] {
            assert_eq!(System::of(name), system, "{name}");
            // So it stands in what is counted.
            assert_eq!(System::of(&name.to_ascii_uppercase()), system, "{name} in capitals");
        }
        for (_, names) in NAMES {
            for name in *names {
                assert!(name.len() <= 64 && name.to_ascii_uppercase() == **name, "{name} would not be found");
            }
        }
    }
}
