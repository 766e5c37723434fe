//! moto as pip installs it, without what the tests make stricter in it: people try gangplank against that, too.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::support::{
    self, Bastion, Gangplank, moto_or_skip,
    program::{Run, Victim, run},
};

/// An image that moto has, with the architecture of the plan's instance type.
const IMAGE: &str = "result = next(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'x86_64')";

/// moto's own server. It ends with this.
struct PlainMoto {
    child: Child,
    address: SocketAddr,
}

impl PlainMoto {
    fn start() -> Self {
        let python = support::python().expect("asked before");
        let program = python.with_file_name("moto_server");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONDONTWRITEBYTECODE", "1").stderr(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().expect("moto_server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split("http://").nth(1)?.trim().parse().ok());
        // Its log of requests, which nobody reads.
        thread::spawn(move || lines.count());
        Self { child, address: address.expect("it says where it listens") }
    }
}

impl Drop for PlainMoto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn apply_converges_on_moto_as_pip_installs_it() {
    let Some(moto) = moto_or_skip() else { return };
    let plain = PlainMoto::start();
    let account = moto.account().at(plain.address);
    let seed = account.seed();
    let image = account.boto(IMAGE, Value::Null);
    let image = image.as_str().expect("an id");
    let gangplank = Gangplank::new(&account);
    let path = gangplank.write(&Bastion::new("warehouse", &seed));
    let plan = fs::read_to_string(&path).expect("written").replace("debian-13", image).replace("t4g.nano", "t3.nano");
    fs::write(&path, plan).expect("a writable folder");
    let verb = |arguments: &[&str]| -> Run {
        run(gangplank.command(plain.address).args(arguments).arg(&path), &Victim::default())
    };

    verb(&["apply", "--yes", "--no-verify"]).expect(0);
    let made = account.world().ours;
    let again = verb(&["apply", "--yes", "--no-verify"]).expect(0);
    assert!(again.stdout.contains("No changes: the cloud matches the plan."), "{again}");
    assert_eq!(account.world().ours, made);
    verb(&["plan", "--detailed-exitcode"]).expect(0);
    verb(&["destroy", "--yes"]).expect(0);

    // moto finds no rule of a group that is named without its description, and says that there is none. EC2 needs no description.
    let left = account.world();
    let rules: Vec<_> = left.ours("rules").iter().map(|rule| rule["GroupId"].as_str()).collect();
    assert_eq!(rules, [Some("group warehouse-db")]);
    assert_eq!(left.ours.as_object().map(serde_json::Map::len), Some(1), "{:#}", left.ours);
}
