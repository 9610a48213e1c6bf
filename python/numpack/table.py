"""`Table`: arrays of a store side by side, as one relation."""

import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from numpack import _internal
from numpack.exceptions import ShapeError
from numpack.result import Result

if TYPE_CHECKING:
    from numpack.store import NumPack

__all__ = ["Table", "relation", "rows_of"]

# DuckDB's ARRAY has at most this many values.
_DUCKDB_WIDTH = 100_000


def relation(npk: "NumPack", names: tuple[str, ...] | None) -> list[Any]:
    """Snapshots, all of one instant, of the arrays that make a relation.

    Without names they are all arrays of the store that have rows, in member order.
    """
    views = npk._target().snapshot(None if names is None else list(names))
    scalars = [view.name for view in views if not view.shape]
    if names is None:
        return [view for view in views if view.shape]
    if scalars:
        raise ShapeError(f"array {scalars[0]!r} is 0-dimensional: a column needs rows")
    return views


def rows_of(views: list[Any]) -> int:
    """The number of rows that all columns have."""
    lengths = {view.shape[0] for view in views}
    if len(lengths) > 1:
        each = ", ".join(f'"{view.name}" {view.shape[0]}' for view in views)
        raise ShapeError(
            f"the arrays have unequal numbers of rows: {each}; table() of some of them makes a "
            "relation of those"
        )
    return lengths.pop() if lengths else 0


class Table:
    """Arrays of one length as one relation; `NumPack.table(*names)` makes one.

    A table is live: it holds names, and whatever asks it for rows gets one snapshot of all its
    columns as they are then. What it has handed out stays as it was. Every library that reads
    Arrow streams takes it as it is: `polars.DataFrame(part)`, `pyarrow.table(part)`,
    `duckdb.sql("FROM part")`.

    Streams hold one batch for each run of live rows, over the pages of the files themselves;
    bool arrays of rank 1 and 2 are packed into bits, which is a copy.

    >>> with NumPack("t.npk", drop_if_exists=True) as npk:
    ...     npk.save({"id": np.arange(3), "label": np.array([1, 1, 2], np.uint8), "k": [1.5]})
    ...     table = npk.table("id", "label")
    ...     len(table), table.columns
    (3, ['id', 'label'])
    """

    __slots__ = ("_names", "_npk")

    def __init__(self, npk: "NumPack", names: tuple[str, ...] | None) -> None:
        self._npk = npk
        self._names = names

    def _views(self) -> list[Any]:
        return relation(self._npk, self._names)

    @property
    def columns(self) -> list[str]:
        """The names of the arrays, in their order."""
        return [view.name for view in self._views()]

    @property
    def schema(self) -> Any:
        """The pyarrow.Schema of `to_arrow()` (needs pyarrow)."""
        import pyarrow  # type: ignore[import-untyped]

        return pyarrow.schema(_SchemaOf(self._views(), bool8=True))

    def __len__(self) -> int:
        """The number of rows. Arrays of unequal length are a ShapeError that lists them."""
        return rows_of(self._views())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        views = self._views()
        lines = [f"  {view.name}: {view.dtype} {view.shape[1:] or ''}".rstrip() for view in views]
        return "\n".join([f"numpack.Table, {rows_of(views)} rows", *lines])

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as an Arrow C stream, in the types of `requested_schema` where they differ."""
        return _internal.arrow_stream(self._views(), requested_schema)

    def __arrow_c_schema__(self) -> object:
        """The schema of the stream."""
        views = self._views()
        # DuckDB asks for the schema first, which few others do, and then only says that it knows
        # no "e". Where it is loaded, say what to do.
        if "duckdb" in sys.modules:
            _warn_of_duckdb(views)
        return _internal.arrow_schema(views, False)

    def to_arrow(self, *, zero_copy_only: bool = False, bool8: bool = True) -> Any:
        """The rows as a pyarrow.Table, options as in `NumPack.to_arrow` (needs pyarrow)."""
        return _internal.arrow_table(self._views(), zero_copy_only, bool8)

    def to_polars(self) -> Any:
        """The rows as a polars.DataFrame (needs polars)."""
        import polars

        return polars.DataFrame(self)

    def to_pandas(self, **options: Any) -> Any:
        """The rows as a pandas.DataFrame (needs pandas and pyarrow).

        `options` go to pyarrow's `Table.to_pandas`; with `types_mapper=pandas.ArrowDtype` the
        columns stay Arrow's.
        """
        return self.to_arrow(bool8=False).to_pandas(**options)

    def sql(self, query: str, /, *args: Any, **params: Any) -> Result:
        """Run a query over these columns, which are the table `self`, as `NumPack.sql` does.

        >>> with NumPack("t.npk", drop_if_exists=True) as npk:
        ...     npk.save({"id": np.arange(3), "k": [1.5]})
        ...     npk.table("id").sql("SELECT sum(id) AS total FROM self").to_numpy()
        {'total': array([3])}
        """
        if not isinstance(query, str):
            raise TypeError(f"query must be a str, not {type(query).__name__}")
        names = None if self._names is None else list(self._names)
        return Result(self._npk._target().sql(query, names, args, params))

    def __datafusion_table_provider__(self, session: Any = None) -> object:
        """A capsule for `SessionContext.register_table` of the `datafusion` package.

        The package must be of the major version that this one was built with; an ImportError names
        both.
        """
        names = None if self._names is None else list(self._names)
        return _internal.datafusion_table(self._npk._engine(), names, session)


def _warn_of_duckdb(views: list[Any]) -> None:
    """Name the columns that DuckDB refuses, before it does so without naming any."""
    refused = [
        view.name
        for view in views
        if view.dtype == np.float16 or math.prod(view.shape[1:]) > _DUCKDB_WIDTH
    ]
    if refused:
        kept = ", ".join(repr(view.name) for view in views if view.name not in refused)
        warnings.warn(
            f"DuckDB takes neither float16 nor rows of more than {_DUCKDB_WIDTH:,} values: leave "
            f"{', '.join(map(repr, refused))} out with table({kept})",
            UserWarning,
            stacklevel=3,
        )


class _SchemaOf:
    """Hands pyarrow the schema that a Table has in Python's own form."""

    def __init__(self, views: list[Any], *, bool8: bool) -> None:
        self._views = views
        self._bool8 = bool8

    def __arrow_c_schema__(self) -> object:
        return _internal.arrow_schema(self._views, self._bool8)
