//! What is taken from messages of which nobody is told, and what is not taken at all.
use super::*;

/// Who is said to be the primary care provider, by whom.
fn primary(data: &Path) -> Vec<(String, String)> {
    let database = database(data);
    let mut select =
        database.prepare("SELECT source, npi FROM care_member WHERE role = 'pcp' ORDER BY number").unwrap();
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_update_that_makes_no_event_reaches_the_care_team() {
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let update =
        M1.replace("A01", "A08").replace("SB000101", "SB000102").replace("9990003037^BAPTISTE", "9990007079^LIND");
    care.send(&[M1]);
    care.wait_until_read(1);
    let of = |npi: &str| vec![("pd1".to_owned(), npi.to_owned())];
    assert_eq!(primary(&care.gateway.data()), of("9990003037"));
    care.send(&[&update]);
    care.wait_until_read(2);
    assert_eq!(primary(&care.gateway.data()), of("9990007079"));
}

#[test]
fn nobody_is_told_of_a_test() {
    let web = receiver();
    let care = Care::start("", &recipient("aco-cm", "id-only", ""));
    let id = care.subscribe("aco-cm", &subscription("admission", &web.address, "id-only"));
    care.wait_for_state("aco-cm", &id, "active");
    let test = M1.replace("|SB000101|P|", "|SB000100|T|").replace("V20260302001", "V20260302000");
    care.send(&[&test, M1]);
    care.wait_for_events("aco-cm", &id, 1);
    let visits: Vec<String> = {
        let database = database(&care.gateway.data());
        let mut select = database.prepare("SELECT number FROM visit").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(visits, ["V20260302001"]);
}
