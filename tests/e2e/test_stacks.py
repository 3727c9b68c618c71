"""Stacks read from outside are the stacks that the runtime itself prints, frame by frame.

The process is stopped (SIGSTOP), keptby reads it, then it goes on and gets SIGQUIT: with GOTRACEBACK=system the runtime
prints every goroutine with all its frames, inlined ones too, as file and line.
"""
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

import lab

WAITING, SYSCALL = 4, 3


def plain(function):
    """In a traceback type arguments are [...], and gopanic goes by the name it has in the language."""
    return "panic" if function == "runtime.gopanic" else re.sub(r"\[.*\]", "[...]", function)


def place(line):
    m = re.match(r"\t(.*):(\d+)", line)
    return os.path.basename(m.group(1)), int(m.group(2))


def parse_goroutine(block):
    """(goid, reason, frames, created by) of one block of a traceback; None when it is none."""
    lines = block.strip().split("\n")
    head = re.match(r"goroutine (\d+)(?: gp=\S+ m=\S+(?: mp=\S+)?)? \[([^\]]*)\]", lines[0])
    if not head:
        return None
    frames, created = [], None
    for line in lines[1:]:
        if line.startswith("created by "):
            created = re.match(r"created by (.*?)(?: in goroutine \d+)?$", line).group(1)
        elif line.startswith("\t") and isinstance(created, str):
            created = (plain(created), *place(line))
        elif line.startswith("\t") and frames:
            frames[-1] = (frames[-1], *place(line))
        elif line.startswith("..."):
            frames.append(line)
        elif line and not created:
            frames.append(plain(re.sub(r"\([^()]*\)$", "", line.replace("{...}", ""))))
    return int(head.group(1)), head.group(2), frames, created


def parse_traceback(text):
    found = (parse_goroutine(b) for b in text.split("\n\n"))
    return {g[0]: g[1:] for g in found if g and g[0]}


class Dumped:
    """A lab program whose output goes to a file, as a traceback is longer than a pipe."""

    def __init__(self, tmp_path, version, flavour, *args):
        self.out = tmp_path / "out.txt"
        with open(self.out, "wb") as f:
            self.process = subprocess.Popen([lab.binary("zoo", version, flavour), *args], stdin=subprocess.PIPE, stdout=f,
                                            stderr=f, env=dict(os.environ, GOTRACEBACK="system"))
        self.pid = self.process.pid
        end = time.monotonic() + 60
        while b"READY" not in self.out.read_bytes():
            assert self.process.poll() is None and time.monotonic() < end, self.out.read_text()[-2000:]
            time.sleep(0.05)
        os.kill(self.pid, signal.SIGSTOP)
        while Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "Tt":
            time.sleep(0.01)

    def traceback(self):
        start = self.out.stat().st_size
        os.kill(self.pid, signal.SIGCONT)
        os.kill(self.pid, signal.SIGQUIT)
        self.process.wait(60)
        with open(self.out, "rb") as f:
            f.seek(start)
            return f.read().decode(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture
def dumped(tmp_path):
    running = []

    def run(*args):
        running.append(Dumped(tmp_path, *args))
        return running[-1]

    yield run
    for p in running:
        p.kill()


def read_stacks(keptby, pid):
    rc, out, err = keptby("debug", "stacks", pid)
    assert rc == 0, err
    return [json.loads(line) for line in out.splitlines()]


def same(mine, frames):
    """A traceback leaves out the middle (from 1.21) or the end of more than a hundred frames, and says how many."""
    gap = next((i for i, f in enumerate(frames) if isinstance(f, str)), None)
    if gap is None:
        return mine == frames
    tail = frames[gap + 1:]
    count = re.match(r"\.\.\.(\d+) frames elided", frames[gap])
    if count and len(mine) != len(frames) - 1 + int(count.group(1)):
        return False
    return len(mine) >= gap + len(tail) and mine[:gap] == frames[:gap] and (not tail or mine[-len(tail):] == tail)


def compare(ours, theirs):
    """Every goroutine that stands still is the same on both sides. Returns how many were compared."""
    compared = 0
    for g in ours:
        assert g["goid"] in theirs, f"goroutine {g['goid']} is not in the runtime's list: {g}"
        reason, frames, created = theirs[g["goid"]]
        assert not g["unwind_failed"], g
        # A timer of the runtime's own may wake one between SIGCONT and the traceback.
        if g["status"] not in (WAITING, SYSCALL) or "running" in reason or reason.startswith("runnable"):
            continue
        mine = [(plain(f["function"]), os.path.basename(f["file"]), f["line"]) for f in g["frames"]]
        assert same(mine, frames), f"goroutine {g['goid']} [{reason}]\n{mine}\n{frames}"
        assert reason.startswith(g["wait_reason"]), (g["goid"], g["wait_reason"], reason)
        if created:
            by = g["created_by"]
            assert (plain(by["function"]), os.path.basename(by["file"]), by["line"]) == created, g["goid"]
        compared += 1
    missing = set(theirs) - {g["goid"] for g in ours}
    # the runtime may start a thread's goroutine of its own when it handles the signal
    assert all("running" in theirs[g][0] for g in missing), missing
    return compared


@pytest.mark.parametrize("flavour", ["plain", "stripped"])
@pytest.mark.parametrize("version", lab.VERSIONS)
def test_stacks(keptby, dumped, version, flavour):
    p = dumped(version, flavour, "-quiet")
    ours = read_stacks(keptby, p.pid)
    assert compare(ours, parse_traceback(p.traceback())) >= 15


@pytest.mark.parametrize("flavour", ["stripped-pie", "noopt", "race"])
@pytest.mark.parametrize("version", lab.EDGES)
def test_stacks_flavours(keptby, dumped, version, flavour):
    p = dumped(version, flavour, "-quiet")
    ours = read_stacks(keptby, p.pid)
    assert compare(ours, parse_traceback(p.traceback())) >= 15


@pytest.mark.parametrize("version", lab.SOME)
def test_running(keptby, start, version):
    """Goroutines that run, or were interrupted anywhere, are walked to their end as well."""
    p = start("zoo", "-quiet", "-spin", version=version)
    for _ in range(5):
        stacks = read_stacks(keptby, p.pid)
        assert [g for g in stacks if g["unwind_failed"]] == []
        spinning = [g for g in stacks if any("spin" in f["function"].lower() for f in g["frames"])]
        assert spinning and all(g["frames"][-1]["function"] == "runtime.goexit" for g in spinning), stacks
