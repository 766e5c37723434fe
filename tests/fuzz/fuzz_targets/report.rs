//! Any console holds a report or is explained: no panic. What is sealed rightly is read too, whatever it says.
#![no_main]

use gangplank::verify::report;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

const SEAL: &str = "0123456789ab";

fuzz_target!(|text: &str| {
    if let Err(none) = report::read(text, SEAL, None) {
        assert!(!none.to_string().is_empty());
    }
    let line = format!("{{\"gangplank\":1,\"document\":\"{SEAL}\",\"why\":\"boot\",\"uptime\":1,\"time\":1,{text}");
    let checksum: String = Sha256::digest(format!("{SEAL}\n{line}")).iter().map(|b| format!("{b:02x}")).collect();
    let _ = report::read(&format!("noise\r\n{line},\"sha256\":\"{checksum}\"}}\r\n"), SEAL, Some("i-0"));
});
