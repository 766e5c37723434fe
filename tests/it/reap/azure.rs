//! `reap` on Azure, through the program as people run it: what is due goes and nothing else; by two at once, or killed at any call.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use gangplank::provider::azure::tags::{BASTION, EXPIRES};
use serde_json::json;

use super::PAST;
use crate::{
    arm::{
        company::{self, NET, group, put, send},
        world::SUBSCRIPTION,
    },
    contract::{
        Calls, Cloud, Kind, Look, To, Trouble, Wish,
        azure::{Azure, CLASSIC, HUB, PUBLIC, STANDARD},
    },
    support::{
        Moment,
        program::{Run, Victim, run},
    },
};

const COMPUTE: &str = "2024-07-01";
const REAP: [&str; 6] = ["reap", "--subscription", SUBSCRIPTION, "--yes", "--settle", "0m"];

/// A bastion that stays, one that is due, and what others have called as ours; and how it looked without the one that is due.
struct Story<const EDGE: usize> {
    cloud: Azure<EDGE>,
    without: Look,
}

impl<const EDGE: usize> Story<EDGE> {
    fn new() -> Self {
        let cloud = Azure::<EDGE>::company().expect("it is in this process");
        let make = |name: &str| {
            let path = cloud.write(&Wish::new(name));
            let path = path.to_str().expect("a temporary folder's name");
            cloud.execute(&["apply", path, "--yes", "--no-verify"], &[]).0.expect(0);
        };
        make("current");
        {
            let mut world = cloud.world();
            let theirs =
                |name: &str| format!("{}/providers/Microsoft.Network/networkSecurityGroups/{name}", group("rg-shared"));
            put(&mut world, &theirs("gangplank-nobodys"), NET, &json!({"location": "westeurope"}));
            // By its name it is the one's that is due, and another's by its tag.
            let tags = json!({"location": "westeurope", "tags": {BASTION: "current"}});
            put(&mut world, &theirs("gangplank-warehouse-old"), NET, &tags);
        }
        let without = cloud.look();
        make("warehouse");
        {
            let mut world = cloud.world();
            for id in world.ids() {
                let owner = world.resource(&id).map(|raw| raw["tags"][BASTION].clone());
                if owner == Some(json!("warehouse")) || id.ends_with("/resourcegroups/rg-warehouse") {
                    company::tag(&mut world, &id, EXPIRES, Some(PAST));
                }
            }
        }
        assert_ne!(cloud.look(), without, "there is nothing to take away");
        Self { cloud, without }
    }

    #[track_caller]
    fn assert_only_it_has_gone(&self, when: &str) {
        let look = self.cloud.look();
        look.assert_ours(&self.without.ours, when);
        assert_eq!(look.foreign, self.without.foreign, "{when}");
    }

    fn reap(&self, troubles: &[Trouble]) -> (Run, Calls) {
        self.cloud.execute(&REAP, troubles)
    }
}

fn goes<const EDGE: usize>() {
    let story = Story::<EDGE>::new();
    let (run, calls) = story.cloud.execute(&REAP[..3], &[]);
    let run = run.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
    assert!(run.stdout.contains("gangplank-nobodys"), "{run}");
    // What carries the other's tag and not its name is left to be looked at.
    story.reap(&[]).0.expect(2);
    story.assert_only_it_has_gone("reaped");
    let (run, calls) = story.reap(&[]);
    run.expect(2);
    assert_eq!(calls.writes(), 0, "{calls}");
}

/// Somebody has told Azure to keep a machine's disk, and has deleted the machine: the disk has its tags, and goes with the rest.
#[test]
fn a_disk_that_is_left_goes_and_nobody_elses_does() {
    let story = Story::<HUB>::new();
    let machine =
        |name: &str| format!("{}/providers/Microsoft.Compute/virtualMachines/gangplank-{name}", group("rg-shared"));
    let disks = || {
        let world = story.cloud.world();
        let mut disks: Vec<_> = world.ids().into_iter().filter(|id| id.contains("/disks/")).collect();
        disks.sort();
        disks
    };
    {
        let mut world = story.cloud.world();
        let keep = json!({"properties": {"storageProfile": {"osDisk": {"deleteOption": "Detach"}}}});
        send(&mut world, "PATCH", &machine("warehouse"), COMPUTE, Some(&keep));
        send(&mut world, "DELETE", &machine("warehouse"), COMPUTE, None);
        let theirs = format!("{}/providers/Microsoft.Compute/disks/gangplank-nobodys", group("rg-shared"));
        let body = json!({"location": "westeurope", "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}});
        put(&mut world, &theirs, COMPUTE, &body);
    }
    assert_eq!(disks().len(), 3, "{:?}", disks());
    let (run, _) = story.cloud.execute(&REAP[..3], &[]);
    let run = run.expect(2);
    assert!(run.stdout.matches("attached to nothing").count() == 2, "{run}");
    assert!(run.stdout.contains("disk StandardSSD_LRS 32 GiB 2.40"), "{run}");
    let (run, calls) = story.reap(&[]);
    run.expect(2);
    let deleted = calls.0.iter().filter(|call| call.operation.starts_with("DELETE Microsoft.Compute/disks")).count();
    assert_eq!(deleted, 1, "{calls}");
    let left = disks();
    assert!(left.len() == 2 && left.iter().any(|id| id.ends_with("/gangplank-nobodys")), "{left:?}");
}

fn twice_at_once<const EDGE: usize>() {
    let story = Story::<EDGE>::new();
    let home = story.cloud.home();
    let reaper = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.current_dir(&home).env_clear().env("HOME", &home).env("TZ", "UTC");
        command.env("AZURE_RESOURCE_MANAGER_ENDPOINT", story.cloud.endpoint());
        run(command.args(REAP), &Victim::default())
    };
    thread::scope(|scope| {
        for one in [(); 2].map(|()| scope.spawn(reaper)) {
            one.join().expect("a reaper").expect(2);
        }
    });
    story.assert_only_it_has_gone("two reapers at once");
}

fn killed_anywhere<const EDGE: usize>() {
    let story = Story::<EDGE>::new();
    let (run, calls) = story.reap(&[]);
    run.expect(2);
    // Before a call is after the answer to the one before it; only writes differ between effect and answer.
    let kill = |to, n, moment| Trouble::new(to, n..n + 1, Kind::Kill(moment));
    let before = (0..calls.0.len()).map(|n| kill(To::Any, n, Moment::Before));
    let after = (0..calls.writes()).map(|n| kill(To::Writes, n, Moment::After));
    let kills: Vec<_> = before.chain(after).collect();
    let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(kill) = kills.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let story = Story::<EDGE>::new();
                    let (run, calls) = story.reap(&[*kill]);
                    let at = format!("reap met {kill:?}\n{calls}");
                    assert!(run.code().is_none_or(|code| code == 2), "{at}\n{run}");
                    killed.fetch_add(usize::from(run.code().is_none()), Ordering::Relaxed);
                    let (again, calls) = story.reap(&[]);
                    assert_eq!(again.code(), Some(2), "{at}, then again\n{calls}\n{again}");
                    story.assert_only_it_has_gone(&at);
                }
            });
        }
    });
    // Steps run at once and a wait may ask once more or less, so the last calls may be missed, but no more.
    let (killed, kills) = (killed.into_inner(), kills.len());
    assert!(kills > 20 && killed + 4 >= kills, "only {killed} of {kills} runs were killed");
}

macro_rules! edges {
    ($($name:ident: $edge:ident),*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn what_is_due_goes_and_nothing_else() {
                    goes::<$edge>();
                }

                #[test]
                fn two_reapers_at_once_do_what_one_does() {
                    twice_at_once::<$edge>();
                }

                #[test]
                fn a_reaper_that_is_killed_is_continued_by_the_next() {
                    killed_anywhere::<$edge>();
                }
            }
        )*
    };
}

edges!(with_an_address: PUBLIC, with_a_firewall: STANDARD, in_somebodys_policy: HUB, in_somebodys_firewall: CLASSIC);
