"""What an attribute may be, as JSON; and the attributes that an open batch block has changed."""

import json
import math
from collections.abc import Mapping
from typing import Any

from numpack.exceptions import ArgumentError, ConflictError

__all__ = ["PendingAttrs", "checked", "dumps", "need_room"]

_NOTHING: Any = object()
# The engine's own limit.
_MOST = 1 << 20


def dumps(attrs: Mapping[str, Any]) -> str:
    """The text of checked attributes."""
    return json.dumps(attrs, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def checked(key: Any, value: Any) -> Any:
    """A copy of `value` in the types that JSON gives back; a TypeError that names key and type."""
    if not isinstance(key, str):
        raise TypeError(f"the key of an attribute is a str, not {type(key).__name__}")
    _need_text(key, key)
    return _copy(key, value)


def _copy(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _need_text(key, str(value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"attribute {key!r} holds {value}, which JSON does not have")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_copy(key, item) for item in value]
    if isinstance(value, dict):
        for inner in value:
            if not isinstance(inner, str):
                raise TypeError(
                    f"attribute {key!r} holds a dict with a key of type {type(inner).__name__}, "
                    "expected str"
                )
            _need_text(key, inner)
        return {str(inner): _copy(key, item) for inner, item in value.items()}
    raise TypeError(
        f"attribute {key!r} holds a {type(value).__name__}, "
        "expected None, bool, int, float, str, list or dict"
    )


def _need_text(key: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TypeError(f"attribute {key!r} holds a str with a lone surrogate") from None
    return text


def need_room(name: str | None, text: str) -> None:
    """Refuse attributes that are too long, as the engine does when a block is written."""
    count = len(text.encode())
    if count > _MOST:
        owner = "the store" if name is None else f'array "{name}"'
        raise ArgumentError(
            f"attributes of {owner}: {count} bytes of JSON, at most {_MOST} are possible"
        )


class PendingAttrs:
    """The attributes that an open batch block has changed, key by key."""

    def __init__(self) -> None:
        self._changes: dict[str | None, dict[str, Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._changes)

    def names(self) -> list[str | None]:
        """What has changed: names of arrays, and None for the store."""
        return list(self._changes)

    def touches(self, name: str) -> bool:
        """Whether the attributes of an array have changed."""
        return name in self._changes

    def over(self, name: str | None, text: str) -> dict[str, Any]:
        """The attributes that are stored as `text`, with the changes."""
        attrs = json.loads(text)
        for key, value in self._changes.get(name, {}).items():
            if value is _NOTHING:
                attrs.pop(key, None)
            else:
                attrs[key] = value
        return attrs

    def note(self, name: str | None, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Remember what has become of the attributes `before`."""
        changes = {key: _NOTHING for key in before if key not in after}
        for key, value in after.items():
            # By their text: 1, 1.0 and True are equal and not the same.
            if key not in before or json.dumps(before[key]) != json.dumps(value):
                changes[key] = value
        if changes:
            self._changes.setdefault(name, {}).update(changes)

    def forget(self, name: str) -> None:
        """The array is gone."""
        self._changes.pop(name, None)

    def move(self, old: str, new: str) -> None:
        """The array has another name."""
        if old in self._changes:
            self._changes[new] = self._changes.pop(old)

    def steps(self, store: Any, origins: Mapping[str, str]) -> list[tuple[str, Any, Any]]:
        """What to commit while the store is locked: other keys may have changed, and stay.

        `origins` has the names that the store has for arrays of the block.
        """
        steps = []
        for name in self._changes:
            text = "{}"
            if name is None:
                text = store.attrs(None)
            elif name in origins:
                if not store.contains(origins[name]):
                    raise ConflictError(
                        f"array {origins[name]!r} was dropped by another writer since its "
                        "attributes were read; nothing was written"
                    )
                text = store.attrs(origins[name])
            steps.append(("attrs", name, dumps(self.over(name, text))))
        return steps
