"""Fixtures of the end-to-end tests: keptby itself, lab programs, cores.

    KEPTBY                the program under test (default build/keptby, else build/release/keptby)
    KEPTBY_GO_VERSIONS    Go versions, comma separated (default: the last patch release of each minor version)
    KEPTBY_LAB_CACHE      where the lab's binaries are kept (default ~/.cache/keptby-lab)
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import lab  # noqa: E402
from keptby_run import Keptby, keptby_path  # noqa: E402


def pytest_configure(config):
    """Build everything before the first test of a parallel run, so that builds do not disturb what is measured."""
    workers = getattr(config.option, "numprocesses", None)
    if workers and not hasattr(config, "workerinput") and not config.option.collectonly:
        lab.prebuild()


@pytest.fixture(scope="session")
def keptby():
    """keptby(*args) runs the program under test and returns its status, stdout and stderr."""
    path = keptby_path()
    if not path.exists():
        pytest.fail(f"{path} is not there: build it, or set KEPTBY")
    return Keptby(path)


@pytest.fixture
def start():
    """start(program, version, flavour, *args) starts a lab program and waits until it is ready; killed at the end."""
    running = []

    def run(program, *args, version=lab.NEWEST, flavour="plain", **options):
        p = lab.Program([lab.binary(program, version, flavour), *args], **options)
        running.append(p)
        return p

    yield run
    for p in running:
        p.kill()


@pytest.fixture
def core_of(keptby, tmp_path):
    """core_of(pid) takes a core of a process: by keptby snapshot, by gcore, or by the kernel (which ends the process)."""

    def snapshot(pid, path):
        rc, out, err = keptby("snapshot", pid, "-o", path)
        assert rc == 0, f"keptby snapshot: {rc}: {err}"

    def gcore(pid, path):
        if not shutil.which("gcore"):
            pytest.skip("gcore is not installed")
        # gdb prints much; it names the file PREFIX.PID.
        run = subprocess.run(["gcore", "-o", str(path), str(pid)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             stdin=subprocess.DEVNULL, text=True, timeout=300)
        made = Path(f"{path}.{pid}")
        assert made.exists(), run.stdout[-2000:]
        made.rename(path)

    def take(pid, by="snapshot"):
        path = tmp_path / f"{by}.core"
        {"snapshot": snapshot, "gcore": gcore}[by](pid, path)
        return path

    yield take
    for f in tmp_path.glob("*core*"):
        f.unlink()


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Nothing of the caller's terminal or habits shall show in the output."""
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "KEPTBY_PAGER", "PAGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    os.umask(0o022)
