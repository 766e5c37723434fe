//! What the tests stand on: moto's server as the cloud, boto3 as the hand that moves things behind the program's back, a
//! proxy that counts calls and brings trouble, and the program itself in an empty environment.

pub mod moto;
pub mod plans;
pub mod program;
pub mod proxy;

use std::{
    env,
    io::{Write, stderr},
    path::PathBuf,
    sync::OnceLock,
    thread,
};

pub use moto::{Account, Moto};

/// The cloud that all tests of this process share; each takes an account of its own from it.
///
/// `None` where there is no moto, which the test says aloud (its standard error is not captured) and returns. It fails
/// instead with `GANGPLANK_TEST_REQUIRE=1`, so that no automation skips in silence.
pub fn moto_or_skip() -> Option<&'static Moto> {
    static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| python().map(|python| Moto::start(&python)));
    if shared.is_none() {
        skip("no moto here (tests/run installs it)");
    }
    shared.as_ref()
}

/// A Python that has moto and boto3: `GANGPLANK_TEST_PYTHON`, which `tests/run` prepares.
pub fn python() -> Option<PathBuf> {
    env::var_os("GANGPLANK_TEST_PYTHON").map(PathBuf::from)
}

/// Says that the running test is skipped, and why; a failure where skipping is not allowed.
pub fn skip(why: &str) {
    assert!(env::var_os("GANGPLANK_TEST_REQUIRE").is_none_or(|v| v != "1"), "not skipped, as required: {why}");
    let current = thread::current();
    // Not `eprintln!`: the test harness would keep it to itself when the test passes.
    let _ = writeln!(stderr(), "skipped: {} ({why})", current.name().unwrap_or("a test"));
}
