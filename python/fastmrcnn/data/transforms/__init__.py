"""Random changes of a sample that keep image, boxes, masks and keypoints together, one small class each.

A transform is called with a sample and a ``torch.Generator`` and draws all its chances from that, so that the result
is a function of the sample and the generator's state: the same in every process, with any number of threads.
``open_dataset(..., transforms=[...])`` calls each in turn; ``fastmrcnn train`` makes the list from its options.

Masks stay polygons and run lengths. An object whose last pixel leaves the image leaves the sample; a mask of one pixel
is a mask. To write one more, write a class with this call; :mod:`~fastmrcnn.data.transforms.geometry` has the parts.

>>> import torch
>>> from fastmrcnn.data import CocoDataset
>>> from fastmrcnn.data.scenes import write_dataset
>>> sample = CocoDataset(write_dataset("scenes", images=1, seed=0), "scenes/images")[0]
>>> flipped = HorizontalFlip(probability=1)(sample, torch.Generator())
>>> torch.equal(flipped.boxes[:, 2], sample.image.shape[2] - sample.boxes[:, 0])
True
"""

from fastmrcnn.data.transforms.base import Transform
from fastmrcnn.data.transforms.colour import ColorJitter
from fastmrcnn.data.transforms.copy_paste import CopyPaste
from fastmrcnn.data.transforms.flips import HorizontalFlip, VerticalFlip
from fastmrcnn.data.transforms.geometry import crop, mirror, pad, resize
from fastmrcnn.data.transforms.random_crop import RandomCrop
from fastmrcnn.data.transforms.sizes import LargeScaleJitter, MultiScale

__all__ = [
    "ColorJitter",
    "CopyPaste",
    "HorizontalFlip",
    "LargeScaleJitter",
    "MultiScale",
    "RandomCrop",
    "Transform",
    "VerticalFlip",
    "crop",
    "mirror",
    "pad",
    "resize",
]
