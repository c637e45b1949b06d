"""Inference with shapes that never change: as a module for compilers and exporters, and as a CUDA graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastmrcnn.models.instances import PaddedInstances
from fastmrcnn.models.mask_rcnn import MaskRCNN


class FixedCapacityDetector(nn.Module):
    """:meth:`MaskRCNN.detect_batch` as the ``forward`` of a module, which is what compilers and exporters take.

    The model is put in evaluation mode and shared, not copied.

    >>> from fastmrcnn.models import tiny
    >>> model = MaskRCNN(tiny(["coin"]))
    >>> detector = FixedCapacityDetector(model)
    >>> batch = model.transform([torch.rand(3, 64, 96)])
    >>> program = torch.export.export(detector, (batch.pixels, batch.image_sizes))  # doctest: +SKIP
    >>> compiled = torch.compile(detector, fullgraph=True)  # doctest: +SKIP
    >>> with torch.no_grad():
    ...     found = detector(batch.pixels, batch.image_sizes)
    >>> found.boxes.shape, found.mask_probs.shape, found.counts.shape
    (torch.Size([1, 100, 4]), torch.Size([1, 100, 28, 28]), torch.Size([1]))
    """

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, pixels: Tensor, image_sizes: Tensor) -> PaddedInstances:
        """[B, C, H, W] and [B, 2] int64 -> detections in pixels of the frame."""
        return self.model.detect_batch(pixels, image_sizes)


class GraphedDetector:
    """Detection recorded as a CUDA graph: a call replays the whole network with one launch of the host.

    Call it with as many images of the same padded size as it was made with; ``image_sizes`` may differ from call to
    call. Autocast is recorded as it is when the detector is made. For one thread at a time.

    Args:
        model: on a GPU; put in evaluation mode and shared, so weights changed in place are seen.
        pixels, image_sizes: as for :meth:`MaskRCNN.detect_batch`, an example of what will come.
        pool: of memory that graphs share (``torch.cuda.graph_pool_handle()``) which never run at the same time; None: a
            pool of its own.

    >>> batch = model.transform(images)  # doctest: +SKIP
    >>> detector = GraphedDetector(model, batch.pixels, batch.image_sizes)  # doctest: +SKIP
    >>> found = detector(batch.pixels, batch.image_sizes)  # doctest: +SKIP
    """

    def __init__(self, model: MaskRCNN, pixels: Tensor, image_sizes: Tensor, *, pool: Any = None) -> None:
        if not pixels.is_cuda:
            raise ValueError(f"GraphedDetector: pixels must be on a GPU; got {pixels.device}")
        with torch.inference_mode(False):  # tensors made in it could not be written over outside of it
            self._inputs = (pixels.clone(), image_sizes.to(pixels.device).clone())
        detector = FixedCapacityDetector(model)
        # Casts that autocast keeps from call to call would lie outside of the graph's memory.
        precision = torch.autocast(
            "cuda",
            dtype=torch.get_autocast_dtype("cuda"),
            enabled=torch.is_autocast_enabled("cuda"),
            cache_enabled=False,
        )
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(pixels.device), precision:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):  # libraries choose algorithms and allocate in their first calls, which no graph can
                    detector(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may go on with their own work on the GPU, which would end the recording otherwise.
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._found: PaddedInstances = detector(*self._inputs)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, image_sizes: Tensor) -> PaddedInstances:
        """The detections, in memory that the next call writes over: clone what has to last."""
        for name, own, given in zip(("pixels", "image_sizes"), self._inputs, (pixels, image_sizes), strict=True):
            if given.shape != own.shape:
                raise ValueError(f"GraphedDetector: {name} must be {list(own.shape)}; got {list(given.shape)}")
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._found
