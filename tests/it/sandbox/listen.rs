//! `gangplank sandbox listen`: other programs in the sandbox, over loopback.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Desk, FOLDER};
use crate::support::{
    self,
    program::{Run, Victim, run},
};

/// What a client signs with; nobody looks at more of it than the service.
const SIGNED: &str = "authorization: AWS4-HMAC-SHA256 Credential=any/20261122/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=00";

/// Elastic addresses that the company has from the beginning.
const THEIRS: usize = 1;

/// A listening sandbox, which ends with this.
pub(super) struct Listening {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub address: SocketAddr,
}

impl Listening {
    pub fn start(desk: &Desk) -> Self {
        let mut child = desk
            .command(&["sandbox", "listen", "--sandbox"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut named = |name: &str| {
            let line = lines.next().expect("a line").unwrap();
            line.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix("=http://"))
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned()
        };
        let address = named("AWS_ENDPOINT_URL");
        assert_eq!(named("AZURE_RESOURCE_MANAGER_ENDPOINT"), address);
        Self { address: address.parse().unwrap(), child, lines }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the machine answers that the cloud calls so.
    fn ssh(&mut self, machine: &str) -> SocketAddr {
        let line = self.lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with(&format!("ssh {machine}"))));
        let line = line.expect("a machine that is up").unwrap();
        line.rsplit(' ').next().and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }

    /// Ends it as Ctrl-C does.
    #[cfg(unix)]
    fn interrupt(mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    /// A request with these headers; the answer's head and body.
    pub fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // Who sends too much may be answered and left before the end.
        let _ = write!(stream, "{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    pub fn ec2(&self, call: &str) -> String {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n{SIGNED}",
            self.address
        );
        self.ask(&head, &format!("Version=2016-11-15&{call}"))
    }

    fn addresses(&self) -> usize {
        self.ec2("Action=DescribeAddresses").matches("<publicIp>").count()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_this_machine_and_no_browser_is_answered() {
    let desk = Desk::new();
    let listening = Listening::start(&desk);
    let call = "Action=DescribeVpcs&Version=2016-11-15";
    let of = |headers: &str| listening.ask(&format!("POST / HTTP/1.1\r\n{headers}\r\n{SIGNED}"), call);
    let port = listening.address.port();
    for good in [
        format!("host: 127.0.0.1:{port}"),
        format!("host: localhost:{port}"),
        "host: localhost".to_owned(),
        format!("host: 127.0.0.1:{port}\r\nsec-fetch-site: none"),
    ] {
        let answer = of(&good);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<vpcId>"), "{good}: {answer}");
    }
    for bad in [
        format!("host: evil.example:{port}"),
        format!("host: 127.0.0.1.evil.example:{port}"),
        "host: evil.example".to_owned(),
        "host:".to_owned(),
        format!("host: 127.0.0.1:{port}\r\norigin: http://evil.example"),
        format!("host: 127.0.0.1:{port}\r\norigin: null"),
        format!("host: evil.example\r\nhost: 127.0.0.1:{port}"),
        format!("host: 127.0.0.1:{port}\r\nhost: evil.example"),
        format!("host: 127.0.0.1:{port}\r\nsec-fetch-site: cross-site"),
        format!("host: 127.0.0.1:{port}\r\nsec-fetch-site: same-site"),
        format!("host: 127.0.0.1:{port}\r\nsec-fetch-site: none\r\nsec-fetch-site: cross-site"),
    ] {
        let answer = of(&bad);
        assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("vpcId"), "{bad}: {answer}");
    }
    let large = "a".repeat((4 << 20) + 1);
    assert!(listening.ec2(&large).starts_with("HTTP/1.1 413"));
    assert!(listening.ec2("Action=Nonsense").contains("<Code>InvalidAction</Code>"));
    assert!(listening.address.ip().is_loopback());
}

/// `<img src="http://127.0.0.1:PORT/?Action=...">` on any page, with the headers that browsers send, new ones and old ones.
#[test]
fn an_image_on_a_page_changes_nothing() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    let listening = Listening::start(&desk);
    let groups = listening.ec2("Action=DescribeSecurityGroups");
    let group = groups.split("<groupId>").nth(1).and_then(|rest| rest.split('<').next()).expect("a group");
    let open = format!(
        "/?Version=2016-11-15&Action=AuthorizeSecurityGroupIngress&GroupId={group}&IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=0.0.0.0/0"
    );
    let before = listening.ec2("Action=DescribeSecurityGroupRules");
    for (path, browser) in [
        (
            open.clone(),
            "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: image\r\nreferer: http://evil.example/",
        ),
        (open.clone(), "accept: image/*\r\nreferer: http://evil.example/"),
        // Whoever makes the address can pretend a signature in it.
        (
            format!("{open}&X-Amz-Credential=any/20261122/us-east-1/ec2/aws4_request&X-Amz-Signature=00"),
            "accept: image/*",
        ),
    ] {
        let answer = listening.ask(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{browser}", listening.address), "");
        assert!(answer.starts_with("HTTP/1.1 403"), "{browser}: {answer}");
    }
    assert_eq!(
        listening.ec2("Action=DescribeSecurityGroupRules").split("<securityGroupRuleSet>").nth(1),
        before.split("<securityGroupRuleSet>").nth(1)
    );
}

/// Every listener of the process, the machines' too, as the kernel has them.
#[cfg(target_os = "linux")]
#[test]
fn nothing_listens_beyond_loopback() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    let mut listening = Listening::start(&desk);
    listening.ssh("");
    listening.ssh("");
    let pid = listening.child.id();
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links: Vec<PathBuf> = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).collect();
    let mut found = 0;
    for (table, loopback) in [("tcp", "0100007F"), ("tcp6", "00000000000000000000000001000000")] {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/net/{table}")) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields[1], fields[3], fields[9]);
            if state == "0A" && links.contains(&PathBuf::from(format!("socket:[{inode}]"))) {
                assert!(local.starts_with(loopback), "{line}");
                found += 1;
            }
        }
    }
    assert_eq!(found, 3, "the calls' and two machines'");
}

/// A machine that is stopped, in either cloud, has no connections; a rule that goes takes none with it.
#[test]
fn a_machines_end_is_its_connections_end() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    desk.play(&["sandbox", "advance", "1h"]).expect(0);
    let mut listening = Listening::start(&desk);
    let mut greeted = |machine: &str| {
        let stream = TcpStream::connect(listening.ssh(machine)).unwrap();
        // Far less than sshd waits for somebody to log in.
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let mut said = [0; 8];
        (&stream).read_exact(&mut said).unwrap();
        assert_eq!(&said, b"SSH-2.0-");
        stream
    };
    let [one, other] = [greeted(""), greeted("")];
    let told = listening.ec2("Action=DescribeInstances");
    let machine =
        told.split("<instanceId>").nth(1).and_then(|rest| rest.split('<').next()).expect("a machine").to_owned();
    let groups =
        listening.ec2("Action=DescribeSecurityGroups&Filter.1.Name=tag-key&Filter.1.Value.1=gangplank:bastion");
    let group = groups.split("<groupId>").nth(1).and_then(|rest| rest.split('<').next()).expect("a group");
    let rule = "IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22";
    let range = "IpPermissions.1.IpRanges.1.CidrIp=198.51.100.20/32";
    let revoked = listening.ec2(&format!("Action=RevokeSecurityGroupIngress&GroupId={group}&{rule}&{range}"));
    assert!(revoked.contains("<return>true</return>"), "{revoked}");
    for stream in [&one, &other] {
        // It still hears: sshd ends a connection whose first line is none of SSH's.
        assert_eq!(stream.peer_addr().map(|a| a.ip().is_loopback()).ok(), Some(true));
        stream.set_nonblocking(true).unwrap();
        let mut rest = [0; 4096];
        while (&mut &*stream).read(&mut rest).is_ok_and(|n| n > 0) {}
        assert_eq!((&mut &*stream).read(&mut rest).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
    }
    listening.ec2(&format!("Action=StopInstances&InstanceId.1={machine}"));
    let path = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-shared/providers/Microsoft.Compute/virtualMachines/gangplank-sales/deallocate?api-version=2024-07-01";
    let head = format!("POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer invented", listening.address);
    let answer = listening.ask(&head, "");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    for mut stream in [one, other] {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let reset = ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(ended.is_ok() || reset, "it is still open: {ended:?}");
    }
}

#[test]
fn one_folder_is_one_process_s() {
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans"]).expect(0);
    let listening = Listening::start(&desk);
    for verb in
        [&["plan", "plans"][..], &["destroy", "--yes", "plans"], &["sandbox", "reset"], &["sandbox", "advance", "1d"]]
    {
        let refused = desk.play(verb).expect(1);
        assert!(refused.stderr.contains("another gangplank is using the sandbox in"), "{refused}");
        assert!(refused.stderr.contains("--sandbox=FOLDER"), "{refused}");
    }
    // It answers all the same, and what it has is what was there.
    assert!(listening.ec2("Action=DescribeInstances").contains("<instanceId>i-"));
    drop(listening);
    desk.play(&["plan", "--detailed-exitcode", "plans"]).expect(0);
}

#[test]
fn a_port_in_use_is_named() {
    let desk = Desk::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = desk.play(&["sandbox", "--listen", "--port", &port.to_string()]).expect(1);
    assert!(refused.stderr.contains(&format!("port {port} of 127.0.0.1")), "{refused}");
    assert!(refused.stderr.contains("--port 0"), "{refused}");
}

/// What was answered with yes is there, whether it is interrupted or killed.
#[cfg(unix)]
#[test]
fn its_end_loses_nothing() {
    let desk = Desk::new();
    for (name, gently) in [("one", true), ("two", false)] {
        let listening = Listening::start(&desk);
        assert!(listening.ec2("Action=AllocateAddress&Domain=vpc").starts_with("HTTP/1.1 200"), "{name}");
        if gently {
            assert_eq!(listening.interrupt(), Some(130));
        }
    }
    assert_eq!(Listening::start(&desk).addresses(), THEIRS + 2);
}

/// A folder that is not where it was stands for a disk that cannot be written.
#[test]
fn a_call_that_cannot_be_kept_is_not_done() {
    let desk = Desk::new();
    let listening = Listening::start(&desk);
    let allocate = "Action=AllocateAddress&Domain=vpc";
    assert!(listening.ec2(allocate).starts_with("HTTP/1.1 200"));
    let kept = fs::read(desk.state()).unwrap();
    fs::rename(desk.path(FOLDER), desk.path("away")).unwrap();
    let refused = listening.ec2(allocate);
    assert!(refused.contains("<Code>SandboxNotWritable</Code>") && refused.contains("No such file"), "{refused}");
    fs::rename(desk.path("away"), desk.path(FOLDER)).unwrap();
    assert_eq!(listening.addresses(), THEIRS + 1);
    assert_eq!(fs::read(desk.state()).unwrap(), kept);
    // It can be written again.
    assert!(listening.ec2(allocate).starts_with("HTTP/1.1 200"));
    assert_eq!(listening.addresses(), THEIRS + 2);
}

/// An environment with invented credentials and the listening sandbox in it.
fn aws(program: PathBuf, desk: &Desk, listening: &Listening) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", desk.path(""))
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_ENDPOINT_URL", listening.endpoint())
        .env("AWS_ACCESS_KEY_ID", "AKIA0000100000000001")
        .env("AWS_SECRET_ACCESS_KEY", "invented")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

const BOTO: &str = r#"
import boto3, botocore.exceptions
ec2 = boto3.client("ec2")
vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
group = ec2.create_security_group(GroupName="mine", Description="by boto3", VpcId=vpc)["GroupId"]
while True:
    try:
        ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=443, ToPort=443, CidrIp="192.0.2.0/24")
        break
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidGroup.NotFound", error  # it is new
[mine] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
assert mine["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "192.0.2.0/24"}], mine
names = {i["InstanceId"] for page in ec2.get_paginator("describe_instances").paginate() for r in page["Reservations"] for i in r["Instances"]}
assert len(names) == 1, names
assert "gangplank" in ec2.get_console_output(InstanceId=names.pop())["Output"]
ec2.delete_security_group(GroupId=group)
def refused(call):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]
    raise SystemExit("that was answered")
assert refused(ec2.describe_spot_price_history)["Code"] == "InvalidAction"
assert refused(lambda: ec2.describe_security_groups(GroupIds=[group]))["Code"] == "InvalidGroup.NotFound"
for service, method in [("s3", "list_buckets"), ("dynamodb", "list_tables"), ("lambda", "list_functions")]:
    error = refused(getattr(boto3.client(service), method))
    assert error["Code"] == "NotInTheSandbox" and service in error["Message"], error
sts = boto3.client("sts")
assert sts.get_caller_identity()["Account"] == "123456789012"
assert refused(sts.get_session_token)["Code"] == "InvalidAction"
print("all")
"#;

#[test]
fn boto3_works_and_hears_what_is_not_there() {
    let Some(python) = support::python() else { return support::skip("no boto3 here (tests/run installs it)") };
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "plans/warehouse.yaml"]).expect(0);
    let listening = Listening::start(&desk);
    let said = run(aws(python, &desk, &listening).args(["-c", BOTO]), &Victim::default()).expect(0);
    assert_eq!(said.stdout.trim(), "all", "{said}");
}

#[test]
fn the_aws_cli_works_and_hears_what_is_not_there() {
    let cli = support::python().and_then(|python| Some(python.parent()?.join("aws"))).filter(|cli| cli.exists());
    let Some(cli) = cli else { return support::skip("no AWS CLI here (tests/run installs it)") };
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "--no-verify", "plans/warehouse.yaml"]).expect(0);
    let listening = Listening::start(&desk);
    let call =
        |text: &str| -> Run { run(aws(cli.clone(), &desk, &listening).args(text.split(' ')), &Victim::default()) };
    let groups =
        call("ec2 describe-security-groups --filters Name=tag:gangplank:bastion,Values=warehouse").expect(0).json();
    let group = groups["SecurityGroups"][0]["GroupId"].as_str().expect("the bastion's group").to_owned();
    // The demonstration's mistake.
    let open = "--protocol tcp --port 22 --cidr 0.0.0.0/0";
    call(&format!("ec2 authorize-security-group-ingress --group-id {group} {open}")).expect(0);
    let refused = call(&format!("ec2 authorize-security-group-ingress --group-id {group} {open}"));
    assert!(refused.code() != Some(0) && refused.stderr.contains("InvalidPermission.Duplicate"), "{refused}");
    let refused = call("ec2 describe-spot-price-history");
    assert!(refused.code() != Some(0) && refused.stderr.contains("InvalidAction"), "{refused}");
    let refused = call("s3api list-buckets");
    assert!(refused.code() != Some(0) && refused.stderr.contains("NotInTheSandbox"), "{refused}");
    drop(listening);
    let drift = desk.play(&["drift", "plans/warehouse.yaml"]).expect(2);
    assert!(drift.stdout.contains("0.0.0.0/0"), "{drift}");
}

/// The words with which a PostgreSQL without TLS answers, through OpenSSH's own client; and no shell.
#[test]
fn openssh_opens_the_tunnel_and_gets_no_shell() {
    if Command::new("ssh").arg("-V").output().is_err() {
        return support::skip("no ssh here (tests/run installs it)");
    }
    let desk = Desk::new();
    desk.play(&["apply", "--yes", "plans/warehouse.yaml"]).expect(0);
    let mut listening = Listening::start(&desk);
    let machine = listening.ssh("i-");
    let ssh = |user: &str, more: &[&str]| {
        let mut command = Command::new("ssh");
        let port = machine.port().to_string();
        command.args([
            "-F",
            "none",
            "-T",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "ConnectTimeout=30",
        ]);
        command.args([
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "UserKnownHostsFile=known",
            "-o",
            "ExitOnForwardFailure=yes",
        ]);
        command.args(["-i", "ana", "-p", &port, "-l", user]).args(more).current_dir(desk.path(""));
        command
    };
    let refused = run(&mut ssh("ana", &["127.0.0.1", "id"]), &Victim::default());
    assert!(refused.code() != Some(0) && !refused.stdout.contains("uid="), "{refused}");
    let stranger = run(&mut ssh("root", &["127.0.0.1", "id"]), &Victim::default()).expect(255);
    assert!(!stranger.stdout.contains("uid="), "{stranger}");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let forward = format!("{free}:warehouse.internal:5432");
    let tunnel =
        ssh("ana", &["-N", "-L", &forward, "127.0.0.1"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut tunnel = Ending(tunnel);
    let mut near = connect(free, &mut tunnel.0);
    // SSLRequest ("SSL Session Encryption" in PostgreSQL's message flow): N says no.
    near.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    near.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"N");
}

struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connects as soon as somebody listens there.
fn connect(to: SocketAddr, server: &mut Child) -> TcpStream {
    let begin = Instant::now();
    loop {
        if let Ok(stream) = TcpStream::connect(to) {
            return stream;
        }
        assert!(
            server.try_wait().unwrap().is_none() && begin.elapsed() < Duration::from_secs(60),
            "nobody listens on {to}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
