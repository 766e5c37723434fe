#!/usr/bin/python3 -IS
"""Takes the accepted keys and the deadline from what the cloud's metadata service shows, EC2's instance tags or Azure's user
data: a whole set of keys, or none, and then the machine keeps what it has. At the deadline it takes all keys away, ends the
tunnels, and shuts the machine down. Once; with an argument again and again, after so many seconds."""
# Python, since every image with cloud-init has it: 3.9 or later.
import base64, calendar, glob, hashlib, json, os, pwd, re, signal, subprocess, sys, time, urllib.request  # noqa: E401
from email.utils import parsedate_to_datetime

SERVICE = os.environ.get("GANGPLANK_METADATA", "http://169.254.169.254")
# A file for each user: what stands before each of its keys. Where the document brings the keys, its lines are in `keys` beside it.
OPTIONS = os.environ.get("GANGPLANK_OPTIONS", "/etc/gangplank/options")
KEYS = os.path.dirname(OPTIONS) + "/keys"
HOMES = os.environ.get("GANGPLANK_HOMES")
RUN = os.environ.get("GANGPLANK_RUN", "/run/gangplank")
STATE = os.environ.get("GANGPLANK_STATE", "/var/lib/gangplank/deadline")
REPORT = os.environ.get("GANGPLANK_REPORT", "/usr/local/sbin/gangplank-report")
SHUTDOWN = os.environ.get("GANGPLANK_SHUTDOWN", "/sbin/shutdown")
EXPIRES = "gangplank:expires"
# Seconds that a clock which nobody confirms has for being put right before the machine shuts down.
DOUBT = 60
# No proxy leads to the service.
http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
cloud = None  # the service's clock, as of this round


def ask(path, headers, method="GET", root="/latest/"):
    global cloud
    try:
        try:
            answer = http.open(urllib.request.Request(SERVICE + root + path, None, headers, method=method), timeout=5)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            if answer.headers["Date"]:
                cloud = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            if answer.status != 200:
                raise answer
            return answer.read(65536).decode("ascii")
    except OSError as error:
        raise ValueError(f"{path}: {error}")


def read_tags():
    token = {"X-aws-ec2-metadata-token": ask("api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")}
    path = "meta-data/tags/instance/"
    ours = [name for name in ask(path, token).split() if re.match(r"gangplank:(key(s$|\.)|expires$|bastion$)", name)]
    return {name: ask(path + name, token) for name in ours}


def read_user_data():
    """The digest, and below it a line for each key: its user and its text."""
    path = "metadata/instance/compute/userData?api-version=2021-01-01&format=text"
    try:
        data = ask(path, {"Metadata": "true"}, root="/")
    except ValueError:
        return None, None  # not on Azure
    digest, *lines = base64.b64decode(data).decode("ascii").splitlines() or [None]
    return digest, sorted(tuple(line.split(" ", 1)) for line in lines)


def assemble(tags):
    """The keys with their users."""
    parts = {}
    for name, value in tags.items():
        _, user, number, part = name.split(".")
        parts.setdefault((user, number), []).append((int(part), value))
    return sorted((user, "".join(text for _, text in sorted(found))) for (user, _), found in parts.items())


def whole(what, digest, lines):
    """The keys with their users, if they are what the digest was made from."""
    text = "".join(f"{user} {key}\n" for user, key in lines)
    if hashlib.sha256(text.encode()).hexdigest()[:32] != digest:
        raise ValueError(f"the {what} not one whole set; they may be changing")
    return lines


def look():
    """The deadlines that are shown, nothing where that can't be known; and what gives the keys with their users."""
    digest, lines = read_user_data()
    if lines is not None:
        whole("user data is", digest, lines)
        return [text for user, text in lines if user == EXPIRES], lambda: lines
    tags = read_tags()
    # Tags of which none is ours say nothing: somebody has swept them away.
    ends = ([tags.pop(EXPIRES)] if EXPIRES in tags else []) if tags else None
    tags.pop("gangplank:bastion", None)
    return ends, lambda: whole("tags are", tags.pop("gangplank:keys", None), assemble(tags))


def fingerprints(keys):
    """What ssh-keygen calls them. A line break in a tag must not bring a key past its options."""
    text = "".join(f"{key}\n" for key in keys)
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=text, capture_output=True, text=True, timeout=30).stdout
    found = [line.split()[1] for line in shown.splitlines()]
    if len(found) != len(keys) or not all(re.fullmatch(r"[a-z0-9@.-]+ [\w+/=]+", key, re.ASCII) for key in keys):
        raise ValueError(f"not all of these are keys: {keys}")
    return " ".join(found)


def put(user, text):
    """Replaces a user's authorized_keys at once, where it says something else."""
    home = f"{HOMES}/{user}" if HOMES else pwd.getpwnam(user).pw_dir
    # The user's, whatever somebody has made of the home: sshd reads no keys of another owner's.
    uid, gid = os.stat(home)[4:6] if HOMES else pwd.getpwnam(user)[2:4]
    # Not through a link that the user put there: root would write elsewhere.
    folder = os.open(f"{home}/.ssh", os.O_DIRECTORY | os.O_NOFOLLOW)
    os.fchdir(folder)
    os.close(folder)
    path = "authorized_keys"
    # The report's own test has a key here for seconds, and a folder for that time that only root can make.
    if not os.path.exists(f"{RUN}/test/{user}") and os.path.lexists("gangplank_test"):
        os.unlink("gangplank_test")
    if os.path.isfile(path) and open(path, "rb").read() == text.encode():
        return False
    new = path + ".new"
    if os.path.lexists(new):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        os.fchown(file.fileno(), uid, gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    return True


def update(keys):
    wanted = []
    for user in users():
        if os.path.isdir(OPTIONS):
            own = [key for owner, key in keys if owner == user]
            options = open(f"{OPTIONS}/{user}").read().strip()
            wanted.append((user, "".join(f"{options} {key}\n" for key in own), fingerprints(own) if own else "no key"))
        else:
            wanted.append((user, open(f"{KEYS}/{user}").read(), "the keys of the document"))
    # Everything has been checked before the first file changes, and no user's home keeps another's keys from it.
    changed, problem = False, None
    for user, text, names in wanted:
        try:
            if put(user, text):
                changed = True
                print(f"gangplank: {user} may enter with {names}", flush=True)
        except OSError as error:
            problem = error
    if problem:
        raise problem
    return changed


def users():
    return sorted(os.listdir(OPTIONS if os.path.isdir(OPTIONS) else KEYS))


def withdraw():
    """Nobody may enter any more, and whoever is in goes."""
    present = [user for user in users() if HOMES or pwd.getpwnam(user).pw_uid]
    changed = False
    for user in present:
        try:
            changed |= put(user, "")
        except OSError:
            pass  # whatever a user made of its home: the others' keys go, and the machine ends
    uids = set() if HOMES else {pwd.getpwnam(user).pw_uid for user in present}
    for path in glob.glob("/proc/[0-9]*/status") if uids else []:
        try:
            with open(path) as file:
                uid = next(line.split()[1] for line in file if line.startswith("Uid:"))
            if int(uid) in uids:
                os.kill(int(path.split("/")[2]), signal.SIGKILL)
        except OSError:
            pass  # it has gone
    return changed


def uptime():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def recall():
    """What the machine knows of its deadline. One that knows nothing, not even that it has none, admits nobody."""
    try:
        with open(STATE) as file:
            state = json.load(file)
        state.pop("since", None)
        return {**state, "at": float(state["at"]) if state["boot"] == boot_id() else 0.0, "seen": float(state["seen"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"known": False, "expires": None, "seen": 0.0, "at": 0.0, "closed": True}


def keep(state):
    state["boot"] = boot_id()
    os.makedirs(os.path.dirname(STATE), exist_ok=True)
    with open(os.open(STATE + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(STATE + ".new", STATE)


def moment(text):
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text, re.ASCII)
    if not found:
        raise ValueError(f"{text[:80]!r} is no time")
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))


def judge(state):
    """Whether the machine is closed, and whether the deadline has passed beyond doubt.

    There are three clocks: the machine's own, the time that was last seen with what has passed since by the kernel's count,
    which nobody can set, and in place of that the cloud's, where it tells. The later one closes the machine."""
    own, counted = time.time(), state["seen"] + uptime() - state["at"]
    state["seen"], state["at"] = cloud or max(own, counted), uptime()
    latest, expires = max(own, cloud or counted), state["expires"]
    passed = expires is not None and expires <= latest
    state["closed"] = passed or not state["known"]
    if not passed:
        state.pop("since", None)
        return False, expires and expires - latest
    if cloud is not None:
        return expires <= cloud, None
    return uptime() - state.setdefault("since", uptime()) >= DOUBT, None


def note(problem):
    """What the machine's report says about this service."""
    os.makedirs(RUN, exist_ok=True)
    with open(RUN + "/keys.new", "w") as file:
        file.write(problem or "")
    os.rename(RUN + "/keys.new", RUN + "/keys")


def turn(state):
    """One round: whether anything has changed, what went wrong, and the seconds until the deadline."""
    global cloud
    cloud, problems, ends, keys, changed = None, [], None, None, False
    before = (state["known"], state["expires"], state["closed"])
    try:
        ends, keys = look()
    except Exception as error:  # whatever it is: the next round may be better
        problems.append(f"the keys stay as they are: {error}")
    try:
        if ends is not None:
            state.update(expires=moment(ends[0]) if ends else None, known=True)
    except ValueError as error:
        problems.append(f"the deadline stays as it is: {error}")
    over, left = judge(state)
    if before != (state["known"], state["expires"], state["closed"]) or abs(state["seen"] - state.get("kept", 0)) > 60:
        state["kept"] = state["seen"]
        try:
            keep(state)
        except OSError as error:
            problems.append(f"the deadline is not on the disk: {error}")
    if state["closed"]:
        changed = withdraw()
        if state["expires"] is not None:
            end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(state["expires"]))
            problems = [f"the bastion's time is up since {end}: nobody is let in" + (", the machine shuts down" if over else "")]
        if over:
            subprocess.run([SHUTDOWN, "-h", "-P", "now"], stdin=subprocess.DEVNULL)
    elif keys or not os.path.isdir(OPTIONS):
        try:
            changed = update(keys() if os.path.isdir(OPTIONS) else None)
        except Exception as error:
            problems.append(f"the keys stay as they are: {error}")
    changed = changed or before != (state["known"], state["expires"], state["closed"])
    return changed, "".join(f"gangplank: {problem}\n" for problem in problems).strip() or None, left


state, problem = recall(), None
while True:
    before = problem
    changed, problem, left = turn(state)
    if problem not in (None, before):
        print(problem, file=sys.stderr, flush=True)
    try:
        note(problem)
        if changed or (problem is None) != (before is None):
            subprocess.Popen([REPORT, "keys"], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"gangplank: no report: {error}", file=sys.stderr, flush=True)
    if len(sys.argv) < 2:
        sys.exit(problem is not None)
    time.sleep(min(float(sys.argv[1]), max(1.0, left or 1e9)))
