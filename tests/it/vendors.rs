//! The catalogue of vendors: every word of it makes a plan, its hand-off fits its kind, and `gangplank vendors` tells it.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::Arc};

use gangplank::{
    diagnostic::{Source, render},
    handoff::{self, Known},
    location::Location,
    plan::{
        self, Plan,
        catalogue::{Fixed, HostKeyHabit, KeyMaker, KeyShown, KnownVendor, TunnelOffer, catalogue},
    },
};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::{Run, Victim, run};

const KEYS: [&str; 2] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1wwnsJ9HuEUP/JMewhaHQeQWr+IlteeNLQzJ2z9Njo",
];

fn text_of(vendor: &str, more: &str) -> String {
    format!(
        "version: 1\nname: warehouse\naws:\n  region: us-east-1\n  subnet: subnet-0a1b2c3d4e5f60718\n  image: debian-13\n  instance_type: \
         t4g.nano\n  address: elastic\ntunnels:\n  - vendor: {vendor}\n{more}    targets:\n      - {{name: warehouse, host: 10.20.2.10, port: 5432}}\n"
    )
}

fn plan_of(vendor: &str, more: &str) -> Plan {
    let text = text_of(vendor, more);
    let source = Source { path: "plans/warehouse.yaml".to_owned(), text };
    plan::read(Arc::new(source)).unwrap_or_else(|problems| panic!("{vendor}: {}", render(&problems, false)))
}

fn gangplank(arguments: &[&str]) -> Run {
    let home = TempDir::new().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    run(command.args(arguments).env_clear().env("HOME", home.path()), &Victim::default())
}

#[test]
fn every_word_of_the_catalogue_makes_a_plan() {
    for vendor in catalogue() {
        for id in vendor.ids() {
            let user = if vendor.user.is_some() { "" } else { "    user: tunnel\n" };
            let own = if id.contains('/') { "" } else { "    allow_from: [203.0.113.9]\n" };
            let sha1 = vendor.sha1_signatures.as_ref().is_some_and(|sha1| sha1.instead.is_none());
            let sha1 = if sha1 { "    legacy_rsa_sha1: false\n" } else { "" };
            let plan = plan_of(&id, &format!("{user}{own}{sha1}"));
            let tunnel = &plan.tunnels[0];
            let usual = vendor.user.as_ref().map_or("tunnel", |user| user.name.as_str());
            assert_eq!(tunnel.user.as_str(), usual, "{id}");
            assert!(tunnel.sources().next().is_some(), "{id}");
        }
    }
}

/// What the hand-off asks for next where no key is there yet, and the fields of the form.
fn handed_over(vendor: &str, more: &str) -> String {
    let plan = plan_of(vendor, more);
    let known = Known {
        location: Location::aws("us-east-1"),
        address: Some("203.0.113.7".to_owned()),
        port: 22,
        host_keys: Vec::new(),
        deadline: None,
        now: "2026-11-22T12:00:00Z".parse().expect("a time"),
        prefix_lists: Default::default(),
        verification: None,
        other_ends: Vec::new(),
    };
    let handoff = handoff::handoff(&plan, &known);
    let fields = handoff.tunnels[0].fields.iter();
    let fields: String =
        fields.map(|field| format!("{}: {}\n", field.label, field.value.as_deref().unwrap_or("-"))).collect();
    let notes: String = handoff.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let next: String = handoff.next.iter().map(|next| format!("> {}\n", next.text)).collect();
    format!("{fields}{notes}{next}")
}

#[test]
fn a_hand_off_fits_the_vendors_kind() {
    let own = "    user: tunnel\n    allow_from: [203.0.113.9]\n";
    let kinds = [
        ("fivetran/gcp-us-east4", ""),
        ("dbt/us1-aws", ""),
        ("airbyte-cloud/eu", "    user: tunnel\n"),
        ("matillion", own),
        ("estuary", own),
        ("hightouch", "    allow_from: [203.0.113.9]\n"),
        ("materialize/aws-us-east-1", "    user: tunnel\n"),
        ("cdata-connect-ai/default", "    user: tunnel\n"),
    ];
    let told: Vec<_> = kinds.iter().map(|(vendor, more)| format!("{vendor}\n{}", handed_over(vendor, more))).collect();
    assert_snapshot!(told.join("\n"));
}

#[test]
fn two_keys_are_two_keys() {
    let keys = format!("    user: tunnel\n    keys: [\"{}\", \"{}\"]\n", KEYS[0], KEYS[1]);
    assert_eq!(plan_of("materialize/aws-us-east-1", &keys).tunnels[0].keys.len(), 2);
}

#[test]
fn the_catalogue_is_listed_and_explained() {
    assert_snapshot!("vendors", gangplank(&["vendors"]).expect(0).stdout);
    assert_snapshot!("vendor", gangplank(&["vendors", "materialize"]).expect(0).stdout);
    assert_snapshot!("region", gangplank(&["vendors", "dbt/us1-aws"]).expect(0).stdout);
    let all = gangplank(&["vendors", "--output", "json"]).expect(0).json();
    assert_eq!(all["vendors"].as_array().map(Vec::len), Some(catalogue().len()));
    let one: Value = gangplank(&["vendors", "fivetran", "--output", "json"]).expect(0).json();
    assert_eq!(one["vendors"][0]["host_key"], "pinned");
    assert_eq!(one["vendors"][0]["regions"]["gcp-us-east4"]["addresses"][0], "35.234.176.144/29");
    for unknown in ["fivetrann", "fivetran/mars"] {
        assert!(gangplank(&["vendors", unknown]).expect(64).stderr.contains("gangplank vendors"));
    }
}

#[test]
fn a_vendors_own_list_is_compared() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("ips.json");
    let path = file.to_str().expect("a plain path");
    let check = |text: &str, name: &str| {
        fs::write(&file, text).expect("a writable folder");
        gangplank(&["vendors", name, "--check", path])
    };
    let same = r#"{"eu": ["3.126.102.29", "18.158.16.164/32", "18.158.251.55", "52.57.235.168"]}"#;
    let told = check(same, "stitch/europe").expect(0).stdout;
    assert!(told.contains("4 in both, 0 only in the file"), "{told}");
    let told = check(&same.replace("52.57.235.168", "203.0.113.9"), "stitch/europe").expect(2).stdout;
    assert!(told.contains("+ 203.0.113.9/32") && told.contains("- 52.57.235.168/32"), "{told}");
    assert!(check("no list\n", "stitch/europe").expect(64).stderr.contains("has no IP address in it"));
    gangplank(&["vendors", "--check", path]).expect(64);
}

/// A new machine has a new host key.
#[test]
fn a_vendor_that_keeps_the_host_key_is_told_of_before_a_new_machine() {
    let folder = TempDir::new().expect("a temporary folder");
    let (file, sandbox) =
        (folder.path().join("plan.yaml"), format!("--sandbox={}", folder.path().join("box").display()));
    let path = file.to_str().expect("a plain path");
    let plan = |vendor: &str, change: [&str; 2]| {
        fs::write(&file, text_of(vendor, "    user: tunnel\n").replace(change[0], change[1]))
            .expect("a writable folder");
    };
    let told = |vendor: &str| {
        plan(vendor, ["", ""]);
        gangplank(&[&sandbox, "apply", "--yes", "--no-verify", path]).expect(0);
        plan(vendor, ["t4g.nano", "t4g.micro"]);
        gangplank(&[&sandbox, "plan", path]).expect(0).stdout
    };
    let note = "Fivetran keeps the bastion's host key";
    let (pinned, not) = (told("fivetran/gcp-us-east4"), told("posthog/eu"));
    assert!(pinned.contains(note) && !not.contains("keeps the bastion's host key"), "{pinned}{not}");
}

#[test]
fn what_the_rest_of_the_program_relies_on_is_there() {
    let pinned = catalogue().iter().filter(|vendor| vendor.host_key == HostKeyHabit::Pinned).count();
    assert!(pinned > 0);
    assert!(catalogue().iter().any(|vendor| vendor.tunnel == TunnelOffer::None));
}

/// A line of the table in docs/vendors.md.
fn row(vendor: &KnownVendor) -> String {
    let regions = vendor.regions.values().filter(|region| !region.addresses.is_empty()).count();
    let regions = match (vendor.tunnel, regions) {
        (TunnelOffer::None, _) => "documents no tunnel".to_owned(),
        (TunnelOffer::NotKnown, 0) => "`allow_from`; whether it has a tunnel is not known".to_owned(),
        (TunnelOffer::NotKnown, many) => format!("{many}; whether it has a tunnel is not known"),
        (_, 0) => "`allow_from`".to_owned(),
        (_, many) => many.to_string(),
    };
    let user = vendor.user.as_ref().map_or(String::new(), |user| {
        format!("`{}`{}", user.name, if user.fixed == Fixed::No { ", or any" } else { "" })
    });
    let key = match vendor.key.map(|key| (key.made_by, key.shown, key.number)) {
        Some((KeyMaker::Customer, ..)) => "yours: `--make-key`",
        Some((KeyMaker::Vendor, KeyShown::BeforeSaving, 1)) => "its own, before saving",
        Some((KeyMaker::Vendor, KeyShown::BeforeSaving, _)) => "its own two, before saving",
        Some((KeyMaker::Vendor, KeyShown::AfterSaving, _)) => "its own, after saving",
        Some((KeyMaker::Vendor, KeyShown::NotKnown, _)) => "its own",
        Some((KeyMaker::NotKnown, ..)) | None => "",
    };
    let host_key = match vendor.host_key {
        HostKeyHabit::Pinned => "pinned",
        HostKeyHabit::Optional => "checked if entered",
        HostKeyHabit::NotChecked => "not checked",
        HostKeyHabit::NotKnown => "",
    };
    let sha1 = if vendor.sha1_signatures.is_some() { "may" } else { "" };
    let name = vendor.documentation.as_ref().map_or(vendor.name.clone(), |link| format!("[{}]({link})", vendor.name));
    format!("| {name} | `{}` | {regions} | {user} | {key} | {host_key} | {sha1} |\n", vendor.id)
}

/// `INSTA_UPDATE=always` rewrites it.
#[test]
fn the_page_has_the_catalogues_table() {
    const MARKS: [&str; 2] = ["<!-- from the catalogue -->\n", "<!-- end -->"];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vendors.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(MARKS[0]).expect("the first mark");
    let (_, after) = rest.split_once(MARKS[1]).expect("the second mark");
    let mut table = String::from("| Vendor | In a plan | Regions | User | Key | Host key | SHA-1 |\n");
    table += "| --- | --- | --- | --- | --- | --- | --- |\n";
    catalogue().iter().for_each(|vendor| write!(table, "{}", row(vendor)).expect("a text"));
    let wanted = [before, MARKS[0], &table, MARKS[1], after].concat();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&path, &wanted).expect("a writable page");
    }
    assert!(
        page == wanted || fs::read_to_string(&path).is_ok_and(|page| page == wanted),
        "docs/vendors.md is not the catalogue's"
    );
}

/// Key pairs for those vendors only that are given one, in new files, with the private half for its owner's eyes.
#[test]
fn a_key_pair_is_made_on_request() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("a plain path").to_owned();
    for (vendor, first_line, bits) in [
        ("posthog/eu", "-----BEGIN OPENSSH PRIVATE KEY-----", "256"),
        ("estuary", "-----BEGIN RSA PRIVATE KEY-----", "3072"),
    ] {
        let path = file(vendor.split('/').next().expect("a name"));
        let told = gangplank(&["vendors", vendor, "--make-key", &path]).expect(0);
        let (private, public) =
            (fs::read_to_string(&path).unwrap(), fs::read_to_string(format!("{path}.pub")).unwrap());
        assert_eq!(private.lines().next(), Some(first_line));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = private.lines().nth(1).expect("a second line");
        assert!(!format!("{}{}", told.stdout, told.stderr).contains(secret));
        // The line goes into a plan as it is printed, and ssh-keygen takes both halves for one pair.
        let line = told.stdout.lines().last().expect("a line");
        assert!(line.contains(public.trim()) && line.starts_with("      - \""), "{line}");
        let plan = plan_of("posthog/eu", &format!("    user: tunnel\n    keys:\n{line}\n"));
        let ssh_keygen = |arguments: &[&str]| {
            let done = Command::new("ssh-keygen").args(arguments).output().expect("ssh-keygen");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).expect("a text")
        };
        assert_eq!(ssh_keygen(&["-y", "-f", &path]).split_whitespace().nth(1), public.split_whitespace().nth(1));
        let shown = ssh_keygen(&["-l", "-f", &format!("{path}.pub")]);
        assert!(shown.starts_with(bits) && shown.contains(&plan.tunnels[0].keys[0].fingerprint), "{shown}");
        // Nothing is overwritten, and nothing is left of a second attempt.
        gangplank(&["vendors", vendor, "--make-key", &path]).expect(1);
        assert_eq!(fs::read_to_string(&path).unwrap(), private);
    }
    fs::write(file("taken.pub"), "mine\n").unwrap();
    std::os::unix::fs::symlink(file("elsewhere"), file("link")).unwrap();
    for name in ["taken", "link"] {
        gangplank(&["vendors", "posthog", "--make-key", &file(name)]).expect(1);
    }
    assert!(!Path::new(&file("taken")).exists() && !Path::new(&file("elsewhere")).exists());
    assert_eq!(fs::read_to_string(file("taken.pub")).unwrap(), "mine\n");
    for refused in ["fivetran", "nobody"] {
        gangplank(&["vendors", refused, "--make-key", &file("more")]).expect(64);
    }
    gangplank(&["vendors", "--make-key", &file("more")]).expect(64);
    assert!(!Path::new(&file("more")).exists());
}

/// Each script has the verbs and the catalogue's words; bash takes its own.
#[test]
fn completion_knows_the_vendors() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = gangplank(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("handoff") && script.contains("make-key"), "{shell}");
        let ids = catalogue().iter().flat_map(|vendor| [vendor.id.clone()].into_iter().chain(vendor.ids()));
        if ["bash", "zsh"].contains(&shell) {
            // The others' scripts complete no words that stand by themselves.
            ids.for_each(|id| assert!(script.contains(&id), "{shell}: {id}"));
        }
    }
    let typed = "source <(\"$0\" completions bash); COMP_WORDS=(gangplank vendors fivetr); COMP_CWORD=2; \
                 _gangplank gangplank fivetr vendors; echo \"${COMPREPLY[*]}\"";
    let done = Command::new("bash").args(["-c", typed, env!("CARGO_BIN_EXE_gangplank")]).output().expect("bash");
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(told.contains("fivetran") && told.contains("fivetran/gcp-us-east4") && !told.contains("hevo"), "{told}");
}

/// Five vendors of five kinds on one machine, from an empty account to a proven hand-off.
#[test]
fn five_vendors_share_a_bastion_in_the_sandbox() {
    let folder = TempDir::new().expect("a temporary folder");
    let (file, sandbox) =
        (folder.path().join("plan.yaml"), format!("--sandbox={}", folder.path().join("box").display()));
    let path = file.to_str().expect("a plain path");
    let rsa =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken/sha1-of-one-of-two-keys.yaml"))
            .unwrap();
    let rsa = rsa.lines().find(|line| line.contains("ssh-rsa")).expect("a key").trim_start_matches([' ', '-']);
    let target = "    targets:\n      - {name: warehouse, host: 10.20.2.10, port: 5432, speaks: postgres, login_attempt: true}\n";
    let tunnel = |vendor: &str, more: &str| format!("  - vendor: {vendor}\n{more}{target}");
    let own = "    user: hightouch-eu\n    allow_from: [203.0.113.9, 198.51.100.20]\n";
    let tunnels = [
        tunnel("fivetran/gcp-us-east4", &format!("    keys: [\"{}\"]\n", KEYS[0])),
        tunnel("dbt/us1-aws", ""),
        tunnel("posthog/eu", &format!("    user: posthog\n    keys: [\"{}\"]\n", KEYS[1])),
        tunnel("looker/gcp-us-west2", &format!("    legacy_rsa_sha1: true\n    keys: [{rsa}]\n")),
        tunnel("hightouch", own),
    ];
    let plan = text_of("posthog/eu", "");
    let (head, _) = plan.split_once("tunnels:\n").expect("a plan");
    let database = "  address: elastic\n  database_access: [{security_group: sg-0a1b2c3d4e5f60718, port: 5432}]\n";
    let head = head.replace("  address: elastic\n", database);
    fs::write(&file, format!("{head}tunnels:\n{}", tunnels.concat())).expect("a writable folder");
    let run = |arguments: &[&str]| {
        let mut all = vec![sandbox.as_str()];
        all.extend(arguments);
        all.push(path);
        gangplank(&all)
    };
    let risk = "risk: sshd accepts SHA-1 signatures of looker's RSA keys";
    let shown = run(&["plan"]).expect(0).stdout;
    assert_eq!(shown.matches(risk).count(), 1, "{shown}");
    run(&["apply", "--yes"]).expect(0);
    let seen = run(&["verify", "--output", "json"]).expect(0).json().to_string();
    assert!(seen.contains("ssh-rsa: accepted") && seen.contains("legacy_rsa_sha1"), "{seen}");
    let handed = run(&["handoff"]).expect(0).stdout;
    for user in ["fivetran", "posthog", "looker", "hightouch-eu"] {
        assert!(handed.contains(&format!("Tunnel {user}")), "{user}: {handed}");
    }
}

/// A server that follows Fivetran's documentation, for one request: it is not Fivetran.
#[cfg(feature = "azure")]
#[test]
fn fivetrans_key_is_fetched_with_credentials_from_the_environment() {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    const ANSWER: &str = "{\"code\": \"Success\", \"data\": {\"public_key\": \"ssh-ed25519 \
                          AAAAC3NzaC1lZDI1NTE5AAAAIBlsgVS38fFjW5im1DdxVuGGG6ivdibDUGF85hU/kDUU fivetran user key\"}}";
    let folder = TempDir::new().expect("a temporary folder");
    let plan = folder.path().join("plan.yaml");
    fs::write(&plan, text_of("fivetran/gcp-us-east4", "    keys: []\n")).expect("a plan");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/v1", listener.local_addr().expect("its address"));
    let ask = |environment: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.arg("vendor-key").arg(&plan).args(["--group", "decent_dropsy"]).env_clear().env("HOME", folder.path());
        run(command.envs(environment.iter().copied()), &Victim::default())
    };
    let without = ask(&[("FIVETRAN_APIURL", &address)]).expect(64);
    assert!(without.stderr.contains("nothing was asked: FIVETRAN_APIKEY and FIVETRAN_APISECRET"), "{without}");
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") > 0 {
            request.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", ANSWER.len());
        write!(stream, "{head}connection: close\r\n\r\n{ANSWER}").expect("an answer");
        String::from_utf8(request).expect("text")
    });
    let credentials =
        [("FIVETRAN_APIURL", address.as_str()), ("FIVETRAN_APIKEY", "key"), ("FIVETRAN_APISECRET", "secret")];
    let fetched = ask(&credentials).expect(0);
    assert!(
        fetched.stdout.contains("tunnel fivetran (") && fetched.stdout.contains("- \"ssh-ed25519 AAAAC3"),
        "{fetched}"
    );
    let request = served.join().expect("a request").to_ascii_lowercase();
    assert!(request.starts_with("get /v1/groups/decent_dropsy/public-key "), "{request}");
    // `key:secret`
    assert!(request.contains("authorization: basic a2v5onnly3jlda=="), "{request}");
    let elsewhere = ask(&[("FIVETRAN_APIURL", "http://203.0.113.1/v1"), credentials[1], credentials[2]]).expect(64);
    assert!(elsewhere.stderr.contains("neither https nor on this machine"), "{elsewhere}");
}
