"""Random numbers that belong to one image of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class RandomNumbers:
    """Where the random numbers of one training image come from: the size that it is resized to, the anchors and the
    RoIs of its losses.

    Args:
        seed: with one, they depend on nothing else: neither on the other images of the batch nor on the process that
            computes them. None: torch's default generators.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device) -> torch.Generator | None:
        """The generator for tensors on ``device``; None stands for torch's default one."""
        if self.seed is None:
            return None
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]


def random_of_images(seeds: Sequence[int] | None, images: int) -> list[RandomNumbers] | None:
    """Those of each image of a batch; None where all draw from torch's default generators.

    Raises:
        ValueError: there are more or fewer seeds than images.
    """
    if seeds is None:
        return None
    if len(seeds) != images:
        raise ValueError(f"MaskRCNN: seeds must be one for each of {images} images; got {len(seeds)}")
    return [RandomNumbers(seed) for seed in seeds]
