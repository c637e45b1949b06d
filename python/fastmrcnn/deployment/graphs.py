"""CUDA graphs of a detector, one for each size of images that comes again."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, cast

import torch
from torch import Tensor, nn

from fastmrcnn.errors import first_line
from fastmrcnn.models import GraphedDetector, MaskRCNN, PaddedInstances

Detect = Callable[[Tensor, Tensor], PaddedInstances]


class GraphCache:
    """Runs a detector through CUDA graphs: recorded for a padded size when it comes the second time.

    The sizes used last are kept; all share their memory. What is returned is the caller's own. Calls from several
    threads take turns. Where recording fails, as on a GPU that is full, a warning says so, and all calls from then on
    run without graphs.

    Args:
        detect: of pixels [B, C, H, W] and image_sizes [B, 2].
        capacity: sizes that are kept.
    """

    def __init__(self, detect: Detect, capacity: int) -> None:
        self.detect = detect
        self.capacity = capacity
        self.problem: str | None = None
        self._graphs: OrderedDict[tuple[Hashable, ...], Detect | None] = OrderedDict()  # None: seen once
        self._pool: Any = None  # torch's handle of the graphs' memory
        self._lock = threading.Lock()

    def __call__(self, pixels: Tensor, image_sizes: Tensor, settings: Hashable = None) -> PaddedInstances:
        """settings: what else the graphs depend on."""
        with self._lock:
            graph = self._graph_of((settings, *pixels.shape), pixels, image_sizes)
            if graph is None:
                return self.detect(pixels, image_sizes)
            found = graph(pixels, image_sizes)
            return _copied(found)

    def forget(self) -> None:
        """Record anew, as weights are no longer where they were."""
        with self._lock:
            self._graphs.clear()
            self._pool = None

    def _graph_of(self, size: tuple[Hashable, ...], pixels: Tensor, image_sizes: Tensor) -> Detect | None:
        if self.problem is not None:
            return None
        if size not in self._graphs:
            self._graphs[size] = None
            if len(self._graphs) > self.capacity:
                self._graphs.popitem(last=False)
            return None
        self._graphs.move_to_end(size)
        if self._graphs[size] is None:
            try:
                self._graphs[size] = self.record(pixels, image_sizes)
            except RuntimeError as error:
                self.problem = first_line(error)
                self._graphs.clear()
                warnings.warn(f"detection runs without CUDA graphs: {self.problem}", stacklevel=2)
                return None
        return self._graphs[size]

    def record(self, pixels: Tensor, image_sizes: Tensor) -> Detect:
        """A graph of images of the size of ``pixels``."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        detector = cast(MaskRCNN, _Detector(self.detect))  # no other part of a model is asked for
        return GraphedDetector(detector, pixels, image_sizes, pool=self._pool)

    def __reduce__(self) -> tuple[type[GraphCache], tuple[Detect, int]]:
        """A copy records its own graphs."""
        return type(self), (self.detect, self.capacity)


def _copied(found: PaddedInstances) -> PaddedInstances:
    kept = {name: part.clone() for name, part in found._asdict().items() if part is not None}
    return found._replace(**kept)


class _Detector(nn.Module):
    """A function as what :class:`GraphedDetector` takes."""

    def __init__(self, detect: Detect) -> None:
        super().__init__()
        self.detect_batch = detect
