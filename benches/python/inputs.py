"""The arrays and row numbers that every peer is given, and the models their results must equal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from workloads import COLUMNS, ROWS, TOUCHED

#: Name of the array in stores that name their arrays.
NAME = "array"
#: Random index arrays that are cycled through, so that the touched rows do not stay in cache.
INDEX_SETS = 16


class Inputs:
    """The same inputs in every process: made from one seed, the data shared as a file."""

    def __init__(self, data_file: Path, rows: int = ROWS) -> None:
        self.data_file = data_file
        if data_file.exists():
            self.data = np.load(data_file)
        else:
            self.data = np.random.default_rng(1).random((rows, COLUMNS), dtype=np.float32)
            np.save(data_file, self.data)
        self.other = self.data + np.float32(1.0)

    @property
    def rows(self) -> int:
        """Rows of the array."""
        return len(self.data)

    def contiguous(self) -> np.ndarray:
        """Row numbers of the contiguous replace."""
        start = self.rows // 2
        return np.arange(start, start + TOUCHED, dtype=np.int64)

    def scattered(self) -> np.ndarray:
        """Row numbers of the scattered replace: distinct, ascending, all over the array."""
        rng = np.random.default_rng(2)
        return np.sort(rng.choice(self.rows, TOUCHED, replace=False)).astype(np.int64)

    def random_sets(self, count: int) -> list[np.ndarray]:
        """Unsorted row numbers over the whole array, duplicates possible, for random reads."""
        rng = np.random.default_rng(3)
        return [rng.integers(0, self.rows, count) for _ in range(INDEX_SETS)]

    def values(self) -> list[np.ndarray]:
        """Two sets of new rows; replace and append alternate between them."""
        rng = np.random.default_rng(4)
        return [rng.random((TOUCHED, COLUMNS), dtype=np.float32) for _ in range(2)]


class SameRows:
    """A replace of the same rows again and again, alternating between two sets of values."""

    def __init__(self, inputs: Inputs, index: np.ndarray) -> None:
        self.index = index
        self.last = None
        self._data = inputs.data
        self._values = itertools.cycle(inputs.values())

    def values(self) -> np.ndarray:
        """The values of the next call; cheap enough for a timed region."""
        self.last = next(self._values)
        return self.last

    def expected(self) -> np.ndarray:
        """The array after the last call."""
        array = self._data.copy()
        array[self.index] = self.last
        return array


class RandomRows:
    """A replace of 100 random rows, fresh in each call; duplicates are possible, the last wins."""

    def __init__(self, inputs: Inputs) -> None:
        self.index = None
        self.new = None
        self._data = inputs.data
        self._values = itertools.cycle(inputs.values())
        self._rng = np.random.default_rng(5)
        self._log: list[tuple[np.ndarray, np.ndarray]] = []

    def advance(self) -> None:
        """Choose the next call's rows and values."""
        self.index = self._rng.integers(0, len(self._data), TOUCHED)
        self.new = next(self._values)
        self._log.append((self.index, self.new))

    def expected(self) -> np.ndarray:
        """The array after all calls."""
        array = self._data.copy()
        for index, values in self._log:
            array[index] = values
        return array


class Appending:
    """Appends of 100 rows, alternating between two sets of values."""

    def __init__(self, inputs: Inputs) -> None:
        self._data = inputs.data
        self._sets = inputs.values()
        self._calls = 0

    def values(self) -> np.ndarray:
        """The rows of the next call; cheap enough for a timed region."""
        self._calls += 1
        return self._sets[self._calls & 1]

    def expected(self) -> np.ndarray:
        """The array after all calls."""
        added = [self._sets[call & 1] for call in range(1, self._calls + 1)]
        return np.concatenate([self._data, *added])


class Counting:
    """The first ten rows, raised by one again and again: a load, a change, a store."""

    ROWS = 10

    def __init__(self, inputs: Inputs) -> None:
        self.calls = 0
        self.index = list(range(self.ROWS))
        self._data = inputs.data

    def bump(self, array: np.ndarray) -> np.ndarray:
        """Change the first rows of a loaded array in place and return them."""
        self.calls += 1
        head = array[: self.ROWS]
        head += np.float32(1.0)
        return head

    def expected(self) -> np.ndarray:
        """The array after all calls, with the same rounding."""
        array = self._data.copy()
        for _ in range(self.calls):
            array[: self.ROWS] += np.float32(1.0)
        return array


class Dropping:
    """Distinct random rows to drop in each call, and the rows that must remain."""

    def __init__(self, inputs: Inputs) -> None:
        self.count = inputs.rows
        self.index = None
        self._data = inputs.data
        self._rng = np.random.default_rng(6)
        self._dropped: list[np.ndarray] = []

    def advance(self) -> None:
        """Choose the next call's rows, numbered as they are after the earlier calls."""
        self.index = np.sort(self._rng.choice(self.count, TOUCHED, replace=False, shuffle=False))
        self.count -= TOUCHED
        self._dropped.append(self.index)

    def expected(self) -> np.ndarray:
        """What must remain, by NumPy."""
        kept = np.arange(len(self._data))
        for index in self._dropped:
            kept = np.delete(kept, index)
        return self._data[kept]


def cycle(items: list) -> Iterator:
    """The items again and again."""
    return itertools.cycle(items)


def assert_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    """Raise AssertionError, in a few words, unless both arrays are the same."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise AssertionError(
            f"shape {actual.shape} {actual.dtype}, expected {expected.shape} {expected.dtype}"
        )
    wrong = int((np.asarray(actual) != expected).any(axis=-1).sum()) if actual.size else 0
    if wrong:
        raise AssertionError(f"{wrong} of {len(expected)} rows differ")
