"""Training on COCO-format data. Names load what they need when first used, so that the CLI starts quickly."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmrcnn.training.config import TrainConfig
    from fastmrcnn.training.loop import train
    from fastmrcnn.training.metrics import read_metrics
    from fastmrcnn.training.result import TrainResult

__all__ = ["TrainConfig", "TrainResult", "read_metrics", "train"]

_HOME = {"TrainConfig": "config", "TrainResult": "result", "read_metrics": "metrics", "train": "loop"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastmrcnn.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fastmrcnn.training.{_HOME[name]}"), name)
