"""HDF5 by h5py: one file, kept open over all calls of a row; contiguous layout unless it grows."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from inputs import NAME, Appending, SameRows, assert_equal, cycle
from timing import Task

from peers.base import Peer


class Hdf5Peer(Peer):
    """A dataset in an open file."""

    key = "h5py"
    title = "HDF5"

    def versions(self) -> dict[str, str]:
        """Versions of h5py and of the HDF5 library."""
        return {"h5py": h5py.__version__, "hdf5": h5py.version.hdf5_version}

    def _file(self, directory: Path, **options: object) -> h5py.File:
        file = h5py.File(directory / "a.h5", "w")
        file.create_dataset(NAME, data=self.inputs.data, **options)
        return file

    def _reading(self, directory: Path, read, expected: np.ndarray | None = None) -> Task:
        file = self._file(directory)
        wanted = self.inputs.data if expected is None else expected
        return Task(
            lambda: read(file),
            check=lambda: assert_equal(read(file), wanted),
            close=file.close,
        )

    def save_over(self, directory: Path) -> Task:
        """The dataset assigned in place."""
        file = self._file(directory)
        arrays = cycle([self.inputs.other, self.inputs.data])
        last = None

        def once() -> None:
            nonlocal last
            last = next(arrays)
            file[NAME][...] = last

        return Task(once, check=lambda: assert_equal(file[NAME][...], last), close=file.close)

    def load(self, directory: Path) -> Task:
        """Everything into memory."""
        return self._reading(directory, lambda file: file[NAME][...])

    def load_sum(self, directory: Path) -> Task:
        """Everything into memory, summed."""
        file = self._file(directory)
        return Task(lambda: file[NAME][...].sum(), close=file.close)

    def lazy_load(self, directory: Path) -> Task:
        """The dataset object."""
        file = self._file(directory)
        return Task(lambda: file[NAME], close=file.close)

    def replace_contiguous(self, directory: Path) -> Task:
        """An assignment to a slice; a list of rows takes HDF5 far longer."""
        file = self._file(directory)
        index = self.inputs.contiguous()
        place = slice(int(index[0]), int(index[-1]) + 1)
        rows = SameRows(self.inputs, index)

        def once() -> None:
            file[NAME][place] = rows.values()

        return Task(
            once,
            check=lambda: assert_equal(file[NAME][...], rows.expected()),
            close=file.close,
        )

    def append(self, directory: Path) -> Task:
        """Resize and assign, in chunks of 10,000 rows."""
        shape = self.inputs.data.shape
        file = self._file(directory, chunks=(10_000, *shape[1:]), maxshape=(None, *shape[1:]))
        rows = Appending(self.inputs)

        def once() -> None:
            values = rows.values()
            dataset = file[NAME]
            end = len(dataset)
            dataset.resize(end + len(values), axis=0)
            dataset[end:] = values

        return Task(
            once,
            check=lambda: assert_equal(file[NAME][...], rows.expected()),
            close=file.close,
        )

    def random_1k(self, directory: Path) -> Task:
        """Sorted distinct rows, as h5py demands."""
        return self._random(directory, 1_000)

    def random_10k(self, directory: Path) -> Task:
        """Sorted distinct rows, as h5py demands."""
        return self._random(directory, 10_000)

    def _random(self, directory: Path, number: int) -> Task:
        file = self._file(directory)
        sets = cycle([np.unique(rows) for rows in self.inputs.random_sets(number)])
        return Task(lambda: file[NAME][next(sets)], close=file.close)

    def slice_10k(self, directory: Path) -> Task:
        """A slice into memory."""
        start = self.inputs.rows // 2
        rows = slice(start, start + 10_000)
        return self._reading(directory, lambda file: file[NAME][rows], self.inputs.data[rows])
