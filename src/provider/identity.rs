//! Whose accounts a run is about: asked before anything else, compared with what plans and the command line allow, and written to
//! everything that is told of them.

use std::collections::BTreeSet;
#[cfg(feature = "aws")]
use std::collections::HashMap;

use super::{
    fleet::{PlanOutlook, Seen},
    status::{Remains, Status},
};
use crate::{
    changeset::Changeset,
    cloud_error::{CloudError, ErrorKind, Refused},
    diagnostic::{Diagnostic, Diagnostics},
    location::{AccountGuard, AccountId, CloudAccount, Location, SandboxName},
    plan::{Cloud, Plan, two_for_one},
};

/// Whether a run goes on where a cloud does not tell whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityNeed {
    /// It does, and says that the account is unknown.
    ToRead,
    /// Nothing is written into an account that is not known.
    ToWrite,
}

/// What a cloud told of an account.
#[derive(Clone, Debug)]
pub struct IdentifiedAccount {
    pub account: CloudAccount,
    /// As whom AWS is called.
    pub arn: Option<String>,
    /// Why the account is not known.
    pub unknown: Option<CloudError>,
}

/// Holds the plans of a run to the accounts that they name, before anything else is asked of these.
///
/// # Errors
/// Each plan that is for another account, or why the accounts are not known where they must be.
pub fn check(each: &[(&Plan, IdentifiedAccount)], need: IdentityNeed, in_sandbox: bool) -> Result<(), Vec<Refused>> {
    // A sandbox is nobody's account: a plan can be tried there, whichever account it is for.
    let wrong = each.iter().filter(|_| !in_sandbox).filter_map(|(plan, found)| wrong_account(plan, found));
    let wrong: Vec<Diagnostic> = wrong.chain(each.iter().filter_map(no_such_subscription)).collect();
    if !wrong.is_empty() {
        return Err(vec![Refused::Plan(Diagnostics(wrong))]);
    }
    // Without credentials the next call fails as this one did.
    let without = |found: &IdentifiedAccount| found.unknown.as_ref().is_some_and(|e| e.kind == ErrorKind::Credentials);
    let nowhere = !each.is_empty() && each.iter().all(|(_, found)| without(found));
    let mut errors: Vec<CloudError> = Vec::new();
    for (plan, found) in each {
        let Some(error) = &found.unknown else { continue };
        let pinned = !in_sandbox && pin(plan).is_some();
        let error = match need {
            _ if nowhere => error.clone(),
            IdentityNeed::ToWrite => unknown(error, "nothing is written into an unknown account"),
            IdentityNeed::ToRead if pinned => unknown(error, "a plan names its account, which can't be compared"),
            IdentityNeed::ToRead => continue,
        };
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.into_iter().map(Refused::Cloud).collect()) }
}

/// Profiles may lead to one account: what [`crate::plan::check_together`] could not know.
///
/// # Errors
/// Every plan of AWS for the bastion of an earlier one; `regions` are those of AWS's plans, in their order.
#[cfg(feature = "aws")]
pub fn check_twins(each: &[(&Plan, IdentifiedAccount)], regions: &[&str]) -> Result<(), Diagnostics> {
    let mut first: HashMap<(&str, &str, &str), &Plan> = HashMap::new();
    let mut problems = Vec::new();
    let aws = each.iter().filter(|(plan, _)| matches!(plan.cloud, Cloud::Aws(_)));
    for ((plan, found), region) in aws.zip(regions) {
        let CloudAccount::Aws { id: Some(id), .. } = &found.account else { continue };
        let identity = (id.as_str(), *region, plan.name.as_str());
        let Some(other) = first.get(&identity) else {
            first.insert(identity, plan);
            continue;
        };
        let because = format!(
            "A name is a bastion's identity within its account and region, and both are in account {id}, {region}: the plans would \
             undo each other."
        );
        problems.push(two_for_one(
            plan,
            other,
            because,
            "give one of them another name, or another account's `aws.profile`",
        ));
    }
    if problems.is_empty() { Ok(()) } else { Err(Diagnostics(problems)) }
}

/// Holds whole accounts to those that the command line allows.
///
/// # Errors
/// The accounts that are others.
pub fn check_guards(guards: &[AccountGuard], found: &[IdentifiedAccount]) -> Result<(), Refused> {
    let mut problems = Vec::new();
    for one in found {
        match (&one.account, &one.unknown) {
            (CloudAccount::Aws { id: Some(id), profile }, _) => {
                let mut allowed = guards.iter().filter_map(AccountGuard::aws).peekable();
                if allowed.peek().is_some() && !allowed.any(|guard| guard == id) {
                    let who = one.arn.as_ref().map(|arn| format!(" ({arn})")).unwrap_or_default();
                    problems.push(
                        Diagnostic::new("the credentials are for an AWS account that --account does not name")
                            .because(format!("they are for account {id}{who}"))
                            .fix(profile_fix(profile.as_deref(), id, "--profile NAME")),
                    );
                }
            }
            (CloudAccount::Aws { id: None, .. }, Some(error)) if guards.iter().any(|g| g.aws().is_some()) => {
                return Err(Refused::Cloud(unknown(error, "the account can't be compared with --account")));
            }
            (CloudAccount::Azure { subscription, .. }, _) => {
                let mut allowed = guards.iter().filter_map(AccountGuard::azure).peekable();
                if allowed.peek().is_some() && !allowed.any(|guard| guard.eq_ignore_ascii_case(subscription)) {
                    problems.push(
                        Diagnostic::new("a subscription that --account does not name")
                            .because(format!("{subscription} is to be looked at"))
                            .fix("name it with --account, too, or leave it out"),
                    );
                }
            }
            (CloudAccount::Aws { .. }, _) => {}
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Refused::Plan(Diagnostics(problems))) }
}

/// Holds an AWS account to those that plans name.
///
/// # Errors
/// The credentials are for another one, or nothing tells for which.
pub fn check_pins(pins: &BTreeSet<AccountId>, found: &[IdentifiedAccount]) -> Result<(), Refused> {
    for one in found {
        let CloudAccount::Aws { id, profile } = &one.account else { continue };
        let Some(pin) = pins.iter().find(|pin| Some(*pin) != id.as_ref()) else { continue };
        let Some(id) = id else {
            let error =
                one.unknown.as_ref().map(|error| unknown(error, "the account can't be compared with the plan's"));
            return error.map_or(Ok(()), |error| Err(Refused::Cloud(error)));
        };
        let who = one.arn.as_ref().map(|arn| format!(" ({arn})")).unwrap_or_default();
        let problem = Diagnostic::new("the credentials are for another AWS account than a plan's")
            .because(format!("they are for account {id}{who}, and a plan's `aws.account` is {pin}"))
            .fix(profile_fix(profile.as_deref(), id, "`aws.profile`"));
        return Err(Refused::Plan(Diagnostics(vec![problem])));
    }
    Ok(())
}

/// A failure to tell an account, and what follows from it.
pub fn unknown(error: &CloudError, consequence: &str) -> CloudError {
    CloudError { message: format!("{}; {consequence}", error.message), ..error.clone() }
}

fn pin(plan: &Plan) -> Option<&AccountId> {
    match &plan.cloud {
        Cloud::Aws(aws) => aws.account.as_ref(),
        // A subscription is named in each plan, and nothing else is asked.
        Cloud::Azure(_) => None,
    }
}

fn wrong_account(plan: &Plan, found: &IdentifiedAccount) -> Option<Diagnostic> {
    let wanted = pin(plan)?;
    let CloudAccount::Aws { id: Some(id), profile } = &found.account else { return None };
    if id == wanted {
        return None;
    }
    let who = found.arn.as_ref().map(|arn| format!(" ({arn})")).unwrap_or_default();
    let label = format!("the plan is for account {wanted}, these credentials are for {id}{who}");
    let problem = plan.origin.problem("aws.account", "the credentials are for another AWS account", label);
    Some(problem.fix(profile_fix(profile.as_deref(), id, "`aws.profile` in the plan, or AWS_PROFILE")))
}

fn profile_fix(profile: Option<&str>, leads_to: &AccountId, option: &str) -> String {
    match profile {
        Some(profile) => format!("the profile {profile} leads to {leads_to}: name another one with {option}"),
        None => format!("name a profile that leads to the right account with {option}"),
    }
}

fn no_such_subscription((plan, found): &(&Plan, IdentifiedAccount)) -> Option<Diagnostic> {
    #[cfg(feature = "azure")]
    if let (Cloud::Azure(azure), Some(error)) = (&plan.cloud, &found.unknown) {
        return super::azure::fleet::blamed(plan, azure, error);
    }
    let _ = (plan, found);
    None
}

/// What is told of one bastion, and gets the account that it is in.
pub(super) trait Located {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>);
}

impl Located for Location {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>) {
        if let Some(account) = account {
            self.account = account.clone();
        }
        self.sandbox = sandbox.cloned();
    }
}

impl<A> Located for Changeset<A> {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>) {
        self.location.locate(account, sandbox);
    }
}

impl Located for Status {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>) {
        self.location.locate(account, sandbox);
    }
}

impl Located for Seen {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>) {
        self.location.locate(account, sandbox);
    }
}

impl<A: Located, B: Located> Located for (A, B) {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>) {
        self.0.locate(account, sandbox);
        self.1.locate(account, sandbox);
    }
}

impl<T: Located, E> Located for Result<T, E> {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>) {
        if let Ok(of) = self {
            of.locate(account, sandbox);
        }
    }
}

impl<A> Located for PlanOutlook<A> {
    fn locate(&mut self, account: Option<&CloudAccount>, sandbox: Option<&SandboxName>) {
        if let Some(status) = &mut self.status {
            status.locate(account, sandbox);
        }
        self.changes.locate(account, sandbox);
    }
}

/// Whether the ends agree says nothing of where.
impl Located for bool {
    fn locate(&mut self, _: Option<&CloudAccount>, _: Option<&SandboxName>) {}
}

/// What is left says nothing of where.
impl Located for Remains {
    fn locate(&mut self, _: Option<&CloudAccount>, _: Option<&SandboxName>) {}
}
