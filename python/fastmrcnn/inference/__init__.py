"""Prediction over files, folders, globs and videos. Names load what they need when used: the CLI starts fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.inference.augmented import AugmentedDetector
    from fastmrcnn.inference.config import PredictConfig
    from fastmrcnn.inference.device import resolve_device
    from fastmrcnn.inference.sources import find_images
    from fastmrcnn.inference.stream import predict_files
    from fastmrcnn.inference.summary import PredictSummary
    from fastmrcnn.inference.tiles import predict_tiled
    from fastmrcnn.inference.video.predict import Frame, predict_video

__all__ = [
    "AugmentedDetector",
    "Frame",
    "PredictConfig",
    "PredictSummary",
    "find_images",
    "predict_files",
    "predict_tiled",
    "predict_video",
    "resolve_device",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Frame": "video.predict",
        "AugmentedDetector": "augmented",
        "PredictConfig": "config",
        "PredictSummary": "summary",
        "find_images": "sources",
        "predict_files": "stream",
        "predict_tiled": "tiles",
        "predict_video": "video.predict",
        "resolve_device": "device",
    },
)
