"""to_arrow without a copy, and SELECT over the arrays of a store, against pyarrow and NumPy."""

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from numpack import NumPack
from support import NUMERIC, assert_same, lies_in, plain, run_python, sample

ARROW = {
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}


def flat(array):
    """The innermost values of a list or tensor array."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    while isinstance(array.type, (pa.FixedSizeListType,)):
        array = array.flatten()
    return array


def arrow_type(dtype, shape):
    value = ARROW[dtype.name]
    if len(shape) == 1:
        return value
    if len(shape) == 2:
        return pa.list_(value, shape[1])
    return pa.fixed_shape_tensor(value, shape[1:])


@pytest.mark.parametrize("shape", [(60,), (60, 4), (60, 2, 3)], ids=str)
@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
def test_to_arrow_is_the_file_itself(npk, path, dtype, shape):
    array = sample(dtype, shape)
    npk.save({"a": array})
    for options in ({}, {"zero_copy_only": True}):
        found = npk.to_arrow("a", **options)
        assert isinstance(found, pa.Array)
        assert found.type == arrow_type(dtype, shape)
        assert len(found) == 60 and found.null_count == 0
        found.validate(full=True)
        values = flat(found)
        assert values.type == ARROW[dtype.name]
        buffer = values.buffers()[1]
        assert not buffer.is_mutable
        assert lies_in(buffer.address, path)
        raw = np.frombuffer(buffer, np.uint8, array.nbytes, values.offset * dtype.itemsize)
        assert raw.tobytes() == array.tobytes()
    if len(shape) == 3:
        assert_same(found.to_numpy_ndarray(), array)


def test_list_types_equal_those_of_pyarrow(npk):
    array = plain("float32", (10, 3))
    npk.save({"a": array})
    own = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), 3)
    assert npk.to_arrow("a").type == own.type
    assert npk.to_arrow("a").equals(own)
    assert npk.to_arrow("a").to_pylist() == array.tolist()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (0, 2, 2)], ids=str)
def test_to_arrow_of_no_rows(npk, shape):
    npk.save({"a": np.zeros(shape, "f4")})
    found = npk.to_arrow("a")
    assert len(found) == 0 and found.type == arrow_type(np.dtype("f4"), shape)


def test_to_arrow_is_a_snapshot(path):
    array = plain("int64", (5000, 2))
    npk = NumPack(path)
    npk.open()
    npk.save({"a": array})
    found = npk.to_arrow("a")
    npk.replace({"a": np.zeros((5000, 2), int)}, slice(None))
    npk.append({"a": array})
    npk.drop("a")
    npk.close()
    del npk
    assert found.to_pylist() == array.tolist()


def test_deleted_rows_need_one_copy(npk, path):
    array = plain("int64", (5000, 2))
    npk.save({"a": array})
    npk.drop("a", [0, -1])
    edges = npk.to_arrow("a", zero_copy_only=True)
    assert lies_in(flat(edges).buffers()[1].address, path)
    assert edges.to_pylist() == array[1:-1].tolist()
    npk.drop("a", [5, 7])
    assert npk.to_arrow("a").to_pylist() == np.delete(array[1:-1], [5, 7], axis=0).tolist()
    with pytest.raises(ValueError, match="a") as caught:
        npk.to_arrow("a", zero_copy_only=True)
    assert "4" in str(caught.value)


def test_to_arrow_errors(npk):
    npk.save({"a": np.arange(3)})
    with pytest.raises(KeyError, match="zz"):
        npk.to_arrow("zz")
    with pytest.raises(TypeError):
        npk.to_arrow("a", True)


@pytest.fixture
def table(npk):
    """A store of a hundred rows: numbers, flags, vectors; and the same values in memory."""
    arrays = {
        "id": np.arange(100),
        "label": plain("uint8", (100,), 1) % 5,
        "score": plain("float32", (100,), 2),
        "half": plain("float16", (100,), 3),
        "flag": plain("int8", (100,), 4) % 3 == 0,
        "emb": plain("float32", (100, 4), 5),
    }
    npk.save(arrays)
    return npk, arrays


def test_select_everything(table):
    npk, arrays = table
    found = npk.sql("SELECT * FROM self").to_numpy()
    assert [name for name in found if name != "row_id"] == list(arrays)
    for name, array in arrays.items():
        assert_same(found[name], array, name)
    if "row_id" in found:
        assert list(found)[-1] == "row_id" and found["row_id"].tolist() == list(range(100))


def test_projection_and_filter(table):
    npk, arrays = table
    query = "SELECT score, id FROM self WHERE label = 3 AND score > 10 ORDER BY id"
    found = npk.sql(query).to_numpy()
    chosen = (arrays["label"] == 3) & (arrays["score"] > 10)
    assert list(found) == ["score", "id"]
    assert_same(found["score"], arrays["score"][chosen])
    assert_same(found["id"], arrays["id"][chosen])


def test_group_by(table):
    npk, arrays = table
    query = "SELECT label, count(*) n, avg(score) mean FROM self GROUP BY label ORDER BY label"
    found = npk.sql(query).to_numpy()
    labels = np.unique(arrays["label"])
    assert found["label"].tolist() == labels.tolist()
    for label, count, mean in zip(found["label"], found["n"], found["mean"], strict=True):
        chosen = arrays["score"][arrays["label"] == label]
        assert count == len(chosen) and mean == pytest.approx(chosen.mean(dtype=float))


def test_deleted_and_appended_rows(table, path):
    npk, arrays = table
    npk.drop(list(arrays), [0, 7, 8, 99])
    live = {name: np.delete(array, [0, 7, 8, 99], axis=0) for name, array in arrays.items()}
    assert npk.sql("SELECT count(*) AS n FROM self").to_numpy()["n"].tolist() == [96]
    npk.append({name: array[:2] for name, array in live.items()})
    live = {name: np.concatenate([array, array[:2]]) for name, array in live.items()}
    found = npk.sql("SELECT id, emb, score FROM self").to_numpy()
    for name in ("id", "emb", "score"):
        assert_same(found[name], live[name], name)
    total = npk.sql("SELECT sum(id) AS s FROM self WHERE flag").to_numpy()["s"]
    assert total.tolist() == [live["id"][live["flag"]].sum()]


def test_the_number_of_rows(npk):
    npk.save({"a": np.zeros((0,), "i4")})
    assert npk.sql("SELECT count(*) AS n FROM self").to_numpy()["n"].tolist() == [0]
    assert len(npk.sql("SELECT * FROM self").to_arrow()) == 0
    npk.append({"a": np.arange(20_000, dtype="i4")})
    assert npk.sql("SELECT count(*) AS n FROM self").to_numpy()["n"].tolist() == [20_000]
    assert npk.sql("SELECT a FROM self LIMIT 3").to_numpy()["a"].tolist() == [0, 1, 2]
    found = npk.sql("SELECT a FROM self").to_numpy()["a"]
    assert_same(found, np.arange(20_000, dtype="i4"))


def test_the_doors_of_a_result(table, capsys):
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    npk, arrays = table
    result = npk.sql("SELECT id, score FROM self WHERE id < 5")
    for _ in range(2):
        arrow = result.to_arrow()
        assert isinstance(arrow, pa.Table)
        assert arrow.column_names == ["id", "score"] and arrow["id"].to_pylist() == [0, 1, 2, 3, 4]
        frame = result.to_polars()
        assert isinstance(frame, polars.DataFrame)
        assert frame["score"].to_list() == arrays["score"][:5].tolist()
        frame = result.to_pandas()
        assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == ["id", "score"]
        assert frame["id"].tolist() == [0, 1, 2, 3, 4]
        assert pa.table(result).equals(arrow)
    result.show()
    shown = capsys.readouterr().out
    assert "id" in shown and "score" in shown and "4" in shown
    assert "id" in repr(result) and "id" in result._repr_html_()


def test_show_prints_where_python_prints(table, path):
    code = (
        "import contextlib, io, sys\nfrom numpack import NumPack\n"
        "out = io.StringIO()\n"
        "with NumPack(sys.argv[1]) as npk, contextlib.redirect_stdout(out):\n"
        "    npk.sql('SELECT id FROM self LIMIT 1').show()\n"
        "assert 'id' in out.getvalue()"
    )
    assert run_python(code, path).stdout == ""


def test_a_result_is_fixed_when_it_is_asked_for(table):
    npk, arrays = table
    result = npk.sql("SELECT id FROM self")
    npk.replace({"id": np.zeros(100, int)}, slice(None))
    npk.drop("emb")
    for _ in range(2):
        assert_same(result.to_numpy()["id"], arrays["id"])
    npk.close()
    assert_same(result.to_numpy()["id"], arrays["id"])
    npk.open()


def test_names_are_taken_as_written(npk):
    npk.save({"X": np.arange(3), "x": np.arange(3) + 10, "two words": np.arange(3) + 20})
    query = 'SELECT X, x, "two words" AS w FROM self'
    found = npk.sql(query).to_numpy()
    assert found["X"].tolist() == [0, 1, 2] and found["x"].tolist() == [10, 11, 12]
    assert found["w"].tolist() == [20, 21, 22]


def test_sql_errors(table):
    npk, _ = table
    for query in (
        "SELECT zz FROM self",
        "SELECT * FROM nowhere",
        "SELEC id FROM self",
        "",
        "SELECT id FROM self WHERE",
    ):
        with pytest.raises(ValueError) as caught:
            npk.sql(query).to_arrow()
        assert str(caught.value) and "panicked" not in str(caught.value)
    with pytest.raises(ValueError, match="zz"):
        npk.sql("SELECT zz FROM self").to_arrow()
    with pytest.raises(TypeError):
        npk.sql(3)


def test_arrays_of_unequal_length_are_no_relation(npk):
    npk.save({"a": np.arange(3), "b": np.arange(4)})
    with pytest.raises(ValueError) as caught:
        npk.sql("SELECT * FROM self").to_arrow()
    assert "3" in str(caught.value) and "4" in str(caught.value)
    assert "a" in str(caught.value) and "b" in str(caught.value)


@pytest.mark.parametrize(
    "statement", ["SELECT 1; SELECT 2", "DROP TABLE self", "CREATE VIEW v AS SELECT 1"]
)
def test_what_is_refused_changes_nothing(table, statement):
    npk, arrays = table
    with contextlib.suppress(ValueError):
        npk.sql(statement).to_arrow()
    assert_same(npk["id"], arrays["id"])


def test_import_brings_no_other_library():
    code = (
        "import sys, numpack; from numpack import NumPack\n"
        "heavy = {'pyarrow', 'polars', 'pandas', 'torch', 'datafusion'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run_python(code)


def test_without_pyarrow(table, path):
    """The store works when pyarrow cannot be imported, and a sentence says where it is needed."""
    code = """
import sys
sys.modules["pyarrow"] = None
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    assert npk.load("id").sum() == 4950
    try:
        npk.to_arrow("id")
    except ImportError as error:
        assert "pyarrow" in str(error)
    else:
        raise AssertionError("pyarrow was not missed")
"""
    run_python(code, path)
