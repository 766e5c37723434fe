//! Our rule collections in somebody's firewall, which is written as a whole: removals that wait for the same firewall go in one write.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::sleep;

use super::{Performer, Turns, in_the_way, settled, understood};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue},
    provider::{
        Progress,
        azure::{
            id::Id,
            observe::version,
            observed::{Resource, State, text},
            request::{Condition, Method, Request, short},
            retry::Repeat,
            shared::{self, Whose},
            typed,
        },
    },
};

/// How long the first step waits for others that start with it.
const GATHER: Duration = Duration::from_millis(20);

/// A collection, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owned {
    pub name: String,
    pub bastion: String,
}

/// What removing steps share, by firewall.
#[derive(Debug, Default)]
pub(super) struct Removals {
    wanted: RefCell<BTreeMap<Id, BTreeSet<Owned>>>,
    /// What became of those that went in another step's write.
    done: RefCell<BTreeMap<(Id, Owned), Result<(), CloudError>>>,
}

impl Removals {
    pub fn wanted(&self, firewall: &Id, owned: Owned) {
        self.wanted.borrow_mut().entry(firewall.clone()).or_default().insert(owned);
    }
}

impl Performer<'_> {
    /// Removes a collection, and every other one whose removal waits for this firewall. The firewall's turn is the caller's.
    pub(super) async fn remove_collection(
        &self,
        firewall: &Id,
        owned: Owned,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        if let Some(result) = self.removals.done.borrow_mut().remove(&(firewall.clone(), owned.clone())) {
            return result;
        }
        sleep(GATHER).await;
        let mut all = self.removals.wanted.borrow_mut().remove(firewall).unwrap_or_default();
        all.insert(owned.clone());
        let mut foreign = BTreeMap::new();
        let written = self.remove_collections(firewall, &all, &mut foreign, progress).await;
        let mut result = |one: &Owned| foreign.remove(one).map_or_else(|| written.clone(), Err);
        let own = result(&owned);
        for one in all.into_iter().filter(|one| *one != owned) {
            let result = result(&one);
            self.removals.done.borrow_mut().insert((firewall.clone(), one), result);
        }
        own
    }

    /// `foreign` tells those that are not ours by now: they stay.
    async fn remove_collections(
        &self,
        firewall: &Id,
        all: &BTreeSet<Owned>,
        foreign: &mut BTreeMap<Owned, CloudError>,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let named = Request::new(Method::Put, firewall.as_str(), version(firewall));
        let mut turns = Turns::new(self.arm.pace());
        loop {
            let Some(found) = settled(self.arm, firewall, progress).await? else { return Ok(()) };
            foreign.clear();
            let mut changed = None;
            for one in all {
                match shared::whose(&found, &one.name, &one.bastion) {
                    Whose::Foreign => _ = foreign.insert(one.clone(), in_the_way(&named, &found, &one.bastion)),
                    Whose::Nobodys => {}
                    Whose::Ours => {
                        changed = Some(shared::without_our_collection(changed.as_ref().unwrap_or(&found), &one.name));
                    }
                }
            }
            // A write that failed shows what it was to be, and what is in force is not known: it is written once more.
            let failed = Resource::read(&found).is_some_and(|firewall| firewall.state == State::Failed);
            let Some(changed) = changed.or_else(|| failed.then(|| found.clone())) else { return Ok(()) };
            match self.write_firewall(firewall, &found, changed, progress).await {
                Err(error) => turns.again(error, progress).await?,
                done => return done,
            }
        }
    }

    /// Puts a collection in the place of its namesake, or after all others.
    pub(super) async fn set_collection(
        &self,
        firewall: &Id,
        name: &str,
        collection: &Value,
        bastion: &str,
        progress: &Progress<'_>,
    ) -> Result<Option<String>, CloudError> {
        let named = Request::new(Method::Put, firewall.as_str(), version(firewall));
        understood(&named, typed::unknown_in_collection(collection))?;
        let mut turns = Turns::new(self.arm.pace());
        loop {
            let Some(found) = settled(self.arm, firewall, progress).await? else {
                return Err(CloudError {
                    operation: named.operation(),
                    kind: ErrorKind::NotFound,
                    code: None,
                    request_id: None,
                    message: "the firewall is gone".to_owned(),
                    residue: Residue::Nothing,
                    remedy: Some("name another one in the plan".to_owned()),
                });
            };
            if shared::whose(&found, name, bastion) == Whose::Foreign {
                return Err(in_the_way(&named, &found, bastion));
            }
            let changed = shared::with_our_collection(&found, collection);
            match self.write_firewall(firewall, &found, changed, progress).await {
                Err(error) => turns.again(error, progress).await?,
                Ok(()) => return Ok(None),
            }
        }
    }

    /// Writes the firewall as it was found but for the change, and only while it is still so.
    async fn write_firewall(
        &self,
        firewall: &Id,
        found: &Value,
        changed: Value,
        progress: &Progress<'_>,
    ) -> Result<(), CloudError> {
        let etag = text(found, "/etag");
        if etag.is_empty() {
            // Without it, whatever somebody wrote meanwhile would be lost.
            return Err(CloudError::mistake(format!("{} has no etag", short(firewall.as_str()))));
        }
        let request =
            Request::put(firewall.as_str(), version(firewall), changed).only_if(Condition::Unchanged(etag.to_owned()));
        self.write(&request, Repeat::SAFE, progress).await.map(drop)
    }
}
