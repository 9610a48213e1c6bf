"""What was exported stays valid and unchanged, whatever happens to the store, and costs one map."""

import gc
import os
import shutil

import numpy as np
import pytest
from numpack import NumPack
from support import assert_same, lies_in, plain, run_python

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")
pd = pytest.importorskip("pandas")

ROWS = 20_000
ARRAY = plain("float32", (ROWS, 4), 1)

# Each gives an object, and how to look at all its values.
EXPORTS = {
    "array": (lambda npk: npk.to_arrow("a"), lambda got: of_lists(got)),
    "table": (lambda npk: npk.to_arrow(), lambda got: of_lists(got["a"].combine_chunks())),
    "stream": (
        lambda npk: pa.RecordBatchReader.from_stream(npk),
        lambda got: of_lists(got.read_all()["a"].combine_chunks()),
    ),
    "arrow of a lazy array": (
        lambda npk: pa.array(npk.load("a", lazy=True)),
        lambda got: of_lists(got),
    ),
    "polars": (lambda npk: pl.DataFrame(npk), lambda got: got["a"].to_numpy()),
    "pandas": (
        lambda npk: npk.table().to_pandas(types_mapper=pd.ArrowDtype),
        lambda got: of_lists(got["a"].array.__arrow_array__().combine_chunks()),
    ),
    "lazy": (lambda npk: npk.load("a", lazy=True), lambda got: got[:]),
    "ndarray": (lambda npk: np.asarray(npk.load("a", lazy=True)), lambda got: got),
    "view": (lambda npk: npk.view("a"), lambda got: got),
    "private": (lambda npk: npk.load("a", copy=False), lambda got: got),
    "buffer": (lambda npk: memoryview(npk.load("a", lazy=True)), lambda got: np.asarray(got)),
    "dlpack": (lambda npk: np.from_dlpack(npk.load("a", lazy=True)), lambda got: got),
}

CHANGES = {
    "replace": lambda npk, path: npk.replace({"a": np.zeros((ROWS, 4), "f4")}, slice(None)),
    "append": lambda npk, path: npk.append({"a": np.ones((ROWS, 4), "f4")}),
    "overwrite": lambda npk, path: npk.save({"a": np.zeros((ROWS, 4), "f4")}),
    "overwrite twice": lambda npk, path: [
        npk.save({"a": np.full((ROWS, 4), i, "f4")}) for i in (8, 9)
    ],
    "drop": lambda npk, path: npk.drop("a"),
    "drop rows, compact": lambda npk, path: (npk.drop("a", range(0, ROWS, 2)), npk.update("a")),
    "reset": lambda npk, path: npk.reset(),
    "close": lambda npk, path: npk.close(),
    "delete the directory": lambda npk, path: (npk.close(), shutil.rmtree(path)),
    "start anew": lambda npk, path: (npk.close(), fill(NumPack(path, drop_if_exists=True))),
}


def fill(npk):
    with npk:
        npk.save({"a": np.zeros((ROWS, 4), "f4")})


def of_lists(array):
    return array.flatten().to_numpy(zero_copy_only=True).reshape(-1, 4)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_outlives_every_change(path, export, change):
    take, look = EXPORTS[export]
    npk = NumPack(path)
    npk.open()
    npk.save({"a": ARRAY})
    got = take(npk)
    CHANGES[change](npk, path)
    npk.close()
    del npk
    gc.collect()
    assert_same(look(got), ARRAY)


def test_every_export_outlives_a_writer_of_another_process(path):
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
        got = {name: take(npk) for name, (take, _) in EXPORTS.items()}
        run_python(
            "import sys, numpy as np\nfrom numpack import NumPack\n"
            "for value in (1, 2, 3):\n"
            "    with NumPack(sys.argv[1]) as npk:\n"
            "        npk.save({'a': np.full((20_000, 4), value, 'f4')})\n",
            path,
        )
        assert npk["a"][0, 0] == 3
        for name, (_, look) in EXPORTS.items():
            assert_same(look(got[name]), ARRAY, name)


def test_a_forked_child_sees_every_export(path):
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
    # In a process of its own: fork copies only the thread that calls it, and pytest may have more.
    code = """
import os, sys, warnings
sys.argv, path = sys.argv[:1], sys.argv[1]
import numpy as np
from numpack import NumPack
from support import assert_same
from test_lifetimes import ARRAY, EXPORTS
npk = NumPack(path)
npk.open()
got = {name: take(npk) for name, (take, _) in EXPORTS.items()}
changed, change = os.pipe()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the threads that the libraries have started
    child = os.fork()
if not child:
    status = 1
    try:
        os.read(changed, 1)
        # Polars' and pyarrow's threads did not come along, so only what needs none is looked at.
        for name in set(EXPORTS) - {"stream", "polars", "pandas", "table"}:
            assert_same(EXPORTS[name][1](got[name]), ARRAY, name)
        assert not npk.load("a").any()
        assert len(npk.to_arrow("a")) == 20_000 and len(npk.table()) == 20_000
        del got
        status = 0
    finally:
        os._exit(status)
npk.replace({"a": np.zeros((20_000, 4), "f4")}, slice(None))
os.write(change, b"x")
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
for name, (_, look) in EXPORTS.items():
    assert_same(look(got[name]), ARRAY, name)
"""
    run_python(code, path)


@pytest.mark.parametrize("order", ["store first", "exports first", "cycle", "module"])
def test_the_interpreter_may_end_in_any_order(path, order):
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
    code = """
import sys
sys.argv, (path, order) = sys.argv[:1], sys.argv[1:]
from numpack import NumPack
from test_lifetimes import EXPORTS
npk = NumPack(path)
npk.open()
got = {name: take(npk) for name, (take, _) in EXPORTS.items()}
if order == "store first":
    del npk
elif order == "exports first":
    del got
elif order == "cycle":
    cycle = [npk, got]
    cycle.append(cycle)
    del npk, got, cycle
else:
    import builtins
    builtins.kept = (got, npk)  # lives until the very end
print("end")
"""
    finished = run_python(code, path, order)
    assert finished.stdout == "end\n" and not finished.stderr


# ---------------------------------------------------------------------- maps and pins
def maps(path):
    """The mappings of the store's files: (permissions, inode) of each."""
    inodes = {file.stat().st_ino for file in path.rglob("*") if file.is_file()}
    with open("/proc/self/maps") as lines:
        fields = [line.split() for line in lines]
    return [(field[1], int(field[4])) for field in fields if int(field[4]) in inodes]


SHARED = [name for name in EXPORTS if name not in ("private", "dlpack")]


@pytest.mark.parametrize("export", SHARED)
def test_a_thousand_exports_are_one_map(path, export):
    take, look = EXPORTS[export]
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
        before = len(maps(path))
        held = [take(npk) for _ in range(1000)]
        assert_same(look(held[-1]), ARRAY)
        assert len(maps(path)) <= max(before, 1)
        assert maps(path)


@pytest.mark.parametrize("export", ["private", "dlpack"])
def test_private_pages_are_a_map_each_and_go_with_it(path, export):
    take, _ = EXPORTS[export]
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})

        def private():
            return sum(permissions == "rw-p" for permissions, _ in maps(path))

        held = [take(npk) for _ in range(50)]
        assert 0 < private() <= 50  # neighbours may be shown as one
        assert all(lies_in(np.asarray(array).ctypes.data, path) for array in held)
        del held
        gc.collect()
        assert private() == 0


def test_mixed_exports_share_the_map(path):
    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
        held = [EXPORTS[name][0](npk) for name in SHARED for _ in range(20)]
        inodes = [inode for _, inode in maps(path)]
        assert len(held) == 20 * len(SHARED) and len(inodes) == len(set(inodes)) == 1


def test_exports_leave_no_file_descriptors(path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    with NumPack(path) as npk:
        npk.save({"a": ARRAY})
        EXPORTS["table"][0](npk)
        before = count()
        held = [take(npk) for take, _ in EXPORTS.values() for _ in range(20)]
        assert held and count() <= before + 1
