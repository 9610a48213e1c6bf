"""Who answers the SQL benchmark: this library and its peers, all over the same columns."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from peers.base import Peer
from sql_inputs import LABELS, NEAREST, WIDTH, Columns
from timing import Task

GROUPED = "SELECT label, count(*) AS n, avg(score) AS mean FROM {t} GROUP BY label"
COUNT_WHERE = "SELECT count(*) AS n FROM {t} WHERE score > 0.99"
VECTORS_WHERE = "SELECT id, emb FROM {t} WHERE score > 0.999"
NEAREST_IDS = "SELECT id FROM {t} {where} ORDER BY {distance}(emb, {q}) LIMIT {k}"
NEAREST_MANY = f"""
SELECT q, id FROM (
    SELECT queries.q, id,
           row_number() OVER (PARTITION BY queries.q ORDER BY l2_distance(emb, queries.v)) AS place
    FROM self CROSS JOIN queries
) WHERE place <= {NEAREST} ORDER BY q, place
"""
RANGE = "SELECT * FROM {t} WHERE {key} >= {first} AND {key} < {last}"


class SqlPeer(Peer):
    """A peer of the SQL benchmark; each row's method returns a task whose answer is checked."""

    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, inputs: Columns, root: Path) -> None:
        super().__init__(inputs, root)
        self.columns = inputs
        self.directory = root / self.key
        self.directory.mkdir(parents=True)
        self.prepare()

    def versions(self) -> dict[str, str]:
        """The versions of the packages that this peer stands on."""
        return {package: version(package) for package in self.packages}

    def prepare(self) -> None:
        """Store or register the columns."""

    # --- answers, checked against NumPy's -----------------------------------------------------

    def counted(self, once: Callable[[], Any], number: Callable[[Any], int], wanted: int) -> Task:
        """A task whose answer is one number."""
        return Task(once, check=lambda: _equal(number(once()), wanted))

    def is_grouped(self, rows: list[tuple]) -> None:
        """Counts and means by label."""
        label, score = self.columns.arrays["label"], self.columns.arrays["score"]
        counts = np.bincount(label, minlength=LABELS)
        means = np.bincount(label, score, minlength=LABELS) / counts
        labels, lengths, averages = zip(*sorted(rows), strict=True)
        _equal(list(labels), list(range(LABELS)))
        np.testing.assert_array_equal(lengths, counts)
        np.testing.assert_allclose(averages, means, rtol=1e-5)

    def are_vectors(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        """The vectors of the rows with a high score."""
        wanted = np.flatnonzero(self.columns.arrays["score"] > np.float64(0.999))
        order = np.argsort(ids)
        np.testing.assert_array_equal(np.asarray(ids)[order], wanted)
        np.testing.assert_array_equal(vectors[order], self.columns.arrays["emb"][wanted])

    def are_nearest(self, ids: Any, mask: np.ndarray | None = None) -> None:
        """The neighbours of the query."""
        _equal(list(map(int, ids)), list(self.columns.nearest(self.columns.query, mask)))

    def is_mean(self, value: float) -> None:
        """The mean of one value of all vectors."""
        wanted = self.columns.arrays["emb"][:, 5].mean(dtype=np.float64)
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-7)

    @property
    def over_099(self) -> int:
        """Rows with a score over 0.99, which is a float64 in SQL."""
        return int((self.columns.arrays["score"].astype(np.float64) > 0.99).sum())

    @property
    def labelled(self) -> np.ndarray:
        """Rows with the label that the filtered search asks for."""
        return self.columns.arrays["label"] == 3


class ArrowAnswers(SqlPeer):
    """A peer that takes SQL and gives pyarrow tables."""

    table: ClassVar[str] = "t"
    distance: ClassVar[str] = "array_distance"
    row_id: ClassVar[str | None] = None

    def ask(self, text: str) -> Any:
        """Run one statement; a pyarrow.Table."""
        raise NotImplementedError

    def _query(self, text: str, check: Callable[[Any], None], **names: Any) -> Task:
        text = text.format(t=self.table, **names)
        return Task(lambda: self.ask(text), check=lambda: check(self.ask(text)))

    def count_all(self, _: Path) -> Task:
        """Count the rows."""
        text = "SELECT count(*) AS n FROM {t}"
        return self._query(text, lambda found: _equal(found["n"][0].as_py(), self.columns.rows))

    def grouped(self, _: Path) -> Task:
        """Count and mean by label."""
        return self._query(
            GROUPED, lambda found: self.is_grouped([tuple(r.values()) for r in found.to_pylist()])
        )

    def count_where(self, _: Path) -> Task:
        """Count what a filter leaves."""
        return self._query(COUNT_WHERE, lambda found: _equal(found["n"][0].as_py(), self.over_099))

    def vectors_where(self, _: Path) -> Task:
        """The vectors of the rows that a filter leaves."""
        return self._query(
            VECTORS_WHERE,
            lambda found: self.are_vectors(found["id"].to_numpy(), _matrix(found["emb"])),
        )

    def range_row_id(self, _: Path) -> Task | None:
        """A hundred neighbouring rows, by position."""
        return None if self.row_id is None else self._range(self.row_id)

    def range_id(self, _: Path) -> Task:
        """A hundred neighbouring rows, by the value of a column."""
        return self._range("id")

    def _range(self, key: str) -> Task:
        first, last = self.columns.first, self.columns.first + 100

        def check(found: Any) -> None:
            np.testing.assert_array_equal(found["id"].to_numpy(), np.arange(first, last))
            np.testing.assert_array_equal(
                _matrix(found["emb"]), self.columns.arrays["emb"][first:last]
            )

        return self._query(RANGE, check, key=key, first=first, last=last)

    def avg_item(self, _: Path) -> Task:
        """The mean of one value of each vector."""
        text = "SELECT avg(emb[6]) AS mean FROM {t}"
        return self._query(text, lambda found: self.is_mean(found["mean"][0].as_py()))

    def nearest(self, _: Path) -> Task:
        """Ids of the nearest vectors."""
        return self._nearest("", None)

    def nearest_where(self, _: Path) -> Task:
        """Ids of the nearest vectors with a label."""
        return self._nearest("WHERE label = 3", self.labelled)

    def literal(self, query: np.ndarray) -> str:
        """The query as this peer's SQL takes it."""
        return "[" + ",".join(repr(float(x)) for x in query) + "]"

    def _nearest(self, where: str, mask: np.ndarray | None) -> Task:
        return self._query(
            NEAREST_IDS,
            lambda found: self.are_nearest(found["id"].to_numpy(), mask),
            where=where,
            distance=self.distance,
            q=self.literal(self.columns.query),
            k=NEAREST,
        )


class NumPackSql(ArrowAnswers):
    """This library: `npk.sql`."""

    key = "numpack"
    title = "NumPack"
    table = "self"
    distance = "l2_distance"
    row_id = "row_id"
    packages = ("numpack",)

    def prepare(self) -> None:
        """Save the columns."""
        numpack = importlib.import_module("numpack")
        self.npk = numpack.NumPack(self.directory / "sql.npk")
        self.npk.open()
        self.npk.save(self.columns.arrays)

    def ask(self, text: str) -> Any:
        """Through the handle that is open."""
        return self.npk.sql(text).to_arrow()

    def _nearest(self, where: str, mask: np.ndarray | None) -> Task:
        text = NEAREST_IDS.format(
            t=self.table, where=where, distance=self.distance, q="$q", k=NEAREST
        )

        def once() -> Any:
            return self.npk.sql(text, q=self.columns.query).to_arrow()

        return Task(once, check=lambda: self.are_nearest(once()["id"].to_numpy(), mask))

    def nearest_many(self, _: Path) -> Task:
        """Ids of the nearest vectors of many."""
        pa = importlib.import_module("pyarrow")
        queries = self.columns.queries
        flat = pa.array(queries.reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, queries.shape[1])
        given = pa.table({"q": pa.array(range(len(queries))), "v": vectors})

        def once() -> Any:
            return self.npk.sql(NEAREST_MANY, queries=given).to_arrow()

        def check() -> None:
            found = once()
            self.are_nearest(found["id"].to_numpy()[:NEAREST])
            _equal(found.num_rows, NEAREST * len(queries))

        return Task(once, check=check)


class DuckDB(ArrowAnswers):
    """DuckDB over its own table in memory."""

    key = "duckdb"
    title = "DuckDB native"
    packages = ("duckdb",)

    def prepare(self) -> None:
        """Load the columns."""
        self.connection = importlib.import_module("duckdb").connect()
        self.connection.execute("SET threads = 2")
        self.arrow = arrow_table(self.columns)
        self.load()

    def load(self) -> None:
        """Make the table."""
        self.connection.register("source", self.arrow)
        self.connection.execute("CREATE TABLE t AS SELECT * FROM source")
        self.connection.unregister("source")

    def ask(self, text: str) -> Any:
        """Run one statement."""
        return self.connection.sql(text).to_arrow_table()

    def literal(self, query: np.ndarray) -> str:
        """A list has to be cast to an array."""
        return f"{super().literal(query)}::FLOAT[{WIDTH}]"


class DuckDBArrow(DuckDB):
    """DuckDB over pyarrow's table."""

    key = "duckdb_arrow"
    title = "DuckDB on Arrow"

    def load(self) -> None:
        """Show the table."""
        self.connection.register("t", self.arrow)


class DuckDBParquet(DuckDB):
    """DuckDB over a Parquet file."""

    key = "duckdb_parquet"
    title = "DuckDB Parquet"

    def load(self) -> None:
        """Show the file."""
        path = parquet_file(self.columns, self.root)
        columns = f"id, label, score, emb::FLOAT[{WIDTH}] AS emb"
        self.connection.sql(f"FROM '{path}'").project(columns).create_view("t")


class DataFusion(ArrowAnswers):
    """DataFusion over batches in memory."""

    key = "datafusion"
    title = "DataFusion in memory"
    packages = ("datafusion",)

    def prepare(self) -> None:
        """Register the batches, dealt to two partitions."""
        datafusion = importlib.import_module("datafusion")
        config = datafusion.SessionConfig().with_target_partitions(2)
        self.context = datafusion.SessionContext(config)
        self.register()

    def register(self) -> None:
        """Show the batches."""
        batches = arrow_table(self.columns).to_batches(max_chunksize=8192)
        self.context.register_record_batches("t", [batches[::2], batches[1::2]])

    def ask(self, text: str) -> Any:
        """Run one statement."""
        return self.context.sql(text).to_arrow_table()

    def _range(self, key: str) -> Task:
        # Rows come in any order from two partitions.
        first, last = self.columns.first, self.columns.first + 100

        def check(found: Any) -> None:
            ids = np.sort(found["id"].to_numpy())
            np.testing.assert_array_equal(ids, np.arange(first, last))

        return self._query(RANGE, check, key=key, first=first, last=last)


class DataFusionParquet(DataFusion):
    """DataFusion over a Parquet file."""

    key = "datafusion_parquet"
    title = "DataFusion Parquet"

    def register(self) -> None:
        """Show the file."""
        self.context.register_parquet("t", str(parquet_file(self.columns, self.root)))


class Polars(SqlPeer):
    """Polars over a frame in memory."""

    key = "polars"
    title = "Polars in memory"
    packages = ("polars",)

    def prepare(self) -> None:
        """Take the columns."""
        self.polars = importlib.import_module("polars")
        self.source = self.polars.from_arrow(arrow_table(self.columns))

    def frame(self) -> Any:
        """A lazy frame."""
        return self.source.lazy()

    def count_all(self, _: Path) -> Task:
        """Count the rows."""
        pl = self.polars
        once = lambda: self.frame().select(pl.len()).collect().item()  # noqa: E731
        return self.counted(once, int, self.columns.rows)

    def grouped(self, _: Path) -> Task:
        """Count and mean by label."""
        pl = self.polars

        def once() -> Any:
            return self.frame().group_by("label").agg(pl.len(), pl.col("score").mean()).collect()

        return Task(once, check=lambda: self.is_grouped(once().rows()))

    def count_where(self, _: Path) -> Task:
        """Count what a filter leaves."""
        pl = self.polars

        def once() -> int:
            return self.frame().filter(pl.col("score") > 0.99).select(pl.len()).collect().item()

        wanted = int((self.columns.arrays["score"] > np.float32(0.99)).sum())
        return self.counted(once, int, wanted)

    def vectors_where(self, _: Path) -> Task:
        """The vectors of the rows that a filter leaves."""
        pl = self.polars

        def once() -> Any:
            return self.frame().filter(pl.col("score") > 0.999).select("id", "emb").collect()

        def check() -> None:
            found = once()
            self.are_vectors(found["id"].to_numpy(), found["emb"].to_numpy())

        return Task(once, check=check)

    def range_id(self, _: Path) -> Task:
        """A hundred neighbouring rows, by the value of a column."""
        pl = self.polars
        first = self.columns.first

        def once() -> Any:
            wanted = (pl.col("id") >= first) & (pl.col("id") < first + 100)
            return self.frame().filter(wanted).collect()

        return Task(once, check=lambda: _equal(once()["id"].to_list()[0], first))

    def avg_item(self, _: Path) -> Task:
        """The mean of one value of each vector."""
        pl = self.polars

        def once() -> float:
            return self.frame().select(pl.col("emb").arr.get(5).mean()).collect().item()

        return Task(once, check=lambda: self.is_mean(once()))


class PolarsParquet(Polars):
    """Polars over a Parquet file."""

    key = "polars_parquet"
    title = "Polars Parquet"

    def prepare(self) -> None:
        """Find the file."""
        self.polars = importlib.import_module("polars")
        self.path = parquet_file(self.columns, self.root)

    def frame(self) -> Any:
        """A lazy frame over the file."""
        return self.polars.scan_parquet(self.path)


class Lance(SqlPeer):
    """A Lance dataset without an index."""

    key = "lance"
    title = "Lance"
    packages = ("pylance",)

    def prepare(self) -> None:
        """Write the dataset."""
        lance = importlib.import_module("lance")
        self.dataset = lance.write_dataset(arrow_table(self.columns), self.directory / "t.lance")

    def count_all(self, _: Path) -> Task:
        """Count the rows."""
        return self.counted(self.dataset.count_rows, int, self.columns.rows)

    def count_where(self, _: Path) -> Task:
        """Count what a filter leaves."""
        once = lambda: self.dataset.count_rows(filter="score > 0.99")  # noqa: E731
        wanted = int((self.columns.arrays["score"] > np.float32(0.99)).sum())
        return self.counted(once, int, wanted)

    def vectors_where(self, _: Path) -> Task:
        """The vectors of the rows that a filter leaves."""

        def once() -> Any:
            return self.dataset.to_table(columns=["id", "emb"], filter="score > 0.999")

        def check() -> None:
            found = once()
            self.are_vectors(found["id"].to_numpy(), _matrix(found["emb"]))

        return Task(once, check=check)

    def range_id(self, _: Path) -> Task:
        """A hundred neighbouring rows, by the value of a column."""
        first = self.columns.first
        text = f"id >= {first} AND id < {first + 100}"
        return Task(
            lambda: self.dataset.to_table(filter=text),
            check=lambda: _equal(self.dataset.to_table(filter=text).num_rows, 100),
        )

    def nearest(self, _: Path) -> Task:
        """Ids of the nearest vectors."""
        return self._nearest(None, None)

    def nearest_where(self, _: Path) -> Task:
        """Ids of the nearest vectors with a label."""
        return self._nearest("label = 3", self.labelled)

    def _nearest(self, where: str | None, mask: np.ndarray | None) -> Task:
        wanted = {"column": "emb", "q": self.columns.query, "k": NEAREST, "use_index": False}

        def once() -> Any:
            return self.dataset.to_table(
                columns=["id", "_distance"],
                nearest=wanted,
                filter=where,
                prefilter=where is not None,
            )

        return Task(once, check=lambda: self.are_nearest(once()["id"].to_numpy(), mask))


class NumPy(SqlPeer):
    """NumPy over arrays in memory: what a person would write."""

    key = "numpy"
    title = "NumPy"
    packages = ("numpy",)

    def grouped(self, _: Path) -> Task:
        """Count and mean by label."""
        label, score = self.columns.arrays["label"], self.columns.arrays["score"]

        def once() -> list[tuple]:
            counts = np.bincount(label, minlength=LABELS)
            means = np.bincount(label, score, minlength=LABELS) / counts
            return list(zip(range(LABELS), counts, means, strict=True))

        return Task(once, check=lambda: self.is_grouped(once()))

    def count_where(self, _: Path) -> Task:
        """Count what a filter leaves."""
        score = self.columns.arrays["score"]
        wanted = int((score > np.float32(0.99)).sum())
        return self.counted(lambda: np.count_nonzero(score > 0.99), int, wanted)

    def vectors_where(self, _: Path) -> Task:
        """The vectors of the rows that a filter leaves."""
        arrays = self.columns.arrays

        def once() -> tuple[np.ndarray, np.ndarray]:
            rows = np.flatnonzero(arrays["score"] > 0.999)
            return arrays["id"][rows], arrays["emb"][rows]

        return Task(once, check=lambda: self.are_vectors(*once()))

    def range_id(self, _: Path) -> Task:
        """A hundred neighbouring rows, by the value of a column."""
        arrays, first = self.columns.arrays, self.columns.first

        def once() -> list[np.ndarray]:
            rows = np.flatnonzero((arrays["id"] >= first) & (arrays["id"] < first + 100))
            return [array[rows] for array in arrays.values()]

        return Task(once, check=lambda: _equal(len(once()[0]), 100))

    def avg_item(self, _: Path) -> Task:
        """The mean of one value of each vector."""
        emb = self.columns.arrays["emb"]
        once = lambda: emb[:, 5].mean(dtype=np.float64)  # noqa: E731
        return Task(once, check=lambda: self.is_mean(once()))

    def nearest(self, _: Path) -> Task:
        """Ids of the nearest vectors, by the matrix product."""
        emb, query = self.columns.arrays["emb"], self.columns.query
        squares = np.einsum("ij,ij->i", emb, emb)

        def once() -> np.ndarray:
            distances = squares - 2 * (emb @ query)
            best = np.argpartition(distances, NEAREST)[:NEAREST]
            return best[np.argsort(distances[best])]

        return Task(once, check=lambda: self.are_nearest(once()))

    def nearest_many(self, _: Path) -> Task:
        """The same of many vectors."""
        emb, queries = self.columns.arrays["emb"], self.columns.queries
        squares = np.einsum("ij,ij->i", emb, emb)

        def once() -> np.ndarray:
            best = np.empty((len(queries), NEAREST), np.int64)
            for start in range(0, len(queries), 10):
                part = queries[start : start + 10]
                distances = squares - 2 * (part @ emb.T)
                near = np.argpartition(distances, NEAREST, axis=1)[:, :NEAREST]
                order = np.take_along_axis(distances, near, 1).argsort(axis=1)
                best[start : start + 10] = np.take_along_axis(near, order, 1)
            return best

        return Task(once, check=lambda: self.are_nearest(once()[0]))


class Faiss(SqlPeer):
    """FAISS, the flat index: exact, in memory."""

    key = "faiss"
    title = "FAISS flat"
    packages = ("faiss-cpu",)

    def prepare(self) -> None:
        """Copy the vectors into the index."""
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(2)
        self.index = faiss.IndexFlatL2(WIDTH)
        self.index.add(self.columns.arrays["emb"])

    def nearest(self, _: Path) -> Task:
        """Ids of the nearest vectors."""
        query = self.columns.query[None, :]
        once = lambda: self.index.search(query, NEAREST)[1][0]  # noqa: E731
        return Task(once, check=lambda: self.are_nearest(once()))

    def nearest_many(self, _: Path) -> Task:
        """The same of many vectors."""
        once = lambda: self.index.search(self.columns.queries, NEAREST)[1]  # noqa: E731
        return Task(once, check=lambda: self.are_nearest(once()[0]))


PEERS: tuple[type[SqlPeer], ...] = (
    NumPackSql,
    NumPy,
    Faiss,
    DuckDB,
    DuckDBArrow,
    DuckDBParquet,
    DataFusion,
    DataFusionParquet,
    Polars,
    PolarsParquet,
    Lance,
)


def arrow_table(columns: Columns) -> Any:
    """The columns as a pyarrow.Table over NumPy's memory."""
    pa = importlib.import_module("pyarrow")
    arrays = dict(columns.arrays)
    vectors = arrays.pop("emb")
    flat = pa.array(vectors.reshape(-1))
    table = {name: pa.array(array) for name, array in arrays.items()}
    return pa.table({**table, "emb": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})


def parquet_file(columns: Columns, root: Path) -> Path:
    """The columns as a Parquet file, written once."""
    path = root / "columns.parquet"
    if not path.exists():
        importlib.import_module("pyarrow.parquet").write_table(arrow_table(columns), path)
    return path


def _matrix(column: Any) -> np.ndarray:
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return flat.reshape(-1, WIDTH)


def _equal(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{found}, expected {wanted}")
