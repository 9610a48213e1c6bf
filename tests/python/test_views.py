"""Views lie in the file's own pages, are never writable there, and never change or die."""

import gc
import shutil

import numpy as np
import pytest
from numpack import NumPack
from support import (
    DTYPES,
    SHAPES,
    address,
    assert_private,
    assert_same,
    digest,
    lies_in,
    mapping_at,
    sample,
)


def doors(npk, name):
    """Every way to get at an array without copying it."""
    return {
        "view": npk.view(name),
        "lazy": np.asarray(npk.load(name, lazy=True)),
        "slice": npk.load(name, lazy=True)[3:90],
        "private": npk.load(name, copy=False),
    }


@pytest.mark.parametrize("when", ["saved", "reopened"])
@pytest.mark.parametrize("door", ["view", "lazy", "private", "arrow"])
def test_addresses_lie_in_the_data_file(path, door, when):
    with NumPack(path) as npk:
        npk.save({"a": sample("float32", (10_000, 4)), "b": np.arange(5000)})
        if when == "reopened":
            npk.close()
            npk.open()
        for name in ("a", "b"):
            if door == "arrow":
                held = npk.to_arrow(name)
                position = (held.flatten() if name == "a" else held).buffers()[1].address
            else:
                held = doors(npk, name)[door]
                position = address(held)
            assert lies_in(position, path), mapping_at(position)
            if when == "reopened":
                file = path / f"data_{name}.npkd"
                assert mapping_at(position)["inode"] == file.stat().st_ino


def test_shared_memory_is_never_writable(npk):
    npk.save({"a": sample("float32", (10_000, 4))})
    lazy = npk.load("a", lazy=True)
    for array in (npk.view("a"), np.asarray(lazy), lazy[:], lazy[5:900], lazy[3], lazy.T):
        assert_private(array)
        if array.flags.writeable:
            continue
        with pytest.raises(ValueError):
            array.setflags(write=True)
        with pytest.raises(ValueError):
            array[...] = 0
        base = array
        while isinstance(base, np.ndarray):
            assert not base.flags.writeable
            base = base.base
    assert memoryview(lazy).readonly
    view = npk.view("a")
    assert not view.flags.writeable
    assert not np.frombuffer(view, np.uint8).flags.writeable


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_view_of_everything(npk, dtype, shape):
    array = sample(dtype, shape)
    npk.save({"a": array})
    view = npk.view("a")
    assert type(view) is np.ndarray and not view.flags.writeable and view.flags.c_contiguous
    assert_same(view, array)


def test_view_with_deleted_rows(npk):
    array = sample("int32", (100, 3))
    npk.save({"a": array})
    npk.drop("a", [0, 1, 2, -1])
    assert_same(npk.view("a"), array[3:-1])
    npk.drop("a", [10, 20])
    with pytest.raises(ValueError) as caught:
        npk.view("a")
    assert "6" in str(caught.value) and "update" in str(caught.value) and "a" in str(caught.value)
    npk.update("a")
    assert_same(npk.view("a"), np.delete(array[3:-1], [10, 20], axis=0))


CHANGES = {
    "replace one": lambda npk, path: npk.replace({"a": np.zeros((1, 4), "f4")}, [7]),
    "replace all": lambda npk, path: npk.replace({"a": np.zeros((10_000, 4), "f4")}, slice(None)),
    "append": lambda npk, path: npk.append({"a": np.ones((3000, 4), "f4")}),
    "save over": lambda npk, path: npk.save({"a": np.zeros((10_000, 4), "f4")}),
    "save shorter": lambda npk, path: npk.save({"a": np.zeros((2, 4), "f4")}),
    "save other dtype": lambda npk, path: npk.save({"a": np.zeros((50_000,), "u1")}),
    "drop rows": lambda npk, path: npk.drop("a", [0, 5, 9999]),
    "drop rows, update": lambda npk, path: (npk.drop("a", [0, 5, 9999]), npk.update("a")),
    "drop": lambda npk, path: npk.drop("a"),
    "drop, save": lambda npk, path: (npk.drop("a"), npk.save({"a": np.zeros((10_000, 4), "f4")})),
    "rename": lambda npk, path: npk.rename("a", "b"),
    "reset": lambda npk, path: npk.reset(),
    "append, sync": lambda npk, path: (npk.append({"a": np.ones((1, 4), "f4")}), npk.sync()),
    "close": lambda npk, path: npk.close(),
    "remove the directory": lambda npk, path: (npk.close(), shutil.rmtree(path)),
    "reopen and change": lambda npk, path: (
        npk.close(),
        npk.open(),
        npk.replace({"a": np.zeros((2, 4), "f4")}, [0, 1]),
        npk.close(),
    ),
    "drop_if_exists": lambda npk, path: (
        npk.close(),
        NumPack(path, drop_if_exists=True).__enter__().save({"a": np.zeros(3)}),
    ),
    "writable batch": lambda npk, path: write_in_batch(npk),
}


def write_in_batch(npk):
    with npk.writable_batch_mode() as batch:
        batch.load("a")[...] = 0


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_reaches_a_view(path, change):
    array = sample("float32", (10_000, 4))
    npk = NumPack(path)
    npk.open()
    npk.save({"a": array})
    taken = doors(npk, "a")
    lazy = npk.load("a", lazy=True)
    before = {name: digest(view) for name, view in taken.items()}
    CHANGES[change](npk, path)
    gc.collect()
    for name, view in taken.items():
        assert digest(view) == before[name], name
    assert_same(lazy[:], array)
    npk.close()
    del npk
    gc.collect()
    assert_same(taken["view"], array)
    assert_same(taken["private"], array)


def test_views_survive_a_long_history(path):
    array = sample("int64", (2000, 2), 0)
    held = []
    with NumPack(path) as npk:
        npk.save({"a": array})
        for turn in range(60):
            held.append((npk.view("a"), npk.load("a", lazy=True), array.copy()))
            row = turn * 7
            values = sample("int64", (3, 2), turn + 1)
            npk.replace({"a": values}, [row, row + 1, -1])
            array[[row, row + 1, -1]] = values
            more = sample("int64", (5, 2), turn + 100)
            npk.append({"a": more})
            array = np.concatenate([array, more])
        assert_same(npk["a"], array)
        for view, lazy, expected in held:
            assert_same(view, expected)
            assert_same(lazy, expected)
    for view, lazy, expected in held:
        assert_same(view, expected)
        assert_same(lazy[-3:], expected[-3:])


def test_a_private_map_is_seen_by_nobody_else(npk):
    array = sample("float32", (10_000, 4))
    npk.save({"a": array})
    first, second = npk.load("a", copy=False), npk.load("a", copy=False)
    view = npk.view("a")
    first[...] = 0
    for other in (second, view, npk["a"]):
        assert_same(other, array)
    npk.replace({"a": np.ones((1, 4), "f4")}, [3])
    assert not first.any()


def test_loads_do_not_share_memory(npk):
    array = sample("float32", (200_000, 4))
    npk.save({"a": array})
    first = npk.load("a")
    first[...] = 0
    second = npk.load("a")
    assert_same(second, array)
    assert not np.shares_memory(first, second)
    del first
    third = npk.load("a")
    third[...] = 1
    assert_same(second, array)
