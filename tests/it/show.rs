//! What people and programs read before a run. Each snapshot is the page itself: read it as its reader would.

use anstream::adapter::strip_str;
use gangplank::{
    changeset::{Changeset, Detail, Direction, Exposure, Impact, Op, Step, StepId},
    cli::show,
    style::Palette,
};
use insta::assert_snapshot;

use crate::support;

fn set(bastion: &str, steps: Vec<Step<()>>) -> Changeset<()> {
    Changeset {
        bastion: bastion.to_owned(),
        location: support::location(),
        plan: format!("plans/{bastion}.yaml"),
        steps,
        exposure: vec![],
        notes: vec![],
    }
}

fn step(op: Op, resource: &str, reason: &str, details: Vec<Detail>) -> Step<()> {
    Step {
        id: StepId::new("warehouse", &format!("{resource}: {reason}").replace(' ', "-")),
        op,
        resource: resource.to_owned(),
        details,
        reason: reason.to_owned(),
        impact: Impact::Live,
        after: vec![],
        action: (),
    }
}

fn with(impact: Impact, step: Step<()>) -> Step<()> {
    Step { impact, ..step }
}

fn way(direction: Direction, from: &str, to: &str, why: &str) -> Exposure {
    Exposure { direction, from: from.to_owned(), to: to.to_owned(), why: why.to_owned() }
}

fn exposure() -> Vec<Exposure> {
    let ssh = "tcp 22 on the bastion's address";
    vec![
        way(Direction::Inbound, "35.175.75.15/32", ssh, "secoda/north-america"),
        way(Direction::Inbound, "198.51.100.20/32", ssh, "operator ana"),
        way(Direction::Tunnel, "tunnel secoda", "warehouse.internal:5432", "target warehouse (postgres)"),
        way(Direction::Outbound, "the machine", "10.0.4.0/24 tcp 5432", "target warehouse"),
        way(Direction::Outbound, "the machine", "0.0.0.0/0 tcp 443", "package mirrors"),
    ]
}

fn create(bastion: &str) -> Changeset<()> {
    let reason = "does not exist yet";
    let group = vec![
        Detail::added("ingress tcp 22", "from 35.175.75.15/32").note("secoda/north-america for tunnel secoda"),
        Detail::added("ingress tcp 22", "from 198.51.100.20/32").note("operator ana"),
        Detail::added("egress tcp 5432", "to 10.0.4.0/24").note("target warehouse"),
        Detail::added("egress tcp 443", "to 0.0.0.0/0").note("package mirrors"),
    ];
    let machine = vec![
        Detail::added("image", "ami-0123456789abcdef0").note("debian-13, arm64"),
        Detail::added("instance type", "t4g.nano"),
        Detail::added("root volume", "8 GiB gp3, encrypted"),
        Detail::added("metadata", "IMDSv2 required, hop limit 1"),
    ];
    let mut all = set(
        bastion,
        vec![
            step(Op::Create, &format!("security group gangplank-{bastion}"), reason, group),
            step(Op::Create, &format!("elastic address of {bastion}"), reason, vec![]),
            step(Op::Create, &format!("instance gangplank-{bastion}"), reason, machine),
            step(
                Op::Create,
                "inbound rule in database group sg-0db",
                reason,
                vec![
                    Detail::added("ingress tcp 5432", format!("from gangplank-{bastion}")).note("aws.database_access"),
                ],
            ),
        ],
    );
    all.exposure = exposure();
    all.notes = vec![
        "tunnel secoda has no key yet: it admits nobody".to_owned(),
        "closes on 2027-01-31 00:00 UTC, 90 days after its creation".to_owned(),
    ];
    all
}

fn update() -> Changeset<()> {
    let rules = vec![
        Detail::added("ingress tcp 22", "from 35.175.75.15/32").note("secoda/north-america for tunnel secoda"),
        Detail::removed("ingress tcp 22", "from 0.0.0.0/0").note("not in the plan"),
    ];
    let keys = vec![
        Detail::changed("key of secoda", "SHA256:p3TtPbXp...", "SHA256:0uLmMs2o..."),
        Detail::removed("tag owner", "ana"),
    ];
    let size = vec![Detail::changed("instance type", "t4g.nano", "t4g.small")];
    let group = "security group gangplank-warehouse (sg-0abc)";
    let machine = "instance gangplank-warehouse (i-0abc)";
    let mut all = set(
        "warehouse",
        vec![
            step(Op::Update, group, "its rules are not those of the plan", rules),
            step(Op::Update, machine, "the machine reads new keys within a minute", keys),
            with(Impact::Live, step(Op::Update, machine, "another type needs a stop and a start", size)),
        ],
    );
    all.exposure = exposure();
    all
}

fn replacement() -> Changeset<()> {
    let reason = "the cloud-init document changed, and a machine reads it only on its first boot";
    let document =
        vec![Detail::changed("ssh.port", "22", "2222"), Detail::changed("user data", "sha256:9f2c", "sha256:41aa")];
    let mut all = set(
        "warehouse",
        vec![
            with(Impact::Replacement, step(Op::Replace, "instance gangplank-warehouse", reason, document)),
            with(
                Impact::Replacement,
                step(
                    Op::Update,
                    "elastic address of warehouse",
                    "moves to the new machine",
                    vec![Detail::changed("instance", "i-0abc", "the new one")],
                ),
            ),
            step(Op::Delete, "instance i-0abc", "its successor has taken over", vec![]),
        ],
    );
    all.exposure = exposure();
    all
}

fn teardown() -> Changeset<()> {
    let delete =
        |resource: &str, details| with(Impact::Teardown, step(Op::Delete, resource, "destroy was asked for", details));
    let rule = Detail::removed("ingress tcp 5432", "from gangplank-warehouse");
    set(
        "warehouse",
        vec![
            delete("inbound rule in database group sg-0db", vec![rule]),
            delete("instance gangplank-warehouse (i-0abc)", vec![]),
            delete("elastic address of warehouse (203.0.113.7)", vec![]),
            delete("security group gangplank-warehouse (sg-0abc)", vec![]),
        ],
    )
}

fn unchanged(bastion: &str) -> Changeset<()> {
    let notes = vec!["debian-13 has a newer image; image_update: true takes it".to_owned()];
    Changeset { exposure: exposure(), notes, ..set(bastion, vec![]) }
}

fn many() -> Vec<Changeset<()>> {
    let old = Changeset { bastion: "old".to_owned(), plan: "plans/old.yaml".to_owned(), ..teardown() };
    vec![unchanged("archive"), replacement(), unchanged("marketing-eu"), old]
}

/// Names and messages that try to get out of their line, their cell and their language.
fn hostile() -> Vec<Changeset<()>> {
    let reason = "its tag Name is \x1b[2J\u{9b}31m`|<img src=x onerror=alert(1)>|` @everyone\nnew line";
    let detail =
        Detail::changed("tag \x1b]0;title\x07", "a|b", "`<b>`\u{202e}txt.exe").note("https://evil.example [x](y)");
    let mut hostile = set("warehouse", vec![step(Op::Update, "instance <script>", reason, vec![detail])]);
    hostile.exposure = vec![way(Direction::Inbound, "1.2.3.4/32 |", "\r`rm`", "*why*")];
    hostile.notes = vec!["# not a heading\n- nor a list".to_owned()];
    vec![hostile]
}

fn plain(sets: &[Changeset<()>]) -> String {
    show::human(sets, &Palette::PLAIN)
}

#[test]
fn a_new_bastion() {
    assert_snapshot!(plain(&[create("warehouse")]));
}

#[test]
fn an_update_with_rules() {
    assert_snapshot!(plain(&[update()]));
}

#[test]
fn a_replacement() {
    assert_snapshot!(plain(&[replacement()]));
}

#[test]
fn a_teardown() {
    assert_snapshot!(plain(&[teardown()]));
}

#[test]
fn no_changes() {
    assert_snapshot!(plain(&[unchanged("warehouse")]));
    assert!(plain(&[unchanged("a"), unchanged("b")]).ends_with("No changes: the cloud matches the plans.\n"));
    let some = show::human_of_some(&[unchanged("a")], &Palette::PLAIN);
    assert!(some.ends_with("\nNo changes there. The other plans are left out:\n"), "{some}");
}

#[test]
fn several_bastions() {
    assert_snapshot!(plain(&many()));
}

#[test]
fn hostile_text_is_shown_not_obeyed() {
    let text = plain(&hostile());
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
    assert_snapshot!(text);
}

#[test]
fn colour_only_repeats_what_the_signs_say() {
    for sets in [vec![create("warehouse")], vec![update()], many()] {
        let colored = show::human(&sets, &Palette::COLORED);
        assert_eq!(strip_str(&colored).to_string(), plain(&sets));
    }
    assert_snapshot!(show::human(&[update()], &Palette::COLORED).replace('\x1b', "␛"));
}

#[test]
fn a_comment() {
    assert_snapshot!(show::markdown(&many()));
}

#[test]
fn a_comment_without_changes() {
    assert_snapshot!(show::markdown(&[unchanged("warehouse")]));
}

#[test]
fn a_comment_with_many_bastions_is_folded() {
    let mut sets: Vec<_> = (1..=5).map(|i| create(&format!("warehouse-{i}"))).collect();
    sets.push(replacement());
    let text = show::markdown(&sets);
    assert_eq!(text.matches("<details>").count(), 6);
    let summaries: Vec<_> = text.lines().filter(|line| line.contains("<summary>")).collect();
    assert_snapshot!(summaries.join("\n"));
    assert_snapshot!(text.split("\n<details>").take(2).collect::<Vec<_>>().join("\n<details>"));
}

#[test]
fn a_hostile_comment() {
    assert_snapshot!(show::markdown(&hostile()));
}

#[test]
fn a_comment_always_fits() {
    let sets = |n: usize| (0..n).map(|i| create(&format!("warehouse-{i}"))).collect::<Vec<_>>();
    let fits = |text: &str| text.chars().count() < 65_536;
    let (steps, totals) = (show::markdown(&sets(80)), show::markdown(&sets(300)));
    assert!(fits(&steps) && steps.contains("rules and exposure are left out") && steps.contains("**create** instance"));
    assert!(
        fits(&totals) && totals.contains("only totals") && totals.contains("**warehouse-299**"),
        "{}",
        totals.len()
    );
}

#[test]
fn the_document_for_programs() {
    assert_snapshot!(show::json(&[update(), unchanged("archive")]));
}
