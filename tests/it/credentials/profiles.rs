//! A profile that is named wins over keys in the environment; one that is not there is named.

use serde_json::Value;

use super::{Desk, KEYS, aws_plan, write};
use crate::support::{self, Lab, program, program::Victim};

/// Two accounts in one environment: the profile's and the keys'.
#[test]
fn a_named_profile_wins_over_keys_in_the_environment() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let other = moto.account();
    let before = other.world();
    let home = lab.gangplank.home();
    write(home, ".aws/config", "[profile data]\nregion = us-east-1\n");
    let keys = format!("[data]\naws_access_key_id = {}\naws_secret_access_key = secret\n", lab.account.access_key);
    write(home, ".aws/credentials", &keys);
    let bastion = lab.bastion();
    let plain = lab.gangplank.write(&bastion);
    let named = home.join("named.yaml");
    std::fs::write(&named, bastion.to_yaml().replace("aws:\n", "aws:\n  profile: data\n")).expect("a writable folder");
    let (plain, named) = (plain.to_str().expect("text"), named.to_str().expect("text"));
    let proxy = lab.proxy();
    let run = |arguments: &[&str], profile: Option<&str>| {
        let mut command = lab.gangplank.command(proxy.address());
        command
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", &other.access_key)
            .envs(profile.map(|name| ("AWS_PROFILE", name)));
        // Others who would give credentials if they were asked.
        command.env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere").env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/ci");
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/");
        proxy.run(&mut command)
    };

    let apply = run(&["apply", "--yes", "--no-verify", named], None).expect(0);
    let note = "note: the profile data is used; AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, \
                AWS_CONTAINER_CREDENTIALS_FULL_URI are not";
    assert_eq!(apply.stderr.matches(note).count(), 1, "{apply}");
    assert_eq!(lab.ours().ours("instances").len(), 1);
    assert_eq!(other.world(), before, "the account of the keys was touched");

    let unchanged = run(&["plan", "--detailed-exitcode", plain], Some("data")).expect(0);
    assert!(unchanged.stderr.contains("the profile data of AWS_PROFILE is used"), "{unchanged}");
    let inventory = run(&["reap", "--profile", "data", "--region", "us-east-1", "--output", "json"], None);
    let found: Value = serde_json::from_str(inventory.stdout.lines().next().unwrap_or_default()).expect("JSON");
    assert!(found.to_string().contains("\"warehouse\""), "{inventory}");
    // Without a profile the keys count, as ever: the subnet is in the other account.
    let theirs = run(&["plan", plain], None).expect(3);
    assert!(!theirs.stderr.contains("note:"), "{theirs}");

    run(&["destroy", "--yes", named], None).expect(0);
    lab.ours().assert_nothing_of_ours();
    assert_eq!(other.world(), before);
}

#[test]
fn a_profile_that_is_not_there_is_named_before_any_call() {
    let desk = Desk::new();
    desk.write("named.yaml", &aws_plan("warehouse", Some("dtaa")));
    desk.write("plain.yaml", &aws_plan("warehouse", None));
    desk.write(".aws/config", "[profile data]\nregion = us-east-1\n[profile staging]\nregion = us-east-1\n");
    let closed = [("AWS_ENDPOINT_URL", "http://127.0.0.1:1")];
    let run = |arguments: &[&str], more: &[(&str, &str)]| {
        program::run(&mut desk.gangplank(arguments, &[&KEYS[..], &closed, more].concat()), &Victim::default())
    };

    let planned = run(&["plan", "named.yaml"], &[]).expect(3);
    for text in
        ["named.yaml:5:12", "there is no such profile", "neither ~/.aws/config nor ~/.aws/credentials", "data, staging"]
    {
        assert!(planned.stderr.contains(text), "expected {text:?}\n{planned}");
    }
    let environment = [("AWS_PROFILE", "nope"), ("AWS_SHARED_CREDENTIALS_FILE", "/etc/elsewhere")];
    let by_environment = run(&["plan", "plain.yaml"], &environment).expect(1);
    let message = "there is no profile nope of AWS_PROFILE: it is in neither ~/.aws/config nor /etc/elsewhere";
    assert!(by_environment.stderr.contains(message), "{by_environment}");
    let by_option = run(&["reap", "--profile", "nope", "--region", "us-east-1"], &[]).expect(1);
    assert!(by_option.stderr.contains("there is no profile nope: it is in neither"), "{by_option}");
    for run in [planned, by_environment, by_option] {
        assert!(!run.stderr.contains("no answer"), "somebody was called\n{run}");
    }
}

#[test]
fn half_a_key_is_not_passed_over() {
    let desk = Desk::new();
    desk.write("plain.yaml", &aws_plan("warehouse", None));
    let half =
        [("AWS_ACCESS_KEY_ID", "AKIA0000100000000001"), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_REGION", "us-east-1")];
    let run = program::run(&mut desk.gangplank(&["plan", "plain.yaml"], &half), &Victim::default()).expect(1);
    assert!(run.stderr.contains("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not"), "{run}");
}
