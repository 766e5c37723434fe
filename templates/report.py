#!/usr/bin/python3 -IS
"""The machine's report about itself: one line of JSON on the serial console, sealed with a digest of its own cloud-init
document. Without an argument after the boot, and later for the hour; `keys` after a change; `--print` on standard output."""
# Python, since every image with cloud-init has it: 3.9 or later. Whatever a probe fails with is an answer too.
import base64, fcntl, glob, grp, gzip, hashlib, http.client, ipaddress, json, os, pwd, re, shlex, shutil  # noqa: E401
import socket, stat, struct, subprocess, sys, threading, time  # noqa: E401
from concurrent.futures import ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime

LONGEST = 24 * 1024  # of the 64 KiB of console that a cloud keeps
# Where tests put a machine of their own.
ROOT = os.environ.get("GANGPLANK_ROOT", "")
HOMES = os.environ.get("GANGPLANK_HOMES")
RUN = os.environ.get("GANGPLANK_RUN", "/run/gangplank")
METADATA = os.environ.get("GANGPLANK_METADATA", "http://169.254.169.254")
CONSOLE = os.environ.get("GANGPLANK_CONSOLE")
SSHD_PID = os.environ.get("GANGPLANK_SSHD_PID")
# The second file that sshd reads a user's keys from: the self test's, for seconds.
TEST = "gangplank_test"
PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
SETTINGS = """addressfamily allowagentforwarding allowgroups allowstreamlocalforwarding allowtcpforwarding allowusers
authenticationmethods authorizedkeyscommand authorizedkeysfile authorizedprincipalscommand authorizedprincipalsfile
chrootdirectory clientalivecountmax clientaliveinterval denygroups denyusers disableforwarding forcecommand gatewayports
gssapiauthentication hostbasedauthentication kbdinteractiveauthentication kerberosauthentication logingracetime maxauthtries
maxsessions maxstartups passwordauthentication permitemptypasswords permitlisten permitrootlogin permittty permittunnel
permituserenvironment permituserrc channeltimeout persourcemaxstartups persourcepenalties port pubkeyacceptedalgorithms
pubkeyauthentication refuseconnection requiredrsasize strictmodes trustedusercakeys unusedconnectiontimeout
usepam x11forwarding""".split()


def read(path, most=1 << 20):
    with open(path, "rb") as file:
        return file.read(most).decode("utf-8", "replace")


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, env=PLAIN)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace").strip()


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def at_once(function, items, seconds):
    """An answer for each, in their order; an error where it fails or has none in time. Its thread is then left behind."""
    pool = ThreadPoolExecutor(max_workers=min(len(items), 200) or 1)
    jobs = [pool.submit(attempt, function, item) for item in items]
    wait(jobs, timeout=seconds)
    return [job.result() if job.done() else {"error": f"no answer within {seconds} s"} for job in jobs]


def document():
    """The digest that gangplank knows the machine's document by."""
    with open(ROOT + "/var/lib/cloud/instance/user-data.txt", "rb") as file:
        text = file.read(1 << 20)
    return hashlib.sha256(gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text).hexdigest()[:12]


def users():
    line = next(line for line in read(ROOT + "/etc/gangplank/settings").splitlines() if line.startswith("users="))
    return shlex.split(line[6:])[0].split()


def targets_of():
    """What each account may open, as the document says it."""
    found, user = {}, None
    for words in map(str.split, read(ROOT + "/etc/gangplank/sshd.conf").splitlines()):
        if words[:1] == ["Match"]:
            user = words[2] if words[1] == "User" else None
        elif user and words[:1] == ["PermitOpen"]:
            found[user] = words[1:]
    return found


def finished():
    return os.path.exists(ROOT + "/run/cloud-init/result.json")


def cloud_init():
    status = json.loads(read(ROOT + "/run/cloud-init/status.json"))["v1"]
    said = {"status": "running", "errors": [], "warnings": []}
    for stage in status.values():
        if isinstance(stage, dict):
            said["errors"] += stage.get("errors") or []
            for level in (stage.get("recoverable_errors") or {}).values():
                said["warnings"] += level
    if finished():
        said["errors"] = json.loads(read(ROOT + "/run/cloud-init/result.json"))["v1"]["errors"]
        said["status"] = "error" if said["errors"] else "done"
    for kind in ("errors", "warnings"):
        said[kind] = [str(text)[:200] for text in said[kind][:5]]
    log = attempt(read, ROOT + "/var/log/cloud-init.log", 65536)
    version = re.search(r"Cloud-init v\. (\S+)", log) if isinstance(log, str) else None
    return {**said, "version": version and version[1]}


def skew():
    """Seconds that this clock is ahead of the metadata service's, which says its time whatever else it refuses."""
    connection = http.client.HTTPConnection(METADATA.split("//")[1], timeout=2)  # asks no proxy
    connection.request("GET", "/")
    return time.time() - parsedate_to_datetime(connection.getresponse().headers["Date"]).timestamp()


def clock():
    synchronised = None
    if shutil.which("timedatectl"):
        said = run("timedatectl", "show", "-p", "NTPSynchronized", "--value")[1].strip()
        synchronised = {"yes": True, "no": False}.get(said)
    if synchronised is None and shutil.which("chronyc"):
        synchronised = "Leap status     : Normal" in run("chronyc", "-n", "tracking")[1]
    return {"skew": attempt(skew), "synchronised": synchronised}


def key_channel():
    if not os.path.exists(ROOT + "/usr/local/sbin/gangplank-keys"):
        return None
    state = RUN + "/keys"
    with open(state) as file:
        return {"age": round(time.time() - os.stat(state).st_mtime), "problem": file.read(500).strip() or None}


def deadline():
    """What the machine knows of it: `closed` where it lets nobody in because of it."""
    if not os.path.exists(ROOT + "/usr/local/sbin/gangplank-keys"):
        return None
    known = json.loads(read(ROOT + "/var/lib/gangplank/deadline"))
    return {name: known[name] for name in ("expires", "closed")}


def entry(path):
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return "none"
    kinds = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    return f"{kinds.get(stat.S_IFMT(found.st_mode), 'other')} {stat.S_IMODE(found.st_mode):04o} {owner}"


def key_lines(path):
    try:
        # Neither a pipe nor a link holds this up.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except FileNotFoundError:
        lines = []
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def keys(*paths):
    accepted, options, other = [], set(), 0
    for line in [line for path in paths for line in key_lines(path)]:
        # Options end at the first blank outside of quotes.
        found = re.match(r'(?:((?:[^\s"]|"(?:\\"|[^"])*")+)\s+)?((?:ssh-|ecdsa-|sk-)\S+)\s+([A-Za-z0-9+/]+=*)(\s|$)', line)
        try:
            blob = base64.b64decode(found[3], validate=True)
            size = struct.unpack(">I", blob[:4])[0]
            if blob[4 : 4 + size].decode() != found[2] or len(accepted) == 40:
                raise ValueError
        except (TypeError, ValueError, struct.error):
            other += 1
            continue
        accepted.append("SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("="))
        options.add(hashlib.sha256((found[1] or "").encode()).hexdigest()[:12])
    return {"accepted": accepted, "other_lines": other, "options": sorted(options)[:5]}


def passwords():
    """Whether each account's password is locked; never the password's hash itself."""
    lines = [line.split(":") for line in read(ROOT + "/etc/shadow").splitlines()]
    return {fields[0]: fields[1][:1] in ("!", "*") for fields in lines if len(fields) > 1}


def closed(path):
    """The first folder above that others may not enter, as its owner's user has to."""
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return f"{path} {entry(path)}"
    return None


def sudo(name):
    if not shutil.which("sudo"):
        return False
    _, said, problem = run("sudo", "-n", "-l", "-U", name)
    if "is not allowed to run sudo" in said:
        return False
    if "may run the following" in said:
        return True
    raise ValueError(problem or said)


def account(name):
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        return {"exists": False}
    groups = [user.pw_gid] + [group for group in os.getgrouplist(name, user.pw_gid) if group != user.pw_gid]
    home = f"{HOMES}/{name}" if HOMES else user.pw_dir
    return {
        "exists": True,
        "uid": user.pw_uid,
        "groups": [getattr(attempt(grp.getgrgid, group), "gr_name", str(group)) for group in groups[:20]],
        "shell": user.pw_shell,
        "locked": attempt(lambda: passwords()[name]),
        "closed": attempt(closed, home),
        "sudo": attempt(sudo, name),
        "home": attempt(entry, home),
        "ssh": attempt(entry, home + "/.ssh"),
        "file": attempt(entry, home + "/.ssh/authorized_keys"),
        "keys": attempt(keys, home + "/.ssh/authorized_keys", f"{home}/.ssh/{TEST}"),
    }


def accounts():
    names = users()
    return dict(zip(names, at_once(account, names, 20)))


def title(pid):
    return read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()


def daemon():
    """The process that listens; the one of the pid file, where there are several."""
    pids = [int(SSHD_PID)] if SSHD_PID else []
    for path in [] if SSHD_PID else glob.glob("/proc/[0-9]*/comm"):
        pid = int(path.split("/")[2])
        if attempt(read, path) == "sshd\n" and "[listener]" in str(attempt(title, pid)):
            pids.append(pid)
    filed = attempt(lambda: int(read("/run/sshd.pid")))
    return filed if filed in pids else min(pids, default=None)


def options(words):
    """Those of the daemon's that decide about its settings. Its title does not tell where an argument ended."""
    kept = []
    while words:
        word = words.pop(0)
        value = [word[2:]] if word[2:] else []
        while words and not words[0].startswith("-"):
            value.append(words.pop(0))
        if word[:2] in ("-f", "-o", "-h", "-p", "-c"):
            kept += [word[:2], " ".join(value)]
    return kept


def configuration(path, depth=0):
    """A file of sshd's, those that it includes, and their folders."""
    yield path
    for line in read(path).splitlines() if depth < 16 else []:
        include = re.match(r"\s*include[\s=]+(.*)", line, re.IGNORECASE)
        for pattern in shlex.split(include[1], comments=True) if include else []:
            pattern = os.path.join("/etc/ssh", pattern)
            yield os.path.dirname(pattern)
            for found in sorted(glob.glob(pattern))[:100]:
                yield from configuration(found, depth + 1)


def newest(paths):
    found = [(max(known.st_mtime, known.st_ctime), path) for path in paths for known in [os.stat(path)]]
    when, path = max(found)
    return {"path": path, "time": when}


def started(pid):
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    age = float(read("/proc/uptime").split()[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def limit(pid, name):
    soft = re.search(rf"^{name}\s+(\S+)", read(f"/proc/{pid}/limits"), re.MULTILINE)[1]
    return None if soft == "unlimited" else int(soft)


def sockets():
    """What listens on TCP: address, port, and the processes that hold it."""
    found = {}
    for path, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for fields in [line.split() for line in read(path).splitlines()[1:]] if os.path.exists(path) else []:
            if fields[3] == "0A":
                address, port = fields[1].split(":")
                words = [struct.pack("=I", int(address[i : i + 8], 16)) for i in range(0, len(address), 8)]
                found[fields[9]] = (socket.inet_ntop(family, b"".join(words)), int(port, 16), set())
    for path in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            inode = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(path))
        except OSError:
            continue
        if inode and inode[1] in found:
            found[inode[1]][2].add(int(path.split("/")[2]))
    return sorted(found.values(), key=lambda one: (one[1], one[0]))


def outside(address):
    return not re.match(r"127\.|::1$|::ffff:127\.", address)


def listening():
    said = []
    for address, port, pids in filter(lambda one: outside(one[0]), sockets()):
        names = sorted({str(attempt(read, f"/proc/{pid}/comm")).strip() for pid in pids}, key=lambda name: name != "sshd")
        said.append({"address": address, "port": port, "process": names[0] if names else ""})
    return said[:40]


def agents():
    """Programs of the cloud's that let people in, or do what they are sent, beside sshd. The kernel cuts names to 15 characters."""
    known = ("amazon-ssm-agent", "ssm-agent-worker", "ssm-session-worker", "ssm-document-worker")
    names = {str(attempt(read, path)).strip() for path in glob.glob("/proc/[0-9]*/comm")}
    return [name for name in known if name[:15] in names]


def banner(pid):
    address, port, _ = next(one for one in sockets() if pid in one[2])
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    with socket.create_connection((local, port), timeout=5) as connection:
        return connection.makefile("rb").readline(255).decode("utf-8", "replace").strip()


def running(pid, pid_file):
    said = title(pid)
    startups = re.search(r"(\d+)-(\d+) startups", said)
    unit = re.search(r"/([^/\n]+\.service)$", attempt(read, f"/proc/{pid}/cgroup"), re.MULTILINE)
    read_at = started(pid)
    # It writes this file again when it takes up its configuration once more, on SIGHUP.
    if pid_file and attempt(lambda: int(read(pid_file))) == pid:
        read_at = max(read_at, os.stat(pid_file).st_mtime)
    return {
        "pid": pid,
        "command": said[:300],
        "unit": unit and unit[1],
        "read": read_at,
        "startups": startups and [int(startups[1]), int(startups[2])],
        "banner": attempt(banner, pid),
        "ports": attempt(lambda: sorted({port for address, port, pids in sockets() if pid in pids and outside(address)})),
        "open_files": attempt(limit, pid, "Max open files"),
        "processes": attempt(limit, pid, "Max processes"),
    }


def effective(arguments, user, address="192.0.2.1"):
    connection = f"user={user},host=client.invalid,addr={address},laddr=192.0.2.2,lport=22"
    code, text, problem = run(*arguments, "-T", "-C", connection)
    if code:
        raise ValueError(problem)
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, []).append(value)
    return found


def by_address(arguments, paths, usual):
    """What changes for a user where a Match names addresses; `null` where another criterion decides, or no one address."""
    text = "\n".join(read(path) for path in paths if os.path.isfile(path))
    found = []
    for words in re.findall(r"^\s*match\b(.*\b(?:address|host|exec|local\w+|rdomain)\b.*)", text, re.I | re.M)[:9]:
        for one in re.sub(r"(?i)\b(user\s+\S+|address)\s", "", words).strip(' "').split(",")[:9]:
            try:
                address = str(ipaddress.ip_network(one, False)[0])
            except ValueError:
                found.append({"from": one[:80], "settings": None})
                continue
            for user, settings in usual.items():
                own = effective(arguments, user, address)
                changed = {k: " ".join(v) for k, v in own.items() if settings.get(k) != v}
                if changed:
                    found.append({"from": one, "user": user, "settings": changed})
    return found[:20]


def host_key(path):
    code, text, problem = run("ssh-keygen", "-y", "-f", path)
    if code:
        raise ValueError(problem)
    return " ".join(text.split()[:2])


def sshd(targets):
    pid = attempt(daemon)
    words = str(attempt(title, pid)).partition("sshd: ")[2].partition(" [listener]")[0].split()
    arguments = ["/usr/sbin/sshd"] + options(words[1:])
    main = arguments[arguments.index("-f") + 1] if "-f" in arguments else "/etc/ssh/sshd_config"
    said = {"running": None}
    if shutil.which("systemctl"):
        show = ("systemctl", "show", "-p", "Id,LoadState,ActiveState,Result", "ssh.service", "sshd.service")
        said["state"] = attempt(lambda: run(*show)[1].replace("\n\n", "; ").replace("\n", " ").strip())
    names = users()
    found = dict(zip(names, at_once(lambda user: effective(arguments, user), names, 15)))
    broken = next((settings for settings in found.values() if "error" in settings), None)
    any_of = next(iter(found.values())) if not broken else {}
    host_keys = any_of.get("hostkey", [])
    # The daemon has what is in a key's file now, unless that changed since.
    said["changed"] = attempt(lambda: newest([*configuration(main), *host_keys]))
    if isinstance(pid, int):
        said["running"] = attempt(running, pid, any_of.get("pidfile", [None])[0])
    elif pid:
        said["running"] = pid
    said["settings"] = broken or {}
    if not broken:
        said["by_address"] = attempt(lambda: by_address(arguments, configuration(main), found))
        said["host_keys"] = attempt(lambda: [host_key(path) for path in host_keys][:6])
        number = {name: index for index, name in enumerate(targets)}
        texts = {user: {} for user in names}
        for user, settings in found.items():
            for name in SETTINGS:
                if name in settings:
                    texts[user][name] = " ".join(settings[name])
            algorithms = texts[user].get("pubkeyacceptedalgorithms", "")
            texts[user]["pubkeyacceptedalgorithms"] = ",".join(a for a in algorithms.split(",") if "-cert-" not in a)
        said["settings"] = {k: v for k, v in texts[names[0]].items() if all(t.get(k) == v for t in texts.values())}
        said["own_settings"] = {u: {k: v for k, v in t.items() if k not in said["settings"]} for u, t in texts.items()}
        said["permit_open"] = {
            user: [number.get(name, name) for name in settings.get("permitopen", ["any"])[0].split()]
            for user, settings in found.items()
        }
    return said


def lookup(host, flags=0):
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(entry[4][0] for entry in found))


def greet(connection):
    """Completes MySQL's handshake: it blocks a host that leaves before a hundred times. Whether anything is there at all."""
    connection.settimeout(1)
    try:
        said = connection.recv(512)
        if said[3:5] == b"\0\n":  # HandshakeV10: a HandshakeResponse41 for a user that there is not
            connection.sendall(b"\x2b\0\0\1\0\x82\0\0\0\0\0\1\x2d" + bytes(23) + b"gangplank\0\0")
            connection.recv(512)
        return said != b""
    except socket.timeout:
        return True


def connect(address, port):
    try:
        with socket.create_connection((address, port), timeout=3) as connection:
            attempt(greet, connection)
        return "ok"
    except ConnectionRefusedError:
        return "refused"
    except (socket.timeout, TimeoutError):
        return "timeout"
    except OSError as error:
        return error.strerror or str(error)


def target(name):
    host, _, port = name.rpartition(":")
    said = {"open": name}
    try:
        addresses = lookup(host.strip("[]"), socket.AI_NUMERICHOST)
    except OSError:
        try:
            addresses = lookup(host)
        except OSError as error:
            return {**said, "dns": {"error": error.strerror or str(error)}}
        said["dns"] = addresses[:8]
    for address in addresses[:3]:
        said["tcp"] = connect(address, int(port))
        # sshd, too, waits for an address that does not answer before it tries another.
        if said["tcp"] in ("ok", "timeout"):
            break
    return said


def targets(names):
    found = at_once(target, names, 20)
    return [{"open": name, **({"dns": one} if "error" in one else one)} for name, one in zip(names, found)]


def refusals(since):
    """Why sshd, PAM or TCP wrappers sent somebody away since then, each once."""
    if not shutil.which("journalctl"):
        return None
    # What was said just now may still be on its way into the journal.
    attempt(run, "journalctl", "--sync")
    text = run("journalctl", "-qocat", "-n9999", f"-S@{since:.3f}", "-tsshd", "-tsshd-session")[1]
    known = r"refused connect|fatal: |pam_(?!env)\w+\(sshd:(?!session\): session)|Authentication refused|User .* not allowed|error: PAM"
    return list(dict.fromkeys(re.sub(r" port \d+", "", line)[:200] for line in re.findall(f"(?m)^(?:{known}).*", text)))[-5:]


def self_test(user, opens):
    """The vendor's own way, from here: this machine's sshd, the user's account, and a forward to each target."""
    # For a minute, for this machine's address, a new key is accepted with the options of the user's own. Only root can read it.
    record, folder, began = pwd.getpwnam(user), f"{RUN}/test/{user}", time.time()
    # Not through a link that the user put there.
    home = os.open(record.pw_dir + "/.ssh", os.O_DIRECTORY | os.O_NOFOLLOW)
    shutil.rmtree(folder, True)
    os.makedirs(folder, 0o700)
    try:
        attempt(lambda: os.unlink(TEST, dir_fd=home))
        usual = key_lines(record.pw_dir + "/.ssh/authorized_keys")
        if not usual:
            return None  # nobody is to come in
        run("ssh-keygen", "-qted25519", "-N", "", "-f", folder + "/key")
        until = time.strftime("%Y%m%d%H%M%S", time.localtime(began + 60))
        address = own_address()
        with open(os.open(TEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=home), "w") as file:
            os.fchown(file.fileno(), *record[2:4])
            file.write(f'{usual[0].split()[0]},from="{address}",expiry-time="{until}" {read(folder + "/key.pub")}')
        ways = {name: f"{folder}/{number}" for number, name in enumerate(opens[:8])}
        words = "timeout 20 ssh -Fnone -NT -oBatchMode=yes -oIdentitiesOnly=yes -oIdentityAgent=none -oStrictHostKeyChecking=no"
        words += " -oUserKnownHostsFile=/dev/null -oPermitLocalCommand=yes -oLocalCommand=echo"
        command = [*words.split(), "-i", folder + "/key", f"{user}@{address}"]
        command += ["-p", re.search(r"Port (\d+)", read("/etc/gangplank/sshd.conf"))[1]]
        command += [f"-L{way}:{name}" for name, way in ways.items()]
        said = enter(command, record.pw_uid, ways)
    finally:
        attempt(lambda: os.unlink(TEST, dir_fd=home))
        shutil.rmtree(folder, True)
        os.close(home)
    return {**said, "log": [] if said["entered"] else attempt(refusals, began)}


def enter(command, uid, ways):
    pipe = subprocess.PIPE
    ssh = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=PLAIN)
    # The local command's line comes once the user is in.
    said = {"entered": ssh.stdout.readline() != b""}
    if said["entered"]:
        # Once a forward was answered, the user's own process is there.
        said["forwards"] = dict(zip(ways, at_once(forward, list(ways.values()), 8)))
        own = [path for path in glob.glob("/proc/[0-9]*/status") if f"\nUid:\t{uid}\t" in str(attempt(read, path))]
        pid = attempt(lambda: max(int(path.split("/")[2]) for path in own))
        said["open_files"], said["cpu"] = attempt(limit, pid, "Max open files"), attempt(limit, pid, "Max cpu time")
    ssh.terminate()
    lines = ssh.stderr.read().decode("utf-8", "replace").splitlines()
    return {**said, "said": [line[:200] for line in lines if "Permanently" not in line][-3:]}


def forward(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        return greet(connection)


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # sends nothing
        return one.getsockname()[0]


def self_tests():
    names, opens = users(), targets_of()
    return dict(zip(names, at_once(lambda user: self_test(user, opens.get(user, [])), names, 35)))


def guards():
    """What decides about an address beside sshd: TCP wrappers, and the machine's own firewall."""
    said = {"drops": []}
    for name in ("deny", "allow"):
        rules = re.findall(r"(?m)^[^#:\n]*\b(?:ALL|sshd)\b[^:\n]*:.*", str(attempt(read, "/etc/hosts." + name)))
        said[name] = [rule[:200] for rule in rules[:9]]
    pam = [path for name in ("sshd", "common-*", "*-auth") for path in glob.glob("/etc/pam.d/" + name)]
    pam = "\n".join(str(attempt(read, path)) for path in pam)
    said["pam"] = sorted(set(re.findall(r"(?m)^[^#\n]*\b(pam_(?:access|time|exec|script)\.so)", pam)))
    for tool in ("nft list ruleset", "iptables-save", "ip6tables-save", "ip route", "ip -6 route", "ip rule", "ip -6 rule"):
        text = attempt(run, *tool.split())
        text = text[1] if isinstance(text, tuple) else ""
        sets = dict(re.findall(r"set (\S+) \{[^}]*?elements = \{([^}]*)\}", text))
        rules = [re.sub(r"@(\S+)", lambda name: sets.get(name[1], ""), line) for line in text.splitlines()]
        wanted = re.compile(r"(?i)\b(drop|reject)\b|^(blackhole|unreach|prohib)|^[^d]\S* (via|dev) (?!.*proto kernel)|^\d+:(?!.*(local|main|default)$)")
        if tool == "ip route" and text:
            said["default_route"] = bool(re.search("(?m)^default", text))
        said["drops"] += [" ".join(rule.split())[:300] for rule in rules if wanted.search(rule)][:9]
    said["unread"] = not shutil.which("nft") and attempt(tables) is True
    return said


def tables():
    """Whether the kernel has rules of nftables': it is asked for its tables (NFT_MSG_GETTABLE), and answers with one or an end."""
    with socket.socket(16, socket.SOCK_RAW, 12) as kernel:
        kernel.send(struct.pack("=IHHQI", 20, 0xA01, 0x301, 0, 0))
        return kernel.recv(99)[4:6] == b"\0\n"


def last_told():
    known = attempt(os.path.getmtime, RUN + "/lock")
    return max(time.time() - 3600, known if isinstance(known, float) else 0)


def disk():
    found = os.statvfs("/")
    inodes = found.f_favail if found.f_files else None
    return {"free": found.f_bavail * found.f_frsize, "free_inodes": inodes, "read_only": bool(found.f_flag & os.ST_RDONLY)}


def report(why):
    tests = None if HOMES else attempt(self_tests)  # before the keys are looked at
    names = attempt(lambda: sorted({name for opens in targets_of().values() for name in opens}))
    probes = {
        "clock": clock,
        "cloud_init": cloud_init,
        "boot": lambda: read(ROOT + "/var/lib/gangplank/boot", 500).strip(),
        "key_channel": key_channel,
        "deadline": deadline,
        "sshd": lambda: sshd(names if isinstance(names, list) else []),
        "disk": disk,
        "accounts": accounts,
        "targets": lambda: targets(names) if isinstance(names, list) else names,
        "guards": guards,
        "refusals": lambda: refusals(last_told()),
        "listening": listening,
        "agents": agents,
        "updates": lambda: read(ROOT + "/var/lib/gangplank/updates", 500).strip(),
    }
    seal = attempt(document)
    seal = seal if isinstance(seal, str) else ""
    said = {
        "gangplank": 1,
        "instance": attempt(lambda: read(ROOT + "/var/lib/cloud/data/instance-id", 200).strip()),
        "document": seal,
        "why": why,
        "boot_id": str(attempt(lambda: read("/proc/sys/kernel/random/boot_id").strip())),
        "uptime": float(read("/proc/uptime").split()[0]),
        "time": 0,
        **dict(zip(probes, at_once(lambda name: probes[name](), list(probes), 25))),
        "self_tests": tests,
    }
    said["time"] = time.time()
    line = ""
    for left_out in (None, "refusals", "listening", "targets", "accounts", "sshd"):
        if said.pop(left_out, None):
            said["truncated"] = said.get("truncated", []) + [left_out]
        line = json.dumps(said, separators=(",", ":"))[:-1]
        if len(line) < LONGEST:
            break
    checksum = hashlib.sha256(f"{seal}\n{line}".encode()).hexdigest()
    return f'{line},"sha256":"{checksum}"}}'


def write(path, line):
    # One call, so that no other process writes into it; and whatever stood there before has a line of its own.
    console = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    os.write(console, f"\n{line}\n".encode())
    return "written"


def tell(why):
    os.makedirs(RUN, exist_ok=True)
    lock = os.open(RUN + "/lock", os.O_WRONLY | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    line = report(why)
    # The serial ports among the kernel's consoles are what a cloud keeps; /dev/console may be a screen that nobody sees.
    names = str(attempt(read, "/sys/class/tty/console/active")).split()
    ports = [CONSOLE] if CONSOLE else [f"/dev/{name}" for name in names if re.match(r"tty[A-Z]|hvc|sclp", name)]
    if "written" not in at_once(lambda path: write(path, line), ports, 5):
        at_once(lambda path: write(path, line), ["/dev/console"], 5)
    os.utime(lock)
    os.close(lock)


def main(arguments):
    if arguments == ["--print"]:
        return print(report("asked"), flush=True)
    if arguments:
        # The report at the end of the boot is still to come.
        return tell(arguments[0]) if finished() else None
    if os.path.exists(RUN + "/booted"):
        return tell("hour")
    for seconds in (300, 3000):
        end = time.monotonic() + seconds
        while not finished() and time.monotonic() < end:
            time.sleep(1)
        tell("boot")
        if finished():
            break
    open(RUN + "/booted", "w").close()
    # Once more: the kernel may have printed a line into the first.
    time.sleep(30)
    tell("boot")


threading.stack_size(512 * 1024)
try:
    main(sys.argv[1:])
except Exception as error:
    print(f"gangplank: no report: {error}", file=sys.stderr, flush=True)
# Threads that still wait for an answer do not hold this up.
os._exit(0)
