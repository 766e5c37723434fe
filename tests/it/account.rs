//! Whose account it is: asked first and once, shown wherever something is told of a bastion, and compared with what the plan and the
//! command line allow.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{self, Account, Calls, Fault, Lab, Run, Scope};

/// The number of an account of moto's: the end of its key.
fn number(account: &Account<'_>) -> String {
    account.access_key.trim_start_matches("AKIA0000").to_owned()
}

/// A plan of the lab's bastion that names an account.
fn pinned(lab: &Lab<'_>, account: &str) -> String {
    let path = lab.gangplank.write(&lab.bastion());
    let text = std::fs::read_to_string(&path).expect("just written");
    let text = text.replace("aws:\n", &format!("aws:\n  account: \"{account}\"\n"));
    std::fs::write(&path, text).expect("a writable folder");
    path.to_str().expect("a temporary folder's name").to_owned()
}

/// Runs the program with somebody's credentials in the environment.
fn run_as(lab: &Lab<'_>, who: &Account<'_>, arguments: &[&str], troubles: &[(Scope, Fault)]) -> (Run, Calls) {
    let proxy = lab.proxy();
    for (scope, fault) in troubles {
        proxy.fault(*scope, 0..usize::MAX, fault.clone());
    }
    let mut command: Command = lab.gangplank.command(proxy.address());
    let run = proxy.run(command.env("AWS_ACCESS_KEY_ID", &who.access_key).args(arguments));
    (run, proxy.take_calls())
}

#[track_caller]
fn assert_asked_whose_and_nothing_else(run: &Run, calls: &Calls) {
    assert_eq!(calls.to_string(), "    1 GetCallerIdentity\n", "{run}");
}

#[test]
fn credentials_of_another_account_than_the_plans_make_no_other_call() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (ours, theirs) = (Lab::new(moto), moto.account());
    let plan = pinned(&ours, &number(&ours.account));
    for arguments in [
        &["plan", &plan][..],
        &["apply", &plan, "--yes", "--no-verify"],
        &["destroy", &plan, "--yes"],
        &["extend", &plan, "--by", "1d", "--yes"],
        &["status", &plan],
        &["drift", &plan],
        &["verify", &plan, "--no-network"],
        &["handoff", &plan, "--no-network"],
    ] {
        let (run, calls) = run_as(&ours, &theirs, arguments, &[]);
        let run = run.expect(3);
        assert_asked_whose_and_nothing_else(&run, &calls);
        let words =
            format!("the plan is for account {}, these credentials are for {}", number(&ours.account), number(&theirs));
        assert!(run.stderr.contains(&words), "{run}");
        assert!(run.stderr.contains("account: \"") && run.stderr.contains("arn:aws:"), "at the plan's line\n{run}");
    }
    // With the plan's own credentials the same plan is shown, for one read more.
    let (run, calls) = run_as(&ours, &ours.account, &["plan", &plan], &[]);
    run.expect(0);
    assert_eq!((calls.writes(), calls.of("GetCallerIdentity")), (0, 1), "{calls}");
}

#[test]
fn everything_that_is_told_of_a_bastion_names_its_account() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let bastion = lab.bastion();
    let id = number(&lab.account);
    let words = format!("aws {id} us-east-1");
    let run = |verb: &str, options: &[&str]| lab.run(verb, &bastion, options).0;
    let location = |of: &Value| {
        assert_eq!(of["location"], "aws us-east-1", "{of:#}");
        assert_eq!((&of["region"], &of["account"]["id"]), (&json!("us-east-1"), &json!(id)), "{of:#}");
    };

    assert!(run("plan", &[]).expect(0).stdout.contains(&format!("warehouse  {words}  ")));
    location(&run("plan", &["--output", "json"]).expect(0).json()["bastions"][0]);
    assert!(run("plan", &["--output", "markdown"]).expect(0).stdout.contains(&format!("warehouse ({words}, ")));

    let applied = run("apply", &["--yes", "--output", "json"]).expect(0);
    let events: Vec<Value> = applied.stdout.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let event = |name: &str| events.iter().find(|e| e["event"] == name).unwrap_or_else(|| panic!("{name}\n{applied}"));
    location(&event("run-started")["locations"][0]);
    location(&event("converged")["bastions"][0]);

    assert!(run("plan", &[]).expect(0).stdout.contains(&words));
    assert!(run("plan", &["--output", "markdown"]).expect(0).stdout.contains(&words));
    assert!(run("status", &[]).expect(0).stdout.contains(&format!("warehouse  {words}  ")));
    location(&run("status", &["--output", "json"]).expect(0).json()["bastions"][0]);
    for verb in ["drift", "verify"] {
        let options: &[&str] = if verb == "verify" { &["--no-network"] } else { &[] };
        let shown = run(verb, options);
        assert!(shown.stdout.contains(&words), "{shown}");
        location(&run(verb, &[options, &["--output", "json"]].concat()).json()["bastions"][0]);
    }
    assert!(run("handoff", &["--no-network"]).stdout.contains(&words));
    assert!(run("handoff", &["--no-network", "--output", "html"]).stdout.contains(&words));
    location(&run("handoff", &["--no-network", "--output", "json"]).json()["bastions"][0]);

    let (reap, calls) = lab.command(&["reap", "--region", "us-east-1"]);
    let reap = reap.expect(0);
    assert!(reap.stdout.contains(&format!("warehouse  {words}  ")), "{reap}");
    assert!(reap.stdout.contains(&format!("in 1 place of aws {id}.")), "{reap}");
    assert_eq!(calls.of("GetCallerIdentity"), 1, "{calls}");
    let (reap, _) = lab.command(&["reap", "--region", "us-east-1", "--output", "json"]);
    let found = reap.json();
    location(&found["bastions"][0]);
    assert_eq!(found["accounts"][0]["account"]["id"], json!(id), "{found:#}");

    let (destroyed, calls) = lab.run("destroy", &bastion, &["--yes"]);
    let destroyed = destroyed.expect(0);
    assert!(destroyed.stdout.contains(&format!("warehouse  {words}  ")), "{destroyed}");
    assert_eq!(calls.of("GetCallerIdentity"), 1, "the look at what is left asks no second time\n{calls}");
}

#[test]
fn the_profile_is_named_and_asked_once_for_all_its_regions() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let home = lab.gangplank.home();
    let keys = format!("[data]\naws_access_key_id = {}\naws_secret_access_key = secret\n", lab.account.access_key);
    std::fs::write(home.join("credentials"), keys).expect("a writable folder");
    let first = lab.gangplank.write(&lab.bastion());
    let text = std::fs::read_to_string(&first).expect("just written").replace("aws:\n", "aws:\n  profile: data\n");
    std::fs::write(&first, &text).expect("a writable folder");
    let second = text.replace("us-east-1", "eu-west-1").replace("name: warehouse\n", "name: elsewhere\n");
    std::fs::write(home.join("second.yaml"), second).expect("a writable folder");
    let proxy = lab.proxy();
    let mut command = lab.gangplank.command(proxy.address());
    let command = command.env("AWS_SHARED_CREDENTIALS_FILE", home.join("credentials"));
    let run = proxy.run(command.args(["status", "warehouse.yaml", "second.yaml"])).expect(0);
    let words = |region: &str| format!("aws {} {region} (profile data)", number(&lab.account));
    assert!(run.stdout.contains(&words("us-east-1")) && run.stdout.contains(&words("eu-west-1")), "{run}");
    let calls = proxy.take_calls();
    assert_eq!(calls.of("GetCallerIdentity"), 1, "{calls}");
}

/// Profiles that lead to one account: two plans of one name would undo each other there.
#[test]
fn two_profiles_of_one_account_have_one_bastion_of_a_name() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (lab, theirs) = (Lab::new(moto), moto.account());
    let folder = lab.gangplank.home().join("plans");
    std::fs::create_dir(&folder).expect("a writable folder");
    let text = lab.bastion().to_yaml();
    let of = |profile: &str| text.replace("aws:\n", &format!("aws:\n  profile: {profile}\n"));
    for profile in ["one", "two"] {
        std::fs::write(folder.join(format!("{profile}.yaml")), of(profile)).expect("a writable folder");
    }
    let credentials = lab.gangplank.home().join("credentials");
    let keys =
        |profile: &str, key: &str| format!("[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = secret\n");
    let run = |second: &str, arguments: &[&str]| {
        let both = keys("one", &lab.account.access_key) + &keys("two", second);
        std::fs::write(&credentials, both).expect("a writable folder");
        let proxy = lab.proxy();
        let mut command = lab.gangplank.command(proxy.address());
        let run = proxy.run(command.env("AWS_SHARED_CREDENTIALS_FILE", &credentials).args(arguments));
        (run, proxy.take_calls())
    };
    for arguments in
        [&["plan", "plans"][..], &["apply", "plans", "--yes", "--no-verify"], &["destroy", "plans", "--yes"]]
    {
        let (refused, calls) = run(&lab.account.access_key, arguments);
        let refused = refused.expect(3);
        let told = ["two plans for one bastion", "one.yaml", "two.yaml", &number(&lab.account)];
        assert!(told.iter().all(|text| refused.stderr.contains(text)), "{refused}");
        assert_eq!(calls.to_string(), "    2 GetCallerIdentity\n", "{refused}");
    }
    // In two accounts they are two bastions; so they are in two regions.
    let (told, _) = run(&theirs.access_key, &["status", "plans"]);
    told.expect(0);
    std::fs::write(folder.join("two.yaml"), of("two").replace("us-east-1", "eu-west-1")).expect("a writable folder");
    let (told, _) = run(&lab.account.access_key, &["status", "plans"]);
    told.expect(0);
}

#[test]
fn nothing_is_written_into_an_account_that_is_not_known() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let silent = [(Scope::Action("GetCallerIdentity"), Fault::DENIED)];
    let plan = lab.gangplank.write(&lab.bastion());
    let plan = plan.to_str().expect("a temporary folder's name");
    let (run, calls) = run_as(&lab, &lab.account, &["plan", plan], &silent);
    let run = run.expect(0);
    assert!(run.stdout.contains("aws us-east-1 (account unknown)"), "{run}");
    assert_eq!(calls.writes(), 0, "{calls}");
    for arguments in [
        &["apply", plan, "--yes", "--no-verify"][..],
        &["destroy", plan, "--yes"],
        &["extend", plan, "--by", "1d", "--yes"],
    ] {
        let (run, calls) = run_as(&lab, &lab.account, arguments, &silent);
        let run = run.expect(1);
        assert_asked_whose_and_nothing_else(&run, &calls);
        assert!(run.stderr.contains("nothing is written into an unknown account"), "{run}");
    }
    // A plan that names its account is not even looked at in one that may be another.
    let plan = pinned(&lab, &number(&lab.account));
    let (run, calls) = run_as(&lab, &lab.account, &["plan", &plan], &silent);
    let run = run.expect(1);
    assert_asked_whose_and_nothing_else(&run, &calls);
    assert!(run.stderr.contains("a plan names its account, which can't be compared"), "{run}");
}

#[test]
fn a_saved_changeset_is_for_the_account_that_it_was_made_in() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (ours, theirs) = (Lab::new(moto), moto.account());
    let (run, _) = ours.run("plan", &ours.bastion(), &["--out", "changeset.json"]);
    run.expect(0);
    let apply = ["apply", "changeset.json", "--yes", "--no-verify"];
    let (run, calls) = run_as(&ours, &theirs, &apply, &[]);
    let run = run.expect(3);
    assert_asked_whose_and_nothing_else(&run, &calls);
    let made =
        format!("it was made in aws {}, and these credentials are for aws {}", number(&ours.account), number(&theirs));
    assert!(run.stderr.contains(&made), "{run}");
    // How the same account is reached does not matter.
    let keys = format!("[data]\naws_access_key_id = {}\naws_secret_access_key = secret\n", ours.account.access_key);
    std::fs::write(ours.gangplank.home().join("credentials"), keys).expect("a writable folder");
    let proxy = ours.proxy();
    proxy.run(command_as(&ours, proxy.address(), "data").args(apply)).expect(0);
    let run = proxy.run(command_as(&ours, proxy.address(), "data").args(["status", "warehouse.yaml"])).expect(0);
    assert!(run.stdout.contains(&format!("aws {} us-east-1 (profile data)", number(&ours.account))), "{run}");
}

/// The program with `AWS_PROFILE`, and the file `credentials` in its home.
fn command_as(lab: &Lab<'_>, endpoint: std::net::SocketAddr, profile: &str) -> Command {
    let mut command = lab.gangplank.command(endpoint);
    let file = lab.gangplank.home().join("credentials");
    command.env("AWS_SHARED_CREDENTIALS_FILE", file).env("AWS_PROFILE", profile);
    command
}

/// Somebody at a terminal, who says no.
const DECLINES: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said, answered = b'', False
while True:
    try:
        read = os.read(terminal, 4096)
    except OSError:
        break
    if not read:
        break
    said += read
    if not answered and b'Apply this' in said:
        os.write(terminal, b'no\\n')
        answered = True
os.waitpid(pid, 0)
sys.stdout.write(said.decode())
";

#[test]
fn the_question_names_the_account() {
    let Some(moto) = support::moto_or_skip() else { return };
    let Some(python) = support::python() else { return support::skip("no Python here (tests/run installs it)") };
    let lab = Lab::new(moto);
    let plan = lab.gangplank.write(&lab.bastion());
    let proxy = lab.proxy();
    let program = lab.gangplank.command(proxy.address());
    let mut terminal = Command::new(python);
    terminal.current_dir(lab.gangplank.home()).env_clear();
    terminal.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.args(["-c", DECLINES]).arg(program.get_program()).args(["apply", "--no-verify"]).arg(plan);
    let run = proxy.run(&mut terminal).expect(0);
    assert!(run.stdout.contains(&format!("Apply this to aws {} us-east-1?", number(&lab.account))), "{run}");
    let calls = proxy.take_calls();
    assert_eq!(calls.writes(), 0, "{calls}");
}

#[test]
fn a_reaper_is_held_to_the_accounts_that_it_is_given() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (ours, theirs) = (Lab::new(moto), moto.account());
    let id = number(&ours.account);
    let reap = ["reap", "--region", "us-east-1", "--account", &id, "--yes"];
    let (run, calls) = run_as(&ours, &theirs, &reap, &[]);
    let run = run.expect(3);
    assert_asked_whose_and_nothing_else(&run, &calls);
    assert!(run.stderr.contains(&format!("they are for account {}", number(&theirs))), "{run}");
    let (run, _) = run_as(&ours, &ours.account, &reap, &[]);
    run.expect(0);
    let (run, calls) = run_as(&ours, &ours.account, &["reap", "--region", "us-east-1", "--account", "1234"], &[]);
    let run = run.expect(64);
    assert!(run.stderr.contains("twelve digits") && calls.0.is_empty(), "{run}\n{calls}");
    // A guard for a cloud that is not looked at guards nothing.
    let subscription = ["reap", "--region", "us-east-1", "--account", "00000000-0000-0000-0000-000000000000"];
    let (run, calls) = run_as(&ours, &ours.account, &subscription, &[]);
    run.expect(64);
    assert!(calls.0.is_empty(), "{calls}");
}

/// What a plan says of its account holds here as in every other verb.
#[test]
fn a_reaper_is_held_to_the_accounts_of_its_plans() {
    let Some(moto) = support::moto_or_skip() else { return };
    let (ours, theirs) = (Lab::new(moto), moto.account());
    let plan = pinned(&ours, &number(&ours.account));
    let plan = plan.as_str();
    let (run, calls) = run_as(&ours, &theirs, &["reap", "--yes", plan], &[]);
    let run = run.expect(3);
    assert_asked_whose_and_nothing_else(&run, &calls);
    assert!(run.stderr.contains(&format!("they are for account {}", number(&theirs))), "{run}");
    let (run, _) = run_as(&ours, &ours.account, &["reap", "--yes", plan], &[]);
    run.expect(0);
}

/// Of Azure it is the subscription's name.
#[cfg(feature = "azure")]
#[test]
fn a_subscription_is_shown_by_its_name() {
    use crate::contract::azure::{Azure, PUBLIC};
    use crate::contract::{Lab, Wish};
    let Some(lab) = Lab::<Azure<PUBLIC>>::new() else { return };
    let (run, _) = lab.run("plan", &Wish::warehouse(), &[]);
    let run = run.expect(0);
    let words = "warehouse  azure Sandbox (00000000-0000-0000-0000-000000000000) westeurope  ";
    assert!(run.stdout.contains(words), "{run}");
    let (run, _) = lab.run("plan", &Wish::warehouse(), &["--output", "json"]);
    let account = run.expect(0).json()["bastions"][0]["account"].clone();
    assert_eq!(
        account,
        json!({"cloud": "azure", "id": "00000000-0000-0000-0000-000000000000", "name": "Sandbox",
               "tenant": "00000000-0000-0000-0000-0000000000aa"})
    );
}
