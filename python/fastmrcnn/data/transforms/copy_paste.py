"""Objects of one image in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from fastmrcnn.data.sample import Sample
from fastmrcnn.data.transforms.base import Transform, check_probability, uniform, white, whole
from fastmrcnn.data.transforms.geometry import crop, pad
from fastmrcnn.ops import concatenate_masks, replace_masks, subtract_mask, unite_masks


class SamplesByPosition(Protocol):
    """Samples by position, as an ``InstanceDataset`` without transforms gives them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class CopyPaste:
    """Simple copy-paste (Ghiasi et al. 2021): objects of another image pasted over this one, with a probability.

    The other image is drawn among ``others`` and goes through ``transforms`` first, usually those that this one went
    through. Any number of its objects is as likely; crowds are not pasted. Where the images differ in size the other
    one is laid over this one at a random place. Edges are not blended: the paper found that it makes no difference.
    """

    others: SamplesByPosition
    probability: float = 0.5
    transforms: Sequence[Transform] = ()

    def __post_init__(self) -> None:
        check_probability("CopyPaste", self.probability)
        if len(self.others) == 0:
            raise ValueError("CopyPaste: others must hold at least one sample; got none")

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """What is covered of an object is no longer of its mask; see :func:`paste`."""
        if uniform(generator) >= self.probability:
            return sample
        other = self.others[whole(generator, 0, len(self.others) - 1)]
        for transform in self.transforms:
            other = transform(other, generator)
        share = uniform(generator)
        chosen = torch.rand(len(other), generator=generator) < share
        other = other.select(chosen & ~other.iscrowd)
        height, width = sample.image.shape[1:]
        return paste(sample, _fitted(other, height, width, generator))


def paste(sample: Sample, pasted: Sample) -> Sample:
    """The objects of ``pasted``, an equally large sample, over those of ``sample``, which they come behind in order.

    Masks and boxes of covered objects become those of their visible part, areas shrink by what is covered, and objects
    that are covered completely are left out. Keypoints under a pasted object are labelled but no longer visible.

    Raises:
        ValueError: the images differ in size or channels, or the keypoints are others.
    """
    if pasted.image.shape != sample.image.shape:
        raise ValueError(f"paste: expected images of one size; got {[list(s.image.shape) for s in (sample, pasted)]}")
    if pasted.keypoint_names != sample.keypoint_names:
        raise ValueError(f"paste: expected the keypoints {sample.keypoint_names}; got {pasted.keypoint_names}")
    if len(pasted) == 0:
        return sample
    region = unite_masks(pasted.masks)
    bitmap = region.to_bitmaps()[0]  # [H, W]
    image, other = _of_one_depth(sample.image, pasted.image)
    runs = sample.masks.to_runs()
    visible = subtract_mask(runs, region)
    before, after = runs.areas(), visible.areas()
    covered = after < before
    behind = replace(
        sample,
        image=torch.where(bitmap, other, image),
        boxes=torch.where(covered[:, None], visible.boxes(), sample.boxes),
        masks=replace_masks(sample.masks, covered, visible[covered]),
        areas=sample.areas * (after / before),
        keypoints=_hidden(sample.keypoints, bitmap),
    )
    return _joined(behind.select(after > 0), pasted)


def _fitted(sample: Sample, height: int, width: int, generator: torch.Generator) -> Sample:
    """The sample in an image of that size: cut where it is larger and padded where it is smaller, at a random place."""
    rows, columns = sample.image.shape[1:]
    top, left = whole(generator, 0, abs(rows - height)), whole(generator, 0, abs(columns - width))
    cut_top, above = (top, 0) if rows > height else (0, top)
    cut_left, before = (left, 0) if columns > width else (0, left)
    window = crop(sample, cut_top, cut_left, min(rows, height), min(columns, width))
    return pad(window, above, before, max(height - rows, 0) - above, max(width - columns, 0) - before)


def _of_one_depth(image: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both as they are, or in 0..1 where one has 8 bits and one more."""
    if image.dtype == other.dtype:
        return image, other
    return image.float() / white(image), other.float() / white(other)


def _hidden(keypoints: Tensor | None, bitmap: Tensor) -> Tensor | None:
    """The keypoints, of which the visible ones (2) that lie in the bitmap are labelled only (1)."""
    if keypoints is None:
        return None
    height, width = bitmap.shape
    x, y, visibility = keypoints.unbind(-1)
    columns, rows = x.long().clamp(0, width - 1), y.long().clamp(0, height - 1)
    visibility = torch.where(bitmap[rows, columns], visibility.clamp(max=1), visibility)
    return torch.stack([x, y, visibility], dim=-1)


def _joined(sample: Sample, pasted: Sample) -> Sample:
    """The objects of both, in the image of the first."""
    keypoints = None
    if sample.keypoints is not None and pasted.keypoints is not None:
        keypoints = torch.cat([sample.keypoints, pasted.keypoints])
    return replace(
        sample,
        boxes=torch.cat([sample.boxes, pasted.boxes]),
        labels=torch.cat([sample.labels, pasted.labels]),
        masks=concatenate_masks([sample.masks, pasted.masks]),
        iscrowd=torch.cat([sample.iscrowd, pasted.iscrowd]),
        areas=torch.cat([sample.areas, pasted.areas]),
        keypoints=keypoints,
    )
