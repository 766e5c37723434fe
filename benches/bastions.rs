//! What plan, create, no-op plan and destroy cost for 1, 10 and 50 bastions, with 0 and 50 ms added to each call: calls, wall
//! time, peak memory. Beside it the same work by boto3 with ten threads (`baseline.py`), and the time to start.
//! boto3's bastions are simpler: no check before, no look afterwards, and the rule that lets everything out stays.
//!
//! The cloud is moto's server on this machine: it answers one call at a time within 5 to 15 ms, which is most of the wall time
//! where nothing is added. Compare rows of one run with each other, never two machines.
//!
//! ```sh
//! tests/run    # once: makes the Python with moto
//! GANGPLANK_TEST_PYTHON=target/test-tools/python/bin/python cargo bench --bench bastions 2>/dev/null
//! ```
//!
//! Peak memory is the kernel's (`ru_maxrss`), which starts from what this process had when it forked: a few MB, below any row.

use std::{
    env, io, mem,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use support::{Bastion, Calls, Lab, Moto};

// The tests use the rest of it.
#[allow(dead_code, unused_imports)]
#[path = "../tests/it/support/mod.rs"]
mod support;

const COUNTS: [usize; 3] = [1, 10, 50];
const ADDED: [Duration; 2] = [Duration::ZERO, Duration::from_millis(50)];

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !env::args().any(|argument| argument == "--bench") {
        println!("measured by `cargo bench` only");
        return;
    }
    let Some(python) = support::python() else {
        println!("GANGPLANK_TEST_PYTHON names no Python with moto: tests/run makes one (see this file's first lines)");
        return;
    };
    start_up();
    let moto = Moto::start(&python);
    println!("| added per call | bastions | run by | what | reads | writes | seconds | peak MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for added in ADDED {
        for count in COUNTS {
            gangplank(&moto, count, added);
            boto3(&moto, &python, count, added);
        }
    }
}

/// The fastest of many: everything else is the machine's other work.
fn start_up() {
    let fastest = (0..50).map(|_| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        measure(command.arg("--version").stdout(Stdio::null()))
    });
    if let Some(fastest) = fastest.min_by_key(|measured| measured.elapsed) {
        println!("gangplank --version: {:.1} ms, {} MB\n", fastest.elapsed.as_secs_f64() * 1e3, fastest.peak_mb());
    }
}

fn gangplank(moto: &Moto, count: usize, added: Duration) {
    let lab = Lab::new(moto);
    for n in 0..count {
        lab.gangplank.write(&Bastion::new(&format!("bastion-{n:02}"), &lab.seed));
    }
    for (what, arguments) in [
        ("plan of nothing existing", &["plan"][..]),
        ("create", &["apply", "--yes", "--no-verify"]),
        ("plan of no change", &["plan"]),
        ("destroy", &["destroy", "--yes"]),
    ] {
        let proxy = lab.proxy();
        proxy.latency(added);
        let mut command = lab.gangplank.command(proxy.address());
        let measured = measure(command.args(arguments).arg(lab.gangplank.home()).stdout(Stdio::null()));
        row(added, count, "gangplank", what, &proxy.take_calls(), &measured);
        assert_made(&lab, what, count);
    }
    lab.ours().assert_nothing_of_ours();
}

fn boto3(moto: &Moto, python: &Path, count: usize, added: Duration) {
    let lab = Lab::new(moto);
    for what in ["plan of nothing existing", "create", "plan of no change", "destroy"] {
        let proxy = lab.proxy();
        proxy.latency(added);
        let mut command = Command::new(python);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baseline.py"))
            .args([what.split(' ').next().unwrap_or(what), &count.to_string()])
            .args([&lab.seed.vpc, &lab.seed.public_subnet, &lab.seed.warehouse_group])
            .env("AWS_ENDPOINT_URL", format!("http://{}", proxy.address()))
            .env("AWS_ACCESS_KEY_ID", &lab.account.access_key)
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_DEFAULT_REGION", lab.account.region)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let measured = measure(&mut command);
        row(added, count, "boto3, 10 threads", what, &proxy.take_calls(), &measured);
        assert_made(&lab, what, count);
    }
    lab.ours().assert_nothing_of_ours();
}

/// A fast run that did nothing is no result.
fn assert_made(lab: &Lab<'_>, what: &str, count: usize) {
    if what == "create" {
        assert_eq!(lab.ours().ours("instances").len(), count);
    }
}

fn row(added: Duration, count: usize, by: &str, what: &str, calls: &Calls, measured: &Measured) {
    println!(
        "| {} ms | {count} | {by} | {what} | {} | {} | {:.2} | {} |",
        added.as_millis(),
        calls.reads(),
        calls.writes(),
        measured.elapsed.as_secs_f64(),
        measured.peak_mb()
    );
}

struct Measured {
    elapsed: Duration,
    peak_kib: i64,
}

impl Measured {
    fn peak_mb(&self) -> i64 {
        self.peak_kib / 1024
    }
}

/// Runs a command that must succeed.
#[expect(clippy::zombie_processes, reason = "wait4 waits, and tells the peak memory too")]
fn measure(command: &mut Command) -> Measured {
    let start = Instant::now();
    let child =
        command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let pid = libc::pid_t::try_from(child.id()).expect("a process id");
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: both pointers are to living variables of the right types. The child is awaited here only; `Child` does not wait
    // when it is dropped.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let elapsed = start.elapsed();
    assert_eq!(waited, pid, "{}", io::Error::last_os_error());
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{command:?} failed: status {status}");
    Measured { elapsed, peak_kib: usage.ru_maxrss }
}
