"""Views that are taken, dropped and taken again, while another process replaces rows and closes.

A handle keeps the map of a view that nobody uses for the next one, and meanwhile another process
may write replaced rows into the file. Every short sequence of such steps is tried.
"""

import itertools
import os

import numpy as np
from filesystems import filesystem
from numpack import NumPack
from support import start_python

DEEP = bool(os.environ.get("NUMPACK_DEEP"))
ROWS = 1536  # three pages
# Replace a row of the first page, another one of it, one of the last; close and open; look.
STEPS = {"1": 0, "2": 1, "3": ROWS - 1, "c": None, "v": None}

WRITER = """
import sys
import numpy as np
from numpack import NumPack

for line in sys.stdin:
    path, step, row, value = line.rstrip("\\n").split("\\t")
    if step == "first":
        npk = NumPack(path)
        npk.open()
        npk.save({"a": np.zeros(int(row), np.int64)})
        npk.close()
        npk.open()
    elif step == "last":
        npk.close()
    elif step == "c":
        npk.close()
        npk.open()
    else:
        npk.replace({"a": np.array([int(value)])}, [int(row)])
    print("done", flush=True)
"""


def difference(path, steps, writer):
    """Does the steps to a new store; the first look that shows another state than the newest."""

    def tell(step, row=0, value=0):
        writer.stdin.write(f"{path}\t{step}\t{row}\t{value}\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "done\n"

    expected = np.zeros(ROWS, np.int64)
    tell("first", ROWS)
    try:
        with NumPack(path, mode="r") as npk:
            for number, step in enumerate(steps, 1):
                if step == "v":
                    found = npk.view("a")
                    rows = np.flatnonzero(found != expected)
                    if len(rows):
                        what = f"{found[rows].tolist()}, not {expected[rows].tolist()}"
                        return f"look {number} shows {what} in rows {rows.tolist()}"
                    del found
                elif step == "c":
                    tell("c")
                else:
                    tell(step, STEPS[step], number)
                    expected[STEPS[step]] = number
    finally:
        tell("last")
    return ""


def test_a_view_taken_again_shows_what_others_have_written(tmp_path):
    length = 7 if DEEP else 5
    sequences = [
        "".join(steps) + "v"
        for steps in itertools.product(STEPS, repeat=length)
        if "v" in steps and "vv" not in "".join(steps) and steps[0] != "c"
    ]
    faults = {}
    with filesystem("shm", tmp_path) as directory, start_python(WRITER) as writer:
        for number, steps in enumerate(sequences):
            fault = difference(directory / f"{number}.npk", steps, writer)
            if fault:
                faults[steps] = fault
    assert len(sequences) > 5 ** (length - 1)
    assert not faults, f"{len(faults)} of {len(sequences)}, the first: {next(iter(faults.items()))}"
