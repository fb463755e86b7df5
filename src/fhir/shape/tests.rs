//! Spot checks against the published R4 definitions, and that every line of the embedded texts is understood.
use super::*;

#[test]
fn patient() {
    let names: Vec<&str> = children("Patient").iter().map(|element| element.name).collect();
    assert_eq!(
        names[..9],
        [
            "id",
            "meta",
            "implicitRules",
            "language",
            "text",
            "contained",
            "extension",
            "modifierExtension",
            "identifier"
        ]
    );
    assert_eq!(names.len(), 25 - 1);
    let gender = child("Patient", "gender").unwrap();
    assert_eq!((gender.min, gender.many, gender.types[0].name), (0, false, "code"));
    assert_eq!(gender.required_codes, Some("http://hl7.org/fhir/ValueSet/administrative-gender"));
    assert_eq!(child("Patient", "id").unwrap().types[0].name, "id");
    let general = child("Patient", "generalPractitioner").unwrap();
    assert_eq!(general.types[0].targets, ["Organization", "Practitioner", "PractitionerRole"]);
    assert!(child("Patient", "birthdate").is_none());
    assert!(child("Patient", "contained").unwrap().types[0].targets.is_empty());
}

#[test]
fn order_is_the_position() {
    for parent in ["Patient", "Observation", "HumanName", "Patient.contact", "Timing.repeat"] {
        assert!(!children(parent).is_empty(), "{parent}");
        for (at, element) in children(parent).iter().enumerate() {
            assert_eq!(usize::from(element.order), at, "{parent}.{}", element.name);
        }
    }
}

#[test]
fn choices() {
    let (element, chosen) = choice("Observation", "valueCodeableConcept").unwrap();
    assert_eq!((element.name, chosen.name), ("value[x]", "CodeableConcept"));
    assert_eq!(choice("Patient", "deceasedDateTime").unwrap().1.name, "dateTime");
    assert_eq!(choice("Extension", "valueInteger").unwrap().1.name, "integer");
    assert!(choice("Observation", "valueMoney").is_none());
    assert!(choice("Observation", "value").is_none());
    assert!(choice("Observation", "code").is_none());
    assert!(child("Observation", "value[x]").unwrap().is_choice());
}

#[test]
fn backbones_and_content_references() {
    let contact = child("Patient", "contact").unwrap();
    assert_eq!(child_type("Patient", contact, "BackboneElement"), "Patient.contact");
    assert_eq!(child_type("Patient", child("Patient", "name").unwrap(), "HumanName"), "HumanName");
    let part = child("Parameters.parameter", "part").unwrap();
    assert_eq!(child_type("Parameters.parameter", part, part.types[0].name), "Parameters.parameter");
    let range = child("Observation.component", "referenceRange").unwrap();
    assert_eq!(child_type("Observation.component", range, "BackboneElement"), "Observation.referenceRange");
    let repeat = child("Timing", "repeat").unwrap();
    assert_eq!(child_type("Timing", repeat, repeat.types[0].name), "Timing.repeat");
    assert!(child("Timing.repeat", "modifierExtension").is_none());
    assert!(child("Patient.contact", "modifierExtension").is_some());
    assert!(child("Bundle.entry.request", "method").is_some());
}

#[test]
fn kinds() {
    assert!(
        is_resource("Patient") && is_resource("Bundle") && !is_resource("DomainResource") && !is_resource("HumanName")
    );
    assert!(!is_resource("SubscriptionStatus") && child("Meta", "project").is_none());
    assert!(
        is_type("HumanName")
            && is_type("code")
            && !is_type("Patient")
            && !is_type("Patient.contact")
            && !is_type("Element")
    );
    assert!(is_primitive("dateTime") && !is_primitive("Period"));
    assert_eq!(shape().types.values().filter(|known| known.kind == Kind::Resource).count(), 146);
}

#[test]
fn codes() {
    let status = required_codes(child("Observation", "status").unwrap().required_codes.unwrap()).unwrap();
    assert!(status.contains("entered-in-error") && !status.contains("ammended"));
    assert_eq!(status.codes().count(), 8);
    assert_eq!(
        required_codes("administrative-gender").unwrap().system("male"),
        Some("http://hl7.org/fhir/administrative-gender")
    );
    assert!(required_codes("http://hl7.org/fhir/ValueSet/mimetypes").is_none());
    assert!(child("Attachment", "contentType").unwrap().required_codes.is_some());
}

#[test]
fn nearest_names() {
    assert_eq!(suggestions("Patient", "birthdate"), ["birthDate"]);
    assert_eq!(suggestions("Coverage", "payer"), ["payor"]);
    assert_eq!(suggestions("Observation", "vlaue"), ["value[x]"]);
    assert!(suggestions("Patient", "zzzzzzzz").is_empty());
    assert_eq!(distance("practioner", "practitioner"), 2);
}

#[test]
fn every_line_is_understood() {
    let lines = |text: &'static str| text.lines().filter(|line| !line.starts_with(['#', '!']));
    let children: usize = shape().types.values().map(|known| known.children.len()).sum();
    let (own, types) =
        (lines(include_str!("r4.txt")).filter(|line| line.starts_with(' ')).count(), shape().types.len());
    assert!(children > own && own > 4500, "{children} children of {types} types, {own} lines");
    for (path, known) in &shape().types {
        for element in &known.children {
            for declared in &element.types {
                assert!(kind(declared.name).is_some(), "{path}.{}: {}", element.name, declared.name);
                assert!(
                    declared.targets.iter().all(|target| is_resource(target)),
                    "{path}.{}: {:?}",
                    element.name,
                    declared.targets
                );
                let below = child_type(path, element, declared.name);
                assert!(!super::children(below).is_empty(), "{path}.{} leads to {below}", element.name);
            }
        }
    }
    let sets = lines(include_str!("codes.txt"))
        .filter(|line| line.starts_with(' '))
        .map(|line| line.trim().split(' ').count() - 1);
    assert_eq!(sets.sum::<usize>(), shape().sets.values().map(CodeSet::len).sum::<usize>());
}

#[test]
fn references_reach_nothing_unknown() {
    let bound = shape()
        .types
        .values()
        .flat_map(|known| &known.children)
        .filter(|element| element.required_codes.is_some())
        .count();
    assert!(bound > 300, "{bound}");
}
