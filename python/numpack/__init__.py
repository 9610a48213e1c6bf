"""NumPy arrays kept in a directory, changed in microseconds, read in place by Arrow and SQL.

>>> with NumPack("train.npk", drop_if_exists=True) as npk:
...     npk.save({"id": np.arange(3), "emb": np.eye(3, dtype=np.float32)})
...     npk.replace({"emb": np.zeros((1, 3), dtype=np.float32)}, [1])
...     npk.sql("SELECT count(*) AS n FROM self").to_numpy()
{'n': array([3])}
"""

from numpack._internal import __version__
from numpack.arrow_hook import register_with_pyarrow
from numpack.attrs import Attributes
from numpack.batch import BatchModeContext
from numpack.compat import force_cleanup_windows_handles, get_backend_info
from numpack.connection import Connection, connect
from numpack.exceptions import (
    ArgumentError,
    ArrayExistsError,
    ArrayNotFoundError,
    BusyError,
    ClosedError,
    ConflictError,
    CorruptStoreError,
    DTypeError,
    NotAStoreError,
    NotContiguousError,
    NumPackError,
    ReadOnlyError,
    RowIndexError,
    SelectionError,
    ShapeError,
    SQLError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
    UnsupportedDTypeError,
)
from numpack.lazy import LazyArray
from numpack.report import Report
from numpack.result import Result
from numpack.store import NumPack
from numpack.stream import StreamLoader
from numpack.table import Table
from numpack.writable_array import WritableBatchMode

__all__ = [
    "ArgumentError",
    "ArrayExistsError",
    "ArrayNotFoundError",
    "Attributes",
    "BatchModeContext",
    "BusyError",
    "ClosedError",
    "ConflictError",
    "Connection",
    "CorruptStoreError",
    "DTypeError",
    "LazyArray",
    "NotAStoreError",
    "NotContiguousError",
    "NumPack",
    "NumPackError",
    "ReadOnlyError",
    "Report",
    "Result",
    "RowIndexError",
    "SQLError",
    "SelectionError",
    "ShapeError",
    "StorageError",
    "StoreExistsError",
    "StoreNotFoundError",
    "StreamLoader",
    "Table",
    "UnsupportedDTypeError",
    "WritableBatchMode",
    "__version__",
    "connect",
    "force_cleanup_windows_handles",
    "get_backend_info",
]

register_with_pyarrow()
