//! What the tests stand on: moto's server as the cloud, boto3 as the hand that moves things behind the program's back, a
//! proxy that counts calls and brings trouble, and the program itself in an empty environment.

pub mod listening;
pub mod moto;
pub mod plans;
pub mod program;
pub mod proxy;
pub mod recorder;
pub mod tls;

use std::{
    env,
    io::{Write, stderr},
    path::PathBuf,
    sync::OnceLock,
    thread,
};

use gangplank::location::{AccountId, CloudAccount, Location};
use serde_json::Value;

pub use moto::{Account, Moto, Seed, World};
pub use plans::Bastion;
pub use program::{Gangplank, Run};
pub use proxy::{Calls, Fault, Moment, Proxy, Scope};

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
    cannot(why);
}

/// The same where nothing that could be installed would help: never a failure.
pub fn cannot(why: &str) {
    let current = thread::current();
    // Not `eprintln!`: the test harness would keep it to itself when the test passes.
    let _ = writeln!(stderr(), "skipped: {} ({why})", current.name().unwrap_or("a test"));
}

/// Where a bastion of the tests is.
pub fn location() -> Location {
    let account = CloudAccount::Aws { id: AccountId::new("111122223333"), profile: None };
    Location::aws("us-east-1").of(&account, None)
}

/// What to add to a verb where its end is not the point: moto boots no machines, so nothing would ever report to `apply`.
pub fn unverified(verb: &str) -> &'static [&'static str] {
    if verb == "apply" { &["--no-verify"] } else { &[] }
}

/// A test's own world: an account with a company's network in it, and somebody at its command line.
pub struct Lab<'a> {
    pub account: Account<'a>,
    pub seed: Seed,
    /// What is not ours, and must stay as it is.
    foreign: Value,
    pub gangplank: Gangplank<'a>,
}

impl<'a> Lab<'a> {
    pub fn new(moto: &'a Moto) -> Self {
        Self::of(moto.account())
    }

    /// In an account that is empty so far.
    pub fn of(account: Account<'a>) -> Self {
        let seed = account.seed();
        let foreign = account.world().foreign;
        Self { gangplank: Gangplank::new(&account), account, seed, foreign }
    }

    /// The bastion that most tests are about.
    pub fn bastion(&self) -> Bastion {
        Bastion::new("warehouse", &self.seed)
    }

    /// Writes the plan, runs the verb on it, and counts the calls.
    #[track_caller]
    pub fn run(&self, verb: &str, bastion: &Bastion, options: &[&str]) -> (Run, Calls) {
        let path = self.gangplank.write(bastion);
        let path = path.to_str().expect("a temporary folder's name");
        self.command(&[&[verb, path], options, unverified(verb)].concat())
    }

    /// Runs the program, and counts the calls.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> (Run, Calls) {
        let proxy = self.proxy();
        let run = proxy.run(self.gangplank.command(proxy.address()).args(arguments));
        (run, proxy.take_calls())
    }

    #[track_caller]
    pub fn apply(&self, bastion: &Bastion) -> Calls {
        let (run, calls) = self.run("apply", bastion, &["--yes"]);
        run.expect(0);
        calls
    }

    pub fn proxy(&self) -> Proxy {
        Proxy::start(self.account.endpoint())
    }

    /// What is ours, after a look at what is not: nothing foreign was touched.
    #[track_caller]
    pub fn ours(&self) -> World {
        let world = self.account.world();
        assert_eq!(world.foreign, self.foreign, "something foreign was touched");
        world
    }

    /// The plan says that there is nothing to do, and asks only.
    #[track_caller]
    pub fn assert_settled(&self, bastion: &Bastion) {
        let (plan, calls) = self.run("plan", bastion, &["--detailed-exitcode"]);
        plan.expect(0);
        assert_eq!(calls.writes(), 0, "{calls}");
    }
}
