"""The sample and the generator alone decide: not the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from fastmrcnn.data import Sample
from fastmrcnn.data.transforms import (
    ColorJitter,
    CopyPaste,
    HorizontalFlip,
    LargeScaleJitter,
    MultiScale,
    RandomCrop,
    Transform,
    VerticalFlip,
)
from tests.data.transforms.samples import generator, photograph

OTHERS = [photograph(180, 250, 6, seed=number) for number in range(3)]

TRANSFORMS: dict[str, Transform] = {
    "horizontal flip": HorizontalFlip(),
    "vertical flip": VerticalFlip(),
    "multi-scale": MultiScale((100, 150, 333)),
    "large-scale jitter": LargeScaleJitter(300),
    "crop": RandomCrop(),
    "colour": ColorJitter(0.3, 0.3, 0.3, 0.1),
    "brightness": ColorJitter(0.3, 0.3, 0.0, 0.0),
    "copy-paste": CopyPaste(OTHERS, 0.9, [HorizontalFlip(), LargeScaleJitter(200)]),
}


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bits(sample: Sample) -> tuple[object, ...]:
    tensors = (sample.image, sample.boxes, sample.labels, sample.iscrowd, sample.areas, sample.keypoints)
    return (*(t.contiguous().numpy().tobytes() for t in tensors if t is not None), str(sample.masks.to_rle()))


def results(name: str, deep: bool) -> list[tuple[object, ...]]:
    found = []
    for seed in range(6):
        sample = photograph(203, 307, 6, seed=9)
        if deep:
            sample = Sample(**{**vars(sample), "image": sample.image / 255})
        found.append(bits(TRANSFORMS[name](sample, generator(seed))))
    return found


@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_samples_are_the_same_with_any_number_of_threads(name: str, deep: bool) -> None:
    with threads(1):
        first = results(name, deep)
    with threads(3):
        second = results(name, deep)
    assert first == second
    assert len(set(first)) > 1  # another seed, another sample


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_given_sample_stays_as_it_is(name: str) -> None:
    sample, before = photograph(203, 307, 6, seed=9), bits(photograph(203, 307, 6, seed=9))
    others = [bits(other) for other in OTHERS]
    for seed in range(4):
        TRANSFORMS[name](sample, generator(seed))
    assert bits(sample) == before
    assert [bits(other) for other in OTHERS] == others
