"""The text report, word for word: what differs from run to run (sizes, times, numbers of objects) is masked.

KEPTBY_UPDATE_GOLDEN=1 writes the files anew; look at the difference before you commit it."""
import os
import re
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MASKS = [
    (r"pid \d+", "pid PID"),
    (r"go1\.[\w.]+", "GOVERSION"),
    (r"up \S+( s| ms)?", "up AGE"),
    (r"stood still for \S+( ms| s)?, read in \S+( ms| s)?", "stood still for TIME, read in TIME"),
    (r"\d+(\.\d+)? (KiB|MiB|GiB)", "SIZE"),
    (r"\b\d+ B\b", "SIZE"),
    (r"SIZE in [\d,]+ objects?", "SIZE in N objects"),
    (r"[\d,]+ goroutines", "N goroutines"),
    (r"\d+(\.\d)? %", "P %"),
    (r"\(\d+ %\)", "(P %)"),
    (r"; [^;)]* is garbage not yet freed", ""),
]
# Parts of the resident set come and go with a few pages; which there are is looked at elsewhere.
RSS = (r"^RSS SIZE = .*$", "RSS SIZE = PARTS")


def masked(text):
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    text = re.sub(*RSS, text, flags=re.M)
    # Sentences are wrapped by width, and the masks change it.
    return re.sub(r"(?<=\S)\n {8}(?=[a-z0-9])", " ", text)


@pytest.mark.parametrize("program, variant, command", [
    ("globalmap", "leak", ()), ("globalmap", "fixed", ()), ("syncmap", "leak", ()), ("metrics", "leak", ()),
    ("chanbuffer", "leak", ()), ("shared", "leak", ()), ("globalmap", "leak", ("why", "main.BigObject")),
])
def test_report(keptby, start, program, variant, command):
    p = start(program, f"-variant={variant}")
    args = [command[0], p.pid, *command[1:]] if command else [p.pid]
    rc, out, err = keptby(*args, "--color=never")
    assert rc == 0, err
    name = "-".join([program, variant, *(c.replace(".", "_") for c in command)])
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("KEPTBY_UPDATE_GOLDEN"):
        path.write_text(masked(out))
    assert masked(out) == path.read_text()
