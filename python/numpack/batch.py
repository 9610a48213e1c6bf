"""`batch_mode`: many calls on cached arrays, one commit at the end.

While a block is open the handle talks to a `BatchStore` instead of the engine. It answers the
same calls (store.py does not know the difference) from arrays held in memory, and turns what has
become of them into one transaction when the last block closes.
"""

import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from numpack import _internal
from numpack.attr_values import PendingAttrs, dumps, need_room
from numpack.cached import CachedInfo, Entry
from numpack.exceptions import (
    ArgumentError,
    ArrayExistsError,
    ArrayNotFoundError,
    RowIndexError,
)
from numpack.scratch import on_disk, scratch

if TYPE_CHECKING:
    from numpack.store import NumPack

__all__ = ["BatchModeContext", "BatchStore"]

_MEGABYTE = 1_000_000


class BatchModeContext:
    """The block that `NumPack.batch_mode()` opens.

    Attributes
    ----------
    npk : NumPack
        The handle whose calls are cached.
    memory_limit : int or None
        Megabytes of cached arrays kept in memory; further ones go to a temporary file.
    """

    def __init__(self, npk: "NumPack", memory_limit: int | None, *, rollback: bool) -> None:
        self.npk = npk
        self.memory_limit = memory_limit
        self._rollback = rollback
        self._cache: BatchStore | None = None

    def __enter__(self) -> Self:
        self._cache = self.npk._enter_batch(self.memory_limit)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            self.npk._leave_batch(cache, discard=self._rollback and kind is not None)

    @property
    def _dirty_arrays(self) -> set[str]:
        """Names that were saved, created, appended to or changed by a call of this block."""
        return self._cache.dirty if self._cache is not None else set()


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: "BatchStore", *args: Any, **options: Any) -> Any:
        with self._lock:
            return method(self, *args, **options)

    return call


class BatchStore:
    """The arrays of a store as the open block has left them."""

    def __init__(self, store: Any, path: str, memory_limit: int | None) -> None:
        self.depth = 0
        self.dirty: set[str] = set()
        self._store = store
        self._path = path
        self._limit = None if memory_limit is None else int(memory_limit * _MEGABYTE)
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        # Snapshots of the store's arrays, by the name that the block knows them by.
        self._bases: dict[str, Any] = {}
        # Those snapshots again, for the check that nothing has changed meanwhile.
        self._read: list[Any] = []
        # Names in member order, and those of them that stand for an array of the store.
        self._order: list[str] = []
        self._resident: set[str] | None = None
        # Drops and renames of the store's arrays, in the order in which they happened.
        self._moves: list[tuple[str, Any, Any]] = []
        self._attrs = PendingAttrs()
        self._clock = 0

    # ------------------------------------------------------------------ names
    def _stored(self) -> set[str]:
        """Names that stand for an array of the store; looks at the store once."""
        if self._resident is None:
            self._order = self._store.names()
            self._resident = set(self._order)
        return self._resident

    @_locked
    def names(self) -> list[str]:
        """Names in member order: the store's, then those new in this block."""
        self._stored()
        return list(self._order)

    @_locked
    def contains(self, name: str) -> bool:
        """Whether the block sees an array of that name."""
        return name in self._entries or name in self._stored()

    def count(self) -> int:
        """Number of arrays."""
        return len(self.names())

    @_locked
    def info(self, name: str) -> Any:
        """Shape, dtype and file of one array."""
        self._need(name)
        entry = self._entries.get(name)
        known = self._store.info(self._origin(name)) if name in self._stored() else None
        if known is not None and self._untouched(name):
            return known
        array = entry.array if entry is not None else self._base(name)._ndarray()
        return CachedInfo(
            name,
            _internal.dtype_name(array.dtype),
            array.shape,
            list(array.shape),
            _internal.data_file(name),
            known.modified_us if known is not None else time.time_ns() // 1000,
            array.nbytes,
            0,
        )

    def infos(self) -> list[Any]:
        """`info` of every array."""
        return [self.info(name) for name in self.names()]

    def _need(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"an array name is a str, not {type(name).__name__}")
        if not self.contains(name):
            raise ArrayNotFoundError(f"array {name!r} not found")

    # ------------------------------------------------------------------ reading
    def _base(self, name: str) -> Any:
        base = self._bases.get(name)
        if base is None:
            base = self._bases[name] = self._store.snapshot([name])[0]
            self._read.append(base)
        return base

    def _origin(self, name: str) -> str:
        """The name under which the store has an array that the block may have renamed."""
        base = self._bases.get(name)
        return name if base is None else base.name

    def _untouched(self, name: str) -> bool:
        """Whether the store's own snapshot shows the array as the block sees it."""
        return (
            name not in self._entries
            and self._origin(name) == name
            and not self._attrs.touches(name)
        )

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            self._need(name)
            base = self._base(name)
            if self._limit is not None:
                self._spill(base._nbytes)
            if self._limit is not None and self._in_memory() + base._nbytes > self._limit:
                entry = Entry(on_disk(self._path, base._ndarray(), base.shape, base.dtype), base)
                entry.spilled = True
            else:
                entry = Entry(base._load(), base)
            self._entries[name] = entry
        self._clock += 1
        entry.used = self._clock
        if self._limit is not None:
            self._spill(0, entry)
        return entry

    @_locked
    def load(self, name: str, copy: bool | None = None) -> np.ndarray:
        """The cached array itself: the same object at every call."""
        return self._entry(name).array

    @_locked
    def view(self, name: str) -> np.ndarray:
        """A read-only array that later calls of the block do not change."""
        self._need(name)
        if name not in self._entries:
            return self._base(name)._view()
        frozen = self._entries[name].array.copy()
        frozen.flags.writeable = False
        return frozen

    @_locked
    def getitem(self, name: str, indexes: Any) -> np.ndarray:
        """Rows of a cached array, axis 0 kept."""
        array = self._entry(name).array
        return array[self._rows(name, array, indexes, "getitem")]

    @_locked
    def snapshot(self, names: list[str] | None) -> list[Any]:
        """Snapshots of the arrays as they are now."""
        wanted = self.names() if names is None else names
        for name in wanted:
            self._need(name)
        changed = [name for name in dict.fromkeys(wanted) if not self._untouched(name)]
        frozen: dict[str, Any] = {}
        if changed:
            frozen = scratch(
                {name: self._now(name) for name in changed},
                lambda store: dict(zip(changed, store.snapshot(changed), strict=True)),
                {name: self.attrs(name) for name in changed},
            )
        return [frozen[name] if name in frozen else self._base(name) for name in wanted]

    @_locked
    def to_arrow(self, name: str, zero_copy_only: bool, bool8: bool) -> Any:
        """The array as it is now, as a pyarrow.Array."""
        self._need(name)
        if self._untouched(name):
            return self._base(name)._to_arrow(zero_copy_only, bool8)
        return scratch(
            {name: self._now(name)},
            lambda store: store.to_arrow(name, zero_copy_only, bool8),
        )

    @_locked
    def sql(
        self, query: str, names: list[str] | None, args: tuple[Any, ...], params: dict[str, Any]
    ) -> Any:
        """Run a query over the arrays as they are now; a statement that changes them is refused."""
        if not self._entries and not self._moves:
            return self._store.sql(query, names, args, params, read_only=True)

        def run(store: Any) -> Any:
            return store.sql(query, names, args, params, read_only=True).kept()

        return scratch({name: self._now(name) for name in self.names()}, run)

    @_locked
    def attrs(self, name: str | None) -> str:
        """Attributes as the block has left them, as JSON."""
        return dumps(self._attrs.over(name, self._stored_attrs(name)))

    def _stored_attrs(self, name: str | None) -> str:
        if name is None:
            return self._store.attrs(None)
        self._need(name)
        return self._store.attrs(self._origin(name)) if name in self._stored() else "{}"

    def _now(self, name: str) -> np.ndarray:
        """The array as the block sees it, not to be written to."""
        entry = self._entries.get(name)
        return entry.array if entry is not None else self._base(name)._ndarray()

    # ------------------------------------------------------------------ writing
    @_locked
    def save(self, arrays: Mapping[str, Any]) -> None:
        """Keep references to arrays; they are written when the block ends."""
        checked = {name: _internal.checked_array(name, value) for name, value in arrays.items()}
        for name, array in checked.items():
            self._put(name, array)

    def _put(self, name: str, array: np.ndarray, absent: bool = False) -> None:
        if not self.contains(name):
            self._order.append(name)
        entry = self._entries.get(name)
        if entry is None or entry.array is not array:
            absent = absent or (entry is not None and entry.absent)
            entry = self._entries[name] = Entry(array, absent=absent)
        self.dirty.add(name)
        self._clock += 1
        entry.used = self._clock
        if self._limit is not None:
            self._spill(0, entry)

    @_locked
    def create(self, name: str, shape: Any, dtype: Any, fill: Any) -> None:
        """A new array full of `fill`."""
        if self.contains(name):
            raise ArrayExistsError(f"array {name!r} already exists")
        if np.ndim(fill):
            raise ArgumentError(f"array {name!r}: fill must be one {dtype}")
        value = _internal.checked_values(name, fill, dtype, (), None, False)
        zeros = not any(value.tobytes())
        array = np.zeros(shape, dtype) if zeros else np.full(shape, value, dtype)
        self._put(name, _internal.checked_array(name, array), absent=True)

    @_locked
    def edit_attrs(self, name: str | None, change: Callable[[dict[str, Any]], Any]) -> Any:
        """Let `change` edit the attributes, and remember which keys it changed."""
        before = json.loads(self.attrs(name))
        after = dict(before)
        given = change(after)
        need_room(name, dumps(after))
        self._attrs.note(name, before, after)
        return given

    @_locked
    def append(self, arrays: Mapping[str, Any]) -> None:
        """Add rows to cached arrays."""
        joined = {}
        for name, value in arrays.items():
            array = self._entry(name).array
            rows = _internal.checked_rows(name, value, array.dtype, array.shape)
            joined[name] = np.concatenate([array, rows])
        for name, array in joined.items():
            self._put(name, array)

    @_locked
    def replace(self, arrays: Mapping[str, Any], indexes: Any) -> None:
        """Overwrite rows of cached arrays in place."""
        changes = []
        for name, value in arrays.items():
            array = self._entry(name).array
            rows = self._rows(name, array, indexes, "replace")
            single = not isinstance(indexes, (list, tuple, range, slice)) and not np.ndim(indexes)
            values = _internal.checked_values(
                name, value, array.dtype, array.shape, len(rows), single
            )
            changes.append((name, rows, values))
        for name, rows, values in changes:
            entry = self._entries[name]
            others = [other.array for key, other in self._entries.items() if key != name]
            shared = any(np.may_share_memory(other, entry.array) for other in others)
            # One that is not contiguous may have rows that lie in each other.
            own = entry.array.flags.contiguous or entry.array.flags.f_contiguous
            if shared or not own or not entry.array.flags.writeable:
                entry.array = entry.array.copy()
            entry.array[rows] = values
            self.dirty.add(name)

    @_locked
    def drop(self, names: list[str], indexes: Any) -> None:
        """Forget arrays, or rows of them."""
        if indexes is None:
            for name in names:
                if self.contains(name):
                    self._forget(name)
            return
        kept = {}
        for name in names:
            if not self.contains(name):
                continue
            array = self._entry(name).array
            rows = self._rows(name, array, indexes, "drop")
            if len(rows):
                kept[name] = np.delete(array, rows, axis=0)
        for name, array in kept.items():
            if len(array):
                self._put(name, array)
            else:
                self._forget(name)

    def _forget(self, name: str) -> None:
        self._order.remove(name)
        self._entries.pop(name, None)
        self._bases.pop(name, None)
        self._attrs.forget(name)
        self.dirty.discard(name)
        if name in self._stored():
            self._stored().discard(name)
            self._moves.append(("drop", name, None))

    @_locked
    def rename(self, old: str, new: str) -> None:
        """Give an array another name; it keeps its place."""
        self._need_free(old, new)
        if old in self._stored():
            self._base(old)
            self._bases[new] = self._bases.pop(old)
            self._stored().discard(old)
            self._stored().add(new)
            self._moves.append(("rename", old, new))
        else:
            self._entries[old].absent = True
        if old in self._entries:
            self._entries[new] = self._entries.pop(old)
            self.dirty.discard(old)
            self.dirty.add(new)
        self._attrs.move(old, new)
        self._order[self._order.index(old)] = new

    @_locked
    def clone(self, source: str, target: str) -> None:
        """Copy an array under another name."""
        self._need_free(source, target)
        attrs = json.loads(self.attrs(source))
        self._put(target, self._now(source).copy(), absent=True)
        self._attrs.note(target, {}, attrs)

    def _need_free(self, source: str, target: str) -> None:
        self._need(source)
        _internal.data_file(target)  # refuses what cannot be a name
        if self.contains(target):
            raise ArrayExistsError(f"array {target!r} already exists")

    @_locked
    def compact(self, name: str) -> None:
        """Nothing to do before the block ends: cached arrays have no deleted rows."""
        entry = self._entry(name)
        if entry.base is not None and not entry.base._direct:
            entry.base = None  # written whole, which compacts it

    @_locked
    def reset(self) -> None:
        """Forget every array."""
        for name in self.names():
            self._forget(name)

    @staticmethod
    def _rows(name: str, array: np.ndarray, indexes: Any, verb: str) -> np.ndarray:
        if array.ndim == 0:
            raise RowIndexError(f"array {name!r} is 0-dimensional: it has no rows to {verb}")
        return _internal.resolve_rows(name, indexes, len(array))

    # ------------------------------------------------------------------ memory
    def _in_memory(self) -> int:
        return sum(entry.array.nbytes for entry in self._entries.values() if not entry.spilled)

    def _spill(self, coming: int, wanted: Entry | None = None) -> None:
        """Move arrays to disk, the least recently used first, until the limit holds.

        An array that somebody else still refers to stays: moving it would free nothing, and edits
        through that reference would be lost. Who refers to the owner of a view is not known.
        """
        for entry in sorted(self._entries.values(), key=lambda entry: entry.used):
            if self._in_memory() + coming <= (self._limit or 0):
                return
            # The entry's own reference and getrefcount's argument.
            idle = entry is not wanted and sys.getrefcount(entry.array) <= 2
            owner = not isinstance(entry.array.base, np.ndarray)
            if idle and owner and not entry.spilled and entry.array.nbytes:
                entry.array = on_disk(self._path, entry.array, entry.array.shape, entry.array.dtype)
                entry.spilled = True

    # ------------------------------------------------------------------ the end
    @_locked
    def commit(self) -> None:
        """Write everything as one transaction, or raise ConflictError and write nothing."""
        steps = list(self._moves)
        moved = {new for kind, _, new in steps if kind == "rename"}
        for name in self._order:
            entry = self._entries.get(name)
            if entry is None:
                continue
            base, array = entry.base, entry.array
            if entry.absent:
                steps.append(("absent", name, None))
            if (
                base is not None
                and base.name == name
                and name not in moved
                and base.shape == array.shape
                and base.dtype == array.dtype
            ):
                steps.append(("update", base, array))
            else:
                steps.append(("put", name, array))
        read, attrs = self._read, self._attrs
        origins = {
            name: self._origin(name)
            for name in attrs.names()
            if name is not None and name in self._stored()
        }
        self._entries, self._bases, self._read, self._moves = {}, {}, [], []
        self._order, self._resident = [], None
        self._attrs = PendingAttrs()
        self.dirty = set()
        if attrs:
            lock = self._store.lock()
            try:
                steps += attrs.steps(self._store, origins)
                self._store.commit_batch(read, steps)
            finally:
                lock.release()
        elif steps:
            self._store.commit_batch(read, steps)
