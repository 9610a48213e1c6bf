"""An Arrow IPC file with one FixedSizeList column, read through a memory map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from inputs import NAME, assert_equal, cycle
from timing import Task

from peers.base import Peer
from peers.relations import Relations


class ArrowIpcPeer(Relations, Peer):
    """Every call opens the file; a change would rewrite the whole of it."""

    key = "arrow_ipc"
    title = "Arrow IPC"

    def versions(self) -> dict[str, str]:
        """The version of pyarrow."""
        return {"pyarrow": pa.__version__}

    def _write(self, path: Path, data: np.ndarray) -> None:
        column = pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), data.shape[1])
        table = pa.table({NAME: column})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

    def _column(self, path: Path) -> pa.FixedSizeListArray:
        source = pa.memory_map(str(path))
        return pa.ipc.open_file(source).get_batch(0).column(0)

    def _ndarray(self, path: Path) -> np.ndarray:
        column = self._column(path)
        flat = column.flatten().to_numpy(zero_copy_only=True)
        return flat.reshape(len(column), -1)

    def _saved(self, directory: Path) -> Path:
        path = directory / "a.arrow"
        self._write(path, self.inputs.data)
        return path

    def _reading(self, directory: Path, read, expected: np.ndarray | None = None) -> Task:
        path = self._saved(directory)
        wanted = self.inputs.data if expected is None else expected
        return Task(lambda: read(path), check=lambda: assert_equal(read(path), wanted))

    def save_over(self, directory: Path) -> Task:
        """The file written again."""
        path = self._saved(directory)
        arrays = cycle([self.inputs.other, self.inputs.data])
        last = None

        def once() -> None:
            nonlocal last
            last = next(arrays)
            self._write(path, last)

        return Task(once, check=lambda: assert_equal(self._ndarray(path), last))

    def load(self, directory: Path) -> Task:
        """Everything into an ndarray of its own."""
        return self._reading(directory, lambda path: self._ndarray(path).copy())

    def load_sum(self, directory: Path) -> Task:
        """Everything into an ndarray of its own, summed."""
        path = self._saved(directory)
        return Task(lambda: self._ndarray(path).copy().sum())

    def lazy_load(self, directory: Path) -> Task:
        """The column over the map."""
        return self.to_arrow(directory)

    def random_1k(self, directory: Path) -> Task:
        """Arrow's take, as an ndarray."""
        return self._random(directory, 1_000)

    def random_10k(self, directory: Path) -> Task:
        """Arrow's take, as an ndarray."""
        return self._random(directory, 10_000)

    def _random(self, directory: Path, number: int) -> Task:
        path = self._saved(directory)
        sets = cycle([pa.array(rows) for rows in self.inputs.random_sets(number)])

        def once() -> np.ndarray:
            taken = self._column(path).take(next(sets))
            return taken.flatten().to_numpy(zero_copy_only=True).reshape(number, -1)

        return Task(once)

    def slice_10k(self, directory: Path) -> Task:
        """A copy of the slice."""
        start = self.inputs.rows // 2
        rows = slice(start, start + 10_000)
        return self._reading(
            directory, lambda path: self._ndarray(path)[rows].copy(), self.inputs.data[rows]
        )

    def to_arrow(self, directory: Path) -> Task:
        """The column over the map."""
        path = self._saved(directory)
        return Task(lambda: self._column(path))

    def relation(self, directory: Path, arrays: dict[str, np.ndarray]) -> tuple:
        """A file of one batch, opened and mapped at each call."""
        path = directory / "table.arrow"
        columns = {
            name: pa.array(array)
            if array.ndim == 1
            else pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
            for name, array in arrays.items()
        }
        table = pa.table(columns)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=len(table))
        return lambda: pa.ipc.open_file(pa.memory_map(str(path))).read_all(), None

    def table(self, source: pa.Table) -> pa.Table:
        """It is one."""
        return source
