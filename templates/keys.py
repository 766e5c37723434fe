#!/usr/bin/python3 -IS
"""Takes the accepted keys from what the cloud's metadata service shows, EC2's instance tags or Azure's user data: one whole
set, or none, and then the machine keeps what it has. Once; with an argument again and again, after so many seconds."""
# Python, since every image with cloud-init has it: 3.9 or later.
import base64, hashlib, os, pwd, re, subprocess, sys, time, urllib.request  # noqa: E401

SERVICE = os.environ.get("GANGPLANK_METADATA", "http://169.254.169.254")
# A file for each user: what stands before each of its keys.
OPTIONS = os.environ.get("GANGPLANK_OPTIONS", "/etc/gangplank/options")
HOMES = os.environ.get("GANGPLANK_HOMES")
RUN = os.environ.get("GANGPLANK_RUN", "/run/gangplank")
REPORT = os.environ.get("GANGPLANK_REPORT", "/usr/local/sbin/gangplank-report")
# No proxy leads to the service.
http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path, headers, method="GET", root="/latest/"):
    try:
        with http.open(urllib.request.Request(SERVICE + root + path, None, headers, method=method), timeout=5) as answer:
            return answer.read(65536).decode("ascii")
    except OSError as error:
        raise ValueError(f"{path}: {error}")


def read_tags():
    token = {"X-aws-ec2-metadata-token": ask("api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")}
    path = "meta-data/tags/instance/"
    ours = [name for name in ask(path, token).split() if re.match(r"gangplank:key(s$|\.)", name)]
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


def read():
    """The keys with their users, if they are what the digest was made from."""
    what, (digest, keys) = "user data is", read_user_data()
    if keys is None:
        what, tags = "tags are", read_tags()
        digest, keys = tags.pop("gangplank:keys", None), assemble(tags)
    whole = "".join(f"{user} {key}\n" for user, key in keys)
    if hashlib.sha256(whole.encode()).hexdigest()[:32] != digest:
        raise ValueError(f"the {what} not one whole set; they may be changing")
    return keys


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
    path = f"{home}/.ssh/authorized_keys"
    if os.path.isfile(path) and open(path).read() == text:
        return False
    new = path + ".new"
    if os.path.lexists(new):
        os.unlink(new)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        os.fchown(file.fileno(), os.stat(home).st_uid, os.stat(home).st_gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    return True


def update():
    keys = read()
    wanted = []
    for user in sorted(os.listdir(OPTIONS)):
        own = [key for owner, key in keys if owner == user]
        options = open(f"{OPTIONS}/{user}").read().strip()
        wanted.append((user, "".join(f"{options} {key}\n" for key in own), fingerprints(own) if own else "no key"))
    # Everything has been checked before the first file changes.
    changed = [(user, names) for user, text, names in wanted if put(user, text)]
    for user, names in changed:
        print(f"gangplank: {user} may enter with {names}", flush=True)
    return bool(changed)


def note(problem):
    """What the machine's report says about this service."""
    os.makedirs(RUN, exist_ok=True)
    with open(RUN + "/keys.new", "w") as file:
        file.write(problem or "")
    os.rename(RUN + "/keys.new", RUN + "/keys")


problem = None
while True:
    before, problem, changed = problem, None, False
    try:
        changed = update()
    except Exception as error:  # whatever it is: the next round may be better
        problem = f"gangplank: the keys stay as they are: {error}"
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
    time.sleep(float(sys.argv[1]))
