//! The pinned host key: what a bastion's machine said its host key was, on its own console, before anybody connected.
//!
//! It stands in the instance's tag `gangplank:host-key` as one OpenSSH public key without a comment, or as its `SHA256:`
//! fingerprint where the key is too long for a tag (RSA). No plan says it, so no diff sets or removes it; a new instance has
//! a new host key, and starts without.

use ssh_key::{Algorithm, HashAlg, PublicKey};

use crate::plan::LONGEST_TAG_VALUE;

/// The tag's value for a machine with these host keys (OpenSSH lines): ed25519 before ECDSA before the rest. `None` where none
/// of them can be read.
pub fn value<'a>(host_keys: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let keys = host_keys.into_iter().filter_map(|line| PublicKey::from_openssh(line.trim()).ok());
    let mut key = keys.min_by_key(|key| match key.algorithm() {
        Algorithm::Ed25519 => 0,
        Algorithm::Ecdsa { .. } => 1,
        _ => 2,
    })?;
    key.set_comment("");
    let text = key.to_openssh().ok()?.trim().to_owned();
    if text.len() <= LONGEST_TAG_VALUE { Some(text) } else { Some(key.fingerprint(HashAlg::Sha256).to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDnRm9g/faxT1YzmFyH0quZ6fVDHw6c2OgCzfXFQg8ZrN08kPkgKcXZi+rGCtOA\
        VD2YSwKPJMPSOBiz1MHL1AVN/WCtrO9UUgM9uk8VwqDh18Eal/eJBoRikt9woOgAYJrkhjiQWIYecFyZ4S1ZSZLFbxsYpA1C4N/p\
        q25H4DS1N5gSCE5+PuMAufu7AWjVlwfID8pbVpp44q30wiHUVyO7UwIV2w+TqNVIOITHpyGUWzb+JG5br2FtSvGy7uhcoSHegfby\
        9y1LVnz5FPBDKgzvFxzShZ8HtvPR4qkEeobXKQiOFt4yrB+CwiqebIQDGdMB3BlX2iwBtlbkKwMaOcVt";

    #[test]
    fn the_ed25519_key_is_pinned_without_its_comment() {
        let commented = format!("{ED25519} root@ip-10-20-1-9");
        assert_eq!(value([RSA, commented.as_str()]).as_deref(), Some(ED25519));
        assert_eq!(value(["", "nonsense", ED25519]).as_deref(), Some(ED25519));
        assert_eq!(value(["nonsense"]), None);
    }

    #[test]
    fn a_key_that_fits_no_tag_is_pinned_by_its_fingerprint() {
        let pinned = value([RSA]).expect("a readable key");
        assert!(pinned.starts_with("SHA256:") && pinned.len() == 50, "{pinned}");
    }
}
