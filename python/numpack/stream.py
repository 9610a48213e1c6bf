"""Reading an array in batches of rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["StreamLoader"]


class StreamLoader(Iterator[np.ndarray]):
    """An iterator over the rows of an array, `buffer_size` at a time (the last batch may be short).

    `NumPack.stream_load` makes one. It reads one snapshot: later changes do not show. Each batch
    is an array of its own with axis 0 kept, and deleted rows do not appear. A 0-d array gives one
    0-d batch. While one batch is worked on, a thread reads those that follow, up to three and
    64 MiB (one, if it is larger), if they have 64 KiB each. After an error the next call gives the
    next batch.

    >>> with NumPack("stream.npk") as npk:
    ...     npk.save({"a": np.arange(5)})
    ...     [batch.tolist() for batch in npk.stream_load("a", buffer_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, source: Any, buffer_size: int) -> None:
        self._source = source
        self._step = buffer_size
        self._next = 0
        self._rows = source.shape[0] if source.shape else 1
        # A batch block's array is in memory already.
        self._ahead = None
        if not isinstance(source, np.ndarray):
            self._ahead = source._batches(min(buffer_size, self._rows))

    def __next__(self) -> np.ndarray:
        if self._ahead is not None:
            return next(self._ahead)
        start = self._next
        if start >= self._rows:
            raise StopIteration
        self._next = min(start + self._step, self._rows)
        if not self._source.shape:
            return np.array(self._source)
        batch = self._source[start : self._next]
        # A slice of a LazyArray is an array of its own, a slice of a batch block's array is not.
        return batch.copy() if isinstance(self._source, np.ndarray) else batch
