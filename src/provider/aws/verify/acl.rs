//! What a network ACL lets through: its entries are asked in the order of their numbers, and the first that matches decides.
//! What none of them matches is denied. VPC User Guide, "Network ACL basics".

use super::space::{Span, tcp_ports};
use crate::provider::aws::{
    network::{Acl, AclEntry},
    rule::Direction,
};

/// The number that EC2 shows for the last entry, `*`, which nobody can change.
const LAST: i32 = 32767;

/// A part of what is wanted that does not get through.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked<'a> {
    pub span: Span,
    /// The entry that denies it; `None` where no entry is about it.
    pub by: Option<&'a AclEntry>,
}

/// The parts of `wanted` that this ACL stops.
pub fn blocked<'a>(acl: &'a Acl, direction: Direction, wanted: Span) -> Vec<Blocked<'a>> {
    let mut undecided = vec![wanted];
    let mut stopped = Vec::new();
    let mut entries: Vec<&AclEntry> = acl.entries.iter().filter(|e| e.direction == direction).collect();
    entries.sort_by_key(|entry| entry.number);
    for entry in entries {
        let Some(ports) = tcp_ports(&entry.protocol) else { continue };
        let about = Span::ports(entry.net, ports);
        if !entry.allow {
            let by = (entry.number < LAST).then_some(entry);
            stopped.extend(undecided.iter().filter_map(|u| u.overlap(&about)).map(|span| Blocked { span, by }));
        }
        undecided = undecided.iter().flat_map(|span| span.minus(&about)).collect();
    }
    stopped.extend(undecided.into_iter().map(|span| Blocked { span, by: None }));
    stopped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::{
        aws::rule::Protocol,
        space::tests::{points, spans},
    };

    fn entries() -> impl Strategy<Value = Vec<AclEntry>> {
        let protocol = prop_oneof![4 => Just(0_u8), 1 => Just(1), 1 => Just(2)];
        let entry = (spans(), 0..20_i32, any::<bool>(), any::<bool>(), protocol).prop_map(
            |(span, number, allow, outbound, protocol)| AclEntry {
                number,
                direction: if outbound { Direction::Egress } else { Direction::Ingress },
                allow,
                protocol: match protocol {
                    0 => Protocol::Tcp { from: span.first, to: span.last },
                    1 => Protocol::All,
                    _ => Protocol::Other { name: "17".to_owned(), from: None, to: None },
                },
                net: span.net,
            },
        );
        // A number stands once in each direction.
        proptest::collection::vec(entry, 0..8).prop_map(|mut all| {
            all.sort_by_key(|e| (e.direction == Direction::Egress, e.number));
            all.dedup_by_key(|e| (e.direction, e.number));
            all
        })
    }

    proptest! {
        #[test]
        fn the_evaluation_agrees_with_asking_for_each_packet(entries in entries(), wanted in spans()) {
            let acl = Acl { id: "acl-1".to_owned(), vpc: String::new(), subnets: Vec::new(), entries };
            for direction in [Direction::Ingress, Direction::Egress] {
                let stopped = blocked(&acl, direction, wanted);
                for point in points() {
                    let mut asked: Vec<_> = acl.entries.iter().filter(|e| e.direction == direction).collect();
                    asked.sort_by_key(|e| e.number);
                    let first = asked.into_iter().find(|e| {
                        tcp_ports(&e.protocol).is_some_and(|ports| Span::ports(e.net, ports).has(point))
                    });
                    let passes = first.is_some_and(|e| e.allow);
                    let found: Vec<_> = stopped.iter().filter(|b| b.span.has(point)).collect();
                    prop_assert_eq!(found.len(), usize::from(wanted.has(point) && !passes));
                    if let [only] = found.as_slice() {
                        prop_assert_eq!(only.by, first);
                    }
                }
            }
        }
    }
}
