//! What a person reads when a run has ended: what was done, what was not and why, what exists, what to do next.

use std::fmt::Write;

use super::words::{Totals, count, verb};
use crate::{
    changeset::Op,
    cloud_error::ErrorKind,
    execute::{Abandoned, Done, Failed, Outcome, Report, Skipped, Why},
    style::{Palette, clean},
};

/// What to do after a run that did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The command looked at the cloud itself, and will again.
    SameCommand,
    /// The run came from a saved changeset, which no longer fits the cloud.
    NewChangeset,
}

/// How many lines each list may have; the rest is counted.
const LIST: usize = 20;

/// Text for stderr, ending in a newline.
pub fn summary(outcome: &Outcome, resume: Resume, palette: &Palette) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match outcome {
        Outcome::Completed(done) => completed(&mut out, done, palette),
        Outcome::Interrupted(report) => incomplete(&mut out, "Interrupted", report, resume, palette),
        Outcome::Failed(report) => incomplete(&mut out, "Failed", report, resume, palette),
    };
    out
}

fn completed(out: &mut String, done: &[Done], palette: &Palette) -> std::fmt::Result {
    let good = palette.create;
    match Totals::of(done.iter().map(|d| d.op)).done() {
        Some(totals) => writeln!(out, "{good}Done:{good:#} {totals}."),
        None => writeln!(out, "Nothing was to do."),
    }
}

fn incomplete(out: &mut String, how: &str, report: &Report, resume: Resume, palette: &Palette) -> std::fmt::Result {
    let bad = palette.delete;
    let Report { done, failed, skipped, abandoned } = report;
    let steps = count(done.len() + failed.len() + skipped.len() + abandoned.len(), "step");
    let counts = [
        (done.len(), "done"),
        (failed.len(), "failed"),
        (abandoned.len(), "begun and not awaited"),
        (skipped.len(), "not begun"),
    ];
    let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    writeln!(out, "{bad}{how}:{bad:#} of {steps}, {}.", counts.join(", "))?;

    for one in failed {
        write_failure(out, one, skipped, palette)?;
    }
    let lists = [
        (
            "Begun and not awaited, so it may be there or come yet:",
            abandoned.iter().map(describe_abandoned).collect::<Vec<_>>(),
        ),
        (
            "Not begun, because the run was interrupted:",
            skipped.iter().filter(|s| s.why == Why::Interrupted).map(describe_skipped).collect::<Vec<_>>(),
        ),
        ("Exists now:", done.iter().filter(|d| d.op != Op::Delete).map(describe_done).collect()),
        ("Is gone now:", done.iter().filter(|d| d.op == Op::Delete).map(describe_done).collect()),
    ];
    for (heading, items) in lists.into_iter().filter(|(_, items)| !items.is_empty()) {
        writeln!(out)?;
        list(out, "", heading, items.into_iter())?;
    }
    writeln!(out, "\n{}", advice(failed, resume))
}

fn write_failure(out: &mut String, failure: &Failed, skipped: &[Skipped], palette: &Palette) -> std::fmt::Result {
    let bad = palette.delete;
    let resource = clean(&failure.resource);
    writeln!(out, "\n{bad}✗{bad:#} could not {} {resource}", verb(failure.op).plain)?;
    for line in failure.error.to_string().lines() {
        writeln!(out, "    {}", clean(line))?;
    }
    let needs = Why::Needs(failure.step.clone());
    list(out, "    ", "Not begun, because of this:", skipped.iter().filter(|s| s.why == needs).map(describe_skipped))
}

/// A heading and at most [`LIST`] lines; nothing where there are none.
fn list(out: &mut String, indent: &str, heading: &str, items: impl Iterator<Item = String>) -> std::fmt::Result {
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "{indent}{heading}")?;
    for item in items.iter().take(LIST) {
        writeln!(out, "{indent}  {item}")?;
    }
    if items.len() > LIST {
        writeln!(out, "{indent}  and {} more", items.len() - LIST)?;
    }
    Ok(())
}

fn describe_done(done: &Done) -> String {
    let resource = clean(&done.resource);
    match &done.made {
        Some(made) => format!("{resource} ({})", clean(made)),
        None => resource.into_owned(),
    }
}

fn describe_abandoned(abandoned: &Abandoned) -> String {
    format!("{} {} ({})", verb(abandoned.op).plain, clean(&abandoned.resource), clean(&abandoned.because))
}

fn describe_skipped(skipped: &Skipped) -> String {
    format!("{} {}", verb(skipped.op).plain, clean(&skipped.resource))
}

/// Running again helps at once where the cloud was slow or unreachable; elsewhere the cause has to go first.
fn advice(failed: &[Failed], resume: Resume) -> &'static str {
    let passing = |kind| matches!(kind, ErrorKind::Throttled | ErrorKind::Unreachable | ErrorKind::Fault);
    let cause_first = failed.iter().any(|f| !passing(f.error.kind));
    match (resume, cause_first) {
        (Resume::SameCommand, false) => "Run the same command again: it continues where this run stopped.",
        (Resume::SameCommand, true) => {
            "Remove the cause, then run the same command again: it continues where this run stopped."
        }
        (Resume::NewChangeset, false) => {
            "The saved changeset no longer fits the cloud: make a new one with `gangplank plan --out` and apply that."
        }
        (Resume::NewChangeset, true) => {
            "Remove the cause. The saved changeset no longer fits the cloud: make a new one with `gangplank plan --out` \
             and apply that."
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        changeset::StepId,
        cloud_error::{CloudError, Residue},
    };

    fn done(op: Op, resource: &str, made: Option<&str>) -> Done {
        Done { step: StepId(resource.to_owned()), op, resource: resource.to_owned(), made: made.map(str::to_owned) }
    }

    fn skipped(op: Op, resource: &str, why: Why) -> Skipped {
        Skipped { step: StepId(resource.to_owned()), op, resource: resource.to_owned(), why }
    }

    fn failed(resource: &str, kind: ErrorKind) -> Failed {
        let error = CloudError {
            operation: "RunInstances".to_owned(),
            kind,
            code: Some("VcpuLimitExceeded".to_owned()),
            request_id: Some("59dbff89-35bd-4eac-99ed-be587EXAMPLE".to_owned()),
            message: "You have requested more vCPU capacity than your limit of 1 allows.\x1b[2J".to_owned(),
            residue: Residue::Nothing,
            remedy: Some("ask for a higher quota in Service Quotas, or remove an instance".to_owned()),
        };
        Failed { step: StepId(resource.to_owned()), op: Op::Create, resource: resource.to_owned(), error }
    }

    fn text(outcome: &Outcome) -> String {
        summary(outcome, Resume::SameCommand, &Palette::PLAIN)
    }

    #[test]
    fn a_completed_run_is_one_line() {
        let all = vec![done(Op::Create, "a", None), done(Op::Create, "b", None), done(Op::Delete, "c", None)];
        assert_eq!(text(&Outcome::Completed(all)), "Done: 2 created, 1 removed.\n");
        assert_eq!(text(&Outcome::Completed(vec![])), "Nothing was to do.\n");
    }

    #[test]
    fn a_failed_run_says_what_exists_and_what_to_do() {
        let machine = "instance gangplank-warehouse";
        let why = || Why::Needs(StepId(machine.to_owned()));
        let outcome = Outcome::Failed(Report {
            done: vec![
                done(Op::Create, "security group gangplank-warehouse", Some("sg-0abc")),
                done(Op::Create, "elastic address of warehouse", Some("203.0.113.7, eipalloc-0123")),
                done(Op::Delete, "inbound rule of sg-0db", None),
            ],
            failed: vec![failed(machine, ErrorKind::Quota)],
            skipped: vec![
                skipped(Op::Create, "address association of warehouse", why()),
                skipped(Op::Delete, "old instance of warehouse", why()),
            ],
            ..Report::default()
        });
        assert_snapshot!(text(&outcome), @r#"
        Failed: of 6 steps, 3 done, 1 failed, 2 not begun.

        ✗ could not create instance gangplank-warehouse
            RunInstances failed: You have requested more vCPU capacity than your limit of 1 allows.\u{1b}[2J
              code: VcpuLimitExceeded
              request id: 59dbff89-35bd-4eac-99ed-be587EXAMPLE
              exists now: this call changed nothing
              to do: ask for a higher quota in Service Quotas, or remove an instance
            Not begun, because of this:
              create address association of warehouse
              remove old instance of warehouse

        Exists now:
          security group gangplank-warehouse (sg-0abc)
          elastic address of warehouse (203.0.113.7, eipalloc-0123)

        Is gone now:
          inbound rule of sg-0db

        Remove the cause, then run the same command again: it continues where this run stopped.
        "#);
    }

    #[test]
    fn an_interrupted_run_lists_what_was_not_begun() {
        let outcome = Outcome::Interrupted(Report {
            done: vec![done(Op::Create, "security group gangplank-warehouse", Some("sg-0abc"))],
            failed: vec![],
            skipped: vec![skipped(Op::Create, "instance gangplank-warehouse", Why::Interrupted)],
            ..Report::default()
        });
        assert_snapshot!(text(&outcome), @r#"
        Interrupted: of 2 steps, 1 done, 1 not begun.

        Not begun, because the run was interrupted:
          create instance gangplank-warehouse

        Exists now:
          security group gangplank-warehouse (sg-0abc)

        Run the same command again: it continues where this run stopped.
        "#);
    }

    #[test]
    fn long_lists_are_cut() {
        let all = (0..50).map(|i| skipped(Op::Create, &format!("group {i}"), Why::Interrupted)).collect();
        let text = text(&Outcome::Interrupted(Report { skipped: all, ..Report::default() }));
        assert_eq!(text.lines().filter(|l| l.contains("group")).count(), LIST);
        assert!(text.contains("and 30 more"), "{text}");
    }

    #[test]
    fn the_advice_follows_the_cause_and_the_command() {
        let one = |kind| [failed("x", kind)];
        assert!(advice(&one(ErrorKind::Unreachable), Resume::SameCommand).starts_with("Run the same command again"));
        assert!(advice(&one(ErrorKind::Permission), Resume::SameCommand).starts_with("Remove the cause, then run"));
        assert!(advice(&[], Resume::NewChangeset).contains("gangplank plan --out"));
    }
}
