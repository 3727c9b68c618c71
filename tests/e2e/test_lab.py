"""The truth that the lab's programs print, and what keptby finds from outside: each program, on every Go version, plain
and stripped, live and from a core."""
import pytest

import lab
from keptby_run import findings_of, within

# Programs whose truth is in their holders; the others have tests of their own.
APART = {"zoo", "cgoheap", "idleheap", "stacks"}
# These go on allocating after READY, so that the totals of that moment are no truth any more.
MOVING = {"netserver", "threads", "growing"}
HOLDING = [p for p in lab.builder.PROGRAMS if p not in APART | MOVING]
PLAIN_AND_STRIPPED = ("plain", "stripped")


def check_holders(data, truth):
    stripped = data["target"]["stripped"]
    for h in truth["holders"]:
        found = findings_of(data, h)
        assert found, f"{h['name']} ({h['bytes']} bytes) is not reported; reported: {summaries(data)}"
        check_holder(max(found, key=lambda f: f["bytes"]), h, stripped)


def check_holder(finding, h, stripped):
    rules = h["expect"].split("|")
    if stripped and h["kind"] in ("slice", "sync.Map"):
        rules.append("global/other")  # the type of a variable is not in a stripped binary; only maps and channels show
    assert finding["rule"] in rules, finding["summary"]
    bytes_ = finding["bytes"]
    if stripped and h["kind"] == "struct":
        # Where a variable begins and ends is not in there either: its fields are told one by one.
        assert 0.8 * h["bytes"] <= bytes_ <= h["bytes"] * 1.01, (bytes_, h)
    elif h["shared"]:
        # What two variables hold belongs to either; the tables of the other one need not be counted.
        assert h["bytes"] / 2 <= bytes_ <= h["bytes"] * 1.01, (bytes_, h)
    else:
        assert within(bytes_, h["bytes"], 1), f"{h['name']}: {bytes_} bytes, in truth {h['bytes']}"
    if h["kind"] in ("map", "slice", "chan", "sync.Map") and finding["holder"][0].get("type") == h["type"]:
        assert finding["count"] == h["entries"], f"{h['name']}: {finding['count']} entries, in truth {h['entries']}"


def check_totals(data, truth):
    """The runtime's own numbers of the same moment. A thread that the runtime starts later costs a few objects."""
    heap = data["coverage"]["heap_bytes"]
    assert within(heap, truth["heap_alloc"], 0.1, 16 << 10), f"{heap} bytes, in truth {truth['heap_alloc']}"
    objects = data["memory"]["go_heap_objects"]
    assert within(objects, truth["heap_objects"], 0.1, 64), f"{objects} objects, in truth {truth['heap_objects']}"
    assert data["coverage"]["accounted_bytes"] >= 0.999 * heap
    assert data["goroutines"]["total"] >= truth["goroutines"]


def summaries(data):
    return [(f["rule"], f["bytes"], f["summary"]) for f in data["findings"]]


@pytest.mark.parametrize("flavour", PLAIN_AND_STRIPPED)
@pytest.mark.parametrize("program", HOLDING)
@pytest.mark.parametrize("version", lab.VERSIONS)
def test_leak(keptby, start, core_of, version, program, flavour):
    p = start(program, version=version, flavour=flavour)
    live = keptby.report(p.pid)
    assert live["target"]["stripped"] == (flavour == "stripped")
    assert live["target"]["go_version"].split()[0] == f"go{version}"
    check_totals(live, p.truth)
    check_holders(live, p.truth)
    core = keptby.report(lab.binary(program, version, flavour), "-c", core_of(p.pid))
    assert core["target"]["kind"] == "core" and core["target"]["pid"] == p.pid
    check_totals(core, p.truth)
    check_holders(core, p.truth)
    assert fingerprints(core) == fingerprints(live)
    assert p.ping()


def fingerprints(data):
    return sorted(f["fingerprint"] for f in data["findings"] if f["family"] == "global")


@pytest.mark.parametrize("flavour", PLAIN_AND_STRIPPED)
@pytest.mark.parametrize("program", HOLDING)
@pytest.mark.parametrize("version", lab.VERSIONS)
def test_fixed(keptby, start, version, program, flavour):
    p = start(program, "-variant=fixed", version=version, flavour=flavour)
    data = keptby.report(p.pid)
    check_totals(data, p.truth)
    assert not data["findings"], summaries(data)


@pytest.mark.parametrize("version", lab.VERSIONS)
def test_names_in_plain_binaries(keptby, start, version):
    """With symbols there is no guessing: name, type and the way down are given."""
    p = start("globalmap", version=version)
    finding, = findings_of(keptby.report(p.pid), p.holders[0])
    first = finding["holder"][0]
    assert first["kind"] == "global" and first["name"] == "main.globalCache"
    assert first["type"] == "map[string]*main.BigObject"
    assert finding["confidence"] in ("likely", "suspect")
    types = [step.get("type") for step in finding["holder"][1:]]
    assert "*main.BigObject" in types or "main.BigObject" in types, finding["holder"]


@pytest.mark.parametrize("flavour", ["pie", "stripped-pie", "noopt", "cgo", "race", "dwarf4"])
@pytest.mark.parametrize("version", lab.EDGES)
def test_flavours(keptby, start, core_of, version, flavour):
    if not lab.builder.exists("globalmap", version, flavour):
        pytest.skip("there is no such build of this version")
    p = start("globalmap", version=version, flavour=flavour)
    data = keptby.report(p.pid)
    check_totals(data, p.truth)
    check_holders(data, p.truth)
    core = keptby.report(lab.binary("globalmap", version, flavour), "-c", core_of(p.pid))
    check_holders(core, p.truth)


@pytest.mark.parametrize("program", ["globalmap", "maps", "linkedlist", "globalptr"])
@pytest.mark.parametrize("version", lab.SOME)
def test_gcore(keptby, start, core_of, version, program):
    p = start(program, version=version)
    data = keptby.report(lab.binary(program, version), "-c", core_of(p.pid, by="gcore"))
    check_totals(data, p.truth)
    check_holders(data, p.truth)


@pytest.mark.parametrize("flavour", PLAIN_AND_STRIPPED)
@pytest.mark.parametrize("version", lab.VERSIONS)
@pytest.mark.parametrize("churn", ["light", "heavy"])
def test_churn(keptby, start, version, flavour, churn):
    """While the program allocates and collects all the time, what it keeps is found all the same."""
    p = start("structcache", f"-churn={churn}", version=version, flavour=flavour)
    for _ in range(3):
        check_holders(keptby.report(p.pid), p.truth)
    assert p.ping()


@pytest.mark.parametrize("program", ["netserver", "threads"])
@pytest.mark.parametrize("version", lab.VERSIONS)
def test_moving(keptby, start, version, program):
    p = start(program, version=version)
    found = findings_of(keptby.report(p.pid), p.holders[0])
    assert found and within(found[0]["bytes"], p.holders[0]["bytes"], 1)
    q = start(program, "-variant=fixed", version=version)
    data = keptby.report(q.pid)
    assert not data["findings"], summaries(data)
    assert p.ping() and q.ping()


# ---- memory/rss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", lab.VERSIONS)
def test_idle_heap(keptby, start, version):
    p = start("idleheap", "-size=200", version=version)
    data = keptby.report(p.pid)
    idle = data["memory"]["go_idle"]
    # The background scavenger may have given some back since READY.
    truth = p.truth["heap_idle"] - p.truth["heap_released"]
    assert 0.8 * truth <= idle <= 1.1 * truth + (8 << 20), (idle, truth)
    found = [f for f in data["findings"] if f["rule"] == "memory/rss"]
    assert found and within(found[0]["bytes"], idle, 15), summaries(data)


@pytest.mark.parametrize("version", lab.VERSIONS)
def test_idle_heap_returned(keptby, start, version):
    p = start("idleheap", "-size=200", "-variant=fixed", version=version)
    data = keptby.report(p.pid)
    assert data["memory"]["go_idle"] < 8 << 20
    assert not data["findings"], summaries(data)


@pytest.mark.parametrize("version", lab.VERSIONS)
def test_stacks(keptby, start, version):
    p = start("stacks", version=version)
    data = keptby.report(p.pid)
    assert within(data["goroutines"]["total"], p.truth["goroutines"], 1, 10)
    # StackInuse counts whole stacks, resident or not.
    stacks = data["memory"]["go_stacks"]
    assert 0.5 * p.truth["stack_inuse"] <= stacks <= 1.05 * p.truth["stack_inuse"] + (1 << 20)
    assert stacks > data["memory"]["go_heap"]
    assert [f for f in data["findings"] if f["rule"] == "memory/rss"], summaries(data)


@pytest.mark.parametrize("flavour", ["cgo", "cgo-pie"])
@pytest.mark.parametrize("version", lab.EDGES)
def test_c_heap(keptby, start, version, flavour):
    p = start("cgoheap", version=version, flavour=flavour)
    memory = keptby.report(p.pid)["memory"]
    assert within(memory["c_heap"], p.truth["facts"]["c_bytes"], 10), memory


@pytest.mark.parametrize("version", lab.EDGES)
def test_c_heap_freed(keptby, start, version):
    p = start("cgoheap", "-variant=fixed", version=version, flavour="cgo")
    memory = keptby.report(p.pid)["memory"]
    assert memory["c_heap"] < 4 << 20, memory
