"""`Result`: a query, and the doors to its rows."""

from typing import Any

import numpy as np

from numpack import _internal

__all__ = ["Result"]

_SHOWN_ROWS = 20


class Result:
    """What `NumPack.sql`, `Table.sql` and `Connection.sql` return, ready for every Arrow consumer.

    A SELECT has its snapshot from the moment of `sql()`, and is run when its rows are asked for,
    batch by batch where they are streamed. It may be read any number of times, also after the store
    was changed or closed, and gives the same rows each time; each time it is run again, so what is
    read often is better kept, as what one of the methods returns. `polars.DataFrame(result)`,
    `pyarrow.table(result)` and DuckDB read it without conversion.

    Ctrl-C stops a query that runs.

    >>> with NumPack("r.npk", drop_if_exists=True) as npk:
    ...     npk.save({"id": np.arange(3), "label": np.array([1, 1, 2], dtype=np.int32)})
    ...     result = npk.sql("SELECT label, count(*) AS n FROM self GROUP BY label ORDER BY label")
    >>> result.column_names
    ['label', 'n']
    >>> result.to_numpy()["n"]
    array([2, 1])
    """

    __slots__ = ("_query",)

    def __init__(self, query: Any) -> None:
        self._query = query

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return self._query.column_names

    def __len__(self) -> int:
        """The number of rows; the query is run for it where its plan does not know it."""
        return self._query.num_rows

    def __bool__(self) -> bool:
        return True

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as an Arrow C stream, in the engine's batches and the types asked for.

        The query starts with the first batch that is asked for, computes a few batches ahead, and
        stops when the stream is dropped.
        """
        return self._query.stream(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """The schema of the stream; nothing is run for it."""
        return self._query.schema()

    def to_arrow(self) -> Any:
        """The rows as a pyarrow.Table (needs pyarrow)."""
        return self._query.to_arrow()

    def to_polars(self) -> Any:
        """The rows as a polars.DataFrame (needs polars)."""
        import polars

        try:
            return polars.DataFrame(self)
        except Exception:
            # Ctrl-C has ended the stream, and Polars says so in words of its own.
            _internal.check_signals()
            raise

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame (needs pandas and pyarrow)."""
        return self.to_arrow().to_pandas()

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Each column as an ndarray; fixed-size lists become 2-D arrays, strings objects.

        A null becomes NaN in a column of floats; in any other column it is a ValueError that
        names column and number.
        """
        return self._query.to_numpy()

    def show(self, limit: int = _SHOWN_ROWS) -> None:
        """Print the first `limit` rows as a table; no more of the query is run than they need."""
        print(self._query.format(limit))  # noqa: T201 - that is what show is for

    def explain(self, analyze: bool = False) -> str:
        """The plan as text; with `analyze` the query is run, and each step says what it did.

        >>> with NumPack("r.npk", drop_if_exists=True) as npk:
        ...     npk.save({"id": np.arange(3), "emb": np.zeros((3, 64))})
        ...     "columns=[id]" in npk.sql("SELECT sum(id) FROM self").explain()
        True
        """
        return self._query.explain(bool(analyze))

    def __repr__(self) -> str:
        return f"numpack.Result\n{self._query.format(_SHOWN_ROWS)}"

    def _repr_html_(self) -> str:
        import html  # only notebooks need it

        return f"<pre>{html.escape(self._query.format(_SHOWN_ROWS))}</pre>"
