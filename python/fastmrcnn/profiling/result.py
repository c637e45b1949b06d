"""What a profile says, as a table and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Profile:
    """Where the time of a prediction goes: medians over the repeats, ms an image."""

    device: str
    threads: int  # that compute on the CPU
    batch_size: int
    image_size: tuple[int, int]  # (height, width), px
    network_size: tuple[int, int]  # of the padded batch, px
    precision: str  # of the network's convolutions
    stages: dict[str, float]  # in the order in which they come
    whole_ms: float  # of predictions in which no stage was watched
    detections: float  # an image
    repeats: int
    # The greatest resident memory of the process while it predicted, what it had of torch and weights included, bytes.
    peak_memory: int
    peak_gpu_memory: int | None  # of tensors, bytes; None on a CPU

    @property
    def sum_ms(self) -> float:
        """Of all stages."""
        return sum(self.stages.values())

    @property
    def images_per_second(self) -> float:
        """One batch after the other; of many images ``predict`` decodes and resizes beside the network."""
        return 1e3 / self.whole_ms

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        derived = {"sum_ms": self.sum_ms, "images_per_second": self.images_per_second}
        return dataclasses.asdict(self) | derived

    def __str__(self) -> str:
        height, width = self.image_size
        images = "1 image" if self.batch_size == 1 else f"{self.batch_size} images"
        padded = f"{self.network_size[0]} x {self.network_size[1]}"
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        sizes = [max(map(len, self.stages)), 9, 7]
        lines = [
            f"{images} of {height} x {width} at a time, {padded} in the network; {self.device}, {threads}, "
            f"{self.precision}",
            f"{'stage':<{sizes[0]}}{'ms':>{sizes[1]}}{'%':>{sizes[2]}}",
        ]
        for stage, took in (*self.stages.items(), ("sum", self.sum_ms)):
            share = 100 * took / self.sum_ms
            lines.append(f"{stage:<{sizes[0]}}{took:>{sizes[1]}.2f}{share:>{sizes[2]}.1f}")
        memory = f"peak memory {self.peak_memory / MIB:.0f} MiB"
        if self.peak_gpu_memory is not None:
            memory += f", of the GPU {self.peak_gpu_memory / MIB:.0f} MiB"
        lines.append(
            f"{self.whole_ms:.2f} ms an image unwatched, {self.images_per_second:.3g} images/s; {memory}; "
            f"{self.detections:g} detections an image"
        )
        return "\n".join(lines)
