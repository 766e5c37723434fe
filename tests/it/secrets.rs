//! Secrets in plans: whatever is pasted where, no message shows it, and the plan is refused.

use std::{fs, path::Path, process::Command, sync::Arc};

use gangplank::{
    diagnostic::{Diagnostics, Source, render},
    plan::{self, Plan},
};
use proptest::{prelude::*, sample::select};
use tempfile::TempDir;

use crate::support::program::{Run, Victim, run};

/// What is pasted, and the part of it that nobody may read.
#[derive(Clone, Debug)]
struct Pasted {
    text: String,
    secret: String,
    /// Found by its own form, so that a plan is refused wherever it stands.
    by_form: bool,
}

fn random(letters: &'static str, length: usize) -> impl Strategy<Value = String> {
    let letters: Vec<char> = letters.chars().collect();
    prop::collection::vec(select(letters), length).prop_map(|chars| chars.into_iter().collect())
}

const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// What people take for passwords, but for what ends a text in YAML or a part of a connection string.
const PASSWORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!$%*+-.:@^_~(/)|=?";

/// A token with a prefix.
fn token(prefix: &'static str, letters: &'static str, length: usize) -> BoxedStrategy<Pasted> {
    random(letters, length)
        .prop_map(move |secret| Pasted { text: format!("{prefix}{secret}"), secret, by_form: true })
        .boxed()
}

/// A text around a secret.
fn within(before: &'static str, letters: &'static str, length: usize, after: &'static str) -> BoxedStrategy<Pasted> {
    // Digits before a slash would be a port, and a first letter other than one the beginning of something else.
    (random("abcdefgh", 1), random(letters, length))
        .prop_map(move |(first, rest)| {
            let secret = format!("{first}{rest}");
            Pasted { text: format!("{before}{secret}{after}"), secret, by_form: true }
        })
        .boxed()
}

/// A secret access key: of random base64, one in which letters change as often as they do in nearly all.
fn access_key() -> BoxedStrategy<Pasted> {
    random(BASE64, 34)
        .prop_map(|rest| format!("aB3dE5{rest}"))
        .prop_filter("as random as most", |key| {
            let class = |c: char| (c.is_ascii_lowercase(), c.is_ascii_uppercase(), c.is_ascii_digit());
            key.chars().zip(key.chars().skip(1)).filter(|(a, b)| class(*a) != class(*b)).count() >= 16
                && key.chars().filter(char::is_ascii_lowercase).count() >= 4
                && key.chars().filter(char::is_ascii_uppercase).count() >= 4
        })
        .prop_map(|secret| Pasted { text: secret.clone(), secret, by_form: true })
        .boxed()
}

fn named(name: &'static str) -> BoxedStrategy<Pasted> {
    random(WORD, 12)
        .prop_map(|rest| format!("x{rest}"))
        .prop_map(move |secret| Pasted { text: format!("{{{name}: {secret}}}"), secret, by_form: false })
        .boxed()
}

fn pasted() -> impl Strategy<Value = Pasted> {
    prop_oneof![
        token("AKIA", UPPER, 16),
        token("ASIA", UPPER, 16),
        access_key(),
        token("IQoJb3JpZ2lu", BASE64, 300),
        token("ghp_", WORD, 36),
        token("github_pat_", WORD, 60),
        token("glpat-", WORD, 20),
        token("xoxb-", WORD, 40),
        token("sk_live_", WORD, 24),
        token("npm_", WORD, 36),
        token("pypi-", WORD, 80),
        token("Xy18Q~", WORD, 34),
        token("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.", WORD, 43),
        within("postgresql://etl:", PASSWORD, 12, "@db.internal:5432/x"),
        within("mysql://root:", PASSWORD, 7, "@10.0.0.7/x?ssl=1"),
        within("jdbc:postgresql://db.internal/x?user=etl&password=", WORD, 9, "&ssl=true"),
        within("host=db.internal password=", PASSWORD, 11, " user=etl"),
        within("Server=db;User Id=etl;Password=", WORD, 11, ";Encrypt=yes"),
        within("AccountName=a;AccountKey=", BASE64, 85, "=="),
        within("https://a.blob.core.windows.net/c?sv=2022-11-02&sig=", WORD, 43, "%3D"),
        within("-----BEGIN OPENSSH PRIVATE KEY-----\\n", WORD, 60, "\\n-----END OPENSSH PRIVATE KEY-----"),
        named("password"),
        named("client_secret"),
        named("api_key"),
        named("aws_secret_access_key"),
    ]
}

/// Where it is pasted: how a line of a plan becomes another.
#[derive(Clone, Copy, Debug)]
enum Site {
    Comment,
    Value,
    Quoted,
    Escaped,
    Field,
    Key,
    Item,
    Block,
    Alias,
    Broken,
}

const SITES: [Site; 10] = [
    Site::Comment,
    Site::Value,
    Site::Quoted,
    Site::Escaped,
    Site::Field,
    Site::Key,
    Site::Item,
    Site::Block,
    Site::Alias,
    Site::Broken,
];

fn paste(plan: &str, line: usize, site: Site, pasted: &Pasted) -> String {
    let mut lines: Vec<String> = plan.lines().map(str::to_owned).collect();
    // A comment is one whatever is made of its line.
    let written = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let places: Vec<usize> = (0..lines.len()).filter(|at| written(&lines[*at])).collect();
    let at = places[line % places.len()];
    let old = lines[at].clone();
    let indent = " ".repeat(old.len() - old.trim_start().len());
    let head = old.split_once(": ").map_or(old.as_str(), |(head, _)| head);
    let text = &pasted.text;
    lines[at] = match site {
        Site::Comment => format!("{old} # {text}"),
        Site::Value => format!("{head}: {text}"),
        Site::Quoted => format!("{head}: '{text}'"),
        Site::Escaped => {
            let escaped: String = text.chars().map(|c| format!("\\x{:02x}", u32::from(c))).collect();
            format!("{head}: \"{escaped}\"")
        }
        Site::Field => format!("{old}\n{indent}note: {text}"),
        Site::Key => format!("{indent}? {text}\n{indent}: {{a: 1}}"),
        Site::Item => format!("{old}\n{indent}note: [a, {text}]"),
        Site::Block => format!("{old}\n{indent}note: |\n{indent}  {text}\n{indent}  more"),
        Site::Alias => format!("{old}\n{indent}note: &note {text}\n{indent}other: *note"),
        Site::Broken => format!("{old}\n{indent}note: {text}\n{indent}]: [,\t*"),
    };
    lines.join("\n") + "\n"
}

fn read(text: String) -> Result<Plan, Diagnostics> {
    plan::read(Arc::new(Source { path: "plans/a.yaml".to_owned(), text }))
}

fn plans() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_pasted_secret_is_never_shown(
        pasted in pasted(),
        plan in select(plans()),
        line in 0_usize..200,
        site in select(&SITES[..]),
    ) {
        let text = paste(&plan, line, site, &pasted);
        match read(text.clone()) {
            Ok(_) => prop_assert!(matches!(site, Site::Comment) && !pasted.by_form, "it is valid:\n{text}"),
            Err(problems) => {
                let shown = format!("{}{}{problems}{problems:?}", render(&problems, false), render(&problems, true));
                // Colours may stand within a line.
                prop_assert!(!shown.contains(&pasted.secret), "{shown}\n{text}");
                let half: String = pasted.secret.chars().skip(pasted.secret.chars().count() / 2).collect();
                prop_assert!(half.len() < 8 || !shown.contains(&half), "{shown}\n{text}");
            }
        }
    }
}

/// Runs the program where plans are, in a sandbox.
fn gangplank(home: &TempDir, args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
    command.current_dir(home.path()).env_clear().env("HOME", home.path()).args(args).arg("--sandbox");
    run(&mut command, &Victim::default())
}

#[test]
fn no_command_prints_what_was_pasted() {
    const SECRETS: [(&str, &str); 4] = [
        ("host: warehouse.internal", "host: \"postgresql://etl:Sup3rS3cret@warehouse.internal/x\""),
        ("region: us-east-1", "region: us-east-1\n  secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYSup3rS3cret"),
        ("team: data-platform", "team: ghp_16C7e42F292c6912E7710cSup3rS3cretX4a"),
        ("version: 1", "version: 1 # password=Sup3rS3cret"),
    ];
    let home = TempDir::new().unwrap();
    let plan = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/aws-warehouse.yaml")).unwrap();
    for (old, new) in SECRETS {
        assert!(plan.contains(old), "{old}");
        fs::write(home.path().join("a.yaml"), plan.replacen(old, new, 1)).unwrap();
        for args in [
            &["validate", "a.yaml"][..],
            &["render", "a.yaml"],
            &["plan", "a.yaml"],
            &["plan", "--output", "json", "a.yaml"],
            &["plan", "--output", "markdown", "a.yaml"],
            &["apply", "--yes", "a.yaml"],
            &["handoff", "--output", "html", "a.yaml"],
            &["status", "--output", "json", "a.yaml"],
        ] {
            let run = gangplank(&home, args).expect(3);
            assert!(!format!("{run}").contains("Sup3rS3cret"), "{run}");
            assert!(run.stderr.contains("its text is hidden here") && run.stderr.contains("compromised"), "{run}");
        }
    }
    fs::write(home.path().join("ghp_16C7e42F292c6912E7710cSup3rS3cretX4a.yaml"), plan).unwrap();
    let run = gangplank(&home, &["validate", "."]).expect(3);
    assert!(!format!("{run}").contains("Sup3rS3cret") && run.stderr.contains("in a file's name"), "{run}");
}

/// In a tag of a plan that would be valid otherwise: the tokens that have ordinary beginnings, and what only begins like them.
#[test]
fn a_token_is_told_from_an_ordinary_word() {
    let plan = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/aws-warehouse.yaml")).unwrap();
    let tagged = |value: &str| plan.replacen("team: data-platform", &format!("team: \"{value}\""), 1);
    for secret in [
        "password: ColonSecret77",
        "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
        "https://ghtokenabcdefghijk123@github.com/x.git",
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXsecretXXXX12345678",
        "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL",
        "s.AbCdEfGhIjKlMnOpQrStUvWx",
        "NRAK-ABCDEFGHIJKLMNOPQRSTUVWXYZ1",
        "curl -u admin:CurlSecret99",
        "mysql -u root -pMysqlSecret99",
    ] {
        let problems = read(tagged(secret)).expect_err(secret);
        let shown = render(&problems, false);
        assert!(shown.contains("its text is hidden here") && !shown.contains(secret), "{secret}\n{shown}");
    }
    for word in [
        "sk-team",
        "sk-data-platform-production-01",
        "NRAK-team",
        "s.internal",
        "password rotation",
        "password: rotated in 2026-11",
        "token: q3-2026",
        "secret-santa-2026",
        "mysql -primary",
        "mysql -port",
        "https://deploy@git.example.com/x",
        "https://deployment-user-01@git.example.com/x",
        "hooks.slack.com",
        "s3cr3t-free-zone",
    ] {
        for text in [tagged(word), plan.replacen("version: 1", &format!("version: 1 # {word}"), 1)] {
            read(text).unwrap_or_else(|problems| panic!("{word}: {}", render(&problems, false)));
        }
    }
}
