//! A machine's host keys, made of a seed: the same machine always has the same ones, and no two machines share one.
//!
//! ECDSA and Ed25519, as Amazon Linux 2023 makes them. Debian has an RSA key too, which would take seconds to make.

use std::convert::Infallible;

use russh::keys::{
    EcdsaCurve, PrivateKey,
    ssh_key::{
        private::{EcdsaKeypair, Ed25519Keypair, KeypairData},
        rand_core::{TryCryptoRng, TryRng},
    },
};
use sha2::{Digest, Sha256};

/// In the order in which sshd tells them.
pub fn private(secret: &[u8; 32]) -> Vec<PrivateKey> {
    let ecdsa = EcdsaKeypair::random(&mut Stream::new(secret, "ecdsa"), EcdsaCurve::NistP256).map(KeypairData::Ecdsa);
    let ed25519 = KeypairData::Ed25519(Ed25519Keypair::from_seed(&derived(secret, "ed25519", 0)));
    let pairs = ecdsa.into_iter().chain([ed25519]);
    pairs.filter_map(|pair| PrivateKey::new(pair, "").ok()).collect()
}

/// `ssh-ed25519 AAAA...`, without comments.
pub fn public(keys: &[PrivateKey]) -> Vec<String> {
    keys.iter().filter_map(|key| key.public_key().to_openssh().ok()).map(|key| key.trim().to_owned()).collect()
}

/// 32 bytes that only this secret and this purpose give.
pub fn derived(secret: &[u8], purpose: &str, number: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(secret);
    hash.update(purpose);
    hash.update(number.to_be_bytes());
    hash.finalize().into()
}

/// SHA-256 of a counter: as random as the seed, and the same each time.
struct Stream<'a> {
    secret: &'a [u8; 32],
    purpose: &'static str,
    number: u64,
}

impl<'a> Stream<'a> {
    fn new(secret: &'a [u8; 32], purpose: &'static str) -> Self {
        Self { secret, purpose, number: 0 }
    }
}

impl TryRng for Stream<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            let block = derived(self.secret, self.purpose, self.number);
            self.number += 1;
            for (to, from) in chunk.iter_mut().zip(block) {
                *to = from;
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for Stream<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_keys_and_shares_them_with_nobody() {
        let (one, other) = (public(&private(&[1; 32])), public(&private(&[2; 32])));
        assert_eq!(one, public(&private(&[1; 32])));
        assert!(one.iter().all(|key| !other.contains(key)));
        let kinds: Vec<&str> = one.iter().map(|key| key.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, ["ecdsa-sha2-nistp256", "ssh-ed25519"]);
    }
}
