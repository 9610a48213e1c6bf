"""Zarr 3 in a local directory, default chunks and compression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from inputs import Appending, SameRows, assert_equal, cycle
from timing import Task

from peers.base import Peer


class ZarrPeer(Peer):
    """An array kept open over all calls of a row."""

    key = "zarr"
    title = "Zarr 3"

    def versions(self) -> dict[str, str]:
        """Zarr's version."""
        return {"zarr": zarr.__version__}

    def _array(self, directory: Path) -> zarr.Array:
        array = zarr.create_array(
            store=directory / "a.zarr",
            shape=self.inputs.data.shape,
            dtype=self.inputs.data.dtype,
        )
        array[...] = self.inputs.data
        return array

    def _reading(self, directory: Path, read, expected: np.ndarray | None = None) -> Task:
        array = self._array(directory)
        wanted = self.inputs.data if expected is None else expected
        return Task(lambda: read(array), check=lambda: assert_equal(read(array), wanted))

    def save_over(self, directory: Path) -> Task:
        """The array assigned in place."""
        array = self._array(directory)
        arrays = cycle([self.inputs.other, self.inputs.data])
        last = None

        def once() -> None:
            nonlocal last
            last = next(arrays)
            array[...] = last

        return Task(once, check=lambda: assert_equal(array[...], last))

    def load(self, directory: Path) -> Task:
        """Everything into memory."""
        return self._reading(directory, lambda array: array[...])

    def load_sum(self, directory: Path) -> Task:
        """Everything into memory, summed."""
        array = self._array(directory)
        return Task(lambda: array[...].sum())

    def lazy_load(self, directory: Path) -> Task:
        """The array opened."""
        self._array(directory)
        return Task(lambda: zarr.open_array(directory / "a.zarr", mode="r"))

    def replace_contiguous(self, directory: Path) -> Task:
        """An assignment to a slice."""
        array = self._array(directory)
        index = self.inputs.contiguous()
        place = slice(int(index[0]), int(index[-1]) + 1)
        rows = SameRows(self.inputs, index)

        def once() -> None:
            array[place] = rows.values()

        return Task(once, check=lambda: assert_equal(array[...], rows.expected()))

    def append(self, directory: Path) -> Task:
        """Zarr's own append."""
        array = self._array(directory)
        rows = Appending(self.inputs)
        return Task(
            lambda: array.append(rows.values()),
            check=lambda: assert_equal(array[...], rows.expected()),
        )

    def random_1k(self, directory: Path) -> Task:
        """Rows by number."""
        return self._random(directory, 1_000)

    def random_10k(self, directory: Path) -> Task:
        """Rows by number."""
        return self._random(directory, 10_000)

    def _random(self, directory: Path, number: int) -> Task:
        array = self._array(directory)
        sets = cycle(self.inputs.random_sets(number))
        return Task(lambda: array.oindex[next(sets)])

    def slice_10k(self, directory: Path) -> Task:
        """A slice into memory."""
        start = self.inputs.rows // 2
        rows = slice(start, start + 10_000)
        return self._reading(directory, lambda array: array[rows], self.inputs.data[rows])
