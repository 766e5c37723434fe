//! The way from the machine to each target.

use super::{
    Bench, Problem, found, unknown,
    vendor::{self, NO_ROUTE},
};
use crate::{
    cloudinit,
    plan::{Host, Target},
    verify::{
        Part,
        report::{self, Report, Seen},
    },
};

pub fn checks(bench: &mut Bench<'_>) {
    let plan = bench.plan;
    let mut done: Vec<(&str, String)> = Vec::new();
    for tunnel in &plan.tunnels {
        for target in &tunnel.targets {
            let open = cloudinit::open(target);
            if done.iter().any(|(name, known)| *name == target.name && *known == open) {
                continue;
            }
            // Two tunnels may call different targets the same.
            let twice = plan
                .tunnels
                .iter()
                .flat_map(|t| &t.targets)
                .any(|t| t.name == target.name && cloudinit::open(t) != open);
            let subject = if twice { format!("{}.{}", tunnel.user, target.name) } else { target.name.clone() };
            one(bench, target, &open, &subject);
            done.push((&target.name, open));
        }
    }
}

fn one(bench: &mut Bench<'_>, target: &Target, open: &str, subject: &str) {
    let plan = bench.plan;
    let part = || Part::Target(target.name.clone());
    let host = &target.host;
    let dns = format!("target-dns[{subject}]");
    bench.check("machine.target-dns", Some(subject), part(), format!("the machine finds the address of {host}"), |report, said| {
        if let Host::Address(address) = host {
            said.push(format!("{address} is an address"));
            return Ok(());
        }
        match &entry(report, open)?.dns {
            Some(Seen::Found(addresses)) => {
                said.extend(addresses.iter().map(|address| format!("{host} is {address}")));
                Ok(())
            }
            Some(Seen::Failed(error)) if vendor::has_no_route(report, plan) => {
                unknown(format!("the machine's resolver does not find {host}: {error}; {NO_ROUTE}"))
            }
            Some(Seen::Failed(error)) => super::fail(
                format!("the machine's resolver does not find {host}: {error}"),
                "see that the name is spelled as the database's own, that its zone is visible in the machine's network, and that the network's DNS is on and that the servers which its settings name know the name and answer the machine (see control.egress: it needs udp and tcp 53 to servers of your own); correct the plan if the name is wrong",
            ),
            None => unknown("the report does not tell what the name leads to"),
        }
    });
    bench.check("machine.target", Some(subject), part(), format!("a TCP connection from the machine to {open} is accepted"), |report, said| {
        let entry = entry(report, open)?;
        if let Some(Seen::Failed(_)) = entry.dns {
            return unknown(format!("there is no address to connect to: see machine.{dns}"));
        }
        let Some(answer) = entry.tcp.as_deref() else { return unknown("the report does not tell whether it connected") };
        said.push(answer.to_owned());
        match answer {
            "ok" => Ok(()),
            "refused" => super::fail(format!("{open} refuses: nothing listens there, or a firewall rejects"), "see that the database runs, listens on this address and port, and that the plan's port is its own"),
            "timeout" => super::fail(
                format!("{open} does not answer: a security group, a network ACL, a route or the database's own firewall drops it, or the host is down"),
                "see that the database's rules admit the bastion (`database_access` in the plan), that there is a route between the subnets, and that the database runs",
            ),
            other if vendor::has_no_route(report, plan) => {
                unknown(format!("the machine cannot reach {open}: {other}; {NO_ROUTE}"))
            }
            other => super::fail(format!("the machine cannot reach {open}: {other}"), "see that there is a route between the bastion's subnet and the database's"),
        }
    });
}

fn entry<'a>(report: &'a Report, open: &str) -> Result<&'a report::Target, Problem> {
    let targets = found("its targets", &report.targets)?;
    let entry = targets.iter().find(|target| target.open == open);
    entry.map_or_else(|| unknown("the machine does not know this target: its document is another than the plan's"), Ok)
}
