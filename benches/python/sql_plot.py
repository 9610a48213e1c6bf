"""Draws a run of the SQL benchmark: all peers as bars, and the growth as lines."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from plot import lines
from report import OWN
from results import Run

mpl.use("svg")

import matplotlib.pyplot as plt


def draw(run: Run, path: Path) -> None:
    """Write the SVG file."""
    mpl.rcParams.update({"font.size": 8, "svg.hashsalt": "numpack"})
    heights = [1.0 + 1.1 * len(run.rows)] * bool(run.rows) + [3.2] * bool(run.by_size)
    figure = plt.figure(figsize=(10, sum(heights)), layout="constrained")
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if run.rows:
        _bars(run, parts.pop(0).subplots())
    if run.by_size:
        lines(run.by_size, "values in all vectors", parts.pop(0).subplots())
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _bars(run: Run, axes: plt.Axes) -> None:
    peers = list(run.titles)
    width = 0.85 / len(peers)
    colours = plt.get_cmap("tab20").colors
    for number, peer in enumerate(peers):
        values = [result.value(peer) for result in run.rows]
        places = [row + number * width for row, value in enumerate(values) if value is not None]
        lengths = [value * 1e3 for value in values if value is not None]
        colour = "#1b6ca8" if peer == OWN else colours[number]
        axes.barh(places, lengths, width, color=colour, label=run.titles[peer])
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds a statement (shorter is faster)")
    axes.set_yticks([row + 0.4 for row in range(len(run.rows))])
    axes.set_yticklabels([result.row.title for result in run.rows])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.margins(y=0.005)
    axes.set_title(f"SQL over a store, {run.machine['processor']}", loc="left", pad=34)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=6, frameon=False)
