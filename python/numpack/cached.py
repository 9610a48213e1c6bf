"""What an open block keeps of each array."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class CachedInfo(NamedTuple):
    """What `Store.info` tells, for an array of the block."""

    name: str
    dtype_name: str
    shape: tuple[int, ...]
    physical_shape: list[int]
    data_file: str
    modified_us: int
    size_bytes: int
    deleted: int


class Entry:
    """A cached array. `base` is the snapshot it was loaded from, None once it was replaced.

    `absent` says that the store must have no array of this name when the block ends.
    """

    __slots__ = ("absent", "array", "base", "spilled", "used")

    def __init__(self, array: np.ndarray, base: Any = None, *, absent: bool = False) -> None:
        self.array = array
        self.base = base
        self.absent = absent
        self.spilled = False
        self.used = 0
