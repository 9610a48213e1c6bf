"""np.memmap, opened once for reading and writing: fast, and neither atomic nor able to grow."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
from inputs import RandomRows, SameRows, assert_equal, cycle
from timing import Task

from peers.base import Peer


class MemmapPeer(Peer):
    """A map kept open over all calls of a row."""

    key = "memmap"
    title = "np.memmap"

    def _mapped(self, directory: Path) -> np.memmap:
        data = self.inputs.data
        mapped = np.memmap(directory / "a.bin", data.dtype, "w+", shape=data.shape)
        mapped[:] = data
        return mapped

    def save_new(self, directory: Path) -> Task:
        """A new file, mapped and filled."""
        names = count()
        data = self.inputs.data
        path = directory / "a.bin"

        def before() -> None:
            nonlocal path
            path.unlink(missing_ok=True)
            path = directory / f"a{next(names)}.bin"

        def once() -> None:
            np.memmap(path, data.dtype, "w+", shape=data.shape)[:] = data

        def check() -> None:
            assert_equal(np.fromfile(path, data.dtype).reshape(data.shape), data)

        return Task(once, before=before, check=check)

    def save_over(self, directory: Path) -> Task:
        """Everything assigned in place."""
        mapped = self._mapped(directory)
        arrays = cycle([self.inputs.other, self.inputs.data])
        last = None

        def once() -> None:
            nonlocal last
            last = next(arrays)
            mapped[:] = last

        return Task(once, check=lambda: assert_equal(mapped, last))

    def load(self, directory: Path) -> Task:
        """A copy of everything."""
        mapped = self._mapped(directory)
        return Task(
            lambda: np.array(mapped),
            check=lambda: assert_equal(np.array(mapped), self.inputs.data),
        )

    def load_sum(self, directory: Path) -> Task:
        """A copy of everything, summed."""
        mapped = self._mapped(directory)
        return Task(lambda: np.array(mapped).sum())

    def load_multiply(self, directory: Path) -> Task:
        """A copy of everything, changed."""
        mapped = self._mapped(directory)

        def once() -> None:
            array = np.array(mapped)
            array *= np.float32(0.5)

        return Task(once)

    def _same_rows(self, directory: Path, index: np.ndarray) -> Task:
        mapped = self._mapped(directory)
        rows = SameRows(self.inputs, index)

        def once() -> None:
            mapped[index] = rows.values()

        return Task(once, check=lambda: assert_equal(mapped, rows.expected()))

    def replace_contiguous(self, directory: Path) -> Task:
        """An assignment in place."""
        return self._same_rows(directory, self.inputs.contiguous())

    def replace_scattered(self, directory: Path) -> Task:
        """An assignment in place."""
        return self._same_rows(directory, self.inputs.scattered())

    def replace_random(self, directory: Path) -> Task:
        """An assignment in place."""
        mapped = self._mapped(directory)
        rows = RandomRows(self.inputs)

        def once() -> None:
            mapped[rows.index] = rows.new

        return Task(
            once,
            before=rows.advance,
            check=lambda: assert_equal(mapped, rows.expected()),
        )

    def random_1k(self, directory: Path) -> Task:
        """Fancy indexing of the map."""
        return self._random(directory, 1_000)

    def random_10k(self, directory: Path) -> Task:
        """Fancy indexing of the map."""
        return self._random(directory, 10_000)

    def _random(self, directory: Path, number: int) -> Task:
        mapped = self._mapped(directory)
        sets = cycle(self.inputs.random_sets(number))
        return Task(lambda: mapped[next(sets)])

    def slice_10k(self, directory: Path) -> Task:
        """A copy of the slice."""
        mapped = self._mapped(directory)
        start = self.inputs.rows // 2
        return Task(lambda: np.array(mapped[start : start + 10_000]))

    def slice_view(self, directory: Path) -> Task:
        """The slice, uncopied."""
        mapped = self._mapped(directory)
        start = self.inputs.rows // 2
        return Task(lambda: mapped[start : start + 10_000])

    def stream(self, directory: Path) -> Task:
        """A copy of each batch, touched in every page."""
        mapped = self._mapped(directory)

        def once() -> None:
            for start in range(0, len(mapped), 10_000):
                np.array(mapped[start : start + 10_000])[::100, 0].sum()

        return Task(once)
