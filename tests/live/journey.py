"""Runs gangplank and remembers what came of it; stops where it is told to, and then only tears down."""

import dataclasses
import datetime
import json
import os
import signal
import subprocess
import time


class Stopped(Exception):
    """Ctrl-C, SIGTERM, SIGHUP, or the time limit."""


class Failed(Exception):
    """Without this step the rest makes no sense."""


@dataclasses.dataclass
class Step:
    name: str
    command: str
    expected: list
    code: int
    seconds: float
    output: str

    @property
    def passed(self):
        return self.code in self.expected


@dataclasses.dataclass
class Answer:
    """To one of the questions that only a real cloud can answer."""

    question: str
    answered: bool
    text: str
    facts: dict = dataclasses.field(default_factory=dict)


class Journey:
    def __init__(self, program, folder, environment, limit_s):
        self.program = program
        self.folder = folder
        self.environment = environment
        self.ends = time.monotonic() + limit_s
        self.reason = None
        self.tearing_down = False
        self.steps, self.answers, self.remains, self.cleanups = [], [], [], []
        self.outputs = {}

    def listen_to_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.stop)

    def stop(self, number, _):
        if self.tearing_down:
            say("  already removing everything; to end it here would leave what costs money")
        self.reason = self.reason or f"stopped by {signal.Signals(number).name}"

    def check(self):
        """Ends the journey where it was told to. Signals are heard here only, so that no step is torn in two."""
        if self.tearing_down:
            return
        if time.monotonic() > self.ends:
            self.reason = self.reason or "the time limit was reached"
        if self.reason:
            raise Stopped(self.reason)

    def pause(self, seconds):
        until = time.monotonic() + seconds
        self.check()
        while time.monotonic() < until:
            time.sleep(min(0.2, max(0.0, until - time.monotonic())))
            self.check()

    def wait_for(self, found, poll_s, patience_s):
        """What `found` returns once that is something, and after how many seconds; none where it took too long."""
        began = time.monotonic()
        while True:
            result = found()
            waited = time.monotonic() - began
            if result or waited >= patience_s:
                return result or None, round(waited, 1)
            self.pause(poll_s)

    def gangplank(self, name, arguments, expected=(0,), needed=False, environment=None):
        self.check()
        say(f"  {name} ...", end="")
        began = time.monotonic()
        logs = self.folder / "private" / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"{len(self.steps) + 1:02}-{name.replace(' ', '-')}"
        with open(f"{log}.out", "w+") as out, open(f"{log}.err", "w+") as errors:
            # In a session of its own: the terminal's Ctrl-C is for this program, which passes it on.
            child = subprocess.Popen(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True,
                cwd=self.folder / "private", env={**os.environ, **(self.environment if environment is None else environment)},
            )
            code = self.await_end(child)
        with open(f"{log}.out") as out, open(f"{log}.err") as errors:
            stdout, stderr = out.read(), errors.read()
        step = Step(name, " ".join(["gangplank", *arguments]), list(expected), code, round(time.monotonic() - began, 1), tail(stdout, stderr))
        self.steps.append(step)
        self.outputs[name] = stdout
        say(f" {step.seconds:.0f} s, exit {code}" + ("" if step.passed else f", expected {' or '.join(map(str, expected))}"))
        self.check()
        if needed and not step.passed:
            raise Failed(f"{name} ended with {code}")
        return step

    def await_end(self, child):
        told = False
        while True:
            try:
                return child.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                pass
            if not told:
                try:
                    self.check()
                except Stopped:
                    child.send_signal(signal.SIGINT)
                    told = True

    def json_of(self, name):
        try:
            return json.loads(self.outputs.get(name, ""))
        except ValueError:
            return {}

    def events_of(self, name):
        found = []
        for line in self.outputs.get(name, "").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def answer(self, question, answered, text, **facts):
        self.answers.append(Answer(question, answered, text, facts))
        say(f"  {question}: {text}")

    def ask(self, question, find):
        """A question whose answer is not needed for what follows: no failure of it ends the journey."""
        try:
            self.check()
            find()
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            self.answer(question, False, f"could not be asked: {type(error).__name__}: {error}")

    def teardown(self, remove, inventory):
        """Whatever happened. `remove` is told what is left, none at first; `inventory` says it."""
        self.tearing_down = True
        say("\nRemoving everything")
        for attempt in (1, 2):
            try:
                remove(attempt, self.remains)
            except Exception as error:  # noqa: BLE001: nothing may keep the rest from being removed
                say(f"  removing failed: {error}")
            for cleanup in list(reversed(self.cleanups)):
                try:
                    cleanup()
                    self.cleanups.remove(cleanup)
                except Exception as error:  # noqa: BLE001
                    say(f"  removing failed: {error}")
            try:
                self.remains = inventory()
            except Exception as error:  # noqa: BLE001
                self.remains = [f"unknown: the inventory failed: {error}"]
            if not self.remains and not self.cleanups:
                break
        say("  nothing is left" if not self.remains else "  STILL THERE: " + ", ".join(self.remains))


def tail(stdout, stderr):
    text = (stderr.strip() or stdout.strip()).splitlines()
    return "\n".join(text[-40:])


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def moment(text):
    """Of a time in UTC, to the second: Python before 3.11 reads no nanoseconds."""
    return datetime.datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)


def say(text, end="\n"):
    print(text, end=end, flush=True)
