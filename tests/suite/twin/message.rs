//! What the message maps say: which one a message takes, what it inherits, where links lead from.
use handoff::fhir::shape;
use handoff::hl7::Message;
use handoff::mapping::source::{Link, MessageSource, PlaceSource, Sources, Statement};

/// The message map of a message: by its event, else by the structure that MSH-9.3 names.
pub fn of<'s>(sources: &'s Sources, message: Message<'_>) -> Option<&'s MessageSource> {
    let msh = message.find(handoff::hl7::SegmentId(*b"MSH"))?;
    let part = |n| {
        String::from_utf8_lossy(message.bytes(message.part(message.field(msh, 9), message.delimiters().component, n)))
            .into_owned()
    };
    let event = format!("{}^{}", part(1), part(2)).to_ascii_uppercase();
    let of_key = |key: &str| {
        let covers = |map: &&MessageSource| map.covers.iter().any(|(covered, _)| covered == key);
        let covering = sources.messages.values().rev().find(covers);
        covering.map(|map| map.name.as_str()).or_else(|| sources.events.get(key).map(|(name, _)| name.as_str()))
    };
    // A bare code (`ACK`) serves every event that is not listed.
    let structure = of_key(&event).or_else(|| of_key(event.split('^').next()?));
    let by_event = structure.and_then(|name| sources.messages.get(name));
    by_event.or_else(|| sources.messages.get(&part(3)))
}

/// All places of a message map with those that it inherits (marked), and all its statements.
pub fn statements(sources: &Sources, map: &MessageSource) -> (Vec<(PlaceSource, bool)>, Vec<Statement>) {
    let mut places: Vec<(PlaceSource, bool)> = Vec::new();
    let (mut at, mut inherited) = (Some(map), false);
    while let Some(map) = at {
        for place in &map.places {
            if !places.iter().any(|(known, _)| known.group == place.group && known.key == place.key) {
                places.push((place.clone(), inherited));
            }
        }
        inherited = true;
        at = map.extends.as_ref().and_then(|(base, _)| sources.messages.get(base));
    }
    let all = places.iter().flat_map(|(place, _)| place.statements.clone()).collect();
    (places, all)
}

/// The name that a link leads from, if it gives one, and the path there.
pub fn link_from<'l>(link: &'l Link, all: &[Statement]) -> Option<(Option<&'l str>, &'l str)> {
    match link.path.split_once('.') {
        Some((name, path)) if all.iter().any(|statement| statement.binding == name) => Some((Some(name), path)),
        _ => Some((None, &link.path)),
    }
}

/// The type of resource that a name stands for.
pub fn type_of(sources: &Sources, name: &str, all: &[Statement]) -> Option<String> {
    let named = |add: bool| all.iter().find(|statement| statement.binding == name && statement.add == add);
    let statement = named(false).or_else(|| named(true))?;
    Some(sources.maps.get(&statement.map)?.to.clone()).filter(|kind| shape::is_resource(kind))
}
