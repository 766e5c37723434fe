//! Arithmetic over what a rule is about: addresses × TCP ports.

use ipnet::IpNet;

use crate::provider::aws::rule::Protocol;

/// Every address of a range, on every port from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub net: IpNet,
    pub first: u16,
    pub last: u16,
}

impl Span {
    pub fn port(net: IpNet, port: u16) -> Self {
        Self { net, first: port, last: port }
    }

    pub fn ports(net: IpNet, (first, last): (u16, u16)) -> Self {
        Self { net, first, last }
    }

    pub fn overlap(&self, other: &Self) -> Option<Self> {
        // Two ranges are nested or have nothing in common.
        let net = if self.net.contains(&other.net) {
            other.net
        } else if other.net.contains(&self.net) {
            self.net
        } else {
            return None;
        };
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { net, first, last })
    }

    /// What is left without the other, in pieces that don't overlap.
    pub fn minus(&self, other: &Self) -> Vec<Self> {
        let Some(common) = self.overlap(other) else { return vec![*self] };
        let mut left: Vec<Self> = beside(self.net, common.net).map(|net| Self { net, ..*self }).collect();
        if let Some(last) = common.first.checked_sub(1).filter(|last| *last >= self.first) {
            left.push(Self { net: common.net, first: self.first, last });
        }
        if let Some(first) = common.last.checked_add(1).filter(|first| *first <= self.last) {
            left.push(Self { net: common.net, first, last: self.last });
        }
        left
    }
}

/// What is left of `spans` without any of `others`.
pub fn without<'a>(spans: impl IntoIterator<Item = Span>, others: impl IntoIterator<Item = &'a Span>) -> Vec<Span> {
    let start: Vec<Span> = spans.into_iter().collect();
    others.into_iter().fold(start, |left, other| left.iter().flat_map(|span| span.minus(other)).collect())
}

/// The ranges that make up `outer` together with `inner`, which is a part of it.
fn beside(outer: IpNet, inner: IpNet) -> impl Iterator<Item = IpNet> {
    (outer.prefix_len() + 1..=inner.prefix_len()).filter_map(move |length| {
        let along = IpNet::new(inner.network(), length).ok()?.trunc();
        along.supernet()?.subnets(length).ok()?.find(|half| *half != along)
    })
}

/// The TCP ports of a rule's protocol; `None` where it has none of TCP.
pub fn tcp_ports(protocol: &Protocol) -> Option<(u16, u16)> {
    match protocol {
        Protocol::All => Some((0, u16::MAX)),
        Protocol::Tcp { from, to } => Some((*from, *to)),
        // EC2 writes -1 for every port.
        Protocol::Other { name, .. } if name == "tcp" || name == "6" => Some((0, u16::MAX)),
        Protocol::Other { .. } => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    /// A world of 16 addresses and 8 ports, small enough to count.
    const PREFIX: u8 = 28;
    const PORTS: u16 = 8;

    pub fn address(n: u32) -> IpAddr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + n).into()
    }

    pub fn points() -> impl Iterator<Item = (IpAddr, u16)> {
        (0..16).flat_map(|n| (0..PORTS).map(move |port| (address(n), port)))
    }

    pub fn spans() -> impl Strategy<Value = Span> {
        (0_u32..16, PREFIX..=32, 0..PORTS, 0..PORTS).prop_map(|(n, length, one, other)| Span {
            net: IpNet::new(address(n), length).unwrap().trunc(),
            first: one.min(other),
            last: one.max(other),
        })
    }

    impl Span {
        pub fn has(&self, (address, port): (IpAddr, u16)) -> bool {
            self.net.contains(&address) && (self.first..=self.last).contains(&port)
        }
    }

    proptest! {
        #[test]
        fn subtraction_agrees_with_counting(
            from in proptest::collection::vec(spans(), 0..4),
            others in proptest::collection::vec(spans(), 0..6),
        ) {
            let left = without(from.clone(), &others);
            for point in points() {
                let wanted = from.iter().filter(|span| span.has(point)).count();
                let expected = if others.iter().any(|span| span.has(point)) { 0 } else { wanted };
                let found = left.iter().filter(|span| span.has(point)).count();
                prop_assert_eq!(found, expected, "{:?}", point);
            }
        }

        #[test]
        fn overlap_agrees_with_counting(one in spans(), other in spans()) {
            let common = one.overlap(&other);
            for point in points() {
                prop_assert_eq!(common.is_some_and(|span| span.has(point)), one.has(point) && other.has(point));
            }
        }
    }

    #[test]
    fn the_edges_of_both_families_hold() {
        let span = |net: &str, first, last| Span { net: net.parse().unwrap(), first, last };
        let everything = span("0.0.0.0/0", 0, 65535);
        assert_eq!(everything.minus(&everything), []);
        assert_eq!(everything.minus(&span("255.255.255.255/32", 65535, 65535)).len(), 33);
        assert_eq!(span("::/0", 22, 22).minus(&span("::1/128", 0, 65535)).len(), 128);
        assert_eq!(everything.minus(&span("::/0", 0, 65535)), [everything]);
    }
}
