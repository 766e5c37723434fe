//! Addresses: single ranges, lists of them, and how much of the internet a plan's sources are together.

use std::{net::IpAddr, ops::Range};

use ipnet::IpNet;

use super::{
    aws,
    fields::{Field, excerpt},
    report::{Read, Report},
};

/// The widest block of sources, alone or of adjacent ones together, and the most addresses of a whole plan.
const WIDEST_V4: u8 = 16;
const WIDEST_V6: u8 = 48;
const MOST_V4: u128 = 1 << 18;
const MOST_V6: u128 = 4 << (128 - WIDEST_V6);

/// Addresses that stand for no host elsewhere, and what they are.
const SPECIAL: [(&str, &str); 9] = [
    ("0.0.0.0/8", "unspecified addresses"),
    ("127.0.0.0/8", "loopback addresses"),
    ("169.254.0.0/16", "link-local addresses, among them the instance metadata's"),
    ("224.0.0.0/4", "multicast addresses"),
    ("240.0.0.0/4", "reserved and broadcast addresses"),
    ("::/127", "unspecified and loopback addresses"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast addresses"),
    ("fd00:ec2::/32", "addresses of EC2's instance metadata and time services"),
];

/// A range and where the plan writes it.
pub(super) type Placed = (IpNet, Range<usize>);

/// IPv4-mapped IPv6 addresses (RFC 4291): another spelling of IPv4, which a firewall may read differently.
fn is_mapped(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some() && net.prefix_len() >= 96)
}

/// What kind of special address this is, if any.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    specials().find(|(net, _)| net.contains(&address)).map(|(_, what)| what)
}

fn specials() -> impl Iterator<Item = (IpNet, &'static str)> {
    SPECIAL.iter().filter_map(|(net, what)| Some((net.parse().ok()?, *what)))
}

/// One range; a bare address is the range of itself.
pub(super) fn range(field: &Field<'_>, report: &mut Report) -> Read<IpNet> {
    let text = &field.scalar("an address or a CIDR range", report)?.text;
    let bare = text.parse::<IpAddr>().ok().map(IpNet::from);
    let Some(net) = bare.or_else(|| text.parse::<IpNet>().ok()) else {
        let label = format!("`{}` is neither an address nor a range", excerpt(text));
        let problem = field.problem(report, "not an address range", label);
        return Err(report.push(problem.fix("write it like 203.0.113.7, 203.0.113.0/24 or 2001:db8::/64")));
    };
    if is_mapped(&net) {
        let problem = field.problem(report, "an IPv4-mapped IPv6 address", "firewalls differ in how they read this");
        return Err(report.push(problem.fix("write the IPv4 address itself")));
    }
    if net.trunc() != net {
        let label = format!("the address has bits behind the /{}", net.prefix_len());
        let problem = field.problem(report, "a range with host bits", label);
        let fix = format!("write {} for the range, or {} for the one address", net.trunc(), net.addr());
        return Err(report.push(problem.fix(fix)));
    }
    let inside = |special: &IpNet| special.contains(&net) || (!is_wide(&net) && net.contains(special));
    if let Some((special, what)) = specials().find(|(special, _)| inside(special)) {
        let verb = if special.contains(&net) { "is one of" } else { "holds" };
        let label = format!("{} {verb} the {what}", excerpt(text));
        let problem = field.problem(report, "an address that is no host of a network", label);
        return Err(report.push(problem.fix("write the address that the connections come from or go to")));
    }
    Ok(net)
}

/// One range that no plan may be as wide as.
pub(super) fn narrow_range(field: &Field<'_>, report: &mut Report) -> Read<IpNet> {
    let net = range(field, report)?;
    if !is_wide(&net) {
        return Ok(net);
    }
    let label = format!("this is {} addresses", grouped(size(&net)));
    let problem = field
        .problem(report, "a range that is too wide", label)
        .because(format!("The widest range is /{WIDEST_V4} for IPv4 and /{WIDEST_V6} for IPv6."))
        .fix("list the addresses that are really needed");
    Err(report.push(problem))
}

/// A list of ranges without duplicates and overlaps.
pub(super) fn ranges(field: &Field<'_>, report: &mut Report) -> Read<Vec<Placed>> {
    let mut whole: Vec<Placed> = Vec::new();
    field.list(report, |item, report| distinct(item, &mut whole, report))?;
    Ok(whole)
}

/// One more range of a list.
fn distinct(item: &Field<'_>, whole: &mut Vec<Placed>, report: &mut Report) -> Read<()> {
    let net = narrow_range(item, report)?;
    if let Some((other, place)) = whole.iter().find(|(other, _)| other.contains(&net) || net.contains(other)) {
        let line = report.line(place);
        let problem = if *other == net {
            item.problem(report, "a range twice", format!("{net} already stands on line {line}"))
                .fix("remove one of them")
        } else {
            let (inner, outer) = if other.contains(&net) { (&net, other) } else { (other, &net) };
            item.problem(report, "overlapping ranges", format!("this overlaps {other} on line {line}"))
                .fix(format!("remove {inner}: {outer} contains it"))
        };
        return Err(report.push(problem));
    }
    whole.push((net, item.place.clone()));
    Ok(())
}

/// Who may come in: ranges, and managed prefix lists of AWS.
#[derive(Default)]
pub(super) struct Sources {
    pub nets: Vec<Placed>,
    pub lists: Vec<List>,
}

/// The id of a prefix list, and where the plan names it.
pub(super) struct List {
    pub id: String,
    pub field: String,
    pub place: Range<usize>,
}

impl Sources {
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty() && self.lists.is_empty()
    }

    pub fn into_nets(self) -> Vec<IpNet> {
        self.nets.into_iter().map(|(net, _)| net).collect()
    }
}

pub(super) fn sources(field: &Field<'_>, report: &mut Report) -> Read<Sources> {
    let mut all = Sources::default();
    field.list(report, |item, report| {
        if !item.starts_with("pl-") {
            return distinct(item, &mut all.nets, report);
        }
        let id = aws::id(item, "pl-", "a managed prefix list", report)?;
        if let Some(first) = all.lists.iter().find(|list| list.id == id) {
            let label = format!("{id} already stands on line {}", report.line(&first.place));
            let problem = item.problem(report, "a prefix list twice", label);
            return Err(report.push(problem.fix("remove one of them")));
        }
        all.lists.push(List { id, field: item.path.clone(), place: item.place.clone() });
        Ok(())
    })?;
    Ok(all)
}

/// How a set of sources is wider than a plan may be: many small ranges may be one wide one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TooWide {
    /// Adjacent ranges make up this one.
    Block(IpNet),
    /// All of one family together.
    Total { v6: bool, addresses: u128, most: u128 },
}

impl TooWide {
    pub fn of(sources: &[IpNet]) -> Option<Self> {
        let blocks = IpNet::aggregate(&sources.to_vec());
        if let Some(block) = blocks.iter().find(|block| is_wide(block)) {
            return Some(Self::Block(*block));
        }
        [(false, MOST_V4), (true, MOST_V6)].into_iter().find_map(|(v6, most)| {
            let of_family = blocks.iter().filter(|net| matches!(net, IpNet::V6(_)) == v6);
            let addresses = of_family.fold(0, |sum: u128, net| sum.saturating_add(size(net)));
            (addresses > most).then_some(Self::Total { v6, addresses, most })
        })
    }

    /// What a plan may have.
    pub fn limit(&self) -> String {
        match self {
            Self::Block(_) => {
                format!("Adjacent ranges count as one; the widest is /{WIDEST_V4} for IPv4 and /{WIDEST_V6} for IPv6.")
            }
            Self::Total { most, .. } => {
                format!("A plan may admit {} addresses of this family in total.", grouped(*most))
            }
        }
    }
}

/// Judges a plan's sources together.
pub(super) fn judge(sources: &[Placed], report: &mut Report) -> Read<()> {
    let nets: Vec<IpNet> = sources.iter().map(|(net, _)| *net).collect();
    // The widest of them is the one to look at first.
    let widest = |inside: &dyn Fn(&IpNet) -> bool| {
        let inside = sources.iter().filter(|(net, _)| inside(net));
        let widest = inside.min_by_key(|(net, _)| net.prefix_len());
        widest.map(|(_, place)| place.clone()).unwrap_or_default()
    };
    let Some(wide) = TooWide::of(&nets) else { return Ok(()) };
    let problem = match &wide {
        TooWide::Block(block) => {
            let parts = nets.iter().filter(|net| block.contains(*net)).count();
            let label =
                format!("with the ranges beside it: {parts} that make up {block}, {} addresses", grouped(size(block)));
            report.at(&widest(&|net| block.contains(net)), "sources that are too wide together", label)
        }
        TooWide::Total { v6, addresses, .. } => {
            let label = format!("this and the plan's other sources are {} addresses", grouped(*addresses));
            report.at(&widest(&|net| matches!(net, IpNet::V6(_)) == *v6), "too many sources", label)
        }
    };
    Err(report.push(problem.because(wide.limit()).fix("list the addresses that are really needed")))
}

pub(crate) fn is_wide(net: &IpNet) -> bool {
    net.prefix_len() < if matches!(net, IpNet::V4(_)) { WIDEST_V4 } else { WIDEST_V6 }
}

/// How many addresses a range has; all of IPv6 saturates.
pub(crate) fn size(net: &IpNet) -> u128 {
    1_u128.checked_shl(u32::from(net.max_prefix_len() - net.prefix_len())).unwrap_or(u128::MAX)
}

/// `65536` as `65,536`; from a million millions on as a power of two.
pub(crate) fn grouped(number: u128) -> String {
    if number > 1_000_000_000_000 {
        let about = if number.is_power_of_two() { "" } else { "more than " };
        return format!("{about}2^{}", number.ilog2());
    }
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::Source;

    fn admits(sources: &[IpNet]) -> bool {
        let mut report = Report::new(Arc::new(Source { path: String::new(), text: String::new() }));
        let placed: Vec<Placed> = sources.iter().map(|net| (*net, 0..0)).collect();
        judge(&placed, &mut report).is_ok()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn width_is_judged_over_the_whole_set() {
        assert!(admits(&[]));
        assert!(admits(&nets(&["203.0.0.0/16", "198.51.100.0/24", "2001:db8::/48"])));
        assert!(admits(&nets(&["10.0.0.0/16", "10.2.0.0/16", "10.4.0.0/16", "10.6.0.0/16"])));
        assert!(!admits(&nets(&["10.0.0.0/16", "10.2.0.0/16", "10.4.0.0/16", "10.6.0.0/16", "192.0.2.1/32"])));
        assert!(!admits(&nets(&["0.0.0.0/1", "128.0.0.0/1"])));
        assert!(!admits(&nets(&["10.0.0.0/16", "10.1.0.0/16"])));
        assert!(!admits(&nets(&["2001:db8::/48", "2001:db8:1::/48"])));
        assert!(!admits(&nets(&["::/0"])));
    }

    proptest! {
        /// Sources within one /14 against a count of every /24 of it.
        #[test]
        fn the_arithmetic_agrees_with_counting(blocks in proptest::collection::vec((0_u32..1024, 14_u8..=24), 0..24)) {
            let base = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0));
            let sources: Vec<IpNet> = blocks
                .iter()
                .map(|(block, prefix)| {
                    let address = std::net::Ipv4Addr::from(base + (block << 8));
                    IpNet::new(address.into(), *prefix).unwrap().trunc()
                })
                .collect();
            let counted: BTreeSet<u32> = (0..1024)
                .filter(|block| sources.iter().any(|net| net.contains(&IpAddr::from(std::net::Ipv4Addr::from(base + (block << 8))))))
                .collect();
            let aligned_full = |size: u32| (0..1024 / size).any(|i| (i * size..(i + 1) * size).all(|block| counted.contains(&block)));
            // Two whole /16 that make up a /15, or everything together beyond 2^18 addresses (which a /14 just is).
            prop_assert_eq!(admits(&sources), !aligned_full(512));
        }
    }
}
