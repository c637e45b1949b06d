"""What puts the objects of several images into one: joining, padding, uniting and subtracting `InstanceMasks`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastmrcnn.ops._runs import place_pixels, subtract, unite
from fastmrcnn.ops.instance_masks import InstanceMasks

__all__ = ["concatenate_masks", "number_pixels", "pad_masks", "replace_masks", "subtract_mask", "unite_masks"]


def concatenate_masks(parts: Sequence[InstanceMasks]) -> InstanceMasks:
    """The objects of all parts, which must be of one image size, in their order.

    Raises:
        ValueError: there is no part, or their sizes differ.

    Example:
        >>> square = InstanceMasks.from_coco([[[0, 0, 2, 0, 2, 3, 0, 3]]], 4, 4)
        >>> concatenate_masks([square, square]).shape
        torch.Size([2, 4, 4])
    """
    sizes = {(part.height, part.width) for part in parts}
    if len(sizes) != 1:
        raise ValueError(f"concatenate_masks: expected masks of one image size; got {sorted(sizes)}")
    return replace(
        parts[0],
        points=torch.cat([part.points for part in parts]),
        polygons=_joined_offsets([part.polygons for part in parts]),
        object_polygons=_joined_offsets([part.object_polygons for part in parts]),
        transitions=torch.cat([part.transitions for part in parts]),
        object_transitions=_joined_offsets([part.object_transitions for part in parts]),
    )


def replace_masks(masks: InstanceMasks, chosen: Tensor, others: InstanceMasks) -> InstanceMasks:
    """The masks, with those of `others`, one after the other, in the places of the objects where `chosen` is true.

    Args:
        masks: of G objects.
        chosen: `[G]` bool.
        others: as many objects as are chosen, of the same image size.

    Raises:
        ValueError: the numbers or the sizes differ.
    """
    count = int(chosen.sum())
    if len(others) != count or chosen.shape != (len(masks),):
        raise ValueError(
            f"replace_masks: expected a mask for each of the chosen objects; "
            f"got {len(others)} for {count} of {chosen.numel()} choices among {len(masks)} objects"
        )
    place = torch.empty(len(masks), dtype=torch.int64, device=chosen.device)
    place[~chosen] = torch.arange(len(masks) - count, device=chosen.device)
    place[chosen] = torch.arange(len(masks) - count, len(masks), device=chosen.device)
    return concatenate_masks([masks[~chosen], others])[place]


def pad_masks(masks: InstanceMasks, top: int, left: int, bottom: int, right: int) -> InstanceMasks:
    """The masks in a larger image, with so many rows and columns around theirs, in which no object has a pixel.

    Objects with polygons that leave their image, as cropping makes them, become run lengths, lest what was cut off
    appear again.

    Raises:
        ValueError: a number is negative.
    """
    if min(top, left, bottom, right) < 0:
        raise ValueError(f"pad_masks: padding must not be negative; got {[top, left, bottom, right]}")
    leaving = _leaves_the_image(masks)
    if bool(leaving.any()):
        masks = replace_masks(masks, leaving, masks[leaving].to_runs())
    height, width = top + masks.height + bottom, left + masks.width + right
    moved, bounds = place_pixels(*_runs_of(masks), (masks.height, masks.width), (top, left), (height, width))
    points = masks.points + masks.points.new_tensor([left, top])
    return _with_runs(replace(masks, height=height, width=width, points=points), moved, bounds)


def unite_masks(masks: InstanceMasks, groups: Tensor | None = None, count: int = 1) -> InstanceMasks:
    """Masks that cover what any of some masks covers, as run lengths.

    Args:
        masks: of G objects.
        groups: `[G]` int64, in which of the unions each takes part; None: all in one.
        count: of the unions; one without masks is empty.

    Raises:
        ValueError: `groups` is not as stated.

    Example:
        >>> halves = [[[0, 0, 2, 0, 2, 4, 0, 4]], [[1, 0, 4, 0, 4, 4, 1, 4]]]
        >>> unite_masks(InstanceMasks.from_coco(halves, 4, 4)).areas()
        tensor([16.])
    """
    groups = torch.zeros(len(masks), dtype=torch.int64, device="cpu") if groups is None else groups.cpu()
    if groups.shape != (len(masks),) or not bool(((groups >= 0) & (groups < count)).all()):
        raise ValueError(
            f"unite_masks: groups must be [{len(masks)}], each in 0..{count - 1}; "
            f"got {list(groups.shape)} up to {int(groups.max()) if groups.numel() else 0}"
        )
    runs = masks.to_runs()
    united = unite(*_runs_of(runs), groups.numpy(), count, masks.height * masks.width)
    none = torch.zeros(count + 1, dtype=torch.int64, device=runs.points.device)
    return _with_runs(replace(runs, object_polygons=none), *united)


def subtract_mask(masks: InstanceMasks, removed: InstanceMasks) -> InstanceMasks:
    """The masks without the pixels of one other, as run lengths; a mask that lies in it becomes an empty one.

    Raises:
        ValueError: `removed` is not one mask, or of another image size.
    """
    if removed.shape != (1, masks.height, masks.width):
        raise ValueError(
            f"subtract_mask: expected one mask to remove, {[1, masks.height, masks.width]}; got {list(removed.shape)}"
        )
    runs = masks.to_runs()
    hole, _ = _runs_of(removed.to_runs())
    return _with_runs(runs, *subtract(*_runs_of(runs), hole, masks.height * masks.width))


def number_pixels(masks: InstanceMasks, order: Tensor, dtype: torch.dtype = torch.int32) -> Tensor:
    """An image that numbers the objects: at each pixel the first one, in the given order, that covers it.

    Args:
        masks: of G objects.
        order: `[K]` int64, indices of objects; those that it leaves out have no pixels.
        dtype: of the image; one of whole numbers up to G.

    Returns:
        `[height, width]`, on the CPU: the index of an object plus 1, 0 where there is none.

    Raises:
        ValueError: the dtype does not hold the number of the last object.

    Example:
        >>> halves = [[[0, 0, 3, 0, 3, 2, 0, 2]], [[1, 0, 4, 0, 4, 2, 1, 2]]]
        >>> number_pixels(InstanceMasks.from_coco(halves, 2, 4), torch.tensor([1, 0]))
        tensor([[1, 2, 2, 2],
                [1, 2, 2, 2]], dtype=torch.int32)
    """
    if dtype.is_floating_point or len(masks) > torch.iinfo(dtype).max:
        raise ValueError(f"number_pixels: dtype must hold whole numbers up to {len(masks)}; got {dtype}")
    runs, pixels = masks.to_runs().to("cpu"), masks.height * masks.width
    numbers = np.zeros(
        pixels, dtype=torch.empty(0, dtype=dtype, device="cpu").numpy().dtype
    )  # down the columns, as the runs go
    bounds, transitions = runs.object_transitions.tolist(), runs.transitions.tolist()
    for index in reversed(order.tolist()):
        own = [*transitions[bounds[index] : bounds[index + 1]], pixels]  # which ends what has no end of its own
        for begin, end in zip(own[0::2], own[1::2], strict=False):
            numbers[begin:end] = index + 1
    return torch.from_numpy(np.ascontiguousarray(numbers.reshape(masks.width, masks.height).T))


def _joined_offsets(parts: Sequence[Tensor]) -> Tensor:
    """The offsets of all parts' contents, one after the other: each begins with 0, which stays once."""
    lengths = torch.cat([part.diff() for part in parts])
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _leaves_the_image(masks: InstanceMasks) -> Tensor:
    """`[G]` bool: which objects have a polygon with a point outside of the image."""
    far = masks.points.new_tensor([masks.width, masks.height])
    points = ((masks.points < 0) | (masks.points > far)).any(dim=1).nonzero()[:, 0]
    # Of equal offsets, those of empty parts, the last one is the part that holds something.
    polygons = torch.searchsorted(masks.polygons, points, right=True) - 1
    leaving = torch.zeros(len(masks), dtype=torch.bool, device=masks.points.device)
    leaving[torch.searchsorted(masks.object_polygons, polygons, right=True) - 1] = True
    return leaving


def _runs_of(masks: InstanceMasks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return masks.transitions.cpu().numpy(), masks.object_transitions.cpu().numpy()


def _with_runs(masks: InstanceMasks, transitions: NDArray[np.int64], offsets: NDArray[np.int64]) -> InstanceMasks:
    device = masks.points.device
    return replace(
        masks,
        transitions=torch.from_numpy(transitions).to(device),
        object_transitions=torch.from_numpy(offsets).to(device),
    )
