//! Tunnels and operators: who may come in, from where, with which key, and what they reach.

use std::ops::Range;

use super::{
    LoginAttempt, Operator, PrefixListRef, Protocol, PublicKey, Target, Tunnel, UserName,
    catalogue::KnownVendor,
    fields::{Block, Field, Shape, excerpt, near},
    host, key, net,
    report::{Read, Report},
    vendor,
};

pub(super) const TUNNEL: Shape =
    Shape { what: "a tunnel", fields: &["user", "vendor", "allow_from", "keys", "legacy_rsa_sha1", "targets"] };
pub(super) const TARGET: Shape =
    Shape { what: "a target", fields: &["name", "host", "port", "speaks", "networks", "login_attempt"] };
pub(super) const LOGIN_ATTEMPT: Shape = Shape { what: "a login attempt", fields: &["user", "database"] };
pub(super) const OPERATOR: Shape = Shape { what: "an operator", fields: &["name", "allow_from", "keys"] };

/// Accounts that the supported images (Debian, Ubuntu, Amazon Linux) carry, or that their packages create.
const RESERVED_USERS: &[&str] = &[
    "_apt",
    "_chrony",
    "adm",
    "admin",
    "administrator",
    "azureuser",
    "backup",
    "bin",
    "chrony",
    "cloud-user",
    "daemon",
    "dbus",
    "debian",
    "dnsmasq",
    "ec2-instance-connect",
    "ec2-user",
    "fwupd-refresh",
    "games",
    "gangplank",
    "gnats",
    "halt",
    "irc",
    "landscape",
    "libstoragemgmt",
    "list",
    "lp",
    "lxd",
    "mail",
    "man",
    "messagebus",
    "news",
    "nobody",
    "nogroup",
    "ntp",
    "operator",
    "polkitd",
    "pollinate",
    "postfix",
    "proxy",
    "root",
    "rpc",
    "rpcuser",
    "shutdown",
    "ssh",
    "sshd",
    "sssd",
    "staff",
    "sudo",
    "sync",
    "sys",
    "syslog",
    "systemd",
    "tcpdump",
    "tss",
    "ubuntu",
    "unbound",
    "usbmux",
    "users",
    "uucp",
    "uuidd",
    "waagent",
    "wheel",
    "www-data",
];

/// What is judged over the whole plan, with the place of each.
#[derive(Default)]
pub(super) struct Census {
    users: Vec<(String, Range<usize>)>,
    keys: Vec<(String, Range<usize>, String)>,
    pub sources: Vec<net::Placed>,
    /// With the place of each.
    pub lists: Vec<(PrefixListRef, Range<usize>)>,
}

impl Census {
    fn count(&mut self, user: &UserName, lists: &[net::List]) {
        let of_user = |list: &net::List| {
            (PrefixListRef { id: list.id.clone(), user: user.clone(), field: list.field.clone() }, list.place.clone())
        };
        self.lists.extend(lists.iter().map(of_user));
    }
}

pub(super) fn tunnel(field: &Field<'_>, census: &mut Census, report: &mut Report) -> Read<Tunnel> {
    let block = field.block(&TUNNEL, report)?;
    let vendor = block.optional("vendor", report, vendor::read);
    let usual = vendor.as_ref().ok().and_then(|vendor| vendor.as_ref()?.0.known?.user.as_ref());
    let user = match (block.get("user"), block.get("vendor"), usual.map(|usual| usual.name.as_str())) {
        // The vendor's own name, where the plan gives none.
        (None, Some(place), Some(name)) => named(name, place, census, report),
        // A vendor that is not known may have one.
        (None, Some(_), None) if let Err(told) = &vendor => Err(*told),
        _ => block.required("user", report, |field, report| user(field, census, report)),
    };
    let allow_from = block.optional("allow_from", report, net::sources);
    let keys =
        block.optional("keys", report, |field, report| keys(field, &block_owner(&block, "user"), census, report));
    let legacy_rsa_sha1 = block.optional("legacy_rsa_sha1", report, Field::boolean);
    let targets = block.required("targets", report, targets);

    let (vendor, allow_from) = (vendor?, allow_from?.unwrap_or_default());
    if vendor.as_ref().is_none_or(|(vendor, _)| vendor.sources.is_empty()) && allow_from.is_empty() {
        let place = block.get("allow_from").or_else(|| block.get("vendor")).map_or(block.place(), |field| &field.place);
        let known = vendor.as_ref().and_then(|(vendor, _)| vendor.known);
        let fix = known.map_or_else(
            || "name a `vendor`, or list addresses in `allow_from`".to_owned(),
            vendor::nobody_could_connect,
        );
        let problem = report.at(place, "nobody could connect", "no source address is allowed here").fix(fix);
        return Err(report.push(problem));
    }
    let keys = keys?.unwrap_or_default();
    if let Some((known, key)) = vendor.as_ref().and_then(|(vendor, _)| vendor.known.zip(vendor.known?.key)) {
        // None yet is no mistake: most vendors show them once the address is known.
        if !keys.is_empty() && keys.len() < key.number {
            let label = format!("{} of {}'s {} keys", keys.len(), known.name, key.number);
            let place = block.get("keys").map_or(block.place(), |field| &field.place);
            let problem = report.at(place, "a key is missing", label);
            let because = "The vendor may change to another of them at any time, and would be locked out.";
            return Err(report.push(problem.because(because).fix(format!("list all {}", key.number))));
        }
    }
    let legacy_rsa_sha1 = legacy_rsa_sha1?;
    if let (None, Some(known)) = (legacy_rsa_sha1, vendor.as_ref().and_then(|(vendor, _)| vendor.known)) {
        signatures(known, &keys, &block, report)?;
    }
    let (vendor, vendor_sources) = vendor.unzip();
    census.sources.extend(vendor_sources.unwrap_or_default());
    census.sources.extend(allow_from.nets.iter().cloned());
    let user = user?;
    census.count(&user, &allow_from.lists);
    Ok(Tunnel { user, vendor, allow_from: allow_from.into_nets(), keys, legacy_rsa_sha1, targets: targets? })
}

/// A vendor that signs with SHA-1 needs the plan's word for it: sshd refuses such signatures by itself.
fn signatures(known: &KnownVendor, keys: &[PublicKey], block: &Block<'_>, report: &mut Report) -> Read<()> {
    let Some(sha1) = &known.sha1_signatures else { return Ok(()) };
    let rsa = keys.iter().any(|key| key.algorithm == "ssh-rsa");
    // Which of its keys it will be is not known before there is one: only a vendor without another needs the word then.
    if !rsa && (!keys.is_empty() || sha1.instead.is_some()) {
        return Ok(());
    }
    let place = block.get("vendor").map_or(block.place(), |field| &field.place);
    let problem = report.at(place, "signatures without consent", "this vendor may sign with SHA-1");
    let instead = sha1.instead.as_ref().map_or(String::new(), |key| format!("take {key}; or "));
    let fix = format!(
        "{instead}write `legacy_rsa_sha1: true` at this tunnel: sshd then accepts SHA-1 signatures from its user, and from no other; `false` refuses \
         them, for a vendor that no longer needs them"
    );
    Err(report
        .push(problem.because(format!("{}. SHA-1 is broken, and sshd refuses such signatures.", sha1.why)).fix(fix)))
}

pub(super) fn operator(field: &Field<'_>, census: &mut Census, report: &mut Report) -> Read<Operator> {
    let block = field.block(&OPERATOR, report)?;
    let name = block.required("name", report, |field, report| user(field, census, report));
    let allow_from = block.required("allow_from", report, |field, report| {
        let sources = net::sources(field, report)?;
        if sources.is_empty() {
            let problem = field.problem(report, "nobody could connect", "no source address is allowed here");
            return Err(report.push(problem.fix("list the operator's addresses, or remove the operator")));
        }
        Ok(sources)
    });
    let keys = block.required("keys", report, |field, report| {
        let keys = keys(field, &block_owner(&block, "name"), census, report)?;
        if keys.is_empty() {
            let problem = field.problem(report, "an operator without a key", "the list is empty");
            return Err(report.push(problem.fix("add the operator's public key, or remove the operator")));
        }
        Ok(keys)
    });
    let allow_from = allow_from?;
    census.sources.extend(allow_from.nets.iter().cloned());
    let name = name?;
    census.count(&name, &allow_from.lists);
    Ok(Operator { name, allow_from: allow_from.into_nets(), keys: keys? })
}

/// Where a block of a tunnel or an operator stands identifies it, even if its name is broken.
fn block_owner(block: &Block<'_>, name: &str) -> String {
    block.get(name).map_or_else(String::new, |field| field.path.clone())
}

fn user(field: &Field<'_>, census: &mut Census, report: &mut Report) -> Read<UserName> {
    named(field.text(report)?, field, census, report)
}

/// The user of this name, which stands in this field or follows from it.
fn named(text: &str, field: &Field<'_>, census: &mut Census, report: &mut Report) -> Read<UserName> {
    let Some(user) = UserName::new(text) else {
        let label = format!("`{}` is not a user name", excerpt(text));
        let problem = field.problem(report, "not a user name", label);
        return Err(report.push(problem.fix("use 1 to 32 of a-z, 0-9, `_` and `-`, beginning with a letter or `_`")));
    };
    if RESERVED_USERS.contains(&text) || text.starts_with("systemd-") {
        let problem = field.problem(report, "a reserved user name", format!("the machine has a `{text}` of its own"));
        return Err(report.push(problem.fix("choose a name for the tunnel alone, such as the vendor's")));
    }
    if let Some((_, first)) = census.users.iter().find(|(known, _)| known == text) {
        let label = format!("`{text}` already stands on line {}", report.line(first));
        let problem = field.problem(report, "a user twice", label);
        return Err(report.push(problem.fix("each tunnel and each operator needs a user of its own")));
    }
    census.users.push((text.to_owned(), field.place.clone()));
    Ok(user)
}

fn keys(field: &Field<'_>, owner: &str, census: &mut Census, report: &mut Report) -> Read<Vec<PublicKey>> {
    field.list(report, |item, report| {
        let key = key::public_key(item, report)?;
        if let Some((_, first, first_owner)) = census.keys.iter().find(|(known, ..)| *known == key.base64) {
            let label = format!("the same key stands on line {}", report.line(first));
            let problem = item.problem(report, "a key twice", label);
            let problem = if first_owner == owner {
                problem.fix("remove one of them")
            } else {
                problem
                    .because("A key that opens two users blurs who may do what.")
                    .fix("give each user a key of its own")
            };
            return Err(report.push(problem));
        }
        census.keys.push((key.base64.clone(), item.place.clone(), owner.to_owned()));
        Ok(key)
    })
}

fn targets(field: &Field<'_>, report: &mut Report) -> Read<Vec<Target>> {
    let mut names: Vec<(String, Range<usize>)> = Vec::new();
    let targets = field.list(report, |item, report| target(item, &mut names, report))?;
    if targets.is_empty() {
        let problem = field.problem(report, "a tunnel without a target", "the list is empty");
        return Err(report.push(problem.fix("name what the tunnel reaches: {name: warehouse, host: ..., port: 5432}")));
    }
    Ok(targets)
}

fn target(field: &Field<'_>, names: &mut Vec<(String, Range<usize>)>, report: &mut Report) -> Read<Target> {
    let block = field.block(&TARGET, report)?;
    let name = block.required("name", report, |field, report| target_name(field, names, report));
    let host = block.required("host", report, host::host);
    let port = block.required("port", report, Field::port);
    let speaks = block.optional("speaks", report, protocol);
    let networks = block.optional("networks", report, net::ranges);
    let speaks = speaks?.unwrap_or(Protocol::Tcp);
    let login_attempt = block.optional("login_attempt", report, |field, report| login_attempt(field, speaks, report));
    Ok(Target {
        name: name?,
        host: host?,
        port: port?,
        speaks,
        networks: networks?.unwrap_or_default().into_iter().map(|(net, _)| net).collect(),
        login_attempt: login_attempt?.flatten(),
    })
}

/// `true`, or the user and the database that PostgreSQL's rules are asked about.
fn login_attempt(field: &Field<'_>, speaks: Protocol, report: &mut Report) -> Read<Option<LoginAttempt>> {
    if matches!(speaks, Protocol::Tls | Protocol::Tcp) {
        let label = format!("`speaks` is {}: there is no login", speaks.as_str());
        let problem = field.problem(report, "no login to attempt", label);
        return Err(report.push(problem.fix("say with `speaks` which database it is, or remove `login_attempt`")));
    }
    if !field.is_map() {
        return Ok(field.boolean(report)?.then_some(LoginAttempt::Nobody));
    }
    if speaks != Protocol::Postgres {
        let label = format!("{} is never asked about a user that exists", speaks.as_str());
        let problem = field.problem(report, "a login that may count as a failed one", label);
        return Err(report.push(problem.fix("write `login_attempt: true`")));
    }
    let block = field.block(&LOGIN_ATTEMPT, report)?;
    let user = block.required("user", report, database_name);
    let database = block.required("database", report, database_name);
    Ok(Some(LoginAttempt::As { user: user?, database: database? }))
}

/// PostgreSQL's names have at most 63 bytes (NAMEDATALEN).
fn database_name(field: &Field<'_>, report: &mut Report) -> Read<String> {
    let text = field.text(report)?;
    if !(1..=63).contains(&text.len()) || text.chars().any(char::is_control) {
        let label = format!("`{}` is no name of PostgreSQL's", excerpt(text));
        let problem = field.problem(report, "not a name", label);
        return Err(report.push(problem.fix("use 1 to 63 characters")));
    }
    Ok(text.to_owned())
}

fn target_name(field: &Field<'_>, names: &mut Vec<(String, Range<usize>)>, report: &mut Report) -> Read<String> {
    let name = field.text(report)?;
    let ok = (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !ok {
        let label = format!("`{}` is not a target's name", excerpt(name));
        let problem = field.problem(report, "not a name", label);
        return Err(report.push(problem.fix("use 1 to 32 of a-z, 0-9 and `-`, not at an end")));
    }
    if let Some((_, first)) = names.iter().find(|(known, _)| known == name) {
        let label = format!("`{name}` already stands on line {}", report.line(first));
        let problem = field.problem(report, "a target twice", label);
        return Err(report.push(problem.fix("give each target of a tunnel a name of its own")));
    }
    names.push((name.to_owned(), field.place.clone()));
    Ok(name.to_owned())
}

fn protocol(field: &Field<'_>, report: &mut Report) -> Read<Protocol> {
    choice(field, "a protocol", &Protocol::ALL, report)
}

/// One of a few words.
pub(super) fn choice<T: Copy>(field: &Field<'_>, what: &str, known: &[(&str, T)], report: &mut Report) -> Read<T> {
    let text = field.text(report)?;
    if let Some((_, value)) = known.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let label = format!("`{}` is not {what} that gangplank knows", excerpt(text));
    let problem = field.problem(report, "an unknown word", label);
    let words = || known.iter().map(|(word, _)| *word);
    let fix = match near(text, words()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("choose one of {}", words().collect::<Vec<_>>().join(", ")),
    };
    Err(report.push(problem.fix(fix)))
}
