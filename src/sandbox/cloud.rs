//! One sandbox: its worlds, its machines and its clock behind one lock, and what lies between them and whoever calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::future::{BoxFuture, FutureExt, pending, ready};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    arm,
    call::{Call, Cloud, Fate, Fates, Moment},
    clock::{Clock, Kept},
    ec2,
    http::{Ask, Reply, Serve, Served},
    machine::{Answer, Around, Daemon, Hosts, Machine, around::NO_ANSWER, ssh::Visit},
    store::{Folder, Trouble},
    vm::{Vm, Way},
};
use crate::{
    location::SandboxName,
    verify::network::{
        dial::{Dialed, Dialer, NoConnection},
        packets::Packets,
    },
};

/// Where this machine stands in a sandbox's internet: the operator's address in the example plans.
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20));

/// What kept states look like; another one is another version's.
const FORMAT: u32 = 2;
/// From a launch until sshd listens.
const BOOT: SignedDuration = SignedDuration::from_secs(30);

/// Everything that is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: Format,
    clock: Option<Kept>,
    pub ec2: ec2::World,
    pub arm: arm::World,
    /// What machines find beside them, in both clouds: what stands in a network of Azure's is for Azure's machines only, and they find
    /// nothing else under a name that both have.
    pub hosts: Hosts,
    machines: BTreeMap<String, Machine>,
}

/// The version of what is kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Format;

impl TryFrom<u32> for Format {
    type Error = String;

    fn try_from(format: u32) -> Result<Self, String> {
        if format == FORMAT {
            Ok(Self)
        } else {
            Err(format!("its format is {format}, and this gangplank's is {FORMAT}"))
        }
    }
}

impl From<Format> for u32 {
    fn from(_: Format) -> Self {
        FORMAT
    }
}

impl State {
    pub fn new(ec2: ec2::World, arm: arm::World, hosts: Hosts) -> Self {
        Self { format: Format, clock: None, ec2, arm, hosts, machines: BTreeMap::new() }
    }
}

/// A sandbox in use. Clones are the same one.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    name: SandboxName,
    inner: Mutex<Inner>,
    /// Of the machines that are up, by their ids.
    daemons: Mutex<BTreeMap<String, Arc<Daemon>>>,
}

struct Inner {
    state: State,
    clock: Clock,
    folder: Option<Folder>,
    fates: Option<Box<dyn Fates>>,
    /// Whether machines boot. Without them the worlds are all that there is.
    machines: bool,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sandbox")
    }
}

impl Sandbox {
    /// Kept in a folder, which is locked meanwhile. A new one begins as `first` says.
    ///
    /// # Errors
    /// A folder that cannot be used, or that holds something else.
    pub fn open(path: &Path, first: impl FnOnce() -> State) -> Result<Self, Trouble> {
        let (folder, kept) = Folder::open::<State>(path)?;
        let state = kept.unwrap_or_else(first);
        let clock = Clock::resumed(state.clock, Timestamp::now());
        let name = SandboxName { folder: Some(path.display().to_string()) };
        let sandbox = Self::new(name, Inner { state, clock, folder: Some(folder), fates: None, machines: true });
        sandbox.lock().save().map_err(|error| {
            Trouble::new(
                format!("the sandbox in {} cannot be written: {error}", path.display()),
                "make room there, or use another folder: --sandbox=FOLDER",
            )
        })?;
        Ok(sandbox)
    }

    /// In memory, from a moment on.
    pub fn in_memory(state: State, from: Timestamp) -> Self {
        let inner = Inner { state, clock: Clock::starting(from), folder: None, fates: None, machines: true };
        Self::new(SandboxName { folder: None }, inner)
    }

    /// In memory and without machines, every call at the mercy of `fates`.
    pub fn at_the_mercy_of(fates: Box<dyn Fates>, state: State, from: Timestamp) -> Self {
        let inner = Inner { state, clock: Clock::starting(from), folder: None, fates: Some(fates), machines: false };
        Self::new(SandboxName { folder: None }, inner)
    }

    fn new(name: SandboxName, inner: Inner) -> Self {
        Self(Arc::new(Shared { name, inner: Mutex::new(inner), daemons: Mutex::default() }))
    }

    /// What people call it.
    pub fn name(&self) -> SandboxName {
        self.0.name.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        self.lock().clock.now()
    }

    /// Lets time pass, and what happens meanwhile happen.
    ///
    /// # Errors
    /// What has happened cannot be kept.
    pub fn advance(&self, by: SignedDuration) -> std::io::Result<()> {
        let mut inner = self.lock();
        inner.clock = inner.clock.ahead(by);
        self.cut(&inner.live());
        inner.save()
    }

    /// Ends the connections of machines that are not up any more. One that a rule has let in stays when the rule goes: security
    /// groups of both clouds let tracked connections be ("Amazon EC2 security group connection tracking", "Network security
    /// groups" in Azure's documentation).
    fn cut(&self, up: &BTreeSet<String>) {
        let mut daemons = self.0.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        daemons.retain(|id, daemon| {
            let stays = up.contains(id);
            if !stays {
                daemon.end();
            }
            stays
        });
    }

    /// Does something to the worlds that is nobody's call, as their owners can.
    pub fn change<T>(&self, act: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let mut inner = self.lock();
        let now = inner.clock.now();
        act(&mut inner.state, now)
    }

    /// Keeps what there is, where there is a folder.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn keep(&self) -> std::io::Result<()> {
        let mut inner = self.lock();
        self.cut(&inner.live());
        inner.save()
    }

    /// Whoever answers the calls to one of the clouds.
    pub fn door(&self, cloud: Cloud) -> Arc<dyn Serve> {
        Arc::new(Door { sandbox: self.clone(), cloud })
    }

    /// The machines that answer SSH now: what their cloud calls them, and the public address and port that lead to each.
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        let mut inner = self.lock();
        let up = inner.live();
        self.cut(&up);
        let now = inner.clock.now();
        let state = &inner.state;
        let mut found = Vec::new();
        for address in state.ec2.public_addresses().into_iter().chain(state.arm.public_addresses()) {
            let ports: BTreeSet<u16> = state.machines.values().flat_map(Machine::ports).collect();
            for to in ports.into_iter().map(|port| SocketAddr::new(address, port)) {
                let way = state.way(now, HERE, to);
                found.extend(way.filter(|(vm, _, _)| up.contains(vm)).map(|(vm, _, _)| (vm, to)));
            }
        }
        found
    }

    fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> Result<Option<Dialed>, NoConnection> {
        let from = from.unwrap_or(HERE);
        let mut inner = self.lock();
        let up = inner.live();
        self.cut(&up);
        let now = inner.clock.now();
        let Some((vm, port, source)) = inner.state.way(now, from, to) else { return Ok(None) };
        let machine = inner.state.machines.get(&vm).filter(|machine| up.contains(&vm) && machine.listens(port));
        let Some(machine) = machine else { return Err(NoConnection::Refused) };
        let machine = Arc::new(machine.clone());
        drop(inner);
        let mut daemons = self.0.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        let daemon = Arc::clone(daemons.entry(vm.clone()).or_default());
        drop(daemons);
        let around = Arc::new(FromInside { sandbox: self.clone(), vm });
        let stream = Box::new(daemon.open(Visit { machine, around, source, now }));
        Ok(Some(Dialed { stream, source: Some(from) }))
    }
}

impl Dialer for Sandbox {
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> BoxFuture<'_, Result<Dialed, NoConnection>> {
        match self.connect(to, from) {
            Ok(Some(dialed)) => ready(Ok(dialed)).boxed(),
            // Dropped packets: whoever dials gives up some time.
            Ok(None) => pending().boxed(),
            Err(none) => ready(Err(none)).boxed(),
        }
    }

    fn source(&self, _: SocketAddr) -> BoxFuture<'_, Option<IpAddr>> {
        ready(Some(HERE)).boxed()
    }

    /// There is no way on which one could be lost.
    fn packets(&self, _: SocketAddr) -> Option<Packets> {
        Some(Packets::default())
    }
}

#[derive(Debug)]
struct Door {
    sandbox: Sandbox,
    cloud: Cloud,
}

impl Serve for Door {
    fn serve(&self, ask: Ask) -> Served {
        let mut inner = self.sandbox.lock();
        let served = inner.serve(self.cloud, &ask);
        // What a call has ended is not up any more.
        if inner.machines {
            self.sandbox.cut(&inner.live());
        }
        served
    }
}

impl Inner {
    fn serve(&mut self, cloud: Cloud, ask: &Ask) -> Served {
        let now = self.clock.now();
        let mut call = Call::of(cloud, ask, now);
        let fate = match &mut self.fates {
            Some(fates) => fates.of(&call, &mut self.state),
            None => Fate::Answered,
        };
        let served = match fate {
            Fate::Answered => Served::Reply(self.answer(&mut call, ask, now)),
            Fate::Refused(reply) => {
                call.status = Some(reply.status);
                Served::Reply(reply)
            }
            Fate::Lost(moment) | Fate::Dead(moment) => {
                if moment == Moment::After {
                    self.answer(&mut call, ask, now);
                }
                if matches!(fate, Fate::Lost(_)) { Served::Lost } else { Served::Never }
            }
        };
        if let Some(folder) = &mut self.folder {
            folder.log(&call);
        }
        if let Some(fates) = &mut self.fates {
            fates.after(&call, &self.state);
        }
        served
    }

    /// What the world answers. What it did is kept before the answer is given, or was not done.
    fn answer(&mut self, call: &mut Call, ask: &Ask, now: Timestamp) -> Reply {
        self.live();
        let before = (call.write && self.folder.is_some()).then(|| self.state.clone());
        let mut reply = match call.cloud {
            Cloud::Aws => self.state.ec2.answer(now, ask),
            Cloud::Azure => self.state.arm.answer(now, ask),
        };
        if let Some(before) = before
            && let Err(error) = self.save()
        {
            self.state = before;
            let why = format!("The sandbox could not keep what this call does, so it was not done: {error}");
            reply = match call.cloud {
                Cloud::Aws => ec2::refuse("SandboxNotWritable", &why),
                Cloud::Azure => arm::refuse(400, "SandboxNotWritable", &why),
            };
        }
        call.status = Some(reply.status);
        reply
    }

    /// Lets every machine live until now: boot, take keys, report, end. Those that are up now.
    fn live(&mut self) -> BTreeSet<String> {
        let mut up = BTreeSet::new();
        if !self.machines {
            return up;
        }
        let now = self.clock.now();
        let vms: Vec<Vm> = self.state.ec2.machines(now).into_iter().chain(self.state.arm.machines(now)).collect();
        self.state.machines.retain(|id, _| vms.iter().any(|vm| vm.id == *id));
        for vm in vms.iter().filter(|vm| vm.running && now.duration_since(vm.launched) >= BOOT) {
            let booted = vm.launched.saturating_add(BOOT).unwrap_or(now);
            let taken = self.state.machines.remove(&vm.id);
            let mut machine = taken.unwrap_or_else(|| Machine::boot(vm, 0, booted));
            let printed = machine.tick(vm, &Inside { state: &self.state, vm: &vm.id }, now);
            let over = machine.time_is_up(now);
            self.state.machines.insert(vm.id.clone(), machine);
            for line in printed {
                self.state.print(&vm.id, &format!("{line}\r\n"), now);
            }
            if over {
                self.state.shut_down(&vm.id, now);
            } else {
                up.insert(vm.id.clone());
            }
        }
        up
    }

    fn save(&mut self) -> std::io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        self.state.clock = Some(self.clock.keep(Timestamp::now()));
        folder.save(&self.state)
    }
}

impl State {
    /// Where a connection from the internet ends: at a port of a machine that sees it come from an address.
    fn way(&self, now: Timestamp, from: IpAddr, to: SocketAddr) -> Option<(String, u16, IpAddr)> {
        [self.ec2.way(now, from, to), self.arm.way(now, from, to)].into_iter().find_map(|way| match way {
            Way::Machine { vm, port, source } => Some((vm, port, source)),
            Way::Silent => None,
        })
    }

    fn reaches(&self, vm: &str, to: SocketAddr) -> bool {
        if is_ec2(vm) { self.ec2.reaches(vm, to.ip(), to.port()) } else { self.arm.reaches(vm, to.ip(), to.port()) }
    }

    fn print(&mut self, vm: &str, text: &str, now: Timestamp) {
        if is_ec2(vm) { self.ec2.print(vm, text, now) } else { self.arm.print(vm, text, now) }
    }

    fn shut_down(&mut self, vm: &str, now: Timestamp) {
        if is_ec2(vm) { self.ec2.shut_down(vm, now) } else { self.arm.shut_down(vm, now) }
    }

    fn resolve(&self, vm: &str, name: &str) -> Result<Vec<IpAddr>, String> {
        if is_ec2(vm) && !self.ec2.answers_names(vm) {
            return Err(NO_ANSWER.to_owned());
        }
        let mut found = self.hosts.resolve(name)?;
        let own = |address: &IpAddr| self.arm.has_address(*address) != is_ec2(vm);
        if found.iter().any(own) {
            found.retain(own);
        }
        Ok(found)
    }

    fn answer_at(&self, vm: &str, to: SocketAddr) -> Answer {
        if self.reaches(vm, to) { self.hosts.connect(to) } else { Answer::Silent }
    }
}

fn is_ec2(vm: &str) -> bool {
    vm.starts_with("i-")
}

/// What a machine finds around it, while the worlds are held.
struct Inside<'a> {
    state: &'a State,
    vm: &'a str,
}

impl Around for Inside<'_> {
    fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        self.state.resolve(self.vm, name)
    }

    fn connect(&self, to: SocketAddr) -> Answer {
        self.state.answer_at(self.vm, to)
    }
}

/// The same during a connection.
struct FromInside {
    sandbox: Sandbox,
    vm: String,
}

impl Around for FromInside {
    fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        self.sandbox.lock().state.resolve(&self.vm, name)
    }

    fn connect(&self, to: SocketAddr) -> Answer {
        self.sandbox.lock().state.answer_at(&self.vm, to)
    }
}
