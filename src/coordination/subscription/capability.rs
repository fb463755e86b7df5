//! What the FHIR interface can do, and how it says that it could not.
use super::resource::{EXTENSIONS, Mistake};
use super::topic::{TOPICS, Topics};
use serde_json::{Value, json};

/// Where the guide's operations are defined.
const OPERATIONS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-";

/// What is known of a person, as a document and as it stands.
const SUMMARY: &str = "http://hl7.org/fhir/uv/ips/OperationDefinition/summary";
const EVERYTHING: &str = "http://hl7.org/fhir/OperationDefinition/Patient-everything";

/// How one says who one is; `service` has no code for it.
const SECURITY: &str = "Authorization: Bearer TOKEN. Tokens are given out by whoever runs the gateway; but for this statement nothing is told without one.";

/// What of the interface differs between gateways.
#[derive(Debug, Clone, Copy)]
pub struct Interface<'a> {
    /// Its base URL.
    pub base: &'a str,
    /// The topics.
    pub topics: &'a Topics,
    /// When the gateway was started, in milliseconds since 1970 (UTC).
    pub since_ms: i64,
    /// Types that can be read by id, because somebody was notified of them.
    pub types: &'a [&'a str],
}

/// The CapabilityStatement, for `GET [base]/metadata`.
pub fn statement(interface: &Interface<'_>) -> Value {
    let topics: Vec<Value> = TOPICS
        .iter()
        .map(|topic| {
            let url = format!("{EXTENSIONS}capabilitystatement-subscriptiontopic-canonical");
            json!({"url": url, "valueCanonical": interface.topics.canonical(topic)})
        })
        .collect();
    let operation = |name: &str| json!({"name": name, "definition": format!("{OPERATIONS}{name}")});
    let self_test = format!("{}/OperationDefinition/subscription-self-test", interface.topics.base());
    let steward = |name: &str, what: &str| {
        json!({
            "type": name,
            "documentation": format!("{what} Stewards write and read it; recipients read what they were notified of."),
            "interaction": interactions(&["read", "update", "delete"]),
            "updateCreate": true,
        })
    };
    let mut resources = vec![
        json!({
            "extension": topics,
            "type": "Subscription",
            "supportedProfile": [format!("{EXTENSIONS}backport-subscription")],
            "documentation": "status: a client writes requested or off. Headers are shown masked; a masked value that is written back keeps what is stored.",
            "interaction": interactions(&["read", "create", "update", "delete", "search-type"]),
            "versioning": "versioned",
            "readHistory": false,
            "updateCreate": true,
            "searchParam": [
                {"name": "_id", "type": "token"},
                {"name": "status", "definition": "http://hl7.org/fhir/SearchParameter/Subscription-status", "type": "token"},
                {"name": "url", "definition": "http://hl7.org/fhir/SearchParameter/Subscription-url", "type": "uri"},
                {"name": "criteria", "definition": "http://hl7.org/fhir/SearchParameter/Subscription-criteria", "type": "string"},
            ],
            "operation": [
                operation("status"), operation("events"), operation("get-ws-binding-token"),
                {"name": "self-test", "definition": self_test},
            ],
        }),
        json!({
            "type": "Basic",
            "documentation": "The topics, as R4 can carry them; SubscriptionTopic/[id] gives the resource of R4B.",
            "interaction": interactions(&["read", "search-type"]),
            "searchParam": [{"name": "code", "definition": "http://hl7.org/fhir/SearchParameter/clinical-code", "type": "token"}],
        }),
        panels(),
        measure(),
        measure_report(),
        steward("Consent", "What patients permit and forbid."),
        steward("CareTeam", "Who looks after a person, under the id of the person."),
    ];
    for name in interface.types.iter().filter(|name| !OWN.contains(*name)) {
        let what = "What the caller was notified of, or shown of a person by their card, for as long as it is kept, as they may see it now.";
        let mut resource = json!({"type": name, "documentation": what, "interaction": interactions(&["read"])});
        if *name == "Patient" {
            let operation = |name: &str, definition: &str| json!({"name": name, "definition": definition});
            resource["operation"] = json!([operation("summary", SUMMARY), operation("everything", EVERYTHING)]);
        }
        resources.push(resource);
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": super::instant(interface.since_ms),
        "kind": "instance",
        "instantiates": ["http://hl7.org/fhir/uv/subscriptions-backport/CapabilityStatement/backport-subscription-server-r4"],
        "software": {"name": "handoff", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "What happens to patients, for those who look after them", "url": interface.base},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [{"mode": "server", "security": {"description": SECURITY}, "resource": resources}],
    })
}

/// The lists of panels.
fn panels() -> Value {
    let operation = |name: &str| json!({"name": name, "definition": format!("http://hl7.org/fhir/us/davinci-atr/OperationDefinition/{name}")});
    json!({
        "type": "Group",
        "documentation": "The panels, without their members. Stewards write those of FHIR Groups: by update the whole list, a Group or a Bundle with it and its patients; $member-add takes a Patient as the parameter patient beside those of the guide. ?dry_run=true tells what would change; If-Match takes the version that was read.",
        "interaction": interactions(&["read", "update"]),
        "versioning": "versioned-update",
        "readHistory": false,
        "updateCreate": false,
        "operation": [operation("member-add"), operation("member-remove")],
    })
}

fn measure() -> Value {
    json!({
        "type": "Measure",
        "documentation": "What reports are of. Operational, not for submission.",
        "interaction": interactions(&["read"]),
    })
}

fn measure_report() -> Value {
    json!({
        "type": "MeasureReport",
        "documentation": "The rates of the caller's panels, made when they are read, of what the caller is cleared for; [panel].[measure].[period], the period a month 2026-03, a quarter 2026-Q1 or a year 2026. 1 to 10 people are masked.",
        "interaction": interactions(&["read", "search-type"]),
        "searchParam": [
            {"name": "subject", "type": "reference", "documentation": "The Group."},
            {"name": "period", "definition": "http://hl7.org/fhir/SearchParameter/MeasureReport-period", "type": "date", "documentation": "Also 2026-Q1."},
        ],
    })
}

/// Types that are there for themselves.
const OWN: [&str; 7] = ["Subscription", "Basic", "Group", "Measure", "MeasureReport", "Consent", "CareTeam"];

fn interactions(codes: &[&str]) -> Value {
    codes.iter().map(|code| json!({"code": code})).collect()
}

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Its code (value set issue-type).
    pub code: &'static str,
    /// What is wrong and what to do.
    pub text: String,
    /// Where, as FHIRPath says it; empty where it is nowhere in particular.
    pub expression: String,
}

impl From<&Mistake> for Issue {
    fn from(mistake: &Mistake) -> Issue {
        Issue { code: mistake.code(), text: mistake.to_string(), expression: mistake.expression() }
    }
}

/// An OperationOutcome of errors. Without an issue it would be none: then it says that nothing more is known.
pub fn outcome(issues: &[Issue]) -> Value {
    let issue = |issue: &Issue| {
        let mut shown = json!({"severity": "error", "code": issue.code, "details": {"text": issue.text}});
        if !issue.expression.is_empty() {
            shown["expression"] = json!([issue.expression]);
        }
        shown
    };
    let mut shown: Vec<Value> = issues.iter().map(issue).collect();
    if shown.is_empty() {
        shown.push(json!({"severity": "error", "code": "exception"}));
    }
    json!({"resourceType": "OperationOutcome", "issue": shown})
}
