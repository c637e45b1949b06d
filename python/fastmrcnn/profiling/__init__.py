"""Where the time of a prediction goes. Names load what they need at first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.profiling.clock import Place, StageClock, watched
    from fastmrcnn.profiling.config import BenchConfig
    from fastmrcnn.profiling.result import Profile
    from fastmrcnn.profiling.run import bench, profile

__all__ = ["BenchConfig", "Place", "Profile", "StageClock", "bench", "profile", "watched"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BenchConfig": "config",
        "Place": "clock",
        "Profile": "result",
        "StageClock": "clock",
        "bench": "run",
        "profile": "run",
        "watched": "clock",
    },
)
