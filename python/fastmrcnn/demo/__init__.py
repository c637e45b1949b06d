"""``fastmrcnn demo``: the whole path on embedded data, with a report to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.demo.config import DemoConfig
    from fastmrcnn.demo.run import run_demo

__all__ = ["DemoConfig", "run_demo"]

__getattr__, __dir__ = lazy_names(__name__, {"DemoConfig": "config", "run_demo": "run"})
