"""What a run writes. A new kind of output is one class in a module of its own, and one line in :func:`chosen`."""

from __future__ import annotations

from fastmrcnn.inference.config import PredictConfig
from fastmrcnn.inference.outputs.coco import CocoResults
from fastmrcnn.inference.outputs.output import Output, Run
from fastmrcnn.inference.outputs.overlays import Overlays

__all__ = ["EVERY_KIND", "Output", "Run", "chosen"]

EVERY_KIND: tuple[type[Output], ...] = (CocoResults, Overlays)


def chosen(config: PredictConfig) -> list[type[Output]]:
    """The kinds of output that a configuration asks for."""
    return [CocoResults, *([Overlays] if config.overlays else [])]
