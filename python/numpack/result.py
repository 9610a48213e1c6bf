"""`Result`: what a query gave."""

from typing import Any

import numpy as np

__all__ = ["Result"]

_SHOWN_ROWS = 20


class Result:
    """The rows that `NumPack.sql` returned, ready for every Arrow consumer.

    A result holds its own data: it may be read any number of times, also after the store was
    changed or closed. `polars.DataFrame(result)`, `pyarrow.table(result)` and DuckDB read it
    without conversion.

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
        """The number of rows."""
        return self._query.num_rows

    def __bool__(self) -> bool:
        return True

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as an Arrow C stream, in the engine's batches and the types asked for."""
        return self._query.stream(requested_schema)

    def to_arrow(self) -> Any:
        """The rows as a pyarrow.Table (needs pyarrow)."""
        return self._query.to_arrow()

    def to_polars(self) -> Any:
        """The rows as a polars.DataFrame (needs polars)."""
        import polars

        return polars.DataFrame(self)

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
        """Print the first `limit` rows as a table."""
        print(self._query.format(limit))  # noqa: T201 - that is what show is for

    def __repr__(self) -> str:
        return f"numpack.Result, {len(self)} rows\n{self._query.format(_SHOWN_ROWS)}"

    def _repr_html_(self) -> str:
        import html  # only notebooks need it

        return f"<pre>{html.escape(self._query.format(_SHOWN_ROWS))}</pre>"
