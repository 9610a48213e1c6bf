"""What a run has measured, before it is written in any form."""

from __future__ import annotations

from dataclasses import dataclass, field

from flatness import Series
from timing import Stats, summarise
from workloads import Row


@dataclass
class Measured:
    """One peer on one row."""

    samples: list[int]
    """Nanoseconds a call."""
    stats: Stats
    wrong: str | None
    """What differs from NumPy's result; None if nothing does."""


@dataclass
class RowResult:
    """All peers on one row."""

    row: Row
    peers: dict[str, Measured] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, peer: str, samples: list[int], wrong: str | None) -> None:
        """Keep a peer's samples."""
        self.peers[peer] = Measured(samples, summarise(samples, self.row.style), wrong)

    def value(self, peer: str) -> float | None:
        """The figure of a peer in seconds, if it took part."""
        measured = self.peers.get(peer)
        return None if measured is None else self.row.value(measured.stats)

    def values(self) -> dict[str, float]:
        """The figures of all peers in seconds."""
        return {peer: self.row.value(measured.stats) for peer, measured in self.peers.items()}


@dataclass
class Run:
    """A whole run."""

    machine: dict[str, str]
    settings: dict[str, object]
    titles: dict[str, str]
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Peers that could not take part, and why."""
    rows: list[RowResult] = field(default_factory=list)
    by_size: list[Series] = field(default_factory=list)
    by_count: list[Series] = field(default_factory=list)

    def faults(self, own: tuple[str, ...]) -> list[str]:
        """Where this library failed or gave a wrong result."""
        found = []
        for result in self.rows:
            for peer in own:
                if peer in result.failed:
                    found.append(f"{result.row.key}: {result.failed[peer]}")
                elif peer in result.peers and result.peers[peer].wrong:
                    found.append(f"{result.row.key}: {result.peers[peer].wrong}")
        for series in [*self.by_size, *self.by_count]:
            found += [f"{series.operation}, {at}: {why}" for at, why in series.wrong.items()]
        return found
