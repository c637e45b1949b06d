"""Training on COCO-format data. Names load what they need when first used, so that the CLI starts quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.training.config import TrainConfig
    from fastmrcnn.training.loop import train
    from fastmrcnn.training.metrics import read_metrics
    from fastmrcnn.training.result import TrainResult

__all__ = ["TrainConfig", "TrainResult", "read_metrics", "train"]

__getattr__, __dir__ = lazy_names(
    __name__, {"TrainConfig": "config", "TrainResult": "result", "read_metrics": "metrics", "train": "loop"}
)
