//! Any bytes of a server or a database are read or refused: no panic, no endless reading, nothing for a terminal to obey.
#![no_main]

use gangplank::{
    plan::Protocol,
    verify::network::{
        speak::{self, Reading},
        wire,
    },
};
use libfuzzer_sys::fuzz_target;

fn harmless(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fuzz_target!(|bytes: &[u8]| {
    match wire::greeting(bytes) {
        Ok(Some((greeting, taken))) => {
            assert!(taken <= bytes.len());
            harmless(&greeting.identification);
            greeting.before.iter().for_each(|line| harmless(line));
        }
        // Whatever is still wanted is bounded.
        Ok(None) => assert!(bytes.len() <= 9 * 1024),
        Err(malformed) => harmless(&malformed.to_string()),
    }
    match wire::kexinit(bytes) {
        Ok(Some(offer)) => offer.kex.iter().for_each(|name| harmless(name)),
        Ok(None) => assert!(bytes.len() <= 8 * 36_000),
        Err(malformed) => harmless(&malformed.to_string()),
    }
    if let Some(line) = wire::last_words(bytes) {
        harmless(&line);
    }
    for (_, protocol) in Protocol::ALL {
        match speak::read(protocol, bytes, true) {
            Reading::More => panic!("nothing more will come"),
            Reading::Speaks(said) | Reading::Other(said) | Reading::Refuses { said, .. } => harmless(&said),
        }
    }
});
