"""Outputs of an RPN head, and what becomes of them: by plain loops, and by the operators that do one step each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.ops import (
    batched_nms,
    clip_boxes_to_image,
    decode_boxes,
    generate_anchors,
    generate_proposals,
    remove_small_boxes,
)
from fastmrcnn.ops.proposals import PaddedProposals

Found = list[tuple[Tensor, Tensor]]  # for each image boxes [N, 4] and scores [N]

MAPS = ((12, 17), (6, 9), (3, 5))
STRIDES = ((8, 8), (16, 16), (32, 32))
SIZES = ((96, 136), (70, 130), (96, 40))  # of the images, px
RATIOS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Heads:
    """The head's outputs on all levels, and the anchors."""

    logits: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]
    sizes: list[tuple[int, int]]

    def propose(self, **options: Any) -> PaddedProposals:
        return generate_proposals(self.logits, self.deltas, self.anchors, self.sizes, **options)

    def to(self, *arguments: Any, **keywords: Any) -> Heads:
        """With logits and deltas converted as `Tensor.to` does."""
        return replace(
            self,
            logits=[level.to(*arguments, **keywords) for level in self.logits],
            deltas=[level.to(*arguments, **keywords) for level in self.deltas],
        )

    def rounded(self, step: float) -> Heads:
        """With logits that are multiples of `step`, so that many are equal."""
        return replace(self, logits=[(level / step).round() * step for level in self.logits])


def random_heads(
    batch: int = 2,
    maps: tuple[tuple[int, int], ...] = MAPS,
    ratios: tuple[float, ...] = RATIOS,
    dtype: torch.dtype = torch.float32,
) -> Heads:
    sizes = [[16.0 * 2**level] for level in range(len(maps))]
    anchors = generate_anchors(
        (96, 136),
        maps,
        STRIDES[: len(maps)],
        sizes,
        [list(ratios)] * len(maps),
        dtype=torch.promote_types(dtype, torch.float32),
    )
    count = len(ratios)
    return Heads(
        logits=[(2 * torch.randn(batch, count, *size)).to(dtype) for size in maps],
        deltas=[(0.5 * torch.randn(batch, 4 * count, *size)).to(dtype) for size in maps],
        anchors=anchors,
        sizes=[SIZES[image % len(SIZES)] for image in range(batch)],
    )


def anchor_rows(level: Tensor, numbers: int) -> Tensor:
    """`[B, A * numbers, H, W]` -> `[B, H * W * A, numbers]`."""
    return level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, numbers)


def composed(
    heads: Heads,
    *,
    pre_nms: int = 1000,
    post_nms: int = 1000,
    nms_iou: float = 0.7,
    min_size: float = 1e-3,
    score_threshold: float = 0.0,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    clip: float = math.log(1000 / 16),
) -> Found:
    """The same in steps, each by the operator that is there for it."""
    found = []
    for image, size in enumerate(heads.sizes):
        logits, boxes, levels = [], [], []
        for index, (logit, delta, anchor) in enumerate(zip(heads.logits, heads.deltas, heads.anchors, strict=True)):
            logit = anchor_rows(logit, 1)[image, :, 0]
            best = torch.sort(logit, descending=True, stable=True).indices[:pre_nms]
            decoded = decode_boxes(anchor_rows(delta, 4)[image, best], anchor[best], weights, clip)
            boxes.append(clip_boxes_to_image(decoded, size))
            logits.append(logit[best].to(decoded.dtype))
            levels.append(torch.full_like(best, index))
        logit, box, level = torch.cat(logits), torch.cat(boxes), torch.cat(levels)
        scores = logit.double().sigmoid().to(box.dtype)
        valid = torch.zeros(len(box), dtype=torch.bool)
        valid[remove_small_boxes(box, min_size)] = True
        valid &= scores >= score_threshold
        box, score, logit, level = box[valid], scores[valid], logit[valid], level[valid]
        keep = batched_nms(box, logit, level, nms_iou)[:post_nms]
        found.append((box[keep], score[keep]))
    return found


def looped(heads: Heads, *, pre_nms: int, post_nms: int, nms_iou: float, min_size: float) -> list[list[list[float]]]:
    """For each image rows x1, y1, x2, y2, score: numpy scalars in double precision, box by box."""
    result = []
    for image, (height, width) in enumerate(heads.sizes):
        candidates = []
        for level, (logits, deltas, anchors) in enumerate(zip(heads.logits, heads.deltas, heads.anchors, strict=True)):
            count, rows, columns = logits.shape[1:]
            of_level = []
            for row in range(rows):
                for column in range(columns):
                    for a in range(count):
                        index = (row * columns + column) * count + a
                        logit = float(logits[image, a, row, column])
                        delta = deltas[image, 4 * a : 4 * a + 4, row, column].double().numpy()
                        box = looped_decode(delta, anchors[index].double().numpy(), height, width)
                        of_level.append((-logit, level, index, box))
            candidates += sorted(of_level, key=lambda candidate: candidate[:3])[:pre_nms]
        kept: list[tuple[int, np.ndarray, float]] = []
        for negative, level, _, box in sorted(candidates, key=lambda candidate: candidate[:3]):
            if len(kept) == post_nms:
                break
            if box[2] - box[0] < min_size or box[3] - box[1] < min_size:
                continue
            if not any(other == level and looped_iou(box, before) > nms_iou for other, before, _ in kept):
                kept.append((level, box, 1 / (1 + math.exp(negative))))
        result.append([[*box.tolist(), score] for _, box, score in kept])
    return result


def looped_decode(delta: np.ndarray, anchor: np.ndarray, height: int, width: int) -> np.ndarray:
    sides = anchor[2:] - anchor[:2]
    centre = anchor[:2] + sides / 2 + delta[:2] * sides
    half = np.exp(np.minimum(delta[2:], math.log(1000 / 16))) * sides / 2
    box = np.concatenate([centre - half, centre + half])
    return np.clip(box, 0, [width, height, width, height])


def looped_iou(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    overlap = float(sides.prod())
    return overlap / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - overlap)
