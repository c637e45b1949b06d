"""Batches of samples: the same ones in the same order for the same seed, whatever the number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fastmrcnn.data.dataset import InstanceDataset
from fastmrcnn.data.sample import Sample, Target, collate
from fastmrcnn.errors import UserError

Batch = tuple[list[Tensor], list[Target], list[Sample]]


class SampleLoader(DataLoader[Any]):
    """torch's ``DataLoader``, but a user's error in a worker process stays the one line that it was.

    torch puts the worker's whole traceback into the message.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches ``(images, targets, samples)``."""
        try:
            yield from super().__iter__()
        except UserError as error:
            raise UserError(str(error).strip().splitlines()[-1].removeprefix(_RAISED)) from None


_RAISED = f"{UserError.__module__}.{UserError.__qualname__}: "


def make_loader(
    dataset: InstanceDataset, batch_size: int, shuffle: bool = False, seed: int = 0, workers: int = 0
) -> SampleLoader:
    """A loader of batches ``(images, targets, samples)``, see :func:`fastmrcnn.data.collate`.

    Args:
        dataset: samples, with its transforms.
        batch_size: images in a batch; the last batch of an epoch may have fewer.
        shuffle: a new order in each epoch, from ``seed``.
        seed: the order of all epochs is a function of this alone.
        workers: processes that read and decode; 0 does it in this one.

    Example:
        >>> from fastmrcnn.data import CocoDataset
        >>> from fastmrcnn.data.scenes import write_dataset
        >>> dataset = CocoDataset(write_dataset("scenes", images=3, seed=0), "scenes/images")
        >>> loader = make_loader(dataset, batch_size=2, shuffle=True, seed=7)
        >>> [len(images) for images, targets, samples in loader]
        [2, 1]
    """
    return SampleLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=workers,
        collate_fn=collate,
        generator=torch.Generator().manual_seed(seed),
    )
