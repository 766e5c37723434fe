//! The algorithms that a server offers: whether there are sound ones, and which of them are obsolete.

use super::check;
use crate::verify::{
    Check, Part,
    network::{link::Unread, wire::KexInit},
};

/// Sound algorithms that current clients know. Sources: OpenSSH 9.2 to 10.0's defaults (sshd_config(5)) and RFC 9142.
const KEX: [&str; 13] = [
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group15-sha512",
];
const HOST_KEY: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];
const CIPHER: [&str; 6] = [
    "chacha20-poly1305@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];
const MAC: [&str; 6] = [
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "umac-128-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "umac-128@openssh.com",
];

/// Broken, or too short for today; RFC 9142, RFC 8758 (arcfour), RFC 8332 (SHA-1 signatures).
fn obsolete(name: &str) -> bool {
    let parts = ["sha1", "md5", "-cbc", "arcfour", "3des", "ripemd", "umac-64"];
    name == "none" || name == "ssh-rsa" || name == "ssh-dss" || parts.iter().any(|part| name.contains(part))
}

pub fn check_offer(offer: Option<&Result<KexInit, Unread>>, unseen: impl Fn(&Unread) -> Check, nothing: &str) -> Check {
    let base = base();
    let offer = match offer {
        None => return base.unknown(nothing),
        Some(Err(unread)) => return unseen(unread),
        Some(Ok(offer)) => offer,
    };
    let kinds: [(&str, &[&str], &[String]); 6] = [
        ("key exchange", &KEX, &offer.kex),
        ("host key", &HOST_KEY, &offer.host_key),
        ("cipher towards the server", &CIPHER, &offer.cipher_in),
        ("cipher from the server", &CIPHER, &offer.cipher_out),
        ("MAC towards the server", &MAC, &offer.mac_in),
        ("MAC from the server", &MAC, &offer.mac_out),
    ];
    let mut base = base;
    let mut missing = Vec::new();
    let mut weak: Vec<&str> = Vec::new();
    for (kind, sound, offered) in kinds {
        weak.extend(offered.iter().map(String::as_str).filter(|name| obsolete(name)));
        match offered.iter().find(|name| sound.contains(&name.as_str())) {
            Some(first) => base = base.seen(format!("{kind}: {first}")),
            None => {
                base = base.seen(format!("{kind}: only {}", list(offered)));
                missing.push(kind);
            }
        }
    }
    weak.sort_unstable();
    weak.dedup();
    if !weak.is_empty() {
        base = base.seen(format!("obsolete, offered too: {}", weak.join(", ")));
    }
    let strict = if offer.strict { "offered" } else { "not offered (CVE-2023-48795)" };
    base = base.seen(format!("strict key exchange: {strict}"));
    if missing.is_empty() {
        return base.pass();
    }
    base.fail(
        format!("the server offers no {} that a current client takes", missing.join(", nor a ")),
        "remove Ciphers, KexAlgorithms, HostKeyAlgorithms and MACs from the machine's sshd settings, or update its sshd",
    )
}

pub fn base() -> Check {
    check(
        "network.algorithms",
        Part::Bastion,
        "the server offers algorithms that are sound and that current clients know",
    )
}

fn list(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(6).map(String::as_str).collect();
    match names.len() {
        0 => "nothing".to_owned(),
        length if length > shown.len() => format!("{} and {} more", shown.join(", "), length - shown.len()),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Verdict;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn offer() -> KexInit {
        KexInit {
            kex: names(&["curve25519-sha256", "diffie-hellman-group14-sha1"]),
            host_key: names(&["ssh-rsa", "ssh-ed25519"]),
            cipher_in: names(&["aes128-cbc", "aes256-ctr"]),
            cipher_out: names(&["aes256-ctr"]),
            mac_in: names(&["hmac-sha2-256"]),
            mac_out: names(&["hmac-md5", "hmac-sha2-512"]),
            strict: true,
        }
    }

    fn judged(offer: KexInit) -> Check {
        check_offer(Some(&Ok(offer)), |_| base(), "")
    }

    #[test]
    fn obsolete_algorithms_beside_sound_ones_are_named() {
        let check = judged(offer());
        assert_eq!(check.verdict, Verdict::Pass);
        let weak = "obsolete, offered too: aes128-cbc, diffie-hellman-group14-sha1, hmac-md5, ssh-rsa";
        assert!(check.evidence.iter().any(|line| line == weak), "{check:?}");
    }

    #[test]
    fn each_kind_needs_a_sound_one() {
        let bad = names(&["diffie-hellman-group1-sha1", "ssh-dss", "3des-cbc", "hmac-md5", "none"]);
        let spoilt: [fn(&mut KexInit) -> &mut Vec<String>; 6] = [
            |offer| &mut offer.kex,
            |offer| &mut offer.host_key,
            |offer| &mut offer.cipher_in,
            |offer| &mut offer.cipher_out,
            |offer| &mut offer.mac_in,
            |offer| &mut offer.mac_out,
        ];
        for spoil in spoilt {
            let mut offer = offer();
            *spoil(&mut offer) = bad.clone();
            assert!(judged(offer.clone()).verdict.is_fail(), "{offer:?}");
            spoil(&mut offer).clear();
            assert!(judged(offer).verdict.is_fail());
        }
    }
}
