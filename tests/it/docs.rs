//! README and docs/ say what the program does: the IAM policy names the calls of the source, commands can be typed and the first
//! ones are run, messages are the program's, files exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use gangplank::{
    cli::{args::Cli, exit::Exit},
    plan::{
        ImageAlias,
        catalogue::{TunnelOffer, catalogue},
    },
};
use serde_json::Value;

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// Every page, as README names them.
fn pages() -> Vec<String> {
    let folders = ["", "docs/", "packaging/", "tests/"];
    let files = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(path(folder)).into_iter().flatten();
        entries.map(move |entry| format!("{folder}{}", entry.expect("an entry").file_name().to_string_lossy()))
    });
    files.filter(|file| file.ends_with(".md")).collect()
}

/// The provider's source without its tests.
fn source() -> String {
    let folders = ["src/provider/aws", "src/provider/aws/perform"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(path(folder)).expect("the provider's folder"));
    let mut files: Vec<_> = entries.map(|file| file.expect("an entry").path()).filter(|file| file.is_file()).collect();
    files.sort();
    let read = |file: &PathBuf| fs::read_to_string(file).expect("a source file");
    files.iter().map(read).map(|text| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()).collect()
}

/// The operations that the source names where it calls them: `call("RunInstances", ...)` and `pages!(..., "DescribeSubnets", ...)`.
fn called(source: &str) -> BTreeSet<String> {
    let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
    let calls = source.split(".call(").skip(1).filter(|rest| rest.trim_start().starts_with('"')).map(quoted);
    let pages = source.split("pages!(").skip(1).map(quoted);
    // STS's, which needs no permission.
    calls.chain(pages).filter(|operation| operation != "GetCallerIdentity").collect()
}

/// `RunInstances` as the SDK's method is called: `run_instances`.
fn method(operation: &str) -> String {
    let mut name = String::new();
    for c in operation.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The SDK's methods that the source uses: a verb of EC2's, and no arguments.
fn methods(source: &str) -> BTreeSet<String> {
    const VERBS: [&str; 18] = [
        "allocate_",
        "associate_",
        "attach_",
        "authorize_",
        "create_",
        "delete_",
        "describe_",
        "detach_",
        "disassociate_",
        "get_console_",
        "get_managed_",
        "modify_",
        "reboot_",
        "release_",
        "revoke_",
        "run_",
        "start_",
        "terminate_",
    ];
    let calls = source.split("()").filter_map(|before| before.rsplit('.').next());
    // What an attachment says of itself is no call.
    let calls = calls.filter(|name| *name != "delete_on_termination");
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    calls.filter(is_name).filter(|name| VERBS.iter().any(|verb| name.starts_with(verb))).map(str::to_owned).collect()
}

fn list(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        other => panic!("neither a text nor a list: {other}"),
    }
}

#[test]
fn the_policy_allows_what_is_called_and_nothing_else() {
    let source = source();
    let called = called(&source);
    assert_eq!(
        called.iter().map(|o| method(o)).collect::<BTreeSet<_>>(),
        methods(&source),
        "an operation's name is wrong"
    );

    let policy: Value = serde_json::from_str(&text("docs/iam-policy.json")).expect("JSON");
    let statements = policy["Statement"].as_array().expect("statements");
    let allowed = statements.iter().flat_map(|s| list(&s["Action"]));
    let allowed: BTreeSet<_> =
        allowed.map(|a| a.strip_prefix("ec2:").unwrap_or_else(|| panic!("{a} is not EC2's")).to_owned()).collect();
    assert_eq!(allowed, called);
}

/// The JSON of the pages can be pasted; the one that keeps the tags to a role denies each call that can set or remove one.
#[test]
fn the_examples_of_policies_are_json() {
    let page = text("docs/iam.md");
    let examples = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let examples: Vec<Value> = examples.map(|text| serde_json::from_str(text).expect(text)).collect();
    assert!(examples.len() >= 3);
    let denies = |value: &&Value| value["Statement"][0]["Effect"] == "Deny";
    let policy = examples.iter().find(denies).expect("the service control policy");
    let statement = &policy["Statement"][0];
    assert_eq!(statement["Condition"]["ForAnyValue:StringLike"]["aws:TagKeys"], "gangplank:*");
    let own: Value = serde_json::from_str(&text("docs/iam-policy.json")).expect("JSON");
    let statements = own["Statement"].as_array().expect("statements");
    let creating = statements.iter().find(|s| s["Sid"] == "TagInTheCreatingCall").expect("it");
    let mut setting = list(&creating["Condition"]["StringEquals"]["ec2:CreateAction"]);
    setting.extend(["CreateTags", "DeleteTags"]);
    for operation in setting {
        assert!(list(&statement["Action"]).contains(&format!("ec2:{operation}").as_str()), "{operation}");
    }
}

/// "IAM and AWS STS quotas", without white space: 2,048 characters for the inline policies of a user, 6,144 for a managed policy.
#[test]
fn the_policy_fits_the_kind_that_is_named() {
    let size = text("docs/iam-policy.json").split_whitespace().map(str::len).sum::<usize>();
    assert!((2049..=6144).contains(&size), "{size}");
    assert!(text("docs/iam.md").contains("Make it a managed policy"));
}

/// Only looking may concern everything; a change is tied to the tag, to named groups, or to what a machine is made in.
#[test]
fn the_policy_narrows_every_write() {
    let policy: Value = serde_json::from_str(&text("docs/iam-policy.json")).expect("JSON");
    for statement in policy["Statement"].as_array().expect("statements") {
        assert_eq!(statement["Effect"], "Allow", "{statement}");
        let actions = list(&statement["Action"]);
        if actions.iter().all(|a| a.starts_with("ec2:Describe")) {
            continue;
        }
        let tagged = ["aws:RequestTag/gangplank:bastion", "aws:ResourceTag/gangplank:bastion"]
            .iter()
            .any(|key| statement["Condition"]["Null"][key] == "false");
        let harmless = |resource: &&str| {
            ["image/*", "network-interface/*", "prefix-list/*", "subnet/*", "vpc/*"]
                .iter()
                .any(|kind| resource.ends_with(kind))
                || resource.contains(":security-group/sg-")
        };
        assert!(tagged || list(&statement["Resource"]).iter().all(harmless), "{statement}");
        // Both would be satisfied by the tag of a new rule, whatever group the rule goes into.
        if statement["Condition"]["Null"]["aws:RequestTag/gangplank:bastion"] == "false" {
            let group = list(&statement["Resource"]).iter().any(|r| r.ends_with("security-group/*"));
            assert!(!group || actions == ["ec2:CreateSecurityGroup"], "{statement}");
        }
    }
}

/// The lines of a page's code blocks.
fn code(page: &str) -> Vec<String> {
    page.split("```").skip(1).step_by(2).flat_map(str::lines).map(str::to_owned).collect()
}

/// What stands between backticks outside of code blocks.
fn inline(page: &str) -> Vec<String> {
    let prose: String = page.split("```").step_by(2).collect();
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Commands as a reader would type them, without what the shell takes away.
fn commands(page: &str) -> Vec<String> {
    let shown = code(page).into_iter().chain(inline(page));
    let typed = shown.map(|line| line.trim_start_matches("$ ").trim().to_owned());
    let typed = typed.filter(|line| line.starts_with("gangplank ") && !line.starts_with("gangplank-"));
    typed
        .map(|line| {
            line.split([' ', '\t']).take_while(|w| !w.starts_with(['#', '>', '|'])).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn every_command_can_be_typed() {
    let mut seen = BTreeSet::new();
    for page in pages() {
        for command in commands(&text(&page)) {
            let words: Vec<&str> = command.split_whitespace().collect();
            // A verb alone is a verb spoken of.
            if words.len() == 2 {
                let known = words[1] == "--version" || Cli::command().find_subcommand(words[1]).is_some();
                assert!(known, "{page}: {command}");
            } else if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{page}: {command}: {error}");
            }
            seen.insert(words[1].to_owned());
        }
    }
    let listed: BTreeSet<_> =
        commands(&text("docs/commands.md")).iter().filter_map(|c| c.split(' ').nth(1).map(str::to_owned)).collect();
    for verb in Cli::command().get_subcommands().map(clap::Command::get_name) {
        assert!(listed.contains(verb), "docs/commands.md shows no `gangplank {verb}`");
    }
    assert!(seen.len() >= listed.len());
}

#[test]
fn every_path_exists() {
    const ROOTS: [&str; 8] = ["src/", "tests/", "docs/", "plans/", "benches/", "templates/", "packaging/", ".ci/"];
    for page in pages() {
        let page_text = text(&page);
        let folder = path(&page).parent().expect("a folder").to_owned();
        let links = page_text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://") && !link.starts_with('#')) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(folder.join(file).exists(), "{page}: no file behind the link {link}");
        }
        // What stands behind a name is typed: `tests/run --fast`.
        let names = inline(&page_text).into_iter().filter_map(|name| Some(name.split(' ').next()?.to_owned()));
        for name in names.filter(|name| ROOTS.iter().any(|root| name.starts_with(root))) {
            // A star stands for each cloud.
            for name in ["aws", "azure"].map(|cloud| name.replace('*', cloud)) {
                assert!(path(&name).exists(), "{page}: there is no {name}");
            }
        }
    }
}

#[test]
fn every_exit_code_image_and_vendor_is_listed() {
    let commands = text("docs/commands.md");
    for exit in
        [Exit::Done, Exit::Failed, Exit::Differs, Exit::WrongPlan, Exit::Usage, Exit::Internal, Exit::Interrupted]
    {
        assert!(commands.contains(&format!("\n| {} | ", exit as u8)), "{exit:?}");
    }
    let plan = text("docs/plan.md");
    for (alias, _) in ImageAlias::ALL {
        assert!(plan.contains(alias), "{alias}");
    }
    let folded = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    for vendor in catalogue().iter().filter(|vendor| vendor.tunnel == TunnelOffer::Offered) {
        assert!(folded.contains(&vendor.name), "{}", vendor.name);
    }
}

/// It is read in two minutes, and shows what is run first.
#[test]
fn readme_is_short() {
    let readme = text("README.md");
    let words = readme.split_whitespace().count();
    assert!(words <= 1200, "{words} words");
    for command in ["cargo run --locked -- demo", "tests/run"] {
        assert!(code(&readme).contains(&command.to_owned()), "{command}");
    }
}

/// The way to a verified bastion that README shows, in one sandbox.
#[test]
#[cfg(all(feature = "aws", feature = "azure"))]
fn the_commands_of_readme_work() {
    let readme = text("README.md");
    let block = readme.split("```sh\n").find(|block| block.starts_with("gangplank demo --keep")).expect("it");
    let home = tempfile::TempDir::new().expect("a temporary folder");
    let mut folder = home.path().to_owned();
    for line in block.split("```").next().expect("a block").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "cd" {
            folder.push(words[1]);
            continue;
        }
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gangplank"));
        let run = command.args(&words[1..]).current_dir(&folder).env_clear().env("HOME", home.path()).output();
        let run = run.expect("the program");
        assert!(run.status.success(), "{line}: {}", String::from_utf8_lossy(&run.stderr));
    }
    assert!(folder.ends_with("look"));
}

/// What people search for is what the program says.
#[test]
fn every_message_of_troubleshooting_is_the_programs() {
    let mut folders = vec![path("src")];
    let mut source = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let file = entry.expect("an entry").path();
            if file.is_dir() {
                folders.push(file);
            } else {
                source += &String::from_utf8_lossy(&fs::read(file).expect("a source file"));
            }
        }
    }
    let page = text("docs/troubleshooting.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let messages = rows.flat_map(|row| inline(row.split(" | ").next().unwrap_or_default()));
    let messages: Vec<String> = messages.filter(|message| !message.starts_with("destroy")).collect();
    assert!(messages.len() > 20);
    for message in messages {
        assert!(source.contains(&message), "the program never says `{message}`");
    }
}

/// Every field of the plan language is described.
#[test]
fn the_plan_page_has_every_field() {
    fn fields(schema: &Value, found: &mut BTreeSet<String>) {
        match schema {
            Value::Object(map) => {
                if let Some(Value::Object(properties)) = map.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                map.values().for_each(|value| fields(value, found));
            }
            Value::Array(all) => all.iter().for_each(|value| fields(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    fields(&serde_json::from_str(gangplank::plan::schema()).expect("a schema"), &mut found);
    assert!(found.len() > 30, "{found:?}");
    let page = text("docs/plan.md");
    let words: BTreeSet<&str> = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let missing: Vec<_> = found.iter().filter(|field| !words.contains(field.as_str())).collect();
    assert!(missing.is_empty(), "docs/plan.md does not mention {missing:?}");
}

/// The plans that the pages show are plans, and their JSON can be read.
#[test]
fn the_examples_are_plans() {
    // The key is left to the reader.
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIOHWPy5MvhZfp6Df8qZRAYSHk5sBiY72mUcsZwvxaXoz";
    let mut plans = 0;
    for page in pages() {
        let page_text = text(&page);
        for yaml in page_text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if !yaml.starts_with("version: 1") {
                continue;
            }
            let source = gangplank::diagnostic::Source { path: page.clone(), text: yaml.replace("AAAA...", key) };
            if let Err(problems) = gangplank::plan::read(source.into()) {
                panic!("{}", gangplank::diagnostic::render(&problems, false));
            }
            plans += 1;
        }
        for json in page_text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            serde_json::from_str::<Value>(json).unwrap_or_else(|error| panic!("{page}: {error}: {json}"));
        }
    }
    assert!(plans >= 2);
}

/// Every `vantage.check` between the given marks.
fn checks(text: &str, mark: char) -> BTreeSet<String> {
    let of_a_vantage = |id: &&str| {
        let name = ["control.", "machine.", "network."].iter().find_map(|vantage| id.strip_prefix(vantage));
        name.is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'1')
        })
    };
    text.split(mark).filter(of_a_vantage).map(str::to_owned).collect()
}

#[test]
fn every_check_is_documented() {
    let mut folders = vec![path("src/verify"), path("src/provider")];
    let mut in_source = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let file = entry.expect("an entry").path();
            if file.is_dir() {
                folders.push(file);
            } else {
                let text = fs::read_to_string(file).expect("a source file");
                in_source.extend(checks(text.split("#[cfg(test)]").next().unwrap_or_default(), '"'));
            }
        }
    }
    assert!(in_source.len() > 40, "{in_source:?}");
    assert_eq!(checks(&text("docs/verify.md"), '`'), in_source);
}
