"""Random numbers that belong to one image of a batch."""

from __future__ import annotations

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
