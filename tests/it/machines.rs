//! The document on real machines: Debian's init, cloud-init and sshd, behind a firewall and before a database, all of them in
//! namespaces of this machine. `tests/tools/machines.sh` says what that takes.

use std::{
    env, fmt,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crate::support;

mod boots;
mod claims;
mod database;
mod deadline;
mod dns;
mod faults;
mod lab;
mod look;
mod loss;
mod machine;
mod namespace;
mod outcome;
mod paths;
mod sandbox;
mod sessions;
#[cfg(feature = "aws")]
mod story;
mod truth;
mod turn;
// Its longest test keeps both turns: after the others by its name, so that none of them waits for it.
mod verdicts;

use claims::Claims;
use database::Database;
use dns::Dns;
use lab::{Blueprint, Identity, Lab};
use machine::{Kind, Machine};
use namespace::Namespace;

/// The folder with the root filesystems; `None`, said aloud, where machines cannot be.
fn roots() -> Option<PathBuf> {
    if let Some(why) = env::var("GANGPLANK_TEST_NO_MACHINES").ok().filter(|why| !why.is_empty()) {
        support::cannot(&why);
        return None;
    }
    let roots = env::var_os("GANGPLANK_TEST_MACHINES").map(PathBuf::from);
    if roots.is_none() {
        support::skip("GANGPLANK_TEST_MACHINES names no machines (tests/tools/machines.sh makes them)");
    }
    roots
}

/// Looks until there is something to see; far longer than it should take.
#[track_caller]
fn eventually<T>(what: impl fmt::Display, mut look: impl FnMut() -> Option<T>) -> T {
    const PATIENCE: Duration = Duration::from_secs(90);
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
