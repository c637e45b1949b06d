"""Models that others have published, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastmrcnn.weights.download import fetch

__all__ = ["PUBLISHED", "PublishedFile"]


@dataclass(frozen=True)
class PublishedFile:
    """A weights file on the network."""

    url: str
    sha256_prefix: str  # the first digits of its SHA-256, as its publisher states them

    def fetch(self) -> Path:
        """The file in the cache; the first call transfers it. UserError where that fails."""
        return fetch(self.url, sha256_prefix=self.sha256_prefix)


PUBLISHED = {
    "torchvision/maskrcnn_resnet50_fpn": PublishedFile(
        "https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", "bf2d0c1e"
    ),
}
