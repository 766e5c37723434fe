//! Which plans a verb goes on with, and which it leaves out.

use serde_json::json;

use super::{context::Context, run::closing_event};
use crate::{
    changeset::Changeset,
    cli::{
        args::RunOutput,
        exit::{Error, Exit, print, say},
        show,
        words::count,
    },
    cloud_error::Refused,
    left_out::{LeftOut, Reason},
    plan::{BrokenFile, Plan},
    provider::{
        fleet::{Action, Outlook, PlanOutlook, Whole},
        status::Status,
    },
};

/// The plans of a run, told apart.
pub struct Selection<'p, T> {
    /// In the order of the plans.
    pub ready: Vec<(&'p Plan, T)>,
    pub left_out: Vec<LeftOut>,
}

impl<'p, T> Selection<'p, T> {
    /// Leaves out what was refused, and the files that hold no plan.
    pub fn of(each: impl IntoIterator<Item = (&'p Plan, Result<T, Refused>)>, broken: Vec<BrokenFile>) -> Self {
        let mut selection = Self { ready: Vec::new(), left_out: Vec::new() };
        for (plan, told) in each {
            match told {
                Ok(told) => selection.ready.push((plan, told)),
                Err(why) => selection.left_out.push(LeftOut::refused(plan, None, why)),
            }
        }
        selection.left_out.extend(broken.into_iter().map(LeftOut::broken));
        selection
    }

    /// Leaves out those of which nothing more could be read.
    pub fn leave_out(&mut self, failed: Vec<(&Plan, Refused)>) {
        for (plan, why) in failed {
            let before = self.ready.len();
            self.ready.retain(|(known, _)| !std::ptr::eq(*known, plan));
            if self.ready.len() < before {
                self.left_out.push(LeftOut::refused(plan, None, why));
            }
        }
    }

    /// The plans to go on with, as plans of a run of their own; `None` where that is all of them.
    pub fn rest(&self) -> Option<Vec<Plan>> {
        (!self.left_out.is_empty()).then(|| self.ready.iter().map(|(plan, _)| (*plan).clone()).collect())
    }
}

impl<'p> Selection<'p, (Changeset<Action>, Status)> {
    /// Of what is ready.
    pub fn whole(&self) -> Whole {
        let (changesets, statuses) = self.ready.iter().map(|(_, both)| both.clone()).unzip();
        Whole { changesets, statuses }
    }

    pub fn of_outlook(plans: &'p [Plan], outlook: Outlook, broken: Vec<BrokenFile>) -> Self {
        let mut selection = Self { ready: Vec::new(), left_out: Vec::new() };
        for (plan, PlanOutlook { status, changes }) in plans.iter().zip(outlook.plans) {
            match (changes, status) {
                (Ok(set), Some(status)) => selection.ready.push((plan, (set, status))),
                (Err(why), status) => selection.left_out.push(LeftOut::refused(plan, status.as_ref(), why)),
                // What there is to change is known only where it is known what there is.
                (Ok(_), None) => {}
            }
        }
        selection.left_out.extend(broken.into_iter().map(LeftOut::broken));
        selection
    }
}

/// The plans that a look left out, and the files that hold none.
pub fn left_out(failed: Vec<(&Plan, Refused)>, broken: Vec<BrokenFile>) -> Vec<LeftOut> {
    let failed = failed.into_iter().map(|(plan, why)| LeftOut::refused(plan, None, why));
    failed.chain(broken.into_iter().map(LeftOut::broken)).collect()
}

/// A row for each that is left out, beside so many others. Of a single plan the reason tells all.
pub fn rows(left_out: &[LeftOut], others: usize, cx: &Context) -> String {
    if others + left_out.len() > 1 { show::left_out::human(left_out, &cx.palette()) } else { String::new() }
}

/// Says before a question or a write how many plans are left out of it.
pub fn announce(left_out: &[LeftOut], others: usize, output: RunOutput, cx: &Context) -> Result<(), Error> {
    if left_out.is_empty() {
        return Ok(());
    }
    if output == RunOutput::Json {
        return closing_event(cx, output, "left-out", &json!({"left_out": show::left_out::json(left_out)}));
    }
    print(&rows(left_out, others, cx))?;
    let (some, all) = (left_out.len(), left_out.len() + others);
    let is = if some == 1 { "is" } else { "are" };
    if others > 0 {
        say(&format!(
            "{some} of {} {is} left out, for the reasons above and below; the rest goes on.\n",
            count(all, "plan")
        ));
    }
    Ok(())
}

/// Tells why plans are left out, each reason once; with what that ends a run.
pub fn report(left_out: &[LeftOut], cx: &Context) -> Exit {
    for reason in LeftOut::reasons(left_out) {
        say(&Error::from(reason).render(cx.color));
    }
    left_out.iter().map(exit).fold(Exit::Done, Exit::worst)
}

/// What one that is left out means for the exit code.
pub fn exit(left_out: &LeftOut) -> Exit {
    match left_out.reason {
        Reason::Unreadable(_) => Exit::Failed,
        Reason::Broken(_) | Reason::Ended { .. } | Reason::Unfulfillable(_) => Exit::WrongPlan,
    }
}
