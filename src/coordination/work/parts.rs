//! What stands in memory of the database and the registry, at the place that has been read to.
use super::Error;
use super::listed::Listed;
use super::registered::Registered;
use super::time::Clock;
use crate::coordination::Options;
use crate::coordination::card::Outlines;
use crate::coordination::fold::Fold;
use crate::coordination::loops::{Panel, Setting, Tracker};
use crate::coordination::measures::Measures;
use crate::coordination::registry::Registry;
use crate::coordination::roster::{Aliases, Rosters, Strangers};
use crate::coordination::store::Store;

/// What stands in memory of the database.
pub(super) struct Parts {
    pub fold: Fold,
    pub aliases: Aliases,
    /// Follows from the rosters alone: nothing of it is written.
    pub strangers: Strangers,
    pub tracker: Tracker,
    pub measures: Measures,
    pub registered: Registered,
    pub clock: Clock,
    /// Whose patients they are at this place of the journal.
    pub listed: Listed,
    /// Of cards.
    pub outlines: Outlines,
    /// Entries that were too long for a card.
    pub oversized: u64,
}

impl Parts {
    /// As the database and the registry have it.
    pub fn open(store: &Store, options: &Options, registry: &Registry, rosters: &Rosters) -> Result<Parts, Error> {
        let connection = store.connection();
        let registered = Registered::open(connection, registry, &options.subscriptions)?;
        Ok(Parts {
            listed: Listed::open(registry, rosters, registered.number)?,
            fold: Fold::open(options, connection)?,
            aliases: Aliases::read(connection).map_err(Error::database)?,
            strangers: Strangers::default(),
            tracker: Tracker::open(connection, options.loops.clone(), setting(options)).map_err(Error::database)?,
            measures: Measures::open(connection, &options.measures, &setting(options), &options.privacy)?,
            registered,
            clock: Clock::open(connection, registry)?,
            outlines: Outlines::default(),
            oversized: 0,
        })
    }
}

/// Where things happen, and for whom.
pub fn setting(options: &Options) -> Setting {
    let panel = |panel: &crate::coordination::roster::Panel| {
        let owner_npi = panel.owner_npi.clone().unwrap_or_default();
        (panel.id.clone(), Panel { owner_npi, zone: Some(panel.zone.clone()) })
    };
    let panels = options.rosters.panels.iter().map(panel).collect();
    Setting { facilities: options.facilities.clone(), panels, keep: options.keep }
}
