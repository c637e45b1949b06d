"""Models that others have published, by name.

The figures are those of their publishers, on COCO val2017 unless said otherwise. A test holds the table in MODELS.md to
this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastmrcnn.weights.download import digest_of, fetch

__all__ = ["PUBLISHED", "PublishedModel", "copy_of"]


@dataclass(frozen=True)
class PublishedModel:
    """A weights file on the network, and what its publisher says about it."""

    url: str
    checksum: str  # "sha256:" or "md5:" and the first digits of the digest, where they are published
    profile: str  # the preset in fastmrcnn.models with its mathematics
    box_ap: float | None = None  # percent
    mask_ap: float | None = None
    keypoint_ap: float | None = None
    norm_eps: float | None = None  # of the batch normalisation, where it differs from the profile's

    def fetch(self) -> Path:
        """The file in the cache; the first call transfers it. UserError where that fails."""
        return fetch(self.url, checksum=self.checksum)


_TORCHVISION = "https://download.pytorch.org/models"

PUBLISHED = {
    "torchvision/maskrcnn_resnet50_fpn": PublishedModel(
        f"{_TORCHVISION}/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        "sha256:bf2d0c1e",
        "torchvision_resnet50_fpn",
        box_ap=37.9,
        mask_ap=34.6,
        norm_eps=0.0,
    ),
}


def copy_of(path: Path, family: str) -> PublishedModel | None:
    """The published model of a family that the file at ``path`` is a copy of, by its digest, whatever its name."""
    digests: dict[str, str] = {}
    for name, published in PUBLISHED.items():
        algorithm, _, digits = published.checksum.partition(":")
        if name.startswith(f"{family}/") and digits:
            if algorithm not in digests:
                digests[algorithm] = digest_of(path, algorithm)
            if digests[algorithm].startswith(digits):
                return published
    return None
