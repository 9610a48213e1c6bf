"""`Handle`: opening, closing and pickling a store, and what answers its calls."""

import gc
import os
import platform
import threading
import warnings
from pathlib import Path
from typing import Any, Literal, Self

from numpack import _internal
from numpack.batch import BatchStore
from numpack.exceptions import ArgumentError, ClosedError

__all__ = ["Handle"]

_MODES = ("a", "r", "r+", "w", "x")
_DURABILITIES = ("none", "commit", "full")
# What opens the store again once "w" or "x" has done its work.
_ONCE = {"w": "a", "x": "a"}


class Handle:
    """The life of a `NumPack`; its calls are in store.py."""

    def __init__(
        self,
        filename: str | os.PathLike[str],
        drop_if_exists: bool = False,
        strict_context_mode: bool = False,
        warn_no_context: bool | None = None,
        force_gc_on_close: bool = False,
        *,
        mode: Literal["a", "r", "r+", "w", "x"] = "a",
        durability: Literal["commit", "none", "full"] = "commit",
        lock_timeout: float = 30.0,
        network_fs: bool = False,
    ) -> None:
        # First, so that __del__ finds them whatever fails below.
        self._store: Any = None
        self._batch: BatchStore | None = None
        self._within = 0
        self._lock = threading.RLock()
        self._filename = Path(filename)
        if mode not in _MODES:
            raise ArgumentError(f"mode is {mode!r}, expected one of {', '.join(_MODES)}")
        if durability not in _DURABILITIES:
            raise ArgumentError(
                f"durability is {durability!r}, expected one of {', '.join(_DURABILITIES)}"
            )
        if drop_if_exists and mode not in ("a", "w"):
            raise ArgumentError(f"drop_if_exists does not go with mode {mode!r}")
        if not 0 <= lock_timeout < 1e9:
            raise ArgumentError(f"lock_timeout is {lock_timeout!r}, expected seconds from 0 on")
        self._mode: str = "w" if drop_if_exists else mode
        self._durability = durability
        self._lock_timeout = float(lock_timeout)
        self._network_fs = bool(network_fs)
        self._strict = bool(strict_context_mode)
        self._force_gc = bool(force_gc_on_close)
        if warn_no_context is None:
            warn_no_context = platform.system() == "Windows"
        if warn_no_context and not strict_context_mode:
            warnings.warn(
                f"NumPack instance created for '{filename}' is not using strict context mode. "
                "For best reliability on Windows, please use 'with NumPack(...) as npk:' pattern "
                "or set strict_context_mode=True. This warning can be suppressed by setting "
                "warn_no_context=False.",
                UserWarning,
                stacklevel=2,
            )

    def open(self) -> None:
        """Open the store; nothing happens when it is open.

        Raises CorruptStoreError when the metadata cannot be read, StoreNotFoundError and
        StoreExistsError as the mode asks, and NotAStoreError when "w" or `drop_if_exists` would
        delete files that are not a store's.
        """
        with self._lock:
            if self._store is None:
                self._store = _internal.Store(
                    os.fspath(self._filename),
                    self._mode,
                    self._durability,
                    self._lock_timeout,
                    self._network_fs,
                )
                # A handle that is opened again never deletes again.
                self._mode = _ONCE.get(self._mode, self._mode)

    def close(self, force_gc: bool | None = None) -> None:
        """Close the handle; nothing happens when it is closed.

        A batch that is still open is committed first. Arrays and views taken from the store stay
        valid. A store whose directory is gone closes without an error.
        """
        with self._lock:
            store, self._store = self._store, None
            batch, self._batch = self._batch, None
        if store is not None:
            try:
                if batch is not None:
                    batch.commit()
            finally:
                store.close()
        if self._force_gc if force_gc is None else (force_gc or self._force_gc):
            gc.collect()

    def __enter__(self) -> Self:
        self.open()
        self._within += 1
        return self

    def __exit__(self, *_exception: object) -> Literal[False]:
        self._within = max(0, self._within - 1)
        if not self._within:
            self.close()
        return False

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: S110 - a destructor has nobody to tell
            pass

    @property
    def path(self) -> str:
        """The store's directory."""
        return os.fspath(self._filename)

    @property
    def is_opened(self) -> bool:
        """Whether the handle is open."""
        return self._store is not None

    @property
    def is_closed(self) -> bool:
        """Whether the handle is closed (or was never opened)."""
        return self._store is None

    @property
    def backend_type(self) -> str:
        """Always 'rust'."""
        return "rust"

    def __repr__(self) -> str:
        if self._store is None:
            return f"NumPack({self._filename}, status=closed, backend=rust)"
        return f"NumPack({self._filename}, arrays={self._store.count()}, backend=rust)"

    def __bool__(self) -> bool:
        return True

    def _engine(self) -> Any:
        store = self._store
        if store is None:
            raise ClosedError(
                f"NumPack instance '{self._filename}' is not opened or has been closed. "
                "Please call open() method first, or use 'with' statement for automatic "
                "management."
            )
        if self._strict and not self._within:
            raise ClosedError(
                f"NumPack instance '{self._filename}' is in strict context mode. "
                "All operations must be executed within a 'with' statement:\n"
                "  with NumPack(...) as npk:\n      npk.save(...)\n      npk.load(...)"
            )
        return store

    def _target(self) -> Any:
        """What answers calls: the engine's store, or the cache of an open batch block."""
        store = self._store
        if store is None or self._strict:
            store = self._engine()  # raises, or not; a call less for everybody else
        return store if self._batch is None else self._batch

    def _enter_batch(self, memory_limit: int | None) -> BatchStore:
        store = self._engine()
        with self._lock:
            if self._batch is None:
                self._batch = BatchStore(store, self.path, memory_limit)
            self._batch.depth += 1
            return self._batch

    def _leave_batch(self, batch: BatchStore, *, discard: bool) -> None:
        with self._lock:
            batch.depth -= 1
            if batch.depth or self._batch is not batch:
                return
            self._batch = None
        if not discard:
            batch.commit()

    # ------------------------------------------------------------------ pickling
    def __getstate__(self) -> dict[str, Any]:
        return {
            "filename": os.path.abspath(self._filename),
            "strict_context_mode": self._strict,
            "force_gc_on_close": self._force_gc,
            "mode": _ONCE.get(self._mode, self._mode),
            "durability": self._durability,
            "lock_timeout": self._lock_timeout,
            "network_fs": self._network_fs,
            "opened": self._store is not None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        options = dict(state)
        opened = options.pop("opened")
        self.__init__(warn_no_context=False, **options)  # type: ignore[misc]
        if opened:
            self.open()
