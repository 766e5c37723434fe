//! All that gangplank has in whole accounts, without a plan: an AWS account's regions, and subscriptions of Azure.

// A cloud that was built without adds nothing.
#![cfg_attr(not(all(feature = "aws", feature = "azure")), allow(unused_variables, clippy::unused_async))]

use std::collections::BTreeSet;

use futures_util::future::join;

use super::{
    CloudError, ErrorKind, Refused, Residue, aws, azure,
    clouds::Clouds,
    fleet::{Action, Performer},
    identity::{IdentifiedAccount, Located, check_guards, unknown},
};
use crate::{
    changeset::Changeset,
    event::Watcher,
    location::{AccountGuard, CloudAccount, Location, SandboxName},
    reap::{Found, Stranger},
};

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// An AWS account's regions: all that are enabled where the list is empty; the account is left alone where there is none.
    pub regions: Option<Vec<String>>,
    /// The AWS profile; the standard chain where none is named.
    pub profile: Option<String>,
    pub subscriptions: Vec<String>,
    /// The only accounts and subscriptions that may be asked; all where there is none.
    pub guards: Vec<AccountGuard>,
    /// Accounts that the run has asked for already.
    pub known: Vec<CloudAccount>,
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
        if !places.subscriptions.is_empty() {
            return Err(without("Azure", "azure").into());
        }
        let mut estate = Self {
            accounts: Vec::new(),
            sandbox: clouds.sandbox(),
            #[cfg(feature = "aws")]
            aws: match &places.regions {
                Some(regions) => Some(aws::estate::Estate::open(places.profile.as_deref(), regions, clouds).await?),
                None => None,
            },
            #[cfg(feature = "azure")]
            azure: if places.subscriptions.is_empty() {
                None
            } else {
                Some(azure::estate::Estate::new(clouds.arm()?, &places.subscriptions))
            },
        };
        estate.accounts = estate.identify(&places.known, watcher).await;
        check_guards(&places.guards, &estate.accounts)?;
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
        Performer::new(
            #[cfg(feature = "aws")]
            self.aws.as_ref().map(aws::estate::Estate::performer),
            #[cfg(feature = "azure")]
            self.azure.as_ref().map(azure::estate::Estate::performer),
        )
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
