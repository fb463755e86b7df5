//! Kills, and a database that is made anew: what has been made of the journal is the same, to the byte.
use super::*;
use rusqlite::types::Value as Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Kills in a row, unless `HANDOFF_CARE_KILLS` says otherwise.
const KILLS: usize = 4;
/// What comes of deliveries, what a recipient may read because of them, and when the database was made anew.
const OF_DELIVERIES: [&str; 4] = ["notified", "withheld", "anew", "card_shown"];
/// Of a subscription only this follows from journal and registry.
const OF_SUBSCRIPTION: &str = "SELECT id, entry, last FROM subscription";

/// Messages between those of the story: of strangers, and stays of another member.
fn noise(number: usize) -> String {
    let id = format!("NZ{number:06}");
    let other = M1
        .replace("SB000101", &id)
        .replace("V20260302001", &format!("V{number:06}"))
        .replace("00718243", &format!("9{number:07}"));
    match number % 5 {
        0 => other
            .replace("1EG4TE5MK73", "1EG4TE5MK74")
            .replace("OKAFOR^MARISOL", "ZEPHYRINE^CASIMIR")
            .replace("19510314|F", "19600701|M"),
        1 => other
            .replace("ADT^A01^ADT_A01", "ADT^A08^ADT_A01")
            .replace("1EG4TE5MK73", "9ZZ9ZZ9ZZ99")
            .replace("OKAFOR", "STRANGER"),
        _ => other.replace("1EG4TE5MK73", &format!("9AA9AA{number:05}")).replace("OKAFOR", "STRANGER"),
    }
}

/// A stay of hers under the number by which she is registered a second time.
fn twice(message: &str, visit: &str) -> String {
    merged::of_the_other(message).replace("V20260302001", visit).replace("SB000", "SC000")
}

/// The story with noise between its messages. She is two, one and two again; the other number comes and goes with the roster.
fn messages() -> Vec<String> {
    let back = escalated::elsewhere();
    let [admitted, ended] = [M1, M2].map(|message| twice(message, "V20260302002"));
    let [merge, unlink] = [("A40", "SB000900"), ("A37", "SB000901")].map(|(trigger, id)| merged::identity(trigger, id));
    let again = merge.replace("SB000900", "SB000902");
    let story = [M1, &admitted, M2, &ended, M3, &merge, M4, M5, M6, &unlink, R1, R2, &again, R3, &back];
    story
        .iter()
        .enumerate()
        .flat_map(|(at, message)| (0..9).map(move |of| noise(at * 9 + of)).chain([(*message).to_owned()]))
        .collect()
}

/// The rosters of the two panels that are taken on before a message of that number; none before others.
fn rosters_before(number: usize) -> Option<[String; 2]> {
    let both = format!("{ROSTER}{}", merged::TWICE);
    let nobody = ROSTER.replace("1EG4TE5MK73", "1EG4TE5MK79").replace("OKAFOR,MARISOL,1951", "OTHERWISE,ANNA,1949");
    match number {
        // The merged number alone is gone, then both of her, and back.
        75 => Some([ROSTER.to_owned(), both]),
        85 => Some([nobody.clone(), nobody]),
        98 => Some([both, ROSTER.to_owned()]),
        _ => None,
    }
}

/// Takes other rosters on; until it is done, as whoever reloads does.
fn take_rosters(care: &Care, [lakeshore, practice]: &[String; 2]) {
    care.write_roster(lakeshore);
    care.write_roster_of("chfm.csv", practice);
    wait_for("the rosters", || {
        let read = care.operate("operator", "POST", "rosters/reload", None).json();
        let panels = read["rosters"].as_array()?;
        let taken = |one: &Value| ["accepted", "unchanged"].iter().any(|state| one["state"] == *state);
        (panels.len() == 2 && panels.iter().all(taken)).then_some(())
    });
}

/// The rows of every table that follows from journal and registry, in order.
fn tables(data: &Path) -> BTreeMap<String, Vec<Vec<Cell>>> {
    let database = database(data);
    let mut names =
        database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let names = names.into_iter().filter(|name| !OF_DELIVERIES.contains(&name.as_str()));
    let rows = |name: &str| -> Vec<Vec<Cell>> {
        let sql = if name == "subscription" { OF_SUBSCRIPTION.to_owned() } else { format!("SELECT * FROM {name}") };
        let mut select = database.prepare(&sql).unwrap();
        let columns = select.column_count();
        let mut rows: Vec<Vec<Cell>> = select
            .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        rows.sort_by_key(|row| format!("{row:?}"));
        rows
    };
    names
        .map(|name| {
            let rows = rows(&name);
            (name, rows)
        })
        .collect()
}

const TOPICS_ASKED: [&str; 4] = ["admission", "discharge", "open-loop", "care-flag"];

fn begin(web: &Web) -> Care {
    let both = format!("{ROSTER}{}", merged::TWICE);
    let told = |id: &str, keys: &str| {
        recipient(id, "id-only", keys).replace("\"patient-data-feed\"]", "\"patient-data-feed\", \"measure-updated\"]")
    };
    let recipients = told("aco-cm", "") + &told("strict", "deny_action = \"drop-event\"\nclear = [\"SUD\"]");
    let care = Care::start_of_two(&both, &recipients);
    for topic in TOPICS_ASKED {
        let mut resource = subscription(topic, &web.address, "id-only");
        resource["id"] = topic.into();
        let put = care.ask("aco-cm", "PUT", &format!("/fhir/Subscription/{topic}"), Some(&resource));
        assert_eq!(put.status, 201, "{}", put.body);
        care.wait_for_state("aco-cm", topic, "active");
    }
    care
}

/// What is known of an event, as the client sees it: number, time, and what it is about.
type Seen = (String, u64, String, String);

fn seen(bundle: &Value) -> Vec<Seen> {
    let subscription = text_of(&bundle["entry"][0]["resource"], "subscription");
    let topic = subscription.rsplit('/').next().unwrap().to_owned();
    let of =
        |(number, event): &(u64, Value)| (topic.clone(), *number, text_of(event, "timestamp"), text_of(event, "focus"));
    events_in(bundle).iter().map(of).collect()
}

/// What `$events` tells of all subscriptions.
fn counted(care: &Care) -> BTreeSet<Seen> {
    TOPICS_ASKED.iter().flat_map(|topic| seen(&care.events("aco-cm", topic, 1))).collect()
}

/// What was sent, each at least once.
fn delivered(web: &Web) -> BTreeSet<Seen> {
    notifications(&web.requests(), "event-notification").iter().flat_map(seen).collect()
}

/// Waits until all is read and told.
fn settle(care: &Care, web: &Web) -> BTreeSet<Seen> {
    care.wait_until_read(messages().len() as u64);
    // What time brings comes when nothing else does.
    wait_for("what is overdue", || (!seen(&care.events("aco-cm", "open-loop", 1)).is_empty()).then_some(()));
    wait_for("all notifications", || {
        let counted = counted(care);
        (counted == delivered(web)).then_some(counted)
    })
}

/// A sequence that looks like chance and is the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Sends until it is acknowledged, as a sender does.
fn exchange(care: &Care, message: &str) {
    let ack = Peer::connect(&care.gateway).exchange(message);
    assert!(ack.contains("MSA|CA|") || ack.contains("MSA|AA|"), "{ack}");
}

#[test]
fn kills_change_nothing_and_neither_does_a_database_made_anew() {
    let kills = std::env::var("HANDOFF_CARE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let messages = messages();
    let web = receiver();
    let care = begin(&web);
    for (number, message) in messages.iter().enumerate() {
        rosters_before(number).iter().for_each(|both| take_rosters(&care, both));
        exchange(&care, message);
    }
    let expected = settle(&care, &web);
    assert!(expected.iter().filter(|one| one.0 == "admission").count() > 9, "{expected:?}");
    assert!(TOPICS_ASKED.iter().all(|topic| expected.iter().any(|one| one.0 == *topic)), "{expected:?}");
    let undisturbed = tables(&care.gateway.data());
    care.gateway.stop();

    let web = receiver();
    let mut care = begin(&web);
    let mut chance = Chance(20_260_302);
    let mut at: Vec<usize> = (0..kills).map(|_| chance.below(messages.len() as u64) as usize).collect();
    at.sort_unstable();
    for (number, message) in messages.iter().enumerate() {
        rosters_before(number).iter().for_each(|both| take_rosters(&care, both));
        while at.first() == Some(&number) {
            at.remove(0);
            // Every other time while the message is on its way; every third once more while it starts.
            if chance.below(2) == 0 {
                Peer::connect(&care.gateway).send(message);
            }
            std::thread::sleep(Duration::from_millis(chance.below(60)));
            let while_starting = (chance.below(3) == 0).then(|| Duration::from_millis(chance.below(120)));
            care = care.kill_and_restart(while_starting);
        }
        exchange(&care, message);
    }
    assert_eq!(settle(&care, &web), expected, "the same events under the same numbers");
    let data = care.gateway.data();
    let (code, said) = command(care.gateway.folder(), &["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = command(care.gateway.folder(), &["measures", "recompute", "--check"]);
    assert_eq!(code, Some(0), "{said}");
    let before = tables(&data);
    for (name, rows) in &undisturbed {
        assert_eq!(rows.len(), before[name].len(), "rows of {name}");
    }
    for name in [
        "loop",
        "loop_step",
        "visit",
        "subscription_event",
        "telling",
        "responsible",
        "measure_fact",
        "measure_day",
        "measure_case",
        "measure_news",
        "person_edge",
        "card",
    ] {
        assert!(before.get(name).is_some_and(|rows| !rows.is_empty()), "{name} of {:?}", before.keys());
    }

    let care = care.kill_and_make_anew();
    settle_again(&care, &expected);
    let after = tables(&data);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, rows) in &before {
        assert_eq!(rows, &after[name], "{name}");
    }
    assert_eq!(delivered(&web), expected, "nothing that was not told before");
    care.gateway.stop();
}

/// The same is counted, and every subscription is greeted once more.
fn settle_again(care: &Care, expected: &BTreeSet<Seen>) {
    care.wait_until_read(messages().len() as u64);
    for topic in TOPICS_ASKED {
        care.wait_for_state("aco-cm", topic, "active");
    }
    wait_for("the same events", || (counted(care) == *expected).then_some(()));
}
