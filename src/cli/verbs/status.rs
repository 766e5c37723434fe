//! `gangplank status`: what exists now.

use serde_json::{Value, json};

use super::{
    context::Context,
    costs::bill_of_status,
    load_each,
    selection::{left_out, report, rows},
};
use crate::{
    cli::{
        args::{self, RunOutput},
        exit::{Error, Exit, print},
        show,
    },
    cost::Bill,
    plan::Loaded,
    provider::status::{State, Status},
    style::{Palette, clean},
    tags::deadline::{other_ends_note, time_left},
};

pub async fn run(args: &args::Status, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let Loaded { plans, broken } = load_each(&args.paths.paths)?;
    let told = cx.connect(&plans).await?.status(now, &cx.reading()).await;
    let is_doubtful = told.of.iter().any(|(_, status)| !status.doubts.is_empty());
    let each = told.of.iter().map(|(plan, status)| (status, bill_of_status(plan, status, now)));
    let failed = told.failed.into_iter().map(|(plan, error)| (plan, error.into())).collect();
    let left_out = left_out(failed, broken);
    match args.output {
        RunOutput::Json => {
            let bastions: Vec<_> = each.map(|(status, bill)| with_cost(status, &bill)).collect();
            let mut document = json!({"format_version": 1, "bastions": bastions});
            if let (Some(document), false) = (document.as_object_mut(), left_out.is_empty()) {
                document.insert("left_out".to_owned(), show::left_out::json(&left_out));
            }
            print(&format!("{document:#}\n"))?;
        }
        RunOutput::Human => {
            let palette = cx.palette();
            let mut parts: Vec<String> = each.map(|(status, bill)| human(status, &bill, &palette)).collect();
            parts.extend(Some(rows(&left_out, parts.len(), cx)).filter(|rows| !rows.is_empty()));
            print(&parts.join("\n"))?;
        }
    }
    let exit = if is_doubtful { Exit::Differs } else { Exit::Done };
    Ok(exit.worst(report(&left_out, cx)))
}

/// What is not there costs nothing, and says nothing of cost.
fn with_cost(status: &Status, bill: &Bill) -> Value {
    let mut value = json!(status);
    if let (Some(fields), true) = (value.as_object_mut(), status.state != State::Absent) {
        fields.insert("cost".to_owned(), json!(bill));
    }
    value
}

fn human(status: &Status, bill: &Bill, palette: &Palette) -> String {
    let Palette { heading, create, warning, faint, .. } = palette;
    let (style, state) = match status.state {
        _ if !status.doubts.is_empty() => (warning, "in doubt: what may be its machine is not proven to be its own"),
        State::Absent => (faint, "not there"),
        State::Partial if status.has_ended() => (warning, "ended: `gangplank destroy` removes what is left"),
        State::Partial => (warning, "incomplete: `gangplank apply` completes it"),
        State::Up => (create, "up"),
    };
    let mut lines = vec![format!(
        "{heading}{}{heading:#}  {}  {}",
        clean(&status.bastion),
        clean(&status.location.to_string()),
        clean(&status.plan)
    )];
    lines.push(format!("  {:<16} {style}{state}{style:#}", "state"));
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<16} {}", clean(&value)));
    if let Some(address) = &status.address {
        line("address", format!("{address} port {}", status.port));
    }
    for machine in &status.instances {
        let private = machine.private_address.as_deref().unwrap_or("no private address");
        line(
            "instance",
            format!("{} {} {} {} {private}", machine.id, machine.state, machine.instance_type, machine.image),
        );
    }
    for doubt in &status.doubts {
        line("look at", doubt.clone());
    }
    for group in &status.security_groups {
        line("security group", group.clone());
    }
    for rule in &status.ingress {
        line("admits", rule.clone());
    }
    if let Some(expires) = &status.expires {
        let left = status.seconds_left.unwrap_or_default();
        let advice = if status.has_ended() { ": destroy it" } else { "" };
        line("ends", format!("{expires}, {}{advice}", time_left(left)));
        if let Some(moved) = &status.moved {
            line("", format!("{} on {}; the plan's own end is {}", moved.word(), moved.on, moved.from));
        }
        if let Some(note) = other_ends_note(&status.other_ends) {
            line("", note);
        }
    } else if status.state != State::Absent {
        line("ends", "never: it has no deadline".to_owned());
    }
    if status.state != State::Absent {
        let bill = bill.to_string();
        line("costs", bill.strip_prefix("costs ").unwrap_or(&bill).to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}
