"""A thousand live views, of one array and of a thousand: what they cost, and that it ends."""

import gc
import os
from pathlib import Path

import numpy as np
from numpack import NumPack
from support import assert_same

COUNT = 1000
ROWS = 600  # more than a page
# What the engine keeps at the most for views to come: maps that nobody uses, and descriptors.
IDLE = 128


def array(number):
    return np.arange(number, number + ROWS, dtype=np.float64)


def maps_of(path):
    """How many mappings of files below `path` this process has, deleted files included."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(f"{path}/" in line for line in lines)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_a_thousand_views_of_one_array(path):
    with NumPack(path) as npk:
        npk.save({"a": array(0)})
        assert_same(npk.view("a"), array(0))
        before = descriptors()
        held = [npk.view("a") for _ in range(COUNT)]
        held += [npk.load("a", lazy=True) for _ in range(COUNT)]
        assert maps_of(path) == 1 and descriptors() <= before + 2
        npk.replace({"a": np.zeros(3)}, [0, 300, -1])
        after = npk.load("a")
        held_after = [npk.view("a") for _ in range(COUNT)]
        # The new rows lie in private pages: that map is one more, in a few pieces.
        assert 1 < maps_of(path) <= 8 and descriptors() <= before + 4
        for view in held[::50]:
            assert_same(view, array(0))
        for view in held_after[::50]:
            assert_same(view, after)
        assert not after[[0, 300, -1]].any()
        del held, held_after, view
        gc.collect()
    assert maps_of(path) == 0 and descriptors() < before


def test_a_view_of_each_of_a_thousand_arrays(path):
    outside = descriptors()
    names = [f"a{number}" for number in range(COUNT)]
    # Without flushes, of which there would be thousands.
    with NumPack(path, durability="none") as npk:
        npk.save({name: array(number) for number, name in enumerate(names)})
    with NumPack(path, durability="none") as npk:
        before = descriptors()
        held = {name: npk.view(name) for name in names}
        assert COUNT <= maps_of(path) <= COUNT + 8
        assert descriptors() <= before + IDLE + 8
        for number, name in enumerate(names):
            npk.replace({name: np.full(2, -1.0)}, [number % ROWS, 0])
        again = {name: npk.view(name) for name in names}
        # Of each array the file, and a private map with rows in their places in a page or two.
        assert 2 * COUNT <= maps_of(path) <= 5 * COUNT
        assert descriptors() <= before + IDLE + 8
        for number, name in enumerate(names):
            assert_same(held[name], array(number), name)
            expected = array(number)
            expected[[number % ROWS, 0]] = -1
            assert_same(again[name], expected, name)
        # Beside the views everything else works as well.
        npk.append({name: np.ones(1) for name in names})
        npk.save({"more": array(5)})
        assert npk.get_shape("a7") == (ROWS + 1,)
        del again
        gc.collect()
        assert COUNT <= maps_of(path) <= 3 * COUNT + IDLE
    # Closing has put the rows into files: not those that are mapped.
    for number, name in enumerate(names):
        assert_same(held[name], array(number), name)
    del held
    gc.collect()
    assert maps_of(path) == 0 and descriptors() <= outside
    with NumPack(path) as npk:
        assert npk["a999"].tolist() == [-1, *array(999)[1:399], -1, *array(999)[400:], 1]


def test_views_that_come_and_go_leave_nothing(path):
    names = [f"a{number}" for number in range(2 * IDLE)]
    with NumPack(path) as npk:
        npk.save({name: array(number) for number, name in enumerate(names)})
        most = 0
        for turn in range(4):
            for name in names:
                npk.view(name)
                npk.replace({name: np.full(1, float(turn))}, [turn])
                npk.view(name)
            gc.collect()
            most = max(most, maps_of(path))
            assert descriptors() <= IDLE + 40
        # An idle map, and one with rows in their places, in at most three pieces.
        assert 0 < most <= 4 * IDLE
    assert maps_of(path) == 0
