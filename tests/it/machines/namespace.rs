//! Network namespaces without a name: the kernel takes them away with the last process and descriptor that holds them, so
//! nothing stays behind however a test ends.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
    thread,
};

use crate::support::program::{Victim, run};

pub struct Namespace(File);

impl Namespace {
    /// A network of its own, with nothing but a loopback interface.
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            // SAFETY: this thread only; it ends right after.
            checked(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            File::open("/proc/thread-self/ns/net")
        });
        let namespace = Self(made.join().expect("no panic").expect("root may make network namespaces"));
        namespace.ip("link set lo up");
        namespace
    }

    /// Where other programs find it while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Works inside: what is opened there stays there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let fd = self.0.as_raw_fd();
        let inside = || {
            // SAFETY: this thread only, and the descriptor is open.
            checked(unsafe { libc::setns(fd, libc::CLONE_NEWNET) }).expect("root may enter a network namespace");
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.put(&mut command);
        command
    }

    /// Has a command run inside.
    pub fn put<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let fd = self.0.as_raw_fd();
        // SAFETY: between fork and exec there is one system call, on an open descriptor.
        unsafe { command.pre_exec(move || checked(libc::setns(fd, libc::CLONE_NEWNET))) }
    }

    /// `ip` with these arguments.
    #[track_caller]
    pub fn ip(&self, arguments: &str) {
        run(self.command("ip").args(arguments.split_whitespace()), &Victim::default()).expect(0);
    }

    #[track_caller]
    pub fn nft(&self, rules: &str) {
        run(self.command("nft").arg(rules), &Victim::default()).expect(0);
    }

    /// Routes between its interfaces, as a router does.
    pub fn forward(&self) {
        // The file is about whoever opens it.
        let path = "/proc/sys/net/ipv4/ip_forward";
        self.enter(|| std::fs::write(path, "1")).expect("root may route");
    }

    /// A cable to another namespace; each end has its name and, with its prefix length, its address.
    pub fn link(&self, end: (&str, &str), other: &Namespace, far: (&str, &str)) {
        self.ip(&format!("link add {} type veth peer name {} netns {}", end.0, far.0, other.path()));
        for (namespace, (name, address)) in [(self, end), (other, far)] {
            namespace.ip(&format!("addr add {address} dev {name}"));
            namespace.ip(&format!("link set {name} up"));
        }
    }

    pub fn listen(&self, address: Ipv4Addr, port: u16) -> TcpListener {
        self.enter(|| TcpListener::bind((address, port))).expect("nobody else listens here")
    }

    pub fn listen_udp(&self, address: Ipv4Addr, port: u16) -> UdpSocket {
        self.enter(|| UdpSocket::bind((address, port))).expect("nobody else listens here")
    }
}

fn checked(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
