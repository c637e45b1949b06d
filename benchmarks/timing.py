"""Timing of functions against each other on a machine that does other work, too."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Runs a function some times and returns the seconds they took: on a CPU by the wall clock, on a GPU by its events.
Stopwatch = Callable[[Callable[[], Any], int], float]

SAMPLE_SECONDS = 1e-3  # the least that is timed at once: shorter calls are repeated
LONG_SECONDS = 1.0
ROUNDS = 3  # at least, whatever the time


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call."""

    min_ms: float  # the least disturbed round
    median_ms: float
    spread: float  # (upper quartile - lower quartile) / median
    rounds: int


def wall_clock(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def interleave(
    functions: Sequence[Callable[[], Any]],
    seconds: float,
    *,
    stopwatch: Stopwatch = wall_clock,
    least_rounds: int = ROUNDS,
) -> list[Timing]:
    """Time each function in rounds that alternate between them, so that a slow spell of the machine meets them all."""
    # Also the warm-up: of caches, of allocators, and of a thread pool that has just changed its size.
    first = [stopwatch(function, 1) for function in functions]
    calls = [max(1, round(SAMPLE_SECONDS / max(taken, 1e-7))) for taken in first]
    # Of calls that take seconds it is a round like any other: they were run before, to compare their results.
    samples: list[list[float]] = [[taken * 1e3] if min(first) > LONG_SECONDS else [] for taken in first]
    end = time.perf_counter() + seconds
    collecting = gc.isenabled()
    gc.disable()
    try:
        while len(samples[0]) < least_rounds or time.perf_counter() < end:
            for function, count, taken in zip(functions, calls, samples, strict=True):
                taken.append(stopwatch(function, count) / count * 1e3)
    finally:
        if collecting:
            gc.enable()
    return [_summarise(taken) for taken in samples]


def _summarise(samples: list[float]) -> Timing:
    median = statistics.median(samples)
    lower, _, upper = statistics.quantiles(samples, n=4) if len(samples) > 1 else (median, median, median)
    return Timing(min(samples), median, (upper - lower) / median, len(samples))
