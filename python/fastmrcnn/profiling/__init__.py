"""Where the time of a prediction goes. Names load what they need at first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmrcnn.profiling.clock import Place, StageClock, watched
    from fastmrcnn.profiling.config import BenchConfig
    from fastmrcnn.profiling.result import Profile
    from fastmrcnn.profiling.run import bench, profile

__all__ = ["BenchConfig", "Place", "Profile", "StageClock", "bench", "profile", "watched"]

_HOME = {
    "BenchConfig": "config",
    "Place": "clock",
    "Profile": "result",
    "StageClock": "clock",
    "bench": "run",
    "profile": "run",
    "watched": "clock",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastmrcnn.profiling' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastmrcnn.profiling.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
