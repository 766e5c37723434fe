//! All that gangplank has in whole accounts, without a plan: an AWS account's regions, and subscriptions of Azure.

// A cloud that was built without adds nothing.
#![cfg_attr(not(all(feature = "aws", feature = "azure")), allow(unused_variables, clippy::unused_async))]

use super::{
    CloudError, ErrorKind, Residue, aws, azure,
    clouds::Clouds,
    fleet::{Action, Performer},
};
use crate::{
    changeset::Changeset,
    event::Watcher,
    location::Location,
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
}

pub struct Estate {
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
}

impl Estate {
    /// Asks AWS for its regions where none is named.
    ///
    /// # Errors
    /// A cloud that can't be reached at all, or that this gangplank was built without.
    pub async fn connect(places: &Places, clouds: &Clouds, watcher: &dyn Watcher) -> Result<Self, CloudError> {
        #[cfg(not(feature = "aws"))]
        if places.regions.is_some() {
            return Err(without("AWS", "aws"));
        }
        #[cfg(not(feature = "azure"))]
        if !places.subscriptions.is_empty() {
            return Err(without("Azure", "azure"));
        }
        Ok(Self {
            #[cfg(feature = "aws")]
            aws: match &places.regions {
                Some(regions) => {
                    Some(aws::estate::Estate::connect(places.profile.as_deref(), regions, clouds, watcher).await?)
                }
                None => None,
            },
            #[cfg(feature = "azure")]
            azure: if places.subscriptions.is_empty() {
                None
            } else {
                Some(azure::estate::Estate::new(clouds.arm()?, &places.subscriptions))
            },
        })
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
