//! What every cloud's provider keeps, shown by the program as people run it. A cloud is a [`Cloud`] and one line in [`suite!`].

mod calls;
mod crash;
mod ends;
mod faults;
mod life;

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
#[cfg(all(feature = "aws", feature = "azure"))]
mod both;

use std::{fmt, ops::Range, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    Moment,
    plans::{KEY, ROTATED_KEY},
    program::Run,
    unverified,
};

/// What somebody does by hand, and what it is called.
pub type Act<C> = (&'static str, fn(&C));
/// What a plan may come to say.
type Change = (&'static str, fn(&mut Wish));

/// A cloud's world with a company's network in it, and somebody at a command line.
pub trait Cloud: Sized {
    /// The code of a refusal for want of a permission.
    const DENIED: &'static str;
    /// Calls that may name what the run has just made: a refusal may mean that its tags do not count yet, and is repeated.
    const OF_JUST_MADE: &'static [&'static str] = &[];

    /// The call that tells whose account it is.
    const IDENTITY: &'static str;

    /// A world where nothing of ours happened before; `None` where that can't be here, which was said aloud.
    fn company() -> Option<Self>;

    /// A plan that asks for what is wished, in a file of its bastion's name.
    fn write(&self, wish: &Wish) -> PathBuf;

    /// Where plans are written.
    fn home(&self) -> String;

    /// Runs the program while troubles meet its calls.
    fn execute(&self, arguments: &[&str], troubles: &[Trouble]) -> (Run, Calls);

    /// Everything there is. Whatever was under way has ended.
    fn look(&self) -> Look;

    /// What tells one machine of a bastion from the next.
    fn machine(&self) -> Value;

    /// What somebody changes by hand of the standing bastion `warehouse`, each of which a plan must see.
    fn drifts() -> Vec<Act<Self>>;

    /// What somebody made under the bastion's name in a world without it.
    fn lookalikes() -> Vec<Act<Self>>;

    /// Calls that each standing bastion adds to a look.
    fn reads_of_its_own() -> usize {
        0
    }
}

/// What a plan asks for, as far as these tests vary it.
#[derive(Clone, Debug)]
pub struct Wish {
    pub name: String,
    pub sources: Vec<&'static str>,
    pub keys: Vec<&'static str>,
    /// Name, host and port.
    pub target: (&'static str, &'static str, u16),
    pub team: &'static str,
    /// The plan's own end.
    pub expires: Option<&'static str>,
    /// Another one of what only this cloud's plans have: EC2's database group, Azure's size.
    pub other: bool,
}

impl Wish {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            sources: vec!["198.51.100.7/32"],
            keys: vec![KEY],
            target: ("warehouse", "10.20.2.10", 5432),
            team: "data-platform",
            expires: None,
            other: false,
        }
    }

    /// The bastion that most tests are about.
    pub fn warehouse() -> Self {
        Self::new("warehouse")
    }

    /// Each of what a plan may come to say.
    pub fn changes() -> [Change; 6] {
        [
            ("a source more", |w| w.sources.push("198.51.100.8/32")),
            ("another source", |w| w.sources = vec!["203.0.113.0/28"]),
            ("another target", |w| w.target.1 = "10.20.2.11"),
            ("another key", |w| w.keys = vec![ROTATED_KEY]),
            ("what only this cloud has", |w| w.other = true),
            ("another tag", |w| w.team = "platform"),
        ]
    }

    /// Rules come and go, and the machine changes.
    pub fn changed() -> Self {
        Self {
            sources: vec!["203.0.113.0/28"],
            target: ("orders", "10.20.2.12", 3306),
            keys: vec![KEY, ROTATED_KEY],
            other: true,
            ..Self::warehouse()
        }
    }
}

/// What happens to calls instead of being answered.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub to: To,
    /// Of these calls, counted from 0.
    pub window: (usize, usize),
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Any,
    Writes,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Asked to slow down.
    Throttled,
    /// The cloud stumbles.
    Fault,
    /// No permission.
    Denied,
    /// Something that is not the cloud answers.
    Garbage,
    /// The connection closes without an answer.
    Lost(Moment),
    /// The program is killed.
    Kill(Moment),
}

impl Trouble {
    pub fn new(to: To, window: Range<usize>, kind: Kind) -> Self {
        Self { to, window: (window.start, window.end), kind }
    }
}

/// The calls of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls(pub Vec<Call>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// As errors name it: `RunInstances`, `PUT Microsoft.Network/virtualNetworks/data`.
    pub operation: String,
    pub writes: bool,
}

impl Calls {
    pub fn writes(&self) -> usize {
        self.0.iter().filter(|call| call.writes).count()
    }

    /// In an order that does not depend on which of several calls at once came first.
    pub fn sorted(&self) -> Vec<&Call> {
        let mut all: Vec<&Call> = self.0.iter().collect();
        all.sort();
        all
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|call| writeln!(f, "  {}", call.operation))
    }
}

/// A world in two parts: what is ours without what every creation makes anew, and what is not, as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Kind → things.
    pub ours: Value,
    pub foreign: Value,
}

impl Look {
    /// Shows the things that differ, not two worlds.
    #[track_caller]
    pub fn assert_ours(&self, expected: &Value, when: &str) {
        let things = |world: &Value| -> Vec<String> {
            let kinds = world.as_object().into_iter().flatten();
            kinds
                .flat_map(|(kind, all)| all.as_array().into_iter().flatten().map(move |one| format!("{kind}: {one:#}")))
                .collect()
        };
        let (have, want) = (things(&self.ours), things(expected));
        let only = |these: &[String], those: &[String]| {
            these.iter().filter(|thing| !those.contains(thing)).cloned().collect::<Vec<_>>().join("\n")
        };
        let (surplus, missing) = (only(&have, &want), only(&want, &have));
        assert!(
            &self.ours == expected,
            "{when}\n--- there and not expected\n{surplus}\n--- expected and not there\n{missing}"
        );
    }

    pub fn is_clean(&self) -> bool {
        self.ours == json!({})
    }
}

/// A cloud's world, and how it was before us.
pub struct Lab<C> {
    pub cloud: C,
    foreign: Value,
}

impl<C: Cloud> Lab<C> {
    pub fn new() -> Option<Self> {
        let cloud = C::company()?;
        let foreign = cloud.look().foreign;
        Some(Self { cloud, foreign })
    }

    /// Writes the plan, runs the verb on it, and counts the calls.
    #[track_caller]
    pub fn run(&self, verb: &str, wish: &Wish, options: &[&str]) -> (Run, Calls) {
        self.troubled(verb, wish, options, &[])
    }

    #[track_caller]
    pub fn troubled(&self, verb: &str, wish: &Wish, options: &[&str], troubles: &[Trouble]) -> (Run, Calls) {
        let path = self.cloud.write(wish);
        let path = path.to_str().expect("a temporary folder's name");
        self.cloud.execute(&[&[verb, path], options, unverified(verb)].concat(), troubles)
    }

    #[track_caller]
    pub fn apply(&self, wish: &Wish) -> Calls {
        let (run, calls) = self.run("apply", wish, &["--yes"]);
        run.expect(0);
        calls
    }

    #[track_caller]
    pub fn destroy(&self, wish: &Wish) -> Calls {
        let (run, calls) = self.run("destroy", wish, &["--yes"]);
        run.expect(0);
        assert!(self.ours().is_clean(), "something of ours is left: {:#}", self.ours().ours);
        calls
    }

    /// What is ours, after a look at what is not: nothing foreign was touched.
    #[track_caller]
    pub fn ours(&self) -> Look {
        let look = self.cloud.look();
        assert_eq!(look.foreign, self.foreign, "something foreign was touched");
        look
    }

    /// The plan says that there is nothing to do, and asks only.
    #[track_caller]
    pub fn assert_settled(&self, wish: &Wish) {
        let (plan, calls) = self.run("plan", wish, &["--detailed-exitcode"]);
        plan.expect(0);
        assert_eq!(calls.writes(), 0, "{calls}");
    }

    /// The plan sees a difference, and asks only.
    #[track_caller]
    pub fn assert_differs(&self, wish: &Wish, why: &str) {
        let (plan, calls) = self.run("plan", wish, &["--detailed-exitcode"]);
        assert_eq!(plan.code(), Some(2), "{why}\n{plan}");
        assert_eq!(calls.writes(), 0, "{calls}");
    }
}

/// What a plan gives in a world where nothing happened before.
fn fresh<C: Cloud>(wish: &Wish) -> Value {
    let lab = Lab::<C>::new().expect("there was one before");
    lab.apply(wish);
    lab.ours().ours
}

/// Every test, for one cloud.
macro_rules! suite {
    ($name:ident: $cloud:ty) => {
        mod $name {
            use super::{calls, crash, ends, faults, life};

            suite!($cloud, life:
                a_bastion_comes_and_goes
                nothing_is_written_without_consent
                changes_end_where_a_fresh_start_would
                who_may_come_changes_without_a_new_machine
                drift_is_seen_and_repaired
                a_lookalike_stops_the_run
                a_saved_changeset_is_applied_as_it_was_shown
                a_saved_changeset_is_refused_when_the_cloud_has_changed
                bastions_do_not_touch_each_other
            );
            suite!($cloud, crash: killed_while_creating killed_while_changing killed_while_destroying);
            suite!($cloud, ends: killed_while_extending killed_while_shortening);
            suite!($cloud, faults:
                throttling_is_waited_out
                a_refusal_names_the_operation_the_code_and_what_to_do
                nothing_is_written_into_an_unknown_account
                answers_lost_after_the_effect_duplicate_nothing
                calls_lost_before_the_effect_are_made_up_for
                removals_whose_answers_are_lost_leave_nothing
                garbage_is_an_error_and_no_panic
            );
            suite!($cloud, calls: reading_costs_the_same_for_any_number_of_bastions looking_writes_nothing);
        }
    };
    ($cloud:ty, $module:ident: $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                $module::$test::<$cloud>();
            }
        )*
    };
}

#[cfg(feature = "aws")]
suite!(on_aws: super::aws::Aws);
#[cfg(feature = "aws")]
suite!(on_the_sandboxs_ec2: super::aws::Aws<{ super::aws::SANDBOX }>);
#[cfg(feature = "azure")]
suite!(on_azure_with_an_address: super::azure::Azure<{ super::azure::PUBLIC }>);
#[cfg(feature = "azure")]
suite!(on_azure_with_a_firewall: super::azure::Azure<{ super::azure::STANDARD }>);
#[cfg(feature = "azure")]
suite!(on_azure_in_somebodys_policy: super::azure::Azure<{ super::azure::HUB }>);
#[cfg(feature = "azure")]
suite!(on_azure_in_somebodys_firewall: super::azure::Azure<{ super::azure::CLASSIC }>);
