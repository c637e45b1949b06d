"""Which ground-truth object does a box stand for? (Ren et al. 2015, section 3.1.2.)"""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = -1  # overlaps no object enough
IGNORED = -2  # neither object nor background: takes no part in the loss


def match_boxes(iou: Tensor, *, foreground: float, background: float, every_object: bool) -> Tensor:
    """Match N boxes to M objects by their IoU.

    Args:
        iou: [M, N] float, of every object with every box.
        foreground: a box is matched to its best object at this IoU or above.
        background: below this IoU a box is background; between the two it is ignored.
        every_object: also match, whatever the thresholds, the boxes whose IoU with some object is that object's highest
            (ties included), each to the object that it overlaps best. Anchors need it, else a small or odd object is
            never learnt; proposals, to which the objects themselves are added, do not.

    Returns:
        [N] int64: the index of the object, ``BACKGROUND`` or ``IGNORED``. Without objects all is background.
    """
    if iou.shape[0] == 0:
        return torch.full((iou.shape[1],), BACKGROUND, dtype=torch.int64, device=iou.device)
    best_iou, best_object = iou.max(dim=0)  # [N]
    matches = torch.where(best_iou < foreground, IGNORED, best_object)
    matches = torch.where(best_iou < background, BACKGROUND, matches)
    if every_object and iou.shape[1] > 0:
        highest = iou.max(dim=1, keepdim=True).values  # [M, 1]
        # An object that no box touches has 0 as its highest IoU, and must not claim every box.
        is_best = ((iou == highest) & (highest > 0)).any(dim=0)  # [N]
        matches = torch.where(is_best, best_object, matches)
    return matches


def gather_labels(matches: Tensor, labels: Tensor) -> Tensor:
    """The class of each matched box: [N] int64; 0 for background, -1 for ignored boxes. ``labels``: [M] int64, >= 1."""
    if labels.shape[0] == 0:
        return torch.zeros_like(matches)
    matched = torch.where(matches == BACKGROUND, 0, labels[matches.clamp(min=0)])
    return torch.where(matches == IGNORED, -1, matched)
