"""Names of NumPack 0.4.2 that live on as thin wrappers over today's calls."""

import gc
import platform
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["LegacyLazyMethods", "force_cleanup_windows_handles", "get_backend_info"]

# Below and above these shares of selected rows 0.4.2 named another algorithm.
_SPARSE = 0.1
_DENSE = 0.9


def get_backend_info() -> dict[str, Any]:
    """Say what serves the stores: always the Rust engine.

    >>> from numpack import get_backend_info
    >>> get_backend_info()["backend_type"]
    'rust'
    """
    system = platform.system()
    return {
        "backend_type": "rust",
        "platform": system,
        "is_windows": system == "Windows",
        "version": "1.0.0",
    }


def force_cleanup_windows_handles() -> bool:
    """Run the garbage collector and return True. Nothing in NumPack needs it any more."""
    gc.collect()
    return True


class _Lazy(Protocol):
    """What the helper methods need of the class that they are mixed into."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def _physical_rows(self) -> int: ...
    def __getitem__(self, key: Any) -> Any: ...


class LegacyLazyMethods:
    """The eight helper methods that `LazyArray` had in 0.4.2, each one line of NumPy indexing."""

    __slots__ = ()

    def vectorized_gather(self: _Lazy, indices: Sequence[int]) -> np.ndarray:
        """The rows `indices`: `lazy[indices]`."""
        return self[np.asarray(indices, dtype=np.int64)]

    def parallel_boolean_index(self: _Lazy, mask: Any) -> np.ndarray:
        """The rows where `mask` is true: `lazy[mask]`."""
        return self[np.asarray(mask, dtype=bool)]

    def boolean_index_production(self: _Lazy, mask: Any) -> np.ndarray:
        """The rows where `mask` is true: `lazy[mask]`."""
        return self[np.asarray(mask, dtype=bool)]

    def boolean_index_adaptive_algorithm(self: _Lazy, mask: Any) -> np.ndarray:
        """The rows where `mask` is true: `lazy[mask]`."""
        return self[np.asarray(mask, dtype=bool)]

    def mega_batch_get_rows(
        self: _Lazy, indices: Sequence[int], batch_size: int
    ) -> list[np.ndarray]:
        """The rows `indices`, one array (without axis 0) for each.

        A negative index is an OverflowError and a batch size below one a ValueError.
        """
        rows = np.asarray(indices, dtype=np.int64)
        if rows.size and rows.min() < 0:
            raise OverflowError(f"row {rows.min()} is negative: mega_batch_get_rows counts from 0")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        return [
            np.asarray(row)
            for start in range(0, len(rows), batch_size)
            for row in self[rows[start : start + batch_size]]
        ]

    def intelligent_warmup(self, hint: str) -> None:
        """Do nothing: pages are read when they are touched."""

    def get_performance_stats(self: _Lazy) -> list[tuple[str, float]]:
        """Size in MiB, rows visible, and rows in the file (deleted ones included)."""
        return [
            ("array_size_mb", self.nbytes / 2**20),
            ("logical_rows", float(self.shape[0] if self.shape else 1)),
            ("physical_rows", float(self._physical_rows)),
        ]

    def choose_optimal_algorithm(self, mask: Any) -> str:
        """'sparse', 'dense' or 'adaptive', by the share of true entries in `mask`."""
        chosen = np.asarray(mask, dtype=bool)
        share = chosen.mean() if chosen.size else 0.0
        if share < _SPARSE:
            return "sparse"
        return "dense" if share > _DENSE else "adaptive"
