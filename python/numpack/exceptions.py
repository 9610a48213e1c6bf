"""What NumPack raises.

The classes are cut by what a handler would do about them. Each also derives the builtin class that
NumPy users (and code written for 0.4.2) expect in its place, so `except KeyError` works as well as
`except ArrayNotFoundError`::

    NumPackError
     +-- ArrayNotFoundError      KeyError, RuntimeError, ValueError
     +-- ArrayExistsError        ValueError
     +-- ArgumentError           ValueError
     +-- ShapeError              ValueError
     +-- DTypeError              TypeError
     |    +-- UnsupportedDTypeError   ValueError
     +-- SelectionError          TypeError, ValueError
     +-- RowIndexError           IndexError, RuntimeError, ValueError
     +-- NotContiguousError      ValueError
     +-- ClosedError             RuntimeError
     +-- ReadOnlyError           PermissionError
     +-- BusyError               TimeoutError
     +-- ConflictError           RuntimeError
     +-- CorruptStoreError       ValueError
     +-- StoreNotFoundError      FileNotFoundError
     +-- StoreExistsError        FileExistsError
     +-- NotAStoreError          ValueError
     +-- StorageError            OSError, RuntimeError
     +-- SQLError                ValueError
"""

__all__ = [
    "ArgumentError",
    "ArrayExistsError",
    "ArrayNotFoundError",
    "BusyError",
    "ClosedError",
    "ConflictError",
    "CorruptStoreError",
    "DTypeError",
    "NotAStoreError",
    "NotContiguousError",
    "NumPackError",
    "ReadOnlyError",
    "RowIndexError",
    "SQLError",
    "SelectionError",
    "ShapeError",
    "StorageError",
    "StoreExistsError",
    "StoreNotFoundError",
    "UnsupportedDTypeError",
]


class NumPackError(Exception):
    """Base of every error that NumPack raises itself.

    `str(error)` is the plain sentence for every class of the tree, also for those that derive
    `KeyError` (whose own `str` would quote it).

    >>> from numpack.exceptions import ArrayNotFoundError
    >>> str(ArrayNotFoundError('array "x" not found'))
    'array "x" not found'
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ArrayNotFoundError(NumPackError, KeyError, RuntimeError, ValueError):
    """The store has no array of that name. 0.4.2 raised KeyError, RuntimeError or ValueError."""


class ArrayExistsError(NumPackError, ValueError):
    """An array of that name exists already and the call does not overwrite."""


class ArgumentError(NumPackError, ValueError):
    """An argument has a value that the call cannot use."""


class ShapeError(NumPackError, ValueError):
    """The shape or the number of rows of the values does not fit the array or the selection."""


class DTypeError(NumPackError, TypeError):
    """The values have another dtype than the array. Nothing is cast silently."""


class UnsupportedDTypeError(DTypeError, ValueError):
    """The dtype is not one of the fourteen that a store holds (no strings, dates or objects)."""


class SelectionError(NumPackError, TypeError, ValueError):
    """The rows are named by something that cannot name rows: a bare bool, floats, a 2-D array."""


class RowIndexError(NumPackError, IndexError, RuntimeError, ValueError):
    """A row index is out of range. Nothing has been changed."""


class NotContiguousError(NumPackError, ValueError):
    """A view without a copy is impossible because rows have been deleted; `update(name)` helps."""


class ClosedError(NumPackError, RuntimeError):
    """The handle is not open, or a strict handle is used outside its `with` block."""


class ReadOnlyError(NumPackError, PermissionError):
    """The store was opened with mode "r"."""


class BusyError(NumPackError, TimeoutError):
    """Another writer held the store for longer than `lock_timeout` seconds."""


class ConflictError(NumPackError, RuntimeError):
    """Another writer changed an array that a batch has read. Nothing of the batch was written."""


class CorruptStoreError(NumPackError, ValueError):
    """The files of the store contradict themselves. Nothing was written."""


class StoreNotFoundError(NumPackError, FileNotFoundError):
    """Modes "r" and "r+" need an existing store, and `connect` an existing directory."""


class StoreExistsError(NumPackError, FileExistsError):
    """Mode "x" needs a path without a store, or a regular file is where a store is to be made."""


class NotAStoreError(NumPackError, ValueError):
    """The directory holds files that are not a store's; NumPack does not delete them."""


class StorageError(NumPackError, OSError, RuntimeError):
    """The operating system refused to read or write; `errno` is set where it is known."""


class SQLError(NumPackError, ValueError):
    """The query cannot be parsed, planned or executed."""
