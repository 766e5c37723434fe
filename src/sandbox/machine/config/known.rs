//! The keywords of sshd_config(5): their defaults, which kind each is, and what each takes.

use super::text::seconds;

/// Settings with their defaults, as `sshd -T` spells them. Empty: it prints none.
pub const DEFAULTS: [(&str, &str); 60] = [
    ("addressfamily", "any"),
    ("allowagentforwarding", "yes"),
    ("allowgroups", ""),
    ("allowstreamlocalforwarding", "yes"),
    ("allowtcpforwarding", "yes"),
    ("allowusers", ""),
    ("authenticationmethods", "any"),
    ("authorizedkeyscommand", "none"),
    ("authorizedkeysfile", ".ssh/authorized_keys .ssh/authorized_keys2"),
    ("authorizedprincipalscommand", "none"),
    ("authorizedprincipalsfile", "none"),
    ("chrootdirectory", "none"),
    (
        "ciphers",
        "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com",
    ),
    ("clientalivecountmax", "3"),
    ("clientaliveinterval", "0"),
    ("denygroups", ""),
    ("denyusers", ""),
    ("disableforwarding", "no"),
    ("forcecommand", "none"),
    ("gatewayports", "no"),
    ("gssapiauthentication", "no"),
    ("hostbasedauthentication", "no"),
    (
        "hostkeyalgorithms",
        "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com,\
         sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256",
    ),
    ("kbdinteractiveauthentication", "yes"),
    ("kerberosauthentication", "no"),
    (
        "kexalgorithms",
        "sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,\
         ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,\
         diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256",
    ),
    ("logingracetime", "120"),
    ("loglevel", "INFO"),
    (
        "macs",
        "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,\
         hmac-sha1-etm@openssh.com,umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1",
    ),
    ("maxauthtries", "6"),
    ("maxsessions", "10"),
    ("maxstartups", "10:30:100"),
    ("passwordauthentication", "yes"),
    ("permitemptypasswords", "no"),
    ("permitlisten", "any"),
    ("permitopen", "any"),
    ("permitrootlogin", "without-password"),
    ("permittty", "yes"),
    ("permittunnel", "no"),
    ("permituserenvironment", "no"),
    ("permituserrc", "yes"),
    ("persourcemaxstartups", "none"),
    ("port", "22"),
    (
        "pubkeyacceptedalgorithms",
        "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ssh-ed25519@openssh.com,\
         sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256",
    ),
    ("pubkeyauthentication", "yes"),
    ("requiredrsasize", "1024"),
    ("strictmodes", "yes"),
    ("trustedusercakeys", "none"),
    ("unusedconnectiontimeout", "none"),
    ("usepam", "no"),
    ("x11forwarding", "no"),
    ("x11uselocalhost", "yes"),
    ("printmotd", "yes"),
    ("acceptenv", ""),
    ("subsystem", ""),
    ("hostkey", ""),
    ("listenaddress", ""),
    ("pidfile", "/run/sshd.pid"),
    ("banner", "none"),
    ("usedns", "no"),
];

/// Names of old settings for new ones.
pub const ALIASES: [(&str, &str); 3] = [
    ("challengeresponseauthentication", "kbdinteractiveauthentication"),
    ("pubkeyacceptedkeytypes", "pubkeyacceptedalgorithms"),
    ("skeyauthentication", "kbdinteractiveauthentication"),
];

/// What no `Match` block may hold, but for `Match all`.
pub const GLOBAL: [&str; 15] = [
    "addressfamily",
    "ciphers",
    "hostkey",
    "hostkeyalgorithms",
    "kexalgorithms",
    "listenaddress",
    "logingracetime",
    "macs",
    "maxstartups",
    "permituserenvironment",
    "persourcemaxstartups",
    "pidfile",
    "port",
    "strictmodes",
    "usepam",
];

/// Settings of which each line counts: it adds values, or (MaxStartups, and nothing else) prevails.
pub const ADDING: [&str; 10] = [
    "acceptenv",
    "allowgroups",
    "allowusers",
    "denygroups",
    "denyusers",
    "hostkey",
    "listenaddress",
    "maxstartups",
    "port",
    "subsystem",
];
/// Settings that are yes or no and nothing else.
pub const FLAGS: [&str; 16] = [
    "allowagentforwarding",
    "disableforwarding",
    "gssapiauthentication",
    "hostbasedauthentication",
    "kbdinteractiveauthentication",
    "kerberosauthentication",
    "passwordauthentication",
    "permitemptypasswords",
    "permittty",
    "permituserrc",
    "printmotd",
    "pubkeyauthentication",
    "strictmodes",
    "usepam",
    "x11forwarding",
    "x11uselocalhost",
];
pub const NUMBERS: [&str; 6] =
    ["clientalivecountmax", "clientaliveinterval", "maxauthtries", "maxsessions", "port", "requiredrsasize"];
/// Settings whose value is the rest of their line.
pub const COMMANDS: [&str; 3] = ["authorizedkeyscommand", "authorizedprincipalscommand", "forcecommand"];
/// Lists of algorithms, which `+`, `-` and `^` change.
pub const ALGORITHMS: [&str; 5] = ["ciphers", "hostkeyalgorithms", "kexalgorithms", "macs", "pubkeyacceptedalgorithms"];

/// Whether a keyword takes these values, in sshd's words where it does not. `shown` is the keyword as it was written.
pub fn check(shown: &str, name: &str, values: &[String]) -> Result<(), String> {
    let one = values.first().map_or("", String::as_str);
    let unsupported = || Err(format!("{shown}: unsupported option \"{one}\"."));
    let allowed: &[&str] = match name {
        _ if FLAGS.contains(&name) => &["yes", "no"],
        "allowtcpforwarding" | "allowstreamlocalforwarding" => &["yes", "no", "all", "local", "remote"],
        "gatewayports" => &["yes", "no", "clientspecified"],
        "permitrootlogin" => &["yes", "no", "prohibit-password", "without-password", "forced-commands-only"],
        "permittunnel" => &["yes", "no", "point-to-point", "ethernet"],
        _ => &[],
    };
    if !allowed.is_empty() && !allowed.contains(&one) {
        return unsupported();
    }
    if NUMBERS.contains(&name) && name != "clientaliveinterval" && one.parse::<u32>().is_err() {
        return Err(format!("{shown}: integer value expected."));
    }
    if name == "port" && one.parse::<u16>().ok().is_none_or(|port| port == 0) {
        return Err("Badly formatted port number.".to_owned());
    }
    if matches!(name, "logingracetime" | "clientaliveinterval") && seconds(one).is_none() {
        return Err(format!("{shown}: invalid time value."));
    }
    if name == "maxstartups" {
        let numbers: Vec<Option<u32>> = one.split(':').map(|number| number.parse().ok()).collect();
        let fine = match numbers.as_slice() {
            [Some(all)] => *all > 0,
            [Some(start), Some(rate), Some(full)] => start <= full && (1..=100).contains(rate),
            _ => false,
        };
        if !fine {
            return Err(format!("{shown}: invalid argument."));
        }
    }
    if matches!(name, "permitopen" | "permitlisten") {
        let fine = |value: &String| {
            matches!(value.as_str(), "any" | "none")
                || name == "permitlisten"
                || value.rsplit_once(':').is_some_and(|(host, port)| {
                    !host.is_empty() && (port == "*" || port.parse::<u16>().is_ok_and(|port| port > 0))
                })
        };
        if !values.iter().all(fine) {
            return Err(format!("{shown}: bad port number in {shown}"));
        }
    }
    Ok(())
}
