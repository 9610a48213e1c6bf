"""How one operation is timed: a task, its calibration, a round of samples, and their statistics."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

#: A timed region shorter than this is repeated inside one pair of clock readings.
REGION_NS = 2_000_000
#: A call slower than this is not warmed up again.
SLOW_NS = 200_000_000
#: How long one peer may keep sampling in one round of an ordinary row.
ROUND_NS = 60_000_000


class Style(Enum):
    """What one sample of a row is."""

    BULK = "bulk"
    """The mean of as many calls as fill a timed region: for calls of microseconds."""
    EACH = "each"
    """One call: for calls that take milliseconds or need untimed work in between."""
    MANY = "many"
    """One call of a long run whose mean and tail are reported, maintenance work included."""


@dataclass
class Task:
    """One row for one peer, ready to run."""

    once: Callable[[], object]
    """The timed call. What it returns is freed inside the timed region, as in ``timeit``."""
    check: Callable[[], None] | None = None
    """Compares the outcome of all calls so far with NumPy; raises ``AssertionError``."""
    before: Callable[[], None] | None = None
    """Untimed work before each call. Such a task is always timed call by call."""
    close: Callable[[], None] | None = None
    """Releases files and handles after the last round."""


@dataclass
class Plan:
    """How often a task is called in a round."""

    number: int = 1
    """Calls inside one pair of clock readings."""
    samples: int = 1
    """Samples a round."""


@dataclass
class Stats:
    """Summary of samples, in seconds."""

    count: int
    median: float
    minimum: float
    mean: float
    tail: dict[str, float] = field(default_factory=dict)


def calibrate(task: Task, style: Style, rounds: int, cap: int, budget_ns: int) -> Plan:
    """Warm a task up and choose how often it is called a round.

    ``cap`` bounds the calls of a ``MANY`` row over all rounds; ``budget_ns`` bounds their time.
    """
    region, whole = _warm(task)
    for _ in range(2 if whole < SLOW_NS else 0):
        region, whole = min((region, whole), _warm(task))
    if style is Style.MANY:
        fitting = max(1, budget_ns // whole)
        return Plan(samples=max(1, min(cap, fitting) // rounds))
    number = 1
    if style is Style.BULK and task.before is None:
        number = max(1, math.ceil(REGION_NS / region))
    return Plan(number=number, samples=max(1, min(20, ROUND_NS // (number * whole))))


def sample_round(task: Task, plan: Plan) -> list[int]:
    """Take one round of samples; nanoseconds a call."""
    collected = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        if plan.number == 1:
            return [_timed(task) for _ in range(plan.samples)]
        return [_timed_bulk(task, plan.number) for _ in range(plan.samples)]
    finally:
        if collected:
            gc.enable()


def summarise(samples: Sequence[int], style: Style) -> Stats:
    """Reduce nanosecond samples to seconds: median, minimum, mean and, for ``MANY``, the tail."""
    ordered = sorted(samples)
    count = len(ordered)
    tail = {}
    if style is Style.MANY:
        tail = {
            "p50": quantile(ordered, 0.5),
            "p99": quantile(ordered, 0.99),
            "p99.9": quantile(ordered, 0.999),
            "max": ordered[-1] / 1e9,
        }
    return Stats(
        count=count,
        median=quantile(ordered, 0.5),
        minimum=ordered[0] / 1e9,
        mean=sum(ordered) / count / 1e9,
        tail=tail,
    )


def quantile(ordered: Sequence[int], share: float) -> float:
    """The value below which ``share`` of the ordered nanosecond samples lie, in seconds."""
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return (ordered[low] + (ordered[high] - ordered[low]) * (position - low)) / 1e9


def _warm(task: Task) -> tuple[int, int]:
    """One call: the nanoseconds it took, and those with its untimed preparation."""
    start = time.perf_counter_ns()
    region = _timed(task)
    return max(1, region), max(1, time.perf_counter_ns() - start)


def _timed(task: Task) -> int:
    if task.before is not None:
        task.before()
    once = task.once
    start = time.perf_counter_ns()
    once()
    return time.perf_counter_ns() - start


def _timed_bulk(task: Task, number: int) -> int:
    once = task.once
    repeats = range(number)
    start = time.perf_counter_ns()
    for _ in repeats:
        once()
    return (time.perf_counter_ns() - start) // number
