//! Spans as a collector takes them: an `ExportTraceServiceRequest` in JSON (OpenTelemetry Protocol 1.x, "JSON Protobuf Encoding": ids in hexadecimal, 64-bit numbers as texts, enumerations
//! as numbers).
use super::{Span, Value, hexadecimal};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 2],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Written<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: &'static str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Any<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Any<'a> {
    StringValue(&'a str),
    IntValue(String),
}

#[derive(Serialize)]
struct Status {
    code: u8,
    message: &'static str,
}

const NAME: &str = "handoff";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The body of a request to `/v1/traces`.
pub fn request(spans: &[Span]) -> Vec<u8> {
    let text = |key, text| Attribute { key, value: Any::StringValue(text) };
    let resource = Resource { attributes: [text("service.name", NAME), text("service.version", VERSION)] };
    let scope = Scope { name: NAME, version: VERSION };
    let scope_spans = [ScopeSpans { scope, spans: spans.iter().map(Written::from).collect() }];
    let request = Request { resource_spans: [ResourceSpans { resource, scope_spans }] };
    // Texts and numbers: there is nothing in it that cannot be written.
    serde_json::to_vec(&request).unwrap_or_default()
}

impl<'a> From<&'a Span> for Written<'a> {
    fn from(span: &'a Span) -> Written<'a> {
        let any = |value: &'a Value| match value {
            Value::Text(text) => Any::StringValue(text),
            Value::Number(number) => Any::IntValue(number.to_string()),
        };
        let error = span.error.map(|error| Attribute { key: "error.type", value: Any::StringValue(error) });
        let attributes = span.attributes.iter().map(|(key, value)| Attribute { key, value: any(value) });
        Written {
            trace_id: hexadecimal(&span.trace.id),
            span_id: hexadecimal(&span.id),
            parent_span_id: (span.id != span.trace.root).then(|| hexadecimal(&span.trace.root)),
            name: span.name,
            kind: span.kind as u8,
            start_time_unix_nano: nanoseconds(span.begin),
            end_time_unix_nano: nanoseconds(span.end),
            attributes: attributes.chain(error).collect(),
            status: span.error.map(|message| Status { code: ERROR, message }),
        }
    }
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Trace};
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_request_is_written_as_the_protocol_says() {
        let trace = Trace { id: [0xab; 16], root: [0x01; 8], is_sampled: true };
        let root = trace.root("message", Kind::Server, Duration::ZERO).at(1_700_000_000_123);
        let mut attempt = trace.begin().end("deliver", Kind::Client).with("handoff.seq", 7_u64).failed(Some("again"));
        (attempt.id, attempt.begin, attempt.end) = ([0x02; 8], root.begin, root.end + Duration::from_nanos(5));
        let body: serde_json::Value = serde_json::from_slice(&request(&[root, attempt])).unwrap();
        let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let (id, time) = ("ab".repeat(16), "1700000000123000000");
        let expected = json!([
            {
                "traceId": id, "spanId": "0101010101010101", "name": "message", "kind": 2,
                "startTimeUnixNano": time, "endTimeUnixNano": time, "attributes": [],
            },
            {
                "traceId": id, "spanId": "0202020202020202", "parentSpanId": "0101010101010101", "name": "deliver", "kind": 3,
                "startTimeUnixNano": time, "endTimeUnixNano": "1700000000123000005",
                "attributes": [
                    { "key": "handoff.seq", "value": { "intValue": "7" } },
                    { "key": "error.type", "value": { "stringValue": "again" } },
                ],
                "status": { "code": 2, "message": "again" },
            },
        ]);
        assert_eq!(*spans, expected);
        let resource = &body["resourceSpans"][0]["resource"]["attributes"][0];
        assert_eq!(*resource, json!({ "key": "service.name", "value": { "stringValue": "handoff" } }));
    }
}
