"""Which image stands at each place of a run: a function of the seed and the place alone.

So a run can go on at any step, at no cost, and every process of a distributed run knows the whole order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import torch
from torch import Tensor

from fastmrcnn.data import InstanceDataset
from fastmrcnn.data.seeds import derived_seed
from fastmrcnn.training.config import TrainConfig


def epoch_order(images: int, seed: int, epoch: int) -> list[int]:
    """The shuffled order of the data set in ``epoch``."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    return torch.randperm(images, generator=generator).tolist()


def repeated_epoch_order(factors: Tensor, seed: int, epoch: int) -> list[int]:
    """A shuffled order in which image i stands ``factors[i]`` times on average, at least 1, and the same sum each time.

    Systematic sampling: the images lie one behind the other on a line, each as long as its factor, and points at equal
    distances of at most 1 choose among them, so that each stands there as often as its factor says, rounded up or down.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    shuffled = torch.randperm(len(factors), generator=generator)
    ends = factors[shuffled].double().cumsum(0)
    length = math.ceil(float(factors.double().sum()))
    points = (torch.arange(length) + torch.rand((), generator=generator).double()) * (ends[-1] / length)
    drawn = shuffled[torch.searchsorted(ends, points, right=True).clamp(max=len(factors) - 1)]
    return drawn[torch.randperm(length, generator=generator)].tolist()


def repeat_factors(labels: Sequence[Collection[int]], threshold: float) -> Tensor:
    """How often to show each image in an epoch, from 1 up, so that rare classes are not forgotten (Gupta et al. 2019).

    A class that is in a share f of the images has the factor sqrt(threshold / f), an image the largest of its classes'.

    Args:
        labels: the classes in each image.
        threshold: the share of images below which a class is rare.

    >>> repeat_factors([{0}, {0}, {0}, {0, 1}], threshold=1.0)
    tensor([1., 1., 1., 2.])
    """
    found = [set(classes) for classes in labels]
    counts: dict[int, int] = {}
    for label in (label for classes in found for label in classes):
        counts[label] = counts.get(label, 0) + 1
    of_class = {label: math.sqrt(threshold * len(found) / count) for label, count in counts.items()}
    return torch.tensor([max([1.0, *(of_class[label] for label in classes)]) for classes in found])


@dataclass(frozen=True)
class Group:
    """Images in one shuffled epoch after the other, without an end."""

    images: tuple[int, ...]  # indices into the data set
    seed: int
    factors: Tensor | None = None  # of repeated_epoch_order, one for each image; None: each stands there once

    @cached_property
    def epoch_length(self) -> int:
        """Places of an epoch."""
        return len(self.images) if self.factors is None else math.ceil(float(self.factors.double().sum()))

    @cached_property
    def _order(self) -> Callable[[int], list[int]]:
        """The order of an epoch; of the newest two, which a batch may lie across, it is kept."""
        if self.factors is None:
            order = partial(epoch_order, len(self.images), self.seed)
        else:
            order = partial(repeated_epoch_order, self.factors, self.seed)
        return lru_cache(maxsize=2)(order)

    def take(self, first: int, count: int) -> list[int]:
        """The images at ``count`` places from ``first`` on."""
        places = (divmod(place, self.epoch_length) for place in range(first, first + count))
        return [self.images[self._order(epoch)[place]] for epoch, place in places]


@dataclass(frozen=True)
class ImageOrder:
    """The images of every step. Those of one step are of one group, and each group has its share of the steps.

    With one group this is a shuffled epoch after the other. Of two, the steps of the second one lie at equal distances,
    as its share says; the seed chooses where they begin.
    """

    groups: tuple[Group, ...]  # one or two
    seed: int

    @property
    def epoch_length(self) -> int:
        """Images that are shown in an epoch."""
        return sum(group.epoch_length for group in self.groups)

    def images_of(self, step: int, batch_size: int) -> list[int]:
        """The images of a step of so many, as indices into the data set."""
        if len(self.groups) == 1:
            return self.groups[0].take(step * batch_size, batch_size)
        before = self._steps_of_the_second(step)
        second = self._steps_of_the_second(step + 1) > before
        group, number = (self.groups[1], before) if second else (self.groups[0], step - before)
        return group.take(number * batch_size, batch_size)

    def _steps_of_the_second(self, steps: int) -> int:
        """How many of the first ``steps`` are steps of the second group."""
        phase = derived_seed(self.seed) % self.epoch_length
        return (steps * self.groups[1].epoch_length + phase) // self.epoch_length


def image_order(dataset: InstanceDataset, config: TrainConfig) -> ImageOrder:
    """The order that ``config`` asks for."""
    factors = None
    if config.repeat_threshold:
        factors = repeat_factors(dataset.image_labels(), config.repeat_threshold)
    upright = [height > width for height, width in dataset.image_sizes]
    kinds = (False, True) if config.aspect_grouping and 0 < sum(upright) < len(upright) else (None,)
    groups = []
    for number, kind in enumerate(kinds):
        chosen = [index for index, tall in enumerate(upright) if kind is None or tall == kind]
        seed = derived_seed(config.seed, number) if number else config.seed
        groups.append(Group(tuple(chosen), seed, None if factors is None else factors[chosen]))
    return ImageOrder(tuple(groups), config.seed)
