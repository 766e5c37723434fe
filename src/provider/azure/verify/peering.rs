//! Whether the bastion's network and those that the plan names reach each other: a peering on each side, and both connected.

use super::Scene;
use crate::{
    provider::{
        azure::{
            id::{Id, Kind},
            observed::{Resource, text},
            peering::{between, named},
            views::Peering,
        },
        judging::{Known, all, check, fail, judged},
    },
    verify::{Check, Part, Verdict},
};

pub fn checks(scene: &Scene<'_>) -> Vec<Check> {
    named(scene.azure).iter().map(|name| peered(scene, name)).collect()
}

fn peered(scene: &Scene<'_>, name: &str) -> Check {
    let id = Id::new(name);
    let short = if id.kind().is_some() { id.name() } else { name };
    let proves = format!("the bastion's network and {short} are peered, in both directions");
    judged(check("control.peering", Part::Bastion, proves).about(short.to_owned()), |check| {
        let own = scene.network()?;
        let found = scene.seen.named(Kind::Network, name);
        let [remote] = found.as_slice() else {
            let why =
                scene.seen.unread.get(&id).map_or("it is not there, or several have its name", |e| e.message.as_str());
            return Err(format!("the virtual network {short} is not read: {why}"));
        };
        let mut side = |from: &Resource, to: &Resource| -> Known<Verdict> {
            let Some(peering) = between(scene.seen, &from.id, &to.id) else {
                let cause = format!("{} has no peering with {}", from.name(), to.name());
                return Ok(fail(cause, scene.apply("makes it")));
            };
            check.evidence.push(format!("{} in {}: {}", peering.name(), from.name(), Peering(peering).state()));
            Ok(judge(scene, peering, from))
        };
        Ok(all([side(own, remote)?, side(remote, own)?]))
    })
}

fn judge(scene: &Scene<'_>, peering: &Resource, from: &Resource) -> Verdict {
    let (view, said) = (Peering(peering), format!("the peering {} in {}", peering.name(), from.name()));
    if !view.is_connected() {
        let state = view.state();
        return fail(format!("{said} is {state}, not Connected"), scene.apply("connects the two networks"));
    }
    let closed = peering.raw.pointer("/properties/allowVirtualNetworkAccess") == Some(&serde_json::Value::Bool(false));
    if closed {
        return fail(format!("{said} lets nothing through"), scene.apply("opens it"));
    }
    let level = text(&peering.raw, "/properties/peeringSyncLevel");
    if !level.is_empty() && level != "FullyInSync" {
        let command = format!("`az network vnet peering sync --ids {}`", peering.id.argument());
        return fail(
            format!("{said} does not know all ranges of the other network ({level})"),
            format!("run {command}; gangplank does not do that"),
        );
    }
    Verdict::Pass
}
