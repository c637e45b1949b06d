"""What is profiled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastmrcnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Profile the prediction of a model.

    >>> BenchConfig(repeats=0)
    Traceback (most recent call last):
        ...
    fastmrcnn.errors.UserError: repeats must be at least 1; got 0
    """

    # The shipped weights "tiny", a weights file, or the name of a published model.
    model: str = "tiny"
    # Image file to predict; the default is a photograph that comes with the package, and noise for models of other
    # bands.
    image: Path | None = None
    # Height and width, px, that the image is brought to first, as a JPEG file, or that noise has; the default is its
    # own.
    size: tuple[int, int] | None = None
    # Images that go through the network together: the same one, as often.
    batch_size: int = 1
    # Threads that compute on the CPU; the default is torch's: one a core.
    threads: int | None = None
    # Make the model as fast as this machine allows first (fastmrcnn.optimize).
    fast: bool = False
    # Least confidence of a detection, 0..1, as of fastmrcnn predict.
    score_threshold: float = 0.5
    # Predictions that are timed, after two that are not; medians are shown.
    repeats: int = 5
    # JSON file to write the numbers to.
    output: Path | None = None
    # "auto" is CUDA when available; or "cpu", "cuda", "cuda:1", ...
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("image", "output"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        for name in ("batch_size", "repeats", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1; got {value}")
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"size must be a height and a width of at least 1; got {self.size[0]} {self.size[1]}")
        if not 0 <= self.score_threshold <= 1:
            raise UserError(f"score_threshold must be in 0..1; got {self.score_threshold}")
