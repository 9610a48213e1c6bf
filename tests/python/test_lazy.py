"""LazyArray against NumPy: every index form, operators, protocols, and what it reads."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpack import LazyArray, NumPack
from strategies import arrays
from support import DTYPES, SHAPES, assert_private, assert_same, plain, run_python, sample

KEYS = [
    0,
    -1,
    np.int64(3),
    True,
    False,
    slice(None),
    slice(2, 5),
    slice(-2, None),
    slice(None, None, 2),
    slice(5, 2, -1),
    slice(None, None, -1),
    slice(5, 2),
    slice(8, 99),
    slice(-99, 3),
    [],
    [0, 1],
    [-1, 3, 3],
    np.array([4, 1], np.int32),
    np.array([4, 1], np.uint64),
    np.array([], np.int64),
    np.array([[0, 1], [2, -1]]),
    np.arange(10) % 3 == 0,
    np.zeros(10, bool),
    np.ones(10, bool),
    [True, False] * 5,
    (),
    (1,),
    (1, 1),
    (1, 1, 1),
    (slice(None), 0),
    (slice(None), [0]),
    (2, slice(None)),
    (slice(2, 4), slice(0, 1)),
    (slice(None, None, -2), slice(None, None, -1)),
    (slice(None), slice(1, 1)),
    Ellipsis,
    (Ellipsis, 0),
    (0, Ellipsis),
    (Ellipsis, 1, slice(None)),
    None,
    (None, 1),
    (slice(None), None, 1),
    (1, None, Ellipsis, None),
    ([1, 2], [0, 1]),
    ([1, 2], slice(None), [0, 1]),
    (slice(None), [1, 0], [0, 3]),
    ([[1], [2]], [[0, 1]]),
    np.ix_([1, 5], [0, 2]),
    (np.arange(10) > 6, 0),
    (np.arange(10) > 6, slice(None), 2),
    (slice(None), np.array([True, False, True])),
    np.arange(30).reshape(10, 3) % 4 == 0,
    np.arange(120).reshape(10, 3, 4) % 7 == 0,
    (0, [True, False, True]),
    range(2, 8, 3),
    (range(3), 0),
    (np.array(3), slice(None), np.array(1)),
    (np.True_, slice(1, 3)),
]
WRONG = [
    10,
    -11,
    [0, 10],
    (0, 3),
    (0, 0, 0, 0),
    (Ellipsis, Ellipsis),
    1.5,
    "text",
    [1.5],
    np.array(["a"]),
    np.ones(9, bool),
    np.ones(11, bool),
    np.ones((10, 4), bool),
    (slice(None), [0, 3]),
    ([0, 1], [0, 1, 2]),
    object(),
]


def lazy_of(path, array, deletions=()):
    """A LazyArray over `array` without the rows of `deletions`, and what it must show."""
    with NumPack(path) as npk:
        npk.save({"a": array})
        if len(deletions):
            npk.drop("a", list(deletions))
            array = np.delete(array, list(deletions), axis=0)
        return npk.load("a", lazy=True), array


@pytest.fixture(params=["whole", "deleted"])
def pair(request, path):
    """A LazyArray of shape (10, 3, 4) and the same values in memory."""
    if request.param == "whole":
        return lazy_of(path, sample("float32", (10, 3, 4)))
    return lazy_of(path, sample("float32", (13, 3, 4)), (0, 5, 12))


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys(pair, key):
    lazy, array = pair
    found = lazy[key]
    assert_same(found, array[key])
    assert_private(found)


@pytest.mark.parametrize("key", WRONG, ids=repr)
def test_wrong_keys(pair, key):
    lazy, array = pair
    with pytest.raises(IndexError):
        array[key]
    with pytest.raises(IndexError):
        lazy[key]
    assert_same(lazy[:], array)


@given(data=st.data(), array=arrays())
def test_any_key(tmp_path_factory, data, array):
    deletions = ()
    if array.ndim and len(array) > 1 and data.draw(st.booleans()):
        rows = st.integers(0, len(array) - 1)
        deletions = data.draw(st.sets(rows, max_size=len(array) - 1).map(sorted))
    lazy, expected = lazy_of(tmp_path_factory.mktemp("lazy") / "s", array, deletions)
    assert lazy.shape == expected.shape
    for _ in range(5):
        key = data.draw(keys(expected.shape))
        assert_same(lazy[key], expected[key], repr(key))


def keys(shape):
    """Basic and advanced indices, masks over leading axes, and their mixtures."""
    options = [hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)]
    if shape and 0 not in shape:
        options.append(hnp.integer_array_indices(shape))
        options.append(hnp.integer_array_indices(shape, dtype=np.dtype("int16")))
    if shape:
        options += [masks(shape), mixtures(shape)]
    return st.one_of(options)


@st.composite
def masks(draw, shape):
    axes = draw(st.integers(1, len(shape)))
    return draw(hnp.arrays(bool, shape[:axes]))


@st.composite
def mixtures(draw, shape):
    key = []
    for size in shape[: draw(st.integers(1, len(shape)))]:
        kinds = ["slice", "full", "mask"] + (["int", "list"] if size else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "int":
            key.append(draw(st.integers(-size, size - 1)))
        elif kind == "list":
            # One length, so that several lists in one key broadcast.
            key.append(draw(st.lists(st.integers(-size, size - 1), min_size=2, max_size=2)))
        elif kind == "mask" and not any(isinstance(part, (list, np.ndarray)) for part in key):
            key.append(draw(hnp.arrays(bool, size)))
            break
        elif kind == "slice":
            key.append(draw(st.slices(size)))
        else:
            key.append(slice(None))
    return tuple(key)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attributes_and_protocols(path, dtype, shape):
    array = sample(dtype, shape)
    lazy, _ = lazy_of(path, array)
    assert type(lazy).__name__ == "LazyArray" and isinstance(lazy, LazyArray)
    assert (lazy.shape, lazy.dtype, lazy.size, lazy.itemsize, lazy.ndim, lazy.nbytes) == (
        array.shape,
        array.dtype,
        array.size,
        array.itemsize,
        array.ndim,
        array.nbytes,
    )
    assert type(lazy.shape) is tuple and isinstance(lazy.dtype, np.dtype)
    assert_same(np.array(lazy), array)
    assert_same(np.asarray(lazy), array)
    assert_same(lazy[...], array)
    assert_same(lazy[()], array)
    assert_same(lazy.T, array.T)
    if shape:
        assert len(lazy) == len(array)
        assert bool(lazy) is (len(array) > 0)
        for found, row in zip(lazy, array, strict=True):
            assert_same(found, row)
    else:
        with pytest.raises(TypeError):
            len(lazy)
        with pytest.raises(TypeError):
            list(lazy)
    assert repr(lazy) and "a" in repr(lazy) and str(lazy)


def test_one_element_is_a_numpy_scalar(path):
    lazy, _ = lazy_of(path, np.arange(5, dtype="f2"))
    assert isinstance(lazy[2], np.float16) and lazy[2] == 2
    assert [type(value) for value in lazy] == [np.float16] * 5


def test_the_class_is_not_constructible():
    with pytest.raises(TypeError):
        LazyArray()


def test_what_a_lazy_array_does_not_have(pair):
    lazy, _ = pair
    for name in ("astype", "copy"):
        assert not hasattr(lazy, name)
    with pytest.raises(TypeError):
        lazy[0] = 1
    with pytest.raises(TypeError):
        hash(lazy)


def test_asarray_outlives_the_lazy_array(path):
    array = sample("float64", (1000, 8))
    with NumPack(path) as npk:
        npk.save({"a": array})
        taken = [
            np.asarray(npk.load("a", lazy=True)),
            np.asarray(memoryview(npk.load("a", lazy=True))),
            npk.load("a", lazy=True).T,
            npk.load("a", lazy=True)[10:20],
        ]
        npk.save({"a": np.zeros(3)})
    assert_same(taken[0], array)
    assert_same(taken[1], array)
    assert_same(taken[2], array.T)
    assert_same(taken[3], array[10:20])
    for view in taken:
        assert_private(view)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_buffer_protocol(path, dtype):
    lazy, array = lazy_of(path, sample(dtype, (6, 2)), (1, 4))
    view = memoryview(lazy)
    assert view.shape == array.shape and view.readonly
    assert view.itemsize == array.itemsize
    assert view.tobytes() == array.tobytes()
    assert np.asarray(view).dtype == array.dtype


def test_array_protocol_arguments(pair):
    lazy, array = pair
    copied = np.array(lazy, copy=True)
    copied[...] = 0
    assert_same(lazy[:], array)
    with np.errstate(all="ignore"):
        assert_same(np.asarray(lazy, "f8"), array.astype("f8"))
    with pytest.raises(ValueError):
        np.array(lazy, "f8", copy=False)


def test_copy_false_is_the_mapping_itself(path):
    lazy, array = lazy_of(path, sample("float32", (100, 2)))
    view = np.array(lazy, copy=False)
    assert_same(view, array)
    assert not view.flags.writeable


BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
COMPARE = ["lt", "le", "eq", "ne", "ge", "gt"]
BITS = ["and_", "or_", "xor", "lshift", "rshift"]


@pytest.mark.parametrize("deletions", [(), (0, 3)], ids=["whole", "deleted"])
@pytest.mark.parametrize("dtype", ["int32", "float32", "float16", "complex64", "uint8"])
def test_arithmetic(path, dtype, deletions):
    lazy, array = lazy_of(path, plain(dtype, (6, 2)) + np.dtype(dtype).type(1), deletions)
    other = plain(dtype, array.shape, 4) % 5 if dtype != "complex64" else plain(dtype, array.shape)
    other = other + np.dtype(dtype).type(1)
    complex_has_no = {"floordiv", "mod", "lt", "le", "ge", "gt"}
    with np.errstate(all="ignore"):
        for name in BINARY + COMPARE:
            if dtype == "complex64" and name in complex_has_no:
                continue
            function = getattr(operator, name)
            for operand in (other, 2, other[0]):
                found = function(lazy, operand)
                assert type(found) is np.ndarray
                assert_same(found, function(array, operand), name)
                assert_same(function(operand, lazy), function(operand, array), name)
            assert_same(function(lazy, lazy), function(array, array), name)
    assert_same(+lazy, +array)
    assert_same(-lazy, -array)
    assert_same(abs(lazy), abs(array))
    assert_same(lazy @ array.T, array @ array.T)
    assert_same(array.T @ lazy, array.T @ array)


def test_bits(path):
    lazy, array = lazy_of(path, plain("int32", (6, 2)) % 8)
    for name in BITS:
        function = getattr(operator, name)
        assert_same(function(lazy, 3), function(array, 3))
        assert_same(function(3, lazy), function(3, array))
        assert_same(function(lazy, array), function(array, array))
    assert_same(~lazy, ~array)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float16"])
def test_bits_of_floats_are_an_error(path, dtype):
    lazy, _ = lazy_of(path, plain(dtype, (6,)))
    text = "Bitwise operations are only supported for integer arrays"
    for name in BITS:
        with pytest.raises(TypeError, match=text):
            getattr(operator, name)(lazy, 3)
    with pytest.raises(TypeError, match=text):
        operator.invert(lazy)


def test_in_place_operators_leave_the_store_alone(path):
    with NumPack(path) as npk:
        npk.save({"a": np.arange(5)})
        lazy = npk.load("a", lazy=True)
        lazy *= 2
        assert_same(lazy, np.arange(5) * 2)
        assert_same(npk["a"], np.arange(5))


def test_numpy_functions(path):
    lazy, array = lazy_of(path, plain("float64", (12, 5)), (2, 7))
    assert np.sum(lazy) == np.sum(array)
    assert_same(np.mean(lazy, axis=0), np.mean(array, axis=0))
    assert_same(np.concatenate([lazy, lazy]), np.concatenate([array, array]))
    assert_same(np.sort(lazy, axis=0), np.sort(array, axis=0))
    assert_same(np.sqrt(lazy), np.sqrt(array))
    assert_same(np.where(np.asarray(lazy) > 3, lazy, 0), np.where(array > 3, array, 0))
    assert_same(np.stack([lazy, array]), np.stack([array, array]))
    assert np.allclose(lazy, array) and np.array_equal(lazy, array)
    assert array[3] in lazy.reshape(-1).reshape(array.shape)[:]


RESHAPES = [12, (12,), [12], (3, 4), [2, 6], (-1,), -1, (2, -1), (2, 3, 2), (1, 12, 1)]


@pytest.mark.parametrize("deletions", [(), (1, 3)], ids=["whole", "deleted"])
@pytest.mark.parametrize("shape", RESHAPES, ids=str)
def test_reshape(path, shape, deletions):
    lazy, array = lazy_of(path, sample("int16", (6 + len(deletions), 2)), deletions)
    found = lazy.reshape(shape)
    assert isinstance(found, LazyArray)
    expected = array.reshape(shape)
    assert found.shape == expected.shape
    assert_same(found[:], expected)
    assert_same(found[-1], expected[-1])
    assert_same(np.asarray(found), expected)


@pytest.mark.parametrize("deletions", [(), (1, 40)], ids=["whole", "deleted"])
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys_of_a_reshaped_array(path, key, deletions):
    lazy, array = lazy_of(path, sample("float32", (60 + len(deletions), 2)), deletions)
    assert_same(lazy.reshape((10, 3, 4))[key], array.reshape(10, 3, 4)[key])


@pytest.mark.parametrize("shape", [(5,), (-1, -1), (-2,), (0,), (5, -1), "text", None, 1.5])
def test_reshape_errors(path, shape):
    lazy, _ = lazy_of(path, sample("int16", (6, 2)))
    with pytest.raises((ValueError, TypeError)):
        lazy.reshape(shape)
    with pytest.raises(TypeError):
        lazy.reshape(3, 4)


@pytest.mark.parametrize("deletions", [(), (0, 1, 17)], ids=["whole", "deleted"])
def test_helper_methods(path, deletions):
    lazy, array = lazy_of(path, sample("float32", (30, 4)), deletions)
    picks = [5, 0, -1, 3, 3, 7, 8, 9, 20, 1, 2, 4]
    assert_same(lazy.vectorized_gather(picks), array[picks])
    mask = np.arange(len(array)) % 4 == 1
    for name in (
        "parallel_boolean_index",
        "boolean_index_production",
        "boolean_index_adaptive_algorithm",
    ):
        assert_same(getattr(lazy, name)(mask), array[mask])
    pieces = lazy.mega_batch_get_rows(list(range(10)), 4)
    assert [piece.shape for piece in pieces] == [(4,)] * 10
    assert_same(np.stack(pieces), array[:10])
    assert lazy.intelligent_warmup("sequential") is None
    names = [name for name, _ in lazy.get_performance_stats()]
    assert names == ["array_size_mb", "logical_rows", "physical_rows"]
    stats = dict(lazy.get_performance_stats())
    assert stats["logical_rows"] == len(array) and stats["physical_rows"] == 30
    sparse, dense = np.arange(len(array)) == 1, np.arange(len(array)) != 1
    assert lazy.choose_optimal_algorithm(sparse) == "sparse"
    assert lazy.choose_optimal_algorithm(dense) == "dense"
    assert lazy.choose_optimal_algorithm(mask) == "adaptive"


def test_closing_a_lazy_array_has_no_effect(path):
    lazy, array = lazy_of(path, sample("float32", (30, 4)))
    with lazy as entered:
        assert entered is lazy
    lazy.close()
    assert_same(lazy[:], array)


def test_a_lazy_array_is_a_snapshot(path):
    array = sample("int32", (20, 3))
    with NumPack(path) as npk:
        npk.save({"a": array})
        lazy = npk.load("a", lazy=True)
        for change in (
            lambda: npk.replace({"a": sample("int32", (20, 3), 9)}, slice(None)),
            lambda: npk.append({"a": array[:3]}),
            lambda: npk.drop("a", [0, 4]),
            lambda: npk.update("a"),
            lambda: npk.save({"a": np.zeros(3)}),
            lambda: npk.drop("a"),
            npk.reset,
        ):
            change()
            assert lazy.shape == (20, 3)
            assert_same(lazy[:], array)
            assert_same(lazy[[3, -1]], array[[3, -1]])
    assert_same(np.asarray(lazy), array)


BIG = """
import resource, sys
import numpy as np
from numpack import NumPack

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

with NumPack(sys.argv[1]) as npk:
    npk.create("big", (1_250_000, 1024), "float64")
    lazy = npk.load("big", lazy=True)
    assert lazy.nbytes > 10**10
    start = peak()
    assert lazy[5, 3] == 0 and lazy[-1, -1] == 0
    assert lazy[5].sum() == 0
    assert lazy[10:20, 5:8].shape == (10, 3)
    assert lazy[::100_000].shape == (13, 1024)
    assert lazy[[1, 10**6, -5]].shape == (3, 1024)
    assert lazy[[1, 10**6, -5], [3, 4, 5]].shape == (3,)
    assert lazy[7:900_000:300_000, None, ..., -1].shape == (3, 1)
    assert lazy[1000:1002].T.shape == (1024, 2)
    assert lazy.reshape((-1, 4))[-1].shape == (4,)
    assert npk.getitem("big", [3, 9]).shape == (2, 1024)
    assert next(npk.stream_load("big", 10)).shape == (10, 1024)
    assert npk.view("big")[5, 3] == 0
    print((peak() - start) // 2**20)
"""


HUGE = """
import os, resource, sys
import numpy as np
from numpack import NumPack

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
rows = memory // 2 // 8192
with NumPack(sys.argv[1]) as npk:
    npk.create("huge", (rows, 1024), "float64")
    start = peak()
    array = npk.load("huge")
    array[5] = 1
    array[-1, -1] = 2
    assert array[:9].sum() == 1024 and array[-1].sum() == 2
    assert npk.load("huge")[5, 0] == 0
    print((peak() - start) // 2**20)
"""


def test_indexing_ten_gigabytes_reads_pages(path):
    megabytes = int(run_python(BIG, path).stdout)
    assert megabytes < 32


def test_an_array_of_half_the_memory_loads_as_a_private_map(path):
    megabytes = int(run_python(HUGE, path).stdout)
    assert megabytes < 32
