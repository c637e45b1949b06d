"""Timing on a GPU: single calls between events, from a cold second-level cache; and what was launched.

Before each call the cache is swept, and the device is kept busy for a moment, so that the host is ahead of it: what
lies between the events is then the work of the device alone, unless the function waits for a result, which counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

SWEEP_BYTES = 256 << 20  # more than any second-level cache
BUSY_CYCLES = 400_000  # some 0.2 ms
LEAST_ROUNDS = 5


@dataclass(frozen=True)
class DeviceTiming:
    """Milliseconds of one call."""

    median_ms: float
    min_ms: float
    spread: float  # (upper quartile - lower quartile) / median
    rounds: int
    kernels: int  # launched by one call
    kernels_ms: float  # that they ran, one after the other
    waits: int  # calls of the runtime that wait for the device


def compare(functions: Sequence[Callable[[], Any]], rounds: int) -> list[DeviceTiming]:
    """Time each function in rounds that alternate between them."""
    for function in functions:
        for _ in range(3):
            function()
    sweep = torch.empty(SWEEP_BYTES, dtype=torch.uint8, device="cuda")
    samples: list[list[float]] = [[] for _ in functions]
    for _ in range(max(rounds, LEAST_ROUNDS)):
        for function, taken in zip(functions, samples, strict=True):
            taken.append(_one_call(function, sweep))
    profiles = [profile(function) for function in functions]
    return [_summarise(taken, *found) for taken, found in zip(samples, profiles, strict=True)]


def _one_call(function: Callable[[], Any], sweep: torch.Tensor) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    sweep.fill_(1)
    torch.cuda._sleep(BUSY_CYCLES)
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def profile(function: Callable[[], Any]) -> tuple[int, float, int]:
    """Of one call: kernels (copies and fills included), the milliseconds they ran, and how often the host waited."""
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        function()
        torch.cuda._sleep(1)  # what follows is the profiler's own synchronisation
    kernels, microseconds, waits = 0, 0.0, 0
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA and "spin_kernel" not in event.name:
            kernels += 1
            microseconds += event.self_device_time_total
        waits += event.name in ("cudaStreamSynchronize", "cudaEventSynchronize")
    return kernels, microseconds * 1e-3, waits


def _summarise(samples: list[float], kernels: int, kernels_ms: float, waits: int) -> DeviceTiming:
    lower, median, upper = statistics.quantiles(samples, n=4)
    return DeviceTiming(median, min(samples), (upper - lower) / median, len(samples), kernels, kernels_ms, waits)
