"""numpack 0.4.2, as published. Runs in a worker process with a virtual environment of its own."""

from __future__ import annotations

from pathlib import Path

from timing import Task

from peers.numpack_common import NumPackRows


class NumPack042Peer(NumPackRows):
    """The published wheel on the calls that it has."""

    key = "numpack042"
    title = "NumPack 0.4.2"

    def open_replace_close_none(self, directory: Path) -> Task:
        """A whole session; 0.4.2 knows one durability, which is less than our none."""
        return self._open_replace_close(directory)
