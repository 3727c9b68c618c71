"""Running keptby, and reading its report."""
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def keptby_path():
    named = os.environ.get("KEPTBY")
    if named:
        return Path(named).resolve()
    for p in ("build/keptby", "build/release/keptby"):
        if (ROOT / p).exists():
            return ROOT / p
    return ROOT / "build/keptby"


class Keptby:
    def __init__(self, path):
        self.path = path

    def __call__(self, *args, timeout=120, **options):
        argv = [str(self.path)] + [str(a) for a in args]
        run = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             timeout=timeout, **options)
        assert run.returncode >= 0, f"{argv} died by signal {-run.returncode}: {run.stderr[-4000:]!r}"
        return run.returncode, run.stdout.decode(), run.stderr.decode()

    def start(self, *args, **options):
        """Without waiting for it."""
        return subprocess.Popen([str(self.path)] + [str(a) for a in args], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)

    def report(self, *args, rc=0, **options):
        """The report as JSON; the schema is looked at here, once for all tests."""
        status, out, err = self(*args, "--format", "json", **options)
        assert status == rc, f"{args}: exit status {status}, not {rc}: {err}"
        data = json.loads(out)
        if data["schema"] == "keptby/report/1":
            check_report(data)
        return data


def check_report(data):
    """Fields of the contract, and sums that must hold for every report."""
    for name in ("tool", "target", "memory", "coverage", "goroutines", "findings", "gaps"):
        assert name in data, f"report without {name}"
    target = data["target"]
    assert target["kind"] in ("process", "core")
    assert target["go_version"].startswith("go1."), target
    cover = data["coverage"]
    assert cover["reachable_bytes"] <= cover["heap_bytes"]
    assert cover["accounted_bytes"] <= cover["heap_bytes"]
    for f in data["findings"]:
        assert f["family"] == f["rule"].split("/")[0]
        assert f["confidence"] in ("proven", "likely", "suspect")
        assert isinstance(f["bytes"], int) and f["bytes"] >= 0
        assert f["fingerprint"] and f["summary"] and f["advice"]
        for step in f["holder"]:
            if "address" in step and step["address"] is not None:
                assert isinstance(step["address"], str)
    if target["kind"] == "process":
        parts = ("go_heap", "go_idle", "go_stacks", "go_runtime", "c_heap", "c_idle", "files", "other")
        memory = data["memory"]
        total = sum(memory[p] for p in parts)
        assert abs(total - memory["rss"]) <= 0.02 * memory["rss"] + (1 << 20), f"the parts do not add up: {memory}"


def findings_of(data, holder):
    """Findings whose holder is a variable of the program: by name, else by address (stripped binaries)."""
    names = [holder["name"], *holder["shared"]]
    found = []
    for f in data["findings"]:
        first = f["holder"][0] if f["holder"] else {}
        if first.get("name") in names or _covers(first, holder):
            found.append(f)
    return found


def _covers(step, holder):
    """In a stripped binary a variable is known by where it lies, or by where a part of it lies."""
    if not step.get("address"):
        return False
    address = int(step["address"], 16)
    parts = [(holder["address"], holder["size"]), (holder["target"] or "0", holder["target_size"])]
    return any(int(start, 16) <= address < int(start, 16) + size for start, size in parts)


def within(value, truth, percent, slack=0):
    return abs(value - truth) <= truth * percent / 100 + slack
