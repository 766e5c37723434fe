//! Addresses: single ranges, lists of them, and how much of the internet a plan's sources are together.

use std::{net::IpAddr, ops::Range};

use ipnet::IpNet;

use super::{
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
    ("::/127", "the unspecified and the loopback address"),
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
        let problem = field.problem(report, "an IPv4 address in IPv6 clothes", "this is an IPv4-mapped IPv6 address");
        return Err(report.push(problem.fix("write the IPv4 address itself")));
    }
    if net.trunc() != net {
        let label = format!("the address has bits behind the /{}", net.prefix_len());
        let problem = field.problem(report, "a range with host bits", label);
        let fix = format!("write {} for the range, or {} for the one address", net.trunc(), net.addr());
        return Err(report.push(problem.fix(fix)));
    }
    let inside = |special: &IpNet| special.contains(&net) || (!is_wide(&net) && net.contains(special));
    if let Some((_, what)) = specials().find(|(special, _)| inside(special)) {
        let label = format!("{} holds {what}", excerpt(text));
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
    field.list(report, |item, report| {
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
    })?;
    Ok(whole)
}

/// Judges a plan's sources together: many small ranges may be one wide one.
pub(super) fn judge(sources: &[Placed], report: &mut Report) -> Read<()> {
    let nets: Vec<IpNet> = sources.iter().map(|(net, _)| *net).collect();
    let blocks = IpNet::aggregate(&nets);
    let place = |inside: &dyn Fn(&IpNet) -> bool| {
        sources.iter().find(|(net, _)| inside(net)).map(|(_, place)| place.clone()).unwrap_or_default()
    };
    if let Some(block) = blocks.iter().find(|block| is_wide(block)) {
        let parts = nets.iter().filter(|net| block.contains(*net)).count();
        let label =
            format!("with the ranges beside it: {parts} that make up {block}, {} addresses", grouped(size(block)));
        let problem = report
            .at(&place(&|net| block.contains(net)), "sources that are too wide together", label)
            .because(format!(
                "Adjacent ranges count as one; the widest is /{WIDEST_V4} for IPv4 and /{WIDEST_V6} for IPv6."
            ))
            .fix("list the addresses that are really needed");
        return Err(report.push(problem));
    }
    for (v6, most) in [(false, MOST_V4), (true, MOST_V6)] {
        let of_family = |net: &IpNet| matches!(net, IpNet::V6(_)) == v6;
        let total = blocks.iter().filter(|net| of_family(net)).fold(0, |sum: u128, net| sum.saturating_add(size(net)));
        if total > most {
            let label = format!("this and the plan's other sources are {} addresses", grouped(total));
            let problem = report
                .at(&place(&of_family), "too many sources", label)
                .because(format!("A plan may admit {} addresses of this family in total.", grouped(most)))
                .fix("list the addresses that are really needed");
            return Err(report.push(problem));
        }
    }
    Ok(())
}

fn is_wide(net: &IpNet) -> bool {
    net.prefix_len() < if matches!(net, IpNet::V4(_)) { WIDEST_V4 } else { WIDEST_V6 }
}

/// How many addresses a range has; all of IPv6 saturates.
fn size(net: &IpNet) -> u128 {
    1_u128.checked_shl(u32::from(net.max_prefix_len() - net.prefix_len())).unwrap_or(u128::MAX)
}

/// `65536` as `65,536`; from a million millions on as a power of two.
fn grouped(number: u128) -> String {
    if number > 1_000_000_000_000 {
        return format!("about 2^{}", number.ilog2() + u32::from(!number.is_power_of_two()));
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
