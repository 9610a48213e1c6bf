"""What `NumPack` gives to Arrow and takes from it."""

from typing import Any

from numpack import _internal
from numpack.exceptions import ArgumentError
from numpack.result import Result
from numpack.table import Table

__all__ = ["ArrowDoors"]


class ArrowDoors:
    """Arrow in and out; the base of `NumPack` that holds it."""

    def to_arrow(
        self,
        array_name: str | list[str] | None = None,
        *,
        zero_copy_only: bool = False,
        bool8: bool = True,
    ) -> Any:
        """An array as a pyarrow.Array, or several as a pyarrow.Table, over the files' own pages.

        Shape (n,) becomes a primitive array, (n, k) a FixedSizeListArray, more axes a
        FixedShapeTensorArray. Complex numbers of shape (n,) are `numpack.complex64` and
        `numpack.complex128`, of more axes tensors whose last axis is real and imaginary part. A
        0-d array becomes an array of length 1, and is no column of a table. Needs pyarrow.

        Parameters
        ----------
        array_name : str, list of str or None
            One name gives an Array. A list gives a Table of these arrays in that order, None a
            Table of all arrays in member order, of one instant in either case. Arrays of unequal
            length are a ShapeError (a ValueError) that lists them.
        zero_copy_only : bool
            Raise a NotContiguousError (a ValueError) where a copy would be needed: for an Array of
            rows between which others were deleted, and for bits.
        bool8 : bool
            Show bool arrays of up to two axes as `arrow.bool8`, one byte a value, without a copy;
            otherwise as Boolean, packed into bits.

        >>> with NumPack("s.npk", drop_if_exists=True) as npk:
        ...     npk.save({"a": np.arange(3, dtype=np.int16), "b": np.zeros((3, 2))})
        ...     npk.to_arrow("a").to_pylist(), npk.to_arrow().column_names
        ([0, 1, 2], ['a', 'b'])
        """
        if isinstance(array_name, str):
            return self._target().to_arrow(array_name, zero_copy_only, bool8)  # type: ignore[attr-defined]
        if array_name is not None and not isinstance(array_name, (list, tuple)):
            raise TypeError(
                f"array_name must be a str or a list of str, not {type(array_name).__name__}"
            )
        return self.table(*(array_name or ())).to_arrow(zero_copy_only=zero_copy_only, bool8=bool8)

    def from_arrow(
        self, data: Any, name: str | None = None, *, columns: list[str] | None = None
    ) -> None:
        """Save every column of a table, batch or stream, or one array, as one commit.

        Columns of equally long lists become arrays of shape (n, k), tensors arrays of more axes,
        Booleans bool, `arrow.bool8` bool, `numpack.complex64` and `numpack.complex128` complex:
        what `to_arrow` gave comes back exactly. Nulls, and strings, dates, decimals, dictionaries
        and other types without a dtype, are errors that name the column and the number of nulls
        or the type; nothing is saved then.

        Parameters
        ----------
        data : object
            Anything with `__arrow_c_stream__` or `__arrow_c_array__`: what pyarrow, Polars, DuckDB
            and pandas have, a `Table` or a `Result`. `row_id` of a `Result` is left out unless
            `columns` names it.
        name : str or None
            The name of an array, where `data` is one array and not a table.
        columns : list of str or None
            Only these columns, in this order. A missing one is a KeyError.

        >>> with NumPack("s.npk", drop_if_exists=True) as npk:
        ...     npk.save({"a": np.arange(3)})
        ...     npk.from_arrow(npk.sql("SELECT a, a * 2 AS twice FROM self"), columns=["twice"])
        ...     npk.load("twice")
        array([0, 2, 4])
        """
        target = self._target()  # type: ignore[attr-defined]
        if not hasattr(data, "__arrow_c_stream__") and not hasattr(data, "__arrow_c_array__"):
            raise TypeError(
                f"from_arrow takes what has __arrow_c_stream__ or __arrow_c_array__, not "
                f"{type(data).__name__}; save() takes ndarrays"
            )
        if name is not None:
            if columns is not None:
                raise ArgumentError("name is for one array and columns for those of a table")
            target.save({name: _internal.arrow_values(data, name)})
            return
        if isinstance(data, Result) and columns is None:
            columns = [column for column in data.column_names if column != "row_id"]
        target.save(_internal.arrow_columns(data, columns))

    def table(self, *names: str) -> Table:
        """Equally long arrays as one relation, live; without names all arrays that have rows.

        See `Table`. A missing name is a KeyError, a name given twice a ValueError.

        >>> with NumPack("s.npk", drop_if_exists=True) as npk:
        ...     npk.save({"a": np.arange(3), "b": np.zeros((3, 2)), "k": [1]})
        ...     npk.table("b", "a").to_arrow().column_names
        ['b', 'a']
        """
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"an array name is a str, not {type(name).__name__}")
        if len(set(names)) < len(names):
            raise ArgumentError(f"a column is named twice: {', '.join(names)}")
        table = Table(self, names or None)  # type: ignore[arg-type]
        if names:
            table._views()  # a name that is missing is an error here and not later
        return table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """All arrays that have rows as one Arrow C stream: `table().__arrow_c_stream__()`."""
        return self.table().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """The schema of the stream."""
        return self.table().__arrow_c_schema__()

    def __datafusion_table_provider__(self, session: Any = None) -> object:
        """All arrays that have rows as a table of the `datafusion` package; see `Table`."""
        return self.table().__datafusion_table_provider__(session)
