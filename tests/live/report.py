"""What a run leaves for others to read: report.md, report.json and recordings, all of them scrubbed."""

import json

from scrub import scrubbed


def write(folder, journey, cloud, began, ended, scrubber):
    """Returns the names of the files; one in which a secret is found is not written."""
    found = document(journey, cloud, began, ended)
    recorded = [json.dumps(scrubbed(exchange, scrubber, cloud.ours())) for exchange in cloud.recorder.exchanges]
    texts = {
        "report.json": scrubber.text(json.dumps(found, indent=2)) + "\n",
        f"recordings/{cloud.cloud}-live.jsonl": "".join(f"{line}\n" for line in recorded),
    }
    texts["report.md"] = scrubber.text(page(found))
    (folder / "recordings").mkdir(exist_ok=True)
    for name, text in texts.items():
        leaks = scrubber.leaks(text)
        if leaks:
            print(f"  {name} is not written: it would show {', '.join(leaks)}")
            continue
        (folder / name).write_text(text)
    return [name for name in texts if (folder / name).exists()]


def document(journey, cloud, began, ended):
    steps = [{"name": s.name, "command": s.command, "expected": s.expected, "exit": s.code, "seconds": s.seconds, "passed": s.passed, "output": "" if s.passed else s.output} for s in journey.steps]
    answers = [{"question": a.question, "answered": a.answered, "answer": a.text, "facts": a.facts} for a in journey.answers]
    return {
        "format_version": 1,
        "cloud": cloud.cloud,
        "endpoint": "an emulator" if cloud.options.endpoint else "the cloud's own",
        "began": began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ended": ended.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "stopped": journey.reason,
        "passed": all(step.passed for step in journey.steps) and not journey.reason and not journey.remains,
        "steps": steps,
        "checks": failed_checks(journey),
        "answers": answers,
        "remains": journey.remains,
        "calls": len(cloud.recorder.exchanges),
    }


def failed_checks(journey):
    """What verify found wrong or could not see."""
    found = {}
    for step in ("verify", "verify after the changes"):
        for bastion in journey.json_of(step).get("bastions", []):
            found[step] = {"passed": bastion.get("passed"), "failed": bastion.get("failed"), "unknown": bastion.get("unknown")}
            checks = [check for check in bastion.get("checks", []) if check["verdict"] != "pass"]
            found[step]["not_passed"] = [{key: check.get(key) for key in ("id", "subject", "verdict", "cause", "reason")} for check in checks]
    return found


def page(found):
    lines = [f"# gangplank on {found['cloud']}: {'passed' if found['passed'] else 'NOT PASSED'}", ""]
    lines += [f"{found['began']} to {found['ended']}, against {found['endpoint']}, {found['calls']} recorded calls.", ""]
    lines += [f"**Stopped before its end: {found['stopped']}.**", ""] if found["stopped"] else []
    left = "; ".join(found["remains"]) or "nothing"
    lines += [f"Left in the account: {left}.", "", "## Steps", "", "| Step | Exit | Expected | Seconds |", "| --- | --- | --- | --- |"]
    for step in found["steps"]:
        mark = "" if step["passed"] else " **unexpected**"
        lines.append(f"| {step['name']} | {step['exit']}{mark} | {' or '.join(map(str, step['expected']))} | {step['seconds']:.0f} |")
    lines += ["", "## Answers", "", "| Question | Answer |", "| --- | --- |"]
    for answer in found["answers"]:
        lines.append(f"| {answer['question']} | {cell(answer['answer'])} |")
    for step, checks in found["checks"].items():
        lines += ["", f"## Checks of {step}: {checks['passed']} passed, {checks['failed']} failed, {checks['unknown']} unknown", ""]
        lines += [f"- {check['verdict']} `{check['id']}` {check['subject'] or ''}: {cell(check['cause'] or check['reason'] or '')}" for check in checks["not_passed"]]
    failed = [step for step in found["steps"] if not step["passed"]]
    for step in failed:
        lines += ["", f"## Output of {step['name']}", "", "```", step["output"], "```"]
    return "\n".join(lines) + "\n"


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")
