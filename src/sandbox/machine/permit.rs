//! What sshd grants: who enters with which key, and what they may do then. Pure; a test compares with the real sshd.

use std::net::IpAddr;

use jiff::Timestamp;
use russh::keys::PublicKey;

use super::{
    config::Settings,
    keys::{self, Line, Options},
    state::Machine,
};

/// The settings for one user, and the key's options once it has entered.
#[derive(Clone, Debug)]
pub struct Grants {
    pub settings: Settings,
    pub options: Options,
    pub shell: String,
}

/// The options of the key with which this user enters; `None`: it does not. `algorithm`: the signature's.
pub fn enters(
    machine: &Machine,
    user: &str,
    key: &PublicKey,
    algorithm: &str,
    source: IpAddr,
    now: Timestamp,
) -> Option<Options> {
    let account = machine.accounts.get(user)?;
    let settings = machine.settings(user, Some(source));
    let shut_out = account.locked && settings.is("usepam", "no");
    let takes = settings.is("pubkeyauthentication", "yes")
        && settings.algorithms("pubkeyacceptedalgorithms").any(|accepted| accepted == algorithm)
        && settings.words("authorizedkeysfile").any(|file| file.trim_start_matches("%h/") == ".ssh/authorized_keys");
    if shut_out || !takes || !settings.admits(user) {
        return None;
    }
    keys::read(account.authorized_keys.as_deref()?).into_iter().find_map(|line| match line {
        Line::Key(own) if own.key.key_data() == key.key_data() && own.options.admit(source, now) => Some(own.options),
        _ => None,
    })
}

/// The methods that a refusal names.
pub fn methods(settings: &Settings) -> Vec<&'static str> {
    let on = [
        ("publickey", "pubkeyauthentication"),
        ("password", "passwordauthentication"),
        ("keyboard-interactive", "kbdinteractiveauthentication"),
    ];
    let on = on.into_iter().filter(|(_, setting)| settings.is(setting, "yes")).map(|(method, _)| method);
    let lists: Vec<&str> = settings.words("authenticationmethods").collect();
    let first = |list: &&str| list.split(',').next().and_then(|method| method.split(':').next()).map(str::to_owned);
    let named: Vec<String> = lists.iter().filter_map(first).collect();
    on.filter(|method| lists == ["any"] || named.iter().any(|named| named == method)).collect()
}

impl Grants {
    fn forwarding(&self) -> bool {
        self.options.port_forwarding && !self.settings.is("disableforwarding", "yes")
    }

    fn allows(&self, setting: &str, direction: &str) -> bool {
        let value = self.settings.get(setting);
        value == "yes" || value == direction
    }

    /// A forward from the client to a place. Its text is compared, not what it means.
    pub fn opens(&self, host: &str, port: u32) -> bool {
        let settings: Vec<&str> = self.settings.words("permitopen").collect();
        let options: Vec<&str> = self.options.permit_open.iter().map(String::as_str).collect();
        self.forwarding()
            && self.allows("allowtcpforwarding", "local")
            && (settings == ["any"] || listed(&settings, host, port))
            && (options.is_empty() || listed(&options, host, port))
    }

    /// A listener on the machine for the client.
    pub fn listens(&self, host: &str, port: u32) -> bool {
        let places: Vec<&str> = self.settings.words("permitlisten").collect();
        let own: Vec<&str> = self.options.permit_listen.iter().map(String::as_str).collect();
        self.forwarding()
            && self.allows("allowtcpforwarding", "remote")
            && (places == ["any"] || listed(&places, host, port))
            && (own.is_empty() || listed(&own, host, port))
    }

    /// A socket on the machine, opened (`local`) or listened on (`remote`).
    pub fn sockets(&self, direction: &str) -> bool {
        self.forwarding() && self.allows("allowstreamlocalforwarding", direction)
    }

    pub fn terminal(&self) -> bool {
        self.options.pty && self.settings.is("permittty", "yes")
    }

    pub fn agent(&self) -> bool {
        self.options.agent_forwarding
            && self.settings.is("allowagentforwarding", "yes")
            && !self.settings.is("disableforwarding", "yes")
    }

    /// Never on these machines: without xauth sshd refuses what its settings allow.
    pub fn x11(&self) -> bool {
        false
    }

    /// What runs in place of what was asked for.
    pub fn forced(&self) -> Option<&str> {
        match self.settings.get("forcecommand") {
            "none" => self.options.command.as_deref(),
            command => Some(command),
        }
    }
}

/// Whether one of these `host:port` is this place. A host may be `*`, and stand in brackets; so may a port be `*`.
fn listed(places: &[&str], host: &str, port: u32) -> bool {
    places.iter().any(|place| {
        let Some((allowed, number)) = place.rsplit_once(':') else {
            // Of permitlisten: a port alone.
            return place.parse() == Ok(port);
        };
        let bare = allowed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(allowed);
        (allowed == "*" || bare == host) && (number == "*" || number.parse() == Ok(port))
    })
}

/// What a login shell prints of a command, and its status: enough of one to show that there is one.
pub fn run(shell: &str, command: Option<&str>) -> (String, u32) {
    if shell.ends_with("/nologin") {
        return ("This account is currently not available.\n".to_owned(), 1);
    }
    if shell.ends_with("/false") {
        return (String::new(), 1);
    }
    let Some(command) = command else { return (String::new(), 0) };
    match command.trim().split_once(' ').unwrap_or((command.trim(), "")) {
        ("" | "exit" | "true", _) => (String::new(), 0),
        ("echo", words) => (words.replace(['\'', '"'], "") + "\n", 0),
        (program, _) if program.ends_with("/nologin") => run(program, None),
        (program, _) => (format!("sh: 1: {program}: not found\n"), 127),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::machine::config::Config;

    fn grants(settings: &str) -> Grants {
        let settings = Config::read(&[settings]).unwrap().settings("ana", None);
        Grants { settings, options: Options::default(), shell: "/bin/sh".to_owned() }
    }

    #[test]
    fn places_are_compared_as_text() {
        let ana = grants("PermitOpen 10.0.0.1:5432 [2001:db8::1]:1 *:9 a:*");
        for (host, port, opens) in [
            ("10.0.0.1", 5432, true),
            ("10.0.0.01", 5432, false),
            ("10.0.0.1", 5433, false),
            ("2001:db8::1", 1, true),
            ("anything", 9, true),
            ("a", 65535, true),
            ("A", 65535, false),
        ] {
            assert_eq!(ana.opens(host, port), opens, "{host} {port}");
        }
        assert!(!grants("PermitOpen none").opens("a", 1) && grants("").opens("a", 1));
        assert!(!grants("AllowTcpForwarding remote").opens("a", 1));
        let mut ana = grants("PermitOpen a:1 a:2");
        ana.options.permit_open.push("a:1".to_owned());
        assert!(ana.opens("a", 1) && !ana.opens("a", 2));
    }

    #[test]
    fn methods_are_those_that_are_on_and_listed() {
        let all = |text: &str| methods(&grants(text).settings);
        assert_eq!(all(""), ["publickey", "password", "keyboard-interactive"]);
        assert_eq!(all("AuthenticationMethods publickey"), ["publickey"]);
        assert_eq!(all("AuthenticationMethods password,publickey\nKbdInteractiveAuthentication no"), ["password"]);
        assert_eq!(all("PasswordAuthentication no\nKbdInteractiveAuthentication no"), ["publickey"]);
    }

    #[test]
    fn a_shell_runs_what_it_is_told_unless_it_is_none() {
        assert_eq!(run("/usr/sbin/nologin", Some("echo a")).1, 1);
        assert_eq!(run("/bin/sh", Some("echo le''ft")), ("left\n".to_owned(), 0));
        assert_eq!(run("/bin/sh", Some("/usr/sbin/nologin")).1, 1);
    }
}
