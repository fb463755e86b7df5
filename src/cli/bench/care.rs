//! What coordinated care is measured with: a panel with its roster, a recipient with subscriptions, the loops that come with the gateway, and visits of invented people, some of
//! whom are members.
//!
//! A visit is eight messages: A01, A08, a result, A02 (another bed), a result, A08, a result, A03. One visit in twenty has a diagnosis that carries a label.
use crate::coordination::registry::{Kind, Registry, What};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// Who is looked after, and who wants to know.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct CareArgs {
    /// Members of the panel
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub members: u64,
    /// Subscriptions: one each to admissions, discharges, results and overdue steps of the panel, the rest to a person
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub subscriptions: usize,
}

/// Whose visits they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mix {
    /// People in no panel
    Strangers,
    /// One visit in twenty of a member
    Mixed,
    /// Members only
    Members,
}

impl Mix {
    pub fn name(self) -> &'static str {
        match self {
            Mix::Strangers => "strangers",
            Mix::Mixed => "mixed",
            Mix::Members => "members",
        }
    }
}

/// A share of people who are in no panel, as a hospital sees them.
const STRANGERS: u64 = 1_000_000;
/// Messages of a visit.
const STEPS: u64 = 8;

/// Makes messages; the same number gives the same one.
#[derive(Debug, Clone)]
pub(super) struct World {
    members: u64,
    mix: Mix,
    /// When everything happens, as messages write it.
    time: String,
}

impl World {
    pub fn new(args: CareArgs, mix: Mix) -> World {
        let time = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S+0000").to_string();
        World { members: args.members.max(1), mix, time }
    }

    /// One message of about 1 KB. Its control id is `B` and the number.
    pub fn message(&self, number: u64) -> String {
        let (visit, step) = (number / STEPS, number % STEPS);
        let trigger = ["A01", "A08", "R01", "A02", "R01", "A08", "R01", "A03"][step as usize];
        let is_member = match self.mix {
            Mix::Strangers => false,
            Mix::Mixed => chance(visit, 1, 20) == 0,
            Mix::Members => true,
        };
        let person =
            if is_member { chance(visit, 2, self.members) } else { self.members + chance(visit, 2, STRANGERS) };
        let type_ = if trigger == "R01" { "ORU^R01^ORU_R01".into() } else { format!("ADT^{trigger}^ADT_A01") };
        let time = &self.time;
        let mut text =
            format!("MSH|^~\\&|ADMIT|STELLA|EHR|STELLA|{time}||{type_}|B{number}|P|2.5.1|||||USA|UNICODE UTF-8\r");
        if trigger != "R01" {
            let _ = write!(text, "EVN|{trigger}|{time}|||5512^Hoang^Mai\r");
        }
        text += &pid(person);
        if trigger != "R01" {
            let _ = write!(text, "PD1|||Praxis am Park^^77120|99{:08}^Seidel^Jonas^^^Dr.\r", person % 2000);
        }
        let bed = if step < 3 { "W3^12^B" } else { "W4^02^A" };
        let end = if trigger == "A03" { ("01", time.as_str()) } else { ("", "") };
        let _ = write!(
            text,
            "PV1|1|I|{bed}^STELLA^^^^N|E|||2201^Yilmaz^Deniz^^^Dr.|3304^Seidel^Jonas^^^Dr.||MED||||7|||2201^Yilmaz^Deniz^^^Dr.|IN|V{visit:010}^^^STELLA^VN|||||||||||||||||{}||||||||{time}|{}\r",
            end.0, end.1
        );
        text += &if trigger == "R01" { result(number, time) } else { stay(visit, time) };
        text
    }
}

/// Numbers that look like chance and are the same every time (SplitMix64).
fn chance(seed: u64, of: u64, below: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(31).wrapping_add(of).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

fn word(seed: u64, of: u64, syllables: u64) -> String {
    const SYLLABLES: [&str; 16] =
        ["ka", "lo", "mer", "ri", "sa", "ton", "vel", "no", "ba", "chi", "dor", "el", "fin", "ga", "hart", "ju"];
    (0..syllables).map(|at| SYLLABLES[chance(seed, of + at, 16) as usize]).collect()
}

/// What is known of a person.
struct Person {
    family: String,
    given: String,
    birth: String,
    sex: &'static str,
    street: String,
    city: String,
    zip: u64,
    phone: String,
}

fn person(number: u64) -> Person {
    let born = chance(number, 3, 70 * 336);
    Person {
        family: word(number, 10, 3),
        given: word(number, 20, 2),
        birth: format!("{:04}{:02}{:02}", 1930 + born / 336, 1 + born / 28 % 12, 1 + born % 28),
        sex: if chance(number, 4, 2) == 0 { "F" } else { "M" },
        street: format!("{} {} Street", chance(number, 5, 9000), word(number, 30, 2)),
        city: word(number, 40, 2),
        zip: 10_000 + chance(number, 6, 3000),
        phone: format!("716{:07}", 2_000_000 + chance(number, 7, 7_000_000)),
    }
}

fn pid(number: u64) -> String {
    let Person { family, given, birth, sex, street, city, zip, phone } = person(number);
    format!(
        "PID|1||9{number:08}^^^STELLA&1.2.276.0.76.3.1.999&ISO^MR~1EG4{number:07}^^^CMS&2.16.840.1.113883.4.927&ISO^MC||{family}^{given}^Marie^^^^L||{birth}|{sex}|||{street}^^{city}^^{zip}^USA^H||^PRN^PH^^1^716^{}||en|M\r",
        &phone[3..]
    )
}

fn stay(visit: u64, time: &str) -> String {
    let code = if chance(visit, 8, 20) == 0 { "F10.20^Alcohol dependence^I10C" } else { "R07.4^Chest pain^I10C" };
    format!(
        "PV2||PR^Private^L|{code}|||||{time}|3\rNK1|1|Brandt^Oskar|SPO^Spouse^HL70063|Lindenweg 7^^Freiburg^^79100^DEU|^PRN^PH^^49^761^5550143||C^Emergency Contact^HL70131\rDG1|1||{code}||{time}|A\rDG1|2||I10^Essential hypertension^I10C||20180604|F\r"
    )
}

fn result(number: u64, time: &str) -> String {
    let mut text = format!(
        "ORC|RE|P{number}^EHR|F{number}^LABSYS||CM||||{time}|||2201^Yilmaz^Deniz^^^Dr.\rOBR|1|P{number}^EHR|F{number}^LABSYS|58410-2^CBC panel - Blood by Automated count^LN|||{time}|||||||||2201^Yilmaz^Deniz^^^Dr.||||||{time}||HM|F\r"
    );
    for (at, code) in ["718-7^Hemoglobin", "6690-2^Leukocytes", "777-3^Platelets", "2345-7^Glucose"].iter().enumerate()
    {
        let value = chance(number, at as u64, 400);
        let _ = write!(text, "OBX|{}|NM|{code}^LN||{value}|g/dL^g/dL^UCUM|10-300|N|||F|||{time}\r", at + 1);
    }
    text
}

/// Writes the roster beside a configuration and the subscriptions into a data directory; returns what the configuration says of all this.
pub(super) fn prepare(folder: &Path, data: &Path, args: CareArgs) -> anyhow::Result<String> {
    // The configuration would take a relative path from its own folder.
    let roster = std::path::absolute(folder)?.join("roster.csv");
    let mut text = String::from("MBI,LAST,FIRST,DOB,SEX,STREET,CITY,ZIP,PHONE,EFF,PCP,CM\n");
    for number in 0..args.members {
        let Person { family, given, birth, sex, street, city, zip, phone } = person(number);
        let pcp = chance(number, 9, 2000);
        let _ = writeln!(
            text,
            "1EG4{number:07},{family},{given},{birth},{sex},{street},{city},{zip},{phone},2020-01-01,99{pcp:08},cm-{}",
            number % 50
        );
    }
    std::fs::write(&roster, text).with_context(|| format!("cannot write {}", roster.display()))?;
    subscribe(data, args.subscriptions)?;
    Ok(configuration(&roster))
}

fn configuration(roster: &Path) -> String {
    let loops: String = ["post-discharge", "order-result"]
        .iter()
        .map(|name| format!("[[coordination.loop]]\nuse = \"{name}\"\n"))
        .collect();
    format!(
        r#"
[coordination]
tz = "America/New_York"
[[coordination.panel]]
id = "bench"
kind = "aco"
owner_npi = "9990004043"
min_attributed = 1
source = {{ type = "csv", path = "{}", mode = "supersede" }}
columns = {{ id = "MBI", id_system = "http://hl7.org/fhir/sid/us-mbi", family = "LAST", given = "FIRST", dob = "DOB", sex = "SEX", address = "STREET", city = "CITY", zip = "ZIP", phone = "PHONE", start = "EFF", pcp_npi = "PCP", care_manager = "CM" }}
{loops}
[[coordination.recipient]]
id = "bench"
panels = ["bench"]
purpose = "HOPERAT"
topics = ["admission", "discharge", "new-lab-result", "open-loop", "patient-data-feed"]
max_content = "id-only"
clear = []
"#,
        roster.display()
    )
}

/// Websockets, to which nobody is bound: events are numbered, and none is sent.
fn subscribe(data: &Path, count: usize) -> anyhow::Result<()> {
    const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
    const TOPICS: [&str; 4] = ["admission", "discharge", "new-lab-result", "open-loop"];
    let registry = Registry::open(data)?;
    let extension = |name: &str, kind: &str, value: &str| json!({ "url": format!("{BACKPORT}{name}"), kind: value });
    for number in 0..count {
        let person = chance(number as u64, 50, u64::MAX);
        let (topic, filter) = match TOPICS.get(number) {
            Some(topic) => (*topic, "_in=Group/bench".to_owned()),
            None => ("admission", format!("Encounter?patient=Patient/{person:032x}")),
        };
        let body = json!({
            "resourceType": "Subscription", "status": "requested", "reason": "bench",
            "criteria": format!("https://handoff.example/fhir/SubscriptionTopic/{topic}"),
            "_criteria": { "extension": [extension("backport-filter-criteria", "valueString", &filter)] },
            "channel": {
                "type": "websocket", "payload": "application/fhir+json",
                "_payload": { "extension": [extension("backport-payload-content", "valueCode", "id-only")] },
            },
        });
        let what = What::Put { kind: Kind::Subscription, id: format!("s{number:06}"), body };
        registry.append(0, jiff::Timestamp::now().as_millisecond(), "bench", what)?;
    }
    Ok(())
}
