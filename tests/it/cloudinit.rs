//! The machine's document: what it says, that no value can change what it says, and what real peers think of it (sh, sshd,
//! cloud-init's own schema).

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use gangplank::{
    cloudinit::{self, RenderError, UserData},
    diagnostic::Source,
    plan::*,
};
use handlebars::template::{HelperTemplate, Template, TemplateElement};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Digest;

mod peers;

const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIGQw0RMvT3lBbAtTuKXyWlSiaRbsGRcAQ6W6fYbo4Fp4";

fn aws() -> Cloud {
    Cloud::Aws(Aws {
        region: None,
        account: None,
        profile: None,
        subnet: SubnetRef::Id("subnet-0a1b2c3d".into()),
        image: AwsImage::Alias(ImageAlias::Debian13),
        image_update: false,
        instance_type: "t4g.nano".into(),
        address: AwsAddress::Elastic,
        database_access: Vec::new(),
        prefix_lists: Vec::new(),
        rules_per_group: 60,
    })
}

fn azure() -> Cloud {
    Cloud::Azure(Azure {
        subscription: "00000000-0000-0000-0000-000000000000".into(),
        location: "westeurope".into(),
        resource_group: ResourceGroup::Owned("rg-bastion".into()),
        network: AzureNetwork::Existing { vnet: "vnet".into(), subnet: "snet".into() },
        edge: Edge::PublicAddress,
        size: "Standard_B1s".into(),
        image: ImageAlias::Debian13,
    })
}

fn plan(tunnels: Vec<Tunnel>) -> Plan {
    Plan {
        name: Name::new("warehouse").unwrap(),
        deadline: None,
        tags: BTreeMap::new(),
        ssh: Ssh::default(),
        key_updates: KeyUpdates::Replace,
        tunnels,
        operators: Vec::new(),
        cloud: aws(),
        origin: Origin {
            source: Arc::new(Source { path: "plan.yaml".into(), text: String::new() }),
            fields: BTreeMap::new(),
        },
    }
}

fn tunnel(user: &str, keys: Vec<PublicKey>, targets: Vec<Target>) -> Tunnel {
    Tunnel {
        user: UserName::new(user).unwrap(),
        vendor: None,
        allow_from: Vec::new(),
        keys,
        legacy_rsa_sha1: None,
        targets,
    }
}

fn operator(name: &str, keys: Vec<PublicKey>) -> Operator {
    Operator { name: UserName::new(name).unwrap(), allow_from: Vec::new(), keys }
}

fn key(comment: &str) -> PublicKey {
    PublicKey {
        algorithm: "ssh-ed25519".into(),
        base64: ED25519.into(),
        comment: comment.into(),
        fingerprint: String::new(),
    }
}

fn target(host: &str, port: u16) -> Target {
    let host = host.parse().map_or_else(|_| Host::Name(host.into()), Host::Address);
    Target { name: "t".into(), host, port, speaks: Protocol::Postgres, networks: Vec::new(), login_attempt: None }
}

fn starter() -> Plan {
    plan(vec![tunnel("secoda", vec![key("secoda")], vec![target("warehouse.internal", 5432)])])
}

/// The machine takes its keys from its metadata, as it does unless the plan says otherwise.
fn live(plan: Plan) -> Plan {
    Plan { key_updates: KeyUpdates::Live, ..plan }
}

/// Several vendors, operators, IPv6, another port, no key yet, keys with comments that want to be something else.
fn busy() -> Plan {
    let mut plan = plan(vec![
        tunnel("secoda", vec![], vec![target("warehouse.internal", 5432), target("2001:db8::5", 5433)]),
        tunnel(
            "fivetran",
            vec![key("it's \"quoted\" {{users}} # not one"), key("zwölf \u{2028}\u{feff}\u{1f600}")],
            vec![target("10.0.2.7", 3306)],
        ),
    ]);
    plan.operators = vec![operator("bo", vec![key("bo")]), operator("ana", vec![key("ana")])];
    plan.ssh = Ssh {
        port: 2222,
        max_sessions: 7,
        max_startups: MaxStartups { start: 5, rate: 60, full: 20 },
        open_files: 4096,
    };
    plan
}

fn text(plan: &Plan) -> String {
    cloudinit::render(plan).unwrap().text
}

fn parse(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// The content that the document gives to a path.
fn file(document: &Value, path: &str) -> String {
    let files = document["write_files"].as_array().unwrap();
    let file = files.iter().find(|f| f["path"] == path).unwrap_or_else(|| panic!("no {path}"));
    file["content"].as_str().unwrap().to_owned()
}

fn template(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(name)).unwrap()
}

/// As a document has it.
fn embedded(name: &str) -> String {
    if name.ends_with(".py") || name.ends_with(".sh") { cloudinit::bare(&template(name)) } else { template(name) }
}

/// Compares with `tests/golden/NAME.user-data`, whole documents as cloud-init reads them; `INSTA_UPDATE=always` rewrites.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.user-data"));
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{} differs; INSTA_UPDATE=always rewrites it", path.display());
}

#[test]
fn golden_documents() {
    golden("starter", &text(&live(starter())));
    golden("busy", &text(&busy()));
}

/// What decides whether a document fits: the least that gzip makes of it.
fn smallest(plan: &Plan) -> usize {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, text(plan).as_bytes()).unwrap();
    gzip.finish().unwrap().len()
}

#[test]
fn equal_texts_are_sent_as_equal_bytes_that_gzip_reads() {
    let text = text(&starter());
    let bytes = cloudinit::compressed(&text);
    assert_eq!(bytes, cloudinit::compressed(&text));
    let mut read = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut read).unwrap();
    assert_eq!(read, text);
}

#[test]
fn the_starter_leaves_room_for_keys() {
    let size = smallest(&starter());
    assert!(size < 13 * 1024, "{size} bytes");
}

/// Keys that are tags take nothing of it.
#[test]
fn live_keys_leave_room_for_ten_vendors() {
    let plan = live(starter());
    let size = smallest(&plan);
    assert!(size < 15 * 1024 + 576, "{size} bytes");
    let ten = (0..10).map(|n| tunnel(&format!("vendor-{n}"), vec![], vec![target("warehouse.internal", 5432)]));
    let ten = smallest(&Plan { tunnels: ten.collect(), ..plan });
    assert!(ten < 15 * 1024 + 768, "{ten} bytes");
}

#[test]
fn live_keys_are_not_in_the_document() {
    let plan = live(starter());
    let mut rotated = plan.clone();
    rotated.tunnels[0].keys = vec![key("another"), key("")];
    let user_data = cloudinit::render(&plan).unwrap();
    assert_eq!(user_data, cloudinit::render(&rotated).unwrap());
    assert!(!user_data.text.contains("ssh-ed25519"));
    let options = file(&parse(&user_data.text), "/etc/gangplank/options/secoda");
    assert_eq!(options, "restrict,port-forwarding,permitopen=\"warehouse.internal:5432\"\n");
    let on_azure = Plan { cloud: azure(), ..plan };
    assert_eq!(text(&on_azure), user_data.text, "the document knows no cloud");
}

#[test]
fn another_way_for_the_keys_is_told_as_that() {
    let parts = |plan: &Plan| cloudinit::render(plan).unwrap().parts;
    let (document, tags) = (parts(&starter()), parts(&live(starter())));
    let different: Vec<_> = document.iter().zip(&tags).filter(|(a, b)| a != b).collect();
    let [(("keys", digest), ("keys", way))] = different.as_slice() else { panic!("{different:?}") };
    assert!(way.starts_with("live-") && !digest.starts_with("live-"));
}

#[test]
fn a_key_may_open_its_own_targets_only() {
    let document = parse(&text(&busy()));
    assert_eq!(
        file(&document, "/etc/gangplank/keys/fivetran"),
        format!(
            "restrict,port-forwarding,permitopen=\"10.0.2.7:3306\" ssh-ed25519 {ED25519} it's \"quoted\" {{{{users}}}} # not one\n\
             restrict,port-forwarding,permitopen=\"10.0.2.7:3306\" ssh-ed25519 {ED25519} zwölf \u{2028}\u{feff}\u{1f600}\n"
        )
    );
    assert_eq!(
        file(&document, "/etc/gangplank/keys/ana"),
        format!(
            "restrict,port-forwarding,permitopen=\"10.0.2.7:3306\",permitopen=\"[2001:db8::5]:5433\",\
             permitopen=\"warehouse.internal:5432\" ssh-ed25519 {ED25519} ana\n"
        )
    );
}

#[test]
fn a_tunnel_without_keys_has_its_user_and_an_empty_file() {
    let document = parse(&text(&busy()));
    assert_eq!(file(&document, "/etc/gangplank/keys/secoda"), "");
    let users: Vec<_> = document["users"].as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap()).collect();
    assert_eq!(users, ["ana", "bo", "fivetran", "secoda"]);
}

#[test]
fn order_in_the_plan_does_not_matter() {
    let mut turned = busy();
    turned.tunnels.reverse();
    turned.operators.reverse();
    for tunnel in &mut turned.tunnels {
        tunnel.keys.reverse();
        tunnel.targets.reverse();
    }
    assert_eq!(cloudinit::render(&busy()), cloudinit::render(&turned));
}

/// Keys as different as real ones.
fn incompressible(count: u32) -> Vec<PublicKey> {
    let digits = |n: u32| sha2::Sha256::digest(n.to_be_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
    (0..count).map(|n| PublicKey { base64: format!("AAAAC3NzaC1lZDI1NTE5AAAAI{}", digits(n)), ..key("") }).collect()
}

#[test]
fn too_many_keys_are_refused_with_the_reason() {
    let mut plan = starter();
    plan.tunnels[0].keys = incompressible(300);
    let error = cloudinit::render(&plan).unwrap_err();
    let RenderError::TooLarge { cloud: "EC2", size, limit: 16384, largest: (part, bytes) } = error else {
        panic!("{error}");
    };
    assert!(size > 16384 && bytes > size / 4, "{size} {bytes}");
    insta::assert_snapshot!(RenderError::TooLarge { cloud: "EC2", size: 23000, limit: 16384, largest: (part, 15000) }, @"the machine's user-data is too large: 23000 bytes when compressed, and EC2 accepts 16384. Of what the plan decides, the 300 keys with the targets that each opens take the most: 15000 bytes. Remove what is no longer used, or split the plan into two bastions");
    plan.cloud = azure();
    assert!(cloudinit::render(&plan).is_ok(), "Azure accepts three times as much");
    plan.tunnels[0].keys = incompressible(1200);
    let error = cloudinit::render(&plan).unwrap_err();
    assert!(matches!(error, RenderError::TooLarge { limit: 65536, .. }), "{error}");
}

#[test]
fn a_value_that_no_format_can_hold_is_refused() {
    let mut plan = starter();
    plan.tunnels[0].keys = vec![key("two\nssh-ed25519 AAAA lines")];
    insta::assert_snapshot!(cloudinit::render(&plan).unwrap_err(), @r#"the machine's user-data cannot be written: authorized_keys cannot hold "two\nssh-ed25519 AAAA lines": a comment ends with its line and has no control characters"#);
    for host in ["a b", "*", "a\nPermitRootLogin yes", "a\"", "a,b", "h#"] {
        let plan = self::plan(vec![tunnel("secoda", vec![key("")], vec![target(host, 1)])]);
        assert!(matches!(cloudinit::render(&plan), Err(RenderError::Value(_))), "{host:?}");
    }
}

/// A bare `{{value}}` would land unquoted; `#if` and literals are not needed, so they are refused too.
#[test]
fn templates_write_no_value_without_a_helper() {
    fn check(name: &str, template: &Template) {
        for element in &template.elements {
            match element {
                // A partial is a template of this folder, checked as such.
                TemplateElement::RawString(_) | TemplateElement::Comment(_) | TemplateElement::PartialExpression(_) => {
                }
                TemplateElement::Expression(call) => {
                    let helper = call.name.as_name().unwrap_or_default();
                    let known = ["yaml", "file", "sh", "sshd", "key", "comment"].contains(&helper);
                    assert!(known && call.params.len() == 1, "{name}: {{{{{helper}}}}} does not quote its value");
                }
                TemplateElement::HelperBlock(block) => {
                    let HelperTemplate { name: helper, template: Some(inner), inverse: None, .. } = block.as_ref()
                    else {
                        panic!("{name}: {block:?}");
                    };
                    assert_eq!(helper.as_name(), Some("each"), "{name}");
                    check(name, inner);
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = template(&name);
        // Pages escape every value for HTML: tests/it/handoff.rs.
        if name.ends_with(".html.hbs") || name.ends_with(".svg.hbs") {
            continue;
        }
        if name.ends_with(".hbs") {
            check(&name, &Template::compile(&text).unwrap());
            seen += 1;
        } else {
            assert!(!text.contains("{{"), "{name} is copied as it is");
        }
    }
    assert_eq!(seen, 5);
}

/// Text that has broken YAML, shells and templates before, mixed with any other.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<char>().prop_map(String::from),
        "[ -~]{0,8}",
        proptest::sample::select(vec![
            "{{",
            "}}",
            "{{{x}}}",
            "'",
            "\"",
            "\\",
            "#",
            " #",
            ": ",
            "- ",
            "---",
            "...",
            "\u{85}",
            "\u{2028}",
            "\u{2029}",
            "\u{feff}",
            "\u{7f}",
            "\n",
            "\r\n",
            "\t",
            "\0",
            "%",
            "$(reboot)",
            "`",
            "!!binary ",
            "&a",
            "*a",
            "|",
            ">",
            "\u{1f600}",
            "\u{fffe}",
            "é",
        ])
        .prop_map(String::from),
    ];
    proptest::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

/// Mostly what a document can hold, so that most plans render.
fn comments() -> impl Strategy<Value = String> {
    let printable = nasty().prop_map(|text| text.replace(char::is_control, ""));
    prop_oneof![30 => printable, 1 => nasty()]
}

fn user_name() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_-]{0,31}"
}

fn plans() -> impl Strategy<Value = Plan> {
    let keys = || proptest::collection::vec(comments(), 0..4);
    let hosts = || {
        let host = prop_oneof![
            "[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?(\\.[a-z0-9]{1,5}){0,3}",
            any::<std::net::IpAddr>().prop_map(|a| a.to_string())
        ];
        proptest::collection::vec((host, 1..=u16::MAX), 1..4)
    };
    let tunnels = proptest::collection::btree_map(user_name(), (keys(), hosts(), any::<Option<bool>>()), 1..4);
    let operators = proptest::collection::btree_map(user_name(), keys(), 0..3);
    let kinds = (any::<bool>(), any::<bool>());
    (tunnels, operators, 1..=u16::MAX, 0u32..500, 1u32..1_000_000, kinds).prop_map(
        |(tunnels, mut operators, port, max_sessions, open_files, (on_aws, is_live))| {
            operators.retain(|name, _| !tunnels.contains_key(name));
            let keys = |comments: Vec<String>| comments.iter().map(|c| key(c)).collect();
            let mut plan = plan(
                tunnels
                    .into_iter()
                    .map(|(user, (comments, hosts, legacy_rsa_sha1))| {
                        let targets = hosts.iter().map(|(host, port)| target(host, *port)).collect();
                        Tunnel { legacy_rsa_sha1, ..tunnel(&user, keys(comments), targets) }
                    })
                    .collect(),
            );
            plan.operators = operators.into_iter().map(|(name, comments)| operator(&name, keys(comments))).collect();
            plan.ssh = Ssh { port, max_sessions, open_files, ..Ssh::default() };
            plan.cloud = if on_aws { aws() } else { azure() };
            if is_live { live(plan) } else { plan }
        },
    )
}

/// What the document must say, written down a second time without templates.
fn expected(plan: &Plan) -> Value {
    let opens = |targets: &mut dyn Iterator<Item = &Target>| {
        let mut opens: Vec<String> = targets
            .map(|t| match t.host {
                Host::Address(a) => std::net::SocketAddr::new(a, t.port).to_string(),
                Host::Name(ref name) => format!("{name}:{}", t.port),
            })
            .collect();
        opens.sort();
        opens.dedup();
        opens
    };
    let mut accounts = BTreeMap::new();
    for t in &plan.tunnels {
        accounts.insert(t.user.to_string(), (opens(&mut t.targets.iter()), &t.keys));
    }
    for o in &plan.operators {
        accounts.insert(o.name.to_string(), (opens(&mut plan.tunnels.iter().flat_map(|t| &t.targets)), &o.keys));
    }
    let users: Vec<_> = accounts
        .keys()
        .map(|name| json!({"name": name, "gecos": "gangplank", "shell": "/usr/sbin/nologin", "lock_passwd": true}))
        .collect();
    let names: Vec<_> = accounts.keys().cloned().collect();

    // The starter's file, with this plan's values on the lines that have any.
    let mut sshd = String::new();
    for line in file(&parse(&text(&starter())), "/etc/gangplank/sshd.conf").lines() {
        match line.split_whitespace().next().unwrap_or_default() {
            "Port" => sshd += &format!("Port {}\n", plan.ssh.port),
            "AllowUsers" => sshd += &format!("AllowUsers {}\n", names.join(" ")),
            "MaxSessions" => sshd += &format!("  MaxSessions {}\n", plan.ssh.max_sessions),
            "PermitOpen" if line.ends_with("none") => sshd += "  PermitOpen none\n",
            "PermitOpen" => {}
            "Match" if line.ends_with("secoda") => {
                for (name, (opens, _)) in &accounts {
                    sshd += &format!("Match User {name}\n  PermitOpen {}\n", opens.join(" "));
                    let of = |t: &&Tunnel| t.user.as_str() == name.as_str();
                    if plan.tunnels.iter().find(of).is_some_and(|t| t.legacy_rsa_sha1 == Some(true)) {
                        sshd += "  PubkeyAcceptedAlgorithms +ssh-rsa\n";
                    }
                }
            }
            _ => sshd += &format!("{line}\n"),
        }
    }

    let mut files = vec![
        json!({
            "path": "/etc/gangplank/settings",
            "content": format!("users='{}'\nopen_files='{}'\n", names.join(" "), plan.ssh.open_files),
        }),
        json!({"path": "/etc/gangplank/sshd.conf", "content": sshd}),
    ];
    for (name, (opens, keys)) in &accounts {
        let options: String = opens.iter().map(|open| format!(",permitopen=\"{open}\"")).collect();
        let mut comments: Vec<_> = keys.iter().map(|k| &k.comment).collect();
        comments.sort();
        comments.dedup();
        let lines: String = comments
            .iter()
            .map(|c| if c.is_empty() { String::new() } else { format!(" {c}") })
            .map(|c| format!("restrict,port-forwarding{options} ssh-ed25519 {ED25519}{c}\n"))
            .collect();
        let (folder, content) = if plan.keys_are_live() {
            ("options", format!("restrict,port-forwarding{options}\n"))
        } else {
            ("keys", lines)
        };
        let path = format!("/etc/gangplank/{folder}/{name}");
        files.push(json!({"path": path, "permissions": "0600", "content": content}));
    }
    if plan.asks_metadata() {
        for (path, permissions, source) in [
            ("/usr/local/sbin/gangplank-keys", "0755", "keys.py"),
            ("/etc/systemd/system/gangplank-keys.service", "0644", "keys.service"),
        ] {
            files.push(json!({"path": path, "permissions": permissions, "content": embedded(source)}));
        }
    }
    for (script, source) in [("boot", "boot.sh"), ("report", "report.py"), ("updates", "updates.sh")] {
        let path = format!("/usr/local/sbin/gangplank-{script}");
        files.push(json!({"path": path, "permissions": "0755", "content": embedded(source)}));
    }
    let service = "/etc/systemd/system/gangplank-report.service";
    files.insert(files.len() - 1, json!({"path": service, "content": template("report.service")}));
    json!({
        "users": users, "disable_root": true, "ssh_pwauth": false, "write_files": files,
        "runcmd": [["/usr/local/sbin/gangplank-boot"]],
    })
}

proptest! {
    #[test]
    fn no_value_changes_what_the_document_says(plan in plans()) {
        let controls = |keys: &[PublicKey]| keys.iter().any(|k| k.comment.chars().any(char::is_control));
        let refused = !plan.keys_are_live() && (plan.tunnels.iter().any(|t| controls(&t.keys)) || plan.operators.iter().any(|o| controls(&o.keys)));
        match cloudinit::render(&plan) {
            Ok(UserData { text, .. }) => {
                prop_assert!(!refused);
                prop_assert!(text.starts_with("#cloud-config\n") && text.is_ascii());
                let document = parse(&text);
                prop_assert_eq!(&document, &expected(&plan));
                for tunnel in plan.tunnels.iter().filter(|_| !plan.keys_are_live()) {
                    let mut keys = tunnel.keys.clone();
                    keys.sort_by(|a, b| a.comment.cmp(&b.comment));
                    keys.dedup();
                    let lines = file(&document, &format!("/etc/gangplank/keys/{}", tunnel.user));
                    prop_assert_eq!(lines.matches('\n').count(), keys.len());
                }
            }
            Err(RenderError::Value(_)) => prop_assert!(refused),
            Err(RenderError::TooLarge { size, limit, .. }) => prop_assert!(size > limit),
        }
    }

    /// Each part follows its own inputs; together they explain every difference of two texts.
    #[test]
    fn parts_explain_differences(one in plans(), other in plans()) {
        let (Ok(a), Ok(b)) = (cloudinit::render(&one), cloudinit::render(&other)) else { return Ok(()) };
        prop_assert_eq!(a.text == b.text, a.parts == b.parts);
        prop_assert_eq!(a.text == b.text, a.digest == b.digest);
        let changed = |mutate: &dyn Fn(&mut Plan)| {
            let mut changed = one.clone();
            mutate(&mut changed);
            cloudinit::render(&changed).ok().map(|c| {
                let kinds: Vec<_> = a.parts.iter().zip(&c.parts).filter(|(x, y)| x != y).map(|(x, _)| x.0).collect();
                (c.digest != a.digest, kinds)
            })
        };
        let changes = |mutate: &dyn Fn(&mut Plan), kinds: &[&'static str]| {
            changed(mutate).is_none_or(|found| found == (!kinds.is_empty(), kinds.to_vec()))
        };
        let keys: &[&str] = if one.keys_are_live() { &[] } else { &["keys"] };
        prop_assert!(changes(&|p| p.tunnels[0].keys.push(key("one more")), keys));
        prop_assert!(changes(&|p| p.tunnels[0].targets.push(target("one-more.example", 1)), &["tunnels"]));
        prop_assert!(changes(&|p| p.operators.push(operator("zz-one-more-than-the-others", vec![])), &["tunnels"]));
        let consents = one.tunnels[0].legacy_rsa_sha1 == Some(true);
        prop_assert!(changes(&|p| p.tunnels[0].legacy_rsa_sha1 = Some(!consents), &["tunnels"]));
        let silent = |p: &mut Plan| p.tunnels[0].legacy_rsa_sha1 = None;
        let revoked: &[&str] = if consents { &["tunnels"] } else { &[] };
        prop_assert!(changes(&silent, revoked));
        prop_assert!(changes(&|p| p.ssh.max_sessions += 1, &["sshd"]));
        prop_assert!(changes(&|p| p.ssh.port ^= 1, &["sshd"]));
        prop_assert!(changes(&|p| p.ssh.open_files += 1, &["sshd"]));
        prop_assert!(changes(&|p| p.ssh.max_startups.rate += 1, &["sshd"]));
        let renamed = |p: &mut Plan| {
            p.tags.insert("a".into(), "b".into());
            p.name = Name::new("other").unwrap();
        };
        prop_assert!(changes(&renamed, &[]));
        prop_assert!(changes(&|p| p.tunnels[0].targets[0].name.push('x'), &[]));
    }
}
