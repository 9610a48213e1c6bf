"""`NumPack`: one handle on a store."""

import operator
import os
from collections.abc import Mapping
from typing import Any, Literal, overload

import numpy as np

from numpack.arrow import ArrowDoors
from numpack.attrs import Described
from numpack.batch import BatchModeContext, BatchStore
from numpack.exceptions import ArgumentError, ArrayNotFoundError
from numpack.lazy import LazyArray
from numpack.mapping import MappingManners
from numpack.report import Report
from numpack.result import Result
from numpack.stream import StreamLoader
from numpack.upkeep import Upkeep
from numpack.writable_array import WritableBatchMode

__all__ = ["NumPack"]


def _dict(arrays: Any) -> dict[str, Any]:
    if type(arrays) is dict:  # the rule, and cheaper to see than what an abstract class asks
        return arrays
    if not isinstance(arrays, Mapping):
        raise ArgumentError("arrays must be a dictionary")
    return dict(arrays)


class NumPack(ArrowDoors, MappingManners, Described, Upkeep):
    """A store: named NumPy arrays in a directory.

    The constructor touches nothing on disk; `open()` or a `with` block opens the store. A closed
    handle can be opened again, any number of times. One handle serves any number of threads, and
    any number of handles and processes may use a store at once. Every call that changes something
    is one commit: all of it happens or nothing, and it survives the death of the process.

    Parameters
    ----------
    filename : str or path
        The store's directory.
    drop_if_exists : bool
        Start empty: the first `open()` deletes what the store held. A directory that holds
        anything but a store is never deleted.
    strict_context_mode : bool
        Refuse calls outside a `with` block.
    warn_no_context : bool or None
        Warn when the handle is made without `strict_context_mode`; None means on Windows only.
    force_gc_on_close : bool
        Run the garbage collector when the handle is closed.
    mode : str
        "a" opens or creates, "r" reads only and never writes a byte, "r+" needs an existing store,
        "w" starts empty, "x" needs that no store exists.
    durability : str
        "commit": what has returned survives kill -9; after a power loss a consistent earlier state
        is found. "full": what has returned is on disk. "none": a power loss may damage the last
        changes, which is detected.
    lock_timeout : float
        Seconds to wait for another writer before BusyError.
    network_fs : bool
        Write to a store on a network file system (NFS, SMB, Ceph, Lustre, AFS), which is a
        StorageError otherwise: several machines would overwrite each other's changes.

    Examples
    --------
    >>> with NumPack("digits.npk") as npk:
    ...     npk.save({"x": np.arange(12, dtype=np.float32).reshape(4, 3)})
    ...     npk.append({"x": np.ones((1, 3), dtype=np.float32)})
    ...     npk.replace({"x": np.zeros((2, 3), dtype=np.float32)}, [3, 0])
    ...     npk.load("x")
    array([[0., 0., 0.],
           [3., 4., 5.],
           [6., 7., 8.],
           [0., 0., 0.],
           [1., 1., 1.]], dtype=float32)
    """

    # ------------------------------------------------------------------ writing
    def save(self, arrays: Mapping[str, Any]) -> None:
        """Store arrays under their names, replacing arrays that have these names.

        Values are arrays of any shape, byte order and memory layout, or anything that
        `numpy.asarray` turns into one of the fourteen dtypes: bool, int8 to int64, uint8 to
        uint64, float16 to float64, complex64 and complex128. Another dtype is an
        UnsupportedDTypeError (a ValueError). All arrays appear together or not at all.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"ids": np.arange(3), "label": [1.5, 2.5, 3.5]})
        ...     npk.get_member_list()
        ['ids', 'label']
        """
        arrays = _dict(arrays)
        self._target().save(arrays)

    def append(self, arrays: Mapping[str, Any]) -> None:
        """Add rows at the end of arrays: values of shape (k, ...) to arrays of shape (n, ...).

        The dtype must be the array's own (TypeError), the row shapes equal (ValueError) and the
        array there (KeyError). All arrays grow together or none does.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.zeros((2, 3))})
        ...     npk.append({"a": np.ones((4, 3))})
        ...     npk.get_shape("a")
        (6, 3)
        """
        arrays = _dict(arrays)
        self._target().append(arrays)

    def replace(self, arrays: Mapping[str, Any], indexes: Any) -> None:
        """Overwrite the rows `indexes` of each array.

        `indexes` is an int, a list, tuple, range or array of ints, a slice with any step, or a
        boolean mask. Unsorted and repeated rows are fine, the last value wins. There must be as
        many value rows as rows selected (one row of the row's shape will do for an int): nothing
        is broadcast. A row out of range is an IndexError and changes nothing.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.zeros(5, dtype=np.int64)})
        ...     npk.replace({"a": np.array([7, 8, 9])}, [4, 0, -2])
        ...     npk.load("a")
        array([8, 0, 0, 9, 7])
        """
        arrays = _dict(arrays)
        self._target().replace(arrays, indexes)

    def drop(self, array_name: str | list[str], indexes: Any = None) -> None:
        """Remove arrays, or the rows `indexes` of them.

        Names that the store does not have are ignored. `indexes` is read as in `replace`. An array
        that loses all its rows is removed, while an empty selection removes nothing.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.arange(5)})
        ...     npk.drop("a", [0, -1])
        ...     npk.load("a")
        array([1, 2, 3])
        """
        if isinstance(array_name, str):
            names = [array_name]
        elif isinstance(array_name, list) and all(isinstance(name, str) for name in array_name):
            names = list(dict.fromkeys(array_name))
        else:
            raise TypeError("array_names must be a list of strings or a single string")
        self._target().drop(names, indexes)

    def create(self, name: str, shape: int | tuple[int, ...], dtype: Any, fill: Any = 0) -> None:
        """Make a new array full of `fill`, to be filled piece by piece.

        Zeros take no room on disk before they are overwritten. A name in use is an
        ArrayExistsError (a ValueError).

        >>> with NumPack("s.npk") as npk:
        ...     npk.create("big", (1000, 3), np.float32)
        ...     npk["big", 10:12] = np.ones((2, 3), dtype=np.float32)
        ...     float(npk.load("big").sum())
        6.0
        """
        lengths = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(dtype)
        if dtype == np.bool_ and isinstance(fill, int) and fill in (0, 1):
            fill = bool(fill)  # the default, 0, means False here
        self._target().create(name, [operator.index(length) for length in lengths], dtype, fill)

    def rename(self, old_name: str, new_name: str) -> None:
        """Give an array another name; KeyError if it is missing, ValueError if that is used."""
        self._target().rename(old_name, new_name)

    def clone(self, source_name: str, target_name: str) -> None:
        """Copy an array under another name; KeyError and ValueError as in `rename`."""
        self._target().clone(source_name, target_name)

    def update(self, array_name: str) -> None:
        """Rewrite an array without its deleted rows, so that it is contiguous again."""
        self._target().compact(array_name)

    def reset(self) -> None:
        """Remove every array of the store; its own `attrs` stay."""
        self._target().reset()

    def sync(self) -> None:
        """Return when everything committed so far is on disk, whatever the durability."""
        self._engine().sync()

    def verify(self, deep: bool = False) -> Report:
        """Look through the store for damage; nothing is written, and writers may go on.

        Looked at are the metadata, the deletion bitmaps, the journal, the lengths of the data
        files and what lies in the directory for no reason; with `deep` also every row of which a
        checksum is known. What was written by another program, or in a session that was not
        closed, may have none: it is told of in `unchecked`. What is wrong is in the report and not
        raised.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.arange(4)})
        ...     report = npk.verify(deep=True)
        ...     report.ok, report.problems, report.unchecked, report.checked_bytes
        (True, [], [], 32)
        """
        found = self._engine().verify(bool(deep))
        return Report(
            ok=found.ok,
            problems=found.problems,
            unchecked=found.unchecked,
            leftovers=found.leftovers,
            checked_bytes=found.checked_bytes,
            _text=str(found),
        )

    # ------------------------------------------------------------------ reading
    @overload
    def load(
        self, array_name: str, lazy: Literal[False] | None = False, *, copy: bool | None = None
    ) -> np.ndarray: ...
    @overload
    def load(
        self, array_name: str, lazy: Literal[True], *, copy: bool | None = None
    ) -> LazyArray: ...
    @overload
    def load(
        self,
        array_name: list[str] | tuple[str, ...],
        lazy: bool | None = False,
        *,
        copy: bool | None = None,
    ) -> dict[str, Any]: ...
    def load(
        self,
        array_name: Any,
        lazy: bool | None = False,
        *,
        copy: bool | None = None,
    ) -> Any:
        """Read an array, or a list of names into a dict of arrays of one instant.

        The ndarray is the caller's own: writable, C-contiguous, never connected to the store.

        Parameters
        ----------
        array_name : str or list of str
            What to read. A missing name is a KeyError.
        lazy : bool
            Give a `LazyArray` instead, which reads only what is indexed.
        copy : bool or None
            None reads into memory, but maps an array beyond a quarter of the machine's memory
            copy-on-write, so that it need not fit. True always reads. False always maps, which
            takes microseconds, and is a ValueError where deleted rows make a copy necessary.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.arange(4), "b": np.zeros(2)})
        ...     a, b = npk.load(["a", "b"]).values()
        ...     a[0] = 9
        ...     a, npk.load("a", lazy=True)[0]
        (array([9, 1, 2, 3]), np.int64(0))
        """
        if lazy is not False and lazy is not None and lazy is not True:
            raise TypeError(f"lazy must be a bool, not {type(lazy).__name__}")
        target = self._target()
        if type(array_name) is str:
            if not lazy:
                return target.load(array_name, copy)
            if target is self._store:
                return LazyArray(target, array_name)
            return LazyArray(target.snapshot([array_name])[0])
        if isinstance(array_name, str):
            array_name = array_name.__str__()
            return self.load(array_name, True) if lazy else self.load(array_name, copy=copy)
        if not isinstance(array_name, (list, tuple)):
            raise TypeError(f"array_name must be a str, not {type(array_name).__name__}")
        if not lazy and isinstance(target, BatchStore):
            return {name: target.load(name, copy) for name in array_name}
        views = target.snapshot(list(array_name))
        if lazy:
            return {view.name: LazyArray(view) for view in views}
        return {view.name: view._load(copy) for view in views}

    def snapshot(self) -> dict[str, LazyArray]:
        """Every array of the store at one instant, as LazyArrays.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.arange(3), "b": np.zeros(2)})
        ...     then = npk.snapshot()
        ...     npk.replace({"a": [9]}, [0])
        ...     then["a"][0].item(), npk.load("a")[0].item()
        (0, 9)
        """
        return {view.name: LazyArray(view) for view in self._target().snapshot(None)}

    def view(self, name: str) -> np.ndarray:
        """An array as a read-only ndarray over the file's own pages, without a copy.

        It is a snapshot and stays valid for as long as it is held. Where deleted rows lie between
        the others a NotContiguousError (a ValueError) says how many, and `update(name)` helps.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.arange(3)})
        ...     npk.view("a").flags.writeable
        False
        """
        return self._target().view(name)

    def getitem(self, array_name: str, indexes: Any) -> np.ndarray:
        """Rows of an array as an ndarray of its own; axis 0 stays even for an int.

        `indexes` is read as in `replace`, and slices are clamped as Python's are.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.arange(6).reshape(3, 2)})
        ...     npk.getitem("a", 1)
        array([[2, 3]])
        """
        return self._target().getitem(array_name, indexes)

    def stream_load(self, array_name: str, buffer_size: int | None = None) -> StreamLoader:
        """Iterate over an array `buffer_size` rows at a time (one row when it is None)."""
        target = self._target()
        if buffer_size is None:
            buffer_size = 1
        elif isinstance(buffer_size, (bool, np.bool_)) or not isinstance(
            buffer_size, (int, np.integer)
        ):
            raise TypeError(f"buffer_size must be an int, not {type(buffer_size).__name__}")
        if buffer_size <= 0:
            raise ArgumentError("buffer_size must be greater than 0")
        if isinstance(target, BatchStore):
            return StreamLoader(target.load(array_name), int(buffer_size))
        return StreamLoader(self.load(array_name, lazy=True), int(buffer_size))

    # ------------------------------------------------------------------ describing
    def get_shape(self, array_name: str) -> tuple[int, ...]:
        """The shape of an array, deleted rows not counted. A missing name is a KeyError."""
        return self._target().info(array_name).shape

    def get_member_list(self) -> list[str]:
        """The names of all arrays, in the order in which they were first saved."""
        return self._target().names()

    def has_array(self, array_name: str) -> bool:
        """Whether the store has an array of that name."""
        try:
            return self._target().contains(array_name)
        except UnicodeEncodeError:
            return False  # as `in` does

    def get_modify_time(self, array_name: str) -> int | None:
        """Microseconds since 1970 at which an array last changed, None if it is missing."""
        try:
            return self._target().info(array_name).modified_us
        except ArrayNotFoundError:
            return None

    def get_metadata(self) -> dict[str, Any]:
        """Everything about all arrays, as a dict.

        `shape` and `size_bytes` are what the data file holds; `deleted` counts the rows of it that
        have been dropped.
        """
        infos = self._target().infos()
        return {
            "arrays": {
                info.name: {
                    "shape": list(info.physical_shape),
                    "data_file": info.data_file,
                    "last_modified": info.modified_us,
                    "size_bytes": info.size_bytes,
                    "dtype": info.dtype_name,
                    "deleted": info.deleted,
                }
                for info in infos
            },
            "base_dir": os.fspath(self._filename),
            "total_arrays": len(infos),
        }

    def get_io_stats(self) -> dict[str, Any]:
        """The backend; there are no counters."""
        self._engine()
        return {"backend_type": "rust", "stats_available": False}

    # ------------------------------------------------------------------ blocks
    def batch_mode(
        self, memory_limit: int | None = None, *, rollback: bool = False
    ) -> BatchModeContext:
        """A block whose calls work on cached arrays and are committed once, at its end.

        Inside, `load` gives the same ndarray at every call and edits in place need no `save`.
        Every call of this handle, from any thread, sees the cached arrays. An exception commits
        what was done before it, or discards it with `rollback=True`. A nested block joins the
        outer one. If another writer changed one of the arrays meanwhile, or made one of a name that
        was free when the block took it by `create`, `clone` or `rename`, leaving raises
        ConflictError and writes nothing.

        Parameters
        ----------
        memory_limit : int or None
            Megabytes of cached arrays to hold in memory; more go to a temporary file.
        rollback : bool
            Discard the block's changes when an exception leaves it.

        >>> with NumPack("s.npk") as npk:
        ...     npk.save({"a": np.zeros(3)})
        ...     with npk.batch_mode():
        ...         for _ in range(100):
        ...             a = npk.load("a")
        ...             a += 1
        ...     npk.load("a")
        array([100., 100., 100.])
        """
        if memory_limit is not None and not memory_limit >= 0:
            raise ArgumentError(f"memory_limit is {memory_limit!r}, expected megabytes from 0 on")
        self._engine()
        return BatchModeContext(self, memory_limit, rollback=rollback)

    def writable_batch_mode(self) -> WritableBatchMode:
        """A block that gives writable arrays without copying them; see `WritableBatchMode`."""
        self._engine()
        return WritableBatchMode(self)

    # ------------------------------------------------------------------ SQL
    def sql(self, query: str, /, *args: Any, **params: Any) -> Result:
        """Run a query over the arrays, which are the columns of the table `self`.

        The arrays of `self` must be equally long (ValueError otherwise); each array is also a table
        of its own, `name(value, row_id)`. The query sees the store at one instant, that of this
        call; its rows are computed when the `Result` is asked for them. A query that cannot be
        parsed or planned is an SQLError (a ValueError), here and not later.

        INSERT, UPDATE, DELETE, TRUNCATE, MERGE, CREATE TABLE AS and DROP TABLE have changed the
        store, each as one commit, when this returns; the one row of their result is the number of
        rows changed, `count`. Inside `batch_mode()` and with mode r they are a ReadOnlyError.

        Parameters
        ----------
        query : str
            One statement. docs/sql.md says what there is.
        *args, **params
            Values for `?` (or `$1`) and `$name`: None, bool, int, float, str, lists of these, NumPy
            scalars, and vectors, which are FixedSizeLists of their own dtype. A pyarrow, Polars or
            pandas table (anything with `__arrow_c_stream__`) in `params` is a table of its name.

        >>> with NumPack("q.npk", drop_if_exists=True) as npk:
        ...     npk.save({"id": np.arange(4), "score": np.array([1.0, 2.0, 3.0, 4.0])})
        ...     npk.sql("SELECT sum(id) AS total FROM self WHERE score > ?", 1.5).to_numpy()
        ...     npk.sql("UPDATE self SET score = 0 WHERE id IN (1, 3)").to_numpy()
        {'total': array([6])}
        {'count': array([2], dtype=uint64)}
        """
        if not isinstance(query, str):
            raise TypeError(f"query must be a str, not {type(query).__name__}")
        return Result(self._target().sql(query, None, args, params))
