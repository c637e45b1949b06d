"""What a prediction run tells its caller."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PredictSummary:
    """What a prediction run found and wrote."""

    # Folder with the results.
    output: Path
    # Images, or frames, that were segmented.
    images: int
    # Instances found in all of them.
    detections: int
    # One line per image, or video, that did not decode (with skip_broken).
    broken: list[str]
    # Wall-clock seconds, reading and writing included.
    seconds: float
    # What computed: "cpu", "cuda", "cuda:1", ...
    device: str
    # Of the images, those that an interrupted run had segmented already.
    earlier: int = 0
    # Frames of a camera that came while the network was at others.
    dropped: int = 0

    @property
    def pace(self) -> str:
        """How fast it went, of what this run segmented itself, in words.

        >>> PredictSummary(Path("found"), images=1, detections=9, broken=[], seconds=12.5, device="cpu").pace
        '12.5 s an image'
        """
        rate = (self.images - self.earlier) / max(self.seconds, 1e-9)
        return f"{1 / rate:.1f} s an image" if 0 < rate < 1 else f"{rate:.1f} images/s"
