//! TCP wrappers, which Debian's sshd is linked with: what hosts.allow and hosts.deny do with a range (hosts_access(5)). Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// What the two files say about every address of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Yes,
    /// By this rule.
    No(String),
    /// This rule is about some of the addresses only, or about what an address does not tell.
    Unknown(String),
}

enum Matched {
    All,
    None,
    Unknown,
}

/// "Access will be granted when a (daemon,client) pair matches an entry in the hosts.allow file. Otherwise, access will be denied when
/// it matches an entry in the hosts.deny file. Otherwise, access will be granted." The rules are those whose daemons are sshd's.
pub fn admission(allow: &[String], deny: &[String], net: &IpNet) -> Admission {
    for rule in allow {
        match matched(rule, net) {
            Matched::All if is_denial(rule) => return Admission::No(rule.clone()),
            Matched::All => return Admission::Yes,
            Matched::Unknown => return Admission::Unknown(rule.clone()),
            Matched::None => {}
        }
    }
    for rule in deny {
        match matched(rule, net) {
            Matched::All if rule.to_ascii_lowercase().trim_end().ends_with("allow") => return Admission::Yes,
            Matched::All => return Admission::No(rule.clone()),
            Matched::Unknown => return Admission::Unknown(rule.clone()),
            Matched::None => {}
        }
    }
    Admission::Yes
}

/// hosts_options(5): `: deny` at a rule's end.
fn is_denial(rule: &str) -> bool {
    rule.to_ascii_lowercase().trim_end().ends_with("deny")
}

fn matched(rule: &str, net: &IpNet) -> Matched {
    let Some((_, rest)) = rule.split_once(':') else { return Matched::Unknown };
    if rest.to_ascii_uppercase().contains("EXCEPT") {
        return Matched::Unknown;
    }
    let clients = clients(rest);
    let mut unknown = false;
    for client in clients.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        if client.eq_ignore_ascii_case("ALL") {
            return Matched::All;
        }
        match range(client) {
            Some(range) if range.contains(net) => return Matched::All,
            Some(range) => unknown |= net.contains(&range),
            // A name, LOCAL, KNOWN, PARANOID, a file.
            None => unknown = true,
        }
    }
    if unknown { Matched::Unknown } else { Matched::None }
}

/// The second field, which a colon ends; those of an IPv6 address stand in brackets.
fn clients(rest: &str) -> &str {
    let mut inside = false;
    for (at, letter) in rest.char_indices() {
        match letter {
            '[' => inside = true,
            ']' => inside = false,
            ':' if !inside => return &rest[..at],
            _ => {}
        }
    }
    rest
}

/// `192.0.2.7`, `192.0.2.` (a prefix), `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `[2001:db8::]/32`.
fn range(client: &str) -> Option<IpNet> {
    if let Ok(address) = client.parse::<IpAddr>() {
        return Some(address.into());
    }
    if let Some(prefix) = client.strip_suffix('.') {
        let parts = prefix.split('.').count();
        let whole = format!("{prefix}{}/{}", ".0".repeat(4_usize.checked_sub(parts)?), parts * 8);
        return whole.parse().ok();
    }
    let plain = client.replace(['[', ']'], "");
    let (address, mask) = plain.split_once('/').unwrap_or((plain.as_str(), ""));
    match (address.parse::<IpAddr>().ok()?, mask.parse::<IpAddr>()) {
        (address, Ok(mask)) => IpNet::with_netmask(address, mask).ok(),
        (address, Err(_)) if mask.is_empty() => Some(address.into()),
        (address, Err(_)) => IpNet::new(address, mask.parse().ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let net: IpNet = "203.0.113.10/32".parse().expect("a range");
        for (allow, deny, expected) in [
            (&[][..], &[][..], "yes"),
            (&[], &["ALL: ALL"], "no"),
            (&["sshd: 203.0.113.20"], &["sshd: ALL"], "no"),
            (&["sshd: 203.0.113.20, 203.0.113.10"], &["sshd: ALL"], "yes"),
            (&["sshd: 203.0.113."], &["ALL: ALL"], "yes"),
            (&["sshd: 203.0.113.0/255.255.255.0"], &["ALL: ALL"], "yes"),
            (&["sshd: 203.0.113.0/24 : deny"], &[], "no"),
            (&["sshd: [2001:db8::]/32"], &["sshd: ALL : allow"], "yes"),
            (&[], &["sshd: 203.0.113.0/25"], "no"),
            (&[], &["sshd: .example.com"], "unknown"),
            (&[], &["sshd: ALL EXCEPT 203.0.113.10"], "unknown"),
            (&[], &["sshd: 192.0.2.7"], "yes"),
        ] {
            let got = match admission(&lines(allow), &lines(deny), &net) {
                Admission::Yes => "yes",
                Admission::No(_) => "no",
                Admission::Unknown(_) => "unknown",
            };
            assert_eq!(got, expected, "{allow:?} {deny:?}");
        }
        let wide: IpNet = "203.0.113.0/24".parse().expect("a range");
        let rule = lines(&["sshd: 203.0.113.10"]);
        assert_eq!(admission(&[], &rule, &wide), Admission::Unknown(rule[0].clone()), "some of its addresses");
    }
}
