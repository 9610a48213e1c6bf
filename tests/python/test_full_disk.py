"""A disk that is really full: every call fails with a clear error and changes nothing."""

import errno
import gc
import os
import re
from functools import partial

import numpy as np
import pytest
from filesystems import mounted
from numpack import NumPack, NumPackError
from support import assert_same, assert_store, digest

SIZE = 16 << 20
ROWS = 20_000


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", "tmpfs", f"size={SIZE}") as directory:
        yield directory


def fill(disk, left=0):
    """Takes all of the disk but `left` bytes."""
    status = os.statvfs(disk)
    with open(disk / "filler", "xb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - left)
    assert os.statvfs(disk).f_bavail * status.f_frsize == left


def make_room(disk):
    (disk / "filler").unlink()


def is_full(error):
    """The error is that of a full disk and names a file of the store."""
    assert isinstance(error, OSError) and isinstance(error, NumPackError)
    assert error.errno == errno.ENOSPC, error
    assert re.search(r'"[^"]*(\.npk/|data_|store\.npk)[^"]*": .*[Nn]o space', str(error)), error


def refused(call):
    with pytest.raises(NumPackError) as caught:
        call()
    is_full(caught.value)
    return caught.value


def arrays():
    return {
        "a": np.arange(ROWS * 8, dtype=np.float32).reshape(ROWS, 8),
        "b": np.arange(ROWS),
    }


def write_batch(npk):
    with npk.batch_mode():
        npk.load("a")[...] = 0
        npk.append({"b": np.arange(ROWS)})


def write_writable_batch(npk):
    with npk.writable_batch_mode() as batch:
        batch.load("a")[...] = 0
        batch.load("b")[...] = 0


# What is called, and what it makes of the arrays.
CALLS = {
    "save": (
        lambda npk: npk.save({"new": np.ones(ROWS)}),
        lambda model: {**model, "new": np.ones(ROWS)},
    ),
    "overwrite both": (
        lambda npk: npk.save({"a": np.ones(ROWS), "b": np.ones(ROWS)}),
        lambda model: {"a": np.ones(ROWS), "b": np.ones(ROWS)},
    ),
    "append": (
        lambda npk: npk.append(arrays()),
        lambda model: {name: np.concatenate([array] * 2) for name, array in model.items()},
    ),
    "replace": (
        lambda npk: npk.replace({"a": np.ones((5000, 8), "f4"), "b": np.ones(5000, int)},
                                slice(0, 10_000, 2)),
        lambda model: {name: ones_at(array, slice(0, 10_000, 2)) for name, array in model.items()},
    ),
    "batch": (
        write_batch,
        lambda model: {"a": model["a"] * 0, "b": np.concatenate([model["b"]] * 2)},
    ),
    "writable batch": (
        write_writable_batch,
        lambda model: {name: array * 0 for name, array in model.items()},
    ),
    "clone": (
        lambda npk: npk.clone("a", "copy"),
        lambda model: {**model, "copy": model["a"]},
    ),
    "create": (
        lambda npk: npk.create("c", (ROWS, 3), "i8", 7),
        lambda model: {**model, "c": np.full((ROWS, 3), 7)},
    ),
}  # fmt: skip


def ones_at(array, rows):
    array = array.copy()
    array[rows] = 1
    return array


@pytest.mark.parametrize("call", CALLS)
def test_a_call_on_a_full_disk_changes_nothing(disk, call):
    change, expect = CALLS[call]
    path = disk / "store.npk"
    with NumPack(path) as npk:
        npk.save(arrays())
    with NumPack(path) as npk:
        view, lazy = npk.view("a"), npk.load("a", lazy=True)
        before = digest(view)
        for left in (0, 4096, 65_536):
            fill(disk, left)
            refused(lambda: change(npk))
            assert_store(npk, arrays())
            assert digest(view) == before == digest(lazy)
            assert npk.table("a", "b").sql("SELECT max(b) AS m FROM self").to_numpy()["m"] == [
                ROWS - 1
            ]
            with NumPack(path, mode="r") as other:
                assert_store(other, arrays())
            make_room(disk)
        change(npk)
        assert_store(npk, expect(arrays()))
        assert digest(view) == before == digest(lazy)
    with NumPack(path) as npk:
        assert_store(npk, expect(arrays()))
        assert digest(view) == before


def test_the_error_says_which_store_it_is(disk):
    """By the whole path, as the errors of other files do: a program may have many stores open."""
    with NumPack(disk / "store.npk") as npk:
        npk.save(arrays())
        fill(disk)
        texts = {call: str(refused(partial(change, npk))) for call, (change, _) in CALLS.items()}
        make_room(disk)
    assert len(texts) == len(CALLS)
    assert [call for call, text in texts.items() if str(disk / "store.npk") not in text] == [], (
        texts
    )


def append_some(npk, number):
    npk.append({"a": np.full((3000, 8), number, "f4"), "b": np.full(3000, number)})


def replace_some(npk, number):
    rows = range(number % 7, number % 7 + 3000)
    npk.replace({"a": np.full((3000, 8), number, "f4"), "b": np.full(3000, number)}, rows)


def save_some(npk, number):
    npk.save({f"a{number}": np.full((3000, 8), number, "f4"), f"b{number}": np.arange(3000)})


@pytest.mark.parametrize("reopen", [False, True], ids=["open", "reopened"])
@pytest.mark.parametrize("step", [append_some, replace_some, save_some])
def test_until_the_disk_is_full(disk, step, reopen):
    """The step that does not fit is not there, all before it are, and there is a way on."""
    path = disk / "store.npk"
    npk = NumPack(path)
    npk.open()
    npk.save(arrays())
    view = npk.view("a")
    before = digest(view)
    fill(disk, 3 << 20)
    number, expected = 0, {}
    with pytest.raises(OSError) as caught:
        while True:
            expected = npk.load(npk.get_member_list())
            step(npk, number)
            number += 1
    is_full(caught.value)
    assert number > 5
    assert_store(npk, expected)
    assert digest(view) == before
    if reopen:
        try:
            npk.close()  # a checkpoint, which may fit or not
        except OSError as error:
            is_full(error)
        npk.open()
        assert_store(npk, expected)
    make_room(disk)
    step(npk, number)
    changed = npk.load(npk.get_member_list())
    assert any(
        name not in expected or not np.array_equal(array, expected[name])
        for name, array in changed.items()
    )
    npk.close()
    assert digest(view) == before
    with NumPack(path) as npk:
        assert_store(npk, changed)


def test_closing_on_a_full_disk_loses_nothing(disk):
    """The checkpoint has no room: what was committed is in the journal, and stays."""
    path = disk / "store.npk"
    with NumPack(path) as npk:
        npk.save(arrays())
    refusals = 0
    for number in range(3):
        npk = NumPack(path)
        npk.open()
        view = npk.view("a")
        npk.replace({"a": np.full((3, 8), number, "f4")}, [number, number + 10, -1])
        npk.drop("b", [0])
        expected = npk.load(["a", "b"])
        fill(disk)
        try:
            npk.close()
        except OSError as error:
            refusals += 1
            is_full(error)
        with NumPack(path, mode="r") as reader:
            assert_store(reader, expected)
        make_room(disk)
        with NumPack(path) as npk:
            assert_store(npk, expected)
        assert_same(view[number], arrays()["a"][number])
        del view
        gc.collect()
    assert refusals


def test_a_new_store_on_a_full_disk(disk):
    fill(disk)
    path = disk / "store.npk"
    with pytest.raises(OSError) as caught:
        NumPack(path).open()
    is_full(caught.value)
    make_room(disk)
    with NumPack(path) as npk:
        npk.save(arrays())
        assert_store(npk, arrays())


def test_no_more_files(tmp_path):
    with mounted(tmp_path / "disk", "tmpfs", f"size={SIZE},nr_inodes=16") as disk:
        with NumPack(disk / "store.npk") as npk:
            number = 0
            with pytest.raises(OSError) as caught:
                while True:
                    npk.save({f"a{number}": np.arange(number)})
                    number += 1
            is_full(caught.value)
            assert number > 5
            expected = {f"a{k}": np.arange(k) for k in range(number)}
            assert_store(npk, expected)
            npk.append({"a3": np.arange(2)})
            expected["a3"] = np.array([0, 1, 2, 0, 1])
            npk.drop("a1")
            del expected["a1"]
        with NumPack(disk / "store.npk") as npk:
            assert_store(npk, expected)
