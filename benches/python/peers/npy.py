"""np.save and np.load: every call opens its file; a change rewrites the whole of it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
from inputs import Appending, Dropping, RandomRows, SameRows, assert_equal, cycle
from timing import Task

from peers.base import Peer


class NpyPeer(Peer):
    """NPY files as most programs use them."""

    key = "npy"
    title = "np.save/np.load"

    def versions(self) -> dict[str, str]:
        """NumPy's version."""
        return {"numpy": np.__version__}

    def _saved(self, directory: Path) -> Path:
        path = directory / "a.npy"
        np.save(path, self.inputs.data)
        return path

    def _reading(self, directory: Path, read, expected=None) -> Task:
        path = self._saved(directory)
        wanted = self.inputs.data if expected is None else expected
        return Task(lambda: read(path), check=lambda: assert_equal(np.asarray(read(path)), wanted))

    def save_new(self, directory: Path) -> Task:
        """A file that did not exist."""
        names = count()
        latest = directory / "a0.npy"

        def before() -> None:
            nonlocal latest
            latest.unlink(missing_ok=True)
            latest = directory / f"a{next(names)}.npy"

        return Task(
            lambda: np.save(latest, self.inputs.data),
            before=before,
            check=lambda: assert_equal(np.load(latest), self.inputs.data),
        )

    def save_over(self, directory: Path) -> Task:
        """A file of the same length."""
        path = self._saved(directory)
        arrays = cycle([self.inputs.other, self.inputs.data])
        last = None

        def once() -> None:
            nonlocal last
            last = next(arrays)
            np.save(path, last)

        return Task(once, check=lambda: assert_equal(np.load(path), last))

    def load(self, directory: Path) -> Task:
        """The whole file into memory."""
        return self._reading(directory, np.load)

    def load_sum(self, directory: Path) -> Task:
        """The whole file into memory and through the processor."""
        path = self._saved(directory)
        return Task(lambda: np.load(path).sum())

    def load_multiply(self, directory: Path) -> Task:
        """The whole file into memory and changed there."""

        def read(path: Path) -> np.ndarray:
            array = np.load(path)
            array *= np.float32(0.5)
            return array

        return self._reading(directory, read, self.inputs.data * np.float32(0.5))

    def load_nocopy(self, directory: Path) -> Task:
        """The copy-on-write map."""
        return self._reading(directory, lambda path: np.load(path, mmap_mode="c"))

    def view(self, directory: Path) -> Task:
        """The read-only map."""
        return self._reading(directory, lambda path: np.load(path, mmap_mode="r"))

    def load_nocopy_sum(self, directory: Path) -> Task:
        """A fresh copy-on-write map, read through."""
        path = self._saved(directory)
        return Task(lambda: np.load(path, mmap_mode="c").sum())

    def lazy_load(self, directory: Path) -> Task:
        """The read-only map."""
        return self.view(directory)

    def _rewriting(self, path: Path, rows, values) -> None:
        array = np.load(path)
        array[rows] = values
        np.save(path, array)

    def replace_contiguous(self, directory: Path) -> Task:
        """Load, assign, save."""
        return self._same_rows(directory, self.inputs.contiguous())

    def replace_scattered(self, directory: Path) -> Task:
        """Load, assign, save."""
        return self._same_rows(directory, self.inputs.scattered())

    def _same_rows(self, directory: Path, index: np.ndarray) -> Task:
        path = self._saved(directory)
        rows = SameRows(self.inputs, index)
        return Task(
            lambda: self._rewriting(path, index, rows.values()),
            check=lambda: assert_equal(np.load(path), rows.expected()),
        )

    def replace_random(self, directory: Path) -> Task:
        """Load, assign, save."""
        path = self._saved(directory)
        rows = RandomRows(self.inputs)
        return Task(
            lambda: self._rewriting(path, rows.index, rows.new),
            before=rows.advance,
            check=lambda: assert_equal(np.load(path), rows.expected()),
        )

    def append(self, directory: Path) -> Task:
        """Load, concatenate, save."""
        path = self._saved(directory)
        rows = Appending(self.inputs)
        return Task(
            lambda: np.save(path, np.vstack([np.load(path), rows.values()])),
            check=lambda: assert_equal(np.load(path), rows.expected()),
        )

    def random_1k(self, directory: Path) -> Task:
        """A map opened for the purpose, indexed."""
        return self._random(directory, 1_000)

    def random_10k(self, directory: Path) -> Task:
        """A map opened for the purpose, indexed."""
        return self._random(directory, 10_000)

    def _random(self, directory: Path, number: int) -> Task:
        path = self._saved(directory)
        sets = cycle(self.inputs.random_sets(number))
        return Task(lambda: np.load(path, mmap_mode="r")[next(sets)])

    def slice_10k(self, directory: Path) -> Task:
        """A map opened for the purpose, and a copy of the slice."""
        start = self.inputs.rows // 2
        return self._reading(
            directory,
            lambda path: np.array(np.load(path, mmap_mode="r")[start : start + 10_000]),
            self.inputs.data[start : start + 10_000],
        )

    def stream(self, directory: Path) -> Task:
        """A map opened for the purpose, copied a batch at a time."""
        path = self._saved(directory)

        def once() -> None:
            mapped = np.load(path, mmap_mode="r")
            for start in range(0, len(mapped), 10_000):
                np.array(mapped[start : start + 10_000])[::100, 0].sum()

        return Task(once)

    def drop_rows(self, directory: Path) -> Task:
        """Load, delete, save."""
        path = self._saved(directory)
        rows = Dropping(self.inputs)
        return Task(
            lambda: np.save(path, np.delete(np.load(path), rows.index, axis=0)),
            before=rows.advance,
            check=lambda: assert_equal(np.load(path), rows.expected()),
        )
