"""Draws a run: the rows as bars on a logarithmic axis, and the growth series as lines."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from report import OWN
from results import Run
from timing import quantile

mpl.use("svg")

import matplotlib.pyplot as plt

COLOURS = {
    OWN: "#1b6ca8",
    "npy": "#b8b8b8",
    "memmap": "#7d7d7d",
    "numpack042": "#d98c3f",
    "arrow_ipc": "#4f9d69",
}


def draw(run: Run, path: Path) -> None:
    """Write the SVG file."""
    mpl.rcParams.update({"font.size": 8, "svg.hashsalt": "numpack"})
    series = [(run.by_size, "size of the array"), (run.by_count, "number of arrays")]
    series = [item for item in series if item[0]]
    heights = [1.0 + 0.42 * len(run.rows)] * bool(run.rows) + [3.2] * bool(series)
    figure = plt.figure(figsize=(10, sum(heights)), layout="constrained")
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if run.rows:
        _bars(run, parts.pop(0).subplots())
    if series:
        axes = parts.pop(0).subplots(1, len(series), squeeze=False)[0]
        for place, (items, label) in zip(axes, series, strict=True):
            lines(items, label, place)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _bars(run: Run, axes: plt.Axes) -> None:
    peers = [peer for peer in COLOURS if any(peer in result.peers for result in run.rows)]
    width = 0.8 / len(peers)
    for number, peer in enumerate(peers):
        values = [result.value(peer) for result in run.rows]
        places = [row + number * width for row, value in enumerate(values) if value is not None]
        lengths = [value * 1e3 for value in values if value is not None]
        axes.barh(places, lengths, width, color=COLOURS[peer], label=run.titles[peer])
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds a call (shorter is faster)")
    centre = (len(peers) - 1) * width / 2
    axes.set_yticks([row + centre for row in range(len(run.rows))])
    axes.set_yticklabels([result.row.title for result in run.rows])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.margins(y=0.005)
    axes.set_title(f"NumPack store operations, {run.machine['processor']}", loc="left", pad=22)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(peers), frameon=False)


def lines(items: list, label: str, axes: plt.Axes) -> None:
    for item in items:
        medians = [quantile(sorted(samples), 0.5) * 1e3 for samples in item.samples.values()]
        axes.plot(list(item.samples), medians, marker="o", label=item.operation)
    axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("milliseconds a call")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
