//! Profiles whose credentials come from a login, a role or a program; what is said when they give none.

use serde_json::{Value, json};

use super::write;
use crate::support::{self, Fault, Lab, Run, Scope, program};

const SESSION: &str = "arn:aws:iam::111122223333:user/ana";

/// Runs `plan` as a profile against moto.
fn plan(lab: &Lab<'_>, config: &str, profile: &str, fault: Option<(&'static str, Fault)>) -> Run {
    write(lab.gangplank.home(), ".aws/config", config);
    let path = lab.gangplank.write(&lab.bastion());
    let proxy = lab.proxy();
    if let Some((action, fault)) = fault {
        proxy.fault(Scope::Action(action), 0..usize::MAX, fault);
    }
    let mut command = lab.gangplank.command(proxy.address());
    command.arg("plan").arg(path).env("AWS_PROFILE", profile);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    proxy.run(&mut command)
}

/// A session of `aws login` as the CLI caches it (docs.aws.amazon.com/sdkref/latest/guide/feature-login-credentials.html).
fn session(lab: &Lab<'_>, ends: &str) -> String {
    // A key for proofs of possession, which only a refreshing needs.
    let key = lab.account.boto(
        "
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
result = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption()).decode()",
        Value::Null,
    );
    let token = json!({
        "accessKeyId": lab.account.access_key,
        "secretAccessKey": "secret",
        "sessionToken": "session",
        "accountId": "111122223333",
        "expiresAt": ends,
    });
    let client = "arn:aws:signin:::devtools/same-device";
    json!({"accessToken": token, "tokenType": "aws_sigv4", "refreshToken": "r", "clientId": client, "dpopKey": key})
        .to_string()
}

#[test]
fn a_session_of_aws_login_works_and_names_the_login_when_it_does_not() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let config = format!("[profile console]\nlogin_session = {SESSION}\nregion = us-east-1\n");
    let cached = format!(".aws/login/cache/{}.json", digest(&lab));

    let missing = plan(&lab, &config, "console", None).expect(1);
    write(lab.gangplank.home(), &cached, &session(&lab, "2020-01-01T00:00:00Z"));
    // The sign-in service is the only one here that does not speak EC2's protocol, and so has no action.
    let refused = Fault::Answer { status: 400, code: "AccessDeniedException", message: "the session is over" };
    let ended = plan(&lab, &config, "console", Some(("?", refused))).expect(1);
    for run in [missing, ended] {
        for text in ["the profile console gives no credentials", "`aws login --profile console`"] {
            assert!(run.stderr.contains(text), "expected {text:?}\n{run}");
        }
        assert_no_debugging(&run);
    }
    write(lab.gangplank.home(), &cached, &session(&lab, "2100-01-01T00:00:00Z"));
    plan(&lab, &config, "console", None).expect(0);
}

/// The session's name, as the cache has it.
fn digest(lab: &Lab<'_>) -> String {
    let digest =
        lab.account.boto("import hashlib\nresult = hashlib.sha256(input.encode()).hexdigest()", json!(SESSION));
    digest.as_str().expect("a digest").to_owned()
}

#[test]
fn each_kind_of_profile_says_what_to_do() {
    let Some(moto) = support::moto_or_skip() else { return };
    let lab = Lab::new(moto);
    let keys = format!("aws_access_key_id = {}\naws_secret_access_key = secret\n", lab.account.access_key);
    let sso = "sso_session = work\nsso_account_id = 111122223333\nsso_role_name = admin\n\
               [sso-session work]\nsso_start_url = https://work.awsapps.com/start\nsso_region = us-east-1\n";
    let role = "role_arn = arn:aws:iam::111122223333:role/admin\nsource_profile = base\n";
    let mfa = format!("{role}mfa_serial = arn:aws:iam::111122223333:mfa/ana\n[profile base]\n{keys}");
    let denied = || Fault::Answer { status: 403, code: "AccessDenied", message: "no code was given" };
    let cases = [
        (sso.to_owned(), None, vec!["`aws sso login --profile p`"]),
        (format!("{role}[profile base]\n{sso}"), None, vec!["`aws sso login --profile base`"]),
        (
            mfa,
            Some(("AssumeRole", denied())),
            vec![
                "AccessDenied: no code was given",
                "`mfa_serial`",
                "aws configure export-credentials --profile p --format env",
            ],
        ),
        (
            format!("{role}[profile base]\n{keys}"),
            Some(("AssumeRole", denied())),
            vec!["AccessDenied: no code was given", "`aws sts get-caller-identity --profile p`"],
        ),
        (
            "credential_process = echo the vault is sealed >&2; exit 3\n".to_owned(),
            None,
            vec!["the vault is sealed", "`credential_process`"],
        ),
        (String::new(), None, vec!["`aws configure --profile p`"]),
        (format!("{role}[profile base]\n{role}"), None, vec!["the profile p gives no credentials"]),
    ];
    for (config, fault, texts) in cases {
        let run = plan(&lab, &format!("[profile p]\nregion = us-east-1\n{config}"), "p", fault).expect(1);
        for text in texts {
            assert!(run.stderr.contains(text), "expected {text:?}\n{run}");
        }
        assert_no_debugging(&run);
    }
}

#[track_caller]
fn assert_no_debugging(run: &program::Run) {
    for text in ["cargo feature", "SdkBody", "Error {", "Some(", "already taken"] {
        assert!(!run.stderr.contains(text), "{text:?} is no text for people\n{run}");
    }
}
