"""``fastmrcnn demo``: the whole path on embedded data, with a report to look at."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmrcnn.demo.config import DemoConfig
    from fastmrcnn.demo.run import run_demo

__all__ = ["DemoConfig", "run_demo"]

_HOME = {"DemoConfig": "config", "run_demo": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastmrcnn.demo' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastmrcnn.demo.{_HOME[name]}"), name)
