"""Outputs of a box head, and what becomes of them: by plain loops, and by the operators that do one step each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.ops import batched_nms, decode_boxes, remove_small_boxes, select_detections
from fastmrcnn.ops.detections import PaddedDetections
from tests.ops.proposal_cases import looped_decode, looped_iou

SIZES = ((96, 136), (70, 130), (96, 40))  # of the images, px

Found = list[tuple[Tensor, Tensor, Tensor, Tensor]]  # for each image boxes [N, 4], scores, labels and rows [N]


@dataclass(frozen=True)
class Head:
    """The box head's outputs, and the proposals that they are about."""

    logits: Tensor  # [B, P, C + 1]
    deltas: Tensor  # [B, P, (C + 1) * 4] or [B, P, 4]
    proposals: Tensor  # [B, P, 4]
    counts: Tensor | None
    sizes: list[tuple[int, int]]

    def select(self, **options: Any) -> PaddedDetections:
        return select_detections(self.logits, self.deltas, self.proposals, self.counts, self.sizes, **options)

    def map(self, change: Callable[[Tensor], Tensor]) -> Head:
        """With logits and deltas changed."""
        return replace(self, logits=change(self.logits), deltas=change(self.deltas))

    def real(self, image: int) -> int:
        return self.proposals.shape[1] if self.counts is None else int(self.counts[image])


def random_head(
    batch: int = 2,
    proposals: int = 60,
    classes: int = 5,
    *,
    dtype: torch.dtype = torch.float32,
    counts: list[int] | None = None,
    agnostic: bool = False,
) -> Head:
    """Proposals in clusters, as an RPN leaves them, and a head that is sure of some."""
    wide = torch.promote_types(dtype, torch.float32)
    centres = torch.rand(batch, 6, 2, dtype=wide) * torch.tensor([136, 96])
    sides = torch.rand(batch, 6, 2, dtype=wide) * 50 + 6
    cluster = torch.randint(6, (batch, proposals, 1)).expand(-1, -1, 2)
    centre = centres.gather(1, cluster) + 2 * torch.randn(batch, proposals, 2, dtype=wide)
    side = sides.gather(1, cluster) * torch.exp(0.1 * torch.randn(batch, proposals, 2, dtype=wide))
    columns = 1 if agnostic else classes + 1
    return Head(
        logits=(2.5 * torch.randn(batch, proposals, classes + 1)).to(dtype),
        deltas=(0.5 * torch.randn(batch, proposals, columns * 4)).to(dtype),
        proposals=torch.cat([centre - side / 2, centre + side / 2], dim=2),
        counts=None if counts is None else torch.tensor(counts),
        sizes=[SIZES[image % len(SIZES)] for image in range(batch)],
    )


def composed(
    head: Head,
    *,
    score_threshold: float = 0.05,
    nms_iou: float = 0.5,
    detections: int = 100,
    min_size: float = 1e-2,
    weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
    clip: float = math.log(1000 / 16),
) -> Found:
    """The same in steps, each by the operator that is there for it."""
    found = []
    for image, size in enumerate(head.sizes):
        count = head.real(image)
        proposals = head.proposals[image, :count]
        logits, deltas = (part[image, :count].to(proposals.dtype) for part in (head.logits, head.deltas))
        scores = logits.softmax(dim=1)
        row, label = torch.where(scores[:, 1:] > score_threshold)
        label = label + 1
        deltas = deltas.unflatten(1, (-1, 4)).expand(-1, logits.shape[1], -1)[row, label]
        box = decode_boxes(deltas, proposals[row], weights, clip, image_size=size)
        large = remove_small_boxes(box, min_size)
        box, score, label, row = box[large], scores[row, label][large], label[large], row[large]
        keep = batched_nms(box, score, label, nms_iou)[:detections]
        found.append((box[keep], score[keep], label[keep], row[keep]))
    return found


def looped(
    head: Head, *, score_threshold: float, nms_iou: float, detections: int, min_size: float
) -> list[list[tuple[np.ndarray, float, int, int]]]:
    """For each image box, score, label and row of its detections: in double precision, candidate by candidate."""
    result = []
    for image, (height, width) in enumerate(head.sizes):
        candidates = []
        for row in range(head.real(image)):
            exponentials = np.exp(head.logits[image, row].double().numpy())
            deltas = head.deltas[image, row].double().numpy().reshape(-1, 4) / (10, 10, 5, 5)
            for label in range(1, len(exponentials)):
                score = float(exponentials[label] / exponentials.sum())
                if score > score_threshold:
                    delta = deltas[label if len(deltas) > 1 else 0]
                    box = looped_decode(delta, head.proposals[image, row].double().numpy(), height, width)
                    candidates.append((-score, row, label, box))
        kept: list[tuple[np.ndarray, float, int, int]] = []
        for negative, row, label, box in sorted(candidates, key=lambda candidate: candidate[:3]):
            if len(kept) == detections:
                break
            if box[2] - box[0] < min_size or box[3] - box[1] < min_size:
                continue
            if not any(other == label and looped_iou(box, before) > nms_iou for before, _, other, _ in kept):
                kept.append((box, -negative, label, row))
        result.append(kept)
    return result
