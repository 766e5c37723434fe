//! A network that gangplank creates reaches the company's database only where it is peered with the database's network.

use std::{fs, path::Path};

use super::Desk;

/// The example plan, with the desk's own operator.
fn example(desk: &Desk) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/azure-warehouse.yaml");
    let text = fs::read_to_string(path).expect("the example");
    let own = fs::read_to_string(desk.path("plans/sales.yaml")).expect("a plan");
    let quoted = |text: &str| -> String {
        let line = text.lines().find(|line| line.contains("ssh-ed25519") && line.contains("ana")).expect("ana's key");
        line.split('"').nth(1).expect("a key").to_owned()
    };
    text.replace(&quoted(&text), &quoted(&own))
}

#[test]
fn the_example_reaches_the_database_by_its_peering_and_not_without() {
    let desk = Desk::new();
    let peered = example(&desk);
    let line = peered.lines().find(|line| line.trim_start().starts_with("peer_with:")).expect("a peering").to_owned();
    let alone = peered.replace(&format!("{line}\n"), "");
    let before = desk.inventory();

    fs::write(desk.path("example.yaml"), alone).expect("a plan");
    let planned = desk.play(&["plan", "example.yaml"]).expect(0);
    assert!(planned.stdout.contains("the new network reaches no private database"), "{planned}");
    let applied = desk.play(&["apply", "--yes", "example.yaml"]).expect(4);
    let told = applied.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("this network reaches no database"), "{applied}");
    assert!(told.contains("network.peer_with"), "{applied}");

    fs::write(desk.path("example.yaml"), peered).expect("a plan");
    desk.play(&["apply", "--yes", "--no-verify", "example.yaml"]).expect(0);
    // The machine's next look at its target.
    desk.play(&["sandbox", "advance", "2h"]).expect(0);
    desk.play(&["verify", "--identity", "ana", "example.yaml"]).expect(0);
    desk.play(&["plan", "--detailed-exitcode", "example.yaml"]).expect(0);
    desk.play(&["destroy", "--yes", "example.yaml"]).expect(0);
    assert_eq!(desk.inventory(), before);
    desk.play(&["apply", "--yes", "example.yaml"]).expect(0);
}
