//! `gangplank status`: what exists now.

use serde_json::{Value, json};

use super::{context::Context, costs::bills};
use crate::{
    cli::{
        args::{self, RunOutput},
        exit::{Error, Exit, print},
        style::{Palette, clean},
    },
    cost::Bill,
    plan,
    provider::status::{State, Status},
};

pub async fn run(args: &args::Status, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let plans = plan::load(&args.paths.paths)?;
    let told = cx.connect(&plans).await?.status(now, &cx.reading()).await;
    let (plans, statuses): (Vec<&plan::Plan>, Vec<Status>) = told.of.into_iter().unzip();
    let bills = bills(plans, &statuses, now);
    let each = statuses.iter().zip(&bills);
    match args.output {
        // A program gets all or nothing.
        RunOutput::Json if !told.failed.is_empty() => {}
        RunOutput::Json => {
            let bastions: Vec<_> = each.map(|(status, bill)| with_cost(status, bill)).collect();
            print(&format!("{:#}\n", json!({"format_version": 1, "bastions": bastions})))?;
        }
        RunOutput::Human => {
            let palette = cx.palette();
            print(&each.map(|(status, bill)| human(status, bill, &palette)).collect::<Vec<_>>().join("\n"))?;
        }
    }
    if told.failed.is_empty() { Ok(Exit::Done) } else { Err(told.failed.into()) }
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
        State::Absent => (faint, "not there"),
        State::Partial => (warning, "incomplete: `gangplank apply` completes it"),
        State::Up => (create, "up"),
    };
    let mut lines =
        vec![format!("{heading}{}{heading:#}  {}  {}", status.bastion, status.location, clean(&status.plan))];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<16} {value}"));
    line("state", format!("{style}{state}{style:#}"));
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
    for group in &status.security_groups {
        line("security group", group.clone());
    }
    for rule in &status.ingress {
        line("admits", rule.clone());
    }
    if let Some(expires) = &status.expires {
        line("ends", format!("{expires}, {}", time_left(status.seconds_left.unwrap_or_default())));
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

fn time_left(seconds: i64) -> String {
    let words = |seconds: i64| match seconds {
        s if s >= 2 * 86400 => format!("{} days", s / 86400),
        s if s >= 2 * 3600 => format!("{} hours", s / 3600),
        s => format!("{} minutes", s / 60),
    };
    if seconds >= 0 { format!("in {}", words(seconds)) } else { format!("{} ago: destroy it", words(-seconds)) }
}
