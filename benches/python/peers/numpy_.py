"""NumPy without a store: what the work itself costs once the bytes are mapped or in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from inputs import cycle
from timing import Task

from peers.base import Peer


class NumPyPeer(Peer):
    """np.take over a mapped file, and the sum of an array in memory."""

    key = "numpy"
    title = "np.take / np.sum"

    def load_nocopy_sum(self, directory: Path) -> Task:
        """The sum alone."""
        data = self.inputs.data
        return Task(lambda: data.sum())

    def random_1k(self, directory: Path) -> Task:
        """np.take from a mapped file."""
        return self._take(directory, 1_000)

    def random_10k(self, directory: Path) -> Task:
        """np.take from a mapped file."""
        return self._take(directory, 10_000)

    def _take(self, directory: Path, number: int) -> Task:
        data = self.inputs.data
        path = directory / "a.bin"
        data.tofile(path)
        mapped = np.asarray(np.memmap(path, data.dtype, "r", shape=data.shape))
        sets = cycle(self.inputs.random_sets(number))
        return Task(lambda: np.take(mapped, next(sets), axis=0))
