"""What the machine can do at best, as far as torch can show it: bytes a second by working set, and flops a second.

Reading is the faster of a float32 sum and a matrix-vector product, writing is `fill_`, copying is `copy_` (bytes read
plus bytes written); each over memory that is mapped already, the best of many rounds. Arithmetic is a float32 matrix
product of 1024 x 1024. The program probes before each family of cases and takes the best, for other work on the machine
slows the probes as it slows the operators. A hand-written loop would gain a little on these; a share above 100% is
possible then, and where a result stays in a cache that the probe's did not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.case import Work

MIB = 1 << 20
WORKING_SETS = (1 * MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB)  # bytes; from a core's own cache to memory
MATRIX = 1024
PROBE_SECONDS = 0.03


@dataclass(frozen=True)
class Limits:
    """Of one number of threads; the rates are in GB/s, keyed by bytes of the working set."""

    threads: int
    read: dict[int, float]
    write: dict[int, float]
    copy: dict[int, float]
    own_cache: float  # GB/s that all cores read out of their own second-level caches
    gflops: float  # float32, a fused multiply-add counts two

    def milliseconds(self, work: Work) -> tuple[float, str]:
        """The time below which `work` cannot be done, and what says so: "memory", "cache" or "compute".

        Memory is read and written at the rate of a working set that holds both.
        """
        resident = work.reads + work.writes
        times = {
            "memory": work.reads / _rate(self.read, resident) + work.writes / _rate(self.write, resident),
            "cache": work.gathers / self.own_cache,
            "compute": work.flops / self.gflops,
        }
        bound = max(times, key=times.__getitem__)
        return times[bound] * 1e-6, bound

    def best_of(self, other: Limits) -> Limits:
        """The greater of each rate: both were seen."""

        def greater(rates: dict[int, float], others: dict[int, float]) -> dict[int, float]:
            return {size: max(rate, others[size]) for size, rate in rates.items()}

        return Limits(
            self.threads,
            greater(self.read, other.read),
            greater(self.write, other.write),
            greater(self.copy, other.copy),
            max(self.own_cache, other.own_cache),
            max(self.gflops, other.gflops),
        )

    def to_json(self) -> dict[str, Any]:
        by_size = {
            f"{kind}_gb_per_s": {f"{size // MIB} MiB": round(rate, 1) for size, rate in rates.items()}
            for kind, rates in (("read", self.read), ("write", self.write), ("copy", self.copy))
        }
        arithmetic = {"own_cache_gb_per_s": round(self.own_cache, 1), "gflop_per_s": round(self.gflops, 1)}
        return {"threads": self.threads, **by_size, **arithmetic}


def measure_limits(threads: int, *, seconds: float = PROBE_SECONDS) -> Limits:
    """Probe the machine with this number of threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        read, write, copy = {}, {}, {}
        for size in WORKING_SETS:
            read[size], write[size], copy[size] = _memory_rates(size, seconds)
        matrix = torch.ones(MATRIX, MATRIX)
        gflops = 2 * MATRIX**3 / _best(lambda: matrix @ matrix, seconds)
        # Each core has its own: one core's rate scales, while the start of a parallel region would hide it.
        torch.set_num_threads(1)
        smallest = torch.ones(WORKING_SETS[0] // 4)
        own_cache = threads * WORKING_SETS[0] / _best(smallest.sum, seconds)
    finally:
        torch.set_num_threads(before)
    return Limits(threads, read, write, copy, own_cache, gflops)


def _memory_rates(size: int, seconds: float) -> tuple[float, float, float]:
    """GB/s of reading, writing and copying a working set of `size` bytes."""
    values = torch.ones(size // 4)
    half, rows = len(values) // 2, values.view(-1, 1024)
    read = min(_best(values.sum, seconds), _best(lambda: torch.mv(rows, rows[0]), seconds))
    write = _best(lambda: values.fill_(1.0), seconds)
    copy = _best(lambda: values[:half].copy_(values[half:]), seconds)
    return size / read, size / write, size / copy


def _rate(rates: dict[int, float], size: float) -> float:
    """The rate of the smallest working set that is not below `size`."""
    return next((rate for probed, rate in sorted(rates.items()) if probed >= size), rates[max(rates)])


def _best(function: Callable[[], Any], seconds: float) -> float:
    """Nanoseconds of the fastest call."""
    function()
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter_ns()
        function()
        best = min(best, time.perf_counter_ns() - start)
    return best
