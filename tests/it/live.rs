//! The live kit (`tests/live/run`), as a person runs it, against moto and a listening sandbox: it asks before it makes anything, leaves
//! nothing, and what it writes for others holds nothing secret.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use gangplank::sandbox::arm;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    arm::{
        conformance::{Findings, replay},
        polling::{Exchange, Tally, follow},
    },
    support::{self, Account, Fault, Proxy, Scope, World, moto_or_skip},
};

/// The kit's whole life takes a fraction of it.
const PATIENCE: Duration = Duration::from_secs(240);
const SECRET: &str = "kits-own-secret";
const SOURCE: &str = "198.51.100.20";
const EMULATED: [&str; 11] = [
    "--no-network",
    "--poll=0.5",
    "--end-in=2",
    "--settle=0",
    "--tags-wait=1",
    "--removal-wait=60",
    "--report-wait=120",
    "--source",
    SOURCE,
    "--program",
    env!("CARGO_BIN_EXE_gangplank"),
];

/// A person's folder, in which the kit runs and leaves its report.
struct Kit {
    home: TempDir,
    access_key: String,
}

/// A kit that runs, and what it has said so far.
struct Running {
    child: Child,
    said: String,
    heard: mpsc::Receiver<u8>,
}

impl Kit {
    fn new(access_key: &str) -> Self {
        Self { home: TempDir::new().expect("a temporary folder"), access_key: access_key.to_owned() }
    }

    fn report(&self) -> PathBuf {
        self.home.path().join("report")
    }

    /// Starts it, and answers its question.
    fn start(&self, answer: &str, arguments: &[&str], endpoint: SocketAddr) -> Running {
        let python = support::python().expect("asked before");
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "live", "run"].iter().collect();
        let mut child = Command::new(python)
            .arg("-u")
            .arg(script)
            .args(arguments)
            .args(EMULATED)
            .args(["--endpoint", &format!("http://{endpoint}"), "--folder", "report"])
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("AWS_ACCESS_KEY_ID", &self.access_key)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("Python starts");
        child.stdin.take().expect("piped").write_all(answer.as_bytes()).expect("it reads its answer");
        let heard = listen(child.stdout.take().expect("piped"));
        Running { child, said: String::new(), heard }
    }

    #[track_caller]
    fn run(&self, answer: &str, arguments: &[&str], endpoint: SocketAddr) -> (Option<i32>, String) {
        self.start(answer, arguments, endpoint).end()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.report().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text("report.json")).expect("JSON")
    }

    fn recorded(&self, cloud: &str) -> Vec<Exchange> {
        let text = self.text(&format!("recordings/{cloud}-live.jsonl"));
        text.lines().map(|line| serde_json::from_str(line).expect("an exchange")).collect()
    }

    /// Everything that is fit to be shown to others holds none of these.
    #[track_caller]
    fn assert_nothing_of(&self, secrets: &[&str], cloud: &str) {
        for name in ["report.md", "report.json", &format!("recordings/{cloud}-live.jsonl")] {
            let text = self.text(name).to_lowercase().replace("sig=scrubbed", "");
            for secret in secrets {
                assert!(!text.contains(&secret.to_lowercase()), "{name} holds {secret}");
            }
            for pattern in ["bearer ", "signature", "private key", "sig=", self.home.path().to_str().expect("a name")] {
                assert!(!text.contains(pattern), "{name} holds {pattern}");
            }
        }
    }
}

impl Running {
    /// Waits until it has said this.
    #[track_caller]
    fn until(&mut self, text: &str) {
        let begin = Instant::now();
        while !self.said.contains(text) {
            match self.heard.recv_timeout(PATIENCE.saturating_sub(begin.elapsed())) {
                Ok(byte) => self.said.push(byte.into()),
                Err(error) => panic!("{error}; it never said {text:?}:\n{}", self.said),
            }
        }
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(told.expect("kill").success());
    }

    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        while let Ok(byte) = self.heard.recv_timeout(PATIENCE.saturating_sub(begin.elapsed())) {
            self.said.push(byte.into());
        }
        assert!(begin.elapsed() < PATIENCE, "it did not end:\n{}", self.said);
        (self.child.wait().expect("a child").code(), self.said.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(output: ChildStdout) -> mpsc::Receiver<u8> {
    let (send, heard) = mpsc::channel();
    thread::spawn(move || BufReader::new(output).bytes().map_while(Result::ok).try_for_each(|byte| send.send(byte)));
    heard
}

/// A database with a group.
const DATABASE: &str =
    "ec2.create_network_interface(SubnetId=input['subnet'], Groups=[input['group']], PrivateIpAddress='10.20.2.77')";

/// An account of moto with a database behind its group.
struct Company<'a> {
    account: Account<'a>,
    subnet: String,
    group: String,
    before: World,
}

impl<'a> Company<'a> {
    fn new() -> Option<Company<'static>> {
        let account = moto_or_skip()?.account();
        let seed = account.seed();
        let interface = json!({"subnet": seed.private_subnet, "group": seed.warehouse_group});
        account.boto(DATABASE, interface);
        let before = account.world();
        Some(Company { account, subnet: seed.public_subnet, group: seed.warehouse_group, before })
    }

    fn arguments(&'a self) -> Vec<&'a str> {
        vec![
            "aws",
            "--no-machines",
            "--subnet",
            &self.subnet,
            "--database-group",
            &self.group,
            "--target",
            "10.20.2.77:5432:tcp",
        ]
    }

    #[track_caller]
    fn assert_as_before(&self) {
        let after = self.account.world();
        after.assert_nothing_of_ours();
        assert_eq!(after.foreign, self.before.foreign);
    }
}

#[test]
fn without_a_yes_nothing_is_made() {
    let Some(company) = Company::new() else { return };
    for answer in ["no\n", "y\n", "\n", ""] {
        let kit = Kit::new(&company.account.access_key);
        let proxy = Proxy::start(company.account.endpoint());
        let (code, said) = kit.run(answer, &company.arguments(), proxy.address());
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains("It costs at most 0.06 USD (never more than 1.00)"), "{said}");
        assert!(said.contains(&format!("in account {}", &company.account.access_key[8..])), "{said}");
        assert!(said.ends_with("Nothing was made.\n"), "{said}");
        let calls = proxy.take_calls();
        assert_eq!((calls.writes(), kit.report().exists()), (0, false), "{calls}");
    }
    company.assert_as_before();
}

#[test]
fn what_could_cost_more_than_it_promises_is_refused() {
    let Some(company) = Company::new() else { return };
    let kit = Kit::new(&company.account.access_key);
    let arguments = [&company.arguments()[..], &["--limit", "1000000"]].concat();
    let (code, said) = kit.run("yes\n", &arguments, company.account.endpoint());
    assert_eq!(code, Some(1), "{said}");
    company.assert_as_before();
}

#[test]
fn a_life_on_moto_is_reported_and_leaves_nothing() {
    let Some(company) = Company::new() else { return };
    let kit = Kit::new(&company.account.access_key);
    let (code, said) = kit.run("yes\n", &company.arguments(), company.account.endpoint());
    assert_eq!(code, Some(0), "{said}\n{}", kit.text("report.md"));
    company.assert_as_before();
    let report = kit.json();
    assert_eq!((&report["passed"], &report["remains"], &report["stopped"]), (&true.into(), &json!([]), &Value::Null));
    let steps: Vec<&str> =
        report["steps"].as_array().expect("steps").iter().filter_map(|s| s["name"].as_str()).collect();
    insta::assert_snapshot!(steps.join("\n"), @r"
    plan, without the recorder
    apply
    plan finds no difference
    verify
    apply the first key
    apply the second key
    extend
    verify after the changes
    drift finds nothing
    drift finds a foreign rule
    apply closes it
    drift finds nothing again
    reap finds nothing due
    shorten
    reap destroys what is past its end
    apply again
    destroy
    teardown 1
    ");
    let access_key = company.account.access_key.as_str();
    kit.assert_nothing_of(&[access_key, &access_key[8..], SECRET, &company.subnet, &company.group], "aws");
    let recorded = kit.recorded("aws");
    assert!(recorded.len() > 100, "{}", recorded.len());
    assert!(
        recorded.iter().all(|e| e.url.starts_with("https://ec2.us-east-1.amazonaws.com/")),
        "{:?}",
        recorded[0].url
    );
    let launched = recorded.iter().filter_map(|e| e.request.as_deref()).find(|r| r.contains("Action=RunInstances"));
    assert!(launched.is_some_and(|request| request.contains("UserData=c2NydWJiZWQ=")), "{launched:?}");
}

#[test]
fn stopped_half_way_it_removes_everything() {
    let Some(company) = Company::new() else { return };
    for (signal, at) in [("INT", "  apply ..."), ("TERM", "  apply the first key ... "), ("HUP", "  shorten ...")] {
        let kit = Kit::new(&company.account.access_key);
        let mut running = kit.start("yes\n", &company.arguments(), company.account.endpoint());
        running.until(at);
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains("nothing is left"), "{said}");
        company.assert_as_before();
        let report = kit.json();
        assert_eq!((&report["passed"], &report["stopped"]), (&false.into(), &format!("stopped by SIG{signal}").into()));
    }
}

#[test]
fn a_step_that_fails_ends_it_and_everything_is_removed() {
    let Some(company) = Company::new() else { return };
    const REFUSED: Fault = Fault::Answer { status: 400, code: "Unsupported", message: "Not supported in this zone." };
    let kit = Kit::new(&company.account.access_key);
    let proxy = Proxy::start(company.account.endpoint());
    proxy.fault(Scope::Action("RunInstances"), 0..1, REFUSED);
    let (code, said) = kit.run("yes\n", &company.arguments(), proxy.address());
    assert_eq!(code, Some(1), "{said}");
    company.assert_as_before();
    assert!(kit.text("report.md").contains("Not supported in this zone."), "{}", kit.text("report.md"));
}

/// A sandbox that listens, in which nothing but the boot of a machine takes time.
struct Sandbox {
    child: Child,
    address: SocketAddr,
    _home: TempDir,
}

impl Sandbox {
    fn start() -> Self {
        let home = TempDir::new().expect("a temporary folder");
        Self::listen(&home).0.kill().expect("it can be ended");
        let state = home.path().join(".gangplank-sandbox/sandbox.json");
        let mut kept: Value = serde_json::from_str(&fs::read_to_string(&state).expect("kept")).expect("JSON");
        for cloud in ["ec2", "arm"] {
            for pace in kept[cloud]["pace"].as_object_mut().expect("a pace").values_mut() {
                *pace = json!({"secs": 0, "nanos": 0});
            }
        }
        fs::write(&state, kept.to_string()).expect("written");
        let (child, address) = Self::listen(&home);
        Self { child, address, _home: home }
    }

    fn listen(home: &TempDir) -> (Child, SocketAddr) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gangplank"));
        command.args(["sandbox", "--listen"]).current_dir(home.path()).env_clear().stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        // Lines about machines follow, which nobody reads here.
        thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        let address = line.trim().strip_prefix("AWS_ENDPOINT_URL=http://").and_then(|address| address.parse().ok());
        (child, address.unwrap_or_else(|| panic!("{line}")))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to the question that begins so.
#[track_caller]
fn answer(report: &Value, question: &str) -> String {
    let answers = report["answers"].as_array().expect("answers");
    let found = answers.iter().find(|a| a["question"].as_str().is_some_and(|q| q.starts_with(question)));
    found.and_then(|a| a["answer"].as_str()).unwrap_or_else(|| panic!("{question}: {answers:#?}")).to_owned()
}

#[test]
fn ec2s_questions_are_answered_in_the_sandbox() {
    if support::python().is_none() {
        return support::skip("no Python here (tests/run installs it)");
    }
    let sandbox = Sandbox::start();
    let kit = Kit::new("any");
    let company = ["aws", "--subnet", "subnet-0a1b2c3d4e5f60718", "--database-group", "sg-0a1b2c3d4e5f60718"];
    let arguments = [&company[..], &["--target", "warehouse.internal:5432:postgres", "--once"]].concat();
    let (code, said) = kit.run("yes\n", &arguments, sandbox.address);
    assert_eq!(code, Some(0), "{said}\n{}", kit.text("report.md"));
    let report = kit.json();
    let whole = answer(&report, "the machine's report on its console");
    assert!(whole.starts_with("whole, ") && whole.contains(" bytes, seen "), "{whole}");
    for question in ["how soon a new key", "how soon an overwritten value"] {
        let told = answer(&report, question);
        assert!(told.starts_with("reported ") && told.contains(" after the write, visible on the console "), "{told}");
    }
    assert!(answer(&report, "whether the machine ends at its deadline").starts_with("it was terminated "));
    assert!(answer(&report, "how long the tags of a terminated instance stay").contains("of 1 instances"));
    assert_eq!(report["checks"]["verify"]["failed"], 0, "{:#}", report["checks"]);
    kit.assert_nothing_of(
        &["123456789012", SECRET, "subnet-0a1b2c3d4e5f60718", "sg-0a1b2c3d4e5f60718", "the application"],
        "aws",
    );
}

#[test]
fn azures_questions_are_answered_in_the_sandbox() {
    if support::python().is_none() {
        return support::skip("no Python here (tests/run installs it)");
    }
    let sandbox = Sandbox::start();
    let kit = Kit::new("any");
    let subscription = "00000000-0000-0000-0000-000000000000";
    let company = ["azure", "--subscription", subscription, "--network", "vnet-data", "--subnet", "snet-a"];
    let target = ["--resource-group", "rg-shared", "--target", "sales.internal:5432:postgres"];
    let arguments = [&company[..], &target, &["--once", "--skip-shutdown", "--classic-firewall"]].concat();
    let (code, said) = kit.run("yes\n", &arguments, sandbox.address);
    assert_eq!(code, Some(0), "{said}\n{}", kit.text("report.md"));
    assert!(said.contains("It costs at most 1.36 USD (never more than 3.00)"), "{said}");
    let report = kit.json();
    assert!(answer(&report, "the machine's report on its console").starts_with("whole, "));
    assert_eq!(
        answer(&report, "whether a classic firewall refuses a stale If-Match"),
        "answered 412 PreconditionFailed"
    );
    assert!(
        answer(&report, "whether a firewall policy keeps its tag names' case").starts_with("TestCasing came back as ")
    );
    assert!(answer(&report, "whether a firewall policy's tags can be changed").contains("PATCH of tags/default: "));
    assert!(answer(&report, "whether auto-shutdown").starts_with("not asked"));
    assert_eq!(report["checks"]["verify"]["failed"], 0, "{:#}", report["checks"]);
    kit.assert_nothing_of(&[SECRET, "fw-hub", "snet-b"], "azure");

    // What it has recorded is what the tests of recorded traffic play.
    let recorded = kit.recorded("azure");
    let mut findings = Findings::default();
    replay(arm::World::company().into(), "azure-live", &recorded, &mut findings);
    // Conditions of requests are not recorded, and one of them was refused for its own.
    let refused = recorded.iter().position(|exchange| exchange.status == 412).expect("a stale write");
    findings.differences.retain(|what| !what.starts_with(&format!("azure-live {refused}: ")));
    assert_eq!((findings.compared > 200, findings.differences), (true, Vec::<String>::new()));
    let mut tally = Tally::default();
    for (at, exchange) in recorded.iter().enumerate() {
        if matches!(exchange.method.as_str(), "PUT" | "PATCH" | "DELETE") && (200..300).contains(&exchange.status) {
            follow("azure-live", &recorded, at, &mut tally);
        }
    }
    // The kit itself looks at what it wrote, and asks after no operation.
    let left_alone = |write: &&String| write.contains("gangplank-live") && !write.ends_with("live-drift");
    assert_eq!((tally.ended > 20, tally.open.iter().find(left_alone)), (true, None), "{tally:?}");
}

/// No emulator looks at a signature.
#[test]
fn requests_are_signed_as_boto3_signs_them() {
    const COMPARE: &str = r#"
import datetime, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from sigv4 import sign

moment = datetime.datetime(2026, 11, 30, 12, 0, 0, tzinfo=datetime.timezone.utc)
botocore.auth.get_current_datetime = lambda *_, **__: moment.replace(tzinfo=None)
url, body, kind = "https://ec2.eu-west-1.amazonaws.com/", b"Action=DescribeVpcs&Version=2016-11-15", "application/x-www-form-urlencoded"
for token in (None, "session/token=="):
    request = AWSRequest("POST", url, {"content-type": kind}, body)
    botocore.auth.SigV4Auth(Credentials("AKIDEXAMPLE", "secret", token), "ec2", "eu-west-1").add_auth(request)
    ours = sign({"key": "AKIDEXAMPLE", "secret": "secret", "token": token}, "eu-west-1", "ec2", moment, "POST", url, {"content-type": kind}, body)
    assert ours["authorization"] == request.headers["Authorization"], (ours, dict(request.headers))
    assert ours.get("x-amz-security-token") == token
"#;
    let Some(python) = support::python() else { return support::skip("no boto3 here (tests/run installs it)") };
    let kit: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "live"].iter().collect();
    let done = Command::new(python).args(["-c", COMPARE]).arg(kit).output().expect("Python starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
