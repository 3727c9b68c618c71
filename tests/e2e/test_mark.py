"""The heap seen from outside is the heap that the collector sees, object by object.

After two collections in a process that then does nothing, the collector's own mark bits say which objects it found. The
hidden command `debug mark` compares them with what keptby reaches: missed are objects that the collector kept and keptby
did not reach, extra are those that keptby reached and the collector did not keep.
"""
import json

import pytest

import lab


def mark(keptby, *target):
    rc, out, err = keptby("debug", "mark", *target)
    assert rc == 0, err
    return json.loads(out)


def check(data, truth, version):
    # Go 1.24's unique package has a goroutine that makes a few closures right after a collection.
    # A thread that the runtime starts after READY brings a handful of objects, which are reached like all others.
    spare = 8 if lab.minor(version) in (23, 24) else 0
    assert data["extra"] == 0, data
    assert data["missed"] <= spare, data
    assert abs(data["objects"] - truth["heap_objects"]) <= spare + 16, (data, truth["heap_objects"])


@pytest.mark.parametrize("flavour", ["plain", "stripped"])
@pytest.mark.parametrize("version", lab.VERSIONS)
def test_zoo(keptby, start, core_of, version, flavour):
    p = start("zoo", "-quiet", version=version, flavour=flavour)
    check(mark(keptby, p.pid), p.truth, version)
    core = core_of(p.pid)
    check(mark(keptby, lab.binary("zoo", version, flavour), "-c", core), p.truth, version)


@pytest.mark.parametrize("flavour", ["pie", "stripped-pie"])
@pytest.mark.parametrize("version", lab.EDGES)
def test_zoo_flavours(keptby, start, version, flavour):
    p = start("zoo", "-quiet", version=version, flavour=flavour)
    check(mark(keptby, p.pid), p.truth, version)


# Go 1.27 has only the new channels, and refuses to start with the old.
@pytest.mark.parametrize("flavour", ["noopt", "race"])
@pytest.mark.parametrize("version", lab.EDGES)
def test_maps_flavours(keptby, start, version, flavour):
    p = start("maps", "-quiet", version=version, flavour=flavour)
    check(mark(keptby, p.pid), p.truth, version)


@pytest.mark.parametrize("version,asynctimerchan", [
    (v, old) for v in lab.VERSIONS if lab.minor(v) >= 23 for old in (0, 1) if not (old and lab.minor(v) >= 27)])
def test_timers(keptby, start, version, asynctimerchan):
    """Timers lie elsewhere with the old channels, which go.mod's version chooses by default."""
    p = start("zoo", "-quiet", version=version, env={"GODEBUG": f"asynctimerchan={asynctimerchan}"})
    check(mark(keptby, p.pid), p.truth, version)


@pytest.mark.parametrize("program", ["maps", "bigarrays", "linkedlist", "syncmap", "chanbuffer", "closures", "tinyallocs"])
@pytest.mark.parametrize("version", lab.VERSIONS)
def test_programs(keptby, start, version, program):
    p = start(program, "-quiet", version=version)
    check(mark(keptby, p.pid), p.truth, version)


@pytest.mark.parametrize("version", lab.VERSIONS)
def test_preempted(keptby, start, version):
    """Goroutines that were interrupted anywhere are scanned conservatively: nothing is missed, little is extra."""
    p = start("zoo", "-quiet", "-spin", version=version)
    data = mark(keptby, p.pid)
    assert data["missed"] <= 8 and data["extra"] <= 64, data
