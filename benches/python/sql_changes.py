"""Changes by SQL: this library and the peers that change tables in files."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sql_inputs import Columns
from sql_peers import SqlPeer, arrow_table
from timing import Style, Task
from workloads import Row

#: Numbers of a vector in the tables that change.
WIDTH = 16

TABLE = (
    Row("insert_select", "INSERT of 1,000,000 selected rows", Style.EACH),
    Row("update_scattered", "UPDATE of 1,000 scattered rows", Style.EACH),
    Row("delete_some", "DELETE of 1 % of the rows", Style.EACH),
)

INSERT = "INSERT INTO t SELECT id, label, score, emb FROM s"
UPDATE = "UPDATE t SET score = score + 1 WHERE id % 1000 = 7"
DELETE = "DELETE FROM t WHERE id % 100 = {part}"


class Narrow(Columns):
    """The columns of the other questions with shorter vectors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.arrays["emb"] = np.ascontiguousarray(self.arrays["emb"][:, :WIDTH])


class ChangingPeer(SqlPeer):
    """A peer with a table `s` of all rows, and a table `t` that is made anew and changed."""

    def fill(self, directory: Path, rows: int) -> None:
        """Make `t` with the first rows of the columns."""
        raise NotImplementedError

    def change(self, text: str) -> None:
        """Run one statement on `t`."""
        raise NotImplementedError

    def total(self) -> tuple[int, float]:
        """The number of rows of `t` and the sum of their scores."""
        raise NotImplementedError

    def holds(self, wanted: np.ndarray) -> None:
        """Compare `t` with the scores that it is to hold."""
        count, score = self.total()
        assert count == len(wanted), f"{count} rows, not {len(wanted)}"
        np.testing.assert_allclose(score, wanted.sum(dtype=np.float64), rtol=1e-6)

    def insert_select(self, directory: Path) -> Task:
        """Append all rows of `s` to an empty `t`."""
        return Task(
            self.insert,
            before=lambda: self.fill(directory, 0),
            check=lambda: self.holds(self.columns.arrays["score"]),
        )

    def insert(self) -> None:
        """Append `s` to `t`."""
        self.change(INSERT)

    def update_scattered(self, directory: Path) -> Task:
        """Change a thousand rows that lie far apart."""
        self.fill(directory, self.columns.rows)

        def check() -> None:
            self.fill(directory, self.columns.rows)
            self.change(UPDATE)
            wanted = self.columns.arrays["score"].astype(np.float64)
            wanted[7::1000] += 1
            self.holds(wanted)

        return Task(lambda: self.change(UPDATE), check=check)

    def delete_some(self, directory: Path) -> Task:
        """Delete every hundredth row, another hundredth each time."""
        parts = itertools.count()
        state = {"part": 99}

        def before() -> None:
            state["part"] = next(parts) % 50
            if state["part"] == 0:
                self.fill(directory, self.columns.rows)

        def once() -> None:
            self.change(DELETE.format(part=state["part"]))

        def check() -> None:
            self.fill(directory, self.columns.rows)
            self.change(DELETE.format(part=3))
            keep = np.arange(self.columns.rows) % 100 != 3
            self.holds(self.columns.arrays["score"][keep])

        return Task(once, before=before, check=check)


class NumPackChanges(ChangingPeer):
    """This library as it is by default: what returned survives kill -9."""

    key = "numpack"
    title = "NumPack"
    packages = ("numpack",)
    durability: ClassVar[str] = "commit"

    def prepare(self) -> None:
        """Save `s`."""
        self.numpack = importlib.import_module("numpack")
        self.s = self.numpack.NumPack(self.directory / "s.npk")
        self.s.open()
        self.s.save(self.columns.arrays)
        self.t = self.db = None

    def fill(self, directory: Path, rows: int) -> None:
        """Make `t` with the first rows of the columns."""
        if self.t is not None:
            self.db.close()
            self.t.close()
        self.t = self.numpack.NumPack(
            directory / "t.npk", drop_if_exists=True, durability=self.durability
        )
        self.t.open()
        self.t.save({name: array[:rows] for name, array in self.columns.arrays.items()})
        self.db = self.numpack.connect({"s": self.s, "t": self.t})

    def change(self, text: str) -> None:
        """Run one statement."""
        self.db.sql(text)

    def total(self) -> tuple[int, float]:
        """The number of rows of `t` and the sum of their scores."""
        score = self.t.load("score")
        return len(score), score.sum(dtype=np.float64)


class NumPackSynced(NumPackChanges):
    """This library with every commit flushed to the disk."""

    key = "numpack_full"
    title = "NumPack, full"
    durability = "full"


class DuckDbChanges(ChangingPeer):
    """DuckDB over a database file, which flushes its log at every commit."""

    key = "duckdb"
    title = "DuckDB"
    packages = ("duckdb",)

    def prepare(self) -> None:
        """Write `s`."""
        duckdb = importlib.import_module("duckdb")
        self.db = duckdb.connect(str(self.directory / "s.duckdb"))
        source = arrow_table(self.columns)
        self.db.register("source", source)
        self.db.execute("CREATE TABLE s AS SELECT * FROM source")

    def fill(self, _: Path, rows: int) -> None:
        """Make `t` with the first rows of the columns."""
        self.db.execute(f"CREATE OR REPLACE TABLE t AS SELECT * FROM s LIMIT {rows}")
        self.db.execute("CHECKPOINT")

    def change(self, text: str) -> None:
        """Run one statement."""
        self.db.execute(text)

    def total(self) -> tuple[int, float]:
        """The number of rows of `t` and the sum of their scores."""
        return self.db.execute("SELECT count(*), sum(score::DOUBLE) FROM t").fetchone()


class LanceChanges(ChangingPeer):
    """A Lance dataset, which writes a new version at every change."""

    key = "lance"
    title = "Lance"
    packages = ("pylance",)

    def prepare(self) -> None:
        """Write `s`."""
        self.lance = importlib.import_module("lance")
        self.table = arrow_table(self.columns)
        self.s = self.lance.write_dataset(self.table, self.directory / "s.lance")
        self.t: Any = None

    def fill(self, directory: Path, rows: int) -> None:
        """Make `t` with the first rows of the columns."""
        path = directory / "t.lance"
        self.t = self.lance.write_dataset(self.table.slice(0, rows), path, mode="overwrite")

    def insert(self) -> None:
        """Append `s` to `t`."""
        self.t = self.lance.write_dataset(self.s.scanner().to_reader(), self.t, mode="append")

    def change(self, text: str) -> None:
        """Run one statement, in Lance's own words."""
        where = text.split(" WHERE ")[1]
        if text.startswith("UPDATE"):
            self.t.update({"score": "score + 1"}, where=where)
        else:
            self.t.delete(where)

    def total(self) -> tuple[int, float]:
        """The number of rows of `t` and the sum of their scores."""
        score = self.t.to_table(columns=["score"])["score"].to_numpy()
        return len(score), score.sum(dtype=np.float64)


PEERS = (NumPackChanges, NumPackSynced, DuckDbChanges, LanceChanges)
