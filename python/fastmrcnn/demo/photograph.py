"""The real photograph: 24 ancient coins that nothing was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from fastmrcnn.data import CocoDataset, Sample
from fastmrcnn.models import MaskRCNN
from fastmrcnn.ops import RLE
from fastmrcnn.structures import Detections

SCORE = 0.5  # least confidence of a detection that counts
IOU = 0.5  # least overlap of a coin with its detection's mask


@dataclass(frozen=True)
class SegmentedPhotograph:
    """The photograph, its annotated coins and what was found."""

    sample: Sample
    # Detections of any class with at least SCORE.
    found: Detections
    coins: int
    # Coins that a detection of class "coin" covers with at least IOU.
    coins_found: int
    # Detections that are no coin, that cover none well enough or one that was already found.
    coins_false: int


def segment_photograph(model: MaskRCNN) -> SegmentedPhotograph:
    """Segment the photograph that ships with the package and compare with its outlines."""
    with resources.as_file(resources.files("fastmrcnn") / "assets") as assets:
        sample = CocoDataset(assets / "coins.json", assets)[0]
    found = model.predict(sample.image).filter(score=SCORE)
    matched = count_matches(sample.masks.to_rle(), found)
    return SegmentedPhotograph(sample, found, len(sample), matched, len(found) - matched)


def count_matches(outlines: list[RLE], found: Detections, *, class_name: str = "coin") -> int:
    """How many of ``outlines`` (RLE) have a detection of ``class_name`` of their own, the most confident ones first."""
    candidates = [index for index, name in enumerate(found.names) if name == class_name]
    if not candidates or not outlines:
        return 0
    rles = found.rle
    overlap = np.asarray(coco_mask.iou([rles[i] for i in candidates], outlines, [0] * len(outlines)))  # [D, G]
    scores = found.scores[candidates].numpy()
    free = np.ones(len(outlines), dtype=bool)
    for row in overlap[np.argsort(-scores, kind="stable")]:
        best = int(np.argmax(np.where(free, row, -1.0)))
        if free[best] and row[best] >= IOU:
            free[best] = False
    return int((~free).sum())
