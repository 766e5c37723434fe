//! What EC2 refuses for reasons that lie in the account: the program says what it means and what exists now, and goes on when the
//! cause is gone. Against the sandbox.

use std::{fs, time::Duration};

use gangplank::sandbox::ec2::{
    Pace, Quotas, World,
    model::{Image, Tags},
};

use crate::support::{self, Lab, Run, listening::Listening};

fn account(world: World, test: impl Fn(&Lab<'static>)) {
    let Some(moto) = support::moto_or_skip() else { return };
    let sandbox = Listening::start(world);
    test(&Lab::of(moto.account().at(sandbox.address)));
}

fn instant() -> World {
    let mut world = World::seeded(1);
    world.pace = Pace::instant();
    world
}

/// The usual plan with another text in one place.
fn apply(lab: &Lab<'_>, from: &str, to: &str) -> Run {
    let path = lab.gangplank.write(&lab.bastion());
    let plan = fs::read_to_string(&path).expect("written");
    assert!(plan.contains(from), "{plan}");
    fs::write(&path, plan.replace(from, to)).expect("a writable folder");
    let path = path.to_str().expect("a temporary folder's name");
    lab.command(&["apply", path, "--yes", "--no-verify"]).0
}

/// Refused in the middle, with these words; the same plan without its cause is then fulfilled.
#[track_caller]
fn refused_and_repaired(lab: &Lab<'_>, cause: (&str, &str), repaired: &str, told: &[&str]) {
    let run = apply(lab, cause.0, cause.1).expect(1);
    for text in told.iter().chain(&["RunInstances", "exists now", "to do"]) {
        assert!(run.stderr.contains(text), "{text}\n{run}");
    }
    apply(lab, cause.0, repaired).expect(0);
    let run = apply(lab, cause.0, repaired).expect(0);
    assert!(run.stdout.contains("No changes"), "{run}");
}

#[test]
fn the_free_plan_runs_some_types_only() {
    let mut world = instant();
    world.quotas = Quotas { free_plan: true, ..Quotas::default() };
    account(world, |lab| {
        let told = ["InvalidParameterCombination", "not eligible for Free Tier", "free plan", "`aws.instance_type`"];
        refused_and_repaired(lab, ("t4g.nano", "t4g.nano"), "t4g.micro", &told);
    });
}

#[test]
fn a_product_of_the_marketplace_needs_a_subscription() {
    let mut world = instant();
    let image = Image {
        name: "hardened".to_owned(),
        owner: "679593333241".to_owned(),
        architecture: "arm64".to_owned(),
        root_device: "/dev/xvda".to_owned(),
        root_size: 8,
        created: "2026-01-01T00:00:00.000Z".to_owned(),
        deprecated: None,
        unsubscribed: true,
        description: String::new(),
        tags: Tags::new(),
    };
    let id = "ami-0123456789abcdef0";
    world.regions.entry("us-east-1".to_owned()).or_default().images.insert(id.to_owned(), image);
    account(world, |lab| {
        let told = ["OptInRequired", "AWS Marketplace", "accept its terms", "`aws.image`"];
        refused_and_repaired(lab, ("debian-13", id), "debian-13", &told);
    });
}

/// The documented policy asks for the tag of what is changed, and IAM learns a new one's after a moment.
#[test]
fn a_policy_that_does_not_know_a_new_tag_yet_is_waited_for() {
    let mut world = instant();
    world.pace.tags = Duration::from_millis(1200);
    account(world, |lab| {
        let calls = lab.apply(&lab.bastion());
        assert!(calls.of("AuthorizeSecurityGroupIngress") > 1, "{calls}");
        lab.assert_settled(&lab.bastion());
    });
}
