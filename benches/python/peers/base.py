"""The face of a peer: one method a row, each returning a task that is ready to be timed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from inputs import Inputs
from timing import Plan, Style, Task, calibrate, sample_round


class Peer:
    """A library, or a way to use one. A row's method is named after the row.

    A method gets an empty directory of its own, sets the row up and returns its task. A peer
    without a method for a row, or whose method returns None, takes no part in it.
    """

    key: ClassVar[str]
    """Name in the JSON output and in targets."""
    title: ClassVar[str]
    """Heading in the tables."""

    def __init__(self, inputs: Inputs, root: Path) -> None:
        self.inputs = inputs
        self.root = root
        self._task: Task | None = None
        self._plan = Plan()

    def versions(self) -> dict[str, str]:
        """Versions of what this peer measures."""
        return {}

    def setup(self, row: str, style: Style, rounds: int, cap: int, budget_ns: int) -> bool:
        """Prepare and calibrate a row; False if this peer has no such row."""
        method = getattr(self, row, None)
        if method is None:
            return False
        directory = self.root / self.key / row
        directory.mkdir(parents=True)
        self._task = method(directory)
        if self._task is None:  # a package that only this row needs is missing
            return False
        self.resume()
        self._plan = calibrate(self._task, style, rounds, cap, budget_ns)
        self.pause()
        return True

    def round(self) -> list[int]:
        """Take one round of samples, in nanoseconds a call."""
        self.resume()
        try:
            return sample_round(self._task, self._plan)
        finally:
            self.pause()

    def check(self) -> str | None:
        """What is wrong with the outcome, or None if it equals NumPy's."""
        if self._task.check is None:
            return None
        try:
            self._task.check()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def finish(self) -> None:
        """Close what the row had open."""
        task, self._task = self._task, None
        if task is not None and task.close is not None:
            task.close()

    def resume(self) -> None:
        """Called before samples are taken."""

    def pause(self) -> None:
        """Called after samples were taken, while other peers take theirs."""
