"""The rows that this library and numpack 0.4.2 run with the same calls."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import numpack
import numpy as np
from inputs import (
    NAME,
    Appending,
    Counting,
    Dropping,
    RandomRows,
    SameRows,
    assert_equal,
    cycle,
)
from timing import Task

from peers.base import Peer

#: Arrays of the row that closes a store of many.
MANY_ARRAYS = 10_000
#: Loads, changes and replaces in one sample of the read-modify-write rows.
REPEATS = 100


class NumPackRows(Peer):
    """Everything that 0.4.2's API can say; both versions run exactly this code."""

    def versions(self) -> dict[str, str]:
        """Versions of numpack and of the NumPy it runs with."""
        return {"numpack": numpack.__version__, "numpy": np.__version__}

    def opened(self, npk: numpack.NumPack, path: Path) -> None:
        """Called when a row's store exists and holds its array, before anything is timed."""

    def _store(self, directory: Path) -> numpack.NumPack:
        path = directory / "store"
        npk = numpack.NumPack(path)
        npk.open()
        npk.save({NAME: self.inputs.data})
        self.opened(npk, path)
        return npk

    def _reading(self, directory: Path, read, expected: np.ndarray | None = None) -> Task:
        """A row that leaves the store as it was; ``read`` gets the open store."""
        npk = self._store(directory)
        wanted = self.inputs.data if expected is None else expected
        return Task(
            lambda: read(npk),
            check=lambda: assert_equal(np.asarray(read(npk)), wanted),
            close=npk.close,
        )

    def _checked(self, npk: numpack.NumPack, once, state, before=None) -> Task:
        """A row that changes the array; ``state`` knows what must come out."""
        return Task(
            once,
            before=before,
            check=lambda: assert_equal(npk.load(NAME), state.expected()),
            close=npk.close,
        )

    def save_new(self, directory: Path) -> Task:
        """A name that did not exist."""
        npk = self._store(directory)
        names = count()
        latest = ""

        def before() -> None:
            nonlocal latest
            if latest:
                npk.drop(latest)
            latest = f"new{next(names)}"

        return Task(
            lambda: npk.save({latest: self.inputs.data}),
            before=before,
            check=lambda: assert_equal(npk.load(latest), self.inputs.data),
            close=npk.close,
        )

    def save_over(self, directory: Path) -> Task:
        """A name that exists, with the same shape."""
        npk = self._store(directory)
        arrays = cycle([self.inputs.other, self.inputs.data])
        last = None

        def once() -> None:
            nonlocal last
            last = next(arrays)
            npk.save({NAME: last})

        return Task(once, check=lambda: assert_equal(npk.load(NAME), last), close=npk.close)

    def load(self, directory: Path) -> Task:
        """Everything, in memory of its own."""
        return self._reading(directory, lambda npk: npk.load(NAME))

    def load_sum(self, directory: Path) -> Task:
        """Everything, summed."""
        npk = self._store(directory)
        return Task(lambda: npk.load(NAME).sum(), close=npk.close)

    def load_multiply(self, directory: Path) -> Task:
        """Everything, changed."""

        def read(npk: numpack.NumPack) -> np.ndarray:
            array = npk.load(NAME)
            array *= np.float32(0.5)
            return array

        return self._reading(directory, read, self.inputs.data * np.float32(0.5))

    def lazy_load(self, directory: Path) -> Task:
        """A handle on the array, no data."""
        npk = self._store(directory)
        return Task(
            lambda: npk.load(NAME, lazy=True),
            check=lambda: assert_equal(npk.load(NAME, lazy=True)[5:25], self.inputs.data[5:25]),
            close=npk.close,
        )

    def _same_rows(self, directory: Path, index: np.ndarray) -> Task:
        npk = self._store(directory)
        rows = SameRows(self.inputs, index)
        return self._checked(npk, lambda: npk.replace({NAME: rows.values()}, index), rows)

    def replace_contiguous(self, directory: Path) -> Task:
        """One hundred neighbours."""
        return self._same_rows(directory, self.inputs.contiguous())

    def replace_scattered(self, directory: Path) -> Task:
        """One hundred rows all over the array, the same in each call."""
        return self._same_rows(directory, self.inputs.scattered())

    def replace_random(self, directory: Path) -> Task:
        """One hundred rows all over the array, others in each call."""
        npk = self._store(directory)
        rows = RandomRows(self.inputs)
        return self._checked(
            npk, lambda: npk.replace({NAME: rows.new}, rows.index), rows, rows.advance
        )

    def append(self, directory: Path) -> Task:
        """One hundred rows at the end."""
        npk = self._store(directory)
        rows = Appending(self.inputs)
        return self._checked(npk, lambda: npk.append({NAME: rows.values()}), rows)

    def _open_replace_close(self, directory: Path, **options: str) -> Task:
        npk = self._store(directory)
        npk.close()
        path = directory / "store"
        index = self.inputs.scattered() if options else self.inputs.contiguous()
        rows = SameRows(self.inputs, index)

        def once() -> None:
            fresh = numpack.NumPack(path, **options)
            fresh.open()
            fresh.replace({NAME: rows.values()}, index)
            fresh.close()

        def check() -> None:
            with numpack.NumPack(path) as fresh:
                assert_equal(fresh.load(NAME), rows.expected())

        return Task(once, check=check)

    def random_1k(self, directory: Path) -> Task:
        """One thousand rows by number."""
        return self._random(directory, 1_000)

    def random_10k(self, directory: Path) -> Task:
        """Ten thousand rows by number."""
        return self._random(directory, 10_000)

    def _random(self, directory: Path, number: int) -> Task:
        npk = self._store(directory)
        lists = self.inputs.random_sets(number)
        sets = cycle(lists)
        return Task(
            lambda: npk.getitem(NAME, next(sets)),
            check=lambda: assert_equal(npk.getitem(NAME, lists[0]), self.inputs.data[lists[0]]),
            close=npk.close,
        )

    def slice_10k(self, directory: Path) -> Task:
        """Ten thousand neighbours."""
        start = self.inputs.rows // 2
        rows = slice(start, start + 10_000)
        return self._reading(directory, lambda npk: npk.getitem(NAME, rows), self.inputs.data[rows])

    def stream(self, directory: Path) -> Task:
        """Everything in batches, each touched in every page."""
        npk = self._store(directory)

        def once() -> None:
            for batch in npk.stream_load(NAME, buffer_size=10_000):
                batch[::100, 0].sum()

        def check() -> None:
            batches = list(npk.stream_load(NAME, buffer_size=10_000))
            assert_equal(np.concatenate(batches), self.inputs.data)

        return Task(once, check=check, close=npk.close)

    def _read_modify_write(self, directory: Path, **options: bool) -> Task:
        npk = self._store(directory)
        rows = Counting(self.inputs)

        def once() -> None:
            for _ in range(REPEATS):
                head = rows.bump(npk.load(NAME, **options))
                npk.replace({NAME: head}, rows.index)

        return self._checked(npk, once, rows)

    def rmw_100(self, directory: Path) -> Task:
        """One hundred times all of it loaded, ten rows changed and replaced."""
        return self._read_modify_write(directory)

    def batch_100(self, directory: Path) -> Task:
        """The same on a cached array, stored on leaving."""
        npk = self._store(directory)
        rows = Counting(self.inputs)

        def once() -> None:
            with npk.batch_mode():
                for _ in range(REPEATS):
                    array = npk.load(NAME)
                    rows.bump(array)
                    npk.save({NAME: array})

        return self._checked(npk, once, rows)

    def writable_100(self, directory: Path) -> Task:
        """The same on a mapped array, committed on leaving."""
        npk = self._store(directory)
        rows = Counting(self.inputs)

        def once() -> None:
            with npk.writable_batch_mode() as batch:
                for _ in range(REPEATS):
                    rows.bump(batch.load(NAME))

        return self._checked(npk, once, rows)

    def drop_rows(self, directory: Path) -> Task:
        """One hundred random rows, others in each call."""
        npk = self._store(directory)
        rows = Dropping(self.inputs)
        return self._checked(npk, lambda: npk.drop(NAME, rows.index), rows, rows.advance)

    def load_after_replaces(self, directory: Path) -> Task:
        """What the next reader pays for many small changes."""
        npk = self._store(directory)
        rows = RandomRows(self.inputs)

        def before() -> None:
            stop = time.monotonic() + 1.0
            for _ in range(1_000):
                rows.advance()
                npk.replace({NAME: rows.new}, rows.index)
                if time.monotonic() > stop:
                    break

        return self._checked(npk, lambda: npk.load(NAME), rows, before)

    def close_after_40mb(self, directory: Path) -> Task:
        """Closing after the whole array was saved again."""
        self._store(directory).close()
        path = directory / "store"
        arrays = cycle([self.inputs.other, self.inputs.data])
        npk = last = None

        def before() -> None:
            nonlocal npk, last
            npk = numpack.NumPack(path)
            npk.open()
            last = next(arrays)
            npk.save({NAME: last})

        def check() -> None:
            with numpack.NumPack(path) as fresh:
                assert_equal(fresh.load(NAME), last)

        return Task(lambda: npk.close(), before=before, check=check)

    def close_after_arrays(self, directory: Path) -> Task:
        """Closing after a row was appended to each of many arrays."""
        path = directory / "store"
        head = self.inputs.data[:10]
        names = [f"a{number:05d}" for number in range(MANY_ARRAYS)]
        with numpack.NumPack(path) as npk:
            npk.save(dict.fromkeys([NAME, *names], head))
            self.opened(npk, path)
        npk, calls = None, 0

        def before() -> None:
            nonlocal npk, calls
            npk = numpack.NumPack(path)
            npk.open()
            calls += 1
            npk.append(dict.fromkeys(names, head[:1]))

        def check() -> None:
            with numpack.NumPack(path) as fresh:
                for name in names[:: MANY_ARRAYS // 100]:
                    wanted = np.concatenate([head, *[head[:1]] * calls])
                    assert_equal(fresh.load(name), wanted)

        return Task(lambda: npk.close(), before=before, check=check)
