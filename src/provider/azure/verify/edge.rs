//! Who is led to the machine: the firewall's rules, and the addresses of the machine itself.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{
    Scene,
    access::{beyond, passes, told},
    firewall::Rule,
    front::Front,
    security::Direction,
};
use crate::{
    plan::{UserName, grouped, size},
    provider::{
        azure::{
            doubts,
            id::Kind,
            observed::{Resource, State, id_at, list, text},
            views::{Address, Firewall, Machine, Network, range},
        },
        judging::{Known, all, check, fail, judged, listed},
        space::{Span, without},
    },
    verify::{Check, Part, Verdict},
};

/// RFC 1918 and RFC 6598: what a firewall translates no source towards ("Azure Firewall SNAT private IP address ranges").
pub const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"];

pub fn address(scene: &Scene<'_>) -> Check {
    judged(check("control.address", Part::Edge, "the fixed public address leads to this machine"), |check| match &scene
        .front
    {
        Err(absent) => Ok(fail(absent.cause.clone(), absent.fix.clone())),
        Ok(None) => own_address(scene, check),
        Ok(Some(front)) => through(scene, check, front),
    })
}

/// The machine's own address.
fn own_address(scene: &Scene<'_>, check: &mut Check) -> Known<Verdict> {
    let Some(address) = scene.seen.get(&scene.names.address) else {
        return Ok(fail(
            format!("there is no public address {}", scene.names.address.name()),
            scene.apply("makes one; give the vendor the new address"),
        ));
    };
    let ip = Address(address).ip().unwrap_or_else(|| address.name());
    let interface = scene.interface()?;
    let Some(user) = Address(address).user() else {
        check.evidence.push(format!("{ip} ({}) belongs to nothing", address.name()));
        return Ok(fail(format!("{ip} leads nowhere: nobody reaches the bastion"), scene.apply("attaches it again")));
    };
    let holder = user.parent().parent();
    let holder = if user.is_within(&interface.id) { interface.id.clone() } else { holder };
    check.evidence.push(format!("{ip} ({}) → {}", address.name(), holder.name()));
    if holder != interface.id {
        return Ok(fail(
            format!(
                "the vendor is led elsewhere: {ip} leads to {}, the bastion's is {}",
                holder.name(),
                interface.name()
            ),
            format!("take it off {}, then {}", holder.name(), scene.apply("attaches it to the bastion")),
        ));
    }
    Ok(fixed(address))
}

fn fixed(address: &Resource) -> Verdict {
    if address.text("/properties/publicIPAllocationMethod").eq_ignore_ascii_case("dynamic") {
        return fail(
            format!("{} is not a fixed address: it changes when nothing uses it", address.name()),
            format!("fix it: `az network public-ip update --ids {} --allocation-method Static`", address.id.argument()),
        );
    }
    Verdict::Pass
}

/// The firewall's address.
fn through(scene: &Scene<'_>, check: &mut Check, front: &Front<'_>) -> Known<Verdict> {
    let firewall = front.firewall.words();
    let port = scene.plan.ssh.port;
    let own = front.firewall.is_owned(scene.name());
    if front.firewall.state == State::Failed {
        let fix = if own { scene.apply("sends it again") } else { format!("repair the {firewall} in Azure") };
        return Ok(fail(format!("Azure's last change of the {firewall} failed: what it does is not certain"), fix));
    }
    if Firewall(front.firewall).addresses().is_empty() {
        return Ok(fail(
            format!("the {firewall} has no public address: it is stopped (deallocated)"),
            "start it; its public address and subnet are named then",
        ));
    }
    let ours: Vec<&Rule<'_>> = front.ours().collect();
    if ours.is_empty() {
        if !front.rules.unread.is_empty() {
            return Err(front.rules.unread.join("; "));
        }
        return Ok(fail(
            format!("no DNAT rule of {} is in the {firewall}: nobody reaches the bastion", scene.name()),
            scene.apply("writes it"),
        ));
    }
    for rule in &ours {
        check.evidence.push(format!(
            "{}:{port} → {} by {}",
            listed(rule.destinations()),
            rule.translation(),
            rule.what
        ));
    }
    let machine = scene.private_address()?;
    let judge = |rule: &&Rule<'_>| {
        let address = rule.destinations().iter().find_map(|ip| front.public(ip.parse().ok()?));
        let Some(address) = address else {
            if front.addresses.len() < Firewall(front.firewall).addresses().len() {
                let reason = format!("not every public address of the {firewall} is read");
                return Verdict::Unknown { reason };
            }
            let theirs = listed(rule.destinations());
            let cause = format!("{} is for {theirs}, which is no address of the {firewall}", rule.what);
            return fail(cause, scene.apply("writes the firewall's address"));
        };
        if !rule.takes_port(port) || !rule.is_tcp() {
            return fail(format!("{} does not take tcp {port}", rule.what), scene.apply("sets it right"));
        }
        if rule.leads_to() != Some(machine) || rule.translated_port() != Some(port) {
            return fail(
                format!(
                    "the vendor is led elsewhere: {} sends to {}, the bastion's machine is at {machine}:{port}",
                    rule.what,
                    rule.translation()
                ),
                scene.apply("sets it right"),
            );
        }
        fixed(address)
    };
    Ok(all(ours.iter().map(judge)))
}

/// One check for each user that the plan admits.
pub fn admits(scene: &Scene<'_>) -> Vec<Check> {
    let tunnels = scene.plan.tunnels.iter().map(|t| (&t.user, t.sources().map(|(net, _)| net).collect::<Vec<_>>()));
    let operators = scene.plan.operators.iter().map(|o| (&o.name, o.allow_from.clone()));
    tunnels.chain(operators).map(|(user, sources)| admitted(scene, user, &sources)).collect()
}

fn admitted(scene: &Scene<'_>, user: &UserName, sources: &[IpNet]) -> Check {
    let port = scene.plan.ssh.port;
    let proves = match scene.front {
        Ok(None) => format!("the network security groups let every source of {user} in on tcp {port}"),
        _ => format!(
            "the firewall leads every source of {user} on tcp {port} to the machine, and the network security groups let \
             the firewall in"
        ),
    };
    judged(check("control.admits", Part::Edge, proves).about(user.as_str()), |check| {
        let verdict = match scene.front()? {
            None => {
                let wanted: Vec<Span> = sources.iter().map(|source| Span::port(*source, port)).collect();
                passes(scene, Direction::In, &wanted)?
            }
            Some(front) => {
                let taken = translated(scene, front, sources)?;
                let let_in = match &front.range {
                    Ok(range) => passes(scene, Direction::In, &[Span::port(*range, port)])?,
                    Err(reason) => Verdict::Unknown { reason: reason.clone() },
                };
                all([taken, let_in])
            }
        };
        if verdict == Verdict::Pass {
            check.evidence.push(match sources {
                [] => "the plan lists no source: nobody is admitted".to_owned(),
                sources => format!("admitted: {}", listed(sources)),
            });
        }
        Ok(verdict)
    })
}

/// Whether our DNAT rule takes these sources, and no other rule takes them before.
fn translated(scene: &Scene<'_>, front: &Front<'_>, sources: &[IpNet]) -> Known<Verdict> {
    let port = scene.plan.ssh.port;
    let address = front.address().ok_or_else(|| {
        format!("no DNAT rule of {} is known in the {}: see control.address", scene.name(), front.firewall.words())
    })?;
    let at = |net: &IpNet| Span::port(*net, port);
    let ours: Vec<Span> = front.ours().flat_map(|rule| &rule.sources.nets).map(at).collect();
    let missing: Vec<&IpNet> = sources.iter().filter(|net| !without([at(net)], &ours).is_empty()).collect();
    let mut verdicts = Vec::new();
    if !missing.is_empty() {
        verdicts.push(fail(
            format!("no DNAT rule of the {} takes {} on tcp {port}", front.firewall.words(), listed(missing)),
            scene.apply("adds them to it"),
        ));
    }
    let machine = scene.private_address()?;
    for rule in front.rules.nat.iter().take_while(|rule| !rule.ours).filter(|rule| rule.takes(address, port)) {
        if rule.leads_to() == Some(machine) && rule.translated_port() == Some(port) {
            continue;
        }
        let spans = rule.sources.nets.iter().map(at);
        let caught: Vec<IpNet> = spans
            .flat_map(|span| sources.iter().filter_map(move |net| at(net).overlap(&span)))
            .map(|s| s.net)
            .collect();
        if !caught.is_empty() {
            verdicts.push(fail(
                format!(
                    "{} comes before the bastion's and takes {} on {address}:{port} to {}",
                    rule.what,
                    listed(IpNet::aggregate(&caught)),
                    rule.translation()
                ),
                "take these sources or this port out of that rule, or give the plan another `ssh.port`; gangplank does not \
                 change the rules of others",
            ));
        } else if let Some(hidden) = rule.sources.hidden().next() {
            verdicts.push(Verdict::Unknown {
                reason: format!("{} comes before the bastion's, and who {hidden} is, is not read", rule.what),
            });
        }
    }
    Ok(all(verdicts))
}

pub fn nothing_else(scene: &Scene<'_>) -> Check {
    let port = scene.plan.ssh.port;
    let proves = match scene.front {
        Ok(None) => format!("the network security groups let in no more than the plan's sources on tcp {port}"),
        _ => format!(
            "the firewall leads nobody but the plan's sources to the machine, the network security groups let in nothing \
             but the firewall on tcp {port}, and the machine has no public address of its own"
        ),
    };
    judged(check("control.nothing-else", Part::Edge, proves), |check| {
        let front = scene.front()?;
        check.evidence.extend(told(scene, Direction::In)?);
        let sources: Vec<Span> = plan_sources(scene);
        let (led, admitted) = match front {
            None => (Verdict::Pass, Ok(sources)),
            Some(front) => {
                (led(scene, check, front, &sources)?, front.range.clone().map(|range| vec![Span::port(range, port)]))
            }
        };
        let let_in = match admitted {
            Ok(admitted) => beyond(scene, Direction::In, [&admitted, &[]])?,
            Err(reason) => Verdict::Unknown { reason },
        };
        Ok(all([led, let_in, other_ways(scene)?, guests(scene)]))
    })
}

/// What has the bastion's network security group, or stands in its own network, reaches what the bastion reaches.
fn guests(scene: &Scene<'_>) -> Verdict {
    match doubts::guests(scene.name(), scene.seen).as_slice() {
        [] => Verdict::Pass,
        guests => fail(
            format!(
                "{}: it reaches what the bastion reaches",
                guests.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            ),
            guests[0].remedy(),
        ),
    }
}

pub fn plan_sources(scene: &Scene<'_>) -> Vec<Span> {
    let port = scene.plan.ssh.port;
    let tunnels = scene.plan.tunnels.iter().flat_map(|t| t.sources().map(|(net, _)| net));
    let operators = scene.plan.operators.iter().flat_map(|o| o.allow_from.iter().copied());
    tunnels.chain(operators).map(|net| Span::port(net, port)).collect()
}

/// The firewall's rules that lead to the machine, for more than `planned`.
fn led(scene: &Scene<'_>, check: &mut Check, front: &Front<'_>, planned: &[Span]) -> Known<Verdict> {
    let machine = scene.private_address()?;
    let mut verdicts: Vec<Verdict> =
        front.rules.unread.iter().map(|what| Verdict::Unknown { reason: what.clone() }).collect();
    let address = front.address();
    for rule in &front.rules.inherited_nat {
        let takes = address.is_some_and(|address| rule.takes(address, scene.plan.ssh.port));
        if takes || rule.leads_to() == Some(machine) || rule.leads_to_a_name() {
            let reason =
                format!("{} is inherited, and Microsoft's pages do not agree whether such a one applies", rule.what);
            verdicts.push(Verdict::Unknown { reason });
        }
    }
    for rule in &front.rules.nat {
        if rule.leads_to_a_name() {
            let reason =
                format!("{} leads to {}, and whether that is the machine is not read", rule.what, rule.translation());
            verdicts.push(Verdict::Unknown { reason });
        }
        if rule.leads_to() != Some(machine) {
            continue;
        }
        check.evidence.push(format!("{}: {} → {}", rule.what, rule.sources.words(), rule.translation()));
        // Where ours leads is control.address.
        let to = rule.translated_port().filter(|_| !rule.ours).unwrap_or(scene.plan.ssh.port);
        let left = without(rule.sources.nets.iter().map(|net| Span::port(*net, to)), planned);
        let fix = || {
            if rule.ours {
                scene.apply("removes what is too much")
            } else {
                format!("remove {}, or narrow its sources; gangplank does not change the rules of others", rule.what)
            }
        };
        if !left.is_empty() {
            let nets = IpNet::aggregate(&left.iter().map(|span| span.net).collect());
            verdicts.push(fail(format!("{} leads {} to tcp {to} of the machine", rule.what, who(rule, &nets)), fix()));
        }
        for tag in &rule.sources.tags {
            verdicts.push(fail(format!("{} leads all of {tag} to tcp {to} of the machine", rule.what), fix()));
        }
        for group in &rule.sources.groups {
            let reason =
                format!("{} leads {group} to tcp {to} of the machine, and who that is, is not read", rule.what);
            verdicts.push(Verdict::Unknown { reason });
        }
    }
    verdicts.push(forwarded(scene, check, front, machine)?);
    Ok(all(verdicts))
}

fn who(rule: &Rule<'_>, nets: &[IpNet]) -> String {
    if rule.sources.nets.iter().any(|net| net.prefix_len() == 0) {
        return "the whole internet".to_owned();
    }
    let count = nets.iter().fold(0_u128, |sum, net| sum.saturating_add(size(net)));
    let addresses = if count == 1 { "address" } else { "addresses" };
    format!("{} ({} {addresses} more than the plan)", listed(nets), grouped(count))
}

/// Network rules keep a packet's source, which the network security groups then stop; unless the firewall puts its own address
/// there. One that names the machine, or a part of its subnet, is meant for it.
fn forwarded(scene: &Scene<'_>, check: &mut Check, front: &Front<'_>, machine: IpAddr) -> Known<Verdict> {
    let subnet = Network(scene.network()?).subnet(scene.subnet_id()?.name()).and_then(|subnet| subnet.range);
    let port = scene.plan.ssh.port;
    let replaced = replaces_source(scene, front, machine);
    let mut verdicts = Vec::new();
    for rule in &front.rules.network {
        let to = rule.allows_to(machine);
        if to.is_empty() {
            // A packet keeps its source unless the firewall replaces it, and is then stopped.
            if rule.allow && replaced && rule.hides_destination() && rule.takes_port(port) {
                let reason =
                    format!("whom {} leads to is not read, and the firewall puts its own address there", rule.what);
                verdicts.push(Verdict::Unknown { reason });
            }
            continue;
        }
        let meant = to.iter().any(|net| subnet.is_some_and(|subnet| subnet.contains(net)));
        let what = format!("the network rule {}", rule.what.trim_start_matches("the rule "));
        let fix = format!("take {} out of it; gangplank does not change the rules of others", listed(&to));
        if meant {
            verdicts.push(fail(format!("{what} lets {} to {}", rule.sources.words(), listed(&to)), fix));
        } else if replaced && rule.takes_port(port) {
            verdicts.push(fail(
                format!(
                    "{what} lets {} to the machine, and the firewall puts its own address in place of theirs",
                    rule.sources.words()
                ),
                fix,
            ));
        } else {
            check.evidence.push(format!(
                "{what} is for {} too; it keeps the packets' source, so the network security groups stop them",
                listed(&to)
            ));
        }
    }
    Ok(all(verdicts))
}

/// Whether the firewall translates the source of what a network rule lets to this address.
fn replaces_source(scene: &Scene<'_>, front: &Front<'_>, to: IpAddr) -> bool {
    let firewall = front.firewall;
    let policy = Firewall(firewall).policy().and_then(|id| scene.seen.get(&id));
    let classic = firewall.raw.pointer("/properties/additionalProperties/Network.SNAT.PrivateRanges");
    let said: Vec<String> = match policy {
        Some(policy) => {
            policy.list("/properties/snat/privateRanges").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        None => {
            let said = classic.and_then(Value::as_str).unwrap_or_default();
            said.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
        }
    };
    let said = if said.is_empty() { vec!["IANAPrivateRanges".to_owned()] } else { said };
    let private = PRIVATE.map(str::to_owned);
    let kept = said.iter().flat_map(|word| {
        if word.eq_ignore_ascii_case("IANAPrivateRanges") { &private[..] } else { std::slice::from_ref(word) }
    });
    !kept.filter_map(|word| range(word)).any(|net| net.contains(&to))
}

/// Ways to the machine beside the one that is planned.
fn other_ways(scene: &Scene<'_>) -> Known<Verdict> {
    let interfaces = scene.interfaces()?;
    let planned = matches!(scene.front, Ok(None)).then_some(&scene.names.address);
    let mut verdicts = Vec::new();
    for (at, interface) in interfaces.iter().enumerate() {
        if at > 0 {
            verdicts.push(fail(
                format!("the machine has another network interface, {}", interface.name()),
                format!("detach it, or {}", scene.apply("makes the machine anew with its own only")),
            ));
        }
        for (at, configuration) in interface.list("/properties/ipConfigurations").iter().enumerate() {
            if at > 0 {
                let address = match text(configuration, "/properties/privateIPAddress") {
                    "" => "with no address yet".to_owned(),
                    address => address.to_owned(),
                };
                let v6 = text(configuration, "/properties/privateIPAddressVersion").eq_ignore_ascii_case("ipv6");
                let (kind, why) = if v6 {
                    ("an IPv6 address", "what IPv6 rules let in is not judged")
                } else {
                    ("a second address", "no rule of the plan is about it")
                };
                verdicts.push(fail(
                    format!("the machine has {kind}, {address} ({}): {why}", text(configuration, "/name")),
                    scene.apply("leaves the interface its one address"),
                ));
            }
            let public = id_at(configuration, "/properties/publicIPAddress/id");
            if let Some(address) = public.filter(|id| Some(id) != planned) {
                let ip = scene.seen.get(&address).and_then(|a| Address(a).ip()).unwrap_or_else(|| address.name());
                verdicts.push(fail(
                    format!("the machine has the public address {ip} ({})", address.name()),
                    scene.apply("takes it off the machine"),
                ));
            }
            for (pool, what) in [
                ("loadBalancerBackendAddressPools", "the load balancer"),
                ("loadBalancerInboundNatRules", "the load balancer"),
                ("applicationGatewayBackendAddressPools", "the application gateway"),
            ] {
                for id in list(configuration, &format!("/properties/{pool}")).iter().filter_map(|p| id_at(p, "/id")) {
                    let name = id.parent();
                    verdicts.push(fail(
                        format!("{what} {} leads to the machine", name.name()),
                        format!("take {} out of {}", interface.name(), id.name()),
                    ));
                }
            }
        }
    }
    Ok(all(verdicts))
}

/// Every machine whose interface has an address, ours not among them.
pub fn holder<'a>(scene: &Scene<'a>, address: IpAddr) -> Option<&'a Resource> {
    let own = scene.machine.map(|machine| Machine(machine).interfaces()).unwrap_or_default();
    scene.seen.of_kind(Kind::Interface).filter(|i| !own.contains(&i.id)).find(|interface| {
        let all = interface.list("/properties/ipConfigurations").iter();
        all.map(|c| text(c, "/properties/privateIPAddress")).any(|ip| ip.parse() == Ok(address))
    })
}
