"""Views of every kind keep their bytes over thousands of random operations.

The operations are done by this process, by a thread of it, by forked children and by a second
process, and after each of them every view that is still held is compared with what it showed when
it was taken.
"""

import gc
import os
import random
import threading

import numpy as np
import pytest
from filesystems import filesystem
from numpack import NotContiguousError, NumPack
from support import start_python

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")

DEEP = bool(os.environ.get("NUMPACK_DEEP"))
# Forking beside threads is what some of the operations are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

# Name, dtype, width (0 for one axis) and about how many rows.
ARRAYS = {
    "a": ("f4", 4, 3000),
    "b": ("i8", 3, 300),
    "c": ("f8", 0, 6000),
    "ü/é": ("u1", 16, 4000),
    "moved": ("f4", 4, 500),
    # Replacing all of it is more than a record of the journal takes.
    "wide": ("f8", 64, 2500),
}
HELD = 24
MAXIMUM = 15_000


def values(generator, name, count):
    dtype, width, _ = ARRAYS[name]
    whole = generator.integers(0, 100, (count, width) if width else count)
    return whole.astype(dtype)


OPERATIONS = {
    "replace a run": 12,
    "replace scattered": 12,
    "replace most": 4,
    "replace all": 3,
    "append": 10,
    "overwrite": 5,
    "drop rows": 7,
    "drop": 2,
    "update": 5,
    "rename": 3,
    "reset": 1,
    "sync": 3,
    "reopen": 8,
    "batch": 4,
    "writable batch": 5,
    "several": 4,
}


def operate(npk, seed):
    """Does one operation to a store, whatever it holds; the same one for the same seed."""
    generator = np.random.default_rng(seed)
    weights = np.array(list(OPERATIONS.values()), float)
    kind = generator.choice(list(OPERATIONS), p=weights / weights.sum())
    name = str(generator.choice(list(ARRAYS)))
    usual = ARRAYS[name][2]
    if kind == "reset":
        npk.reset()
    elif kind == "sync":
        npk.sync()
    elif kind == "reopen":
        npk.close()
        npk.open()
    elif kind == "rename":
        if npk.has_array("moved"):
            npk.drop("moved")
        if npk.has_array("a"):
            npk.rename("a", "moved")
    elif not npk.has_array(name) or kind == "overwrite":
        kind = "overwrite"
        npk.save({name: values(generator, name, usual + int(generator.integers(-50, 50)))})
    elif npk.get_shape(name)[0] > MAXIMUM or kind == "drop":
        kind = "drop"
        npk.drop(name)
    else:
        change(npk, generator, kind, name, npk.get_shape(name)[0])
    return kind


def change(npk, generator, kind, name, rows):
    """The operations on one array of at least one row."""
    if kind == "replace a run":
        count = int(generator.integers(1, min(rows, 200) + 1))
        start = int(generator.integers(rows - count + 1))
        npk.replace({name: values(generator, name, count)}, slice(start, start + count))
    elif kind == "replace scattered":
        picks = generator.integers(-rows, rows, int(generator.integers(1, 60)))
        npk.replace({name: values(generator, name, len(picks))}, picks)
    elif kind == "replace most":
        npk.replace({name: values(generator, name, len(range(0, rows, 2)))}, slice(0, rows, 2))
    elif kind == "replace all":
        npk.replace({name: values(generator, name, rows)}, slice(None))
    elif kind == "append":
        npk.append({name: values(generator, name, int(generator.integers(1, 2 + rows // 4)))})
    elif kind == "drop rows":
        if generator.integers(2):
            npk.drop(name, slice(0, rows // 10))
        else:
            npk.drop(name, generator.integers(0, rows, max(1, rows // 100)))
    elif kind == "update":
        npk.update(name)
    elif kind == "batch":
        with npk.batch_mode():
            npk.load(name)[:: int(generator.integers(1, 50))] += 1
            npk.append({name: values(generator, name, 3)})
    elif kind == "writable batch":
        with npk.writable_batch_mode() as batch:
            batch.load(name)[:: int(generator.integers(1, 50))] += 1
    else:
        assert kind == "several"
        names = [other for other in npk.get_member_list() if npk.get_shape(other)[0] >= 20]
        npk.replace({other: values(generator, other, 20) for other in names}, range(20))


# Each gives an object, and how to look at all its values.
def of_arrow(array):
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    flat = [
        chunk.flatten() if isinstance(chunk, pa.FixedSizeListArray) else chunk for chunk in chunks
    ]
    return np.concatenate([chunk.to_numpy(zero_copy_only=True) for chunk in flat])


def whole(got):
    return got


VIEWS = {
    "view": (lambda npk, name: npk.view(name), whole),
    "half a view": (lambda npk, name: npk.view(name)[1::2], whole),
    "lazy": (lambda npk, name: npk.load(name, lazy=True), lambda got: got[:]),
    "buffer": (lambda npk, name: memoryview(npk.load(name, lazy=True)), np.asarray),
    "private": (lambda npk, name: npk.load(name, copy=False), whole),
    "arrow": (lambda npk, name: npk.to_arrow(name), of_arrow),
    "pyarrow": (
        lambda npk, name: pa.table(npk.table(name)),
        lambda got: of_arrow(got.column(0)),
    ),
    "polars": (
        lambda npk, name: pl.DataFrame(npk.table(name)),
        lambda got: got.to_series(0).to_numpy(),
    ),
    "sql": (
        lambda npk, name: npk.table(name).sql(f'SELECT "{name}" FROM self'),
        lambda got: got.to_numpy()[got.column_names[0]],
    ),
}


class Held:
    """A view, and a copy of what it showed when it was taken."""

    def __init__(self, npk, kind, name, number):
        self.what = f"{kind} of {name!r} taken at operation {number}"
        take, self.look = VIEWS[kind]
        self.got = take(npk, name)
        loaded = npk.load(name)
        self.expected = loaded[1::2] if kind == "half a view" else loaded
        try:
            self.check()
        except AssertionError as error:
            raise AssertionError(f"{error}, at once") from None

    def check(self):
        found = np.asarray(self.look(self.got))
        assert found.size == self.expected.size, self.what
        # Without pytest's printing of both arrays.
        if not np.array_equal(found.reshape(self.expected.shape), self.expected):
            different = np.flatnonzero(found.ravel() != self.expected.ravel())
            width = self.expected.size // len(self.expected)
            raise AssertionError(f"{self.what} differs in rows {np.unique(different // width)}")


# A second process that does what it is told to, with a handle that it keeps or one for each.
SERVER = """
import sys
from numpack import NumPack
from test_immutability import operate

kept = NumPack(sys.argv[1])
for line in sys.stdin:
    seed, fresh = map(int, line.split())
    if fresh:
        kept.close()
        with NumPack(sys.argv[1]) as npk:
            print(operate(npk, seed), flush=True)
    else:
        kept.open()
        print(operate(kept, seed), flush=True)
kept.close()
"""


def by_child(held, npk, seed):
    """The operation in a forked child, which also looks at the views that it has inherited."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        message = "the child has died"
        try:
            os.close(reading)
            message = "done " + operate(npk, seed)
            # Arrow and Polars may need threads that did not come along.
            for view in held:
                if isinstance(view.got, np.ndarray):
                    view.check()
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, message.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as channel:
        message = channel.read()
    assert os.waitpid(child, 0)[1] == 0 and message.startswith("done "), message
    return message.removeprefix("done ")


def by_thread(npk, seed):
    kinds = []
    thread = threading.Thread(target=lambda: kinds.append(operate(npk, seed)))
    thread.start()
    thread.join()
    return kinds[0]


def history(path, seed, number):
    """Does `number` operations; returns what was done, by whom, and which views were compared."""
    with start_python(SERVER, path) as server:
        result = operations(path, seed, number, server)
    assert server.returncode == 0
    return result


def operations(path, seed, number, server):
    draw = random.Random(seed)
    npk = NumPack(path)
    npk.open()
    held, done, looked = [], {}, {}
    for count in range(number):
        if npk.get_member_list() and draw.random() < 0.7:
            names = npk.get_member_list()
            # The largest less often: looking at it takes the longest.
            name = draw.choice([*names, *(name for name in names if name != "wide")])
            kind = draw.choice(list(VIEWS))
            try:
                held.append(Held(npk, kind, name, count))
            except NotContiguousError:
                assert npk.get_metadata()["arrays"][name]["deleted"], name
        while len(held) > HELD or (held and draw.random() < 0.2):
            held.pop(draw.randrange(len(held)))
        who = draw.choices(["self", "thread", "child", "other"], [5, 2, 1, 2])[0]
        one = seed * 1_000_000 + count
        if who == "self":
            kind = operate(npk, one)
        elif who == "thread":
            kind = by_thread(npk, one)
        elif who == "child":
            kind = by_child(held, npk, one)
        else:
            server.stdin.write(f"{one} {draw.randrange(2)}\n")
            server.stdin.flush()
            kind = server.stdout.readline().strip()
            assert kind in OPERATIONS, kind
        done[who, kind] = done.get((who, kind), 0) + 1
        for view in held:
            try:
                view.check()
            except AssertionError as error:
                raise AssertionError(f"{error}, after {count}: {kind!r} by {who}") from None
            kind_of_view = view.what.split(" of ")[0]
            looked[kind_of_view] = looked.get(kind_of_view, 0) + 1
    npk.close()
    for view in held:
        view.check()
    return done, looked


@pytest.mark.parametrize(
    ("kind", "number"),
    [("default", 600), ("shm", 900), ("overlay", 500)],
)
def test_no_operation_of_anybody_reaches_a_view(tmp_path, kind, number):
    number *= 25 if DEEP else 1
    with filesystem(kind, tmp_path) as directory:
        done, looked = history(directory / "store.npk", 7, number)
        gc.collect()
    assert sum(done.values()) == number
    assert {kind for _, kind in done} == set(OPERATIONS)
    assert {who for who, _ in done} == {"self", "thread", "child", "other"}
    assert set(looked) == set(VIEWS) and min(looked.values()) > number / 4, looked


def test_the_comparison_sees_a_changed_byte(path):
    """What the test above would say if a file was written to under a view."""
    with NumPack(path) as npk:
        operate(npk, 0)
        npk.save({"a": values(np.random.default_rng(1), "a", 3000)})
    with NumPack(path) as npk:
        held = [Held(npk, kind, "a", 0) for kind in VIEWS]
        with open(path / "data_a.npkd", "r+b") as file:
            file.seek(1008)
            file.write(b"\xff" * 16)
        seen = []
        for view in held:
            try:
                view.check()
            except AssertionError:
                seen.append(view.what.split(" of ")[0])
    assert set(seen) >= {"view", "lazy", "buffer", "arrow", "pyarrow", "half a view"}
