"""The lab's programs: building them, starting them, and the truth that they print."""
import importlib.machinery
import importlib.util
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _builder():
    loader = importlib.machinery.SourceFileLoader("lab_build", str(ROOT / "lab" / "build"))
    loader_spec = importlib.util.spec_from_loader("lab_build", loader)
    module = importlib.util.module_from_spec(loader_spec)
    loader.exec_module(module)
    return module


builder = _builder()
VERSIONS = [v for v in os.environ.get("KEPTBY_GO_VERSIONS", "").split(",") if v] or builder.VERSIONS
NEWEST = VERSIONS[-1]
# One version of each design of the runtime's heap and maps, for what is too dear to be done on all.
EDGES = sorted({VERSIONS[0], VERSIONS[-1]}, key=VERSIONS.index)  # for builds that compile the whole library anew
SOME = [v for v in VERSIONS if builder.minor(v) in (19, 22, 24, 27)] or VERSIONS[-1:]


def minor(version):
    return builder.minor(version)


def binary(program, version=NEWEST, flavour="plain"):
    """Path of a lab program, built if it is not."""
    if not builder.up_to_date(program, version, flavour):
        # All programs of a version and flavour cost little more than one.
        text = builder.build(builder.PROGRAMS, version, flavour, os.cpu_count())
        if text is not None:
            text = builder.build([program], version, flavour, os.cpu_count())
        if text is not None:
            raise RuntimeError(f"lab/{program} does not build with go{version} {flavour}:\n{text}")
    return builder.path(program, version, flavour)


def prebuild():
    """All that the tests ask for. What does not build is reported by the test that needs it."""
    for version in VERSIONS:
        more = ("pie", "stripped-pie", "noopt", "cgo", "cgo-pie", "race", "dwarf4") if version in EDGES else ()
        for flavour in ("plain", "stripped", *more):
            builder.build(builder.PROGRAMS, version, flavour, os.cpu_count())


class Program:
    """A running lab program. Its truth is what it printed when it was ready."""

    def __init__(self, argv, env=None, ready_seconds=120, **popen):
        self.err_path = None
        self.argv = [str(a) for a in argv]
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, **(env or {})), **popen)
        self.pid = self.process.pid
        self._rest = b""
        try:
            self.truth = json.loads(self.line("READY", ready_seconds))
        except BaseException:
            self.kill()
            raise

    def line(self, start, seconds=20):
        """The rest of the next line of output that begins with a word."""
        end = time.monotonic() + seconds
        while True:
            text = self._line(end)
            if text.startswith(start):
                return text[len(start):].strip()

    def _line(self, end):
        fd = self.process.stdout.fileno()
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            ready, _, _ = select.select([fd], [], [], max(0, left))
            if not ready:
                raise TimeoutError(f"{self.argv[0]} said nothing")
            piece = os.read(fd, 65536)
            if not piece:
                err = self.process.stderr.read().decode(errors="replace")
                raise RuntimeError(f"{self.argv} ended with {self.process.wait()}: {err[-2000:]}")
            self._rest += piece
        text, self._rest = self._rest.split(b"\n", 1)
        return text.decode()

    @property
    def holders(self):
        return self.truth["holders"]

    def ping(self, seconds=10):
        """True when the program answers; its main goroutine has to run for that."""
        self.process.stdin.write(b"?")
        self.process.stdin.flush()
        self.line("pong", seconds)
        return True

    def heartbeat(self):
        """The largest gaps since the last call (only with -heartbeat)."""
        os.kill(self.pid, signal.SIGUSR1)
        return json.loads(self.line("HEARTBEAT"))

    def threads(self):
        """State letter and tracer of each thread, by thread id."""
        out = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                status = (task / "status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            field = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            out[int(task.name)] = (field["State"][0], int(field["TracerPid"]))
        return out

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for f in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                f.close()
            except OSError:
                pass


def arguments(program, variant):
    """How a program is started when the truth is to be compared."""
    return [f"-variant={variant}"] + (["-quiet"] if program == "zoo" else [])
