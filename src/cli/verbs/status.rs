//! `gangplank status`: what exists now.

use serde_json::json;

use super::context::Context;
use crate::{
    cli::{
        args::{self, RunOutput},
        exit::{Error, Exit, print},
        style::{Palette, clean},
    },
    plan,
    provider::{
        deadline::time_left,
        status::{State, Status},
    },
};

pub async fn run(args: &args::Status, cx: &Context) -> Result<Exit, Error> {
    let now = cx.now();
    let plans = plan::load(&args.paths.paths)?;
    let statuses = cx.connect(&plans).await?.status(now, &cx.reading()).await?;
    match args.output {
        RunOutput::Json => print(&format!("{:#}\n", json!({"format_version": 1, "bastions": statuses})))?,
        RunOutput::Human => {
            let palette = cx.palette();
            print(&statuses.iter().map(|s| human(s, &palette)).collect::<Vec<_>>().join("\n"))?;
        }
    }
    Ok(Exit::Done)
}

fn human(status: &Status, palette: &Palette) -> String {
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
        let left = status.seconds_left.unwrap_or_default();
        let advice = if left < 0 { ": destroy it" } else { "" };
        line("ends", format!("{expires}, {}{advice}", time_left(left)));
        if let Some(moved) = &status.moved {
            line("", format!("{} on {}; the plan's own end is {}", moved.word(), moved.on, moved.from));
        }
    } else if status.state != State::Absent {
        line("ends", "never: it has no deadline".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}
