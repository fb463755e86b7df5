//! Measures and their rates in FHIR R4: `Measure` as what a report refers to, `MeasureReport` as the summary of a panel and a month, quarter or year.
use super::definition::{Definition, Rate};
use super::fact::hash;
use super::hidden::Span;
use super::period::{date_of, first_day};
use serde_json::{Value, json};

const POPULATION: &str = "http://terminology.hl7.org/CodeSystem/measure-population";
const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
/// Bytes of an id.
const ID_MAX: usize = 64;

/// A report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The base of canonical URLs.
    pub base: &'a str,
    /// The panel.
    pub panel: &'a str,
    /// The measure.
    pub definition: &'a Definition,
    /// The figures.
    pub span: &'a Span,
    /// Today, in days since 1970.
    pub as_of: i32,
}

/// `aco-lakeshore.visit-7.2026-03`; where that is too long for an id of FHIR, a hash stands for the panel.
pub fn report_id(panel: &str, measure: &str, period: &str) -> String {
    let id = format!("{panel}.{measure}.{period}");
    if id.len() <= ID_MAX { id } else { format!("{}.{measure}.{period}", short(panel)) }
}

/// Whether what stands in the id of a report for its panel is that one.
pub fn is_of_panel(part: &str, panel: &str) -> bool {
    part == panel || part == short(panel)
}

/// Fifteen characters, which leave room for the longest id of a measure.
fn short(panel: &str) -> String {
    format!("p{:014x}", hash(&[panel]) >> 8)
}

/// What a measure is, as far as somebody reads it.
pub fn measure(definition: &Definition, base: &str) -> Value {
    let scoring = if definition.rate == Rate::Share { "proportion" } else { "ratio" };
    json!({
        "resourceType": "Measure",
        "id": definition.id,
        "url": format!("{base}/Measure/{}", definition.id),
        "name": definition.id.replace('-', "_"),
        "title": definition.title,
        "status": "active",
        "description": "Operational, from the messages that the gateway has seen; not for submission.",
        "scoring": coded("http://terminology.hl7.org/CodeSystem/measure-scoring", scoring),
        "improvementNotation": improvement(definition),
        // No language of an expression in R4 is plain text, so there is no group.
        "definition": [
            "initial-population: everybody of the panel who was counted in, by the day on which it happened",
            "denominator: those of them whose window is over and who are not excluded",
            "denominator-exclusion: those of whom something else came before it could happen",
            "numerator: those of the denominator for whom it happened in time",
        ],
    })
}

/// The figures of a panel. What is hidden is masked, what could not be seen unknown, and what is not over temporarily unknown.
pub fn report(report: &Report<'_>) -> Value {
    let Report { base, panel, definition, span, as_of } = *report;
    let figures = &span.shown;
    let whole = |parts: [Option<u64>; 3]| parts.into_iter().sum::<Option<u64>>();
    let masked = match (span.lost, span.complete) {
        (true, _) => "unknown",
        (false, true) => "masked",
        (false, false) => "temp-unknown",
    };
    let missing = if span.known { masked } else { "unknown" };
    let mut populations = vec![];
    if definition.rate == Rate::Share {
        let initial = whole([figures.denominator, figures.excluded, figures.pending]);
        populations.push(population("initial-population", initial, masked));
        populations.push(population("denominator-exclusion", figures.excluded, masked));
    }
    populations.push(population("denominator", figures.denominator, masked));
    populations.push(population("numerator", figures.numerator, missing));
    let stratum = |name: &str, code: &str, count: Option<u64>| json!({ "value": { "text": name }, "population": [population(code, count, missing)] });
    let mut group = json!({ "population": populations });
    group["measureScore"] = score(definition, span);
    if definition.rate == Rate::Share {
        let told = figures.numerator.zip(figures.inferred).map(|(all, inferred)| all.saturating_sub(inferred));
        group["stratifier"] = json!([{
            "code": [{ "text": "how it is known, and what is not in the numerator" }],
            "stratum": [
                stratum("told", "numerator", told),
                stratum("inferred", "numerator", figures.inferred),
                stratum("late", "denominator", figures.late),
                stratum("pending", "initial-population", figures.pending),
            ],
        }]);
    }
    json!({
        "resourceType": "MeasureReport",
        "id": report_id(panel, &definition.id, &span.name),
        "status": if span.complete { "complete" } else { "pending" },
        "type": "summary",
        "measure": format!("{base}/Measure/{}", definition.id),
        "subject": { "reference": format!("Group/{panel}") },
        "date": date_of(as_of).to_string(),
        "period": {
            "start": date_of(first_day(span.months.0)).to_string(),
            "end": date_of(first_day(span.months.1 + 1) - 1).to_string(),
        },
        "improvementNotation": improvement(definition),
        "group": [group],
    })
}

#[expect(clippy::cast_precision_loss, reason = "rates are small")]
fn score(definition: &Definition, span: &Span) -> Value {
    let (unit, code) = match definition.rate {
        Rate::Share => ("%", "%"),
        Rate::PerThousand => ("per 1,000 members in a year", "/(10*3.a)"),
    };
    match span.shown.rate(definition.rate) {
        Some(rate) => {
            let value = (rate as f64 / 100.0).round() / 10.0;
            json!({ "value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": code })
        }
        None => {
            let reason = match span.shown.denominator {
                _ if !span.known => "unknown",
                _ if !span.complete => "temp-unknown",
                Some(0) => "not-applicable",
                _ => "masked",
            };
            json!({ "extension": [absent(reason)] })
        }
    }
}

fn population(code: &str, count: Option<u64>, missing: &str) -> Value {
    match count {
        Some(count) => json!({ "code": coded(POPULATION, code), "count": count }),
        None => json!({ "code": coded(POPULATION, code), "_count": { "extension": [absent(missing)] } }),
    }
}

fn absent(reason: &str) -> Value {
    json!({ "url": ABSENT, "valueCode": reason })
}

fn coded(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code }] })
}

fn improvement(definition: &Definition) -> Value {
    let code = if definition.lower_is_better { "decrease" } else { "increase" };
    coded("http://terminology.hl7.org/CodeSystem/measure-improvement-notation", code)
}
