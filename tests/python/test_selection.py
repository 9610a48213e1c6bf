"""replace, getitem, drop and npk["a", rows] with every form of index, against NumPy."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpack import NumPack
from strategies import arrays, layouts, seeds, selections
from support import DTYPES, assert_private, assert_same, assert_store, replaced, rows_of, sample

ROWS = 10
FORMS = {
    "int": 3,
    "negative int": -2,
    "int64": np.int64(4),
    "uint8": np.uint8(9),
    "int16 negative": np.int16(-10),
    "0-d array": np.array(5),
    "list": [1, 2, 3],
    "scattered": [9, 0, 5],
    "descending": [7, 6, 5],
    "duplicates": [4, 4, 2, 4],
    "mixed signs": [-1, 0, -10, 9],
    "one": [6],
    "tuple": (8, 1),
    "range": range(2, 9, 3),
    "range backwards": range(9, 0, -4),
    "array": np.array([3, 1, 8]),
    "int32 array": np.array([3, -1, 8], np.int32),
    "uint64 array": np.array([3, 1, 8], np.uint64),
    "big-endian array": np.array([3, 1, 8], ">i8"),
    "strided array": np.arange(20)[1:10:3],
    "list of NumPy ints": [np.int64(3), np.int8(-1)],
    "all": slice(None),
    "from": slice(8, None),
    "to": slice(None, 3),
    "last two": slice(-2, None),
    "all but the last": slice(0, -1),
    "stepped": slice(1, 9, 3),
    "reversed": slice(None, None, -1),
    "backwards": slice(8, 2, -2),
    "beyond": slice(7, 99),
    "mask": np.arange(10) % 3 == 0,
    "full mask": np.ones(10, bool),
    "mask as list": [False, True] * 5,
}
EMPTY = {
    "list": [],
    "tuple": (),
    "range": range(0),
    "array": np.array([], np.int64),
    "float list": np.array([]),
    "slice": slice(5, 2),
    "slice beyond": slice(50, 60),
    "backward slice": slice(2, 5, -1),
    "mask": np.zeros(10, bool),
    "mask as list": [False] * 10,
}
ROW_SHAPES = [(), (3,), (2, 2)]


def stored(path, dtype, row_shape, with_deletions):
    """A store of ten live rows, and those rows."""
    whole = sample(dtype, (ROWS + 3 if with_deletions else ROWS, *row_shape), 1)
    npk = NumPack(path)
    npk.open()
    npk.save({"a": whole})
    if with_deletions:
        npk.drop("a", [0, 5, 12])
        whole = np.delete(whole, [0, 5, 12], axis=0)
    return npk, whole


@pytest.mark.parametrize("with_deletions", [False, True], ids=["whole", "deleted"])
@pytest.mark.parametrize("row_shape", ROW_SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_getitem(path, form, row_shape, with_deletions):
    npk, array = stored(path, "float64", row_shape, with_deletions)
    rows = rows_of(ROWS, FORMS[form])
    found = npk.getitem("a", FORMS[form])
    assert_same(found, array[rows])
    assert found.flags.writeable
    assert_private(found)
    npk.close()


@pytest.mark.parametrize("with_deletions", [False, True], ids=["whole", "deleted"])
@pytest.mark.parametrize("row_shape", ROW_SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_replace(path, form, row_shape, with_deletions):
    npk, array = stored(path, "float32", row_shape, with_deletions)
    rows = rows_of(ROWS, FORMS[form])
    values = sample("float32", (len(rows), *row_shape), 2)
    npk.replace({"a": values}, FORMS[form])
    expected = replaced(array, rows, values)
    assert_store(npk, {"a": expected})
    npk.close()
    with NumPack(path) as npk:
        assert_store(npk, {"a": expected})


@pytest.mark.parametrize("form", FORMS)
def test_setitem(path, form):
    npk, array = stored(path, "int16", (3,), True)
    rows = rows_of(ROWS, FORMS[form])
    values = sample("int16", (len(rows), 3), 2)
    npk["a", FORMS[form]] = values
    assert_store(npk, {"a": replaced(array, rows, values)})
    npk.close()


@pytest.mark.parametrize("with_deletions", [False, True], ids=["whole", "deleted"])
@pytest.mark.parametrize("form", FORMS)
def test_drop(path, form, with_deletions):
    npk, array = stored(path, "int32", (2,), with_deletions)
    rows = rows_of(ROWS, FORMS[form])
    npk.drop("a", FORMS[form])
    expected = np.delete(array, rows, axis=0)
    assert_store(npk, {"a": expected} if len(expected) else {})
    npk.close()
    with NumPack(path) as npk:
        assert_store(npk, {"a": expected} if len(expected) else {})


@pytest.mark.parametrize("form", EMPTY)
def test_empty_selections(path, form):
    npk, array = stored(path, "float32", (2,), True)
    assert_same(npk.getitem("a", EMPTY[form]), array[:0])
    npk.replace({"a": array[:0]}, EMPTY[form])
    npk.drop("a", EMPTY[form])
    assert_store(npk, {"a": array})
    npk.close()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("index", [[10, 50, 90], [90, 50, 10], [7, 7, 7], [-1, 0, 33]], ids=str)
def test_scattered_replace_of_every_dtype(npk, dtype, index):
    array, values = sample(dtype, (100, 4)), sample(dtype, (3, 4), 5)
    npk.save({"a": array})
    npk.replace({"a": values}, index)
    assert_store(npk, {"a": replaced(array, rows_of(100, index), values)})


def test_one_row_for_an_int(npk):
    array = np.arange(20.0).reshape(10, 2)
    npk.save({"a": array, "flat": np.arange(10)})
    npk.replace({"a": np.array([7.0, 8.0])}, 4)
    npk.replace({"a": np.array([[5.0, 6.0]])}, -1)
    npk.replace({"flat": np.array(77)}, 2)
    npk.replace({"flat": np.array([78])}, np.int64(3))
    array[4], array[9] = [7, 8], [5, 6]
    flat = np.arange(10)
    flat[[2, 3]] = 77, 78
    assert_store(npk, {"a": array, "flat": flat})
    with pytest.raises(ValueError, match="a"):
        npk.replace({"a": np.array([7.0, 8.0])}, [4])


def test_nothing_is_broadcast(npk):
    array = np.arange(20.0).reshape(10, 2)
    npk.save({"a": array})
    for values in (np.zeros((1, 2)), np.zeros((10, 1)), np.zeros((1, 1)), 0.0):
        with pytest.raises(ValueError, match="a"):
            npk.replace({"a": values}, slice(None))
    with pytest.raises(ValueError, match="a"):
        npk["a", :] = 0.0
    assert_store(npk, {"a": array})


def test_lists_and_scalars_take_the_dtype_of_the_array(npk):
    npk.save({"a": np.zeros((4, 2), "f4"), "flat": np.zeros(4, "i2")})
    npk.replace({"a": [[1, 2], [3, 4]]}, [0, 2])
    npk.replace({"flat": 5}, 1)
    npk.append({"flat": [6, 7]})
    npk["flat", 0] = 9
    assert_same(npk["a"], np.array([[1, 2], [0, 0], [3, 4], [0, 0]], "f4"))
    assert_same(npk["flat"], np.array([9, 5, 0, 0, 6, 7], "i2"))


def test_a_list_that_does_not_fit_the_dtype(npk):
    npk.save({"flat": np.zeros(4, "i2")})
    for values in ([70_000], ["text"], [1j], [None]):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            npk.append({"flat": values})
    assert_store(npk, {"flat": np.zeros(4, "i2")})


# int64 and uint64 in one list are float64 to NumPy: that is a TypeError.
REFUSED = (TypeError, ValueError, OverflowError)


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [("i2", 70_000), ("u1", 300), ("u1", -1), ("u8", -3), ("i8", 2**63), ("i4", -(2**40))],
)
def test_numbers_of_numpy_do_not_wrap(npk, dtype, value, in_batch):
    before = np.zeros(4, dtype)
    number = np.uint64(value) if value > 2**62 else np.int64(value)
    npk.save({"flat": before})
    with npk.batch_mode() if in_batch else contextlib.nullcontext():
        for values in ([number], [np.array([number])[0]], (number,), [0, number]):
            with pytest.raises(REFUSED):
                npk.append({"flat": values})
            with pytest.raises(REFUSED):
                npk.replace({"flat": values}, np.arange(len(values)))
        with pytest.raises(REFUSED):
            npk["flat", 0] = number
        with pytest.raises(REFUSED):
            npk.create("full", 3, dtype, fill=number)
        npk["flat", 3] = np.int64(5)
    before[3] = 5
    assert_store(npk, {"flat": before})


def test_indexing_a_0_d_array(npk):
    npk.save({"a": np.array(5.0)})
    for call in (
        lambda: npk.getitem("a", 0),
        lambda: npk.getitem("a", [0]),
        lambda: npk.replace({"a": np.array([1.0])}, [0]),
        lambda: npk.replace({"a": np.array(1.0)}, 0),
        lambda: npk.drop("a", [0]),
        lambda: npk.append({"a": np.array(1.0)}),
    ):
        with pytest.raises((IndexError, ValueError, TypeError), match="a"):
            call()
    assert_store(npk, {"a": np.array(5.0)})


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (0, 0, 2)], ids=str)
def test_zero_sizes(path, shape):
    array = np.zeros(shape, "f4")
    with NumPack(path) as npk:
        npk.save({"a": array})
        assert_same(npk.getitem("a", slice(None)), array)
        assert_same(npk.getitem("a", []), array[:0])
        npk.replace({"a": array}, slice(None))
        npk.drop("a", [])
        npk.drop("a", slice(0, 0))
        assert [batch.shape for batch in npk.stream_load("a", 2)] == [
            array[start : start + 2].shape for start in range(0, shape[0], 2)
        ]
        npk.append({"a": np.zeros((2, *shape[1:]), "f4")})
        expected = np.zeros((shape[0] + 2, *shape[1:]), "f4")
        assert_store(npk, {"a": expected})
        assert_same(npk.getitem("a", [-1, 0]), expected[[-1, 0]])
        npk.replace({"a": expected[:1]}, -1)
        npk.drop("a", 0)
        assert_store(npk, {"a": expected[1:]})
        npk.update("a")
        assert_store(npk, {"a": expected[1:]})
    with NumPack(path) as npk:
        assert_store(npk, {"a": expected[1:]})


def test_an_empty_selection_of_an_empty_array_removes_nothing(npk):
    npk.save({"a": np.zeros((0, 2))})
    for index in ([], slice(None), np.zeros(0, bool), range(0)):
        npk.drop("a", index)
        assert npk.get_shape("a") == (0, 2)


@pytest.mark.parametrize("index", [slice(None), list(range(10)), np.ones(10, bool), range(-10, 0)])
def test_all_rows_remove_the_array(npk, path, index):
    npk.save({"a": np.arange(10), "b": np.arange(10)})
    npk.drop("a", index)
    assert npk.get_member_list() == ["b"] and not npk.has_array("a")
    with pytest.raises(KeyError):
        npk.load("a")
    npk.save({"a": np.arange(3)})
    assert npk.get_member_list() == ["b", "a"]


def test_drop_of_several_names(npk):
    npk.save({"a": np.arange(10), "b": np.arange(10), "c": np.arange(10)})
    npk.drop(["a", "zz", "b"], [1, -1])
    rest = np.delete(np.arange(10), [1, 9])
    assert_store(npk, {"a": rest, "b": rest, "c": np.arange(10)})


def test_indices_count_the_live_rows(npk):
    npk.save({"a": np.arange(10)})
    npk.drop("a", [0, 1])
    npk.drop("a", [-1])
    npk.drop("a", slice(-2, None))
    assert_store(npk, {"a": np.arange(2, 7)})
    with pytest.raises(IndexError):
        npk.drop("a", [5])
    with pytest.raises(IndexError):
        npk.drop("a", [-6])
    npk.append({"a": np.array([70])})
    npk.drop("a", [0, -1])
    assert_store(npk, {"a": np.arange(3, 7)})


@pytest.mark.parametrize("rows", [63, 64, 65, 128, 1000])
def test_append_after_drop_around_bitmap_words(path, rows):
    array = np.arange(rows)
    expected = np.delete(array, [0, 3, rows - 1])
    with NumPack(path) as npk:
        npk.save({"a": array})
        npk.drop("a", [0, 3, rows - 1])
        for size in (1, 2, 61, 64):
            more = np.arange(size) + 10_000
            npk.append({"a": more})
            expected = np.concatenate([expected, more])
            assert_store(npk, {"a": expected})
    with NumPack(path) as npk:
        assert_store(npk, {"a": expected})
        npk.update("a")
        assert_store(npk, {"a": expected})
    with NumPack(path) as npk:
        assert_store(npk, {"a": expected})
        assert npk.get_metadata()["arrays"]["a"]["shape"] == [len(expected)]


@given(data=st.data(), array=arrays(min_rank=1), seed=seeds)
def test_any_selection_means_what_numpy_means(tmp_path_factory, data, array, seed):
    index = data.draw(selections(len(array)))
    rows = rows_of(len(array), index)
    values = sample(array.dtype, (len(rows), *array.shape[1:]), seed)
    with NumPack(tmp_path_factory.mktemp("selection") / "s") as npk:
        npk.save({"a": data.draw(layouts(array)), "b": array, "c": array})
        assert_same(npk.getitem("a", index), array[rows])
        npk.replace({"a": data.draw(layouts(values))}, index)
        npk["c", index] = values
        expected = replaced(array, rows, values)
        live = np.delete(array, rows, axis=0)
        npk.drop("b", index)
        survivors = {"a": expected, "c": expected}
        if len(rows) == 0 or len(live):
            survivors["b"] = live
        assert_store(npk, survivors)


def uneven(rows):
    """The same row numbers, at places in memory that are not a multiple of their size apart."""
    records = np.zeros(len(rows), [("tag", "i4"), ("row", "i8")])
    records["tag"], records["row"] = 7, rows
    shifted = np.zeros(8 * len(rows) + 1, np.uint8)[1:].view("i8")
    shifted[:] = rows
    spread = np.zeros(len(rows), [("row", "i8"), ("tag", "i4")])
    spread["row"], spread["tag"] = rows, 7
    return [records["row"], shifted, spread["row"], records["row"][::-1]]


@pytest.mark.parametrize("with_deletions", [False, True])
@pytest.mark.parametrize("kind", range(4))
def test_row_numbers_may_lie_anywhere_in_memory(path, with_deletions, kind):
    npk, array = stored(path, "float16", (2,), with_deletions)
    index = uneven([3, 0, 5, 2])[kind]
    assert not index.flags.aligned
    assert_same(npk.getitem("a", index), array[index])
    assert_same(npk.load("a", lazy=True)[index], array[index])
    values = np.ones((4, 2), "float16")
    npk.replace({"a": values}, index)
    array[index] = values
    assert_same(npk.load("a"), array)
    npk.drop("a", index)
    assert_same(npk.load("a"), np.delete(array, index, axis=0))
    npk.close()


@pytest.mark.parametrize("with_deletions", [False, True])
def test_any_byte_of_a_mask_but_0_is_true(path, with_deletions):
    npk, array = stored(path, "float16", (2,), with_deletions)
    mask = np.array([2, 0, 1, 254, 0, 128, 255, 0, 0, 3], np.uint8).view(bool)
    chosen = np.array([0, 2, 3, 5, 6, 9])
    assert_same(npk.getitem("a", mask), array[chosen])
    npk.replace({"a": np.ones((6, 2), "float16")}, mask)
    array[chosen] = 1
    assert_same(npk.load("a"), array)
    npk.drop("a", mask)
    assert_same(npk.load("a"), np.delete(array, chosen, axis=0))
    npk.close()


@pytest.mark.parametrize("buffer_size", [None, 1, 3, 10, 10**15])
def test_stream_load(path, buffer_size):
    for with_deletions in (False, True):
        npk, array = stored(path / str(with_deletions), "float16", (2,), with_deletions)
        batches = list(npk.stream_load("a", buffer_size))
        size = buffer_size or 1
        assert [len(batch) for batch in batches] == [
            min(size, ROWS - start) for start in range(0, ROWS, size)
        ]
        assert_same(np.concatenate(batches), array)
        npk.close()


def test_a_stream_is_one_instant(npk):
    npk.save({"a": np.arange(10)})
    stream = npk.stream_load("a", 3)
    first = next(stream)
    npk.replace({"a": np.zeros(10, int)}, slice(None))
    npk.drop("a", [1])
    npk.close()
    assert_same(np.concatenate([first, *stream]), np.arange(10))
    npk.open()
