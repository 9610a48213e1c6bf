"""Arrow, DLPack and array protocols as input: from_arrow, save, append and replace."""

import datetime
import decimal
import warnings

import numpy as np
import pytest
from numpack import NumPack, _internal
from support import DTYPES, SHAPES, address, assert_same, assert_store, plain, sample

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")
pd = pytest.importorskip("pandas")
duckdb = pytest.importorskip("duckdb")


@pytest.fixture
def other(tmp_path):
    """A second store to copy into."""
    with NumPack(tmp_path / "other.npk") as store:
        yield store


# ---------------------------------------------------------------------- there and back
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_to_arrow_gave_comes_back(npk, other, dtype, shape):
    array = sample(dtype, shape)
    npk.save({"a": array})
    other.from_arrow(npk.to_arrow("a"), "one")
    other.from_arrow(npk.to_arrow())
    other.from_arrow(npk.load("a", lazy=True), "lazy")
    other.from_arrow(npk.table("a"), columns=["a"])
    assert_store(other, {"one": array, "a": array, "lazy": array})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_scalar_comes_back_as_one_row(npk, other, dtype):
    array = sample(dtype, ())
    npk.save({"a": array})
    other.from_arrow(npk.to_arrow("a"), "a")
    assert_same(other["a"], array.reshape(1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_with_deleted_rows_come_back(npk, other, dtype):
    array = sample(dtype, (10_000, 3))
    npk.save({"a": array, "b": array[:, 0].copy()})
    npk.drop(["a", "b"], [0, 17, 9000])
    live = np.delete(array, [0, 17, 9000], axis=0)
    other.from_arrow(npk)
    assert_store(other, {"a": live, "b": live[:, 0]})
    other.from_arrow(npk.to_arrow("a"), "a")
    assert_same(other["a"], live)


def test_slices_and_chunks(npk):
    table = pa.table(
        {
            "x": pa.array(range(100)),
            "v": pa.array([[i, -i] for i in range(100)], pa.list_(pa.int16(), 2)),
        }
    )
    npk.from_arrow(table.slice(10, 50))
    assert_same(npk["x"], np.arange(10, 60))
    npk.from_arrow(pa.concat_tables([table.slice(3, 4), table.slice(0, 0), table.slice(90)]))
    rows = np.r_[3:7, 90:100]
    assert_same(npk["x"], rows)
    assert_same(npk["v"], np.stack([rows, -rows], axis=1).astype("i2"))
    npk.from_arrow(table["v"].slice(5, 20), "piece")
    assert_same(npk["piece"], np.stack([np.arange(5, 25), -np.arange(5, 25)], axis=1).astype("i2"))
    npk.from_arrow(table["v"].chunk(0)[7:9], "array")
    assert_same(npk["array"], np.array([[7, -7], [8, -8]], "i2"))


def test_no_rows_and_no_chunks(npk):
    schema = pa.schema([("x", pa.float32()), ("v", pa.list_(pa.int8(), 3)), ("b", pa.bool_())])
    npk.from_arrow(pa.Table.from_batches([], schema))
    assert_store(npk, {"x": np.zeros(0, "f4"), "v": np.zeros((0, 3), "i1"), "b": np.zeros(0, bool)})


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
def test_lists_of_equal_length_become_rows(npk, kind):
    values = [[1, 2, 3], [4, 5, 6]]
    npk.from_arrow(pa.table({"v": pa.array(values, kind(pa.int32()))}))
    assert_same(npk["v"], np.array(values, "i4"))
    with pytest.raises(ValueError, match=r'"v".*row 1 .* of 2.* of 3'):
        npk.from_arrow(pa.table({"v": pa.array([[1, 2, 3], [4, 5]], kind(pa.int32()))}))
    nested = pa.array([[[1, 2], [3, 4]]], pa.list_(pa.list_(pa.int8(), 2), 2))
    npk.from_arrow(nested, "nested")
    assert_same(npk["nested"], np.array([[[1, 2], [3, 4]]], "i1"))


def test_booleans(npk):
    bits = pa.array([True, False, True] * 7)
    npk.from_arrow(
        pa.table({"b": bits[3:], "l": pa.array([[True, False]] * 18, pa.list_(pa.bool_(), 2))})
    )
    assert_same(npk["b"], np.array([True, False, True] * 6))
    assert_same(npk["l"], np.array([[True, False]] * 18))
    odd = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, -1, 7], pa.int8()))
    npk.from_arrow(odd, "odd")
    assert_same(npk["odd"], np.array([False, True, True, True]))


# ---------------------------------------------------------------------- refusals
STAMP = datetime.datetime(2020, 1, 1)
REFUSED = {
    "nulls": (pa.array([1, None, 3, None]), r'"bad" has 2 nulls'),
    "nulls of floats": (pa.array([1.0, None]), r'"bad" has 1 null,'),
    "nulls of booleans": (pa.array([True, None]), r'"bad" has 1 null,'),
    "null lists": (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), r'"bad" has 1 null,'),
    "nulls in lists": (pa.array([[1, None]] * 3, pa.list_(pa.int8(), 2)), r'"bad" has 3 nulls'),
    "only nulls": (pa.nulls(3), r'"bad" is Null'),
    "strings": (pa.array(["a", "b"]), r'"bad" is Utf8 \(2 rows\)'),
    "bytes": (pa.array([b"a"]), r'"bad" is Binary'),
    "dates": (pa.array([STAMP.date()]), r'"bad" is Date32'),
    "times": (pa.array([STAMP]), r'"bad" is Timestamp'),
    "durations": (pa.array([datetime.timedelta(1)]), r'"bad" is Duration'),
    "decimals": (pa.array([decimal.Decimal("1.5")]), r'"bad" is Decimal128'),
    "dictionaries": (pa.array(["a", "b"]).dictionary_encode(), r'"bad" is Dictionary'),
    "structs": (pa.array([{"x": 1}]), r'"bad" is Struct'),
    "lists of strings": (pa.array([["a"], ["b"]]), r'"bad" is List'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(npk, case):
    array, text = REFUSED[case]
    before = np.arange(2)
    npk.save({"kept": before})
    table = pa.table({"kept": pa.array(range(100, 100 + len(array))), "bad": array})
    with pytest.raises(ValueError, match=text):
        npk.from_arrow(table)
    assert_store(npk, {"kept": before})
    if case != "structs":
        for save in (
            lambda: npk.from_arrow(array, "bad"),
            lambda: npk.save({"other": before, "bad": array}),
        ):
            with pytest.raises(ValueError, match=text):
                save()
    npk.from_arrow(table, columns=["kept"])
    assert_store(npk, {"kept": np.arange(100, 100 + len(array))})


def test_rows_of_a_table_that_are_null(npk):
    rows = pa.array([{"a": 1}, None, {"a": 3}], pa.struct([("a", pa.int8())]))
    with pytest.raises(ValueError, match="1 row"):
        npk.from_arrow(rows)
    assert len(npk) == 0
    npk.from_arrow(rows.slice(2))
    assert_same(npk["a"], np.array([3], "i1"))


def test_wrong_arguments(npk):
    table = pa.table({"a": [1, 2], "b": [3, 4]})
    with pytest.raises(KeyError, match=r'"zz" not found.*a, b'):
        npk.from_arrow(table, columns=["a", "zz"])
    with pytest.raises(ValueError, match="table of 2 columns"):
        npk.from_arrow(table, "name")
    with pytest.raises(ValueError, match="give it a name"):
        npk.from_arrow(pa.array([1, 2]))
    with pytest.raises(ValueError, match="columns"):
        npk.from_arrow(pa.array([1, 2]), "a", columns=["a"])
    with pytest.raises(ValueError, match='two columns are named "a"'):
        npk.from_arrow(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
    for data in ({"a": [1]}, np.arange(3), [1, 2], None):
        with pytest.raises(TypeError, match="__arrow_c_stream__"):
            npk.from_arrow(data)
    assert len(npk) == 0


def test_a_stream_is_read_once_and_its_error_is_told(npk):
    def batches():
        yield pa.record_batch({"a": pa.array([1, 2])})
        raise RuntimeError("the source broke")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    with pytest.raises(ValueError, match="the source broke"):
        npk.from_arrow(reader)
    assert len(npk) == 0
    reader = pa.table({"a": [1, 2]}).to_reader()
    npk.from_arrow(reader)
    assert_same(npk["a"], np.arange(1, 3))


# ---------------------------------------------------------------------- from every library
def test_tables_of_every_library(npk):
    arrays = {"i": np.arange(50), "f": plain("float32", (50,), 1), "b": np.arange(50) % 3 == 0}
    columns = {name: pa.array(array) for name, array in arrays.items()}
    connection = duckdb.connect()
    arrow = pa.table(columns)
    for data in (
        arrow,
        arrow.to_batches()[0],
        arrow.to_reader(max_chunksize=7),
        pl.DataFrame(arrays),
        pd.DataFrame(arrays),
        connection.sql("SELECT * FROM arrow"),
    ):
        npk.reset()
        npk.from_arrow(data)
        assert_store(npk, arrays)
        assert npk.get_member_list() == list(arrays)


def test_a_query_is_saved_without_its_row_id(npk, other):
    npk.save({"a": np.arange(4), "v": plain("float32", (4, 2))})
    result = npk.sql("SELECT a, v, row_id FROM self WHERE a > 0 ORDER BY a")
    other.from_arrow(result)
    assert other.get_member_list() == ["a", "v"]
    assert_same(other["v"], npk["v"][1:])
    other.from_arrow(result, columns=["row_id"])
    assert_same(other["row_id"], np.arange(1, 4))


class OnlyDLPack:
    """Nothing but DLPack, as some array libraries have it."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnlyArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)


class OnlyArrow:
    def __init__(self, array):
        self.array = pa.array(array)

    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__(requested_schema)


class OnlyStream:
    def __init__(self, array):
        self.array = pa.chunked_array([array[:2], array[2:]])

    def __arrow_c_stream__(self, requested_schema=None):
        return self.array.__arrow_c_stream__(requested_schema)


SOURCES = {
    "pyarrow": pa.array,
    "chunks": lambda array: pa.chunked_array([array[:2], array[2:]]),
    "polars": pl.Series,
    "pandas": pd.Series,
    "pandas of Arrow": lambda array: pd.Series(array, dtype=pd.ArrowDtype(pa.int32())),
    "DLPack": OnlyDLPack,
    "__array__": OnlyArray,
    "__arrow_c_array__": OnlyArrow,
    "__arrow_c_stream__": OnlyStream,
    "memoryview": memoryview,
}


@pytest.mark.parametrize("batch", [False, True], ids=["direct", "batch"])
@pytest.mark.parametrize("source", SOURCES)
def test_save_append_and_replace_take(npk, source, batch):
    make = SOURCES[source]
    a, b, c = (plain("int32", (4,), seed) for seed in range(3))
    if batch:
        with npk.batch_mode():
            write(npk, make(a), make(b), make(c))
    else:
        write(npk, make(a), make(b), make(c))
    expected = np.concatenate([a, b])
    expected[[7, 0, 2, 5]] = c
    expected[1:5] = a
    assert_store(npk, {"x": expected, "y": a})


def write(npk, a, b, c):
    npk.save({"x": a})
    npk["y"] = a
    npk.append({"x": b})
    npk.replace({"x": c}, [7, 0, 2, 5])
    npk["x", 1:5] = a


def test_two_axes_by_protocol(npk):
    array = plain("float32", (6, 4))
    flat = pa.array(array.ravel())
    tvm = pytest.importorskip("tvm_ffi")
    npk.save(
        {
            "lists": pa.FixedSizeListArray.from_arrays(flat, 4),
            "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(array.reshape(6, 2, 2)),
            "polars": pl.Series("v", array),
            "dlpack": OnlyDLPack(array),
            "turned": OnlyDLPack(array.T),
            "tvm": tvm.from_dlpack(array),
        }
    )
    for name in ("lists", "polars", "dlpack", "tvm"):
        assert_same(npk[name], array, name)
    assert_same(npk["tensor"], array.reshape(6, 2, 2))
    assert_same(npk["turned"], array.T)
    npk.append({"lists": pl.Series(array)})
    assert npk.get_shape("lists") == (12, 4)


def test_the_dtype_is_still_checked(npk):
    npk.save({"x": np.arange(3, dtype="i4")})
    with pytest.raises(TypeError, match=r"int32.*int64|int64.*int32"):
        npk.append({"x": pa.array([1, 2, 3])})
    with pytest.raises(ValueError):
        npk.replace({"x": pa.array([1], pa.int32())}, [0, 1])
    assert_same(npk["x"], np.arange(3, dtype="i4"))


def test_nan_is_no_null(npk):
    """What a library calls missing is refused, what it calls NaN is kept."""
    values = np.array([1.0, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        npk.save({"numpy": values, "pandas": pd.Series(values), "polars": pl.Series(values)})
    for name in npk:
        assert_same(npk[name], values)
    with pytest.raises(ValueError, match="1 null"):
        npk.save({"polars": pl.Series([1.0, None])})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_chunk_is_written_from_where_it_lies(npk, dtype):
    """What save() is given is the memory of the Arrow array itself; bits and chunks need a copy."""
    for shape in ((50,), (50, 3), (50, 3, 2)):
        npk.save({"a": sample(dtype, shape)})
        arrow = npk.to_arrow("a")
        found = _internal.arrow_values(arrow[7:], "a")
        assert_same(found, npk["a"][7:])
        assert address(found) == address(npk.view("a")[7:])
        assert not found.flags.writeable
        chunks = pa.chunked_array([arrow, arrow])
        assert_same(_internal.arrow_values(chunks, "a"), np.concatenate([npk["a"]] * 2))
    kept = np.arange(5000)
    found = _internal.arrow_values(pa.array(kept), "a")
    del kept
    assert_same(found, np.arange(5000))


def test_what_a_batch_has_taken_can_be_edited(npk):
    """load() inside of a block gives the array itself, whatever it came from."""
    frozen = np.arange(4.0)
    frozen.flags.writeable = False
    with npk.batch_mode():
        npk.save({"arrow": pa.array(np.arange(4.0)), "frozen": frozen, "bytes": memoryview(b"ab")})
        npk.from_arrow(pa.table({"table": np.arange(4.0)}))
        for name in npk:
            npk.load(name)[0] = 9
    assert frozen[0] == 0
    for name in npk:
        assert npk[name][0] == 9, name


def test_no_loop_over_values(npk):
    """A million values come in without one of them becoming a Python object."""
    import gc
    import tracemalloc

    data = pa.array(np.arange(1_000_000))
    npk.save({"warm": data.slice(0, 10)})
    gc.collect()
    tracemalloc.start()
    npk.save({"x": data})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 9_000_000  # the values themselves at most, objects would be four times that
    assert_same(npk["x"], np.arange(1_000_000))
