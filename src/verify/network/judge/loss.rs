//! Packets that are lost: on the way to the machine, and between it and a target.

use super::{Case, inside::entered};
use crate::verify::{
    Check, Part,
    network::{packets::Packets, session::Stop},
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

pub fn check(case: &Case<'_>) -> Check {
    let base = super::check(
        "network.loss",
        Part::Bastion,
        if case.evidence.packets.is_some() {
            "no packets are lost on the way to the machine, nor between it and a target"
        } else {
            "no packets are lost between the machine and a target"
        },
    );
    let packets = case.evidence.packets.unwrap_or_default();
    let Packets { sent, again, received, disordered, .. } = packets;
    let base = match case.evidence.packets {
        Some(_) => base
            .seen(format!("{again} of {sent} packets were sent again"))
            .seen(format!("{disordered} of {received} came out of order")),
        None => base.seen("not counted here: packets that are sent again on the way to the machine"),
    };
    let inside = entered(case);
    let concurrent = inside.as_ref().ok().and_then(|inside| inside.concurrent.as_ref());
    let base = match concurrent {
        Some(one) => base.seen(format!(
            "{} of {} connections from the machine to {} needed a second attempt",
            one.late, one.opened, one.target
        )),
        None => base,
    };
    let works = if concurrent.is_some() { "the tunnel works, but " } else { "" };
    let (outside, inner) =
        (outside(case, &packets), concurrent.map_or(Loss::None, |one| between(one.late, one.opened, &one.target)));
    match (outside, inner) {
        (Loss::Much(what), _) => base.fail(
            format!("{works}{what}: packets are lost between here and the machine"),
            "try from another network first; then look at what the way has in common: an overloaded link, VPN or appliance, the \
             machine's own network allowance",
        ),
        (_, Loss::Much(what)) => base.fail(
            format!("{works}{what}: packets are lost between the machine and the target"),
            "look at what is between them (peering, VPN, appliance, the database's own firewall and its limits of new connections), and \
             at the network allowance of both machines",
        ),
        (Loss::Some(what), _) => base.unknown(format!(
            "{works}{what}: packets are lost between here and the machine, or came late; try again, and from another network"
        )),
        (_, Loss::Some(what)) => base.unknown(format!(
            "{works}{what}: packets are lost between the machine and the target, or it was slow; try again"
        )),
        (Loss::None, Loss::None) => match (&inside, concurrent) {
            (Err(why), _) => base.unknown(why.clone()),
            (Ok(_), None) => base.unknown("no target could be opened even once (see network.forward)"),
            (Ok(_), Some(_)) => base.pass(),
        },
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
