"""The forms that `InstanceMasks` on the CPU become: run lengths, COCO's strings, bitmaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fastmrcnn.ops._library import context, native
from fastmrcnn.ops.paste import RLE

if TYPE_CHECKING:
    from fastmrcnn.ops.instance_masks import InstanceMasks

__all__ = ["draw", "format_rle", "offsets_of", "rasterise"]

_BYTES_AT_ONCE = 2**26  # of outputs that have room for the longest of some masks, lest one long one take it for all


def offsets_of(counts: list[int]) -> Tensor:
    """Where parts of so many elements begin, one after the other, and where the last one ends: `[len(counts) + 1]`."""
    return torch.tensor([0, *counts], dtype=torch.int64, device="cpu").cumsum(0)


def rasterise(masks: InstanceMasks) -> tuple[Tensor, Tensor]:
    """The transitions of masks that may be polygons, and those of each as offsets."""
    capacity, found, counts = 16 + 4 * masks.width, [masks.transitions[:0]], []
    for own in _parts_of(masks, 8 * capacity):

        def fill(output: Tensor, lengths: Tensor, own: InstanceMasks = own) -> None:
            native.mask_transitions(
                context(own.points),
                own.points,
                own.polygons,
                own.object_polygons,
                own.transitions,
                own.object_transitions,
                own.height,
                own.width,
                output,
                lengths,
            )

        rows, lengths = _grow_until_it_fits(fill, len(own), capacity, torch.int64)
        counts += lengths.tolist()
        found.append(torch.cat([row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]))
    return torch.cat(found), offsets_of(counts)


def format_rle(runs: InstanceMasks) -> list[RLE]:
    """The strings of masks that are run lengths."""
    longest = int(runs.object_transitions.diff().max()) if len(runs) else 0
    capacity, encoded = 64 + 4 * longest, []
    for own in _parts_of(runs, capacity):

        def fill(strings: Tensor, lengths: Tensor, own: InstanceMasks = own) -> None:
            pixels = own.height * own.width
            native.format_rle(context(strings), own.transitions, own.object_transitions, pixels, strings, lengths)

        strings, lengths = _grow_until_it_fits(fill, len(own), capacity, torch.uint8)
        encoded += [
            RLE(size=[runs.height, runs.width], counts=bytes(string[:length]).decode("ascii"))
            for string, length in zip(strings.numpy(), lengths.tolist(), strict=True)
        ]
    return encoded


def draw(runs: InstanceMasks) -> Tensor:
    """The bitmaps of masks that are run lengths, `[G, height, width]` bool."""
    bitmaps = np.zeros((len(runs), runs.height, runs.width), dtype=np.bool_)
    bounds = runs.object_transitions.tolist()
    for bitmap, begin, end in zip(bitmaps, bounds, bounds[1:], strict=False):
        edges = np.concatenate([[0], runs.transitions[begin:end].numpy(), [bitmap.size]])
        flat = np.repeat(np.arange(len(edges) - 1) % 2 == 1, np.diff(edges))
        bitmap[:] = flat.reshape(runs.width, runs.height).T
    return torch.from_numpy(bitmaps)


def _parts_of(masks: InstanceMasks, bytes_each: int) -> Iterator[InstanceMasks]:
    """Masks, in parts whose outputs are of a bounded size."""
    step = max(_BYTES_AT_ONCE // bytes_each, 1)
    if len(masks) <= step:
        return iter([masks])
    return (masks[first : first + step] for first in range(0, len(masks), step))


def _grow_until_it_fits(
    fill: Callable[[Tensor, Tensor], None], count: int, capacity: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The output [count, capacity] and the lengths [count] that `fill` writes; it says where it needs more room."""
    lengths = torch.zeros(count, dtype=torch.int64, device="cpu")
    while True:
        output = torch.empty((count, capacity), dtype=dtype, device="cpu")
        fill(output, lengths)
        longest = int(lengths.max()) if count else 0
        if longest <= capacity:
            return output, lengths
        capacity = longest
