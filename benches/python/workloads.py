"""The rows of the store benchmark: what is measured, how, and which figure is wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from timing import Style

#: Rows and columns of the array that every row of the table works on.
ROWS, COLUMNS = 1_000_000, 10
#: Rows that replace, append and drop touch in one call.
TOUCHED = 100
#: Calls of the rows that report a mean of many.
MANY_CALLS = 100_000


@dataclass(frozen=True)
class Verdict:
    """A target judged on this machine."""

    text: str
    bound: float | None
    """The wanted bound in seconds on this machine, if the peers it needs were measured."""
    met: str


@dataclass(frozen=True)
class Target:
    """A wanted figure: a share of a peer's time in the same run, or milliseconds.

    Milliseconds were set beside peers on one reference machine. ``reference`` keeps the peers'
    figures of that machine, and the bound is scaled by how much slower or faster the same peers
    run here (geometric mean), so that the ratio is what has to hold.
    """

    share: float | None = None
    peer: str | None = None
    milliseconds: float | None = None
    reference: Mapping[str, float] | None = None

    def text(self, titles: Mapping[str, str]) -> str:
        """The target as a reader sees it in the table."""
        if self.peer is not None:
            title = titles.get(self.peer, self.peer)
            return f"<= {title}" if self.share == 1.0 else f"<= {self.share:g} {title}"
        return f"<= {self.milliseconds:g} ms"

    def judge(self, own: float, peers: Mapping[str, float], titles: Mapping[str, str]) -> Verdict:
        """Compare our time with the bound; both in seconds."""
        text = self.text(titles)
        if self.peer is not None:
            if self.peer not in peers:
                return Verdict(text, None, "peer not measured")
            bound = self.share * peers[self.peer]
            return Verdict(text, bound, "met" if own <= bound else "not met")
        bound = self.milliseconds / 1e3
        logs = [
            math.log(peers[name] * 1e3 / wanted)
            for name, wanted in (self.reference or {}).items()
            if name in peers
        ]
        scaled = bound * math.exp(sum(logs) / len(logs)) if logs else bound
        if own <= bound:
            return Verdict(text, scaled, "met")
        return Verdict(text, scaled, "met (scaled)" if own <= scaled else "not met")


def share(peer: str, factor: float = 1.0) -> Target:
    """A target relative to a peer of the same run."""
    return Target(share=factor, peer=peer)


def within(milliseconds: float, **reference: float) -> Target:
    """A target in milliseconds, with the peers' figures on the machine it was set on."""
    return Target(milliseconds=milliseconds, reference=reference)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    title: str
    style: Style
    target: Target | None = None

    def value(self, stats) -> float:
        """The figure that is shown and compared: the mean of a long run, else the median."""
        return stats.mean if self.style is Style.MANY else stats.median


_BULK, _EACH, _MANY = Style.BULK, Style.EACH, Style.MANY

TABLE = (
    Row("save_new", "save, new array", _EACH, share("npy")),
    Row("save_over", "save over, same shape", _EACH, share("npy")),
    Row("load", "load (owned memory, the default)", _EACH, share("npy", 0.75)),
    Row("load_sum", "load, sum", _EACH, share("npy", 0.75)),
    Row("load_multiply", "load, multiply everything in place", _EACH, share("npy", 0.85)),
    Row("load_nocopy", "load(copy=False)", _BULK, within(0.02, npy=0.09)),
    Row("view", "view", _BULK, within(0.02, npy=0.09)),
    Row("load_nocopy_sum", "load(copy=False), sum", _EACH, within(3.0, numpy=2.4)),
    Row("lazy_load", "lazy load", _BULK, within(0.002, npy=0.091, numpack042=0.0023)),
    Row(
        "replace_contiguous",
        "replace 100 rows, contiguous",
        _BULK,
        within(0.010, memmap=0.009, numpack042=0.019),
    ),
    Row(
        "replace_scattered",
        "replace 100 rows, scattered, the same",
        _BULK,
        within(0.012, memmap=0.010),
    ),
    Row(
        "replace_random",
        "replace 100 random rows, fresh each time (mean)",
        _MANY,
        within(0.022, memmap=0.007),
    ),
    Row("append", "append 100 rows (mean)", _MANY, within(0.014, numpack042=0.014)),
    Row("open_replace_close_none", "open, replace 100, close; durability none", _EACH),
    Row("open_replace_close_commit", "open, replace 100, close; durability commit", _EACH),
    Row("open_replace_close_full", "open, replace 100, close; durability full", _EACH),
    Row("random_1k", "random 1,000 rows of 40 B, ndarray", _BULK, share("numpy")),
    Row("random_10k", "random 10,000 rows of 40 B, ndarray", _BULK, share("numpy", 0.75)),
    Row("slice_10k", "slice of 10,000 rows", _BULK, share("memmap")),
    Row("slice_view", "slice of 10,000 rows, as a view", _BULK, within(0.005)),
    Row("stream", "stream all, 10,000 rows a batch, touched", _EACH, share("memmap", 0.6)),
    Row("rmw_100", "100 x load, change 10 rows, replace", _EACH, share("numpack042", 0.25)),
    Row(
        "rmw_100_nocopy",
        "100 x load(copy=False), change 10 rows, replace",
        _EACH,
        within(10.0, numpack042=1797.0),
    ),
    Row("batch_100", "100 x the same in batch mode", _EACH, within(12.0, numpack042=41.0)),
    Row(
        "writable_100",
        "100 x the same in writable batch mode",
        _EACH,
        within(1.0, numpack042=1.5),
    ),
    # 0.4.2 is no yardstick of the machine here: it waits for the disk.
    Row("drop_rows", "drop 100 rows", _EACH, within(0.02, npy=26.0)),
    Row("to_arrow", "to_arrow", _BULK, within(0.01, arrow_ipc=0.42)),
    Row("to_arrow_table", "to_arrow of a table of 100 arrays", _EACH),
    Row("to_polars", "polars.DataFrame of a store of 55 MB", _EACH),
    Row("polars_grouped", "Polars: count and mean by label, 1,000,000 rows", _EACH),
    Row("duckdb_grouped", "DuckDB: the same", _EACH),
    Row("duckdb_vectors", "DuckDB: sum of the ids, and of a value of each vector", _EACH),
    Row("load_after_replaces", "first load after 1,000 random replaces (or 1 s of them)", _EACH),
    Row("close_after_40mb", "close after 40 MB changed", _EACH),
    Row("close_after_arrays", "close after 10,000 arrays changed", _EACH),
)
