//! What `gangplank reap --yes` does, with the library's own decisions.

use std::time::Duration;

use gangplank::{
    changeset::Changeset,
    execute::{self, Outcome},
    location::AccountGuard,
    provider::{
        clouds::Clouds,
        estate::{Estate, Places},
        fleet::Action,
    },
    reap::{Found, Policy, Verdict, Why, judge, unchanged},
    sandbox::{arm::SUBSCRIPTION, ec2::ACCOUNT},
    stop::Stop,
};
use jiff::SignedDuration;

use super::{
    bugs::Bug,
    hand::REGION,
    plans::Bastion,
    story::{Nobody, told},
};

/// Between two looks at what has no machine: the program's default.
const SETTLE: Duration = Duration::from_secs(120);

/// The clouds in which there are bastions, and the account in which they may be.
pub fn places(bastions: &[Bastion], bug: Option<Bug>) -> Places {
    let on_aws = bastions.iter().any(Bastion::is_on_aws);
    let is_guarded = on_aws && bug != Some(Bug::IgnoresAccount);
    let on_azure = bastions.iter().any(|bastion| !bastion.is_on_aws());
    Places {
        regions: on_aws.then(|| vec![REGION.to_owned()]),
        profile: None,
        subscriptions: on_azure.then(|| SUBSCRIPTION.to_owned()).into_iter().collect(),
        guards: if is_guarded { AccountGuard::parse(ACCOUNT).into_iter().collect() } else { Vec::new() },
        ..Places::default()
    }
}

/// One reaping: how many bastions went, once everything was read and every step was done.
pub async fn reap(places: &Places, clouds: &Clouds, bug: Option<Bug>) -> Result<usize, String> {
    let estate = Estate::connect(places, clouds, &Nobody).await.map_err(|refused| told(&refused))?;
    let (mut going, mut unread) = look(&estate, clouds, bug).await;
    if going.iter().any(|(_, verdict, _)| verdict.why() == Some(Why::Orphaned)) {
        tokio::time::sleep(SETTLE).await;
        let (again, more) = look(&estate, clouds, bug).await;
        unread = more;
        let agreed = |found: &Found, verdict: &Verdict| {
            going.iter().any(|(before, was, _)| was == verdict && unchanged(before, found))
        };
        going = again.into_iter().filter(|(found, verdict, _)| agreed(found, verdict)).collect();
    }
    let mut sets: Vec<Changeset<Action>> = going.into_iter().map(|(_, _, set)| set).collect();
    if let Some(bug) = bug {
        sets.iter_mut().for_each(|set| bug.in_a_reap(set, clouds));
    }
    let steps: Vec<_> = sets.iter().flat_map(|set| &set.steps).collect();
    let outcome = execute::run(&estate.performer(), &steps, Stop::new(), &Nobody).await;
    match outcome.map_err(|error| error.to_string())? {
        Outcome::Completed(_) if unread.is_empty() => Ok(sets.len()),
        Outcome::Completed(_) => Err(unread.join("\n")),
        Outcome::Interrupted(_) | Outcome::Failed(_) => Err("a step failed".to_owned()),
    }
}

type Going = (Found, Verdict, Changeset<Action>);

/// What is to go, and what could not be read.
async fn look(estate: &Estate, clouds: &Clouds, bug: Option<Bug>) -> (Vec<Going>, Vec<String>) {
    let sight = estate.look(&Nobody).await;
    let early = if bug == Some(Bug::Impatient) { SignedDuration::from_hours(200 * 24) } else { SignedDuration::ZERO };
    let now = clouds.now().saturating_add(early).unwrap_or_else(|_| clouds.now());
    let policy = Policy { now, grace: SignedDuration::ZERO, only: Vec::new(), older_than: None };
    let judged = sight.found.into_iter().map(|(found, set)| (judge(&found, &policy), found, set));
    let going = judged.filter(|(verdict, ..)| match verdict.why() {
        Some(Why::Orphaned) => bug != Some(Bug::Overlooking),
        why => why.is_some(),
    });
    let unread = sight.unread.into_iter().map(|(place, error)| format!("{place}: {error}")).collect();
    (going.map(|(verdict, found, set)| (found, verdict, set)).collect(), unread)
}
