"""`connect`: SQL over several stores at once."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from numpack import _internal
from numpack.exceptions import ArgumentError, ClosedError
from numpack.result import Result

if TYPE_CHECKING:
    from numpack.store import NumPack

__all__ = ["Connection", "connect"]

_MEGABYTE = 1 << 20


def connect(
    stores: "Mapping[str, Any] | NumPack | str | os.PathLike[str]",
    /,
    *,
    memory_limit: float | None = None,
    threads: int | None = None,
    external_access: bool = True,
) -> "Connection":
    """SQL over several stores, or over every store in a directory.

    Parameters
    ----------
    stores : dict, NumPack, str or path
        A dict names the tables: each value is an open `NumPack`, the path of a store, or a table of
        another library (anything with `__arrow_c_stream__`: pyarrow, Polars, pandas, a `Table` or a
        `Result`), which is read once, now. A path is a directory of stores, and no store itself:
        each store right below it is a table, named like its directory without `.npk`. One `NumPack`
        is the table `self`.
    memory_limit : float or None
        Megabytes that sorts, joins and group-bys may hold; sorts and group-bys beyond it go on in
        temporary files. None is no limit.
    threads : int or None
        The number of threads; None is one for each processor.
    external_access : bool
        Whether COPY, CREATE EXTERNAL TABLE and `read_numpack('path')` may reach files. Turn it off
        for queries that you have not written yourself: they then reach nothing but these stores.

    The arrays of a store are tables too: `name.array`, with the columns `value` and `row_id`. Of
    each store, a query sees one instant.

    >>> with NumPack("train.npk", mode="w") as npk:
    ...     npk.save({"id": np.arange(3), "label": np.array([7, 8, 7])})
    >>> with NumPack("names.npk", mode="w") as npk:
    ...     npk.save({"label": np.array([7, 8]), "code": np.array([70, 80])})
    >>> with numpack.connect({"train": "train.npk", "names": "names.npk"}) as db:
    ...     query = "SELECT id, code FROM train JOIN names USING (label) WHERE code < ? ORDER BY id"
    ...     db.sql(query, 80).to_numpy()["id"]
    array([0, 2])
    >>> with numpack.connect(".", external_access=False) as db:
    ...     db.sql("SELECT max(code) AS m FROM names").to_numpy()
    {'m': array([80])}
    """
    return Connection(
        stores, memory_limit=memory_limit, threads=threads, external_access=external_access
    )


class Connection:
    """What `connect` returns: queries over its stores, until it is closed."""

    def __init__(
        self,
        stores: "Mapping[str, Any] | NumPack | str | os.PathLike[str]",
        *,
        memory_limit: float | None = None,
        threads: int | None = None,
        external_access: bool = True,
    ) -> None:
        # First, so that close() finds them whatever fails below.
        self._connection: Any = None
        self._opened: list[Any] = []
        if memory_limit is not None and not memory_limit > 0:
            raise ArgumentError(f"memory_limit is {memory_limit!r}, expected megabytes above 0")
        if threads is not None and not threads > 0:
            raise ArgumentError(f"threads is {threads!r}, expected a number from 1 on")
        tables: dict[str, Any] = {}
        over: Any
        if isinstance(stores, Mapping):
            over = self._stores(stores, tables)
        elif hasattr(stores, "_engine"):
            over = [("self", stores._engine())]
        else:
            over = os.fspath(stores)
        limit = None if memory_limit is None else int(memory_limit * _MEGABYTE)
        try:
            self._connection = _internal.Connection(
                over, tables, limit, threads, bool(external_access)
            )
        except BaseException:
            self.close()
            raise

    def _stores(self, stores: Mapping[str, Any], tables: dict[str, Any]) -> list[Any]:
        """The stores of a dict by name; what else it holds goes into `tables`."""
        over = []
        for name, value in stores.items():
            if not isinstance(name, str):
                raise TypeError(f"a table name is a str, not {type(name).__name__}")
            if hasattr(value, "_engine"):
                over.append((name, value._engine()))
            elif isinstance(value, (str, os.PathLike)):
                store = _internal.Store(os.fspath(value), "r+", "commit", 30.0, False)
                self._opened.append(store)
                over.append((name, store))
            elif hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
                tables[name] = value
            else:
                self.close()
                raise TypeError(
                    f"table {name!r} is a {type(value).__name__}, expected a NumPack, a path, or "
                    "what has __arrow_c_stream__"
                )
        return over

    def sql(self, query: str, /, *args: Any, **params: Any) -> Result:
        """Run a query over the stores; `args` and `params` as in `NumPack.sql`."""
        if not isinstance(query, str):
            raise TypeError(f"query must be a str, not {type(query).__name__}")
        if self._connection is None:
            raise ClosedError("the connection has been closed")
        return Result(self._connection.sql(query, args, params))

    def close(self) -> None:
        """Close the stores that the connection has opened. Results stay what they are."""
        connection, self._connection = self._connection, None
        opened, self._opened = self._opened, []
        try:
            if connection is not None:
                connection.close()
        finally:
            for store in opened:
                store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        return f"numpack.Connection({'closed' if self._connection is None else 'open'})"
