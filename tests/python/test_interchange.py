"""Stores that go back and forth between this version and 0.4.2, and its documented calls."""

import struct

import numpack
import numpy as np
import pytest
from numpack import NumPack
from support import (
    DTYPES,
    assert_same,
    assert_store,
    metadata_of,
    plain,
    run_python,
    sample,
    segmented,
)

RANKS = [(6,), (6, 3), (4, 2, 3), (3, 2, 2, 2)]
NAMES = ["a", "a b", "ü", "u\u0308", "日本", "🦀", "A", "%2F", "a.b", "-x", "e" * 240, ""]


def everything(seed):
    """Every dtype in every rank from 1 to 4, by name."""
    return {
        f"{dtype.name} {len(shape)}": sample(dtype, shape, seed)
        for dtype in DTYPES
        for shape in RANKS
    }


def arrays_file(file, arrays):
    values = {f"x{number}": array for number, array in enumerate(arrays.values())}
    np.savez(file, names=np.array(list(arrays)), **values)
    return file


# The other side: reads what it should find from one file, checks it, changes it by some calls, and
# leaves. All of it by calls that 0.4.2 does right.
OTHER = """
import sys
import numpy as np
import numpack
from numpack import NumPack

def read(file):
    with np.load(file) as archive:
        return {str(name): archive[f"x{k}"] for k, name in enumerate(archive["names"])}

def check(npk, expected):
    assert sorted(npk.get_member_list()) == sorted(expected), npk.get_member_list()
    for name, array in expected.items():
        found = npk.load(name)
        assert npk.get_shape(name) == array.shape, (name, npk.get_shape(name), array.shape)
        assert found.dtype == array.dtype and found.shape == array.shape, name
        assert found.tobytes() == array.tobytes(), name

assert numpack.__version__ == "0.4.2"
path = sys.argv[1]
"""


def other(python_042, body, path, *files):
    run_python(OTHER + body, path, *files, interpreter=python_042)


def test_written_there_read_here(path, tmp_path, python_042):
    arrays = everything(1)
    file = arrays_file(tmp_path / "a.npz", arrays)
    other(python_042, "with NumPack(path) as npk: npk.save(read(sys.argv[2]))", path, file)
    for mode in ("r", "a"):
        with NumPack(path, mode=mode) as npk:
            assert_store(npk, arrays)
            for name, array in arrays.items():
                assert_same(npk.view(name), array)
                assert_same(npk.load(name, lazy=True)[::-1], array[::-1])


def edit(npk, name, call):
    """Adds one to the first row, in the way of `call`."""
    if call == "writable_batch_mode":
        with npk.writable_batch_mode() as batch:
            batch.load(name)[0] += 1
    elif call == "locked":
        with npk.locked():
            npk.replace({name: npk.load(name)[:1] + 1}, [0])
    elif call == "sql":
        npk.sql('UPDATE "a" SET value = value + 1 WHERE row_id = 0')
    else:
        with npk.batch_mode(rollback=call == "rollback"):
            array = npk.load(name)
            array[0] += 1
            npk.save({name: array})


@pytest.mark.parametrize("call", ["batch_mode", "rollback", "writable_batch_mode", "locked", "sql"])
def test_the_first_change_of_what_was_written_there(path, python_042, call):
    """Whatever comes first to a store that this version has not opened for writing before."""
    body = "with NumPack(path) as npk: npk.save({'a': np.arange(5.0)})"
    other(python_042, body, path)
    with NumPack(path) as npk:
        edit(npk, "a", call)
        assert_store(npk, {"a": np.array([1.0, 1, 2, 3, 4])})
        edit(npk, "a", call)
        assert_store(npk, {"a": np.array([2.0, 1, 2, 3, 4])})


def test_written_here_read_there(path, tmp_path, python_042):
    arrays = everything(2)
    with NumPack(path) as npk:
        npk.save(arrays)
    file = arrays_file(tmp_path / "a.npz", arrays)
    other(python_042, "with NumPack(path) as npk: check(npk, read(sys.argv[2]))", path, file)
    with NumPack(path) as npk:
        assert_store(npk, arrays)


def test_there_and_back_again(path, tmp_path, python_042):
    """Written here, changed there, changed here, and so on, each checking what the other did."""
    arrays = everything(3)
    body = """
arrays = read(sys.argv[2])
with NumPack(path) as npk:
    check(npk, arrays)
    for name, array in arrays.items():
        npk.append({name: array[:2]})
        npk.replace({name: array[1:3]}, [0, 1])
    npk.save({"theirs": np.arange(7)})
    npk.drop(next(iter(arrays)))
"""
    with NumPack(path) as npk:
        npk.save(arrays)
    for turn in range(3):
        file = arrays_file(tmp_path / f"{turn}.npz", arrays)
        other(python_042, body, path, file)
        arrays = {
            name: np.concatenate([array[1:3], array[2:], array[:2]])
            for name, array in list(arrays.items())[1:]
        }
        arrays["theirs"] = np.arange(7)
        with NumPack(path) as npk:
            assert_store(npk, arrays)
            for name in list(arrays):
                more = arrays[name][-1:]
                npk.append({name: more})
                npk.replace({name: more}, [0])
                arrays[name] = np.concatenate([more, arrays[name][1:], more])
            npk.drop("theirs")
            del arrays["theirs"]
            # Members are dropped from the front, in the order that this side lists them.
            arrays = {name: arrays[name] for name in npk.get_member_list()}
            assert_store(npk, arrays)


@pytest.mark.parametrize("rows", [5, 64, 65, 200])
def test_deleted_rows_here_seen_there(path, tmp_path, python_042, rows):
    """Each dtype twice: with deleted rows, and with rows appended behind deleted ones."""
    expected, after = {}, {}
    with NumPack(path) as npk:
        for dtype in DTYPES:
            array = sample(dtype, (rows, 2), rows)
            gone = [0, 3, rows - 1]
            live = np.delete(array, gone, axis=0)
            for kind in ("dropped", "grown"):
                name = f"{kind} {dtype}"
                npk.save({name: array})
                npk.drop(name, gone)
                expected[name] = after[name] = live
            npk.append({f"grown {dtype}": array[:3]})
            expected[f"grown {dtype}"] = after[f"grown {dtype}"] = np.concatenate([live, array[:3]])
            after[f"dropped {dtype}"] = np.delete(live, 1, axis=0)
    body = """
expected = read(sys.argv[2])
with NumPack(path) as npk:
    check(npk, expected)
    for name, array in expected.items():
        if name.startswith("dropped"):
            npk.drop(name, [1])
        else:
            npk.update(name)
    # It cannot load what it has loaded and compacted in one process; this side looks at that.
    for name, array in read(sys.argv[3]).items():
        assert npk.get_shape(name) == array.shape, name
        if name.startswith("dropped"):
            assert npk.load(name).tobytes() == array.tobytes(), name
"""
    files = [arrays_file(tmp_path / "a.npz", expected), arrays_file(tmp_path / "b.npz", after)]
    other(python_042, body, path, *files)
    with NumPack(path) as npk:
        assert_store(npk, after)
        for name in after:
            npk.update(name)
    with NumPack(path) as npk:
        assert_store(npk, after)
        assert {entry["deleted"] for entry in npk.get_metadata()["arrays"].values()} == {0}
    assert not list(path.glob("deleted_*"))


def test_deleted_rows_there_seen_here(path, tmp_path, python_042):
    arrays = {dtype.name: sample(dtype, (70, 3), 5) for dtype in DTYPES}
    file = arrays_file(tmp_path / "a.npz", arrays)
    body = """
with NumPack(path) as npk:
    npk.save(read(sys.argv[2]))
    for name in npk.get_member_list():
        npk.drop(name, [0, 3, 64, 69])
"""
    other(python_042, body, path, file)
    live = {name: np.delete(array, [0, 3, 64, 69], axis=0) for name, array in arrays.items()}
    with NumPack(path) as npk:
        assert_store(npk, live)
        for name, array in live.items():
            assert_same(npk.load(name, lazy=True)[2:9], array[2:9])
            npk.append({name: array[:1]})
            npk.drop(name, 0)
    live = {name: np.concatenate([array[1:], array[:1]]) for name, array in live.items()}
    file = arrays_file(tmp_path / "b.npz", live)
    other(python_042, "with NumPack(path) as npk: check(npk, read(sys.argv[2]))", path, file)
    with NumPack(path) as npk:
        assert_store(npk, live)


def test_compacted_there_and_here(path, tmp_path, python_042):
    array = sample("float32", (100, 4))
    file = arrays_file(tmp_path / "a.npz", {"a": array, "b": array})
    body = """
with NumPack(path) as npk:
    npk.save(read(sys.argv[2]))
    npk.drop("a", list(range(0, 100, 3)))
    npk.drop("b", list(range(0, 100, 3)))
    npk.update("a")
"""
    other(python_042, body, path, file)
    live = np.delete(array, np.s_[::3], axis=0)
    with NumPack(path) as npk:
        assert_store(npk, {"a": live, "b": live})
        npk.update("b")
        npk.append({"a": live[:2], "b": live[:2]})
    live = np.concatenate([live, live[:2]])
    file = arrays_file(tmp_path / "b.npz", {"a": live, "b": live})
    other(python_042, "with NumPack(path) as npk: check(npk, read(sys.argv[2]))", path, file)


def test_names_of_every_script(path, tmp_path, python_042):
    arrays = {name: np.arange(number + 1) for number, name in enumerate(NAMES)}
    file = arrays_file(tmp_path / "a.npz", arrays)
    there, here = path / "there", path / "here"
    other(python_042, "with NumPack(path) as npk: npk.save(read(sys.argv[2]))", there, file)
    with NumPack(there) as npk:
        assert_store(npk, arrays)
    with NumPack(here) as npk:
        npk.save(arrays)
    other(python_042, "with NumPack(path) as npk: check(npk, read(sys.argv[2]))", here, file)


def test_a_handle_of_0_4_2_that_only_reads_does_no_harm(path, python_042):
    """Its close rewrites the metadata without what only this version writes there."""
    with NumPack(path) as npk:
        npk.save({"a": np.arange(5), "b": np.ones((2, 2))})
        npk.drop("a", [1])
    other(python_042, "with NumPack(path) as npk: npk.load('a')", path)
    with NumPack(path) as npk:
        assert_store(npk, {"a": np.array([0, 2, 3, 4]), "b": np.ones((2, 2))})
        npk.append({"a": np.array([9])})
    with NumPack(path) as npk:
        assert_store(npk, {"a": np.array([0, 2, 3, 4, 9]), "b": np.ones((2, 2))})


def test_an_empty_store_goes_both_ways(path, python_042):
    other(python_042, "with NumPack(path) as npk: pass", path)
    with NumPack(path) as npk:
        assert npk.get_member_list() == []
        npk.save({"a": np.arange(3)})
        npk.drop("a")
    other(python_042, "with NumPack(path) as npk: assert npk.get_member_list() == []", path)


def test_segmented_arrays_of_0_7(path):
    pieces = [sample("float32", (rows, 3), rows) for rows in (10, 10, 4)]
    whole = segmented(path, "a", pieces)
    with NumPack(path, mode="r") as npk:
        assert_store(npk, {"a": whole})
        lazy = npk.load("a", lazy=True)
        assert_same(lazy[8:22], whole[8:22])
        assert_same(lazy[[23, 0, 10]], whole[[23, 0, 10]])
        assert_same(npk.getitem("a", [9, 10, -1]), whole[[9, 10, -1]])
        assert_same(np.concatenate(list(npk.stream_load("a", 7))), whole)
    with NumPack(path) as npk:
        npk.append({"a": whole[:2]})
        npk.replace({"a": whole[:1]}, [-1])
        npk.drop("a", [0, 12])
        expected = np.delete(np.concatenate([whole, whole[:1], whole[:1]]), [0, 12], axis=0)
        assert_store(npk, {"a": expected})
    with NumPack(path) as npk:
        assert_store(npk, {"a": expected})


def test_rows_all_deleted_by_0_7(path):
    path.mkdir()
    array = np.arange(20.0).reshape(10, 2)
    array.tofile(path / "data_a.npkd")
    metadata_of(path, [("a", array, "data_a.npkd")])
    (path / "deleted_a.npkb").write_bytes(struct.pack("<QQQ", 10, 10, 0))
    with NumPack(path) as npk:
        assert_store(npk, {"a": array[:0]})
        npk.append({"a": array[:3]})
        assert_store(npk, {"a": array[:3]})
    with NumPack(path) as npk:
        assert_store(npk, {"a": array[:3]})


def test_a_bitmap_without_a_header(path):
    path.mkdir()
    array = np.arange(100)
    array.tofile(path / "data_a.npkd")
    metadata_of(path, [("a", array, "data_a.npkd")])
    (path / "deleted_a.npkb").write_bytes(struct.pack("<QQ", 2**64 - 1 - 0b1001, 2**36 - 1))
    with NumPack(path) as npk:
        assert_store(npk, {"a": np.delete(array, [0, 3])})


def test_the_bytes_of_a_small_store(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10, dtype="f4").reshape(5, 2)})
    raw = (path / "metadata.npkm").read_bytes()
    modified = raw[20 + 5 + 20 + 15 :][:8]
    assert raw[:99].hex() == (
        "4e504b42010000002800000000000000010000000100000061020000000500000000000000"
        "02000000000000000b000000646174615f612e6e706b64"
        + modified.hex()
        + "28000000000000000a"
        + "00" * 22
    )
    assert (path / "data_a.npkd").read_bytes() == np.arange(10, dtype="f4").tobytes()
    with NumPack(path) as npk:
        npk.save({"b": np.arange(4)})
        npk.drop("b", 1)
    bitmap = (path / "deleted_b.npkb").read_bytes()
    assert bitmap.hex() == "040000000000000001000000000000000d00000000000000"


class TestDocumentedCalls:
    """The calls that the documentation of 0.4.2 shows, as they stand there."""

    def test_basic(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        first = np.random.rand(1000, 100).astype(np.float32)
        second = np.random.rand(500, 200).astype(np.float32)
        with NumPack("data_directory") as npk:
            npk.save({"array1": first, "array2": second})
            assert_same(npk.load("array1"), first)
            assert_same(npk.load("array1", lazy=True)[:], first)

        patch = np.random.rand(10, 100).astype(np.float32)
        more = np.random.rand(100, 100).astype(np.float32)
        with NumPack("data_directory") as npk:
            npk.replace({"array1": patch}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
            npk.append({"array1": more})
            expected = np.concatenate([patch, first[10:], more])
            assert_same(npk.getitem("array1", [0, 1, 2]), patch[:3])
            assert_same(npk["array1"], expected)
            sizes = [len(batch) for batch in npk.stream_load("array1", buffer_size=1000)]
            assert sizes == [1000, 100]
            npk.drop("array1")
            npk.drop("array2", [0, 1, 2])
            assert_store(npk, {"array2": second[3:]})

    def test_batch_modes(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        data = plain("float64", (100, 4))
        with NumPack("data.npk") as npk:
            npk.save({"data": data})
        with NumPack("data.npk") as npk, npk.batch_mode():
            for _ in range(10):
                array = npk.load("data")
                array[:10] *= 2.0
                npk.save({"data": array})
        data[:10] *= 2.0**10
        with NumPack("data.npk") as npk:
            assert_store(npk, {"data": data})
            with npk.writable_batch_mode() as wb:
                for _ in range(10):
                    array = wb.load("data")
                    array[:10] *= 2.0
        data[:10] *= 2.0**10
        with NumPack("data.npk") as npk:
            assert_store(npk, {"data": data})
            assert_same(npk.load("data", lazy=True)[20:40], data[20:40])

    def test_names_that_its_users_import(self):
        from numpack import (
            BatchModeContext,
            LazyArray,
            NumPack,
            force_cleanup_windows_handles,
            get_backend_info,
        )
        from numpack.writable_array import WritableArray, WritableBatchMode

        named = (BatchModeContext, LazyArray, NumPack, WritableArray, WritableBatchMode)
        assert all(isinstance(entry, type) for entry in named)
        assert callable(force_cleanup_windows_handles) and callable(get_backend_info)
        assert numpack.__version__
