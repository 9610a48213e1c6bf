"""One test a fault of numpack 0.4.2; old_behaviour.py proves the worst of them on that version."""

import contextlib
import struct
from pathlib import Path

import numpack
import numpy as np
import old_behaviour
import pytest
from numpack import NumPack
from support import (
    DTYPES,
    address,
    assert_same,
    assert_store,
    contents,
    lies_in,
    listing,
    replaced,
    run_python,
    sample,
)

OLD = Path(__file__).with_name("old_behaviour.py")


@pytest.mark.parametrize("case", old_behaviour.CASES)
def test_right_here_and_wrong_there(case, tmp_path, python_042):
    """The same body runs in both versions: it passes here, and fails or dies in 0.4.2."""
    body = OLD.read_text()
    here = run_python(body, case, tmp_path / "here", check=False)
    assert here.returncode == 0, here.stderr
    there = run_python(body, case, tmp_path / "there", interpreter=python_042, check=False)
    assert there.returncode != 0, f"0.4.2 got {case!r} right"
    assert "ImportError" not in there.stderr and "SyntaxError" not in there.stderr, there.stderr


LAYOUTS = {
    "fortran": lambda a: np.asfortranarray(a),
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "moved axes": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0),
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "reversed columns": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "strided rows": lambda a: np.repeat(a, 2, axis=0)[::2],
    "strided columns": lambda a: np.repeat(a, 3, axis=-1)[..., ::3],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "big-endian fortran": lambda a: np.asfortranarray(a.astype(a.dtype.newbyteorder(">"))),
    "unaligned": lambda a: unaligned(a),
    "read-only": lambda a: frozen(a),
    "broadcast": lambda a: np.broadcast_to(a[0], a.shape),
}


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(array.tobytes(), np.uint8)
    return raw[1:].view(array.dtype).reshape(array.shape)


def frozen(array):
    array = array.copy()
    array.setflags(write=False)
    return array


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "int8", "complex128", "uint16", "bool"])
def test_input_of_any_layout(path, layout, dtype):
    array = np.random.default_rng(3).integers(0, 2 if dtype == "bool" else 99, (6, 4, 3))
    given = LAYOUTS[layout](array.astype(dtype))
    expected = np.ascontiguousarray(given).astype(dtype)
    with NumPack(path) as npk:
        npk.save({"a": given, "one": given[0]})
        npk.append({"a": given})
        npk.replace({"a": given}, [0, 2, 4, 6, 8, 10])
        both = replaced(np.concatenate([expected, expected]), range(0, 12, 2), expected)
        assert_store(npk, {"a": both, "one": expected[0]})
        with npk.batch_mode():
            npk.save({"b": given})
        assert_same(npk["b"], expected)


@pytest.mark.parametrize("rows", [[10, 50, 90], [90, 10], [10, 10, 11], [99, 0, 50, 0], [-1, 0]])
def test_scattered_replace(npk, rows):
    array, values = sample("float64", (100, 4)), sample("float64", (len(rows), 4), 1)
    npk.save({"a": array})
    npk.replace({"a": values}, rows)
    assert_same(npk["a"], replaced(array, rows, values))


def test_scattered_replace_leaves_the_rows_between_to_others(path):
    array = np.zeros((100, 2), int)
    with NumPack(path) as first, NumPack(path) as second:
        first.save({"a": array})
        second.replace({"a": np.full((1, 2), 7)}, [50])
        first.replace({"a": np.full((2, 2), 9)}, [0, 99])
        assert first["a"][:, 0].tolist() == [9, *[0] * 49, 7, *[0] * 48, 9]


def test_append_after_drop_brings_no_row_back(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.drop("a", [0, 3])
        npk.append({"a": np.array([10])})
        expected = np.array([1, 2, 4, 5, 6, 7, 8, 9, 10])
        assert_store(npk, {"a": expected})
    with NumPack(path) as npk:
        assert_store(npk, {"a": expected})


def test_saving_what_was_loaded_after_a_drop(path):
    array = np.arange(1, 21)
    with NumPack(path) as npk:
        npk.save({"a": array})
        npk.drop("a", list(range(0, 20, 2)))
        npk.save({"a": npk.load("a")})
        assert_store(npk, {"a": array[1::2]})
        npk.drop("a", [0])
        with npk.batch_mode():
            npk.save({"a": npk.load("a")})
        assert_store(npk, {"a": array[3::2]})
        npk.drop("a", [0])
        npk.save({"a": array})
        assert_store(npk, {"a": array})
        npk.drop("a", [0])
        npk.reset()
        npk.save({"a": array})
        assert_store(npk, {"a": array})
    with NumPack(path) as npk:
        assert_store(npk, {"a": array})


def test_everything_respects_deletions(npk):
    array = sample("float32", (30, 3))
    npk.save({"a": array})
    npk.drop("a", [0, 7, 8, 29])
    live = np.delete(array, [0, 7, 8, 29], axis=0)
    lazy = npk.load("a", lazy=True)
    for found in (
        npk["a"],
        lazy[:],
        lazy[0:26],
        lazy[...],
        lazy[list(range(-26, 0))],
        lazy[np.ones(26, bool)],
        lazy.reshape((26, 3))[:],
        np.array(lazy),
        np.asarray(memoryview(lazy)),
        lazy.T.T,
        npk.getitem("a", slice(None)),
        np.concatenate(list(npk.stream_load("a"))),
        np.concatenate(list(npk.stream_load("a", 7))),
    ):
        assert_same(found, live)
    with npk.writable_batch_mode() as batch:
        assert_same(batch.load("a"), live)


@pytest.mark.parametrize("size", [3, 10, 25])
def test_no_stale_shape_in_any_handle(path, size):
    with NumPack(path) as first, NumPack(path) as second:
        first.save({"a": np.arange(10.0), "b": np.arange(3)})
        for npk in (first, second):
            assert npk["a"].shape == (10,)
        for new in (np.arange(float(size)), np.ones((size, 2), "i2")):
            first.save({"a": new})
            for npk in (first, second):
                assert_same(npk["a"], new)
                assert_same(npk.load("a", lazy=True), new)
                assert npk.get_shape("a") == new.shape
        first.reset()
        for npk in (first, second):
            assert npk.get_member_list() == []
            with pytest.raises(KeyError):
                npk.load("a")


def test_drop_if_exists_leaves_nothing_of_the_old_store(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10)})
        npk.drop("a", [1])
        assert npk["a"].shape == (9,)
    with NumPack(path, drop_if_exists=True) as npk:
        npk.save({"a": np.arange(4, dtype="f2")})
        assert_store(npk, {"a": np.arange(4, dtype="f2")})


def test_another_handle_sees_drop_if_exists(path):
    with NumPack(path) as old:
        old.save({"a": np.arange(10)})
        view = old.view("a")
        with NumPack(path, drop_if_exists=True) as new:
            new.save({"b": np.arange(4)})
            assert old.get_member_list() == ["b"]
            assert_same(old["b"], np.arange(4))
        assert_same(view, np.arange(10))


@pytest.mark.parametrize("how", ["with", "open", "r", "forgotten"])
def test_a_reader_changes_nothing_on_disk(path, how):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(10), "b": np.ones((4, 4))})
        npk.drop("b", [1])
    before = listing(path)
    npk = NumPack(path, mode="r" if how == "r" else "a")
    npk.open()
    contents(npk)
    npk.getitem("a", [3, 1])
    npk.load("b", lazy=True)[1]
    npk.get_metadata()
    list(npk.stream_load("b"))
    if how != "forgotten":
        npk.close()
    del npk
    assert listing(path) == before


def test_a_reader_that_closes_late_takes_nothing_back(path):
    reader = NumPack(path)
    reader.open()
    reader.save({"a": np.arange(3)})
    reader.close()
    reader.open()
    reader.load("a")
    code = (
        "import sys, numpy as np\nfrom numpack import NumPack\n"
        "with NumPack(sys.argv[1]) as npk: npk.append({'a': np.arange(3)})"
    )
    run_python(code, path)
    assert_same(reader["a"], np.array([0, 1, 2, 0, 1, 2]))
    reader.close()
    with NumPack(path) as npk:
        assert_same(npk["a"], np.array([0, 1, 2, 0, 1, 2]))


def closed_store(path):
    """A closed store, and its metadata file."""
    with NumPack(path) as npk:
        npk.save({"a": np.arange(20.0).reshape(10, 2), "ü": np.arange(5, dtype="u1")})
        npk.drop("a", [1, 2])
    return path / "metadata.npkm"


def refuses(path, **options):
    before = listing(path)
    with pytest.raises(ValueError) as caught:
        NumPack(path, **options).open()
    assert isinstance(caught.value, numpack.CorruptStoreError), caught.value
    assert listing(path) == before


def test_truncated_metadata_is_an_error_at_each_length(path):
    file = closed_store(path)
    whole = file.read_bytes()
    # The header, and a record each for the two arrays; what follows is ours, and 0.4 ignores it.
    bare = 20 + 79 + 73
    assert len(whole) >= bare
    for length in range(bare):
        file.write_bytes(whole[:length])
        refuses(path)
    file.write_bytes(whole)
    with NumPack(path) as npk:
        assert npk.get_shape("a") == (8, 2)


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0, b"NPKX"),
        (16, struct.pack("<I", 3)),
        (16, struct.pack("<I", 0xFFFF_FFFF)),
        (20, struct.pack("<I", 0xFFFF_FFFF)),
        (24, b"\xff"),
        (25, struct.pack("<I", 0xFFFF_FFFF)),
        (29, struct.pack("<Q", 2**63)),
        (29, struct.pack("<Q", 11)),
    ],
)
def test_garbage_in_metadata_is_an_error(path, offset, data):
    file = closed_store(path)
    raw = bytearray(file.read_bytes())
    raw[offset : offset + len(data)] = data
    file.write_bytes(raw)
    refuses(path)
    refuses(path, mode="r")


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"{}", bytes(range(256)) * 8])
def test_foreign_content_is_an_error(path, content):
    closed_store(path).write_bytes(content)
    refuses(path)


def test_data_without_metadata_is_an_error(path):
    closed_store(path).unlink()
    for journal in (path / ".npk").glob("**/*") if (path / ".npk").exists() else ():
        journal.unlink()
    refuses(path)


def test_an_unknown_dtype_code_is_an_error(path):
    file = closed_store(path)
    raw = bytearray(file.read_bytes())
    position = raw.index(b"data_a.npkd") + len(b"data_a.npkd") + 16
    assert raw[position] == 11
    raw[position] = 99
    file.write_bytes(raw)
    refuses(path)


def test_a_data_file_that_is_too_short_is_an_error(path):
    closed_store(path)
    data = path / "data_a.npkd"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ValueError) as caught, NumPack(path) as npk:
        npk.load("a")
    assert "160" in str(caught.value) and "100" in str(caught.value) and "a" in str(caught.value)


def test_a_bitmap_that_does_not_fit_is_an_error(path):
    closed_store(path)
    bitmap = path / "deleted_a.npkb"
    whole = bitmap.read_bytes()
    for content in (whole[:8], whole[:17], b""):
        bitmap.write_bytes(content)
        with pytest.raises(ValueError), NumPack(path) as npk:
            npk.load("a")
        assert bitmap.read_bytes() == content
    bitmap.write_bytes(whole[:8] + struct.pack("<Q", 10**12) + whole[16:])
    with NumPack(path) as npk:
        assert npk.get_shape("a") == (8, 2) == npk["a"].shape


EVIL = ["../evil", "/abs", "a/../../evil", "/../../evil", "..", ".", "x/y", "//", "\\..\\evil"]


@pytest.mark.parametrize("name", [*EVIL, "", "e" * 240, "e" * 3000, "-rf", "a\nb", "metadata.npkm"])
def test_names_never_leave_the_directory(path, name):
    with NumPack(path) as npk:
        (path / "data_").mkdir()
        (path / "data_..").mkdir()
        outside = sorted(path.parent.iterdir())
        npk.save({name: np.arange(10)})
        npk.append({name: np.arange(3)})
        npk.drop(name, [0])
        npk.replace({name: np.array([50])}, [1])
        npk.rename(name, name + "'")
        npk.rename(name + "'", name)
        expected = {name: np.array([1, 50, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2])}
        assert_store(npk, expected)
        npk.update(name)
    assert sorted(path.parent.iterdir()) == outside
    assert list((path / "data_").iterdir()) == list((path / "data_..").iterdir()) == []
    with NumPack(path) as npk:
        assert_store(npk, expected)
        npk.drop(name)
    assert sorted(path.parent.iterdir()) == outside


def test_names_keep_the_file_names_of_0_4(path):
    names = ["", ".", "a b", "a\nb", "a\\b", "a:b", "%2F", "-rf", "CON", "A", "e" * 240]
    names += ["ü", "u\u0308", "日本", "🦀"]
    with NumPack(path) as npk:
        npk.save({name: np.arange(number + 1) for number, name in enumerate(names)})
    for number, name in enumerate(names):
        file = path / f"data_{name}.npkd"
        assert np.fromfile(file, int).tolist() == list(range(number + 1))


@pytest.mark.parametrize("target", ["../victim.bin", "data_b.npkd", "/etc/passwd", "sub/x.npkd"])
def test_a_crafted_data_file_is_never_followed(path, target):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(4)})
    victim = path.parent / "victim.bin"
    victim.write_bytes(bytes(64))
    raw = (path / "metadata.npkm").read_bytes()
    old = struct.pack("<I", 11) + b"data_a.npkd"
    assert old in raw
    new = struct.pack("<I", len(target)) + target.encode()
    end = raw.index(old) + len(old) + 39
    (path / "metadata.npkm").write_bytes(raw[:end].replace(old, new))
    for file in (path / ".npk").glob("*") if (path / ".npk").exists() else ():
        file.unlink()
    with contextlib.suppress(numpack.CorruptStoreError), NumPack(path) as npk:
        npk.append({"a": np.arange(9)})
        npk.replace({"a": np.array([5])}, [0])
        npk.drop("a")
    assert victim.read_bytes() == bytes(64)


@pytest.mark.parametrize("file", ["data_a.npkd", "deleted_a.npkb", "metadata.npkm"])
def test_a_link_is_never_followed(path, file):
    closed_store(path)
    victim = path.parent / "victim.bin"
    (path / file).rename(victim)
    (path / file).symlink_to(victim)
    before = victim.read_bytes()
    with contextlib.suppress(numpack.CorruptStoreError, OSError), NumPack(path) as npk:
        npk.append({"a": np.ones((2, 2))})
        npk.replace({"a": np.ones((1, 2))}, [0])
        npk.drop("a", [1])
        npk.update("a")
        npk.reset()
    assert victim.read_bytes() == before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_float16_stays_float16_and_so_do_the_others(npk, dtype):
    array = sample(dtype, (20, 3))
    npk.save({"a": array})
    lazy = npk.load("a", lazy=True)
    for found in (lazy[0], lazy[2:5], lazy[[1, 2]], next(npk.stream_load("a")), lazy.T):
        assert found.dtype == dtype
    assert_same(lazy[2:5], array[2:5])


@pytest.mark.parametrize("values", [(), (0,), (0, 5), (5, 0)], ids=str)
def test_calls_that_ended_the_process(path, values):
    """Each of these aborted the interpreter, so a new one runs them."""
    code = """
import sys
import numpy as np
from numpack import NumPack

shape = eval(sys.argv[2])
array = np.zeros(shape, "f4")
with NumPack(sys.argv[1]) as npk:
    npk.save({"a": array, "rows": np.arange(20.0).reshape(10, 2)})
    assert npk["a"].shape == shape
    lazy = npk.load("a", lazy=True)
    assert lazy[...].shape == shape and np.asarray(lazy).shape == shape
    npk.save({"a": array})
    if shape:
        assert lazy[:].shape == shape and lazy[::-1].shape == shape
        assert npk.getitem("a", slice(None)).shape == shape
        npk.replace({"a": array}, slice(None))
        npk.append({"a": np.asfortranarray(array)})
        list(npk.stream_load("a"))
    for key in (slice(None, None, -1), slice(5, 2), np.zeros(10, bool), []):
        assert npk.load("rows", lazy=True)[key].shape[1] == 2
    for key in (slice(0, -1), slice(5, 2), [], np.array([], int)):
        assert npk.getitem("rows", key).shape[1] == 2
    npk.append({"rows": np.asfortranarray(np.ones((3, 2)))})
    with npk.writable_batch_mode() as batch:
        kept = batch.load("rows")
kept[0] = 5
view = np.asarray(lazy)
del lazy
assert view.shape == shape
print("done")
"""
    assert run_python(code, path, values).stdout == "done\n"


def test_a_view_is_in_the_file_and_outlives_everything(path):
    array = sample("float32", (5000, 4))
    npk = NumPack(path)
    npk.open()
    npk.save({"a": array})
    view = np.asarray(npk.load("a", lazy=True))
    assert lies_in(address(view), path)
    with npk.writable_batch_mode() as batch:
        writable = batch.load("a")
    npk.save({"a": array[:5]})
    npk.close()
    del npk, batch
    assert_same(view, array)
    writable[...] = 0


def test_an_append_that_fails_leaves_no_prefix(npk):
    npk.save({"a": np.arange(3), "b": np.ones(3, "f4")})
    with pytest.raises(TypeError):
        npk.append({"a": np.arange(3), "b": np.ones(3, "f8")})
    assert_store(npk, {"a": np.arange(3), "b": np.ones(3, "f4")})


def test_a_full_disk_changes_nothing(path):
    """A file size limit stands for the full disk: the failed call leaves what was there."""
    code = """
import resource, signal, sys
import numpy as np
from numpack import NumPack

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
array = np.arange(10_000.0)
with NumPack(sys.argv[1]) as npk:
    npk.save({"a": array})
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))
    for call in (
        lambda: npk.append({"a": array}),
        lambda: npk.save({"a": np.tile(array, 3)}),
        lambda: npk.save({"b": np.tile(array, 3)}),
    ):
        try:
            call()
        except OSError as error:
            assert isinstance(error, RuntimeError) and str(error)
        else:
            raise AssertionError("the limit was not met")
        assert npk.get_member_list() == ["a"] and (npk["a"] == array).all()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    npk.append({"a": array[:7]})
with NumPack(sys.argv[1]) as npk:
    assert (npk["a"] == np.concatenate([array, array[:7]])).all()
    assert npk.get_member_list() == ["a"]
"""
    run_python(code, path)


def test_nested_and_failed_batches_keep_appends(npk):
    npk.save({"a": np.arange(3)})
    with npk.batch_mode():
        npk.load("a")
        npk.append({"a": np.array([9])})
        assert npk.get_shape("a") == (4,)
        npk.save({"new": np.arange(2)})
        assert npk.get_member_list() == ["a", "new"]
    assert_store(npk, {"a": np.array([0, 1, 2, 9]), "new": np.arange(2)})
