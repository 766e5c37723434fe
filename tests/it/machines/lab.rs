//! A bastion's surroundings, each in a network namespace:
//!
//! ```text
//! internet 203.0.113.10 (vendor), .20 (operator), 198.51.100.7 (stranger)
//!    │ 192.0.2.1
//! edge     the public address, its translation, who may come in
//!    │ 10.0.0.4
//! router   what the bastion may reach; names; the metadata service, 169.254.169.254
//!    ├ bastion   10.0.1.4, a machine
//!    └ database  10.0.2.5, PostgreSQL
//! ```

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
};

use gangplank::{
    cloudinit,
    plan::{Cloud, Plan},
    provider::{aws::keys, azure},
    tags::Tags,
};

use super::{
    Database, Dns, Kind, Machine, Namespace,
    machine::{Seed, Site},
    turn::Turn,
};
use crate::{
    keys::metadata::Metadata,
    support::program::{Victim, run},
};

pub const VENDOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub const OPERATOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 4);
pub const BASTION: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 4);
pub const DATABASE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 5);
/// The database's name, as the machine's resolver knows it.
pub const DATABASE_NAME: &str = "warehouse.internal";
/// No mirror is reached from here: an image whose updates are all in it.
const UP_TO_DATE: &str = "rm -rf etc/apt/sources.list etc/apt/sources.list.d
    printf '#!/bin/sh\\n' >usr/bin/unattended-upgrade; chmod +x usr/bin/unattended-upgrade";
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What stands between the internet and the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The public address stands for the machine's own and every client keeps its address: an Elastic IP and a security group.
    Aws,
    /// The firewall hides clients behind its own address (DNAT and SNAT).
    Azure,
}

/// What a lab is made of; the rest follows from the plan.
pub struct Blueprint<'a> {
    pub kind: Kind,
    pub form: Form,
    /// Where the vendor connects to.
    pub public: Ipv4Addr,
    /// The instance's id, where a cloud has given one.
    pub instance: Option<&'a str>,
    /// A shell script that changes the image before its first boot, at the root's top.
    pub image: &'a str,
}

impl Default for Blueprint<'_> {
    fn default() -> Self {
        Self { kind: Kind::Debian13, form: Form::Aws, public: PUBLIC, instance: None, image: "" }
    }
}

pub struct Lab {
    // In this order they go: what stands in a namespace before the namespace.
    pub database: Database,
    pub machine: Machine,
    pub metadata: Metadata,
    pub dns: Dns,
    pub edge: Edge,
    pub internet: Namespace,
    pub router: Router,
    /// The machine's network.
    pub bastion: Namespace,
    known_hosts: OnceLock<PathBuf>,
    pub kind: Kind,
    pub port: u16,
    tags: Tags,
    _turn: Turn,
}

impl Lab {
    /// A plan's machine in its surroundings, booted until cloud-init has ended; `None`, said aloud, where that cannot be.
    ///
    /// Every source that the plan allows may come in, and the machine has the plan's tags. It all ends with the calling
    /// thread.
    pub fn up(plan: &Plan, blueprint: &Blueprint<'_>) -> Option<Self> {
        let roots = super::roots()?;
        let turn = Turn::wait();
        let Blueprint { kind, form, public, instance, image } = *blueprint;
        let port = plan.ssh.port;
        let (internet, edge) = (Namespace::new(), Namespace::new());
        let (router, bastion, database) = (Namespace::new(), Namespace::new(), Namespace::new());

        internet.link(("isp", "192.0.2.1/24"), &edge, ("public", "192.0.2.254/24"));
        for source in [VENDOR, OPERATOR, STRANGER] {
            internet.ip(&format!("addr add {source}/32 dev lo"));
        }
        internet.ip(&format!("route add {public}/32 via 192.0.2.254"));
        // Somebody who knows the private range.
        internet.ip("route add 10.0.0.0/16 via 192.0.2.254");
        edge.ip("route add default via 192.0.2.1");
        edge.link(("private", "10.0.0.4/26"), &router, ("edge", "10.0.0.1/26"));
        edge.ip("route add 10.0.0.0/16 via 10.0.0.1");
        router.ip("route add default via 10.0.0.4");
        router.link(("bastion", "10.0.1.1/24"), &bastion, ("eth0", &format!("{BASTION}/24")));
        bastion.ip("route add default via 10.0.1.1");
        router.ip(&format!("addr add {METADATA}/32 dev lo"));
        router.link(("database", "10.0.2.1/24"), &database, ("eth0", &format!("{DATABASE}/24")));
        database.ip("route add default via 10.0.2.1");
        for network in [&edge, &router] {
            network.forward();
        }
        let edge = Edge::new(edge, form, public, port);
        for tunnel in &plan.tunnels {
            tunnel.sources().for_each(|(source, _)| edge.admit(source.addr()));
        }
        for operator in &plan.operators {
            operator.allow_from.iter().for_each(|source| edge.admit(source.addr()));
        }
        let router = Router::new(router, port);

        let dns = Dns::serve(router.namespace.listen_udp(RESOLVER, 53));
        dns.set(DATABASE_NAME, DATABASE);
        let near = Arc::clone(&router.namespace);
        let metadata = Metadata::serve(near.listen(METADATA, 80), move |address| {
            near.enter(|| drop(TcpStream::connect(address)));
        });
        let tags = keys::tags(plan);
        match &plan.cloud {
            Cloud::Aws(_) => metadata.show(&tags),
            Cloud::Azure(_) => metadata.show_user_data(&azure::keys::user_data(plan, None).expect("live keys")),
        }

        let user_data = cloudinit::compressed(&cloudinit::render(plan).expect("a plan that has a document").text);
        let image = format!("echo nameserver {RESOLVER} >etc/resolv.conf\n{UP_TO_DATE}\n{image}");
        let seed = Seed { user_data: &user_data, instance, image: &image };
        let site = Site::new();
        // The machine tells of it at the end of its boot.
        let database = Database::start(database, DATABASE, BASTION, &site.folder);
        let mut machine = Machine::boot(site, &roots, kind, &bastion, &seed);
        machine.wait();
        Some(Self {
            machine,
            metadata,
            database,
            dns,
            edge,
            internet,
            router,
            bastion,
            known_hosts: OnceLock::new(),
            kind,
            port,
            tags,
            _turn: turn,
        })
    }

    /// What the machine takes for its instance's tags from now on.
    pub fn tag(&self, tags: &Tags) {
        self.metadata.show(tags);
    }

    /// Shows the tags that the instance was made with.
    pub fn show_tags(&self) {
        self.tag(&self.tags);
    }

    /// The host keys that the console shows, as cloud-init prints them.
    pub fn host_keys(&self) -> Vec<String> {
        let console = self.machine.console().replace('\r', "");
        let lines = console.lines().skip_while(|line| !line.contains("-----BEGIN SSH HOST KEY KEYS-----")).skip(1);
        lines.take_while(|line| !line.contains("-----END")).map(str::to_owned).collect()
    }

    /// A file with the console's host keys, written once: a machine prints them when it is new.
    fn known_hosts(&self) -> &Path {
        self.known_hosts.get_or_init(|| {
            let pinned = self.machine.folder().join("known_hosts");
            let host = self.edge.public.to_string();
            let host = if self.port == 22 { host } else { format!("[{host}]:{}", self.port) };
            let lines: String = self.host_keys().iter().map(|key| format!("{host} {key}\n")).collect();
            fs::write(&pinned, lines).expect("a writable folder");
            pinned
        })
    }

    /// OpenSSH's client on the internet, at one of its addresses, with the console's host keys pinned.
    pub fn ssh(&self, from: Ipv4Addr, identity: &Identity, user: &str) -> Command {
        let pinned = self.known_hosts();
        let mut ssh = self.internet.command("timeout");
        ssh.args([
            "--kill-after=1",
            "15",
            "ssh",
            "-F",
            "none",
            "-b",
            &from.to_string(),
            "-p",
            &self.port.to_string(),
            "-l",
            user,
        ])
        .arg("-i");
        ssh.arg(&identity.private).arg("-o").arg(format!("UserKnownHostsFile={}", pinned.display()));
        for option in [
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=5",
            "LogLevel=INFO",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(self.edge.public.to_string());
        ssh
    }

    /// Whether sshd lets somebody in: those who are in have no shell, and so are told that their account is not available.
    pub fn admits(&self, from: Ipv4Addr, identity: &Identity, user: &str) -> bool {
        let ended = run(&mut self.ssh(from, identity, user), &Victim::default());
        ended.stdout.contains("This account is currently not available")
    }

    /// What a target answers to PostgreSQL's SSLRequest through the tunnel: one letter; or what the client says.
    pub fn ask_postgres(&self, from: Ipv4Addr, identity: &Identity, user: &str, target: &str) -> Result<char, String> {
        let mut ssh = self.ssh(from, identity, user);
        ssh.args(["-W", target]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ssh = ssh.spawn().expect("coreutils");
        // It stays open until the answer is there; the client ends by itself where there is none.
        let mut question = ssh.stdin.take().expect("piped");
        let asked = question.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]);
        let mut answer = [0];
        let answered = ssh.stdout.take().expect("piped").read_exact(&mut answer);
        drop(question);
        let ended = ssh.wait_with_output().expect("a child");
        match asked.and(answered) {
            Ok(()) => Ok(answer[0].into()),
            Err(error) => Err(format!("{error}; {}", String::from_utf8_lossy(&ended.stderr).trim())),
        }
    }
}

/// What the internet sees.
pub struct Edge {
    pub namespace: Namespace,
    form: Form,
    pub public: Ipv4Addr,
    port: u16,
}

impl Edge {
    fn new(namespace: Namespace, form: Form, public: Ipv4Addr, port: u16) -> Self {
        let edge = Self { namespace, form, public, port };
        edge.namespace.nft(&format!(
            "table ip edge {{
                 set allowed {{ type ipv4_addr; }}
                 chain translate {{ type nat hook prerouting priority dstnat; }}
                 chain hide {{ type nat hook postrouting priority srcnat; }}
                 chain pass {{ type filter hook forward priority filter; policy drop;
                     ct state established,related accept
                     iifname private accept
                     ip saddr @allowed ct status dnat tcp dport {port} accept
                 }}
                 chain own {{ type filter hook input priority filter; policy drop; }}
             }}"
        ));
        edge.lead_to(BASTION);
        edge
    }

    /// Translates the public address to this private one; to the bastion's, where all is well.
    pub fn lead_to(&self, machine: Ipv4Addr) {
        let Self { form, public, port, .. } = self;
        self.namespace.nft("flush chain ip edge translate; flush chain ip edge hide");
        self.namespace.nft(&match form {
            Form::Aws => format!(
                "add rule ip edge translate ip daddr {public} dnat to {machine};
                 add rule ip edge hide ip saddr {machine} oifname public snat to {public}"
            ),
            Form::Azure => format!(
                "add rule ip edge translate ip saddr @allowed ip daddr {public} tcp dport {port} dnat to {machine};
                 add rule ip edge hide oifname private snat to 10.0.0.4"
            ),
        });
    }

    pub fn admit(&self, source: IpAddr) {
        self.namespace.nft(&format!("add element ip edge allowed {{ {source} }}"));
    }

    pub fn refuse(&self, source: IpAddr) {
        self.namespace.nft(&format!("delete element ip edge allowed {{ {source} }}"));
    }
}

/// The private network's rules: the database's security group, as one.
pub struct Router {
    pub namespace: Arc<Namespace>,
}

impl Router {
    fn new(namespace: Namespace, port: u16) -> Self {
        namespace.nft(&format!(
            "table ip subnets {{
                 set database {{ type ipv4_addr; elements = {{ {BASTION} }} }}
                 chain pass {{ type filter hook forward priority filter; policy drop;
                     ct state established,related accept
                     ip daddr {BASTION} tcp dport {port} accept
                     ip saddr @database ip daddr {DATABASE} tcp dport 5432 accept
                 }}
             }}"
        ));
        Self { namespace: Arc::new(namespace) }
    }

    /// As without the rule for the bastion in the database's group.
    pub fn close_database(&self) {
        self.namespace.nft(&format!("delete element ip subnets database {{ {BASTION} }}"));
    }

    pub fn open_database(&self) {
        self.namespace.nft(&format!("add element ip subnets database {{ {BASTION} }}"));
    }
}

/// A key pair of the tests' own.
pub struct Identity {
    /// The file of the private half.
    pub private: PathBuf,
    /// The public half as plans have it, with a comment.
    pub public: String,
}

impl Identity {
    pub fn new(folder: &Path, name: &str, kind: &str) -> Self {
        let private = folder.join(name);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-N", "", "-C", name, "-t", kind, "-f"]).arg(&private);
        run(&mut keygen, &Victim::default()).expect(0);
        let public = fs::read_to_string(private.with_extension("pub")).expect("made by ssh-keygen").trim().to_owned();
        Self { private, public }
    }
}
