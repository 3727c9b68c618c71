"""Real servers under load: etcd and nats-server, built from their modules with the newest toolchain of this machine."""
import fcntl
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

import lab
from keptby_run import within

HERE = Path(__file__).resolve().parent
CACHE = lab.builder.cache() / "real"


def go_build(folder, package, name):
    """Builds a package of one of the modules beside this file; skips where the module proxy cannot be reached."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = subprocess.run(["go", "build", "-o", str(CACHE / name), package], cwd=HERE / folder, text=True,
                             env=dict(os.environ, CGO_ENABLED="0", GOFLAGS="-trimpath -buildvcs=false", GOWORK="off"),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if run.returncode:
        if any(x in run.stdout for x in ("dial tcp", "no such host", "i/o timeout", "proxyconnect", "503", "502")):
            pytest.skip(f"modules for {name} cannot be had here: {run.stdout[-300:]}")
        pytest.fail(run.stdout[-3000:])
    return CACHE / name


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(process, port, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server does not listen")


class Load:
    """The load generator. It is a lab program in this: READY comes first, then answers to what it is asked."""

    def __init__(self, binary, *args):
        self.program = lab.Program([binary, *args], ready_seconds=180)

    def stats(self):
        self.program.process.stdin.write(b"\n")
        self.program.process.stdin.flush()
        return json.loads(self.program.line("STATS"))


def start_etcd(folder):
    client, peer = free_port(), free_port()
    argv = [go_build("real/etcd", ".", "etcd"), "--data-dir", folder, "--log-level", "error", "--unsafe-no-fsync",
            "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}"]
    return argv, client, ("etcd", f"http://127.0.0.1:{client}")


def start_nats(folder):
    port = free_port()
    argv = [go_build("real/nats", "github.com/nats-io/nats-server/v2", "nats-server"), "-a", "127.0.0.1", "-p", str(port)]
    return argv, port, ("nats", f"127.0.0.1:{port}")


SERVERS = {"etcd": start_etcd, "nats-server": start_nats}


@pytest.fixture(params=sorted(SERVERS))
def server(request, tmp_path):
    argv, port, load = SERVERS[request.param](tmp_path)
    load_binary = go_build("load", ".", "load")
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, cwd=tmp_path)
    generator = None
    try:
        wait_for_port(process, port)
        generator = Load(load_binary, *load)
        yield request.param, process, generator
    finally:
        if generator:
            generator.program.kill()
        process.kill()
        process.wait()


def test_server_under_load(keptby, server, core_of):
    name, process, load = server
    time.sleep(1)
    load.stats()
    reports = [keptby.report(process.pid) for _ in range(5)]
    stats = load.stats()
    assert process.poll() is None
    assert stats["failed"] == 0 and stats["done"] > 0, stats
    for data in reports:
        cover = data["coverage"]
        assert cover["heap_bytes"] > 4 << 20
        assert cover["accounted_bytes"] >= 0.999 * cover["heap_bytes"], cover
        assert data["goroutines"]["total"] > 20
    stopped = sorted(r["target"]["stopped_ms"] for r in reports)
    assert 0 < stopped[len(stopped) // 2] < 10, stopped
    # The same look at the same moment from a core: as many goroutines, as large a heap.
    core = core_of(process.pid)
    later = keptby.report(f"/proc/{process.pid}/exe", "-c", core)
    assert within(later["coverage"]["heap_bytes"], reports[-1]["coverage"]["heap_bytes"], 60)
    assert later["coverage"]["accounted_bytes"] >= 0.999 * later["coverage"]["heap_bytes"]
    assert load.stats()["failed"] == 0


def test_top(keptby, server):
    name, process, load = server
    data = keptby.report("top", process.pid)
    assert len(data["holders"]) > 10 and len(data["types"]) > 10
    kinds = {h["kind"] for h in data["holders"]}
    assert {"global", "goroutine"} <= kinds, kinds
    # All that is reached belongs to somebody: the parts are not more than the whole.
    assert sum(t["bytes"] for t in data["types"]) > 4 << 20
    assert load.stats()["failed"] == 0
