"""Attributes: what a store and its arrays carry along in words, as dicts of JSON values."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from numpack.attr_values import checked
from numpack.handle import Handle

__all__ = ["Attributes", "Described"]

_NOTHING: Any = object()


class Attributes(MutableMapping[str, Any]):
    """The attributes of a store or of one array: a dict of JSON values that lives in the store.

    `npk.attrs` and `npk.array_attrs(name)` make one. Reading shows what is stored now, also what
    another process has just written; each change is one commit, `update` and `clear` included.
    Keys are str; values are None, bool, int, float, str, and lists and dicts of these. A list or
    dict that is read is a copy: change it, then assign it again.

    Attributes of an array stay when it is saved over, changed or renamed, are copied with it, and
    go when it is dropped. They take up to 1 MiB of JSON an array, and as much for the store.
    NumPack 0.4 ignores them, and loses them when it writes to the store.

    >>> with NumPack("attrs.npk") as npk:
    ...     npk.save({"emb": np.zeros((3, 2))})
    ...     npk.attrs["model"] = "resnet"
    ...     npk.array_attrs("emb").update(unit="m", scale=[1, 0.5])
    ...     npk.attrs, npk.array_attrs("emb")["scale"]
    (Attributes({'model': 'resnet'}), [1, 0.5])
    """

    def __init__(self, npk: Handle, name: str | None) -> None:
        self._npk = npk
        self._name = name

    def _read(self) -> dict[str, Any]:
        return json.loads(self._npk._target().attrs(self._name))

    def _edit(self, change: Callable[[dict[str, Any]], Any]) -> Any:
        return self._npk._target().edit_attrs(self._name, change)

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        self._edit(lambda attrs: attrs.__delitem__(key))

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"Attributes({self._read()!r})"

    def asdict(self) -> dict[str, Any]:
        """All attributes of one instant, as a dict of its own."""
        return self._read()

    def update(  # type: ignore[override]
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any
    ) -> None:
        """Set several attributes in one commit."""
        values = {key: checked(key, value) for key, value in dict(other, **more).items()}
        self._edit(lambda attrs: attrs.update(values))

    def clear(self) -> None:
        """Remove all attributes in one commit."""
        self._edit(lambda attrs: attrs.clear())

    def pop(self, key: str, default: Any = _NOTHING) -> Any:
        """Remove an attribute and return its value, or `default` when it is missing."""
        if default is _NOTHING:
            return self._edit(lambda attrs: attrs.pop(key))
        return self._edit(lambda attrs: attrs.pop(key, default))

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the attribute that was added last."""
        return self._edit(lambda attrs: attrs.popitem())

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of an attribute, set to `default` first when it is missing."""
        value = checked(key, default)
        return self._edit(lambda attrs: attrs.setdefault(key, value))


class Described(Handle):
    """The attributes of a `NumPack` and of its arrays."""

    @property
    def attrs(self) -> Attributes:
        """The attributes of the store: a dict of JSON values, live and transactional.

        >>> with NumPack("described.npk") as npk:
        ...     npk.attrs["model"] = "resnet"
        ...     dict(npk.attrs)
        {'model': 'resnet'}
        """
        self._engine()
        return Attributes(self, None)

    @attrs.setter
    def attrs(self, values: Mapping[str, Any]) -> None:
        new = {key: checked(key, value) for key, value in dict(values).items()}

        def replace(attrs: dict[str, Any]) -> None:
            attrs.clear()
            attrs.update(new)

        self._target().edit_attrs(None, replace)

    def array_attrs(self, name: str) -> Attributes:
        """The attributes of one array, as `attrs` has those of the store; KeyError if missing.

        >>> with NumPack("described.npk") as npk:
        ...     npk.save({"depth": np.zeros(3)})
        ...     npk.array_attrs("depth")["unit"] = "m"
        ...     npk.rename("depth", "height")
        ...     npk.array_attrs("height")
        Attributes({'unit': 'm'})
        """
        if not isinstance(name, str):
            raise TypeError(f"an array name is a str, not {type(name).__name__}")
        self._target().attrs(name)
        return Attributes(self, name)
