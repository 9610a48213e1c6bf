"""SQL from Python: parameters, foreign tables, connections, lazy results, the capsule."""

import signal
import sys
import threading
import types

import numpack
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from numpack import NumPack, NumPackError, StoreNotFoundError
from support import assert_same, lies_in, plain, run_python


@pytest.fixture
def table(npk):
    arrays = {
        "id": np.arange(50_000),
        "label": plain("uint8", (50_000,), 1) % 5,
        "emb": plain("float32", (50_000, 4), 2),
    }
    npk.save(arrays)
    return npk, arrays


def one(result):
    """The only value of a result."""
    ((value,),) = (column.tolist() for column in result.to_numpy().values())
    return value


# ---------------------------------------------------------------------- parameters
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "Null"),
        (True, "Boolean"),
        (3, "Int64"),
        (2**63, "UInt64"),
        (1.5, "Float64"),
        ("x", "Utf8"),
        (b"x", "Binary"),
        (np.float32(1.5), "Float32"),
        (np.int8(3), "Int8"),
        (np.bool_(True), "Boolean"),
        (np.float16(0.5), "Float16"),
        (np.array(2, "u2"), "UInt16"),
        ([1, 2], "List(Int64)"),
        ([1, 2.5, None], "List(Float64)"),
        ((np.float32(1), np.float32(2)), "List(Float32)"),
        (np.arange(3, dtype="f4"), "FixedSizeList(3 x Float32)"),
        (np.arange(6, dtype="i2")[::2], "FixedSizeList(3 x Int16)"),
        (np.array([True, False]), "FixedSizeList(2 x Boolean)"),
        (pl.Series([1.0, 2.0]), "FixedSizeList(2 x Float64)"),
        (pa.array([1, 2], pa.int8()), "FixedSizeList(2 x Int8)"),
    ],
    ids=str,
)
def test_a_value_has_its_own_type(npk, value, kind):
    npk.save({"a": np.arange(1)})
    found = npk.sql("SELECT arrow_typeof($v) AS t FROM self", v=value).to_numpy()["t"][0]
    assert found == kind
    assert npk.sql("SELECT arrow_typeof(?) AS t FROM self", value).to_numpy()["t"][0] == kind


def test_a_vector_keeps_its_values(npk):
    npk.save({"a": np.arange(2)})
    q = np.array([0.1, np.nan, -0.0], "f4")
    found = npk.sql("SELECT $q AS q FROM self", q=q).to_numpy()["q"]
    assert found.dtype == np.float32
    assert found.tobytes() == np.stack([q, q]).tobytes()


def test_values_choose_rows(table):
    npk, arrays = table
    found = npk.sql("SELECT id FROM self WHERE label = ? AND id < ?", 3, 100).to_numpy()["id"]
    assert_same(found, np.flatnonzero(arrays["label"][:100] == 3))
    found = npk.sql("SELECT id FROM self WHERE id IN ($a, $b) ORDER BY id", b=7, a=np.int64(5))
    assert found.to_numpy()["id"].tolist() == [5, 7]
    part = npk.table("id").sql("SELECT count(*) AS n FROM self WHERE id < $query", query=10)
    assert one(part) == 10
    assert one(npk.sql("SELECT count(*) FROM self WHERE '?' = ? /* ? */", "?")) == 50_000


@pytest.mark.parametrize(
    ("args", "params", "error", "text"),
    [
        ((), {}, ValueError, r"\$1"),
        ((1, 2), {}, ValueError, r"\$2"),
        ((1,), {"q": 2}, ValueError, r"\$q"),
        ((np.zeros((2, 2)),), {}, ValueError, "2 axes"),
        (([[1, 2]],), {}, TypeError, "list of lists"),
        (([1, "x"],), {}, TypeError, "one type"),
        ((1 + 2j,), {}, TypeError, "complex"),
        ((np.complex64(1),), {}, ValueError, "complex"),
        ((object(),), {}, TypeError, "object"),
        ((2**64,), {}, OverflowError, "64 bits"),
        ((pl.DataFrame({"x": [1]}),), {}, TypeError, "needs a name"),
    ],
    ids=str,
)
def test_values_that_do_not_fit(npk, args, params, error, text):
    npk.save({"a": np.arange(3)})
    with pytest.raises(error, match=text):
        npk.sql("SELECT a FROM self WHERE a = ?", *args, **params)


# ---------------------------------------------------------------------- tables of others
def test_tables_of_other_libraries_are_tables(table):
    pandas = pytest.importorskip("pandas")
    npk, _ = table
    query = "SELECT name FROM self JOIN names USING (label) WHERE id < 5 ORDER BY id"
    names = {"label": np.arange(5, dtype="u1"), "name": list("abcde")}
    expected = [names["name"][label] for label in npk["label"][:5]]
    for made in (pl.DataFrame(names), pandas.DataFrame(names), pa.table(names)):
        assert npk.sql(query, names=made).to_numpy()["name"].tolist() == expected
    chosen = npk.sql("SELECT id FROM self WHERE id < 3")
    assert one(npk.sql("SELECT count(*) FROM self JOIN chosen USING (id)", chosen=chosen)) == 3
    with pytest.raises(ValueError, match="not found"):
        npk.sql("SELECT * FROM chosen")


def test_a_stream_that_can_be_read_once_is_read_once(npk):
    npk.save({"a": np.arange(3)})
    stream = pa.table({"x": [1, 2, 3]}).to_reader()
    assert one(npk.sql("SELECT count(*) FROM df", df=stream)) == 3
    with numpack.connect({"df": pa.table({"x": [1, 2]}).to_reader()}) as db:
        assert one(db.sql("SELECT sum(x) FROM df")) == 3


@pytest.mark.parametrize(
    "df", [pl.Series([1, 2]), pa.array([1, 2]), pa.chunked_array([[1], [2]]), np.arange(2), [1, 2]]
)
def test_a_column_is_no_table(npk, df):
    npk.save({"a": np.arange(3)})
    with pytest.raises(numpack.SQLError, match=r"table 'df' not found.* a vector, \$df"):
        npk.sql("SELECT count(*) FROM df", df=df)
    with pytest.raises(numpack.SQLError, match=r"table 'numpack\.public\.other' not found"):
        npk.sql("SELECT count(*) FROM other", df=df)


# ---------------------------------------------------------------------- connections
@pytest.fixture
def directory(tmp_path):
    with NumPack(tmp_path / "train.npk") as npk:
        npk.save({"id": np.arange(4), "label": np.array([7, 8, 7, 9])})
    with NumPack(tmp_path / "labels") as npk:
        npk.save({"label": np.array([7, 8, 9]), "code": np.array([70.0, 80.0, 90.0])})
    return tmp_path


JOIN = "SELECT id, code FROM train JOIN labels USING (label) ORDER BY id"


def test_connect_to_a_directory_or_to_stores(directory):
    expected = [70.0, 80.0, 70.0, 90.0]
    with numpack.connect(directory) as db:
        result = db.sql(JOIN)
        assert result.to_numpy()["code"].tolist() == expected
        assert one(db.sql("SELECT max(value) FROM train.id")) == 3
    assert result.to_numpy()["code"].tolist() == expected
    with pytest.raises(numpack.ClosedError):
        db.sql(JOIN)
    db.close()
    labels = pl.DataFrame({"label": [7, 8, 9], "code": [70.0, 80.0, 90.0]})
    with NumPack(directory / "train.npk") as train:
        with numpack.connect({"train": train, "labels": directory / "labels"}) as db:
            assert db.sql(JOIN).to_numpy()["code"].tolist() == expected
        with numpack.connect({"train": train, "labels": labels}) as db:
            assert db.sql(JOIN).to_numpy()["code"].tolist() == expected
        with numpack.connect(train, threads=1) as db:
            assert one(db.sql("SELECT count(*) FROM self WHERE label = ?", 7)) == 2


def test_connections_refuse_what_they_cannot_be_over(directory):
    file = directory / "text.txt"
    file.write_text("no store")
    for stores, error in [
        ({"a": 3}, TypeError),
        ({3: directory / "labels"}, TypeError),
        ({"a": directory / "missing"}, StoreNotFoundError),
        (directory / "missing", StoreNotFoundError),
        ({"a": file}, StoreNotFoundError),
        (file, StoreNotFoundError),
        (directory / "train.npk", numpack.SQLError),
        (3, TypeError),
    ]:
        with pytest.raises(error) as raised:
            numpack.connect(stores)
        assert error is TypeError or f'"{directory}' in str(raised.value)
    with pytest.raises(numpack.SQLError, match="is a store and not a directory of stores"):
        numpack.connect(directory / "train.npk")
    with numpack.connect(directory) as db, pytest.raises(StoreNotFoundError, match=r"text\.txt"):
        db.sql(f"SELECT * FROM read_numpack('{file}')")
    for options in ({"memory_limit": 0}, {"threads": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            numpack.connect(directory, **options)


def test_without_external_access(directory, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "s.npk"
    with NumPack(outside) as npk:
        npk.save({"x": np.arange(3)})
    read = f"SELECT count(*) FROM read_numpack('{outside}')"
    with numpack.connect(directory) as db:
        assert one(db.sql(read)) == 3
    with numpack.connect(directory, external_access=False) as db:
        for query in (read, f"CREATE EXTERNAL TABLE t STORED AS NUMPACK LOCATION '{outside}'"):
            with pytest.raises(ValueError, match="external_access"):
                db.sql(query)
        with pytest.raises(ValueError, match="not found"):
            db.sql(f'SELECT * FROM "../{outside.parent.name}/s"')


def test_a_memory_limit_is_kept(npk):
    values = np.random.default_rng(0).permutation(400_000)
    npk.save({"a": values})
    with numpack.connect(npk, memory_limit=2, threads=2) as db:
        found = db.sql("SELECT a FROM self ORDER BY a").to_numpy()["a"]
        assert_same(found, np.arange(400_000))
    with (
        numpack.connect(npk, memory_limit=0.001) as db,
        pytest.raises(ValueError, match="Resources exhausted"),
    ):
        db.sql("SELECT a FROM self ORDER BY a").to_arrow()


# ---------------------------------------------------------------------- results
def test_a_plain_select_lies_over_the_file(table, path):
    npk, arrays = table
    result = npk.sql("SELECT emb FROM self")
    for found in (result.to_arrow(), pa.table(result)):
        column = found["emb"]
        assert len(column) == 50_000 and column.num_chunks > 1
        for chunk in column.chunks:
            assert lies_in(chunk.flatten().buffers()[1].address, path)
        assert_same(column.combine_chunks().flatten().to_numpy().reshape(-1, 4), arrays["emb"])


def test_a_result_is_a_snapshot_that_runs_again(table):
    npk, arrays = table
    result = npk.sql("SELECT label, count(*) AS n FROM self GROUP BY label ORDER BY label")
    npk.replace({"label": np.zeros(50_000, "u1")}, slice(None))
    npk.drop("emb")
    counts = np.bincount(arrays["label"]).tolist()
    for _ in range(2):
        assert result.to_numpy()["n"].tolist() == counts
        assert pl.DataFrame(result)["n"].to_list() == counts
    assert len(result) == 5
    npk.close()
    assert result.to_arrow()["n"].to_pylist() == counts
    npk.open()


def test_the_number_of_rows_is_counted_once(table):
    npk, arrays = table
    result = npk.sql("SELECT id FROM self WHERE label = 3")
    assert len(result) == len(result) == (arrays["label"] == 3).sum()
    assert len(npk.sql("SELECT id FROM self")) == 50_000


def test_show_and_repr_give_the_first_rows(table, capsys):
    npk, _ = table
    result = npk.sql("SELECT id FROM self WHERE label < 9")
    result.show(3)
    assert "the first 3 rows" in capsys.readouterr().out
    len(result)
    result.show(3)
    assert "3 of 50000 rows" in capsys.readouterr().out
    assert " 19 " in repr(result) and " 20 " not in repr(result)
    npk.sql("EXPLAIN SELECT id FROM self").show()
    assert "NumPackSource" in capsys.readouterr().out


def test_explain(table):
    npk, _ = table
    result = npk.sql("SELECT sum(id) FROM self")
    plan = result.explain()
    assert "columns=[id]" in plan and "output_rows" not in plan
    assert "output_rows" in result.explain(analyze=True)


def test_errors_of_planning_are_raised_by_sql(table):
    npk, _ = table
    for query in ("SELECT zz FROM self", "SELECT * FROM nowhere", "SELEC 1", "SELECT ? FROM self"):
        with pytest.raises(NumPackError):
            npk.sql(query)
    with pytest.raises(TypeError):
        npk.sql(3)


def test_the_arrays_that_are_equally_long_are_suggested(npk):
    npk.save({"a": np.arange(3), "b": np.arange(4), "c": np.arange(4)})
    with pytest.raises(ValueError, match=r"npk.table\('b', 'c'\).sql\(...\)"):
        npk.sql("SELECT * FROM self")
    assert one(npk.sql("SELECT sum(value) FROM a")) == 3


def test_a_stream_that_is_dropped_stops(table):
    npk, _ = table
    endless = npk.sql("SELECT a.id FROM self a CROSS JOIN self b CROSS JOIN self c")
    reader = pa.RecordBatchReader.from_stream(endless)
    assert reader.read_next_batch().num_rows > 0
    del reader


@pytest.mark.parametrize("door", ["to_arrow", "to_numpy", "to_polars", "__len__", "show"])
def test_ctrl_c_stops_a_query(table, door):
    """In a process of its own: the join computes on for a while after it was told to stop."""
    npk, _ = table
    code = """
import os, signal, sys, threading
import polars
from numpack import NumPack
npk = NumPack(sys.argv[1], mode="r")
npk.open()
endless = npk.sql(
    "SELECT count(*) AS n FROM self a CROSS JOIN self b CROSS JOIN self c "
    "WHERE a.id + b.id + c.id < 0 GROUP BY a.label"
)
threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
try:
    getattr(endless, sys.argv[2])()
except KeyboardInterrupt:
    print("interrupted")
print(npk.sql("SELECT 1 AS x").to_numpy()["x"], flush=True)
os._exit(0)
"""
    assert run_python(code, npk.path, door).stdout.split() == ["interrupted", "[1]"]


def test_ctrl_c_stops_a_query_whose_rows_come_quickly(table):
    npk, _ = table
    endless = npk.sql("SELECT a.id FROM self a CROSS JOIN self b WHERE a.id + b.id >= a.label")
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        len(endless)
    timer.join()
    assert one(npk.sql("SELECT 1")) == 1


def test_a_signal_handler_may_ask_while_a_statement_runs(table):
    npk, _ = table
    seen = []
    before = signal.signal(
        signal.SIGALRM, lambda *_: seen.append(one(npk.sql("SELECT count(*) FROM self")))
    )
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        for _ in range(100):
            npk.sql(
                "UPDATE self SET label = label WHERE 0 = (SELECT count(*) FROM self a "
                "CROSS JOIN self b CROSS JOIN (VALUES (1), (2), (3)) WHERE a.id + b.id < 0)"
            )
            if len(seen) > 2:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(seen) == {len(npk["id"])}


def test_sql_in_a_batch_block_sees_the_block(table):
    npk, _ = table
    with npk.batch_mode():
        npk.save({"id": np.arange(50_000) * 2})
        result = npk.sql("SELECT max(id) AS m FROM self WHERE id < ?", 1001)
    assert one(result) == 1000


# ---------------------------------------------------------------------- the datafusion package
def test_a_table_of_the_datafusion_package(table):
    datafusion = pytest.importorskip("datafusion")
    npk, arrays = table
    ctx = datafusion.SessionContext()
    ctx.register_table("train", npk)
    ctx.register_table("part", npk.table("id", "label"))
    (batch,) = ctx.sql("SELECT count(*) AS n FROM train WHERE label = 3").collect()
    assert batch["n"].to_pylist() == [(arrays["label"] == 3).sum()]
    found = ctx.sql("SELECT id, emb FROM train ORDER BY id DESC LIMIT 2").to_arrow_table()
    assert found["id"].to_pylist() == [49_999, 49_998]
    assert found["emb"].to_pylist() == arrays["emb"][:-3:-1].tolist()
    assert ctx.table("part").schema().names == ["id", "label", "row_id"]
    npk.replace({"label": np.full(50_000, 9, "u1")}, slice(None))
    (batch,) = ctx.sql("SELECT min(label) AS m, count(*) AS n FROM part").collect()
    assert batch["m"].to_pylist() == [9] and batch["n"].to_pylist() == [50_000]
    with pytest.raises(Exception, match="INSERT"):
        ctx.sql("INSERT INTO part VALUES (1, 2, 3)").collect()


def test_another_datafusion_is_refused_by_name(npk, monkeypatch):
    npk.save({"a": np.arange(3)})
    fake = types.ModuleType("datafusion")
    fake.__version__ = "54.1.0"
    monkeypatch.setitem(sys.modules, "datafusion", fake)
    for call in (
        lambda: npk.__datafusion_table_provider__(object()),
        lambda: npk.table("a").__datafusion_table_provider__(),
    ):
        with pytest.raises(ImportError, match=r"DataFusion 55.*54\.1\.0") as caught:
            call()
        assert "datafusion==55" in str(caught.value)
    fake.__version__ = "55.0.0"
    with pytest.raises(ImportError, match="55"):
        npk.__datafusion_table_provider__(object())


def test_sql_needs_no_other_library(table, path):
    code = (
        "import sys, numpack\n"
        "with numpack.NumPack(sys.argv[1]) as npk:\n"
        "    n = npk.sql('SELECT count(*) AS n FROM self WHERE id < ?', 5).to_numpy()['n'][0]\n"
        "    assert n == 5, n\n"
        "heavy = {'pyarrow', 'polars', 'pandas', 'datafusion'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run_python(code, path)
