//! The plan language, from files to plans and to what a reader sees of a broken one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gangplank::{
    diagnostic::{Diagnostics, Source, render},
    plan::{self, Plan},
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn read(path: &str, text: &str) -> Result<Plan, Diagnostics> {
    plan::read(Arc::new(Source { path: path.to_owned(), text: text.to_owned() }))
}

/// The YAML files of a folder of the repository, with their texts, in the order of their names.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_example_and_starter_reads() {
    let files: Vec<_> = files("plans").into_iter().chain(files("templates")).collect();
    assert!(files.len() >= 5);
    for (name, text) in files {
        if let Err(problems) = read(&name, &text) {
            panic!("{}", render(&problems, false));
        }
    }
}

/// One idea a file. What a reader sees of each is a snapshot, to be looked at by a person when it changes.
#[test]
fn every_broken_plan_is_explained() {
    let files = files("tests/broken");
    assert!(files.len() >= 40);
    for (name, text) in files {
        let problems = match read(&format!("plans/{name}.yaml"), &text) {
            Ok(_) => panic!("{name} reads"),
            Err(problems) => problems,
        };
        insta::with_settings!({
            snapshot_path => "snapshots/broken",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, render(&problems, false));
        });
    }
}

#[test]
fn no_private_key_reaches_a_reader() {
    let files: Vec<_> = files("tests/broken").into_iter().filter(|(name, _)| name.contains("private-key")).collect();
    assert!(files.len() >= 5);
    for (name, text) in files {
        let problems = read(&name, &text).unwrap_err();
        let shown = format!("{}{}{problems}{problems:?}", render(&problems, false), render(&problems, true));
        let secrets = text.lines().map(str::trim).filter(|line| line.len() >= 40 && !line.contains(' '));
        for secret in secrets {
            for piece in secret.as_bytes().windows(12) {
                assert!(!shown.contains(std::str::from_utf8(piece).unwrap()), "{name}");
            }
        }
        assert!(shown.contains("compromised"), "{name}");
    }
}

#[test]
fn fields_remember_their_places() {
    let (_, text) = files("plans").into_iter().find(|(name, _)| name == "aws-two-vendors").unwrap();
    let plan = read("p.yaml", &text).unwrap();
    let at = |field: &str| {
        let place = plan.origin.place(field);
        (place.line_column(), text[place.span].to_owned())
    };
    assert_eq!(at("name").1, "analytics");
    assert_eq!(at("aws.subnet").1, "{tag: {Name: public-a}}");
    assert_eq!(at("tunnels[1].allow_from[0]").1, "198.51.100.77");
    assert_eq!(at("tunnels[1].targets[1].networks[0]").1, "10.20.8.0/24");
    assert!(at("operators[0].keys[0]").1.contains("ssh-ed25519"));
    assert_eq!(at("aws").1, "aws", "a block of lines is pointed at by its key");
    assert_eq!(at("aws.nothing").1, "aws", "an absent field by its parent");
    assert_eq!(at("nothing"), ((1, 1), String::new()));
}

#[test]
fn the_schema_accepts_every_example_and_starter() {
    let schema = validator();
    for (name, text) in files("plans").into_iter().chain(files("templates")) {
        let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        let errors: Vec<String> = schema.iter_errors(&value).map(|error| format!("{name}: {error}")).collect();
        assert_eq!(errors, Vec::<String>::new());
    }
}

#[test]
fn the_schema_refuses_every_structural_mistake() {
    let schema = validator();
    for name in [
        "a-text",
        "azure-existing-network-with-ranges",
        "azure-firewall-ambiguous",
        "azure-two-firewalls",
        "azure-unknown-edge",
        "bad-aws-ids",
        "bad-azure-names",
        "bad-name",
        "bad-user",
        "expires-without-a-time",
        "lifetime-without-a-unit",
        "many-problems",
        "missing-fields",
        "missing-version",
        "no-cloud",
        "no-targets",
        "no-tunnels",
        "nobody-could-connect",
        "not-a-map",
        "null-values",
        "operator-without-a-key",
        "out-of-range",
        "own-vendor",
        "port-out-of-range",
        "sexagesimal",
        "subnet-by-two-tags",
        "target-names",
        "too-many-tags",
        "two-clouds",
        "two-deadlines",
        "unknown-field",
        "unknown-field-without-a-near-one",
        "unknown-image",
        "unknown-protocol",
        "unknown-vendor",
        "unknown-version",
        "wrong-types",
    ] {
        let text = fs::read_to_string(format!("{}/tests/broken/{name}.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        assert!(!schema.is_valid(&value), "{name}");
    }
}

fn validator() -> jsonschema::Validator {
    let schema: serde_json::Value = serde_json::from_str(plan::schema()).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn a_deadline_passes() {
    let (_, text) = files("plans").into_iter().find(|(name, _)| name == "aws-two-vendors").unwrap();
    let plan = read("plans/x.yaml", &text).unwrap();
    let end: Timestamp = "2036-01-31T00:00:00Z".parse().unwrap();
    assert_eq!(plan::check_deadline(&plan, end - SignedDuration::from_secs(1)), None);
    let problem = plan::check_deadline(&plan, end + SignedDuration::from_hours(50)).unwrap();
    insta::assert_snapshot!("deadline", render(&problem.into(), false));
}

#[test]
fn two_plans_for_one_bastion_are_refused() {
    let text = fs::read_to_string(format!("{}/plans/aws-warehouse.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let elsewhere = text.replace("us-east-1", "eu-west-1");
    let plans: Vec<Plan> = [("a.yaml", &text), ("b.yaml", &elsewhere), ("c.yaml", &text)]
        .into_iter()
        .map(|(path, text)| read(path, text).unwrap())
        .collect();
    assert_eq!(plan::check_together(&plans[..2]), None);
    insta::assert_snapshot!("together", render(&plan::check_together(&plans).unwrap(), false));
}

#[test]
fn files_and_folders_load_and_report_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = fs::read_to_string(format!("{}/plans/aws-warehouse.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    fs::create_dir_all(path("plans/deeper.yaml")).unwrap();
    fs::write(path("plans/b.yaml"), text.replace("name: warehouse\n", "name: b-warehouse\n")).unwrap();
    fs::write(path("plans/a.yml"), text.replace("name: warehouse\n", "name: a-warehouse\n")).unwrap();
    fs::write(path("plans/notes.txt"), "not a plan").unwrap();
    let names: Vec<String> = plan::load(&[path("plans")]).unwrap().iter().map(|plan| plan.name.to_string()).collect();
    assert_eq!(names, ["a-warehouse", "b-warehouse"]);

    fs::create_dir(path("empty")).unwrap();
    fs::write(path("latin1.yaml"), b"version: 1\nname: caf\xe9\n").unwrap();
    fs::write(path("broken.yaml"), "version: 2\n").unwrap();
    // Sparse: 100 MB of zeros that take no space.
    fs::File::create(path("large.yaml")).unwrap().set_len(100 << 20).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(path("pipe.yaml")).status().unwrap();
    assert!(pipe.success());
    let paths = ["empty", "latin1.yaml", "broken.yaml", "large.yaml", "pipe.yaml", "missing.yaml"].map(path);
    let problems = plan::load(&paths).unwrap_err();
    let rendered = render(&problems, false).replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!("load", rendered);
}

/// Reads text as a plan would be read, and holds every problem to what all of them promise.
fn check_any(text: &str) {
    if let Err(problems) = read("p.yaml", text) {
        assert!(!problems.0.is_empty());
        let places: Vec<_> = problems.0.iter().map(|problem| problem.place.clone().unwrap()).collect();
        for place in &places {
            assert!(text.get(place.span.clone()).is_some(), "{:?} in {text:?}", place.span);
        }
        assert!(places.is_sorted_by_key(|place| place.span.start));
        let rendered = render(&problems, false);
        assert!(rendered.chars().all(|c| c == '\n' || !c.is_control()), "{rendered:?}");
    }
}

/// What the search for private keys looks at.
const KEY_MARKERS: &[&str] = &[
    "-----",
    "---- ",
    " ",
    "\n",
    "\"",
    "é",
    "BEGIN ",
    "END ",
    "RSA ",
    "PRIVATE KEY",
    "PuTTY-User-Key-File-2: ",
    "Private-MAC: ",
    "b3BlbnNzaC1rZXktdjE",
    "keys: ",
];

fn examples() -> impl Strategy<Value = String> {
    let texts: Vec<String> = files("plans")
        .into_iter()
        .chain(files("templates"))
        .chain(files("tests/broken"))
        .map(|(_, text)| text)
        .collect();
    proptest::sample::select(texts)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_text_reads_or_is_explained(text in any::<String>()) {
        check_any(&text);
    }

    #[test]
    fn text_of_yaml_signs_reads_or_is_explained(text in "[-:{}\\[\\],&*!|>'\"%@`#?~\\n\\t \r a0é\u{feff}\u{202e}\u{85}]{0,80}") {
        check_any(&text);
    }

    #[test]
    fn text_of_key_markers_reads_or_is_explained(
        words in proptest::collection::vec(proptest::sample::select(KEY_MARKERS), 0..12),
    ) {
        check_any(&words.concat());
    }

    #[test]
    fn a_mutated_plan_reads_or_is_explained(
        text in examples(),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..12, ".{0,6}|[-:{}\\[\\],&*!|>'\"\\n\\t ]{0,4}"), 1..5),
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, remove, insert) in edits {
            let start = at.index(chars.len() + 1);
            let end = (start + remove).min(chars.len());
            chars.splice(start..end, insert.chars());
        }
        check_any(&chars.into_iter().collect::<String>());
    }
}
