"""Where the results of a run go, whatever was measured."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

import report
from results import Run


def finish(run: Run, started: float) -> None:
    """Note what the machine was like at the end; ``started`` is of the monotonic clock."""
    run.machine["load at end"] = f"{os.getloadavg()[0]:.2f}"
    run.machine["duration"] = f"{time.monotonic() - started:.0f} s"


def write(run: Run, out: Path, name: str, text: str, plot: str, own: tuple[str, ...]) -> int:
    """Write Markdown, JSON and, where matplotlib is installed, SVG; return the exit status.

    ``name`` is that of the three files, ``plot`` the module that draws, ``own`` the peers that are
    this library, whose faults are the run's.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text)
    (out / f"{name}.json").write_text(report.to_json(run))
    try:
        drawing = importlib.import_module(plot)
    except ImportError as error:
        print(f"no plot: {error}", file=sys.stderr)
    else:
        drawing.draw(run, out / f"{name}.svg")
    print(f"\n{text}\nwritten to {out}/{name}.md, {name}.json, {name}.svg")
    faults = run.faults(own)
    for fault in faults:
        print(f"wrong: {fault}", file=sys.stderr)
    return 1 if faults else 0
