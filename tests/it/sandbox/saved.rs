//! A saved changeset, and what ties it to what was reviewed.

use std::fs;

use super::Desk;

const PLAN: &str = "plans/warehouse.yaml";

fn save(desk: &Desk) -> String {
    let run = desk.play(&["plan", "--out", "changeset.json", PLAN]).expect(0);
    let at = run.stderr.find("sha256:").unwrap_or_else(|| panic!("no digest\n{run}"));
    run.stderr[at..].chars().take("sha256:".len() + 64).collect()
}

fn apply(desk: &Desk, more: &[&str]) -> crate::support::program::Run {
    desk.play(&[&["apply", "--yes", "--no-verify", "changeset.json"], more].concat())
}

#[test]
fn only_the_changeset_that_was_reviewed_is_applied() {
    let desk = Desk::new();
    let digest = save(&desk);
    let before = desk.inventory();
    let other = format!("sha256:{}", "0".repeat(64));
    let run = apply(&desk, &["--expect", &other]).expect(3);
    assert!(run.stderr.contains(&digest) && run.stderr.contains(&other), "{run}");
    assert!(apply(&desk, &["--expect", "0000"]).expect(64).stderr.contains("64 hexadecimal digits"));
    // One byte of it is another.
    let genuine = fs::read_to_string(desk.path("changeset.json")).unwrap();
    fs::write(desk.path("changeset.json"), genuine.replacen("warehouse", "warehousf", 1)).unwrap();
    apply(&desk, &["--expect", &digest]).expect(3);
    fs::write(desk.path("changeset.json"), genuine).unwrap();
    assert_eq!(desk.inventory(), before);
    apply(&desk, &["--expect", &digest]).expect(0);
    assert_ne!(desk.inventory(), before);
    // Programs read the same digest as people.
    let told = desk.play(&["plan", "--output", "json", "--out", "changeset.json", PLAN]).expect(0).json();
    let told = told["saved"]["digest"].as_str().unwrap_or_default().to_owned();
    assert!(apply(&desk, &["--expect", &other]).expect(3).stderr.contains(&told) && !told.is_empty(), "{told}");
}

/// Where the same step is needed otherwise, what of it differs is named.
#[test]
fn what_of_a_step_no_longer_fits_is_named() {
    let desk = Desk::new();
    save(&desk);
    let genuine = fs::read_to_string(desk.path("changeset.json")).unwrap();
    let (before, after) = ("\"reason\":\"", "\"reason\":\"edited: ");
    assert!(genuine.contains(before), "{genuine}");
    fs::write(desk.path("changeset.json"), genuine.replacen(before, after, 1)).unwrap();
    let run = apply(&desk, &[]).expect(3);
    let flat = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("reason was saved as \"edited: ") && flat.contains("and is needed as \""), "{run}");
}

#[test]
fn the_plans_beside_it_are_those_that_it_was_made_from() {
    let desk = Desk::new();
    save(&desk);
    let run = apply(&desk, &["plans"]).expect(3);
    assert!(run.stderr.contains("sales") && run.stderr.contains("is not in the changeset"), "{run}");
    let text = fs::read_to_string(desk.path(PLAN)).unwrap();
    fs::write(desk.path(PLAN), format!("{text}\n# another thought\n")).unwrap();
    let run = apply(&desk, &[PLAN]).expect(3);
    assert!(run.stderr.contains("has another text in the changeset"), "{run}");
    fs::write(desk.path(PLAN), text).unwrap();
    apply(&desk, &[PLAN]).expect(0);
}

#[test]
fn a_plan_is_not_replaced_by_its_changeset() {
    let desk = Desk::new();
    let text = fs::read_to_string(desk.path(PLAN)).unwrap();
    for out in [PLAN, "plans/../plans/warehouse.yaml"] {
        let run = desk.play(&["plan", "--out", out, PLAN]).expect(64);
        assert!(run.stderr.contains("--out names the plan"), "{run}");
    }
    assert_eq!(fs::read_to_string(desk.path(PLAN)).unwrap(), text);
}

#[test]
fn one_that_is_too_old_or_from_the_future_is_refused() {
    let desk = Desk::new();
    save(&desk);
    let state = fs::read(desk.state()).unwrap();
    desk.play(&["sandbox", "advance", "2d"]).expect(0);
    let run = apply(&desk, &[]).expect(3);
    assert!(run.stderr.contains("is too old") && run.stderr.contains("--max-age"), "{run}");
    // The lifetime counts from the moment at which it was made, here as there.
    apply(&desk, &["--max-age", "3d"]).expect(0);

    save(&desk);
    fs::write(desk.state(), state).unwrap();
    let run = apply(&desk, &["--max-age", "3d"]).expect(3);
    assert!(run.stderr.contains("is from the future"), "{run}");
}
