//! Which rosters are in force, as the registry says it: at each place of the journal one set of them. The body of an entry of kind `roster`.
//!
//! ```text
//! {"panels": [{"panel": "aco-lakeshore", "sha256": "…", "since_ms": 1767225600000, "file_ms": 1767222000000, "members": 5120, "added": 12, "dropped": 3, "changed": 40}]}
//! ```
use super::kept::{Fingerprint, digits, parse};
use super::options::Options;
use super::snapshot::PanelFacts;
use crate::coordination::registry::{self, Registry};
use crate::fhir::identity;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The one thing of kind `roster`: all panels stand in it together.
pub const ID: &str = "rosters";

/// The rosters of all panels that have one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// In the order of the configuration of then.
    pub panels: Vec<Taken>,
}

/// The roster of a panel that was taken on, and what it changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The panel.
    pub panel: String,
    /// Its files.
    #[serde(with = "text")]
    pub sha256: Fingerprint,
    /// When it was taken on, in milliseconds since 1970.
    pub since_ms: i64,
    /// When the last of its files was written.
    pub file_ms: Option<i64>,
    /// How many members there are, whatever their periods.
    pub members: usize,
    /// How many were new.
    pub added: usize,
    /// How many were gone.
    pub dropped: usize,
    /// Of how many something was different.
    pub changed: usize,
}

mod text {
    use super::{Fingerprint, digits, parse};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(fingerprint: &Fingerprint, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&digits(fingerprint))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Fingerprint, D::Error> {
        let text = String::deserialize(source)?;
        parse(&text).ok_or_else(|| D::Error::custom("sha256 is no hash"))
    }
}

impl InForce {
    /// What the registry says holds now; nothing where it says nothing.
    ///
    /// # Errors
    /// A registry that cannot be read.
    pub fn now(registry: &Registry) -> Result<InForce, registry::Error> {
        let entry = registry.current(registry::Kind::Roster, ID)?;
        Ok(entry.as_ref().and_then(|entry| entry.what.body()).map(InForce::parse).unwrap_or_default())
    }

    /// Reads the body of an entry. One of another version says nothing.
    pub fn parse(body: &Value) -> InForce {
        InForce::deserialize(body).unwrap_or_default()
    }

    /// The body of an entry.
    pub fn body(&self) -> Value {
        json!(self)
    }

    /// The roster of a panel.
    pub fn of(&self, panel: &str) -> Option<&Taken> {
        self.panels.iter().find(|taken| taken.panel == panel)
    }

    /// The panels that have other members than before.
    pub fn news<'n>(&'n self, before: &'n InForce) -> impl Iterator<Item = &'n Taken> {
        let is_new = |taken: &&Taken| before.of(&taken.panel).is_none_or(|old| old.sha256 != taken.sha256);
        self.panels.iter().filter(is_new).filter(|taken| taken.added + taken.dropped + taken.changed > 0)
    }

    /// Each panel of the configuration with its files, as a snapshot of them is made of.
    pub(super) fn fingerprints<'o>(
        &'o self,
        options: &'o Options,
    ) -> impl Iterator<Item = (&'o str, Fingerprint)> + use<'o> {
        let of = |id: &str| self.of(id).map(|taken| taken.sha256).unwrap_or_default();
        options.panels.iter().map(move |panel| (panel.id.as_str(), of(&panel.id)))
    }
}

/// The namespace of the ids of changes, a UUID of our own.
const CHANGES: [u8; 16] =
    [0x5e, 0x0c, 0x3d, 0x91, 0xa8, 0x47, 0x4d, 0x1b, 0xb6, 0x0f, 0x72, 0xc4, 0x29, 0x8e, 0x13, 0x6a];

/// The id of a change of a panel, as subscribers are told of it.
pub fn change_id(entry: u64, panel: &str) -> [u8; 16] {
    identity::version_5(&CHANGES, &[entry.to_string().as_bytes(), b"|", panel.as_bytes()])
}

/// A panel as a FHIR Group: who it is, how many, and what its last roster changed. Its members are not listed; its version is what its files are. `base`: what canonical URLs begin with.
pub fn group(panel: &PanelFacts, taken: Option<&Taken>, base: &str) -> Value {
    let mut group = json!({
        "resourceType": "Group", "id": panel.id, "active": true, "type": "person", "actual": true, "name": panel.id,
    });
    if let Some(npi) = &panel.owner_npi {
        let identifier = json!({ "system": "http://hl7.org/fhir/sid/us-npi", "value": npi });
        group["managingEntity"] = json!({ "type": "Organization", "identifier": identifier });
    }
    if let Some(taken) = taken {
        let since = Timestamp::from_millisecond(taken.since_ms).unwrap_or_default();
        group["meta"] = json!({ "versionId": digits(&taken.sha256), "lastUpdated": format!("{since:.3}") });
        group["quantity"] = taken.members.into();
        let count = |name: &str, count: usize| json!({ "url": name, "valueUnsignedInt": count });
        let counts = [count("added", taken.added), count("dropped", taken.dropped), count("changed", taken.changed)];
        let url = format!("{}/StructureDefinition/list-change", base.trim_end_matches('/'));
        group["extension"] = json!([{ "url": url, "extension": counts }]);
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read_and_only_what_changed_is_news() {
        let taken = |panel: &str, byte: u8, added| Taken {
            panel: panel.into(),
            sha256: [byte; 32],
            since_ms: 5,
            added,
            ..Taken::default()
        };
        let before = InForce { panels: vec![taken("a", 1, 3), taken("b", 1, 3), taken("c", 1, 3)] };
        assert_eq!(InForce::parse(&before.body()), before);
        assert_eq!(InForce::parse(&json!({ "panels": [{ "panel": "a" }] })), InForce::default());
        let after = InForce { panels: vec![taken("a", 1, 3), taken("b", 2, 0), taken("c", 2, 1), taken("d", 1, 9)] };
        let news: Vec<_> = after.news(&before).map(|taken| taken.panel.as_str()).collect();
        assert_eq!(news, ["c", "d"]);
        assert_ne!(change_id(1, "a"), change_id(2, "a"));
    }
}
