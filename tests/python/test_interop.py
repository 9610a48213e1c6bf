"""Every pair of docs/interop.md, measured with the library itself; and whole stores."""

import warnings

import interop
import numpack
import numpy as np
import pytest
from interop import PAIRS, arrays
from numpack import NumPack
from support import address, assert_same, lies_in, plain, run_python, segmented

pa = pytest.importorskip("pyarrow")
pl = pytest.importorskip("polars")
pd = pytest.importorskip("pandas")
duckdb = pytest.importorskip("duckdb")


@pytest.fixture(scope="module")
def originals():
    return arrays()


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_pair(npk, originals, pair):
    if not pair.available():
        pytest.skip(f"{pair.library} is not installed")
    original = originals[pair.array]
    npk.save({pair.array: original})
    assert pair.measure(npk, original) == pair.outcome


def test_every_library_but_torch_is_measured():
    """PyTorch's wheel for Linux brings gigabytes of CUDA; the others are in requirements.txt."""
    missing = {pair.library for pair in PAIRS if not pair.available()}
    assert missing <= {"PyTorch"}, missing
    assert {pair.library for pair in PAIRS} == set(interop.MODULES)


def test_the_document_is_what_was_measured():
    text = interop.DOCUMENT.read_text()
    assert text == interop.document(), "python tests/python/interop.py writes it anew"


# ---------------------------------------------------------------------- whole stores
@pytest.fixture
def store(npk, originals):
    npk.save(originals)
    npk.save({"scalar": np.float64(2.5)})
    return npk


def test_pyarrow_takes_a_store(store, originals, path):
    for table in (pa.table(store), store.table().to_arrow(bool8=False)):
        assert table.column_names == list(originals)
        assert table.num_rows == interop.ROWS
        assert_same(table["x"].to_numpy(), originals["x"])
        assert lies_in(table["x"].chunks[0].buffers()[1].address, path)
        table.validate(full=True)
    with pytest.warns(UserWarning, match="DuckDB"):  # who asks for a schema may be DuckDB
        assert pa.schema(store) == pa.table(store).schema
    reader = pa.RecordBatchReader.from_stream(store)
    assert [batch.num_rows for batch in reader] == [interop.ROWS]


def test_polars_takes_a_store(store, originals):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of extension types that Polars does not know
        frame = pl.DataFrame(store)
    assert frame.columns == list(originals) and frame.height == interop.ROWS
    assert_same(frame["emb"].to_numpy(), originals["emb"])
    assert frame["flag"].to_list() == originals["flag"].tolist()


def test_duckdb_takes_a_store(npk, originals):
    npk.save({name: originals[name] for name in ("x", "emb", "img", "flag", "z")})
    assert duckdb.sql("SELECT count(*) FROM npk").fetchall() == [(interop.ROWS,)]
    assert duckdb.sql("SELECT sum(x) FROM npk").fetchall() == [(originals["x"].sum(),)]
    ((total,),) = duckdb.sql("SELECT sum(x) FROM npk WHERE flag").fetchall()
    assert total == originals["x"][originals["flag"]].sum()
    query = "SELECT array_distance(emb, $1::FLOAT[8]) AS d FROM npk ORDER BY d LIMIT 3"
    found = duckdb.sql(query, params=[originals["emb"][7].tolist()]).fetchnumpy()["d"]
    distances = np.linalg.norm(originals["emb"] - originals["emb"][7], axis=1)
    np.testing.assert_allclose(found, np.sort(distances)[:3], rtol=1e-6)


def test_duckdb_is_told_what_to_leave_out(store, originals):
    hint = r"DuckDB .*'half' out with table\('x', 'emb'"
    with pytest.warns(UserWarning, match=hint), pytest.raises(duckdb.Error):
        duckdb.sql("FROM store")
    part = store.table("x", "flag")  # noqa: F841 - DuckDB finds it by name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert duckdb.sql("SELECT sum(x) FROM part").fetchall() == [(originals["x"].sum(),)]


def test_duckdb_scans_a_table_again_and_sees_the_change(npk):
    npk.save({"a": np.arange(10)})
    part = npk.table("a")  # noqa: F841 - DuckDB finds it by name
    assert duckdb.sql("SELECT sum(a) FROM part").fetchall() == [(45,)]
    npk.append({"a": np.array([100])})
    assert duckdb.sql("SELECT sum(a) FROM part").fetchall() == [(145,)]


def test_arrays_of_unequal_length_are_listed(npk):
    npk.save({"a": np.arange(3), "b": np.arange(4), "c": np.zeros((4, 2))})
    for attempt in (
        npk.to_arrow,
        lambda: npk.to_arrow(["a", "b"]),
        lambda: pa.table(npk),
        lambda: len(npk.table()),
        lambda: npk.table("a", "b").to_polars(),
        lambda: npk.table().schema and npk.table().to_arrow(),
    ):
        with pytest.raises(ValueError) as caught:
            attempt()
        for word in ('"a" 3', '"b" 4'):
            assert word in str(caught.value)
    with pytest.raises(duckdb.Error, match='"a" 3'):
        duckdb.sql("FROM npk").fetchall()
    assert npk.table("b", "c").to_arrow().num_rows == 4
    assert npk.table("b", "c").to_polars().shape == (4, 2)


# ---------------------------------------------------------------------- Table
def test_a_table_is_live_and_each_export_one_snapshot(npk):
    npk.save({"a": np.arange(5), "b": np.arange(5) * 10})
    table = npk.table("b", "a")
    before = table.to_arrow()
    stream = table.__arrow_c_stream__()
    npk.append({"a": np.arange(2), "b": np.arange(2)})
    npk.replace({"a": np.array([99])}, [0])
    assert before["a"].to_pylist() == [0, 1, 2, 3, 4]
    assert len(table) == 7 and table.columns == ["b", "a"]
    assert table.to_arrow()["a"].to_pylist() == [99, 1, 2, 3, 4, 0, 1]
    found = pa.RecordBatchReader._import_from_c_capsule(stream).read_all()
    assert found["a"].to_pylist() == [0, 1, 2, 3, 4]
    npk.save({"c": np.arange(7)})
    assert npk.table().columns == ["a", "b", "c"]


def test_the_manners_of_a_table(npk):
    npk.save({"a": np.arange(3), "b": np.ones((3, 2), bool), "k": np.float32(1)})
    table = npk.table()
    assert isinstance(table, numpack.Table) and bool(npk.table())
    assert repr(table) == "numpack.Table, 3 rows\n  a: int64\n  b: bool (2,)"
    assert table.schema == table.to_arrow().schema
    assert table.schema.names == ["a", "b"]
    assert len(table) == 3
    assert list(table.to_pandas().columns) == ["a", "b"]
    assert table.to_polars()["b"].to_list() == [[True, True]] * 3
    with pytest.raises(KeyError, match="zz"):
        npk.table("a", "zz")
    with pytest.raises(ValueError, match="twice"):
        npk.table("a", "a")
    with pytest.raises(ValueError, match=r"'k' is 0-dim"):
        npk.table("a", "k")
    with pytest.raises(TypeError, match="int"):
        npk.table(3)
    npk.drop("b")
    assert npk.table().columns == ["a"]
    npk.close()
    with pytest.raises(RuntimeError, match="closed"):
        table.to_arrow()
    npk.open()
    assert len(table) == 3


def test_sql_over_a_table(npk):
    npk.save({"a": np.arange(4), "b": np.arange(4) * 2, "other": np.arange(9)})
    table = npk.table("a", "b")
    found = table.sql("SELECT sum(a + b) AS s FROM self").to_numpy()
    assert found["s"].tolist() == [18]
    assert list(table.sql("SELECT * FROM self").to_numpy())[:2] == ["a", "b"]
    with npk.batch_mode():
        npk.replace({"a": np.array([10])}, [0])
        assert table.sql("SELECT sum(a) AS s FROM self").to_numpy()["s"].tolist() == [16]
    with pytest.raises(TypeError):
        table.sql(3)


def test_tables_inside_a_batch(npk):
    npk.save({"a": np.arange(3)})
    with npk.batch_mode():
        npk.load("a")[...] = 7
        npk.save({"b": np.zeros(3)})
        assert npk.to_arrow()["a"].to_pylist() == [7, 7, 7]
        assert pl.DataFrame(npk).columns == ["a", "b"]


def test_an_empty_store_and_empty_arrays(npk):
    assert pa.table(npk).num_columns == 0
    assert len(npk.table()) == 0 and npk.table().columns == []
    npk.save({"a": np.zeros((0, 3), "f4"), "b": np.zeros(0, "i2")})
    table = pa.table(npk)
    assert table.num_rows == 0 and table.schema.field("a").type == pa.list_(pa.float32(), 3)
    assert pl.DataFrame(npk).shape == (0, 2)


@pytest.mark.parametrize("gap", [10_000, 3])
def test_deleted_rows_of_several_columns(npk, path, gap):
    original = {"a": plain("int32", (30_000,), 1), "b": plain("float32", (30_000, 2), 2)}
    npk.save(original)
    gone = np.arange(5, 30_000, gap)
    npk.drop(["a", "b"], gone)
    live = {name: np.delete(array, gone, axis=0) for name, array in original.items()}
    table = pa.table(npk)
    assert_same(table["a"].to_numpy(), live["a"])
    assert_same(
        np.vstack([np.stack(chunk.to_pylist()) for chunk in table["b"].chunks]).astype("f4"),
        live["b"],
    )
    inside = [lies_in(chunk.buffers()[1].address, path) for chunk in table["a"].chunks]
    assert inside == ([True] * 4 if gap > 3 else [False])
    assert pl.DataFrame(npk)["a"].to_list() == live["a"].tolist()


# ---------------------------------------------------------------------- segments
def test_segments_of_0_7_are_chunks(path):
    """An array in several files is one chunk a file, each over its own pages, all ways."""
    pieces = [plain("float32", (rows, 3), rows) for rows in (6000, 5000, 9000)]
    whole = segmented(path, "a", pieces)
    with NumPack(path, mode="r") as npk:
        table = npk.to_arrow(["a"], zero_copy_only=True)
        for found in (table, pa.table(npk)):
            assert [len(chunk) for chunk in found["a"].chunks] == [6000, 5000, 9000]
            for chunk, piece in zip(found["a"].chunks, pieces, strict=True):
                values = chunk.flatten().to_numpy(zero_copy_only=True)
                assert lies_in(address(values), path)
                assert_same(values.reshape(-1, 3), piece)
        with pytest.raises(ValueError, match=r'"a".* 3 runs'):
            npk.to_arrow("a", zero_copy_only=True)
        assert_same(npk.to_arrow("a").flatten().to_numpy().reshape(-1, 3), whole)
        assert_same(pl.DataFrame(npk)["a"].to_numpy(), whole)
        assert_same(np.from_dlpack(npk.load("a", lazy=True)), whole)
    with NumPack(path) as npk:
        npk.replace({"a": np.zeros((2, 3), "f4")}, [0, 7000])
        npk.drop("a", [3])
        npk.append({"a": whole[:5]})
        assert npk.to_arrow()["a"].chunks[0].flatten()[0].as_py() == 0
        with NumPack(path.parent / "copy.npk") as other:
            other.from_arrow(npk)
            assert_same(other["a"], npk["a"])
    for chunk, piece in zip(table["a"].chunks, pieces, strict=True):
        assert_same(chunk.flatten().to_numpy().reshape(-1, 3), piece)


def test_short_segments_are_gathered(path):
    pieces = [plain("int16", (rows,), rows) for rows in (10, 20, 5)]
    whole = segmented(path, "a", pieces)
    with NumPack(path, mode="r") as npk:
        (chunk,) = pa.table(npk)["a"].chunks
        assert_same(chunk.to_numpy(), whole)
        assert len(npk.to_arrow(zero_copy_only=True)["a"].chunks) == 3


# ---------------------------------------------------------------------- extension types
def test_complex_numbers_round_trip_through_a_file(npk, tmp_path):
    array = plain("complex64", (10,), 1) + 1j
    npk.save({"z": array.astype("c8"), "w": array.astype("c16")})
    file = tmp_path / "z.arrow"
    table = npk.to_arrow()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.memory_map(str(file)) as source:
        again = pa.ipc.open_file(source).read_all()
    assert again.schema == table.schema
    assert str(again.schema.field("z").type.extension_name) == "numpack.complex64"
    assert_same(again["z"].combine_chunks().to_numpy(), array.astype("c8"))
    assert again["w"].to_pylist() == array.astype("c16").tolist()


def test_nulls_among_complex_numbers():
    from numpack.extension_types import Complex64Type

    pairs = pa.array([[1.0, 2.0], None, [3.0, None]], pa.list_(pa.float32(), 2))
    array = pa.ExtensionArray.from_storage(Complex64Type(), pairs)
    assert array.to_pylist()[:2] == [1 + 2j, None]
    with pytest.raises(ValueError, match="null"):
        array.to_numpy()
    found = array.to_numpy(zero_copy_only=False)
    assert found[0] == 1 + 2j and np.isnan(found[1:]).all()
    with pytest.raises(ValueError, match="writable"):
        array[:1].to_numpy(writable=True)
    assert array[:1].to_numpy(zero_copy_only=False, writable=True).flags.writeable
    with pytest.raises(ValueError, match="double"):
        Complex64Type(pa.list_(pa.float64(), 2))


@pytest.mark.parametrize("first", ["pyarrow", "numpack"])
def test_the_types_are_registered_whoever_is_imported_first(first):
    """And importing numpack imports no pyarrow, and pyarrow's spec is left as it was."""
    second = "numpack" if first == "pyarrow" else "pyarrow"
    code = f"""
import sys
import {first}
assert {first!r} == "pyarrow" or "pyarrow" not in sys.modules
import {second}
import pyarrow as pa
pairs = pa.list_(pa.float32(), 2)
storage = pa.array([[1.0, 2.0]], pairs)
field = pa.field("z", pairs, metadata={{"ARROW:extension:name": "numpack.complex64"}})
class Column:
    def __arrow_c_array__(self, requested_schema=None):
        batch = pa.record_batch([storage], schema=pa.schema([field]))
        return batch.__arrow_c_array__()
assert pa.record_batch(Column()).column(0).to_pylist() == [1 + 2j]
assert not any("numpack" in type(finder).__module__ for finder in sys.meta_path)
assert "exec_module" not in vars(pa.__spec__.loader)
import importlib; importlib.reload(sys.modules["numpack.extension_types"])
"""
    run_python(code)


def test_without_pyarrow_streams_work(npk, path):
    npk.save({"a": np.arange(3), "z": np.zeros(3, "c8")})
    code = """
import sys
sys.modules["pyarrow"] = None
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    assert "arrow_array_stream" in repr(npk.__arrow_c_stream__())
    assert "arrow_schema" in repr(npk.__arrow_c_schema__())
    assert len(npk.table("a")) == 3
    try:
        npk.to_arrow()
    except ImportError as error:
        assert "pyarrow" in str(error)
    else:
        raise AssertionError("pyarrow was not missed")
"""
    run_python(code, path)
