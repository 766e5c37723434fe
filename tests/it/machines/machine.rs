//! A machine: one of the root filesystems of `tests/tools/machines.sh` as it boots for the first time, in systemd-nspawn.
//!
//! Its disk is an overlay on a tmpfs in a mount namespace of its own, its network has no name, and it is killed with the
//! thread that booted it: all of it is gone when the test is, however that ends. Only its folder and its control group can
//! stay behind a killed test; the next one takes them away.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::Namespace;
use crate::support::program::{Run, Victim, run};

/// Far more than a boot takes on a busy machine (5 to 30 s).
const PATIENCE: Duration = Duration::from_secs(150);

const INITS: [&str; 2] = ["systemd", "init"];

/// What an init, a name of sshd's unit, and a release make different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Debian13,
    /// systemd starts sshd when somebody connects, as on Ubuntu.
    Debian13Socket,
    Debian12,
    /// sshd's unit is called `sshd`, as on Amazon Linux.
    Sshd,
    /// init is SysV's.
    Sysv,
}

impl Kind {
    fn root(self) -> &'static str {
        match self {
            Kind::Debian13 | Kind::Debian13Socket => "debian-13",
            Kind::Debian12 | Kind::Sshd => "debian-12",
            Kind::Sysv => "debian-12-sysv",
        }
    }

    pub fn has_systemd(self) -> bool {
        self != Kind::Sysv
    }

    pub fn service(self) -> &'static str {
        if self == Kind::Sshd { "sshd" } else { "ssh" }
    }

    /// What makes it of its root, as a script at the root's top.
    fn script(self) -> &'static str {
        match self {
            Kind::Debian13Socket => {
                "systemctl --quiet --root=. disable ssh.service
                 systemctl --quiet --root=. enable ssh.socket"
            }
            Kind::Sshd => {
                "systemctl --quiet --root=. disable ssh.service
                 sed '/^Alias=/d' usr/lib/systemd/system/ssh.service >usr/lib/systemd/system/sshd.service
                 rm usr/lib/systemd/system/ssh.service usr/lib/systemd/system/ssh.socket etc/init.d/ssh etc/rc?.d/*ssh
                 sed -i 's/ssh_svcname: ssh$/ssh_svcname: sshd/' etc/cloud/cloud.cfg
                 systemctl --quiet --root=. enable sshd.service"
            }
            Kind::Debian13 | Kind::Debian12 | Kind::Sysv => "",
        }
    }
}

/// What a cloud gives to a machine at its creation.
pub struct Seed<'a> {
    pub user_data: &'a [u8],
    pub instance: Option<&'a str>,
    /// A shell script that changes the image, at the root's top.
    pub image: &'a str,
}

pub struct Machine {
    nspawn: Child,
    born: Instant,
    instance: String,
    // Goes after the machine.
    site: Site,
}

impl Machine {
    /// Starts a machine and returns at once.
    ///
    /// It ends with the calling thread.
    pub fn boot(site: Site, roots: &Path, kind: Kind, network: &Namespace, seed: &Seed<'_>) -> Self {
        let Site { name, folder } = &site;
        let write = |name: &str, content: &[u8]| fs::write(folder.join(name), content).expect("a writable folder");
        write("user-data", seed.user_data);
        let instance = seed.instance.map_or_else(|| format!("i-{name}"), str::to_owned);
        write("meta-data", format!("instance-id: {instance}\nlocal-hostname: bastion\n").as_bytes());
        write("image", format!("{}\n{}\n", kind.script(), seed.image).as_bytes());
        let console = fs::File::create(folder.join("console")).expect("a writable folder");
        let nspawn = Command::new("setpriv")
            .args(["--pdeathsig=KILL", "unshare", "--mount", "sh", "-euc", LAUNCH, name])
            .args([folder.as_path(), &roots.join(kind.root())])
            .arg(network.path())
            .stdin(Stdio::null())
            .stderr(console.try_clone().expect("an open file"))
            .stdout(console)
            .spawn()
            .expect("util-linux");
        Self { nspawn, born: Instant::now(), instance, site }
    }

    /// The instance's id.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    pub fn folder(&self) -> &Path {
        &self.site.folder
    }

    /// Since the power was switched on.
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// What it has written on its serial console, as it is.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder().join("console")).expect("made at the start")).into_owned()
    }

    /// Waits until cloud-init has ended, well or not.
    #[track_caller]
    pub fn wait(&mut self) {
        // It writes this file last.
        self.until("cloud-init ends", |machine| machine.read("/run/cloud-init/result.json").map(drop));
    }

    /// Whether its power is off.
    pub fn has_ended(&mut self) -> bool {
        self.nspawn.try_wait().expect("a child").is_some()
    }

    /// Looks until there is something to see.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.nspawn.try_wait().expect("a child");
            assert!(ended.is_none(), "the machine went down ({ended:?}) before {what}:\n{}", self.console());
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", self.console());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// A file of the machine; `None` where there is none (yet).
    pub fn read(&self, path: &str) -> Option<String> {
        let leader = self.leader()?;
        // Links of the machine lead within the machine only for those who are inside.
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &leader, "--mount", "--root", "cat", "--", path]);
        let output = inside.output().expect("util-linux");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a shell script inside, as root.
    #[track_caller]
    pub fn run(&self, script: &str) -> Run {
        let leader = self.leader().unwrap_or_else(|| panic!("the machine does not run:\n{}", self.console()));
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"])
            .args(["sh", "-c", script])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8");
        run(&mut command, &Victim::default())
    }

    /// What the script prints; it must succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.run(script).expect(0).stdout
    }

    /// The machine's first process, as this machine numbers it: nspawn's child, which is the child of `unshare`.
    fn leader(&self) -> Option<String> {
        let child = |pid: &str| {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            children.split_whitespace().next().map(str::to_owned)
        };
        let leader = child(&child(&self.nspawn.id().to_string())?)?;
        // Before that the child is the shell's, or nspawn's own, and sees this machine's files.
        let booted = fs::read_to_string(format!("/proc/{leader}/comm")).is_ok_and(|comm| INITS.contains(&comm.trim()));
        booted.then_some(leader)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // nspawn dies with it, all processes of the machine with nspawn, and the mounts with them.
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

/// Everything of one machine, in a mount namespace of its own. nspawn is the first process of a process namespace: with it
/// the kernel ends all others. Without a control group of its own a machine's init would see another's processes.
const LAUNCH: &str = r#"
name=$0 folder=$1 root=$2 network=$3
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e $tree/cgroup.procs ]; then mkdir -p $tree/$name && echo $$ >$tree/$name/cgroup.procs; fi
done
mkdir "$folder/disk"
mount -t tmpfs -o size=512m,mode=755 "$name" "$folder/disk"
mkdir "$folder/disk/upper" "$folder/disk/work" "$folder/disk/root"
mount -t overlay "$name" -o "lowerdir=$root,upperdir=$folder/disk/upper,workdir=$folder/disk/work" "$folder/disk/root"
cd "$folder/disk/root"
mkdir -p var/lib/cloud/seed/nocloud
cp "$folder/user-data" "$folder/meta-data" var/lib/cloud/seed/nocloud
sh -eu "$folder/image"
cd /
# Under another name: process namespaces have a /proc of their own.
: >"$folder/disk/network"
mount --bind "$network" "$folder/disk/network"
exec unshare --pid --fork --kill-child --mount-proc systemd-nspawn --quiet --directory="$folder/disk/root" --boot --register=no --keep-unit --machine="$name" \
    --network-namespace-path="$folder/disk/network" --resolv-conf=off --timezone=off --link-journal=no --console=read-only
"#;

/// A name and a folder that say which process they belong to. What belongs to none any more is taken away first.
pub struct Site {
    name: String,
    pub folder: PathBuf,
}

impl Site {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Before the first of this process, and while no other is made.
        static CLEARED: Once = Once::new();
        let own = std::process::id();
        CLEARED.call_once(|| {
            for entry in fs::read_dir(std::env::temp_dir()).expect("a temporary folder").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let owner =
                    name.strip_prefix("gangplank-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
                if owner.is_some_and(|pid| pid == own || !Path::new(&format!("/proc/{pid}")).exists()) {
                    clear(&name, &entry.path());
                }
            }
        });
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gangplank-{own}-{number}");
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).expect("a writable temporary folder");
        Self { name, folder }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        clear(&self.name, &self.folder);
    }
}

/// Takes away what the kernel does not.
fn clear(name: &str, folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    for tree in ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"] {
        let group = Path::new(tree).join(name);
        // Its last processes may still be on their way out.
        for _ in 0..50 {
            let mut groups = Command::new("find");
            let _ = groups.arg(&group).args(["-depth", "-type", "d", "-delete"]).stderr(Stdio::null()).status();
            if !group.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
