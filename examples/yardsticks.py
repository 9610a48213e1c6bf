"""Times the steps of the quickstart on NPY files and on either version of NumPack.

As a program, ``yardsticks.py DIGITS.npz`` times the numpack that its interpreter finds and prints
one JSON object; the quickstart runs it in the environment of numpack 0.4.2.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

#: Each step is timed this often; the median counts.
REPEATS = 9
#: Rows that are replaced, and dropped: not neighbours, not sorted.
SCATTERED = [1_400, 3, 777]


def times(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median milliseconds of each step; every repetition runs all steps in order."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(REPEATS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in taken.items()}


def npy(directory: Path, arrays: dict[str, np.ndarray]) -> tuple[dict[str, float], bool]:
    """The steps on one NPY file an array; a change loads and saves the file."""
    path = directory / "images.npy"
    images = arrays["images"]
    head = images[: len(SCATTERED)]

    def save() -> None:
        for name, array in arrays.items():
            np.save(directory / f"{name}.npy", array)

    def replace() -> None:
        changed = np.load(path)
        changed[SCATTERED] = head
        np.save(path, changed)

    steps = {
        "save": save,
        "load": lambda: np.load(path),
        "lazy": lambda: np.load(path, mmap_mode="r")[5],
        "replace": replace,
        "append": lambda: np.save(path, np.concatenate([np.load(path), images[:100]])),
        "drop": lambda: np.save(path, np.delete(np.load(path), SCATTERED, axis=0)),
        "reopen": lambda: np.load(path, mmap_mode="r"),
    }
    return times(steps), True


def store(directory: Path, arrays: dict[str, np.ndarray]) -> tuple[dict[str, float], bool]:
    """The steps on a store, and whether a scattered replace wrote what it was given."""
    import numpack

    images = arrays["images"]
    head = images[: len(SCATTERED)]
    npk = numpack.NumPack(directory / "yardstick")
    npk.open()

    def reopen() -> None:
        npk.close()
        npk.open()

    steps = {
        "save": lambda: npk.save(arrays),
        "load": lambda: npk.load("images"),
        "lazy": lambda: npk.load("images", lazy=True)[5],
        "replace": lambda: npk.replace({"images": head}, SCATTERED),
        "append": lambda: npk.append({"images": images[:100]}),
    }
    measured = times(steps)
    npk.save(arrays)
    npk.replace({"images": head}, SCATTERED)
    right = bool(np.array_equal(npk.load("images")[SCATTERED], head))
    # Last, since 0.4.2 cannot save over an array with dropped rows.
    measured |= times({"drop": lambda: npk.drop("images", SCATTERED), "reopen": reopen})
    npk.close()
    return measured, right


def main(digits: str) -> None:
    """Time the numpack at hand on the arrays of an NPZ file."""
    with np.load(digits) as file, tempfile.TemporaryDirectory() as scratch:
        milliseconds, right = store(Path(scratch), {name: file[name] for name in file.files})
    print(json.dumps({"milliseconds": milliseconds, "right": right}))


if __name__ == "__main__":
    main(sys.argv[1])
