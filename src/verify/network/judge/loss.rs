//! Packets that are lost: on the way to the machine, and between it and a target.

use super::{Case, inside::entered};
use crate::verify::{
    Check, Part,
    network::{
        inside::{Concurrent, Inside},
        packets::Packets,
        session::Stop,
    },
};

/// Less than that happens on any path.
const FEW: u32 = 5;
/// Of connections that needed a second attempt.
const FEW_LATE: usize = 5;
/// A path that loses this part of its packets, in percent, is worth a word; and one that loses this part cannot be used.
const SOME: u64 = 2;
const MANY: u64 = 10;
/// What comes after a lost packet, until that is sent again, comes out of order.
const MANY_DISORDERED: u32 = 10;
const DISORDERED: u64 = 5;
/// Of connections from the machine, in percent: each needs two packets, so twice as many are late as packets are lost.
const MANY_LATE: usize = 20;

enum Loss {
    None,
    /// The tunnel works, and not as it should.
    Some(String),
    Much(String),
}

/// Of the way to the machine, and of the way between it and a target: each explains other failures.
pub fn checks(case: &Case<'_>) -> [Check; 2] {
    let inside = entered(case);
    let concurrent = inside.as_ref().ok().and_then(|inside| inside.concurrent.as_ref());
    let works = if concurrent.is_some_and(|one| one.opened > 0) { "the tunnel works, but " } else { "" };
    [to_machine(case, works), to_target(&inside, concurrent, works)]
}

fn to_machine(case: &Case<'_>, works: &str) -> Check {
    let counted = case.evidence.packets.is_some();
    let proves = if counted {
        "no packets are lost on the way to the machine"
    } else {
        "connections from here succeed (this system does not count lost packets)"
    };
    let base = super::check("network.loss", Part::Bastion, proves);
    let packets = case.evidence.packets.unwrap_or_default();
    let Packets { sent, again, received, disordered, .. } = packets;
    let base = if counted {
        base.seen(format!("{again} of {sent} packets were sent again"))
            .seen(format!("{disordered} of {received} came out of order"))
    } else {
        base.seen("not counted here: packets that are sent again on the way to the machine")
    };
    match (outside(case, &packets), entered(case)) {
        (Loss::Much(what), _) => base.fail(
            format!("{works}{what}: packets are lost between here and the machine"),
            "try from another network first; then look at what the way has in common: an overloaded link, VPN or appliance, the \
             machine's own network allowance",
        ),
        (Loss::Some(what), _) => base.unknown(format!(
            "{works}{what}: packets are lost between here and the machine, or came late; try again, and from another network"
        )),
        (Loss::None, Err(why)) => base.unknown(why),
        (Loss::None, Ok(_)) => base.pass(),
    }
}

fn to_target(inside: &Result<&Inside, String>, concurrent: Option<&Concurrent>, works: &str) -> Check {
    let base =
        super::check("network.target-loss", Part::Bastion, "no packets are lost between the machine and a target");
    let one = match (inside, concurrent) {
        (Err(why), _) => return base.unknown(why.clone()),
        (Ok(_), Some(one)) if one.opened > 0 => one,
        (Ok(_), _) => return base.unknown("no target could be opened even once (see network.forward)"),
    };
    let Concurrent { late, opened, target, .. } = one;
    let base =
        base.seen(format!("{late} of {opened} connections from the machine to {target} needed a second attempt"));
    match between(*late, *opened, target) {
        Loss::Much(what) => base.fail(
            format!("{works}{what}: packets are lost between the machine and the target"),
            "look at what is between them (peering, VPN, appliance, the database's own firewall and its limits of new connections), and \
             at the network allowance of both machines",
        ),
        Loss::Some(what) => base.unknown(format!(
            "{works}{what}: packets are lost between the machine and the target, or it was slow; try again"
        )),
        Loss::None => base.pass(),
    }
}

/// On the way from here. A path that loses large packets alone is another check's.
fn outside(case: &Case<'_>, packets: &Packets) -> Loss {
    let transport = &case.evidence.transport;
    let stuck = entered(case).is_ok_and(|inside| inside.transfer.stuck.is_some())
        || matches!(transport.stop, Some(Stop::Late))
        || transport.small.is_some();
    // One connection alone may have been forgotten on the way.
    if stuck {
        return Loss::None;
    }
    let disordered = u64::from(packets.disordered) * 100 / u64::from(packets.received.max(1));
    if packets.again < FEW || packets.connections < 2 {
        return if packets.disordered >= MANY_DISORDERED && disordered >= DISORDERED {
            Loss::Some(format!("{} of {} packets came out of order", packets.disordered, packets.received))
        } else {
            Loss::None
        };
    }
    let (again, sent) = (u64::from(packets.again), u64::from(packets.sent.max(1)));
    let what = format!("{again} of {sent} packets from here had to be sent again");
    match again * 100 / sent {
        share if share >= MANY => Loss::Much(what),
        share if share >= SOME => Loss::Some(what),
        _ => Loss::None,
    }
}

fn between(late: usize, opened: usize, target: &str) -> Loss {
    let what = format!("{late} of {opened} connections from the machine to {target} needed a second attempt");
    match late {
        0 | 1 => Loss::None,
        late if late >= FEW_LATE && late * 100 >= opened * MANY_LATE => Loss::Much(what),
        _ => Loss::Some(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_or_two_prove_nothing() {
        for (late, opened, expected) in [
            (0, 50, "none"),
            (1, 50, "none"),
            (2, 50, "some"),
            (9, 50, "some"),
            (10, 50, "much"),
            (1, 1, "none"),
            (2, 10, "some"),
            (5, 10, "much"),
        ] {
            let word = match between(late, opened, "warehouse") {
                Loss::None => "none",
                Loss::Some(_) => "some",
                Loss::Much(_) => "much",
            };
            assert_eq!(word, expected, "{late} of {opened}");
        }
    }
}
