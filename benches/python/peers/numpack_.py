"""This library: plain, with a view held, and with a second process reading."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpack
import numpy as np
from inputs import NAME, assert_equal
from timing import Task

from peers.numpack_common import NumPackRows
from peers.relations import Relations


class NumPackPeer(Relations, NumPackRows):
    """The rows of 0.4.2's API and those that only this library has."""

    key = "numpack"
    title = "NumPack"

    def load_nocopy(self, directory: Path) -> Task:
        """A private copy-on-write map."""
        return self._reading(directory, lambda npk: npk.load(NAME, copy=False))

    def load_nocopy_sum(self, directory: Path) -> Task:
        """A private copy-on-write map, read through."""
        npk = self._store(directory)
        return Task(lambda: npk.load(NAME, copy=False).sum(), close=npk.close)

    def view(self, directory: Path) -> Task:
        """A read-only view of the file's pages."""
        return self._reading(directory, lambda npk: npk.view(NAME))

    def slice_view(self, directory: Path) -> Task:
        """Ten thousand neighbours, uncopied."""
        start = self.inputs.rows // 2
        rows = slice(start, start + 10_000)
        return self._reading(directory, lambda npk: npk.view(NAME)[rows], self.inputs.data[rows])

    def rmw_100_nocopy(self, directory: Path) -> Task:
        """Load, change, replace through the copy-on-write map."""
        return self._read_modify_write(directory, copy=False)

    def open_replace_close_none(self, directory: Path) -> Task:
        """A whole session, safe against kill -9 only."""
        return self._open_replace_close(directory, durability="none")

    def open_replace_close_commit(self, directory: Path) -> Task:
        """A whole session with the default durability."""
        return self._open_replace_close(directory, durability="commit")

    def open_replace_close_full(self, directory: Path) -> Task:
        """A whole session, on disk before it returns."""
        return self._open_replace_close(directory, durability="full")

    def to_arrow(self, directory: Path) -> Task:
        """A FixedSizeListArray over the file's pages."""
        npk = self._store(directory)

        def check() -> None:
            array = npk.to_arrow(NAME, zero_copy_only=True)
            values = array.flatten().to_numpy(zero_copy_only=True)
            assert_equal(np.reshape(values, self.inputs.data.shape), self.inputs.data)

        return Task(lambda: npk.to_arrow(NAME), check=check, close=npk.close)

    def relation(self, directory: Path, arrays: dict[str, np.ndarray]) -> tuple:
        """The open store."""
        path = directory / "store"
        npk = numpack.NumPack(path)
        npk.open()
        npk.save(arrays)
        if NAME in arrays:
            self.opened(npk, path)
        return lambda: npk, npk.close

    def table(self, source: numpack.NumPack) -> Any:
        """All arrays over the files' pages."""
        return source.to_arrow()


class NumPackViewHeld(NumPackPeer):
    """Every call while a view of the array, taken before, is held and must not change."""

    key = "numpack_view"
    title = "a view held"

    close_after_arrays = None
    to_arrow_table = None
    """Other arrays than the one that is held."""

    _held: np.ndarray | None = None

    def opened(self, npk: numpack.NumPack, path: Path) -> None:
        """Take the view."""
        self._held = npk.view(NAME)

    def check(self) -> str | None:
        """Also that the held view still shows what it showed."""
        wrong = super().check()
        if wrong is not None:
            return wrong
        try:
            assert_equal(self._held, self.inputs.data[: len(self._held)])
        except AssertionError as error:
            return f"the held view changed: {error}"
        return None

    def finish(self) -> None:
        """Let the view go."""
        super().finish()
        self._held = None


class NumPackSecondReader(NumPackPeer):
    """Every call while another process reads the array in a loop."""

    key = "numpack_reader"
    title = "a process reading"

    to_arrow_table = None
    """Other arrays than the one that is read."""

    _reader: subprocess.Popen | None = None

    def opened(self, npk: numpack.NumPack, path: Path) -> None:
        """Start the reader and wait until it has read once."""
        script = Path(__file__).resolve().parents[1] / "reader.py"
        self._reader = subprocess.Popen(
            [sys.executable, str(script), str(path), NAME],
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._reader.stdout.readline() != "ready\n":
            raise RuntimeError("the second reader did not start")
        self.pause()

    def resume(self) -> None:
        """Let the reader run while samples are taken."""
        if self._reader is not None:
            self._reader.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        """Stop the reader while other peers are timed."""
        if self._reader is not None:
            self._reader.send_signal(signal.SIGSTOP)

    def check(self) -> str | None:
        """Also that the reader is still alive and well."""
        wrong = super().check()
        if wrong is None and self._reader.poll() is not None:
            wrong = f"the second reader ended with status {self._reader.returncode}"
        return wrong

    def finish(self) -> None:
        """End the reader."""
        super().finish()
        if self._reader is not None:
            self._reader.kill()
            self._reader.wait()
            self._reader.stdout.close()
            self._reader = None
