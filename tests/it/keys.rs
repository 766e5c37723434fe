//! Keys that change on the running machine: what the diff says of them, and the machine's script with a metadata service of
//! its own.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::Arc};

use anstream::adapter::strip_str;
use gangplank::{
    changeset::{Changeset, Impact, Step},
    cli::{show, style::Palette},
    cloudinit,
    diagnostic::{Source, render},
    plan::{self, Cloud, Plan},
    provider::aws::{
        action::{Action, Call},
        desire::Desired,
        diff::{World, diff},
        keys,
        network::{Destination, Route, RouteTable, Subnet},
        observed::{
            Attachment, ElasticIp, Group, Image, Instance, InstanceState, InstanceType, MetadataOptions, Observed,
            Surroundings,
        },
        rule::ANY_V4,
    },
    provider::azure::keys as azure_keys,
    provider::tags::Tags,
};
use insta::assert_snapshot;

use crate::support::{
    self,
    plans::{KEY, ROTATED_KEY},
};

pub mod metadata;

use metadata::Metadata;

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
            tags: want.instance_tags(None),
        }],
        addresses: vec![ElasticIp {
            allocation: "eipalloc-1".into(),
            ip: Some([192, 0, 2, 4].into()),
            attached: Some(Attachment::Instance("i-1".into())),
            tags: want.tags(None),
        }],
        groups: vec![Group {
            id: "sg-1".into(),
            name: "gangplank-warehouse".into(),
            vpc: "vpc-1".into(),
            ingress: want.ingress.clone(),
            egress: want.egress.clone(),
            tags: want.tags(None),
        }],
    }
}

/// What a new machine can be made from.
fn around() -> Surroundings {
    Surroundings {
        subnets: vec![Subnet {
            id: "subnet-0a1b2c3d4e5f60718".into(),
            vpc: "vpc-1".into(),
            ipv6: false,
            nets: Vec::new(),
            tags: Tags::new(),
        }],
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
        }],
        instance_types: vec![InstanceType { name: "t4g.nano".into(), architectures: vec!["arm64".into()] }],
    }
}

fn changes(plan: &Plan, seen: &Observed) -> Changeset<Action> {
    let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
    let user_data = cloudinit::render(plan).unwrap();
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let around = around();
    diff(&Desired::new(plan, aws, &user_data), World { region: "us-east-1", seen, around: &around, now })
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
    let set = changes(&read(&text(&[KEY, ROTATED_KEY])), &Observed::default());
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
    seen.instances[0].tags.insert("aws:does-not-count".into(), String::new());
    let Cloud::Aws(aws) = &plan.cloud else { panic!("not AWS") };
    let user_data = cloudinit::render(&plan).unwrap();
    let around = around();
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let world = World { region: "us-east-1", seen: &seen, around: &around, now };
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
    let deadline =
        gangplank::provider::deadline::deadline(plan.deadline, Default::default(), jiff::Timestamp::UNIX_EPOCH);
    let own = Desired::new(&plan, aws, &user_data).instance_tags(deadline.as_ref());
    assert_eq!(own.len(), 3 + 12 * 3 + 1 + 8, "{:?}", own.keys());
    assert!(own.len() <= 50);
}

/// The machine's script as the document brings it, for the current user, with folders of its own.
struct Machine {
    folder: tempfile::TempDir,
    metadata: Metadata,
}

/// What one run of the script said and left.
#[derive(Debug)]
struct Round {
    ok: bool,
    said: String,
}

impl Machine {
    /// `None`, said aloud, where a program of the machine's is missing here.
    fn new() -> Option<Self> {
        for program in ["/usr/bin/python3", "/usr/bin/ssh-keygen"] {
            if !Path::new(program).exists() {
                support::skip(&format!("no {program} here"));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let plan = read(&text(&[KEY]));
        let document: serde_json::Value = serde_yaml::from_str(&cloudinit::render(&plan).unwrap().text).unwrap();
        for user in ["ana", "fivetran", "secoda"] {
            fs::create_dir_all(folder.path().join("homes").join(user).join(".ssh")).unwrap();
        }
        fs::create_dir(folder.path().join("options")).unwrap();
        for file in document["write_files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            let place = match path.rsplit_once('/').unwrap() {
                ("/etc/gangplank/options", user) => folder.path().join("options").join(user),
                (_, "gangplank-keys") => folder.path().join("script"),
                _ => continue,
            };
            fs::write(&place, file["content"].as_str().unwrap()).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let machine = Self { folder, metadata: Metadata::start() };
        machine.metadata.show(&keys::tags(&plan));
        Some(machine)
    }

    fn round(&self) -> Round {
        let at = |name: &str| self.folder.path().join(name);
        let output = Command::new("/usr/bin/python3")
            .args(["-I", "-S"])
            .arg(at("script"))
            .env("GANGPLANK_METADATA", self.metadata.address())
            .env("GANGPLANK_OPTIONS", at("options"))
            .env("GANGPLANK_HOMES", at("homes"))
            .env("GANGPLANK_RUN", at("run"))
            .env("GANGPLANK_STATE", at("state/deadline"))
            .env("GANGPLANK_SHUTDOWN", at("shutdown"))
            .env("GANGPLANK_REPORT", "/bin/true")
            // A proxy of the environment is not for the metadata service.
            .env("http_proxy", "http://127.0.0.1:9")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        Round { ok: output.status.success(), said: said.replace(&self.metadata.address(), "SERVICE") }
    }

    fn bring(&self, keys: &[&str]) -> Round {
        self.metadata.show(&keys::tags(&read(&text(keys))));
        self.round()
    }

    fn path(&self, user: &str) -> std::path::PathBuf {
        self.folder.path().join("homes").join(user).join(".ssh/authorized_keys")
    }

    /// The user's lines; nothing where there is no file. Never anything beside it, and never open to others.
    fn accepted(&self, user: &str) -> Vec<String> {
        let path = self.path(user);
        let beside: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        let Ok(text) = fs::read_to_string(&path) else {
            assert!(beside.is_empty(), "{beside:?}");
            return Vec::new();
        };
        assert_eq!(beside, ["authorized_keys"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        text.lines().map(str::to_owned).collect()
    }
}

fn line(options: &str, key: &str) -> String {
    let words: Vec<&str> = key.split(' ').take(2).collect();
    format!("restrict,port-forwarding,{options} {}", words.join(" "))
}

const SECODA: &str = "permitopen=\"10.20.2.10:5432\"";

#[test]
fn the_machine_takes_added_rotated_and_revoked_keys() {
    let Some(machine) = Machine::new() else { return };
    let first = machine.round();
    assert!(first.ok, "{first:?}");
    assert_snapshot!(first.said, @r#"
    gangplank: ana may enter with SHA256:HMR3IRfuT8i5m5KpiuGgJDOoCBXeo9/Z6YB9YfK0KL0
    gangplank: fivetran may enter with no key
    gangplank: secoda may enter with SHA256:ESy03LOEB695kI2+d+8tJ61LClqtiwqlvIy3Vau/g0I
    "#);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
    assert_eq!(machine.accepted("fivetran"), [""; 0]);
    let both = "permitopen=\"10.20.2.10:5432\",permitopen=\"10.20.2.11:3306\"";
    assert_eq!(machine.accepted("ana"), [line(both, OPERATOR)]);

    let inode = |user| std::os::unix::fs::MetadataExt::ino(&fs::metadata(machine.path(user)).unwrap());
    let (secoda, ana) = (inode("secoda"), inode("ana"));
    let again = machine.round();
    assert_eq!((again.ok, again.said.as_str()), (true, ""));
    assert_eq!(inode("secoda"), secoda, "what says the same is not written again");

    let overlap = machine.bring(&[KEY, ROTATED_KEY]);
    assert!(overlap.ok, "{overlap:?}");
    assert_eq!(machine.accepted("secoda").len(), 2);
    assert_eq!(inode("ana"), ana);
    let rotated = machine.bring(&[ROTATED_KEY]);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, ROTATED_KEY)]);
    assert_snapshot!(rotated.said, @r#"
    gangplank: secoda may enter with SHA256:j7A85mzuO7PnoEopX0Bv0zGShoGTn/S/+YzUrW0Jxqg
    "#);
    let revoked = machine.bring(&[]);
    assert_snapshot!(revoked.said, @r#"
    gangplank: secoda may enter with no key
    "#);
    assert_eq!(machine.accepted("secoda"), [""; 0]);
    for bits in [2048, 4096, 16384] {
        let key = rsa(bits, 3);
        assert!(machine.bring(&[&key, KEY]).ok);
        let mut expected = [line(SECODA, KEY), line(SECODA, &key)];
        expected.sort();
        assert_eq!(machine.accepted("secoda"), expected);
    }
}

/// Whatever the tags are that are no whole set: the machine keeps what it has, says why, and takes the next whole set.
#[test]
fn the_machine_keeps_its_keys_when_the_tags_are_not_a_whole_set() {
    let Some(machine) = Machine::new() else { return };
    let large = rsa(4096, 5);
    assert!(machine.bring(&[&large, KEY]).ok);
    let before = machine.accepted("secoda");
    assert_eq!(before.len(), 2);
    let whole = keys::tags(&read(&text(&[&large, ROTATED_KEY])));
    let digest_of = |keys: &[&str]| keys::tags(&read(&text(keys)))["gangplank:keys"].clone();
    let evil = format!("{}\nssh-ed25519 {}", KEY.trim_end_matches(" vendor"), &ROTATED_KEY[12..80]);
    let evil_set = |user: &str, value: &str| -> Tags {
        // A digest that fits, as somebody who may tag the instance can write it.
        let lines = format!("{user} {value}\n");
        use sha2::Digest;
        let digest: String = sha2::Sha256::digest(lines).iter().take(16).map(|b| format!("{b:02x}")).collect();
        BTreeMap::from([(format!("gangplank:key.{user}.0.0"), value.to_owned()), ("gangplank:keys".to_owned(), digest)])
    };
    let changed = |change: &dyn Fn(&mut Tags)| {
        let mut tags = whole.clone();
        change(&mut tags);
        tags
    };
    let part = |n: usize| whole.keys().filter(|key| key.starts_with("gangplank:key.secoda.")).nth(n).cloned().unwrap();
    let cases: Vec<(&str, Tags)> = vec![
        ("a missing part", changed(&|tags| _ = tags.remove(&part(2)))),
        ("a malformed part", changed(&|tags| _ = tags.insert(part(1), "AAAA".into()))),
        ("a part's name", changed(&|tags| _ = tags.insert("gangplank:key.secoda.x".into(), "AAAA".into()))),
        ("a part's number", changed(&|tags| _ = tags.insert("gangplank:key.secoda.0.x".into(), "AAAA".into()))),
        ("no digest", changed(&|tags| _ = tags.remove("gangplank:keys"))),
        ("the old digest", changed(&|tags| _ = tags.insert("gangplank:keys".into(), digest_of(&[&large, KEY])))),
        ("a key too many", changed(&|tags| _ = tags.insert("gangplank:key.secoda.7.0".into(), KEY[..80].into()))),
        ("nothing of ours", Tags::from([("Name".into(), "x".into())])),
        ("a line break", evil_set("secoda", &evil)),
        ("options", evil_set("secoda", &format!("command=\"reboot\" {}", &KEY[..80]))),
        ("no key", evil_set("secoda", "ssh-ed25519 AAAA")),
    ];
    for (what, tags) in cases {
        machine.metadata.show(&tags);
        let round = machine.round();
        assert!(!round.ok && round.said.starts_with("gangplank: the keys stay as they are: "), "{what}: {round:?}");
        assert_eq!(machine.accepted("secoda"), before, "{what}");
        assert_eq!(machine.accepted("ana").len(), 1, "{what}");
    }
    machine.metadata.show(&whole);
    assert!(machine.round().ok);
    assert_ne!(machine.accepted("secoda"), before);
}

#[test]
fn the_machine_keeps_its_keys_when_nobody_answers() {
    let Some(machine) = Machine::new() else { return };
    machine.metadata.hide_tags();
    let fresh = machine.round();
    assert!(!fresh.ok);
    assert_eq!(machine.accepted("secoda"), [""; 0], "a fresh machine admits nobody");
    assert!(machine.bring(&[KEY]).ok);

    machine.metadata.hide_tags();
    let hidden = machine.round();
    assert_snapshot!(hidden.said, @r#"
    gangplank: the keys stay as they are: meta-data/tags/instance/: HTTP Error 404: Not Found
    "#);
    machine.metadata.refuse_tokens();
    let refused = machine.round();
    assert_snapshot!(refused.said, @r#"
    gangplank: the keys stay as they are: api/token: HTTP Error 403: Forbidden
    "#);
    machine.metadata.stop();
    let down = machine.round();
    assert!(!down.ok && down.said.contains("api/token: "), "{down:?}");
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
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

/// The same script on Azure: its metadata service shows user data, and no tags.
#[test]
fn a_machine_on_azure_takes_its_keys_from_user_data() {
    let Some(machine) = Machine::new() else { return };
    let user_data = |keys: &[&str]| azure_keys::user_data(&read(&text(keys)), None).expect("live keys");
    let expected = |machine: &Machine, key: &str| {
        assert_eq!(machine.accepted("secoda"), [line(SECODA, key)]);
    };
    machine.metadata.show_user_data(&user_data(&[KEY]));
    assert!(machine.round().ok);
    expected(&machine, KEY);
    machine.metadata.show_user_data(&user_data(&[ROTATED_KEY]));
    assert!(machine.round().ok);
    expected(&machine, ROTATED_KEY);
    // Half of it, none of it, something else: the machine keeps what it has.
    let whole = user_data(&[KEY]);
    for broken in [&whole[..whole.len() / 2], "", "#!/bin/sh\n", &whole.replace("secoda", "ana")] {
        machine.metadata.show_user_data(broken);
        let round = machine.round();
        assert!(!round.ok && round.said.contains("the keys stay as they are"), "{round:?}");
        expected(&machine, ROTATED_KEY);
    }
    // Nobody has a key: that is a whole set too.
    machine.metadata.show_user_data(&user_data(&[]));
    assert!(machine.round().ok);
    assert_eq!(machine.accepted("secoda"), Vec::<String>::new());
}

/// A bastion that ends: what the machine's script makes of its deadline, without a machine to switch off.
impl Machine {
    fn ending(&self, keys: &[&str], expires: &str) -> Round {
        let mut tags = keys::tags(&read(&text(keys)));
        tags.insert("gangplank:expires".to_owned(), expires.to_owned());
        self.metadata.show(&tags);
        self.round()
    }

    /// How often the machine was told to shut down.
    fn shutdowns(&self) -> usize {
        fs::read_to_string(self.folder.path().join("shut")).map_or(0, |said| said.lines().count())
    }

    fn known(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.folder.path().join("state/deadline")).unwrap()).unwrap()
    }

    fn with_shutdown() -> Option<Self> {
        let machine = Self::new()?;
        let (path, shut) = (machine.folder.path().join("shutdown"), machine.folder.path().join("shut"));
        fs::write(&path, format!("#!/bin/sh\necho \"$*\" >>{}\n", shut.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Some(machine)
    }
}

fn in_seconds(seconds: i64) -> String {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap().to_string()
}

#[test]
fn the_machine_ends_at_its_deadline_and_not_before() {
    let Some(machine) = Machine::with_shutdown() else { return };
    assert!(machine.ending(&[KEY], &in_seconds(3600)).ok);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
    assert_eq!(machine.known()["closed"], false);
    // Whatever is no time, or is not there: it keeps the end that it knows, and takes its keys.
    for odd in ["tomorrow", "2030-01-31", "2030-02-30T00:00:00Z", "1e9", "", "2030-01-31T00:00:00+01:00"] {
        let before = machine.known()["expires"].clone();
        let round = machine.ending(&[KEY, ROTATED_KEY], odd);
        assert!(!round.ok && round.said.contains("the deadline stays as it is: "), "{odd}: {round:?}");
        assert_eq!((machine.known()["expires"].clone(), machine.accepted("secoda").len()), (before, 2), "{odd}");
    }
    assert_eq!(machine.shutdowns(), 0);
    let over = machine.ending(&[KEY], &in_seconds(-1));
    assert!(!over.ok && over.said.contains("the bastion's time is up since"), "{over:?}");
    for user in ["secoda", "ana", "fivetran"] {
        assert_eq!(machine.accepted(user), [""; 0], "{user}");
    }
    assert_eq!(machine.shutdowns(), 1);
    // An extension that comes before the power is off opens it again.
    assert!(machine.ending(&[KEY], &in_seconds(600)).ok);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
}

#[test]
fn the_machine_ends_without_its_metadata_and_with_a_wrong_clock() {
    let Some(machine) = Machine::with_shutdown() else { return };
    // Another clock than the cloud's: the cloud's is a day ahead. It closes, and ends for good.
    assert!(machine.ending(&[KEY], &in_seconds(3600)).ok);
    machine.metadata.set_clock(jiff::SignedDuration::from_hours(24));
    assert!(!machine.round().ok);
    assert_eq!((machine.accepted("secoda").len(), machine.shutdowns()), (0, 1));
    // What was seen then is put right by the cloud's clock, and by nothing else.
    machine.metadata.set_clock(jiff::SignedDuration::ZERO);
    assert!(machine.round().ok);
    assert_eq!(machine.accepted("secoda").len(), 1);
    // The cloud's clock is behind: the machine's own closes it, and it does not end for good.
    machine.metadata.set_clock(jiff::SignedDuration::from_hours(-24));
    assert!(!machine.ending(&[KEY], &in_seconds(-60)).ok);
    assert_eq!((machine.accepted("secoda").len(), machine.shutdowns()), (0, 1));
    machine.metadata.set_clock(jiff::SignedDuration::ZERO);
    assert!(machine.ending(&[KEY], &in_seconds(2)).ok);
    machine.metadata.hide_tags();
    machine.metadata.stop();
    // The memory of a day in the future, as a clock that was then set back leaves it: another boot, so nothing is counted on.
    let mut state = machine.known();
    state["seen"] = (jiff::Timestamp::now().as_second() + 86400).into();
    state["boot"] = "another".into();
    fs::write(machine.folder.path().join("state/deadline"), state.to_string()).unwrap();
    assert!(!machine.round().ok);
    assert_eq!(
        machine.accepted("secoda"),
        [""; 0],
        "what has ended stays closed after a reboot with its clock set back"
    );
    assert_eq!(machine.shutdowns(), 1, "nobody confirms the clock yet: it has a minute");
    // A machine that has lost its memory cannot know, and admits nobody.
    fs::remove_file(machine.folder.path().join("state/deadline")).unwrap();
    assert!(!machine.round().ok);
    assert_eq!(machine.accepted("secoda"), [""; 0]);
}

#[test]
fn a_deadline_goes_with_its_tag_but_not_when_all_tags_go() {
    let Some(machine) = Machine::with_shutdown() else { return };
    assert!(machine.ending(&[KEY], &in_seconds(3600)).ok);
    machine.metadata.show(&Tags::new());
    assert!(!machine.round().ok);
    assert!(machine.known()["expires"].is_number(), "all tags are gone: that says nothing");
    assert!(machine.bring(&[KEY]).ok);
    assert!(machine.known()["expires"].is_null(), "the others are there: there is no deadline");
}

#[test]
fn a_machine_on_azure_learns_its_deadline_from_user_data() {
    let Some(machine) = Machine::with_shutdown() else { return };
    let plan = read(&text(&[KEY]));
    let show = |seconds: i64| {
        let end = in_seconds(seconds).parse().unwrap();
        machine.metadata.show_user_data(&azure_keys::user_data(&plan, Some(end)).expect("live keys"));
        machine.round()
    };
    assert!(show(3600).ok);
    assert_eq!(machine.accepted("secoda"), [line(SECODA, KEY)]);
    assert!(machine.known()["expires"].is_number());
    let longer = azure_keys::with_deadline(
        &azure_keys::user_data(&plan, in_seconds(60).parse().ok()).unwrap(),
        in_seconds(7200).parse().unwrap(),
    );
    machine.metadata.show_user_data(&longer.expect("a whole set").0);
    assert!(machine.round().ok);
    assert!(!show(-1).ok);
    assert_eq!((machine.accepted("secoda").len(), machine.shutdowns()), (0, 1));
}
