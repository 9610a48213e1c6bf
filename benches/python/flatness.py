"""Does the cost of an operation grow with the size of the array, or with the number of arrays?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpack
import numpy as np
from inputs import NAME, assert_equal
from timing import Plan, Style, Task, calibrate, sample_round
from workloads import COLUMNS, TOUCHED

ROW_BYTES = COLUMNS * np.dtype(np.float32).itemsize
#: Bytes of the array whose neighbours are counted.
NEIGHBOUR_BYTES = 1 << 20

SIZES = (1 << 20, 10 << 20, 100 << 20, 1 << 30, 10 << 30)
COUNTS = (1, 10, 100, 1_000, 10_000)
QUICK_SIZES = (1 << 20, 100 << 20)
QUICK_COUNTS = (1, 1_000)


@dataclass
class Case:
    """One store of a series: the array that is worked on, and how it is labelled."""

    label: str
    npk: numpack.NumPack
    rows: int


@dataclass
class Series:
    """Samples of one operation at every size or count, in nanoseconds a call."""

    operation: str
    samples: dict[str, list[int]]
    wrong: dict[str, str]


def by_size(root: Path, sizes: Iterable[int], rounds: int) -> list[Series]:
    """Sparse arrays of growing size, alone in their stores."""
    cases = []
    for size in sizes:
        rows = size // ROW_BYTES
        npk = numpack.NumPack(root / f"size{size}")
        npk.open()
        npk.create(NAME, (rows, COLUMNS), np.float32)
        cases.append(Case(_bytes(size), npk, rows))
    return _run(cases, rounds)


def by_count(root: Path, counts: Iterable[int], rounds: int) -> list[Series]:
    """An array of one megabyte among growing numbers of small ones."""
    cases = []
    small = np.zeros((10, COLUMNS), np.float32)
    rows = NEIGHBOUR_BYTES // ROW_BYTES
    for count in counts:
        npk = numpack.NumPack(root / f"count{count}")
        npk.open()
        npk.save({f"other{number:05d}": small for number in range(count - 1)})
        npk.create(NAME, (rows, COLUMNS), np.float32)
        cases.append(Case(f"{count:,}", npk, rows))
    return _run(cases, rounds)


def _run(cases: list[Case], rounds: int) -> list[Series]:
    # Dropping comes last: an array with deleted rows has no view.
    makers = {
        "lazy load": (Style.BULK, _lazy_load),
        "view": (Style.BULK, _view),
        "to_arrow": (Style.BULK, _to_arrow),
        "append 100 rows": (Style.EACH, _append),
        "drop 100 rows": (Style.EACH, _drop),
    }
    try:
        return [_series(name, *maker, cases, rounds) for name, maker in makers.items()]
    finally:
        for case in cases:
            case.npk.close()


def _series(
    operation: str,
    style: Style,
    make: Callable[[Case], Task],
    cases: list[Case],
    rounds: int,
) -> Series:
    """Time one operation on all cases, interleaved round by round."""
    tasks: list[tuple[Case, Task, Plan]] = []
    for case in cases:
        task = make(case)
        tasks.append((case, task, calibrate(task, style, rounds, 0, 0)))
    samples: dict[str, list[int]] = {case.label: [] for case in cases}
    for _ in range(rounds):
        for case, task, plan in tasks:
            samples[case.label] += sample_round(task, plan)
    wrong = {}
    for case, task, _ in tasks:
        try:
            task.check()
        except AssertionError as error:
            wrong[case.label] = str(error)
    return Series(operation, samples, wrong)


def _lazy_load(case: Case) -> Task:
    return Task(
        lambda: case.npk.load(NAME, lazy=True),
        check=lambda: assert_equal(case.npk.load(NAME, lazy=True)[-3:], _zeros(3)),
    )


def _view(case: Case) -> Task:
    return Task(
        lambda: case.npk.view(NAME),
        check=lambda: assert_equal(case.npk.view(NAME)[-3:], _zeros(3)),
    )


def _to_arrow(case: Case) -> Task:
    def check() -> None:
        array = case.npk.to_arrow(NAME, zero_copy_only=True)
        _expect_rows(len(array), case.rows)

    return Task(lambda: case.npk.to_arrow(NAME), check=check)


def _append(case: Case) -> Task:
    rows = np.ones((TOUCHED, COLUMNS), np.float32)

    def once() -> None:
        case.npk.append({NAME: rows})
        case.rows += TOUCHED

    def check() -> None:
        _expect_rows(case.npk.get_shape(NAME)[0], case.rows)
        start = case.rows - TOUCHED
        assert_equal(case.npk.getitem(NAME, slice(start, case.rows)), rows)

    return Task(once, check=check)


def _drop(case: Case) -> Task:
    rng = np.random.default_rng(7)
    index = None

    def before() -> None:
        nonlocal index
        index = rng.choice(case.rows, TOUCHED, replace=False, shuffle=False)
        case.rows -= TOUCHED

    return Task(
        lambda: case.npk.drop(NAME, index),
        before=before,
        check=lambda: _expect_rows(case.npk.get_shape(NAME)[0], case.rows),
    )


def _zeros(rows: int) -> np.ndarray:
    return np.zeros((rows, COLUMNS), np.float32)


def _expect_rows(actual: int, expected: int) -> None:
    if actual != expected:
        raise AssertionError(f"{actual} rows, expected {expected}")


def _bytes(size: int) -> str:
    return f"{size >> 30} GB" if size >= 1 << 30 else f"{size >> 20} MB"
