//! Reads a subscription: one list for each kind of resource and one of what the machines are at, all at once, then what lists do
//! not show: the rules of the firewall policies that matter, and, where a resource group is a bastion's own, what else is in it.
//! The number of calls follows from those policies, not from how many bastions or other resources there are, pages aside.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde_json::Value;

use super::{
    arm::Arm,
    auto_shutdown::{self, Offer, Service},
    desire, elsewhere,
    id::{Id, Kind},
    observed::{Lock, Observed, Quota, Resource, Size, list as items, text},
    request::{Method, Request},
    retry::Repeat,
    tags,
    views::Firewall,
};
use crate::{
    cloud_error::{CloudError, ErrorKind, Residue},
    plan::{Azure, Edge, Plan, ResourceGroup},
    provider::Progress,
};

/// What each subscription is asked for as a whole.
const LISTED: [Kind; 10] = [
    Kind::Network,
    Kind::SecurityGroup,
    Kind::Address,
    Kind::Interface,
    Kind::Firewall,
    Kind::Policy,
    Kind::Machine,
    Kind::RouteTable,
    Kind::IpGroup,
    Kind::AutoShutdown,
];
const GROUPS: &str = "2021-04-01";
const SKUS: &str = "2021-07-01";
const LOCKS: &str = "2016-09-01";
const SUBSCRIPTIONS: &str = "2022-12-01";

/// Everything in the subscription that `plans`, all of it, can concern.
///
/// # Errors
/// The cloud's, of any of the calls: half a look would be half a truth.
pub async fn observe(
    arm: &Arm,
    subscription: &str,
    plans: &[(&Plan, &Azure)],
    progress: &Progress<'_>,
) -> Result<Observed, CloudError> {
    let lists = lists(arm, subscription, progress);
    let ((mut all, service), states) = tokio::try_join!(lists, states(arm, subscription, progress))?;
    add_states(&mut all, states);
    let mut unread = elsewhere::read(arm, subscription, plans, &mut all, progress).await?;

    let mut seen = Observed::new(&all, []);
    seen.mark_elsewhere(subscription);
    plan_groups(&mut seen, plans);
    let names: Vec<&str> = plans.iter().map(|(plan, _)| plan.name.as_str()).collect();
    let ours = |resource: &&Resource| names.iter().any(|name| resource.is_owned(name));
    let owns_group = seen.of_kind(Kind::ResourceGroup).any(|group| ours(&group));
    let policies = policies(&seen, plans);
    let (rules, contents) = tokio::try_join!(
        try_join_all(policies.iter().map(async |id| {
            let groups = format!("{id}/ruleCollectionGroups");
            match inside(arm, &Request::get(groups, Kind::RuleGroup.api_version()), progress).await {
                Err(error) if error.kind == ErrorKind::Permission && !id.is_in(subscription) => Ok(Err((id, error))),
                other => other.map(Ok),
            }
        })),
        async { if owns_group { everything(arm, subscription, progress).await } else { Ok(Vec::new()) } },
    )?;
    for read in rules {
        match read {
            Ok(groups) => all.extend(groups),
            // A policy without its rules is none to be judged by.
            Err((id, error)) => {
                all.retain(|raw| Id::new(text(raw, "/id")) != *id);
                unread.insert(id.clone(), error);
            }
        }
    }
    let mut seen = Observed { auto_shutdown: service, unread, ..Observed::new(&all, &contents) };
    seen.mark_elsewhere(subscription);
    plan_groups(&mut seen, plans);
    Ok(seen)
}

/// A resource group is a bastion's own if its plan says so.
fn plan_groups(seen: &mut Observed, plans: &[(&Plan, &Azure)]) {
    for (plan, azure) in plans {
        let existing = matches!(azure.resource_group, ResourceGroup::Existing(_));
        let group = Id::group(&azure.subscription, desire::group_name(azure));
        seen.plan_group(&group, plan.name.as_str(), existing);
    }
}

/// Every list of the subscription as a whole. Auto-shutdowns are of a service that a subscription need not be registered for, nor this
/// identity be allowed to read: that is said, and no failure.
async fn lists(arm: &Arm, subscription: &str, progress: &Progress<'_>) -> Result<(Vec<Value>, Service), CloudError> {
    let groups = Request::get(format!("/subscriptions/{subscription}/resourcegroups"), GROUPS);
    let kinds = LISTED.map(async |kind| {
        let path = format!("/subscriptions/{subscription}/providers/{}", kind.type_name());
        match arm.list(&Request::get(path, kind.api_version()), progress).await {
            // That it is not registered is told with the offer, where one is asked for.
            Err(error) if kind == Kind::AutoShutdown && is_not_to_be_had(error.kind) => {
                let unregistered = error.code.as_deref() == Some("MissingSubscriptionRegistration");
                Ok((Vec::new(), (!unregistered).then_some(error.message)))
            }
            other => Ok((other?, None)),
        }
    });
    let (mut all, lists) = tokio::try_join!(arm.list(&groups, progress), try_join_all(kinds))?;
    let mut service = Service::default();
    for (list, unseen) in lists {
        all.extend(list);
        service.unseen = service.unseen.or(unseen);
    }
    Ok((all, service))
}

fn is_not_to_be_had(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Permission | ErrorKind::Invalid)
}

/// Whether the subscription may have auto-shutdowns, and where ("Providers - Get"). Nothing where this account may not see it.
pub async fn offer(arm: &Arm, subscription: &str, progress: &Progress<'_>) -> Result<Option<Offer>, CloudError> {
    let path = format!("/subscriptions/{subscription}/providers/{}", auto_shutdown::NAMESPACE);
    match arm.get(&Request::get(path, GROUPS), progress).await {
        Err(error) if is_not_to_be_had(error.kind) => Ok(None),
        other => Ok(other?.as_ref().map(Offer::read)),
    }
}

/// Everything in the subscription that a teardown without plans can concern: the lists, disks, what is in every resource group in one list
/// more, the locks, what ours lead to in other subscriptions, and the rule collection groups of those policies of
/// others that have one called as ours are.
///
/// # Errors
/// The cloud's, of any of the calls.
pub async fn estate(arm: &Arm, subscription: &str, progress: &Progress<'_>) -> Result<Observed, CloudError> {
    let disks = format!("/subscriptions/{subscription}/providers/{}", Kind::Disk.type_name());
    let disks = Request::get(disks, Kind::Disk.api_version());
    let outline = Request::get(format!("/subscriptions/{subscription}/resources"), GROUPS);
    let ((mut all, service), disks, contents, locks) = tokio::try_join!(
        lists(arm, subscription, progress),
        arm.list(&disks, progress),
        arm.list(&outline, progress),
        locks(arm, subscription, progress),
    )?;
    all.extend(disks);
    let unread = elsewhere::read_without_plans(arm, subscription, &mut all, progress).await?;
    let seen = Observed::new(&all, []);
    let alike = |policy: &&Resource| {
        // Those in a policy of a bastion's own go with it.
        policy.owner().is_none()
            && items(&policy.raw, "/properties/ruleCollectionGroups")
                .iter()
                .any(|group| Id::new(text(group, "/id")).name().to_ascii_lowercase().starts_with("gangplank-"))
    };
    let policies: Vec<Id> = seen.of_kind(Kind::Policy).filter(alike).map(|p| p.id.clone()).collect();
    let rules = try_join_all(policies.iter().map(async |id| {
        let groups = format!("{id}/ruleCollectionGroups");
        inside(arm, &Request::get(groups, Kind::RuleGroup.api_version()), progress).await
    }));
    all.extend(rules.await?.into_iter().flatten());
    let mut seen = Observed { auto_shutdown: service, locks, unread, ..Observed::new(&all, &contents) };
    seen.mark_elsewhere(subscription);
    Ok(seen)
}

/// All locks of a subscription and of what is in it. Nothing where this account may not see them: Azure says it then when something is
/// to be deleted (`ScopeLocked`).
async fn locks(arm: &Arm, subscription: &str, progress: &Progress<'_>) -> Result<Option<Vec<Lock>>, CloudError> {
    let path = format!("/subscriptions/{subscription}/providers/Microsoft.Authorization/locks");
    match arm.list(&Request::get(path, LOCKS), progress).await {
        Err(error) if is_not_to_be_had(error.kind) => Ok(None),
        other => Ok(Some(other?.iter().filter_map(Lock::read).collect())),
    }
}

/// The ids of the subscriptions that these credentials can see ("Subscriptions - List"), but for those that are being deleted.
pub async fn subscriptions(arm: &Arm, progress: &Progress<'_>) -> Result<Vec<String>, CloudError> {
    let all = arm.list(&Request::get("/subscriptions", SUBSCRIPTIONS), progress).await?;
    let there = all.iter().filter(|raw| !text(raw, "/state").eq_ignore_ascii_case("Deleted"));
    Ok(there.map(|raw| text(raw, "/subscriptionId").to_owned()).filter(|id| !id.is_empty()).collect())
}

/// Those whose rule collection groups matter: the bastions' own, the ones that plans name or whose firewall they name, and those
/// with a group of a bastion's name, which an earlier plan may have left.
fn policies(seen: &Observed, plans: &[(&Plan, &Azure)]) -> BTreeSet<Id> {
    let mut found = BTreeSet::new();
    for (plan, azure) in plans {
        let named = match &azure.edge {
            Edge::ExistingPolicy(name) => seen.named(Kind::Policy, name).into_iter().map(|p| p.id.clone()).collect(),
            Edge::ExistingFirewall(name) => {
                seen.named(Kind::Firewall, name).into_iter().filter_map(|f| Firewall(f).policy()).collect()
            }
            Edge::Firewall(_) | Edge::PublicAddress => Vec::new(),
        };
        let rules = tags::resource_name(&plan.name);
        let has_rules = |policy: &&Resource| {
            policy.is_owned(plan.name.as_str())
                || items(&policy.raw, "/properties/ruleCollectionGroups")
                    .iter()
                    .any(|group| Id::new(text(group, "/id")).name().eq_ignore_ascii_case(&rules))
        };
        found.extend(named);
        found.extend(seen.of_kind(Kind::Policy).filter(has_rules).map(|p| p.id.clone()));
    }
    // What a policy inherits applies as its own does.
    let mut left: Vec<Id> = found.iter().cloned().collect();
    while let Some(policy) = left.pop() {
        let base = seen.get(&policy).and_then(|p| p.id_at("/properties/basePolicy/id"));
        left.extend(base.filter(|base| found.insert(base.clone())));
    }
    // One of another subscription may not be ours to read.
    found.retain(|id| seen.get(id).is_some());
    found
}

/// What each machine of the subscription is at: "statusOnly=true enables fetching run time status of all Virtual Machines in the
/// subscription" ("Virtual Machines - List All"). Of all else such a list tells less than the other.
async fn states(arm: &Arm, subscription: &str, progress: &Progress<'_>) -> Result<Vec<Value>, CloudError> {
    let path = format!("/subscriptions/{subscription}/providers/{}", Kind::Machine.type_name());
    let request = Request::get(path, Kind::Machine.api_version()).with_query("statusOnly", "true");
    arm.list(&request, progress).await
}

/// Puts what the machines are at into their lines of another list. A machine that only one of the lists has came or went between
/// them: what it is at stays unknown.
fn add_states(all: &mut [Value], states: Vec<Value>) {
    let views = states.into_iter().filter_map(|mut line| {
        let view = line.pointer_mut("/properties/instanceView").map(Value::take)?;
        Some((Id::new(text(&line, "/id")), view))
    });
    let mut views: BTreeMap<Id, Value> = views.collect();
    for line in all {
        let view = views.remove(&Id::new(text(line, "/id")));
        if let (Some(view), Some(properties)) = (view, line.get_mut("properties").and_then(Value::as_object_mut)) {
            properties.insert("instanceView".to_owned(), view);
        }
    }
}

/// A machine's user data as Azure keeps it, in base64, which it shows only where it is asked for; "" where there is none, `None`
/// where the machine has gone.
pub async fn user_data(arm: &Arm, machine: &Id, progress: &Progress<'_>) -> Result<Option<String>, CloudError> {
    let request = Request::get(machine.as_str(), Kind::Machine.api_version()).with_query("$expand", "userData");
    let answer = arm.get(&request, progress).await?;
    Ok(answer.map(|raw| text(&raw, "/properties/userData").to_owned()))
}

/// Everything in the subscription, of any type, in outline: one list, however many groups are bastions' own.
async fn everything(arm: &Arm, subscription: &str, progress: &Progress<'_>) -> Result<Vec<Value>, CloudError> {
    arm.list(&Request::get(format!("/subscriptions/{subscription}/resources"), GROUPS), progress).await
}

/// Everything in a resource group, of any type, in outline. Nothing where the group is gone.
pub async fn contents(arm: &Arm, group: &Id, progress: &Progress<'_>) -> Result<Vec<Value>, CloudError> {
    inside(arm, &Request::get(format!("{group}/resources"), GROUPS), progress).await
}

/// A list of what is in something that may go away at any time.
async fn inside(arm: &Arm, request: &Request, progress: &Progress<'_>) -> Result<Vec<Value>, CloudError> {
    match arm.list(request, progress).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The sizes of machines that a location offers to the subscription.
pub async fn sizes(
    arm: &Arm,
    subscription: &str,
    location: &str,
    progress: &Progress<'_>,
) -> Result<Vec<Size>, CloudError> {
    let request = Request::get(format!("/subscriptions/{subscription}/providers/Microsoft.Compute/skus"), SKUS)
        .with_query("$filter", format!("location eq '{location}'"));
    Ok(arm.list(&request, progress).await?.iter().filter_map(Size::read).collect())
}

/// What is left of the subscription's processors in a location. Nothing where this account may not see it: Azure says it then when
/// the machine is made.
pub async fn quotas(
    arm: &Arm,
    subscription: &str,
    location: &str,
    progress: &Progress<'_>,
) -> Result<Vec<Quota>, CloudError> {
    let path = format!("/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/usages");
    match arm.list(&Request::get(path, Kind::Machine.api_version()), progress).await {
        Err(error) if is_not_to_be_had(error.kind) => Ok(Vec::new()),
        other => Ok(other?.iter().filter_map(Quota::read).collect()),
    }
}

/// What a machine has written to its serial console, which its boot diagnostics keep.
///
/// # Errors
/// The cloud's, which never names the address that it is read from: whoever has that may read it.
pub async fn console(arm: &Arm, machine: &Id, progress: &Progress<'_>) -> Result<String, CloudError> {
    let path = format!("{machine}/retrieveBootDiagnosticsData");
    let request = Request::new(Method::Post, path, Kind::Machine.api_version());
    // It changes nothing, so it may be repeated, whatever its method says.
    let answer = arm.call(&request, Repeat::SAFE, progress).await?;
    let address = text(&answer.body, "/serialConsoleLogBlobUri");
    if address.is_empty() {
        return Err(CloudError {
            operation: request.operation(),
            kind: ErrorKind::NotFound,
            code: None,
            request_id: None,
            message: "there is no log yet".to_owned(),
            residue: Residue::Nothing,
            remedy: None,
        });
    }
    arm.blob("reading the serial console's log", address, progress).await
}

/// Waits until Azure is at work on it no more, and reads it; `None` where there is none.
pub async fn settled(arm: &Arm, id: &Id, progress: &Progress<'_>) -> Result<Option<Value>, CloudError> {
    arm.settle(&Request::get(id.as_str(), version(id)), progress).await
}

/// A resource that this run has just made, or that is there.
pub async fn made(arm: &Arm, id: &Id, progress: &Progress<'_>) -> Result<Value, CloudError> {
    let request = Request::get(id.as_str(), version(id));
    arm.call(&request, Repeat::SETTLING, progress).await.map(|answer| answer.body)
}

/// The API version in which a resource is read and written.
pub fn version(id: &Id) -> &'static str {
    id.kind().map_or(GROUPS, Kind::api_version)
}
