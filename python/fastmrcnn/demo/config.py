"""What a demo run is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastmrcnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """The whole path on the embedded data set, in about two minutes on two cores."""

    # Folder for report.html, metrics.json and everything that the demo makes on its way.
    output: Path = Path("fastmrcnn-demo")
    # The weights to show: the shipped "tiny", or a file that knows the same classes.
    weights: str = "tiny"
    # Held-out images that are predicted and evaluated.
    images: int = 24
    # Optimizer steps of fine-tuning.
    steps: int = 50
    # "auto" is CUDA when available; or "cpu", "cuda", "cuda:1", ...
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", Path(self.output))
        for name in ("images", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1; got {getattr(self, name)}")
