"""Exports pin the inode they lie in, and let go of it: a writer then gets it for itself."""

import gc
import subprocess
import sys

import numpy as np
import pytest
from numpack import NumPack
from support import address, assert_same, mapping_at, run_python
from test_lifetimes import ARRAY, EXPORTS

# Another process tries to lock an inode exclusively, as a writer does before it uses it again.
PROBE = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("pinned")
else:
    print("free")
"""


def data_file(path):
    """The file that holds the array now."""
    files = [
        file for file in path.rglob("*") if file.is_file() and file.stat().st_size == ARRAY.nbytes
    ]
    (file,) = files
    return file


def probe(file):
    """Whether a process that shares nothing with this one gets the inode."""
    return subprocess.run(
        [sys.executable, "-c", PROBE, str(file)], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_pins_and_releases(path, export):
    """In a handle that was reopened, so that nothing of the save is left."""
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
    file = data_file(path)
    take, look = EXPORTS[export]
    npk = NumPack(path)
    npk.open()
    got = take(npk)
    assert probe(file) == "pinned"
    npk.close()
    assert probe(file) == "pinned"
    look(got)
    del got
    gc.collect()
    assert probe(file) == "free"


def test_an_open_handle_keeps_no_pin_that_a_writer_waits_for(path):
    """The map that a handle keeps for the next view is given up when a writer asks."""
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
    file = data_file(path)
    with NumPack(path) as npk:
        for take, look in EXPORTS.values():
            got = take(npk)
            look(got)
            del got
        gc.collect()
        # The handle may keep its map for the next view until a writer wants the inode.
        run_python(
            "import sys, numpy as np\nfrom numpack import NumPack\n"
            "with NumPack(sys.argv[1]) as npk:\n"
            "    npk.replace({'a': np.zeros((3, 4), 'f4')}, [0, 1, 2])\n",
            path,
        )
        assert probe(file) == "free"
        assert not npk["a"][:3].any()


def test_a_held_export_keeps_the_writer_away(path):
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
        file = data_file(path)
        got = npk.view("a")
        assert probe(file) == "pinned"
        np.testing.assert_array_equal(got, ARRAY)


@pytest.mark.parametrize("held", [False, True], ids=["released", "held"])
@pytest.mark.parametrize("export", EXPORTS)
def test_a_writer_gets_the_inode_of_released_exports_only(path, export, held):
    """A save writes over the file of a generation that was replaced, unless someone has it."""
    take, look = EXPORTS[export]
    with NumPack(path) as npk:

        def saved(value):
            npk.save({"a": np.full_like(ARRAY, value)})
            return mapping_at(address(npk.view("a")))["inode"]

        npk.save({"a": ARRAY})
        first = mapping_at(address(npk.view("a")))["inode"]
        got = [take(npk) for _ in range(3)]
        assert saved(1) != first
        if held:
            assert saved(2) != first and saved(3) != first
            assert_same(look(got[0]), ARRAY)
        else:
            look(got[0])
            del got
            gc.collect()
            assert saved(2) == first
