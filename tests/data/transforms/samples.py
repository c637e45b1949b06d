"""Samples whose image shows where their masks are, and those that random changes are tried on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from fastmrcnn.data import Sample
from fastmrcnn.data.masks import encode_rle
from fastmrcnn.ops import InstanceMasks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample_of(bitmaps: torch.Tensor, **changes: Any) -> Sample:
    """Objects with these masks; where one of them is true the image is white, elsewhere black."""
    objects, height, width = bitmaps.shape
    image = (bitmaps.any(dim=0).to(torch.uint8) * 255).expand(3, -1, -1)
    masks = InstanceMasks.from_coco([encode_rle(bitmap.numpy()) for bitmap in bitmaps], height, width)
    crowd = torch.zeros(objects, dtype=torch.bool)
    sample = Sample(image, 1, Path("a.png"), masks.boxes(), torch.arange(objects), masks, crowd, masks.areas())
    return replace(sample, **changes)


def make_sample(height: int, width: int, objects: int, seed: int = 0) -> Sample:
    """Filled rectangles."""
    rng = generator(seed)
    bitmaps = torch.zeros((objects, height, width), dtype=torch.bool)
    for mask in bitmaps:
        y1, y2 = sorted(torch.randint(0, height + 1, (2,), generator=rng).tolist())
        x1, x2 = sorted(torch.randint(0, width + 1, (2,), generator=rng).tolist())
        mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
        mask[min(y1, height - 1), min(x1, width - 1)] = True
    return sample_of(bitmaps)


def photograph(height: int, width: int, objects: int, seed: int = 0) -> Sample:
    """Noise in colour, with rectangles as polygons and run lengths in turn, the last one a crowd, and two keypoints."""
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    corners = np.sort(rng.integers(0, [[height], [width]], (objects, 2, 2)))
    outlines: list[Any] = []
    for number, ((y1, y2), (x1, x2)) in enumerate(corners.tolist()):
        outline = [[x1, y1, x2 + 1, y1, x2 + 1, y2 + 1, x1, y2 + 1]]
        drawn = InstanceMasks.from_coco([outline], height, width)
        outlines.append(outline if number % 2 else drawn.to_rle()[0])
    masks = InstanceMasks.from_coco(outlines, height, width)
    crowd = torch.arange(objects) == objects - 1
    points = torch.from_numpy(rng.uniform(0, [width, height], (objects, 2, 2)).astype(np.float32))
    return Sample(
        pixels,
        seed,
        Path(f"{seed}.png"),
        masks.boxes(),
        torch.arange(objects) % 3,
        masks,
        crowd,
        masks.areas(),
        keypoints=torch.cat([points, torch.full((objects, 2, 1), 2.0)], dim=2),
        keypoint_names=("left_eye", "right_eye"),
    )


def assert_whole(sample: Sample) -> None:
    """Whatever has happened to it, a sample is one: as many of everything, masks of the image's size, none empty."""
    count = len(sample)
    assert sample.masks.shape == (count, *sample.image.shape[1:])
    assert (sample.masks.areas() > 0).all()
    assert (sample.areas > 0).all()
    assert [len(t) for t in (sample.boxes, sample.masks, sample.iscrowd, sample.areas)] == [count] * 4
    assert sample.keypoints is None or len(sample.keypoints) == count
    assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()


samples = st.builds(make_sample, st.integers(1, 20), st.integers(1, 20), st.integers(0, 4), seed=st.integers(0, 1000))
