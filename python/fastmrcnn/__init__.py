"""Mask R-CNN that installs anywhere and runs at the machine's speed.

Importing this package is cheap: the names below load what they need when they are first used.

Example:
    >>> import fastmrcnn
    >>> model = fastmrcnn.load_model("tiny")  # doctest: +SKIP
    >>> model.predict("photograph.jpg").plot().save("overlay.png")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fastmrcnn.lazy import lazy_names

if TYPE_CHECKING:
    from fastmrcnn.deployment import optimize
    from fastmrcnn.models import MaskRCNN, MaskRCNNConfig
    from fastmrcnn.structures import Detections
    from fastmrcnn.weights import load_model, load_model_for_finetuning, save_model

try:
    __version__ = version("fastmrcnn")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0+uninstalled"

__all__ = [
    "Detections",
    "MaskRCNN",
    "MaskRCNNConfig",
    "__version__",
    "load_model",
    "load_model_for_finetuning",
    "optimize",
    "save_model",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Detections": "structures",
        "MaskRCNN": "models",
        "MaskRCNNConfig": "models",
        "load_model": "weights",
        "load_model_for_finetuning": "weights",
        "optimize": "deployment",
        "save_model": "weights",
    },
)
