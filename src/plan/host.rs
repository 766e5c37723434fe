//! A target's host: what a tunnel may reach. The instance metadata and the bastion itself are never among it, in no spelling.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Host,
    fields::{Field, excerpt},
    net,
    report::{Read, Report},
};

/// Azure's platform address, which hands out a machine's certificates and settings.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Names of a machine itself or of its cloud's metadata service, each with everything below it.
const REFUSED_NAMES: [&str; 9] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "metadata",
    "metadata.google.internal",
    "instance-data",
];

pub(super) fn host(field: &Field<'_>, report: &mut Report) -> Read<Host> {
    let text = field.scalar("an address or a DNS name", report)?.text.as_str();
    match judge(text) {
        Ok(host) => Ok(host),
        Err(refusal) => {
            let mut problem = field.problem(report, refusal.summary, refusal.label);
            problem.fix = refusal.fix;
            Err(report.push(problem))
        }
    }
}

struct Refusal {
    summary: &'static str,
    label: String,
    fix: Option<String>,
}

const NO_HOST: &str = "not a host";
const REFUSED: &str = "a host that no tunnel may reach";

fn refuse<T>(
    summary: &'static str,
    label: impl Into<String>,
    fix: impl Into<Option<&'static str>>,
) -> Result<T, Refusal> {
    Err(Refusal { summary, label: label.into(), fix: fix.into().map(str::to_owned) })
}

fn judge(text: &str) -> Result<Host, Refusal> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return judge_address(address);
    }
    if text.contains("://") || text.contains(['/', '@']) {
        return refuse(
            NO_HOST,
            format!("`{}` is more than a host", excerpt(text)),
            "write the host alone, without scheme, path or user",
        );
    }
    if text.contains(':') {
        let fix = "write the host alone; the port has its own field, and IPv6 needs no brackets";
        return refuse(NO_HOST, format!("`{}` is more than a host", excerpt(text)), fix);
    }
    if text.contains(['*', '?']) {
        let fix = "name each host as a target of its own";
        return refuse(NO_HOST, "sshd's PermitOpen reads this as a wildcard", fix);
    }
    if text.ends_with('.') {
        return refuse(NO_HOST, "it ends with a dot, and sshd compares names literally", "remove the dot at the end");
    }
    // The rule of inet_aton(3) and the URL standard: what ends in a number is an IPv4 address in some spelling.
    if text.rsplit('.').next().is_some_and(is_number) {
        let fix = "write the address as four decimal numbers, like 10.0.0.5";
        return refuse(
            NO_HOST,
            format!("`{}` is an address in an unusual spelling, or none at all", excerpt(text)),
            fix,
        );
    }
    judge_name(text)
}

fn judge_address(address: IpAddr) -> Result<Host, Refusal> {
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return refuse(NO_HOST, "this is an IPv4-mapped IPv6 address", "write the IPv4 address itself");
    }
    let embedded = embedded(address);
    if let Some(what) = net::special(address).or_else(|| net::special(embedded)) {
        return refuse(REFUSED, format!("it is one of the {what}"), "write the database's own address");
    }
    if address == AZURE_WIRE_SERVER || embedded == AZURE_WIRE_SERVER {
        return refuse(REFUSED, "it is Azure's platform address", "write the database's own address");
    }
    Ok(Host::Address(address))
}

/// The IPv4 address that a NAT64 (RFC 6052) or 6to4 (RFC 3056) address leads to; the address itself otherwise.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !label.is_empty() && hex.map_or_else(|| digits(label), |hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// RFC 1123 names in lower case: sshd compares PermitOpen literally.
fn judge_name(name: &str) -> Result<Host, Refusal> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        let fix = Some(format!("write `{}`", excerpt(&name.to_lowercase())));
        return Err(Refusal { summary: NO_HOST, label: "a host is written in lower case".to_owned(), fix });
    }
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label_ok) {
        let fix = "a DNS name has labels of a-z, 0-9 and `-`, at most 63 characters each and 253 together";
        return refuse(NO_HOST, format!("`{}` is neither an address nor a DNS name", excerpt(name)), fix);
    }
    let refused = |known: &str| name == known || name.strip_suffix(known).is_some_and(|below| below.ends_with('.'));
    if REFUSED_NAMES.iter().any(|known| refused(known)) || name.starts_with("instance-data.") {
        return refuse(
            REFUSED,
            "the name leads to the bastion itself or to its cloud's metadata",
            "write the database's own name",
        );
    }
    Ok(Host::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_of_databases_pass() {
        for host in [
            "10.0.0.5",
            "203.0.113.9",
            "fd12::5",
            "2001:db8::1",
            "warehouse.internal",
            "db-1.abc.us-east-1.rds.amazonaws.com",
            "warehouse",
            "3com.example",
            "xn--bcher-kva.example",
            "0xdb.example",
        ] {
            assert!(judge(host).is_ok_and(|parsed| parsed.to_string() == host), "{host}");
        }
    }

    #[test]
    fn no_spelling_of_the_metadata_or_of_the_machine_itself_passes() {
        for host in [
            "169.254.169.254",
            "169.254.43518",
            "169.16689662",
            "2852039166",
            "0xa9fea9fe",
            "0xA9.0xFE.0xA9.0xFE",
            "0251.0376.0251.0376",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "fe80::1",
            "fe80::1%eth0",
            "[::1]",
            "::1",
            "::",
            "0.0.0.0",
            "0",
            "127.0.0.1",
            "127.1",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "168.63.129.16",
            "localhost",
            "db.localhost",
            "LOCALHOST",
            "localhost.",
            "metadata.google.internal",
            "instance-data",
            "instance-data.ec2.internal",
        ] {
            assert!(judge(host).is_err(), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "*.internal",
            "db?",
            "a b",
            "a_b",
            "bücher.example",
            "postgres://db",
            "db:5432",
            "a,b",
        ] {
            assert!(judge(host).is_err(), "{host}");
        }
        assert!(judge(&"a".repeat(64)).is_err());
        assert!(judge(&["a"; 128].join(".")).is_err());
    }
}
