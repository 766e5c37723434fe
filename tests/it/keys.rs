//! Keys that change on the running machine: what the diff says of them, what a plan may have, and the machine's own script.

use std::sync::Arc;

use anstream::adapter::strip_str;
use gangplank::{
    changeset::{Changeset, Impact, Step},
    cli::show,
    cloudinit,
    diagnostic::{Source, render},
    plan::{self, Cloud, Plan},
    provider::aws::{
        action::{Action, Call},
        desire::Desired,
        diff::{World, diff},
        keys,
        name_servers::{NameServers, NetworkDns},
        network::{Destination, Route, RouteTable, Subnet},
        observed::{
            Attachment, ElasticIp, Group, Image, Instance, InstanceState, InstanceType, MetadataOptions, Observed,
            Surroundings,
        },
        ownership,
        rule::ANY_V4,
    },
    style::Palette,
    tags::Tags,
};
use insta::assert_snapshot;

use crate::support::plans::{KEY, ROTATED_KEY};

mod ending;
pub mod metadata;
mod script;

/// Two vendors and an operator; `keys` are the first vendor's.
fn text(keys: &[&str]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    format!(
        "version: 1
name: warehouse
aws: {{region: us-east-1, subnet: subnet-0a1b2c3d4e5f60718, image: debian-13, instance_type: t4g.nano}}
tunnels:
  - user: secoda
    allow_from: [198.51.100.7]
    keys: [{}]
    targets: [{{name: warehouse, host: 10.20.2.10, port: 5432, speaks: postgres}}]
  - user: fivetran
    allow_from: [198.51.100.8]
    keys: []
    targets: [{{name: orders, host: 10.20.2.11, port: 3306, speaks: mysql}}]
operators:
  - {{name: ana, allow_from: [198.51.100.20], keys: [\"{OPERATOR}\"]}}
",
        keys.join(", ")
    )
}

const OPERATOR: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQw0RMvT3lBbAtTuKXyWlSiaRbsGRcAQ6W6fYbo4Fp4 ana";

fn read(text: &str) -> Plan {
    let source = Source { path: "plans/warehouse.yaml".to_owned(), text: text.to_owned() };
    plan::read(Arc::new(source)).unwrap_or_else(|problems| panic!("{}", render(&problems, false)))
}

fn refusal(text: &str) -> String {
    let source = Source { path: "plans/warehouse.yaml".to_owned(), text: text.to_owned() };
    render(&plan::read(Arc::new(source)).expect_err("a plan that is refused"), false)
}

/// A public key of any size; only its form is that of an RSA key.
fn rsa(bits: usize, seed: u8) -> String {
    let modulus: Vec<u8> = std::iter::once(0x80 | seed).chain((1..bits / 8).map(|i| i as u8 ^ seed | 1)).collect();
    let number = |bytes: &[u8]| ssh_key::Mpint::from_positive_bytes(bytes).expect("a positive number");
    let key = ssh_key::public::RsaPublicKey { e: number(&[1, 0, 1]), n: number(&modulus) };
    ssh_key::PublicKey::from(key).to_openssh().expect("a key")
}

/// Everything as the plan wants it, on the machine `i-1`.
fn fulfilled(plan: &Plan) -> Observed {
    let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
    let user_data = cloudinit::render(plan).unwrap();
    let want = Desired::new(plan, aws, &user_data);
    let mark = ownership::address_mark("warehouse", "eipalloc-1", [192, 0, 2, 4].into());
    Observed {
        instances: vec![Instance {
            id: "i-1".into(),
            state: InstanceState::Running,
            instance_type: aws.instance_type.clone(),
            image: "ami-1".into(),
            subnet: "subnet-0a1b2c3d4e5f60718".into(),
            vpc: "vpc-1".into(),
            groups: vec!["sg-1".into()],
            metadata: MetadataOptions::wanted(plan.keys_are_live()),
            private_ip: None,
            public_ip: None,
            launched: None,
            parts: Vec::new(),
            interfaces: Vec::new(),
            profile: None,
            key_pair: None,
            tags: want.instance_tags(None),
        }],
        addresses: vec![ElasticIp {
            counts: true,
            border_group: None,
            allocation: "eipalloc-1".into(),
            ip: Some([192, 0, 2, 4].into()),
            attached: Some(Attachment::Instance("i-1".into())),
            tags: want.tags(None),
        }],
        groups: vec![Group {
            id: "sg-1".into(),
            name: "gangplank-warehouse".into(),
            description: String::new(),
            vpc: "vpc-1".into(),
            ingress: want.ingress.clone(),
            egress: want.egress.clone().into_iter().chain([mark]).collect(),
            tags: want.tags(None),
        }],
        name_servers: own_name_servers(),
        ..Observed::default()
    }
}

fn own_name_servers() -> NameServers {
    let network = NetworkDns { vpc: "vpc-1".into(), range: None, dhcp_options: "default".into() };
    NameServers { networks: vec![network], ..NameServers::default() }
}

/// What a new machine can be made from.
fn around() -> Surroundings {
    Surroundings {
        most_addresses: None,
        subnets: vec![Subnet {
            id: "subnet-0a1b2c3d4e5f60718".into(),
            vpc: "vpc-1".into(),
            zone: "us-east-1a".to_owned(),
            ipv6: false,
            nets: Vec::new(),
            tags: Tags::new(),
        }],
        public_access: None,
        route_tables: vec![RouteTable {
            id: "rtb-1".into(),
            vpc: "vpc-1".into(),
            main: true,
            subnets: vec![],
            routes: vec![Route { to: Destination::Net(ANY_V4), via: "igw-1".into(), active: true }],
        }],
        images: vec![Image {
            id: "ami-1".into(),
            name: "debian-13-arm64-20260811-2566".into(),
            owner: "136693071363".into(),
            architecture: "arm64".into(),
            root_device: "/dev/xvda".into(),
            root_size: 8,
            created: "2026-08-11".into(),
            deprecation: None,
        }],
        instance_types: vec![InstanceType {
            name: "t4g.nano".into(),
            architectures: vec!["arm64".into()],
            nitro: true,
            memory: Some(512),
        }],
    }
}

fn changes(plan: &Plan, seen: &Observed) -> Changeset<Action> {
    let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
    let user_data = cloudinit::render(plan).unwrap();
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let around = around();
    diff(&Desired::new(plan, aws, &user_data), World { region: "us-east-1", seen, around: &around, now, claimed: 0 })
        .unwrap_or_else(|problems| panic!("{}", render(&problems, false)))
}

/// The diff's steps as people read them, without what stays open.
fn shown(set: &Changeset<Action>) -> String {
    let page = strip_str(&show::human(std::slice::from_ref(set), &Palette::PLAIN)).to_string();
    page.lines()
        .skip(2)
        .take_while(|line| !line.contains("note:"))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn only_step(set: &Changeset<Action>) -> &Step<Action> {
    let [step] = set.steps.as_slice() else { panic!("{:#?}", set.steps) };
    step
}

#[test]
fn a_changed_key_is_a_live_change() {
    let (before, after) = (read(&text(&[KEY])), read(&text(&[ROTATED_KEY])));
    assert_eq!(changes(&before, &fulfilled(&before)).steps, []);
    let set = changes(&after, &fulfilled(&before));
    let step = only_step(&set);
    assert_eq!(step.impact, Impact::Live);
    let Call::Tag { resources, set: tags, remove } = &step.action.call else { panic!("{step:?}") };
    assert_eq!((resources.as_slice(), remove.len()), (&["i-1".to_owned()][..], 0));
    assert_eq!(tags.keys().map(String::as_str).collect::<Vec<_>>(), ["gangplank:key.secoda.0.0", "gangplank:keys"]);
    assert_snapshot!(shown(&set), @r#"
    ~ keys of instance i-1
        the machine takes them within a minute
        - key of secoda  SHA256:ESy03LOEB695kI2+d+8tJ61LClqtiwqlvIy3Vau/g0I
        + key of secoda  SHA256:j7A85mzuO7PnoEopX0Bv0zGShoGTn/S/+YzUrW0Jxqg  rotated
    "#);
}

#[test]
fn a_key_more_a_key_less_and_an_overlap() {
    let (one, both) = (read(&text(&[KEY])), read(&text(&[KEY, ROTATED_KEY])));
    assert_snapshot!(shown(&changes(&both, &fulfilled(&one))), @r#"
    ~ keys of instance i-1
        the machine takes them within a minute
        + key of secoda  SHA256:j7A85mzuO7PnoEopX0Bv0zGShoGTn/S/+YzUrW0Jxqg  rotated
    "#);
    assert_snapshot!(shown(&changes(&one, &fulfilled(&both))), @r#"
    ~ keys of instance i-1
        the machine takes them within a minute
        - key of secoda  SHA256:j7A85mzuO7PnoEopX0Bv0zGShoGTn/S/+YzUrW0Jxqg
    "#);
    let large = read(&text(&[&rsa(4096, 1)]));
    let set = changes(&one, &fulfilled(&large));
    let Call::Tag { remove, .. } = &only_step(&set).action.call else { panic!("{set:?}") };
    assert_eq!(remove, &["gangplank:key.secoda.0.1", "gangplank:key.secoda.0.2"]);
}

/// Key tags that somebody changed, and other tags beside them, are two lines.
#[test]
fn key_tags_changed_by_hand_are_put_back() {
    let plan = read(&text(&[KEY]));
    let drifted = |change: &dyn Fn(&mut Tags)| {
        let mut seen = fulfilled(&plan);
        change(&mut seen.instances[0].tags);
        let set = changes(&plan, &seen);
        for step in &set.steps {
            let Call::Tag { set, remove, .. } = &step.action.call else { panic!("{step:?}") };
            seen.instances[0].tags.retain(|key, _| !remove.contains(key));
            seen.instances[0].tags.extend(set.clone());
        }
        assert_eq!(changes(&plan, &seen).steps, [], "one run puts it right");
        shown(&set)
    };
    assert_snapshot!(drifted(&|tags| {
        tags.insert("gangplank:key.secoda.1.0".into(), "ssh-ed25519 nonsense".into());
        tags.insert("gangplank:stray".into(), "x".into());
    }), @r#"
    ~ keys of instance i-1
        the tags are not one whole set, so the machine keeps what it has; it takes these within a minute
        - key of secoda  unreadable
    ~ tags of instance i-1
        the tags are not the plan's
        - tag gangplank:stray  x
    "#);
    assert_snapshot!(drifted(&|tags| _ = tags.remove("gangplank:keys")), @r#"
    ~ keys of instance i-1
        the tags are not one whole set, so the machine keeps what it has; it takes these within a minute
        ~ digest  none → b3f7f6749ebd4d6c6ad42c3e31c5eaa0
    "#);
    assert_snapshot!(drifted(&|tags| tags.retain(|key, _| !keys::is_key_tag(key))), @r#"
    ~ keys of instance i-1
        the tags are not one whole set, so the machine keeps what it has; it takes these within a minute
        + key of secoda  SHA256:ESy03LOEB695kI2+d+8tJ61LClqtiwqlvIy3Vau/g0I  vendor
        + key of ana     SHA256:HMR3IRfuT8i5m5KpiuGgJDOoCBXeo9/Z6YB9YfK0KL0  ana
    "#);
}

#[test]
fn hidden_tags_are_shown_again() {
    let plan = read(&text(&[KEY]));
    let mut seen = fulfilled(&plan);
    seen.instances[0].metadata.tags = false;
    let set = changes(&plan, &seen);
    assert!(matches!(only_step(&set).action.call, Call::SetMetadataOptions { tags: true, .. }));
    assert_snapshot!(shown(&set), @r#"
    ~ instance i-1
        the machine takes its keys and its deadline from its tags
        ~ metadata service  session tokens required, hop limit 1, tags hidden → session tokens required, hop limit 1, tags readable
    "#);
}

#[test]
fn another_way_for_keys_is_another_machine() {
    let live = read(&text(&[KEY]));
    let replace = read(&format!("{}key_updates: replace\n", text(&[KEY])));
    let machine_of = |set: &Changeset<Action>| {
        let page = shown(set);
        let machine = page.split("  ~ address association").next().unwrap_or_default();
        without_numbers(machine)
    };
    assert_snapshot!(machine_of(&changes(&replace, &fulfilled(&live))), @r#"
    ± instance i-1
        cloud-init keys can't be changed on a running machine
        ! replaces the machine: connections are cut, the host key changes, the address stays
        ~ cloud-init keys   live-# → #  how the machine gets its keys
        + instance type     t4g.nano
        + image             ami-1 (debian-13-arm64-20260811-2566)
        + subnet            subnet-0a1b2c3d4e5f60718
        + metadata service  session tokens required, hop limit 1, tags hidden
        + root volume       8 GiB gp3, encrypted
        + on shutdown       stop
        + cloud-init        # bytes
    "#);
    assert_snapshot!(machine_of(&changes(&live, &fulfilled(&replace))), @r#"
    ± instance i-1
        cloud-init keys can't be changed on a running machine
        ! replaces the machine: connections are cut, the host key changes, the address stays
        ~ cloud-init keys   # → live-#                    how the machine gets its keys
        + instance type     t4g.nano
        + image             ami-1 (debian-13-arm64-20260811-2566)
        + subnet            subnet-0a1b2c3d4e5f60718
        + metadata service  session tokens required, hop limit 1, tags readable
        + root volume       8 GiB gp3, encrypted
        + on shutdown       stop
        + cloud-init        # bytes
        + key of secoda     SHA256:ESy03LOEB695kI2+d+8tJ61LClqtiwqlvIy3Vau/g0I  vendor
        + key of ana        SHA256:HMR3IRfuT8i5m5KpiuGgJDOoCBXeo9/Z6YB9YfK0KL0  ana
    "#);
}

/// Digests and sizes, which follow every word of the templates, as `#`.
fn without_numbers(page: &str) -> String {
    let hex = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = page.split_inclusive([' ', '\n']).map(|word| {
        let bare = word.trim_end();
        match bare.strip_prefix("live-").map_or(("", bare), |digest| ("live-", digest)) {
            (prefix, digest) if hex(digest) => word.replace(bare, &format!("{prefix}#")),
            _ if bare.len() > 3 && bare.bytes().all(|b| b.is_ascii_digit()) => word.replace(bare, "#"),
            _ => word.to_owned(),
        }
    });
    words.collect()
}

#[test]
fn a_new_machine_shows_its_keys() {
    let set = changes(
        &read(&text(&[KEY, ROTATED_KEY])),
        &Observed { name_servers: own_name_servers(), ..Observed::default() },
    );
    let launch = set.steps.iter().find_map(|step| match &step.action.call {
        Call::RunInstance(launch) => Some(launch),
        _ => None,
    });
    let launch = launch.expect("an instance");
    assert!(launch.metadata_tags && launch.tags.contains_key("gangplank:key.ana.0.0"));
    assert!(launch.part_tags.keys().all(|key| !keys::is_key_tag(key)), "volumes need no keys");
    let page = shown(&set);
    let keys: Vec<&str> =
        page.lines().filter(|line| line.contains("key of") || line.contains("gangplank:key")).collect();
    assert_snapshot!(keys.join("\n"), @r#"
    + key of secoda     SHA256:ESy03LOEB695kI2+d+8tJ61LClqtiwqlvIy3Vau/g0I    vendor
    + key of secoda     SHA256:j7A85mzuO7PnoEopX0Bv0zGShoGTn/S/+YzUrW0Jxqg    rotated
    + key of ana        SHA256:HMR3IRfuT8i5m5KpiuGgJDOoCBXeo9/Z6YB9YfK0KL0    ana
    "#);
}

#[test]
fn more_keys_than_tags_are_refused() {
    let many: Vec<String> = (0..13).map(|seed| rsa(4096, seed)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    read(&text(&many));
    let more = [&many[..], &[KEY]].concat();
    assert_snapshot!(refusal(&text(&more)), @r#"
    error: more keys than the instance has tags for
     --> plans/warehouse.yaml:4:1
      |
    4 | tunnels:
      | ^^^^^^^ 15 keys need 41 tags
      |
      = note: The running machine reads its keys from its tags, 256 characters in each. EC2 allows 50 tags, gangplank keeps 10 for itself, and the plan has 0 tags of its own: 40 remain.
      = help: remove keys that are no longer used, ask for ed25519 keys (one tag each), or write `key_updates: replace`
    "#);
    read(&format!("{}key_updates: replace\n", text(&more)));

    // What others put onto the instance counts too, and is known only when it is there.
    let plan = read(&text(&many));
    let mut seen = fulfilled(&plan);
    seen.instances[0].tags.extend((0..10).map(|n| (format!("other-{n}"), String::new())));
    let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
    let user_data = cloudinit::render(&plan).unwrap();
    let around = around();
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let world = World { region: "us-east-1", seen: &seen, around: &around, now, claimed: 0 };
    let problems = diff(&Desired::new(&plan, aws, &user_data), world).expect_err("too many tags");
    assert_snapshot!(render(&problems, false), @r#"
    error: more keys than the instance has tags for
     --> plans/warehouse.yaml:4:1
      |
    4 | tunnels:
      | ^^^^^^^ this needs 47 tags
      |
      = note: EC2 allows 50 tags, and the instance has 10 that are not gangplank's.
      = help: remove keys, or tags of the instance that nobody needs; or write `key_updates: replace`
    "#);
}

/// gangplank's own tags stay within what the plan reader keeps for them.
#[test]
fn the_largest_plan_fits() {
    let keys: Vec<String> = (0..12).map(|seed| rsa(4096, seed)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let tags = "tags: {a: b, c: d, e: f}\nlifetime: 90d\n";
    let plan = read(&(text(&keys) + tags));
    let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
    let user_data = cloudinit::render(&plan).unwrap();
    let deadline = gangplank::tags::deadline::deadline(plan.deadline, &Default::default(), jiff::Timestamp::UNIX_EPOCH);
    let own = Desired::new(&plan, aws, &user_data).instance_tags(deadline.as_ref());
    assert_eq!(own.len(), 3 + 12 * 3 + 1 + 8, "{:?}", own.keys());
    assert!(own.len() <= 50);
}

#[test]
fn tag_names_that_the_metadata_service_refuses_are_refused() {
    let tags = "tags: {cost centre: a, team/data: b, _index: c, büro: d, fine-1.2_3:4@5+6=7: e}\n";
    assert_snapshot!(refusal(&(text(&[KEY]) + tags)), @r#"
    error: a tag that the machine cannot read
      --> plans/warehouse.yaml:15:8
       |
    15 | tags: {cost centre: a, team/data: b, _index: c, büro: d, fine-1.2_3:4@5+6=7: e}
       |        ^^^^^^^^^^^ the instance metadata service refuses the character ` ` in a key
       |
       = note: The running machine reads its keys and its deadline from its tags, and EC2 shows it all of them or none.
       = help: rename it with a-z, A-Z, 0-9 and + - = . _ : @; or write `key_updates: replace` and no deadline

    error: a tag that the machine cannot read
      --> plans/warehouse.yaml:15:24
       |
    15 | tags: {cost centre: a, team/data: b, _index: c, büro: d, fine-1.2_3:4@5+6=7: e}
       |                        ^^^^^^^^^ the instance metadata service refuses the character `/` in a key
       |
       = note: The running machine reads its keys and its deadline from its tags, and EC2 shows it all of them or none.
       = help: rename it with a-z, A-Z, 0-9 and + - = . _ : @; or write `key_updates: replace` and no deadline

    error: a tag that the machine cannot read
      --> plans/warehouse.yaml:15:38
       |
    15 | tags: {cost centre: a, team/data: b, _index: c, büro: d, fine-1.2_3:4@5+6=7: e}
       |                                      ^^^^^^ the instance metadata service refuses the key `_index`
       |
       = note: The running machine reads its keys and its deadline from its tags, and EC2 shows it all of them or none.
       = help: rename it with a-z, A-Z, 0-9 and + - = . _ : @; or write `key_updates: replace` and no deadline

    error: a tag that the machine cannot read
      --> plans/warehouse.yaml:15:49
       |
    15 | tags: {cost centre: a, team/data: b, _index: c, büro: d, fine-1.2_3:4@5+6=7: e}
       |                                                 ^^^^ the instance metadata service refuses the character `ü` in a key
       |
       = note: The running machine reads its keys and its deadline from its tags, and EC2 shows it all of them or none.
       = help: rename it with a-z, A-Z, 0-9 and + - = . _ : @; or write `key_updates: replace` and no deadline
    "#);
    read(&(text(&[KEY]) + tags + "key_updates: replace\n"));
    assert_snapshot!(refusal(&(text(&[KEY]) + "key_updates: later\n")), @r#"
    error: an unknown way of key updates
      --> plans/warehouse.yaml:15:14
       |
    15 | key_updates: later
       |              ^^^^^ `later` is neither `live` nor `replace`
       |
       = help: write `live` (the running machine takes new keys) or `replace` (a new machine does)
    "#);
}
