"""What the GPU can do at best, as far as torch can show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.case import Work

COPIED = 2 << 30  # bytes: far beyond the caches
RESIDENT = 16 << 20  # bytes: within the second-level cache
MATRIX = 8192


@dataclass(frozen=True)
class DeviceLimits:
    copy_gb_per_s: float  # bytes read plus bytes written, from and to memory
    write_gb_per_s: float
    cache_gb_per_s: float  # copying within the second-level cache
    bfloat16_tflop_per_s: float

    def milliseconds(self, work: Work) -> float:
        """The time below which the bytes of `work` cannot be moved. Arithmetic is never the limit of an operator."""
        memory = work.reads / self.copy_gb_per_s + work.writes / self.write_gb_per_s
        return max(memory, work.gathers / self.cache_gb_per_s) * 1e-6

    def to_json(self) -> dict[str, Any]:
        return {name: round(value, 1) for name, value in asdict(self).items()}


def measure_limits() -> DeviceLimits:
    source = torch.ones(COPIED // 8, device="cuda")
    target = torch.empty_like(source)
    copy = COPIED / _nanoseconds(lambda: target.copy_(source))
    write = source.nbytes / _nanoseconds(lambda: target.fill_(1.0))
    small, other = source[: RESIDENT // 8], target[: RESIDENT // 8]
    cache = RESIDENT / _nanoseconds(lambda: other.copy_(small))
    matrix = torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16)
    flops = 2 * MATRIX**3 / _nanoseconds(lambda: matrix @ matrix) * 1e-3
    return DeviceLimits(copy, write, cache, flops)


def _nanoseconds(function: Any, calls: int = 20) -> float:
    """Of one of several calls in a row, the fastest row of five."""
    best = float("inf")
    for _ in range(5):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            function()
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end) * 1e6 / calls)
    return best
