//! Tests of reading and writing subscriptions.
use super::super::channel::{Content, Kind};
use super::*;
use serde_json::json;

fn url(name: &str) -> String {
    format!("{EXTENSIONS}{name}")
}

/// The guide's example of one, with a header.
fn admission() -> Value {
    json!({
        "resourceType": "Subscription",
        "id": "whatever",
        "extension": [{"url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-Subscription.identifier", "valueIdentifier": {"value": "abc"}}],
        "status": "requested",
        "contact": [{"system": "phone", "value": "ext 4123"}],
        "end": "2030-12-31T12:00:00Z",
        "reason": "Admissions of our members",
        "criteria": "https://h.example/fhir/SubscriptionTopic/admission",
        "_criteria": {"extension": [
            {"url": url("backport-filter-criteria"), "valueString": "Encounter?patient=Patient/123"},
            {"url": url("backport-filter-criteria"), "valueString": "Group/aco-lakeshore"},
        ]},
        "channel": {
            "extension": [
                {"url": url("backport-heartbeat-period"), "valueUnsignedInt": 86400},
                {"url": url("backport-timeout"), "valueUnsignedInt": 60},
                {"url": url("backport-max-count"), "valuePositiveInt": 20},
            ],
            "type": "rest-hook",
            "endpoint": "https://client.example/notifications?key=Canary",
            "header": ["Authorization: Bearer Canary-token", "X-Site:7"],
            "payload": "application/fhir+json",
            "_payload": {"extension": [{"url": url("backport-payload-content"), "valueCode": "id-only"}]},
        },
    })
}

fn read(resource: &Value, stored: Option<&Subscription>) -> Result<Subscription, Vec<Mistake>> {
    let topics = Topics::new("https://h.example/fhir");
    let allowed = |url: &reqwest::Url| match url.host_str() {
        Some("inside.example") => Err("inside.example is not in [egress] allow".to_owned()),
        _ => Ok(()),
    };
    let panel = |id: &str| id == "aco-lakeshore";
    Subscription::read("s1", resource, &Checks { topics: &topics, panel: &panel, allowed: &allowed, stored })
}

fn stored(body: &Value) -> Subscription {
    Subscription::stored("s1", body, &Topics::new("https://h.example/fhir")).unwrap()
}

#[test]
fn a_subscription_is_read_and_written_back() {
    let subscription = read(&admission(), None).unwrap();
    assert_eq!((subscription.id.as_str(), subscription.topic.id), ("s1", "admission"));
    assert_eq!((subscription.wanted, subscription.end_ms), (Wanted::Requested, Some(1_924_948_800_000)));
    assert_eq!(subscription.criteria.len(), 2);
    let channel = &subscription.channel;
    assert_eq!(
        (channel.kind, channel.content, channel.payload),
        (Kind::RestHook, Content::IdOnly, "application/fhir+json")
    );
    assert_eq!((channel.heartbeat_s, channel.timeout_s, channel.count_max), (Some(86_400), Some(60), Some(20)));
    assert_eq!(channel.endpoint.as_ref().unwrap().as_str(), "https://client.example/notifications?key=Canary");
    let headers: Vec<_> = channel.headers.iter().map(|header| (header.name.as_str(), header.value())).collect();
    assert_eq!(headers, [("Authorization", "Bearer Canary-token"), ("X-Site", "7")]);

    let mut expected = admission();
    expected["id"] = json!("s1");
    expected["channel"]["header"] = json!(["Authorization: Bearer Canary-token", "X-Site: 7"]);
    assert_eq!(subscription.body(), expected, "all of it is kept");
    let again = stored(&subscription.body());
    assert_eq!((again.body(), again.channel.clone()), (expected.clone(), subscription.channel.clone()));

    expected["status"] = json!("error");
    expected["error"] = json!("no answer");
    expected["meta"] = json!({"versionId": "7", "lastUpdated": "1970-01-01T00:00:01.500Z"});
    expected["channel"]["header"] = json!(["Authorization: ***", "X-Site: ***"]);
    assert_eq!(subscription.resource(State::Error, Some("no answer"), 7, 1_500), expected);
    for shown in [format!("{subscription:?}"), format!("{channel:?}")] {
        assert!(!shown.contains("Canary") && !shown.contains("123"), "{shown}");
    }
}

#[test]
fn a_header_that_is_written_back_masked_stays_as_it_is_for_the_same_endpoint_only() {
    let first = read(&admission(), None).unwrap();
    let mut shown = first.resource(State::Error, Some("x"), 1, 0);
    shown["status"] = json!("requested");
    let again = read(&shown, Some(&first)).unwrap();
    assert_eq!(again.channel.headers, first.channel.headers);
    assert_eq!(again.body()["channel"]["header"][0], "Authorization: Bearer Canary-token");
    assert_eq!(read(&shown, None).unwrap_err(), [Mistake::Masked(0), Mistake::Masked(1)]);
    shown["channel"]["endpoint"] = json!("https://thief.example/");
    assert_eq!(read(&shown, Some(&first)).unwrap_err(), [Mistake::Masked(0), Mistake::Masked(1)]);
}

/// Each change to the example, and the mistake with its place.
#[test]
fn every_mistake_is_told_with_its_place() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str, &str)] = &[
        (|it| it["resourceType"] = json!("Patient"), "Subscription", "structure"),
        (|it| it["reason"] = json!("x".repeat(RESOURCE_BYTES_MAX)), "Subscription", "too-long"),
        (|it| it["filterBy"] = json!([]), "Subscription.filterBy", "structure"),
        (|it| it["meta"] = json!("x"), "Subscription.meta", "structure"),
        (|it| it["channel"]["parameter"] = json!([]), "Subscription.channel.parameter", "structure"),
        (|it| it["modifierExtension"] = json!([{"url": "x"}]), "Subscription.modifierExtension", "extension"),
        (|it| it["status"] = json!("error"), "Subscription.status", "value"),
        (|it| it["status"] = Value::Null, "Subscription.status", "value"),
        (
            |it| it["criteria"] = json!("http://other/SubscriptionTopic/admission"),
            "Subscription.criteria",
            "not-supported",
        ),
        (|it| it["criteria"] = json!("Encounter?status=finished"), "Subscription.criteria", "not-supported"),
        (
            |it| it["_criteria"]["extension"][0]["valueString"] = json!("Encounter?length=5"),
            "Subscription.criteria.extension[0]",
            "not-supported",
        ),
        (
            |it| it["_criteria"]["extension"][1]["valueString"] = json!("Group/other"),
            "Subscription.criteria.extension[1]",
            "not-found",
        ),
        (|it| it["_criteria"]["extension"][1]["valueString"] = json!(5), "Subscription.criteria.extension[1]", "value"),
        (
            |it| it["_criteria"]["extension"][1]["valueString"] = json!("patient=Patient/4"),
            "Subscription.criteria.extension",
            "value",
        ),
        (|it| it["channel"]["type"] = json!("email"), "Subscription.channel.type", "not-supported"),
        (
            |it| {
                it["channel"]["_type"] =
                    json!({"extension": [{"url": url("backport-channel-type"), "valueCoding": {"code": "zulip"}}]})
            },
            "Subscription.channel.type.extension",
            "not-supported",
        ),
        (
            |it| drop(it["channel"].as_object_mut().unwrap().remove("endpoint")),
            "Subscription.channel.endpoint",
            "required",
        ),
        (|it| it["channel"]["endpoint"] = json!("http://client.example/"), "Subscription.channel.endpoint", "security"),
        (
            |it| it["channel"]["endpoint"] = json!("https://inside.example/"),
            "Subscription.channel.endpoint",
            "security",
        ),
        (
            |it| it["channel"]["endpoint"] = json!("https://a:b@client.example/"),
            "Subscription.channel.endpoint",
            "value",
        ),
        (|it| it["channel"]["endpoint"] = json!("file:///etc/passwd"), "Subscription.channel.endpoint", "value"),
        (|it| it["channel"]["header"][1] = json!("Host: other"), "Subscription.channel.header[1]", "value"),
        (|it| it["channel"]["header"][1] = json!("A: b\r\nC: d"), "Subscription.channel.header[1]", "value"),
        (|it| it["channel"]["header"] = json!(vec!["A: b"; 17]), "Subscription.channel.header", "too-long"),
        (
            |it| it["channel"]["payload"] = json!("application/fhir+xml"),
            "Subscription.channel.payload",
            "not-supported",
        ),
        (
            |it| it["channel"]["_payload"]["extension"][0]["valueCode"] = json!("everything"),
            "Subscription.channel.payload.extension",
            "value",
        ),
        (|it| it["channel"]["_payload"] = Value::Null, "Subscription.channel.payload.extension", "value"),
        (|it| it["channel"]["extension"][0]["valueUnsignedInt"] = json!(1), "Subscription.channel.extension", "value"),
        (
            |it| it["channel"]["extension"][2]["valuePositiveInt"] = json!("20"),
            "Subscription.channel.extension",
            "value",
        ),
        (|it| it["end"] = json!("2030"), "Subscription.end", "value"),
    ];
    for (change, expression, code) in cases {
        let mut resource = admission();
        change(&mut resource);
        let mistakes = read(&resource, None).unwrap_err();
        let told: Vec<_> = mistakes.iter().map(|mistake| (mistake.expression(), mistake.code())).collect();
        assert_eq!(told, [((*expression).to_owned(), *code)], "{mistakes:?}");
    }
    let mut resource = admission();
    resource["status"] = json!("on");
    resource["channel"]["type"] = json!("sms");
    resource["end"] = json!(1);
    assert_eq!(
        read(&resource, None).unwrap_err(),
        [Mistake::Status, Mistake::End, Mistake::ChannelType],
        "all at once"
    );
    let filters = vec![json!({"url": url("backport-filter-criteria"), "valueString": "class=IMP"}); FILTERS_MAX + 1];
    resource = admission();
    resource["_criteria"]["extension"] = json!(filters);
    assert_eq!(read(&resource, None).unwrap_err(), [Mistake::Filters(FILTERS_MAX + 1)]);
}

#[test]
fn what_is_sent_in_the_clear_stays_on_this_machine() {
    for endpoint in ["http://127.0.0.1:8080/x", "http://[::1]/x", "http://localhost/x"] {
        let mut resource = admission();
        resource["channel"]["endpoint"] = json!(endpoint);
        assert!(read(&resource, None).is_ok(), "{endpoint}");
    }
    for endpoint in ["http://localhost.example/", "http://127.0.0.1.example/"] {
        let mut resource = admission();
        resource["channel"]["endpoint"] = json!(endpoint);
        assert_eq!(read(&resource, None).unwrap_err(), [Mistake::Plaintext], "{endpoint}");
    }
}

/// US Core: filters that cannot be met are taken out, and the client has to agree.
#[test]
fn filters_of_the_patient_data_feed_are_adjusted() {
    let mut resource = admission();
    resource["criteria"] = json!("http://hl7.org/fhir/us/core/SubscriptionTopic/patient-data-feed");
    let texts =
        ["Encounter?patient=123&length=5", "CareTeam?patient=123", "Observation?patient=123&category=laboratory"];
    let filters = |texts: &[&str]| -> Value {
        texts.iter().map(|text| json!({"url": url("backport-filter-criteria"), "valueString": text})).collect()
    };
    resource["_criteria"]["extension"] = filters(&texts);
    let adjusted = read(&resource, None).unwrap();
    assert_eq!(adjusted.wanted, Wanted::Agreement);
    let kept = filters(&["Encounter?patient=123", "Observation?patient=123&category=laboratory"]);
    let body = adjusted.body();
    assert_eq!((&body["_criteria"]["extension"], &body["status"]), (&kept, &json!("error")));
    assert_eq!(stored(&body).wanted, Wanted::Agreement, "after a restart too");
    let mut agreed = adjusted.resource(State::Error, None, 1, 0);
    agreed["status"] = json!("requested");
    assert_eq!(read(&agreed, Some(&adjusted)).unwrap().wanted, Wanted::Requested);
    resource["_criteria"]["extension"] = filters(&["CareTeam?patient=123"]);
    let mistakes = read(&resource, None).unwrap_err();
    assert_eq!(mistakes.last(), Some(&Mistake::NothingLeft), "nothing left is not everything");
    resource["_criteria"]["extension"] = filters(&["Encounter?patient=123", "Observation?patient=4"]);
    assert_eq!(read(&resource, None).unwrap_err(), [Mistake::Patients]);
}

#[test]
fn channels_are_told_apart() {
    let mut resource = admission();
    resource["channel"]["type"] = json!("websocket");
    let websocket = read(&resource, None).unwrap();
    assert_eq!((websocket.channel.kind, &websocket.channel.endpoint), (Kind::Websocket, &None));
    resource["channel"]["type"] = json!("message");
    assert_eq!(read(&resource, None).unwrap().channel.kind, Kind::Message);
    let custom =
        json!({"extension": [{"url": url("backport-channel-type"), "valueCoding": {"code": "davinci-alert"}}]});
    resource["channel"]["_type"] = custom;
    assert_eq!(read(&resource, None).unwrap_err(), [Mistake::CustomChannel], "it always holds the resources");
    resource["channel"]["_payload"]["extension"][0]["valueCode"] = json!("full-resource");
    assert_eq!(read(&resource, None).unwrap().channel.kind, Kind::DavinciAlert);
    resource["channel"]["type"] = json!("rest-hook");
    assert_eq!(read(&resource, None).unwrap_err(), [Mistake::CustomChannel]);
}

#[test]
fn active_is_requested_and_off_is_off() {
    for (status, wanted) in [("active", Wanted::Requested), ("off", Wanted::Off)] {
        let mut resource = admission();
        resource["status"] = json!(status);
        assert_eq!(read(&resource, None).unwrap().wanted, wanted);
    }
}

#[test]
fn what_is_no_object_is_refused_and_never_a_panic() {
    let parts = ["meta", "criteria", "_criteria", "channel", "end", "status", "extension", "contact", "reason"];
    for odd in [json!(null), json!(5), json!("x"), json!([]), json!([1]), json!({}), json!({"extension": [5]})] {
        assert!(read(&odd, None).is_err());
        assert!(Subscription::stored("s1", &odd, &Topics::new("https://h.example/fhir")).is_err());
        for part in parts {
            let mut resource = admission();
            resource[part] = odd.clone();
            if let Ok(read) = read(&resource, None) {
                read.resource(State::Active, None, 1, 1);
            }
        }
        for part in ["type", "_type", "endpoint", "header", "payload", "_payload", "extension"] {
            let mut resource = admission();
            resource["channel"][part] = odd.clone();
            if let Ok(read) = read(&resource, None) {
                read.resource(State::Active, None, 1, 1);
            }
        }
    }
}

#[test]
fn ids_follow_who_when_and_what() {
    let id = new_id("aco", 5, &admission());
    assert_eq!((id.len(), &id), (36, &new_id("aco", 5, &admission())));
    assert!(
        [new_id("bh", 5, &admission()), new_id("aco", 6, &admission()), new_id("aco", 5, &json!({}))]
            .iter()
            .all(|other| *other != id)
    );
}
