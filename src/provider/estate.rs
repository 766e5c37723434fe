//! All that gangplank has in whole accounts, without a plan: an AWS account's regions, and subscriptions of Azure.

// A cloud that was built without adds nothing.
#![cfg_attr(not(all(feature = "aws", feature = "azure")), allow(unused_variables, clippy::unused_async))]

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use jiff::Timestamp;

use super::{
    aws, azure,
    clouds::Clouds,
    fleet::{Action, Performer},
    identity::{IdentifiedAccount, Located, check_guards, check_pins, unknown},
};
use crate::{
    changeset::Changeset,
    cloud_error::{CloudError, ErrorKind, Refused, Residue},
    event::Watcher,
    location::{AccountGuard, AccountId, CloudAccount, Location, SandboxName},
    reap::{Found, MachineFacts, Stranger},
};

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// An AWS account's regions: all that are enabled where the list is empty; the account is left alone where there is none.
    pub regions: Option<Vec<String>>,
    /// The AWS profile; the standard chain where none is named.
    pub profile: Option<String>,
    /// Allocations that plans name as existing ones: none of them is released.
    pub addresses: BTreeSet<String>,
    pub subscriptions: Vec<String>,
    /// Every subscription that the credentials can see as well.
    pub every_subscription: bool,
    /// The only accounts and subscriptions that may be asked; all where there is none.
    pub guards: Vec<AccountGuard>,
    /// The accounts that plans of this profile name: the credentials must be for each of them. A sandbox is not held to that.
    pub pins: BTreeSet<AccountId>,
    /// Accounts that the run has asked for already.
    pub known: Vec<CloudAccount>,
}

impl Places {
    fn is_on_azure(&self) -> bool {
        self.every_subscription || !self.subscriptions.is_empty()
    }

    /// What is told where nothing of it could be reached.
    fn whole(&self) -> Location {
        if self.is_on_azure() {
            let named = self.subscriptions.join(", ");
            return Location::subscription(if named.is_empty() { "(every subscription)".to_owned() } else { named });
        }
        let account = CloudAccount::Aws { id: None, profile: self.profile.clone() };
        Location { account, region: None, sandbox: None }
    }
}

/// Several accounts, of one cloud each.
pub struct Estates {
    all: Vec<Estate>,
    /// Those that could not be reached at all, beside others that could.
    unreached: Vec<(Location, CloudError)>,
}

impl Estates {
    /// One account that can't be reached hides nothing of another: it is told with what could not be read.
    ///
    /// # Errors
    /// An account that no guard names, or the only one can't be reached.
    pub async fn connect(places: &[Places], clouds: &Clouds, watcher: &dyn Watcher) -> Result<Self, Refused> {
        let mut estates = Self { all: Vec::new(), unreached: Vec::new() };
        for place in places {
            match Estate::connect(place, clouds, watcher).await {
                Ok(estate) => estates.all.push(estate),
                Err(Refused::Cloud(error)) if places.len() > 1 => estates.unreached.push((place.whole(), error)),
                Err(refused) => return Err(refused),
            }
        }
        Ok(estates)
    }

    /// Looks everywhere at once. Writes nothing.
    pub async fn look(&self, watcher: &dyn Watcher) -> Sight {
        let mut sight = Sight { unread: self.unreached.clone(), ..Sight::default() };
        for one in join_all(self.all.iter().map(|estate| estate.look(watcher))).await {
            sight.found.extend(one.found);
            sight.strangers.extend(one.strangers);
            sight.unread.extend(one.unread);
            sight.read += one.read;
            sight.accounts.extend(one.accounts);
        }
        sight
    }

    /// That every account is known, which whoever writes needs.
    ///
    /// # Errors
    /// Why one is not.
    pub fn require_known(&self) -> Result<(), CloudError> {
        self.all.iter().try_for_each(Estate::require_known)
    }

    /// Adds who launched these machines, as far as the clouds' logs say.
    pub async fn add_launchers(
        &self,
        machines: Vec<(Location, &mut MachineFacts)>,
        now: Timestamp,
        watcher: &dyn Watcher,
    ) {
        #[cfg(feature = "azure")]
        if let Some(estate) = self.all.iter().find_map(|estate| estate.azure.as_ref()) {
            let unknown = machines.into_iter().filter(|(_, machine)| machine.launched_by.is_none());
            let each = unknown.take(LAUNCHERS).map(async |(location, machine)| {
                machine.launched_by = estate.launcher(&location, machine, now, watcher).await;
            });
            join_all(each).await;
        }
    }

    /// What of the environment is not used, for a reader; each once.
    pub fn notes(&self) -> BTreeSet<&str> {
        self.all.iter().flat_map(Estate::notes).collect()
    }

    pub fn performer(&self) -> Performer<'_> {
        performer(&self.all)
    }
}

/// Machines whose launchers are asked for at the most: one call each.
#[cfg(feature = "azure")]
const LAUNCHERS: usize = 10;

fn performer(all: &[Estate]) -> Performer<'_> {
    Performer::new(
        #[cfg(feature = "aws")]
        Some(aws::estate::Estate::performer(all.iter().filter_map(|estate| estate.aws.as_ref()))),
        // One identity for all subscriptions.
        #[cfg(feature = "azure")]
        all.iter().find_map(|estate| estate.azure.as_ref()).map(azure::estate::Estate::performer),
    )
}

pub struct Estate {
    /// Of AWS first.
    accounts: Vec<IdentifiedAccount>,
    sandbox: Option<SandboxName>,
    #[cfg(feature = "aws")]
    aws: Option<aws::estate::Estate>,
    #[cfg(feature = "azure")]
    azure: Option<azure::estate::Estate>,
}

/// One look at everything.
#[derive(Debug, Default)]
pub struct Sight {
    /// Each with what removes it.
    pub found: Vec<(Found, Changeset<Action>)>,
    pub strangers: Vec<Stranger>,
    /// Regions and subscriptions that did not answer.
    pub unread: Vec<(Location, CloudError)>,
    /// How many did.
    pub read: usize,
    /// What was looked at: accounts without a region.
    pub accounts: Vec<Location>,
}

impl Estate {
    /// Asks whose accounts these are, and then AWS for its regions where none is named.
    ///
    /// # Errors
    /// An account that no guard names, a cloud that can't be reached at all, or one that this gangplank was built without.
    pub async fn connect(places: &Places, clouds: &Clouds, watcher: &dyn Watcher) -> Result<Self, Refused> {
        #[cfg(not(feature = "aws"))]
        if places.regions.is_some() {
            return Err(without("AWS", "aws").into());
        }
        #[cfg(not(feature = "azure"))]
        if places.is_on_azure() {
            return Err(without("Azure", "azure").into());
        }
        let mut estate = Self {
            accounts: Vec::new(),
            sandbox: clouds.sandbox(),
            #[cfg(feature = "aws")]
            aws: match &places.regions {
                Some(regions) => Some(
                    aws::estate::Estate::open(places.profile.as_deref(), regions, &places.addresses, clouds).await?,
                ),
                None => None,
            },
            #[cfg(feature = "azure")]
            azure: match (places.every_subscription, places.subscriptions.is_empty()) {
                (true, _) => {
                    let named = &places.subscriptions;
                    Some(azure::estate::Estate::of_the_tenant(clouds.arm()?, named, watcher).await?)
                }
                (false, true) => None,
                (false, false) => Some(azure::estate::Estate::new(clouds.arm()?, &places.subscriptions)),
            },
        };
        estate.accounts = estate.identify(&places.known, watcher).await;
        check_guards(&places.guards, &estate.accounts)?;
        if estate.sandbox.is_none() {
            check_pins(&places.pins, &estate.accounts)?;
        }
        #[cfg(feature = "aws")]
        if let (Some(aws), Some(regions)) = (&mut estate.aws, &places.regions) {
            aws.choose_regions(regions, watcher).await?;
        }
        Ok(estate)
    }

    /// One call for the profile and one for each subscription, all at once, but for those that are known.
    async fn identify(&self, known: &[CloudAccount], watcher: &dyn Watcher) -> Vec<IdentifiedAccount> {
        let told = |account: &CloudAccount| IdentifiedAccount { account: account.clone(), arn: None, unknown: None };
        let aws = async {
            #[cfg(feature = "aws")]
            if let Some(estate) = &self.aws {
                let known = known.iter().find(|account| matches!(account, CloudAccount::Aws { id: Some(_), .. }));
                return vec![match known {
                    Some(account) => told(account),
                    None => estate.identify(watcher).await,
                }];
            }
            Vec::new()
        };
        let azure = async {
            #[cfg(feature = "azure")]
            if let Some(estate) = &self.azure {
                let known = |subscription: &str| known.iter().find(|account| account.is_subscription(subscription));
                return estate.identify(|subscription| known(subscription).map(told), watcher).await;
            }
            Vec::new()
        };
        let (mut all, azure) = join(aws, azure).await;
        all.extend(azure);
        all
    }

    /// That every account is known, which whoever writes needs.
    ///
    /// # Errors
    /// Why one is not.
    pub fn require_known(&self) -> Result<(), CloudError> {
        match self.accounts.iter().find_map(|found| found.unknown.as_ref()) {
            Some(error) => Err(unknown(error, "nothing is written into an unknown account")),
            None => Ok(()),
        }
    }

    /// The account that something of this look is in.
    fn account_of(&self, location: &Location) -> Option<&CloudAccount> {
        let mut all = self.accounts.iter().map(|found| &found.account);
        all.find(|account| match (account, &location.account) {
            (CloudAccount::Aws { .. }, CloudAccount::Aws { .. }) => true,
            (account, CloudAccount::Azure { subscription, .. }) => account.is_subscription(subscription),
            (CloudAccount::Azure { .. }, CloudAccount::Aws { .. }) => false,
        })
    }

    fn locate(&self, location: &mut Location) {
        let account = self.account_of(location).cloned();
        location.locate(account.as_ref(), self.sandbox.as_ref());
    }

    /// What of the environment is not used, for a reader; each once.
    pub fn notes(&self) -> BTreeSet<&str> {
        #[cfg(feature = "aws")]
        if let Some(estate) = &self.aws {
            return estate.notes();
        }
        BTreeSet::new()
    }

    /// Looks everywhere at once. Writes nothing.
    pub async fn look(&self, watcher: &dyn Watcher) -> Sight {
        let mut sight = Sight::default();
        #[cfg(feature = "aws")]
        if let Some(estate) = &self.aws {
            for (place, look) in estate.look(watcher).await {
                match look {
                    Ok(look) => {
                        sight.read += 1;
                        sight.found.extend(look.found.into_iter().map(|(found, set)| (found, set.map(Action::Aws))));
                        sight.strangers.extend(look.strangers);
                    }
                    Err(error) => sight.unread.push((place, error)),
                }
            }
        }
        #[cfg(feature = "azure")]
        if let Some(estate) = &self.azure {
            for (place, look) in estate.look(watcher).await {
                match look {
                    Ok(look) => {
                        sight.read += 1;
                        sight.found.extend(look.found.into_iter().map(|(found, set)| (found, set.map(Action::Azure))));
                        sight.strangers.extend(look.strangers);
                    }
                    Err(error) => sight.unread.push((place, error)),
                }
            }
        }
        for (found, set) in &mut sight.found {
            self.locate(&mut found.location);
            self.locate(&mut set.location);
        }
        sight.strangers.iter_mut().for_each(|stranger| self.locate(&mut stranger.location));
        sight.unread.iter_mut().for_each(|(place, _)| self.locate(place));
        let whole = |found: &IdentifiedAccount| Location {
            account: found.account.clone(),
            region: None,
            sandbox: self.sandbox.clone(),
        };
        sight.accounts = self.accounts.iter().map(whole).collect();
        sight
    }

    pub fn performer(&self) -> Performer<'_> {
        performer(std::slice::from_ref(self))
    }
}

#[cfg_attr(all(feature = "aws", feature = "azure"), allow(dead_code))]
fn without(cloud: &str, feature: &str) -> CloudError {
    CloudError {
        operation: format!("connect to {cloud}"),
        kind: ErrorKind::Invalid,
        code: None,
        request_id: None,
        message: format!("this gangplank was built without {cloud}"),
        residue: Residue::Nothing,
        remedy: Some(format!("build it with the feature `{feature}`")),
    }
}
