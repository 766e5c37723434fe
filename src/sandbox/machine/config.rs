//! sshd's settings: the text of its files → what holds for one user who connects from one address, as `sshd -T -C` prints it.
//! sshd_config(5), of the OpenSSH that Debian 12 has; a test compares with the real one.
//!
//! sshd reads its files twice: once for what stands outside of `Match` or below `Match all`, and for each connection once more
//! for what stands in matching blocks, which then prevails. In each reading the first value counts.

mod known;
mod text;

use std::{collections::BTreeMap, net::IpAddr};

pub use self::text::from;
use self::{
    known::{ADDING, ALGORITHMS, ALIASES, COMMANDS, DEFAULTS, GLOBAL, check},
    text::{like, list, seconds, words},
};

/// The line that this sshd greets with.
pub const IDENTIFICATION: &str = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10";

/// What stands in the image's own `/etc/ssh/sshd_config`, after the line that includes the folder of drop-ins.
pub const IMAGE: &str = "KbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\nPrintMotd no\n\
                         AcceptEnv LANG LC_*\nSubsystem sftp /usr/lib/openssh/sftp-server\n";

/// Everything that was read, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    blocks: Vec<Block>,
}

/// Lines that stand or fall together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    /// `None` outside of `Match`; its criteria otherwise.
    criteria: Option<Vec<(String, String)>>,
    /// Keyword in lower case, and values.
    lines: Vec<(String, Vec<String>)>,
}

impl Block {
    /// What stands below `Match all` is read both times.
    fn always(&self) -> bool {
        self.criteria.as_ref().is_none_or(Vec::is_empty)
    }
}

/// What sshd says of a text that it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// From 1.
    pub line: usize,
    pub why: String,
}

/// What holds for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<String, String>);

impl Config {
    /// Reads the texts of files, one after the other; a `Match` ends with its file.
    ///
    /// # Errors
    /// The first line that sshd refuses.
    pub fn read(texts: &[&str]) -> Result<Self, Refusal> {
        let mut config = Self::default();
        for text in texts {
            config.blocks.push(Block::default());
            for (number, line) in (1..).zip(text.lines()) {
                config.line(line).map_err(|why| Refusal { line: number, why })?;
            }
        }
        Ok(config)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let mut words = words(line);
        if words.is_empty() {
            return Ok(());
        }
        let shown = words.remove(0);
        let name = shown.to_lowercase();
        let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| (*new).to_owned());
        if name == "match" {
            self.blocks.push(Block { criteria: Some(criteria(&words)?), lines: Vec::new() });
            return Ok(());
        }
        if !DEFAULTS.iter().any(|(known, _)| *known == name) {
            return Err(format!("Bad configuration option: {shown}"));
        }
        if words.is_empty() {
            return Err(format!("{shown} missing argument."));
        }
        check(&shown, &name, &words)?;
        if COMMANDS.contains(&name.as_str()) {
            let rest = line.trim().get(shown.len()..).unwrap_or_default();
            words = vec![rest.trim_start_matches(['=', ' ', '\t']).to_owned()];
        }
        let Some(block) = self.blocks.last_mut() else { return Ok(()) };
        if !block.always() && GLOBAL.contains(&name.as_str()) {
            return Err(format!("Directive '{shown}' is not allowed within a Match block"));
        }
        block.lines.push((name, words));
        Ok(())
    }

    /// What holds for this user from this address.
    pub fn settings(&self, user: &str, source: Option<IpAddr>) -> Settings {
        let outside = first(self.blocks.iter().filter(|block| block.always()));
        let matching = |block: &&Block| block.criteria.as_ref().is_some_and(|all| matches(all, user, source));
        let inside = first(self.blocks.iter().filter(matching));
        let mut settings: BTreeMap<String, String> = BTreeMap::new();
        for (name, default) in DEFAULTS {
            let values = inside.get(name).filter(|_| !GLOBAL.contains(&name)).or_else(|| outside.get(name));
            let value = match values {
                Some(values) => spelled(name, values, default),
                None => default.to_owned(),
            };
            if !value.is_empty() {
                settings.insert(name.to_owned(), value);
            }
        }
        Settings(settings)
    }
}

impl Settings {
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == value
    }

    pub fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).split(' ').filter(|word| !word.is_empty())
    }

    pub fn number(&self, name: &str) -> usize {
        self.get(name).parse().unwrap_or_default()
    }

    /// Names of a list of algorithms.
    pub fn algorithms(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).split(',')
    }

    pub fn ports(&self) -> Vec<u16> {
        self.words("port").filter_map(|port| port.parse().ok()).collect()
    }

    /// MaxStartups: start, rate in percent, full.
    pub fn startups(&self) -> (usize, usize, usize) {
        let mut numbers = self.get("maxstartups").split(':').map(|number| number.parse().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// Whether AllowUsers and DenyUsers let this user try.
    pub fn admits(&self, user: &str) -> bool {
        let listed = |name: &str| self.words(name).any(|pattern| like(pattern, user));
        !listed("denyusers") && (self.get("allowusers").is_empty() || listed("allowusers"))
    }
}

/// The first values of each keyword.
fn first<'a>(blocks: impl Iterator<Item = &'a Block>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, values) in blocks.flat_map(|block| &block.lines) {
        let known = found.contains_key(name.as_str());
        if !known || ADDING.contains(&name.as_str()) {
            found.entry(name).or_default().extend(values.iter().map(String::as_str));
        }
    }
    found
}

/// As `sshd -T` prints it.
fn spelled(name: &str, values: &[&str], default: &str) -> String {
    let one = values.first().copied().unwrap_or_default();
    match name {
        _ if ALGORITHMS.contains(&name) => algorithms(one, default),
        // A number alone leaves the rate of the line before.
        "maxstartups" => values.iter().fold(String::new(), |before, value| match before.split(':').nth(1) {
            _ if value.contains(':') => (*value).to_owned(),
            Some(rate) if !rate.is_empty() => format!("{value}:{rate}:{value}"),
            _ => format!("{value}:30:{value}"),
        }),
        "permitrootlogin" if one == "prohibit-password" => "without-password".to_owned(),
        "allowtcpforwarding" | "allowstreamlocalforwarding" if one == "all" => "yes".to_owned(),
        "logingracetime" | "clientaliveinterval" => seconds(one).unwrap_or_default().to_string(),
        // A port alone is any host's.
        "permitlisten" => {
            let all = values
                .iter()
                .map(|one| if one.parse::<u16>().is_ok() { format!("*:{one}") } else { (*one).to_owned() });
            all.collect::<Vec<_>>().join(" ")
        }
        "loglevel" => one.to_uppercase(),
        _ => values.join(" "),
    }
}

fn algorithms(text: &str, default: &str) -> String {
    let defaults: Vec<&str> = default.split(',').collect();
    let (kind, list) = match text.chars().next() {
        Some(kind @ ('+' | '-' | '^')) => (kind, text.get(1..).unwrap_or_default()),
        _ => return text.to_owned(),
    };
    let named: Vec<&str> = list.split(',').collect();
    let others = |all: &[&str]| -> Vec<String> {
        let without = all.iter().filter(|one| !named.iter().any(|pattern| like(pattern, one)));
        without.map(|one| (*one).to_owned()).collect()
    };
    let named_too = named.iter().map(|one| (*one).to_owned());
    let all: Vec<String> = match kind {
        '-' => others(&defaults),
        '^' => named_too.chain(others(&defaults)).collect(),
        _ => defaults
            .iter()
            .map(|one| (*one).to_owned())
            .chain(named_too.filter(|one| !defaults.contains(&one.as_str())))
            .collect(),
    };
    all.join(",")
}

fn criteria(words: &[String]) -> Result<Vec<(String, String)>, String> {
    if let [all] = words
        && all.eq_ignore_ascii_case("all")
    {
        return Ok(Vec::new());
    }
    let known = ["user", "group", "host", "localaddress", "localport", "rdomain", "address"];
    let pairs: Vec<(String, String)> = words
        .chunks(2)
        .map(|pair| match pair {
            [name, value] if known.contains(&name.to_lowercase().as_str()) => Ok((name.to_lowercase(), value.clone())),
            [name, ..] => Err(format!("Unsupported Match attribute {name}")),
            [] => Err("Missing Match criteria".to_owned()),
        })
        .collect::<Result<_, _>>()?;
    if pairs.is_empty() { Err("Missing Match criteria".to_owned()) } else { Ok(pairs) }
}

/// A machine of ours has no groups but its users' own, and one name for each.
fn matches(criteria: &[(String, String)], user: &str, source: Option<IpAddr>) -> bool {
    criteria.iter().all(|(name, patterns)| match name.as_str() {
        "user" | "group" => list(patterns, |pattern| like(pattern, user)),
        "address" => source.is_some_and(|source| from(patterns, source)),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(texts: &[&str], user: &str) -> Settings {
        Config::read(texts).unwrap().settings(user, Some("192.0.2.1".parse().unwrap()))
    }

    #[test]
    fn the_first_value_counts_and_match_prevails() {
        let text = "MaxSessions 3\nMaxSessions 4\nX11Forwarding yes\nMatch User ana\n PermitOpen a:1 b:2\nMatch all\n PermitOpen none\n X11Forwarding no\n";
        let (ana, bob) = (settings(&[text, "X11Forwarding yes"], "ana"), settings(&[text, "Port 23\nPort 24"], "bob"));
        assert_eq!((ana.get("maxsessions"), ana.get("permitopen"), ana.get("x11forwarding")), ("3", "a:1 b:2", "no"));
        assert_eq!((bob.get("permitopen"), bob.ports()), ("none", vec![23, 24]));
        assert_eq!(settings(&["MaxStartups 7"], "bob").startups(), (7, 30, 7));
    }

    #[test]
    fn algorithms_are_added_and_removed() {
        let macs = |text: &str| settings(&[text], "ana").get("macs").to_owned();
        assert_eq!(macs("MACs hmac-sha1,hmac-md5"), "hmac-sha1,hmac-md5");
        assert!(macs("MACs +hmac-md5").ends_with("hmac-sha1,hmac-md5"));
        assert!(macs("MACs ^hmac-md5").starts_with("hmac-md5,umac"));
        assert!(!macs("MACs -*-etm@*").contains("etm"));
    }

    #[test]
    fn what_sshd_refuses_is_refused() {
        for text in [
            "Fnord yes",
            "Port",
            "Port 0",
            "Port ssh",
            "MaxSessions many",
            "PasswordAuthentication perhaps",
            "Match\n",
            "Match Fnord a",
            "Match User a\nPort 22",
            "PermitOpen nowhere",
            "LoginGraceTime soon",
            "MaxStartups 5:200:10",
        ] {
            assert!(Config::read(&[text]).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "((Match|User|PermitOpen|Port|MACs|MaxStartups|all|yes|[+^-]?[a-z*?!,]{0,6}|[0-9]{0,9}[:smhdw]?|[\"#=])[ \n=]?){0,30}",
            user in "[a-z]{0,4}",
        ) {
            if let Ok(config) = Config::read(&[&text]) {
                let settings = config.settings(&user, None);
                let _ = (settings.startups(), settings.ports(), settings.admits(&user), settings.number("maxsessions"));
            }
            let _ = (like(&text, &user), from(&text, [192, 0, 2, 1].into()));
        }
    }
}
