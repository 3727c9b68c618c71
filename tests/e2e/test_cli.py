"""The command line: what it answers to bad input, and what its commands print."""
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import lab
from keptby_run import within

ESCAPE = "\x1b["
NOBODY = 65534


def one_line(err):
    lines = err.strip().splitlines()
    assert len(lines) == 1, f"not one clear line: {err!r}"
    assert len(lines[0]) < 700
    return lines[0]


@pytest.fixture
def cache_program(start):
    return start("globalmap")


# ---- bad input -----------------------------------------------------------------------------------------------------


def unused_pid():
    p = subprocess.Popen(["true"])
    p.wait()
    return p.pid


@pytest.mark.parametrize("command", [[], ["doctor"], ["top"]])
def test_no_such_process(keptby, command):
    pid = unused_pid()
    rc, out, err = keptby(*command, pid)
    assert rc == 3 and not out
    assert str(pid) in one_line(err)


def test_not_a_go_program(keptby):
    p = subprocess.Popen(["sleep", "60"])
    try:
        time.sleep(0.1)
        rc, out, err = keptby(p.pid)
        assert rc == 3 and not out
        assert re.search(r"not a Go|no Go", one_line(err))
        assert Path(f"/proc/{p.pid}/stat").read_text().split()[2] == "S"
    finally:
        p.kill()
        p.wait()


def test_zombie(keptby):
    p = subprocess.Popen(["true"])
    time.sleep(0.2)  # not waited for
    rc, out, err = keptby(p.pid)
    assert rc == 3 and not out
    one_line(err)
    p.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_no_permission(keptby, cache_program):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        copy = Path(folder) / "keptby"
        shutil.copy(keptby.path, copy)
        run = subprocess.run([copy, str(cache_program.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
    assert run.returncode == 3 and not run.stdout
    line = one_line(run.stderr)
    assert re.search(r"permi|allowed|uid|root|sudo|CAP_SYS_PTRACE", line), line
    assert cache_program.ping()


@pytest.mark.parametrize("args", [
    ["--no-such-option"], ["--format", "nonsense", "1"], ["-c"], ["--fail-on", "perhaps", "1"], ["why"],
    ["--color=sometimes", "1"], ["snapshot"], ["explain", "no/such-rule"], ["1", "2", "3"], ["doctor"], ["-o"],
], ids=" ".join)
def test_wrong_use(keptby, args):
    rc, out, err = keptby(*args)
    assert rc == 2, (rc, err)
    assert not out
    one_line(err)


@pytest.mark.parametrize("pid", ["-1", "0", "99999999999999999999", "12x", "", "/no/such/file"])
def test_wrong_pid(keptby, pid):
    rc, out, err = keptby("doctor", "--", pid)
    assert rc in (2, 3) and not out
    one_line(err)


def test_core_of_another_program(keptby, start, core_of):
    p = start("globalmap")
    core = core_of(p.pid)
    other = lab.binary("chanbuffer")
    rc, out, err = keptby(other, "-c", core)
    assert rc == 3 and not out
    assert re.search(r"match|belong|another|differ", one_line(err))
    same_program_other_version = lab.binary("globalmap", lab.VERSIONS[0])
    rc, out, err = keptby(same_program_other_version, "-c", core)
    assert rc == 3 and not out
    one_line(err)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no core at all\n" * 100, os.urandom(8192)],
                         ids=["empty", "four bytes", "text", "random"])
def test_no_core(keptby, tmp_path, content):
    core = tmp_path / "core"
    core.write_bytes(content)
    rc, out, err = keptby(lab.binary("globalmap"), "-c", core)
    assert rc == 3 and not out
    assert "core" in one_line(err)


@pytest.mark.parametrize("path", ["/no/such/core", "/tmp", "/bin/true"])
def test_no_core_file(keptby, path):
    rc, out, err = keptby(lab.binary("globalmap"), "-c", path)
    assert rc == 3 and not out
    assert path in one_line(err)


def test_no_executable(keptby, cache_program, core_of):
    core = core_of(cache_program.pid)
    for exe in ("/no/such/program", "/bin/true", "/etc/passwd", core):
        rc, out, err = keptby(exe, "-c", core)
        assert rc == 3 and not out, exe
        one_line(err)


@pytest.mark.parametrize("by", ["snapshot", "gcore"])
def test_truncated_core(keptby, cache_program, core_of, by):
    """What is there is told, with the exit status for a partial answer, and what is missing is said."""
    core = core_of(cache_program.pid, by=by)
    size = core.stat().st_size
    exe = lab.binary("globalmap")
    partial = 0
    for percent in (95, 80, 60, 40, 20, 5, 1):
        os.truncate(core, size * percent // 100)
        rc, out, err = keptby(exe, "-c", core, "--format", "json")
        assert rc in (3, 4), f"{percent} %: {rc} {err}"
        if rc == 4:
            partial += 1
            data = json.loads(out)
            assert data["gaps"], f"{percent} %: nothing is said to be missing"
        else:
            assert not out
            assert "cut short" in one_line(err)
    # gdb writes in the order of addresses: the runtime's own tables come last and are lost first. keptby writes them first.
    assert partial >= 1 or by == "gcore"
    os.truncate(core, 100)
    rc, out, err = keptby(exe, "-c", core)
    assert rc == 3 and not out
    one_line(err)


@pytest.mark.parametrize("seed", range(12))
def test_mangled_core(keptby, start, core_of, seed):
    """Wrong bytes anywhere: an answer or a clear refusal, never a crash, never for ever."""
    rng = random.Random(seed)
    p = start("globalmap", "-n=2000")
    core = core_of(p.pid)
    p.kill()
    with open(core, "r+b") as f:
        size = f.seek(0, os.SEEK_END)
        for _ in range(rng.choice([1, 20, 2000])):
            # The beginning (headers, notes, runtime data) is where wrong bytes hurt most.
            f.seek(rng.randrange(min(size, 4096)) if rng.random() < 0.2 else rng.randrange(size))
            f.write(rng.randbytes(rng.choice([1, 2, 8])))
    rc, out, err = keptby(lab.binary("globalmap"), "-c", core, "--format", "json", timeout=60)
    assert rc in (0, 3, 4), (rc, err)
    if rc == 3:
        one_line(err)
    else:
        json.loads(out)


@pytest.mark.parametrize("version,claimed,status", [("1.19.13", "1.16.13", 3), ("1.27.1", "1.29.1", 0)])
def test_unknown_go_version(keptby, tmp_path, version, claimed, status):
    """Too old: refused, with the version. Newer than known: the newest layout is tried, and holds here."""
    if version not in lab.VERSIONS:
        pytest.skip(f"go{version} is not among the versions to test")
    old, new = f"go{version}".encode(), f"go{claimed}".encode()
    text = lab.binary("globalmap", version).read_bytes()
    assert text.count(old) >= 2
    exe = tmp_path / "globalmap"
    exe.write_bytes(text.replace(old, new))
    exe.chmod(0o755)
    p = lab.Program([exe])
    try:
        rc, out, err = keptby(p.pid, "--format", "json")
        assert rc == status, err
        if status:
            assert not out and claimed in one_line(err)
        else:
            data = json.loads(out)
            assert within(data["findings"][0]["bytes"], p.holders[0]["bytes"], 1)
    finally:
        p.kill()


# ---- where the target may be -----------------------------------------------------------------------------------------


def test_deleted_executable(keptby, tmp_path):
    exe = tmp_path / "globalmap"
    shutil.copy(lab.binary("globalmap"), exe)
    p = lab.Program([exe])
    try:
        exe.unlink()
        data = keptby.report(p.pid)
        assert within(data["findings"][0]["bytes"], p.holders[0]["bytes"], 1)
    finally:
        p.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces")
def test_other_namespaces(keptby):
    """A process in PID and mount namespaces of its own, below a root of its own: its path means nothing outside."""
    with tempfile.TemporaryDirectory() as root:
        shutil.copy(lab.binary("globalmap"), Path(root) / "app")
        try:
            p = lab.Program(["unshare", "--pid", "--mount", "--fork", "--kill-child", f"--root={root}", "/app"])
        except RuntimeError as e:
            pytest.skip(f"no namespaces here: {e}")
        try:
            children = Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()
            data = keptby.report(children[0])
            assert within(data["findings"][0]["bytes"], p.holders[0]["bytes"], 1)
            assert data["target"]["pid"] == int(children[0])
        finally:
            p.kill()


# ---- output ----------------------------------------------------------------------------------------------------------


def test_help_and_version(keptby):
    rc, out, err = keptby("--help")
    assert rc == 0 and not err
    for command in ("doctor", "top", "why", "snapshot", "explain"):
        assert command in out
    rc, out, err = keptby("--version")
    assert rc == 0 and not err and re.match(r"keptby \d", out)


def test_list(keptby, cache_program):
    rc, out, err = keptby()
    assert rc == 0
    line, = [x for x in out.splitlines() if re.search(rf"\b{cache_program.pid}\b", x)]
    assert f"go{lab.NEWEST}" in line and "globalmap" in line
    assert str(os.getpid()) not in out.split(), "this test is no Go program"


def test_text_report(keptby, cache_program):
    rc, out, err = keptby(cache_program.pid)
    assert rc == 0
    assert ESCAPE not in out
    assert "global/map" in out and "main.globalCache" in out and "main.BigObject" in out
    assert str(cache_program.pid) in out and f"go{lab.NEWEST}" in out
    assert "1 finding" in out
    assert len(out.splitlines()) <= 50, "more than one screen"
    assert max(map(len, out.splitlines())) <= 200


def test_text_report_of_the_fixed_one(keptby, start):
    p = start("globalmap", "-variant=fixed")
    rc, out, err = keptby(p.pid)
    assert rc == 0
    assert re.search(r"\b[Nn]o(thing)?\b.*(finding|found)|nothing found", out), out
    assert "global/" not in out


def test_ascii_locale(keptby, cache_program, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    rc, out, err = keptby(cache_program.pid)
    assert rc == 0 and out.isascii()


@pytest.mark.parametrize("args,env,colour", [
    (["--color=always"], {}, True), (["--color=never"], {}, False), ([], {}, False),
    ([], {"CLICOLOR_FORCE": "1"}, True), ([], {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
    (["--color=always"], {"NO_COLOR": "1"}, True),
], ids=str)
def test_colour(keptby, cache_program, monkeypatch, args, env, colour):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    rc, out, err = keptby(cache_program.pid, *args)
    assert rc == 0
    assert (ESCAPE in out) == colour


def on_terminal(argv):
    """Runs a program with stdout and stderr on a terminal; status and text."""
    child, fd = pty.fork()
    if child == 0:
        os.execv(argv[0], argv)
    text = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([fd], [], [], 1)[0]:
            continue
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    else:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(fd)
    return os.waitstatus_to_exitcode(status), text.decode(errors="replace")


def test_on_a_terminal(keptby, cache_program):
    rc, text = on_terminal([str(keptby.path), str(cache_program.pid)])
    assert rc == 0 and ESCAPE in text and "main.globalCache" in text
    rc, text = on_terminal([str(keptby.path), str(cache_program.pid), "--format", "pprof"])
    assert rc == 2, "binary output went to a terminal"


@pytest.mark.parametrize("level,variant,status", [
    ("suspect", "leak", 1), ("suspect", "fixed", 0), ("proven", "leak", 0), ("proven", "fixed", 0)])
def test_fail_on(keptby, start, level, variant, status):
    p = start("globalmap", f"-variant={variant}")
    rc, out, err = keptby(p.pid, "--fail-on", level)
    assert rc == status and out


def test_full_disk(keptby, cache_program):
    with open("/dev/full", "w") as full:
        p = subprocess.run([str(keptby.path), str(cache_program.pid)], stdin=subprocess.DEVNULL, stdout=full,
                           stderr=subprocess.PIPE, text=True, timeout=60)
    assert p.returncode > 0, "what was not written is no success"
    one_line(p.stderr)
    assert cache_program.ping()


def test_reader_goes_away(keptby, cache_program):
    p = subprocess.Popen([str(keptby.path), str(cache_program.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    p.stdout.close()
    p.wait(60)
    assert "assert" not in p.stderr.read()
    assert cache_program.ping()


def test_output_file(keptby, cache_program, tmp_path):
    out_file = tmp_path / "report.json"
    args = (cache_program.pid, "--format", "json", "-o", out_file)
    rc, out, err = keptby(*args)
    assert rc == 0 and not out
    first = out_file.read_text()
    json.loads(first)
    rc, out, err = keptby(*args)
    assert rc in (2, 3) and out_file.read_text() == first
    assert "report.json" in one_line(err)
    rc, out, err = keptby(*args, "-f")
    assert rc == 0
    json.loads(out_file.read_text())


# ---- the commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", lab.VERSIONS)
def test_top(keptby, start, version):
    p = start("globalmap", version=version)
    data = keptby.report("top", p.pid)
    assert data["schema"] == "keptby/top/1"
    first = data["holders"][0]
    truth = p.holders[0]
    assert first["name"] == truth["name"] and first["kind"] == "global" and first["type"] == truth["type"]
    assert within(first["retained_bytes"], truth["bytes"], 1) and within(first["objects"], truth["objects"], 1)
    by_type = {t["type"]: t for t in data["types"]}
    assert by_type["main.BigObject"]["objects"] == truth["entries"]
    assert sum(h["retained_bytes"] for h in data["holders"]) <= p.truth["heap_alloc"] * 1.001


@pytest.mark.parametrize("by", ["holder", "type", "goroutine"])
def test_top_by(keptby, cache_program, by):
    rc, out, err = keptby("top", cache_program.pid, "--by", by)
    assert rc == 0 and out
    if by == "holder":
        assert "main.globalCache" in out
    if by == "type":
        assert "main.BigObject" in out


@pytest.mark.parametrize("version", lab.VERSIONS)
def test_why(keptby, start, version):
    p = start("globalmap", version=version)
    truth = p.holders[0]
    for what in (p.truth["facts"]["example"], "main.BigObject", "*main.BigObject", "main.globalCache"):
        data = keptby.report("why", p.pid, what)
        assert data["schema"] == "keptby/why/1"
        path = data["paths"][0]["path"]
        assert path[0]["name"] == truth["name"], what
        if what.endswith("BigObject"):
            # 80,000 objects by one path.
            assert data["paths"][0]["objects"] == truth["entries"]
    rc, out, err = keptby("why", p.pid, p.truth["facts"]["example"])
    assert rc == 0 and "main.globalCache" in out and "BigObject" in out


def test_why_not(keptby, cache_program):
    for what in ("0x10", "main.noSuchVariable", "*main.NoSuchType"):
        rc, out, err = keptby("why", cache_program.pid, what)
        assert rc == 3 and not out, what
        assert what.lstrip("*") in one_line(err)


def test_snapshot(keptby, cache_program, tmp_path):
    core = tmp_path / "x.core"
    rc, out, err = keptby("snapshot", cache_program.pid, "-o", core)
    assert rc == 0, err
    before = core.read_bytes()[:4096]
    rc, out, err = keptby("snapshot", cache_program.pid, "-o", core)
    assert rc in (2, 3) and core.read_bytes()[:4096] == before
    assert "x.core" in one_line(err)
    rc, out, err = keptby("snapshot", cache_program.pid, "-o", core, "-f")
    assert rc == 0, err
    assert core.stat().st_mode & 0o077 == 0, "memory of a process is nobody else's business"
    rc, out, err = keptby("snapshot", cache_program.pid, "-o", tmp_path / "no" / "such" / "folder")
    assert rc == 3
    one_line(err)


def test_snapshot_in_gdb(keptby, cache_program, core_of):
    if not shutil.which("gdb"):
        pytest.skip("gdb is not installed")
    core = core_of(cache_program.pid)
    run = subprocess.run(["gdb", "-batch", "-nx", "-ex", "info threads", "-ex", "bt 3", "-ex",
                          "x/s 'runtime.buildVersion'.str", str(lab.binary("globalmap")), str(core)],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=120)
    threads = len(cache_program.threads())
    assert len(re.findall(r"^[* ]+\d+ +(?:LWP|Thread)", run.stdout, re.M)) == threads, run.stdout
    assert f"go{lab.NEWEST}" in run.stdout
    assert "syscall" in run.stdout or "runtime." in run.stdout


def dlv():
    """Delve, of this machine or else from the module proxy."""
    found = shutil.which("dlv") or shutil.which("dlv", path=lab.builder.cache() / "real")
    if found:
        return found
    into = lab.builder.cache() / "real"
    run = subprocess.run(["go", "install", "github.com/go-delve/delve/cmd/dlv@v1.27.2"], text=True, timeout=600,
                         env=dict(os.environ, GOBIN=str(into), GOFLAGS="-trimpath -buildvcs=false"), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    if run.returncode:
        pytest.skip(f"dlv cannot be had here: {run.stdout[-300:]}")
    return into / "dlv"


def test_snapshot_in_dlv(keptby, cache_program, core_of):
    core = core_of(cache_program.pid)
    run = subprocess.run([dlv(), "core", str(lab.binary("globalmap")), str(core), "--allow-non-terminal-interactive=true"],
                         input="goroutines\ngoroutine 1 bt 30\nexit\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert "main.main" in run.stdout, run.stdout


def test_kernel_core(keptby, tmp_path):
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith("|") or "/" in pattern:
        pytest.skip(f"the kernel writes cores elsewhere: {pattern}")
    exe = lab.binary("globalmap")
    p = lab.Program(["sh", "-c", 'ulimit -c unlimited; cd "$1"; exec "$2"', "sh", str(tmp_path), str(exe)],
                    env={"GOTRACEBACK": "crash"})
    try:
        os.kill(p.pid, signal.SIGABRT)
        p.process.wait(60)
        cores = list(tmp_path.glob("core*"))
        if not cores:
            pytest.skip("the kernel wrote no core (a limit of this machine)")
        data = keptby.report(exe, "-c", cores[0])
        assert within(data["findings"][0]["bytes"], p.holders[0]["bytes"], 1)
        for c in cores:
            c.unlink()
    finally:
        p.kill()


def test_pprof(keptby, cache_program, tmp_path):
    profile = tmp_path / "kept.pb.gz"
    rc, out, err = keptby(cache_program.pid, "--format", "pprof", "-o", profile)
    assert rc == 0, err
    run = subprocess.run(["go", "tool", "pprof", "-top", "-cum", "-unit=B", "-nodefraction=0", str(profile)],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert run.returncode == 0, run.stdout
    line, = [x for x in run.stdout.splitlines() if x.split()[-1:] == ["main.globalCache"]]
    kept = int(line.split()[3].rstrip("B"))
    assert within(kept, cache_program.holders[0]["bytes"], 1), line


def test_explain(keptby):
    rc, out, err = keptby("explain")
    assert rc == 0
    rules = re.findall(r"\b(?:global|memory)/[a-z-]+", out)
    assert {"global/map", "global/slice", "memory/rss"} <= set(rules)
    for rule in sorted(set(rules)):
        rc, text, err = keptby("explain", rule)
        assert rc == 0 and rule in text and "https://" in text and len(text) > 200


def test_allocation_site(keptby, start):
    """Where the program samples its allocations, the report names the line that made what the holder keeps."""
    p = start("zoo", "-quiet")
    rc, out, err = keptby(p.pid, "--format", "json")
    assert rc == 0
    places = [a for f in json.loads(out)["findings"] for a in f["allocated_by"]]
    assert any(a["function"].startswith("main.fill") and a["file"].endswith(".go") and a["line"] > 0 for a in places), places
