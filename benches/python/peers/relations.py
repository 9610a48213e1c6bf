"""What Polars and DuckDB make of a peer's columns: the same queries over every peer's data."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from inputs import NAME, Inputs
from timing import Task

#: Values that `label` has.
LABELS = 100
#: Arrays of the row that shows a wide table.
MANY_COLUMNS = 100

GROUPED = "SELECT label, count(*), avg(score) FROM source GROUP BY label"
VECTORS = 'SELECT sum(id), sum("array"[6]) FROM source'


def columns(inputs: Inputs) -> dict[str, np.ndarray]:
    """Columns of the common kinds: an identity, a label, a score and vectors; 55 MB."""
    rows = np.arange(inputs.rows)
    return {
        "id": rows,
        "label": (rows * 7919 % LABELS).astype(np.int32),
        "score": inputs.data[:, 0].copy(),
        NAME: inputs.data,
    }


def many(inputs: Inputs) -> dict[str, np.ndarray]:
    """A hundred short arrays: what a table costs that has no bytes to speak of."""
    return {f"c{number}": inputs.data[:1000, 0] + number for number in range(MANY_COLUMNS)}


class Relations:
    """The rows; a peer says how it stores columns and how others get at them."""

    def relation(
        self, directory: Path, arrays: dict[str, np.ndarray]
    ) -> tuple[Callable[[], Any], Callable[[], None] | None]:
        """Store the arrays; what gives the relation at each call, and what closes the store."""
        raise NotImplementedError

    def table(self, source: Any) -> Any:
        """A pyarrow.Table of a relation."""
        raise NotImplementedError

    def to_arrow_table(self, directory: Path) -> Task:
        """A pyarrow.Table of a hundred arrays."""
        arrays = many(self.inputs)
        get, close = self.relation(directory, arrays)

        def check() -> None:
            found = self.table(get())
            assert found.column_names == list(arrays)
            for name, array in arrays.items():
                np.testing.assert_array_equal(found[name].to_numpy(), array)

        return Task(lambda: self.table(get()), check=check, close=close)

    def to_polars(self, directory: Path) -> Task | None:
        """A DataFrame of all columns."""
        polars = _installed("polars")
        if polars is None:
            return None
        arrays = columns(self.inputs)
        get, close = self.relation(directory, arrays)

        def check() -> None:
            frame = polars.DataFrame(get())
            for name, array in arrays.items():
                np.testing.assert_array_equal(frame[name].to_numpy(), array)

        return Task(lambda: polars.DataFrame(get()), check=check, close=close)

    def polars_grouped(self, directory: Path) -> Task | None:
        """Count and mean by label, from the store to the answer."""
        polars = _installed("polars")
        if polars is None:
            return None
        get, close = self.relation(directory, columns(self.inputs))

        def once() -> Any:
            grouped = polars.DataFrame(get()).lazy().group_by("label")
            return grouped.agg(polars.len(), polars.col("score").mean()).collect()

        return Task(once, check=lambda: _assert_grouped(self.inputs, once().rows()), close=close)

    def duckdb_grouped(self, directory: Path) -> Task | None:
        """Count and mean by label, from the store to the answer."""
        return self._duckdb(directory, GROUPED, lambda found: _assert_grouped(self.inputs, found))

    def duckdb_vectors(self, directory: Path) -> Task | None:
        """The sum of one value of each vector."""

        def check(found: list[tuple]) -> None:
            ((ids, values),) = found
            assert ids == self.inputs.rows * (self.inputs.rows - 1) // 2
            np.testing.assert_allclose(values, self.inputs.data[:, 5].sum(dtype="f8"), rtol=1e-6)

        return self._duckdb(directory, VECTORS, check)

    def _duckdb(self, directory: Path, query: str, check: Callable) -> Task | None:
        duckdb = _installed("duckdb")
        if duckdb is None:
            return None
        get, close = self.relation(directory, columns(self.inputs))
        connection = duckdb.connect()

        def once() -> list[tuple]:
            source = get()  # noqa: F841 - DuckDB finds it by its name
            return connection.execute(query).fetchall()

        def end() -> None:
            connection.close()
            if close is not None:
                close()

        return Task(once, check=lambda: check(once()), close=end)


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _assert_grouped(inputs: Inputs, found: list[tuple]) -> None:
    arrays = columns(inputs)
    counts = np.bincount(arrays["label"], minlength=LABELS)
    means = np.bincount(arrays["label"], arrays["score"], minlength=LABELS) / counts
    labels, lengths, averages = zip(*sorted(found), strict=True)
    assert list(labels) == list(range(LABELS))
    np.testing.assert_array_equal(lengths, counts)
    np.testing.assert_allclose(averages, means, rtol=1e-5)
