"""What `NumPack` has in common with a dict of arrays."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from numpack.batch import BatchStore
from numpack.exceptions import ArrayNotFoundError

__all__ = ["MappingManners"]


class _Store(Protocol):
    """What the manners need of the class that they are mixed into."""

    def _target(self) -> Any: ...
    def load(self, array_name: str) -> np.ndarray: ...
    def save(self, arrays: Mapping[str, Any]) -> None: ...
    def replace(self, arrays: Mapping[str, Any], indexes: Any) -> None: ...
    def items(self) -> Iterator[tuple[str, np.ndarray]]: ...


class MappingManners:
    """`npk["a"]`, `in`, `len`, iteration, keys, values and items.

    Not a `collections.abc.Mapping` on purpose: libraries that are handed a store would take it for
    a dict and read everything.
    """

    def __getitem__(self: _Store, key: str) -> np.ndarray:
        return self.load(key)

    def __setitem__(self: _Store, key: str | tuple[str, Any], value: Any) -> None:
        if isinstance(key, tuple):
            if len(key) != 2 or not isinstance(key[0], str):
                raise TypeError("the key is a name, or a name and rows: npk['a', rows] = values")
            self.replace({key[0]: value}, key[1])
        else:
            self.save({key: value})

    def __delitem__(self: _Store, key: str) -> None:
        target = self._target()
        if not target.contains(key):
            raise ArrayNotFoundError(f"array {key!r} not found")
        target.drop([key], None)

    def __contains__(self: _Store, key: object) -> bool:
        try:
            return isinstance(key, str) and self._target().contains(key)
        except UnicodeEncodeError:
            return False  # no array can have a name with half of a surrogate pair

    def __len__(self: _Store) -> int:
        return self._target().count()

    def __iter__(self: _Store) -> Iterator[str]:
        return iter(self._target().names())

    def keys(self: _Store) -> list[str]:
        """The names, as `get_member_list` gives them."""
        return self._target().names()

    def values(self: _Store) -> Iterator[np.ndarray]:
        """The arrays of one instant, each read when the iterator reaches it."""
        return (array for _, array in self.items())

    def items(self: _Store) -> Iterator[tuple[str, np.ndarray]]:
        """Names and arrays of one instant, each read when the iterator reaches it."""
        target = self._target()
        if isinstance(target, BatchStore):
            return ((name, target.load(name)) for name in target.names())
        return ((view.name, view._load(None)) for view in target.snapshot(None))
