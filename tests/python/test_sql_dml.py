"""SQL that changes stores: against DuckDB, from Python, beside other writers and through kills."""

import random
import signal
import time

import duckdb
import numpack
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpack import NumPack, NumPackError, ReadOnlyError
from sql_changes import Changes
from support import assert_same, finish, start_python

SEEDS = range(8)
STATEMENTS = 160
COLUMNS = ("id", "k", "x", "flag", "emb")
DTYPES = {"id": "i8", "k": "i4", "x": "f8", "flag": "?", "emb": "f4"}


@pytest.fixture
def table(npk):
    arrays = {
        "id": np.arange(10),
        "x": np.arange(10) * 10.0,
        "emb": np.arange(20, dtype="f4").reshape(10, 2),
    }
    npk.save(arrays)
    return npk, arrays


def changed(result):
    """The number of rows that a statement changed."""
    found = result.to_numpy()
    assert list(found) == ["count"]
    return int(found["count"][0])


# ---------------------------------------------------------------------- against DuckDB
def stores(directory):
    """Two empty stores with the columns of sql_changes."""
    opened = {}
    for name in "tu":
        opened[name] = NumPack(directory / f"{name}.npk")
        opened[name].open()
        opened[name].save(
            {
                column: np.empty((0, 3) if column == "emb" else 0, dtype)
                for column, dtype in DTYPES.items()
            }
        )
    return opened


def rows_of_npk(npk):
    loaded = {name: npk.load(name) for name in COLUMNS}
    assert list(loaded["id"]) == sorted(loaded["id"]), "rows keep their order"
    return list(zip(*(loaded[name].tolist() for name in COLUMNS), strict=True))


def rows_of_duckdb(peer, name):
    rows = peer.execute(f"SELECT {', '.join(COLUMNS)} FROM {name} ORDER BY id").fetchall()
    return [(*row[:4], list(row[4])) for row in rows]


def beside_sql(choose, opened, peer):
    """Something that happens to stores between statements, other than by SQL."""
    name = choose.choice("tu")
    npk = opened[name]
    what = choose.randrange(3)
    if what == 0:
        for column in COLUMNS:
            npk.update(column)
    elif what == 1 and npk.get_shape("id")[0] > 4:
        gone = choose.sample(range(npk.get_shape("id")[0]), 2)
        ids = npk.load("id")[gone].tolist()
        npk.drop(list(COLUMNS), gone)
        peer.execute(f"DELETE FROM {name} WHERE id IN ({ids[0]}, {ids[1]})")
    elif npk.get_shape("id")[0] > 0:
        first = int(npk.load("id")[0])
        npk.replace({"x": np.array([0.25])}, 0)
        peer.execute(f"UPDATE {name} SET x = 0.25 WHERE id = {first}")


@pytest.mark.parametrize("seed", SEEDS)
def test_statements_change_what_duckdb_changes(tmp_path, seed):
    """After each of 1,280 statements both tables are as DuckDB's, in NumPack's order."""
    opened = stores(tmp_path)
    choose, changes, touched = random.Random(seed), Changes(seed), 0
    with duckdb.connect() as peer:
        columns = "id BIGINT, k INTEGER, x DOUBLE, flag BOOLEAN, emb FLOAT[3]"
        for name in "tu":
            peer.execute(f"CREATE TABLE {name} ({columns})")
        for turn in range(STATEMENTS // 20):
            with numpack.connect(opened) as db:
                for number in range(20):
                    text = changes.statement()
                    theirs = peer.execute(text).fetchone()[0]
                    where = f"statement {turn * 20 + number}: {text}"
                    ours = changed(db.sql(text))
                    assert ours == theirs, where
                    touched += ours > 0
                    for name in "tu":
                        assert rows_of_npk(opened[name]) == rows_of_duckdb(peer, name), where
                    if choose.random() < 0.1:
                        beside_sql(choose, opened, peer)
            for npk in opened.values():
                npk.close()
                npk.open()
    assert touched > STATEMENTS // 3, "otherwise the statements would say little"
    for npk in opened.values():
        npk.close()


# ---------------------------------------------------------------------- one statement
def test_changes_are_done_when_sql_returns(table):
    npk, arrays = table
    before = npk.view("x")
    assert changed(npk.sql("UPDATE self SET x = x + 1 WHERE id < ?", 3)) == 3
    expected = arrays["x"].copy()
    expected[:3] += 1
    assert_same(npk.load("x"), expected)
    assert_same(before, arrays["x"], "an earlier view")
    result = npk.sql("DELETE FROM self WHERE id IN (2, 5)")
    for _ in range(3):
        assert changed(result) == 2, "reading the count again deletes nothing"
    assert_same(npk.load("id"), np.delete(arrays["id"], [2, 5]))
    assert npk.get_shape("emb") == (8, 2)
    assert changed(npk.sql("INSERT INTO self VALUES (20, 1.5, [7, 8]), (21, 2.5, [9, 10])")) == 2
    assert_same(npk.load("emb")[-2:], np.array([[7, 8], [9, 10]], "f4"))
    assert changed(npk.sql("TRUNCATE TABLE self")) == 10
    assert [npk.get_shape(name) for name in ("id", "x", "emb")] == [(0,), (0,), (0, 2)]


def test_explain_changes_nothing(table):
    npk, arrays = table
    text = npk.sql("EXPLAIN DELETE FROM self WHERE id > 3").to_numpy()["plan"]
    assert "delete from self" in " ".join(text)
    assert_same(npk.load("id"), arrays["id"])
    npk.sql("EXPLAIN ANALYZE DELETE FROM self WHERE id > 3")
    assert_same(npk.load("id"), arrays["id"][:4])


def test_vectors_and_values_are_parameters(table):
    npk, _ = table
    q = np.array([0.5, -1.5], "f4")
    assert changed(npk.sql("UPDATE self SET emb = $q WHERE id = $id", q=q, id=4)) == 1
    assert_same(npk.load("emb")[4], q)
    assert changed(npk.sql("INSERT INTO self VALUES (?, ?, ?)", 30, 0.5, q)) == 1
    assert_same(npk.load("emb")[-1], q)
    rows = pl.DataFrame({"id": [40, 41], "x": [1.0, 2.0], "emb": [[1.0, 2.0], [3.0, 4.0]]})
    assert changed(npk.sql("INSERT INTO self SELECT id, x, emb FROM rows", rows=rows)) == 2
    assert_same(npk.load("emb")[-2:], np.array([[1, 2], [3, 4]], "f4"))


def test_an_array_alone(table):
    npk, arrays = table
    npk.save({"other": np.arange(4)})
    assert changed(npk.sql("DELETE FROM other WHERE value = 2")) == 1
    assert changed(npk.sql('UPDATE arrays."other" SET value = value * 10')) == 3
    assert_same(npk.load("other"), np.array([0, 10, 30]))
    assert_same(npk.load("id"), arrays["id"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("INSERT INTO self (id, x) VALUES (1, 2)", r"1 column is missing \(emb\)"),
        ("INSERT INTO self VALUES (1, NULL, [1, 2])", 'column "x" has 1 null'),
        ("INSERT INTO self VALUES (1, 2, [1, 2, 3])", "2.*3|3.*2"),
        ("UPDATE self SET row_id = 1", "row_id"),
        ("UPDATE self SET nope = 1", "nope"),
        ("DROP TABLE self", "store itself"),
        ("DROP TABLE nope", "does not exist"),
        ("CREATE TABLE id AS SELECT 1", "exists"),
        ("CREATE TABLE fresh AS SELECT 1 AS a, 2 AS b", "one array"),
        ("CREATE INDEX i ON self (id)", "CREATE INDEX is not possible"),
        ("EXECUTE nope", "nope"),
        ("SET datafusion.execution.batch_size = 1", "not possible"),
    ],
)
def test_what_is_refused_changes_nothing(table, text, error):
    npk, arrays = table
    with pytest.raises(NumPackError, match=error):
        npk.sql(text)
    assert npk.get_member_list() == list(arrays)
    for name, array in arrays.items():
        assert_same(npk.load(name), array)


def test_prepared_statements(table):
    npk, _ = table
    npk.sql("PREPARE raise_x(DOUBLE, BIGINT) AS UPDATE self SET x = x + $1 WHERE id = $2")
    for _ in range(2):
        assert changed(npk.sql("EXECUTE raise_x(1.5, 3)")) == 1
    assert npk.load("x")[3] == 33
    npk.sql("DEALLOCATE raise_x")
    with pytest.raises(NumPackError, match="raise_x"):
        npk.sql("EXECUTE raise_x(1.5, 3)")


# ---------------------------------------------------------------------- tables
def test_arrays_are_made_and_dropped(table):
    npk, arrays = table
    made = npk.sql("CREATE TABLE twice AS SELECT id * 2 AS value FROM self WHERE id > 6")
    assert changed(made) == 3
    assert_same(npk.load("twice"), np.array([14, 16, 18]))
    npk.sql("CREATE TABLE IF NOT EXISTS twice AS SELECT 1")
    assert_same(npk.load("twice"), np.array([14, 16, 18]))
    npk.sql("CREATE OR REPLACE TABLE twice AS SELECT value FROM emb LIMIT 2")
    assert_same(npk.load("twice"), arrays["emb"][:2])
    npk.sql("DROP TABLE twice")
    npk.sql("DROP TABLE IF EXISTS twice")
    assert npk.get_member_list() == list(arrays)


def test_stores_of_a_directory_are_made_and_dropped(tmp_path):
    with NumPack(tmp_path / "train.npk") as npk:
        npk.save({"id": np.arange(5), "x": np.arange(5) / 2})
    with numpack.connect(tmp_path) as db:
        assert changed(db.sql("CREATE TABLE top AS SELECT * FROM train WHERE id > 2")) == 2
        assert changed(db.sql("INSERT INTO top SELECT id + 10, x FROM train")) == 5
        assert changed(db.sql("DELETE FROM top WHERE id = 10")) == 1
        assert db.sql("SELECT sum(id) AS s FROM top").to_numpy()["s"] == [3 + 4 + 11 + 12 + 13 + 14]
        with pytest.raises(NumPackError, match="exists"):
            db.sql("CREATE TABLE top AS SELECT 1 AS one")
        with pytest.raises(NumPackError, match="name"):
            db.sql('CREATE TABLE "../out" AS SELECT 1 AS one')
        # A query that fails half way leaves nothing.
        with pytest.raises(NumPackError):
            db.sql("CREATE TABLE bad AS SELECT CAST(CAST(id AS VARCHAR) || 'x' AS INT) FROM train")
        db.sql("CREATE TABLE top.flag AS SELECT id > 5 AS value FROM top")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["top.npk", "train.npk"]
        db.sql("DROP TABLE train")
    assert [path.name for path in tmp_path.iterdir()] == ["top.npk"]
    with NumPack(tmp_path / "top.npk") as npk:
        assert npk.get_member_list() == ["id", "x", "flag"]
        assert npk.load("flag").dtype == bool


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow"])
def test_copy_to_and_from(table, tmp_path, ending):
    npk, arrays = table
    file = tmp_path / f"rows.{ending}"
    columns = "id, x" if ending == "csv" else "id, x, emb"
    assert changed(npk.sql(f"COPY (SELECT {columns} FROM self) TO '{file}'")) == 10
    assert file.exists()
    if ending == "parquet":
        assert pq.read_table(file)["id"].to_pylist() == list(range(10))
    if ending == "csv":
        with numpack.connect(tmp_path) as db, NumPack(tmp_path / "flat.npk") as flat:
            flat.save({"id": np.empty(0, "i8"), "x": np.empty(0, "f8")})
            assert changed(db.sql(f"COPY flat FROM '{file}'")) == 10
            assert_same(flat.load("x"), arrays["x"])
    else:
        assert changed(npk.sql(f"COPY self FROM '{file}'")) == 10
        assert_same(npk.load("emb"), np.concatenate([arrays["emb"]] * 2))


def test_a_copy_that_fails_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "out.parquet"
    with NumPack(tmp_path / "big.npk") as npk:
        npk.save({"big": np.arange(3_000_000)})
        npk.sql(f"COPY (SELECT value FROM big LIMIT 3) TO '{file}'")
        with pytest.raises(NumPackError, match="Divide by zero"):
            npk.sql(f"COPY (SELECT 10 / (value - 2999999) AS a FROM big) TO '{file}'")
    assert pq.read_table(file)["value"].to_pylist() == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.npk", "out.parquet"]


def test_parameters_of_a_changed_vector_name_the_column(table):
    npk, _ = table
    with pytest.raises(NumPackError, match=r'column "emb" of self: .*7'):
        npk.sql("INSERT INTO self VALUES (1, 2, ?)", np.zeros(7, np.float32))
    with pytest.raises(NumPackError, match=r'column "emb" of self: .*7'):
        npk.sql("UPDATE self SET emb = ?", np.zeros(7, np.float32))


# ---------------------------------------------------------------------- limits
def test_without_external_access_nothing_is_copied(table, tmp_path):
    npk, _ = table
    file = tmp_path / "out.csv"
    with numpack.connect(npk, external_access=False) as db:
        for text in (
            f"COPY self TO '{file}'",
            f"EXPLAIN ANALYZE COPY self TO '{file}'",
            f"COPY self FROM '{file}'",
        ):
            with pytest.raises(NumPackError, match="external_access"):
                db.sql(text)
        assert changed(db.sql("DELETE FROM self WHERE id = 0")) == 1
    assert not file.exists()


def test_a_store_opened_for_reading_stays_as_it_is(table, path):
    _, arrays = table
    with NumPack(path, mode="r") as reader:
        for text in (
            "DELETE FROM self",
            "DELETE FROM self WHERE false",
            "UPDATE self SET x = 1",
            "INSERT INTO self VALUES (1, 2, [1, 2])",
            "CREATE TABLE fresh AS SELECT 1",
            "DROP TABLE id",
            "TRUNCATE TABLE self",
        ):
            with pytest.raises(ReadOnlyError):
                reader.sql(text)
        assert reader.get_member_list() == list(arrays)


def test_a_batch_block_refuses_changes_by_sql(table):
    npk, arrays = table
    for inside in (lambda: None, lambda: npk.save({"y": np.arange(10)})):
        with npk.batch_mode():
            inside()
            with pytest.raises(ReadOnlyError, match="batch_mode"):
                npk.sql("DELETE FROM self")
            assert npk.sql("SELECT count(*) AS n FROM self").to_numpy()["n"] == [10]
    assert_same(npk.load("id"), arrays["id"])


def test_inserts_beyond_the_memory_limit_go_through_files(tmp_path):
    with NumPack(tmp_path / "big.npk") as npk:
        npk.save({"v": np.arange(2_000_000, dtype="f8").reshape(-1, 8)})
        with numpack.connect({"big": npk}, memory_limit=8) as db:
            assert changed(db.sql("INSERT INTO big SELECT v FROM big")) == 250_000
        loaded = npk.load("v")
    assert loaded.shape == (500_000, 8)
    assert_same(loaded[250_000:], loaded[:250_000])


def test_a_locked_store_is_changed_by_who_holds_the_lock(table):
    npk, _ = table
    with npk.locked():
        x = npk.load("x")[1]
        assert changed(npk.sql("UPDATE self SET x = ? WHERE id = 1", x + 1)) == 1
        npk.sql("CREATE TABLE fresh AS SELECT 1 AS value")
    assert npk.load("x")[1] == 11


# ---------------------------------------------------------------------- other writers
ADDER = """
import sys
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    print("ready", flush=True)
    for _ in range(int(sys.argv[2])):
        npk.sql("UPDATE self SET x = x + 1")
print("done", flush=True)
"""


def test_two_processes_lose_no_update(path):
    with NumPack(path) as npk:
        npk.save({"x": np.zeros(1000)})
        others = [start_python(ADDER, path, 40) for _ in range(2)]
        for other in others:
            assert other.stdout.readline() == "ready\n"
        for _ in range(40):
            npk.sql("UPDATE self SET x = x + 1")
        for other in others:
            assert finish(other) == "done\n"
        assert_same(npk.load("x"), np.full(1000, 120.0))


def test_statements_go_on_beside_a_writer_of_arrays(path):
    """Rows leave by position in one process and are named by what they hold in this one."""
    code = """
import sys
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    print("ready", flush=True)
    for _ in range(60):
        npk.drop(["id", "x"], [0])
print("done", flush=True)
"""
    with NumPack(path) as npk:
        npk.save({"id": np.arange(500), "x": np.zeros(500)})
        other = start_python(code, path)
        assert other.stdout.readline() == "ready\n"
        for number in range(60, 100):
            assert changed(npk.sql("UPDATE self SET x = id WHERE id = ?", number)) == 1
        assert finish(other) == "done\n"
        ids = np.arange(60, 500)
        assert_same(npk.load("id"), ids)
        assert_same(npk.load("x"), np.where(ids < 100, ids, 0).astype("f8"))


KILLED = """
import sys
from numpack import NumPack
with NumPack(sys.argv[1]) as npk:
    print("ready", flush=True)
    while True:
        npk.sql("UPDATE self SET a = a + 1, b = b + 1 WHERE id % 3 = 0")
        npk.sql("INSERT INTO self SELECT max(id) + 1, 0, 0 FROM self")
        npk.sql("DELETE FROM self WHERE id % 100 = 99 AND id > 300")
"""


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_statement_happened_or_did_not(path, seed):
    choose = random.Random(seed)
    with NumPack(path) as npk:
        npk.save({name: np.zeros(300, "i8") for name in "ab"} | {"id": np.arange(300)})
    for _ in range(4):
        process = start_python(KILLED, path)
        assert process.stdout.readline() == "ready\n"
        time.sleep(choose.uniform(0, 0.12))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stdin.close()
        with NumPack(path) as npk:
            a, b, ids = npk.load("a"), npk.load("b"), npk.load("id")
            assert len(a) == len(b) == len(ids)
            assert_same(a, b)
            assert (np.diff(ids) > 0).all()
            old = a[ids < 300]
            assert set(old[::3].tolist()) == {int(a[0])} and not old[1::3].any()
            assert npk.verify(deep=True).ok
    assert a[0] > 0


def test_a_result_of_before_is_a_snapshot(table):
    npk, arrays = table
    result = npk.sql("SELECT id FROM self")
    npk.sql("DELETE FROM self WHERE id > 4")
    assert_same(result.to_numpy()["id"], arrays["id"])
    assert isinstance(npk.sql("UPDATE self SET x = 0").to_arrow(), pa.Table)
