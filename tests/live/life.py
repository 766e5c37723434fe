"""The life of one bastion, the same in both clouds: made, proven, changed, ended, made again, removed."""

import base64
import datetime
import hashlib
import json

from journey import moment, now

REPORT = '{"gangplank":'
ON_TIME = "the machine's report on its console: whole, and how late"
NEW_KEY = "how soon a new key reaches the running machine"
OVERWRITTEN = "how soon an overwritten value reaches the running machine"
AFTER_END = "whether a bastion can be made again right after its machine has ended"


def live(journey, cloud, options):
    plan = cloud.plan_file
    network = ["--no-network"] if options.no_network else ["--identity", "tester"]
    checked = (0, 4) if options.no_machines else (0,)
    cloud.write_plan([])
    journey.gangplank("plan, without the recorder", ["plan", "--detailed-exitcode", plan], [2], needed=True, environment=cloud.direct)
    journey.gangplank("apply", ["apply", "--yes", "--no-verify", "--output", "json", plan], needed=True)
    journey.gangplank("plan finds no difference", ["plan", "--detailed-exitcode", plan])
    report(journey, cloud, options, "apply")
    journey.gangplank("verify", ["verify", "--output", "json", *network, plan], checked)

    for question, key in ((NEW_KEY, "first-key"), (OVERWRITTEN, "second-key")):
        cloud.write_plan([key])
        name = f"apply the {key}".replace("-", " ")
        journey.gangplank(name, ["apply", "--yes", "--no-verify", "--output", "json", plan], needed=True)
        key_change(journey, cloud, options, question, key, name)
    journey.gangplank("extend", ["extend", "--yes", "--by", "1h", plan])
    journey.gangplank("verify after the changes", ["verify", "--output", "json", *network, plan], checked)

    drift(journey, cloud, plan)
    reap = ["reap", *cloud.reap_arguments, "--only", cloud.name, "--settle", f"{options.settle}m", "--output", "json"]
    journey.gangplank("reap finds nothing due", reap)
    end(journey, cloud, options, plan)
    cloud.after_the_end(journey, options)
    journey.gangplank("reap destroys what is past its end", [*reap, "--yes", "--at-most", "1"])

    if not options.once:
        again = journey.gangplank("apply again", ["apply", "--yes", "--no-verify", "--output", "json", plan])
        cloud.look()
        works = "it can" if again.passed else f"it cannot: exit {again.code}; see the step"
        journey.answer(AFTER_END, True, works)
        journey.gangplank("destroy", ["destroy", "--yes", plan])
    cloud.questions(journey, options)


def drift(journey, cloud, plan):
    journey.gangplank("drift finds nothing", ["drift", "--output", "json", plan])
    cloud.meddle()
    journey.gangplank("drift finds a foreign rule", ["drift", "--output", "json", plan], [2])
    journey.gangplank("apply closes it", ["apply", "--yes", "--no-verify", "--output", "json", plan])
    journey.gangplank("drift finds nothing again", ["drift", "--output", "json", plan])


def end(journey, cloud, options, plan):
    until = now() + datetime.timedelta(seconds=options.end_in)
    text = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    journey.gangplank("shorten", ["shorten", "--yes", "--until", text, plan])
    journey.pause(max(0.0, (until - now()).total_seconds()) + 1)
    if options.no_machines:
        return
    state, waited = journey.wait_for(cloud.ended, options.poll, options.report_wait)
    text = f"it was {state} {waited:.0f} s after its end" if state else f"it still ran {waited:.0f} s after its end"
    journey.answer("whether the machine ends at its deadline", True, text, seconds=waited, state=state)


def report(journey, cloud, options, step):
    """Waits for the first report. Whole is what ends as it began: gangplank's own verify checks its checksum."""
    if options.no_machines:
        return journey.answer(ON_TIME, False, "the endpoint runs no machines")
    found, waited = journey.wait_for(lambda: last_report(cloud), options.poll, options.report_wait)
    if not found:
        return journey.answer(ON_TIME, True, f"no report was seen in {waited:.0f} s", whole=False)
    late = seen_late(found)
    text = f"whole, {found['length']} bytes, seen {late:.0f} s after it was written, {waited:.0f} s after {step}"
    journey.answer(ON_TIME, True, text, whole=True, bytes=found["length"], late_s=late, after_s=waited)


def key_change(journey, cloud, options, question, key, step):
    """The machine reports after each change of its keys: how long after the write it had the key."""
    if options.no_machines:
        return journey.answer(question, False, "the endpoint runs no machines")
    written = now()
    for event in journey.events_of(step):
        if event.get("event") == "step-done" and event.get("time"):
            written = moment(event["time"])
    wanted = fingerprint(cloud.private / f"{key}.pub")

    def has_it():
        found = last_report(cloud)
        return found if found and wanted in json.dumps(found["report"].get("accounts")) else None

    found, waited = journey.wait_for(has_it, options.poll, options.report_wait)
    if not found:
        return journey.answer(question, True, f"not within {waited:.0f} s, as far as the reports show", seen=False)
    took = round(max(0.0, found["report"]["time"] - written.timestamp()), 1)
    text = f"reported {took:.0f} s after the write, visible on the console {seen_late(found):.0f} s later"
    journey.answer(question, True, text, seen=True, seconds=took, late_s=seen_late(found))


def seen_late(found):
    return round(max(0.0, found["seen"] - found["report"]["time"]), 1)


def last_report(cloud):
    """The last whole line of a console that looks like a report."""
    for line in reversed(cloud.console().splitlines()):
        at = line.find(REPORT)
        if at < 0:
            continue
        try:
            return {"report": json.loads(line[at:]), "length": len(line) - at, "seen": now().timestamp()}
        except ValueError:
            continue
    return None


def fingerprint(path):
    """As OpenSSH prints it: SHA256:..."""
    blob = base64.b64decode(path.read_text().split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
